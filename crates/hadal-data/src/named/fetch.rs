//! Downloading into the cache through the system's `curl` or `wget`.
//!
//! A TLS library of our own would need a C compiler or a system library to build; a machine that
//! reaches the network almost always has one of the two programs, and their proxies and
//! certificates are set up already.

use super::named_set;
use super::specs::{NamedSpec, RemoteFile};
use crate::error::{DataError, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What a download is at.
#[derive(Clone, Copy, Debug)]
pub enum FetchEvent<'a> {
    /// A file is in the cache already, with the right checksum.
    Present(&'a RemoteFile),
    /// A download begins.
    Start {
        /// The file.
        file: &'a RemoteFile,
        /// From where.
        url: &'a str,
    },
    /// So many bytes have come.
    Progress {
        /// The file.
        file: &'a RemoteFile,
        /// Bytes so far.
        bytes: u64,
    },
    /// A file has come and its checksum is right.
    Done(&'a RemoteFile),
}

/// Downloads what is missing of a named data set into `cache_dir/<name>/` and returns the files.
///
/// Every file is checked against its SHA-256 sum before it gets its name.
///
/// # Errors
/// When the name is unknown, the cache cannot be written, or a file cannot be had; the message
/// says what to put where by hand.
pub fn fetch(name: &str, cache_dir: &Path, progress: &mut dyn FnMut(FetchEvent<'_>)) -> Result<Vec<PathBuf>> {
    let spec = named_set(name)?;
    let folder = cache_dir.join(spec.name);
    if !spec.files.is_empty() {
        fs::create_dir_all(&folder).map_err(|e| DataError::io("create the folder", &folder, e))?;
    }
    let mut paths = Vec::with_capacity(spec.files.len());
    for file in spec.files {
        let path = folder.join(file.name);
        if path.is_file() && sha256(&path)? == file.sha256 {
            progress(FetchEvent::Present(file));
        } else {
            download(spec, file, &path, progress)?;
        }
        paths.push(path);
    }
    Ok(paths)
}

fn download(
    spec: &NamedSpec,
    file: &RemoteFile,
    path: &Path,
    progress: &mut dyn FnMut(FetchEvent<'_>),
) -> Result<()> {
    // Named after this process, so that two programs downloading at once do not mix their bytes.
    let part = path.with_file_name(format!("{}.{}.part", file.name, std::process::id()));
    let mut reasons = Vec::new();
    for url in file.urls {
        progress(FetchEvent::Start { file, url });
        let outcome = transfer(url, file, &part, progress).and_then(|()| check(file, &part));
        match outcome {
            Ok(()) => {
                fs::rename(&part, path).map_err(|e| DataError::io("write", path, e))?;
                progress(FetchEvent::Done(file));
                return Ok(());
            }
            Err(reason) => reasons.push(format!("  {url}: {reason}")),
        }
        // A part that is not there needs no removing.
        let _ = fs::remove_file(&part);
    }
    let names: Vec<&str> = spec.files.iter().map(|f| f.name).collect();
    let folder = path.parent().unwrap_or(path);
    Err(DataError::Download(format!(
        "cannot download {} of data set {}:\n{}\nWithout a network, get {} elsewhere and put them into {} (or give the folder that holds them as the data folder)",
        file.name,
        spec.name,
        reasons.join("\n"),
        names.join(", "),
        folder.display()
    )))
}

/// Runs `curl`, or `wget` where there is no `curl`, watching the file grow.
fn transfer(
    url: &str,
    file: &RemoteFile,
    part: &Path,
    progress: &mut dyn FnMut(FetchEvent<'_>),
) -> Result<(), String> {
    let mut child = start(url, file, part)?;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(e) => {
                let _ = child.kill();
                return Err(e.to_string());
            }
        }
        let bytes = fs::metadata(part).map_or(0, |m| m.len());
        if bytes > file.bytes {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("sends more than the {} bytes expected", file.bytes));
        }
        progress(FetchEvent::Progress { file, bytes });
        std::thread::sleep(Duration::from_millis(100));
    };
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        // What it said is only for the message; not being able to read it changes nothing.
        let _ = stderr.read_to_string(&mut said);
    }
    let last = said.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("no reason given").trim();
    Err(format!("{last} ({status})"))
}

fn start(url: &str, file: &RemoteFile, part: &Path) -> Result<Child, String> {
    let limit = file.bytes.to_string();
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--location", "--silent", "--show-error", "--connect-timeout", "20"])
        .args(["--max-filesize", &limit, "--output"])
        .arg(part)
        .arg(url);
    let mut wget = Command::new("wget");
    wget.args(["--no-verbose", "--tries=2", "--connect-timeout=20", "-O"]).arg(part).arg(url);
    let mut reason = String::new();
    for program in [&mut curl, &mut wget] {
        program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        match program.spawn() {
            Ok(child) => return Ok(child),
            Err(e) => reason = e.to_string(),
        }
    }
    Err(format!("neither curl nor wget can be started ({reason})"))
}

fn check(file: &RemoteFile, part: &Path) -> Result<(), String> {
    let sum = sha256(part).map_err(|e| e.to_string())?;
    if sum == file.sha256 {
        return Ok(());
    }
    Err(format!(
        "came with SHA-256 {sum}, which should be {}; the file there has changed or was damaged on the way",
        file.sha256
    ))
}

/// The SHA-256 sum of a file in hexadecimal.
fn sha256(path: &Path) -> Result<String> {
    let io = |e| DataError::io("read", path, e);
    let mut file = File::open(path).map_err(io)?;
    let mut sum = Sha256::new();
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(io)? {
            0 => break,
            n => sum.update(&buffer[..n]),
        }
    }
    Ok(sum.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::super::named_sets;
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    /// Serves one answer to every request until the test ends.
    fn serve(body: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0u8; 4096];
                let _ = stream.read(&mut request);
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(head.as_bytes());
                let _ = stream.write_all(body);
            }
        });
        format!("http://{address}/data.gz")
    }

    fn try_download(urls: Vec<String>, body: &[u8], folder: &Path) -> Result<()> {
        let urls: Vec<&'static str> = urls.into_iter().map(|u| &*u.leak()).collect();
        let sha: String = Sha256::digest(body).iter().map(|b| format!("{b:02x}")).collect();
        let file =
            RemoteFile { name: "data.gz", urls: urls.leak(), bytes: body.len() as u64, sha256: sha.leak() };
        download(&named_sets()[1], &file, &folder.join("data.gz"), &mut |_| {})
    }

    fn has_program() -> bool {
        ["curl", "wget"]
            .iter()
            .any(|p| Command::new(p).arg("--version").stdout(Stdio::null()).status().is_ok())
    }

    #[test]
    fn only_the_right_bytes_get_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let left = || fs::read_dir(dir.path()).unwrap().count();
        // Port 9 of this machine refuses; nothing leaves it.
        let refused = "http://127.0.0.1:9/data.gz".to_string();
        let e = try_download(vec![refused.clone()], b"good", dir.path()).unwrap_err().to_string();
        assert!(
            e.starts_with("cannot download data.gz of data set mnist:\n  http://127.0.0.1:9/data.gz: "),
            "{e}"
        );
        assert!(
            e.contains("get train-images-idx3-ubyte.gz") && e.contains(&dir.path().display().to_string()),
            "{e}"
        );
        assert_eq!(left(), 0);
        if !has_program() {
            assert!(e.contains("neither curl nor wget can be started"), "{e}");
            return;
        }
        let e = try_download(vec![serve(b"evil")], b"good", dir.path()).unwrap_err().to_string();
        assert!(e.contains("came with SHA-256") && left() == 0, "{e}");
        let e = try_download(vec![serve(b"much longer")], b"good", dir.path()).unwrap_err();
        assert!(left() == 0, "{e}");
        try_download(vec![refused, serve(b"good")], b"good", dir.path()).unwrap();
        assert_eq!(fs::read(dir.path().join("data.gz")).unwrap(), b"good");
        assert_eq!(left(), 1);
    }
}

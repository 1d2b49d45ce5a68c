//! The table of bad inputs: what is wrong, the exit code, and the exact message. None is a panic.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use common::{finish, hadal, run_in};
use fixture::write_run;
use std::path::Path;

/// Files that are wrong in a known way, beside a good run `run`, all in one folder.
fn prepare(dir: &Path) {
    write_run(&dir.join("run"));
    let good = std::fs::read(dir.join("run/model.safetensors")).unwrap();
    let at = |name: &str| dir.join(name);
    std::fs::write(at("short.safetensors"), &good[..100]).unwrap();
    std::fs::write(at("cut.safetensors"), &good[..good.len() - 1]).unwrap();
    std::fs::write(at("huge.safetensors"), u64::MAX.to_le_bytes()).unwrap();
    std::fs::write(at("empty.safetensors"), b"").unwrap();
    std::fs::write(at("short.npy"), b"\x93NUMPY\x01\x00").unwrap();
    std::fs::write(at("short.npz"), b"PK\x03\x04").unwrap();
    std::fs::write(at("text.txt"), b"no tensors here").unwrap();
    let image = hadal::io::Image::new(4, 4, 1, (0..16).collect()).unwrap();
    image.write_png(at("good.png")).unwrap();
    let png = std::fs::read(at("good.png")).unwrap();
    hadal::io::Image::new(200_000, 1, 1, vec![0; 200_000]).unwrap().write_png(at("long.png")).unwrap();
    // A header of 10000 by 10000 pixels; its checksum is looked at later than its size.
    let mut large = png.clone();
    for side in [16, 20] {
        large[side..side + 4].copy_from_slice(&10_000u32.to_be_bytes());
    }
    let crc = png_crc(&large[12..29]);
    large[29..33].copy_from_slice(&crc.to_be_bytes());
    std::fs::write(at("large.png"), large).unwrap();
    std::fs::write(at("cut.png"), &png[..png.len() - 20]).unwrap();
    std::fs::write(at("text.png"), b"not a picture").unwrap();
    std::fs::create_dir(at("folder")).unwrap();
    std::fs::create_dir(at("folder.png")).unwrap();
    // A run whose weights were cut off, and one that was killed before its first checkpoint.
    write_run(&at("damaged"));
    std::fs::create_dir(at("run/checkpoints")).unwrap();
    std::fs::write(at("damaged/model.safetensors"), &good[..good.len() / 2]).unwrap();
    write_run(&at("early"));
    std::fs::remove_file(at("early/model.safetensors")).unwrap();
    std::fs::write(at("early/metrics.jsonl"), b"").unwrap();
    // Weights that another program wrote.
    let weights = [("w", hadal::Tensor::new([1.0f32]))];
    hadal::files::save_safetensors(at("foreign.safetensors"), &weights, &[]).unwrap();
}

/// The checksum of a PNG chunk (PNG 1.2, appendix D).
fn png_crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &b| {
        (0..8).fold(crc ^ u32::from(b), |c, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 })
    })
}

/// Arguments; exit code; what standard error says, whole, where `*` at a line's end stands for
/// words of the system or of the argument parser that are not ours to fix.
type Row = (&'static [&'static str], i32, &'static str);

const ROWS: &[Row] = &[
    // Names.
    (
        &["inspct"],
        2,
        "error: unrecognized subcommand 'inspct'\n\n  tip: a similar subcommand exists: 'inspect'\n*",
    ),
    (
        &["inspect", "--jsn"],
        2,
        "error: unexpected argument '--jsn' found\n\n  tip: a similar argument exists: '--json'\n*",
    ),
    (
        &["train", "--modle", "mlp"],
        2,
        "error: unexpected argument '--modle' found\n\n  tip: a similar argument exists: '--model'\n*",
    ),
    (
        &["inspect", "lnet"],
        1,
        "error: there is no file, run folder or model named 'lnet'\n  help: did you mean 'lenet'?\n  help: models are *",
    ),
    (
        &["inspect", "xyzzy"],
        1,
        "error: there is no file, run folder or model named 'xyzzy'\n  help: models are *",
    ),
    (
        &["inspect", "runs/no.npy"],
        1,
        "error: there is no file or run folder runs/no.npy\n  help: check the path\n",
    ),
    (
        &["data", "show", "digts"],
        1,
        "error: there is no data set named 'digts' (did you mean 'digits'?); known are digits, mnist, fashion-mnist, cifar10, cifar100\n",
    ),
    (
        &["data", "fetch", "digits", "cifar11"],
        1,
        "error: there is no data set named 'cifar11' (did you mean 'cifar10'?); known are digits, mnist, fashion-mnist, cifar10, cifar100\n",
    ),
    (
        &["data", "show", "digits", "--class", "11"],
        1,
        "error: data set digits has no class '11'\n  help: give a name or a number from 0 to 9\n",
    ),
    (
        &["data", "show", "cifar10", "--class", "brid"],
        1,
        "error: data set cifar10 has no class 'brid'\n  help: did you mean 'bird'?\n  help: give a name or a number from 0 to 9\n",
    ),
    (
        &["completions", "tcsh"],
        2,
        "error: invalid value 'tcsh' for '<SHELL>'\n  [possible values: bash, elvish, fish, powershell, zsh]\n*",
    ),
    // Numbers.
    (
        &["data", "show", "digits", "--count", "0"],
        2,
        "error: invalid value '0' for '--count <N>': 0 is not in 1..=2000\n*",
    ),
    (
        &["eval", "run", "--batch-size", "many"],
        2,
        "error: invalid value 'many' for '--batch-size <N>': invalid digit found in string\n*",
    ),
    (
        &["inspect", "lenet", "--input", "28,28"],
        2,
        "error: --input takes 1 or 3 sizes, not 2\n  help: give channels,height,width as in --input 3,32,32, or --input FEATURES\n",
    ),
    (
        &["inspect", "lenet", "--input", "1,4,4"],
        1,
        "error: LeNet: images of 4 x 4 pixels\n  help: LeNet needs images of at least 12 x 12 pixels\n",
    ),
    (
        &["inspect", "run", "--classes", "3"],
        2,
        "error: --input and --classes are for models by name: a run knows its own sizes\n",
    ),
    // Tensors in files.
    (
        &["inspect", "short.safetensors"],
        1,
        "error: cannot read safetensors file short.safetensors: the header's length is *",
    ),
    (
        &["inspect", "cut.safetensors"],
        1,
        "error: cannot read safetensors file cut.safetensors: tensor \"fc.bias\" ends at 31400, but only 31399 bytes of data are there\n  help: the file is truncated: make or download it again\n",
    ),
    (
        &["inspect", "huge.safetensors"],
        1,
        "error: cannot read safetensors file huge.safetensors: the header's length is 18446744073709551615 bytes, more than the format's 100000000\n  help: the file is damaged or not of this format: make or download it again\n",
    ),
    (
        &["inspect", "empty.safetensors"],
        1,
        "error: cannot read safetensors file empty.safetensors: it has 0 bytes, fewer than the 8 of the header's length\n  help: the file is truncated: make or download it again\n",
    ),
    (
        &["inspect", "short.npy"],
        1,
        "error: cannot read npy file short.npy: it ends inside the header\n  help: the file is truncated: make or download it again\n",
    ),
    (
        &["inspect", "short.npz"],
        1,
        "error: cannot read npz file short.npz: the zip archive: invalid Zip archive: *",
    ),
    (
        &["inspect", "text.txt"],
        1,
        "error: text.txt holds no tensors that are understood\n  help: files may be .safetensors, .npy and .npz\n",
    ),
    // Runs.
    (
        &["eval", "nowhere"],
        1,
        "error: nowhere: there is no such run folder or weights file\n  help: look under runs/\n",
    ),
    (
        &["eval", "folder"],
        1,
        "error: folder: there are no weights: neither model.safetensors nor a checkpoint\n  help: train first\n",
    ),
    (
        &["eval", "early"],
        1,
        "error: early: there are no weights: neither model.safetensors nor a checkpoint\n  help: train first\n",
    ),
    (&["eval", "damaged"], 1, "error: cannot read safetensors file damaged/model.safetensors: *"),
    (
        &["eval", "foreign.safetensors"],
        1,
        "error: foreign.safetensors: the file does not say which model its weights are of\n  help: *",
    ),
    (
        &["inspect", "folder"],
        1,
        "error: folder: there are no weights: neither model.safetensors nor a checkpoint\n  help: train first\n",
    ),
    (
        &["plot", "run", "nowhere"],
        1,
        "error: there is no run folder nowhere\n  help: name folders that hadal train has made; by default they are under runs/\n",
    ),
    (
        &["plot", "early"],
        1,
        "error: early has no complete epoch to draw\n  help: train longer, or leave it out\n",
    ),
    (
        &["plot", "folder"],
        1,
        "error: folder is not a run's folder: it has no metrics.jsonl\n  help: name folders that hadal train has made; by default they are under runs/\n",
    ),
    // Data.
    (
        &["eval", "run", "--data", "mnst"],
        1,
        "error: there is no data set named 'mnst' (did you mean 'mnist'?); known are *",
    ),
    (
        &["eval", "run", "--data", "linear"],
        1,
        "error: a model trained on digits cannot be evaluated on linear: that is a line with noise, not images in classes\n",
    ),
    (
        &["eval", "run", "--data", "cifar10", "--no-download"],
        1,
        "error: a model trained on digits cannot be evaluated on cifar10: its images are [3, 32, 32], the model takes [1, 28, 28]\n",
    ),
    (
        &["eval", "run", "--data", "mnist", "--no-download", "--cache-dir", "cache"],
        1,
        "error: the files of data set mnist are not there: put t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz into cache/mnist; they can be downloaded from\n  https:*",
    ),
    (
        &["data", "show", "mnist", "--data-dir", "nowhere"],
        1,
        "error: cannot read the data folder nowhere: there is no such folder\n",
    ),
    // Threads: one rule.
    (
        &["eval", "run", "--threads", "99999"],
        2,
        "error: threads: 99999 cannot be; use 0 for all cores, or a number from 1 to 1024\n",
    ),
    (
        &["predict", "run", "good.png", "--threads", "-1"],
        2,
        "error: --threads: '-1' is not a whole number of at least 0\n",
    ),
    (&["devices", "--threads", "many"], 2, "error: --threads: 'many' is not a whole number of at least 0\n"),
    // Without effect.
    (
        &["eval", "run", "--data-dir", "folder"],
        2,
        "error: --data-dir has no effect with data digits; mnist, fashion-mnist, cifar10 and cifar100 read it\n",
    ),
    (
        &["data", "show", "digits", "--cache-dir", "folder"],
        2,
        "error: --cache-dir has no effect with data digits; mnist, fashion-mnist, cifar10 and cifar100 read it\n",
    ),
    (
        &["eval", "run/config.toml"],
        1,
        "error: run/config.toml is a part of a run, not the run\n  help: name the run: run. *",
    ),
    (
        &["predict", "run/checkpoints", "good.png"],
        1,
        "error: run/checkpoints is a part of a run, not the run\n  help: name the run: run. *",
    ),
    (
        &["train", "--resume", "run/model.safetensors"],
        1,
        "error: run/model.safetensors is a file; a run is a folder\n  help: name the run: run\n",
    ),
    // Images.
    (
        &["predict", "run", "long.png"],
        1,
        "error: long.png: 200000 x 1 pixels: one side is more than 60000 times the other\n  help: cut out the part that shows something\n",
    ),
    (
        &["predict", "run", "large.png"],
        1,
        "error: cannot read image large.png: 10000 x 10000 pixels are more than the 67108864 that are allowed\n  help: make it smaller\n",
    ),
    (
        &["predict", "run", "nowhere.png"],
        1,
        "error: cannot read image nowhere.png: No such file or directory (os error 2)\n  help: check the path\n",
    ),
    (
        &["predict", "run", "folder"],
        1,
        "error: cannot read image folder: it is a folder\n  help: name a file in it\n",
    ),
    (
        &["predict", "run", "cut.png"],
        1,
        "error: cannot read image cut.png: the PNG ends before its IEND chunk\n  help: the file is truncated: make or download it again\n",
    ),
    (
        &["predict", "run", "text.png"],
        1,
        "error: cannot read image text.png: it is neither PNG nor JPEG\n  help: convert it to PNG, for instance with ImageMagick's `convert`\n",
    ),
    // Outputs.
    (
        &["data", "show", "digits", "-o", "nowhere/x.png"],
        1,
        "error: cannot write nowhere/x.png: No such file or directory (os error 2)\n  help: the folder nowhere does not exist: create it or correct the path\n",
    ),
    (
        &["data", "show", "digits", "-o", "folder.png"],
        1,
        "error: cannot write folder.png: it is a folder\n  help: name a file in it\n",
    ),
    (
        &["data", "show", "digits", "-o", "text.txt/x.png"],
        1,
        "error: cannot write text.txt/x.png: Not a directory (os error 20)\n  help: a part of the path is a file, not a folder: correct the path\n",
    ),
    (
        &["plot", "run", "-o", "curves.gif"],
        1,
        "error: cannot draw curves.gif: the name ends neither in .png nor in .svg\n  help: choose one of the two\n",
    ),
    (
        &["eval", "run", "--confusion", "nowhere/c.png"],
        1,
        "error: cannot write nowhere/c.png: No such file or directory (os error 2)\n  help: the folder nowhere does not exist: create it or correct the path\n",
    ),
];

#[test]
#[cfg(target_os = "linux")] // The system's words differ elsewhere.
fn every_row_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    let mut wrong = Vec::new();
    for &(args, code, expected) in ROWS {
        let said = run_in(dir.path(), args);
        let right = match expected.strip_suffix('*') {
            Some(beginning) => said.err.starts_with(beginning),
            None => said.err == expected,
        };
        if !right || said.code != Some(code) || said.err.contains("bug") || said.err.contains("panic") {
            wrong.push(format!(
                "{args:?}: code {:?}, expected {code}\n{}--- expected\n{expected}\n",
                said.code, said.err
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
    // Nothing was lost or left: what could not be written is not there, what was there is.
    assert_eq!(std::fs::read(dir.path().join("text.txt")).unwrap(), b"no tensors here");
    let left = std::fs::read_dir(dir.path()).unwrap().flatten().map(|e| e.file_name());
    assert!(left.into_iter().all(|n| !n.to_string_lossy().ends_with(".tmp")));
}

#[test]
fn one_bad_image_does_not_hide_the_others() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    let said = run_in(dir.path(), &["predict", "run", "text.png", "good.png", "--json"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.starts_with("error: cannot read image text.png"), "{said:?}");
    assert_eq!(said.out.lines().count(), 1);
    assert!(said.out.contains("good.png"), "{said:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told() {
    use std::process::Stdio;
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let said = finish(hadal(&["data", "list"]).stdout(Stdio::from(full)));
    assert_eq!(said.code, Some(1));
    assert_eq!(said.err, "error: cannot write to standard output: No space left on device (os error 28)\n");
}

#[test]
fn no_cache_folder_is_known() {
    let mut c = hadal(&["data", "fetch", "mnist"]);
    for name in ["HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"] {
        c.env_remove(name);
    }
    let said = finish(&mut c);
    assert_eq!(said.code, Some(1));
    assert_eq!(
        said.err,
        "error: no folder for downloads is known: neither HADAL_CACHE nor HOME is set\n  help: name one with --cache-dir\n"
    );
}

#[test]
#[cfg(unix)]
fn arguments_may_be_any_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe.png");
    for args in [&[][..], &["inspect"], &["predict", "run"], &["data", "show"]] {
        let said = finish(hadal(args).arg(odd));
        assert!(matches!(said.code, Some(1 | 2)) && said.err.starts_with("error: "), "{args:?}: {said:?}");
    }
}

/// Without curl and wget there is no way out of the machine, wherever the test runs.
#[test]
#[cfg(unix)]
fn offline_says_what_to_put_where() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let said = finish(hadal(&["data", "fetch", "mnist"]).env("PATH", dir.path()).env("HADAL_CACHE", &cache));
    assert_eq!(said.code, Some(1));
    let help = "\n  help: files in any other folder are found with --data-dir DIR, by hadal train, eval and data show\n";
    for args in
        [&["train", "--data=mnist", "--out=x"][..], &["data", "show", "mnist"], &["data", "fetch", "mnist"]]
    {
        let said =
            finish(hadal(args).current_dir(dir.path()).env("PATH", dir.path()).env("HADAL_CACHE", &cache));
        assert!(said.code == Some(1) && said.err.ends_with(help), "{args:?}: {said:?}");
    }
    assert!(!dir.path().join("x").exists());
    let error = &said.err[said.err.find("error: ").unwrap()..];
    assert!(
        error.starts_with("error: cannot download train-images-idx3-ubyte.gz of data set mnist:\n"),
        "{error}"
    );
    assert!(error.contains("neither curl nor wget can be started"), "{error}");
    assert!(
        error.contains("Without a network, get ")
            && error.contains(&cache.join("mnist").display().to_string()),
        "{error}"
    );
}

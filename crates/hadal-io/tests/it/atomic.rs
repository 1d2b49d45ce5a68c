use crate::{Folder, text};
use hadal_io::atomic::{remove_stale, with_disk_of, write_atomic};
use std::fs;
use std::io;

#[test]
fn a_new_file_appears_and_an_old_one_is_replaced() {
    let dir = Folder::new();
    let path = dir.file("a.bin");
    write_atomic(&path, |w| w.write_all(b"one")).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"one");
    write_atomic(&path, |w| w.write_all(b"two")).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(dir.names(), ["a.bin"]);
}

#[test]
fn an_error_while_filling_keeps_the_old_file_and_leaves_nothing_behind() {
    let dir = Folder::new();
    let path = dir.file("a.bin");
    fs::write(&path, b"old").unwrap();
    let r = write_atomic(&path, |w| {
        w.write_all(&[0; 1 << 20])?;
        Err(io::Error::other("the data set went away"))
    });
    assert_eq!(
        text(r, Some(&dir)),
        "cannot write DIR/a.bin: the data set went away; check the disk and the path, then try again"
    );
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(dir.names(), ["a.bin"]);
}

#[test]
fn a_panic_while_filling_leaves_nothing_behind() {
    let dir = Folder::new();
    let path = dir.file("a.bin");
    fs::write(&path, b"old").unwrap();
    let caught = std::panic::catch_unwind(|| write_atomic(&path, |_| panic!("on purpose")));
    assert!(caught.is_err());
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(dir.names(), ["a.bin"]);
}

#[test]
fn a_full_disk_keeps_the_old_file_wherever_it_strikes() {
    let dir = Folder::new();
    let path = dir.file("a.bin");
    fs::write(&path, b"old").unwrap();
    let new = vec![7; 600_000];
    for room in [0, 1, 1000, 262_144, 599_999] {
        let r = with_disk_of(room, || write_atomic(&path, |w| w.write_all(&new)));
        assert_eq!(
            text(r, Some(&dir)),
            "cannot write DIR/a.bin: no storage space; free some space or choose another place; \
             what was there before is untouched",
            "with room for {room} bytes"
        );
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(dir.names(), ["a.bin"]);
    }
    with_disk_of(600_000, || write_atomic(&path, |w| w.write_all(&new))).unwrap();
    assert_eq!(fs::read(&path).unwrap(), new);
}

#[test]
#[cfg(target_os = "linux")]
fn the_systems_own_full_disk() {
    let r = write_atomic("/dev/full", |w| w.write_all(b"x"));
    assert_eq!(
        text(r, None),
        "cannot write /dev/full: No space left on device (os error 28); free some space or choose \
         another place; what was there before is untouched"
    );
    let meta = fs::metadata("/dev/full").unwrap();
    assert!(!meta.is_file(), "a device must never be replaced by a file");
}

#[test]
fn a_missing_folder_is_named() {
    let dir = Folder::new();
    let r = write_atomic(dir.file("no/such/a.bin"), |w| w.write_all(b"x"));
    assert_eq!(
        text(r, Some(&dir)),
        "cannot write DIR/no/such/a.bin: No such file or directory (os error 2); the folder \
         DIR/no/such does not exist: create it or correct the path"
    );
}

#[test]
fn a_folder_is_no_file() {
    let dir = Folder::new();
    let r = write_atomic(&dir, |w| w.write_all(b"x"));
    assert_eq!(text(r, Some(&dir)), "cannot write DIR: it is a folder; name a file in it");
}

#[test]
#[cfg(unix)]
fn a_folder_without_permission_is_an_error_and_a_file_in_the_way_too() {
    let dir = Folder::new();
    fs::write(dir.file("plain"), b"").unwrap();
    let r = write_atomic(dir.file("plain/a.bin"), |w| w.write_all(b"x"));
    assert_eq!(
        text(r, Some(&dir)),
        "cannot write DIR/plain/a.bin: Not a directory (os error 20); a part of the path is a \
         file, not a folder: correct the path"
    );
}

#[test]
#[cfg(unix)]
fn links_and_permissions_stay() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = Folder::new();
    let (real, link) = (dir.file("real"), dir.file("link"));
    fs::write(&real, b"old").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&real, &link).unwrap();
    write_atomic(&link, |w| w.write_all(b"new")).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read(&real).unwrap(), b"new");
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn only_the_litter_of_this_file_is_removed() {
    let dir = Folder::new();
    for name in
        [".a.bin.123.0.tmp", ".a.bin.9.77.tmp", ".a.bin.x.0.tmp", ".b.bin.1.0.tmp", "a.bin", "a.bin.tmp"]
    {
        fs::write(dir.file(name), b"").unwrap();
    }
    assert_eq!(remove_stale(dir.file("a.bin")).unwrap(), 2);
    assert_eq!(dir.names(), [".a.bin.x.0.tmp", ".b.bin.1.0.tmp", "a.bin", "a.bin.tmp"]);
    assert_eq!(remove_stale(dir.file("no/such/folder/a.bin")).unwrap(), 0);
}

#[test]
fn many_writers_of_one_file_never_mix() {
    let dir = Folder::new();
    let path = dir.file("a.bin");
    std::thread::scope(|s| {
        for k in 0..4u8 {
            let path = &path;
            s.spawn(move || {
                for _ in 0..20 {
                    write_atomic(path, |w| w.write_all(&[k; 10_000])).unwrap();
                }
            });
        }
    });
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 10_000);
    assert!(bytes.iter().all(|&b| b == bytes[0]));
    assert_eq!(dir.names(), ["a.bin"]);
}

//! Named data sets: the embedded digits, folders of files, and what is said when there are none.

use hadal_data::*;
use std::path::Path;

fn load(name: &str, split: Split, places: Places<'_>) -> Result<ImageDataset> {
    load_named(name, split, places, &mut |_| {})
}

#[test]
fn the_embedded_digits_are_as_described() {
    let spec = named_set("digits").unwrap();
    let train = load("digits", Split::Train, Places::default()).unwrap();
    let test = load("digits", Split::Test, Places::default()).unwrap();
    assert_eq!(train.shape(), [8000, 1, 28, 28]);
    assert_eq!(test.shape(), [2000, 1, 28, 28]);
    assert_eq!((spec.train, spec.test), (8000, 2000));
    assert_eq!(train.classes(), spec.classes);
    assert_eq!(train.histogram(), HISTOGRAM_TRAIN);
    assert_eq!(test.histogram(), HISTOGRAM_TEST);
    // A digit is bright in the middle and black in the corners.
    for i in 0..test.len() {
        let p = test.pixels(i).unwrap();
        assert_eq!((p[0], p[27], p[783]), (0, 0, 0), "sample {i}");
        assert!(p.iter().any(|&v| v > 200), "sample {i}");
    }
}
/// Counted by another program in the files that the digits were made of.
const HISTOGRAM_TRAIN: [usize; 10] = [805, 896, 797, 811, 789, 695, 805, 859, 767, 776];
const HISTOGRAM_TEST: [usize; 10] = [196, 231, 194, 221, 191, 168, 209, 211, 177, 202];

#[test]
fn names_are_forgiving_and_unknown_ones_get_the_nearest() {
    for name in ["Fashion_MNIST", "fashionmnist", " fashion-mnist "] {
        assert_eq!(named_set(name).unwrap().name, "fashion-mnist");
    }
    assert_eq!(named_set("CIFAR-10").unwrap().name, "cifar10");
    assert_eq!(
        named_set("minst").unwrap_err().to_string(),
        "there is no data set named 'minst' (did you mean 'mnist'?); known are digits, mnist, fashion-mnist, cifar10, cifar100"
    );
    assert!(!named_set("imagenet-22k-tables").unwrap_err().to_string().contains("did you mean"));
}

fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|d| out.extend(d.to_be_bytes()));
    out.extend_from_slice(data);
    out
}

#[test]
fn idx_sets_are_found_in_the_folders_that_tools_use() {
    for sub in ["", "mnist", "raw", "MNIST/raw"] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(sub);
        std::fs::create_dir_all(&folder).unwrap();
        let places = Places { data_dir: Some(dir.path()), ..Places::default() };
        let e = load("mnist", Split::Train, places).unwrap_err().to_string();
        assert!(e.contains("put train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz into"), "{e}");
        assert!(
            e.contains("https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz"),
            "{e}"
        );
        std::fs::write(folder.join("train-images-idx3-ubyte"), idx(&[2, 28, 28], &[3; 2 * 784])).unwrap();
        assert!(load("mnist", Split::Train, places).is_err(), "labels are still missing");
        std::fs::write(folder.join("train-labels-idx1-ubyte"), idx(&[2], &[9, 0])).unwrap();
        assert_eq!(load("mnist", Split::Train, places).unwrap().labels(), [9, 0], "{sub}");
        std::fs::write(folder.join("train-labels-idx1-ubyte"), idx(&[2], &[9, 10])).unwrap();
        let e = load("mnist", Split::Train, places).unwrap_err().to_string();
        assert!(e.contains("train-labels-idx1-ubyte: label 10 of sample 1 is outside 0..10"), "{e}");
    }
}

#[test]
fn cifar_is_read_from_files_and_from_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let places = Places { data_dir: Some(dir.path()), ..Places::default() };
    let record = |labels: &[u8], v: u8| [labels, &[v; 3072][..]].concat();
    let inner = dir.path().join("cifar-10-batches-bin");
    std::fs::create_dir(&inner).unwrap();
    for i in 1..=5u8 {
        std::fs::write(inner.join(format!("data_batch_{i}.bin")), record(&[i], i)).unwrap();
    }
    let set = load("cifar10", Split::Train, places).unwrap();
    assert_eq!((set.labels(), set.shape()), (&[1i64, 2, 3, 4, 5][..], [5, 3, 32, 32]));
    let e = load("cifar10", Split::Test, places).unwrap_err().to_string();
    assert!(e.contains("cifar-10-binary.tar.gz"), "{e}");

    let mut header = vec![0u8; 512];
    header[..25].copy_from_slice(b"cifar-100-binary/test.bin");
    header[124..135].copy_from_slice(format!("{:011o}", 3074).as_bytes());
    header[156] = b'0';
    let mut tar = header;
    tar.extend(record(&[1, 42], 8));
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, &tar).unwrap();
    std::fs::write(dir.path().join("cifar-100-binary.tar.gz"), gz.finish().unwrap()).unwrap();
    let set = load("cifar100", Split::Test, places).unwrap();
    assert_eq!(
        (set.labels(), set.classes().len(), set.classes()[42].as_str()),
        (&[42i64][..], 100, "leopard")
    );
    let e = load("cifar100", Split::Train, places).unwrap_err().to_string();
    assert!(e.contains("ends without train.bin; it is truncated or another archive"), "{e}");
}

#[test]
fn without_files_the_message_says_where_they_go() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Places { cache_dir: Some(dir.path()), ..Places::default() };
    let e = load("fashion-mnist", Split::Test, cache).unwrap_err().to_string();
    assert!(e.contains("put t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz into"), "{e}");
    assert!(e.contains(&dir.path().join("fashion-mnist").display().to_string()), "{e}");
    let e = load("mnist", Split::Test, Places::default()).unwrap_err().to_string();
    assert!(e.contains("give that as the data folder"), "{e}");
    let gone = Places { data_dir: Some(Path::new("no/such/folder")), ..Places::default() };
    assert!(load("mnist", Split::Test, gone).unwrap_err().to_string().contains("no/such/folder"));
    assert!(fetch("digits", dir.path(), &mut |_| {}).unwrap().is_empty(), "nothing to fetch");
}

#[test]
fn descriptions_are_consistent() {
    for spec in named_sets() {
        assert_eq!(named_set(spec.name).unwrap().name, spec.name);
        assert_eq!((spec.mean.len(), spec.std.len()), (spec.shape[0], spec.shape[0]));
        for file in spec.files {
            assert!(file.sha256.len() == 64 && file.sha256.bytes().all(|b| b.is_ascii_hexdigit()));
            assert!(file.urls.iter().all(|u| u.starts_with("http") && u.ends_with(file.name)));
        }
    }
}

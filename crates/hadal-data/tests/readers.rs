//! Readers: what they accept, the exact messages of what they do not, and hostile bytes.

use flate2::{Compression, write::GzEncoder};
use hadal_data::read::idx_images;
use hadal_data::*;
use std::io::Write;
use std::path::Path;

#[global_allocator]
static PEAK: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

fn idx(code: u8, dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, code, dims.len() as u8];
    dims.iter().for_each(|d| out.extend(d.to_be_bytes()));
    out.extend_from_slice(data);
    out
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut e = GzEncoder::new(Vec::new(), Compression::fast());
    e.write_all(bytes).unwrap();
    e.finish().unwrap()
}

fn message(bytes: &[u8]) -> String {
    parse_idx(bytes, "f").unwrap_err().to_string()
}

#[test]
fn idx_of_every_type() {
    let read = |code, data: &[u8]| parse_idx(&idx(code, &[2], data)[..], "f").unwrap().data;
    assert_eq!(read(8, &[1, 255]), IdxData::U8(vec![1, 255]));
    assert_eq!(read(9, &[1, 255]), IdxData::I8(vec![1, -1]));
    assert_eq!(read(0x0b, &[1, 2, 255, 254]), IdxData::I16(vec![258, -2]));
    assert_eq!(read(0x0c, &[0, 0, 1, 0, 255, 255, 255, 255]), IdxData::I32(vec![256, -1]));
    let floats: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| v.to_be_bytes()).collect();
    assert_eq!(read(0x0d, &floats), IdxData::F32(vec![1.5, -2.0]));
    let doubles: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|v| v.to_be_bytes()).collect();
    assert_eq!(read(0x0e, &doubles), IdxData::F64(vec![1.5, -2.0]));
    let scalar = parse_idx(&idx(8, &[], &[7])[..], "f").unwrap();
    assert_eq!((scalar.shape, scalar.data), (vec![], IdxData::U8(vec![7])));
}

#[test]
fn idx_files_plain_and_gzip_whatever_their_name() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = idx(8, &[2, 3], &[1, 2, 3, 4, 5, 6]);
    // Two members, as the embedded digits have.
    let two = [gz(&bytes[..9]), gz(&bytes[9..])].concat();
    for (name, content) in [("a", bytes.clone()), ("b.gz", gz(&bytes)), ("c", gz(&bytes)), ("d.gz", two)] {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        assert_eq!(read_idx(&path).unwrap().shape, [2, 3], "{name}");
    }
    let path = dir.path().join("cut.gz");
    let whole = gz(&bytes);
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert!(read_idx(&path).unwrap_err().to_string().contains("cut.gz"), "cut at {cut}");
    }
    let e = read_idx(&dir.path().join("none")).unwrap_err().to_string();
    assert!(e.starts_with("cannot read ") && e.contains("none: "), "{e}");
}

#[test]
fn idx_messages() {
    assert_eq!(message(&[0, 0, 8]), "f: is truncated within its 4-byte magic number; get the file again");
    assert!(message(b"PNG....").starts_with("f: is not an idx file: it begins with [50, 4e, 47, 2e]"));
    assert_eq!(
        message(&idx(8, &[2, 3], &[1; 5])),
        "f: is truncated: dimensions [2, 3] need 6 bytes of data but it has 5 of the 6 bytes; get the file again"
    );
    assert!(message(&idx(8, &[2, 3], &[1; 7])).contains("has bytes after the 6 that dimensions [2, 3] need"));
    assert!(message(&idx(8, &[u32::MAX; 4], &[])).contains("overflow; the header is corrupt"));
    assert!(message(&[0, 0, 8, 255, 0]).contains("the size of dimension 0 of 255"));
}

#[test]
fn idx_pairs_are_checked_against_each_other() {
    let parse = |b: Vec<u8>| parse_idx(&b[..], "f").unwrap();
    let images = || parse(idx(8, &[2, 1, 1], &[5, 6]));
    let names = || vec!["x".to_string(), "y".to_string()];
    let pair = |i: IdxArray, l: IdxArray| idx_images((i, "imgs"), (l, "labs"), names());
    let good = pair(images(), parse(idx(8, &[2], &[1, 0]))).unwrap();
    assert_eq!((good.labels(), good.shape()), (&[1i64, 0][..], [2, 1, 1, 1]));
    let fail = |i, l| pair(i, l).unwrap_err().to_string();
    assert_eq!(
        fail(images(), parse(idx(8, &[3], &[0; 3]))),
        "imgs and labs: 2 images but 3 labels; both must have one entry per sample"
    );
    assert_eq!(
        fail(images(), parse(idx(8, &[2], &[0, 2]))),
        "labs: label 2 of sample 1 is outside 0..2; check the labels or give the right number of classes"
    );
    assert!(fail(images(), images()).contains("is it the images file?"));
    assert!(fail(parse(idx(8, &[2], &[0, 2])), images()).contains("images are [n, height, width]"));
    assert!(fail(parse(idx(9, &[1, 1, 1], &[0])), images()).contains("pixels are u8"));
}

#[test]
fn cifar_records() {
    let record = |label: &[u8], v: u8| [label, &[v; 3072][..]].concat();
    let bytes = [record(&[3], 1), record(&[9], 2)].concat();
    let (pixels, labels) = parse_cifar10(&bytes, "f").unwrap();
    assert_eq!((pixels.len(), labels), (2 * 3072, vec![3, 9]));
    assert_eq!(
        parse_cifar10(&record(&[10], 0), "f").unwrap_err().to_string(),
        "f: label 10 of sample 0 is outside 0..10; check the labels or give the right number of classes"
    );
    let two = record(&[19, 99], 7);
    assert_eq!(parse_cifar100(&two, "f", CifarLabels::Fine).unwrap().1, [99]);
    assert_eq!(parse_cifar100(&two, "f", CifarLabels::Coarse).unwrap().1, [19]);
    assert!(parse_cifar100(&record(&[20, 0], 7), "f", CifarLabels::Coarse).is_err());
    for len in [0, 1, 3072, 3074] {
        let e = parse_cifar10(&vec![0; len], "f").unwrap_err().to_string();
        assert!(e.starts_with(&format!("f: has {len} bytes, which is not")), "{e}");
    }
}

#[test]
fn csv_of_numbers_and_names() {
    let text = "a,\"b,b\",colour,y\n1,2.5,red,0\n-3e1,4,\"blu\"\"e\",1\r\n5,6,red,1\n";
    let set = CsvDataset::parse(text, "f", &CsvOptions::target("y")).unwrap();
    let arrays = set.arrays();
    assert_eq!(arrays.inputs().as_f32().unwrap(), [1.0, 2.5, 1.0, -30.0, 4.0, 0.0, 5.0, 6.0, 1.0]);
    assert_eq!(arrays.targets().as_f32().unwrap(), [0.0, 1.0, 1.0]);
    assert_eq!(set.features()[2].kind, ColumnKind::Categorical(vec!["blu\"e".into(), "red".into()]));
    let options =
        CsvOptions { task: Task::Classification, drop: vec!["colour".into()], ..CsvOptions::target("y") };
    let set = CsvDataset::parse(text, "f", &options).unwrap();
    assert_eq!(set.arrays().targets().as_i64().unwrap(), [0, 1, 1]);
    assert_eq!(set.get(1, &mut SampleCtx::new(0, 0)).unwrap().input.as_f32().unwrap(), [-30.0, 4.0]);
    // Numbered classes are in the order of numbers.
    let text: String =
        std::iter::once("x,y\n".to_string()).chain((0..11).map(|i| format!("0,{i}\n"))).collect();
    let options = CsvOptions { task: Task::Classification, ..CsvOptions::target("y") };
    let set = CsvDataset::parse(&text, "f", &options).unwrap();
    assert_eq!(set.class_names().unwrap()[10], "10");
}

#[test]
fn csv_missing_values() {
    let text = "a,c,y\n1,p,1\nNA,,2\n3,p,3\n";
    let with = |missing| CsvDataset::parse(text, "f", &CsvOptions { missing, ..CsvOptions::target("y") });
    let column = |m| {
        with(m).unwrap().arrays().inputs().as_f32().unwrap().iter().step_by(2).copied().collect::<Vec<_>>()
    };
    assert_eq!(column(Missing::Fill(-1.0)), [1.0, -1.0, 3.0]);
    assert_eq!(column(Missing::Mean), [1.0, 2.0, 3.0]);
    let e = with(Missing::Error).unwrap_err().to_string();
    assert_eq!(e, "f, line 3, column 'a': has no value; drop the row or column, or choose how to fill it");
    let options = CsvOptions { missing: Missing::Mean, ..CsvOptions::target("y") };
    let e = CsvDataset::parse("a,y\n1,\n", "f", &options).unwrap_err().to_string();
    assert!(e.starts_with("f, line 2, column 'y': has no value"), "a target is never made up: {e}");
}

#[test]
fn csv_numbers_that_are_not_finite_do_not_make_names_of_a_column() {
    let parse = |text: &str, o: &CsvOptions| CsvDataset::parse(text, "f", o);
    let y = CsvOptions::target("y");
    for broken in ["inf", "-Infinity", "1e999", "NAN"] {
        let e = parse(&format!("a,y\n1,1\n{broken},2\n"), &y).unwrap_err().to_string();
        let want = format!(
            "f, line 3, column 'a': '{broken}' is not a finite number; correct it, or name it as missing"
        );
        assert_eq!(e, want);
    }
    // Among names it is one.
    let set = parse("a,y\nred,1\ninf,2\n", &y).unwrap();
    assert_eq!(set.features()[0].kind, ColumnKind::Categorical(vec!["inf".into(), "red".into()]));
    let missing = CsvOptions { missing: Missing::Fill(0.0), missing_names: vec!["inf".into()], ..y };
    assert!(parse("a,y\n1,1\ninf,2\n", &missing).is_ok());
}

#[test]
fn csv_messages() {
    let fail = |text: &str, o: CsvOptions| CsvDataset::parse(text, "f", &o).unwrap_err().to_string();
    let y = || CsvOptions::target("y");
    assert_eq!(fail("", y()), "f is empty: it needs a header line and rows");
    assert_eq!(fail("x,y\n", y()), "f is empty: it has a header line but no rows");
    assert_eq!(fail("x,z\n1,2\n", y()), "f, line 1: there is no target column 'y'; the columns are x, z");
    assert_eq!(fail("x,y\n1,2\n\n1\n", y()), "f, line 4: has 1 cells, the header has 2");
    assert_eq!(fail("x,x,y\n1,2,3\n", y()), "f, line 1: the header names 'x' twice");
    assert_eq!(fail("y\n1\n", y()), "f, line 1: no feature columns are left");
    let strict = CsvOptions { allow_text: false, ..y() };
    assert_eq!(fail("x,y\n1,2\nred,3\n", strict), "f, line 3, column 'x': 'red' is not a finite number");
    let regression = CsvOptions { task: Task::Regression, ..y() };
    assert_eq!(fail("x,y\n1,inf\n", regression), "f, line 2, column 'y': 'inf' is not a finite number");
    assert_eq!(fail("x,y\n1e300,1\n", y()), "f, line 2, column 'x': '1e300' is too large for f32");
    let both = CsvOptions { features: vec!["y".into()], ..y() };
    assert_eq!(fail("x,y\n1,1\n", both), "f, line 1: 'y' is both feature and target");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.csv");
    std::fs::write(&path, b"x,y\n1,2\n\xff,3\n").unwrap();
    assert!(
        CsvDataset::open(&path, &y())
            .unwrap_err()
            .to_string()
            .ends_with("l.csv, line 3: is not UTF-8 text; convert the file")
    );
}

/// A fixed sequence of numbers, for mutations that are the same every time.
struct Steps(u64);
impl Steps {
    fn next(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}

fn mutate(base: &[u8], steps: &mut Steps) -> Vec<u8> {
    let mut bytes = base.to_vec();
    for _ in 0..=steps.next(4) {
        let at = steps.next(bytes.len());
        match steps.next(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, steps.next(256) as u8),
            2 if !bytes.is_empty() => bytes[at] = [0, 0x7f, 0x80, 0xff, b'"', b',', b'\n'][steps.next(7)],
            3 if !bytes.is_empty() => bytes[at] ^= 1 << steps.next(8),
            _ => {
                let piece = bytes[at.min(bytes.len())..].to_vec();
                bytes.extend(piece.iter().take(64));
            }
        }
    }
    bytes
}

#[test]
fn hostile_bytes_end_in_errors_without_panic_or_large_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hostile");
    let plain = idx(8, &[3, 2, 2], &[9; 12]);
    let wide = idx(0x0e, &[4], &[1; 32]);
    let packed = gz(&plain);
    let table = b"a,\"b\",c\n1,2,x\n\"3\",,y\n5,6,\"z\nz\"\n".to_vec();
    let cifar = [&[3u8][..], &[7; 3072]].concat();
    let mut steps = Steps(1);
    let before = PEAK.current_usage();
    PEAK.reset_peak_usage();
    let mut accepted = 0;
    for round in 0..8_000 {
        let base = [&plain, &wide][round % 2];
        accepted += usize::from(parse_idx(&mutate(base, &mut steps)[..], "f").is_ok());
        let text = String::from_utf8_lossy(&mutate(&table, &mut steps)).into_owned();
        for missing in [Missing::Error, Missing::Mean] {
            let _ = CsvDataset::parse(&text, "f", &CsvOptions { missing, ..CsvOptions::target("c") });
        }
        if round % 10 == 0 {
            let _ = parse_cifar10(&mutate(&cifar, &mut steps), "f");
            let _ = parse_cifar100(&mutate(&cifar, &mut steps), "f", CifarLabels::Fine);
            std::fs::write(&path, mutate(&packed, &mut steps)).unwrap();
            let _ = read_idx(Path::new(&path));
        }
    }
    assert!(accepted > 0 && accepted < 8_000, "mutations reach past the header: {accepted}");
    // Every input is under 7 kB; what is asked for must be of that order, not what headers say.
    // Other tests of this file may run meanwhile; together they need far less than this.
    let peak = PEAK.peak_usage().saturating_sub(before);
    assert!(peak < 2 << 20, "{peak} bytes were held at once");
}

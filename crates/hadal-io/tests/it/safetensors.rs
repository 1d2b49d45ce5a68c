use crate::{Folder, text};
use hadal_io::safetensors::{self, SafeFile, SafeTensors};
use hadal_io::{DType, RawTensor};
use std::collections::BTreeMap;

/// A file with this header and data.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(data);
    out
}

fn message(bytes: &[u8]) -> String {
    let e = text(safetensors::from_bytes(bytes), None);
    e.strip_prefix("cannot read safetensors file (bytes in memory): ").unwrap().to_string()
}

const DAMAGED: &str = "; the file is damaged or not of this format: make or download it again";
const TRUNCATED: &str = "; the file is truncated: make or download it again";

fn refuses(header: &str, data: &[u8], problem: &str, hint: &str) {
    assert_eq!(message(&file(header, data)), format!("{problem}{hint}"));
}

fn sample() -> Vec<(String, RawTensor)> {
    let t = |dtype, shape: &[usize], data: Vec<u8>| RawTensor { dtype, shape: shape.to_vec(), data };
    vec![
        ("z.half".into(), t(DType::F16, &[3], (0..6).collect())),
        ("a.weight".into(), t(DType::F32, &[2, 2], (0..16).collect())),
        ("flag".into(), t(DType::Bool, &[3], vec![1, 0, 1])),
        ("scalar".into(), t(DType::F64, &[], (0..8).collect())),
        ("empty".into(), t(DType::I64, &[0, 5], vec![])),
        ("b\"\u{e9}\n".into(), t(DType::BF16, &[1, 1, 1], vec![3, 4])),
        ("i".into(), t(DType::I32, &[1], vec![1, 2, 3, 4])),
        ("u".into(), t(DType::U8, &[5], vec![5; 5])),
        ("steps".into(), t(DType::I64, &[1], vec![9; 8])),
    ]
}

fn views(t: &[(String, RawTensor)]) -> Vec<(&str, hadal_io::RawView<'_>)> {
    t.iter().map(|(n, t)| (n.as_str(), t.view())).collect()
}

fn metadata() -> BTreeMap<String, String> {
    [("format", "pt"), ("a \"quoted\" key", "line\nline")].map(|(k, v)| (k.into(), v.into())).into()
}

#[test]
fn what_is_written_is_read_back_in_order_and_byte_for_byte_again() {
    let dir = Folder::new();
    let path = dir.file("m.safetensors");
    safetensors::write(&path, &views(&sample()), &metadata()).unwrap();
    let first = std::fs::read(&path).unwrap();
    let loaded = safetensors::read(&path).unwrap();
    assert_eq!(loaded, SafeTensors { tensors: sample(), metadata: metadata() });
    assert_eq!(safetensors::to_bytes(&views(&loaded.tensors), &loaded.metadata).unwrap(), first);
    assert_eq!(safetensors::from_bytes(&first).unwrap(), loaded);
}

#[test]
fn every_tensor_is_aligned_to_its_element() {
    let bytes = safetensors::to_bytes(&views(&sample()), &metadata()).unwrap();
    let dir = Folder::new();
    let path = dir.file("m.safetensors");
    std::fs::write(&path, &bytes).unwrap();
    for e in safetensors::inspect(&path).unwrap().entries {
        assert_eq!(e.offset % e.dtype.unwrap().size() as u64, 0, "{}", e.name);
    }
}

#[test]
fn the_reference_crate_reads_what_we_write() {
    let bytes = safetensors::to_bytes(&views(&sample()), &metadata()).unwrap();
    let theirs = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(theirs.len(), sample().len());
    for (name, t) in sample() {
        let v = theirs.tensor(&name).unwrap();
        assert_eq!((v.shape(), v.data()), (t.shape.as_slice(), t.data.as_slice()), "{name}");
        assert_eq!(format!("{:?}", v.dtype()).to_lowercase(), t.dtype.name(), "{name}");
    }
    let (_, header) = ::safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
}

#[test]
fn we_read_what_the_reference_crate_writes_and_write_the_same_bytes() {
    use ::safetensors::tensor::{Dtype, TensorView};
    let data: Vec<u8> = (0..24).collect();
    // In the reference's own order, all of it is reproduced.
    let theirs = ::safetensors::serialize(
        [
            ("a", TensorView::new(Dtype::F32, vec![2, 2], &data[..16]).unwrap()),
            ("b", TensorView::new(Dtype::F16, vec![1], &data[..2]).unwrap()),
            ("c", TensorView::new(Dtype::U8, vec![3], &data[..3]).unwrap()),
        ],
        None,
    )
    .unwrap();
    let ours = safetensors::from_bytes(&theirs).unwrap();
    assert_eq!(ours.get("a").unwrap().data, &data[..16]);
    assert_eq!(ours.get("b").unwrap().dtype, DType::F16);
    assert_eq!(safetensors::to_bytes(&views(&ours.tensors), &ours.metadata).unwrap(), theirs);
}

#[test]
fn a_file_without_tensors() {
    let bytes = safetensors::to_bytes(&[], &BTreeMap::new()).unwrap();
    assert_eq!(bytes, b"\x08\0\0\0\0\0\0\0{}      ");
    assert_eq!(safetensors::from_bytes(&bytes).unwrap(), SafeTensors::default());
}

#[test]
fn single_tensors_are_read_by_name() {
    let dir = Folder::new();
    let path = dir.file("m.safetensors");
    safetensors::write(&path, &views(&sample()), &metadata()).unwrap();
    let mut file = SafeFile::open(&path).unwrap();
    assert_eq!(file.header().entries.len(), sample().len());
    for (name, t) in sample().into_iter().rev() {
        assert_eq!(file.tensor(&name).unwrap(), t);
    }
    assert_eq!(
        text(file.tensor("fc.bias"), Some(&dir)),
        "cannot read safetensors file DIR/m.safetensors: it has no tensor \"fc.bias\"; list its \
         tensors with `hadal inspect`"
    );
}

#[test]
fn rule_header_length() {
    assert_eq!(
        message(b"\x01\0\0"),
        format!("it has 3 bytes, fewer than the 8 of the header's length{TRUNCATED}")
    );
    assert_eq!(message(b""), format!("it has 0 bytes, fewer than the 8 of the header's length{TRUNCATED}"));
    assert_eq!(
        message(b"\x09\0\0\0\0\0\0\0{}"),
        format!("the header's length is 9 bytes, but only 2 follow{TRUNCATED}")
    );
    assert_eq!(
        message(&[0xFF; 16]),
        format!(
            "the header's length is 18446744073709551615 bytes, more than the format's 100000000{DAMAGED}"
        )
    );
    assert_eq!(
        message(&100_000_001u64.to_le_bytes()),
        format!("the header's length is 100000001 bytes, more than the format's 100000000{DAMAGED}")
    );
}

#[test]
fn rule_header_is_a_json_object() {
    refuses(" {}", b"", "the header does not start with `{`", DAMAGED);
    refuses("", b"", "the header does not start with `{`", DAMAGED);
    refuses(
        "{\"a\"",
        b"",
        "the header's entry of tensor \"a\": EOF while parsing an object at line 1 column 4",
        DAMAGED,
    );
    refuses("{} x", b"", "the header is not a JSON object: trailing characters at line 1 column 4", DAMAGED);
    refuses(
        "{\"a\":7}",
        b"",
        "the header's entry of tensor \"a\": invalid type: integer `7`, expected an object with dtype, shape and data_offsets at line 1 column 6",
        DAMAGED,
    );
    refuses(
        r#"{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}"#,
        b"x",
        "the header's entry of tensor \"a\": invalid value: integer `-1`, expected u64 at line 1 column 30",
        DAMAGED,
    );
    refuses(
        r#"{"a":{"dtype":"U8","shape":[1]}}"#,
        b"x",
        "the header's entry of tensor \"a\": missing field `data_offsets` at line 1 column 31",
        DAMAGED,
    );
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    assert!(message(&file(&deep, b"")).starts_with("the header's entry of tensor \"a\": "));
}

#[test]
fn rule_names_occur_once() {
    refuses(
        r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#,
        b"xy",
        "the header's entry of tensor \"a\": the name occurs twice at line 1 column 56",
        DAMAGED,
    );
}

#[test]
fn rule_metadata_is_strings_to_strings() {
    refuses(
        r#"{"__metadata__":{"epoch":3}}"#,
        b"",
        "\"__metadata__\" does not map strings to strings: invalid type: integer `3`, expected a string at line 1 column 26",
        DAMAGED,
    );
}

#[test]
fn rule_offsets_are_in_order_and_in_the_file() {
    refuses(
        r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[2,1]}}"#,
        b"xy",
        "tensor \"a\" ends at 1, before its begin 2",
        DAMAGED,
    );
    refuses(
        r#"{"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}"#,
        b"12345678",
        "tensor \"a\" ends at 9, but only 8 bytes of data are there",
        TRUNCATED,
    );
}

#[test]
fn rule_no_overlap_no_hole_nothing_left_over() {
    let two = |b: (u64, u64), c: (u64, u64)| {
        format!(
            r#"{{"b":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}},"c":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}}}}"#,
            b.1 - b.0,
            b.0,
            b.1,
            c.1 - c.0,
            c.0,
            c.1
        )
    };
    refuses(&two((0, 3), (2, 4)), b"1234", "tensors \"b\" and \"c\" overlap", DAMAGED);
    refuses(&two((0, 1), (3, 4)), b"1234", "2 bytes between tensors \"b\" and \"c\" belong to none", DAMAGED);
    refuses(&two((1, 2), (2, 4)), b"1234", "the 1 bytes before tensor \"b\" belong to none", DAMAGED);
    refuses(&two((0, 1), (1, 2)), b"1234", "the last 2 bytes belong to no tensor", DAMAGED);
    refuses("{}", b"1", "the last 1 bytes belong to no tensor", DAMAGED);
    // Listed in another order than laid out: allowed.
    let loaded = safetensors::from_bytes(&file(&two((2, 4), (0, 2)), b"1234")).unwrap();
    assert_eq!(loaded.tensors[0].0, "b");
    assert_eq!(loaded.get("b").unwrap().data, b"34");
}

#[test]
fn rule_sizes_are_what_dtype_and_shape_say() {
    refuses(
        r#"{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,8]}}"#,
        b"12345678",
        "tensor \"a\" of dtype F32 and shape [2, 3] needs 24 bytes, but its offsets give it 8",
        DAMAGED,
    );
    refuses(
        r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#,
        b"",
        "tensor \"a\" of dtype F32 and shape [4294967296, 4294967296] needs more bytes than can be counted, but its offsets give it 0",
        DAMAGED,
    );
    refuses(
        r#"{"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}}"#,
        b"\x01\x02",
        "tensor \"a\" is of dtype bool, but its element 1 is the byte 2, neither 0 nor 1",
        DAMAGED,
    );
}

#[test]
fn rule_the_dtype_is_one_of_ours() {
    let header = r#"{"enc.w":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}"#;
    refuses(
        header,
        b"12",
        "tensor \"enc.w\" is of dtype F8_E4M3, which Hadal does not have",
        "; convert it to one of F32, F64, F16, BF16, I64, I32, U8, BOOL first",
    );
    // Its header can be looked at all the same.
    let dir = Folder::new();
    let path = dir.file("m.safetensors");
    std::fs::write(&path, file(header, b"12")).unwrap();
    let entry = &safetensors::inspect(&path).unwrap().entries[0];
    assert_eq!((entry.dtype, entry.dtype_name.as_str(), entry.bytes), (None, "F8_E4M3", 2));
}

#[test]
fn what_cannot_be_written_is_refused_before_the_file_is_touched() {
    let dir = Folder::new();
    let path = dir.file("m.safetensors");
    let t = RawTensor { dtype: DType::F32, shape: vec![2], data: vec![0; 8] };
    let none = BTreeMap::new();
    let refuse = |tensors: &[(&str, hadal_io::RawView<'_>)]| {
        let e = text(safetensors::write(&path, tensors, &none), Some(&dir));
        e.strip_prefix("cannot write safetensors file DIR/m.safetensors: ").unwrap().to_string()
    };
    assert_eq!(
        refuse(&[("w", t.view()), ("w", t.view())]),
        "two tensors are named \"w\"; give each its own name"
    );
    assert_eq!(
        refuse(&[("__metadata__", t.view())]),
        "a tensor is named \"__metadata__\", which the format reserves; rename it"
    );
    let short = RawTensor { data: vec![0; 7], ..t.clone() };
    assert_eq!(
        refuse(&[("w", short.view())]),
        "tensor \"w\" of dtype f32 and shape [2] cannot have 7 bytes of data; pass exactly (product of the shape) x \
         (size of the dtype) bytes"
    );
    assert!(dir.names().is_empty());
}

#[test]
fn a_full_disk_keeps_the_old_weights() {
    let dir = Folder::new();
    let path = dir.file("m.safetensors");
    safetensors::write(&path, &views(&sample()), &metadata()).unwrap();
    let old = std::fs::read(&path).unwrap();
    let r =
        hadal_io::atomic::with_disk_of(40, || safetensors::write(&path, &views(&sample()), &BTreeMap::new()));
    assert_eq!(r.unwrap_err().os_kind(), Some(std::io::ErrorKind::StorageFull));
    assert_eq!(std::fs::read(&path).unwrap(), old);
    assert_eq!(dir.names(), ["m.safetensors"]);
}

#[test]
fn files_that_are_none() {
    let dir = Folder::new();
    assert_eq!(
        text(safetensors::read(dir.file("no.safetensors")), Some(&dir)),
        "cannot read safetensors file DIR/no.safetensors: No such file or directory (os error 2); check the path"
    );
    assert_eq!(
        text(safetensors::read(&dir), Some(&dir)),
        "cannot read safetensors file DIR: it is a folder; name a file in it"
    );
    if cfg!(unix) {
        assert_eq!(
            text(safetensors::read("/dev/zero"), None),
            "cannot read safetensors file /dev/zero: it is a device or a pipe, which has no length; copy it into a file first"
        );
    }
}

/// Made by the Python package (tools/golden/make_io_fixtures.py).
#[test]
fn a_file_of_the_python_package() {
    let bytes = include_bytes!("../data/numpy.safetensors");
    let f = safetensors::from_bytes(bytes).unwrap();
    assert_eq!(f.metadata["format"], "np");
    let w: Vec<u8> = (0..6).flat_map(|v| (v as f32).to_le_bytes()).collect();
    assert_eq!(f.get("layer.weight").unwrap(), &RawTensor { dtype: DType::F32, shape: vec![2, 3], data: w });
    assert_eq!(f.get("layer.bias").unwrap().dtype, DType::F64);
    assert_eq!(f.get("mask").unwrap().data, [1, 0]);
    assert_eq!(safetensors::to_bytes(&views(&f.tensors), &f.metadata).unwrap(), bytes);
}

#[test]
fn a_sealed_file_notices_every_flipped_byte() {
    let dir = Folder::new();
    let path = dir.file("sealed.safetensors");
    let a = RawTensor { dtype: DType::F32, shape: vec![3], data: (0..12).collect() };
    let b = RawTensor { dtype: DType::Bool, shape: vec![2], data: vec![0, 1] };
    let tensors = [("a", a.view()), ("b", b.view())];
    let metadata: BTreeMap<String, String> = [("step".to_string(), "7".to_string())].into();
    safetensors::write_sealed(&path, &tensors, &metadata).unwrap();
    let good = std::fs::read(&path).unwrap();
    let back = safetensors::read(&path).unwrap();
    assert_eq!((back.get("a"), back.get("b"), &back.metadata), (Some(&a), Some(&b), &metadata));
    // The reference implementation reads it, and sees two more strings.
    let (_, header) = ::safetensors::SafeTensors::read_metadata(&good).unwrap();
    let strings = header.metadata().clone().unwrap();
    assert_eq!((strings["hadal.digest"].as_str(), strings["hadal.sha256"].len()), ("sha256", 64));
    for at in 0..good.len() {
        for flip in [0x01, 0x20, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            assert!(safetensors::from_bytes(&bad).is_err(), "byte {at} changed by {flip:#x}");
        }
    }
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &bad).unwrap();
    let e = text(safetensors::read(&path), Some(&dir));
    assert!(
        e.starts_with(
            "cannot read safetensors file DIR/sealed.safetensors: its content is not what was written: the SHA-256 is "
        ) && e.contains("; the disk or a copy has damaged it: take an earlier checkpoint or a backup"),
        "{e}"
    );
    // A dtype that the damage made is not asked to be converted.
    let text_of_dtype = good.windows(3).position(|w| w == b"F32").unwrap();
    let mut bad = good.clone();
    bad[text_of_dtype + 1..text_of_dtype + 3].copy_from_slice(b"08");
    assert!(text(safetensors::from_bytes(&bad), None).contains("not what was written"));
    // A digest is of one file only.
    let e = text(safetensors::write(&path, &tensors, &strings.into_iter().collect()), Some(&dir));
    assert!(e.contains("the key \"hadal.digest\", which is reserved"), "{e}");
}

/// What the digest costs: `cargo test --release -p hadal-io --test it -- --ignored --nocapture digest`.
#[test]
#[ignore = "a measurement"]
fn cost_of_the_digest() {
    let dir = Folder::new();
    let data = RawTensor { dtype: DType::F32, shape: vec![16 << 20], data: vec![1; 64 << 20] };
    let tensors = [("a", data.view())];
    let best = |f: &dyn Fn()| {
        let time = |_| {
            let start = std::time::Instant::now();
            f();
            start.elapsed().as_secs_f64() * 1e3
        };
        (0..7).map(time).fold(f64::INFINITY, f64::min)
    };
    let none = BTreeMap::new();
    let (plain, sealed) = (dir.file("plain"), dir.file("sealed"));
    let w = [
        best(&|| safetensors::write(&plain, &tensors, &none).unwrap()),
        best(&|| safetensors::write_sealed(&sealed, &tensors, &none).unwrap()),
        best(&|| drop(safetensors::read(&plain).unwrap())),
        best(&|| drop(safetensors::read(&sealed).unwrap())),
    ];
    println!("64 MiB in ms: write {:.1}, sealed {:.1}; read {:.1}, sealed {:.1}", w[0], w[1], w[2], w[3]);
}

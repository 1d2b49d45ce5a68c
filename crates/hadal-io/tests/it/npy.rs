use crate::{Folder, text};
use hadal_io::npy;
use hadal_io::{DType, RawTensor};

macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!("../data/", $name)).as_slice()
    };
}

fn t(dtype: DType, shape: &[usize], data: Vec<u8>) -> RawTensor {
    RawTensor { dtype, shape: shape.to_vec(), data }
}

fn bytes<T: Copy, const N: usize>(values: impl IntoIterator<Item = T>, le: fn(T) -> [u8; N]) -> Vec<u8> {
    values.into_iter().flat_map(le).collect()
}

#[test]
fn files_of_numpy() {
    let read = |b: &[u8]| npy::from_bytes(b).unwrap();
    let c = t(DType::F32, &[2, 3], bytes((0..6).map(|v| v as f32), f32::to_le_bytes));
    assert_eq!(read(data!("c_f4.npy")), c);
    let f = t(DType::I32, &[2, 3, 4], bytes(0..24i32, i32::to_le_bytes));
    assert_eq!(read(data!("fortran_i4.npy")), f);
    let big = t(DType::F64, &[2, 3], bytes((0..6).map(|v| v as f64 / 4.0), f64::to_le_bytes));
    assert_eq!(read(data!("big_f8.npy")), big);
    assert_eq!(read(data!("scalar_b1.npy")), t(DType::Bool, &[], vec![1]));
    assert_eq!(read(data!("empty_f2.npy")), t(DType::F16, &[0, 3], vec![]));
    let i = t(DType::I64, &[2, 3], bytes(0..6i64, i64::to_le_bytes));
    assert_eq!(read(data!("version2.npy")), i);
    assert_eq!(read(data!("version3.npy")), i);
}

#[test]
fn what_is_written_is_what_numpy_writes() {
    for b in [data!("c_f4.npy"), data!("scalar_b1.npy"), data!("empty_f2.npy")] {
        assert_eq!(npy::to_bytes(npy::from_bytes(b).unwrap().view()).unwrap(), b);
    }
}

#[test]
fn every_dtype_and_shape_goes_round() {
    let dir = Folder::new();
    let path = dir.file("x.npy");
    for dtype in DType::ALL.into_iter().filter(|&d| d != DType::BF16) {
        for shape in [&[][..], &[0], &[1], &[7], &[2, 3], &[3, 0, 2], &[1, 2, 1, 2, 1]] {
            let n = shape.iter().product::<usize>() * dtype.size();
            let x = t(dtype, shape, (0..n).map(|i| (i % 2) as u8).collect());
            npy::write(&path, x.view()).unwrap();
            assert_eq!(npy::read(&path).unwrap(), x);
            assert_eq!(std::fs::read(&path).unwrap().len() % 64, n % 64);
        }
    }
    // A shape whose text does not fit version 1.
    let long = t(DType::U8, &[1; 30_000], vec![1]);
    let b = npy::to_bytes(long.view()).unwrap();
    assert_eq!(b[6], 2);
}

#[test]
fn archives() {
    let x = t(DType::U8, &[2, 3], (0..6).collect());
    let y = t(DType::F32, &[], 2.5f32.to_le_bytes().to_vec());
    let z = t(DType::F64, &[50, 50], vec![0; 20_000]);
    let limit = npy::NPZ_LIMIT_BYTES;
    assert_eq!(
        npy::npz_from_bytes(data!("plain.npz"), limit).unwrap(),
        [("x".to_string(), x.clone()), ("y".to_string(), y.clone())]
    );
    assert_eq!(
        npy::npz_from_bytes(data!("packed.npz"), limit).unwrap(),
        [("x".to_string(), x.clone()), ("z".to_string(), z.clone())]
    );
    let dir = Folder::new();
    for compress in [false, true] {
        let path = dir.file("a.npz");
        let write = || npy::write_npz(&path, &[("z", z.view()), ("a/b", y.view())], compress).unwrap();
        write();
        let first = std::fs::read(&path).unwrap();
        assert_eq!(first.len() > 20_000, !compress);
        let loaded = npy::read_npz(&path).unwrap();
        assert_eq!(loaded, [("z".to_string(), z.clone()), ("a/b".to_string(), y.clone())]);
        write();
        assert_eq!(std::fs::read(&path).unwrap(), first, "the same bytes every time");
    }
    assert_eq!(
        text(npy::npz_from_bytes(data!("packed.npz"), 10_000), None),
        "cannot read npz file (bytes in memory): its arrays have more than 10000 bytes in all; split the file"
    );
    assert_eq!(
        text(npy::write_npz(dir.file("b.npz"), &[("x", x.view()), ("x", y.view())], false), Some(&dir)),
        "cannot write npz file DIR/b.npz: two arrays are named \"x\"; give each its own name"
    );
}

/// An npy file of version 1 with this header text.
fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend_from_slice(&(header.len() as u16).to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(data);
    out
}

#[test]
fn headers_that_are_unusual_but_right() {
    for header in [
        "{'shape':(2,),'descr':'|u1','fortran_order':False}",
        "{\"descr\": \"|u1\", \"fortran_order\": True, \"shape\": (2L,), }\n",
        "  {'descr' : '<u1' , 'fortran_order' : False , 'shape' : ( 2 , ) , } \n",
        "{'descr': '>u1', 'fortran_order': False, 'shape': (2)}",
    ] {
        assert_eq!(npy::from_bytes(&with_header(header, b"ab")).unwrap(), t(DType::U8, &[2], b"ab".to_vec()));
    }
}

#[test]
fn headers_that_are_wrong() {
    const DAMAGED: &str = "; the file is damaged or not of this format: make or download it again";
    const TRUNCATED: &str = "; the file is truncated: make or download it again";
    let message = |b: &[u8]| {
        let e = text(npy::from_bytes(b), None);
        e.strip_prefix("cannot read npy file (bytes in memory): ").unwrap().to_string()
    };
    let header = |h: &str| message(&with_header(h, b"ab"));
    assert_eq!(message(b"PK\x03\x04"), format!("it does not start with \\x93NUMPY{DAMAGED}"));
    assert_eq!(message(b"\x93NUMPY\x01"), format!("it ends inside the header{TRUNCATED}"));
    assert_eq!(
        message(b"\x93NUMPY\x04\x00\x00\x00"),
        "its format version is 4.0, but 1, 2 and 3 are known; save it again with a current NumPy"
    );
    assert_eq!(
        message(b"\x93NUMPY\x02\x00\xFF\xFF\xFF\xFF"),
        format!("its header has 4294967295 bytes, more than 65536{DAMAGED}")
    );
    assert_eq!(header("nonsense"), format!("its header has 'n' where '{{' should be{DAMAGED}"));
    assert_eq!(header("{'descr': '<f4"), format!("its header has a string without an end{DAMAGED}"));
    assert_eq!(header("{'descr': '<f4'"), format!("its header has its end where '}}' should be{DAMAGED}"));
    assert_eq!(header("{'shape': (2,)}"), format!("its header lacks the key \"descr\"{DAMAGED}"));
    assert_eq!(header("{'x': 1}"), format!("its header has an unexpected key \"x\"{DAMAGED}"));
    assert_eq!(header("{'shape': (-1,)}"), format!("its header has '-' where a size should be{DAMAGED}"));
    assert_eq!(
        header("{'fortran_order': 0}"),
        format!("its header has '0' where True or False should be{DAMAGED}")
    );
    assert_eq!(
        header("{'shape': (99999999999999999999,)}"),
        format!("its header has the size 99999999999999999999, which cannot be counted{DAMAGED}")
    );
    let full = |descr: &str, shape: &str| {
        header(&format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}"))
    };
    assert_eq!(
        full("<f4", "(4294967296, 4294967296)"),
        format!("an array of shape [4294967296, 4294967296] has more bytes than can be counted{DAMAGED}")
    );
    assert_eq!(
        full("<f4", "(3, 2)"),
        format!(
            "an array of dtype f32 and shape [3, 2] needs 24 bytes, but only 2 follow the header{TRUNCATED}"
        )
    );
    assert_eq!(full("|u1", "(1,)"), format!("1 bytes are left over after the array{DAMAGED}"));
    assert_eq!(
        full("|b1", "(2,)"),
        format!(
            "tensor \"array\" is of dtype bool, but its element 0 is the byte 97, neither 0 nor 1{DAMAGED}"
        )
    );
    assert_eq!(
        message(data!("complex.npy")),
        "its dtype is \"<c8\", which Hadal does not have; convert it to one of f4, f8, f2, i8, i4, u1, b1 with \
         NumPy's astype first"
    );
    assert_eq!(
        message(data!("records.npy")),
        "it holds records with named fields; save each field as its own array first"
    );
}

#[test]
fn what_cannot_be_written() {
    let half = t(DType::BF16, &[1], vec![0, 0]);
    assert_eq!(
        text(npy::to_bytes(half.view()), None),
        "cannot write npy file (bytes in memory): \"array\" is of dtype bf16, which NumPy does not have; convert it \
         to f32 first, or save it as safetensors"
    );
    let short = t(DType::F32, &[2], vec![0]);
    assert!(text(npy::to_bytes(short.view()), None).contains("cannot have 1 bytes of data"));
}

#[test]
fn an_archive_that_is_none() {
    let dir = Folder::new();
    let path = dir.file("a.npz");
    std::fs::write(&path, b"this is no zip").unwrap();
    assert_eq!(
        text(npy::read_npz(&path), Some(&dir)),
        "cannot read npz file DIR/a.npz: the zip archive: invalid Zip archive: Could not find EOCD; the file is \
         damaged or not of this format: make or download it again"
    );
}

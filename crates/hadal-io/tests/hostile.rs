//! Every reader against damaged and made-up files: never a panic, and never more memory than a
//! small multiple of what the file has.
//!
//! Deterministic: the mutations come from a counter-seeded generator, so a failure repeats.

use hadal_io::{Image, npy, safetensors, tensorboard};
use peak_alloc::PeakAlloc;
use std::sync::Mutex;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The tests measure the whole process's memory, so one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!("data/", $name)).to_vec()
    };
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// One damaged version of `file`.
fn mutate(file: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = file.to_vec();
    for _ in 0..1 + random.below(4) {
        if out.is_empty() {
            break;
        }
        let at = random.below(out.len());
        match random.below(8) {
            0 => out[at] ^= 1 << random.below(8),
            1 => out[at] = random.next() as u8,
            2 => out[at] = [0, 1, 0x7F, 0x80, 0xFF][random.below(5)],
            // A number in the file becomes an extreme one.
            3 => {
                let wide = [u64::MAX, 1 << 63, u64::MAX >> 1, 1 << 32, u32::MAX.into(), 0][random.below(6)];
                let bytes = if random.below(2) == 0 { wide.to_le_bytes() } else { wide.to_be_bytes() };
                let n = bytes.len().min(out.len() - at);
                out[at..at + n].copy_from_slice(&bytes[..n]);
            }
            4 => out.truncate(at),
            5 => {
                out.remove(at);
            }
            6 => out.insert(at, random.next() as u8),
            // A piece again, elsewhere.
            _ => {
                let end = at + random.below((out.len() - at).min(64));
                let piece = out[at..end].to_vec();
                let to = random.below(out.len());
                out.splice(to..to, piece);
            }
        }
    }
    out
}

/// Feeds `read` with every truncation of every file, every single byte damaged, and `rounds` random
/// mutations each; asserts the bound on memory. Returns how many inputs were accepted.
fn torture<T>(
    files: &[Vec<u8>],
    rounds: usize,
    most_bytes: impl Fn(usize) -> usize,
    read: impl Fn(&[u8]) -> hadal_io::Result<T>,
) -> usize {
    let mut accepted = 0;
    let mut feed = |bytes: &[u8], what: &dyn Fn() -> String| {
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        match read(bytes) {
            Ok(_) => accepted += 1,
            Err(e) => assert!(e.to_string().contains("; "), "{e}"),
        }
        let used = ALLOCATOR.peak_usage().saturating_sub(before);
        assert!(used <= most_bytes(bytes.len()), "{} of {} bytes took {used} bytes", what(), bytes.len());
    };
    for (k, file) in files.iter().enumerate() {
        assert!(read(file).is_ok(), "file {k} itself must be readable");
        for len in 0..file.len() {
            feed(&file[..len], &|| format!("file {k} cut at {len}"));
            for value in [0, 0xFF, file[len] ^ 1, file[len] ^ 0x80] {
                let mut bad = file.clone();
                bad[len] = value;
                feed(&bad, &|| format!("file {k} with byte {len} = {value}"));
            }
        }
        let mut random = Random(k as u64);
        for round in 0..rounds {
            let bad = mutate(file, &mut random);
            feed(&bad, &|| format!("file {k}, mutation {round}"));
        }
    }
    // Made-up bytes behind each file's first ones.
    let mut random = Random(u64::MAX);
    for round in 0..rounds {
        let file = &files[round % files.len()];
        let mut bad = file[..random.below(file.len())].to_vec();
        bad.extend((0..random.below(200)).map(|_| random.next() as u8));
        feed(&bad, &|| format!("noise {round}"));
    }
    accepted
}

#[test]
fn safetensors_files() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let mut tensors = Vec::new();
    for i in 0..6u8 {
        tensors.push(hadal_io::RawTensor {
            dtype: hadal_io::DType::ALL[i as usize],
            shape: vec![i as usize, 2],
            data: vec![i; 2 * i as usize * hadal_io::DType::ALL[i as usize].size()],
        });
    }
    let named: Vec<_> =
        tensors.iter().zip(["a", "bb", "c.weight", "d", "e", "f"]).map(|(t, n)| (n, t.view())).collect();
    let ours = safetensors::to_bytes(&named, &[("k".into(), "v".into())].into()).unwrap();
    // JSON of n bytes parses into at most some dozen n: `[0,0,…` makes 8-byte numbers of 2 bytes.
    let accepted =
        torture(&[ours, data!("numpy.safetensors")], 100_000, |n| 32 * n + 8192, safetensors::from_bytes);
    assert!(accepted > 0, "damage to tensor bytes is no damage to the format");
}

#[test]
fn npy_files() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let files = [
        data!("c_f4.npy"),
        data!("fortran_i4.npy"),
        data!("big_f8.npy"),
        data!("empty_f2.npy"),
        data!("version2.npy"),
        data!("version3.npy"),
    ];
    torture(&files, 100_000, |n| 32 * n + 8192, npy::from_bytes);
}

#[test]
fn npz_files() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    const LIMIT: u64 = 1 << 20;
    // What deflate really unpacks is bounded by the limit; buffers double while they grow, and the
    // decompressor keeps its window.
    let most = |n: usize| 16 * n + 4 * LIMIT as usize + (512 << 10);
    torture(&[data!("plain.npz"), data!("packed.npz")], 20_000, most, |b| npy::npz_from_bytes(b, LIMIT));
}

#[test]
fn a_zip_bomb_stops_at_the_limit() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let zeros =
        hadal_io::RawTensor { dtype: hadal_io::DType::U8, shape: vec![64 << 20], data: vec![0; 64 << 20] };
    let path = std::env::temp_dir().join(format!("hadal-io-bomb-{}.npz", std::process::id()));
    npy::write_npz(&path, &[("x", zeros.view())], true).unwrap();
    drop(zeros);
    let bomb = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(bomb.len() < 1 << 20);
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    assert!(npy::npz_from_bytes(&bomb, 1 << 20).is_err());
    assert!(ALLOCATOR.peak_usage() - before < 8 << 20);
}

#[test]
fn png_files() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let files = [
        data!("color.png"),
        data!("gray.png"),
        data!("gray16.png"),
        data!("palette.png"),
        data!("alpha.png"),
        data!("bits.png"),
    ];
    // A deflated row may stand for 1032 times its bytes, and a 1-bit pixel becomes three bytes.
    torture(&files, 20_000, |n| 8 * 1032 * 8 * n + (1 << 20), Image::from_bytes);
}

#[test]
fn jpeg_files() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let files = [
        data!("color.jpg"),
        data!("progressive.jpg"),
        data!("gray.jpg"),
        data!("cmyk.jpg"),
        data!("turned.jpg"),
    ];
    // A progressive decoder keeps 16-bit coefficients of every channel beside the pixels.
    torture(&files, 8000, |n| 512 * 16 * n + (1 << 20), Image::from_bytes);
}

#[test]
fn event_files() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let dir = std::env::temp_dir().join(format!("hadal-io-hostile-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let mut w = tensorboard::EventWriter::create(&dir, 1.0).unwrap();
    w.scalars(1, &[("a", 1.0), ("b", 2.0)], 2.0).unwrap();
    w.text(1, "t", "x", 2.0).unwrap();
    w.scalars(2, &[("a", 1.0)], 2.0).unwrap();
    let ours = std::fs::read(w.path()).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    torture(&[ours, data!("original.tfevents")], 100_000, |n| 32 * n + 8192, tensorboard::scalars_from_bytes);
}

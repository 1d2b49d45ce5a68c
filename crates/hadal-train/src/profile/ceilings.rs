//! What this machine can do, measured once and kept.

use crate::{Result, TrainError};
use hadal_io::IoError;
use hadal_tensor::{DType, SimdLevel, measure_ceilings, simd_level, threads};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Of the file. Another number is another way of measuring: such a file is not used.
const VERSION: u32 = 1;

/// The speeds that no computation on this machine exceeds for long.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// The processor's name; `unknown` where the system does not tell.
    pub processor: String,
    /// Vector instructions that kernels use.
    pub simd: String,
    /// Threads that compute.
    pub threads: usize,
    /// Billions of f32 operations a second; a multiplication with its addition counts 2.
    pub gflops: f64,
    /// The same with products of bf16; 0 where the processor has none.
    pub bf16_gflops: f64,
    /// Billions of bytes a second read from memory.
    pub read_gbs: f64,
    /// Billions of bytes a second copied, read and written ones counted.
    pub copy_gbs: f64,
    /// Billions of bytes a second changed in place, read and written ones counted.
    pub update_gbs: f64,
    /// Billions of bytes a second read from the threads' second-level caches.
    pub l2_gbs: f64,
    /// Bytes of the threads' second-level caches together; 0 where the system does not tell.
    pub l2_bytes: u64,
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    #[serde(flatten)]
    ceilings: Ceilings,
}

impl Ceilings {
    /// Measures this machine on as many threads as computations use now; takes about a second.
    pub fn measure() -> Ceilings {
        let c = measure_ceilings();
        Ceilings {
            gflops: c.gflops,
            bf16_gflops: c.bf16_gflops,
            read_gbs: c.read_gbs,
            copy_gbs: c.copy_gbs,
            update_gbs: c.update_gbs,
            l2_gbs: c.l2_gbs,
            ..Self::of_here()
        }
    }

    /// What was measured on this processor with this number of threads before and is kept in `dir`.
    /// `None` when nothing was, or the file is damaged or of another version: measure then.
    pub fn load(dir: &Path) -> Option<Ceilings> {
        let here = Self::of_here();
        let text = std::fs::read_to_string(dir.join(here.file())).ok()?;
        let Kept { version, ceilings: c } = serde_json::from_str(&text).ok()?;
        let same = (&c.processor, &c.simd, c.threads) == (&here.processor, &here.simd, here.threads);
        let rates = [c.gflops, c.read_gbs, c.copy_gbs, c.update_gbs, c.l2_gbs];
        let sane = rates.iter().all(|r| r.is_finite() && *r > 0.0) && c.bf16_gflops >= 0.0;
        (version == VERSION && same && sane).then_some(Ceilings { l2_bytes: here.l2_bytes, ..c })
    }

    /// Keeps them in `dir`, in a file of their own for each processor and number of threads, for
    /// [`load`](Ceilings::load).
    ///
    /// # Errors
    /// The folder or file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<PathBuf> {
        let path = dir.join(self.file());
        let folder = path.parent().unwrap_or(dir);
        std::fs::create_dir_all(folder).map_err(|e| IoError::os("make the folder", folder, e))?;
        let kept = Kept { version: VERSION, ceilings: self.clone() };
        let text = serde_json::to_string_pretty(&kept)
            .map_err(|e| TrainError::run(&path, format!("cannot be written as JSON: {e}")))?;
        hadal_io::write_atomic(&path, |w| w.write_all((text + "\n").as_bytes()))?;
        Ok(path)
    }

    /// Bytes a second, in billions, that memory gives at best: the largest of the three.
    pub fn memory_gbs(&self) -> f64 {
        self.read_gbs.max(self.copy_gbs).max(self.update_gbs)
    }

    /// Seconds that so much work takes at least: the longer of its arithmetic and its traffic. Traffic
    /// that fits into the second-level caches may come from there.
    ///
    /// ```
    /// use hadal_tensor::DType;
    /// use hadal_train::profile::Ceilings;
    /// let c = Ceilings { gflops: 100.0, read_gbs: 10.0, l2_gbs: 50.0, l2_bytes: 1000, ..Default::default() };
    /// assert_eq!(c.seconds(2_000_000, 4000, DType::F32), 2e-5);
    /// assert_eq!(c.seconds(2000, 400_000, DType::F32), 4e-5);
    /// assert_eq!(c.seconds(0, 500, DType::F32), 1e-8);
    /// ```
    pub fn seconds(&self, flops: u64, bytes: u64, dtype: DType) -> f64 {
        let peak = match dtype {
            // A register holds half as many.
            DType::F64 => self.gflops / 2.0,
            DType::BF16 => self.bf16_gflops.max(self.gflops),
            _ => self.gflops,
        };
        let traffic =
            if bytes <= self.l2_bytes { self.l2_gbs.max(self.memory_gbs()) } else { self.memory_gbs() };
        let seconds = |n: u64, rate: f64| if rate > 0.0 { n as f64 / rate / 1e9 } else { 0.0 };
        seconds(flops, peak).max(seconds(bytes, traffic))
    }

    /// This machine, nothing measured.
    fn of_here() -> Ceilings {
        let simd = match simd_level() {
            SimdLevel::Avx512 => "avx512",
            SimdLevel::Avx2 => "avx2",
            SimdLevel::Portable => std::env::consts::ARCH,
        };
        let (processor, threads) = (processor().unwrap_or_else(|| "unknown".into()), threads());
        let l2_bytes = l2_bytes().unwrap_or(0).saturating_mul(threads as u64);
        Ceilings { processor, simd: simd.into(), threads, l2_bytes, ..Default::default() }
    }

    fn file(&self) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let words: String = self.processor.chars().map(plain).collect();
        let words: Vec<&str> = words.split('-').filter(|w| !w.is_empty()).collect();
        Path::new("ceilings").join(format!("{}-{}-{}.json", words.join("-"), self.simd, self.threads))
    }
}

/// The processor's name, where the system tells it.
pub fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Bytes of the first core's second-level cache, as Linux tells them.
fn l2_bytes() -> Option<u64> {
    let cache = Path::new("/sys/devices/system/cpu/cpu0/cache");
    let read = |i: usize, what: &str| std::fs::read_to_string(cache.join(format!("index{i}/{what}"))).ok();
    let level2 = (0..8).find(|&i| read(i, "level").is_some_and(|l| l.trim() == "2"))?;
    let kib: u64 = read(level2, "size")?.trim().strip_suffix('K')?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> Ceilings {
        Ceilings {
            gflops: 100.0,
            bf16_gflops: 0.0,
            read_gbs: 10.5,
            copy_gbs: 8.0,
            update_gbs: 20.25,
            l2_gbs: 90.0,
            ..Ceilings::of_here()
        }
    }

    #[test]
    fn what_is_kept_is_found_again_unless_it_is_of_something_else() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Ceilings::load(dir.path()), None, "nothing was measured yet");
        let c = made();
        let path = c.save(dir.path()).unwrap();
        assert_eq!(Ceilings::load(dir.path()), Some(c.clone()));
        // What is there but is not this measurement.
        let good = std::fs::read_to_string(&path).unwrap();
        let changed = [
            ("cut", good[..good.len() / 2].to_owned()),
            ("empty", String::new()),
            ("another version", good.replace("\"version\": 1", "\"version\": 0")),
            ("another processor", good.replace(&format!("{:?}", c.processor), "\"Z80\"")),
            ("no rate", good.replace("20.25", "0.0")),
            ("no number", good.replace("20.25", "1e999")),
            ("no such field", good.replace("l2_gbs", "l3_gbs")),
            ("no object", "[1]".to_owned()),
        ];
        for (what, text) in changed {
            assert_ne!(text, good, "{what}");
            std::fs::write(&path, text).unwrap();
            assert_eq!(Ceilings::load(dir.path()), None, "{what}");
        }
        c.save(dir.path()).unwrap();
        assert_eq!(Ceilings::load(dir.path()), Some(c));
    }

    #[test]
    fn each_processor_and_number_of_threads_has_a_file() {
        let c =
            Ceilings { processor: "Some(R) CPU/x @ 3 GHz".into(), simd: "avx2".into(), threads: 4, ..made() };
        assert_eq!(c.file(), Path::new("ceilings/some-r-cpu-x-3-ghz-avx2-4.json"));
        let other = Ceilings { threads: 8, ..c.clone() };
        assert_ne!(c.file(), other.file());
    }

    #[test]
    fn a_folder_that_cannot_be_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ceilings"), b"a file").unwrap();
        assert!(matches!(made().save(dir.path()), Err(TrainError::Io(_))));
    }

    #[test]
    fn work_is_bound_by_arithmetic_memory_or_cache() {
        let c = Ceilings { l2_bytes: 1 << 20, bf16_gflops: 200.0, ..made() };
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12 * b, "{a} {b}");
        near(c.seconds(1_000_000_000, 1 << 30, DType::F32), (1u64 << 30) as f64 / 20.25e9);
        near(c.seconds(1_000_000_000, 1 << 20, DType::F32), 0.01);
        near(c.seconds(1_000_000_000, 1 << 20, DType::F64), 0.02);
        near(c.seconds(1_000_000_000, 1 << 20, DType::BF16), 0.005);
        near(c.seconds(1, 1 << 20, DType::F32), (1u64 << 20) as f64 / 90e9);
        assert_eq!(Ceilings::default().seconds(1, 1, DType::F32), 0.0);
    }
}

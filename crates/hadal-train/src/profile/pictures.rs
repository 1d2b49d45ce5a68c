//! The roofline and the memory curve, from the numbers to what is drawn.

use super::Report;
use crate::plot::{Dot, Roof, Series, curves, roofline};
use hadal_io::Result;
use hadal_tensor::Work;
use std::path::Path;

/// Operations that have a dot at most.
const DOTS: usize = 40;
/// Share of the time from which on an operation has one: others would only stretch the picture.
const LEAST: f64 = 0.001;

impl Report {
    /// Draws operations by their arithmetic for each byte and their speed, under what the machine can do.
    /// The path ends in `.png` or `.svg`.
    ///
    /// # Errors
    /// The file cannot be written, or has another ending.
    pub fn roofline(&self, path: &Path) -> Result<()> {
        let c = &self.ceilings;
        let roof = Roof {
            gflops: c.gflops,
            bandwidths: vec![("second-level caches".into(), c.l2_gbs), ("memory".into(), c.memory_gbs())],
        };
        let dots: Vec<Dot> = self
            .operations
            .iter()
            .filter_map(|o| {
                let (intensity, gflops) = (o.sum.intensity()?, o.sum.gflops()?);
                let share = self.share(o.sum.time);
                (o.sum.flops > 0 && share >= LEAST).then(|| Dot {
                    name: o.label(),
                    intensity,
                    gflops,
                    share,
                    of_ceiling: o.sum.of_ceiling().unwrap_or(0.0),
                })
            })
            .take(DOTS)
            .collect();
        let shown: f64 = dots.iter().map(|d| d.share).sum();
        let rest = self.share(self.times.work) - shown;
        let no_work = 1.0 - self.share(self.times.work);
        let mut note = Vec::new();
        if rest > 0.0005 {
            note.push(format!("{:.1} % of the time: copies and small operations", 100.0 * rest));
        }
        if no_work > 0.0005 && !self.times.total().is_zero() {
            note.push(format!("{:.1} %: planning, building graphs, data and the like", 100.0 * no_work));
        }
        roofline(&roof, &dots, &self.headline(), &note.join("\n"), path)
    }

    /// Draws the memory that all tensors of the process held over the time of the recording. The path
    /// ends in `.png` or `.svg`.
    ///
    /// # Errors
    /// Nothing was computed, the file cannot be written, or has another ending.
    pub fn memory(&self, path: &Path) -> Result<()> {
        let points = staircase(&self.profile.work);
        let peak = points.iter().map(|p| p.1).fold(0.0, f64::max);
        let series = [Series { name: format!("held by tensors, at most {peak:.1} MB"), points }];
        curves(&series, &self.title, "ms", "MB", path)
    }
}

/// Stairs of the memory curve; more are drawn as bars from their lowest to their highest.
const STAIRS: usize = 400;

/// Milliseconds and megabytes. Each amount holds until the next piece of work has ended.
fn staircase(work: &[Work]) -> Vec<(f64, f64)> {
    let bucket = work.len().div_ceil(STAIRS).max(1);
    let mut points: Vec<(f64, f64)> = Vec::with_capacity(5 * STAIRS);
    for some in work.chunks(bucket) {
        let ms = (some[0].start + some[0].time).as_secs_f64() * 1e3;
        let mb = |w: &Work| w.memory as f64 / 1e6;
        points.extend(points.last().map(|&(_, before)| (ms, before)));
        if some.len() > 1 {
            points.push((ms, some.iter().map(mb).fold(f64::NEG_INFINITY, f64::max)));
            points.push((ms, some.iter().map(mb).fold(f64::INFINITY, f64::min)));
        }
        points.extend(some.last().map(|w| (ms, mb(w))));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use hadal_tensor::{DType, Phase, Shape};
    use std::time::Duration;

    #[test]
    fn memory_is_a_staircase_that_keeps_its_peak() {
        let work = |n: usize| -> Vec<Work> {
            let one = |i: usize| Work {
                name: "add".into(),
                layer: None,
                layer_type: None,
                phase: Phase::Forward,
                shape: Shape::default(),
                dtype: DType::F32,
                start: Duration::from_millis(2 * i as u64),
                time: Duration::from_millis(1),
                flops: 0,
                bytes: 0,
                memory: if i == n / 3 { 9_000_000 } else { (i % 2 + 1) * 1_000_000 },
            };
            (0..n).map(one).collect()
        };
        assert_eq!(staircase(&work(3)), [(1.0, 1.0), (3.0, 1.0), (3.0, 9.0), (5.0, 9.0), (5.0, 1.0)]);
        for n in [400, 401, 5000] {
            let points = staircase(&work(n));
            assert!(points.len() <= 5 * STAIRS, "{n}: {}", points.len());
            assert_eq!(points.iter().map(|p| p.1).fold(0.0, f64::max), 9.0, "{n}");
            // Only steps up and down and level ground.
            assert!(points.windows(2).all(|p| p[0].0 == p[1].0 || p[0].1 == p[1].1), "{n}");
        }
    }
}

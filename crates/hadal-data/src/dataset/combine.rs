//! Data sets made of other data sets: parts, sums and maps.

use super::{Batch, Dataset, Sample, SampleCtx, check_index};
use crate::error::{DataError, Result};
use crate::rng::{Purpose, Rng};
use crate::transform::Transform;
use std::fmt;
use std::sync::Arc;

/// Some samples of a data set, in a given order.
#[derive(Clone)]
pub struct Subset {
    inner: Arc<dyn Dataset>,
    indices: Vec<usize>,
}

impl Subset {
    /// The samples at those indices; an index may come more than once.
    ///
    /// # Errors
    /// When an index is past the end.
    pub fn new(inner: Arc<dyn Dataset>, indices: Vec<usize>) -> Result<Self> {
        for &i in &indices {
            check_index("the data set under a Subset", i, inner.len())?;
        }
        Ok(Self { inner, indices })
    }

    /// The indices into the data set underneath.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }
}

impl Dataset for Subset {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn get(&self, index: usize, cx: &mut SampleCtx) -> Result<Sample> {
        check_index("a Subset", index, self.len())?;
        self.inner.get(self.indices[index], cx)
    }

    fn class_names(&self) -> Option<&[String]> {
        self.inner.class_names()
    }

    fn gather(&self, indices: &[usize], cx: &mut SampleCtx) -> Option<Result<Batch>> {
        let mut mapped = Vec::with_capacity(indices.len());
        for &i in indices {
            if let Err(e) = check_index("a Subset", i, self.len()) {
                return Some(Err(e));
            }
            mapped.push(self.indices[i]);
        }
        self.inner.gather(&mapped, cx)
    }
}

/// Several data sets one after the other.
#[derive(Clone)]
pub struct Concat {
    parts: Vec<Arc<dyn Dataset>>,
    /// Number of samples up to and including each part.
    ends: Vec<usize>,
}

impl Concat {
    /// Joins the data sets.
    ///
    /// # Errors
    /// When there is none, or two that name their classes name them differently.
    pub fn new(parts: Vec<Arc<dyn Dataset>>) -> Result<Self> {
        if parts.is_empty() {
            return Err(DataError::argument("Concat::new", "needs at least one data set"));
        }
        let mut named = parts.iter().filter_map(|p| p.class_names());
        if let Some(first) = named.next()
            && let Some(other) = named.find(|&names| names != first)
        {
            return Err(DataError::argument(
                "Concat::new",
                format!("the data sets name their classes differently: {first:?} and {other:?}"),
            ));
        }
        let mut ends = Vec::with_capacity(parts.len());
        let mut total = 0usize;
        for part in &parts {
            total = total
                .checked_add(part.len())
                .ok_or_else(|| DataError::argument("Concat::new", "too many samples to count"))?;
            ends.push(total);
        }
        Ok(Self { parts, ends })
    }
}

impl Dataset for Concat {
    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    fn get(&self, index: usize, cx: &mut SampleCtx) -> Result<Sample> {
        check_index("a Concat", index, self.len())?;
        let part = self.ends.partition_point(|&end| end <= index);
        let start = if part == 0 { 0 } else { self.ends[part - 1] };
        self.parts[part].get(index - start, cx)
    }

    fn class_names(&self) -> Option<&[String]> {
        self.parts.iter().find_map(|p| p.class_names())
    }
}

/// Splits a data set at random into parts of the given fractions, which must sum to 1.
///
/// Part sizes are `floor(fraction · n)`, and what remains goes one each to the first parts, as in
/// PyTorch. The split depends on the seed and the number of samples only.
///
/// # Errors
/// When a fraction is negative or not finite, or their sum is not 1 (to 1e-6).
///
/// ```
/// use hadal_data::{Array, ArrayDataset, Dataset, random_split};
/// use std::sync::Arc;
/// let set = ArrayDataset::new(Array::f32(&[10], vec![0.0; 10])?, Array::i64(&[10], vec![0; 10])?)?;
/// let parts = random_split(Arc::new(set), &[0.8, 0.2], 0)?;
/// assert_eq!((parts[0].len(), parts[1].len()), (8, 2));
/// # Ok::<(), hadal_data::DataError>(())
/// ```
pub fn random_split(dataset: Arc<dyn Dataset>, fractions: &[f64], seed: u64) -> Result<Vec<Subset>> {
    let sum: f64 = fractions.iter().sum();
    if fractions.iter().any(|f| !f.is_finite() || *f < 0.0) || (sum - 1.0).abs() > 1e-6 {
        return Err(DataError::argument(
            "random_split",
            format!("fractions must be at least 0 and sum to 1, got {fractions:?} (sum {sum})"),
        ));
    }
    let n = dataset.len();
    let mut sizes: Vec<usize> = fractions.iter().map(|f| ((n as f64) * f).floor() as usize).collect();
    // 0.8 · 10 may come out as 7.999…; the remainder below repairs that as PyTorch does.
    let mut rest = n.saturating_sub(sizes.iter().sum());
    let parts = sizes.len();
    for i in (0..parts).cycle() {
        if rest == 0 {
            break;
        }
        sizes[i] += 1;
        rest -= 1;
    }
    let mut order: Vec<usize> = (0..n).collect();
    Rng::new(seed, Purpose::Split, 0, 0, 0).shuffle(&mut order);
    let mut start = 0;
    sizes
        .into_iter()
        .map(|size| {
            let end = (start + size).min(n);
            let part = Subset::new(Arc::clone(&dataset), order[start..end].to_vec());
            start = end;
            part
        })
        .collect()
}

/// A function from sample to sample.
type SampleMap = dyn Fn(Sample, &mut SampleCtx) -> Result<Sample> + Send + Sync;

/// A data set seen through a function of each sample.
#[derive(Clone)]
pub struct MapDataset {
    inner: Arc<dyn Dataset>,
    map: Arc<SampleMap>,
}

impl MapDataset {
    /// Calls the function on every sample that is read.
    pub fn new(
        inner: Arc<dyn Dataset>,
        map: impl Fn(Sample, &mut SampleCtx) -> Result<Sample> + Send + Sync + 'static,
    ) -> Self {
        Self { inner, map: Arc::new(map) }
    }

    /// Runs a transform on every input, leaving the target.
    pub fn with_transform(inner: Arc<dyn Dataset>, transform: Arc<dyn Transform>) -> Self {
        Self::new(inner, move |sample, cx| {
            Ok(Sample { input: transform.apply(sample.input, cx)?, target: sample.target })
        })
    }
}

impl Dataset for MapDataset {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn get(&self, index: usize, cx: &mut SampleCtx) -> Result<Sample> {
        let sample = self.inner.get(index, cx)?;
        (self.map)(sample, cx)
    }

    fn class_names(&self) -> Option<&[String]> {
        self.inner.class_names()
    }
}

macro_rules! debug_len {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({} samples)"), self.len())
            }
        }
    )*};
}
debug_len!(Subset, Concat, MapDataset);

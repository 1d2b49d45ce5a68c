//! Random orthogonal matrices.

use crate::layers::wrong;
use hadal_core::{DType, ErrorKind, Result, Shape};
use hadal_tensor::{Key, Tensor};

/// A random (semi-)orthogonal matrix times `gain` (Saxe 2013, arXiv:1312.6120, as PyTorch's
/// `init.orthogonal_`): the shape is read as `[first, rest]`; rows are orthonormal when there are fewer
/// rows than columns, columns otherwise.
///
/// Computed at once, in f64: the cost is rows·columns·min(rows, columns) multiplications, twice.
///
/// ```
/// use hadal_nn::init;
/// use hadal_tensor::{DType, Key};
/// let q = init::orthogonal(Key::new(0), [2, 3], DType::F64, 1.0);
/// let unit = q.matmul(&q.t()).to_vec::<f64>().unwrap();
/// assert!((unit[0] - 1.0).abs() < 1e-12 && unit[1].abs() < 1e-12);
/// ```
///
/// # Errors
/// Fewer than two dimensions.
#[track_caller]
pub fn orthogonal(key: Key, shape: impl Into<Shape>, dtype: DType, gain: f64) -> Tensor {
    let shape = shape.into();
    if shape.rank() < 2 {
        let message = format!("shape {shape} has fewer than two dimensions");
        return wrong(ErrorKind::Shape, "orthogonal", message, &[], "the shape is read as [first, rest]");
    }
    match drawn(key, &shape, gain) {
        Ok(values) => Tensor::from_vec(values, shape).cast(dtype),
        Err(e) => Tensor::poison(e, &shape, dtype),
    }
}

#[track_caller]
fn drawn(key: Key, shape: &Shape, gain: f64) -> Result<Vec<f64>> {
    let rows = shape[0];
    let cols: usize = shape[1..].iter().product();
    // As many vectors as the smaller side has, each as long as the larger side.
    let (count, length) = (rows.min(cols), rows.max(cols));
    let mut vectors = Tensor::normal([count, length], DType::F64, key, 0.0, 1.0).to_vec::<f64>()?;
    orthonormalize(&mut vectors, length);
    if rows <= cols {
        return Ok(vectors.into_iter().map(|v| v * gain).collect());
    }
    let mut columns = vec![0.0; rows * cols];
    for (c, vector) in vectors.chunks_exact(length).enumerate() {
        for (r, v) in vector.iter().enumerate() {
            columns[r * cols + c] = v * gain;
        }
    }
    Ok(columns)
}

/// Gram–Schmidt, each vector made orthogonal twice, which leaves it so to rounding ("twice is enough",
/// Giraud 2005). The diagonal of R comes out positive: the distribution is the uniform one, without the
/// change of signs that Householder's method needs.
#[track_caller]
fn orthonormalize(vectors: &mut [f64], length: usize) {
    if length == 0 {
        return;
    }
    for at in (0..vectors.len()).step_by(length) {
        let (done, rest) = vectors.split_at_mut(at);
        let v = &mut rest[..length];
        for _ in 0..2 {
            for q in done.chunks_exact(length) {
                let along: f64 = q.iter().zip(v.iter()).map(|(a, b)| a * b).sum();
                v.iter_mut().zip(q).for_each(|(x, q)| *x -= along * q);
            }
        }
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.iter_mut().for_each(|x| *x /= norm);
    }
}

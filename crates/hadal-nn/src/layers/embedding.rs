//! Tables of vectors.

use super::wrong;
use crate::{Ctx, Forward, Init, Module};
use hadal_core::{DType, ErrorKind, Tag};
use hadal_tensor::{Param, Tensor, no_grad};

/// Rows of a learned table, looked up by integer indices.
///
/// Input of any shape with integers in `0..num_embeddings`, output `[.., embedding_dim]`. `weight` is
/// `[num_embeddings, embedding_dim]` and starts standard normal (PyTorch's default). An index outside
/// the table is an error when the result is evaluated.
///
/// ```
/// use hadal_nn::{Ctx, Embedding, Forward, Init};
/// use hadal_tensor::Tensor;
/// let words = Embedding::new(&Init::new(0), 10, 4).padding_idx(0);
/// let y = words.forward(&Tensor::new([[3i64, 0], [9, 3]]), &Ctx::eval());
/// assert_eq!(y.dims(), [2, 2, 4]);
/// assert_eq!(y.select(0, 0).select(0, 1).to_vec::<f32>().unwrap(), [0.0; 4]);
/// ```
#[derive(Module, Debug)]
pub struct Embedding {
    tag: Tag,
    /// `[num_embeddings, embedding_dim]`.
    pub weight: Param,
    padding_idx: Option<usize>,
    max_norm: Option<f64>,
    norm_type: f64,
    scale_grad_by_freq: bool,
}

impl Embedding {
    /// A table of `num_embeddings` rows of `embedding_dim` numbers.
    pub fn new(init: &Init, num_embeddings: usize, embedding_dim: usize) -> Embedding {
        Embedding::from_param(init.normal([num_embeddings, embedding_dim], 1.0))
    }
    /// A table with these rows, learned further unless the parameter is frozen.
    ///
    /// ```
    /// use hadal_nn::{Embedding, Param};
    /// use hadal_tensor::Tensor;
    /// let vectors = Param::new(Tensor::new([[1.0f32, 2.0], [3.0, 4.0]]));
    /// vectors.freeze(true);
    /// let words = Embedding::from_param(vectors);
    /// ```
    pub fn from_param(weight: Param) -> Embedding {
        Embedding {
            tag: Tag::new("Embedding"),
            weight,
            padding_idx: None,
            max_norm: None,
            norm_type: 2.0,
            scale_grad_by_freq: false,
        }
    }
    /// The longest row: rows that are looked up and are longer are shortened to it, in the table, before
    /// they are looked up. That is a change of the parameter through which no gradient flows, and it is
    /// made at the call, in training and evaluation alike, as in PyTorch. None unless set.
    ///
    /// ```
    /// use hadal_nn::{Ctx, Embedding, Forward, Param};
    /// use hadal_tensor::Tensor;
    /// let words = Embedding::from_param(Param::new(Tensor::new([[3.0f64, 4.0], [0.3, 0.4]]))).max_norm(1.0);
    /// let y = words.forward(&Tensor::new([0i64, 1]), &Ctx::eval()).to_vec::<f64>().unwrap();
    /// assert!((y[0] - 0.6).abs() < 1e-6 && y[2] == 0.3);
    /// ```
    pub fn max_norm(self, max_norm: impl Into<Option<f64>>) -> Embedding {
        Embedding { max_norm: max_norm.into(), ..self }
    }
    /// The `p` of the norm that [`max_norm`](Embedding::max_norm) bounds, 2 unless set.
    pub fn norm_type(self, p: f64) -> Embedding {
        Embedding { norm_type: p, ..self }
    }
    /// Whether a row's gradient is divided by how often its index is in the input; false unless set.
    pub fn scale_grad_by_freq(self, scale: bool) -> Embedding {
        Embedding { scale_grad_by_freq: scale, ..self }
    }
    /// A row that is zero, and that training leaves so (its gradient is zero); negative counts from the
    /// end.
    #[track_caller]
    pub fn padding_idx(mut self, index: isize) -> Embedding {
        let _layer = hadal_tensor::enter(&self.tag);
        let table = self.weight.get();
        let rows = table.dims().first().copied().unwrap_or(0);
        let row = if index < 0 { index + rows as isize } else { index };
        if !(0..rows as isize).contains(&row) {
            let message = format!("padding_idx {index} is not a row of {rows}");
            let help = "rows count from 0, or from -1 for the last one";
            self.weight.set(wrong(ErrorKind::Index, "Embedding", message, &[&table], help));
            return self;
        }
        let keep = Tensor::arange(0, rows, 1).ne(row as i64).unsqueeze(1);
        self.weight.set(keep.where_(&table, 0.0).cast(table.dtype()));
        self.padding_idx = Some(row as usize);
        self
    }
}

impl Forward for Embedding {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        let table = self.weight.get();
        if !x.dtype().is_int() {
            let message = format!("indices must be integers, not {}", x.dtype());
            return wrong(ErrorKind::DType, "Embedding", message, &[x], "cast them: .cast(DType::I64)");
        }
        if let Some(longest) = self.max_norm
            && let Err(bad) = self.shorten(x, &table, longest)
        {
            return bad;
        }
        let mut rows = table.embedding(x);
        if self.scale_grad_by_freq {
            let share = no_grad(|| share_of_occurrences(x, &table).cast_like(&rows));
            let scaled = &rows * share;
            // The rows themselves, with the gradient of the scaled ones.
            rows = rows.detach() + (&scaled - scaled.detach());
        }
        match self.padding_idx {
            // The same values; no gradient flows from where the index is the padding's.
            Some(p) => x.ne(p).unsqueeze(-1).where_(&rows, rows.detach()),
            None => rows,
        }
    }
}

impl Embedding {
    /// Shortens the rows that `x` names and that are longer than `longest`.
    #[track_caller]
    fn shorten(&self, x: &Tensor, table: &Tensor, longest: f64) -> Result<(), Tensor> {
        if !(longest >= 0.0 && self.norm_type > 0.0) {
            let message = format!("a max_norm of {longest} with norm_type {}", self.norm_type);
            let help = "max_norm is at least 0, norm_type above 0";
            return Err(wrong(ErrorKind::Value, "Embedding", message, &[x, table], help));
        }
        if [x, table].iter().any(|t| t.is_poisoned()) {
            return Ok(());
        }
        let shortened = no_grad(|| {
            let flat = x.cast(DType::I64).reshape([-1]);
            let rows = table.index_select(0, &flat);
            let wide = rows.cast(rows.dtype().compute());
            let norm = wide.norm_keepdim(self.norm_type, -1);
            // PyTorch's guard against a division by 0.
            let short = (&wide * (longest / (&norm + 1e-7))).cast_like(&rows);
            let at = flat.unsqueeze(-1).expand(rows.shape());
            table.scatter(0, &at, &norm.gt(longest).where_(&short, &rows))
        });
        self.weight.overwrite(&shortened).map_err(|e| Tensor::poison(e, table.shape(), table.dtype()))
    }
}

/// One over how often each index is in the input, `[.., 1]`.
fn share_of_occurrences(x: &Tensor, table: &Tensor) -> Tensor {
    let rows = table.dims().first().copied().unwrap_or(0);
    let flat = x.cast(DType::I64).reshape([-1]);
    let counts = Tensor::zeros([rows], DType::F64).scatter_add(
        0,
        &flat,
        &Tensor::ones(flat.dims().to_vec(), DType::F64),
    );
    (1.0 / counts.index_select(0, &flat)).reshape(x.dims().to_vec()).unsqueeze(-1)
}

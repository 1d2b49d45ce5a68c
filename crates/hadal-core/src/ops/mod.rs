//! The closed set of primitive operations. Everything else is a composition of them.

mod attention;
mod geometry;
mod pointwise;
mod program;
mod recurrence;
mod rows;

pub use attention::AttentionOp;
pub use geometry::{ConvGeometry, PoolGeometry, Window};
pub use pointwise::{BinaryOp, Kind, UnaryOp, int_floor_div, int_pow, int_remainder};
pub use program::{Code, Instr, Output, Program, Reg};
pub use recurrence::{Recurrence, RecurrentCell, RecurrentInputs};
pub use rows::RowOp;

use crate::{DType, Error, Scalar, Shape};
use smallvec::SmallVec;

/// A reduction over a set of axes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReduceOp {
    /// Sum. f32 and halves add in f32 (pairwise by blocks), integers in i64.
    Sum,
    /// Product.
    Prod,
    /// Largest; NaN if any is. Of nothing: an error before it gets here.
    Max,
    /// Smallest; NaN if any is.
    Min,
    /// Whether any is nonzero; gives bool.
    Any,
    /// Whether all are nonzero; gives bool.
    All,
}

/// What a random node draws. All are functions of `(key, position)` alone.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Distribution {
    /// Uniform in `[low, high)`.
    Uniform(f64, f64),
    /// Normal with mean and standard deviation.
    Normal(f64, f64),
    /// Whole numbers in `[low, high)`.
    Int(i64, i64),
    /// 1 with probability p, else 0.
    Bernoulli(f64),
    /// A permutation of `0..n` (the node is 1-d of length n).
    Permutation,
}

/// Axes as a small list, sorted, each once.
pub type Axes = SmallVec<[usize; 4]>;

/// A primitive operation: the label of a graph node.
///
/// Attributes are complete: shapes and dtypes of inputs are those of the input nodes. Large ones are boxed:
/// every node has room for an operation.
#[derive(Clone, Debug)]
pub enum Op {
    // Creation.
    /// Data given at creation; the node is born with its value.
    Leaf,
    /// Every element the same.
    Fill(Scalar),
    /// `start + i·step` along the one dimension.
    Arange(Scalar, Scalar),
    /// Counter-based random numbers; 128 bits of key: seed and stream.
    Random(Distribution, [u64; 2]),
    /// No value: the first error on the way here.
    Poison(Error),

    // Pointwise. All inputs have the node's shape.
    /// One input.
    Unary(UnaryOp),
    /// Two inputs.
    Binary(BinaryOp),
    /// `where(cond, a, b)`.
    Where,
    /// Conversion to the node's dtype.
    Cast,

    // Reductions and scans.
    /// Over these axes, which are dropped from the shape.
    Reduce(ReduceOp, Axes),
    /// Index (i64) of the largest (true) or smallest along an axis, which is dropped. The first one
    /// wins ties; NaN wins over all.
    ArgReduce {
        /** largest or smallest */
        max: bool,
        /** axis */
        axis: usize,
    },
    /// Running sum along an axis, from the end if `reverse`.
    CumSum {
        /** axis */
        axis: usize,
        /** from the end */
        reverse: bool,
    },

    // Views: strides only.
    /// Same elements, other shape (a copy where strides cannot express it).
    Reshape,
    /// Dimensions reordered: `out[i] = in[perm[i]]`.
    Permute(Axes),
    /// Broadcast to the node's shape.
    Expand,
    /// Per dimension start and signed step; the sizes are the node's shape.
    Slice {
        /** first index */
        starts: Axes,
        /** distance */
        steps: SmallVec<[isize; 4]>,
    },
    /// Sliding windows along `axis`: its size becomes the number of windows, and a last dimension of
    /// length `size` is added.
    Unfold {
        /** axis */
        axis: usize,
        /** window length */
        size: usize,
        /** distance of windows */
        step: usize,
    },

    // Movement.
    /// The input in row-major order.
    Copy,
    /// Inputs one after the other along an axis.
    Cat(usize),
    /// A tensor of the node's shape filled with a scalar, and the input placed into it at the places
    /// a [`Op::Slice`] with these parameters reads.
    Place {
        /** first index */
        starts: Axes,
        /** distance */
        steps: SmallVec<[isize; 4]>,
        /** elsewhere */
        fill: Scalar,
    },
    /// The adjoint of [`Op::Unfold`]: windows added back where they came from.
    Fold {
        /** axis */
        axis: usize,
        /** window length */
        size: usize,
        /** distance of windows */
        step: usize,
    },

    // Matrix product and convolution.
    /// `[batch.., m, k] · [batch.., k, n]`, batch dimensions equal (expanded).
    Matmul,
    /// Inputs x `[n, c, spatial..]`, w `[o, c/groups, kernel..]`.
    Conv(Box<ConvGeometry>),
    /// Gradient of [`Op::Conv`] by its input: inputs dy, w. Also the transposed convolution.
    ConvInputGrad(Box<ConvGeometry>),
    /// Gradient of [`Op::Conv`] by its weight: inputs x, dy.
    ConvWeightGrad(Box<ConvGeometry>),
    /// Maximum of each window; padding never wins, NaN does.
    MaxPool(Box<PoolGeometry>),
    /// i64 position of each window's maximum in its flattened input plane.
    MaxPoolIndex(Box<PoolGeometry>),
    /// Sum of each window; padding counts as 0.
    SumPool(Box<PoolGeometry>),
    /// The adjoint of [`Op::SumPool`].
    SumPoolGrad(Box<PoolGeometry>),

    // Rows.
    /// Inputs x `[.., n]`, then as far as they are there weight `[n]`, bias `[n]`; each row by itself.
    Rows(RowOp),
    /// The gradient of [`Op::Rows`]. Softmax: inputs its result and the cotangent, gives the gradient by x.
    /// Norms: inputs x, the cotangent, perhaps the weight; gives the gradient by x or, with `parameters`, in
    /// one dimension that and behind it, as far as there are such, those by weight and bias.
    RowsGrad {
        /** of which */
        op: RowOp,
        /** gradients by weight and bias too */
        parameters: bool,
    },

    // Attention. Shapes are described at [`AttentionOp`].
    /// Inputs queries, keys, values and perhaps a mask. The node is 1-d: the result in the order
    /// `[b, n, h, e]`, and behind it the logarithms of the scores' exponentials' sums, `[b, h, n]`, which
    /// the gradient wants.
    Attention(AttentionOp),
    /// Gradients of [`Op::Attention`] by queries, keys and values: inputs queries, keys, values, its
    /// result, the cotangent `[b, h, n, e]`, perhaps the mask. The node is 1-d: the gradients one behind
    /// the other, in the orders `[b, n, h, d]`, `[b, m, g, d]` and `[b, m, g, e]`.
    AttentionGrad(AttentionOp),
    /// Gradient of [`Op::Attention`] by a mask that is added, in the mask's shape: inputs as for
    /// [`Op::AttentionGrad`].
    AttentionMaskGrad(AttentionOp),

    // Recurrent sequences. Each result is packed into one dimension, see [`Recurrence`].
    /// All steps of a layer in one direction. Inputs gates `[t, n, g·h]` (the input's projection), weight
    /// `[g·h, p]`, then as far as they are there bias `[sums·h]`, initial state `[n, p]`, initial cell
    /// `[n, h]`, weight of the projection `[p, h]`, lengths (i64, `[n]`). Gives all that is kept.
    Recurrent(Box<Recurrence>),
    /// What a user sees of it: states after each step and the last cell. Inputs: what was kept, and the
    /// inputs of [`Op::Recurrent`], to which its gradient goes directly.
    RecurrentOutput(Box<Recurrence>),
    /// The gradient of a sequence. Inputs: what was kept, the cotangent of [`Op::RecurrentOutput`], weight,
    /// then as far as they are there weight of the projection, lengths.
    RecurrentGrad(Box<Recurrence>),

    // Index.
    /// Inputs x, index (i64, same rank): `out[i][j] = x[index[i][j]][j]` for axis 0, and so on.
    Gather(usize),
    /// Inputs base, index, src: base with `src` written (or added) at `index` along the axis.
    Scatter {
        /** axis */
        axis: usize,
        /** add instead of overwrite */
        add: bool,
    },
    /// Inputs x, index (i64, 1-d): whole slices along an axis.
    IndexSelect(usize),
    /// Inputs index (i64, 1-d), src: slices added into zeros of the node's shape.
    IndexAdd(usize),
    /// Indices (i64) that sort along an axis, as many of the first as the node has places; stable; NaN counts as largest.
    ArgSort {
        /** axis */
        axis: usize,
        /** largest first */
        descending: bool,
    },
}

impl Op {
    /// The name used in errors and profiles.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Leaf => "tensor",
            Op::Fill(_) => "full",
            Op::Arange(..) => "arange",
            Op::Random(..) => "random",
            Op::Poison(e) => e.op(),
            Op::Unary(u) => u.name(),
            Op::Binary(b) => b.name(),
            Op::Where => "where",
            Op::Cast => "cast",
            Op::Reduce(r, _) => match r {
                ReduceOp::Sum => "sum",
                ReduceOp::Prod => "prod",
                ReduceOp::Max => "max",
                ReduceOp::Min => "min",
                ReduceOp::Any => "any",
                ReduceOp::All => "all",
            },
            Op::ArgReduce { max: true, .. } => "argmax",
            Op::ArgReduce { .. } => "argmin",
            Op::CumSum { .. } => "cumsum",
            Op::Reshape => "reshape",
            Op::Permute(_) => "permute",
            Op::Expand => "expand",
            Op::Slice { .. } => "slice",
            Op::Unfold { .. } => "unfold",
            Op::Copy => "contiguous",
            Op::Cat(_) => "cat",
            Op::Place { .. } => "pad",
            Op::Fold { .. } => "fold",
            Op::Matmul => "matmul",
            Op::Conv(_) => "conv",
            Op::ConvInputGrad(_) => "conv_transpose",
            Op::ConvWeightGrad(_) => "conv_weight_grad",
            Op::MaxPool(_) | Op::MaxPoolIndex(_) => "max_pool",
            Op::SumPool(_) => "avg_pool",
            Op::SumPoolGrad(_) => "avg_pool_grad",
            Op::Rows(r) => r.name(),
            Op::RowsGrad { op, .. } => op.grad_name(),
            Op::Attention(_) => "scaled_dot_product_attention",
            Op::AttentionGrad(_) => "scaled_dot_product_attention_grad",
            Op::AttentionMaskGrad(_) => "scaled_dot_product_attention_mask_grad",
            Op::Recurrent(r) | Op::RecurrentOutput(r) => r.cell.name(),
            Op::RecurrentGrad(_) => "recurrent_grad",
            Op::Gather(_) => "gather",
            Op::Scatter { add: true, .. } => "scatter_add",
            Op::Scatter { .. } => "scatter",
            Op::IndexSelect(_) => "index_select",
            Op::IndexAdd(_) => "index_add",
            Op::ArgSort { .. } => "sort",
        }
    }

    /// Arithmetic operations of one evaluation, from the shapes of inputs and output: one for each
    /// element of a pointwise operation whatever its formula, two for each product that is summed.
    pub fn flops(&self, inputs: &[&Shape], out: &Shape) -> u64 {
        let size = |shape: Option<&&Shape>| shape.map_or(0, |s| s.numel() as u64);
        let (read, written) = (size(inputs.first()), out.numel() as u64);
        match self {
            Op::Unary(_) | Op::Binary(_) | Op::Where => written,
            Op::Reduce(..) | Op::ArgReduce { .. } | Op::CumSum { .. } | Op::Fold { .. } => read,
            Op::Matmul => {
                let inner = inputs.first().and_then(|a| a.dims().last().copied()).unwrap_or(0);
                written.saturating_mul(2 * inner as u64)
            }
            // Each of the three reads two of the same three tensors and visits the same products.
            Op::Conv(g) | Op::ConvInputGrad(g) | Op::ConvWeightGrad(g) => g.flops(),
            Op::Rows(r) => read.saturating_mul(r.flops()),
            Op::RowsGrad { op, .. } => read.saturating_mul(op.grad_flops()),
            Op::Attention(a) => a.flops(inputs, 1, 1),
            Op::AttentionGrad(a) => a.flops(inputs, 3, 2),
            Op::AttentionMaskGrad(a) => a.flops(inputs, 1, 1),
            Op::Recurrent(r) | Op::RecurrentGrad(r) => r.flops(),
            Op::MaxPool(g) | Op::MaxPoolIndex(g) | Op::SumPool(g) => written.saturating_mul(g.taps()),
            Op::SumPoolGrad(g) => read.saturating_mul(g.taps()),
            Op::Scatter { add: true, .. } | Op::IndexAdd(_) => size(inputs.last()),
            _ => 0,
        }
    }

    /// Whether a graph with this operation in place of `other` is planned alike. Numbers that only a kernel
    /// looks at do not count: what random numbers are drawn with, what is filled in, where a slice begins.
    pub fn plans_like(&self, other: &Op) -> bool {
        match (self, other) {
            (Op::Leaf, Op::Leaf)
            | (Op::Fill(_), Op::Fill(_))
            | (Op::Arange(..), Op::Arange(..))
            | (Op::Random(..), Op::Random(..))
            | (Op::Where, Op::Where)
            | (Op::Cast, Op::Cast)
            | (Op::Reshape, Op::Reshape)
            | (Op::Expand, Op::Expand)
            | (Op::Copy, Op::Copy)
            | (Op::Matmul, Op::Matmul) => true,
            (Op::Unary(a), Op::Unary(b)) => a == b,
            (Op::Binary(a), Op::Binary(b)) => a == b,
            (Op::Reduce(a, x), Op::Reduce(b, y)) => a == b && x == y,
            (Op::ArgReduce { max: a, axis: x }, Op::ArgReduce { max: b, axis: y }) => (a, x) == (b, y),
            (Op::CumSum { axis: a, reverse: x }, Op::CumSum { axis: b, reverse: y }) => (a, x) == (b, y),
            (Op::Permute(a), Op::Permute(b)) => a == b,
            (Op::Slice { steps: a, .. }, Op::Slice { steps: b, .. }) => a == b,
            (Op::Unfold { axis: a, size: n, step: x }, Op::Unfold { axis: b, size: m, step: y })
            | (Op::Fold { axis: a, size: n, step: x }, Op::Fold { axis: b, size: m, step: y }) => {
                (a, n, x) == (b, m, y)
            }
            (Op::Place { steps: a, .. }, Op::Place { steps: b, .. }) => a == b,
            (Op::Cat(a), Op::Cat(b)) | (Op::Gather(a), Op::Gather(b)) => a == b,
            (Op::IndexSelect(a), Op::IndexSelect(b)) | (Op::IndexAdd(a), Op::IndexAdd(b)) => a == b,
            (Op::Conv(a), Op::Conv(b))
            | (Op::ConvInputGrad(a), Op::ConvInputGrad(b))
            | (Op::ConvWeightGrad(a), Op::ConvWeightGrad(b)) => a == b,
            (Op::MaxPool(a), Op::MaxPool(b))
            | (Op::MaxPoolIndex(a), Op::MaxPoolIndex(b))
            | (Op::SumPool(a), Op::SumPool(b))
            | (Op::SumPoolGrad(a), Op::SumPoolGrad(b)) => a == b,
            (Op::Rows(a), Op::Rows(b)) => a == b,
            (Op::RowsGrad { op: a, parameters: x }, Op::RowsGrad { op: b, parameters: y }) => {
                (a, x) == (b, y)
            }
            (Op::Attention(a), Op::Attention(b))
            | (Op::AttentionGrad(a), Op::AttentionGrad(b))
            | (Op::AttentionMaskGrad(a), Op::AttentionMaskGrad(b)) => a == b,
            (Op::Recurrent(a), Op::Recurrent(b))
            | (Op::RecurrentOutput(a), Op::RecurrentOutput(b))
            | (Op::RecurrentGrad(a), Op::RecurrentGrad(b)) => a == b,
            (Op::Scatter { axis: a, add: x }, Op::Scatter { axis: b, add: y }) => (a, x) == (b, y),
            (Op::ArgSort { axis: a, descending: x }, Op::ArgSort { axis: b, descending: y }) => {
                (a, x) == (b, y)
            }
            // Other operations, and errors, which are never planned. All are named, so that the compiler asks
            // about a new one.
            (
                Op::Leaf
                | Op::Fill(_)
                | Op::Arange(..)
                | Op::Random(..)
                | Op::Poison(_)
                | Op::Unary(_)
                | Op::Binary(_)
                | Op::Where
                | Op::Cast
                | Op::Reduce(..)
                | Op::ArgReduce { .. }
                | Op::CumSum { .. }
                | Op::Reshape
                | Op::Permute(_)
                | Op::Expand
                | Op::Slice { .. }
                | Op::Unfold { .. }
                | Op::Copy
                | Op::Cat(_)
                | Op::Place { .. }
                | Op::Fold { .. }
                | Op::Matmul
                | Op::Conv(_)
                | Op::ConvInputGrad(_)
                | Op::ConvWeightGrad(_)
                | Op::MaxPool(_)
                | Op::MaxPoolIndex(_)
                | Op::SumPool(_)
                | Op::SumPoolGrad(_)
                | Op::Rows(_)
                | Op::RowsGrad { .. }
                | Op::Attention(_)
                | Op::AttentionGrad(_)
                | Op::AttentionMaskGrad(_)
                | Op::Recurrent(_)
                | Op::RecurrentOutput(_)
                | Op::RecurrentGrad(_)
                | Op::Gather(_)
                | Op::Scatter { .. }
                | Op::IndexSelect(_)
                | Op::IndexAdd(_)
                | Op::ArgSort { .. },
                _,
            ) => false,
        }
    }

    /// Whether the planner may fuse it into a program.
    pub fn is_pointwise(&self) -> bool {
        matches!(self, Op::Unary(_) | Op::Binary(_) | Op::Where | Op::Cast)
    }

    /// Whether it changes only the layout ([`Op::Reshape`] may have to copy).
    pub fn is_view(&self) -> bool {
        matches!(self, Op::Reshape | Op::Permute(_) | Op::Expand | Op::Slice { .. } | Op::Unfold { .. })
    }
}

/// One input of a kernel.
#[derive(Clone, Copy, Debug)]
pub struct Arg<'a> {
    /// Where the data lies.
    pub data: Data<'a>,
    /// Its dtype.
    pub dtype: DType,
    /// Its layout, in elements.
    pub layout: &'a crate::Layout,
}

/// Where an input's data lies.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// In a buffer of its own.
    Buffer(&'a crate::Buffer),
    /// In the buffer of elementwise output number `n`, which will be overwritten in place. Only for
    /// programs; layout and dtype size are those of the output.
    InPlace(usize),
}

/// One output of a kernel: contiguous, of this shape, starting at the buffer's first byte.
#[derive(Debug)]
pub struct Out<'a> {
    /// The memory, with unspecified contents.
    pub data: &'a mut crate::Buffer,
    /// Its dtype.
    pub dtype: DType,
    /// Its shape.
    pub shape: &'a Shape,
}

/// A program that a device keeps, to be run again and again.
///
/// What follows from the program and from the layouts of its inputs is worked out in the first run and used
/// again in those that follow, as long as layouts (but for their offsets) stay the same.
pub trait Prepared: Send {
    /// The program.
    fn program(&self) -> &Program;
    /// Runs it. Inputs have the program's shape; `constants` are the values of its constant instructions,
    /// in their order, in place of those that it was made with.
    fn run(
        &mut self,
        constants: &[crate::Scalar],
        inputs: &[Arg<'_>],
        outputs: &mut [Out<'_>],
    ) -> crate::Result<()>;
    /// Runs a kernel and then the program on its result, where the device can piece by piece, while a
    /// piece is in cache. The bits are those of one after the other.
    fn run_behind(
        &mut self,
        kernel: &Kernel<'_>,
        constants: &[crate::Scalar],
        inputs: &[Arg<'_>],
        outputs: &mut [Out<'_>],
    ) -> crate::Result<()>;
}

/// What a device must be able to do. Kernels get layouts and contiguous outputs.
pub trait Backend: Send + Sync {
    /// Makes a fused program ready to be run.
    fn prepare(&self, program: Program) -> Box<dyn Prepared>;
    /// Runs any other operation that has a kernel (not leaves, pointwise operations, reductions or
    /// views). Errors are those only data can show, such as an index out of range.
    fn run_op(&self, op: &Op, inputs: &[Arg<'_>], output: Out<'_>) -> crate::Result<()>;
    /// Brings the second input of an operation, a weight that stays the same, into the form that its kernel
    /// works with. `first` is the first input's shape. `None` where there is no such form, or it is of no use.
    fn pack(&self, op: &Op, first: &Shape, weight: &Arg<'_>) -> Option<Packed>;
    /// [`run_op`](Backend::run_op) with a weight that was packed for this very operation; the same bits.
    fn run_packed(&self, op: &Op, packed: &Packed, inputs: &[Arg<'_>], output: Out<'_>) -> crate::Result<()>;
}

/// A weight in the form of one backend's kernels.
pub type Packed = std::sync::Arc<dyn std::any::Any + Send + Sync>;

/// A kernel whose result goes through a program.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<'a> {
    /// What it computes.
    pub op: &'a Op,
    /// Its inputs.
    pub inputs: &'a [Arg<'a>],
    /// What [`Backend::pack`] made of its second input, if it did.
    pub packed: Option<&'a Packed>,
    /// The program's output in whose memory its result is computed. The program's inputs that are
    /// [`Data::InPlace`] lie there.
    pub into: usize,
    /// Shape of the result; the program's space is as large.
    pub shape: &'a Shape,
    /// Dtype of the result.
    pub dtype: DType,
}

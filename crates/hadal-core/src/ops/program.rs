//! A fused pointwise program: what the planner makes of a group of pointwise operations and the
//! reductions they feed, and what a backend runs in one pass over memory.

use super::{BinaryOp, ReduceOp, UnaryOp};
use crate::{DType, Scalar, Shape};
use smallvec::SmallVec;

/// A value inside a program, numbered by the instruction that makes it.
pub type Reg = u16;

/// One step of a program. Instruction `i` defines register `i`; operands are earlier registers.
#[derive(Clone, Debug, PartialEq)]
pub struct Instr {
    /// What to compute.
    pub code: Code,
    /// The dtype of the result. It is computed in [`DType::compute`] and then rounded or wrapped to
    /// this dtype, so that fused and unfused evaluation agree bit for bit.
    pub dtype: DType,
}

/// What an instruction computes.
#[derive(Clone, Debug, PartialEq)]
pub enum Code {
    /// Element of input number `n` at the current position (inputs have the program's shape; a
    /// broadcast is a layout with stride 0).
    Load(u16),
    /// A constant.
    Const(Scalar),
    /// The operand converted to the instruction's dtype.
    Cast(Reg),
    /// A unary operation. The operand's dtype is the instruction's, except for tests.
    Unary(UnaryOp, Reg),
    /// A binary operation. Both operands have one dtype.
    Binary(BinaryOp, Reg, Reg),
    /// `where(cond, a, b)`, cond a bool.
    Where(Reg, Reg, Reg),
}

/// What leaves a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The register that leaves.
    pub reg: Reg,
    /// `None`: stored elementwise, contiguous, in the program's shape. Otherwise reduced over the
    /// program's reduced axes; the result is contiguous over the kept axes, in order.
    pub reduce: Option<ReduceOp>,
}

/// A pointwise program over one iteration space.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The iteration space; every input layout has this shape.
    pub shape: Shape,
    /// Instructions, in order; instruction `i` defines register `i`.
    pub instrs: Vec<Instr>,
    /// Outputs, in the order of the buffers handed to the backend.
    pub outputs: SmallVec<[Output; 2]>,
    /// For each axis whether reducing outputs sum it away. All false when no output reduces.
    pub reduced: SmallVec<[bool; 6]>,
}

impl Program {
    /// Values of the constant instructions, in order.
    pub fn constants(&self) -> impl Iterator<Item = Scalar> + '_ {
        self.instrs.iter().filter_map(|i| match i.code {
            Code::Const(value) => Some(value),
            _ => None,
        })
    }
    /// Shape of a reducing output, without the reduced axes.
    pub fn kept_shape(&self) -> Shape {
        self.shape.iter().zip(&self.reduced).filter(|(_, r)| !**r).map(|(&d, _)| d).collect()
    }
}

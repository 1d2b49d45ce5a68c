//! Programs that are no more than what kernels do by themselves to their results: a scale and a shift of
//! each channel, a residual, bounds, in this order and each at most once. Such a program needs no blocks and
//! registers. Each step rounds as the program's instruction does: the bits are the same.

use hadal_core::ops::{Arg, BinaryOp, Code, Data, Program, Reg, UnaryOp};
use hadal_core::smallvec::SmallVec;
use hadal_core::{DType, Layout, Scalar};

/// What a program does to a kernel's result. Numbers are those of its inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Steps {
    /// Multiplies each channel.
    pub scale: Option<usize>,
    /// Added to each channel.
    pub bias: Option<usize>,
    /// Added element by element.
    pub residual: Option<usize>,
    /// Least and largest result.
    pub clamp: Option<[f64; 2]>,
}

impl Steps {
    /// The program's steps on its input in place, if it is of the kind. Channels lie along axis `channel`.
    pub(crate) fn of(
        program: &Program,
        constants: &[Scalar],
        inputs: &[Arg<'_>],
        dtype: DType,
        channel: usize,
    ) -> Option<Steps> {
        let [output] = program.outputs.as_slice() else { return None };
        let mut steps = Steps::default();
        // The register that holds the result so far, and the comparison that a choice is to follow.
        let mut current: Option<Reg> = None;
        let mut test: Option<(Reg, BinaryOp)> = None;
        let mut number = 0;
        let mut values: SmallVec<[Option<f64>; 16]> = SmallVec::from_elem(None, program.instrs.len());
        for (i, instr) in program.instrs.iter().enumerate() {
            let reg = i as Reg;
            match instr.code {
                Code::Const(_) => {
                    values[i] = constants.get(number).map(|s| s.cast(dtype).to_f64());
                    number += 1;
                    continue;
                }
                Code::Load(n) => {
                    if matches!(inputs.get(n as usize)?.data, Data::InPlace(_)) {
                        if current.is_some() || instr.dtype != dtype {
                            return None;
                        }
                        current = Some(reg);
                    }
                    continue;
                }
                _ => {}
            }
            let now = current?;
            match instr.code {
                Code::Binary(op @ (BinaryOp::Add | BinaryOp::Mul), a, b) if test.is_none() => {
                    let other = if a == now { b } else { a };
                    if (a != now && b != now) || other == now || steps.clamp.is_some() {
                        return None;
                    }
                    let Code::Load(n) = program.instrs[other as usize].code else { return None };
                    let (n, arg) = (n as usize, inputs.get(n as usize)?);
                    if arg.dtype != dtype || steps.residual.is_some() {
                        return None;
                    }
                    let place = if is_channel(arg.layout, channel) {
                        match op {
                            BinaryOp::Mul if steps == Steps::default() => &mut steps.scale,
                            BinaryOp::Add if steps.bias.is_none() => &mut steps.bias,
                            _ => return None,
                        }
                    } else if op == BinaryOp::Add && arg.layout.is_contiguous() {
                        &mut steps.residual
                    } else {
                        return None;
                    };
                    *place = Some(n);
                    current = Some(reg);
                }
                Code::Unary(UnaryOp::Relu, a) if a == now && steps.clamp.is_none() && test.is_none() => {
                    steps.clamp = Some([0.0, f64::INFINITY]);
                    current = Some(reg);
                }
                Code::Binary(op @ (BinaryOp::Le | BinaryOp::Ge), a, b) if a == now && test.is_none() => {
                    values[i] = Some(values[b as usize]?);
                    test = Some((reg, op));
                }
                Code::Where(c, a, b) if b == now => {
                    let (_, op) = test.take().filter(|t| t.0 == c)?;
                    let bound = values[a as usize].filter(|v| Some(*v) == values[c as usize])?;
                    let [low, high] = steps.clamp.unwrap_or([f64::NEG_INFINITY, f64::INFINITY]);
                    steps.clamp = match op {
                        BinaryOp::Le if steps.clamp.is_none() => Some([bound, high]),
                        BinaryOp::Ge if high == f64::INFINITY => Some([low, bound]),
                        _ => return None,
                    };
                    current = Some(reg);
                }
                _ => return None,
            }
        }
        // Only one output leaves, and each step reads the one before: no value on the way is wanted elsewhere.
        let plain = program.instrs.iter().all(|i| i.dtype == dtype || i.dtype == DType::Bool);
        (test.is_none() && plain && current == Some(output.reg) && output.reduce.is_none()).then_some(steps)
    }
}

/// Whether a layout is one run of numbers along an axis, repeated over all others.
fn is_channel(layout: &Layout, channel: usize) -> bool {
    let mut dims = layout.shape.iter().zip(&layout.strides).enumerate();
    dims.all(|(d, (&n, &stride))| n == 1 || stride == (d == channel) as isize)
        && layout.shape.get(channel).is_some_and(|&n| n > 1)
}

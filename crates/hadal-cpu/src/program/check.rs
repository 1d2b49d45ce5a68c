//! What a program, its inputs and its outputs must satisfy before unsafe code relies on it. A
//! violation is a bug above this crate and ends in an error of kind `State`.

use super::plan::for_operands;
use hadal_core::ops::{Arg, Code, Data, Kind, Out, Program, ReduceOp};
use hadal_core::{DType, Error, ErrorKind, Layout, Result};

fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::State, "program", message).help("this is a bug in Hadal; please report it")
}

/// Checks everything; on success the number of elements of the iteration space.
pub(super) fn check(program: &Program, inputs: &[Arg<'_>], outputs: &[Out<'_>]) -> Result<usize> {
    if program.reduced.len() != program.shape.rank() {
        return Err(bad("as many reduction flags as axes are needed"));
    }
    if program.instrs.len() > u16::MAX as usize || inputs.len() > u16::MAX as usize {
        return Err(bad("too many instructions or inputs"));
    }
    let numel = program.shape.numel();
    if numel > isize::MAX as usize / 16 {
        return Err(bad("too many elements"));
    }
    for (i, _) in program.instrs.iter().enumerate() {
        check_instr(program, i, inputs)?;
    }
    check_outputs(program, outputs, numel)?;
    for (i, arg) in inputs.iter().enumerate() {
        if arg.layout.shape != program.shape || arg.layout.strides.len() != program.shape.rank() {
            return Err(bad(format!("input {i} does not have the program's shape"))
                .operand(&arg.layout.shape, arg.dtype)
                .operand(&program.shape, arg.dtype));
        }
        let bytes = match arg.data {
            Data::Buffer(b) => b.len(),
            Data::InPlace(n) => {
                let target = (outputs.get(n).zip(program.outputs.get(n)))
                    .filter(|(o, p)| p.reduce.is_none() && o.dtype.size() == arg.dtype.size());
                let Some((out, _)) = target else {
                    return Err(bad(format!("input {i} lies in output {n}, which cannot hold it")));
                };
                if arg.layout.offset != 0 || !arg.layout.is_contiguous() {
                    return Err(bad(format!("input {i} lies in output {n} in another order")));
                }
                out.data.len()
            }
        };
        let room = bytes / arg.dtype.size();
        if !fits(arg.layout, room) {
            return Err(bad(format!("input {i} reaches outside its buffer of {room} elements"))
                .operand(&arg.layout.shape, arg.dtype));
        }
    }
    Ok(numel)
}

/// Whether every element lies in a buffer of `room` elements; wide arithmetic, since strides come
/// unchecked.
fn fits(layout: &Layout, room: usize) -> bool {
    let (mut lo, mut hi) = (layout.offset as i128, layout.offset as i128);
    if layout.shape.contains(&0) {
        return layout.offset <= room;
    }
    for (&d, &s) in layout.shape.iter().zip(&layout.strides) {
        let reach = (d as i128 - 1) * s as i128;
        if reach < 0 {
            lo += reach;
        } else {
            hi += reach;
        }
    }
    lo >= 0 && hi < room as i128
}

fn check_instr(program: &Program, i: usize, inputs: &[Arg<'_>]) -> Result<()> {
    let instr = &program.instrs[i];
    let mut earlier = true;
    for_operands(&instr.code, |r| earlier &= (r as usize) < i);
    if !earlier {
        return Err(bad(format!("instruction {i} uses a register that is not defined before it")));
    }
    let dtype = |r: u16| program.instrs[r as usize].dtype;
    let to = instr.dtype;
    let fine = match instr.code {
        Code::Load(n) => inputs.get(n as usize).is_some_and(|a| a.dtype == to),
        Code::Const(_) | Code::Cast(_) => true,
        Code::Unary(op, a) => match op.kind() {
            Kind::Float => to.is_float() && dtype(a) == to,
            Kind::Num => dtype(a) == to,
            _ => to == DType::Bool && dtype(a).is_float(),
        },
        Code::Binary(op, a, b) => {
            dtype(a) == dtype(b)
                && match op.kind() {
                    Kind::Float => to.is_float() && dtype(a) == to,
                    Kind::Num => dtype(a) == to,
                    Kind::Compare | Kind::Test => to == DType::Bool,
                    Kind::Logic => to == DType::Bool && dtype(a) == DType::Bool,
                    Kind::Bit => dtype(a) == to && !to.is_float(),
                }
        }
        Code::Where(c, a, b) => dtype(c) == DType::Bool && dtype(a) == to && dtype(b) == to,
    };
    if fine { Ok(()) } else { Err(bad(format!("instruction {i}, {:?}, does not give {to}", instr.code))) }
}

fn check_outputs(program: &Program, outputs: &[Out<'_>], numel: usize) -> Result<()> {
    if program.outputs.len() != outputs.len() || outputs.len() > u16::MAX as usize {
        return Err(bad(format!(
            "a program of {} outputs was given memory for {}",
            program.outputs.len(),
            outputs.len()
        )));
    }
    for (i, (o, out)) in program.outputs.iter().zip(outputs).enumerate() {
        let Some(instr) = program.instrs.get(o.reg as usize) else {
            return Err(bad(format!("output {i} is a register that does not exist")));
        };
        let right_shape = match o.reduce {
            None => *out.shape == program.shape && out.dtype == instr.dtype,
            Some(_) => {
                let kept = program.shape.iter().zip(&program.reduced).filter(|(_, r)| !**r).map(|(d, _)| d);
                kept.eq(out.shape.iter())
            }
        };
        let elements = out.shape.numel();
        if !right_shape || elements > out.data.len() / out.dtype.size() {
            return Err(bad(format!("output {i} has another shape, dtype or size than its memory"))
                .operand(out.shape, out.dtype)
                .operand(&program.shape, instr.dtype));
        }
        if numel == 0 && elements > 0 && matches!(o.reduce, Some(ReduceOp::Max | ReduceOp::Min)) {
            return Err(Error::new(ErrorKind::Value, "max", "the largest or smallest of no elements")
                .operand(&program.shape, instr.dtype)
                .help("check for empty tensors first"));
        }
    }
    Ok(())
}

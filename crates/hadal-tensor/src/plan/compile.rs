//! A fused group as a program.

use super::collect::{Graph, Kind};
use super::fuse::Units;
use hadal_core::ops::{Code, Instr, Op, Output, Program, Reg};
use hadal_core::smallvec::SmallVec;

/// A program with the nodes its inputs and outputs stand for.
pub struct Compiled {
    pub program: Program,
    pub inputs: SmallVec<[u32; 6]>,
    pub outputs: SmallVec<[u32; 2]>,
    /// Nodes whose values the program's constants are, in order.
    pub constants: SmallVec<[u32; 4]>,
}

/// Compiles unit `u`, whose members are pointwise nodes and reductions, and perhaps a kernel that they
/// follow: that one's result is an input.
///
/// `stored` says whether a member's value is needed outside the unit.
pub fn compile(graph: &Graph, units: &Units, u: u32, stored: impl Fn(u32) -> bool) -> Compiled {
    let members = &units.members[u as usize];
    let fused = |m: u32| matches!(graph.nodes[m as usize].kind, Kind::Pointwise | Kind::Reduce);
    // Every input of every member has the iteration space's shape.
    let first = members.iter().find(|&&m| fused(m)).map_or(members[0], |&m| m);
    let first = graph.nodes[first as usize].inputs[0];
    let shape = graph.nodes[first as usize].tensor.0.shape.clone();
    let mut program = Program {
        reduced: SmallVec::from_elem(false, shape.rank()),
        shape,
        instrs: Vec::new(),
        outputs: SmallVec::new(),
    };
    let mut inputs: SmallVec<[u32; 6]> = SmallVec::new();
    let mut outputs: SmallVec<[u32; 2]> = SmallVec::new();
    let mut constants: SmallVec<[u32; 4]> = SmallVec::new();
    let mut regs: SmallVec<[(u32, Reg); 16]> = SmallVec::new();
    for &m in members.iter().filter(|&&m| fused(m)) {
        let node = &graph.nodes[m as usize];
        let mut args: SmallVec<[Reg; 3]> = SmallVec::new();
        for &j in &node.inputs {
            if let Some(&(_, r)) = regs.iter().find(|(n, _)| *n == j) {
                args.push(r);
                continue;
            }
            let input = &graph.nodes[j as usize];
            let code = match input.kind {
                Kind::Const(s) => {
                    constants.push(j);
                    Code::Const(s)
                }
                _ => {
                    inputs.push(j);
                    Code::Load(inputs.len() as u16 - 1)
                }
            };
            program.instrs.push(Instr { code, dtype: input.tensor.0.dtype });
            let r = program.instrs.len() as Reg - 1;
            regs.push((j, r));
            args.push(r);
        }
        let code = match &node.tensor.0.op {
            Op::Unary(op) => Code::Unary(*op, args[0]),
            Op::Binary(op) => Code::Binary(*op, args[0], args[1]),
            Op::Where => Code::Where(args[0], args[1], args[2]),
            Op::Reduce(op, axes) => {
                for &a in axes {
                    program.reduced[a] = true;
                }
                program.outputs.push(Output { reg: args[0], reduce: Some(*op) });
                outputs.push(m);
                continue;
            }
            // Only casts are left among pointwise operations.
            _ => Code::Cast(args[0]),
        };
        program.instrs.push(Instr { code, dtype: node.tensor.0.dtype });
        let r = program.instrs.len() as Reg - 1;
        regs.push((m, r));
        if stored(m) {
            program.outputs.push(Output { reg: r, reduce: None });
            outputs.push(m);
        }
    }
    // The result of the kernel whose epilogue this is, where it is wanted as well.
    if let Some(head) = units.heads[u as usize]
        && stored(head.kernel)
        && let Some(&(_, reg)) = regs.iter().find(|(n, _)| *n == head.read)
    {
        program.outputs.push(Output { reg, reduce: None });
        outputs.push(head.kernel);
    }
    Compiled { program, inputs, outputs, constants }
}

//! Whatever does not fit together is an error, never a panic or a stray access.

use crate::support::*;
use hadal_core::ops::{Arg, BinaryOp, Code, Data, Out, Program, ReduceOp, UnaryOp};
use hadal_core::{Buffer, DType, ErrorKind, Layout, Shape};

fn valid() -> Builder {
    let mut b = Builder::new(&[4, 6]);
    let (x, y) = (b.load(0, DType::F32), b.load(1, DType::F32));
    let z = b.binary(BinaryOp::Add, x, y);
    b.store(z);
    b
}

fn host(shape: &[usize], dtype: DType) -> Host {
    Host::new(shape, dtype, |_| convert(Val::I(1), dtype))
}

fn refused(p: &Program, inputs: &[&Host], what: &str) {
    let error = run_raw(p, inputs).map(|_| ()).expect_err(what);
    assert_eq!(error.kind(), ErrorKind::State, "{what}: {error}");
}

#[test]
fn programs_that_are_not_well_formed() {
    let (x, y) = (host(&[4, 6], DType::F32), host(&[4, 6], DType::F32));
    let both = [&x, &y];
    let edit = |f: &dyn Fn(&mut Program)| {
        let mut p = valid().0;
        f(&mut p);
        p
    };
    assert!(run_raw(&valid().0, &both).is_ok());
    refused(&edit(&|p| p.instrs[2].code = Code::Binary(BinaryOp::Add, 0, 2)), &both, "own register");
    refused(&edit(&|p| p.instrs[2].code = Code::Binary(BinaryOp::Add, 0, 9)), &both, "no such register");
    refused(&edit(&|p| p.instrs[1].code = Code::Load(2)), &both, "no such input");
    refused(&edit(&|p| p.instrs[1].dtype = DType::F64), &both, "input of another dtype");
    refused(&edit(&|p| p.instrs[2].dtype = DType::Bool), &both, "sum of floats is no bool");
    refused(&edit(&|p| p.instrs[2].code = Code::Binary(BinaryOp::BitwiseAnd, 0, 1)), &both, "bits of floats");
    refused(&edit(&|p| p.instrs[2].code = Code::Where(0, 0, 1)), &both, "condition no bool");
    refused(&edit(&|p| p.instrs[2].code = Code::Unary(UnaryOp::IsNan, 0)), &both, "a test gives bool");
    refused(&edit(&|p| p.reduced.push(false)), &both, "one flag too many");
    refused(&valid().0, &[&x], "one input missing");
    refused(&valid().0, &[&x, &host(&[6, 4], DType::F32)], "input of another shape");
    refused(&valid().0, &[&x, &host(&[4, 6], DType::I32)], "input of another dtype");
    let mut ints = Builder::new(&[3]);
    let r = ints.load(0, DType::I64);
    let e = ints.unary(UnaryOp::Exp, r);
    ints.store(e);
    refused(&ints.0, &[&host(&[3], DType::I64)], "exp of integers");
}

#[test]
fn an_output_that_does_not_exist() {
    let (x, y) = (host(&[4, 6], DType::F32), host(&[4, 6], DType::F32));
    let mut p = valid().0;
    p.outputs[0].reg = 7;
    let shape = p.shape.clone();
    let mut data = Buffer::new(4 * 24);
    let out = Out { data: &mut data, dtype: DType::F32, shape: &shape };
    assert!(hadal_cpu::program::run(&p, &[x.arg(), y.arg()], &mut [out]).is_err());
}

#[test]
fn layouts_that_leave_their_buffer() {
    let x = host(&[4, 6], DType::F32);
    let lengthen = |strides: [isize; 2], offset: usize| {
        let mut y = host(&[4, 6], DType::F32);
        y.layout = Layout { shape: Shape::new(&[4, 6]), strides: strides.into_iter().collect(), offset };
        y
    };
    let p = valid().0;
    assert!(run_raw(&p, &[&x, &lengthen([-6, -1], 23)]).is_ok());
    refused(&p, &[&x, &lengthen([6, 1], 1)], "one too far");
    refused(&p, &[&x, &lengthen([-6, -1], 22)], "one too low");
    refused(&p, &[&x, &lengthen([isize::MAX, 1], 0)], "absurd stride");
    refused(&p, &[&x, &lengthen([isize::MIN, isize::MIN], usize::MAX)], "absurd offset");
}

#[test]
fn outputs_that_are_too_small_or_of_another_kind() {
    let (x, y) = (host(&[4, 6], DType::F32), host(&[4, 6], DType::F32));
    let p = valid().0;
    let (shape, other) = (Shape::new(&[4, 6]), Shape::new(&[24]));
    let attempt = |bytes: usize, dtype: DType, shape: &Shape| {
        let mut data = Buffer::new(bytes);
        let out = Out { data: &mut data, dtype, shape };
        hadal_cpu::program::run(&p, &[x.arg(), y.arg()], &mut [out])
    };
    assert!(attempt(96, DType::F32, &shape).is_ok());
    assert!(attempt(95, DType::F32, &shape).is_err());
    assert!(attempt(96, DType::F32, &other).is_err());
    assert!(attempt(96, DType::I32, &shape).is_err());
    assert!(hadal_cpu::program::run(&p, &[x.arg(), y.arg()], &mut []).is_err());
}

#[test]
fn inputs_in_place_of_what_cannot_hold_them() {
    let y = host(&[4, 6], DType::F32);
    let mut p = valid().0;
    p.reduced[1] = true;
    p.outputs.push(hadal_core::ops::Output { reg: 2, reduce: Some(ReduceOp::Sum) });
    let (shape, kept) = (Shape::new(&[4, 6]), Shape::new(&[4]));
    let whole = Layout::contiguous(shape.clone());
    let attempt = |n: usize, layout: &Layout| {
        let (mut a, mut b) = (Buffer::new(96), Buffer::new(96));
        a.bytes_mut().fill(0);
        let mut outs = [
            Out { data: &mut a, dtype: DType::F32, shape: &shape },
            Out { data: &mut b, dtype: DType::F32, shape: &kept },
        ];
        let first = Arg { data: Data::InPlace(n), dtype: DType::F32, layout };
        hadal_cpu::program::run(&p, &[first, y.arg()], &mut outs)
    };
    assert!(attempt(0, &whole).is_ok());
    assert!(attempt(1, &whole).is_err(), "a reducing output");
    assert!(attempt(2, &whole).is_err(), "no such output");
    let turned = Layout::contiguous(Shape::new(&[6, 4])).permute(&[1, 0]);
    assert!(attempt(0, &turned).is_err(), "another order");
}

#[test]
fn the_largest_of_nothing() {
    for op in [ReduceOp::Max, ReduceOp::Min] {
        let x = host(&[3, 0], DType::F32);
        let mut b = Builder::new(&[3, 0]);
        let r = b.load(0, DType::F32);
        b.reduce(r, op, &[1]);
        let error = run_raw(&b.0, &[&x]).map(|_| ()).expect_err("nothing has no largest");
        assert_eq!(error.kind(), ErrorKind::Value, "{error}");
    }
}

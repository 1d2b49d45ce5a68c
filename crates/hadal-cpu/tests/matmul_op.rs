//! The matrix product as an operation: layouts of every kind, all dtypes.

mod support;

use hadal_core::Shape;
use hadal_core::ops::Op;
use support::{Rng, Tensor, each, run};

#[test]
fn matmul_reads_every_layout_and_dtype() {
    let mut rng = Rng(41);
    for _ in 0..600 {
        let dtype = rng.dtype();
        let mut batch = rng.shape(0).to_vec();
        batch.truncate(2);
        let [m, k, n] = [0, 1, 2].map(|_| [0, 1, 2, 3, 5, 8, 17, 33][rng.below(8)]);
        let with = |tail: [usize; 2]| -> Shape { batch.iter().copied().chain(tail).collect() };
        let few = |r: &mut Rng| r.below(2) as f64;
        let a = Tensor::strided(&mut rng, &with([m, k]), dtype, few);
        let b = Tensor::strided(&mut rng, &with([k, n]), dtype, few);
        let shape = with([m, n]);
        let mut want = Vec::new();
        each(&shape, |at| {
            let [batch @ .., i, j] = at else { return };
            let one = |t: &Tensor, x, y| t.at(&batch.iter().copied().chain([x, y]).collect::<Vec<_>>());
            let sum: f64 = (0..k).map(|p| one(&a, *i, p) * one(&b, p, *j)).sum();
            want.push(if dtype == hadal_core::DType::Bool { sum.min(1.0) } else { sum });
        });
        let got = run(&Op::Matmul, &[&a, &b], dtype, &shape).unwrap();
        assert_eq!(got, want, "{batch:?} {m} {k} {n} {dtype} {:?} {:?}", a.layout, b.layout);
    }
}

//! Einsum: equations against loops over all indices, and what wrong equations say.

use hadal_tensor::{DType, ErrorKind, Key, Tensor, einsum, eval};

/// What einsum means: for every value of all labels, the product of the operands' elements, added to
/// the result's element. Plain letters only; sizes of 1 broadcast.
fn by_loops(equation: &str, operands: &[&Tensor]) -> (Vec<usize>, Vec<f64>) {
    let (left, right) = equation.split_once("->").unwrap();
    let terms: Vec<Vec<char>> = left.split(',').map(|t| t.chars().collect()).collect();
    let mut labels: Vec<(char, usize)> = Vec::new();
    for (term, t) in terms.iter().zip(operands) {
        for (&c, &n) in term.iter().zip(t.dims()) {
            match labels.iter_mut().find(|l| l.0 == c) {
                Some(l) => l.1 = if l.1 == 1 { n } else { l.1 },
                None => labels.push((c, n)),
            }
        }
    }
    let data: Vec<Vec<f64>> = operands.iter().map(|t| t.to_vec().unwrap()).collect();
    let size = |c: char| labels.iter().find(|l| l.0 == c).unwrap().1;
    let out_dims: Vec<usize> = right.chars().map(size).collect();
    let mut out = vec![0.0; out_dims.iter().product()];
    let total: usize = labels.iter().map(|l| l.1).product();
    for flat in 0..total {
        let mut rest = flat;
        let mut at = std::collections::BTreeMap::new();
        for &(c, n) in &labels {
            at.insert(c, rest % n);
            rest /= n;
        }
        let place = |names: &[char], dims: &[usize]| {
            names.iter().zip(dims).fold(0, |acc, (c, &n)| acc * n + if n == 1 { 0 } else { at[c] })
        };
        let product: f64 =
            terms.iter().zip(operands).zip(&data).map(|((term, t), d)| d[place(term, t.dims())]).product();
        out[place(&right.chars().collect::<Vec<_>>(), &out_dims)] += product;
    }
    (out_dims, out)
}

fn random(shapes: &[&[usize]]) -> Vec<Tensor> {
    shapes
        .iter()
        .enumerate()
        .map(|(i, s)| Tensor::randn(*s, DType::F64, Key::new(7).split(i as u64)))
        .collect()
}

fn check(equation: &str, shapes: &[&[usize]]) {
    let operands = random(shapes);
    let refs: Vec<&Tensor> = operands.iter().collect();
    let (dims, want) = by_loops(&equation.replace(' ', ""), &refs);
    let got = einsum(equation, &refs);
    assert_eq!(got.dims(), dims, "{equation}");
    for (g, w) in got.to_vec::<f64>().unwrap().iter().zip(&want) {
        assert!((g - w).abs() <= 1e-12 * (1.0 + w.abs()), "{equation}: {g} instead of {w}");
    }
}

#[test]
fn one_operand() {
    check("ij->ji", &[&[2, 3]]);
    check("ij->", &[&[2, 3]]);
    check("ijk->k", &[&[2, 3, 4]]);
    check("ii->i", &[&[3, 3]]);
    check("ii->", &[&[3, 3]]);
    check("iji->j", &[&[3, 2, 3]]);
    check("ijij->ji", &[&[2, 3, 2, 3]]);
    check("iii->i", &[&[3, 3, 3]]);
    check("->", &[&[]]);
}

#[test]
fn two_operands() {
    check("ij,jk->ik", &[&[2, 3], &[3, 4]]);
    check("ij,kj->ki", &[&[2, 3], &[4, 3]]);
    check("i,i->", &[&[5], &[5]]);
    check("i,j->ij", &[&[2], &[3]]);
    check("i,j->ji", &[&[2], &[3]]);
    check("ij,ij->ij", &[&[2, 3], &[2, 3]]);
    check("bhqd,bhkd->bhqk", &[&[2, 2, 3, 4], &[2, 2, 5, 4]]);
    check("bhqk,bkhd->bqhd", &[&[2, 3, 4, 5], &[2, 5, 3, 2]]);
    check("ijkl,klm->mij", &[&[2, 3, 2, 4], &[2, 4, 3]]);
    check("ijk,lj->il", &[&[2, 3, 4], &[5, 3]]);
    check("ii,ij->j", &[&[3, 3], &[3, 2]]);
    check("ij,->ji", &[&[2, 3], &[]]);
    check(" b i , b j -> b i j ", &[&[2, 3], &[2, 4]]);
    check("aB,Bc->ca", &[&[2, 3], &[3, 4]]);
}

#[test]
fn sizes_of_one_broadcast() {
    check("ij,ij->ij", &[&[1, 3], &[2, 3]]);
    check("ij,jk->ik", &[&[2, 1], &[4, 3]]);
    check("ij,jk->ik", &[&[2, 4], &[1, 3]]);
    check("ij,ij->", &[&[2, 1], &[1, 3]]);
    check("ij,ij->i", &[&[1, 1], &[1, 1]]);
}

#[test]
fn many_operands() {
    check("ab,bc,cd->ad", &[&[2, 3], &[3, 4], &[4, 2]]);
    check("bn,anm,bm->ba", &[&[2, 3], &[4, 3, 2], &[2, 2]]);
    check("i,j,k,l->lkji", &[&[2], &[3], &[2], &[2]]);
    check("a,a,a->a", &[&[3], &[3], &[3]]);
    check("ab,b,c,c->a", &[&[2, 3], &[3], &[4], &[4]]);
}

#[test]
fn empty_dimensions_sum_to_nothing() {
    check("ij,jk->ik", &[&[2, 0], &[0, 3]]);
    check("ij,jk->ik", &[&[0, 2], &[2, 3]]);
    check("ij->i", &[&[2, 0]]);
    check("i,j->ij", &[&[0], &[3]]);
}

#[test]
fn implicit_results_are_in_alphabetical_order() {
    let ts = random(&[&[2, 3], &[3, 4]]);
    let refs: Vec<&Tensor> = ts.iter().collect();
    assert_eq!(einsum("ba,ac", &refs).dims(), [2, 4]);
    assert_eq!(einsum("cb,ba", &refs).dims(), [4, 2]);
    // Capitals come first.
    assert_eq!(einsum("aB", &refs[..1]).dims(), [3, 2]);
    assert_eq!(einsum("ij", &refs[..1]).to_vec::<f64>().unwrap(), refs[0].to_vec::<f64>().unwrap());
    assert_eq!(einsum("ii", &[&Tensor::eye(3, DType::F64)]).item::<f64>().unwrap(), 3.0);
}

#[test]
fn ellipsis() {
    let ts = random(&[&[5, 1, 2, 3], &[4, 3, 2], &[2, 3]]);
    let (a, b, c) = (&ts[0], &ts[1], &ts[2]);
    let batch = einsum("...ij,...jk->...ik", &[a, b]);
    assert_eq!(batch.dims(), [5, 4, 2, 2]);
    let want = a.matmul(b);
    assert!(batch.allclose(&want, 1e-12, 1e-12, false).unwrap());
    // Implicit: the ellipsis first.
    assert!(einsum("...ij,...jk", &[a, b]).allclose(&want, 1e-12, 1e-12, false).unwrap());
    // In another place, for nothing, and alone.
    assert_eq!(einsum("...ij->ji...", &[a]).dims(), [3, 2, 5, 1]);
    assert_eq!(
        einsum("i...j->...", &[c]).item::<f64>().unwrap(),
        einsum("ij->", &[c]).item::<f64>().unwrap()
    );
    assert_eq!(einsum("...->...", &[a]).dims(), a.dims());
    // Missing from the result: summed, as in PyTorch.
    let total = einsum("...ij->ij", &[a]);
    assert!(total.allclose(a.sum([0, 1]), 1e-12, 1e-12, false).unwrap());
    // On one side only.
    assert_eq!(
        einsum("...i,ij->...j", &[b, &c.t().contiguous().narrow(0, 0, 2).narrow(1, 0, 2)]).dims(),
        [4, 3, 2]
    );
}

#[test]
fn views_and_dtypes() {
    let x = random(&[&[4, 3, 2]]).remove(0);
    let view = x.permute([2, 0, 1]).flip(1);
    let plain = Tensor::from_vec(view.to_vec::<f64>().unwrap(), view.shape());
    let got = einsum("abc,bd->adc", &[&view, &Tensor::eye(4, DType::F64)]);
    let want = einsum("abc,bd->adc", &[&plain, &Tensor::eye(4, DType::F64)]);
    assert_eq!(got.to_vec::<f64>().unwrap(), want.to_vec::<f64>().unwrap());
    // Integers stay what they are; dtypes promote.
    let i = Tensor::new([[1i32, 2], [3, 4]]);
    let sum = einsum("ij->i", &[&i]);
    assert_eq!((sum.dtype(), sum.to_vec::<i32>().unwrap()), (DType::I32, vec![3, 7]));
    assert_eq!(einsum("ij,jk->ik", &[&i, &i]).to_vec::<i32>().unwrap(), [7, 10, 15, 22]);
    assert_eq!(einsum("ij,j->i", &[&i, &Tensor::new([0.5f64, 1.0])]).to_vec::<f64>().unwrap(), [2.5, 5.5]);
    let h = einsum("ij,kj->ik", &[&i.cast(DType::F16), &i.cast(DType::F16)]);
    assert_eq!(h.dtype(), DType::F16);
    assert_eq!(h.cast(DType::F32).to_vec::<f32>().unwrap(), [5.0, 11.0, 11.0, 25.0]);
}

/// Kind and first line of the error.
fn error(equation: &str, shapes: &[&[usize]]) -> (ErrorKind, String) {
    let operands = random(shapes);
    let e = einsum(equation, &operands.iter().collect::<Vec<_>>()).eval().unwrap_err();
    assert!(e.location().unwrap().file().ends_with("einsum.rs"), "{e}");
    assert!(e.message().starts_with(&format!("\"{equation}\": ")), "{e}");
    (e.kind(), e.message().rsplit_once("\": ").unwrap().1.to_owned())
}

#[test]
fn errors_name_equation_and_label() {
    use ErrorKind::{Shape, Value};
    let says = |equation: &str, shapes: &[&[usize]], kind: ErrorKind, text: &str| {
        assert_eq!(error(equation, shapes), (kind, text.to_owned()), "{equation}");
    };
    says("ij,jk->ik", &[&[2, 3], &[4, 5]], Shape, "label 'j' is 3 in operand 0 and 4 in operand 1");
    says("ii->i", &[&[2, 3]], Shape, "label 'i' is twice in operand 0, with sizes 2 and 3");
    says("...i,...i->i", &[&[2, 3], &[4, 3]], Shape, "label '...' is 2 in operand 0 and 4 in operand 1");
    says("ijk->i", &[&[2, 3]], Shape, "operand 0 has 2 dimensions, its labels are \"ijk\"");
    says("i->i", &[&[2, 3]], Shape, "operand 0 has 2 dimensions, its labels are \"i\"");
    says("ij...->i", &[&[2]], Shape, "operand 0 has 1 dimension, its labels are \"ij...\"");
    says("ij,jk->ik", &[&[2, 3]], Value, "labels for 2 operands, 1 given");
    says("ij->ik", &[&[2, 3]], Value, "label 'k' of the result is in no operand");
    says("ij->ii", &[&[2, 3]], Value, "label 'i' is twice in the result");
    says("i1->i", &[&[2, 3]], Value, "'1' is no letter; labels are a to z and A to Z");
    says("ij->i->j", &[&[2, 3]], Value, "'-' is no letter; labels are a to z and A to Z");
    says("i..j->i", &[&[2, 3]], Value, "a dot in \"i..j\" that is not part of '...'");
    says("i......->i", &[&[2, 3]], Value, "two ellipses in \"i......\"");
    assert!(einsum("", &[]).eval().is_err());
    let e = einsum("i,i->", &[&Tensor::new([true]), &Tensor::new([true])]).eval().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::DType);
}

#[test]
fn the_first_error_stays() {
    let bad = Tensor::new([1.0f32]).reshape([7]);
    let e = einsum("not an equation!", &[&bad]).eval().unwrap_err();
    assert_eq!(e.op(), "reshape");
    // And nothing is computed by building.
    let ts = random(&[&[2, 3], &[3, 4]]);
    let y = einsum("ij,jk->ik", &[&ts[0], &ts[1]]);
    assert!(!y.is_evaluated());
    eval(&[&y]).unwrap();
}

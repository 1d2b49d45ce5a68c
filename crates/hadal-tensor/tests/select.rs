//! Sorting and selection: results worked out by hand, views, empty tensors, NaN, errors.

use hadal_tensor::{DType, Element, ErrorKind, Tensor, grad};

fn vec<T: Element>(t: &Tensor) -> Vec<T> {
    t.to_vec().unwrap()
}
/// Shape and data.
fn dense<T: Element>(t: &Tensor) -> (Vec<usize>, Vec<T>) {
    (t.dims().to_vec(), vec(t))
}
fn count(shape: impl Into<hadal_tensor::Shape>) -> Tensor {
    let shape = shape.into();
    Tensor::arange(0, shape.numel(), 1).reshape(&shape)
}
fn kind(t: &Tensor) -> ErrorKind {
    t.eval().unwrap_err().kind()
}

#[test]
fn sort_is_stable_and_puts_nan_last() {
    let x = Tensor::new([2.0f32, f32::NAN, 1.0, 2.0, f32::INFINITY, 1.0]);
    let (v, i) = x.sort(0, false);
    assert_eq!(vec::<i64>(&i), [2, 5, 0, 3, 4, 1]);
    assert!(vec::<f32>(&v)[5].is_nan());
    assert_eq!(vec::<i64>(&x.argsort(-1, true)), [1, 4, 0, 3, 2, 5]);
    let bools = Tensor::new([true, false, true]).sort(0, false);
    assert_eq!((vec::<bool>(&bools.0), vec::<i64>(&bools.1)), (vec![false, true, true], vec![1, 0, 2]));
    let halves = Tensor::new([1.5f32, -2.0, 0.0]).cast(DType::BF16).sort(0, false).0;
    assert_eq!(vec::<f32>(&halves.cast(DType::F32)), [-2.0, 0.0, 1.5]);
}

#[test]
fn sort_along_any_dimension_of_a_view() {
    let x = Tensor::new([[3i64, 1, 2], [0, 5, 4]]).t();
    let (v, i) = x.sort(0, false);
    assert_eq!(dense::<i64>(&v), (vec![3, 2], vec![1, 0, 2, 4, 3, 5]));
    assert_eq!(vec::<i64>(&i), [1, 0, 2, 2, 0, 1]);
    assert_eq!(vec::<i64>(&x.sort(-1, true).0), [3, 0, 5, 1, 4, 2]);
    let (v, i) = Tensor::new(5i64).sort(-1, false);
    assert_eq!((v.rank(), vec::<i64>(&v), vec::<i64>(&i)), (0, vec![5], vec![0]));
    assert_eq!(Tensor::zeros([2, 0], DType::F32).sort(1, false).0.dims(), [2, 0]);
    assert_eq!(kind(&x.argsort(2, false)), ErrorKind::Index);
}

#[test]
fn sorted_values_pass_gradients_back() {
    let x = Tensor::new([3.0f32, 1.0, 2.0]);
    let y = (x.sort(0, false).0 * Tensor::new([1.0f32, 10.0, 100.0])).sum(..);
    assert_eq!(vec::<f32>(&grad(&y, &[&x]).unwrap()[0]), [100.0, 1.0, 10.0]);
    let y = x.topk(2, 0, false).0.sum(..);
    assert_eq!(vec::<f32>(&grad(&y, &[&x]).unwrap()[0]), [0.0, 1.0, 1.0]);
}

#[test]
fn topk() {
    let x = Tensor::new([[1.0f32, 4.0, 4.0, f32::NAN], [7.0, -1.0, 0.0, 2.0]]);
    let (v, i) = x.topk(3, -1, true);
    assert_eq!(dense::<i64>(&i), (vec![2, 3], vec![3, 1, 2, 0, 3, 2]));
    assert_eq!(vec::<f32>(&v)[1..], [4.0, 4.0, 7.0, 2.0, 0.0]);
    assert_eq!(vec::<i64>(&x.topk(1, 0, false).1), [0, 1, 1, 1]);
    assert_eq!(x.topk(0, 1, true).0.dims(), [2, 0]);
    let (v, i) = x.topk(5, 1, true);
    assert_eq!(v.eval().unwrap_err().message(), "5 elements of dimension 1, which has 4");
    assert!(i.is_poisoned());
    assert_eq!(vec::<f32>(&Tensor::new(2.0f32).topk(1, 0, true).0), [2.0]);
}

#[test]
fn nonzero() {
    let x = Tensor::new([[0.0f32, 1.0, f32::NAN], [-0.0, 0.0, 2.0]]);
    assert_eq!(dense::<i64>(&x.nonzero()), (vec![3, 2], vec![0, 1, 0, 2, 1, 2]));
    assert_eq!(dense::<i64>(&x.t().nonzero()), (vec![3, 2], vec![1, 0, 2, 0, 2, 1]));
    assert_eq!(Tensor::new(3i64).nonzero().dims(), [1, 0]);
    assert_eq!(Tensor::new(false).nonzero().dims(), [0, 0]);
    assert_eq!(Tensor::zeros([3, 0], DType::F32).nonzero().dims(), [0, 2]);
    assert_eq!(x.reshape([5]).nonzero().eval().unwrap_err().op(), "reshape");
}

#[test]
fn masked_select() {
    let x = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]]);
    let m = Tensor::new([true, false]);
    assert_eq!(vec::<f32>(&x.masked_select(&m)), [1.0, 3.0]);
    assert_eq!(vec::<f32>(&x.t().masked_select(&m)), [1.0, 2.0]);
    assert_eq!(vec::<f32>(&Tensor::new(5.0f32).masked_select(&m)), [5.0]);
    assert_eq!(x.masked_select(&x.gt(9.0)).dims(), [0]);
    let y = x.masked_select(&x.gt(2.0)).square().sum(..);
    assert_eq!(vec::<f32>(&grad(&y, &[&x]).unwrap()[0]), [0.0, 0.0, 6.0, 8.0]);
    assert_eq!(kind(&x.masked_select(&x)), ErrorKind::DType);
    assert_eq!(kind(&x.masked_select(&Tensor::new([true; 3]))), ErrorKind::Shape);
}

#[test]
fn unique() {
    let x = Tensor::new([[2.5f32, -1.0], [2.5, 0.0]]);
    let (v, inverse, counts) = x.t().unique();
    assert_eq!(vec::<f32>(&v), [-1.0, 0.0, 2.5]);
    assert_eq!(dense::<i64>(&inverse), (vec![2, 2], vec![2, 2, 0, 1]));
    assert_eq!(vec::<i64>(&counts), [1, 1, 2]);
    let (v, _, counts) = Tensor::new([f32::NAN, 0.0, f32::NAN, -0.0]).unique();
    assert_eq!(vec::<i64>(&counts), [2, 1, 1]);
    assert_eq!(v.dims(), [3]);
    // Beyond what f64 tells apart.
    let big = Tensor::new([(1i64 << 60) + 1, 1 << 60]).unique();
    assert_eq!(vec::<i64>(&big.0), [1 << 60, (1 << 60) + 1]);
    assert_eq!(Tensor::zeros([0], DType::I64).unique().0.dims(), [0]);
    assert_eq!(vec::<bool>(&Tensor::new([true, true]).unique().0), [true]);
    assert!(x.reshape([3]).unique().1.is_poisoned());
}

#[test]
fn one_hot() {
    let x = Tensor::new([[0i64, 2]]);
    assert_eq!(dense::<i64>(&x.one_hot(3)), (vec![1, 2, 3], vec![1, 0, 0, 0, 0, 1]));
    assert_eq!(vec::<i64>(&Tensor::new(1u8).one_hot(2)), [0, 1]);
    assert_eq!(Tensor::zeros([0], DType::I64).one_hot(4).dims(), [0, 4]);
    assert_eq!(kind(&x.one_hot(2)), ErrorKind::Index);
    assert_eq!(kind(&Tensor::new([-1i64]).one_hot(2)), ErrorKind::Index);
    assert_eq!(kind(&Tensor::new([1.0f32]).one_hot(2)), ErrorKind::DType);
}

#[test]
fn take_and_take_along_dim() {
    let x = count([2, 3]);
    assert_eq!(dense::<i64>(&x.t().take(&Tensor::new([[1i64, -1]]))), (vec![1, 2], vec![3, 5]));
    assert_eq!(kind(&x.take(&Tensor::new([6i64]))), ErrorKind::Index);
    assert_eq!(kind(&x.take(&Tensor::new([-7i64]))), ErrorKind::Index);
    let i = Tensor::new([[2i64, 0]]);
    assert_eq!(dense::<i64>(&x.take_along_dim(&i, 1)), (vec![2, 2], vec![2, 0, 5, 3]));
    assert_eq!(kind(&x.take_along_dim(&Tensor::new([1i64]), 1)), ErrorKind::Shape);
}

#[test]
fn index_one_dimension() {
    let x = count([3, 2]);
    assert_eq!(dense::<i64>(&x.index(&[Some(&Tensor::new([-1i64, 0]))])), (vec![2, 2], vec![4, 5, 0, 1]));
    let two = Tensor::new([[1i64], [0]]);
    assert_eq!(dense::<i64>(&x.index(&[None, Some(&two)])), (vec![3, 2, 1], vec![1, 0, 3, 2, 5, 4]));
    assert_eq!(dense::<i64>(&x.index(&[Some(&Tensor::new(1i32))])), (vec![2], vec![2, 3]));
    assert_eq!(x.index(&[Some(&Tensor::zeros([0], DType::I64))]).dims(), [0, 2]);
    assert!(x.index(&[]).same(&x));
    for wrong in [3i64, -4] {
        assert_eq!(kind(&x.index(&[Some(&Tensor::new([wrong]))])), ErrorKind::Index);
    }
}

/// Shapes as NumPy's for `x[...]` with x of shape [2, 3, 4, 5].
#[test]
fn index_dimensions_together_or_apart() {
    let x = count([2, 3, 4, 5]);
    let (i, j) = (Tensor::new([[0i64], [2]]), Tensor::new([1i64, 3, -1]));
    let at = |n: usize, a: usize, b: usize, d: usize| (((n * 3 + a) * 4 + b) * 5 + d) as i64;
    // Side by side: in their place.
    let y = x.index(&[None, Some(&i), Some(&j)]);
    assert_eq!(y.dims(), [2, 2, 3, 5]);
    assert_eq!(y.slice(&hadal_tensor::s![1, 1, 2, 4]).item::<i64>().unwrap(), at(1, 2, 3, 4));
    assert_eq!(y.slice(&hadal_tensor::s![0, 0, 0, 2]).item::<i64>().unwrap(), at(0, 0, 1, 2));
    // Apart: in front.
    let y = x.index(&[Some(&Tensor::new([[1i64], [0]])), None, Some(&j)]);
    assert_eq!(y.dims(), [2, 3, 3, 5]);
    assert_eq!(y.slice(&hadal_tensor::s![0, 1, 2, 4]).item::<i64>().unwrap(), at(1, 2, 3, 4));
    // At the end.
    assert_eq!(x.index(&[None, None, Some(&i), Some(&j)]).dims(), [2, 3, 2, 3]);
    // One wrong index of several, though its flattened position exists.
    let wrong = x.index(&[Some(&Tensor::new([0i64])), Some(&Tensor::new([3i64]))]);
    assert_eq!(kind(&wrong), ErrorKind::Index);
}

#[test]
fn index_by_mask() {
    let x = count([2, 3]);
    assert_eq!(dense::<i64>(&x.index(&[Some(&x.gt(2))])), (vec![3], vec![3, 4, 5]));
    let columns = Tensor::new([true, false, true]);
    assert_eq!(dense::<i64>(&x.index(&[None, Some(&columns)])), (vec![2, 2], vec![0, 2, 3, 5]));
    assert_eq!(kind(&x.index(&[Some(&columns)])), ErrorKind::Shape);
}

#[test]
fn index_errors() {
    let x = count([2, 3]);
    let i = Tensor::new([0i64]);
    assert_eq!(kind(&x.index(&[Some(&i), Some(&i), Some(&i)])), ErrorKind::Index);
    assert_eq!(kind(&x.index(&[Some(&Tensor::new([0.0f32]))])), ErrorKind::DType);
    let (two, three) = (Tensor::new([0i64, 1]), Tensor::new([0i64, 1, 2]));
    assert_eq!(kind(&x.index(&[Some(&two), Some(&three)])), ErrorKind::Shape);
}

#[test]
fn index_gradient_adds_up_repeated_places() {
    let x = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]]);
    let (i, j) = (Tensor::new([0i64, 0, -1]), Tensor::new([1i64, 1, 0]));
    let y = x.index(&[Some(&i), Some(&j)]);
    assert_eq!(vec::<f32>(&y), [2.0, 2.0, 3.0]);
    let y = x.index(&[Some(&i), Some(&j)]).sum(..);
    assert_eq!(vec::<f32>(&grad(&y, &[&x]).unwrap()[0]), [0.0, 2.0, 1.0, 0.0]);
}

#[test]
fn index_put() {
    let x = Tensor::zeros([2, 3], DType::I64);
    let (i, j) = (Tensor::new([0i64, 1, 0]), Tensor::new([-1i64, 0, 2]));
    let v = Tensor::new([5i64, 6, 7]);
    let at = [Some(&i), Some(&j)];
    assert_eq!(vec::<i64>(&x.index_put(&at, &v, true)), [0, 0, 12, 6, 0, 0]);
    assert_eq!(vec::<i64>(&x.index_put(&at, &v, false)), [0, 0, 7, 6, 0, 0]);
    let column = [None, Some(&Tensor::new([1i64]))];
    assert_eq!(vec::<i64>(&x.index_put(&column, &Tensor::new(9i64), false)), [0, 9, 0, 0, 9, 0]);
    // What is put is what indexing reads, also where index dimensions come in front.
    let big = count([2, 3, 2]);
    let apart = [Some(&Tensor::new([1i64, 0])), None, Some(&Tensor::new([0i64, 1]))];
    let values = count([2, 3]) + 100;
    let put = big.index_put(&apart, &values, false);
    assert_eq!(vec::<i64>(&put.index(&apart)), vec::<i64>(&values));
    assert_eq!(vec::<i64>(&(put - big).ne(0).sum(..)), [6]);
    assert_eq!(kind(&x.index_put(&at, &Tensor::new([1i64; 2]), false)), ErrorKind::Shape);
    assert_eq!(kind(&x.index_put(&at, &Tensor::new([1i32; 3]), false)), ErrorKind::DType);
    assert_eq!(kind(&x.index_put(&[None], &v, false)), ErrorKind::Value);
}

#[test]
fn triangles() {
    let x = count([3, 3]) + 1;
    assert_eq!(vec::<i64>(&x.tril(0)), [1, 0, 0, 4, 5, 0, 7, 8, 9]);
    assert_eq!(vec::<i64>(&x.triu(1)), [0, 2, 3, 0, 0, 6, 0, 0, 0]);
    assert_eq!(vec::<i64>(&x.narrow(0, 0, 2).tril(-1)), [0, 0, 0, 4, 0, 0]);
    let b = Tensor::ones([2, 2, 2], DType::Bool).triu(0);
    assert_eq!(vec::<bool>(&b), [true, true, false, true, true, true, false, true]);
    assert_eq!(Tensor::zeros([0, 3], DType::F16).tril(5).dtype(), DType::F16);
    assert_eq!(kind(&Tensor::new([1.0f32]).tril(0)), ErrorKind::Shape);
}

#[test]
fn roll() {
    let x = count([2, 3]);
    assert_eq!(vec::<i64>(&x.roll(1, 1)), [2, 0, 1, 5, 3, 4]);
    assert_eq!(vec::<i64>(&x.roll([-1, 4], [0, -1])), [5, 3, 4, 2, 0, 1]);
    assert_eq!(dense::<i64>(&x.roll(-1, ..)), (vec![2, 3], vec![1, 2, 3, 4, 5, 0]));
    assert_eq!(vec::<i64>(&x.roll([1, 1], [1, 1])), [1, 2, 0, 4, 5, 3]);
    assert_eq!(x.roll(3, 1).to_vec::<i64>().unwrap(), vec::<i64>(&x));
    assert_eq!(Tensor::zeros([0, 2], DType::F32).roll(1, 0).dims(), [0, 2]);
    assert_eq!(kind(&x.roll([1, 2], 0)), ErrorKind::Value);
    assert_eq!(kind(&x.roll(1, 2)), ErrorKind::Index);
}

#[test]
fn meshgrid() {
    let (a, b) = (Tensor::new([1i64, 2]), Tensor::new([3i64, 4, 5]));
    let g = Tensor::meshgrid(&[&a, &b]);
    assert_eq!(dense::<i64>(&g[0]), (vec![2, 3], vec![1, 1, 1, 2, 2, 2]));
    assert_eq!(vec::<i64>(&g[1]), [3, 4, 5, 3, 4, 5]);
    let g = Tensor::meshgrid_xy(&[&a, &b, &Tensor::new(7i64)]);
    assert_eq!(dense::<i64>(&g[0]), (vec![3, 2, 1], vec![1, 2, 1, 2, 1, 2]));
    assert_eq!(vec::<i64>(&g[1]), [3, 3, 4, 4, 5, 5]);
    assert_eq!(vec::<i64>(&g[2]), [7; 6]);
    assert!(Tensor::meshgrid(&[]).is_empty());
    assert_eq!(kind(&Tensor::meshgrid(&[&a, &count([2, 2])])[0]), ErrorKind::Shape);
}

#[test]
fn diagonals() {
    let x = count([3, 4]);
    assert_eq!(vec::<i64>(&x.diagonal(0, 0, 1)), [0, 5, 10]);
    assert_eq!(vec::<i64>(&x.diagonal(2, 0, 1)), [2, 7]);
    assert_eq!(vec::<i64>(&x.diagonal(-1, 0, 1)), [4, 9]);
    // Rows along the dimension named first.
    assert_eq!(vec::<i64>(&x.diagonal(1, 1, 0)), [4, 9]);
    assert_eq!(x.diagonal(4, 0, 1).dims(), [0]);
    assert_eq!(x.diagonal(isize::MIN, 0, 1).dims(), [0]);
    assert_eq!(x.diagonal(isize::MAX, 0, 1).dims(), [0]);
    let y = count([2, 3, 2]).diagonal(0, 0, -1);
    assert_eq!(dense::<i64>(&y), (vec![3, 2], vec![0, 7, 2, 9, 4, 11]));
    assert_eq!(vec::<i64>(&x.flip([0, 1]).diagonal(0, -2, -1)), [11, 6, 1]);
    assert_eq!(kind(&x.diagonal(0, 1, 1)), ErrorKind::Index);
    assert_eq!(vec::<i64>(&count([3, 3]).trace()), [12]);
    assert_eq!(kind(&Tensor::new([1i64]).trace()), ErrorKind::Shape);
    assert_eq!(Tensor::zeros([0, 3], DType::F32).trace().item::<f32>().unwrap(), 0.0);
}

#[test]
fn diag() {
    let v = Tensor::new([1i64, 2]);
    assert_eq!(dense::<i64>(&v.diag(0)), (vec![2, 2], vec![1, 0, 0, 2]));
    assert_eq!(vec::<i64>(&v.diag(1)), [0, 1, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(vec::<i64>(&v.diag(-1)), [0, 0, 0, 1, 0, 0, 0, 2, 0]);
    assert_eq!(vec::<i64>(&v.diag(-1).diag(-1)), [1, 2]);
    assert_eq!(vec::<f32>(&Tensor::zeros([0], DType::F32).diag(-2)), [0.0; 4]);
    assert_eq!(vec::<bool>(&Tensor::new([true]).diag(1)), [false, true, false, false]);
    assert_eq!(kind(&v.diag(isize::MIN)), ErrorKind::Value);
    assert_eq!(kind(&Tensor::new(1i64).diag(0)), ErrorKind::Shape);
}

#[test]
fn poison_passes_through() {
    let bad = Tensor::new([1.0f32]).reshape([9]);
    let i = Tensor::new([0i64]);
    let results = [
        bad.sort(0, true).0,
        bad.topk(3, 5, true).1,
        bad.masked_select(&i),
        bad.one_hot(2),
        bad.take(&i),
        i.take(&bad),
        i.index(&[Some(&bad)]),
        i.index_put(&[Some(&i)], &bad, false),
        bad.tril(0),
        bad.roll([1, 2], 0),
        Tensor::meshgrid(&[&i, &bad]).remove(0),
        bad.diagonal(0, 0, 1),
        bad.diag(0),
        bad.trace(),
    ];
    for t in results {
        assert_eq!(t.eval().unwrap_err().op(), "reshape");
    }
}

//! Choosing elements: by condition, by index tensors.

use super::compose::{fail, first_bad};
use crate::Tensor;
use crate::operand::resolve_dim;
use crate::scope::composed;
use hadal_core::{DType, ErrorKind, Scalar, Shape};
use std::cmp::Ordering;

/// Ascending; NaN last, and equal to nothing (PyTorch's order in `sort` and `unique`).
fn ascending(a: Scalar, b: Scalar) -> Ordering {
    match (a, b) {
        (Scalar::F(x), Scalar::F(y)) => x.partial_cmp(&y).unwrap_or_else(|| x.is_nan().cmp(&y.is_nan())),
        _ => a.to_i64().cmp(&b.to_i64()),
    }
}

fn dims_of(list: &[usize], shape: &[usize]) -> Vec<usize> {
    list.iter().map(|&d| shape[d]).collect()
}

// Shapes that depend on data: these evaluate.
impl Tensor {
    /// Positions (i64, `[n, rank]`) of the elements that are not 0, in row-major order.
    ///
    /// The result's shape depends on data: evaluates at the call. An error on the way poisons the
    /// result.
    #[track_caller]
    pub fn nonzero(&self) -> Tensor {
        let flags = match self.cast(DType::Bool).to_vec::<bool>() {
            Ok(f) => f,
            Err(e) => return Tensor::poison(e, &Shape::new(&[0, self.rank()]), DType::I64),
        };
        let mut out: Vec<i64> = Vec::new();
        let mut rows = 0;
        for (flat, _) in flags.iter().enumerate().filter(|(_, f)| **f) {
            let at = out.len();
            let mut rest = flat;
            for &n in self.dims().iter().rev() {
                out.push((rest % n) as i64);
                rest /= n;
            }
            out[at..].reverse();
            rows += 1;
        }
        Tensor::from_vec(out, [rows, self.rank()])
    }

    /// The elements where `mask` (bool) holds, 1-d, in row-major order, after broadcasting both. The
    /// gradient goes back to where they were.
    ///
    /// The result's shape depends on data: evaluates the mask at the call.
    ///
    /// ```
    /// use hadal_tensor::Tensor;
    /// let x = Tensor::new([[1.0f32, -2.0], [3.0, -4.0]]);
    /// assert_eq!(x.masked_select(&x.gt(0.0)).to_vec::<f32>().unwrap(), [1.0, 3.0]);
    /// ```
    #[track_caller]
    pub fn masked_select(&self, mask: &Tensor) -> Tensor {
        const OP: &str = "masked_select";
        if mask.dtype() != DType::Bool {
            let help = "compare it: .ne(0), .gt(0.0), …";
            return fail(OP, ErrorKind::DType, "the mask must be bool", &[self, mask], help);
        }
        let Some(shape) = self.shape().broadcast(mask.shape()).filter(|_| !self.is_poisoned()) else {
            return fail(
                OP,
                ErrorKind::Shape,
                "shapes do not broadcast",
                &[self, mask],
                "sizes must be equal or 1, counted from the last dimension",
            );
        };
        let at = mask.expand_to(&shape).reshape([-1]).nonzero();
        composed(|| self.expand_to(&shape).reshape([-1]).index_select(0, &at.reshape([-1])))
    }

    /// The different elements in ascending order (1-d); which of them each element of `self` is (i64,
    /// its shape); how often each occurs (i64). Every NaN counts as different, as in PyTorch.
    ///
    /// The results' shapes depend on data: evaluates at the call. An error poisons all three.
    ///
    /// ```
    /// use hadal_tensor::Tensor;
    /// let (values, inverse, counts) = Tensor::new([5i64, 2, 5]).unique();
    /// assert_eq!(values.to_vec::<i64>().unwrap(), [2, 5]);
    /// assert_eq!(inverse.to_vec::<i64>().unwrap(), [1, 0, 1]);
    /// assert_eq!(counts.to_vec::<i64>().unwrap(), [1, 2]);
    /// ```
    #[track_caller]
    pub fn unique(&self) -> (Tensor, Tensor, Tensor) {
        let data = match self.scalars() {
            Ok(d) => d,
            Err(e) => {
                let bad = Tensor::poison(e, &Shape::new(&[0]), self.dtype());
                return (bad.clone(), bad.clone(), bad);
            }
        };
        let mut order: Vec<usize> = (0..data.len()).collect();
        order.sort_by(|&i, &j| ascending(data[i], data[j]));
        let mut firsts: Vec<i64> = Vec::new();
        let mut counts: Vec<i64> = Vec::new();
        let mut inverse = vec![0i64; data.len()];
        let mut last: Option<Scalar> = None;
        for &i in &order {
            // NaN is equal to nothing.
            if last != Some(data[i]) {
                firsts.push(i as i64);
                counts.push(0);
                last = Some(data[i]);
            }
            if let Some(c) = counts.last_mut() {
                *c += 1;
            }
            inverse[i] = counts.len() as i64 - 1;
        }
        let values = self.reshape([-1]).index_select(0, &Tensor::from_slice(&firsts));
        (values, Tensor::from_vec(inverse, self.shape()), Tensor::from_slice(&counts))
    }
}

// Index tensors.
impl Tensor {
    /// Class numbers as rows of 0 with a 1 at the class (i64, a last dimension of `classes` added).
    ///
    /// # Errors
    /// Not integers; at evaluation, a class that is not in `0..classes`.
    #[track_caller]
    pub fn one_hot(&self, classes: usize) -> Tensor {
        if !self.dtype().is_int() {
            let help = "cast them: .cast(DType::I64)";
            return fail("one_hot", ErrorKind::DType, "classes must be integers", &[self], help);
        }
        if self.is_poisoned() {
            return self.clone();
        }
        let mut dims = self.dims().to_vec();
        dims.push(classes);
        let zeros = Tensor::zeros(dims, DType::I64);
        if zeros.is_poisoned() { zeros } else { zeros.scatter_value(-1, &self.unsqueeze(-1), 1) }
    }

    /// Elements at positions in the flattened tensor, in the index's shape; negative positions count
    /// from the end.
    ///
    /// # Errors
    /// At evaluation, a position that is not there.
    #[track_caller]
    pub fn take(&self, index: &Tensor) -> Tensor {
        match first_bad(&[self, index]) {
            Some(bad) => bad,
            None => self.reshape([-1]).index(&[Some(index)]),
        }
    }

    /// [`gather`](Tensor::gather), with the other dimensions broadcast.
    #[track_caller]
    pub fn take_along_dim(&self, index: &Tensor, dim: isize) -> Tensor {
        const OP: &str = "take_along_dim";
        if let Some(bad) = first_bad(&[self, index]) {
            return bad;
        }
        let axis = match resolve_dim(OP, self, dim) {
            Ok(a) => a,
            Err(e) => return self.fail(e, self.dtype()),
        };
        let (mut own, mut other) = (self.shape().clone(), index.shape().clone());
        if own.rank() != other.rank() {
            let message = "the index needs as many dimensions as the tensor";
            return fail(OP, ErrorKind::Shape, message, &[self, index], "unsqueeze or expand the index");
        }
        (own[axis], other[axis]) = (1, 1);
        let Some(mut shape) = own.broadcast(&other) else {
            let message = format!("sizes other than dimension {dim} do not broadcast");
            return fail(
                OP,
                ErrorKind::Shape,
                message,
                &[self, index],
                "sizes must be equal or 1, counted from the last dimension",
            );
        };
        composed(|| {
            shape[axis] = self.dims()[axis];
            let x = self.expand_to(&shape);
            shape[axis] = index.dims()[axis];
            x.gather(dim, &index.expand_to(&shape))
        })
    }

    /// NumPy's advanced indexing: an index tensor for each dimension from the first, `None` for all of
    /// it. The index tensors broadcast together, and their dimensions replace the indexed ones; they
    /// come first when indexed dimensions are apart. Negative indices count from the end. A bool
    /// index of `k` dimensions stands for `k` dimensions and takes the positions where it holds (and
    /// is evaluated at the call).
    ///
    /// ```
    /// use hadal_tensor::Tensor;
    /// let x = Tensor::arange(0, 6, 1).reshape([2, 3]);
    /// let (i, j) = (Tensor::new([0i64, 1]), Tensor::new([-1i64, 0]));
    /// assert_eq!(x.index(&[Some(&i), Some(&j)]).to_vec::<i64>().unwrap(), [2, 3]);
    /// ```
    ///
    /// # Errors
    /// More indices than dimensions; indices that do not broadcast or are no integers or bools; at
    /// evaluation, an index that is not there.
    #[track_caller]
    pub fn index(&self, indices: &[Option<&Tensor>]) -> Tensor {
        let plan = match self.plan_index("index", indices) {
            Ok(Some(p)) => p,
            Ok(None) => return self.clone(),
            Err(bad) => return bad,
        };
        composed(|| {
            let picked = self.indexed_rows(&plan).index_select(0, &plan.flat);
            let dims = [plan.shape.dims(), &dims_of(&plan.rest, self.dims())].concat();
            picked.reshape(dims).permute_axes(&plan.placed)
        })
    }

    /// This tensor with `values` (broadcast to what [`index`](Tensor::index) would give) written, or
    /// added if `accumulate`, at the indexed places. Of several writes to one place the last wins.
    ///
    /// # Errors
    /// As [`index`](Tensor::index); values that do not broadcast or have another dtype.
    #[track_caller]
    pub fn index_put(&self, indices: &[Option<&Tensor>], values: &Tensor, accumulate: bool) -> Tensor {
        const OP: &str = "index_put";
        if values.dtype() != self.dtype() {
            let help = "cast the values: .cast(x.dtype())";
            return fail(
                OP,
                ErrorKind::DType,
                "the values must have the tensor's dtype",
                &[self, values],
                help,
            );
        }
        let plan = match self.plan_index(OP, indices) {
            Ok(Some(p)) => p,
            Ok(None) => {
                return fail(
                    OP,
                    ErrorKind::Value,
                    "no index tensor given",
                    &[self],
                    "give one with Some(&index)",
                );
            }
            Err(bad) => return bad,
        };
        let front: Vec<usize> = [plan.shape.dims(), &dims_of(&plan.rest, self.dims())].concat();
        let result: Shape = plan.placed.iter().map(|&i| front[i]).collect();
        if result.broadcast(values.shape()).as_ref() != Some(&result) {
            let message = format!("values do not broadcast to {result}, the shape indexed");
            return fail(
                OP,
                ErrorKind::Shape,
                message,
                &[self, values],
                "sizes must be equal or 1, counted from the last dimension",
            );
        }
        composed(|| {
            let base = self.indexed_rows(&plan);
            let mut back = vec![0; plan.placed.len()];
            plan.placed.iter().enumerate().for_each(|(i, &p)| back[p] = i);
            let rest = dims_of(&plan.rest, self.dims());
            let rows: Vec<usize> = std::iter::once(plan.shape.numel()).chain(rest.iter().copied()).collect();
            let src = values.expand_to(&result).permute_axes(&back).reshape(&rows);
            let out = if accumulate {
                base.index_add(0, &plan.flat, &src)
            } else {
                let mut thin = vec![1; rows.len()];
                thin[0] = rows[0];
                base.scatter(0, &plan.flat.reshape(thin).expand(&rows), &src)
            };
            let mut inverse = vec![0; self.rank()];
            let order: Vec<usize> = plan.axes.iter().chain(&plan.rest).copied().collect();
            order.iter().enumerate().for_each(|(i, &d)| inverse[d] = i);
            out.reshape(dims_of(&order, self.dims())).permute_axes(&inverse)
        })
    }

    /// Indexed dimensions flattened into one, in front of the others.
    fn indexed_rows(&self, plan: &IndexPlan) -> Tensor {
        let order: Vec<usize> = plan.axes.iter().chain(&plan.rest).copied().collect();
        let rows: usize = dims_of(&plan.axes, self.dims()).iter().product();
        let dims: Vec<usize> = std::iter::once(rows).chain(dims_of(&plan.rest, self.dims())).collect();
        self.permute_axes(&order).reshape(dims)
    }

    #[track_caller]
    fn plan_index(&self, op: &'static str, indices: &[Option<&Tensor>]) -> Result<Option<IndexPlan>, Tensor> {
        let given: Vec<&Tensor> = std::iter::once(self).chain(indices.iter().copied().flatten()).collect();
        if let Some(bad) = first_bad(&given) {
            return Err(bad);
        }
        let (mut axes, mut tensors, mut d) = (Vec::new(), Vec::new(), 0);
        for index in indices {
            match index {
                None => d += 1,
                Some(i) if i.dtype() == DType::Bool => {
                    let fits = i.rank() > 0 && self.dims().get(d..d + i.rank()) == Some(i.dims());
                    if !fits {
                        let message = format!("a bool index does not have the sizes from dimension {d} on");
                        return Err(fail(
                            op,
                            ErrorKind::Shape,
                            message,
                            &[self, i],
                            "a bool index has the sizes of the dimensions it stands for",
                        ));
                    }
                    let places = i.nonzero();
                    for k in 0..i.rank() {
                        axes.push(d + k);
                        tensors.push(places.select(1, k as isize));
                    }
                    d += i.rank();
                }
                Some(i) if i.dtype().is_int() => {
                    axes.push(d);
                    tensors.push(i.cast(DType::I64));
                    d += 1;
                }
                Some(i) => {
                    let help = "cast them: .cast(DType::I64)";
                    return Err(fail(
                        op,
                        ErrorKind::DType,
                        "indices must be integers or bools",
                        &[self, i],
                        help,
                    ));
                }
            }
        }
        if d > self.rank() {
            let message = format!("indices for {d} dimensions, the tensor has {}", self.rank());
            return Err(fail(op, ErrorKind::Index, message, &[self], "give at most one for each dimension"));
        }
        if axes.is_empty() {
            return Ok(None);
        }
        let mut shape = Shape::default();
        for t in &tensors {
            match shape.broadcast(t.shape()) {
                Some(s) => shape = s,
                None => {
                    let all: Vec<&Tensor> = std::iter::once(self).chain(&tensors).collect();
                    return Err(fail(
                        op,
                        ErrorKind::Shape,
                        "the indices do not broadcast together",
                        &all,
                        "sizes must be equal or 1, counted from the last dimension",
                    ));
                }
            }
        }
        let rest: Vec<usize> = (0..self.rank()).filter(|i| !axes.contains(i)).collect();
        // The index dimensions stand where the indexed ones stood, if those are side by side.
        let adjacent = axes.windows(2).all(|w| w[1] == w[0] + 1);
        let before = if adjacent { axes[0] } else { 0 };
        let b = shape.rank();
        let placed = (b..b + before).chain(0..b).chain(b + before..b + rest.len()).collect();
        let flat = composed(|| self.flat_index(&axes, &tensors, &shape));
        Ok(Some(IndexPlan { axes, rest, shape, flat, placed }))
    }

    /// Index tensors as positions in the indexed dimensions, flattened. One that is not there becomes
    /// one past the end, which the kernel reports.
    fn flat_index(&self, axes: &[usize], tensors: &[Tensor], shape: &Shape) -> Tensor {
        let sizes = dims_of(axes, self.dims());
        let rows: usize = sizes.iter().product();
        let wrapped: Vec<Tensor> = tensors
            .iter()
            .zip(&sizes)
            .map(|(t, &n)| {
                let t = t.expand_to(shape).reshape([-1]);
                t.lt(0).where_(&t + n as i64, &t)
            })
            .collect();
        if let [only] = &wrapped[..] {
            return only.clone();
        }
        let mut flat = Tensor::zeros([shape.numel()], DType::I64);
        let mut outside = Tensor::zeros([shape.numel()], DType::Bool);
        for (t, &n) in wrapped.iter().zip(&sizes) {
            flat = flat * n as i64 + t;
            outside = outside.logical_or(t.lt(0)).logical_or(t.ge(n as i64));
        }
        outside.where_(rows as i64, flat)
    }
}

/// How an advanced index reads.
struct IndexPlan {
    /// Indexed dimensions.
    axes: Vec<usize>,
    /// The others.
    rest: Vec<usize>,
    /// Shape of the broadcast index tensors.
    shape: Shape,
    /// Positions in the flattened indexed dimensions, 1-d.
    flat: Tensor,
    /// Result dimension `i` is dimension `placed[i]` of `[shape.., rest..]`.
    placed: Vec<usize>,
}

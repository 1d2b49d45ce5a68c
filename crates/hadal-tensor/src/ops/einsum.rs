//! Einstein summation: one notation for transposes, traces, sums, outer and matrix products.

use super::compose::{fail, first_bad};
use crate::Tensor;
use crate::operand::{Operand, result_type};
use crate::ops::pointwise;
use crate::scope::composed;
use hadal_core::ops::BinaryOp;
use hadal_core::{DType, ErrorKind};

/// A dimension's name: a letter, or a place in the ellipsis counted from its last dimension.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Label {
    /// Ellipsis dimensions come first in the output; larger is further left.
    Dots(usize),
    /// A letter. Capitals sort before small letters, as in NumPy.
    Letter(char),
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Label::Dots(_) => f.write_str("..."),
            Label::Letter(c) => write!(f, "{c}"),
        }
    }
}

/// A term of the equation: its labels, an ellipsis as `None`.
type Term = Vec<Option<char>>;

/// A tensor whose dimensions are named, each name once.
struct Named {
    tensor: Tensor,
    labels: Vec<Label>,
}

/// Sums products of tensors over named dimensions, as NumPy's and PyTorch's `einsum`.
///
/// `"ij,jk->ik"` names the dimensions of each operand and of the result. A name missing from the
/// result is summed over; a name twice in one operand takes its diagonal. Without `->` the result
/// has the names that occur once, in alphabetical order. `...` stands for any further dimensions,
/// which broadcast; sizes of 1 broadcast too; an ellipsis missing from the result is summed, as in
/// PyTorch. Spaces are ignored. Operands are contracted from left to right, each pair as one
/// (batched) matrix product; dtypes promote.
///
/// ```
/// use hadal_tensor::{Tensor, einsum};
/// let a = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]]);
/// let b = Tensor::new([1.0f32, 10.0]);
/// assert_eq!(einsum("ij,j->i", &[&a, &b]).to_vec::<f32>().unwrap(), [21.0, 43.0]);
/// assert_eq!(einsum("ii", &[&a]).item::<f32>().unwrap(), 5.0);
/// ```
///
/// # Errors
/// An equation that cannot be read, that names other numbers of dimensions than the operands have,
/// or whose sizes differ; bool operands.
#[track_caller]
pub fn einsum(equation: &str, operands: &[&Tensor]) -> Tensor {
    if let Some(bad) = first_bad(operands) {
        return bad;
    }
    composed(|| match evaluate(equation, operands) {
        Ok(t) => t,
        Err((kind, message)) => {
            let help = "one letter for each dimension, as in \"ij,jk->ik\"; a letter has one size everywhere";
            fail("einsum", kind, format!("\"{equation}\": {message}"), operands, help)
        }
    })
}

type Problem = (ErrorKind, String);

fn wrong<T>(message: impl Into<String>) -> Result<T, Problem> {
    Err((ErrorKind::Value, message.into()))
}

/// The labels of one operand or of the result.
fn parse_term(text: &str) -> Result<Term, Problem> {
    let mut term = Term::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '.' if rest.next() == Some('.') && rest.next() == Some('.') => {
                if term.contains(&None) {
                    return wrong(format!("two ellipses in \"{text}\""));
                }
                term.push(None);
            }
            '.' => return wrong(format!("a dot in \"{text}\" that is not part of '...'")),
            c if c.is_ascii_alphabetic() => term.push(Some(c)),
            c => return wrong(format!("'{c}' is no letter; labels are a to z and A to Z")),
        }
    }
    Ok(term)
}

/// The term's labels for an operand of this rank.
fn name_dims(term: &Term, rank: usize, k: usize) -> Result<Vec<Label>, Problem> {
    let letters = term.iter().flatten().count();
    let dots = term.contains(&None);
    if letters > rank || (letters < rank && !dots) {
        let names: String = term.iter().map(|l| l.map_or("...".to_owned(), String::from)).collect();
        let has = if rank == 1 { "1 dimension".to_owned() } else { format!("{rank} dimensions") };
        return Err((ErrorKind::Shape, format!("operand {k} has {has}, its labels are \"{names}\"")));
    }
    let mut labels = Vec::with_capacity(rank);
    for l in term {
        match l {
            Some(c) => labels.push(Label::Letter(*c)),
            None => labels.extend((0..rank - letters).rev().map(Label::Dots)),
        }
    }
    Ok(labels)
}

fn evaluate(equation: &str, operands: &[&Tensor]) -> Result<Tensor, Problem> {
    let compact: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match compact.split_once("->") {
        Some((l, r)) => (l, Some(r)),
        None => (compact.as_str(), None),
    };
    let terms: Vec<Term> = left.split(',').map(parse_term).collect::<Result<_, _>>()?;
    if operands.is_empty() || terms.len() != operands.len() {
        return wrong(format!("labels for {} operands, {} given", terms.len(), operands.len()));
    }
    if operands.iter().any(|t| t.dtype() == DType::Bool) {
        return Err((ErrorKind::DType, "not defined for bool; cast the operands to a number dtype".into()));
    }
    let mut names: Vec<Vec<Label>> = Vec::new();
    for (k, (term, t)) in terms.iter().zip(operands).enumerate() {
        names.push(name_dims(term, t.rank(), k)?);
    }
    let sizes = sizes(&names, operands)?;
    let output = output_labels(right, &names)?;
    let promoted: Vec<Operand> = operands.iter().map(|t| Operand::from(*t)).collect();
    let dtype = result_type(&promoted.iter().collect::<Vec<_>>());

    let mut parts: Vec<Named> = Vec::new();
    for (t, labels) in operands.iter().zip(&names) {
        parts.push(simplify(t.cast(dtype), labels, &sizes));
    }
    let mut rest = parts.into_iter();
    let Some(mut acc) = rest.next() else { return wrong("no operands") };
    let mut pending: Vec<Named> = rest.collect();
    loop {
        // What the result or an operand still to come needs; the rest is summed now.
        let needed =
            |l: &Label, later: &[Named]| output.contains(l) || later.iter().any(|p| p.labels.contains(l));
        acc = sum_out(acc, |l| needed(l, &pending));
        if pending.is_empty() {
            break;
        }
        let next = pending.remove(0);
        let kept_by_acc = acc.labels.clone();
        let next = sum_out(next, |l| kept_by_acc.contains(l) || needed(l, &pending));
        acc = contract(acc, next, |l| needed(l, &pending));
    }
    let order: Vec<usize> = output.iter().filter_map(|l| acc.labels.iter().position(|m| m == l)).collect();
    let kept = acc.tensor.permute_axes(&order);
    // Sizes of 1 were dropped on the way wherever another operand is larger, and those of operands
    // that only have size 1 were kept: every output label is there.
    let dims: Vec<usize> = output.iter().map(|l| size_of(&sizes, *l)).collect();
    Ok(kept.reshape(dims).cast(dtype))
}

fn size_of(sizes: &[(Label, usize, usize)], label: Label) -> usize {
    sizes.iter().find(|(l, ..)| *l == label).map_or(1, |(_, n, _)| *n)
}

/// Each label's size after broadcasting, and the operand it comes from.
fn sizes(names: &[Vec<Label>], operands: &[&Tensor]) -> Result<Vec<(Label, usize, usize)>, Problem> {
    let mut sizes: Vec<(Label, usize, usize)> = Vec::new();
    for (k, (labels, t)) in names.iter().zip(operands).enumerate() {
        for (i, (&l, &n)) in labels.iter().zip(t.dims()).enumerate() {
            if let Some(j) = labels[..i].iter().position(|&m| m == l)
                && t.dims()[j] != n
            {
                let text = format!("label '{l}' is twice in operand {k}, with sizes {} and {n}", t.dims()[j]);
                return Err((ErrorKind::Shape, text));
            }
            match sizes.iter_mut().find(|(m, ..)| *m == l) {
                None => sizes.push((l, n, k)),
                Some(known) if known.1 == n || n == 1 => {}
                Some(known) if known.1 == 1 => (known.1, known.2) = (n, k),
                Some((_, m, first)) => {
                    let text = format!("label '{l}' is {m} in operand {first} and {n} in operand {k}");
                    return Err((ErrorKind::Shape, text));
                }
            }
        }
    }
    Ok(sizes)
}

fn output_labels(right: Option<&str>, names: &[Vec<Label>]) -> Result<Vec<Label>, Problem> {
    let all: Vec<Label> = names.iter().flatten().copied().collect();
    let mut dots: Vec<Label> = all.iter().copied().filter(|l| matches!(l, Label::Dots(_))).collect();
    dots.sort_unstable_by(|a, b| b.cmp(a));
    dots.dedup();
    let Some(text) = right else {
        // Without an arrow: what occurs once in all operands together.
        let mut once: Vec<Label> = all
            .iter()
            .copied()
            .filter(|l| matches!(l, Label::Letter(_)) && all.iter().filter(|m| *m == l).count() == 1)
            .collect();
        once.sort_unstable();
        return Ok(dots.into_iter().chain(once).collect());
    };
    let mut output = Vec::new();
    for l in parse_term(text)? {
        match l {
            None => output.extend(&dots),
            Some(c) => {
                let l = Label::Letter(c);
                if output.contains(&l) {
                    return wrong(format!("label '{c}' is twice in the result"));
                }
                if !all.contains(&l) {
                    return wrong(format!("label '{c}' of the result is in no operand"));
                }
                output.push(l);
            }
        }
    }
    Ok(output)
}

/// Diagonals for repeated labels; dimensions of size 1 that broadcast are dropped.
fn simplify(mut t: Tensor, labels: &[Label], sizes: &[(Label, usize, usize)]) -> Named {
    let mut labels = labels.to_vec();
    while let Some((i, j)) =
        (0..labels.len()).find_map(|j| labels[..j].iter().position(|m| *m == labels[j]).map(|i| (i, j)))
    {
        let l = labels[j];
        t = t.diagonal(0, i as isize, j as isize);
        labels.remove(j);
        labels.remove(i);
        labels.push(l);
    }
    let keep: Vec<usize> =
        (0..labels.len()).filter(|&i| t.dims()[i] != 1 || size_of(sizes, labels[i]) == 1).collect();
    let dims: Vec<usize> = keep.iter().map(|&i| t.dims()[i]).collect();
    Named { tensor: t.reshape(dims), labels: keep.iter().map(|&i| labels[i]).collect() }
}

/// The sum over the labels that are not needed.
fn sum_out(t: Named, needed: impl Fn(&Label) -> bool) -> Named {
    let gone: Vec<usize> = (0..t.labels.len()).filter(|&i| !needed(&t.labels[i])).collect();
    if gone.is_empty() {
        return t;
    }
    let dtype = t.tensor.dtype();
    let labels = t.labels.into_iter().filter(needed).collect();
    Named { tensor: t.tensor.sum(gone).cast(dtype), labels }
}

/// The product of two operands, summed over what both have and nobody else needs.
fn contract(a: Named, b: Named, needed: impl Fn(&Label) -> bool) -> Named {
    let (mut batch, mut summed, mut a_only) = (Vec::new(), Vec::new(), Vec::new());
    for &l in &a.labels {
        match (b.labels.contains(&l), needed(&l)) {
            (true, true) => batch.push(l),
            (true, false) => summed.push(l),
            (false, _) => a_only.push(l),
        }
    }
    let b_only: Vec<Label> = b.labels.iter().copied().filter(|l| !a.labels.contains(l)).collect();
    let labels: Vec<Label> = batch.iter().chain(&a_only).chain(&b_only).copied().collect();
    let sizes = |t: &Named, ls: &[Label]| -> Vec<usize> {
        ls.iter().filter_map(|l| t.labels.iter().position(|m| m == l)).map(|i| t.tensor.dims()[i]).collect()
    };
    let ordered = |t: &Named, groups: [&[Label]; 3]| {
        let order: Vec<usize> =
            groups.concat().iter().filter_map(|l| t.labels.iter().position(|m| m == l)).collect();
        t.tensor.permute_axes(&order)
    };
    let (batch_sizes, m_sizes, n_sizes) = (sizes(&a, &batch), sizes(&a, &a_only), sizes(&b, &b_only));
    let result: Vec<usize> = [&batch_sizes[..], &m_sizes, &n_sizes].concat();
    let tensor = if summed.is_empty() {
        // Nothing to sum: a broadcast product.
        let x = ordered(&a, [&batch, &a_only, &[]])
            .reshape([&batch_sizes[..], &m_sizes, &vec![1; n_sizes.len()]].concat());
        let y = ordered(&b, [&batch, &b_only, &[]])
            .reshape([&batch_sizes[..], &vec![1; m_sizes.len()], &n_sizes].concat());
        pointwise::binary(BinaryOp::Mul, Operand::from(x), Operand::from(y))
    } else {
        let k: usize = sizes(&a, &summed).iter().product();
        let (m, n): (usize, usize) = (m_sizes.iter().product(), n_sizes.iter().product());
        let x = ordered(&a, [&batch, &a_only, &summed]).reshape([&batch_sizes[..], &[m, k]].concat());
        let y = ordered(&b, [&batch, &summed, &b_only]).reshape([&batch_sizes[..], &[k, n]].concat());
        x.matmul(&y).reshape(result)
    };
    Named { tensor, labels }
}

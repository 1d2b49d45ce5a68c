//! Every public method with arguments that cannot be right: each call ends in an error with exactly
//! this first line, placed at the caller's line, and none panics or asks for memory that is not there.
//!
//! The tables stand in the modules below. A row is a call and its message; `OK` marks an edge that is
//! right. Run with debug assertions, as tests are, an overflow anywhere would panic.

mod data;
mod indices;
mod pointwise;
mod reductions;
mod spatial;
mod views;

use hadal_tensor::*;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};

/// What [`Fixtures::bad`] says.
pub const POISON: &str = "reshape: 4 elements do not fit shape [3]";

thread_local! {
    static PROBLEMS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What a call gives: its first error, found by evaluating.
pub trait Outcome {
    /// The error, if there is one.
    fn failure(self) -> Option<Error>;
}
impl Outcome for Tensor {
    fn failure(self) -> Option<Error> {
        self.eval().err()
    }
}
impl Outcome for (Tensor, Tensor) {
    fn failure(self) -> Option<Error> {
        eval(&[&self.0, &self.1]).err()
    }
}
impl Outcome for (Tensor, Tensor, Tensor) {
    fn failure(self) -> Option<Error> {
        eval(&[&self.0, &self.1, &self.2]).err()
    }
}
impl Outcome for Vec<Tensor> {
    fn failure(self) -> Option<Error> {
        eval(&self.iter().collect::<Vec<_>>()).err()
    }
}
impl<T> Outcome for Result<T> {
    fn failure(self) -> Option<Error> {
        self.err()
    }
}

fn check<O: Outcome>(call: impl FnOnce() -> O, want: &str, at: &Location, placed: bool) {
    let problem = match catch_unwind(AssertUnwindSafe(|| call().failure())) {
        Err(p) => {
            let text = p.downcast_ref::<String>().cloned();
            let text = text.or_else(|| p.downcast_ref::<&str>().map(|s| s.to_string()));
            Some(format!("panicked: {}", text.unwrap_or_default()))
        }
        Ok(None) => (want != "OK").then(|| "no error".to_owned()),
        Ok(Some(e)) => {
            let text = e.to_string();
            let first = text.lines().next().unwrap_or_default();
            let here = e
                .location()
                .is_some_and(|l| l.file() == at.file() && (at.line()..at.line() + 8).contains(&l.line()));
            match () {
                _ if first != want => Some(format!("got: {first}")),
                // Poison keeps the place where it was made.
                _ if placed && !here && want != POISON => Some(format!("placed at {:?}", e.location())),
                _ => None,
            }
        }
    };
    if let Some(p) = problem {
        PROBLEMS.with_borrow_mut(|all| all.push(format!("{}:{}: {p}", at.file(), at.line())));
    }
}

/// A call, and its error's first line; the error must be placed here.
#[track_caller]
pub fn row<O: Outcome>(call: impl FnOnce() -> O, want: &str) {
    check(call, want, Location::caller(), true);
}

/// As [`row`], for functions that return the error at once, to a caller who knows where that was.
#[track_caller]
pub fn returned<O: Outcome>(call: impl FnOnce() -> O, want: &str) {
    check(call, want, Location::caller(), false);
}

fn finish() {
    let all = PROBLEMS.take();
    assert!(all.is_empty(), "{} rows:\n{}", all.len(), all.join("\n"));
}

/// Tensors to call methods on.
pub struct Fixtures {
    /// f32 `[2, 3]`
    pub x: Tensor,
    /// i64 `[2, 3]`
    pub i: Tensor,
    /// bool `[2, 3]`
    pub b: Tensor,
    /// f16 `[2, 3]`
    pub h: Tensor,
    /// f32, 0-d
    pub z: Tensor,
    /// f32 `[0, 3]`
    pub e: Tensor,
    /// f32 `[4]`
    pub v: Tensor,
    /// f32 `[2, 3, 8, 8]`
    pub img: Tensor,
    /// f32 `[4, 3, 3, 3]`
    pub w: Tensor,
    /// u8, 2^50 elements that nobody has memory for
    pub huge: Tensor,
    /// poisoned, see [`POISON`]
    pub bad: Tensor,
}

impl Fixtures {
    fn new() -> Fixtures {
        let ones =
            |shape: &[usize]| Tensor::ones(shape, DType::F32).contiguous().materialize().expect("evaluates");
        let x = ones(&[2, 3]);
        Fixtures {
            i: x.cast(DType::I64),
            b: x.cast(DType::Bool),
            h: x.cast(DType::F16),
            z: ones(&[]),
            e: ones(&[0, 3]),
            v: ones(&[4]),
            img: ones(&[2, 3, 8, 8]),
            w: ones(&[4, 3, 3, 3]),
            huge: Tensor::zeros([1 << 25, 1 << 25], DType::U8),
            bad: ones(&[4]).reshape([3]),
            x,
        }
    }
}

macro_rules! tables {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() {
            $name::table(&Fixtures::new());
            finish();
        }
    )* };
}
tables!(data views pointwise reductions indices spatial);

/// Names of public methods that take no argument that could be wrong: any tensor is right for them.
const TAKE_ANYTHING: &str = "shape dims rank numel dtype is_poisoned error checked is_evaluated same eval \
    materialize detach requires_grad t squeeze_all contiguous logical_not bitwise_not cast cast_like from_slice \
    zeros_like ones_like full_like to_bytes nonzero unique gelu gelu_tanh silu mish logsigmoid selu relu6 \
    hardsigmoid hardswish softsign tanhshrink frac signbit nan_to_num elu leaky_relu softshrink hardshrink \
    hardtanh threshold scatter_value";

#[test]
fn every_method_has_a_row() {
    let root = env!("CARGO_MANIFEST_DIR");
    let read = |p: &std::path::Path| std::fs::read_to_string(p).expect("a source file");
    let mut words = std::collections::HashSet::new();
    for entry in std::fs::read_dir(format!("{root}/tests/bad_inputs")).expect("this folder") {
        let path = entry.expect("an entry").path();
        if path.file_name().is_some_and(|n| n != "main.rs") {
            words.extend(read(&path).split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned));
        }
    }
    words.extend(TAKE_ANYTHING.split_whitespace().map(str::to_owned));
    let mut sources = vec![std::path::PathBuf::from(format!("{root}/src/tensor.rs"))];
    let mut folders = vec![std::path::PathBuf::from(format!("{root}/src/ops"))];
    while let Some(f) = folders.pop() {
        for entry in std::fs::read_dir(f).expect("the operations") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { sources.push(path) }
        }
    }
    let mut missing = Vec::new();
    for file in sources {
        let text = read(&file);
        // Methods of Tensor and free functions; builders of options are not operations.
        let mut of_tensor = true;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("impl") {
                let rest = rest.split_once("> ").filter(|_| rest.starts_with('<')).map_or(rest, |(_, r)| r);
                of_tensor = rest.trim_start().starts_with("Tensor");
            }
            let Some(rest) = line.trim_start().strip_prefix("pub fn ").filter(|_| of_tensor) else {
                continue;
            };
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !name.is_empty() && !words.contains(&name) {
                missing.push(name);
            }
        }
    }
    assert!(missing.is_empty(), "no row in tests/bad_inputs for {missing:?}");
}

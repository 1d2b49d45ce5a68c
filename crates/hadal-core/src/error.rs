//! The one error type. It names the operation, its operands, the module path, the caller's line,
//! and what to do.

use crate::{DType, Shape};
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, OnceLock};

/// What went wrong, for code that wants to branch on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// Shapes that do not fit the operation.
    Shape,
    /// A dtype the operation does not take.
    DType,
    /// An index or dimension out of range.
    Index,
    /// An argument outside its domain (a negative probability, a zero stride).
    Value,
    /// A numerical failure: NaN where checked, a singular matrix.
    Numeric,
    /// Something used in a state that does not allow it (dropout without a key, no gradient path).
    State,
    /// A file that cannot be read or written, or holds something else than it should.
    Io,
}

/// The name of a layer inside its model, filled in when the model is first walked.
///
/// A layer is built before anyone knows which field it will live in. So errors keep the tag, and
/// the tag's name is read when the error is printed.
#[derive(Clone, Debug)]
pub struct Tag(Arc<TagInner>);

#[derive(Debug)]
struct TagInner {
    layer: &'static str,
    path: OnceLock<String>,
}

impl Tag {
    /// A tag for a layer of this type, not yet named.
    pub fn new(layer: &'static str) -> Tag {
        Tag(Arc::new(TagInner { layer, path: OnceLock::new() }))
    }
    /// Gives the tag its path, once: a shared layer keeps its first name.
    pub fn name(&self, path: &str) {
        let _ = self.0.path.set(path.to_owned());
    }
    /// The type of the layer, for example `Linear`.
    pub fn layer(&self) -> &'static str {
        self.0.layer
    }
    /// The path inside the model, when it is known.
    pub fn path(&self) -> Option<&str> {
        self.0.path.get().map(String::as_str)
    }
}

/// `a` or `an`, by how the name is read: `an Embedding`, letter by letter `an RMSNorm`, but `a SELU`.
fn article(name: &str) -> &'static str {
    let vowel = |c: &char| "AEIOUaeiou".contains(*c);
    let first = name.chars().next();
    let spelled = name.chars().take(3).all(|c| c.is_ascii_uppercase() && !vowel(&c));
    match first {
        Some(c) if vowel(&c) || (spelled && "FHLMNRSX".contains(c)) => "an",
        _ => "a",
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path() {
            Some(p) if !p.is_empty() => write!(f, "{p} ({})", self.layer()),
            _ => write!(f, "{} {} layer", article(self.layer()), self.layer()),
        }
    }
}

/// An error of a tensor operation. Cheap to clone, since a poisoned graph carries it along.
///
/// ```
/// use hadal_core::{Error, ErrorKind, DType, Shape};
/// let e = Error::new(ErrorKind::Shape, "matmul", "inner sizes 3 and 4 differ")
///     .operand(&Shape::new(&[2, 3]), DType::F32)
///     .operand(&Shape::new(&[4, 5]), DType::F32)
///     .help("transpose one operand with .t()");
/// assert_eq!(
///     e.to_string(),
///     "matmul: inner sizes 3 and 4 differ\n  operands: [2, 3] f32, [4, 5] f32\n  help: transpose one operand with .t()"
/// );
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    op: &'static str,
    message: String,
    operands: Vec<(Shape, DType)>,
    result: Option<(Shape, DType)>,
    tag: Option<Tag>,
    location: Option<&'static Location<'static>>,
    help: Option<String>,
}

/// Shorthand for results with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of operation `op`.
    pub fn new(kind: ErrorKind, op: &'static str, message: impl Into<String>) -> Self {
        Error(Arc::new(Inner {
            kind,
            op,
            message: message.into(),
            operands: Vec::new(),
            result: None,
            tag: None,
            location: None,
            help: None,
        }))
    }
    fn edit(mut self, f: impl FnOnce(&mut Inner)) -> Self {
        f(Arc::make_mut(&mut self.0));
        self
    }
    /// Adds an operand's shape and dtype.
    pub fn operand(self, shape: &Shape, dtype: DType) -> Self {
        let s = shape.clone();
        self.edit(|i| i.operands.push((s, dtype)))
    }
    /// Adds the result's shape and dtype, for an error that is found in what was computed.
    ///
    /// ```
    /// use hadal_core::{Error, ErrorKind, DType, Shape};
    /// let e = Error::new(ErrorKind::Numeric, "log", "not finite").result(&Shape::new(&[2]), DType::F32);
    /// assert_eq!(e.to_string(), "log: not finite\n  result: [2] f32");
    /// ```
    pub fn result(self, shape: &Shape, dtype: DType) -> Self {
        let s = shape.clone();
        self.edit(|i| i.result = Some((s, dtype)))
    }
    /// Says what to do about it.
    pub fn help(self, text: impl Into<String>) -> Self {
        let t = text.into();
        self.edit(|i| i.help = Some(t))
    }
    /// Sets the caller's line and layer, unless they are set already.
    pub fn at(self, location: &'static Location<'static>, tag: Option<Tag>) -> Self {
        self.edit(|i| {
            i.location.get_or_insert(location);
            if i.tag.is_none() {
                i.tag = tag;
            }
        })
    }
    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
    /// The operation that failed.
    pub fn op(&self) -> &'static str {
        self.0.op
    }
    /// The first line, without operands, place and help.
    pub fn message(&self) -> &str {
        &self.0.message
    }
    /// Where the caller made the failing call.
    pub fn location(&self) -> Option<&'static Location<'static>> {
        self.0.location
    }
    /// The layer in which it happened.
    pub fn tag(&self) -> Option<&Tag> {
        self.0.tag.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let i = &*self.0;
        write!(f, "{}: {}", i.op, i.message)?;
        if !i.operands.is_empty() {
            f.write_str("\n  operands: ")?;
            for (k, (shape, dtype)) in i.operands.iter().enumerate() {
                if k > 0 {
                    f.write_str(", ")?;
                }
                write!(f, "{shape} {dtype}")?;
            }
        }
        if let Some((shape, dtype)) = &i.result {
            write!(f, "\n  result: {shape} {dtype}")?;
        }
        if let Some(tag) = &i.tag {
            write!(f, "\n  in: {tag}")?;
        }
        if let Some(l) = i.location {
            write!(f, "\n  at: {}:{}:{}", l.file(), l.line(), l.column())?;
        }
        if let Some(h) = &i.help {
            write!(f, "\n  help: {h}")?;
        }
        Ok(())
    }
}

/// Same text as `Display`, so that `main() -> Result` and `unwrap` print something readable.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

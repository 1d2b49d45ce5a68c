//! The npy header: a magic, a version, a length, and a Python dict literal with three keys.

use crate::error::Problem;

/// NumPy itself refuses headers over 10 000 characters unless told otherwise.
const MAX_HEADER: usize = 1 << 16;
/// NumPy's `GROWTH_AXIS_MAX_DIGITS`: room that it leaves so that a file can be appended to.
const GROWTH_DIGITS: usize = 21;

/// The three entries of the dict.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    pub(super) descr: String,
    pub(super) fortran_order: bool,
    pub(super) shape: Vec<usize>,
}

/// Splits a file into its parsed header and the bytes after it.
pub(super) fn split(bytes: &[u8]) -> Result<(Header, &[u8]), Problem> {
    let Some(rest) = bytes.strip_prefix(b"\x93NUMPY") else {
        return Err(Problem::damaged("it does not start with \\x93NUMPY"));
    };
    let short = || Problem::truncated("it ends inside the header");
    let (version, rest) = rest.split_at_checked(2).ok_or_else(short)?;
    let (len, rest) = match version[0] {
        1 => {
            let (n, rest) = rest.split_at_checked(2).ok_or_else(short)?;
            (usize::from(u16::from_le_bytes([n[0], n[1]])), rest)
        }
        2 | 3 => {
            let (n, rest) = rest.split_at_checked(4).ok_or_else(short)?;
            (u32::from_le_bytes([n[0], n[1], n[2], n[3]]) as usize, rest)
        }
        v => {
            return Err(Problem::unsupported(
                format!("its format version is {v}.{}, but 1, 2 and 3 are known", version[1]),
                "save it again with a current NumPy",
            ));
        }
    };
    if len > MAX_HEADER {
        return Err(Problem::damaged(format!("its header has {len} bytes, more than {MAX_HEADER}")));
    }
    let (text, body) = rest.split_at_checked(len).ok_or_else(short)?;
    let text = std::str::from_utf8(text).map_err(|_| Problem::damaged("its header is not UTF-8"))?;
    Ok((parse(text)?, body))
}

/// The header's bytes, magic included, for C order and little endian.
pub(super) fn build_header(code: &str, element_bytes: usize, shape: &[usize]) -> Vec<u8> {
    let order = if element_bytes == 1 { '|' } else { '<' };
    let dims: Vec<String> = shape.iter().map(|d| d.to_string()).collect();
    let tuple = match dims.as_slice() {
        [one] => format!("({one},)"),
        _ => format!("({})", dims.join(", ")),
    };
    let mut text = format!("{{'descr': '{order}{code}', 'fortran_order': False, 'shape': {tuple}, }}");
    if let Some(first) = dims.first() {
        text.push_str(&" ".repeat(GROWTH_DIGITS.saturating_sub(first.len())));
    }
    // Magic, version and length take 10 bytes in version 1 and 12 in version 2; the data starts at
    // a multiple of 64, after a newline.
    let long = 10 + text.len() + 1 + 64 > usize::from(u16::MAX);
    let before = if long { 12 } else { 10 };
    let total = (before + text.len() + 1).next_multiple_of(64);
    text.push_str(&" ".repeat(total - before - text.len() - 1));
    text.push('\n');
    let mut out = b"\x93NUMPY".to_vec();
    if long {
        out.extend_from_slice(&[2, 0]);
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    } else {
        out.extend_from_slice(&[1, 0]);
        out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    }
    out.extend_from_slice(text.as_bytes());
    out
}

/// Parses the dict literal.
fn parse(text: &str) -> Result<Header, Problem> {
    let mut p = Parser { rest: text };
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    p.expect('{')?;
    loop {
        if p.take('}') {
            break;
        }
        let key = p.string()?;
        p.expect(':')?;
        match key.as_str() {
            "descr" if descr.is_none() => {
                if p.peek() == Some('[') {
                    return Err(Problem::unsupported(
                        "it holds records with named fields",
                        "save each field as its own array first",
                    ));
                }
                descr = Some(p.string()?);
            }
            "fortran_order" if fortran.is_none() => fortran = Some(p.boolean()?),
            "shape" if shape.is_none() => shape = Some(p.tuple()?),
            _ => return Err(Problem::damaged(format!("its header has an unexpected key {key:?}"))),
        }
        if !p.take(',') {
            p.expect('}')?;
            break;
        }
    }
    if let Some(c) = p.peek() {
        return Err(Problem::damaged(format!("its header has {c:?} after the dict")));
    }
    let missing = |key: &str| Problem::damaged(format!("its header lacks the key {key:?}"));
    Ok(Header {
        descr: descr.ok_or_else(|| missing("descr"))?,
        fortran_order: fortran.ok_or_else(|| missing("fortran_order"))?,
        shape: shape.ok_or_else(|| missing("shape"))?,
    })
}

/// A cursor over Python literals. Never recurses, so depth is no danger.
struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }
    fn take(&mut self, c: char) -> bool {
        self.peek();
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
    fn wrong(&mut self, wanted: &str) -> Problem {
        let found = self.peek().map_or("its end".to_string(), |c| format!("{c:?}"));
        Problem::damaged(format!("its header has {found} where {wanted} should be"))
    }
    fn expect(&mut self, c: char) -> Result<(), Problem> {
        if self.take(c) { Ok(()) } else { Err(self.wrong(&format!("{c:?}"))) }
    }
    fn string(&mut self) -> Result<String, Problem> {
        let quote = match self.peek() {
            Some(q @ ('\'' | '"')) => q,
            _ => return Err(self.wrong("a string")),
        };
        match self.rest[1..].split_once(quote) {
            Some((s, rest)) => {
                self.rest = rest;
                Ok(s.to_string())
            }
            None => Err(Problem::damaged("its header has a string without an end")),
        }
    }
    fn boolean(&mut self) -> Result<bool, Problem> {
        self.peek();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err(self.wrong("True or False"))
    }
    fn tuple(&mut self) -> Result<Vec<usize>, Problem> {
        self.expect('(')?;
        let mut out = Vec::new();
        while !self.take(')') {
            self.peek();
            let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
            let (digits, rest) = self.rest.split_at(end);
            if digits.is_empty() {
                return Err(self.wrong("a size"));
            }
            let Ok(size) = digits.parse() else {
                return Err(Problem::damaged(format!(
                    "its header has the size {digits}, which cannot be counted"
                )));
            };
            out.push(size);
            // Python 2 wrote long integers with an L.
            self.rest = rest.strip_prefix('L').unwrap_or(rest);
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(out)
    }
}

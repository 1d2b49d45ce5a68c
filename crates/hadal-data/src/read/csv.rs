//! Splitting CSV text into rows (RFC 4180: quotes, doubled quotes, line breaks within quotes).

use crate::error::{DataError, Result};

/// A row and the line it begins on (from 1).
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    pub line: usize,
    pub cells: Vec<String>,
}

/// Splits text into rows; lines without any content are left out.
pub(crate) fn rows(text: &str, delimiter: char, file: &str) -> Result<Vec<Row>> {
    let fail = |line, message: &str| DataError::Csv {
        file: file.into(),
        line,
        column: None,
        message: message.into(),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rows = Vec::new();
    let mut cells: Vec<String> = Vec::new();
    let mut cell = String::new();
    let (mut line, mut row_line) = (1usize, 1usize);
    // Whether the current cell was quoted and its quote is closed.
    let mut closed = false;
    let mut chars = text.chars().peekable();
    loop {
        let c = chars.next();
        match c {
            Some('"') if cell.is_empty() && !closed => {
                let opened = line;
                loop {
                    match chars.next() {
                        Some('"') if chars.peek() == Some(&'"') => {
                            chars.next();
                            cell.push('"');
                        }
                        Some('"') => break,
                        Some(inner) => {
                            line += usize::from(inner == '\n');
                            cell.push(inner);
                        }
                        None => return Err(fail(opened, "a quote is opened and never closed")),
                    }
                }
                closed = true;
            }
            Some('\r') if chars.peek() == Some(&'\n') => {}
            Some(c) if c == delimiter => {
                cells.push(std::mem::take(&mut cell));
                closed = false;
            }
            Some('\n') | None => {
                if !cells.is_empty() || !cell.is_empty() || closed {
                    cells.push(std::mem::take(&mut cell));
                    rows.push(Row { line: row_line, cells: std::mem::take(&mut cells) });
                }
                closed = false;
                if c.is_none() {
                    return Ok(rows);
                }
                line += 1;
                row_line = line;
            }
            Some(_) if closed => {
                return Err(fail(
                    line,
                    "text follows a closing quote; double the quotes inside a quoted cell",
                ));
            }
            Some(c) => cell.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(text: &str) -> Vec<Vec<String>> {
        rows(text, ',', "t").unwrap().into_iter().map(|r| r.cells).collect()
    }

    #[test]
    fn quotes_and_line_ends() {
        assert_eq!(cells("a,b\r\n1,2\n"), [["a", "b"], ["1", "2"]]);
        assert_eq!(cells("\"a \"\"b\"\"\",\"x,\ny\"\n\n,\n"), [["a \"b\"", "x,\ny"], ["", ""]]);
        assert_eq!(cells("\u{feff}a\n\"\""), [["a"], [""]]);
        assert_eq!(cells(""), Vec::<Vec<String>>::new());
    }

    #[test]
    fn lines_are_counted_through_quoted_breaks() {
        let r = rows("a\n\"x\ny\"\nb", ',', "t").unwrap();
        assert_eq!(r.iter().map(|r| r.line).collect::<Vec<_>>(), [1, 2, 4]);
    }

    #[test]
    fn broken_quotes_name_the_line() {
        let e = rows("a\n\"b\nc", ',', "f.csv").unwrap_err().to_string();
        assert_eq!(e, "f.csv, line 2: a quote is opened and never closed");
        let e = rows("a\n\"b\"c", ',', "f.csv").unwrap_err().to_string();
        assert!(e.starts_with("f.csv, line 2: text follows a closing quote"), "{e}");
    }
}

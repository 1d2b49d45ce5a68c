//! Aligned tables of text, and numbers as people read them.

/// Which side a column's cells stand at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows of cells under headings, as wide as their widest cell.
#[derive(Clone, Debug)]
pub struct Table {
    headings: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
    /// Lines are drawn before these rows.
    rules: Vec<usize>,
}

impl Table {
    /// A table with these columns; a heading that starts with `>` is of a column of numbers.
    pub fn new(headings: &[&str]) -> Table {
        let parse = |h: &&str| match h.strip_prefix('>') {
            Some(h) => (h.to_owned(), Align::Right),
            None => ((*h).to_owned(), Align::Left),
        };
        Table { headings: headings.iter().map(parse).collect(), rows: Vec::new(), rules: Vec::new() }
    }

    /// Adds a row; missing cells are empty.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Draws a line before the next row.
    pub fn rule(&mut self) {
        self.rules.push(self.rows.len());
    }

    /// The table's lines. Where they would be wider than `width`, the widest column of text is cut.
    pub fn render(&self, width: usize) -> String {
        let columns = self.headings.len();
        let cell = |row: &[String], c: usize| row.get(c).cloned().unwrap_or_default();
        let mut widths: Vec<usize> = (0..columns)
            .map(|c| {
                let cells = self.rows.iter().map(|r| chars(&cell(r, c)));
                cells.chain([chars(&self.headings[c].0)]).max().unwrap_or(0)
            })
            .collect();
        let total = |w: &[usize]| w.iter().sum::<usize>() + 2 * columns.saturating_sub(1);
        while total(&widths) > width {
            let text = |c: &usize| self.headings[*c].1 == Align::Left;
            let Some(widest) = (0..columns).filter(text).max_by_key(|&c| widths[c]) else { break };
            if widths[widest] <= 8 {
                break;
            }
            widths[widest] -= 1;
        }
        let line = |cells: &dyn Fn(usize) -> String| {
            let mut line = String::new();
            for (c, &width) in widths.iter().enumerate() {
                let text = cut(&cells(c), width);
                let gap = " ".repeat(width - chars(&text));
                if c > 0 {
                    line.push_str("  ");
                }
                match self.headings[c].1 {
                    Align::Left => line.push_str(&(text + &gap)),
                    Align::Right => line.push_str(&(gap + &text)),
                }
            }
            line.trim_end().to_owned() + "\n"
        };
        let rule = "─".repeat(total(&widths)) + "\n";
        let mut out = line(&|c| self.headings[c].0.clone());
        out.push_str(&rule);
        for (i, row) in self.rows.iter().enumerate() {
            if self.rules.contains(&i) {
                out.push_str(&rule);
            }
            out.push_str(&line(&|c| cell(row, c)));
        }
        out
    }
}

fn chars(s: &str) -> usize {
    s.chars().count()
}

/// The text, with an ellipsis in its middle when it is longer than `width`: names differ at both ends.
fn cut(s: &str, width: usize) -> String {
    let n = chars(s);
    if n <= width {
        return s.to_owned();
    }
    let keep = width.saturating_sub(1);
    let head: String = s.chars().take(keep.div_ceil(2)).collect();
    let tail: String = s.chars().skip(n - keep / 2).collect();
    head + "…" + &tail
}

/// `61706` as `61,706`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}

/// A count with three digits and a prefix of a thousand each: `842 k`, `1.21 M`.
pub fn si(n: f64) -> String {
    scaled(n, 1000.0, &["", " k", " M", " G", " T", " P"])
}

/// Bytes with three digits and a binary prefix: `1.50 MiB`.
pub fn bytes(n: u64) -> String {
    scaled(n as f64, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB", " PiB"])
}

fn scaled(n: f64, base: f64, units: &[&str]) -> String {
    let mut v = n;
    let mut unit = 0;
    // Rounding to three digits must not give 1000 of a unit.
    while v >= base.min(999.5) && unit + 1 < units.len() {
        v /= base;
        unit += 1;
    }
    let number = match v {
        _ if unit == 0 => format!("{v:.0}"),
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    };
    number + units[unit]
}

/// `[1, 28, 28]`.
pub fn shape(dims: &[usize]) -> String {
    let dims: Vec<String> = dims.iter().map(ToString::to_string).collect();
    format!("[{}]", dims.join(", "))
}

/// Text in lines of at most `width` characters, each after `indent`; further lines two deeper.
pub fn wrap(text: &str, width: usize, indent: &str) -> String {
    let mut out = String::new();
    let mut line = indent.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && chars(&line) + 1 + chars(word) > width {
            out.push_str(&(line + "\n"));
            line = format!("{indent}  ");
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out + &line + "\n"
}

/// A bar of `width` cells, filled by a share between 0 and 1 to an eighth of a cell.
pub fn bar(share: f64, width: usize) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let eighths = (share * width as f64 * 8.0).round() as usize;
    let bar = "█".repeat(eighths / 8) + PARTS[eighths % 8];
    let rest = width - chars(&bar);
    bar + &" ".repeat(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(
            [grouped(7), grouped(1000), grouped(61_706), grouped(1_234_567)],
            ["7", "1,000", "61,706", "1,234,567"]
        );
        assert_eq!(
            [si(12.0), si(999.0), si(842_300.0), si(999_999.0), si(1.214e9)],
            ["12", "999", "842 k", "1.00 M", "1.21 G"]
        );
        assert_eq!(
            [bytes(12), bytes(1536), bytes(1023), bytes(250 << 20)],
            ["12 B", "1.50 KiB", "1.00 KiB", "250 MiB"]
        );
    }

    #[test]
    fn columns_line_up_and_fit() {
        let mut t = Table::new(&["name", ">count"]);
        t.row(vec!["a".into(), "1".into()]);
        t.rule();
        t.row(vec!["encoder.layers.3.attention".into(), "1,000".into()]);
        assert_eq!(
            t.render(80),
            "name                        count\n\
             ─────────────────────────────────\n\
             a                               1\n\
             ─────────────────────────────────\n\
             encoder.layers.3.attention  1,000\n"
        );
        let narrow = t.render(20);
        assert!(narrow.lines().all(|l| l.chars().count() <= 20), "{narrow}");
        assert!(narrow.contains("encode…ention  1,000"), "{narrow}");
    }

    #[test]
    fn long_text_is_wrapped() {
        assert_eq!(wrap("one two three four", 11, " "), " one two\n   three\n   four\n");
        assert_eq!(wrap("unbreakableword x", 6, ""), "unbreakableword\n  x\n");
    }

    #[test]
    fn bars() {
        assert_eq!(bar(0.5, 4), "██  ");
        assert_eq!(bar(1.0, 3), "███");
        assert_eq!(bar(0.06, 4), "▎   ");
        assert_eq!(bar(f64::NAN, 2), "  ");
    }
}

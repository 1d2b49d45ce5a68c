//! A flame graph by module path, then operation, hanging from the whole time: widths are times.

use super::sums::{OPTIMIZER, OUTSIDE_LAYERS};
use super::{Phase, Report, Sum, other};
use std::fmt::Write;
use std::time::Duration;

/// Pixels.
const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 12.0;
const ROW: f64 = 22.0;
const HEAD: f64 = 58.0;
/// Of a letter of the fixed-width font at 12 pixels.
const LETTER: f64 = 7.25;
/// Narrower boxes are not drawn: nobody sees them.
const LEAST: f64 = 0.2;

struct Strip<'a> {
    label: String,
    /// The colour follows from it, so that an operation looks the same everywhere.
    key: &'a str,
    hue: Hue,
    time: Duration,
    sum: Option<Sum>,
    depth: usize,
    start: Duration,
}

#[derive(Clone, Copy, PartialEq)]
enum Hue {
    Whole,
    Layer,
    Operation(Phase),
    Other,
}

impl Report {
    /// A picture as SVG: the whole time above, under it modules, modules in them, and at the tips
    /// operations; beside the modules what was no work. Pointing at a box tells its numbers.
    pub fn flame(&self) -> String {
        let boxes = self.boxes();
        let deepest = boxes.iter().map(|b| b.depth).max().unwrap_or(0);
        let height = HEAD + (deepest + 1) as f64 * ROW + MARGIN;
        let total = self.times.total().as_secs_f64();
        let scale = if total > 0.0 { (WIDTH - 2.0 * MARGIN) / total } else { 0.0 };
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\">\n<style>text{{font:12px 'DejaVu Sans Mono',Consolas,monospace;fill:#26292f}}\
             .t{{font:600 16px 'DejaVu Sans',Verdana,Arial,sans-serif}}.s{{font:13px 'DejaVu Sans',Verdana,Arial,\
             sans-serif;fill:#696e76}}rect{{stroke:#fff;stroke-width:0.8}}g:hover rect{{stroke:#26292f}}</style>\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
             <text class=\"t\" x=\"{MARGIN}\" y=\"24\">{}</text>\n\
             <text class=\"s\" x=\"{MARGIN}\" y=\"45\">modules (blue), operations forward (orange), backward \
             (violet) and of the optimizer (green), and what is no work (grey); widths are times</text>\n",
            escape(&self.headline())
        );
        for b in &boxes {
            let width = b.time.as_secs_f64() * scale;
            // A profile of nothing still has its root.
            let width = if b.depth == 0 && width == 0.0 { WIDTH - 2.0 * MARGIN } else { width };
            if width < LEAST {
                continue;
            }
            let (x, y) = (MARGIN + b.start.as_secs_f64() * scale, HEAD + b.depth as f64 * ROW);
            // Writing to a string cannot fail.
            let _ = write!(
                out,
                "<g><title>{}</title><rect x=\"{x:.2}\" y=\"{y}\" width=\"{width:.2}\" height=\"{ROW}\" rx=\"2\" \
                 fill=\"{}\"/>",
                escape(&self.tip(b)),
                color(b.hue, b.key)
            );
            let letters = ((width - 8.0) / LETTER).max(0.0) as usize;
            if letters >= 2 {
                let _ = write!(
                    out,
                    "<text x=\"{:.2}\" y=\"{:.1}\">{}</text>",
                    x + 4.0,
                    y + 15.5,
                    escape(&short(&b.label, letters))
                );
            }
            out.push_str("</g>\n");
        }
        out + "</svg>\n"
    }

    /// All boxes, each before those under it.
    fn boxes(&self) -> Vec<Strip<'_>> {
        let whole = Strip {
            label: "all".into(),
            key: "",
            hue: Hue::Whole,
            time: self.times.total(),
            sum: None,
            depth: 0,
            start: Duration::ZERO,
        };
        let mut boxes = vec![whole];
        // Where the next box inside each level begins: a module moves its own level on by its whole time,
        // and what is inside it begins where it does.
        let mut ends = vec![Duration::ZERO; 2];
        for l in &self.layers {
            let depth = l.depth + 1;
            ends.truncate(depth + 1);
            let start = ends[depth];
            ends[depth] += l.sum.time;
            ends.push(start);
            let kind = if l.kind.is_empty() { String::new() } else { format!(" ({})", l.kind) };
            let label = format!("{}{kind}", l.name);
            let whole = l.path.is_empty() && [OUTSIDE_LAYERS, OPTIMIZER].contains(&l.name.as_str());
            let hue = if whole { Hue::Whole } else { Hue::Layer };
            let key = if l.kind.is_empty() { &l.name } else { l.kind };
            boxes.push(Strip { label, key, hue, time: l.sum.time, sum: Some(l.sum), depth, start });
            for o in &l.own {
                let start = ends[depth + 1];
                ends[depth + 1] += o.sum.time;
                let (time, sum, depth) = (o.sum.time, Some(o.sum), depth + 1);
                let (label, hue) = (o.label(), Hue::Operation(o.phase));
                boxes.push(Strip { label, key: &o.name, hue, time, sum, depth, start });
            }
        }
        let mut start = ends[1];
        for (name, time) in other(&self.times) {
            boxes.push(Strip {
                label: name.into(),
                key: name,
                hue: Hue::Other,
                time,
                sum: None,
                depth: 1,
                start,
            });
            start += time;
        }
        boxes
    }

    fn tip(&self, b: &Strip<'_>) -> String {
        let mut text =
            format!("{}\n{:.3} ms a step, {:.1} %", b.label, self.ms(b.time), 100.0 * self.share(b.time));
        if let Some(s) = &b.sum {
            text.push_str(&format!(", {} calls in all", s.calls));
            if let (Some(f), Some(m)) = (s.gflops(), s.gbs()) {
                text.push_str(&format!("\n{f:.1} GFLOP/s, {m:.1} GB/s"));
            }
            if let Some(c) = s.of_ceiling() {
                text.push_str(&format!(", {:.0} % of the ceiling", 100.0 * c));
            }
        }
        text
    }
}

/// As much of the text as has room.
fn short(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    text.chars().take(letters - 1).chain(['…']).collect()
}

/// A colour of the kind's family; which one, the key decides.
fn color(hue: Hue, key: &str) -> String {
    // FNV-1a: the same on every machine.
    let hash = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
    let spread = |from: u64, to: u64, shift: u32| from + (hash >> shift) % (to - from);
    match hue {
        Hue::Whole => "#d5dae2".to_owned(),
        Hue::Other => "#e9ebee".to_owned(),
        Hue::Layer => format!("hsl({},{}%,{}%)", spread(198, 226, 7), spread(48, 66, 19), spread(74, 83, 31)),
        Hue::Operation(phase) => {
            let (from, to) = match phase {
                Phase::Forward => (22, 48),
                Phase::Backward => (262, 300),
                Phase::Optimizer => (95, 140),
            };
            format!("hsl({},{}%,{}%)", spread(from, to, 7), spread(70, 92, 19), spread(68, 80, 31))
        }
    }
}

/// Text as XML has it. Characters that XML cannot hold become U+FFFD.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

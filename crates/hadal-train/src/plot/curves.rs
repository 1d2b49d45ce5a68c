//! Curves over steps or epochs.

use super::canvas::{Area, COLORS, Drawn, GRID, INK, Picture, SOFT, Scale, refuse, save};
use hadal_io::Result;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use std::ops::Range;
use std::path::Path;

/// A named curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Points (x, y), in the order of x. Points that are not finite leave a gap.
    pub points: Vec<(f64, f64)>,
}

/// One run's curves. Empty ones are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunCurves {
    /// Name in the legend.
    pub name: String,
    /// Loss on the training data over epochs (or steps).
    pub train_loss: Vec<(f64, f64)>,
    /// Loss on held-out data.
    pub test_loss: Vec<(f64, f64)>,
    /// Accuracy on the training data, from 0 to 1.
    pub train_accuracy: Vec<(f64, f64)>,
    /// Accuracy on held-out data, from 0 to 1.
    pub test_accuracy: Vec<(f64, f64)>,
}

/// Draws curves into one panel with a legend.
///
/// # Errors
/// [`IoError`](hadal_io::IoError) when the path ends neither in `.png` nor in `.svg`, when no
/// series has a finite point, or when writing fails.
pub fn curves(
    series: &[Series],
    title: &str,
    x_label: &str,
    y_label: &str,
    path: impl AsRef<Path>,
) -> Result<()> {
    let path = path.as_ref();
    let lines: Vec<Line<'_>> = series
        .iter()
        .enumerate()
        .map(|(i, s)| Line { points: &s.points, color: COLORS[i % COLORS.len()], dashed: false })
        .collect();
    let legend = series
        .iter()
        .zip(&lines)
        .map(|(s, l)| Key { name: s.name.clone(), color: l.color, dashed: false })
        .collect();
    let panel = Panel { lines, x_label, y_label, percent: false };
    draw(Figure { width: 820, title, legend, panels: vec![panel] }, path)
}

/// Draws loss (left) and accuracy (right) of one or several runs over epochs: training data solid,
/// held-out data dashed. Several runs have a colour each; a single run has one colour for each of
/// the two.
///
/// # Errors
/// As [`curves`].
pub fn training_curves(runs: &[RunCurves], path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let single = runs.len() == 1;
    let color = |run: usize, test: bool| COLORS[if single { usize::from(test) } else { run % COLORS.len() }];
    let panel = |y_label, percent, pick: Pick| {
        let lines = runs
            .iter()
            .enumerate()
            .flat_map(|(i, run)| {
                let [train, test] = pick(run);
                [
                    Line { points: train, color: color(i, false), dashed: false },
                    Line { points: test, color: color(i, true), dashed: true },
                ]
            })
            .collect();
        Panel { lines, x_label: "epoch", y_label, percent }
    };
    let loss = panel("loss", false, |r| [&r.train_loss, &r.test_loss]);
    let accuracy = panel("accuracy", true, |r| [&r.train_accuracy, &r.test_accuracy]);

    let mut legend = Vec::new();
    if !single {
        for (i, run) in runs.iter().enumerate() {
            legend.push(Key { name: run.name.clone(), color: color(i, false), dashed: false });
        }
    }
    for (name, test) in [("train", false), ("test", true)] {
        let color = if single { color(0, test) } else { SOFT };
        legend.push(Key { name: name.to_string(), color, dashed: test });
    }
    let title = if single { runs[0].name.as_str() } else { "" };
    // Accuracy has no meaning for a regression: then the loss stands alone.
    let panels: Vec<Panel<'_>> =
        [loss, accuracy].into_iter().filter(|p| p.lines.iter().any(|l| l.has_points())).collect();
    draw(Figure { width: if panels.len() > 1 { 1200 } else { 820 }, title, legend, panels }, path)
}

fn draw(figure: Figure<'_>, path: &Path) -> Result<()> {
    if !figure.panels.iter().flat_map(|p| &p.lines).any(|l| l.has_points()) {
        return Err(refuse(path, "there is no finite point to draw", "train for a step first"));
    }
    save(&figure, path)
}

/// Chooses a run's curves on training and on held-out data.
type Pick = fn(&RunCurves) -> [&[(f64, f64)]; 2];

struct Figure<'a> {
    width: u32,
    title: &'a str,
    legend: Vec<Key>,
    panels: Vec<Panel<'a>>,
}

struct Panel<'a> {
    lines: Vec<Line<'a>>,
    x_label: &'a str,
    y_label: &'a str,
    percent: bool,
}

struct Line<'a> {
    points: &'a [(f64, f64)],
    color: RGBColor,
    dashed: bool,
}

struct Key {
    name: String,
    color: RGBColor,
    dashed: bool,
}

const TITLE_SIZE: f64 = 21.0;
const TEXT_SIZE: f64 = 17.0;
const TICK_SIZE: f64 = 15.0;
const PANEL_HEIGHT: f64 = 400.0;
const LEGEND_ROW: f64 = 24.0;
const MARGIN: f64 = 16.0;

impl Figure<'_> {
    fn title_height(&self) -> f64 {
        if self.title.is_empty() { 0.0 } else { 34.0 }
    }

    /// Rows of legend entries with their left edges and the widths left for their names.
    fn legend_rows(&self, scale: Scale) -> Vec<Vec<(f64, &Key, String)>> {
        let mut rows = vec![Vec::new()];
        let mut x = MARGIN;
        let right = f64::from(self.width) - MARGIN;
        for key in &self.legend {
            let name = scale.fit(&key.name, TEXT_SIZE, right - MARGIN - 60.0);
            let width = 36.0 + scale.width_of(&name, TEXT_SIZE) + 24.0;
            if x + width > right && x > MARGIN {
                rows.push(Vec::new());
                x = MARGIN;
            }
            if let Some(row) = rows.last_mut() {
                row.push((x, key, name));
            }
            x += width;
        }
        rows
    }
}

impl Picture for Figure<'_> {
    fn size(&self) -> (u32, u32) {
        let rows = self.legend_rows(Scale(1)).len() as f64;
        (self.width, (MARGIN + self.title_height() + rows * LEGEND_ROW + PANEL_HEIGHT) as u32)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>, scale: Scale) -> Drawn<B> {
        let mut y = MARGIN;
        if !self.title.is_empty() {
            let title = scale.fit(self.title, TITLE_SIZE, f64::from(self.width) - 2.0 * MARGIN);
            let style = scale.text(TITLE_SIZE, INK, HPos::Left, VPos::Center);
            area.draw_text(&title, &style, (scale.px(MARGIN), scale.px(y + 11.0)))?;
            y += self.title_height();
        }
        for row in self.legend_rows(scale) {
            let middle = scale.px(y + LEGEND_ROW / 2.0);
            for (x, key, name) in row {
                let ends = [(scale.px(x), middle), (scale.px(x + 28.0), middle)];
                let style = scale.line(key.color, 2.0);
                if key.dashed {
                    let (on, off) = dash(scale);
                    area.draw(&DashedPathElement::new(ends, on, off, style))?;
                } else {
                    area.draw(&PathElement::new(ends, style))?;
                }
                let style = scale.text(TEXT_SIZE, INK, HPos::Left, VPos::Center);
                area.draw_text(&name, &style, (scale.px(x + 36.0), middle))?;
            }
            y += LEGEND_ROW;
        }
        let (_, below) = area.split_vertically(scale.px(y));
        for (panel, area) in self.panels.iter().zip(below.split_evenly((1, self.panels.len().max(1)))) {
            panel.draw(&area, scale)?;
        }
        Ok(())
    }
}

impl Panel<'_> {
    fn draw<B: DrawingBackend>(&self, area: &Area<B>, scale: Scale) -> Drawn<B> {
        let clean: Vec<Vec<Vec<(f64, f64)>>> = self.lines.iter().map(|l| pieces(l.points)).collect();
        let all = || clean.iter().flatten().flatten();
        let x_range = padded(all().map(|p| p.0), 0.02, false);
        let mut y_range = padded(all().map(|p| p.1), 0.05, true);
        if self.percent {
            y_range = y_range.start.max(0.0)..y_range.end.min(1.005).max(y_range.start + 1e-6);
        }
        let mut chart = ChartBuilder::on(area)
            .margin(scale.px(MARGIN))
            .margin_top(scale.px(10.0))
            .x_label_area_size(scale.px(44.0))
            .y_label_area_size(scale.px(70.0))
            .build_cartesian_2d(x_range, y_range)?;
        let percent = self.percent;
        chart
            .configure_mesh()
            .x_labels(8)
            .y_labels(8)
            .max_light_lines(1)
            .light_line_style(TRANSPARENT)
            .bold_line_style(scale.line(GRID, 1.0))
            .axis_style(scale.line(SOFT, 1.0))
            .set_all_tick_mark_size(scale.px(4.0))
            .label_style(scale.text(TICK_SIZE, SOFT, HPos::Left, VPos::Top))
            .axis_desc_style(scale.text(TEXT_SIZE, INK, HPos::Left, VPos::Top))
            .x_desc(self.x_label)
            .y_desc(self.y_label)
            .x_label_formatter(&|v| number(*v))
            .y_label_formatter(&|v| if percent { format!("{} %", number(*v * 100.0)) } else { number(*v) })
            .draw()?;
        for (line, pieces) in self.lines.iter().zip(&clean) {
            let style = scale.line(line.color, 2.0);
            let count: usize = pieces.iter().map(Vec::len).sum();
            for piece in pieces {
                let piece = thinned(piece, 2000);
                if piece.len() > 1 {
                    if line.dashed {
                        let (on, off) = dash(scale);
                        chart.draw_series(DashedLineSeries::new(piece.clone(), on, off, style))?;
                    } else {
                        chart.draw_series(LineSeries::new(piece.clone(), style))?;
                    }
                }
                // Few points are seen one by one; a lone point would not be seen at all.
                if count <= 30 || piece.len() == 1 {
                    let dot = line.color.filled();
                    chart.draw_series(piece.iter().map(|&p| Circle::new(p, scale.px(3.0), dot)))?;
                }
            }
        }
        Ok(())
    }
}

impl Line<'_> {
    fn has_points(&self) -> bool {
        self.points.iter().any(drawable)
    }
}

/// Lengths of a dash and of the gap behind it.
fn dash(scale: Scale) -> (i32, i32) {
    (scale.px(7.0), scale.px(4.0))
}

/// Finite, and small enough that differences are finite too.
fn drawable(p: &(f64, f64)) -> bool {
    p.0.abs() < 1e100 && p.1.abs() < 1e100
}

/// The runs of drawable points.
fn pieces(points: &[(f64, f64)]) -> Vec<Vec<(f64, f64)>> {
    points.split(|p| !drawable(p)).filter(|p| !p.is_empty()).map(<[_]>::to_vec).collect()
}

/// At most about `most` points that look the same: of each bucket the first, lowest, highest and
/// last point, so that no spike is lost.
fn thinned(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    if points.len() <= most {
        return points.to_vec();
    }
    let bucket = points.len().div_ceil(most / 4);
    let mut out = Vec::new();
    for b in points.chunks(bucket) {
        let by = |f: fn(f64, f64) -> bool| {
            (1..b.len()).fold(0, |best, i| if f(b[i].1, b[best].1) { i } else { best })
        };
        let mut picks = [0, by(|a, b| a < b), by(|a, b| a > b), b.len() - 1];
        picks.sort_unstable();
        for (k, &i) in picks.iter().enumerate() {
            if k == 0 || picks[k - 1] != i {
                out.push(b[i]);
            }
        }
    }
    out
}

/// The range of the values with some air, never empty. With `from_zero`, it starts at zero when
/// the values are positive and not far above it.
fn padded(values: impl Iterator<Item = f64>, share: f64, from_zero: bool) -> Range<f64> {
    let (mut lo, mut hi) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if lo > hi {
        return 0.0..1.0;
    }
    let at_zero = from_zero && lo >= 0.0 && lo < 0.3 * hi;
    // A range too narrow for its magnitude has no numbers to put ticks at.
    let least = (lo.abs().max(hi.abs()) * 1e-6).max(1e-12);
    let pad = if hi - lo < least {
        (lo.abs() * 0.1).max(0.5 * f64::from(lo == 0.0)).max(least)
    } else {
        (hi - lo) * share
    };
    lo -= pad;
    hi += pad;
    if at_zero {
        lo = 0.0;
    }
    lo..hi
}

/// A tick's text: no more digits than it needs, thousands as k and M.
fn number(v: f64) -> String {
    let plain = |v: f64| {
        let text = format!("{v:.6}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        if text.is_empty() || text == "-0" { "0".to_string() } else { text.to_string() }
    };
    match v.abs() {
        a if a != 0.0 && a < 1e-4 => format!("{v:.1e}"),
        a if a >= 1e9 => format!("{v:.1e}"),
        a if a >= 1e6 => format!("{}M", plain((v / 1e3).round() / 1e3)),
        a if a >= 1e4 => format!("{}k", plain(v.round() / 1e3)),
        _ => plain(v),
    }
}

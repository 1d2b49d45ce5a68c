//! The confusion matrix: what was taken for what, and how often.

use super::canvas::{Area, COLORS, Drawn, GRID, INK, Picture, RED, SOFT, Scale, refuse, save};
use hadal_io::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use std::path::Path;

/// Draws `counts[true class][predicted class]` as a grid with the numbers in the cells. The
/// diagonal is blue by the share of the class that was right; mistakes are red by the share that
/// went there, on a root scale, so that rare ones are seen too. At the right stands each class's
/// recall, in percent. With many classes the cells become too small for numbers, which are then
/// left out.
///
/// # Errors
/// [`IoError`](hadal_io::IoError) when there is no class, when `counts` is not square or the names
/// are not as many, when the path ends neither in `.png` nor in `.svg`, or when writing fails.
pub fn confusion_matrix(
    counts: &[Vec<u64>],
    class_names: &[impl AsRef<str>],
    path: impl AsRef<Path>,
) -> Result<()> {
    let path = path.as_ref();
    let n = counts.len();
    if n == 0 {
        return Err(refuse(path, "the confusion matrix has no class", "evaluate on some data first"));
    }
    if let Some(row) = counts.iter().position(|r| r.len() != n) {
        return Err(refuse(
            path,
            format!("the confusion matrix has {n} rows, but row {row} has {} columns", counts[row].len()),
            "pass a square matrix",
        ));
    }
    if class_names.len() != n {
        return Err(refuse(
            path,
            format!("there are {n} classes, but {} class names", class_names.len()),
            "pass one name a class",
        ));
    }
    let names: Vec<&str> = class_names.iter().map(AsRef::as_ref).collect();
    save(&Matrix::new(counts, names), path)
}

struct Matrix<'a> {
    counts: &'a [Vec<u64>],
    names: Vec<&'a str>,
    /// Side of a cell.
    cell: f64,
    /// Size of the class names' text.
    name_size: f64,
    /// Room for the class names, left and below.
    room: f64,
    /// Whether the names below stand upright, since they are wider than a cell.
    upright: bool,
}

const MARGIN: f64 = 16.0;
const TITLE: f64 = 36.0;
const AXIS: f64 = 28.0;
const RECALL: f64 = 58.0;
/// The widest room for class names; longer ones are cut.
const MAX_ROOM: f64 = 150.0;
/// The smallest cell with a readable number in it.
const NUMBER_CELL: f64 = 24.0;
/// The smallest cell with lines around it and its class's recall beside it.
const LINE_CELL: f64 = 10.0;

impl<'a> Matrix<'a> {
    fn new(counts: &'a [Vec<u64>], names: Vec<&'a str>) -> Self {
        let n = names.len();
        let cell = (720.0 / n as f64).clamp(4.0, 52.0).floor();
        let name_size = (cell * 0.9).clamp(9.0, 16.0);
        let scale = Scale(1);
        let widest = names.iter().map(|name| scale.width_of(name, name_size)).fold(0.0, f64::max);
        let upright = widest > cell - 4.0;
        Matrix { counts, names, cell, name_size, room: widest.clamp(16.0, MAX_ROOM) + 10.0, upright }
    }

    fn side(&self) -> f64 {
        self.cell * self.names.len() as f64
    }
    fn left(&self) -> f64 {
        MARGIN + AXIS + self.room
    }
    fn top(&self) -> f64 {
        MARGIN + TITLE
    }
    /// Room for the names below.
    fn foot(&self) -> f64 {
        if self.upright { self.room } else { 24.0 }
    }

    fn color(&self, share: f64, diagonal: bool) -> RGBColor {
        let (full, depth) = if diagonal { (COLORS[0], share) } else { (RED, share.sqrt()) };
        let mix = |c: u8| (255.0 + (f64::from(c) - 255.0) * depth * 0.95).round() as u8;
        RGBColor(mix(full.0), mix(full.1), mix(full.2))
    }

    fn title(&self) -> String {
        let total: u128 = self.counts.iter().flatten().map(|&c| u128::from(c)).sum();
        let right: u128 = (0..self.names.len()).map(|i| u128::from(self.counts[i][i])).sum();
        if total == 0 {
            return "no sample".to_string();
        }
        format!("{:.2} % of {total} right", right as f64 / total as f64 * 100.0)
    }
}

impl Picture for Matrix<'_> {
    fn size(&self) -> (u32, u32) {
        let title = Scale(1).width_of(&self.title(), 20.0) + 2.0 * MARGIN;
        let width = (self.left() + self.side() + RECALL + MARGIN).max(title);
        (width as u32, (self.top() + self.side() + self.foot() + AXIS + MARGIN) as u32)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>, scale: Scale) -> Drawn<B> {
        let (left, top, cell, side) = (self.left(), self.top(), self.cell, self.side());
        let at = |x: f64, y: f64| (scale.px(x), scale.px(y));
        let title = scale.text(20.0, INK, HPos::Left, VPos::Center);
        area.draw_text(&self.title(), &title, at(MARGIN, MARGIN + 10.0))?;
        let soft = scale.text(14.0, SOFT, HPos::Center, VPos::Center);
        if cell >= LINE_CELL {
            area.draw_text("recall", &soft, at(left + side + RECALL / 2.0, top - 12.0))?;
        }

        for (i, row) in self.counts.iter().enumerate() {
            let total: f64 = row.iter().map(|&c| c as f64).sum();
            let y = top + i as f64 * cell;
            for (j, &count) in row.iter().enumerate() {
                let x = left + j as f64 * cell;
                let share = if total > 0.0 { count as f64 / total } else { 0.0 };
                let fill = self.color(share, i == j);
                area.draw(&Rectangle::new([at(x, y), at(x + cell, y + cell)], fill.filled()))?;
                if cell >= NUMBER_CELL {
                    let dark = (u32::from(fill.0) * 3 + u32::from(fill.1) * 6 + u32::from(fill.2)) < 1500;
                    let ink = match (dark, count) {
                        (true, _) => WHITE,
                        (false, 0) => RGBColor(190, 194, 200),
                        (false, _) => INK,
                    };
                    let text = shortened(count);
                    let size = (cell * 0.38).min(cell * 1.55 / text.len().max(3) as f64);
                    let style = scale.text(size, ink, HPos::Center, VPos::Center);
                    area.draw_text(&text, &style, at(x + cell / 2.0, y + cell / 2.0))?;
                }
            }
            if cell >= LINE_CELL {
                let recall = if total > 0.0 {
                    format!("{:.1}", row[i] as f64 / total * 100.0)
                } else {
                    "–".to_string()
                };
                let style = scale.text(self.name_size.min(15.0), INK, HPos::Center, VPos::Center);
                area.draw_text(&recall, &style, at(left + side + RECALL / 2.0, y + cell / 2.0))?;
            }
        }
        if cell >= LINE_CELL {
            self.draw_grid(area, scale)?;
        }
        self.draw_names(area, scale)?;
        let frame = [at(left, top), at(left + side, top + side)];
        area.draw(&Rectangle::new(frame, scale.line(SOFT, 1.0)))
    }
}

impl Matrix<'_> {
    fn draw_grid<B: DrawingBackend>(&self, area: &Area<B>, scale: Scale) -> Drawn<B> {
        let (left, top, side) = (self.left(), self.top(), self.side());
        let at = |x: f64, y: f64| (scale.px(x), scale.px(y));
        for k in 1..self.names.len() {
            let d = k as f64 * self.cell;
            let style = scale.line(GRID, 1.0);
            area.draw(&PathElement::new([at(left + d, top), at(left + d, top + side)], style))?;
            area.draw(&PathElement::new([at(left, top + d), at(left + side, top + d)], style))?;
        }
        Ok(())
    }

    fn draw_names<B: DrawingBackend>(&self, area: &Area<B>, scale: Scale) -> Drawn<B> {
        let (left, top, side) = (self.left(), self.top(), self.side());
        let at = |x: f64, y: f64| (scale.px(x), scale.px(y));
        // Where rows are thinner than letters, every k-th class is named.
        let every = (9.0 / self.cell).ceil().max(1.0) as usize;
        let size = self.name_size;
        for (k, name) in self.names.iter().enumerate().step_by(every) {
            let middle = (k as f64 + 0.5) * self.cell;
            let name = scale.fit(name, size, self.room - 8.0);
            let style = scale.text(size, INK, HPos::Right, VPos::Center);
            area.draw_text(&name, &style, at(left - 8.0, top + middle))?;
            if self.upright {
                let style = style.transform(FontTransform::Rotate270);
                area.draw_text(&name, &style, at(left + middle, top + side + 8.0))?;
            } else {
                let style = scale.text(size, INK, HPos::Center, VPos::Center);
                area.draw_text(&name, &style, at(left + middle, top + side + 14.0))?;
            }
        }
        let soft = scale.text(16.0, SOFT, HPos::Center, VPos::Center);
        area.draw_text("predicted", &soft, at(left + side / 2.0, top + side + self.foot() + AXIS / 2.0))?;
        let turned = soft.transform(FontTransform::Rotate270);
        area.draw_text("true", &turned, at(MARGIN + AXIS / 2.0 - 4.0, top + side / 2.0))
    }
}

/// A count in at most five characters.
fn shortened(count: u64) -> String {
    match count {
        0..=99_999 => count.to_string(),
        100_000..=999_999 => format!("{}k", count / 1000),
        _ => format!("{:.0e}", count as f64),
    }
}

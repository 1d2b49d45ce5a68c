//! The contact sheet: many small images with captions.

use super::canvas::{Area, Drawn, GRID, INK, Picture, RED, Scale, refuse, save};
use hadal_io::Result;
use hadal_io::image::{Filter, Image};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use std::path::Path;

/// One image of a contact sheet.
#[derive(Clone, Debug)]
pub struct Tile {
    /// The image, grey or colour, of any size.
    pub image: Image,
    /// The text below it; `\n` starts a new line.
    pub caption: String,
    /// Whether it gets a red frame and caption, for mistakes.
    pub highlight: bool,
}

/// Draws images in rows of `columns`, with their captions below. Small images are enlarged with
/// hard edges, so that their pixels are seen; images over 144 pixels are shrunk.
///
/// # Errors
/// [`IoError`](hadal_io::IoError) when there is no tile or no column, when the sheet would have
/// more than 8192 pixels on a side, when the path ends neither in `.png` nor in `.svg`, or when
/// writing fails.
pub fn contact_sheet(images: &[Tile], columns: usize, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    if images.is_empty() {
        return Err(refuse(path, "there is no image to show", "pass at least one tile"));
    }
    if columns == 0 {
        return Err(refuse(path, "a contact sheet of 0 columns was asked for", "ask for at least 1"));
    }
    let pictures = images.iter().map(|t| shown(&t.image)).collect::<Result<Vec<_>>>()?;
    save(&Sheet::new(images, pictures, columns.min(images.len())), path)
}

/// The side that small images are enlarged to, about.
const SIDE: usize = 112;
/// The side that large images are shrunk to.
const MAX_SIDE: usize = 144;
const TEXT: f64 = 15.0;
const LINE: f64 = 18.0;
const GAP: f64 = 14.0;
const MARGIN: f64 = 18.0;

/// The image at the size at which it is drawn.
fn shown(image: &Image) -> Result<(Image, usize)> {
    let side = image.width().max(image.height());
    if side > MAX_SIDE {
        let fit = |d: usize| (d * MAX_SIDE / side).max(1);
        let small = image.resize(fit(image.width()), fit(image.height()), Filter::Antialias)?;
        return Ok((small.to_rgb(), 1));
    }
    // Whole factors keep the pixels square.
    Ok((image.to_rgb(), (SIDE / side).max(1)))
}

struct Sheet<'a> {
    tiles: &'a [Tile],
    /// The images as drawn, and how many pixels each of theirs becomes.
    pictures: Vec<(Image, usize)>,
    columns: usize,
    cell: (f64, f64),
    lines: usize,
}

impl<'a> Sheet<'a> {
    fn new(tiles: &'a [Tile], pictures: Vec<(Image, usize)>, columns: usize) -> Self {
        let widest = pictures.iter().map(|(p, k)| p.width() * k).max().unwrap_or(1);
        let highest = pictures.iter().map(|(p, k)| p.height() * k).max().unwrap_or(1);
        let lines = tiles.iter().map(|t| t.caption.lines().count()).max().unwrap_or(0);
        let cell = (widest.max(88) as f64, highest as f64);
        Sheet { tiles, pictures, columns, cell, lines }
    }
    fn step(&self) -> (f64, f64) {
        let text = if self.lines == 0 { 0.0 } else { self.lines as f64 * LINE + 6.0 };
        (self.cell.0 + GAP, self.cell.1 + text + GAP)
    }
}

impl Picture for Sheet<'_> {
    fn size(&self) -> (u32, u32) {
        let rows = self.tiles.len().div_ceil(self.columns) as f64;
        let (dx, dy) = self.step();
        let side = |step: f64, count: f64| (2.0 * MARGIN + step * count - GAP).ceil() as u32;
        (side(dx, self.columns as f64), side(dy, rows))
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>, scale: Scale) -> Drawn<B> {
        let (dx, dy) = self.step();
        for (i, (tile, (image, k))) in self.tiles.iter().zip(&self.pictures).enumerate() {
            let left = MARGIN + (i % self.columns) as f64 * dx;
            let top = MARGIN + (i / self.columns) as f64 * dy;
            let (w, h) = ((image.width() * k) as f64, (image.height() * k) as f64);
            let x = left + ((self.cell.0 - w) / 2.0).floor();
            let y = top + ((self.cell.1 - h) / 2.0).floor();
            draw_pixels(area, scale, image, *k, (x, y))?;
            let at = |x: f64, y: f64| (scale.px(x), scale.px(y));
            let (frame, air) =
                if tile.highlight { (scale.line(RED, 2.0), 2.0) } else { (scale.line(GRID, 1.0), 1.0) };
            area.draw(&Rectangle::new([at(x - air, y - air), at(x + w + air, y + h + air)], frame))?;
            let ink = if tile.highlight { RED } else { INK };
            for (n, line) in tile.caption.lines().enumerate() {
                let line = scale.fit(line, TEXT, self.cell.0 + GAP - 4.0);
                let style = scale.text(TEXT, ink, HPos::Center, VPos::Center);
                let y = top + self.cell.1 + 6.0 + (n as f64 + 0.5) * LINE;
                area.draw_text(&line, &style, at(left + self.cell.0 / 2.0, y))?;
            }
        }
        Ok(())
    }
}

/// Draws an image as rectangles, one for each run of equal pixels in a row.
fn draw_pixels<B: DrawingBackend>(
    area: &Area<B>,
    scale: Scale,
    image: &Image,
    k: usize,
    (x0, y0): (f64, f64),
) -> Drawn<B> {
    let k = k as f64;
    for (y, row) in image.data().chunks_exact(image.width() * 3).enumerate() {
        let pixels: Vec<&[u8]> = row.chunks_exact(3).collect();
        let mut x = 0;
        for run in pixels.chunk_by(|a, b| a == b) {
            let (left, right) = (x0 + x as f64 * k, x0 + (x + run.len()) as f64 * k);
            let (top, bottom) = (y0 + y as f64 * k, y0 + (y + 1) as f64 * k);
            let color = RGBColor(run[0][0], run[0][1], run[0][2]);
            let corners = [(scale.px(left), scale.px(top)), (scale.px(right), scale.px(bottom))];
            area.draw(&Rectangle::new(corners, color.filled()))?;
            x += run.len();
        }
    }
    Ok(())
}

//! The roofline: what operations reach, under what arithmetic and memory allow.
//!
//! S. Williams, A. Waterman, D. Patterson: "Roofline: an insightful visual performance model for
//! multicore architectures", CACM 52(4), 2009.

use super::canvas::{Area, COLORS, Drawn, GRID, INK, Picture, SOFT, Scale, save};
use hadal_io::Result;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use std::ops::Range;
use std::path::Path;

/// What the machine can do. Rates that are not positive are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roof {
    /// Billions of operations a second.
    pub gflops: f64,
    /// Names and billions of bytes a second.
    pub bandwidths: Vec<(String, f64)>,
}

/// An operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dot {
    /// Its name.
    pub name: String,
    /// Arithmetic operations for each byte.
    pub intensity: f64,
    /// Billions of operations a second.
    pub gflops: f64,
    /// Share of the time, from 0 to 1: the dot's area.
    pub share: f64,
    /// Share of the ceiling that it reaches.
    pub of_ceiling: f64,
}

/// Draws operations by arithmetic for each byte (across) and speed (up), both in powers of ten, under
/// the lines of the roof. The first of them are numbered and listed beside the picture; those that are
/// not positive and finite are left out. The lines of `note` stand below the list.
///
/// # Errors
/// [`IoError`](hadal_io::IoError) when the path ends neither in `.png` nor in `.svg`, or when writing
/// fails.
pub fn roofline(roof: &Roof, dots: &[Dot], title: &str, note: &str, path: impl AsRef<Path>) -> Result<()> {
    let usable = |v: f64| v > 1e-12 && v < 1e12;
    let dots: Vec<&Dot> = dots.iter().filter(|d| usable(d.intensity) && usable(d.gflops)).collect();
    let bandwidths: Vec<(&str, f64)> =
        roof.bandwidths.iter().filter(|b| usable(b.1)).map(|b| (b.0.as_str(), b.1)).collect();
    let gflops = usable(roof.gflops).then_some(roof.gflops);
    save(&Chart::new(gflops, bandwidths, dots, title, note), path.as_ref())
}

const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 620.0;
const TITLE: f64 = 21.0;
const TEXT: f64 = 15.0;
const SMALL: f64 = 13.0;
/// Edges of the plot; the list is right of it.
const LEFT: f64 = 74.0;
const RIGHT: f64 = 800.0;
const TOP: f64 = 76.0;
const BOTTOM: f64 = 556.0;
const LIST: f64 = 828.0;
const LIST_ROW: f64 = 25.0;
/// Operations in the list.
const LISTED: usize = 18;

struct Chart<'a> {
    gflops: Option<f64>,
    bandwidths: Vec<(&'a str, f64)>,
    dots: Vec<&'a Dot>,
    title: &'a str,
    note: &'a str,
    /// Powers of ten.
    x: Range<f64>,
    y: Range<f64>,
}

impl<'a> Chart<'a> {
    fn new(
        gflops: Option<f64>,
        bandwidths: Vec<(&'a str, f64)>,
        dots: Vec<&'a Dot>,
        title: &'a str,
        note: &'a str,
    ) -> Self {
        // Where a line of memory meets the roof; all such corners are to be seen.
        let corners = bandwidths.iter().filter_map(|b| Some(gflops? / b.1));
        let x = decades(corners.chain(dots.iter().map(|d| d.intensity)), 0.1..100.0);
        let slowest = bandwidths.iter().map(|b| b.1).fold(f64::INFINITY, f64::min);
        let foot = Some(slowest * 10f64.powf(x.start)).filter(|f| f.is_finite());
        let y = decades(gflops.into_iter().chain(foot).chain(dots.iter().map(|d| d.gflops)), 1.0..100.0);
        Chart { gflops, bandwidths, dots, title, note, x, y }
    }

    fn at(&self, intensity: f64, gflops: f64) -> (f64, f64) {
        let part = |v: f64, r: &Range<f64>| (v.log10() - r.start) / (r.end - r.start);
        (LEFT + part(intensity, &self.x) * (RIGHT - LEFT), BOTTOM - part(gflops, &self.y) * (BOTTOM - TOP))
    }

    fn grid<B: DrawingBackend>(&self, area: &Area<B>, scale: Scale) -> Drawn<B> {
        let px = |x: f64, y: f64| (scale.px(x), scale.px(y));
        let ticks = |r: &Range<f64>| (r.start.ceil() as i32..=r.end.floor() as i32).collect::<Vec<_>>();
        let tick = |h, v| scale.text(TEXT, SOFT, h, v);
        for e in ticks(&self.x) {
            let (x, _) = self.at(10f64.powi(e), 1.0);
            area.draw(&PathElement::new([px(x, TOP), px(x, BOTTOM)], scale.line(GRID, 1.0)))?;
            area.draw_text(&power(e), &tick(HPos::Center, VPos::Top), px(x, BOTTOM + 7.0))?;
        }
        for e in ticks(&self.y) {
            let (_, y) = self.at(1.0, 10f64.powi(e));
            area.draw(&PathElement::new([px(LEFT, y), px(RIGHT, y)], scale.line(GRID, 1.0)))?;
            area.draw_text(&power(e), &tick(HPos::Right, VPos::Center), px(LEFT - 8.0, y))?;
        }
        let axes = [px(LEFT, TOP), px(LEFT, BOTTOM), px(RIGHT, BOTTOM)];
        area.draw(&PathElement::new(axes, scale.line(SOFT, 1.0)))?;
        let name = |h, v| scale.text(TEXT, INK, h, v);
        area.draw_text("GFLOP/s", &name(HPos::Left, VPos::Bottom), px(MARGIN, TOP - 12.0))?;
        let middle = (LEFT + RIGHT) / 2.0;
        area.draw_text("FLOPs for each byte", &name(HPos::Center, VPos::Top), px(middle, BOTTOM + 29.0))
    }

    fn roof<B: DrawingBackend>(&self, area: &Area<B>, scale: Scale) -> Drawn<B> {
        let px = |(x, y): (f64, f64)| (scale.px(x), scale.px(y));
        let (left, right) = (10f64.powf(self.x.start), 10f64.powf(self.x.end));
        let bottom = 10f64.powf(self.y.start);
        let top = self.gflops.unwrap_or(10f64.powf(self.y.end));
        let text = |h, v| scale.text(SMALL, SOFT, h, v);
        for (i, (name, rate)) in self.bandwidths.iter().enumerate() {
            let from = left.max(bottom / rate);
            let to = right.min(top / rate);
            if to <= from {
                continue;
            }
            let (a, b) = (self.at(from, from * rate), self.at(to, to * rate));
            let style = scale.line(INK, 2.0);
            if i + 1 < self.bandwidths.len() {
                let (on, off) = (scale.px(7.0), scale.px(4.0));
                area.draw(&DashedPathElement::new([px(a), px(b)], on, off, scale.line(SOFT, 1.5)))?;
            } else {
                area.draw(&PathElement::new([px(a), px(b)], style))?;
            }
            // Beside the line: the upper ones to its left, the lowest to its right, where nothing is.
            let label = format!("{name} {rate:.0} GB/s");
            let lowest = i + 1 == self.bandwidths.len();
            let t = if lowest { 0.10 } else { 0.62 };
            let (x, y) = (a.0 + (b.0 - a.0) * t, a.1 + (b.1 - a.1) * t);
            if lowest {
                area.draw_text(&label, &text(HPos::Left, VPos::Center), px((x + 12.0, y + 4.0)))?;
            } else {
                area.draw_text(&label, &text(HPos::Right, VPos::Center), px((x - 10.0, y - 4.0)))?;
            }
        }
        if let Some(gflops) = self.gflops {
            // From the leftmost corner on.
            let from = self.bandwidths.iter().map(|b| gflops / b.1).fold(right, f64::min).max(left);
            let from = if self.bandwidths.is_empty() { left } else { from };
            let (a, b) = (self.at(from, gflops), self.at(right, gflops));
            area.draw(&PathElement::new([px(a), px(b)], scale.line(INK, 2.0)))?;
            let label = format!("peak {gflops:.0} GFLOP/s (f32)");
            area.draw_text(&label, &text(HPos::Right, VPos::Bottom), px((RIGHT, a.1 - 6.0)))?;
        }
        Ok(())
    }

    fn points<B: DrawingBackend>(&self, area: &Area<B>, scale: Scale) -> Drawn<B> {
        let px = |x: f64, y: f64| (scale.px(x), scale.px(y));
        // The largest first, so that small ones are not hidden; the list is sorted that way already, but
        // nobody promises that.
        let mut order: Vec<usize> = (0..self.dots.len()).collect();
        order.sort_by(|&a, &b| self.dots[b].share.total_cmp(&self.dots[a].share).then(a.cmp(&b)));
        for i in order {
            let d = self.dots[i];
            let (x, y) = self.at(d.intensity, d.gflops);
            let radius = 4.0 + 26.0 * d.share.clamp(0.0, 1.0).sqrt();
            let color = if i < LISTED { COLORS[i % COLORS.len()] } else { SOFT };
            let circle = |style: ShapeStyle| Circle::new(px(x, y), scale.px(radius), style);
            area.draw(&circle(color.mix(0.55).filled()))?;
            area.draw(&circle(scale.line(color, 1.5)))?;
            if i >= LISTED {
                continue;
            }
            let number = (i + 1).to_string();
            if radius >= 9.0 {
                let style = scale.text(SMALL, INK, HPos::Center, VPos::Center);
                area.draw_text(&number, &style, px(x, y))?;
            } else {
                let style = scale.text(SMALL, INK, HPos::Left, VPos::Center);
                area.draw_text(&number, &style, px(x + radius + 3.0, y))?;
            }
        }
        Ok(())
    }

    fn list<B: DrawingBackend>(&self, area: &Area<B>, scale: Scale) -> Drawn<B> {
        let px = |x: f64, y: f64| (scale.px(x), scale.px(y));
        let right = WIDTH - MARGIN;
        let head = |h| scale.text(SMALL, SOFT, h, VPos::Bottom);
        area.draw_text("operation", &head(HPos::Left), px(LIST + 26.0, TOP - 12.0))?;
        area.draw_text("time", &head(HPos::Right), px(right - 64.0, TOP - 12.0))?;
        area.draw_text("ceiling", &head(HPos::Right), px(right, TOP - 12.0))?;
        for (i, d) in self.dots.iter().take(LISTED).enumerate() {
            let y = TOP + (i as f64 + 0.5) * LIST_ROW;
            let color = COLORS[i % COLORS.len()];
            area.draw(&Circle::new(px(LIST + 10.0, y), scale.px(10.0), color.mix(0.55).filled()))?;
            let number = scale.text(SMALL, INK, HPos::Center, VPos::Center);
            area.draw_text(&(i + 1).to_string(), &number, px(LIST + 10.0, y))?;
            let name = scale.fit(&d.name, TEXT, right - 122.0 - (LIST + 26.0));
            area.draw_text(&name, &scale.text(TEXT, INK, HPos::Left, VPos::Center), px(LIST + 26.0, y))?;
            let value = scale.text(TEXT, INK, HPos::Right, VPos::Center);
            area.draw_text(&format!("{:.1} %", 100.0 * d.share), &value, px(right - 64.0, y))?;
            area.draw_text(&format!("{:.0} %", 100.0 * d.of_ceiling), &value, px(right, y))?;
        }
        if self.dots.len() > LISTED {
            let y = TOP + (LISTED as f64 + 0.5) * LIST_ROW;
            let text = format!("and {} more", self.dots.len() - LISTED);
            area.draw_text(&text, &scale.text(TEXT, SOFT, HPos::Left, VPos::Center), px(LIST + 26.0, y))?;
        }
        if self.dots.is_empty() {
            let style = scale.text(TEXT, SOFT, HPos::Left, VPos::Center);
            area.draw_text("no arithmetic was recorded", &style, px(LIST + 26.0, TOP + 0.5 * LIST_ROW))?;
        }
        Ok(())
    }
}

const MARGIN: f64 = 16.0;

impl Picture for Chart<'_> {
    fn size(&self) -> (u32, u32) {
        (WIDTH as u32, HEIGHT as u32)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>, scale: Scale) -> Drawn<B> {
        let title = scale.fit(self.title, TITLE, WIDTH - 2.0 * MARGIN);
        let style = scale.text(TITLE, INK, HPos::Left, VPos::Center);
        area.draw_text(&title, &style, (scale.px(MARGIN), scale.px(MARGIN + 11.0)))?;
        self.grid(area, scale)?;
        self.roof(area, scale)?;
        self.points(area, scale)?;
        self.list(area, scale)?;
        let style = scale.text(SMALL, SOFT, HPos::Left, VPos::Bottom);
        for (i, line) in self.note.lines().rev().enumerate() {
            let line = scale.fit(line, SMALL, WIDTH - LIST - MARGIN);
            let y = HEIGHT - MARGIN - i as f64 * 19.0;
            area.draw_text(&line, &style, (scale.px(LIST), scale.px(y)))?;
        }
        Ok(())
    }
}

/// Whole powers of ten around the values, at least those of `least`, with a little air.
fn decades(values: impl Iterator<Item = f64>, least: Range<f64>) -> Range<f64> {
    let range = values.fold(least, |r, v| r.start.min(v)..r.end.max(v));
    (range.start * 0.7).log10().floor()..(range.end * 1.4).log10().ceil()
}

/// `0.01`, `1`, `1000`, `10⁻⁵` as `1e-5`.
fn power(e: i32) -> String {
    match e {
        -3..=-1 => format!("{:.*}", e.unsigned_abs() as usize, 10f64.powi(e)),
        0..=5 => format!("{:.0}", 10f64.powi(e)),
        _ => format!("1e{e}"),
    }
}

//! From a drawing to a file: backends, the font, colours, and atomic writing.

use hadal_io::image::{Filter, Image};
use hadal_io::{IoError, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;
use std::sync::OnceLock;

/// What drawing returns.
pub(super) type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;
/// Where drawing happens.
pub(super) type Area<B> = DrawingArea<B, Shift>;

/// The name under which the font is registered, and what an SVG's viewer looks for.
const FAMILY: &str = "DejaVu Sans, Verdana, Arial, sans-serif";
static FONT: &[u8] = include_bytes!("font/sans.ttf");

/// PNGs are drawn at twice their size and averaged, since the bitmap backend smooths no thick
/// line and puts letters on whole pixels; very large ones are not, to save memory.
const SUPERSAMPLING: u32 = 2;
/// Pixels up to which a picture is supersampled.
const SUPERSAMPLED_PIXELS: u32 = 8 << 20;
/// The largest side of a picture, in pixels.
const MAX_SIDE: u32 = 8192;

/// Nearly black: text and frames.
pub(super) const INK: RGBColor = RGBColor(38, 42, 48);
/// Secondary text and axes.
pub(super) const SOFT: RGBColor = RGBColor(105, 110, 118);
/// Grid lines.
pub(super) const GRID: RGBColor = RGBColor(228, 230, 234);
/// Mistakes.
pub(super) const RED: RGBColor = RGBColor(204, 51, 51);
/// One colour a run; told apart by colour-blind readers too (Tableau 10, in an order that puts
/// the most different first).
pub(super) const COLORS: [RGBColor; 10] = [
    RGBColor(31, 119, 180),
    RGBColor(230, 115, 10),
    RGBColor(44, 150, 60),
    RGBColor(200, 40, 45),
    RGBColor(130, 90, 175),
    RGBColor(130, 80, 70),
    RGBColor(215, 105, 180),
    RGBColor(110, 110, 110),
    RGBColor(165, 165, 30),
    RGBColor(20, 170, 190),
];

/// Something to draw, on any backend.
pub(super) trait Picture {
    /// Width and height in pixels.
    fn size(&self) -> (u32, u32);
    /// Draws; all lengths are to be multiplied by `scale`.
    fn draw<B: DrawingBackend>(&self, area: &Area<B>, scale: Scale) -> Drawn<B>;
}

/// Drawn pixels per pixel of the picture.
#[derive(Clone, Copy)]
pub(super) struct Scale(pub(super) u32);

impl Scale {
    /// A length.
    pub(super) fn px(self, length: f64) -> i32 {
        (length * f64::from(self.0)).round() as i32
    }
    /// A line's style.
    pub(super) fn line(self, color: impl Color, width: f64) -> ShapeStyle {
        color.to_rgba().stroke_width(self.px(width).max(1) as u32)
    }
    /// A text's style; `size` is the height of a line in pixels.
    pub(super) fn text(self, size: f64, color: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
        let style = TextStyle::from((FAMILY, self.px(size)).into_font());
        TextStyle { color: color.to_backend_color(), pos: Pos::new(h, v), ..style }
    }
    /// Width of a text in the picture's pixels.
    pub(super) fn width_of(self, text: &str, size: f64) -> f64 {
        register();
        let font = (FAMILY, self.px(size)).into_font();
        let width = font.layout_box(text).map_or(0, |((x0, _), (x1, _))| x1 - x0);
        // A guess will do for a font that could not be used; `save` reports that.
        if width > 0 { f64::from(width) / f64::from(self.0) } else { text.len() as f64 * size * 0.5 }
    }
    /// The text, cut with an ellipsis where it is wider than `room`.
    pub(super) fn fit(self, text: &str, size: f64, room: f64) -> String {
        if self.width_of(text, size) <= room {
            return text.to_string();
        }
        let mut letters: Vec<char> = text.chars().collect();
        while !letters.is_empty() {
            letters.pop();
            let cut: String = letters.iter().chain(&['…']).collect();
            if self.width_of(&cut, size) <= room {
                return cut;
            }
        }
        String::new()
    }
}

/// The error of an argument that cannot be drawn.
pub(super) fn refuse(path: &Path, problem: impl Into<String>, hint: &'static str) -> IoError {
    IoError::Argument {
        operation: "draw",
        path: path.to_path_buf(),
        problem: problem.into(),
        hint: hint.into(),
    }
}

/// Draws a picture into a `.png` or `.svg` file.
pub(super) fn save(picture: &impl Picture, path: &Path) -> Result<()> {
    let (width, height) = picture.size();
    if width.max(height) > MAX_SIDE {
        return Err(refuse(
            path,
            format!("the picture would have {width} x {height} pixels, more than {MAX_SIDE} on a side"),
            "draw fewer things into one picture",
        ));
    }
    if !register() {
        return Err(failed(path, "it refused the built-in font"));
    }
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    match extension.as_deref() {
        Some("png") => save_png(picture, width, height, path),
        Some("svg") => save_svg(picture, width, height, path),
        _ => Err(refuse(path, "the name ends neither in .png nor in .svg", "choose one of the two")),
    }
}

fn save_png(picture: &impl Picture, width: u32, height: u32, path: &Path) -> Result<()> {
    let factor = if width * height <= SUPERSAMPLED_PIXELS { SUPERSAMPLING } else { 1 };
    let (w, h) = (width * factor, height * factor);
    let mut pixels = vec![255; w as usize * h as usize * 3];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (w, h)).into_drawing_area();
        picture
            .draw(&area, Scale(factor))
            .and_then(|()| area.present())
            .map_err(|e| failed(path, &e.to_string()))?;
    }
    // At exactly one half, the four pixels around a position are the square that becomes one,
    // equally weighted.
    Image::new(w as usize, h as usize, 3, pixels)?
        .resize(width as usize, height as usize, Filter::Bilinear)?
        .write_png(path)
}

fn save_svg(picture: &impl Picture, width: u32, height: u32, path: &Path) -> Result<()> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
        area.fill(&WHITE)
            .and_then(|()| picture.draw(&area, Scale(1)))
            .and_then(|()| area.present())
            .map_err(|e| failed(path, &e.to_string()))?;
    }
    hadal_io::write_atomic(path, |w| w.write_all(text.as_bytes()))
}

fn failed(path: &Path, problem: &str) -> IoError {
    refuse(path, format!("the drawing library failed: {problem}"), "report this with the data")
}

/// Makes the built-in font known to the drawing library, once.
fn register() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| register_font(FAMILY, FontStyle::Normal, FONT).is_ok())
}

//! Pictures of a run: curves, confusion matrix, contact sheet, roofline. Plain data in, a PNG or SVG file
//! out (by the path's extension), written atomically, the same bytes for the same data.
//!
//! The font is in the program (`font/`), since a training machine often has none.

mod canvas;
mod confusion;
mod curves;
mod roofline;
mod sheet;

#[cfg(test)]
mod tests;

pub use confusion::confusion_matrix;
pub use curves::{RunCurves, Series, curves, training_curves};
pub use roofline::{Dot, Roof, roofline};
pub use sheet::{Tile, contact_sheet};

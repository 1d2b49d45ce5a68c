//! Pictures of a finished run.

use crate::data::{DataInfo, to_image};
use crate::plot::{Tile, confusion_matrix, contact_sheet, training_curves};
use crate::run::RunFolder;
use crate::{Evaluation, Result, Run};
use hadal_data::{Dataset, SampleCtx};
use std::sync::Arc;

/// Mistakes on the sheet, and columns of it.
const MISTAKES: usize = 36;
const COLUMNS: usize = 9;

/// Draws loss and accuracy over epochs, where an epoch has ended.
pub(crate) fn curves(folder: &RunFolder) -> Result<()> {
    let curves = Run::curves(folder.root())?;
    if curves.train_loss.iter().any(|(_, y)| y.is_finite()) {
        training_curves(std::slice::from_ref(&curves), folder.picture("curves.png"))?;
        training_curves(&[curves], folder.picture("curves.svg"))?;
    }
    Ok(())
}

/// Draws the confusion matrix and the worst mistakes, where there are classes, images and mistakes.
pub(crate) fn judgement(
    folder: &RunFolder,
    info: &DataInfo,
    test: &Arc<dyn Dataset>,
    evaluation: &Evaluation,
) -> Result<()> {
    let Some(classes) = info.classes() else { return Ok(()) };
    confusion_matrix(&evaluation.confusion, classes, folder.picture("confusion.png"))?;
    let mut cx = SampleCtx::new(0, 0);
    let mut tiles = Vec::new();
    for m in evaluation.mistakes.iter().take(MISTAKES) {
        let sample = test.get(m.index, &mut cx)?;
        let Some(image) = to_image(info, &sample.input) else { return Ok(()) };
        let name = |c: usize| classes.get(c).map_or("?", String::as_str);
        let caption =
            format!("is {}, said {}\n{:.0} % sure", name(m.truth), name(m.predicted), m.confidence * 100.0);
        tiles.push(Tile { image, caption, highlight: false });
    }
    if !tiles.is_empty() {
        contact_sheet(&tiles, COLUMNS, folder.picture("mistakes.png"))?;
    }
    Ok(())
}

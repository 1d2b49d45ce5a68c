//! Recording a model's inference, and data for models that have none here.

use super::profile;
use crate::loss::tensors;
use crate::trainer::append;
use crate::{DataInfo, Input, Recorded, Result, Task, TrainData};
use hadal_data::{Array, ArrayDataset, DataLoader, Dataset};
use hadal_nn::{Ctx, Layer};
use hadal_tensor::{DType, Key, Tensor, no_grad};
use std::sync::Arc;

/// Records how `model` answers `steps` batches of this data in evaluation mode, after `warm_up` of them.
/// Reading the batches is recorded too. Data that has fewer samples is begun again.
///
/// # Errors
/// The data is empty or cannot be read, or the model cannot be computed for it.
pub fn inference(
    model: &dyn Layer,
    data: &Arc<dyn Dataset>,
    batch_size: usize,
    warm_up: u64,
    steps: u64,
) -> Result<Recorded> {
    model.name_layers();
    let dtype = model.parameters().first().map_or(DType::F32, |(_, p)| p.dtype());
    // A last, smaller batch would be no equal step; data of less than a batch is one batch.
    let loader = DataLoader::new(data.clone()).batch_size(batch_size).drop_last(data.len() >= batch_size);
    let mut recorded = Recorded { first: warm_up + 1, ..Recorded::default() };
    let mut batches = loader.epoch(0).iter();
    for step in 0..warm_up + steps {
        if batches.len() == 0 {
            batches = loader.epoch(0).iter();
        }
        let answer = || -> Result<()> {
            let Some(batch) = batches.next() else { return Ok(()) };
            let batch = batch?;
            let (x, _) = tensors(&batch, dtype);
            no_grad(|| model.forward(&x, &Ctx::eval())).eval()?;
            loader.recycle(batch);
            Ok(())
        };
        let (outcome, seen) = profile(answer);
        outcome?;
        if step >= warm_up {
            recorded.steps += 1;
            append(&mut recorded.profile, seen);
        }
    }
    Ok(recorded)
}

/// Random data of this form, where the real one is not at hand: speed does not depend on the values.
/// Labels go round the classes.
///
/// # Errors
/// No samples, or a size of 0.
pub fn random_data(info: &DataInfo, samples: usize) -> Result<TrainData> {
    let shape = match info.input {
        Input::Image { channels, height, width, .. } => vec![samples, channels, height, width],
        Input::Vector { features } => vec![samples, features],
    };
    let normal = |shape: &[usize], stream: u64| -> Result<Array> {
        let values = Tensor::randn(shape.to_vec(), DType::F32, Key::new(0).split(stream)).to_vec::<f32>()?;
        Ok(Array::f32(shape, values)?)
    };
    let targets = match &info.task {
        Task::Classification { classes } => {
            let n = classes.len().max(1);
            Array::i64(&[samples], (0..samples).map(|i| (i % n) as i64).collect())?
        }
        Task::Regression { outputs } => normal(&[samples, *outputs], 1)?,
    };
    let set: Arc<dyn Dataset> = Arc::new(ArrayDataset::new(normal(&shape, 0)?, targets)?);
    Ok(TrainData { train: set.clone(), valid: None, test: set, info: info.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hadal_nn::Init;
    use hadal_zoo::build;

    fn info() -> DataInfo {
        DataInfo {
            name: "made".into(),
            task: Task::Classification { classes: vec!["a".into(), "b".into(), "c".into()] },
            input: Input::Image {
                channels: 1,
                height: 4,
                width: 3,
                mean: vec![0.0],
                std: vec![1.0],
                dark_background: false,
                centered: false,
            },
        }
    }

    #[test]
    fn inference_is_recorded_for_whole_batches() {
        let data = random_data(&info(), 10).unwrap();
        let net = build("mlp", &data.info.model_options(&[5]), &Init::new(0)).unwrap();
        for (batch, rows) in [(4, 4), (10, 10), (64, 10)] {
            let seen = inference(net.as_ref(), &data.test, batch, 2, 7).unwrap();
            assert_eq!((seen.first, seen.steps, seen.profile.evaluations.len()), (3, 7, 7));
            let last = seen.profile.work.last().unwrap();
            assert_eq!(last.shape.dims(), [rows, 3], "batches of {batch}");
        }
        assert!(inference(net.as_ref(), &data.test, 0, 0, 1).is_err(), "a batch of nothing");
    }

    #[test]
    fn random_data_has_the_form_asked_for() {
        let data = random_data(&info(), 5).unwrap();
        let batch = DataLoader::new(data.train).batch_size(5).epoch(0).iter().next().unwrap().unwrap();
        assert_eq!(batch.inputs.shape(), [5, 1, 4, 3]);
        assert_eq!(batch.targets.as_i64().unwrap(), [0, 1, 2, 0, 1]);
        let numbers = DataInfo {
            task: Task::Regression { outputs: 2 },
            input: Input::Vector { features: 6 },
            ..info()
        };
        let data = random_data(&numbers, 3).unwrap();
        let batch = DataLoader::new(data.test).batch_size(3).epoch(0).iter().next().unwrap().unwrap();
        assert_eq!((batch.inputs.shape(), batch.targets.shape()), (&[3, 6][..], &[3, 2][..]));
    }
}

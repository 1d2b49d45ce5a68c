//! Small data and models, and what is compared of two runs.

use hadal_data::{Array, ArrayDataset, Dataset};
use hadal_nn::{Ctx, Dropout, Forward, Init, Layer, Linear, Module};
use hadal_tensor::{DType, Key, Tensor};
use hadal_train::config::Setting;
use hadal_train::metrics::Record;
use hadal_train::{Collect, Config, DataInfo, Input, Task, TrainData};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

pub const FEATURES: usize = 6;

/// A configuration of these fields, without anything written.
pub fn config(fields: &[(&str, &str)]) -> Config {
    let base =
        [("model", "mlp"), ("hidden", "12"), ("batch-size", "20"), ("epochs", "3"), ("artifacts", "false")];
    let settings: Vec<Setting> = base
        .iter()
        .chain(fields)
        .map(|(n, v)| Setting { name: n.to_string(), value: v.to_string(), place: String::new() })
        .collect();
    Config::from_settings(&settings).unwrap()
}

/// A configuration that writes into this folder.
pub fn config_in(dir: &Path, fields: &[(&str, &str)]) -> Config {
    let mut all = fields.to_vec();
    let out = dir.display().to_string();
    all.push(("out", &out));
    all.push(("artifacts", "true"));
    config(&all)
}

fn part(n: usize, seed: u64) -> Arc<dyn Dataset> {
    let x = Tensor::randn([n, FEATURES], DType::F32, Key::new(seed));
    let score =
        Tensor::stack(&[&x.narrow(1, 0, 2).sum(1), &x.narrow(1, 2, 2).sum(1), &x.narrow(1, 4, 2).sum(1)], 1);
    let labels = score.argmax(1, false).to_vec::<i64>().unwrap();
    let inputs = Array::f32(&[n, FEATURES], x.to_vec::<f32>().unwrap()).unwrap();
    Arc::new(ArrayDataset::new(inputs, Array::i64(&[n], labels).unwrap()).unwrap())
}

/// Three classes that a linear map tells apart; 210 samples to learn from, 90 to judge by.
pub fn data() -> TrainData {
    let info = DataInfo {
        name: "points".into(),
        task: Task::Classification { classes: ["a", "b", "c"].map(String::from).to_vec() },
        input: Input::Vector { features: FEATURES },
    };
    TrainData { train: part(210, 1), valid: None, test: part(90, 2), info }
}

/// A model with randomness in its forward pass.
#[derive(Module)]
pub struct Random {
    first: Linear,
    dropout: Dropout,
    second: Linear,
}

impl Random {
    pub fn boxed(config: &Config) -> Box<dyn Layer> {
        let init = Init::new(config.seed);
        Box::new(Random {
            first: Linear::new(&init, FEATURES, 16),
            dropout: Dropout::new(0.3),
            second: Linear::new(&init, 16, 3),
        })
    }
}

impl Forward for Random {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let x = self.first.forward(x, cx).relu();
        self.second.forward(&self.dropout.forward(&x, cx), cx)
    }
}

/// An observer to look at after the run.
pub fn collect() -> Rc<RefCell<Collect>> {
    Rc::new(RefCell::new(Collect::default()))
}

/// The metrics of a run folder as text, without what depends on the clock.
pub fn metrics(dir: &Path) -> Vec<String> {
    let records: Vec<Record> = hadal_io::jsonl::read(dir.join("metrics.jsonl")).unwrap();
    records
        .into_iter()
        .map(|r| match r {
            Record::Step(mut s) => {
                s.samples_per_second = 0.0;
                format!("{s:?}")
            }
            Record::Epoch(mut e) => {
                (e.samples_per_second, e.seconds, e.peak_memory_bytes) = (0.0, 0.0, 0);
                format!("{e:?}")
            }
        })
        .collect()
}

/// The final weights' file.
pub fn weights(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join("model.safetensors")).unwrap()
}

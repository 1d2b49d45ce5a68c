//! A run folder without training: the classifier of nearest class means, which a linear map is.

use hadal::data::{Dataset, Places, Split, load_named, named_set};
use hadal::nn::{Init, Module};
use hadal::train::metrics::{EpochRecord, Record};
use hadal::train::{Config, DataInfo, Input, ModelFile, Task, save_model};
use hadal::zoo::build;
use hadal::{DType, Tensor};
use std::path::Path;

/// Writes a run folder with `config.toml`, `metrics.jsonl` and `model.safetensors`. The model reaches
/// about 80 % on the digits.
pub fn write_run(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let spec = named_set("digits").unwrap();
    let set = load_named("digits", Split::Train, Places::default(), &mut |_| {}).unwrap();
    let (mean, std) = (spec.mean[0], spec.std[0]);
    let mut sums = vec![[0f64; 784]; 10];
    for i in 0..set.len() {
        let sum = &mut sums[set.labels()[i] as usize];
        for (s, &v) in sum.iter_mut().zip(set.pixels(i).unwrap()) {
            *s += f64::from((f32::from(v) / 255.0 - mean) / std);
        }
    }
    // |x - m|² is least where x·m - |m|²/2 is most. Scaled down, so that probabilities are not all 0 or 1.
    let (mut weight, mut bias) = (Vec::new(), Vec::new());
    for (sum, count) in sums.iter().zip(set.histogram()) {
        let m: Vec<f64> = sum.iter().map(|s| s / count as f64).collect();
        bias.push((-0.5 * m.iter().map(|v| v * v).sum::<f64>() * 0.05) as f32);
        weight.extend(m.iter().map(|v| (v * 0.05) as f32));
    }
    let about = ModelFile {
        model: "softmax-regression".into(),
        options: Default::default(),
        data: DataInfo {
            name: "digits".into(),
            task: Task::Classification { classes: (0..10).map(|d| d.to_string()).collect() },
            input: Input::Image {
                channels: 1,
                height: 28,
                width: 28,
                mean: vec![mean],
                std: vec![std],
                dark_background: true,
                centered: true,
            },
        },
        step: 1250,
    };
    let net = build(&about.model, &about.options, &Init::new(0).dtype(DType::F32)).unwrap();
    let names: Vec<String> = net.state_dict().into_iter().map(|(n, _)| n).collect();
    let tensors = [Tensor::from_vec(weight, [10, 784]), Tensor::from_vec(bias, [10])];
    net.load_state_dict(&names.into_iter().zip(tensors).collect::<Vec<_>>(), true).unwrap();
    save_model(&dir.join("model.safetensors"), net.as_ref(), &about).unwrap();

    let mut config = Config::default();
    config.set("model", "softmax-regression").unwrap();
    std::fs::write(dir.join("config.toml"), config.to_toml()).unwrap();
    let mut metrics = hadal::io::jsonl::JsonlWriter::create(dir.join("metrics.jsonl")).unwrap();
    for epoch in 1..=3u64 {
        let loss = 1.0 / epoch as f64;
        metrics
            .write(&Record::Epoch(EpochRecord {
                step: 125 * epoch,
                epoch,
                train_loss: loss,
                train_accuracy: Some(1.0 - loss / 2.0),
                valid_loss: None,
                valid_accuracy: None,
                test_loss: Some(loss + 0.1),
                test_accuracy: Some(0.9 - loss / 2.0),
                lr: 0.1,
                seconds: 1.0,
                samples_per_second: 8000.0,
                peak_memory_bytes: 1 << 20,
            }))
            .unwrap();
    }
    metrics.sync().unwrap();
}

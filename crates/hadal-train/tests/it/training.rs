//! The loop does what it says.

use crate::support::*;
use hadal_train::{Collect, Control, EpochRecord, Observer, Run, Status, Trainer};

fn run(fields: &[(&str, &str)]) -> (hadal_train::Summary, Collect) {
    let seen = collect();
    let mut trainer = Trainer::with_data(config(fields), data()).unwrap();
    trainer.observe(seen.clone());
    let summary = trainer.run().unwrap();
    let seen = seen.borrow().clone();
    (summary, seen)
}

#[test]
fn it_learns() {
    let (summary, seen) = run(&[("epochs", "20"), ("lr", "0.03")]);
    assert!(summary.test_accuracy.unwrap() > 0.9, "{summary:?}");
    assert_eq!(
        (summary.status, summary.steps, seen.steps.len(), seen.epochs.len()),
        (Status::Finished, 220, 220, 20)
    );
    let last = seen.epochs.last().unwrap();
    assert_eq!((last.test_loss, last.test_accuracy), (summary.test_loss, summary.test_accuracy));
    assert!(seen.steps.iter().all(|s| s.grad_norm > 0.0 && s.lr > 0.0 && s.samples_per_second > 0.0));
    assert!(last.train_loss < seen.epochs[0].train_loss);
}

#[test]
fn two_runs_of_one_seed_are_the_same() {
    let losses = |seed: &str| run(&[("seed", seed)]).1.steps.iter().map(|s| s.loss).collect::<Vec<_>>();
    assert_eq!(losses("4"), losses("4"));
    assert_ne!(losses("4"), losses("5"));
}

#[test]
fn accumulated_batches_are_one_large_batch() {
    let base =
        [("optimizer", "sgd"), ("lr", "0.1"), ("schedule", "constant"), ("dtype", "f64"), ("epochs", "2")];
    let with = |batch: &'static str, accumulate: &'static str, clip: bool| {
        let mut fields = base.to_vec();
        fields.extend([("batch-size", batch), ("accumulate", accumulate)]);
        if clip {
            fields.push(("clip-norm", "0.1"));
        }
        run(&fields).1
    };
    for clip in [false, true] {
        // 210 = 5 · 40 + 10: the last update has one small batch.
        let (large, small) = (with("40", "1", clip), with("10", "4", clip));
        assert_eq!(large.steps.len(), small.steps.len());
        for (a, b) in large.steps.iter().zip(&small.steps) {
            assert!(
                (a.loss - b.loss).abs() < 1e-12 && (a.grad_norm - b.grad_norm).abs() < 1e-12,
                "{a:?} {b:?}"
            );
            assert_eq!(a.accuracy, b.accuracy);
        }
    }
}

#[test]
fn clipping_bounds_the_update() {
    let update = |fields: &[(&str, &str)]| {
        let mut all = vec![("optimizer", "sgd"), ("lr", "1"), ("schedule", "constant"), ("max-steps", "1")];
        all.extend(fields);
        let mut trainer = Trainer::with_data(config(&all), data()).unwrap();
        let before = trainer.model().state_dict();
        trainer.run().unwrap();
        let after = trainer.model().state_dict();
        let moved = before.iter().zip(&after).flat_map(|((_, a), (_, b))| (a - b).to_vec::<f32>().unwrap());
        moved.collect::<Vec<f32>>()
    };
    let norm = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let free = update(&[]);
    assert!(norm(&free) > 0.1);
    assert!((norm(&update(&[("clip-norm", "0.05")])) - 0.05).abs() < 1e-4);
    let cut = update(&[("clip-value", "0.01")]);
    assert!(cut.iter().all(|x| x.abs() <= 0.0101) && cut.iter().any(|x| x.abs() > 0.0099));
}

#[test]
fn early_stopping_keeps_the_best_weights() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let config = config_in(
        &out,
        &[
            ("early-stop", "3"),
            ("epochs", "60"),
            ("lr", "0.5"),
            ("schedule", "constant"),
            ("valid-fraction", "0.3"),
        ],
    );
    let mut all = data();
    // The validation part is cut from the training part by the loader of named sets; here by hand.
    all.valid = Some(all.test.clone());
    let seen = collect();
    let mut trainer = Trainer::with_data(config, all).unwrap();
    trainer.observe(seen.clone());
    let summary = trainer.run().unwrap();
    assert_eq!(summary.status, Status::EarlyStopped, "{summary:?}");
    let losses: Vec<f64> = seen.borrow().epochs.iter().map(|e| e.valid_loss.unwrap()).collect();
    let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(losses.iter().position(|l| *l == best), Some(losses.len() - 4), "{losses:?}");
    // Validation and test are the same here.
    assert_eq!(summary.test_loss, Some(best));
    assert!(seen.borrow().epochs[0].test_loss.is_none());
}

#[test]
fn plateau_and_schedules_move_the_rate() {
    let rates = |fields: &[(&str, &str)]| run(fields).1.epochs.iter().map(|e| e.lr).collect::<Vec<_>>();
    let plateau =
        rates(&[("schedule", "plateau"), ("plateau-patience", "0"), ("epochs", "30"), ("lr", "0.5")]);
    assert!(plateau[0] == 0.5 && *plateau.last().unwrap() < 0.1, "{plateau:?}");
    let cosine = rates(&[("schedule", "cosine")]);
    assert!(cosine[0] > cosine[1] && cosine[1] > cosine[2] && cosine[2] < 1e-3, "{cosine:?}");
}

#[test]
fn averages_are_evaluated_and_saved_but_not_trained_on() {
    let plain = run(&[]).1;
    let ema = run(&[("ema", "0.9")]).1;
    let losses = |c: &Collect| c.steps.iter().map(|s| s.loss).collect::<Vec<_>>();
    assert_eq!(losses(&plain), losses(&ema));
    assert_ne!(plain.epochs[0].test_loss, ema.epochs[0].test_loss);
}

/// Stops after the first epoch.
struct One;
impl Observer for One {
    fn on_epoch(&mut self, _: &EpochRecord) -> Control {
        Control::Stop
    }
}

#[test]
fn observers_can_stop_a_run() {
    let mut trainer = Trainer::with_data(config(&[]), data()).unwrap();
    trainer.observe(One);
    let summary = trainer.run().unwrap();
    assert_eq!((summary.status, summary.epochs), (Status::Stopped, 1));
    assert!(summary.test_loss.is_some());
    let (summary, _) = run(&[("max-steps", "13")]);
    assert_eq!((summary.status, summary.steps, summary.epochs), (Status::MaxSteps, 13, 1));
}

#[test]
fn a_run_folder_holds_everything_and_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let mut config = config_in(&out, &[("model", "softmax-regression"), ("data", "digits"), ("lr", "0.005")]);
    config.epochs = 1;
    let mut trainer = Trainer::new(config.clone()).unwrap();
    let summary = trainer.run().unwrap();
    assert!(summary.test_accuracy.unwrap() > 0.8, "{summary:?}");
    let files = [
        "config.toml",
        "metrics.jsonl",
        "model.json",
        "model.safetensors",
        "result.json",
        "curves.png",
        "curves.svg",
        "confusion.png",
        "mistakes.png",
    ];
    for f in files {
        assert!(out.join(f).is_file(), "{f}");
    }
    let run = Run::open(&out).unwrap();
    assert_eq!(run.about().data.classes().unwrap().len(), 10);
    let e = run.evaluate(None, &Default::default(), 300, &mut |_| {}).unwrap();
    assert_eq!((Some(e.loss), e.accuracy), (summary.test_loss, summary.test_accuracy));
    assert_eq!(e.confusion.iter().flatten().sum::<u64>(), 2000);
    assert_eq!(e.mistakes.len(), 2000 - e.correct);
    assert!(e.mistakes.windows(2).all(|m| m[0].loss >= m[1].loss));
    let recall = e.per_class()[3].unwrap();
    assert!((recall - e.confusion[3][3] as f64 / e.confusion[3].iter().sum::<u64>() as f64).abs() < 1e-12);
    // The weights file alone is enough.
    let moved = dir.path().join("elsewhere.safetensors");
    std::fs::copy(out.join("model.safetensors"), &moved).unwrap();
    let alone = Run::open(&moved).unwrap();
    assert!(alone.config().is_none());
    let again = alone.evaluate(Some("digits"), &Default::default(), 256, &mut |_| {}).unwrap();
    assert_eq!(again.correct, e.correct);
    let e = alone.evaluate(Some("cifar10"), &Default::default(), 256, &mut |_| {}).unwrap_err().to_string();
    assert!(e.contains("its images are [3, 32, 32], the model takes [1, 28, 28]"), "{e}");
    // What is saved of the configuration trains again, elsewhere.
    let saved = hadal_train::Config::read(&out.join("config.toml")).unwrap();
    assert_eq!(saved, hadal_train::Config { out: None, ..config });
    assert_eq!(Run::curves(&out).unwrap().test_accuracy, [(1.0, summary.test_accuracy.unwrap())]);
}

#[test]
fn linear_regression_finds_the_line() {
    let fields = [("model", "linear-regression"), ("optimizer", "sgd"), ("data", "linear"), ("lr", "0.03")];
    let mut trainer =
        Trainer::new(config(&[&fields[..], &[("schedule", "constant"), ("epochs", "20")]].concat())).unwrap();
    let summary = trainer.run().unwrap();
    assert!(summary.test_loss.unwrap() < 2e-4 && summary.test_accuracy.is_none(), "{summary:?}");
    let values: Vec<f32> =
        trainer.model().state_dict().iter().flat_map(|(_, t)| t.to_vec::<f32>().unwrap()).collect();
    // d2l 3.3's weights and bias.
    for (v, truth) in values.iter().zip([2.0, -3.4, 4.2]) {
        assert!((v - truth).abs() < 0.01, "{values:?}");
    }
}

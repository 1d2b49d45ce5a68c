//! A run that stops and is resumed ends in the same bits as one that never stopped.

use crate::support::*;
use hadal_train::checkpoint::{self, Checkpoint};
use hadal_train::config::Setting;
use hadal_train::{Config, Control, Observer, Status, StepRecord, StopHandle, Summary, Trainer};
use std::path::Path;

/// Asks to stop at a step.
struct StopAt(u64, StopHandle);
impl Observer for StopAt {
    fn on_step(&mut self, step: &StepRecord) -> Control {
        if step.step == self.0 {
            self.1.stop();
        }
        Control::Continue
    }
}

fn run_until(mut trainer: Trainer, step: u64) -> Summary {
    let handle = trainer.stop_handle();
    trainer.observe(StopAt(step, handle));
    trainer.run().unwrap()
}

/// Trains straight, and with a stop at each of these steps; both must agree.
fn check(fields: &[(&str, &str)], stops: &[u64], random: bool) {
    let make = |config: Config| {
        if random {
            let model = Random::boxed(&config);
            Trainer::with_model(config, model, data()).unwrap()
        } else {
            Trainer::with_data(config, data()).unwrap()
        }
    };
    let resume = |dir: &Path| {
        let config = Trainer::resume_config(dir, &[]).unwrap();
        if random {
            let model = Random::boxed(&config);
            Trainer::resume_model(config, model, data()).unwrap()
        } else {
            Trainer::resume_with(config, data()).unwrap()
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let (straight, stopped) = (dir.path().join("straight"), dir.path().join("stopped"));
    let a = make(config_in(&straight, fields)).run().unwrap();
    assert!(matches!(a.status, Status::Finished | Status::EarlyStopped), "{a:?}");

    let mut summary = run_until(make(config_in(&stopped, fields)), stops[0]);
    for &stop in &stops[1..] {
        assert_eq!(
            (summary.status, summary.test_loss),
            (Status::Interrupted, None),
            "{fields:?} before {stop}"
        );
        summary = run_until(resume(&stopped), stop);
    }
    if summary.status == Status::Interrupted {
        summary = resume(&stopped).run().unwrap();
    }
    assert_eq!(weights(&straight), weights(&stopped), "{fields:?}");
    assert_eq!(metrics(&straight), metrics(&stopped), "{fields:?}");
    assert_eq!(
        (a.status, a.steps, a.epochs, a.test_loss, a.test_accuracy),
        (summary.status, summary.steps, summary.epochs, summary.test_loss, summary.test_accuracy)
    );
    // TensorBoard is told each step once.
    let mut points: Vec<(String, i64)> =
        hadal_io::tensorboard::read_scalars(&stopped).unwrap().into_iter().map(|p| (p.tag, p.step)).collect();
    let all = points.len();
    points.sort();
    points.dedup();
    assert_eq!(points.len(), all);
    let losses = points.iter().filter(|(tag, _)| tag == "train/loss").count();
    assert_eq!(losses as u64, a.steps);
}

#[test]
fn in_the_middle_of_epochs_and_at_their_ends() {
    // 11 steps an epoch.
    check(&[], &[1, 5, 11, 12, 21, 22, 32, 33], false);
}

#[test]
fn with_everything_that_has_state() {
    for optimizer in ["sgd", "nadam", "rmsprop"] {
        let fields = [
            ("optimizer", optimizer),
            ("lr", "0.01"),
            ("momentum", "0.9"),
            ("accumulate", "3"),
            ("ema", "0.9"),
            ("clip-norm", "0.5"),
            ("label-smoothing", "0.1"),
            ("schedule", "plateau"),
            ("plateau-patience", "0"),
            ("warmup", "3"),
            ("workers", "2"),
            ("epochs", "4"),
        ];
        // 4 updates an epoch, the last of two batches.
        check(&fields, &[2, 3, 7, 8, 13], false);
    }
}

#[test]
fn with_dropout() {
    check(&[("optimizer", "adam"), ("amsgrad", "true"), ("checkpoint-every", "2")], &[3, 18], true);
}

#[test]
fn with_early_stopping() {
    // A rate so high that the loss soon rises.
    let fields = [("early-stop", "2"), ("epochs", "40"), ("lr", "0.3"), ("schedule", "constant")];
    check(&fields, &[4, 30], false);
}

#[test]
fn threads_and_workers_do_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str, threads: &str, workers: &str| {
        let out = dir.path().join(name);
        // Real images, real augmentation, convolutions.
        let mut config = config_in(&out, &[("model", "lenet"), ("threads", threads), ("workers", workers)]);
        (config.max_steps, config.evaluate) = (Some(4), false);
        Trainer::new(config).unwrap().run().unwrap();
        hadal_tensor::set_threads(2);
        (weights(&out), metrics(&out))
    };
    let one = run("a", "1", "0");
    assert!(one == run("b", "2", "0"), "threads change the result");
    assert!(one == run("c", "2", "3"), "workers change the result");
}

#[test]
fn a_finished_run_is_only_resumed_for_more() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let fields = [("schedule", "constant")];
    Trainer::with_data(config_in(&out, &fields), data()).unwrap().run().unwrap();
    let resume = |changes: &[Setting]| Trainer::resume_with(Trainer::resume_config(&out, changes)?, data());
    let e = resume(&[]).err().unwrap().to_string();
    assert!(e.contains("the run is complete after 3 epochs and 33 steps; give more with --epochs"), "{e}");
    let change =
        |name: &str, value: &str| Setting { name: name.into(), value: value.into(), place: "--".into() };
    let e = resume(&[change("lr", "1")]).err().unwrap().to_string();
    assert!(e.starts_with("--lr cannot change when a run is resumed; possible are epochs, "), "{e}");
    resume(&[change("epochs", "5")]).unwrap().run().unwrap();
    // The same as five epochs at once, since this schedule does not look at the end.
    let whole = dir.path().join("whole");
    let five = config_in(&whole, &[("schedule", "constant"), ("epochs", "5")]);
    Trainer::with_data(five, data()).unwrap().run().unwrap();
    assert_eq!((weights(&out), metrics(&out)), (weights(&whole), metrics(&whole)));
}

#[test]
fn the_latest_checkpoint_that_can_be_read_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (out, whole) = (dir.path().join("run"), dir.path().join("whole"));
    let fields = [("checkpoint-every", "3"), ("keep-checkpoints", "3")];
    Trainer::with_data(config_in(&whole, &fields), data()).unwrap().run().unwrap();
    run_until(Trainer::with_data(config_in(&out, &fields), data()).unwrap(), 17);
    let found = checkpoint::list(&out.join("checkpoints")).unwrap();
    assert_eq!(found.iter().map(|(s, _)| *s).collect::<Vec<_>>(), [17, 15, 12]);
    // Half a file, as no crash of ours leaves it, and what a killed writer leaves.
    let bytes = std::fs::read(&found[0].1).unwrap();
    std::fs::write(&found[0].1, &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(out.join("checkpoints/.step-0000000018.safetensors.1.0.tmp"), b"half").unwrap();
    let seen = collect();
    let mut trainer = Trainer::resume_with(Trainer::resume_config(&out, &[]).unwrap(), data()).unwrap();
    trainer.observe(seen.clone());
    trainer.run().unwrap();
    assert!(
        seen.borrow().notes[0].starts_with("skipped a checkpoint: cannot read"),
        "{:?}",
        seen.borrow().notes
    );
    assert_eq!(seen.borrow().steps[0].step, 16);
    assert_eq!((weights(&out), metrics(&out)), (weights(&whole), metrics(&whole)));
    assert!(!out.join("checkpoints/.step-0000000018.safetensors.1.0.tmp").exists());
}

#[test]
fn numbers_of_a_checkpoint_survive_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let fields = [("optimizer", "nadam"), ("schedule", "plateau")];
    run_until(Trainer::with_data(config_in(&out, &fields), data()).unwrap(), 17);
    let (_, path) = checkpoint::list(&out.join("checkpoints")).unwrap().remove(0);
    let c = Checkpoint::read(&path).unwrap();
    let again = Checkpoint::read(&c.write(dir.path()).unwrap()).unwrap();
    assert_eq!(c.progress, again.progress);
    assert_eq!(c.optimizer.numbers, again.optimizer.numbers);
    assert!(c.optimizer.numbers.values().all(|(steps, product)| *steps == 17 && *product < 1.0));
    assert_eq!(
        std::fs::read(&path).unwrap(),
        std::fs::read(dir.path().join(path.file_name().unwrap())).unwrap()
    );
}

#[test]
fn checkpoints_of_something_else_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    run_until(Trainer::with_data(config_in(&out, &[]), data()).unwrap(), 7);
    let checkpoints = out.join("checkpoints");
    let path = checkpoint::list(&checkpoints).unwrap().remove(0).1;
    let good = Checkpoint::read(&path).unwrap();
    let resume = || {
        let config = Trainer::resume_config(&out, &[]).unwrap();
        Trainer::resume_with(config, data()).and_then(|mut t| t.run()).unwrap_err().to_string()
    };
    let small = hadal_tensor::Tensor::zeros([1], hadal_tensor::DType::F32);
    let mut c = good.clone();
    c.optimizer.tensors[0].1 = small.clone();
    c.write(&checkpoints).unwrap();
    assert!(resume().contains("belongs to no parameter of this model"));
    let mut c = good.clone();
    c.model[0].1 = small;
    c.write(&checkpoints).unwrap();
    assert!(resume().contains("misshapen: layers.0.weight"));
    let mut c = good.clone();
    c.optimizer.rule = "Lion".into();
    c.write(&checkpoints).unwrap();
    assert!(resume().contains("the state is of Lion, this optimizer is AdamW"));
    let mut c = good;
    c.progress.position.as_mut().unwrap().batch_index = u64::MAX;
    c.write(&checkpoints).unwrap();
    assert!(resume().contains("batch index"));
    std::fs::copy(out.join("config.toml"), &path).unwrap();
    assert!(resume().contains("cannot read safetensors file"));
}

#[test]
fn a_schedule_that_is_stretched_is_noted() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    Trainer::with_data(config_in(&out, &[]), data()).unwrap().run().unwrap();
    let more = Setting { name: "epochs".into(), value: "4".into(), place: String::new() };
    let seen = collect();
    let mut trainer = Trainer::resume_with(Trainer::resume_config(&out, &[more]).unwrap(), data()).unwrap();
    trainer.observe(seen.clone());
    trainer.run().unwrap();
    assert_eq!(
        seen.borrow().notes,
        ["the one-cycle schedule now ends after 4 epochs, not 3: the learning rate jumps"]
    );
    assert_eq!(seen.borrow().epochs.len(), 1);
}

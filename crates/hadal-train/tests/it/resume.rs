//! A run that stops and is resumed ends in the same bits as one that never stopped.

use crate::support::*;
use hadal_train::checkpoint::{self, Checkpoint};
use hadal_train::config::Setting;
use hadal_train::{Config, Control, Observer, Run, Status, StepRecord, StopHandle, Summary, Trainer};
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

fn change(name: &str, value: &str) -> Setting {
    Setting { name: name.into(), value: value.into(), place: "--".into() }
}

/// A file with one byte changed.
fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_byte_is_noticed_and_the_checkpoint_before_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (out, whole) = (dir.path().join("run"), dir.path().join("whole"));
    let fields = [("checkpoint-every", "3"), ("keep-checkpoints", "2"), ("ema", "0.9"), ("early-stop", "9")];
    Trainer::with_data(config_in(&whole, &fields), data()).unwrap().run().unwrap();
    run_until(Trainer::with_data(config_in(&out, &fields), data()).unwrap(), 17);
    let found = checkpoint::list(&out.join("checkpoints")).unwrap();
    let [(17, last), (15, before)] = &found[..] else { panic!("{found:?}") };
    // In the numbers, in the description, in each kind of tensor: wherever it is.
    let good = std::fs::read(last).unwrap();
    let step = good.len() / 97;
    for at in (8..good.len()).step_by(step).chain([good.len() - 1]) {
        flip(last, at);
        let e = Checkpoint::read(last).err().unwrap_or_else(|| panic!("byte {at} is not missed")).to_string();
        assert!(e.contains("step-0000000017.safetensors: "), "{e}");
        flip(last, at);
    }
    assert_eq!(std::fs::read(last).unwrap(), good);
    flip(last, good.len() - 40);

    // Opening to use the model says so too, and takes the one before.
    let run = Run::open(&out).unwrap();
    assert_eq!((run.about().step, run.source()), (15, before.as_path()));
    assert!(run.notes()[0].contains("its content is not what was written"), "{:?}", run.notes());
    assert!(run.notes()[0].ends_with("going on from the one before, of step 15"), "{:?}", run.notes());
    let e = Run::open(last).err().unwrap().to_string();
    assert!(e.contains("step-0000000017.safetensors: its content is not what was written"), "{e}");
    assert_eq!(Run::open(before).unwrap().about().step, 15);

    let seen = collect();
    let mut trainer = Trainer::resume_with(Trainer::resume_config(&out, &[]).unwrap(), data()).unwrap();
    trainer.observe(seen.clone());
    let summary = trainer.run().unwrap();
    drop(trainer);
    let notes = seen.borrow().notes.clone();
    assert!(notes[0].contains("take an earlier checkpoint or a backup"), "{notes:?}");
    assert!(notes[0].ends_with("going on from the one before, of step 15"), "{notes:?}");
    assert_eq!(seen.borrow().steps[0].step, 16);
    assert_eq!((weights(&out), metrics(&out)), (weights(&whole), metrics(&whole)));
    // The damaged file does not count among those that are kept, and does not come back.
    assert!(out.join("checkpoints/step-0000000017.safetensors.damaged").is_file());

    // Damaged final weights: the last checkpoint has the same.
    let model = out.join("model.safetensors");
    flip(&model, 300);
    let run = Run::open(&out).unwrap();
    assert!(run.notes()[0].contains("model.safetensors: "), "{:?}", run.notes());
    assert!(run.notes()[0].ends_with("using the run's last checkpoint, of step 33"), "{:?}", run.notes());
    let again = hadal_train::evaluate(run.model(), &data().test, &run.about().data.task, 500).unwrap();
    assert_eq!(Some(again.loss), summary.test_loss);
    let e = hadal_train::load_model(&model).err().unwrap().to_string();
    assert!(e.contains("model.safetensors: "), "{e}");

    // Nothing to fall back on.
    for (_, path) in checkpoint::list(&out.join("checkpoints")).unwrap() {
        flip(&path, 5000);
    }
    assert!(Run::open(&out).err().unwrap().to_string().contains("model.safetensors"));
    let more = Trainer::resume_config(&out, &[change("epochs", "4")]).unwrap();
    let e = Trainer::resume_with(more, data()).err().unwrap().to_string();
    assert!(e.contains("none of the 2 checkpoints can be read; restore one from a backup"), "{e}");
    assert!(model.is_file() && out.join("result.json").is_file(), "a failed resume takes nothing away");
}

#[test]
fn a_file_that_cannot_be_read_does_not_push_out_a_new_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let fields = [("keep-checkpoints", "2"), ("checkpoint-every", "1")];
    run_until(Trainer::with_data(config_in(&out, &fields), data()).unwrap(), 9);
    let folder = out.join("checkpoints");
    let last = checkpoint::list(&folder).unwrap().remove(0).1;
    flip(&last, 1000);
    let resumed = Trainer::resume_config(&out, &[change("keep-checkpoints", "1")]).unwrap();
    run_until(Trainer::resume_with(resumed, data()).unwrap(), 9);
    assert_eq!(checkpoint::latest(&folder).unwrap().0.unwrap().progress.step, 9);
    // Also when it could not be set aside.
    let c = Checkpoint::read(&last).unwrap();
    std::fs::write(folder.join("step-0000000020.safetensors"), b"no checkpoint").unwrap();
    c.write(&folder).unwrap();
    checkpoint::prune(&folder, 1, 9).unwrap();
    assert_eq!(checkpoint::latest(&folder).unwrap().0.unwrap().progress.step, 9);
}

#[test]
fn checkpoints_without_a_digest_still_load() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    run_until(Trainer::with_data(config_in(&out, &[]), data()).unwrap(), 7);
    let path = checkpoint::list(&out.join("checkpoints")).unwrap().remove(0).1;
    // As they were written before: neither digest nor the model's description.
    let file = hadal_io::safetensors::read(&path).unwrap();
    let metadata = file.metadata.into_iter().filter(|(k, _)| k == "hadal-checkpoint").collect();
    let tensors: Vec<_> = file.tensors.iter().map(|(n, t)| (n.as_str(), t.view())).collect();
    hadal_io::safetensors::write(&path, &tensors, &metadata).unwrap();
    assert_eq!(Run::open(&out).unwrap().about().step, 7);
    Trainer::resume_with(Trainer::resume_config(&out, &[]).unwrap(), data()).unwrap().run().unwrap();
    let whole = dir.path().join("whole");
    Trainer::with_data(config_in(&whole, &[]), data()).unwrap().run().unwrap();
    assert_eq!(weights(&out), weights(&whole));
}

#[test]
fn a_run_that_stopped_early_goes_on_with_more_patience() {
    let dir = tempfile::tempdir().unwrap();
    // A rate so high that the loss soon rises, and falls again later.
    let base = [("epochs", "14"), ("lr", "0.3"), ("schedule", "constant")];
    let fields = |patience: Option<&'static str>| {
        let mut f = base.to_vec();
        f.extend(patience.map(|p| ("early-stop", p)));
        f
    };
    let run = |name: &str, patience| {
        let out = dir.path().join(name);
        let summary = Trainer::with_data(config_in(&out, &fields(patience)), data()).unwrap().run().unwrap();
        (out, summary)
    };
    let resume = |out: &Path, changes: &[Setting]| {
        Trainer::resume_with(Trainer::resume_config(out, changes)?, data())?.run()
    };
    let (out, first) = run("one", Some("1"));
    assert_eq!(first.status, Status::EarlyStopped);
    let refused = |changes: &[Setting]| resume(&out, changes).unwrap_err().to_string();
    let e = refused(&[change("epochs", "50")]);
    assert!(
        e.contains("stopped early after")
            && e.contains("larger --early-stop than 1, or with --early-stop none"),
        "{e}"
    );
    // More patience, and then none: each time as if the run had been so from the start.
    for patience in [Some("3"), None] {
        let (straight, b) = run(patience.unwrap_or("none"), patience);
        let a = resume(&out, &[change("early-stop", patience.unwrap_or("none"))]).unwrap();
        assert!(a.steps > first.steps, "{a:?}");
        assert_eq!((a.status, a.steps, a.test_loss), (b.status, b.steps, b.test_loss));
        assert_eq!((weights(&out), metrics(&out)), (weights(&straight), metrics(&straight)), "{patience:?}");
    }
    // Epochs that nobody judged cannot be judged later.
    let e = refused(&[change("early-stop", "2"), change("epochs", "20")]);
    assert!(e.contains("early-stop: is none in this run, and can only become larger or none"), "{e}");
    let (out, _) = run("two", Some("2"));
    let e = resume(&out, &[change("early-stop", "1")]).unwrap_err().to_string();
    assert!(e.contains("early-stop: is 2 in this run") && e.contains("not 1"), "{e}");
}

//! `hadal train`: what it prints, writes and ends with.

mod common;

use common::{finish, hadal, ok, run_in, text};
use serde_json::Value;
use std::path::Path;

const QUICK: &[&str] = &["train", "--model=softmax-regression", "--epochs=1", "--batch-size=200"];

fn train<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [QUICK, more].concat()
}

#[test]
fn json_is_one_object_a_line_and_the_last_has_the_result() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let said = ok(&train(&["--json", "--out", text(&out), "--log-every=10"]));
    let lines: Vec<Value> = said.lines().map(|l| serde_json::from_str(l).expect(l)).collect();
    let events: Vec<&str> = lines.iter().map(|l| l["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["start", "step", "step", "step", "step", "epoch", "checkpoint", "end"]);
    assert_eq!((&lines[0]["parameters"], &lines[0]["total_steps"]), (&7850.into(), &40.into()));
    let last = &lines[7];
    assert!(last["test_accuracy"].as_f64().unwrap() > 0.8, "{last}");
    assert!(last["test_loss"].as_f64().unwrap() < 1.0 && last["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(last["run"], text(&out));
    // The same lines are in the folder.
    let metrics = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 5);
    assert!(said.contains(metrics.lines().next().unwrap()));
}

#[test]
fn lines_for_people_fit_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let said = run_in(dir.path(), &train(&["--threads=1", "--seed=7"]));
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    common::assert_narrow(&said.out);
    let mut lines = said.out.lines();
    assert_eq!(lines.next(), Some("model  softmax-regression, 7,850 parameters"));
    assert_eq!(
        lines.next(),
        Some("data   digits: 8,000 to learn from, 2,000 to test, 28 x 28 grey, 10 classes")
    );
    assert_eq!(lines.next(), Some("train  adamw, batch 200, lr 0.005 one-cycle"));
    assert_eq!(lines.next(), Some("device cpu, 1 thread, seed 7"));
    let run = lines.next().unwrap().strip_prefix("run    ").unwrap();
    assert!(run.starts_with("runs/softmax-regression-2"), "{run}");
    assert!(dir.path().join(run).join("model.safetensors").is_file());
    assert_eq!(lines.next(), Some(""));
    assert!(lines.next().unwrap().starts_with("epoch 1/1  loss "), "{}", said.out);
    assert!(said.out.contains("\ntest accuracy ") && said.out.contains("use them: hadal predict runs/"));
    // In the same second, in the same folder: another run.
    assert_eq!(run_in(dir.path(), &train(&["--quiet"])).out, "");
    assert_eq!(std::fs::read_dir(dir.path().join("runs")).unwrap().count(), 2);
}

#[test]
fn a_file_is_overridden_by_flags() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.toml");
    std::fs::write(
        &file,
        "model = \"mlp\"\nhidden = [8, 4]\nepochs = 3\nnesterov = true\noptimizer = \"sgd\"\n",
    )
    .unwrap();
    let out = dir.path().join("run");
    let args = [
        "train",
        "--config",
        text(&file),
        "--epochs",
        "1",
        "--nesterov=false",
        "--max-steps",
        "3",
        "--quiet",
    ];
    assert_eq!(ok(&[&args[..], &["--out", text(&out)]].concat()), "");
    let config = hadal::train::Config::read(&out.join("config.toml")).unwrap();
    assert_eq!((config.hidden, config.epochs, config.nesterov), (vec![8, 4], 1, false));
    // What a run wrote starts another.
    let (again, other) = (out.join("config.toml"), dir.path().join("other"));
    ok(&["train", "--config", text(&again), "--out", text(&other), "--quiet"]);
    let weights = |d: &Path| std::fs::read(d.join("model.safetensors")).unwrap();
    assert!(weights(&out) == weights(&other));
}

#[test]
fn divergence_has_its_own_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let args =
        ["train", "--model", "linear-regression", "--lr", "1e8", "--out", "run", "--batch-size", "100"];
    let said = run_in(dir.path(), &args);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.out.contains("lr 100000000.0 constant"), "{}", said.out);
    let huge = run_in(dir.path(), &train(&["--lr=1e300", "--no-artifacts"]));
    assert!(huge.code == Some(3) && huge.out.contains("lr 1e300 one-cycle"), "{huge:?}");
    common::assert_narrow(&huge.out);
    let e = &said.err;
    assert!(e.starts_with("error: training diverged at step ") && e.contains("epoch 1): loss "), "{e}");
    assert!(e.contains("the first operation to blame:") && e.contains("Try a lower --lr"), "{e}");
    assert!(
        dir.path().join("run/config.toml").is_file() && !dir.path().join("run/model.safetensors").exists()
    );
}

#[test]
fn json_ends_with_an_object_when_the_run_fails() {
    let dir = tempfile::tempdir().unwrap();
    let last = |args: &[&str], code: i32| -> Value {
        let said = run_in(dir.path(), args);
        assert_eq!(said.code, Some(code), "{said:?}");
        serde_json::from_str(said.out.lines().last().unwrap()).unwrap()
    };
    let v = last(&["train", "--model=linear-regression", "--lr=1e8", "--no-artifacts", "--json"], 3);
    assert_eq!((&v["event"], &v["status"]), (&"end".into(), &"diverged".into()));
    assert!(v["error"].as_str().unwrap().starts_with("training diverged at step "), "{v}");
    let v = last(&train(&["--data=mnist", "--data-dir=nowhere", "--json"]), 1);
    assert_eq!((&v["event"], &v["status"]), (&"end".into(), &"failed".into()));
    assert!(v["error"].as_str().unwrap().contains("nowhere"), "{v}");
}

#[test]
#[cfg(target_os = "linux")]
fn json_that_cannot_be_written_is_told() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let said = finish(hadal(&train(&["--no-artifacts", "--max-steps=2", "--json"])).stdout(full));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(said.err, "error: cannot write to standard output: No space left on device (os error 28)\n");
}

#[test]
fn a_run_is_described_and_its_files_end_as_text_does() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--max-steps=2", "--valid-fraction=0.07", "--no-evaluate", "--out=run"];
    let said = run_in(dir.path(), &train(&args));
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    assert!(said.out.contains("7,440 to learn from"), "{}", said.out);
    assert!(said.out.contains("\nvalid  7 % of the training data, held out"), "{}", said.out);
    let guide = std::fs::read_to_string(common::root().join("docs/guide/07-command-line.md")).unwrap();
    for entry in std::fs::read_dir(dir.path().join("run")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let listed = name.split(".tfevents").next().unwrap();
        assert!(guide.contains(&format!("\n| `{listed}")), "{name} is not in the guide's table");
        if name.ends_with(".json") || name.ends_with(".toml") || name.ends_with(".jsonl") {
            assert!(std::fs::read_to_string(&path).unwrap().ends_with('\n'), "{name}");
        }
    }
}

/// The folder's name may be anything; what is printed can be copied into a shell.
#[test]
fn a_name_with_spaces_is_quoted_where_it_is_to_be_copied() {
    let dir = tempfile::tempdir().unwrap();
    let said = run_in(dir.path(), &train(&["--max-steps=1", "--no-evaluate", "--out=mein erster Lauf ü"]));
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    assert!(said.out.contains("use them: hadal predict 'mein erster Lauf ü' IMAGE.png"), "{}", said.out);
}

/// A checkpoint is used like the run it is of.
#[test]
fn a_checkpoint_is_evaluated() {
    let dir = tempfile::tempdir().unwrap();
    let said = run_in(dir.path(), &train(&["--quiet", "--out=run", "--checkpoint-every=20"]));
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    let eval = |what: &str| -> Value {
        let said = run_in(dir.path(), &["eval", what, "--json"]);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
        serde_json::from_str(&said.out).unwrap()
    };
    let checkpoint = |step: u32| format!("run/checkpoints/step-{step:010}.safetensors");
    let (end, last, earlier) = (eval("run"), eval(&checkpoint(40)), eval(&checkpoint(20)));
    assert_eq!(end["test_loss"], last["test_loss"]);
    assert_ne!(end["test_loss"], earlier["test_loss"]);
}

#[test]
fn switches_go_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::write(d.join("off.toml"), "evaluate = false\nartifacts = false\ndecay_vectors = false\n")
        .unwrap();
    let off = run_in(d, &train(&["--config=off.toml", "--max-steps=1"]));
    assert!(
        off.code == Some(0) && off.out.contains("not evaluated") && !off.out.contains("run  "),
        "{off:?}"
    );
    let all = [
        "--config=off.toml",
        "--max-steps=1",
        "--evaluate",
        "--artifacts=true",
        "--decay-vectors",
        "--out=on",
    ];
    let on = run_in(d, &train(&all));
    assert!(on.code == Some(0) && on.out.contains("test accuracy "), "{on:?}");
    let config = hadal::train::Config::read(&d.join("on/config.toml")).unwrap();
    assert!(config.evaluate && config.artifacts && config.decay_vectors && config.download);
    let said = run_in(d, &train(&["--evaluate", "--no-evaluate"]));
    assert_eq!(said.code, Some(2), "{said:?}");
    let help = ok(&["train", "--help"]);
    for name in ["download", "decay-vectors", "evaluate", "artifacts"] {
        assert!(help.contains(&format!("--{name},")) || help.contains(&format!("--{name} ")), "{name}");
    }
}

/// What is wrong, the exit code, and the message.
#[test]
fn bad_inputs() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    std::fs::write(d.join("typo.toml"), "epochs = 2\n# more\nlearning_rte = 1\nlr = 0.1\n").unwrap();
    std::fs::write(d.join("broken.toml"), "epochs = 2\nlr = = 1\n").unwrap();
    std::fs::write(d.join("wrong.toml"), "epochs = \"many\"\n").unwrap();
    std::fs::write(d.join("idle.toml"), "seed = 1\nmomentum = 0.9\n").unwrap();
    std::fs::write(d.join("latin.toml"), b"model = \"caf\xe9\"\n").unwrap();
    std::fs::create_dir(d.join("full")).unwrap();
    std::fs::write(d.join("full/thesis.tex"), "").unwrap();
    assert_eq!(run_in(d, &train(&["--quiet", "--out", "done"])).code, Some(0));
    std::fs::create_dir(d.join("damaged")).unwrap();
    std::fs::write(d.join("damaged/config.toml"), "epochs = 0\n").unwrap();
    let known = "known are linear-regression, softmax-regression, mlp, lenet";
    let table: &[(&[&str], i32, String)] = &[
        (
            &["--config", "typo.toml"],
            2,
            "typo.toml, line 3: there is no field 'learning_rte' (did you mean 'lr'?)\n".into(),
        ),
        (&["--config", "broken.toml"], 2, "broken.toml, line 2: ".into()),
        (
            &["--config", "wrong.toml"],
            2,
            "wrong.toml, line 1: epochs: 'many' is not a whole number of at least 0\n".into(),
        ),
        (&["--config", "nowhere.toml"], 2, "cannot read the configuration nowhere.toml: ".into()),
        (&["--config", "full"], 2, "cannot read the configuration full: ".into()),
        (&["--config", "latin.toml"], 2, "cannot read the configuration latin.toml: ".into()),
        (&["--out", ""], 2, "out: an empty name cannot be; name a folder, or leave it out\n".into()),
        (&["--early-stop", "0"], 2, "early-stop: 0 cannot be; wait for at least 1 epoch".into()),
        (&["--ema", "1"], 2, "ema: 1 cannot be; use a number from 0 to below 1\n".into()),
        (
            &["--lr-milestones", "3,2"],
            2,
            "lr-milestones: an unsorted list cannot be; name the epochs in rising order".into(),
        ),
        (
            &["--optimizer", "sgd", "--nesterov"],
            2,
            "nesterov: momentum 0 cannot be; Nesterov's momentum needs --momentum above 0".into(),
        ),
        (
            &["--optimizer", "sgd", "--nesterov", "--momentum", "0.9", "--dampening", "0.1"],
            2,
            "nesterov: dampening 0.1 cannot be; Nesterov's momentum needs dampening 0".into(),
        ),
        // Without effect.
        (&["--hidden", "256"], 2, "--hidden has no effect with model lenet; mlp reads it\n".into()),
        (
            &["--momentum", "0.9"],
            2,
            "--momentum has no effect with optimizer adamw; sgd and rmsprop read it\n".into(),
        ),
        (
            &["--config", "idle.toml"],
            2,
            "idle.toml, line 2: momentum has no effect with optimizer adamw; sgd and rmsprop read it\n"
                .into(),
        ),
        (
            &["--data-dir", "full"],
            2,
            "--data-dir has no effect with data digits; mnist, fashion-mnist, cifar10 and cifar100 read it\n"
                .into(),
        ),
        (
            &["--schedule", "cosine", "--lr-rise", "0.3"],
            2,
            "--lr-rise has no effect with schedule cosine; one-cycle reads it\n".into(),
        ),
        (
            &["--optimizer", "sgd", "--no-decay-vectors"],
            2,
            "--no-decay-vectors has no effect with weight decay 0; give --weight-decay too\n".into(),
        ),
        (
            &["--resume", "done", "--data-dir", "full"],
            2,
            "--data-dir has no effect with data digits; ".into(),
        ),
        // More than there can be.
        (
            &["--threads", "99999"],
            2,
            "threads: 99999 cannot be; use 0 for all cores, or a number from 1 to 1024\n".into(),
        ),
        (&["--workers", "99999"], 2, "workers: 99999 cannot be; use a number from 0 to 1024\n".into()),
        (
            &["--accumulate", "18446744073709551615"],
            2,
            "accumulate: 18446744073709551615 cannot be; use at most 1000000 batches\n".into(),
        ),
        (
            &["--model", "mlp", "--hidden", "268435456,268435456"],
            1,
            "model mlp has 72,057,807,712,550,922 parameters; with ".into(),
        ),
        (&["--epochs", "0"], 2, "epochs: 0 cannot be; train for at least 1\n".into()),
        (&["--epochs", "-1"], 2, "--epochs: '-1' is not a whole number of at least 0\n".into()),
        (&["--lr", "fast"], 2, "--lr: 'fast' is not a finite number\n".into()),
        (&["--lr", "-0.1"], 2, "lr: -0.1 cannot be; use a number of at least 0\n".into()),
        (&["--momentum", "1.5"], 2, "momentum: 1.5 cannot be; use a number from 0 to below 1\n".into()),
        (&["--schedule", "multi-step"], 2, "lr-milestones: an empty list cannot be; name the epochs".into()),
        (&["--hidden", "3,x"], 2, "--hidden: 'x' is not a whole number of at least 0\n".into()),
        (&["--optimizer", "adamm"], 2, "invalid value 'adamm' for '--optimizer <NAME>'".into()),
        (
            &["--model", "lennet"],
            2,
            format!("model: there is no model named 'lennet' (did you mean 'lenet'?)\n  help: {known}\n"),
        ),
        (
            &["--model", "mlp", "--hidden", "0"],
            2,
            "hidden: 0 cannot be; a hidden layer has at least 1 unit\n".into(),
        ),
        (
            &["--data", "mnits"],
            2,
            "there is no data set named 'mnits' (did you mean 'mnist'?); known are digits, ".into(),
        ),
        (
            &["--data", "mnist", "--data-dir", "nowhere"],
            1,
            "cannot read the data folder nowhere: there is no such folder".into(),
        ),
        (
            &["--data", "mnist", "--data-dir", ".", "--no-download"],
            1,
            "the files of data set mnist are not there: put ".into(),
        ),
        (
            &["--model", "linear-regression", "--data", "digits"],
            2,
            "model linear-regression predicts numbers, which ".into(),
        ),
        (&["--valid-fraction", "0.00001"], 2, "valid-fraction: 0.00001 of 8000 samples leaves ".into()),
        (
            &["--out", "done"],
            1,
            "done: there is a run already\n  help: continue it with --resume done, or choose ".into(),
        ),
        (&["--out", "full"], 1, "full: the folder is not empty\n  help: choose another with --out\n".into()),
        (&["--out", "typo.toml/run"], 1, "cannot make the run folder typo.toml/run: ".into()),
        (&["--out", "/proc/run"], 1, "cannot make the run folder /proc/run: ".into()),
        (
            &["--resume", "done"],
            1,
            "done: the run is complete after 1 epochs and 40 steps\n  help: give more with --epochs".into(),
        ),
        (
            &["--resume", "done", "--lr", "1"],
            2,
            "--lr cannot change when a run is resumed; possible are epochs, ".into(),
        ),
        (
            &["--resume", "nowhere"],
            1,
            "nowhere: there is no such run folder\n  help: look for it under runs/\n".into(),
        ),
        (&["--resume", "full"], 1, "full: there is no config.toml: this is no run folder, or ".into()),
        (&["--resume", "damaged"], 2, "epochs: 0 cannot be; train for at least 1\n".into()),
        (
            &["--resume", "done", "--config", "typo.toml"],
            2,
            "the argument '--resume <RUN>' cannot be used with ".into(),
        ),
        (&["--json", "--quiet"], 2, "the argument '--json' cannot be used with '--quiet'".into()),
    ];
    let mut wrong = Vec::new();
    for (args, code, message) in table {
        let mut all = vec!["train"];
        all.extend(*args);
        let said = finish(hadal(&all).current_dir(d).env("HADAL_CACHE", d.join("cache")));
        assert_eq!(said.code, Some(*code), "{args:?}: {said:?}");
        assert_eq!(said.out, "", "{args:?}");
        if !said.err.starts_with(&format!("error: {message}")) {
            wrong.push(format!("{args:?}\n  expected: {message}\n  said:     {}", said.err));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Nothing was made of any of it, and nothing that was there was touched.
    let mut left: Vec<String> =
        std::fs::read_dir(d).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(
        left,
        ["broken.toml", "damaged", "done", "full", "idle.toml", "latin.toml", "typo.toml", "wrong.toml"]
    );
    assert_eq!(std::fs::read_dir(d.join("full")).unwrap().count(), 1);
}

#[test]
fn a_first_step_needs_no_folder() {
    let dir = tempfile::tempdir().unwrap();
    let said = run_in(dir.path(), &["train", "--max-steps=1", "--no-artifacts", "--no-evaluate", "--json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let last: Value = serde_json::from_str(said.out.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["steps"], &last["run"], &last["test_accuracy"]),
        (&1.into(), &Value::Null, &Value::Null)
    );
}

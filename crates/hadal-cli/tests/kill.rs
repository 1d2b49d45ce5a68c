//! The program is killed at random moments, resumed, and must end in the same bits as a run that never
//! stopped. And what Ctrl-C does.

mod common;

use common::{hadal, text};
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A small run with everything that has state: 40 updates an epoch, augmentation, workers, averages.
const FIELDS: &[&str] = &[
    "--model=mlp",
    "--hidden=16",
    "--epochs=3",
    "--batch-size=100",
    "--accumulate=2",
    "--workers=2",
    "--ema=0.95",
    "--clip-norm=1",
    "--checkpoint-every=9",
    "--augment=light",
    "--seed=3",
    "--valid-fraction=0.1",
    "--threads=2",
];

fn start(args: &[&str]) -> Child {
    hadal(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

/// The metrics of a run, line by line, without what depends on the clock.
fn metrics(run: &Path) -> Vec<Value> {
    let all = std::fs::read_to_string(run.join("metrics.jsonl")).expect("there are metrics");
    let line = |l: &str| {
        let mut v: Value = serde_json::from_str(l).expect("a line is JSON");
        for clock in ["seconds", "samples_per_second", "peak_memory_bytes"] {
            v.as_object_mut().expect("a line is an object").remove(clock);
        }
        v
    };
    all.lines().map(line).collect()
}

fn weights(run: &Path) -> Vec<u8> {
    std::fs::read(run.join("model.safetensors")).expect("there are weights")
}

/// How far a run has come, by its metrics.
fn lines(run: &Path) -> usize {
    std::fs::read(run.join("metrics.jsonl")).map_or(0, |b| b.iter().filter(|c| **c == b'\n').count())
}

#[test]
fn killed_at_random_moments_it_ends_in_the_same_bits() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    let train = |out: &Path| {
        let mut args = vec!["train", "--quiet", "--out", text(out)];
        args.extend(FIELDS);
        start(&args).wait_with_output().expect("it runs")
    };
    let said = train(&whole);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let expected = metrics(&whole);
    // 36 updates an epoch and a line for each epoch.
    assert_eq!(expected.len(), 3 * 36 + 3);

    // Kills while it starts, in the middle of epochs, around checkpoints and evaluations, and while it
    // writes its pictures; the moments differ from run to run of this test.
    let mut noise = Instant::now().elapsed().as_nanos() as u64 ^ u64::from(std::process::id());
    let mut random = |below: u64| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 33) % below
    };
    let mut kills = 0;
    for goal in [0, 5, 17, 36, 37, 60, 74, 100, 111] {
        let resume = killed.join("config.toml").is_file();
        if killed.join("result.json").is_file() {
            break;
        }
        let mut args = vec!["train", "--quiet"];
        if resume {
            args.extend(["--resume", text(&killed)]);
        } else {
            args.extend(["--out", text(&killed)]);
            args.extend(FIELDS);
            let _ = std::fs::remove_dir_all(&killed);
        }
        let mut child = start(&args);
        let deadline = Instant::now() + Duration::from_secs(60);
        while lines(&killed) < goal && child.try_wait().expect("a child").is_none() {
            assert!(Instant::now() < deadline, "no progress to line {goal}");
            std::thread::sleep(Duration::from_micros(300));
        }
        std::thread::sleep(Duration::from_micros(random(8_000)));
        // SIGKILL; it may have ended by itself.
        let _ = child.kill();
        let status = child.wait().expect("a child");
        if status.success() {
            break;
        }
        assert_eq!(status.code(), None, "goal {goal}: it ended by itself");
        kills += 1;
    }
    assert!(kills >= 5, "only {kills} kills");
    if !killed.join("result.json").is_file() {
        let said =
            start(&["train", "--resume", text(&killed), "--quiet"]).wait_with_output().expect("it runs");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }
    assert_eq!(expected, metrics(&killed), "metrics differ");
    assert!(weights(&whole) == weights(&killed), "weights differ");
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    let status = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(status.is_ok_and(|s| s.success()));
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (whole, stopped) = (dir.path().join("whole"), dir.path().join("stopped"));
    let args = |out: &Path| {
        let mut args = vec!["train".to_owned(), "--out".to_owned(), text(out).to_owned()];
        args.extend(["--model=softmax-regression", "--epochs=2", "--batch-size=50"].map(String::from));
        args
    };
    let strings = |v: &[String]| v.to_vec();
    let run = |a: Vec<String>| start(&a.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(run(strings(&args(&whole))).wait_with_output().expect("it runs").status.success());
    let child = run(args(&stopped));
    while lines(&stopped) < 20 {
        std::thread::sleep(Duration::from_micros(300));
    }
    interrupt(&child);
    let said = child.wait_with_output().expect("it ends");
    let err = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(130), "{err}");
    assert!(err.contains("; everything is saved\ngo on with: hadal train --resume "), "{err}");
    assert!(!stopped.join("model.safetensors").exists());
    // It can be used as it is, and continued.
    let said = common::ok(&["eval", text(&stopped), "--json"]);
    let v: Value = serde_json::from_str(&said).expect("JSON");
    assert!(v["test_accuracy"].as_f64().expect("a number") > 0.3, "{said}");
    assert!(
        run(vec!["train".into(), "--resume".into(), text(&stopped).into()])
            .wait_with_output()
            .expect("it runs")
            .status
            .success()
    );
    assert_eq!(metrics(&whole), metrics(&stopped));
    assert!(weights(&whole) == weights(&stopped));
}

//! `hadal profile` and `hadal train --profile`: reports that add up, and runs that stay as they are.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use common::{Said, assert_narrow, finish, hadal, text};
use fixture::write_run;
use hadal::train::{load_model, save_model};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// One cache for all tests of this file: the machine is measured once.
fn cache() -> &'static Path {
    static CACHE: OnceLock<tempfile::TempDir> = OnceLock::new();
    CACHE.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

fn said(dir: &Path, args: &[&str]) -> Said {
    finish(hadal(args).current_dir(dir).env("HADAL_CACHE", cache()))
}

fn ok(dir: &Path, args: &[&str]) -> String {
    let s = said(dir, args);
    assert_eq!((s.code, s.err.as_str()), (Some(0), ""), "{args:?}: {s:?}");
    s.out
}

const FILES: [&str; 7] =
    ["flame.svg", "memory.svg", "profile.json", "roofline.png", "roofline.svg", "table.txt", "trace.json"];

fn names(dir: &Path) -> Vec<String> {
    let mut all: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

/// Times of the parts are the total, and so are those of the top modules with what is no work.
fn assert_adds_up(j: &Value) {
    let t = &j["time_ns"];
    let of = |name: &str| t[name].as_u64().unwrap();
    let rest = of("planning") + of("between_operations") + of("outside_evaluations");
    assert_eq!(of("work") + rest, of("total"), "{t}");
    let sum = |rows: &Value, top: bool| -> u64 {
        let rows = rows.as_array().unwrap().iter().filter(|r| !top || r["depth"] == 0);
        rows.map(|r| r["time_ns"].as_u64().unwrap()).sum()
    };
    assert_eq!(sum(&j["operations"], false), of("work"));
    assert_eq!(sum(&j["layers"], true), of("work"));
}

fn json(text: &str) -> Value {
    serde_json::from_str(text.trim_end()).expect("one JSON object")
}

#[test]
fn a_model_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["profile", "mlp", "--steps=3", "--batch-size=16", "--threads=1", "--out", "new/prof"];
    let out = ok(dir.path(), &args);
    assert_narrow(&out);
    assert!(out.starts_with("training of mlp, batch 16: 3 steps of "), "{out}");
    assert!(out.contains("  matmul") && out.contains("planning") && out.contains("100.0 %"), "{out}");
    assert!(out.ends_with("\ntables, trace and pictures in new/prof\n"), "{out}");
    let prof = dir.path().join("new/prof");
    assert_eq!(names(&prof), FILES);
    assert_eq!(names(dir.path()), ["new"], "no run folder");
    let j = json(&std::fs::read_to_string(prof.join("profile.json")).unwrap());
    assert_eq!((&j["steps"], &j["ceilings"]["threads"]), (&3.into(), &1.into()));
    assert_adds_up(&j);
    // Forward, the gradient of the weight, and of the input for all layers but the first.
    let layers = j["layers"].as_array().unwrap();
    let linear: Vec<&Value> = layers.iter().filter(|l| l["type"] == "Linear").collect();
    let products = |l: &Value| -> u64 {
        let all = l["operations"].as_array().unwrap().iter();
        all.filter(|o| o["name"].as_str().unwrap().starts_with("matmul"))
            .map(|o| o["calls"].as_u64().unwrap())
            .sum()
    };
    assert_eq!(linear.iter().map(|l| products(l)).collect::<Vec<_>>(), [3 * 2, 3 * 3]);
    json(&std::fs::read_to_string(prof.join("trace.json")).unwrap());
    // Without --out, no files.
    let before = names(dir.path());
    let j = json(&ok(dir.path(), &["profile", "linear-regression", "--steps=2", "--json"]));
    assert_eq!((&j["title"], &j["steps"]), (&"training of linear-regression, batch 10".into(), &2.into()));
    assert_adds_up(&j);
    assert_eq!(names(dir.path()), before);
}

#[test]
fn a_run_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    write_run(&run);
    let state = |run: &PathBuf| -> Vec<(String, Vec<u8>)> {
        names(run).into_iter().map(|n| (n.clone(), std::fs::read(run.join(n)).unwrap())).collect()
    };
    let before = state(&run);
    let j = json(&ok(dir.path(), &["profile", "run", "--steps=2", "--json"]));
    assert_eq!(j["title"], "training of softmax-regression, batch 64");
    assert_adds_up(&j);
    let j = json(&ok(dir.path(), &["profile", "run", "--inference", "--steps=4", "--json"]));
    assert_eq!(
        (&j["title"], &j["evaluations"]),
        (&"inference of softmax-regression, batch 1".into(), &4.into())
    );
    // One product of [1, 784] and [784, 10] a step, and nothing of a gradient.
    assert_eq!(j["operations"].as_array().unwrap().iter().filter(|o| o["name"] == "matmul+add").count(), 1);
    assert_eq!(j["operations"][0]["calls"], 4);
    let weights = text(&run.join("model.safetensors")).to_owned();
    let j = json(&ok(dir.path(), &["profile", &weights, "--inference", "--batch-size=8", "--json"]));
    assert_eq!((&j["title"], &j["steps"]), (&"inference of softmax-regression, batch 8".into(), &20.into()));
    assert_eq!(state(&run), before);
}

#[test]
fn training_is_profiled_without_changing_it() {
    let dir = tempfile::tempdir().unwrap();
    let train = |more: &[&str]| {
        let base =
            ["train", "--model=mlp", "--hidden=16", "--max-steps=12", "--batch-size=50", "--threads=2"];
        ok(dir.path(), &[&base, more].concat())
    };
    train(&["--out=plain", "--quiet"]);
    let out = train(&["--out=seen", "--profile", "4"]);
    assert_narrow(&out);
    assert!(out.contains("\ntraining of mlp, batch 50: 4 steps of "), "{out}");
    assert!(out.ends_with("\ntables, trace and pictures in seen/profile\n"), "{out}");
    assert_eq!(names(&dir.path().join("seen/profile")), FILES);
    let weights = |run: &str| std::fs::read(dir.path().join(run).join("model.safetensors")).unwrap();
    assert!(weights("plain") == weights("seen"), "the profiler changed what was trained");
    // Without a number, twenty steps, or what there is after the first five; the result stays the last line.
    let out = train(&["--out=lines", "--profile", "--json"]);
    let lines: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).expect(l)).collect();
    let [.., profile, end] = lines.as_slice() else { panic!("{out}") };
    assert_eq!((&profile["event"], &end["event"]), (&"profile".into(), &"end".into()));
    assert_eq!((&profile["folder"], &profile["profile"]["steps"]), (&"lines/profile".into(), &7.into()));
    assert_adds_up(&profile["profile"]);
    // No folder: the table alone.
    let out = train(&["--no-artifacts", "--profile=2"]);
    assert!(out.contains(": 2 steps of ") && !out.contains("pictures in"), "{out}");
    assert_eq!(train(&["--out=quiet", "--profile=1", "--quiet"]), "");
    assert_eq!(names(&dir.path().join("quiet/profile")), FILES);
}

#[test]
fn the_machine_is_measured_once_and_again_when_the_file_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let profile = || {
        let args = ["profile", "linear-regression", "--steps=1", "--threads=1", "--json"];
        let s = finish(hadal(&args).current_dir(dir.path()).env("HADAL_CACHE", dir.path()));
        assert_eq!((s.code, s.err.as_str()), (Some(0), ""), "{s:?}");
        json(&s.out)["ceilings"].clone()
    };
    let first = profile();
    let kept = names(&dir.path().join("ceilings"));
    assert_eq!(kept.len(), 1);
    let file = dir.path().join("ceilings").join(&kept[0]);
    // A figure that no measurement gives shows whether the file is read.
    let mut marked = json(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(marked["gflops"], first["gflops"]);
    marked["gflops"] = 123_456_789.0.into();
    std::fs::write(&file, marked.to_string()).unwrap();
    assert_eq!(profile()["gflops"], 123_456_789.0);
    std::fs::write(&file, b"{\"version\": 1, \"gfl").unwrap();
    let again = profile();
    assert!(again["gflops"].as_f64().unwrap() < 1e6);
    assert_eq!(json(&std::fs::read_to_string(&file).unwrap())["gflops"], again["gflops"]);
}

#[test]
fn a_cache_that_cannot_be_written_is_told_and_no_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ceilings"), b"in the way").unwrap();
    let args = ["profile", "linear-regression", "--steps=1", "--threads=1"];
    let s = finish(hadal(&args).current_dir(dir.path()).env("HADAL_CACHE", dir.path()));
    assert_eq!(s.code, Some(0), "{s:?}");
    assert!(
        s.err.starts_with("note: what was measured of this machine is not kept: cannot make the folder "),
        "{s:?}"
    );
}

#[test]
fn data_that_is_not_here_is_replaced_by_random_data() {
    let dir = tempfile::tempdir().unwrap();
    write_run(&dir.path().join("run"));
    let weights = dir.path().join("run/model.safetensors");
    let (net, mut about) = load_model(&weights).unwrap();
    about.data.name = "absent".into();
    save_model(&weights, net.as_ref(), &about).unwrap();
    let s = said(dir.path(), &["profile", "run", "--steps=1", "--json"]);
    assert_eq!(s.code, Some(0), "{s:?}");
    assert_eq!(s.err, "note: data set absent is not here; random data of the same form is used\n");
    assert_adds_up(&json(&s.out));
}

#[test]
fn bad_inputs() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    write_run(&d.join("run"));
    std::fs::write(d.join("text.txt"), b"no weights").unwrap();
    std::fs::create_dir(d.join("empty")).unwrap();
    let models = "help: models are linear-regression, softmax-regression, mlp, lenet\n";
    let table: &[(&[&str], i32, String)] = &[
        (
            &["lnet"],
            1,
            format!(
                "error: there is no run folder or model named 'lnet'\n  help: did you mean 'lenet'?\n  {models}"
            ),
        ),
        (&["xyzzy"], 1, format!("error: there is no run folder or model named 'xyzzy'\n  {models}")),
        (
            &["runs/none"],
            1,
            "error: there is no run folder or weights file runs/none\n  help: check the path\n".into(),
        ),
        (&["run/metrics.jsonl"], 1, "error: run/metrics.jsonl is a part of a run, not the run\n".into()),
        (&["empty"], 1, "error: empty: there are no weights".into()),
        (&["text.txt"], 1, "error: ".into()),
        (&[], 2, "error: the following required arguments were not provided".into()),
        (&["mlp", "--steps=0"], 2, "error: invalid value '0' for '--steps <N>'".into()),
        (&["mlp", "--steps=1001"], 2, "error: invalid value '1001' for '--steps <N>'".into()),
        (&["mlp", "--batch-size=0"], 2, "error: invalid value '0' for '--batch-size <N>'".into()),
        (&["mlp", "--threads=many"], 2, "error: --threads: ".into()),
        (&["mlp", "--steps=1", "--out=text.txt"], 1, "error: cannot make the folder text.txt".into()),
    ];
    for (args, code, message) in table {
        let s = said(d, &[&["profile"], *args].concat());
        assert!(
            s.code == Some(*code) && s.err.starts_with(message),
            "{args:?}: wanted {message:?}, got {s:?}"
        );
    }
    let s = said(d, &["train", "--profile=0", "--out=x"]);
    assert!(
        s.code == Some(2) && s.err.starts_with("error: invalid value '0' for '--profile [<N>]'"),
        "{s:?}"
    );
    assert!(!d.join("x").exists());
}

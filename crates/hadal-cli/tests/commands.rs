//! Each command through the program, where everything is as it should be.

mod common;
#[path = "common/fixture.rs"]
mod fixture;

use common::{assert_narrow, json, ok, text};
use fixture::write_run;
use hadal::data::{Places, Split, load_named};
use hadal::io::Image;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// One run folder for all tests of this file.
fn run_folder() -> &'static Path {
    static RUN: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, run) = RUN.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("means");
        write_run(&run);
        (dir, run)
    });
    run
}

/// A test image of this digit that the classifier of means gets right, dark ink on white paper, three
/// times as large and in colour, as a photograph of a note has it.
fn note(dir: &Path, digit: i64) -> PathBuf {
    let set = load_named("digits", Split::Test, Places::default(), &mut |_| {}).unwrap();
    let i = set.labels().iter().position(|&l| l == digit).unwrap();
    let pixels = set.pixels(i).unwrap();
    let mut data = Vec::new();
    for y in 0..84 {
        for x in 0..84 {
            data.extend([255 - pixels[y / 3 * 28 + x / 3]; 3]);
        }
    }
    let path = dir.join(format!("digit-{digit}.png"));
    Image::new(84, 84, 3, data).unwrap().write_png(&path).unwrap();
    path
}

fn is_png(path: &Path) -> bool {
    std::fs::read(path).unwrap().starts_with(b"\x89PNG\r\n")
}

#[test]
fn inspect_a_model() {
    let out = ok(&["inspect", "lenet"]);
    assert_narrow(&out);
    assert!(out.starts_with("lenet: LeNet-5"), "{out}");
    for line in [
        "conv1  Conv2d             [1, 6, 28, 28]          156",
        "fc1    Linear             [1, 120]             48,120",
        "total                                          61,706",
    ] {
        assert!(out.contains(line), "{line:?} in\n{out}");
    }
    let j = json(&["inspect", "lenet", "--json", "--batch-size", "8"]);
    assert_eq!(j["parameters"], 61_706);
    assert_eq!(j["output"], serde_json::json!([8, 10]));
    let conv = &j["layers"][0];
    assert_eq!(
        (&conv["name"], &conv["type"], &conv["parameters"]),
        (&"conv1".into(), &"Conv2d".into(), &156.into())
    );
    // 2 · 25 taps and a bias for each of 8 · 6 · 28 · 28 outputs.
    assert_eq!(conv["flops"], 8 * 6 * 28 * 28 * (2 * 25 + 1));
    let j = json(&["inspect", "mlp", "--json", "--input", "3,32,32", "--classes", "100"]);
    assert_eq!(j["parameters"], 256 * (3 * 32 * 32 + 1) + 100 * (256 + 1));
    let list = ok(&["inspect"]);
    assert!(list.contains("softmax-regression") && list.contains("61,706"), "{list}");
    assert_narrow(&list);
}

#[test]
fn inspect_files_and_runs() {
    let weights = run_folder().join("model.safetensors");
    let out = ok(&["inspect", text(&weights)]);
    assert!(out.contains("[10, 784]") && out.contains("7,850") && out.contains("metadata"), "{out}");
    let j = json(&["inspect", text(&weights), "--json"]);
    assert_eq!(
        (&j["format"], &j["values"], &j["bytes"]),
        (&"safetensors".into(), &7850.into(), &31_400.into())
    );

    let dir = tempfile::tempdir().unwrap();
    let npy = dir.path().join("x.npy");
    hadal::files::save_npy(&npy, &hadal::Tensor::new([[1.0f32, 2.0]])).unwrap();
    let npz = dir.path().join("x.npz");
    hadal::files::save_npz(
        &npz,
        &[("a", hadal::Tensor::new([1i64, 2])), ("b", hadal::Tensor::new([true]))],
        false,
    )
    .unwrap();
    let out = ok(&["inspect", text(&npy)]);
    assert!(out.contains("array     f32    [1, 2]       2      8\n"), "{out}");
    let j = json(&["inspect", text(&npz), "--json"]);
    assert_eq!((&j["tensors"][1]["dtype"], &j["values"]), (&"bool".into(), &3.into()));

    let out = ok(&["inspect", text(run_folder())]);
    assert!(out.contains("softmax-regression on digits") && out.contains("after 1,250 updates"), "{out}");
    assert!(out.contains("seed 0") && out.contains("7,850"), "{out}");
    assert_eq!(json(&["inspect", text(run_folder()), "--json"])["data"], "digits");
}

#[test]
fn eval_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let picture = dir.path().join("confusion.png");
    let run = text(run_folder());
    let out = ok(&["eval", run, "--confusion", text(&picture)]);
    assert!(is_png(&picture));
    assert!(out.starts_with("softmax-regression on digits: 2,000 test samples in "), "{out}");
    assert_eq!(out.lines().filter(|l| l.contains(" %") && l.contains('█')).count(), 10, "{out}");
    let j = json(&["eval", run, "--json", "--batch-size", "100"]);
    let accuracy = j["test_accuracy"].as_f64().unwrap();
    assert!((0.7..0.9).contains(&accuracy), "{accuracy}");
    assert_eq!(j["samples"], 2000);
    assert_eq!(j["classes"][3]["class"], "3");
    let rows = j["confusion"].as_array().unwrap();
    let right: u64 = (0..10).map(|c| rows[c][c].as_u64().unwrap()).sum();
    assert_eq!(j["correct"], right);
    // The weights file alone says enough.
    let weights = run_folder().join("model.safetensors");
    assert_eq!(json(&["eval", text(&weights), "--json"])["correct"], right);
}

#[test]
fn predict_images() {
    let dir = tempfile::tempdir().unwrap();
    let (zero, six) = (note(dir.path(), 0), note(dir.path(), 6));
    let run = text(run_folder());
    let out = ok(&["predict", run, text(&zero), text(&six)]);
    assert_narrow(&out);
    // What was done to the image is said.
    assert!(out.contains("digit-0.png") && out.contains("84") && out.contains("28"), "{out}");
    assert!(out.contains("grey") && out.contains("invert"), "{out}");
    assert_eq!(out.lines().filter(|l| l.contains(" %")).count(), 10, "five each:\n{out}");
    let said = ok(&["predict", run, text(&zero), "--json", "--top", "3"]);
    let j: serde_json::Value = serde_json::from_str(said.trim_end()).unwrap();
    let top = j["top"].as_array().unwrap();
    assert_eq!(top.len(), 3);
    assert_eq!(top[0]["class"], "0");
    assert!(top[0]["probability"].as_f64().unwrap() > top[1]["probability"].as_f64().unwrap());
}

#[test]
fn data_list_and_show() {
    let out = ok(&["data", "list"]);
    assert_narrow(&out);
    for name in ["digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "in the program"] {
        assert!(out.contains(name), "{name} in\n{out}");
    }
    let lines = ok(&["data", "list", "--json"]);
    assert_eq!(lines.lines().count(), 5);
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["name"], &first["train"], &first["present"]),
        (&"digits".into(), &8000.into(), &true.into())
    );

    let dir = tempfile::tempdir().unwrap();
    let said = common::run_in(dir.path(), &["data", "show", "digits", "--count", "20"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    assert!(is_png(&dir.path().join("digits.png")));
    let sheet = dir.path().join("sevens.svg");
    let out = ok(&[
        "data",
        "show",
        "digits",
        "--class",
        "7",
        "--split",
        "test",
        "--count",
        "3",
        "-o",
        text(&sheet),
    ]);
    assert!(out.contains("3 of them"), "{out}");
    let captions = std::fs::read_to_string(&sheet).unwrap().lines().filter(|l| l.trim() == "7").count();
    assert_eq!(captions, 3);
    assert_eq!(ok(&["data", "fetch", "digits"]), "digits is in the program; there is nothing to download\n");
}

#[test]
fn plot_runs() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other").join("means");
    write_run(&other);
    let svg = dir.path().join("both.svg");
    let out = ok(&["plot", text(run_folder()), text(&other), "-o", text(&svg)]);
    assert_eq!(out, format!("2 runs in {}\n", svg.display()));
    assert!(std::fs::read_to_string(&svg).unwrap().starts_with("<svg"));
    let png = dir.path().join("one.png");
    ok(&["plot", text(&other), "-o", text(&png)]);
    assert!(is_png(&png));
}

#[test]
fn devices() {
    let out = ok(&["devices", "--threads", "1"]);
    assert!(out.contains("device     cpu\n") && out.contains("threads    1 used\n"), "{out}");
    assert_narrow(&out);
    let j = json(&["devices", "--json", "--threads", "2"]);
    assert_eq!((&j["device"], &j["threads"]), (&"cpu".into(), &2.into()));
    assert!(j["simd"].is_string() && j.get("measured").is_none());
    let dir = tempfile::tempdir().unwrap();
    let args = ["devices", "--json", "--measure", "--threads", "1"];
    let said = common::finish(common::hadal(&args).env("HADAL_CACHE", dir.path()));
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    let j: serde_json::Value = serde_json::from_str(said.out.trim_end()).unwrap();
    let measured = |name: &str| j["measured"][name].as_f64().unwrap();
    // Far below any machine's and far above what a wrong unit gives.
    assert!((0.1..1e5).contains(&measured("matmul_gflops_1_thread")), "{j}");
    assert!((0.1..1e5).contains(&measured("peak_gflops")), "{j}");
    for rate in ["memory_gb_per_s", "read_gb_per_s", "copy_gb_per_s", "update_gb_per_s", "l2_gb_per_s"] {
        assert!((0.1..1e4).contains(&measured(rate)), "{rate}: {j}");
    }
    // It is kept for the profiler.
    assert_eq!(std::fs::read_dir(dir.path().join("ceilings")).unwrap().count(), 1);
}

/// A test image of this digit as ink of one brightness on transparent ground, the shape in its opacity.
fn ink(dir: &Path, digit: i64, brightness: u8) -> PathBuf {
    let set = load_named("digits", Split::Test, Places::default(), &mut |_| {}).unwrap();
    let i = set.labels().iter().position(|&l| l == digit).unwrap();
    let data = set.pixels(i).unwrap().iter().flat_map(|&a| [brightness, brightness, brightness, a]).collect();
    let path = dir.join(format!("ink-{digit}-{brightness}.png"));
    image::RgbaImage::from_raw(28, 28, data).unwrap().save(&path).unwrap();
    path
}

#[test]
fn ink_of_any_colour_on_transparent_ground_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let top = |path: &Path| {
        let j = json(&["predict", text(run_folder()), text(path), "--json", "--top=1"]);
        (j["top"][0]["class"].as_str().unwrap().to_owned(), j["conversion"][0].as_str().unwrap().to_owned())
    };
    for digit in 0..10 {
        let (truth, _) = top(&note(dir.path(), digit));
        let (white, said) = top(&ink(dir.path(), digit, 255));
        assert_eq!(said, "its transparent parts laid over black, since the ink is bright");
        let (black, said) = top(&ink(dir.path(), digit, 0));
        assert_eq!(said, "its transparent parts laid over white");
        assert!(white == black && (digit != 7 || white == truth), "{digit}: {white} {black} {truth}");
    }
}

#[test]
fn a_blank_image_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let clear = dir.path().join("clear ünd.png");
    image::RgbaImage::from_pixel(30, 20, image::Rgba([255, 0, 0, 0])).save(&clear).unwrap();
    let black = dir.path().join("black.png");
    Image::new(28, 28, 1, vec![0; 784]).unwrap().write_png(&black).unwrap();
    for path in [&clear, &black] {
        let said = common::run(&["predict", text(run_folder()), text(path), "--json"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let warning = format!("warning: {}: the image is blank, every pixel is alike: ", path.display());
        assert!(said.err.starts_with(&warning), "{said:?}");
        assert!(said.out.contains("\"warning\":\"the image is blank"), "{said:?}");
    }
    let out = ok(&["predict", text(run_folder()), text(&note(dir.path(), 3)), "--json"]);
    assert!(!out.contains("warning"), "{out}");
}

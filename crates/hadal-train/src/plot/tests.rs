use super::*;
use hadal_io::Image;
use std::path::PathBuf;

/// A folder of its own, removed at the end. With HADAL_KEEP_PLOTS=DIR at compile time
/// the pictures are copied to DIR first, to be looked at.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("hadal-plot-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(dir) = option_env!("HADAL_KEEP_PLOTS") {
            for f in std::fs::read_dir(&self.0).unwrap() {
                let f = f.unwrap();
                std::fs::copy(f.path(), PathBuf::from(dir).join(f.file_name())).unwrap();
            }
        }
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(name: &str, speed: f64) -> RunCurves {
    let wobble = |i: f64| (i * 12.9898).sin() * 0.04;
    let train = |i: f64| 2.3 * (-i * speed).exp() + 0.05 + wobble(i) * (-i * speed * 0.5).exp();
    let epochs = || (1..=20).map(f64::from);
    RunCurves {
        name: name.to_string(),
        train_loss: (0..2000).map(|i| f64::from(i) / 100.0).map(|e| (e, train(e))).collect(),
        test_loss: epochs().map(|e| (e, train(e) + 0.06)).collect(),
        train_accuracy: epochs().map(|e| (e, 1.0 - 0.9 * (-e * speed * 1.4).exp() - 0.004)).collect(),
        test_accuracy: epochs().map(|e| (e, 0.985 - 0.9 * (-e * speed * 1.3).exp())).collect(),
    }
}

fn check(path: &std::path::Path) {
    if path.extension().is_some_and(|e| e == "png") {
        let image = Image::read(path).unwrap();
        assert!(image.data().iter().any(|&v| v < 100), "something dark is drawn");
        assert!(image.data().iter().filter(|&&v| v == 255).count() > image.data().len() / 20);
    } else {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
        assert!(text.contains("<text"));
    }
}

#[test]
fn training_curves_of_one_and_several_runs() {
    let dir = Folder::new("training");
    for ext in ["png", "svg"] {
        let one = dir.file(&format!("one.{ext}"));
        training_curves(&[run("lenet-2026-11-21", 0.4)], &one).unwrap();
        check(&one);
        let many = dir.file(&format!("many.{ext}"));
        let runs = [run("lenet sgd lr=0.1", 0.3), run("lenet adamw lr=1e-3", 0.6), run("mlp", 0.2)];
        training_curves(&runs, &many).unwrap();
        check(&many);
        // The same data give the same bytes.
        let first = std::fs::read(&many).unwrap();
        training_curves(&runs, &many).unwrap();
        assert_eq!(std::fs::read(&many).unwrap(), first);
    }
    let regression = RunCurves { train_accuracy: vec![], test_accuracy: vec![], ..run("linear", 0.3) };
    training_curves(&[regression], dir.file("loss_only.png")).unwrap();
}

#[test]
fn curves_with_awkward_values() {
    let dir = Folder::new("curves");
    let series = |name: &str, points: &[(f64, f64)]| Series { name: name.into(), points: points.to_vec() };
    let nan = f64::NAN;
    let cases: Vec<(&str, Vec<Series>)> = vec![
        ("point", vec![series("a single point", &[(3.0, 7.0)])]),
        ("flat", vec![series("flat", &[(0.0, 0.0), (1.0, 0.0)]), series("also", &[(0.0, 0.0)])]),
        (
            "gap",
            vec![series(
                "with a gap",
                &[(0.0, 1.0), (1.0, 2.0), (2.0, nan), (3.0, f64::INFINITY), (4.0, 0.5), (5.0, 3.0)],
            )],
        ),
        ("large", vec![series("large", &[(0.0, 1e12), (2e7, 3e12)])]),
        ("tiny", vec![series("tiny", &[(0.0, 1e-9), (1e-7, 3e-9)])]),
        ("close", vec![series("close", &[(0.0, 1.0), (1.0, 1.0 + 1e-15)])]),
        (
            "extreme",
            vec![series(
                "extreme",
                &[(0.0, f64::MAX), (1.0, -f64::MAX), (2.0, 1.0), (f64::MIN_POSITIVE, 1e99)],
            )],
        ),
        ("back", vec![series("backwards", &[(5.0, 1.0), (1.0, -2.0)]), series("", &[])]),
        (
            "many",
            (0..25)
                .map(|i| series(&format!("series number {i}"), &[(0.0, f64::from(i)), (1.0, 1.0)]))
                .collect(),
        ),
        ("long", vec![series(&"a very long name ".repeat(20), &[(0.0, 0.0), (9.0, 81.0)])]),
    ];
    for (name, series) in cases {
        for ext in ["png", "svg"] {
            let path = dir.file(&format!("{name}.{ext}"));
            curves(&series, "learning rate", "step", "value", &path).unwrap();
            check(&path);
        }
    }
}

#[test]
fn a_spike_survives_thinning() {
    let dir = Folder::new("spike");
    let mut points: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i), 1.0)).collect();
    points[54_321].1 = 9.0;
    let path = dir.file("spike.svg");
    curves(&[Series { name: "loss".into(), points }], "", "step", "loss", &path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.len() < 100_000, "{} bytes", text.len());
    let line = text.lines().find(|l| l.starts_with("<polyline") && l.len() > 5000).unwrap();
    let heights: std::collections::BTreeSet<&str> = line
        .split('"')
        .find(|s| s.len() > 5000)
        .unwrap()
        .split_whitespace()
        .filter_map(|p| p.split(',').nth(1))
        .collect();
    assert_eq!(heights.len(), 2, "the level and the spike");
}

fn digits() -> Vec<Vec<u64>> {
    (0..10u64)
        .map(|i| {
            (0..10).map(|j| if i == j { 960 + i * 3 } else { (i * 7 + j * 5) % 11 / 4 * (j % 4) }).collect()
        })
        .collect()
}

#[test]
fn confusion_matrices() {
    let dir = Folder::new("confusion");
    let names: Vec<String> = (0..10).map(|d| d.to_string()).collect();
    for ext in ["png", "svg"] {
        let path = dir.file(&format!("confusion.{ext}"));
        confusion_matrix(&digits(), &names, &path).unwrap();
        check(&path);
    }
    let fashion = [
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ];
    confusion_matrix(&digits(), &fashion, dir.file("fashion.png")).unwrap();
    for n in [1, 2, 100, 1000] {
        let counts: Vec<Vec<u64>> = (0..n)
            .map(|i| {
                (0..n).map(|j| u64::from(i == j) * 50 + u64::from((i * 31 + j * 17) % 97 == 0)).collect()
            })
            .collect();
        let names: Vec<String> = (0..n).map(|i| format!("class {i}")).collect();
        confusion_matrix(&counts, &names, dir.file(&format!("confusion{n}.png"))).unwrap();
    }
    confusion_matrix(&[vec![0, 0], vec![u64::MAX, u64::MAX]], &["a", "b"], dir.file("extreme.png")).unwrap();
}

fn tiles(n: usize) -> Vec<Tile> {
    (0..n)
        .map(|k| {
            let side = if k == 5 { 300 } else { 28 };
            let channels = if k % 3 == 0 { 3 } else { 1 };
            let data = (0..side * side * channels)
                .map(|i| {
                    let (x, y) = ((i / channels) % side, i / channels / side);
                    let d = (x as f64 - side as f64 / 2.0).hypot(y as f64 - side as f64 / 2.0) / side as f64;
                    ((d * (8.0 + k as f64)).sin().abs() * 255.0) as u8 >> (i % channels)
                })
                .collect();
            Tile {
                image: Image::new(side, side, channels, data).unwrap(),
                caption: format!("true {}, said {}\np = 0.{}", k % 10, (k + 3) % 10, 9 + k),
                highlight: k % 4 == 0,
            }
        })
        .collect()
}

#[test]
fn contact_sheets() {
    let dir = Folder::new("sheet");
    for ext in ["png", "svg"] {
        let path = dir.file(&format!("sheet.{ext}"));
        contact_sheet(&tiles(20), 7, &path).unwrap();
        check(&path);
    }
    contact_sheet(&tiles(2), 10, dir.file("two.png")).unwrap();
    // The middle of an enlarged pixel has the pixel's own colour.
    let image = Image::new(2, 1, 3, vec![10, 20, 30, 200, 100, 50]).unwrap();
    let tile = Tile { image, caption: String::new(), highlight: false };
    let path = dir.file("exact.png");
    contact_sheet(&[tile], 1, &path).unwrap();
    let sheet = Image::read(&path).unwrap();
    let pixel = |x: usize, y: usize| sheet.data()[(y * sheet.width() + x) * 3..][..3].to_vec();
    let (w, h) = (sheet.width(), sheet.height());
    assert_eq!(pixel(w / 2 - 10, h / 2), [10, 20, 30]);
    assert_eq!(pixel(w / 2 + 10, h / 2), [200, 100, 50]);
}

#[test]
fn what_cannot_be_drawn_is_an_error() {
    let dir = Folder::new("errors");
    let text = |r: hadal_io::Result<()>| r.unwrap_err().to_string().replace(dir.0.to_str().unwrap(), "DIR");
    let some = [Series { name: "a".into(), points: vec![(0.0, 1.0)] }];
    assert_eq!(
        text(curves(&some, "", "", "", dir.file("a.pdf"))),
        "cannot draw DIR/a.pdf: the name ends neither in .png nor in .svg; choose one of the two"
    );
    assert_eq!(
        text(curves(&[], "", "", "", dir.file("a.png"))),
        "cannot draw DIR/a.png: there is no finite point to draw; train for a step first"
    );
    assert_eq!(
        text(training_curves(&[RunCurves::default()], dir.file("a.png"))),
        "cannot draw DIR/a.png: there is no finite point to draw; train for a step first"
    );
    let none: [&str; 0] = [];
    assert_eq!(
        text(confusion_matrix(&[], &none, dir.file("a.png"))),
        "cannot draw DIR/a.png: the confusion matrix has no class; evaluate on some data first"
    );
    assert_eq!(
        text(confusion_matrix(&[vec![1, 2], vec![3]], &["a", "b"], dir.file("a.png"))),
        "cannot draw DIR/a.png: the confusion matrix has 2 rows, but row 1 has 1 columns; pass a square matrix"
    );
    assert_eq!(
        text(confusion_matrix(&[vec![1]], &["a", "b"], dir.file("a.png"))),
        "cannot draw DIR/a.png: there are 1 classes, but 2 class names; pass one name a class"
    );
    assert_eq!(
        text(contact_sheet(&[], 3, dir.file("a.png"))),
        "cannot draw DIR/a.png: there is no image to show; pass at least one tile"
    );
    assert_eq!(
        text(contact_sheet(&tiles(1), 0, dir.file("a.png"))),
        "cannot draw DIR/a.png: a contact sheet of 0 columns was asked for; ask for at least 1"
    );
    assert!(text(contact_sheet(&tiles(200), 1, dir.file("a.png"))).contains("more than 8192 on a side"));
    assert!(text(curves(&some, "", "", "", dir.file("no/a.png"))).contains("create it or correct the path"));
    assert_eq!(std::fs::read_dir(&dir.0).unwrap().count(), 0);
}

//! Data sets in memory, in folders and combined.

use hadal_data::transform::Resize;
use hadal_data::*;
use hadal_io::Image;
use std::path::Path;
use std::sync::Arc;

fn cx() -> SampleCtx {
    SampleCtx::new(0, 0)
}

fn numbers(n: usize) -> Arc<dyn Dataset> {
    let x = (0..n).map(|i| i as f32).collect();
    let y = (0..n).map(|i| i as i64).collect();
    Arc::new(ArrayDataset::new(Array::f32(&[n, 1], x).unwrap(), Array::i64(&[n], y).unwrap()).unwrap())
}

fn label(set: &dyn Dataset, i: usize) -> i64 {
    set.get(i, &mut cx()).unwrap().target.as_i64().unwrap()[0]
}

#[test]
fn arrays_are_paired_row_by_row() {
    let set = numbers(4);
    let s = set.get(2, &mut cx()).unwrap();
    assert_eq!((s.input.shape(), s.target.shape()), (&[1usize][..], &[][..]));
    let e = set.get(4, &mut cx()).unwrap_err().to_string();
    assert_eq!(e, "sample 4 was asked of an ArrayDataset, which has 4 (valid: 0..4)");
    assert!(set.gather(&[0, 4], &mut cx()).unwrap().is_err());
    let (x, y) = (Array::f32(&[2], vec![0.0; 2]).unwrap(), Array::i64(&[3], vec![0; 3]).unwrap());
    let e = ArrayDataset::new(x, y).unwrap_err().to_string();
    assert_eq!(e, "ArrayDataset: 2 inputs but 3 targets; both must have one entry per sample");
    assert!(ArrayDataset::new(Array::label(1), Array::label(1)).is_err());
}

#[test]
fn images_are_scaled_and_normalised() {
    let pixels = Array::u8(&[1, 2, 1, 2], vec![0, 255, 51, 102]).unwrap();
    let set = ImageDataset::new(pixels, vec![0], vec!["a".into()]).unwrap();
    let x = set.get(0, &mut cx()).unwrap().input;
    assert_eq!(x.as_f32().unwrap(), [0.0, 1.0, 0.2, 0.4]);
    let (mean, std) = set.mean_std();
    assert!((mean[0] - 0.5).abs() < 1e-6 && (std[0] - 0.5).abs() < 1e-6 && (mean[1] - 0.3).abs() < 1e-6);
    let normal = set.clone().normalize(&[0.5, 0.2], &[0.5, 0.1]).unwrap();
    let x = normal.get(0, &mut cx()).unwrap().input;
    assert_eq!(x.as_f32().unwrap()[..3], [-1.0, 1.0, 0.0]);
    let raw = set.clone().raw().get(0, &mut cx()).unwrap().input;
    assert_eq!(raw.as_u8().unwrap(), [0, 255, 51, 102]);
    assert!(set.clone().normalize(&[0.5], &[0.5]).is_err() && set.normalize(&[0.5; 2], &[0.0; 2]).is_err());
    let bad = |shape: &[usize], n: usize, labels: Vec<i64>| {
        let images = Array::u8(shape, vec![0; n]).unwrap();
        ImageDataset::new(images, labels, vec!["a".into()]).unwrap_err().to_string()
    };
    assert!(bad(&[1, 1, 1, 1], 1, vec![-1]).contains("label -1 of sample 0 is outside 0..1"));
    assert!(bad(&[1, 1, 1, 1], 1, vec![0, 0]).contains("1 images but 2 labels"));
    assert!(bad(&[1, 0, 1, 1], 0, vec![0]).contains("no pixels"));
    assert!(bad(&[2, 2], 4, vec![0]).contains("u8 of shape [n, channels, height, width], got u8 [2, 2]"));
}

#[test]
fn parts_sums_and_maps() {
    let set = numbers(10);
    let part = Subset::new(Arc::clone(&set), vec![7, 2, 2]).unwrap();
    assert_eq!((0..3).map(|i| label(&part, i)).collect::<Vec<_>>(), [7, 2, 2]);
    assert_eq!(part.gather(&[2, 0], &mut cx()).unwrap().unwrap().targets.as_i64().unwrap(), [2, 7]);
    assert!(Subset::new(Arc::clone(&set), vec![10]).is_err() && part.get(3, &mut cx()).is_err());
    let empty = Arc::new(Subset::new(Arc::clone(&set), vec![]).unwrap());
    let sum = Concat::new(vec![numbers(2), empty, Arc::new(part), numbers(1)]).unwrap();
    assert_eq!((0..sum.len()).map(|i| label(&sum, i)).collect::<Vec<_>>(), [0, 1, 7, 2, 2, 0]);
    assert!(sum.get(6, &mut cx()).is_err() && Concat::new(vec![]).is_err());
    let named = |n: &str| -> Arc<dyn Dataset> {
        let images = Array::u8(&[1, 1, 1, 1], vec![0]).unwrap();
        Arc::new(ImageDataset::new(images, vec![0], vec![n.into()]).unwrap())
    };
    assert!(Concat::new(vec![named("a"), named("b")]).unwrap_err().to_string().contains("differently"));
    let doubled = MapDataset::new(set, |s, _| {
        let v = s.input.as_f32().unwrap()[0];
        Ok(Sample { input: Array::f32(&[1], vec![2.0 * v])?, ..s })
    });
    assert_eq!(doubled.get(4, &mut cx()).unwrap().input.as_f32().unwrap(), [8.0]);
}

#[test]
fn random_splits_share_out_every_sample_once() {
    for (n, fractions, sizes) in [
        (10, vec![0.8, 0.2], vec![8, 2]),
        (11, vec![0.5, 0.5], vec![6, 5]),
        (3, vec![0.1, 0.1, 0.8], vec![1, 0, 2]),
        (0, vec![1.0], vec![0]),
    ] {
        let parts = random_split(numbers(n), &fractions, 1).unwrap();
        assert_eq!(parts.iter().map(Dataset::len).collect::<Vec<_>>(), sizes);
        let mut all: Vec<usize> = parts.iter().flat_map(|p| p.indices().to_vec()).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..n));
    }
    let indices = |seed| random_split(numbers(50), &[0.5, 0.5], seed).unwrap()[0].indices().to_vec();
    assert_eq!(indices(1), indices(1));
    assert_ne!(indices(1), indices(2));
    for bad in [&[0.5, 0.4][..], &[1.5, -0.5], &[f64::NAN], &[]] {
        assert!(random_split(numbers(5), bad, 0).is_err());
    }
}

#[test]
fn wide_and_long_csv_takes_no_time_that_grows_with_the_square() {
    // Quadratic, these would be 10^10 comparisons of strings.
    let columns = 100_000;
    let header: Vec<String> = (0..columns).map(|i| format!("column{i}")).collect();
    let text = format!("{}\n{}\n", header.join(","), vec!["1"; columns].join(","));
    assert_eq!(
        CsvDataset::parse(&text, "f", &CsvOptions::target("column7")).unwrap().features().len(),
        99_999
    );
    let text: String = (0..100_000).map(|i| format!("{},1\n", i * 7 % 100_003)).collect();
    let options = CsvOptions { categorical: vec!["id".into()], ..CsvOptions::target("y") };
    assert_eq!(CsvDataset::parse(&format!("id,y\n{text}"), "f", &options).unwrap().len(), 100_000);
}

fn png(path: &Path, w: usize, h: usize, rgb: [u8; 3]) {
    let data = (0..w * h).flat_map(|_| rgb).collect();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    Image::new(w, h, 3, data).unwrap().write_png(path).unwrap();
}

#[test]
fn folders_of_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    png(&root.join("dog/b.png"), 4, 3, [10, 20, 30]);
    png(&root.join("dog/a.PNG"), 4, 3, [40, 50, 60]);
    png(&root.join("cat/deep/x.png"), 8, 6, [255, 0, 0]);
    std::fs::write(root.join("cat/notes.txt"), "no picture").unwrap();
    std::fs::write(root.join("readme.txt"), "no class").unwrap();
    std::fs::create_dir(root.join(".hidden")).unwrap();
    let set = ImageFolder::new(root).unwrap();
    assert_eq!(set.class_names().unwrap(), ["cat", "dog"]);
    let names: Vec<_> =
        set.files().map(|(p, l)| (p.file_name().unwrap().to_str().unwrap().to_string(), l)).collect();
    assert_eq!(names, [("x.png".to_string(), 0), ("a.PNG".into(), 1), ("b.png".into(), 1)]);
    let x = set.get(2, &mut cx()).unwrap();
    assert_eq!((x.input.shape(), x.target.as_i64().unwrap()), (&[3usize, 3, 4][..], &[1i64][..]));
    assert_eq!(x.input.as_f32().unwrap()[12], 20.0 / 255.0);
    let gray = set.clone().channels(Channels::Gray).raw().get(2, &mut cx()).unwrap().input;
    assert_eq!((gray.shape(), gray.as_u8().unwrap()[0]), (&[1usize, 3, 4][..], 18));
    let uneven = DataLoader::new(Arc::new(set.clone())).batch_size(3).epoch(0).iter().next().unwrap();
    assert!(uneven.unwrap_err().to_string().contains("Resize or a crop"));
    let even =
        set.clone().transform(Arc::new(Resize::new(5, 5).unwrap())).normalize(&[0.5; 3], &[0.5; 3]).unwrap();
    let batch =
        DataLoader::new(Arc::new(even)).batch_size(3).workers(2).epoch(0).iter().next().unwrap().unwrap();
    assert_eq!(batch.inputs.shape(), [3, 3, 5, 5]);
    assert!((batch.inputs.as_f32().unwrap()[0] - 1.0).abs() < 1e-6, "red is 255 → 1 → 1");
    assert!(set.clone().normalize(&[0.5], &[0.5]).unwrap().get(0, &mut cx()).is_err());

    std::fs::write(root.join("dog/a.PNG"), b"broken").unwrap();
    let e = set.get(1, &mut cx()).unwrap_err().to_string();
    assert!(e.contains("a.PNG"), "{e}");
    std::fs::remove_file(root.join("dog/b.png")).unwrap();
    assert!(set.get(2, &mut cx()).unwrap_err().to_string().contains("b.png"));
}

#[test]
fn folders_that_hold_no_pictures_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let e = ImageFolder::new(dir.path()).unwrap_err().to_string();
    assert!(
        e.ends_with("is empty: an image folder holds one folder per class with PNG or JPEG files in it"),
        "{e}"
    );
    std::fs::create_dir(dir.path().join("cat")).unwrap();
    let e = ImageFolder::new(dir.path()).unwrap_err().to_string();
    assert!(e.ends_with("cat is empty: a class folder needs files ending in png, jpg, jpeg"), "{e}");
    let e = ImageFolder::new(dir.path().join("none")).unwrap_err().to_string();
    assert!(e.starts_with("cannot list the folder ") && e.contains("none: "), "{e}");
}

//! Transforms against torchvision's values, and what their random versions must hold.

use hadal_data::transform::*;
use hadal_data::{Array, Result, SampleCtx};
use serde_json::Value;
use std::sync::Arc;

fn cx() -> SampleCtx {
    SampleCtx::new(0, 0)
}

fn num(v: &Value) -> f64 {
    v.as_f64().unwrap()
}

fn nums(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(num).collect()
}

fn sizes(v: &Value) -> Vec<usize> {
    nums(v).into_iter().map(|x| x as usize).collect()
}

fn values(a: &Array) -> Vec<f64> {
    match (a.as_u8(), a.as_f32()) {
        (Some(v), _) => v.iter().map(|&x| f64::from(x)).collect(),
        (_, Some(v)) => v.iter().map(|&x| f64::from(x)).collect(),
        _ => panic!("images are u8 or f32"),
    }
}

/// Runs the operation that a golden case names.
fn run(op: &str, p: &Value, x: Array) -> Result<Array> {
    let cx = &mut cx();
    let how = |v: &Value| match v.as_str().unwrap() {
        "nearest" => Interpolation::Nearest,
        _ => Interpolation::Bilinear,
    };
    let factor = || num(&p["factor"]);
    match op {
        "resize" => {
            let t = match p["size"].as_u64() {
                Some(side) => Resize::shorter(side as usize)?,
                None => Resize::new(sizes(&p["size"])[0], sizes(&p["size"])[1])?,
            };
            t.antialias(p["antialias"].as_bool().unwrap()).apply(x, cx)
        }
        "rotate" => {
            let angle = num(&p["angle"]);
            let t = RandomRotation::range(angle, angle)?;
            t.interpolation(how(&p["how"])).fill(num(&p["fill"]) as f32).apply(x, cx)
        }
        "affine" => {
            let (t, s) = (nums(&p["translate"]), nums(&p["shear"]));
            let params = AffineParams {
                degrees: num(&p["angle"]),
                translate: (t[0], t[1]),
                scale: num(&p["scale"]),
                shear: (s[0], s[1]),
            };
            affine(x, &params, how(&p["how"]), num(&p["fill"]) as f32, cx)
        }
        "brightness" => adjust_brightness(x, factor(), cx),
        "contrast" => adjust_contrast(x, factor(), cx),
        "saturation" => adjust_saturation(x, factor(), cx),
        "hue" => adjust_hue(x, factor(), cx),
        "pad" => {
            let by = sizes(&p["by"]);
            let mode = serde_json::from_value(p["mode"].clone()).unwrap();
            Pad::sides([by[0], by[1], by[2], by[3]])?.mode(mode).apply(x, cx)
        }
        "center_crop" => CenterCrop::new(sizes(&p["size"])[0], sizes(&p["size"])[1])?.apply(x, cx),
        "grayscale" => Grayscale::new(p["channels"].as_u64().unwrap() as usize)?.apply(x, cx),
        "normalize" => {
            let f = |v| nums(v).into_iter().map(|x| x as f32).collect::<Vec<_>>();
            let steps: Vec<Arc<dyn Transform>> =
                vec![Arc::new(ToFloat), Arc::new(Normalize::new(&f(&p["mean"]), &f(&p["std"]))?)];
            Compose::new(steps).apply(x, cx)
        }
        "hflip" => flip(x, true),
        "vflip" => flip(x, false),
        _ => panic!("no such operation: {op}"),
    }
}

#[test]
fn equal_torchvision() {
    let golden: Value = serde_json::from_str(include_str!("goldens/transforms.json")).unwrap();
    let shape = sizes(&golden["shape"]);
    let pixels: Vec<u8> = sizes(&golden["u8"]).into_iter().map(|v| v as u8).collect();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() > 80, "the goldens are all there");
    let mut wrong = Vec::new();
    for case in cases {
        let op = case["op"].as_str().unwrap();
        let u8s = Array::u8(&shape, pixels.clone()).unwrap();
        let is_u8 = case["input"] == "u8";
        let x = if is_u8 { u8s } else { ToFloat.apply(u8s, &mut cx()).unwrap() };
        let y = run(op, &case["params"], x).unwrap();
        assert_eq!(y.shape(), sizes(&case["shape"]), "{op} {}", case["params"]);
        let (got, expected) = (values(&y), nums(&case["data"]));
        // u8 results of sums in another order may round or truncate the other way, by one step;
        // pixel moves must be exact.
        let exact = matches!(op, "pad" | "center_crop" | "hflip" | "vflip");
        let tolerance = match (y.as_u8().is_some(), exact) {
            (_, true) => 1e-7,
            (true, _) => 1.0,
            _ => 3e-6,
        };
        let worst = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let off = got.iter().zip(&expected).filter(|(a, b)| (*a - *b).abs() > 1e-5).count();
        if worst > tolerance || (y.as_u8().is_some() && off * 20 > got.len()) {
            wrong.push(format!(
                "{op} {} {}: off by {worst} ({off} of {})",
                case["params"],
                case["input"],
                got.len()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn image() -> Array {
    Array::u8(&[3, 12, 10], (0..360).map(|i| (i * 7 % 256) as u8).collect()).unwrap()
}

fn all_specs() -> Vec<TransformSpec> {
    let text = r#"[
        {"type": "random_crop", "size": [8, 8], "padding": [2, 2, 2, 2]},
        {"type": "random_horizontal_flip"},
        {"type": "random_vertical_flip", "p": 0.3},
        {"type": "pad", "padding": [1, 1, 1, 1], "mode": "reflect"},
        {"type": "center_crop", "size": [9, 9]},
        {"type": "resize", "size": [12, 11]},
        {"type": "resize", "size": 10, "antialias": false},
        {"type": "random_rotation", "degrees": [-20.0, 20.0], "interpolation": "bilinear"},
        {"type": "random_affine", "degrees": [-5.0, 5.0], "translate": [0.1, 0.2], "scale": [0.9, 1.1], "shear_x": [-3.0, 3.0]},
        {"type": "color_jitter", "brightness": [0.5, 1.5], "contrast": [0.5, 1.5], "saturation": [0.5, 1.5], "hue": [-0.1, 0.1]},
        {"type": "compose", "steps": [{"type": "to_float"}, {"type": "random_erasing", "p": 0.9, "random": true}]},
        {"type": "normalize", "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
        {"type": "grayscale"}
    ]"#;
    serde_json::from_str(text).unwrap()
}

#[test]
fn descriptions_survive_a_round_trip_and_build_the_same_transform() {
    let specs = all_specs();
    let built = Compose::from_specs(&specs).unwrap();
    assert_eq!(built.specs().unwrap(), specs);
    let again: Vec<TransformSpec> = serde_json::from_str(&serde_json::to_string(&specs).unwrap()).unwrap();
    assert_eq!(again, specs);
    let a = built.apply(image(), SampleCtx::new(3, 1).at(5, 0)).unwrap();
    let b = Compose::from_specs(&again).unwrap().apply(image(), SampleCtx::new(3, 1).at(5, 0)).unwrap();
    assert_eq!(a, b);
    assert_eq!(a.shape()[0], 1);
}

#[test]
fn unknown_fields_and_wrong_values_are_errors() {
    for text in [
        r#"{"type": "random_crop", "size": [8, 8], "paddin": 1}"#,
        r#"{"type": "random_crop"}"#,
        r#"{"type": "wobble"}"#,
    ] {
        assert!(serde_json::from_str::<TransformSpec>(text).is_err(), "{text}");
    }
    for (text, part) in [
        (r#"{"type": "random_crop", "size": [0, 8]}"#, "size 0×8"),
        (r#"{"type": "normalize", "mean": [0.0], "std": [0.0]}"#, "standard deviation 0 is not positive"),
        (r#"{"type": "normalize", "mean": [], "std": []}"#, "0 means"),
        (r#"{"type": "random_horizontal_flip", "p": 1.5}"#, "probability 1.5"),
        (r#"{"type": "random_rotation", "degrees": [5.0, -5.0]}"#, "in order"),
        (r#"{"type": "random_affine", "degrees": [0.0, 0.0], "scale": [0.0, 1.0]}"#, "scale (0, 1)"),
        (r#"{"type": "random_affine", "degrees": [0.0, 0.0], "shear_x": [0.0, 90.0]}"#, "90 degrees"),
        (r#"{"type": "color_jitter", "hue": [-0.1, 0.6]}"#, "-0.5..=0.5"),
        (r#"{"type": "random_erasing", "scale": [0.1, 2.0]}"#, "goes past 1"),
        (r#"{"type": "resize", "size": 0}"#, "side 0"),
        (r#"{"type": "resize", "size": 9999999}"#, "side 9999999"),
        (r#"{"type": "grayscale", "num_output_channels": 2}"#, "2 output channels"),
        (r#"{"type": "pad", "padding": [1, 1, 1, 99999999]}"#, "padding 99999999"),
        (r#"{"type": "compose", "steps": [{"type": "resize", "size": 0}]}"#, "side 0"),
    ] {
        let spec: TransformSpec = serde_json::from_str(text).unwrap();
        let e = spec.build().unwrap_err().to_string();
        assert!(e.contains(part), "{text}: {e}");
    }
}

#[test]
fn images_that_do_not_suit_are_errors() {
    let labels = Array::i64(&[1, 2, 2], vec![0; 4]).unwrap();
    let flat = Array::u8(&[4], vec![0; 4]).unwrap();
    let empty = Array::u8(&[3, 0, 4], vec![]).unwrap();
    let four = Array::u8(&[4, 2, 2], vec![0; 16]).unwrap();
    for spec in all_specs() {
        for bad in [&labels, &flat, &empty] {
            assert!(spec.build().unwrap().apply(bad.clone(), &mut cx()).is_err(), "{spec:?} {bad:?}");
        }
    }
    let e = adjust_hue(four, 0.1, &mut cx()).unwrap_err().to_string();
    assert!(e.contains("needs 1 or 3 channels, the image has 4"), "{e}");
    let e = RandomCrop::new(20, 20).unwrap().apply(image(), &mut cx()).unwrap_err().to_string();
    assert!(e.contains("the image is 12×10") && e.contains("pad_if_needed"), "{e}");
    let e = Normalize::new(&[0.5; 3], &[0.5; 3]).unwrap().apply(image(), &mut cx()).unwrap_err().to_string();
    assert!(e.contains("put ToFloat before it"), "{e}");
    let e = Pad::new(10).unwrap().mode(PadMode::Reflect).apply(image(), &mut cx()).unwrap_err().to_string();
    assert!(e.contains("larger than mode Reflect allows"), "{e}");
    assert!(crop(image(), usize::MAX, 0, 2, 2, &mut cx()).is_err());
}

#[test]
fn random_transforms_depend_on_seed_epoch_and_index_only() {
    let t = Compose::from_specs(&all_specs()[..11]).unwrap();
    let at = |seed, epoch, index, occurrence| {
        t.apply(image(), SampleCtx::new(seed, epoch).at(index, occurrence)).unwrap()
    };
    let first = at(1, 2, 3, 0);
    let mut used = SampleCtx::new(1, 2);
    t.apply(image(), used.at(9, 0)).unwrap();
    assert_eq!(t.apply(image(), used.at(3, 0)).unwrap(), first, "what came before does not matter");
    for other in [at(2, 2, 3, 0), at(1, 3, 3, 0), at(1, 2, 4, 0), at(1, 2, 3, 1)] {
        assert_ne!(other, first);
    }
}

#[test]
fn flips_and_erasing_happen_as_often_as_they_should() {
    let x = image();
    let share = |t: &dyn Transform| {
        let mut cx = cx();
        let changed = |&i: &usize| t.apply(x.clone(), cx.at(i, 0)).unwrap() != x;
        (0..2000).filter(changed).count() as f64 / 2000.0
    };
    // Three standard deviations of a share at 2,000 draws are 0.034 at most.
    assert!((share(&RandomHorizontalFlip::default()) - 0.5).abs() < 0.034);
    assert!((share(&RandomVerticalFlip::new(0.2).unwrap()) - 0.2).abs() < 0.03);
    assert_eq!(share(&RandomHorizontalFlip::new(0.0).unwrap()), 0.0);
    assert_eq!(share(&RandomHorizontalFlip::new(1.0).unwrap()), 1.0);
    assert!((share(&RandomErasing::default()) - 0.5).abs() < 0.045);
}

#[test]
fn random_crop_reaches_every_place_and_only_those() {
    let x = Array::u8(&[1, 3, 4], (0..12).collect()).unwrap();
    let t = RandomCrop::new(2, 2).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    let mut cx = cx();
    for i in 0..500 {
        let y = t.apply(x.clone(), cx.at(i, 0)).unwrap();
        let p = y.as_u8().unwrap().to_vec();
        assert_eq!((p[1], p[2], p[3]), (p[0] + 1, p[0] + 4, p[0] + 5));
        seen.insert(p[0]);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2, 4, 5, 6]);
}

#[test]
fn erasing_keeps_its_area_within_the_range() {
    let x = Array::f32(&[1, 40, 40], vec![1.0; 1600]).unwrap();
    let t = RandomErasing::new(1.0, (0.1, 0.2), (0.5, 2.0), 0.0).unwrap();
    let mut cx = cx();
    for i in 0..200 {
        let y = t.apply(x.clone(), cx.at(i, 0)).unwrap();
        let gone = y.as_f32().unwrap().iter().filter(|&&v| v == 0.0).count();
        // Both sides are rounded to whole pixels: up to half a pixel each way.
        assert!((130..=350).contains(&gone), "{gone}");
    }
    let noise = t.random().apply(x, cx.at(0, 0)).unwrap();
    assert!(noise.as_f32().unwrap().iter().any(|&v| v < 0.0));
}

//! Images of any size and colour are brought into the form of the training data.

use crate::support::config;
use hadal_data::{Places, SampleCtx, Split, load_named};
use hadal_io::Image;
use hadal_io::image::Filter;
use hadal_train::{DataInfo, Input, Predictor, Trainer};

/// Three times as large, dark on light, coloured, off the middle, with room around.
fn photo(digit: &[u8]) -> Image {
    let large = Image::new(28, 28, 1, digit.to_vec()).unwrap().resize(84, 84, Filter::Bilinear).unwrap();
    let (w, h) = (150, 120);
    let mut data = vec![[230u8, 225, 215]; w * h];
    for (at, v) in large.data().iter().enumerate() {
        let (x, y) = (at % 84 + 10, at / 84 + 20);
        let ink = f32::from(*v) / 255.0;
        data[y * w + x] = [230.0, 225.0, 215.0].map(|c: f32| (c * (1.0 - ink) + 30.0 * ink) as u8);
    }
    Image::new(w, h, 3, data.concat()).unwrap()
}

#[test]
fn a_photo_of_a_digit_is_read_like_the_digit() {
    let mut trainer = Trainer::new(config(&[
        ("data", "digits"),
        ("hidden", "64"),
        ("augment", "none"),
        ("lr", "0.005"),
        ("epochs", "3"),
    ]))
    .unwrap();
    let accuracy = trainer.run().unwrap().test_accuracy.unwrap();
    assert!(accuracy > 0.9, "{accuracy}");
    let info = trainer.data().info.clone();
    assert!(matches!(info.input, Input::Image { dark_background: true, centered: true, .. }), "{info:?}");
    let predictor = Predictor::new(trainer.model(), &info).unwrap();
    let raw = load_named("digits", Split::Test, Places::default(), &mut |_| {}).unwrap();
    let (mut right, mut right_in_photo) = (0, 0);
    for i in 0..100 {
        let truth = raw.classes()[raw.labels()[i] as usize].clone();
        let plain =
            predictor.predict(&Image::new(28, 28, 1, raw.pixels(i).unwrap().to_vec()).unwrap(), 5).unwrap();
        assert_eq!(plain.conversion, ["used as it is"]);
        assert_eq!(plain.top.len(), 5);
        assert!(plain.top.windows(2).all(|p| p[0].1 >= p[1].1) && plain.top[0].1 <= 1.0);
        right += usize::from(plain.top[0].0 == truth);
        let photo = predictor.predict(&photo(raw.pixels(i).unwrap()), 5).unwrap();
        right_in_photo += usize::from(photo.top[0].0 == truth);
        assert_eq!(photo.conversion[0], "colour to grey");
        assert!(photo.conversion[1].starts_with("inverted, "), "{:?}", photo.conversion);
        assert!(photo.conversion[2].starts_with("contrast stretched from "), "{:?}", photo.conversion);
        assert!(photo.conversion[3].ends_with("put in the middle of 28 x 28"), "{:?}", photo.conversion);
    }
    assert!(right >= 88 && right_in_photo >= right - 6, "{right} plain, {right_in_photo} as photos");

    // The first test digit, evaluated the long way: the same input to the last bit.
    let sample = trainer.data().test.get(0, &mut SampleCtx::new(0, 0)).unwrap();
    let (converted, _) =
        predictor.convert(&Image::new(28, 28, 1, raw.pixels(0).unwrap().to_vec()).unwrap()).unwrap();
    assert_eq!(converted.data(), raw.pixels(0).unwrap());
    assert_eq!(sample.input.len(), 784);
}

#[test]
fn every_size_is_taken() {
    let info = DataInfo {
        name: "digits".into(),
        task: hadal_train::Task::Classification { classes: (0..10).map(|d| d.to_string()).collect() },
        input: Input::Image {
            channels: 1,
            height: 28,
            width: 28,
            mean: vec![0.13],
            std: vec![0.31],
            dark_background: true,
            centered: true,
        },
    };
    let plain = DataInfo {
        input: Input::Image {
            channels: 3,
            height: 24,
            width: 32,
            mean: vec![0.5; 3],
            std: vec![0.5; 3],
            dark_background: false,
            centered: false,
        },
        ..info.clone()
    };
    let nothing = hadal_nn::Sequential::default();
    for (info, size) in [(&info, (28, 28)), (&plain, (32, 24))] {
        let p = Predictor::new(&nothing, info).unwrap();
        for (w, h) in [(1, 1), (1, 300), (300, 1), (27, 29), (32, 24), (28, 28), (500, 400), (33, 24)] {
            for value in [0u8, 128, 255] {
                for channels in [1, 3] {
                    let mut data = vec![value; w * h * channels];
                    data[0] = 255 - value;
                    let (out, said) = p.convert(&Image::new(w, h, channels, data).unwrap()).unwrap();
                    assert_eq!((out.width(), out.height()), size, "{w} x {h}: {said:?}");
                }
            }
        }
    }
}

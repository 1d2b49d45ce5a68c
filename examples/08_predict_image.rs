//! From an image file to a class: train a moment, save a PNG, and ask the model about it, as
//! `hadal predict` does. Any size and colour is converted to what the training data was.

use hadal::io::Image;
use hadal::train::{Config, Run, Trainer};

/// A hand-drawn seven, dark on light, 60 by 80.
fn seven() -> Image {
    let mut pixels = vec![245u8; 60 * 80 * 3];
    let mut dot = |x: i32, y: i32| {
        for (dx, dy) in (-3..=3).flat_map(|a| (-3..=3).map(move |b| (a, b))) {
            let at = (((y + dy) * 60 + x + dx) * 3) as usize;
            pixels[at..at + 3].copy_from_slice(&[20, 30, 60]);
        }
    };
    for i in 0..30 {
        dot(15 + i, 15);
    }
    for i in 0..50 {
        dot(45 - i * 2 / 5, 15 + i);
    }
    Image::new(60, 80, 3, pixels).expect("the sizes fit")
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = std::env::temp_dir().join("hadal-example-08");
    let _ = std::fs::remove_dir_all(&out); // a folder of an earlier run
    let mut config = Config::default();
    config.set("epochs", "6")?;
    config.set("out", &out.display().to_string())?;
    Trainer::new(config)?.run()?;

    let file = out.join("seven.png");
    seven().write_png(&file)?;

    let run = Run::open(&out)?;
    let prediction = run.predictor()?.predict(&Image::read(&file)?, 5)?;
    println!("{}: {}", file.display(), prediction.conversion.join(", "));
    for (class, probability) in &prediction.top {
        println!("  {class}  {:5.1} %  {}", probability * 100.0, "█".repeat((probability * 40.0) as usize));
    }
    assert_eq!(prediction.top[0].0, "7");
    Ok(())
}

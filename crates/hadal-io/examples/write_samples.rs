//! Writes one file of each kind into a folder, for the original readers to check:
//! `cargo run -p hadal-io --example write_samples -- DIR`, then `tools/golden/check_tensorboard.py DIR`.

use hadal_io::tensorboard::EventWriter;
use hadal_io::{DType, Image, RawTensor, npy, safetensors};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = PathBuf::from(std::env::args().nth(1).ok_or("usage: write_samples DIR")?);
    std::fs::create_dir_all(&dir)?;
    let mut data = Vec::new();
    for v in 0..6 {
        data.extend_from_slice(&(v as f32 * 0.5).to_le_bytes());
    }
    let x = RawTensor { dtype: DType::F32, shape: vec![2, 3], data };
    let odd = RawTensor { dtype: DType::BF16, shape: vec![3], data: vec![0, 0x3F, 0, 0x40, 0x80, 0x40] };
    let metadata = [("format".to_string(), "pt".to_string())].into();
    safetensors::write(dir.join("x.safetensors"), &[("odd", odd.view()), ("x", x.view())], &metadata)?;
    npy::write(dir.join("x.npy"), x.view())?;
    npy::write_npz(dir.join("x.npz"), &[("x", x.view())], true)?;
    let pixels = (0..28 * 28 * 3).map(|i| (i % 256) as u8).collect();
    let image = Image::new(28, 28, 3, pixels)?;
    image.write_png(dir.join("x.png"))?;

    let mut log = EventWriter::create(&dir, 1.7e9)?;
    for step in 1..=10 {
        log.scalars(
            step,
            &[("train/loss", 1.0 / step as f32), ("train/accuracy", 0.1 * step as f32)],
            1.7e9,
        )?;
    }
    log.text(0, "config", "lr = **0.1**", 1.7e9)?;
    log.image(3, "digits", &image, 1.7e9)?;
    // A killed run, resumed from step 7.
    let mut log = EventWriter::resume(&dir, 8, 1.7e9 + 60.0)?;
    log.scalars(8, &[("train/loss", -8.0)], 1.7e9 + 60.0)?;
    Ok(())
}

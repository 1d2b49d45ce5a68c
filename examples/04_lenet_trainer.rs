//! LeNet on the digits that come with the library, with the trainer: what `hadal train` does, as a
//! library call. Writes a run folder with weights, curves and the worst mistakes.

use hadal::train::{Config, Control, EpochRecord, Observer, Trainer};

/// Prints a line after each epoch and stops early when that is good enough.
struct Watch;

impl Observer for Watch {
    fn on_epoch(&mut self, e: &EpochRecord) -> Control {
        let accuracy = e.held_out_accuracy().unwrap_or(0.0);
        println!("epoch {:2}  train loss {:.3}  held-out accuracy {accuracy:.3}", e.epoch, e.train_loss);
        if accuracy > 0.95 { Control::Stop } else { Control::Continue }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = std::env::temp_dir().join("hadal-example-04");
    let _ = std::fs::remove_dir_all(&out); // a folder of an earlier run
    let mut config = Config::default(); // LeNet, the embedded digits
    config.set("epochs", "4")?;
    config.set("out", &out.display().to_string())?;

    let mut trainer = Trainer::new(config)?;
    trainer.observe(Watch);
    let summary = trainer.run()?;
    println!("test accuracy {:?} after {} steps", summary.test_accuracy, summary.steps);
    println!("weights, curves and pictures are in {}", out.display());
    assert!(summary.test_accuracy.unwrap_or(0.0) > 0.8);
    Ok(())
}

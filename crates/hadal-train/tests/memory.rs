//! Memory in a steady run. A program of its own, since the figures are of the whole process.

use hadal_tensor::memory_stats;
use hadal_train::{Config, Control, Observer, StepRecord, Trainer};
use std::cell::RefCell;
use std::rc::Rc;

/// Bytes in use and taken from the system after each step.
#[derive(Clone, Default)]
struct Watch(Rc<RefCell<Vec<(usize, usize)>>>);
impl Observer for Watch {
    fn on_step(&mut self, _: &StepRecord) -> Control {
        let m = memory_stats();
        self.0.borrow_mut().push((m.live, m.fresh));
        Control::Continue
    }
}

#[test]
fn a_steady_step_takes_no_memory_from_the_system() {
    let mut config = Config::default();
    for (name, value) in [("max-steps", "30"), ("evaluate", "false"), ("artifacts", "false"), ("ema", "0.99")]
    {
        config.set(name, value).unwrap();
    }
    let watch = Watch::default();
    Trainer::new(config).unwrap().observe(watch.clone()).run().unwrap();
    let seen = watch.0.borrow();
    assert_eq!(seen.len(), 30);
    assert!(seen[10..].iter().all(|s| *s == seen[10]), "{seen:?}");
}

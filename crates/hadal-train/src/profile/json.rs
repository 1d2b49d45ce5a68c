//! The numbers for programs.

use super::sums::PHASES;
use super::{Layer, Operation, Report, Sum};
use serde_json::{Value, json};
use std::time::Duration;

impl Report {
    /// Everything that the tables show as one object. Numbers are of all steps together, times in
    /// nanoseconds, rates in billions a second, shares from 0 to 1; what has no rate is null.
    pub fn json(&self) -> Value {
        let t = &self.times;
        json!({
            "title": self.title,
            "steps": self.steps,
            "evaluations": self.profile.evaluations.len(),
            "plans_reused": self.plans_reused(),
            "time_ns": {
                "total": ns(t.total()),
                "work": ns(t.work),
                "planning": ns(t.planning),
                "between_operations": ns(t.between),
                "outside_evaluations": ns(t.outside),
            },
            "peak_memory_bytes": self.profile.work.iter().map(|w| w.memory).max().unwrap_or(0),
            "ceilings": self.ceilings,
            "work": self.sum(&self.work()),
            "phases": self.phase_sums(&self.phases().map(|(_, sum)| sum)),
            "operations": self.named(&self.operations),
            "layers": self.layers.iter().map(|l| self.layer(l)).collect::<Vec<_>>(),
        })
    }

    fn layer(&self, l: &Layer) -> Value {
        let mut object = self.sum(&l.sum);
        object["path"] = l.path.as_str().into();
        object["type"] = l.kind.into();
        object["depth"] = l.depth.into();
        object["phases"] = self.phase_sums(&l.phases);
        object["operations"] = self.named(&l.own);
        object
    }

    fn phase_sums(&self, sums: &[Sum; 3]) -> Value {
        PHASES.iter().zip(sums).map(|(phase, s)| (phase.name().to_owned(), self.sum(s))).collect()
    }

    fn named(&self, all: &[Operation]) -> Value {
        let one = |o: &Operation| {
            let mut object = self.sum(&o.sum);
            object["name"] = o.name.as_str().into();
            object["phase"] = o.phase.name().into();
            object
        };
        all.iter().map(one).collect()
    }

    fn sum(&self, s: &Sum) -> Value {
        json!({
            "calls": s.calls,
            "time_ns": ns(s.time),
            "share": self.share(s.time),
            "flops": s.flops,
            "bytes": s.bytes,
            "gflops": s.gflops(),
            "gb_per_s": s.gbs(),
            "of_ceiling": s.of_ceiling(),
        })
    }
}

/// Nanoseconds; 584 years fit.
fn ns(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

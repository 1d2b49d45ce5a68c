//! The recording in the trace event format that Chrome and Perfetto open.
//!
//! Format: "Trace Event Format", Google 2016. Times are microseconds with decimals.

use super::Report;
use serde_json::{Value, json};
use std::time::Duration;

/// Numbers of the tracks.
const OPERATIONS: u32 = 1;
const EVALUATIONS: u32 = 2;

impl Report {
    /// A track of operations, in the category of their phase, one of evaluations with their planning, and the memory that tensors hold.
    /// Open it in <https://ui.perfetto.dev> or `chrome://tracing`.
    pub fn trace(&self) -> String {
        let mut events: Vec<String> = Vec::with_capacity(2 * self.profile.work.len() + 8);
        let mut put = |event: Value| events.push(event.to_string());
        put(json!({"ph": "M", "pid": 1, "tid": 0, "name": "process_name", "args": {"name": self.title}}));
        for (tid, name) in [(OPERATIONS, "operations"), (EVALUATIONS, "evaluations")] {
            put(json!({"ph": "M", "pid": 1, "tid": tid, "name": "thread_name", "args": {"name": name}}));
            put(
                json!({"ph": "M", "pid": 1, "tid": tid, "name": "thread_sort_index", "args": {"sort_index": tid}}),
            );
        }
        for e in &self.profile.evaluations {
            let args = json!({"nodes": e.nodes, "operations": e.work});
            put(span(EVALUATIONS, "evaluation", "evaluation", e.start, e.time, args));
            put(span(EVALUATIONS, "planning", "planning", e.start, e.planning, json!({"nodes": e.nodes})));
        }
        for w in &self.profile.work {
            let seconds = w.time.as_secs_f64();
            let rate = |n: u64| if seconds > 0.0 { json!(n as f64 / seconds / 1e9) } else { Value::Null };
            let args = json!({
                "phase": w.phase.name(), "layer": w.layer, "type": w.layer_type, "shape": w.shape.dims(), "dtype": w.dtype.to_string(),
                "flops": w.flops, "bytes": w.bytes, "gflops": rate(w.flops), "gb_per_s": rate(w.bytes),
            });
            put(span(OPERATIONS, &w.name, w.phase.name(), w.start, w.time, args));
            put(json!({"ph": "C", "pid": 1, "name": "memory of tensors", "ts": us(w.start + w.time),
                       "args": {"bytes": w.memory}}));
        }
        // An event a line: diffs and searches by line work.
        format!("{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n{}\n]}}\n", events.join(",\n"))
    }
}

fn span(track: u32, name: &str, category: &str, start: Duration, time: Duration, args: Value) -> Value {
    json!({"ph": "X", "pid": 1, "tid": track, "name": name, "cat": category,
           "ts": us(start), "dur": us(time), "args": args})
}

fn us(d: Duration) -> f64 {
    d.as_nanos() as f64 / 1e3
}

//! Tables for people: by operation and by module, one step, everything adding up to the total.

use super::sums::by_phase;
use super::{Phase, Report, Sum, other, si, three};
use std::time::Duration;

/// Columns of numbers; the name comes last, so that a long one moves nothing.
const FULL: &[(&str, usize)] = &[
    ("ms", 10),
    ("share", 9),
    ("calls", 7),
    ("FLOPs", 8),
    ("bytes", 8),
    ("GFLOP/s", 9),
    ("GB/s", 7),
    ("ceiling", 9),
    // Of modules, milliseconds.
    ("forward", 10),
    ("backward", 10),
];
/// The last columns of [`FULL`].
const OF_MODULES: usize = 2;
/// A line of a table.
struct Row {
    name: String,
    sum: Sum,
    phases: [Sum; 3],
}

/// Those of [`FULL`] that a terminal has room for.
const NARROW: &[usize] = &[0, 1, 2, 5, 6, 7];

const LEGEND: &str = "\
Times, calls, FLOPs and bytes are of one step, the mean of all. Names joined by + ran fused, as one pass over memory.
forward, backward: what a program computes, and its gradients; each gradient counts for the module whose operation it
differentiates. optimizer: clipping and updates of parameters. A pass that holds both counts as what its kernel
is, or its last operation.
bytes: each input read once, each result written once. ceiling: the share of what this machine can do, by the longer
of arithmetic and traffic; traffic that fits into the second-level caches is held against those, all other against
memory, so that more than 100 % is possible where third-level caches helped.
between operations: taking and giving back memory, views, handing values over. outside evaluations: building graphs,
taking gradients, reading data, logs.
";

impl Report {
    /// Tables by phase where there is more than a forward pass, by operation and by module, under a line
    /// about what was recorded and one about the machine. Text for people; [`json`](Report::json) is for programs.
    pub fn table(&self) -> String {
        let trains = self.trains();
        let columns = |of_modules: bool| -> Vec<usize> {
            (0..FULL.len() - if of_modules && trains { 0 } else { OF_MODULES }).collect()
        };
        let mut out = format!("{}\n{}\n{}\n", self.headline(), self.machine(), self.plans());
        let mut put = |title: &str, rows: Vec<Row>, columns: Vec<usize>| {
            out.push_str(&format!("\nBy {title}\n\n"));
            out.push_str(&self.lines(title, &rows, &columns, usize::MAX));
        };
        if trains {
            put("phase", self.by_phase(), columns(false));
        }
        put("operation", self.by_operation(), columns(false));
        put("module", self.by_layer(), columns(true));
        out + "\n" + LEGEND
    }

    /// The operations that took longest, at most `rows` of them, in lines of at most `width` characters.
    pub fn top(&self, rows: usize, width: usize) -> String {
        let mut all = self.by_operation();
        if all.len() > rows + 1 {
            let rest: Sum = self.operations[rows..].iter().map(|o| &o.sum).collect();
            all.truncate(rows);
            let name = format!("{} more", self.operations.len() - rows);
            all.push(Row { name, sum: rest, phases: by_phase(&self.operations[rows..]) });
        }
        let head: Vec<String> =
            [self.headline(), self.machine()].iter().map(|l| cut(l, width) + "\n").collect();
        format!("{}\n{}", head.concat(), self.lines("operation", &all, NARROW, width))
    }

    /// How often planning was spared.
    fn plans(&self) -> String {
        let all = self.profile.evaluations.len();
        format!("plans: {} of {all} evaluations used a kept one", self.plans_reused())
    }

    /// The ceilings in a line.
    fn machine(&self) -> String {
        let c = &self.ceilings;
        format!(
            "{}: {:.0} GFLOP/s, {:.1} GB/s from memory, {:.0} GB/s from second-level caches",
            if c.processor.is_empty() { "ceilings" } else { &c.processor },
            c.gflops,
            c.memory_gbs(),
            c.l2_gbs
        )
    }

    /// Whether there is more than a forward pass.
    fn trains(&self) -> bool {
        self.operations.iter().any(|o| o.phase != Phase::Forward)
    }

    fn by_phase(&self) -> Vec<Row> {
        let some = self.phases().into_iter().filter(|(_, sum)| sum.calls > 0);
        some.map(|(phase, sum)| Row { name: phase.name().into(), sum, phases: [Sum::default(); 3] }).collect()
    }

    fn by_operation(&self) -> Vec<Row> {
        self.operations.iter().map(|o| Row { name: o.label(), sum: o.sum, phases: by_phase([o]) }).collect()
    }

    fn by_layer(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (i, l) in self.layers.iter().enumerate() {
            let indent = "  ".repeat(l.depth);
            let kind = if l.kind.is_empty() { String::new() } else { format!(" ({})", l.kind) };
            rows.push(Row { name: format!("{indent}{}{kind}", l.name), sum: l.sum, phases: l.phases });
            // What a module does itself is a row of its own where others are inside it, so that each
            // module is the sum of the rows below it.
            let inside = self.layers.get(i + 1).is_some_and(|next| next.depth > l.depth);
            if inside && !l.own.is_empty() {
                let phases = by_phase(&l.own);
                rows.push(Row { name: format!("{indent}  (itself)"), sum: phases.iter().collect(), phases });
            }
        }
        rows
    }

    /// Headings, rows, the times that are no work, and the total.
    fn lines(&self, last: &str, rows: &[Row], columns: &[usize], width: usize) -> String {
        let line = |cells: &[String], name: &str| {
            let numbers: String = columns.iter().map(|&c| format!("{:>1$}", cells[c], FULL[c].1)).collect();
            cut(format!("{numbers}  {name}").trim_end(), width) + "\n"
        };
        let headings: Vec<String> = FULL.iter().map(|(name, _)| (*name).to_owned()).collect();
        let numbers = columns.iter().map(|&c| FULL[c].1).sum::<usize>();
        let longest = rows.iter().map(|r| r.name.chars().count()).max().unwrap_or(0);
        // A rule is no longer than reading needs.
        let rule = "─".repeat((numbers + 2 + longest.max(19)).min(width).min(120)) + "\n";
        let mut out = line(&headings, last) + &rule;
        for r in rows {
            out.push_str(&line(&self.cells(&r.sum, &r.phases), &r.name));
        }
        if rows.is_empty() {
            out.push_str(&line(&vec![String::new(); FULL.len()], "(nothing was computed)"));
        }
        let other = other(&self.times);
        for (name, time) in other {
            out.push_str(&line(&self.time_cells(time), name));
        }
        let work = self.work();
        let phases = by_phase(&self.operations);
        let mut total = self.cells(&work, &phases);
        total[..2].clone_from_slice(&self.time_cells(self.times.total())[..2]);
        // Rates over the whole time say how well the machine is used.
        let all = Sum { time: self.times.total(), ..work };
        total[5..].clone_from_slice(&self.cells(&all, &phases)[5..]);
        out + &rule + &line(&total, "total")
    }

    fn time_cells(&self, time: Duration) -> Vec<String> {
        let mut cells = vec![String::new(); FULL.len()];
        cells[0] = format!("{:.3}", self.ms(time));
        cells[1] = format!("{:.1} %", 100.0 * self.share(time));
        cells
    }

    fn cells(&self, s: &Sum, phases: &[Sum; 3]) -> Vec<String> {
        let steps = self.steps as f64;
        let whole = s.calls.is_multiple_of(self.steps);
        let calls =
            if whole { (s.calls / self.steps).to_string() } else { three(s.calls as f64 / steps, false) };
        let per_step = |n: u64| if n == 0 { "-".into() } else { si(n as f64 / steps) };
        let rate = |r: Option<f64>, n: u64| match r {
            Some(r) if n > 0 => three(r, false),
            _ => "-".into(),
        };
        let mut cells = self.time_cells(s.time);
        cells[2] = calls;
        cells[3] = per_step(s.flops);
        cells[4] = per_step(s.bytes);
        cells[5] = rate(s.gflops(), s.flops);
        cells[6] = rate(s.gbs(), s.bytes);
        cells[7] = s.of_ceiling().map_or("-".into(), |c| format!("{:.0} %", 100.0 * c));
        for (cell, phase) in cells[FULL.len() - OF_MODULES..].iter_mut().zip(phases) {
            *cell = if phase.calls == 0 { "-".into() } else { format!("{:.3}", self.ms(phase.time)) };
        }
        cells
    }
}

/// The text, with an ellipsis at its end when it is longer than `width`.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

//! The numbers of a hand-made recording in every report.

use super::*;
use hadal_tensor::{DType, Shape};
use serde_json::Value;

fn us(n: u64) -> Duration {
    Duration::from_micros(n)
}

/// Easy to divide by: 100 GFLOP/s, 10 GB/s, and 40 GB/s for at most 1,000 bytes.
fn ceilings() -> Ceilings {
    Ceilings {
        processor: "Z80".into(),
        simd: "none".into(),
        threads: 2,
        gflops: 100.0,
        read_gbs: 10.0,
        copy_gbs: 8.0,
        update_gbs: 9.0,
        l2_gbs: 40.0,
        l2_bytes: 1000,
        bf16_gflops: 0.0,
    }
}

type Row = (&'static str, Option<(&'static str, &'static str)>, u64, u64, u64, u64, usize);

/// Name, layer and its type, start and time in µs, FLOPs, bytes, memory.
const ROWS: [Row; 6] = [
    ("matmul", Some(("net.fc1", "Linear")), 30, 100, 5_000_000, 40_000, 1_000_000),
    ("add+relu", Some(("net.fc1", "Linear")), 140, 20, 10_000, 100_000, 2_000_000),
    ("matmul", Some(("net.fc2", "Linear")), 170, 50, 1_000_000, 400, 3_000_000),
    ("copy", Some(("net", "Sequential")), 230, 10, 0, 50_000, 2_500_000),
    ("mul<a>&\"b\"", None, 250, 20, 1000, 800, 1_500_000),
    ("matmul", Some(("net.fc1", "Linear")), 430, 100, 5_000_000, 40_000, 1_000_000),
];

/// Two steps in 1 ms: 300 µs of work, 30 of planning, 50 between, 620 outside.
fn made() -> Profile {
    let work = ROWS.map(|(name, layer, start, time, flops, bytes, memory)| Work {
        name: name.into(),
        layer: layer.map(|l| l.0.to_owned()),
        layer_type: layer.map(|l| l.1),
        phase: Phase::Forward,
        shape: Shape::from([4, 5]),
        dtype: DType::F32,
        start: us(start),
        time: us(time),
        flops,
        bytes,
        memory,
    });
    let evaluation = |start, planning, time, nodes, work| Evaluation {
        start: us(start),
        planning: us(planning),
        time: us(time),
        nodes,
        work,
        reused: start > 100,
    };
    Profile {
        work: work.to_vec(),
        evaluations: vec![evaluation(10, 20, 265, 9, 5), evaluation(420, 10, 115, 3, 1)],
        total: us(1000),
    }
}

fn report() -> Report {
    Report::new(made(), ceilings()).title("made <up>").steps(2)
}

#[test]
fn the_parts_are_the_whole() {
    let t = report().times();
    let parts = [t.work, t.planning, t.between, t.outside, t.total()];
    assert_eq!(parts, [us(300), us(30), us(50), us(620), us(1000)]);
    let r = report();
    let all = |sums: Vec<Sum>| sums.iter().collect::<Sum>();
    let top: Vec<Sum> = r.layers().iter().filter(|l| l.depth == 0).map(|l| l.sum).collect();
    for sum in [r.work(), all(top)] {
        assert_eq!((sum.calls, sum.time, sum.flops, sum.bytes), (6, us(300), 11_011_000, 231_200));
    }
    // Work that an evaluation did not live to report, as after an error.
    let t = Times::of(&Profile { evaluations: vec![], ..made() });
    assert_eq!((t.work, t.between, t.outside, t.total()), (us(300), us(0), us(700), us(1000)));
}

#[test]
fn operations_are_sorted_by_time() {
    let r = report();
    let names: Vec<&str> = r.operations().iter().map(|o| o.name.as_str()).collect();
    // Equal times in the order of names.
    assert_eq!(names, ["matmul", "add+relu", "mul<a>&\"b\"", "copy"]);
    let m = r.operations()[0].sum;
    assert_eq!((m.calls, m.time, m.flops, m.bytes), (3, us(250), 11_000_000, 80_400));
    assert_eq!(m.gflops(), Some(11e6 / 250e-6 / 1e9));
    assert_eq!(m.gbs(), Some(80_400.0 / 250e-6 / 1e9));
    // 50 µs of arithmetic, twice, and 10 µs.
    assert!((m.at_best - 110e-6).abs() < 1e-12 && (m.of_ceiling().unwrap() - 0.44).abs() < 1e-9);
    let copy = r.operations()[3].sum;
    assert_eq!((copy.gflops(), copy.intensity()), (Some(0.0), Some(0.0)));
    assert!((copy.of_ceiling().unwrap() - 0.5).abs() < 1e-9, "50 kB at 10 GB/s in 10 µs");
    assert!((r.operations()[2].sum.at_best - 20e-9).abs() < 1e-15, "800 bytes come from a cache");
    assert_eq!(Sum::default().of_ceiling(), None);
}

#[test]
fn modules_are_a_tree() {
    let r = report();
    let rows: Vec<(&str, &str, usize, u64, Duration, usize)> = r
        .layers()
        .iter()
        .map(|l| (l.path.as_str(), l.kind, l.depth, l.sum.calls, l.sum.time, l.own.len()))
        .collect();
    assert_eq!(
        rows,
        [
            ("net", "Sequential", 0, 5, us(280), 1),
            ("net.fc1", "Linear", 1, 3, us(220), 2),
            ("net.fc2", "Linear", 1, 1, us(50), 1),
            ("", "", 0, 1, us(20), 1),
        ]
    );
    // A module that is met after those in it, and one that only holds another.
    let work = ["a.b.c", "x", "a.d", "a.b", "a.b.e"]
        .map(|path| Work { layer: Some(path.into()), ..made().work[0].clone() });
    let r = Report::new(Profile { work: work.to_vec(), ..made() }, ceilings());
    let rows: Vec<(&str, u64)> = r.layers().iter().map(|l| (l.path.as_str(), l.sum.calls)).collect();
    assert_eq!(rows, [("a", 4), ("a.b", 3), ("a.b.c", 1), ("a.b.e", 1), ("a.d", 1), ("x", 1)]);
}

#[test]
fn the_tables() {
    let table = report().table();
    let expected = "\
made <up>: 2 steps of 0.500 ms on 2 threads
Z80: 100 GFLOP/s, 10.0 GB/s from memory, 40 GB/s from second-level caches
plans: 1 of 2 evaluations used a kept one

By operation

       ms  share calls  FLOPs  bytes GFLOP/s   GB/s ceiling  operation
";
    let squeeze = |s: &str| -> Vec<Vec<String>> {
        let words = |l: &str| l.split_whitespace().map(str::to_owned).collect();
        s.lines().filter(|l| !l.contains('─') && !l.trim().is_empty()).map(words).collect()
    };
    let lines = squeeze(&table);
    assert_eq!(lines[..5], squeeze(expected));
    let rows = "\
0.125 25.0 % 1.50 5.50M 40.2k 44.0 0.32 44 % matmul
0.010 2.0 % 0.50 5.00k 50.0k 0.50 5.00 50 % add+relu
0.010 2.0 % 0.50 500 400 0.05 0.04 0 % mul<a>&\"b\"
0.005 1.0 % 0.50 - 25.0k - 5.00 50 % copy
0.015 3.0 % planning
0.025 5.0 % between operations
0.310 62.0 % outside evaluations
0.500 100.0 % 3 5.51M 116k 11.0 0.23 13 % total
By module
ms share calls FLOPs bytes GFLOP/s GB/s ceiling module
0.140 28.0 % 2.50 5.50M 115k 39.3 0.82 45 % net (Sequential)
0.005 1.0 % 0.50 - 25.0k - 5.00 50 % (itself)
0.110 22.0 % 1.50 5.00M 90.0k 45.5 0.82 50 % fc1 (Linear)
0.025 5.0 % 0.50 500k 200 20.0 0.01 20 % fc2 (Linear)
0.010 2.0 % 0.50 500 400 0.05 0.04 0 % outside layers
0.015 3.0 % planning
0.025 5.0 % between operations
0.310 62.0 % outside evaluations
0.500 100.0 % 3 5.51M 116k 11.0 0.23 13 % total
";
    let expected = squeeze(rows);
    for (i, row) in expected.iter().enumerate() {
        assert_eq!(&lines[5 + i], row, "row {i} of:\n{table}");
    }
    // Columns line up, and modules are indented.
    let at = |text: &str, needle: &str| {
        let line = text.lines().find(|l| l.ends_with(needle)).unwrap();
        line.chars().count() - needle.chars().count()
    };
    assert_eq!(at(&table, "fc1 (Linear)"), at(&table, "net (Sequential)") + 2);
    assert_eq!(at(&table, "  (itself)"), at(&table, "net (Sequential)"));
    assert_eq!(at(&table, "copy"), at(&table, "matmul"));
}

#[test]
fn phases_are_told_apart_everywhere() {
    let mut p = made();
    // The last product is a gradient, what no layer made updates parameters.
    p.work[5].phase = Phase::Backward;
    p.work[4].phase = Phase::Optimizer;
    let r = Report::new(p, ceilings()).steps(2);
    assert_eq!(r.phases().map(|(_, s)| s.time), [us(180), us(100), us(20)]);
    let labels: Vec<String> = r.operations().iter().map(|o| o.label()).collect();
    assert_eq!(labels, ["matmul", "matmul, backward", "add+relu", "mul<a>&\"b\", optimizer", "copy"]);
    let fc1 = r.layers().iter().find(|l| l.path == "net.fc1").unwrap();
    assert_eq!(fc1.phases.map(|s| s.time), [us(120), us(100), us(0)]);
    let net = &r.layers()[0];
    assert_eq!((net.sum.time, net.phases[1].time), (us(280), us(100)));
    assert_eq!(r.layers().last().map(|l| (l.path.as_str(), l.name.as_str())), Some(("", "optimizer")));
    let table = r.table();
    let row = |end: &str| {
        let line = table.lines().find(|l| l.ends_with(end)).unwrap_or_else(|| panic!("{end} in\n{table}"));
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("  backward")[..3], ["0.050", "10.0", "%"]);
    assert_eq!(row("fc1 (Linear)")[10..12], ["0.060", "0.050"]);
    assert_eq!(row("fc2 (Linear)")[10..12], ["0.025", "-"]);
    let j = r.json();
    assert_eq!(j["phases"]["optimizer"]["time_ns"], 20_000);
    assert_eq!(j["layers"][1]["phases"]["backward"]["calls"], 1);
    assert_eq!(
        (&j["operations"][1]["name"], &j["operations"][1]["phase"]),
        (&"matmul".into(), &"backward".into())
    );
    let trace: Value = serde_json::from_str(&r.trace()).unwrap();
    let work: Vec<&str> = trace["traceEvents"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["ph"] == "X" && e["tid"] == 1)
        .map(|e| e["args"]["phase"].as_str().unwrap())
        .collect();
    assert_eq!(work, ["forward", "forward", "forward", "forward", "optimizer", "backward"]);
    let boxes = flame_boxes(&r.flame());
    assert!(boxes.iter().any(|b| b.0 == "matmul, backward") && boxes.iter().any(|b| b.0 == "optimizer"));
}

#[test]
fn the_top_fits_a_terminal_and_still_adds_up() {
    let mut p = made();
    p.work[1].name = "add+mul+tanh+".repeat(20);
    let r = Report::new(p, ceilings()).title("a title that is long ".repeat(9)).steps(2);
    let top = r.top(2, 80);
    assert!(top.lines().all(|l| l.chars().count() <= 80), "{top}");
    assert!(top.contains("…") && top.contains("0.015    3.0 %      1    "), "{top}");
    assert!(top.lines().any(|l| l.ends_with("  2 more")), "{top}");
    let ms: f64 = top
        .lines()
        .skip(5)
        .filter(|l| !l.contains('─') && !l.ends_with("total"))
        .map(|l| l.split_whitespace().next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert!((ms - 0.5).abs() < 1e-9, "{ms} in\n{top}");
    // One row more is as long as the row that would say so.
    assert!(!r.top(3, 80).contains(" more"));
}

#[test]
fn json_has_all_steps() {
    let j = report().json();
    assert_eq!(j["time_ns"]["total"], 1_000_000);
    let parts = ["work", "planning", "between_operations", "outside_evaluations"];
    assert_eq!(parts.map(|p| j["time_ns"][p].as_u64().unwrap()), [300_000, 30_000, 50_000, 620_000]);
    assert_eq!((&j["steps"], &j["peak_memory_bytes"]), (&2.into(), &3_000_000.into()));
    assert_eq!((&j["evaluations"], &j["plans_reused"]), (&2.into(), &1.into()));
    let m = &j["operations"][0];
    assert_eq!((&m["name"], &m["calls"], &m["flops"]), (&"matmul".into(), &3.into(), &11_000_000.into()));
    assert_eq!(m["share"], 0.25);
    assert_eq!(j["layers"][1]["operations"][1]["name"], "add+relu");
    assert_eq!((&j["layers"][1]["path"], &j["layers"][1]["type"]), (&"net.fc1".into(), &"Linear".into()));
    assert_eq!(j["ceilings"]["l2_gbs"], 40.0);
    // What is written is what is read.
    let again: Value = serde_json::from_str(&j.to_string()).unwrap();
    assert_eq!(again["operations"][2]["name"], "mul<a>&\"b\"");
}

#[test]
fn the_trace_holds_every_event() {
    let trace: Value = serde_json::from_str(&report().trace()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let of = |ph: &str, tid: u64| -> Vec<&Value> {
        events.iter().filter(|e| e["ph"] == ph && (ph == "C" || e["tid"] == tid)).collect()
    };
    assert_eq!(of("M", 0)[0]["args"]["name"], "made <up>");
    let work = of("X", 1);
    assert_eq!(work.len(), 6);
    assert_eq!((&work[4]["name"], &work[4]["cat"]), (&"mul<a>&\"b\"".into(), &"forward".into()));
    let first = work[0];
    assert_eq!((first["ts"].as_f64(), first["dur"].as_f64()), (Some(30.0), Some(100.0)));
    assert_eq!(first["args"]["layer"], "net.fc1");
    assert_eq!((&first["args"]["shape"][1], &first["args"]["dtype"]), (&5.into(), &"f32".into()));
    assert!((first["args"]["gflops"].as_f64().unwrap() - 50.0).abs() < 1e-9);
    let evaluations = of("X", 2);
    assert_eq!(evaluations.len(), 4, "two, each with its planning");
    assert_eq!((&evaluations[0]["args"]["nodes"], evaluations[0]["dur"].as_f64()), (&9.into(), Some(265.0)));
    assert_eq!((&evaluations[3]["name"], evaluations[3]["ts"].as_f64()), (&"planning".into(), Some(420.0)));
    let memory = of("C", 0);
    assert_eq!(memory.len(), 6);
    assert_eq!((memory[2]["ts"].as_f64(), &memory[2]["args"]["bytes"]), (Some(220.0), &3_000_000.into()));
    // Nothing on a track overlaps what is not inside it.
    for w in work.windows(2) {
        let f = |e: &Value, k: &str| e[k].as_f64().unwrap();
        assert!(f(w[0], "ts") + f(w[0], "dur") <= f(w[1], "ts"));
    }
}

/// Left edge, width and top of each box of a flame graph, by its label's first line.
fn flame_boxes(svg: &str) -> Vec<(String, f64, f64, f64)> {
    let attribute = |line: &str, name: &str| -> f64 {
        let rest = line.split_once(&format!(" {name}=\"")).unwrap().1;
        rest.split_once('"').unwrap().0.parse().unwrap()
    };
    let mut out = Vec::new();
    for group in svg.split("<g>").skip(1) {
        let label = group.split_once("<title>").unwrap().1.split(['\n', '<']).next().unwrap();
        let rect = group.split_once("<rect").unwrap().1;
        out.push((label.to_owned(), attribute(rect, "x"), attribute(rect, "width"), attribute(rect, "y")));
    }
    out
}

#[test]
fn the_flame_graph_is_to_scale() {
    let svg = report().flame();
    let boxes = flame_boxes(&svg);
    let labels: Vec<&str> = boxes.iter().map(|b| b.0.as_str()).collect();
    assert_eq!(
        labels,
        [
            "all",
            "net (Sequential)",
            "copy",
            "fc1 (Linear)",
            "matmul",
            "add+relu",
            "fc2 (Linear)",
            "matmul",
            "outside layers",
            "mul&lt;a&gt;&amp;&quot;b&quot;",
            "planning",
            "between operations",
            "outside evaluations"
        ]
    );
    let whole = boxes[0].2;
    for (i, share) in [(1, 0.28), (2, 0.01), (3, 0.22), (4, 0.2), (5, 0.02), (8, 0.02), (12, 0.62)] {
        assert!((boxes[i].2 - share * whole).abs() < 0.02, "{:?} of {whole}", boxes[i]);
    }
    // Side by side: each begins where the one before it ends; deeper ones begin with what they are in.
    for (a, b) in [(2, 3), (4, 5), (3, 6), (1, 8), (8, 10), (10, 11), (11, 12)] {
        assert!((boxes[a].1 + boxes[a].2 - boxes[b].1).abs() < 0.02, "{:?} {:?}", boxes[a], boxes[b]);
    }
    assert_eq!((boxes[1].1, boxes[1].1), (boxes[0].1, boxes[2].1));
    assert!(boxes[1].3 > boxes[0].3 && boxes[3].3 > boxes[1].3 && boxes[4].3 > boxes[3].3);
    assert!(svg.contains("<text class=\"t\" x=\"12\" y=\"24\">made &lt;up&gt;: 2 steps"), "{svg}");
    assert!(!svg.contains("<up>") && !svg.contains("<a>"));
    // What XML cannot hold.
    let mut p = made();
    p.work[0].layer = Some("a\u{0}\u{1b}'<".into());
    let svg = Report::new(p, ceilings()).flame();
    assert!(svg.contains("a\u{fffd}\u{fffd}&#39;&lt; (Linear)"));
    assert!(svg.chars().all(|c| !c.is_control() || c == '\n'));
}

#[test]
fn pictures_are_drawn_from_the_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let files = report().write(&dir.path().join("a").join("b")).unwrap();
    let names: Vec<&str> = files.iter().map(|p| p.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "table.txt",
            "profile.json",
            "trace.json",
            "flame.svg",
            "roofline.png",
            "roofline.svg",
            "memory.svg"
        ]
    );
    let roof = std::fs::read_to_string(&files[5]).unwrap();
    // Text as it is drawn, a line each.
    for text in ["matmul", "25.0 %", "44 %", "mul&lt;a&gt;&amp;", "peak 100 GFLOP/s (f32)", "memory 10 GB/s"]
    {
        assert!(roof.contains(text), "{text}");
    }
    for text in ["1.0 % of the time: copies and small operations", "70.0 %: planning, building graphs"] {
        assert!(roof.contains(text), "{text}");
    }
    assert!(!roof.contains("<a>") && !roof.contains("<up>"));
    assert!(std::fs::read_to_string(&files[6]).unwrap().contains("at most 3.0 MB"));
    assert!(hadal_io::Image::read(&files[4]).unwrap().data().iter().any(|&v| v < 100));
    // Again, over what is there: the same bytes.
    let before: Vec<Vec<u8>> = files.iter().map(|p| std::fs::read(p).unwrap()).collect();
    report().write(&dir.path().join("a").join("b")).unwrap();
    assert_eq!(files.iter().map(|p| std::fs::read(p).unwrap()).collect::<Vec<_>>(), before);
}

#[test]
fn an_empty_recording_has_reports_too() {
    let r = Report::new(Profile::default(), Ceilings::default());
    let table = r.table();
    assert!(table.starts_with("profile: 1 step of 0.000 ms\n"), "{table}");
    assert!(
        table.contains("(nothing was computed)") && !table.contains("NaN") && !table.contains("inf"),
        "{table}"
    );
    assert!(!r.json().to_string().contains("NaN"));
    let trace: Value = serde_json::from_str(&r.trace()).unwrap();
    assert_eq!(trace["traceEvents"].as_array().unwrap().iter().filter(|e| e["ph"] != "M").count(), 0);
    assert_eq!(flame_boxes(&r.flame()).len(), 1);
    let dir = tempfile::tempdir().unwrap();
    let files = r.write(dir.path()).unwrap();
    assert!(!files.iter().any(|p| p.ends_with("memory.svg")) && files.len() == 6);
    assert!(std::fs::read_to_string(&files[5]).unwrap().contains("no arithmetic was recorded"));
    assert!(r.memory(&dir.path().join("m.svg")).is_err());
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let e = report().write(&file.join("profile")).unwrap_err().to_string();
    assert!(e.contains("make the folder") && e.contains("file/profile"), "{e}");
    assert!(report().roofline(&dir.path().join("a.pdf")).is_err());
}

#[test]
fn numbers_have_three_digits() {
    let of = [0.0, 7.0, 0.5, 999.0, 999.6, 1234.0, 99_960.0, 5.5e6, 1e12].map(si);
    assert_eq!(of, ["0", "7", "0.50", "999", "1.00k", "1.23k", "100k", "5.50M", "1.00T"]);
}

//! `cargo xtask bench`: Hadal and its peers on the same workloads in one run, taking turns.

mod contender;
mod file;
mod machine;
mod measure;
mod outputs;
mod report;
mod scaling;

use contender::Kind;
use std::path::Path;
use std::process::Command;

const HELP: &str = "\
usage: cargo xtask bench [OPTIONS]
       cargo xtask bench --compare OLD.json NEW.json
       cargo xtask bench --scaling FILE.json

  --only W,W       workloads whose names hold one of these words
  --vs P,P         of torch, compile (torch-compile), onnxruntime, candle, burn, loop (default all that are
                   installed); --peers is the same
  --threads 1,2    numbers of threads (default 1 and all cores)
  --reps N         repetitions a turn (default: as many as fill a third of a second)
  --rounds N       turns of each contender (default 5)
  --quick          two short turns with all cores, without compiled PyTorch, one try of first_step: shows that it
                   works and roughly how fast, in a few minutes
  --json FILE      writes the results as JSON too
  --write          puts the result into docs/benchmarks.md (a whole run only)
  --compare A B    what has become slower from one file to the other; fails if anything has
  --scaling FILE   what a second thread brought, by the times of a file; a run on 1 and more threads ends with it

Outputs are compared before anything is timed; a workload on which they differ is refused.
";

/// What to measure.
pub struct Options {
    only: Vec<String>,
    threads: Vec<usize>,
    reps: Option<usize>,
    rounds: usize,
    peers: Vec<Kind>,
    quick: bool,
    write: bool,
    json: Option<String>,
}

fn parse(args: &[&str]) -> Result<Options, String> {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut o = Options {
        only: Vec::new(),
        threads: Vec::new(),
        reps: None,
        rounds: 5,
        peers: Kind::PEERS.to_vec(),
        quick: args.contains(&"--quick"),
        write: false,
        json: None,
    };
    if o.quick {
        o.rounds = 2;
        o.threads = vec![cores];
        o.peers.retain(|k| *k != Kind::TorchCompile);
    }
    let mut args = args.iter();
    while let Some(&arg) = args.next() {
        let (name, mut given) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (arg, None),
        };
        let mut value =
            || given.take().or_else(|| args.next().copied()).ok_or(format!("{name} needs a value"));
        let number = |s: &str| {
            s.parse::<usize>().ok().filter(|&n| n > 0).ok_or(format!("{name}: {s} is no number above 0"))
        };
        match name {
            "--only" => o.only = value()?.split(',').map(str::to_owned).collect(),
            "--threads" => o.threads = value()?.split(',').map(number).collect::<Result<_, _>>()?,
            "--reps" => o.reps = Some(number(value()?)?),
            "--rounds" => o.rounds = number(value()?)?,
            "--vs" | "--peers" => {
                let named = value()?.split(',').filter(|p| !p.is_empty());
                o.peers = named
                    .map(|p| Kind::from_name(p).ok_or(format!("{p}: no such peer\n\n{HELP}")))
                    .collect::<Result<_, _>>()?;
            }
            // Seen before: other options may follow or precede it.
            "--quick" => {}
            "--json" => o.json = Some(value()?.to_owned()),
            "--write" => o.write = true,
            _ => return Err(format!("unknown option {arg}\n\n{HELP}")),
        }
    }
    if o.threads.is_empty() {
        o.threads = vec![1, cores];
        o.threads.dedup();
    }
    if o.write && (o.quick || !o.only.is_empty()) {
        return Err("--write states a whole run: leave out --only and --quick".to_owned());
    }
    Ok(o)
}

/// Runs the benchmark.
pub fn run(root: &Path, args: &[&str]) -> Result<(), String> {
    if args.contains(&"--help") || args.contains(&"-h") {
        print!("{HELP}");
        return Ok(());
    }
    if let ["--compare", rest @ ..] = args {
        let [old, new] = rest else { return Err(format!("--compare needs two files\n\n{HELP}")) };
        return file::compare_files(old, new);
    }
    if let ["--scaling", rest @ ..] = args {
        let [path] = rest else { return Err(format!("--scaling needs a file\n\n{HELP}")) };
        let table = scaling::table(&file::read(path)?).ok_or(format!("{path} lacks one thread, or more"))?;
        print!("{table}");
        return Ok(());
    }
    let options = parse(args)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = Command::new(cargo)
        .args(["build", "--release", "--package", "hadal-bench"])
        .current_dir(root)
        .status();
    if !build.is_ok_and(|s| s.success()) {
        return Err("hadal-bench does not build".to_owned());
    }
    let results = measure::all(root, &options)?;
    if let Some(table) = scaling::table(&file::times_of(&file::rows(&results))?) {
        print!("\n{table}");
    }
    if let Some(path) = &options.json {
        file::save(root, path, &results)?;
    }
    if options.write {
        report::write(root, &results)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let o =
            parse(&["--only", "chain,sum", "--threads=2", "--reps", "3", "--peers", "torch,burn"]).unwrap();
        assert_eq!(
            (o.only, o.threads, o.reps),
            (vec!["chain".to_owned(), "sum".to_owned()], vec![2], Some(3))
        );
        assert_eq!(o.peers, [Kind::Torch, Kind::Burn]);
        assert!(parse(&["--peers="]).unwrap().peers.is_empty());
        let quick = parse(&["--vs", "compile", "--quick", "--json", "x.json"]).unwrap();
        assert_eq!((quick.peers, quick.rounds, quick.threads.len()), (vec![Kind::TorchCompile], 2, 1));
        assert_eq!(quick.json.as_deref(), Some("x.json"));
        for bad in
            [&["--reps"][..], &["--threads", "0"], &["--peers", "x"], &["--fast"], &["--write", "--quick"]]
        {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}

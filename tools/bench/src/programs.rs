//! What processes and programs cost on a running cluster.
//!
//! Owns the runs of `stress` (spawn, message), of `bench` and of `wordcount`, whose result is
//! checked each time: a rate of a wrong count is no rate. And of one that loses a machine.

use crate::bench::Bench;
use crate::benchmarks::BENCHMARKS;
use crate::machines::MEMORY_MIB;
use crate::report::{Row, Unit};
use craton_abi::{ExitReason, Place};
use craton_tool::client::{Client, RunIo};
use craton_tool::cluster::Cluster;
use craton_tool::error::{Context, Error, Result};
use craton_tool::text::Text;
use std::io::Read;
use std::time::{Duration, Instant};

/// Text for a rate, and for a mere trial.
const TEXT_BYTES: u64 = 50_000_000;
pub const SMALL_TEXT_BYTES: u64 = 2_000_000;
/// Runs of each command of `stress`, and of a large count.
const RUNS: usize = 7;
const COUNTS: usize = 3;
/// Machines killed, and how much a run has read by then.
const LOSSES: usize = 3;
const LOSS_AFTER_BYTES: u64 = 5_000_000;

/// Name of the row, what a person reads, and what `stress` is told.
type Command = (&'static str, &'static str, &'static [&'static str]);

const COMMANDS: &[Command] = &[
    ("process.spawn", "spawn, exit, notify on a node", &["spawnexit", "1000"]),
    ("process.pingpong", "round trip of 8 B on a node", &["pingpong", "10000"]),
    ("remote.spawn", "spawn, exit, notify on another node", &["spawnexit", "200", "remote"]),
    ("remote.pingpong", "round trip of 8 B to another node", &["pingpong", "500", "remote"]),
];

/// Runs of each benchmark of the program `bench`.
const BENCH_RUNS: usize = 3;
/// Memory of the machine that runs them, and its CPUs: skynet has some ten thousand alive at once.
const BENCH_MEMORY_MIB: u32 = 2048;
const BENCH_CPUS: u8 = 2;

/// Across shards, beside the one that is measured on one.
const ACROSS: (&str, &str, &[&str]) =
    ("bench.across", "round trip, two shards", &["pingpong", "2000", "spread"]);

/// The benchmarks that check themselves, on one node of two CPUs.
fn benchmarks(bench: &Bench) -> Result<Vec<Row>> {
    let options = bench.options(1, BENCH_CPUS, BENCH_MEMORY_MIB);
    let cluster = Cluster::start(&options, &bench.keys)?;
    cluster.wait_joined()?;
    let mut client = connect(bench, &cluster)?;
    let mut row = |name, what, arguments: &[&str]| {
        let mut samples = Vec::new();
        for _ in 0..BENCH_RUNS {
            let printed = run(&mut client, "bench", arguments, Box::new(std::io::empty()))?;
            samples.push(seconds_in(&printed, 2)?);
        }
        Ok(Row { name, what, unit: Unit::Seconds, samples })
    };
    let (name, what, arguments) = ACROSS;
    let mut rows = vec![row(name, what, arguments)?];
    for benchmark in BENCHMARKS {
        if let Some(count) = benchmark.alone {
            let arguments = [benchmark.name, &count.to_string()];
            rows.push(row(benchmark.rows.alone, benchmark.whats.alone, &arguments)?);
        }
    }
    Ok(rows)
}

pub fn connect(bench: &Bench, cluster: &Cluster) -> Result<Client> {
    let node = cluster.nodes().first();
    let node = node.ok_or_else(|| Error::new("reach the cluster", "it has no nodes"))?;
    Client::connect(node.forwarded, &bench.keys)
}

/// Runs a program to its end and returns what it printed. `progress` hears of the bytes that it has
/// read.
fn run_to_end(
    client: &mut Client,
    program: &str,
    arguments: &[&str],
    input: Box<dyn Read + Send>,
    progress: &mut dyn FnMut(u64),
) -> Result<(ExitReason, String)> {
    let bundle = std::fs::read(craton_tool::beside(&format!("programs/{program}.craton"))?)
        .tried(|| format!("read the program {program} (make build makes it)"))?;
    let mut printed = Vec::new();
    let io = RunIo {
        input,
        output: &mut |_, bytes| {
            printed.extend_from_slice(bytes);
            Ok(())
        },
        progress,
        stop: None,
    };
    let arguments = arguments.iter().map(|&text| text.into()).collect();
    let end = client.run(&bundle, arguments, Place::Here, io)?;
    Ok((end.reason, String::from_utf8_lossy(&printed).into_owned()))
}

/// Runs a program that must end well.
pub fn run(
    client: &mut Client,
    program: &str,
    arguments: &[&str],
    input: Box<dyn Read + Send>,
) -> Result<String> {
    let (reason, printed) = run_to_end(client, program, arguments, input, &mut |_| {})?;
    if reason.is_orderly() {
        return Ok(printed);
    }
    Err(Error::new(format!("run {program}"), format!("{reason}: {printed}")))
}

/// Spawns and messages, on a node and between two of three.
pub fn processes(bench: &Bench) -> Result<Vec<Row>> {
    let cluster = Cluster::start(&bench.options(3, 1, MEMORY_MIB), &bench.keys)?;
    cluster.wait_joined()?;
    let mut client = connect(bench, &cluster)?;
    let mut rows: Vec<Row> = COMMANDS
        .iter()
        .map(|(name, what, _)| Row { name, what, unit: Unit::Seconds, samples: Vec::new() })
        .collect();
    // In rounds, so that a busy moment of the host does not fall on one row alone.
    for _ in 0..RUNS {
        for (row, (_, _, arguments)) in rows.iter_mut().zip(COMMANDS) {
            let printed = run(&mut client, "stress", arguments, Box::new(std::io::empty()))?;
            row.samples.push(seconds_in(&printed, 3)?);
        }
    }
    drop((client, cluster));
    rows.extend(benchmarks(bench)?);
    Ok(rows)
}

/// The figure of nanoseconds in a line of `stress` (`NAME PLACE COUNT NANOS`) or of `bench` (`NAME
/// COUNT NANOS`).
pub fn seconds_in(line: &str, word: usize) -> Result<f64> {
    let nanos = line.split_whitespace().nth(word).and_then(|text| text.parse::<u64>().ok());
    let not_understood = || Error::new("understand a program", format!("it says: {line}"));
    Ok(nanos.ok_or_else(not_understood)? as f64 / 1e9)
}

/// What the cluster must print for this text.
pub fn plain_count(text: &Text) -> Result<String> {
    let counts = wordcount_reference::count(text.reader()).tried(|| "count here".into())?;
    Ok(String::from_utf8_lossy(&wordcount_reference::render(&counts)).into_owned())
}

/// Counts the text on the cluster, checks the result and says how long it took.
pub fn count(bench: &Bench, cluster: &Cluster, text: &Text, expected: &str) -> Result<Duration> {
    let mut client = connect(bench, cluster)?;
    let started = Instant::now();
    let printed = run(&mut client, "wordcount", &[], Box::new(text.reader()))?;
    let elapsed = started.elapsed();
    if printed == expected {
        return Ok(elapsed);
    }
    Err(Error::new("count words", format!("the cluster says\n{printed}but it is\n{expected}")))
}

/// Bytes counted in a second by one node, by one of two CPUs and by three.
pub fn words(bench: &Bench) -> Result<Vec<Row>> {
    let text = Text::find(bench.text.as_deref(), TEXT_BYTES)?;
    let expected = plain_count(&text)?;
    let sizes = [
        ("wordcount.one", "wordcount, one node", 1, 1),
        ("wordcount.cpus2", "wordcount, one node of 2 CPUs", 1, 2),
        ("wordcount.three", "wordcount, three nodes", 3, 1),
    ];
    let row = |(name, what, nodes, cpus)| {
        let cluster = Cluster::start(&bench.options(nodes, cpus, MEMORY_MIB), &bench.keys)?;
        cluster.wait_joined()?;
        let rates = (0..COUNTS).map(|_| {
            let elapsed = count(bench, &cluster, &text, &expected)?;
            Ok(text.bytes as f64 / elapsed.as_secs_f64())
        });
        Ok(Row { name, what, unit: Unit::BytesPerSecond, samples: rates.collect::<Result<_>>()? })
    };
    sizes.into_iter().map(row).collect()
}

/// Time from the death of a machine to the end of a run that counted on it, which must fail.
pub fn loss(bench: &Bench) -> Result<Vec<Row>> {
    let text = Text::find(bench.text.as_deref(), TEXT_BYTES)?;
    let samples = (0..LOSSES).map(|_| lose_one(bench, &text)).collect::<Result<_>>()?;
    let what = "machine killed to run ended with no-connection";
    Ok(vec![Row { name: "loss.told", what, unit: Unit::Seconds, samples }])
}

fn lose_one(bench: &Bench, text: &Text) -> Result<f64> {
    let cluster = Cluster::start(&bench.options(3, 1, MEMORY_MIB), &bench.keys)?;
    cluster.wait_joined()?;
    let mut client = connect(bench, &cluster)?;
    let mut killed_at = None;
    let mut kill = |read: u64| {
        if read > LOSS_AFTER_BYTES && killed_at.is_none() {
            cluster.nodes().iter().skip(2).for_each(|node| node.machine.kill());
            killed_at = Some(Instant::now());
        }
    };
    let input = Box::new(text.reader());
    let (reason, printed) = run_to_end(&mut client, "wordcount", &[], input, &mut kill)?;
    match killed_at {
        Some(at) if !reason.is_orderly() => Ok(at.elapsed().as_secs_f64()),
        _ => Err(Error::new("lose a machine", format!("the run went on to its end: {printed}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_stress_is_understood_or_shown() {
        assert_eq!(seconds_in("pingpong here 2000 47841\n", 3).expect("a good line"), 47.841e-6);
        assert_eq!(seconds_in("fib 1 50000\n", 2).expect("a good line"), 50e-6);
        for bad in ["", "pingpong here 2000", "pingpong here 2000 fast"] {
            let error = seconds_in(bad, 3).expect_err("a bad line").to_string();
            assert!(error.contains(bad), "{error}");
        }
    }
}

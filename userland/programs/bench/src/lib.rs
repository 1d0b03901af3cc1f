//! The benchmarks of processes: `craton run bench [NAME [COUNT [spread]]]`.
//!
//! Owns the list of them, the command line and the table. Each checks its own result; a wrong one
//! ends the run with an error, for the rate of a wrong answer is no rate. With a name the line is
//! `NAME COUNT NANOS`, nanoseconds for one; without one all of them are run and a table is printed.
//! Who talks to one another is on one CPU, or, where it says `spread`, on all of them by turns.
//! Several are from Savina (Imam and Sarkar 2014), whose names they have.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod compute;
mod messages;
mod rooms;
mod spawning;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use craton::{Child, Duration, Entry, Pid, Run, SpawnOptions, kill, me, now};
use serde::Serialize;

craton::entries! {
    /// Where a run begins.
    pub MAIN: "main" = main as fn(Run);
    /// Ends.
    pub NOTHING: "nothing" = spawning::nothing as fn(());
    /// Waits for what never comes.
    pub IDLE: "idle" = spawning::idle as fn(());
    /// A node of skynet.
    pub SKYNET: "skynet" = spawning::skynet_node as fn((Pid, u64, u64));
    /// Watches a process many times over.
    pub WATCHER: "watcher" = spawning::watcher as fn((Pid, Pid, u64));
    /// Sends everything back.
    pub BOUNCE: "bounce" = messages::bounce as fn(());
    /// Adds up what it is sent.
    pub COUNTER: "counter" = messages::counter as fn(());
    /// Passes a token on.
    pub RING: "ring" = messages::ring_member as fn((Pid, Pid, u64));
    /// Computes a little for each message.
    pub WORKER: "worker" = messages::worker as fn((Pid, u64));
    /// Queues messages to itself.
    pub HOARDER: "hoarder" = messages::hoarder as fn((Pid, u64));
    /// Sends pings to all the others, and pongs.
    pub BIG: "big" = rooms::big_member as fn((Pid, u64));
    /// Where chameneos meet.
    pub MALL: "mall" = rooms::mall as fn((Pid, u64));
    /// Meets others and changes its colour.
    pub CHAMENEO: "chameneo" = rooms::chameneo as fn((Pid, u8));
}

/// Why a benchmark has no figure.
type Result<T = ()> = core::result::Result<T, String>;

/// How many of something were done, and how long it took.
struct Figure {
    count: u64,
    used: Duration,
}

/// Where processes run that talk to one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cpus {
    /// On the CPU of `main`.
    One,
    /// On all of the node: who has but one partner has it on another CPU.
    All,
}

/// Tries to get a process on another CPU.
const TRIES: usize = 32;

impl Cpus {
    fn options(self) -> SpawnOptions {
        match self {
            Cpus::One => SpawnOptions::near(me()),
            Cpus::All => SpawnOptions::here(),
        }
    }

    /// The one process that the caller will talk to.
    fn partner<A: Serialize>(self, entry: Entry<A>, argument: &A) -> Result<Child> {
        for _ in 0..TRIES {
            let child = entry.spawn(argument, self.options()).map_err(|error| failed(&error))?;
            if self == Cpus::One || child.pid.slot.shard() != me().slot.shard() {
                return Ok(child);
            }
            kill(&child.pid).map_err(|error| failed(&error))?;
        }
        Err("no process could be had on another CPU".into())
    }
}

/// A benchmark.
struct Bench {
    name: &'static str,
    /// What one of the count is.
    one: &'static str,
    /// How many, unless the command line says otherwise.
    count: u64,
    run: fn(u64, Cpus) -> Result<Figure>,
}

const fn bench(
    name: &'static str,
    one: &'static str,
    count: u64,
    run: fn(u64, Cpus) -> Result<Figure>,
) -> Bench {
    Bench { name, one, count, run }
}

const BENCHES: &[Bench] = &[
    bench("spawn", "spawn, exit, notice", 1000, spawning::spawn),
    bench("pingpong", "round trip", 20_000, messages::pingpong),
    bench("counting", "message to a counter", 100_000, messages::counting),
    bench("threadring", "hop in a ring of 100", 100_000, messages::threadring),
    bench("big", "ping and pong among 32", 6400, rooms::big),
    bench("chameneos", "meeting of two of 100", 10_000, rooms::chameneos),
    bench("fjthroughput", "message to one of 60", 24_000, messages::fjthroughput),
    bench("tagged", "receive by tag, last first", 100_000, messages::tagged),
    bench("skynet", "leaf of a tree of tens", 1000, spawning::skynet),
    bench("down", "notice of one end", 10_000, spawning::down),
    bench("idle", "idle process, spawned and killed", 200, spawning::idlers),
    bench("fib", "fib(30), by recursion", 1, compute::fib),
    bench("sha256", "hash of 64 KiB", 16, compute::sha256),
    bench("matmul", "product of 96 by 96", 4, compute::matmul),
];

fn main(run: Run) -> Result {
    let done = command(&run);
    if let Err(text) = &done {
        // If the operator is gone, the exit reason is all that can be said.
        let _ = run.stderr().line(&format!("bench: {text}"));
    }
    done
}

fn command(run: &Run) -> Result {
    let words: Vec<&str> = run.arguments().iter().map(String::as_str).collect();
    let mut out = run.stdout();
    let mut say = |line: String| out.line(&line).map_err(|error| failed(&error));
    match words.as_slice() {
        [] => {
            say(format!("{:<16}{:>10}{:>12}  of one", "benchmark", "count", "ns for one"))?;
            BENCHES.iter().try_for_each(|bench| {
                let (count, nanos) = measured(bench, bench.count, Cpus::One)?;
                say(format!("{:<16}{count:>10}{nanos:>12}  {}", bench.name, bench.one))
            })
        }
        [name] => {
            let bench = find(name)?;
            let (count, nanos) = measured(bench, bench.count, Cpus::One)?;
            say(format!("{name} {count} {nanos}"))
        }
        [name, count, rest @ ..] => {
            let cpus = match rest {
                [] => Cpus::One,
                ["spread"] => Cpus::All,
                _ => return Err(usage()),
            };
            let (count, nanos) = measured(find(name)?, number(count)?, cpus)?;
            say(format!("{name} {count} {nanos}"))
        }
    }
}

fn measured(bench: &Bench, count: u64, cpus: Cpus) -> Result<(u64, u64)> {
    let Figure { count, used } =
        (bench.run)(count, cpus).map_err(|why| format!("{}: {why}", bench.name))?;
    Ok((count, used.as_nanos() / count.max(1)))
}

fn find(name: &str) -> Result<&'static Bench> {
    BENCHES
        .iter()
        .find(|bench| bench.name == name)
        .ok_or_else(|| format!("there is no '{name}'\n{}", usage()))
}

fn number(text: &str) -> Result<u64> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("'{text}' is no count\n{}", usage()))
}

fn usage() -> String {
    let names: Vec<&str> = BENCHES.iter().map(|bench| bench.name).collect();
    format!("usage: craton run bench [NAME [COUNT [spread]]]\nnames: {}", names.join(" "))
}

fn failed(error: &craton::Error) -> String {
    format!("{error}")
}

/// Fails unless a result is what it must be.
fn expect<T: PartialEq + core::fmt::Debug>(what: &str, found: T, due: T) -> Result {
    if found == due { Ok(()) } else { Err(format!("{what} is {found:?} and not {due:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use craton::ExitReason;
    use craton::host::{self, Scenario};

    fn run(arguments: &[&str]) -> host::Outcome {
        let arguments = arguments.iter().map(|&text| text.into()).collect();
        host::run(ENTRIES, Scenario { arguments, ..Scenario::default() })
    }

    #[test]
    fn every_benchmark_finds_its_result_on_threads() {
        for bench in BENCHES {
            let count = match bench.name {
                "skynet" => "100",
                "fib" => "1",
                "big" | "chameneos" | "fjthroughput" => "240",
                _ => "20",
            };
            let outcome = run(&[bench.name, count]);
            let stderr = String::from_utf8_lossy(&outcome.stderr).into_owned();
            assert_eq!(outcome.reason, ExitReason::Normal, "{}: {stderr}", bench.name);
            let line = String::from_utf8(outcome.stdout).expect("text");
            assert!(line.starts_with(bench.name), "{line}");
            assert!(outcome.left_over.is_empty(), "{}: {:?}", bench.name, outcome.left_over);
        }
    }

    #[test]
    fn wrong_arguments_are_explained() {
        for arguments in
            [&["fast"][..], &["fib", "0"], &["fib", "1", "2"], &["fib", "1", "spread", "x"]]
        {
            let outcome = run(arguments);
            assert!(matches!(outcome.reason, ExitReason::Error(_)), "{arguments:?}");
            assert!(String::from_utf8_lossy(&outcome.stderr).contains("usage: "), "{arguments:?}");
        }
    }
}

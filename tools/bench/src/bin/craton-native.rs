//! The computing benchmarks of the program `bench`, as an ordinary Linux program.
//!
//! Owns nothing of its own: the source is that of the guest program, compiled natively, so that
//! `craton-bench` can set WebAssembly beside it. `craton-native NAME COUNT` prints one line of JSON
//! with the nanoseconds of it all.

use std::process::ExitCode;
use std::time::{Duration, Instant};

#[path = "../../../../userland/programs/bench/src/compute.rs"]
mod compute;

extern crate alloc;

type Result<T = ()> = core::result::Result<T, String>;

/// As the program has it; natively there is one thread.
struct Cpus;

/// How many of something were done, and how long it took.
struct Figure {
    count: u64,
    used: Duration,
}

fn now() -> Instant {
    Instant::now()
}

/// Fails unless a result is what it must be.
fn expect<T: PartialEq + core::fmt::Debug>(what: &str, found: T, due: T) -> Result {
    if found == due { Ok(()) } else { Err(format!("{what} is {found:?} and not {due:?}")) }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(line) => craton_tool::say!("{line}"),
        Err(why) => craton_tool::say!("{{\"error\":\"{why}\"}}"),
    }
    ExitCode::SUCCESS
}

fn run(words: &[String]) -> Result<String> {
    let usage = || String::from("usage: craton-native fib|sha256|matmul COUNT");
    let [name, count] = words else { return Err(usage()) };
    let run = match name.as_str() {
        "fib" => compute::fib,
        "sha256" => compute::sha256,
        "matmul" => compute::matmul,
        _ => return Err(usage()),
    };
    let count = count.parse().map_err(|_| usage())?;
    let Figure { count, used } = run(count, Cpus)?;
    Ok(format!("{{\"name\":\"{name}\",\"count\":{count},\"nanos\":{}}}", used.as_nanos()))
}

//! `craton-sim`: runs clusters in virtual time, seed by seed, and stops at the first that fails.
//!
//! Owns the command line; the library beside it does the work.

use clap::Parser;
use craton_sim::{Options, run};
use std::process::ExitCode;

/// Runs whole clusters in virtual time under a seed
#[derive(Parser)]
#[command(name = "craton-sim", version)]
struct Arguments {
    /// Run this seed
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run these seeds, the last not among them
    #[arg(long, value_name = "FROM..TO", value_parser = range)]
    seeds: Option<(u64, u64)>,
    /// Print every event
    #[arg(long)]
    trace: bool,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text.split_once("..").ok_or("wanted FROM..TO, such as 0..200")?;
    let number = |text: &str| text.parse().map_err(|error| format!("'{text}': {error}"));
    Ok((number(from)?, number(to)?))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (from, to) = match (arguments.seed, arguments.seeds) {
        (Some(seed), _) => (seed, seed.saturating_add(1)),
        (None, Some(range)) => range,
        (None, None) => (0, 200),
    };
    for seed in from..to {
        match run(seed, Options { print: arguments.trace, sabotage: None }) {
            Ok(report) => println!(
                "seed {seed}: {} messages, {} notices, {} answers, {} timers, {} names, \
                 {} processes, {} runs, {} lives ended, {} gaps, {} taken, trace {}",
                report.messages,
                report.notices,
                report.answers,
                report.timers,
                report.names,
                report.processes,
                report.runs,
                report.lives_ended,
                report.gaps,
                report.taken,
                &report.hash[..16],
            ),
            Err(violation) => {
                eprintln!("seed {seed} FAILED: {violation}");
                eprintln!("replay: craton-sim --seed {seed} --trace");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

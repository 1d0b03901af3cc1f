//! `craton`: the operator's tool.
//!
//! Owns the command line; each verb is a module of `craton_tool::commands`.

use clap::Parser;
use craton_tool::commands::{Verb, run};
use craton_tool::error::exit_code;
use std::process::ExitCode;

/// Bare machines as one computer for distributed programs.
#[derive(Parser)]
#[command(name = "craton", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

fn main() -> ExitCode {
    exit_code("craton", run(Arguments::parse().verb))
}

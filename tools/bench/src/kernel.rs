//! What the kernel measures of itself, for a word such as `timerbench` on its command line.
//!
//! Owns running such a machine to its end and reading the numbers of its lines.

use crate::bench::Bench;
use crate::machines::MEMORY_MIB;
use craton_qemu::{EXIT_SUCCESS, Machine, MachineConfig};
use craton_tool::error::{Context, Error, Result};
use std::time::Duration;

/// How long a machine may measure.
const WAIT: Duration = Duration::from_secs(120);

/// Runs a machine with `word` on its command line and returns the lines that it printed.
///
/// # Errors
///
/// If the machine does not end well.
pub fn lines(bench: &Bench, word: &str, cpus: u8) -> Result<Vec<String>> {
    let tried = || format!("run the kernel's {word}");
    let config = MachineConfig::new(&bench.kernel).cpus(cpus).memory_mib(MEMORY_MIB);
    let mut machine = Machine::launch(config.command_line(word)).tried(tried)?;
    let status = machine.wait_exit(WAIT).tried(tried)?;
    if status.code() == Some(EXIT_SUCCESS) {
        return Ok(machine.lines());
    }
    let last = machine.lines().pop().unwrap_or_default();
    Err(Error::new(tried(), format!("{status}; its last line: {last}")))
}

/// The numbers, apart by blanks, in what `find` finds in the lines.
///
/// # Errors
///
/// If the machine does not end well, or prints no number there.
pub fn numbers(
    bench: &Bench,
    word: &str,
    cpus: u8,
    find: impl Fn(&str) -> Option<&str>,
) -> Result<Vec<f64>> {
    let lines = lines(bench, word, cpus)?;
    let found = lines.iter().filter_map(|line| find(line)).flat_map(str::split_whitespace);
    let numbers = found.map(str::parse).collect::<std::result::Result<Vec<f64>, _>>();
    let tried = || format!("read what the kernel's {word} printed");
    match numbers.tried(tried)? {
        numbers if numbers.is_empty() => Err(Error::new(tried(), "no number")),
        numbers => Ok(numbers),
    }
}

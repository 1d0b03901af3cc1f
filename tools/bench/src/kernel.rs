//! What the kernel measures of itself, for words such as `timerbench` on its command line.
//!
//! Owns running such a machine to its end, reading its lines (`bench NAME NUMBER... ns`), and the
//! rows of [`heap`].

use crate::bench::Bench;
use crate::report::{Row, Unit};
use craton_qemu::{EXIT_SUCCESS, Machine, MachineConfig};
use craton_tool::error::{Context, Error, Result};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a machine may measure.
const WAIT: Duration = Duration::from_secs(300);
/// The heap's measure keeps 100,000 objects alive, and is taken so often.
const HEAP_MEMORY_MIB: u32 = 256;
const HEAP_RUNS: usize = 3;

/// Seconds, by the name of what took them.
pub type Figures = BTreeMap<String, Vec<f64>>;

/// Runs a machine with `word` on its command line and returns what it measured.
///
/// # Errors
///
/// If the machine does not end well.
pub fn figures(bench: &Bench, word: &str, cpus: u8, memory_mib: u32) -> Result<Figures> {
    let tried = || format!("run the kernel's {word}");
    let config = MachineConfig::new(&bench.kernel).cpus(cpus).memory_mib(memory_mib);
    let mut machine = Machine::launch(config.command_line(word)).tried(tried)?;
    let status = machine.wait_exit(WAIT).tried(tried)?;
    if status.code() == Some(EXIT_SUCCESS) {
        return Ok(parse(&machine.lines()));
    }
    let last = machine.lines().pop().unwrap_or_default();
    Err(Error::new(tried(), format!("{status}; its last line: {last}")))
}

/// The figures in the lines that have any.
fn parse(lines: &[String]) -> Figures {
    let mut figures = Figures::new();
    for line in lines {
        let words = line.strip_prefix("bench ").and_then(|rest| rest.strip_suffix(" ns"));
        let Some((name, numbers)) = words.and_then(|words| words.split_once(' ')) else { continue };
        let seconds = numbers.split(' ').filter_map(|number| number.parse::<f64>().ok());
        figures.entry(name.into()).or_default().extend(seconds.map(|nanos| nanos / 1e9));
    }
    figures
}

/// The samples of one name.
///
/// # Errors
///
/// If there are none.
pub fn take(figures: &mut Figures, name: &str) -> Result<Vec<f64>> {
    let found = figures.remove(name).filter(|samples| !samples.is_empty());
    found.ok_or_else(|| Error::new(format!("measure {name}"), "the kernel printed no figure of it"))
}

/// What allocations cost with few and with many objects alive, and by one CPU and by two.
pub fn heap(bench: &Bench) -> Result<Vec<Row>> {
    let mut all = Figures::new();
    for _ in 0..HEAP_RUNS {
        for (name, samples) in figures(bench, "heapbench", 2, HEAP_MEMORY_MIB)? {
            all.entry(name).or_default().extend(samples);
        }
    }
    let mut of = |name| take(&mut all, name);
    let (few, many) = (of("heap.live_100")?, of("heap.live_100k")?);
    let (one, two) = (of("heap.cpus_1")?, of("heap.cpus_2")?);
    let ratios = |over: &[f64], under: &[f64]| over.iter().zip(under).map(|(a, b)| a / b).collect();
    let row = |name, what, unit, samples| Row { name, what, unit, samples };
    let growth = ratios(&many, &few);
    let speedup = ratios(&one, &two);
    let [times, seconds] = [Unit::Times, Unit::Seconds];
    Ok(vec![
        row("heap.live100", "allocation and release, 100 alive", seconds, few),
        row("heap.live100k", "allocation and release, 100,000 alive", seconds, many),
        row("heap.growth", "the second against the first", times, growth),
        row("heap.cpus1", "allocation and release, one CPU", seconds, one),
        row("heap.cpus2", "the same by two CPUs at once", seconds, two),
        row("heap.speedup", "throughput of two CPUs against one's", times, speedup),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_among_other_lines() {
        let lines =
            ["bench a 1000 2000 ns", "0.1 INFO - bench a 3 ns", "bench a 500 ns", "bench b"];
        let mut figures = parse(&lines.map(String::from));
        assert_eq!(take(&mut figures, "a").expect("it is there"), [1e-6, 2e-6, 5e-7]);
        assert!(take(&mut figures, "a").is_err());
        assert!(figures.is_empty());
    }
}

//! What processes cost on the host: a shard with native programs, beside BEAM running there.
//!
//! Owns [`measure`]. It is the shard that the kernel hosts, without an engine: no WebAssembly, no
//! stacks and no isolation, so its figures are a lower bound of what processes cost. BEAM, with one
//! scheduler, has its turn right after each. Neighbours: `world` hosts the shard, `programs` are
//! its programs.

mod programs;
mod world;

use crate::benchmarks::BENCHMARKS;
use crate::erlang::{Erlang, HostBeam};
use crate::peers::Peers;
use crate::report::{Peer, PeerFigures, Row, Unit};
use craton_tool::complain;
use craton_tool::error::{Error, Result};
use world::World;

const RUNS: usize = 5;

/// Measures all that have a native program, and BEAM where its Erlang is on the host or among the
/// peers.
///
/// # Errors
///
/// If a result is wrong.
pub fn measure(peers: Option<&Peers>) -> Result<(Vec<Row>, PeerFigures)> {
    let (mut rows, mut figures) = (Vec::new(), PeerFigures::new());
    let erlang = Erlang::installed().or_else(|| peers.and_then(Peers::erlang));
    let mut beam = match erlang {
        Some(erlang) => Some(HostBeam::start(&erlang)?),
        None => {
            complain!("there is no erl on this host: its processes have nothing beside them");
            None
        }
    };
    let mut cells: Vec<_> = BENCHMARKS
        .iter()
        .filter_map(|benchmark| Some((benchmark, benchmark.host?, Vec::new(), Vec::new())))
        .collect();
    for _ in 0..RUNS {
        for (benchmark, count, ours, theirs) in &mut cells {
            ours.push(run(benchmark.name, *count)?);
            if let Some(beam) = &mut beam {
                theirs.push(beam.ask(&format!("{} {count}", benchmark.name))?);
            }
        }
    }
    for (benchmark, _, ours, theirs) in cells {
        let row = |samples| Row {
            name: benchmark.rows.host,
            what: benchmark.whats.host,
            unit: Unit::Seconds,
            samples,
        };
        if !theirs.is_empty() {
            figures.insert((benchmark.rows.host, Peer::Beam), row(theirs).median());
        }
        rows.push(row(ours));
    }
    Ok((rows, figures))
}

/// Seconds for one of a benchmark.
fn run(name: &str, count: u64) -> Result<f64> {
    let done = World::new(programs::ENTRIES).run(name, count);
    done.map_err(|why| Error::new(format!("run {name} on the host"), why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_native_benchmark_checks_its_result_and_has_a_figure() {
        let native = BENCHMARKS.iter().filter(|benchmark| benchmark.host.is_some());
        let mut names = Vec::new();
        for benchmark in native {
            let seconds = run(benchmark.name, 1000).expect("it is right");
            assert!(seconds > 0.0, "{}", benchmark.name);
            names.push(benchmark.name);
        }
        assert_eq!(names, ["spawn", "pingpong", "counting", "threadring", "big", "skynet"]);
    }

    #[test]
    fn what_is_wrong_or_waits_for_ever_has_no_figure() {
        let error = run("bounce", 1).expect_err("nobody throws a ball").to_string();
        assert!(error.contains("waits for what never comes"), "{error}");
        // Its leaves do not come out even.
        let error = run("skynet", 15).expect_err("not a power of ten").to_string();
        assert!(error.contains("run skynet on the host"), "{error}");
        assert!(run("unknown", 1).is_err());
    }
}

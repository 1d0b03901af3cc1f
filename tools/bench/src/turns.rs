//! The benchmarks of `bench` beside BEAM's and native ones, by turns in one run.
//!
//! Owns [`measure`]: a node and a Linux guest of as many CPUs run under the same QEMU, and each
//! does a benchmark right after the other, so that a busy moment of the host falls on both. One
//! CPU stands for processes of one shard (BEAM with one scheduler), two for processes that talk
//! across shards (BEAM with two). Where instructions are counted the figures do not depend on the
//! host.

use crate::beam::Beam;
use crate::bench::Bench;
use crate::benchmarks::{BENCHMARKS, Benchmark, Beside};
use crate::peers::Peers;
use crate::programs::{connect, run, seconds_in};
use crate::report::{Peer, PeerFigures, Row, Unit};
use craton_tool::cluster::Cluster;
use craton_tool::error::Result;

/// Memory of the node: skynet has some ten thousand processes alive at once.
const MEMORY_MIB: u32 = 2048;
const RUNS: usize = 5;

/// Measures all, on one CPU and, unless instructions are counted, across two: of these, a machine
/// that counts them has but one at a time.
///
/// # Errors
///
/// If a node or a guest does not do its work.
pub fn measure(bench: &Bench, peers: &Peers) -> Result<(Vec<Row>, PeerFigures)> {
    let (mut rows, mut figures) = (Vec::new(), PeerFigures::new());
    let cpus: &[u8] = if bench.counted { &[1] } else { &[1, 2] };
    for cpus in cpus {
        let mut table = Table::start(bench, peers, *cpus)?;
        for _ in 0..RUNS {
            table.round(bench)?;
        }
        table.finish(bench, &mut rows, &mut figures);
    }
    Ok((rows, figures))
}

/// A node, a guest, and what they have done.
struct Table {
    cluster: Cluster,
    beam: Beam,
    cpus: u8,
    cells: Vec<(&'static Benchmark, Cell)>,
}

/// Samples of Craton, BEAM and Linux.
#[derive(Default)]
struct Cell {
    craton: Vec<f64>,
    beam: Vec<f64>,
    native: Vec<f64>,
}

impl Table {
    fn start(bench: &Bench, peers: &Peers, cpus: u8) -> Result<Self> {
        let mut options = bench.options(1, cpus, MEMORY_MIB);
        options.counted = bench.counted;
        let cluster = Cluster::start(&options, &bench.keys)?;
        cluster.wait_joined()?;
        let beam = Beam::boot(peers, cpus, bench.counted)?;
        // Computing is no matter of how many CPUs there are.
        let cells = BENCHMARKS.iter().filter(|one| cpus == 1 || one.beside == Beside::Beam);
        let cells = cells.map(|benchmark| (benchmark, Cell::default())).collect();
        Ok(Table { cluster, beam, cpus, cells })
    }

    fn round(&mut self, bench: &Bench) -> Result<()> {
        for (benchmark, cell) in &mut self.cells {
            let count = benchmark.turns.to_string();
            let mut arguments = vec![benchmark.name, &count];
            if self.cpus > 1 {
                arguments.push("spread");
            }
            let input = Box::new(std::io::empty());
            // An operator who says nothing while the others have their turn is let go.
            let mut client = connect(bench, &self.cluster)?;
            let printed = run(&mut client, "bench", &arguments, input)?;
            cell.craton.push(seconds_in(&printed, 2)?);
            let question = format!("{} {}", benchmark.name, benchmark.beam);
            if benchmark.beside != Beside::Native {
                cell.beam.push(self.beam.ask(&question)?);
            }
            if benchmark.beside != Beside::Beam {
                cell.native.push(self.beam.ask(&format!("native {question}"))?);
            }
        }
        Ok(())
    }

    fn finish(self, bench: &Bench, rows: &mut Vec<Row>, figures: &mut PeerFigures) {
        let at = usize::from(self.cpus > 1);
        for (benchmark, cell) in self.cells {
            let (name, what) = (benchmark.rows.turns[at], benchmark.whats.turns[at]);
            let row = |samples| bench.row(name, what, samples);
            for (peer, samples) in [(Peer::Beam, cell.beam), (Peer::Native, cell.native)] {
                if !samples.is_empty() {
                    figures.insert((name, peer), row(samples).median());
                }
            }
            rows.push(row(cell.craton));
        }
    }
}

impl Bench {
    /// A row of times, which are instructions where these are counted.
    fn row(&self, name: &'static str, what: &'static str, seconds: Vec<f64>) -> Row {
        if self.counted {
            let samples = seconds.iter().map(|seconds| seconds * 1e9).collect();
            return Row { name, what, unit: Unit::Instructions, samples };
        }
        Row { name, what, unit: Unit::Seconds, samples: seconds }
    }
}

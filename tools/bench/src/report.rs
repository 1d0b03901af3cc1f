//! What was measured, as a table for a person or as JSON.
//!
//! Owns [`Row`], what was promised of it, and how it is shown: the median, the 99th percentile and
//! the range, beside the peers' figures. A peer that has no such figure, or is not installed, is a
//! dash.

use craton_tool::table::{Table, bytes};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Bytes in a MiB.
pub const MIB: f64 = 1048576.0;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Time.
    Seconds,
    /// Room.
    Bytes,
    /// Speed.
    BytesPerSecond,
    /// A part of one CPU.
    Cpu,
    /// How often one is in another.
    Times,
    /// How often something is done.
    PerSecond,
    /// Work, whatever the host is.
    Instructions,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
            Unit::BytesPerSecond => "bytes per second",
            Unit::Cpu => "share of one CPU",
            Unit::Times => "times",
            Unit::PerSecond => "per second",
            Unit::Instructions => "instructions",
        }
    }

    /// How many times better `ours` is than `theirs`. Of what is a ratio itself nobody can say
    /// whether more of it is better.
    fn ratio(self, ours: f64, theirs: f64) -> Option<f64> {
        match self {
            Unit::BytesPerSecond | Unit::PerSecond => Some(ours / theirs),
            Unit::Seconds | Unit::Bytes | Unit::Cpu | Unit::Instructions => Some(theirs / ours),
            Unit::Times => None,
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Unit::Seconds if value < 1e-6 => format!("{:.0} ns", value * 1e9),
            Unit::Seconds if value < 1e-3 => format!("{:.1} µs", value * 1e6),
            Unit::Seconds if value < 1.0 => format!("{:.1} ms", value * 1e3),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Bytes => bytes(value as u64),
            Unit::BytesPerSecond => format!("{}/s", bytes(value as u64)),
            Unit::Cpu => format!("{:.2} %", value * 100.0),
            Unit::Times => format!("{value:.2} x"),
            Unit::PerSecond => format!("{value:.0}/s"),
            Unit::Instructions => format!("{value:.0}"),
        }
    }
}

/// Who runs the same thing beside Craton.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// Erlang/OTP on Linux: in a guest, or on the host beside what runs there.
    Beam,
    /// A Linux guest whose only process is one static server.
    Lean,
    /// A Linux program of the same source.
    Native,
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Peer::Beam => "linux_beam",
            Peer::Lean => "linux_lean",
            Peer::Native => "linux_native",
        }
    }
}

/// The peers' figures by the name of the row that they stand beside, in the row's unit.
pub type PeerFigures = BTreeMap<(&'static str, Peer), f64>;

/// One thing that was measured.
#[derive(Debug)]
pub struct Row {
    /// Its name in JSON and among the peers' figures.
    pub name: &'static str,
    /// What a person reads.
    pub what: &'static str,
    /// What the samples count.
    pub unit: Unit,
    /// At least one.
    pub samples: Vec<f64>,
}

impl Row {
    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// The sample in the middle.
    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match sorted.get(middle) {
            None => f64::NAN,
            Some(upper) if sorted.len() % 2 == 1 => *upper,
            Some(upper) => (sorted[middle - 1] + upper) / 2.0,
        }
    }

    /// The sample that 99 of 100 are no worse than; of fewer than a hundred, the worst.
    fn p99(&self) -> f64 {
        let sorted = self.sorted();
        let rank = (sorted.len() * 99).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    fn range(&self) -> (f64, f64) {
        let sorted = self.sorted();
        let end = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
        (end(sorted.first()), end(sorted.last()))
    }
}

/// What of a row a bound is about.
#[derive(Clone, Copy, Debug)]
enum Of {
    Median,
    P99,
    Worst,
}

impl Of {
    fn value(self, row: &Row) -> f64 {
        match self {
            Of::Median => row.median(),
            Of::P99 => row.p99(),
            Of::Worst => row.range().1,
        }
    }
}

/// What docs/promises.md promises of a row: at most this, in the row's unit.
const BOUNDS: [(&str, Of, f64); 11] = [
    ("boot.first.microvm", Of::Median, 0.060),
    ("boot.first.qboot", Of::Median, 0.060),
    ("boot.ready.cpus2", Of::Median, 0.100),
    ("boot.joined", Of::Worst, 3.0),
    ("image", Of::Worst, 6.0 * MIB),
    ("memory.ready", Of::Worst, 64.0 * MIB),
    ("memory.wordcount", Of::Worst, 64.0 * MIB),
    ("loss.told", Of::Worst, 5.0),
    ("idle.one", Of::Worst, 0.01),
    ("timer.late", Of::P99, 0.001),
    ("heap.growth", Of::Median, 2.0),
];
/// The other way round: at least this.
const LEAST: [(&str, Of, f64); 1] = [("heap.speedup", Of::Median, 1.6)];

/// The promises that these rows break, a sentence each.
pub fn broken(rows: &[Row]) -> Vec<String> {
    let bounds = BOUNDS.map(|bound| (bound, true)).into_iter();
    let bounds: Vec<_> = bounds.chain(LEAST.map(|bound| (bound, false))).collect();
    let broken = rows.iter().filter_map(|row| {
        let ((_, of, bound), at_most) = *bounds.iter().find(|(bound, _)| bound.0 == row.name)?;
        let value = of.value(row);
        let kept = if at_most { value <= bound } else { value >= bound };
        let (is, promised) = (row.unit.show(value), row.unit.show(bound));
        let of = format!("{of:?}").to_lowercase();
        (!kept).then(|| format!("{}: {is} ({of}), promised are {promised}", row.what))
    });
    broken.collect()
}

/// The rows as a table. Behind a peer's figure stands how many times better Craton's median is.
pub fn table(rows: &[Row], peers: &PeerFigures) -> Table {
    let heading =
        ["measured", "median", "p99", "min", "max", "n", "linux + beam", "lean linux", "native"];
    let mut table = Table::new(&heading);
    for row in rows {
        let (min, max) = row.range();
        let peer = |peer| {
            let Some(figure) = peers.get(&(row.name, peer)) else { return "-".into() };
            let shown = row.unit.show(*figure);
            match row.unit.ratio(row.median(), *figure) {
                Some(ratio) => format!("{shown} ({ratio:.2} x)"),
                None => shown,
            }
        };
        table.row([
            row.what.into(),
            row.unit.show(row.median()),
            row.unit.show(row.p99()),
            row.unit.show(min),
            row.unit.show(max),
            row.samples.len().to_string(),
            peer(Peer::Beam),
            peer(Peer::Lean),
            peer(Peer::Native),
        ]);
    }
    table
}

/// The rows as JSON.
pub fn json(rows: &[Row], peers: &PeerFigures) -> Value {
    rows.iter()
        .map(|row| {
            let (min, max) = row.range();
            let beside: BTreeMap<_, _> = peers
                .iter()
                .filter(|((name, _), _)| *name == row.name)
                .map(|((_, peer), value)| (peer.name(), value))
                .collect();
            json!({
                "name": row.name,
                "what": row.what,
                "unit": row.unit.name(),
                "median": row.median(),
                "p99": row.p99(),
                "min": min,
                "max": max,
                "n": row.samples.len(),
                "peers": beside,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(samples: &[f64]) -> Row {
        Row { name: "a", what: "A", unit: Unit::Seconds, samples: samples.to_vec() }
    }

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(row(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(row(&[4.0, 1.0, 3.0, 2.0]).median(), 2.5);
        assert_eq!(row(&[7.0]).median(), 7.0);
        assert!(row(&[]).median().is_nan() && row(&[]).p99().is_nan());
        assert_eq!(row(&[3.0, 1.0, 2.0]).range(), (1.0, 3.0));
    }

    #[test]
    fn one_of_a_hundred_may_be_worse_than_the_99th_percentile() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(row(&hundred).p99(), 99.0);
        assert_eq!(row(&hundred[1..]).p99(), 99.0, "of 99 it is the worst");
        assert_eq!(row(&[2.0]).p99(), 2.0);
    }

    #[test]
    fn numbers_are_shown_in_the_unit_that_fits() {
        assert_eq!(Unit::Seconds.show(0.000_000_275), "275 ns");
        assert_eq!(Unit::Seconds.show(0.000_047_84), "47.8 µs");
        assert_eq!(Unit::Seconds.show(0.25), "250.0 ms");
        assert_eq!(Unit::Seconds.show(2.5), "2.50 s");
        assert_eq!(Unit::Cpu.show(0.0123), "1.23 %");
        assert_eq!(Unit::BytesPerSecond.show(2048.0), "2.00 KiB/s");
    }

    #[test]
    fn a_ratio_says_how_many_times_better_craton_is() {
        assert_eq!(Unit::Seconds.ratio(1.0, 2.0), Some(2.0));
        assert_eq!(Unit::PerSecond.ratio(1.0, 2.0), Some(0.5));
        assert_eq!(Unit::Times.ratio(1.0, 2.0), None);
    }

    #[test]
    fn a_promise_is_broken_by_what_it_is_about() {
        let joined = |samples: &[f64]| Row { name: "boot.joined", ..row(samples) };
        assert_eq!(broken(&[joined(&[0.5, 3.0]), row(&[99.0])]), [""; 0]);
        assert_eq!(broken(&[joined(&[0.5, 3.1, 0.6])]), ["A: 3.10 s (worst), promised are 3.00 s"]);
        let first = |samples: &[f64]| Row { name: "boot.first.qboot", ..row(samples) };
        assert_eq!(broken(&[first(&[0.05, 0.05, 0.5])]), [""; 0], "the median keeps it");
        assert_eq!(broken(&[first(&[0.05, 0.07, 0.5])]).len(), 1);
        let speedup = |times| Row { name: "heap.speedup", ..row(&[times]) };
        assert_eq!(broken(&[speedup(1.6)]), [""; 0], "this one is to be large");
        assert_eq!(broken(&[speedup(1.5)]).len(), 1);
    }

    #[test]
    fn a_peer_stands_beside_its_row_or_is_a_dash() {
        let peers = PeerFigures::from([(("a", Peer::Lean), 0.5), (("b", Peer::Beam), 9.0)]);
        let text = table(&[row(&[0.25])], &peers).to_string();
        let cells: Vec<_> = text.lines().nth(1).expect("a row").split_whitespace().collect();
        assert_eq!(cells[cells.len() - 6..], ["-", "500.0", "ms", "(2.00", "x)", "-"]);
        let json = json(&[row(&[0.25])], &peers);
        assert_eq!(json[0]["peers"]["linux_lean"], 0.5);
        assert!(json[0]["peers"].get("linux_beam").is_none());
    }
}

//! The benchmarks of processes: what each is called, and how many are done where it is measured.
//!
//! Owns [`BENCHMARKS`], the one list of them. `userland/programs/bench` does them on a node,
//! `beam/craton_bench.erl` on BEAM, `host/programs.rs` some of them on the host. Neighbours:
//! `programs` measures them alone, `turns` and `host` by turns with their peers.

/// What stands beside Craton.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Beside {
    Beam,
    /// The same source, compiled for Linux.
    Native,
    Both,
}

/// A text for each place where a benchmark is measured.
#[derive(Debug)]
pub struct Texts {
    /// On a node of two CPUs, alone.
    pub alone: &'static str,
    /// By turns, on one CPU and across two.
    pub turns: [&'static str; 2],
    /// On the host.
    pub host: &'static str,
}

/// One benchmark.
#[derive(Debug)]
pub struct Benchmark {
    pub name: &'static str,
    /// Its rows' names.
    pub rows: Texts,
    /// What a person reads.
    pub whats: Texts,
    /// How many alone, if it is measured so.
    pub alone: Option<u64>,
    /// How many by turns, and how many of BEAM.
    pub turns: u64,
    pub beam: u64,
    pub beside: Beside,
    /// How many on the host, if there is a native program.
    pub host: Option<u64>,
}

macro_rules! benchmark {
    ($name:literal, $what:literal, alone $alone:expr, turns $turns:literal) => {
        benchmark!($name, $what, alone $alone, turns $turns, host None)
    };
    ($name:literal, $what:literal, alone $alone:expr, turns $turns:literal, host $host:expr) => {
        Benchmark {
            name: $name,
            rows: Texts {
                alone: concat!("bench.", $name),
                turns: [concat!("turns.", $name, ".1"), concat!("turns.", $name, ".2")],
                host: concat!("host.", $name),
            },
            whats: Texts {
                alone: $what,
                turns: [concat!($what, ", one CPU"), concat!($what, ", across two")],
                host: concat!($what, ", on the host"),
            },
            alone: $alone,
            turns: $turns,
            beam: $turns,
            beside: Beside::Beam,
            host: $host,
        }
    };
}

impl Benchmark {
    const fn beside(self, beside: Beside) -> Self {
        Benchmark { beside, ..self }
    }

    /// Of BEAM, so many only.
    const fn of_beam(self, beam: u64) -> Self {
        Benchmark { beam, ..self }
    }
}

/// All of them.
pub const BENCHMARKS: &[Benchmark] = &[
    benchmark!("spawn", "spawn, exit, notice", alone None, turns 2000, host Some(100_000)),
    benchmark!("idle", "spawn of one of 5,000 that stay", alone None, turns 5000),
    benchmark!("pingpong", "round trip", alone Some(10_000), turns 10_000, host Some(200_000)),
    benchmark!(
        "counting", "Counting: a message",
        alone Some(100_000), turns 50_000, host Some(1_000_000)
    ),
    benchmark!(
        "threadring", "ThreadRing: a hop in a ring of 100",
        alone Some(100_000), turns 20_000, host Some(500_000)
    ),
    benchmark!(
        "big", "Big: ping and pong among 32",
        alone Some(6400), turns 6400, host Some(320_000)
    ),
    benchmark!(
        "chameneos", "Chameneos: a meeting of two of 100",
        alone Some(10_000), turns 5000
    ),
    benchmark!(
        "fjthroughput", "FJThroughput: a message to one of 60",
        alone Some(24_000), turns 24_000
    ),
    // BEAM looks at all that are queued each time: of as many, it takes fewer.
    benchmark!("tagged", "receive by tag behind 100,000", alone Some(100_000), turns 100_000)
        .of_beam(20),
    benchmark!(
        "skynet", "skynet: a leaf",
        alone Some(100_000), turns 10_000, host Some(100_000)
    ),
    benchmark!("down", "a notice of one end, of 100,000", alone Some(100_000), turns 100_000),
    benchmark!("fib", "fib(30) by recursion", alone Some(1), turns 1).beside(Beside::Both),
    benchmark!("sha256", "SHA-256 of 64 KiB", alone Some(16), turns 16).beside(Beside::Native),
    benchmark!("matmul", "product of 96 by 96", alone Some(4), turns 4).beside(Beside::Native),
];

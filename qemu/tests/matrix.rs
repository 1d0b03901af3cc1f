//! The kernel's own tests on every kind of machine: board, firmware, CPUs, memory, entropy.
//!
//! Owns the table of machines, each a case with a name. `cargo test` runs those that represent the
//! others, `cargo test -- --include-ignored` (`make test-all`) every one. It has a harness of its
//! own, since the cases are made, not written; it takes cargo's words for filters and threads.
//! QEMU emulates no x2APIC before version 9, so that no case here has one.

use craton_qemu::testing::expect_selftest;
use craton_qemu::{Board, MachineConfig};
use std::fmt;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

const BOARDS: [Board; 3] = [Board::Q35, Board::Pc, Board::Microvm];
const FIRMWARES: [Firmware; 2] = [Firmware::Qboot, Firmware::SeaBios];
const CPUS: [u8; 6] = [1, 2, 3, 4, 8, 16];
const MEMORY_MIB: [u32; 3] = [32, 128, 5 * 1024];
const ENTROPY: [bool; 2] = [true, false];

/// Each board, firmware, count of CPUs, size of memory and source of entropy is in one of them.
const REPRESENTATIVE: [&str; 8] = [
    "q35-qboot-1cpu-32m-rng",
    "q35-qboot-2cpu-5120m-rng",
    "q35-seabios-4cpu-128m-norng",
    "q35-qboot-16cpu-128m-rng",
    "pc-seabios-2cpu-128m-rng",
    "pc-qboot-3cpu-32m-norng",
    "microvm-qboot-2cpu-128m-norng",
    "microvm-seabios-8cpu-128m-rng",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Firmware {
    Qboot,
    SeaBios,
}

/// One kind of machine.
#[derive(Clone, Copy)]
struct Case {
    board: Board,
    firmware: Firmware,
    cpus: u8,
    memory_mib: u32,
    /// Whether the host gives entropy, by virtio-rng; the CPU always does.
    entropy: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let board = format!("{:?}", self.board).to_lowercase();
        let firmware = format!("{:?}", self.firmware).to_lowercase();
        let entropy = if self.entropy { "rng" } else { "norng" };
        write!(f, "{board}-{firmware}-{}cpu-{}m-{entropy}", self.cpus, self.memory_mib)
    }
}

impl Case {
    fn all() -> impl Iterator<Item = Case> {
        BOARDS.into_iter().flat_map(|board| {
            FIRMWARES.into_iter().flat_map(move |firmware| {
                CPUS.into_iter().flat_map(move |cpus| {
                    MEMORY_MIB.into_iter().flat_map(move |memory_mib| {
                        let case =
                            move |entropy| Case { board, firmware, cpus, memory_mib, entropy };
                        ENTROPY.map(case)
                    })
                })
            })
        })
    }

    fn run(self) {
        let mut config = MachineConfig::new(craton_qemu::testing::kernel())
            .board(self.board)
            .cpus(self.cpus)
            .memory_mib(self.memory_mib)
            .entropy(true, self.entropy);
        if self.firmware == Firmware::SeaBios {
            config = config.own_firmware();
        }
        expect_selftest(config);
    }
}

/// What the command line asks for: `[FILTER...] [--include-ignored] [--exact] [--test-threads N]`.
struct Request {
    all: bool,
    exact: bool,
    threads: usize,
    filters: Vec<String>,
}

impl Request {
    fn parse(arguments: impl Iterator<Item = String>) -> Request {
        let mut request = Request { all: false, exact: false, threads: 1, filters: Vec::new() };
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name.to_string(), Some(value.to_string())),
                None => (argument, None),
            };
            match name.as_str() {
                "--include-ignored" | "--ignored" => request.all = true,
                "--exact" => request.exact = true,
                "--test-threads" => {
                    let value = value.or_else(|| arguments.next());
                    request.threads = value.and_then(|text| text.parse().ok()).unwrap_or(1).max(1);
                }
                // Of cargo's other words for a harness none changes what is run here.
                flag if flag.starts_with('-') => {}
                _ => request.filters.push(name),
            }
        }
        request
    }

    fn wants(&self, name: &str) -> bool {
        let matches = |filter: &String| match self.exact {
            true => name == filter,
            false => name.contains(filter.as_str()),
        };
        self.filters.is_empty() || self.filters.iter().any(matches)
    }
}

/// Every value of every column is in a representative, or the table above is wrong.
fn check_representatives() {
    let names: Vec<String> = Case::all().map(|case| case.to_string()).collect();
    for name in REPRESENTATIVE {
        assert!(names.iter().any(|known| known == name), "no case is called {name}");
    }
    for name in names {
        for part in name.split('-') {
            let seen = REPRESENTATIVE.iter().any(|one| one.split('-').any(|other| other == part));
            assert!(seen, "{part} is in no case that represents others");
        }
    }
}

fn main() -> ExitCode {
    let request = Request::parse(std::env::args().skip(1));
    check_representatives();
    let wanted: Vec<Case> = Case::all().filter(|case| request.wants(&case.to_string())).collect();
    let represents = |case: &&Case| REPRESENTATIVE.contains(&case.to_string().as_str());
    let cases: Vec<Case> =
        wanted.iter().filter(|case| request.all || represents(case)).copied().collect();
    let ignored = wanted.len() - cases.len();
    println!("\nrunning {} tests", wanted.len());
    let (count, queue) = (cases.len(), Mutex::new(cases.into_iter()));
    let failed = Mutex::new(Vec::new());
    let next = || queue.lock().ok()?.next();
    thread::scope(|scope| {
        for _ in 0..request.threads {
            scope.spawn(|| {
                while let Some(case) = next() {
                    if !passes(case)
                        && let Ok(mut failed) = failed.lock()
                    {
                        failed.push(case.to_string());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    if !failed.is_empty() {
        println!("\nfailures:\n    {}", failed.join("\n    "));
    }
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    let passed = count - failed.len();
    println!(
        "\ntest result: {word}. {passed} passed; {} failed; {ignored} ignored\n",
        failed.len()
    );
    ExitCode::from(u8::from(!failed.is_empty()))
}

/// Runs a case on a thread of its name, under which its log is kept if it fails.
fn passes(case: Case) -> bool {
    let started = Instant::now();
    let thread = thread::Builder::new().name(format!("matrix.{case}")).spawn(move || case.run());
    let passed = thread.is_ok_and(|thread| thread.join().is_ok());
    let word = if passed { "ok" } else { "FAILED" };
    println!("test {case} ... {word} ({:.1} s)", started.elapsed().as_secs_f64());
    passed
}

//! What a machine costs before it does anything: time to boot and join, memory, idle CPU.
//!
//! Owns the measures of [`boot`], [`memory`] and [`idle`]. Each boots machines of its own, on a
//! quiet network, and ends them.

use crate::bench::{BOOT_WAIT, Bench};
use crate::report::{MIB, Row, Unit};
use crate::{kernel, programs};
use craton_qemu::{Board, Gateway, Lan, Machine, MachineConfig, node_mac};
use craton_tool::cluster::Cluster;
use craton_tool::error::{Context, Error, Result};
use craton_tool::text::Text;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Boots of one machine in each way, and joins of three.
const BOOTS: usize = 21;
const JOINS: usize = 7;
/// Memory of a machine unless memory is what is measured.
pub const MEMORY_MIB: u32 = 64;
/// How long the CPU of an idle machine is watched, and how often.
const IDLE_WINDOW: Duration = Duration::from_secs(5);
const IDLE_WINDOWS: usize = 3;
/// How long machines may settle before they count as idle.
const SETTLE: Duration = Duration::from_secs(2);
/// What a kernel's first line and a node's line at the end of the boot have in them.
const FIRST_LINE: &str = "kernel: craton ";
const READY: &str = ": ready: ";

/// A way to boot one machine.
#[derive(Clone, Copy, PartialEq)]
struct Way {
    board: Board,
    own_firmware: bool,
    cpus: u8,
    memory_mib: u32,
}

impl Way {
    /// As `craton up` boots.
    const USUAL: Way =
        Way { board: Board::Q35, own_firmware: false, cpus: 1, memory_mib: MEMORY_MIB };
}

/// Name and words of the row of the time to the first line, of the one to ready, and how to boot.
type Boots = ([&'static str; 2], [&'static str; 2], Way);

const BOOTS_TO_MEASURE: [Boots; 4] = [
    (
        ["boot.first.microvm", "start to first line, microvm with qboot"],
        ["boot.ready.microvm", "start to ready, microvm with qboot"],
        Way { board: Board::Microvm, ..Way::USUAL },
    ),
    (
        ["boot.first.qboot", "start to first line, q35 with qboot"],
        ["boot.ready.qboot", "start to ready, q35 with qboot"],
        Way::USUAL,
    ),
    (
        ["boot.first.cpus2", "start to first line, q35 with qboot, 2 CPUs"],
        ["boot.ready.cpus2", "start to ready, q35 with qboot, 2 CPUs"],
        Way { cpus: 2, ..Way::USUAL },
    ),
    (
        ["boot.first.seabios", "start to first line, q35 with SeaBIOS"],
        ["boot.ready.seabios", "start to ready, q35 with SeaBIOS"],
        Way { own_firmware: true, ..Way::USUAL },
    ),
];

/// What one boot showed.
struct Boot {
    first_line: Duration,
    ready: Duration,
    /// Time that QEMU's threads ran until then: what the boot takes on a host with nothing else.
    cpu: Duration,
    resident: u64,
}

/// Boots one machine on a network of its own and ends it once it is ready.
fn boot_once(bench: &Bench, way: Way) -> Result<Boot> {
    let tried = || "boot a machine".to_string();
    let lan = Lan::new(1);
    let _gateway = Gateway::start(&lan).tried(tried)?;
    let port = lan.attach().tried(tried)?;
    let (seen, lines) = channel();
    let mut config = MachineConfig::new(&bench.kernel)
        .board(way.board)
        .cpus(way.cpus)
        .memory_mib(way.memory_mib)
        .node_config(bench.keys.node_config("n1")?.render())
        .network(port, node_mac(0))
        .on_line(move |line| {
            // Nobody listens any more once the machine is ready.
            let _ = seen.send((Instant::now(), line.to_string()));
        });
    if way.own_firmware {
        config = config.own_firmware();
    }
    let started = Instant::now();
    let machine = Machine::launch(config).tried(tried)?;
    let mut first_line = None;
    loop {
        let left = BOOT_WAIT.saturating_sub(started.elapsed());
        let (at, line) = lines.recv_timeout(left).map_err(|_| {
            let last = machine.lines().pop().unwrap_or_else(|| "it said nothing".into());
            Error::new(tried(), format!("it is not ready; its last line: {last}"))
        })?;
        if line.contains(FIRST_LINE) {
            first_line.get_or_insert(at);
        }
        if line.contains(READY) {
            let cpu = Duration::from_nanos(cpu_nanos(machine.process_id()));
            let resident = machine.resident_bytes().unwrap_or(0);
            let first_line = first_line.unwrap_or(at) - started;
            return Ok(Boot { first_line, ready: at - started, cpu, resident });
        }
    }
}

/// Time from the start of QEMU to the first line, to ready, and to three nodes that see each other.
pub fn boot(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut resident = Vec::new();
    for ([first, to_first], [ready, to_ready], way) in BOOTS_TO_MEASURE {
        let boots: Vec<Boot> = (0..BOOTS).map(|_| boot_once(bench, way)).collect::<Result<_>>()?;
        let seconds =
            |of: fn(&Boot) -> Duration| boots.iter().map(|b| of(b).as_secs_f64()).collect();
        rows.push(seconds_row(first, to_first, seconds(|boot| boot.first_line)));
        rows.push(seconds_row(ready, to_ready, seconds(|boot| boot.ready)));
        if way.cpus == 2 {
            let what = "CPU time of QEMU until then";
            rows.push(seconds_row("boot.cpu.cpus2", what, seconds(|boot| boot.cpu)));
        }
        if way == Way::USUAL {
            resident = boots.iter().map(|boot| boot.resident as f64).collect();
        }
    }
    let joins = (0..JOINS).map(|_| {
        let cluster = Cluster::start(&bench.options(3, 1, MEMORY_MIB), &bench.keys)?;
        cluster.wait_joined().map(|time| time.as_secs_f64())
    });
    rows.push(seconds_row(
        "boot.joined",
        "start to three nodes joined",
        joins.collect::<Result<_>>()?,
    ));
    rows.push(bytes_row("memory.resident", "QEMU's resident memory when ready", resident));
    let image = bench.kernel.metadata().tried(|| "look at the kernel".into())?.len();
    rows.push(bytes_row("image", "kernel file, stripped", vec![image as f64]));
    Ok(rows)
}

/// The least memory that works.
pub fn memory(bench: &Bench) -> Result<Vec<Row>> {
    let way = |memory_mib| Way { memory_mib, ..Way::USUAL };
    let ready = least(|mib| boot_once(bench, way(mib)).is_ok());
    let text = Text::find(bench.text.as_deref(), programs::SMALL_TEXT_BYTES)?;
    let counts = least(|mib| count_on_three(bench, &text, mib).is_ok());
    let row = |name, what, mib: Option<u32>| {
        let mib = mib.ok_or_else(|| {
            Error::new(format!("find the memory for: {what}"), format!("{MEMORY_MIB} MiB fail"))
        })?;
        Ok(bytes_row(name, what, vec![f64::from(mib) * MIB]))
    };
    Ok(vec![
        row("memory.ready", "least -m that gets ready", ready)?,
        row("memory.wordcount", "least -m of three that count words", counts)?,
    ])
}

fn count_on_three(bench: &Bench, text: &Text, memory_mib: u32) -> Result<()> {
    let cluster = Cluster::start(&bench.options(3, 1, memory_mib), &bench.keys)?;
    cluster.wait_joined()?;
    programs::count(bench, &cluster, text, &programs::plain_count(text)?).map(|_| ())
}

/// The least MiB with which it works, searched by halving.
fn least(works: impl Fn(u32) -> bool) -> Option<u32> {
    if !works(MEMORY_MIB) {
        return None;
    }
    let (mut fails, mut good) = (0, MEMORY_MIB);
    while good - fails > 1 {
        let middle = (good + fails) / 2;
        if works(middle) { good = middle } else { fails = middle }
    }
    Some(good)
}

/// The part of a host's CPU that idle machines use, and how late an idle CPU is at its timer.
pub fn idle(bench: &Bench) -> Result<Vec<Row>> {
    let row = |name, what, samples| Row { name, what, unit: Unit::Cpu, samples };
    let mut rows = Vec::new();
    for (name, what, nodes, cpus, windows) in [
        ("idle.one", "host CPU of an idle node", 1, 1, IDLE_WINDOWS),
        ("idle.cpus2", "host CPU of an idle node of 2 CPUs", 1, 2, IDLE_WINDOWS),
        ("idle.three", "host CPU of each of three idle nodes", 3, 1, 1),
    ] {
        let cluster = Cluster::start(&bench.options(nodes, cpus, MEMORY_MIB), &bench.keys)?;
        cluster.wait_joined()?;
        std::thread::sleep(SETTLE);
        rows.push(row(name, what, (0..windows).flat_map(|_| shares(&cluster)).collect()));
    }
    let mut figures = kernel::figures(bench, "timerbench", 1, MEMORY_MIB)?;
    let late = kernel::take(&mut figures, "timer.late")?;
    rows.push(seconds_row("timer.late", "an idle CPU's answer to its timer", late));
    Ok(rows)
}

/// The part of one CPU that each machine used during a window that begins now.
fn shares(cluster: &Cluster) -> Vec<f64> {
    let used = || -> Vec<u64> {
        cluster.nodes().iter().map(|node| cpu_nanos(node.machine.process_id())).collect()
    };
    let (before, started) = (used(), Instant::now());
    std::thread::sleep(IDLE_WINDOW);
    let (after, window) = (used(), started.elapsed());
    let share = |(after, before): (u64, &u64)| {
        after.saturating_sub(*before) as f64 / window.as_nanos() as f64
    };
    after.into_iter().zip(&before).map(share).collect()
}

/// Nanoseconds that all threads of a process have run.
fn cpu_nanos(process: u32) -> u64 {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return 0 };
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

fn seconds_row(name: &'static str, what: &'static str, samples: Vec<f64>) -> Row {
    Row { name, what, unit: Unit::Seconds, samples }
}

fn bytes_row(name: &'static str, what: &'static str, samples: Vec<f64>) -> Row {
    Row { name, what, unit: Unit::Bytes, samples }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_is_found_wherever_it_is() {
        for least_that_works in 1..=MEMORY_MIB {
            assert_eq!(least(|mib| mib >= least_that_works), Some(least_that_works));
        }
        assert_eq!(least(|_| false), None);
    }

    #[test]
    fn a_busy_process_uses_cpu_time() {
        let before = cpu_nanos(std::process::id());
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(30) {}
        assert!(cpu_nanos(std::process::id()) > before);
        assert_eq!(cpu_nanos(0), 0);
    }
}

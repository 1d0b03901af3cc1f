//! What the node says of itself to whoever asks by HTTP, on whichever CPU.
//!
//! Owns [`NodeReport`], the node's part of the status page and of the metrics, and the card's and
//! the CPUs'; the services add what the network stacks know together.

use super::board::{Board, CpuFacts};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use craton_abi::{Duration, Instant};
use craton_hal::virtio::net::Counters;
use craton_hal::{cpu, memory};
use craton_services::{Report, Totals};

/// A node at a moment.
pub(super) struct NodeReport<'a> {
    pub(super) board: &'a Board,
    /// Which CPU is asked.
    pub(super) own: usize,
    pub(super) now: Instant,
}

impl Report for NodeReport<'_> {
    fn others(&self) -> Totals {
        let mut totals = Totals::default();
        for (cpu, (facts, _)) in self.board.cpus().enumerate() {
            if cpu != self.own {
                totals += facts.totals;
            }
        }
        totals
    }

    fn status(&self, out: &mut String) {
        let now = self.now;
        // Writing to a string does not fail.
        if let Some(node) = self.board.node() {
            let _ = writeln!(out, "node        {} ({})", node.name, node.id);
            let _ = writeln!(out, "life        {}, for {now} s", node.life);
            let _ = writeln!(out, "cluster     {} nodes alive", node.nodes_alive);
            let _ = writeln!(out, "processes   {}", node.processes);
            let link = if node.link_up { "up" } else { "down" };
            let _ = writeln!(out, "link        {link}, MTU {}", self.board.card.mtu);
        }
        let _ = writeln!(out, "CPUs        {}, this is {}'s answer", cpu::count(), self.own);
        let _ = writeln!(out, "memory      {} KiB free", memory::free_bytes() >> 10);
    }

    fn metrics(&self, own: &Totals, out: &mut String) {
        let node = self.board.node();
        let of_node = |fact: fn(&super::board::NodeFacts) -> usize| node.as_ref().map_or(0, fact);
        let gauges = [
            ("uptime_seconds", "Time since the machine started.", self.now.as_millis() / 1_000),
            (
                "nodes_alive",
                "Nodes of the cluster that are alive.",
                of_node(|node| node.nodes_alive) as u64,
            ),
            ("cpus", "CPUs of the machine.", cpu::count() as u64),
            ("processes", "Processes of the node.", of_node(|node| node.processes) as u64),
            ("memory_free_bytes", "Memory that is free.", memory::free_bytes()),
            (
                "card_link_up",
                "Whether the link is up.",
                of_node(|node| usize::from(node.link_up)) as u64,
            ),
        ];
        for (name, help, value) in gauges {
            // As above.
            let _ = writeln!(out, "# HELP craton_{name} {help}");
            let _ = writeln!(out, "# TYPE craton_{name} gauge");
            let _ = writeln!(out, "craton_{name} {value}");
        }
        let mut cpus: Vec<(CpuFacts, Duration)> = self.board.cpus().collect();
        // It has counted since it last told.
        cpus[self.own].0.totals = *own;
        card_metrics(&cpus, out);
        self.cpu_metrics(&cpus, out);
    }
}

impl NodeReport<'_> {
    /// What each CPU does.
    fn cpu_metrics(&self, cpus: &[(CpuFacts, Duration)], out: &mut String) {
        let up = self.now.since(Instant::ZERO);
        let mut family =
            |name: &str, kind, help, value: &dyn Fn(&(CpuFacts, Duration)) -> String| {
                let _ = writeln!(out, "# HELP craton_cpu_{name} {help}");
                let _ = writeln!(out, "# TYPE craton_cpu_{name} {kind}");
                for (number, cpu) in cpus.iter().enumerate() {
                    let _ = writeln!(out, "craton_cpu_{name}{{cpu=\"{number}\"}} {}", value(cpu));
                }
            };
        family("busy_seconds_total", "counter", "Time that it did not sleep.", &|(_, idle)| {
            let busy = Duration::from_nanos(up.as_nanos().saturating_sub(idle.as_nanos()));
            format!("{}.{:06}", busy.as_micros() / 1_000_000, busy.as_micros() % 1_000_000)
        });
        family("sockets", "gauge", "Sockets of its stack.", &|(facts, _)| {
            format!("{}", facts.totals.usage.sockets)
        });
        family("http_requests_total", "counter", "HTTP requests answered.", &|(facts, _)| {
            format!("{}", facts.totals.requests)
        });
        family("frames_received_total", "counter", "Frames for its stack.", &|(facts, _)| {
            format!("{}", facts.totals.counters.frames_received)
        });
        family("frames_sent_total", "counter", "Frames of its stack.", &|(facts, _)| {
            format!("{}", facts.totals.counters.frames_sent)
        });
        family("card_interrupts_total", "counter", "Interrupts of its queues.", &|(facts, _)| {
            format!("{}", facts.interrupts)
        });
        let help = "Frames that others received for it and found no room for.";
        family("frames_dropped_total", "counter", help, &|(facts, _)| format!("{}", facts.dropped));
    }
}

/// What the card counts: frames that it cuts or joins are one each.
fn card_metrics(cpus: &[(CpuFacts, Duration)], out: &mut String) {
    let sum = |count: fn(&CpuFacts) -> u64| cpus.iter().map(|(facts, _)| count(facts)).sum::<u64>();
    let both = |facts: &CpuFacts, count: fn(&Counters) -> u64| -> u64 {
        facts.card.iter().map(count).sum()
    };
    let kicks = cpus.iter().map(|(facts, _)| both(facts, |counters| counters.rings)).sum();
    let counters = [
        ("received_frames", "Frames that the card gave us.", sum(|cpu| cpu.card[0].frames)),
        ("received_bytes", "Bytes of them.", sum(|cpu| cpu.card[0].bytes)),
        ("received_dropped", "What it gave that was no frame.", sum(|cpu| cpu.card[0].dropped)),
        ("sent_frames", "Frames given to the card.", sum(|cpu| cpu.card[1].frames)),
        ("sent_bytes", "Bytes of them.", sum(|cpu| cpu.card[1].bytes)),
        ("sent_dropped", "Frames for which there was no room.", sum(|cpu| cpu.card[1].dropped)),
        ("kicks", "Times that the card was told of buffers.", kicks),
        ("interrupts", "Interrupts of the card.", sum(|cpu| cpu.interrupts)),
    ];
    for (name, help, value) in counters {
        // As above.
        let _ = writeln!(out, "# HELP craton_card_{name}_total {help}");
        let _ = writeln!(out, "# TYPE craton_card_{name}_total counter");
        let _ = writeln!(out, "craton_card_{name}_total {value}");
    }
}

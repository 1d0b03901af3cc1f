//! What the node says of itself to whoever asks by HTTP.
//!
//! Owns [`NodeReport`], the node's part of the status page and of the metrics, and the card's; the
//! services add what the network stack knows.

use alloc::string::String;
use core::fmt::Write;
use craton_abi::Instant;
use craton_hal::virtio::net::Net;
use craton_hal::{cpu, memory};
use craton_node::Node;
use craton_services::Report;

/// A node at a moment.
pub(super) struct NodeReport<'a> {
    pub(super) node: &'a Node,
    pub(super) now: Instant,
    pub(super) card: &'a Net,
}

impl Report for NodeReport<'_> {
    fn status(&self, out: &mut String) {
        let NodeReport { node, now, card } = self;
        let alive = node.nodes_alive().len();
        // Writing to a string does not fail.
        let _ = writeln!(out, "node        {} ({})", node.config().name, node.id());
        let _ = writeln!(out, "life        {}, for {now} s", node.incarnation());
        let _ = writeln!(out, "cluster     {alive} nodes alive");
        let _ = writeln!(out, "CPUs        {}", cpu::count());
        let _ = writeln!(out, "processes   {} on CPU 0", node.processes());
        let _ = writeln!(out, "memory      {} KiB free", memory::free_bytes() >> 10);
        let link = if card.link_up() { "up" } else { "down" };
        let _ = writeln!(out, "link        {link}, MTU {}", card.info().mtu);
    }

    fn metrics(&self, out: &mut String) {
        let alive = self.node.nodes_alive().len() as u64;
        let gauges = [
            ("uptime_seconds", "Time since the machine started.", self.now.as_millis() / 1_000),
            ("nodes_alive", "Nodes of the cluster that are alive.", alive),
            ("cpus", "CPUs of the machine.", cpu::count() as u64),
            ("processes", "Processes of CPU 0.", self.node.processes() as u64),
            ("memory_free_bytes", "Memory that is free.", memory::free_bytes()),
            ("card_link_up", "Whether the link is up.", u64::from(self.card.link_up())),
        ];
        for (name, help, value) in gauges {
            // As above.
            let _ = writeln!(out, "# HELP craton_{name} {help}");
            let _ = writeln!(out, "# TYPE craton_{name} gauge");
            let _ = writeln!(out, "craton_{name} {value}");
        }
        self.card_metrics(out);
    }
}

impl NodeReport<'_> {
    /// What the card counts: frames that it cuts or joins are one each.
    fn card_metrics(&self, out: &mut String) {
        let (received, sent) = self.card.counters();
        let counters = [
            ("received_frames", "Frames that the card gave us.", received.frames),
            ("received_bytes", "Bytes of them.", received.bytes),
            ("received_dropped", "What it gave that was no frame.", received.dropped),
            ("sent_frames", "Frames given to the card.", sent.frames),
            ("sent_bytes", "Bytes of them.", sent.bytes),
            ("sent_dropped", "Frames for which there was no room.", sent.dropped),
            ("kicks", "Times that the card was told of buffers.", received.rings + sent.rings),
            ("interrupts", "Interrupts of the card.", self.card.interrupts()),
        ];
        for (name, help, value) in counters {
            // As above.
            let _ = writeln!(out, "# HELP craton_card_{name}_total {help}");
            let _ = writeln!(out, "# TYPE craton_card_{name}_total counter");
            let _ = writeln!(out, "craton_card_{name}_total {value}");
        }
    }
}

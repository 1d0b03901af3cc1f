//! What the node says of itself to whoever asks by HTTP.
//!
//! Owns [`NodeReport`], the node's part of the status page and of the metrics; the services add
//! what the network stack knows.

use alloc::string::String;
use core::fmt::Write;
use craton_abi::Instant;
use craton_hal::{cpu, memory};
use craton_node::Node;
use craton_services::Report;

/// A node at a moment.
pub(super) struct NodeReport<'a> {
    pub(super) node: &'a Node,
    pub(super) now: Instant,
}

impl Report for NodeReport<'_> {
    fn status(&self, out: &mut String) {
        let NodeReport { node, now } = self;
        let alive = node.nodes_alive().len();
        // Writing to a string does not fail.
        let _ = writeln!(out, "node        {} ({})", node.config().name, node.id());
        let _ = writeln!(out, "life        {}, for {now} s", node.incarnation());
        let _ = writeln!(out, "cluster     {alive} nodes alive");
        let _ = writeln!(out, "CPUs        {}", cpu::count());
        let _ = writeln!(out, "processes   {} on CPU 0", node.processes());
        let _ = writeln!(out, "memory      {} KiB free", memory::free_bytes() >> 10);
    }

    fn metrics(&self, out: &mut String) {
        let alive = self.node.nodes_alive().len() as u64;
        let gauges = [
            ("uptime_seconds", "Time since the machine started.", self.now.as_millis() / 1_000),
            ("nodes_alive", "Nodes of the cluster that are alive.", alive),
            ("cpus", "CPUs of the machine.", cpu::count() as u64),
            ("processes", "Processes of CPU 0.", self.node.processes() as u64),
            ("memory_free_bytes", "Memory that is free.", memory::free_bytes()),
        ];
        for (name, help, value) in gauges {
            // As above.
            let _ = writeln!(out, "# HELP craton_{name} {help}");
            let _ = writeln!(out, "# TYPE craton_{name} gauge");
            let _ = writeln!(out, "craton_{name} {value}");
        }
    }
}

//! What there is to read: the node's status, its metrics, a fixed text.
//!
//! Owns the pages and [`Seen`], what the stacks know at a moment; the rest the node reports itself.

use crate::http::{Page, Status};
use crate::{Report, Totals};
use alloc::string::String;
use core::fmt::Write;
use core::net::{Ipv4Addr, Ipv6Addr};
use craton_net::{Counters, Stack, Usage};

const HELLO: &str = "hello, world\n";
const METRICS_KIND: &str = "text/plain; version=0.0.4";

/// What the stack and the services know.
pub(crate) struct Seen {
    ipv4: Option<Ipv4Addr>,
    ipv6: Option<Ipv6Addr>,
    own: Totals,
    totals: Totals,
}

impl Seen {
    /// What this stack knows, and what the node's others count.
    pub(crate) fn new(stack: &Stack, own: Totals, others: Totals) -> Seen {
        let mut totals = own;
        totals += others;
        Seen {
            ipv4: stack.address().map(|own| own.address),
            ipv6: stack.announced().address.or(stack.link_local()),
            own,
            totals,
        }
    }
}

/// The page at a path.
pub(crate) fn page(path: &str, seen: impl FnOnce() -> Seen, report: &impl Report) -> Page {
    let mut body = String::new();
    let (status, kind) = match path {
        "/" => {
            report.status(&mut body);
            // Writing to a string does not fail.
            let _ = write_status(&seen(), &mut body);
            (Status::Ok, "text/plain; charset=utf-8")
        }
        "/metrics" => {
            let seen = seen();
            report.metrics(&seen.own, &mut body);
            let _ = write_metrics(&seen, &mut body);
            (Status::Ok, METRICS_KIND)
        }
        "/hello" => {
            body.push_str(HELLO);
            (Status::Ok, "text/plain")
        }
        _ => {
            body.push_str("there are /, /metrics and /hello\n");
            (Status::NotFound, "text/plain")
        }
    };
    Page { status, kind, body }
}

fn write_status(seen: &Seen, out: &mut String) -> core::fmt::Result {
    if let Some(address) = seen.ipv4 {
        writeln!(out, "IPv4        {address}")?;
    }
    if let Some(address) = seen.ipv6 {
        writeln!(out, "IPv6        {address}")?;
    }
    let Totals { usage, counters, clients, .. } = seen.totals;
    let Usage { streams, handshakes, time_waits, buffer_bytes, .. } = usage;
    writeln!(out, "connections {streams}, of these to services {clients}")?;
    writeln!(out, "opening     {handshakes}, resting {time_waits}")?;
    writeln!(out, "buffers     {} KiB", buffer_bytes >> 10)?;
    let Counters { frames_received, frames_sent, segments_repeated, .. } = counters;
    writeln!(out, "frames      {frames_received} received, {frames_sent} sent")?;
    writeln!(out, "repeated    {segments_repeated} segments")
}

fn write_metrics(seen: &Seen, out: &mut String) -> core::fmt::Result {
    let Totals { counters, usage, clients, requests } = seen.totals;
    let Counters {
        frames_received,
        frames_sent,
        frames_refused,
        checksums_wrong,
        streams_polled,
        segments_repeated,
        accepts_deferred,
        handshakes_evicted,
        datagrams_dropped,
    } = counters;
    let counters = [
        ("frames_received", "Frames taken from the device.", frames_received),
        ("frames_sent", "Frames given to the device.", frames_sent),
        ("frames_refused", "Frames not for us, malformed or harmful.", frames_refused),
        ("checksums_wrong", "Frames with a wrong checksum.", checksums_wrong),
        ("streams_polled", "Times that a stream was looked at.", streams_polled),
        ("segments_repeated", "TCP segments sent again.", segments_repeated),
        ("accepts_deferred", "Connections that had to wait for room.", accepts_deferred),
        ("handshakes_evicted", "Handshakes that made room for others.", handshakes_evicted),
        ("datagrams_dropped", "Datagrams dropped.", datagrams_dropped),
        ("http_requests", "HTTP requests answered.", requests),
    ];
    for (name, help, value) in counters {
        writeln!(out, "# HELP craton_net_{name}_total {help}")?;
        writeln!(out, "# TYPE craton_net_{name}_total counter")?;
        writeln!(out, "craton_net_{name}_total {value}")?;
    }
    let Usage { streams, sockets, handshakes, time_waits, fragmented, buffer_bytes } = usage;
    let gauges = [
        ("streams", "TCP connections.", streams),
        ("sockets", "Sockets of all kinds.", sockets),
        ("handshakes", "Handshakes under way.", handshakes),
        ("time_waits", "Connections in TIME-WAIT.", time_waits),
        ("fragmented", "Packets of which fragments are missing.", fragmented),
        ("buffer_bytes", "Buffers of connections and sockets.", buffer_bytes),
        ("service_clients", "Connections to the services.", clients),
    ];
    for (name, help, value) in gauges {
        writeln!(out, "# HELP craton_net_{name} {help}")?;
        writeln!(out, "# TYPE craton_net_{name} gauge")?;
        writeln!(out, "craton_net_{name} {value}")?;
    }
    Ok(())
}

//! `craton nodes`, `ps` and `logs`: what the cluster is doing.
//!
//! Owns how listings look, for a person and as JSON.

use super::Target;
use crate::client::Client;
use crate::error::{Context, Error, Result};
use crate::table::{Table, bytes, nanos};
use crate::{complain, say};
use clap::Args;
use craton_abi::limit;
use craton_wire::{Answer, NodeInfo, ProcessInfo, Question};
use serde_json::json;

/// The options of `craton nodes`.
#[derive(Debug, Args)]
pub struct Nodes {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// The options of `craton ps`.
#[derive(Debug, Args)]
pub struct Processes {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// The options of `craton logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Go on with new lines as they come, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    target: Target,
}

fn unexpected<T>() -> Result<T> {
    Err(Error::new("understand the node", "it answered something else"))
}

/// Asks a node which nodes it sees.
///
/// # Errors
///
/// If the node does not answer.
pub fn nodes(client: &mut Client) -> Result<Vec<NodeInfo>> {
    match client.ask(Question::Nodes)? {
        Answer::Nodes(nodes) => Ok(nodes),
        _ => unexpected(),
    }
}

fn processes(client: &mut Client) -> Result<Vec<ProcessInfo>> {
    match client.ask(Question::Processes)? {
        Answer::Processes(processes) => Ok(processes),
        _ => unexpected(),
    }
}

fn print_json(value: &serde_json::Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).tried(|| "write JSON".into())?;
    say!("{text}");
    Ok(())
}

impl Nodes {
    pub(super) fn run(self) -> Result<()> {
        let mut client = self.target.connect()?;
        if self.json {
            let nodes = nodes(&mut client)?;
            return print_json(&nodes.iter().map(node_json).collect());
        }
        print_nodes(&mut client)
    }
}

/// Prints the nodes that a node sees, as a table.
///
/// # Errors
///
/// If the node does not answer.
pub fn print_nodes(client: &mut Client) -> Result<()> {
    let nodes = nodes(client)?;
    let mut table =
        Table::new(&["name", "id", "address", "shards", "processes", "free memory", "up"]);
    for node in &nodes {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        table.row([
            node.name.clone(),
            node.id.to_string(),
            node.address.clone(),
            node.shards.to_string(),
            or_dash(node.processes.map(|count| count.to_string())),
            or_dash(node.memory_free.map(bytes)),
            or_dash(node.uptime_nanos.map(nanos)),
        ]);
    }
    say!(+ "{table}");
    Ok(())
}

fn node_json(node: &NodeInfo) -> serde_json::Value {
    json!({
        "name": node.name,
        "id": node.id.to_string(),
        "incarnation": node.incarnation.to_string(),
        "address": node.address,
        "shards": node.shards,
        "processes": node.processes,
        "memory_free_bytes": node.memory_free,
        "uptime_ns": node.uptime_nanos,
    })
}

impl Processes {
    pub(super) fn run(self) -> Result<()> {
        let (reachable, keys) = self.target.find()?;
        let mut all = Vec::new();
        for node in reachable {
            if self.target.node.as_ref().is_some_and(|wanted| wanted != &node.name) {
                continue;
            }
            let listed = Client::connect(node.address, &keys).and_then(|mut client| {
                let listed = processes(&mut client)?;
                if listed.len() >= limit::PROCESSES_LISTED_MAX {
                    let own = nodes(&mut client)?.into_iter().find(|info| info.name == node.name);
                    let all = own.and_then(|info| info.processes);
                    complain!("craton: {}", cut_short(&node.name, listed.len(), all));
                }
                Ok(listed)
            });
            match listed {
                Ok(processes) => {
                    all.extend(processes.into_iter().map(|process| (node.name.clone(), process)));
                }
                // A dead node has no processes; the others are still worth listing.
                Err(error) => complain!("craton: {}: {error}", node.name),
            }
        }
        if self.json {
            return print_json(&all.iter().map(process_json).collect());
        }
        let mut table = Table::new(&[
            "node", "pid", "program", "entry", "state", "mailbox", "memory", "cpu time",
        ]);
        for (node, process) in &all {
            table.row([
                node.clone(),
                process.pid.to_string(),
                process.program.to_string(),
                process.entry.clone(),
                process.state.clone(),
                process.mailbox_messages.to_string(),
                bytes(process.memory_bytes),
                nanos(process.cpu_nanos),
            ]);
        }
        say!(+ "{table}");
        Ok(())
    }
}

/// What is said where a node has more processes than it lists.
fn cut_short(node: &str, listed: usize, all: Option<u32>) -> String {
    match all {
        Some(all) => format!("{node} lists {listed} of its {all} processes"),
        None => format!("{node} lists {listed} of its processes"),
    }
}

fn process_json((node, process): &(String, ProcessInfo)) -> serde_json::Value {
    json!({
        "node": node,
        "pid": process.pid.to_string(),
        "program": process.program.to_string(),
        "entry": process.entry,
        "state": process.state,
        "waits_for": process.waits_for.map(|pid| pid.to_string()),
        "mailbox_messages": process.mailbox_messages,
        "mailbox_bytes": process.mailbox_bytes,
        "memory_bytes": process.memory_bytes,
        "cpu_ns": process.cpu_nanos,
    })
}

impl Logs {
    /// How often a followed log is asked for more.
    const INTERVAL: std::time::Duration = std::time::Duration::from_millis(200);

    pub(super) fn run(self) -> Result<()> {
        let mut client = self.target.connect()?;
        let mut from = 0;
        loop {
            let Answer::Logs { first, lines } = client.ask(Question::Logs { from })? else {
                return unexpected();
            };
            if first > from && from > 0 {
                complain!(
                    "craton: {} lines are gone: the node keeps only the newest",
                    first - from
                );
            }
            let count = lines.len() as u64;
            for (number, line) in (first..).zip(lines) {
                if self.json {
                    say!("{}", json!({ "number": number, "line": line }));
                } else {
                    say!("{line}");
                }
            }
            from = first + count;
            if count == 0 && !self.follow {
                return Ok(());
            }
            if count == 0 {
                std::thread::sleep(Self::INTERVAL);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use craton_abi::{Incarnation, NodeId, Pid, ProgramId, ShardId, Slot};

    #[test]
    fn whom_a_process_waits_for_is_said_as_a_pid() {
        let pid = |index| Pid {
            node: NodeId::new(1),
            incarnation: Incarnation::new(2),
            slot: Slot::new(ShardId::new(0), index, 3).expect("in range"),
        };
        let mut process = ProcessInfo {
            pid: pid(1),
            program: ProgramId::default(),
            entry: "main".into(),
            state: format!("sending to {}", pid(2)),
            waits_for: Some(pid(2)),
            mailbox_messages: 0,
            mailbox_bytes: 0,
            memory_bytes: 0,
            cpu_nanos: 0,
        };
        let json = |process: &ProcessInfo| process_json(&("n1".into(), process.clone()));
        assert_eq!(json(&process)["waits_for"], pid(2).to_string());
        assert_eq!(json(&process)["pid"], pid(1).to_string());
        process.waits_for = None;
        assert!(json(&process)["waits_for"].is_null(), "{}", json(&process));
    }
}

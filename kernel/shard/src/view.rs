//! What a listing shows of a process.
//!
//! Owns [`ProcessView`], a borrowed snapshot that `craton ps` is made of.

use crate::process::{Process, Runs, State, Tenant, Want};
use alloc::format;
use alloc::string::String;
use craton_abi::{Duration, Pid, ProgramId};

/// One process, as a listing shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProcessView<'a> {
    /// Its pid.
    pub pid: Pid,
    /// Its program.
    pub program: ProgramId,
    /// The function it was started with.
    pub entry: &'a str,
    /// What it is doing, and for whom it waits.
    pub state: String,
    /// Who must do something before it goes on: take a message, answer, or end.
    pub waits_for: Option<Pid>,
    /// Messages in its mailbox, notices not counted.
    pub mailbox_messages: u32,
    /// Bytes of messages in its mailbox.
    pub mailbox_bytes: u32,
    /// CPU time used.
    pub cpu: Duration,
}

impl<'a> ProcessView<'a> {
    pub(crate) fn new(pid: Pid, tenant: &'a Tenant) -> Self {
        let (identity, state, waits_for, mailbox) = match tenant {
            Tenant::Live(process) => {
                let waits_for = waits_for(process);
                let state = describe(process, waits_for);
                (&process.identity, state, waits_for, process.mailbox.amount())
            }
            Tenant::Ending(identity) => {
                (identity, String::from("ending"), None, Default::default())
            }
        };
        ProcessView {
            pid,
            program: identity.program,
            entry: &identity.entry,
            state,
            waits_for,
            mailbox_messages: mailbox.messages,
            mailbox_bytes: mailbox.bytes,
            cpu: identity.cpu,
        }
    }
}

fn waits_for(process: &Process) -> Option<Pid> {
    match &process.state {
        State::Sending { to, .. } | State::Answering { to, .. } => Some(*to),
        State::Receiving { want: Want::News(id), .. } => process.mailbox.target(*id),
        _ => None,
    }
}

fn describe(process: &Process, waits_for: Option<Pid>) -> String {
    String::from(match &process.state {
        State::Running if let Runs::Lent(to) = process.runs => {
            return format!("running on CPU {}", to.index());
        }
        State::Starting { .. } => "starting",
        State::Runnable { .. } => "runnable",
        State::Running | State::Calling => "running",
        State::Receiving { want: Want::Any, .. } => "receiving",
        State::Receiving { want: Want::Tag(tag), .. } => return format!("receiving tag {tag}"),
        State::Receiving { want: Want::News(id), .. } => {
            return waits_for
                .map_or_else(|| format!("awaiting {id:x}"), |pid| format!("awaiting {pid}"));
        }
        State::Sending { to, .. } => return format!("sending to {to}"),
        State::Answering { to, .. } => return format!("answering {to}"),
        State::Spawning { .. } => "spawning",
        State::OnSocket { doing: (doing, None) } => doing,
        State::OnSocket { doing: (doing, Some(socket)) } => return format!("{doing} {socket}"),
        State::Asking => "asking the node",
    })
}

//! What a listing shows of a process.
//!
//! Owns [`ProcessView`], a borrowed snapshot that `craton ps` is made of.

use crate::process::{State, Tenant, Want};
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
    /// Messages in its mailbox, notices not counted.
    pub mailbox_messages: u32,
    /// Bytes of messages in its mailbox.
    pub mailbox_bytes: u32,
    /// CPU time used.
    pub cpu: Duration,
}

impl<'a> ProcessView<'a> {
    pub(crate) fn new(pid: Pid, tenant: &'a Tenant) -> Self {
        let (identity, state, mailbox) = match tenant {
            Tenant::Live(process) => {
                (&process.identity, describe(&process.state), process.mailbox.amount())
            }
            Tenant::Ending(identity) => (identity, String::from("ending"), Default::default()),
        };
        ProcessView {
            pid,
            program: identity.program,
            entry: &identity.entry,
            state,
            mailbox_messages: mailbox.messages,
            mailbox_bytes: mailbox.bytes,
            cpu: identity.cpu,
        }
    }
}

fn describe(state: &State) -> String {
    String::from(match state {
        State::Starting { .. } => "starting",
        State::Runnable { .. } => "runnable",
        State::Running | State::Calling => "running",
        State::Receiving { want: Want::Any, .. } => "receiving",
        State::Receiving { want: Want::Tag(tag), .. } => return format!("receiving tag {tag}"),
        State::Receiving { want: Want::News(id), .. } => return format!("awaiting {id:x}"),
        State::Sending { to, .. } => return format!("sending to {to}"),
        State::Answering { to, .. } => return format!("answering {to}"),
        State::Spawning { .. } => "spawning",
        State::OnSocket { doing: (doing, None) } => doing,
        State::OnSocket { doing: (doing, Some(socket)) } => return format!("{doing} {socket}"),
        State::Asking => "asking the node",
    })
}

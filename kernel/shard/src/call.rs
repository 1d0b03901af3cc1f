//! What a process comes back with from running, and what it asks for.
//!
//! Answers [`Input::Ran`](crate::port::Input::Ran): charges the CPU time, then does what was asked
//! or leaves the process waiting for it. The verbs are in `message`, `watch` and `spawn`.

use crate::port::{Effect, HostCall, HostReply, Outcome, Resume};
use crate::process::{Parcel, Process, State, Tenant, Want};
use crate::shard::{Shard, Whereabouts, may_signal};
use alloc::string::String;
use alloc::vec::Vec;
use craton_abi::{Duration, ErrorCode, ExitReason, Pid, SignalBody, Slot, limit};

/// Charged for each run beside what the process computed: the shard's own work on its behalf. It
/// also keeps a process that reports no time at all from running for ever.
const RUN_COST: Duration = Duration::from_nanos(200);

/// What a parent pays for the birth of a child, as if it had run so long, and so much later the
/// child's turn comes. In a slice several hundred can be spawned, whose births take longer than it:
/// they must not all have their turns before those who waited meanwhile.
const BIRTH: Duration = Duration::from_micros(30);
/// What it owes for births at most: who has spawned thousands that compute wants to hear of them.
const BIRTHS_OWED_MAX: Duration = limit::SLICE.saturating_mul(4);

impl Process {
    /// Pays for the birth of a child where the run queue is at `floor`. The virtual time at which
    /// the child starts.
    pub(crate) fn pay_birth(&mut self, floor: Duration) -> Duration {
        let now = floor.max(self.virtual_time);
        let most = floor + cost(BIRTHS_OWED_MAX, self.cpu_share);
        self.virtual_time = now.max(most.min(now + cost(BIRTH, self.cpu_share)));
        self.virtual_time
    }

    /// Counts the CPU time that it used.
    fn charge(&mut self, used: Duration) {
        self.identity.cpu = self.identity.cpu + used;
        self.virtual_time = self.virtual_time + cost(used, self.cpu_share);
    }
}

/// What a run that used so much counts in the run queue.
#[inline]
pub(crate) fn cost(used: Duration, cpu_share: u32) -> Duration {
    let cost = used + RUN_COST;
    if cpu_share == limit::CPU_SHARE { cost } else { weighed(cost, cpu_share) }
}

/// What a cost counts for a process that has not the usual share.
#[cold]
fn weighed(cost: Duration, cpu_share: u32) -> Duration {
    let usual = u64::from(limit::CPU_SHARE);
    Duration::from_nanos(cost.saturating_mul(usual).as_nanos() / u64::from(cpu_share))
}

impl Shard {
    pub(crate) fn ran(
        &mut self,
        slot: Slot,
        outcome: Outcome,
        used: Duration,
        out: &mut Vec<Effect>,
    ) {
        let process = match self.processes.get_mut(slot) {
            Some(Tenant::Live(process)) if matches!(process.state, State::Running) => process,
            Some(Tenant::Live(_)) if matches!(outcome, Outcome::Waiting) => {
                if self.waits(slot, used) {
                    return;
                }
                let pid = self.pid(slot);
                return self.refuse(pid, "an answer to no run", pid, out);
            }
            Some(Tenant::Ending(_)) => return self.host_let_go(slot, out),
            _ => {
                if self.has_lodger(slot) {
                    return self.lodger_ran(slot, outcome, used, out);
                }
                let pid = self.pid(slot);
                return self.refuse(pid, "an answer to no run", pid, out);
            }
        };
        process.charge(used);
        process.state = State::Calling;
        self.came_back(slot, outcome, out);
    }

    /// Does what follows from how a process came back, wherever it was run.
    pub(crate) fn came_back(&mut self, slot: Slot, outcome: Outcome, out: &mut Vec<Effect>) {
        match outcome {
            // It does not: nothing was taken.
            Outcome::Waiting => self.reply(slot, HostReply::Failed(ErrorCode::Invalid)),
            Outcome::Call(call) => {
                if let Some(reply) = self.call(slot, call, out) {
                    self.reply(slot, reply);
                }
            }
            Outcome::Exited(reason) => self.end(slot, reason, out),
            Outcome::Preempted => self.ready(slot, Resume::Continue),
        }
    }

    /// A process whose receive was taken at once has left its stack. False if it does not wait.
    #[inline]
    pub(crate) fn waits(&mut self, slot: Slot, used: Duration) -> bool {
        match self.live_mut(slot) {
            Some(process) if matches!(process.state, State::Receiving { .. }) => {
                process.charge(used);
                true
            }
            _ => false,
        }
    }

    /// Does what a process asks. `None`: it waits, or is gone.
    fn call(&mut self, slot: Slot, call: HostCall, out: &mut Vec<Effect>) -> Option<HostReply> {
        match call {
            HostCall::Spawn(call) => self.call_spawn(slot, *call, out),
            HostCall::Send { to, tag, payload, timeout } => {
                self.call_send(slot, to, Parcel { tag, payload, request: None }, timeout, out)
            }
            HostCall::Request { to, tag, payload, timeout } => {
                self.call_request(slot, to, (tag, payload), timeout, out)
            }
            HostCall::Answer { to, id, payload } => self.call_answer(slot, to, id, payload, out),
            HostCall::Receive { tag, timeout, capacity } => {
                self.call_receive(slot, Want::of_tag(tag), timeout, capacity, out)
            }
            HostCall::Await { id, timeout, capacity } => {
                self.call_receive(slot, Want::News(id), timeout, capacity, out)
            }
            HostCall::SetTimer { after, tag } => Some(self.call_set_timer(slot, after, tag)),
            HostCall::CancelTimer { id } => Some(self.call_cancel_timer(slot, id)),
            HostCall::Monitor { target } => Some(self.call_monitor(slot, target, out)),
            HostCall::Demonitor { id } => Some(self.call_demonitor(slot, id, out)),
            HostCall::Link { target } => Some(self.call_link(slot, target, out)),
            HostCall::Unlink { target } => Some(self.call_unlink(slot, target, out)),
            HostCall::TrapExits { trap } => {
                let process = self.live_mut(slot)?;
                Some(HostReply::Flag(core::mem::replace(&mut process.traps_exits, trap)))
            }
            HostCall::Kill { target } => Some(self.call_kill(slot, target, out)),
            HostCall::Exit { reason } => {
                self.end(slot, reason, out);
                None
            }
            HostCall::Log { level, text } => {
                out.push(Effect::Log { pid: self.pid(slot), level, text: cut(text) });
                Some(HostReply::Done)
            }
            HostCall::Yield => Some(HostReply::Done),
            HostCall::Nodes => {
                self.live_mut(slot)?.state = State::Asking;
                out.push(Effect::AskNodes { slot });
                None
            }
            HostCall::Socket(call) => self.call_socket(slot, *call, out),
            HostCall::Watch { socket, after, tag } => {
                Some(self.call_watch(slot, socket, (after, tag), out))
            }
            HostCall::Names { call, name } => self.call_names(slot, call, name, out),
        }
    }

    fn call_kill(&mut self, slot: Slot, target: Pid, out: &mut Vec<Effect>) -> HostReply {
        match self.find(target) {
            Whereabouts::Nowhere => {}
            Whereabouts::Away => self.emit(slot, target, SignalBody::Kill, out),
            Whereabouts::Here => {
                if !self.may_reach(slot, target) {
                    return HostReply::Failed(ErrorCode::Denied);
                }
                self.end(target.slot, ExitReason::Killed, out);
            }
        }
        HostReply::Done
    }

    /// Whether a process may signal another of this shard.
    pub(crate) fn may_reach(&self, from: Slot, to: Pid) -> bool {
        match (self.live(from), self.live(to.slot)) {
            (Some(from), Some(to)) => may_signal(from.app, to.app),
            _ => false,
        }
    }
}

/// A log line within its bound, cut on a character.
fn cut(mut text: String) -> String {
    let mut end = text.len().min(limit::LOG_LINE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

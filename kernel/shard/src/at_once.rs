//! Calls that need nobody but this shard, now: answered while their process keeps the CPU.
//!
//! A host that can reach its shard asks here first, before it lets the process leave its stack: a
//! message to a process of the same shard whose mailbox has room, and a message that lies ready,
//! are most of what processes ask for. Everything else, and all that would have to wait, comes back
//! and goes the long way, as [`Input::Ran`](crate::port::Input::Ran): the outcome is the same.

use crate::across::copy;
use crate::port::{
    Effect, HostCall, HostReply, Make, MessageView, Outcome, ReceiveAtOnce, Received, Sink,
};
use crate::process::{State, Tenant, Want};
use crate::shard::{Shard, Whereabouts, may_signal};
use alloc::vec::Vec;
use craton_abi::{Duration, ErrorCode, Pid, Slot, limit};
use craton_process::{Amount, Paid};

impl Shard {
    /// Answers any call of the process that runs, if that can be done at once: for a host whose
    /// programs ask with values and not with memory of theirs.
    ///
    /// # Errors
    ///
    /// How the process is to leave its stack: with the call, or waiting for what it asked for.
    pub fn call_at_once(
        &mut self,
        slot: Slot,
        call: HostCall,
        unborn_max: usize,
        out: &mut Vec<Effect>,
    ) -> Result<HostReply, Outcome> {
        match call {
            HostCall::Send { to, tag, payload, timeout } => {
                if self.send_at_once(slot, &to, tag, (&payload.0, &mut copy), out) {
                    return Ok(HostReply::Done);
                }
                Err(Outcome::Call(HostCall::Send { to, tag, payload, timeout }))
            }
            HostCall::Receive { tag, timeout, capacity } => {
                let mut seen = None;
                let mut sink = |message: MessageView<'_>| {
                    seen = Some(Received::from(message));
                    None
                };
                match self.receive_at_once(slot, (tag, timeout), capacity, &mut sink, out) {
                    ReceiveAtOnce::Taken => seen.map(HostReply::Received).ok_or(Outcome::Preempted),
                    ReceiveAtOnce::Reply(reply) => Ok(reply),
                    ReceiveAtOnce::Waits => Err(Outcome::Waiting),
                    ReceiveAtOnce::Later => Err(Outcome::Call(call)),
                }
            }
            HostCall::Spawn(mut call) => {
                let spawned = self.spawn_at_once(slot, &mut call, unborn_max);
                spawned.ok_or(Outcome::Call(HostCall::Spawn(call)))
            }
            other => self.answer_at_once(slot, other, out).map_err(Outcome::Call),
        }
    }

    /// Answers a call of the process that runs, other than a send or a receive, if that can be done
    /// at once. What is to be done about it is appended to `out`.
    ///
    /// # Errors
    ///
    /// Gives the call back, with nothing done: the process is to leave its stack with it.
    pub fn answer_at_once(
        &mut self,
        slot: Slot,
        call: HostCall,
        out: &mut Vec<Effect>,
    ) -> Result<HostReply, HostCall> {
        if !self.runs(slot) {
            return Err(call);
        }
        let answer = self.request_at_once(slot, call, out);
        self.settle(out);
        answer
    }

    /// Sends a message of the process that runs to another of this shard, if there is room for it:
    /// whether it did, with nothing done otherwise. What must be kept of it `make` makes. What is
    /// for another shard is for [`Shard::send_across`].
    ///
    /// A receiver that waits for it has it at once; it does not go by the mailbox, in which there
    /// is nothing before it that the receiver would take.
    #[inline]
    #[must_use]
    pub fn send_at_once(
        &mut self,
        slot: Slot,
        to: &Pid,
        tag: u64,
        (message, make): (&[u8], Make<'_>),
        out: &mut Vec<Effect>,
    ) -> bool {
        let from = self.pid(slot);
        let len = message.len();
        if (to.node, to.incarnation) != (from.node, from.incarnation)
            || len > limit::MESSAGE_BYTES_MAX
        {
            return false;
        }
        let app = match self.live(slot) {
            Some(process) if matches!(process.state, State::Running) => process.app,
            _ => return false,
        };
        let Some(target) = self.processes.get_mut(to.slot).and_then(Tenant::live_mut) else {
            return false;
        };
        if !may_signal(app, target.app)
            || !target.senders.is_empty()
            || target.mailbox.admits(Amount::of_message(len)).is_err()
        {
            return false;
        }
        match target.state {
            State::Receiving { want, capacity, deadline }
                if want.takes(tag) && len <= capacity && !target.is_lent() =>
            {
                self.timers.cancel(deadline, to.slot);
                let received = Received::Message { from, tag, payload: make(message) };
                target.wake_with(to.slot, received, &mut self.run_queue);
                self.runnable += 1;
            }
            State::Receiving { .. } => {
                target.mailbox.push_copy(from, tag, message, make);
                self.arrived(to.slot, out);
                self.settle(out);
            }
            _ => target.mailbox.push_copy(from, tag, message, make),
        }
        true
    }

    /// Receives for the process that runs, or lets it wait. A message is shown to `sink` where it
    /// lies, and then the next ones for as long as it says that there is room for another, and for
    /// how long a one. Where the process waits only for a while it is to come by
    /// [`Input::Ran`](crate::port::Input::Ran): the shard does not know what time it is before its
    /// next step.
    #[inline]
    pub fn receive_at_once(
        &mut self,
        slot: Slot,
        (tag, timeout): (Option<u64>, Option<Duration>),
        capacity: usize,
        sink: Sink<'_>,
        out: &mut Vec<Effect>,
    ) -> ReceiveAtOnce {
        let empty = match self.live(slot) {
            Some(process) if matches!(process.state, State::Running) => process.mailbox.is_empty(),
            _ => return ReceiveAtOnce::Later,
        };
        if !empty && self.take_in_place(slot, tag, capacity, sink, out) {
            return ReceiveAtOnce::Taken;
        }
        // Where there is nothing to take, and time is no matter, nobody need look.
        if !(empty && timeout.is_none())
            && let Some(reply) = self.take_at_once(slot, tag, timeout, capacity, out)
        {
            self.settle(out);
            return ReceiveAtOnce::Reply(reply);
        }
        match self.live_mut(slot) {
            Some(process) if timeout.is_none() => {
                let want = Want::of_tag(tag);
                process.state.put(State::Receiving { want, capacity, deadline: None });
                ReceiveAtOnce::Waits
            }
            _ => ReceiveAtOnce::Later,
        }
    }

    /// Shows `sink` the next messages: whether there was one.
    fn take_in_place(
        &mut self,
        slot: Slot,
        tag: Option<u64>,
        capacity: usize,
        sink: Sink<'_>,
        out: &mut Vec<Effect>,
    ) -> bool {
        let (mut is_taken, mut room) = (false, Some(capacity));
        while let Some(capacity) = room
            && let Some(process) = self.live_mut(slot)
            && let Some((paid, more)) = process.mailbox.take_in_place(tag, capacity, &mut *sink)
        {
            (is_taken, room) = (true, more);
            if !(paid == Paid::Local && process.senders.is_empty()) {
                self.was_taken(slot, paid, out);
                self.settle(out);
            }
        }
        is_taken
    }

    pub(crate) fn runs(&self, slot: Slot) -> bool {
        self.live(slot).is_some_and(|process| matches!(process.state, State::Running))
    }

    fn take_at_once(
        &mut self,
        slot: Slot,
        tag: Option<u64>,
        timeout: Option<Duration>,
        capacity: usize,
        out: &mut Vec<Effect>,
    ) -> Option<HostReply> {
        let taken = self.take(slot, Want::of_tag(tag), capacity, out);
        let refused = || HostReply::Failed(ErrorCode::TimedOut);
        taken.or_else(|| (timeout == Some(Duration::ZERO)).then(refused))
    }

    /// What concerns requests and timers. A timer is not set here: the shard does not know what
    /// time it is before its next step.
    fn request_at_once(
        &mut self,
        slot: Slot,
        call: HostCall,
        out: &mut Vec<Effect>,
    ) -> Result<HostReply, HostCall> {
        let here = |shard: &Shard, pid| shard.find(pid) == Whereabouts::Here;
        match call {
            HostCall::Request { to, tag, payload, timeout }
                if here(self, to) && self.has_room(slot, to, &payload) =>
            {
                let reply = self.call_request(slot, to, (tag, payload), timeout, out);
                // It has room, so it does not wait.
                Ok(reply.unwrap_or(HostReply::Failed(ErrorCode::Full)))
            }
            HostCall::Answer { to, id, payload } if here(self, to) => {
                let reply = self.call_answer(slot, to, id, payload, out);
                Ok(reply.unwrap_or(HostReply::Done))
            }
            HostCall::Await { id, timeout, capacity } => {
                let found = self.take(slot, Want::News(id), capacity, out);
                found.ok_or(HostCall::Await { id, timeout, capacity })
            }
            HostCall::CancelTimer { id } => Ok(self.call_cancel_timer(slot, id)),
            other => Err(other),
        }
    }
}

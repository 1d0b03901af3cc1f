//! Sending, receiving and the credit between shards.
//!
//! A message of this shard is moved into the receiver's mailbox, or its sender waits in the
//! receiver's queue; a message for elsewhere leaves with credit from the shard's window, or its
//! sender waits at the window. Nobody overtakes a waiter.

use crate::port::{Effect, HostReply, Received};
use crate::process::State;
use crate::shard::{Shard, Whereabouts, may_signal};
use alloc::vec::Vec;
use craton_abi::{AppId, Duration, ErrorCode, NodeId, Payload, Pid, SignalBody, Slot, limit};
use craton_process::{
    Amount, CreditDue, Message, NoCredit, Refused, Source, Taken, Ticket, WaitQueue,
};

/// Whether a message went off, or must wait.
enum Sent {
    Yes,
    Wait,
    No(ErrorCode),
}

impl Shard {
    pub(crate) fn call_send(
        &mut self,
        slot: Slot,
        to: Pid,
        tag: u64,
        payload: Payload,
        timeout: Duration,
        out: &mut Vec<Effect>,
    ) -> Option<HostReply> {
        if payload.0.len() > limit::MESSAGE_BYTES_MAX {
            return Some(HostReply::Failed(ErrorCode::TooLong));
        }
        let amount = Amount::of_message(payload.0.len());
        let sent = match self.find(to) {
            Whereabouts::Here => self.admits(slot, to, amount),
            Whereabouts::Away if !self.pacing.admits(to.node) => Sent::Wait,
            Whereabouts::Away => match self.windows.draw(to, amount) {
                Ok(()) => Sent::Yes,
                Err(NoCredit::Wait) => Sent::Wait,
                Err(NoCredit::TooManyWindows) => Sent::No(ErrorCode::LimitRequests),
            },
            Whereabouts::Nowhere => Sent::No(ErrorCode::NoProcess),
        };
        match sent {
            Sent::Yes => {
                self.deliver(slot, to, tag, payload, out);
                Some(HostReply::Done)
            }
            Sent::No(error) => Some(HostReply::Failed(error)),
            Sent::Wait if timeout == Duration::ZERO || to.slot == slot => {
                Some(HostReply::Failed(ErrorCode::Full))
            }
            Sent::Wait => {
                self.wait_to_send(slot, to, tag, payload, timeout);
                None
            }
        }
    }

    /// Whether a mailbox of this shard has room for a message now.
    fn admits(&self, from: Slot, to: Pid, amount: Amount) -> Sent {
        let Some(target) = self.live(to.slot) else { return Sent::No(ErrorCode::NoProcess) };
        if !self.may_reach(from, to) {
            return Sent::No(ErrorCode::Denied);
        }
        match target.mailbox.admits(amount) {
            Err(Refused::TooLarge) => Sent::No(ErrorCode::Full),
            Ok(()) if target.senders.is_empty() => Sent::Yes,
            Ok(()) | Err(Refused::Full) => Sent::Wait,
        }
    }

    /// Whether a message may go into a mailbox of this shard now.
    pub(crate) fn has_room(&self, from: Slot, to: Pid, payload: &Payload) -> bool {
        matches!(self.admits(from, to, Amount::of_message(payload.0.len())), Sent::Yes)
    }

    /// Moves a message that has room or credit.
    pub(crate) fn deliver(
        &mut self,
        from: Slot,
        to: Pid,
        tag: u64,
        payload: Payload,
        out: &mut Vec<Effect>,
    ) {
        if self.find(to) == Whereabouts::Away {
            return self.send_away(from, to, tag, payload, out);
        }
        let from = self.pid(from);
        if let Some(target) = self.live_mut(to.slot) {
            target.mailbox.push_local(Message { from, tag, payload });
            self.arrived(to.slot, out);
        }
    }

    /// Hands over a message that has credit.
    fn send_away(
        &mut self,
        from: Slot,
        to: Pid,
        tag: u64,
        payload: Payload,
        out: &mut Vec<Effect>,
    ) {
        let bytes = payload.0.len();
        self.emit(from, to, SignalBody::Message { tag, payload }, out);
        if to.node != self.config.node && self.pacing.charge(to.node, bytes) {
            out.push(Effect::WantRoom { node: to.node });
        }
    }

    fn wait_to_send(&mut self, slot: Slot, to: Pid, tag: u64, payload: Payload, timeout: Duration) {
        let amount = Amount::of_message(payload.0.len());
        self.ticket_last = Ticket(self.ticket_last.0 + 1);
        let ticket = self.ticket_last;
        let deadline = self.now + timeout;
        if self.find(to) == Whereabouts::Away {
            self.windows.wait(to, ticket, slot, amount);
            if !self.pacing.admits(to.node) {
                self.pacing.wait(to);
            }
        } else if let Some(target) = self.live_mut(to.slot) {
            target.senders.join(ticket, slot, amount);
        }
        self.timers.set(Some(deadline), slot);
        if let Some(sender) = self.live_mut(slot) {
            sender.state = State::Sending { to, tag, payload, ticket, deadline };
        }
    }

    /// Takes a waiting sender out of its queue; those behind it may have room now.
    pub(crate) fn leave(&mut self, to: Pid, ticket: Ticket, out: &mut Vec<Effect>) {
        match self.find(to) {
            Whereabouts::Away => {
                self.windows.leave(to, ticket);
                self.send_waiting(to, out);
            }
            Whereabouts::Here => {
                if let Some(target) = self.live_mut(to.slot) {
                    target.senders.leave(ticket);
                }
                self.admit_waiting(to.slot);
                self.arrived(to.slot, out);
            }
            Whereabouts::Nowhere => {}
        }
    }

    pub(crate) fn call_receive(
        &mut self,
        slot: Slot,
        tag: Option<u64>,
        timeout: Option<Duration>,
        capacity: usize,
        out: &mut Vec<Effect>,
    ) -> Option<HostReply> {
        if let Some(reply) = self.take(slot, tag, capacity, out) {
            return Some(reply);
        }
        if timeout == Some(Duration::ZERO) {
            return Some(HostReply::Failed(ErrorCode::TimedOut));
        }
        let deadline = timeout.map(|timeout| self.now + timeout);
        self.timers.set(deadline, slot);
        self.live_mut(slot)?.state = State::Receiving { tag, capacity, deadline };
        None
    }

    /// Something came into a mailbox: its process may have waited for it.
    pub(crate) fn arrived(&mut self, slot: Slot, out: &mut Vec<Effect>) {
        let Some(process) = self.live(slot) else { return };
        let State::Receiving { tag, capacity, deadline } = process.state else { return };
        if let Some(reply) = self.take(slot, tag, capacity, out) {
            self.timers.cancel(deadline, slot);
            self.reply(slot, reply);
        }
    }

    /// Takes the next message or notice, if there is one and the caller has room for it.
    pub(crate) fn take(
        &mut self,
        slot: Slot,
        tag: Option<u64>,
        capacity: usize,
        out: &mut Vec<Effect>,
    ) -> Option<HostReply> {
        let mailbox = &mut self.live_mut(slot)?.mailbox;
        let found = mailbox.find(tag)?;
        if found.len > capacity {
            return Some(HostReply::Longer { bytes: found.len });
        }
        let received = match mailbox.take(found)? {
            Taken::Local(Message { from, tag, payload }) => {
                self.admit_waiting(slot);
                Received::Message { from, tag, payload }
            }
            Taken::Credited(Message { from, tag, payload }, due) => {
                if let Some(CreditDue { source, amount }) = due {
                    self.return_credit(source, self.pid(slot), amount, out);
                }
                Received::Message { from, tag, payload }
            }
            Taken::Notice(notice) => {
                Received::Down { from: notice.from, id: notice.id, reason: notice.reason }
            }
            Taken::Exit(from, reason) => Received::Exit { from, reason },
        };
        Some(HostReply::Received(received))
    }

    /// Lets waiting senders of this shard in, in order, as far as there is room.
    fn admit_waiting(&mut self, slot: Slot) {
        while let Some(target) = self.live_mut(slot) {
            match target.senders.first() {
                Some((sender, amount)) if target.mailbox.admits(amount).is_ok() => {
                    target.senders.pop();
                    let Some((tag, payload)) = self.take_unsent(sender) else { continue };
                    let from = self.pid(sender);
                    if let Some(target) = self.live_mut(slot) {
                        target.mailbox.push_local(Message { from, tag, payload });
                    }
                    self.reply(sender, HostReply::Done);
                }
                _ => return,
            }
        }
    }

    /// Lets senders that wait for a mailbox elsewhere send, in order, as far as credit and room go.
    fn send_waiting(&mut self, mailbox: Pid, out: &mut Vec<Effect>) {
        loop {
            if !self.pacing.admits(mailbox.node) {
                return self.pacing.wait(mailbox);
            }
            let Some(sender) = self.windows.pop_ready(mailbox) else { return };
            let Some((tag, payload)) = self.take_unsent(sender) else { continue };
            self.send_away(sender, mailbox, tag, payload, out);
            self.reply(sender, HostReply::Done);
        }
    }

    /// There is room for messages to a node again: who waited for it sends, mailbox by mailbox.
    pub(crate) fn room(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        self.pacing.room(node);
        while self.pacing.admits(node)
            && let Some(mailbox) = self.pacing.next(node)
        {
            self.send_waiting(mailbox, out);
        }
    }

    /// Tells everybody in a queue that there is nobody to send to.
    pub(crate) fn fail_waiting(&mut self, mut queue: WaitQueue, error: ErrorCode) {
        while let Some(sender) = queue.pop() {
            if self.take_unsent(sender).is_some() {
                self.reply(sender, HostReply::Failed(error));
            }
        }
    }

    /// Takes a waiting sender's message; the caller answers the sender.
    fn take_unsent(&mut self, slot: Slot) -> Option<(u64, Payload)> {
        let process = self.live_mut(slot)?;
        match core::mem::replace(&mut process.state, State::Calling) {
            State::Sending { tag, payload, deadline, .. } => {
                self.timers.cancel(Some(deadline), slot);
                Some((tag, payload))
            }
            other => {
                process.state = other;
                None
            }
        }
    }

    /// A message from another shard or node.
    pub(crate) fn message(&mut self, to: Pid, app: AppId, message: Message, out: &mut Vec<Effect>) {
        let from = message.from;
        if self.find(to) != Whereabouts::Here {
            out.push(Effect::Gone { to: Source::of(from), pid: to });
            return;
        }
        let len = message.payload.0.len();
        let Some(target) = self.live_mut(to.slot) else { return };
        if !may_signal(app, target.app) {
            self.return_credit(Source::of(from), to, Amount::of_message(len), out);
            return self.refuse(to, "a message of another app", from, out);
        }
        if len > limit::MESSAGE_BYTES_MAX || target.mailbox.push_credited(message).is_err() {
            // Its shard broke the rules of credit: it gets none back for this.
            return self.refuse(to, "a message without credit", from, out);
        }
        self.arrived(to.slot, out);
    }

    /// A mailbox elsewhere took messages of this shard.
    pub(crate) fn credit(
        &mut self,
        mailbox: Pid,
        messages: u32,
        bytes: u32,
        out: &mut Vec<Effect>,
    ) {
        self.windows.refund(mailbox, Amount { messages, bytes });
        self.send_waiting(mailbox, out);
    }

    /// There is no such mailbox elsewhere.
    pub(crate) fn gone(&mut self, pid: Pid) {
        if let Some(waiting) = self.windows.close(pid) {
            self.fail_waiting(waiting, ErrorCode::NoProcess);
        }
    }

    fn return_credit(&self, source: Source, mailbox: Pid, amount: Amount, out: &mut Vec<Effect>) {
        let Amount { messages, bytes } = amount;
        out.push(Effect::Credit { to: source, mailbox, messages, bytes });
    }
}

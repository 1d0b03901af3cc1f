//! Sending, receiving and the credit between shards.
//!
//! A message of this shard is moved into the receiver's mailbox, or its sender waits in the
//! receiver's queue; a message for elsewhere leaves with credit from the shard's window, or its
//! sender waits at the window. Nobody overtakes a waiter.

use crate::port::{Effect, HostReply, Received};
use crate::process::{Parcel, State, Want};
use crate::shard::{Shard, Whereabouts, may_signal};
use alloc::vec::Vec;
use craton_abi::{AppId, Duration, ErrorCode, NodeId, Payload, Pid, SignalBody, Slot, limit};
use craton_process::{
    Amount, Answer, CreditDue, Message, MessageView, NoCredit, Paid, Refused, Source, Taken,
    Ticket, Timeout, WaitQueue,
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
        parcel: Parcel,
        timeout: Duration,
        out: &mut Vec<Effect>,
    ) -> Option<HostReply> {
        if parcel.payload.0.len() > limit::MESSAGE_BYTES_MAX {
            return Some(HostReply::Failed(ErrorCode::TooLong));
        }
        let amount = Amount::of_message(parcel.payload.0.len());
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
                let reply = parcel.sent();
                self.deliver(slot, to, parcel, out);
                Some(reply)
            }
            Sent::No(error) => Some(HostReply::Failed(error)),
            Sent::Wait if timeout == Duration::ZERO || to == self.pid(slot) => {
                Some(HostReply::Failed(ErrorCode::Full))
            }
            Sent::Wait => {
                self.wait_to_send(slot, to, parcel, timeout);
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
    pub(crate) fn deliver(&mut self, from: Slot, to: Pid, parcel: Parcel, out: &mut Vec<Effect>) {
        if self.find(to) == Whereabouts::Away {
            return self.send_away(from, to, parcel, out);
        }
        self.push_local(from, to, parcel, out);
        self.arrived(to.slot, out);
    }

    /// Moves a message into a mailbox of this shard that has room for it.
    fn push_local(&mut self, from: Slot, to: Pid, parcel: Parcel, out: &mut Vec<Effect>) {
        let Parcel { tag, payload, request } = parcel;
        let from = self.pid(from);
        if let Some(target) = self.live_mut(to.slot) {
            target.mailbox.push_local(Message { from, tag, payload, request });
            if let Some(id) = request {
                self.watch_asker(from, id, to, out);
            }
        }
    }

    /// Hands over a message that has credit.
    fn send_away(&mut self, from: Slot, to: Pid, parcel: Parcel, out: &mut Vec<Effect>) {
        let Parcel { tag, payload, request } = parcel;
        let bytes = payload.0.len();
        let body = match request {
            None => SignalBody::Message { tag, payload },
            Some(id) => {
                self.watch_away(to, id, from);
                SignalBody::Request { id, tag, payload }
            }
        };
        self.emit(from, to, body, out);
        self.charge(to.node, bytes, out);
    }

    /// Counts what is under way to another node.
    pub(crate) fn charge(&mut self, node: NodeId, bytes: usize, out: &mut Vec<Effect>) {
        if node != self.config.node && self.pacing.charge(node, bytes) {
            out.push(Effect::WantRoom { node });
        }
    }

    fn wait_to_send(&mut self, slot: Slot, to: Pid, parcel: Parcel, timeout: Duration) {
        let amount = Amount::of_message(parcel.payload.0.len());
        let ticket = self.fresh_ticket();
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
            sender.state = State::Sending { to, parcel, ticket, deadline };
        }
    }

    pub(crate) fn fresh_ticket(&mut self) -> Ticket {
        self.ticket_last = Ticket(self.ticket_last.0 + 1);
        self.ticket_last
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
                self.admit_waiting(to.slot, out);
                self.arrived(to.slot, out);
            }
            Whereabouts::Nowhere => {}
        }
    }

    pub(crate) fn call_receive(
        &mut self,
        slot: Slot,
        want: Want,
        timeout: Option<Duration>,
        capacity: usize,
        out: &mut Vec<Effect>,
    ) -> Option<HostReply> {
        if let Some(reply) = self.take(slot, want, capacity, out) {
            return Some(reply);
        }
        if let Want::News(id) = want
            && !self.live(slot)?.mailbox.expects_news(id)
        {
            return Some(HostReply::Failed(ErrorCode::Invalid));
        }
        if timeout == Some(Duration::ZERO) {
            return Some(HostReply::Failed(ErrorCode::TimedOut));
        }
        let deadline = timeout.map(|timeout| self.now + timeout);
        self.timers.set(deadline, slot);
        self.live_mut(slot)?.state = State::Receiving { want, capacity, deadline };
        None
    }

    /// Something came into a mailbox: its process may have waited for it.
    pub(crate) fn arrived(&mut self, slot: Slot, out: &mut Vec<Effect>) {
        let Some(process) = self.live(slot) else { return };
        let State::Receiving { want, capacity, deadline } = process.state else { return };
        if let Some(reply) = self.take(slot, want, capacity, out) {
            self.timers.cancel(deadline, slot);
            self.reply(slot, reply);
        }
    }

    /// Takes the next message or notice, if there is one and the caller has room for it.
    pub(crate) fn take(
        &mut self,
        slot: Slot,
        want: Want,
        capacity: usize,
        out: &mut Vec<Effect>,
    ) -> Option<HostReply> {
        let mailbox = &mut self.live_mut(slot)?.mailbox;
        let found = match want {
            Want::Any => mailbox.find(None)?,
            Want::Tag(tag) => mailbox.find(Some(tag))?,
            Want::News(id) => mailbox.find_news(id)?,
        };
        if found.len > capacity {
            return Some(HostReply::Longer { bytes: found.len });
        }
        let received = match mailbox.take(found)? {
            Taken::Local(message) => {
                self.was_taken(slot, Paid::Local, out);
                Received::from(message)
            }
            Taken::Credited(message, due) => {
                self.was_taken(slot, Paid::Credited(due), out);
                Received::from(message)
            }
            Taken::Notice(notice) => {
                Received::Down { from: notice.from, id: notice.id, reason: notice.reason }
            }
            Taken::Exit(from, reason) => Received::Exit { from, reason },
            Taken::Answer(Answer { from, id, payload }) => Received::Answer { from, id, payload },
            Taken::Timeout(Timeout { id, tag }) => Received::Timer { id, tag },
        };
        Some(HostReply::Received(received))
    }

    /// A message was taken: who sent it, or waits to, may have room again.
    #[inline(never)]
    pub(crate) fn was_taken(&mut self, slot: Slot, paid: Paid, out: &mut Vec<Effect>) {
        match paid {
            Paid::Local => self.admit_waiting(slot, out),
            Paid::Credited(Some(CreditDue { source, amount })) => {
                self.return_credit(source, self.pid(slot), amount, out);
            }
            Paid::Credited(None) => {}
        }
    }

    /// Lets waiting senders of this shard in, in order, as far as there is room.
    fn admit_waiting(&mut self, slot: Slot, out: &mut Vec<Effect>) {
        while let Some(target) = self.live_mut(slot) {
            match target.senders.first() {
                Some((sender, amount)) if target.mailbox.admits(amount).is_ok() => {
                    target.senders.pop();
                    let Some(parcel) = self.take_unsent(sender) else { continue };
                    let reply = parcel.sent();
                    self.push_local(sender, self.pid(slot), parcel, out);
                    self.reply(sender, reply);
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
            let Some(parcel) = self.take_unsent(sender) else { continue };
            let reply = parcel.sent();
            self.send_away(sender, mailbox, parcel, out);
            self.reply(sender, reply);
        }
    }

    /// There is room for messages to a node again: who waited for it sends, mailbox by mailbox.
    pub(crate) fn room(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        self.pacing.room(node);
        self.send_answers(node, out);
        while self.pacing.admits(node)
            && let Some(mailbox) = self.pacing.next(node)
        {
            self.send_waiting(mailbox, out);
        }
    }

    /// Tells everybody in a queue that there is nobody to send to.
    pub(crate) fn fail_waiting(&mut self, mut queue: WaitQueue, error: ErrorCode) {
        while let Some(sender) = queue.pop() {
            if let Some(parcel) = self.take_unsent(sender) {
                self.give_up_request(sender, parcel.request);
                self.reply(sender, HostReply::Failed(error));
            }
        }
    }

    /// Takes a waiting sender's message; the caller answers the sender.
    fn take_unsent(&mut self, slot: Slot) -> Option<Parcel> {
        let process = self.live_mut(slot)?;
        match core::mem::replace(&mut process.state, State::Calling) {
            State::Sending { parcel, deadline, .. } => {
                self.timers.cancel(Some(deadline), slot);
                Some(parcel)
            }
            other => {
                process.state = other;
                None
            }
        }
    }

    /// A message from another shard or node.
    pub(crate) fn message(&mut self, to: Pid, app: AppId, message: Message, out: &mut Vec<Effect>) {
        let (from, request) = (message.from, message.request);
        let len = message.payload.0.len();
        if self.find(to) != Whereabouts::Here {
            out.push(Effect::Gone { to: Source::of(from), pid: to });
            return self.deny_request(to, from, app, request, out);
        }
        let Some(target) = self.live_mut(to.slot) else { return };
        if !may_signal(app, target.app) {
            self.return_credit(Source::of(from), to, Amount::of_message(len), out);
            self.deny_request(to, from, app, request, out);
            return self.refuse(to, "a message of another app", from, out);
        }
        if len > limit::MESSAGE_BYTES_MAX || target.mailbox.push_credited(message).is_err() {
            // Its shard broke the rules of credit: it gets none back for this.
            return self.refuse(to, "a message without credit", from, out);
        }
        if let Some(id) = request {
            self.watch_asker(from, id, to, out);
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

    fn return_credit(
        &mut self,
        source: Source,
        mailbox: Pid,
        amount: Amount,
        out: &mut Vec<Effect>,
    ) {
        if self.is_neighbour(source) {
            return self.owe(source.shard, mailbox.slot, amount, out);
        }
        let Amount { messages, bytes } = amount;
        out.push(Effect::Credit { to: source, mailbox, messages, bytes });
    }
}

impl From<Message> for Received {
    /// A message as its receiver gets it.
    fn from(message: Message) -> Received {
        let Message { from, tag, payload, request } = message;
        match request {
            None => Received::Message { from, tag, payload },
            Some(id) => Received::Request { from, tag, payload, id },
        }
    }
}

impl From<MessageView<'_>> for Received {
    /// A message as its receiver gets it.
    fn from(message: MessageView<'_>) -> Received {
        let MessageView { from, tag, bytes, request } = message;
        Message { from, tag, payload: Payload(bytes.to_vec()), request }.into()
    }
}

//! Requests and their answers, and timers: what a process reserves room for and then waits for.
//!
//! A request is a message and a monitor in one: the same id names the answer and, if that comes
//! first, the end of the process that was asked. An answer needs no credit, since the asker holds
//! room for it; so that many of them do not flood another node, one for there waits while too much
//! is under way ([`State::Answering`]).

use crate::port::{Effect, HostReply};
use crate::process::{Parcel, State};
use crate::shard::{Shard, Whereabouts, may_signal};
use alloc::vec::Vec;
use craton_abi::{
    AppId, Duration, ErrorCode, ExitReason, MonitorId, NodeId, Payload, Pid, Resource, Signal,
    SignalBody, Slot, TimerId, TraceId, limit,
};
use craton_process::{Amount, Answer, Notice, Ticket, TooMany, TooManyTimers};

impl Parcel {
    /// What its sender hears once it is sent.
    pub(crate) fn sent(&self) -> HostReply {
        self.request.map_or(HostReply::Done, HostReply::Monitoring)
    }
}

impl Shard {
    // --- the asker's side ---

    pub(crate) fn call_request(
        &mut self,
        slot: Slot,
        to: Pid,
        (tag, payload): (u64, Payload),
        timeout: Duration,
        out: &mut Vec<Effect>,
    ) -> Option<HostReply> {
        let id = self.monitor_last.next();
        match self.live_mut(slot)?.mailbox.request(id, to) {
            Ok(()) => self.monitor_last = id,
            Err(TooMany::Requests) => return Some(HostReply::Failed(ErrorCode::LimitRequests)),
            Err(TooMany::Monitors) => return Some(HostReply::Failed(ErrorCode::LimitMonitors)),
        }
        let reply =
            self.call_send(slot, to, Parcel { tag, payload, request: Some(id) }, timeout, out);
        if let Some(HostReply::Failed(_)) = reply {
            self.give_up_request(slot, Some(id));
        }
        reply
    }

    /// A message was not sent: if it was a request, no answer to it will come.
    pub(crate) fn give_up_request(&mut self, slot: Slot, request: Option<MonitorId>) {
        if let (Some(id), Some(process)) = (request, self.live_mut(slot)) {
            let _ = process.mailbox.demonitor(id);
        }
    }

    /// An answer for a process of this shard; dropped if it waits for none.
    pub(crate) fn answered(&mut self, to: Pid, app: AppId, answer: Answer, out: &mut Vec<Effect>) {
        let (from, id) = (answer.from, answer.id);
        let too_long = answer.payload.0.len() > limit::MESSAGE_BYTES_MAX;
        let Some(process) = self.target_of(to) else { return };
        if too_long || !may_signal(app, process.app) {
            return self.refuse(to, "an answer", from, out);
        }
        let Some(asked) = process.mailbox.answer(answer) else { return };
        if asked == from {
            // It took the watcher out itself when it answered.
            self.watches.remove(&(asked, id));
        } else if let Some(signal) = self.unwatch(to.slot, id, asked) {
            self.emit(to.slot, asked, signal, out);
        }
        self.arrived(to.slot, out);
    }

    // --- the side of the asked ---

    /// A request came: its sender watches the receiver.
    pub(crate) fn watch_asker(
        &mut self,
        asker: Pid,
        id: MonitorId,
        asked: Pid,
        out: &mut Vec<Effect>,
    ) {
        let Some(process) = self.live_mut(asked.slot) else { return };
        if process.watchers.add(asker, id).is_ok() {
            return;
        }
        let (app, trace) = (process.app, process.trace);
        let reason = ExitReason::Limit(Resource::Monitors);
        if self.find(asker) == Whereabouts::Away {
            let body = SignalBody::Down { id, reason };
            out.push(Effect::Signal(Signal { from: asked, to: asker, app, trace, body }));
        } else {
            self.notify(asker, Notice { from: asked, id, reason }, out);
        }
    }

    /// Tells who asked somebody who is not there, or not for the asker's app, that it is so.
    pub(crate) fn deny_request(
        &self,
        asked: Pid,
        asker: Pid,
        app: AppId,
        request: Option<MonitorId>,
        out: &mut Vec<Effect>,
    ) {
        if let Some(id) = request {
            let body = SignalBody::Down { id, reason: ExitReason::NoProcess };
            let trace = TraceId::default();
            out.push(Effect::Signal(Signal { from: asked, to: asker, app, trace, body }));
        }
    }

    pub(crate) fn call_answer(
        &mut self,
        slot: Slot,
        to: Pid,
        id: MonitorId,
        payload: Payload,
        out: &mut Vec<Effect>,
    ) -> Option<HostReply> {
        if payload.0.len() > limit::MESSAGE_BYTES_MAX {
            return Some(HostReply::Failed(ErrorCode::TooLong));
        }
        let whereabouts = self.find(to);
        if whereabouts == Whereabouts::Here && !self.may_reach(slot, to) {
            return Some(HostReply::Failed(ErrorCode::Denied));
        }
        if whereabouts == Whereabouts::Away
            && to.node != self.config.node
            && !self.pacing.admits(to.node)
        {
            let ticket = self.fresh_ticket();
            let amount = Amount::of_message(payload.0.len());
            self.answering.entry(to.node).or_default().join(ticket, slot, amount);
            self.live_mut(slot)?.state = State::Answering { to, id, payload, ticket };
            return None;
        }
        self.send_answer(slot, to, id, payload, out);
        Some(HostReply::Done)
    }

    fn send_answer(
        &mut self,
        slot: Slot,
        to: Pid,
        id: MonitorId,
        payload: Payload,
        out: &mut Vec<Effect>,
    ) {
        let from = self.pid(slot);
        let Some(process) = self.live_mut(slot) else { return };
        // Nothing if another process was asked, and handed the request on.
        process.watchers.remove(to, id);
        let app = process.app;
        match self.find(to) {
            Whereabouts::Here => self.answered(to, app, Answer { from, id, payload }, out),
            Whereabouts::Away => {
                let bytes = payload.0.len();
                self.emit(slot, to, SignalBody::Answer { id, payload }, out);
                self.charge(to.node, bytes, out);
            }
            Whereabouts::Nowhere => {}
        }
    }

    /// Sends the answers that waited for room at a node, in order, as far as it goes.
    pub(crate) fn send_answers(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        while self.pacing.admits(node) {
            let Some(queue) = self.answering.get_mut(&node) else { return };
            let Some(slot) = queue.pop() else {
                self.answering.remove(&node);
                return;
            };
            let Some(process) = self.live_mut(slot) else { continue };
            match core::mem::replace(&mut process.state, State::Calling) {
                State::Answering { to, id, payload, .. } => {
                    self.send_answer(slot, to, id, payload, out);
                    self.reply(slot, HostReply::Done);
                }
                other => process.state = other,
            }
        }
    }

    /// A process that waited to answer ended.
    pub(crate) fn leave_answering(&mut self, to: Pid, ticket: Ticket) {
        if let Some(queue) = self.answering.get_mut(&to.node) {
            queue.leave(ticket);
        }
    }

    // --- timers ---

    pub(crate) fn call_set_timer(&mut self, slot: Slot, after: Duration, tag: u64) -> HostReply {
        // Of one series with the monitors, so that an id says whose news is awaited.
        let serial = self.monitor_last.next();
        let (id, due) = (TimerId::new(serial.get()), self.now + after);
        let set = self.live_mut(slot).map(|process| process.mailbox.set_timer(id, due, tag));
        match set {
            Some(Ok(())) => {
                self.monitor_last = serial;
                self.timers.set_alarm(due, id, slot);
                HostReply::Timer(id)
            }
            Some(Err(TooManyTimers)) | None => HostReply::Failed(ErrorCode::LimitTimers),
        }
    }

    pub(crate) fn call_cancel_timer(&mut self, slot: Slot, id: TimerId) -> HostReply {
        let due = self.live_mut(slot).and_then(|process| process.mailbox.cancel_timer(id));
        if let Some(due) = due {
            self.timers.cancel_alarm(due, id);
        }
        HostReply::Flag(due.is_some())
    }

    /// A timer is due; it is out of the shard's list already.
    pub(crate) fn ring(&mut self, slot: Slot, id: TimerId, out: &mut Vec<Effect>) {
        if self.live_mut(slot).is_some_and(|process| process.mailbox.ring(id)) {
            self.arrived(slot, out);
        }
    }
}

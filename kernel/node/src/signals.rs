//! From shards outwards: signals, credit and answers, to other shards and to other nodes.
//!
//! Adds to [`Control`] what carries a shard's effects, and what comes back where nobody is.

use crate::control::Control;
use crate::links::Stamp;
use crate::work::Work;
use craton_abi::{
    AppId, ErrorCode, ExitReason, Incarnation, Instant, NodeId, Pid, RequestId, ShardId, Signal,
    SignalBody, TraceId, limit,
};
use craton_shard::ShardConfig;
use craton_shard::port::{Effect, Input, Source};
use craton_wire::{Body, Lane};

impl Control {
    /// What a shard of this node is told at its birth.
    pub(crate) fn config_of(&self, shard: ShardId) -> ShardConfig {
        ShardConfig {
            node: self.me.node,
            incarnation: self.me.incarnation,
            shard,
            processes_max: limit::PROCESSES_PER_SHARD_MAX,
        }
    }

    /// A signal of a process of this node, or of the node itself.
    pub(crate) fn carry(&mut self, signal: Signal, now: Instant, work: &mut Work) {
        let to = signal.to;
        if self.is_here(to) {
            work.input_for(to.slot, Input::Signal(signal));
        } else if to.node == self.me.node {
            self.bounce(signal, ExitReason::NoProcess, work);
        } else if !self.is_alive(to.node, to.incarnation) {
            self.bounce(signal, ExitReason::NoConnection, work);
        } else {
            self.links.crossed(to.node, to.incarnation);
            let lane = Lane::of_pair(signal.from, to);
            let stamp = Stamp { lane, app: signal.app, trace: signal.trace };
            self.send(to.node, stamp, Body::Signal(signal), now, work);
        }
    }

    /// Answers a signal of a process of this node that cannot reach anybody.
    fn bounce(&self, signal: Signal, reason: ExitReason, work: &mut Work) {
        let Signal { from, to, app, trace, body } = signal;
        if !self.is_here(from) {
            return;
        }
        match body {
            SignalBody::Message { .. } if to.node == self.me.node => {
                work.input_for(from.slot, Input::Gone { pid: to });
            }
            SignalBody::Request { id, tag, payload } => {
                // Its credit first, as for a message, and then what its monitor says.
                for body in [SignalBody::Message { tag, payload }, SignalBody::Monitor { id }] {
                    self.bounce(Signal { from, to, app, trace, body }, reason.clone(), work);
                }
            }
            // Its credit, and not the whole window: the node may be heard of the next moment, and
            // what is sent to it then is counted in the same window.
            SignalBody::Message { payload, .. } => {
                let bytes = u32::try_from(payload.0.len()).unwrap_or(u32::MAX);
                let credit = Input::Credit { mailbox: to, messages: 1, bytes };
                work.input_for(from.slot, credit);
            }
            SignalBody::Monitor { id } => {
                let body = SignalBody::Down { id, reason };
                let down = Signal { from: to, to: from, app, trace, body };
                work.input_for(from.slot, Input::Signal(down));
            }
            SignalBody::Link => {
                let body = SignalBody::Exit { reason };
                let exit = Signal { from: to, to: from, app, trace, body };
                work.input_for(from.slot, Input::Signal(exit));
            }
            SignalBody::Unlink { id } => {
                let body = SignalBody::Unlinked { id };
                let answer = Signal { from: to, to: from, app, trace, body };
                work.input_for(from.slot, Input::Signal(answer));
            }
            SignalBody::Kill
            | SignalBody::Answer { .. }
            | SignalBody::Demonitor { .. }
            | SignalBody::Down { .. }
            | SignalBody::Unlinked { .. }
            | SignalBody::Exit { .. } => {}
        }
    }

    /// Credit goes back to the shard that sent.
    pub(crate) fn return_credit(
        &mut self,
        to: Source,
        mailbox: Pid,
        (messages, bytes): (u32, u32),
        now: Instant,
        work: &mut Work,
    ) {
        let shard = to.shard;
        if to.node != self.me.node {
            let body = Body::Credit { shard, mailbox, messages, bytes };
            self.send_if_alive((to.node, to.incarnation), Lane::CONTROL, body, now, work);
        } else if self.is_shard(to) {
            work.input(shard, Input::Credit { mailbox, messages, bytes });
        }
    }

    /// The shard that sent to a process hears that there is none.
    pub(crate) fn tell_gone(&mut self, to: Source, pid: Pid, now: Instant, work: &mut Work) {
        let shard = to.shard;
        if to.node != self.me.node {
            let body = Body::Gone { shard, pid };
            self.send_if_alive((to.node, to.incarnation), Lane::CONTROL, body, now, work);
        } else if self.is_shard(to) {
            work.input(shard, Input::Gone { pid });
        }
    }

    /// A spawn is answered, here or where its parent lives.
    pub(crate) fn answer_spawn(
        &mut self,
        request: RequestId,
        parent: Pid,
        result: Result<Pid, ErrorCode>,
        now: Instant,
        work: &mut Work,
    ) {
        if parent.node == self.me.node {
            return self.spawn_answered(self.me.node, parent, request, result, now, work);
        }
        // In the child's own stream to its parent, so that nothing of the child overtakes it.
        let lane = result.map_or(Lane::CONTROL, |child| Lane::of_pair(child, parent));
        let body = Body::SpawnReply { request, parent, result };
        self.send_if_alive((parent.node, parent.incarnation), lane, body, now, work);
    }

    /// The parent knows of its child.
    pub(crate) fn tell_heard(&mut self, child: Pid, now: Instant, work: &mut Work) {
        if self.is_here(child) {
            work.input_for(child.slot, Input::SpawnHeard { child });
        } else if child.node != self.me.node {
            let to = (child.node, child.incarnation);
            self.send_if_alive(to, Lane::CONTROL, Body::SpawnHeard { child }, now, work);
        }
    }

    /// Sends what matters only to a life of a node that is still there. A session with another life
    /// must not carry it: what one life is owed the next would take for its own.
    fn send_if_alive(
        &mut self,
        (to, incarnation): (NodeId, Incarnation),
        lane: Lane,
        body: Body,
        now: Instant,
        work: &mut Work,
    ) {
        let other_life = self.links.up_with(to).is_some_and(|life| life != incarnation);
        if !other_life && self.is_alive(to, incarnation) {
            let stamp = Stamp { lane, app: AppId::new(0), trace: TraceId::new(0) };
            self.send(to, stamp, body, now, work);
        }
    }
}

/// The life of a node that an effect is for, if it is for one.
pub(crate) fn destination(effect: &Effect) -> Option<(NodeId, Incarnation)> {
    let of_pid = |pid: &Pid| (pid.node, pid.incarnation);
    match effect {
        Effect::Signal(signal) => Some(of_pid(&signal.to)),
        Effect::Credit { to, .. } | Effect::Gone { to, .. } => Some((to.node, to.incarnation)),
        Effect::SpawnReply { parent, .. } => Some(of_pid(parent)),
        Effect::SpawnHeard { child } => Some(of_pid(child)),
        Effect::Host(_)
        | Effect::WantRoom { .. }
        | Effect::Place { .. }
        | Effect::Lending { .. }
        | Effect::AskNodes { .. }
        | Effect::Socket(_)
        | Effect::AskNames { .. }
        | Effect::NamesEnded { .. }
        | Effect::Log { .. }
        | Effect::Exited { .. } => None,
    }
}

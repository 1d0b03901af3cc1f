//! From other nodes inwards: what each may say, and in whose name.
//!
//! Adds to [`Control`] the proof that a peer speaks only for itself: the sender of a signal, the
//! parent of a spawn, a mailbox, a child must be the peer's own. What is not is dropped and logged.

use crate::control::Control;
use crate::links::Stamp;
use crate::placement::Load;
use crate::programs::Source;
use crate::work::Work;
use alloc::boxed::Box;
use alloc::format;
use craton_abi::{AppId, ExitReason, Instant, Pid, Signal, SignalBody};
use craton_session::{Peer, Role};
use craton_shard::port::{self, Input, LogLevel};
use craton_wire::{Body, Lane};

/// Signed by the system: only a kill may be (an orphan's, or an operator's).
const SYSTEM: AppId = AppId::new(0);

/// A peer said something in another's name.
pub(crate) struct Spoofed;

impl Control {
    /// A peer says something.
    pub(crate) fn heard(&mut self, peer: &Peer, body: Body, now: Instant, work: &mut Work) {
        let dead = self.membership.as_ref().is_some_and(|m| m.is_dead(peer.node, peer.incarnation));
        if dead && peer.role == Role::Node {
            self.links.sessions().lose(peer.node, peer.incarnation, now);
            return;
        }
        if !body.allowed_from(&peer.role) {
            let text = format!("{} '{}' said what its role may not", peer.role, peer.name);
            return self.say(LogLevel::Warn, "session", text, now, work);
        }
        let heard = match peer.role {
            Role::Node => self.heard_node(peer, body, now, work),
            _ => {
                self.heard_operator(peer, body, now, work);
                Ok(())
            }
        };
        if let Err(Spoofed) = heard {
            let text = format!("refused: '{}' spoke in another's name", peer.name);
            self.say(LogLevel::Warn, "session", text, now, work);
        }
    }

    fn heard_node(
        &mut self,
        peer: &Peer,
        body: Body,
        now: Instant,
        work: &mut Work,
    ) -> Result<(), Spoofed> {
        match body {
            Body::Signal(signal) => self.signal_came(peer, signal, now, work)?,
            Body::Credit { shard, mailbox, messages, bytes } => {
                prove(peer, mailbox)?;
                let to = self.shard_of_mine(shard);
                self.return_credit(to, mailbox, (messages, bytes), now, work);
            }
            Body::Gone { shard, pid } => {
                prove_node(peer, pid)?;
                self.tell_gone(self.shard_of_mine(shard), pid, now, work);
            }
            Body::Spawn(order) => {
                prove(peer, order.parent)?;
                if order.app == SYSTEM {
                    return Err(Spoofed);
                }
                self.links.crossed(peer.node, peer.incarnation);
                self.order_came(Box::new(order), Some(peer.node), now, work);
            }
            Body::SpawnReply { request, parent, result } => {
                if let Ok(child) = result {
                    prove(peer, child)?;
                    // The order may have been meant for another life than the one that took it.
                    self.links.crossed(peer.node, peer.incarnation);
                }
                if self.is_mine(parent) {
                    self.spawn_answered(peer.node, parent, request, result, now, work);
                }
            }
            Body::SpawnHeard { child } => {
                if self.is_here(child) {
                    work.input_for(child.slot, Input::SpawnHeard { child });
                }
            }
            Body::ProgramWanted { program } => self.program_wanted(peer.node, program, now, work),
            Body::ProgramPart { program, offset, total, part } => {
                let from = Source::Node(peer.node);
                self.part_came(from, program, (offset, total), &part.0, now, work);
            }
            Body::ProgramMissing { program } => {
                if self.programs.is_fetching_from(program, Source::Node(peer.node)) {
                    self.source_failed(program, peer.node, now, work);
                }
            }
            Body::Load { processes, memory_free } => {
                self.loads.heard(peer.node, Load { processes, memory_free });
            }
            // Refused by role before; a node asks nothing and answers no node.
            Body::Ask { .. } | Body::Answer { .. } | Body::Run { .. } => {}
        }
        Ok(())
    }

    fn signal_came(
        &mut self,
        peer: &Peer,
        signal: Signal,
        now: Instant,
        work: &mut Work,
    ) -> Result<(), Spoofed> {
        let tells = matches!(signal.body, SignalBody::Down { .. } | SignalBody::Exit { .. });
        let ends = tells || signal.body == SignalBody::Kill;
        if tells {
            prove_node(peer, signal.from)?;
        } else {
            prove(peer, signal.from)?;
        }
        if signal.app == SYSTEM && !ends {
            return Err(Spoofed);
        }
        self.links.crossed(peer.node, peer.incarnation);
        let (from, to) = (signal.from, signal.to);
        if self.is_here(to) {
            work.input_for(to.slot, Input::Signal(signal));
            return Ok(());
        }
        match signal.body {
            SignalBody::Message { .. } => {
                self.tell_gone(port::Source::of(from), to, now, work);
            }
            SignalBody::Monitor { id } => {
                let body = SignalBody::Down { id, reason: ExitReason::NoProcess };
                self.answer_for_nobody(signal, body, now, work);
            }
            SignalBody::Link => {
                let body = SignalBody::Exit { reason: ExitReason::NoProcess };
                self.answer_for_nobody(signal, body, now, work);
            }
            _ => {}
        }
        Ok(())
    }

    /// Answers a signal for a process of a former life of this node, in whose name this one may.
    fn answer_for_nobody(
        &mut self,
        asked: Signal,
        body: SignalBody,
        now: Instant,
        work: &mut Work,
    ) {
        let Signal { from, to, app, trace, .. } = asked;
        if to.node == self.me.node {
            let answer = Body::Signal(Signal { from: to, to: from, app, trace, body });
            let stamp = Stamp { lane: Lane::of_pair(to, from), app, trace };
            self.send(from.node, stamp, answer, now, work);
        }
    }
}

/// Whether a pid is the peer's own.
fn prove(peer: &Peer, pid: Pid) -> Result<(), Spoofed> {
    let own = pid.node == peer.node && pid.incarnation == peer.incarnation;
    if own { Ok(()) } else { Err(Spoofed) }
}

/// Whether a pid is of the peer's node: it may say that what was of a former life is no more.
fn prove_node(peer: &Peer, pid: Pid) -> Result<(), Spoofed> {
    if pid.node == peer.node { Ok(()) } else { Err(Spoofed) }
}

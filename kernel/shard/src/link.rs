//! Links: made, taken back, broken; and what the end of one process does to another.
//!
//! A link is an entry on each side (`craton_process::Links`). On one shard both are made and taken
//! back at once; otherwise signals do it, and an unlink is acknowledged. The end of a linked
//! process ends this one with the same reason, unless that is `normal`, or comes as a notice if
//! this one traps exits. Killed means killed all along a chain of links, as in Erlang/OTP.

use crate::port::{Effect, HostReply};
use crate::process::{EarlyEnds, Process, State};
use crate::shard::{Shard, Whereabouts, may_signal};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use craton_abi::limit::LINKS_PER_PROCESS_MAX;
use craton_abi::{ErrorCode, ExitReason, Pid, Resource, Signal, SignalBody, Slot};

/// Ends kept for a process that waits for its child: strays among them are ends of processes that
/// were linked to and ended twice over, so there are few.
const EARLY_ENDS_MAX: usize = 64;
/// Ends of linked processes that are heard in one step, each of which may end another: to take an
/// instance down is up to 65,000 instructions for the host.
pub(crate) const EXITS_PER_STEP_MAX: usize = 2;
/// Room for so many is kept when all have been heard.
const EXITS_KEPT_MAX: usize = 64;

impl Shard {
    pub(crate) fn call_link(
        &mut self,
        slot: Slot,
        target: Pid,
        out: &mut Vec<Effect>,
    ) -> HostReply {
        let me = self.pid(slot);
        let is_linked = self.live(slot).is_some_and(|process| process.links.is_active(target));
        if target == me || is_linked {
            return HostReply::Done;
        }
        let whereabouts = self.find(target);
        if whereabouts == Whereabouts::Here && !self.may_reach(slot, target) {
            return HostReply::Failed(ErrorCode::Denied);
        }
        if !self.may_link(slot) {
            return HostReply::Failed(ErrorCode::LimitLinks);
        }
        let refusal = match whereabouts {
            Whereabouts::Nowhere => Some(ExitReason::NoProcess),
            Whereabouts::Here => {
                let linked = self.live_mut(target.slot).map(|process| {
                    let notices = process.mailbox.exits();
                    process.links.linked(me, notices)
                });
                (linked != Some(Ok(()))).then_some(ExitReason::Limit(Resource::Links))
            }
            Whereabouts::Away => None,
        };
        if let Some(reason) = refusal {
            self.exits.push_back((slot, target, reason));
        } else if self.live_mut(slot).is_some_and(|process| process.links.link(target))
            && whereabouts == Whereabouts::Away
        {
            self.emit(slot, target, SignalBody::Link, out);
        }
        HostReply::Done
    }

    pub(crate) fn call_unlink(
        &mut self,
        slot: Slot,
        target: Pid,
        out: &mut Vec<Effect>,
    ) -> HostReply {
        let (me, id) = (self.pid(slot), self.request_last.next());
        let away = self.find(target) == Whereabouts::Away;
        // An end that it was about to hear of is heard no more.
        self.exits.retain(|(to, from, _)| (*to, *from) != (slot, target));
        let Some(process) = self.live_mut(slot) else { return HostReply::Done };
        if !away {
            if process.links.remove(target)
                && let Some(other) = self.live_mut(target.slot)
            {
                other.links.remove(me);
            }
        } else if process.links.unlink(target, id) {
            self.request_last = id;
            self.emit(slot, target, SignalBody::Unlink { id }, out);
        }
        HostReply::Done
    }

    /// What a signal from another shard or node does to the links of a process.
    pub(crate) fn link_signal(&mut self, signal: Signal, out: &mut Vec<Effect>) {
        let Signal { from, to, app, trace, body } = signal;
        let mut answer = |body| {
            out.push(Effect::Signal(Signal { from: to, to: from, app, trace, body }));
        };
        let target = self.target_of(to);
        match (body, target) {
            (SignalBody::Link, Some(target)) if may_signal(app, target.app) => {
                let linked = target.links.linked(from, target.mailbox.exits());
                if linked.is_err() {
                    answer(SignalBody::Exit { reason: ExitReason::Limit(Resource::Links) });
                }
            }
            (SignalBody::Link, _) => answer(SignalBody::Exit { reason: ExitReason::NoProcess }),
            // Who is not there has told all its links of its end.
            (SignalBody::Unlink { id }, Some(target)) => {
                target.links.unlinked(from);
                answer(SignalBody::Unlinked { id });
            }
            (SignalBody::Unlinked { id }, Some(target)) => target.links.acknowledged(from, id),
            (SignalBody::Exit { reason }, Some(_)) => {
                self.link_broken(to.slot, from, reason.bounded());
            }
            _ => {}
        }
    }

    /// Whether a process may make one more link.
    pub(crate) fn may_link(&self, slot: Slot) -> bool {
        let held = |process: &Process| process.links.len() + process.mailbox.exits();
        self.live(slot).is_some_and(|process| held(process) < LINKS_PER_PROCESS_MAX)
    }

    /// The child that a process was to be linked to lives, or has ended before this was known.
    pub(crate) fn link_to_child(&mut self, slot: Slot, child: Pid, early: EarlyEnds) {
        if let Some((_, reason)) = early.into_iter().find(|(pid, _)| *pid == child) {
            self.exits.push_back((slot, child, reason));
        } else if let Some(process) = self.live_mut(slot) {
            // The child has it from its birth.
            let _ = process.links.link(child);
        }
    }

    /// A process ended, and told this one because of a link.
    pub(crate) fn link_broken(&mut self, slot: Slot, from: Pid, reason: ExitReason) {
        let Some(process) = self.live_mut(slot) else { return };
        if process.links.remove(from) {
            self.exits.push_back((slot, from, reason));
        } else if let State::Spawning { link: Some(early), .. } = &mut process.state
            && early.len() < EARLY_ENDS_MAX
        {
            early.push((from, reason));
        }
    }

    /// Lets processes hear of the ends of those they were linked to, and the next of theirs; so
    /// many in one step, that others have their turn while a thousand end together.
    pub(crate) fn pass_exits_on(&mut self, out: &mut Vec<Effect>) {
        for _ in 0..EXITS_PER_STEP_MAX {
            let Some((slot, from, reason)) = self.exits.pop_front() else { break };
            let Some(process) = self.live_mut(slot) else { continue };
            if process.traps_exits {
                process.mailbox.exited(from, reason);
                self.arrived(slot, out);
            } else if reason != ExitReason::Normal {
                self.end(slot, reason, out);
            }
        }
        if self.exits.is_empty() && self.exits.capacity() > EXITS_KEPT_MAX {
            self.exits = VecDeque::new();
        }
    }
}

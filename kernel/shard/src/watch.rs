//! Monitors: made, taken back, fired; and the signals that carry all this.
//!
//! A monitor is two entries: the watcher's mailbox reserves room for the notice, the target's set
//! of watchers says whom to tell. For a target on another node a third, `Shard::watches`, finds
//! the watcher when that node is lost.

use crate::port::{Effect, HostReply};
use crate::process::Process;
use crate::shard::{Shard, Whereabouts, may_signal};
use alloc::vec::Vec;
use craton_abi::{ErrorCode, ExitReason, MonitorId, Pid, Resource, Signal, SignalBody, Slot};
use craton_process::{Answer, Message, Notice, Released};

impl Shard {
    pub(crate) fn call_monitor(
        &mut self,
        slot: Slot,
        target: Pid,
        out: &mut Vec<Effect>,
    ) -> HostReply {
        let whereabouts = self.find(target);
        if whereabouts == Whereabouts::Here && !self.may_reach(slot, target) {
            return HostReply::Failed(ErrorCode::Denied);
        }
        let id = match self.reserve_monitor(slot, Some(target)) {
            Ok(id) => id,
            Err(error) => return HostReply::Failed(error),
        };
        let watcher = self.pid(slot);
        let refused = match whereabouts {
            Whereabouts::Here => match self.live_mut(target.slot) {
                Some(process) => process.watchers.add(watcher, id).is_err(),
                None => false,
            },
            Whereabouts::Away => {
                self.watch_away(target, id, slot);
                self.emit(slot, target, SignalBody::Monitor { id }, out);
                false
            }
            Whereabouts::Nowhere => {
                self.notify(
                    watcher,
                    Notice { from: target, id, reason: ExitReason::NoProcess },
                    out,
                );
                false
            }
        };
        if refused {
            let reason = ExitReason::Limit(Resource::Monitors);
            self.notify(watcher, Notice { from: target, id, reason }, out);
        }
        HostReply::Monitoring(id)
    }

    /// Makes a monitor's id and reserves room for its notice.
    pub(crate) fn reserve_monitor(
        &mut self,
        slot: Slot,
        target: Option<Pid>,
    ) -> Result<MonitorId, ErrorCode> {
        let id = self.monitor_last.next();
        let process = self.live_mut(slot).ok_or(ErrorCode::NoProcess)?;
        process.mailbox.monitor(id, target).map_err(|_| ErrorCode::LimitMonitors)?;
        self.monitor_last = id;
        Ok(id)
    }

    /// Remembers whom to tell if the target's node is lost. Shards of one node live and die
    /// together, so only other nodes matter.
    pub(crate) fn watch_away(&mut self, target: Pid, id: MonitorId, watcher: Slot) {
        if target.node != self.config.node {
            self.watches.insert((target, id), watcher);
        }
    }

    pub(crate) fn call_demonitor(
        &mut self,
        slot: Slot,
        id: MonitorId,
        out: &mut Vec<Effect>,
    ) -> HostReply {
        let Some(process) = self.live_mut(slot) else { return HostReply::Flag(false) };
        match process.mailbox.demonitor(id) {
            Released::Unknown | Released::Unbound => HostReply::Flag(false),
            Released::Notice => HostReply::Flag(true),
            Released::Watching(target) => {
                if let Some(signal) = self.unwatch(slot, id, target) {
                    self.emit(slot, target, signal, out);
                }
                HostReply::Flag(false)
            }
        }
    }

    /// Takes a watcher's entry out at the target; if that is elsewhere, this is what to tell it.
    #[must_use]
    pub(crate) fn unwatch(
        &mut self,
        watcher: Slot,
        id: MonitorId,
        target: Pid,
    ) -> Option<SignalBody> {
        match self.find(target) {
            Whereabouts::Here => {
                let watcher = self.pid(watcher);
                self.live_mut(target.slot)?.watchers.remove(watcher, id);
                None
            }
            Whereabouts::Away => {
                self.watches.remove(&(target, id));
                Some(SignalBody::Demonitor { id })
            }
            Whereabouts::Nowhere => None,
        }
    }

    /// Puts a notice in the mailbox of a watcher of this shard.
    pub(crate) fn notify(&mut self, watcher: Pid, notice: Notice, out: &mut Vec<Effect>) {
        if self.find(watcher) != Whereabouts::Here {
            return;
        }
        let (target, id) = (notice.from, notice.id);
        let Some(process) = self.live_mut(watcher.slot) else { return };
        if process.mailbox.notify(notice) {
            self.watches.remove(&(target, id));
            self.arrived(watcher.slot, out);
        }
    }

    /// A signal from another shard or node.
    pub(crate) fn signal(&mut self, signal: Signal, out: &mut Vec<Effect>) {
        let Signal { from, to, app, trace, body } = signal;
        match body {
            SignalBody::Message { tag, payload } => {
                self.message(to, app, Message { from, tag, payload, request: None }, out);
            }
            SignalBody::Request { id, tag, payload } => {
                self.message(to, app, Message { from, tag, payload, request: Some(id) }, out);
            }
            SignalBody::Answer { id, payload } => {
                self.answered(to, app, Answer { from, id, payload }, out);
            }
            SignalBody::Kill => {
                if self.target_of(to).is_some_and(|target| may_signal(app, target.app)) {
                    self.end(to.slot, ExitReason::Killed, out);
                }
            }
            SignalBody::Monitor { id } => {
                let refusal = match self.target_of(to) {
                    Some(target) if may_signal(app, target.app) => {
                        match target.watchers.add(from, id) {
                            Ok(()) => return,
                            Err(_) => ExitReason::Limit(Resource::Monitors),
                        }
                    }
                    _ => ExitReason::NoProcess,
                };
                let body = SignalBody::Down { id, reason: refusal };
                out.push(Effect::Signal(Signal { from: to, to: from, app, trace, body }));
            }
            SignalBody::Demonitor { id } => {
                if let Some(target) = self.target_of(to) {
                    target.watchers.remove(from, id);
                }
            }
            SignalBody::Link
            | SignalBody::Unlink { .. }
            | SignalBody::Unlinked { .. }
            | SignalBody::Exit { .. } => {
                self.link_signal(Signal { from, to, app, trace, body }, out);
            }
            SignalBody::Down { id, reason } => {
                self.notify(to, Notice { from, id, reason: reason.bounded() }, out);
            }
        }
    }

    /// The process that a signal is for.
    pub(crate) fn target_of(&mut self, to: Pid) -> Option<&mut Process> {
        match self.find(to) {
            Whereabouts::Here => self.live_mut(to.slot),
            Whereabouts::Away | Whereabouts::Nowhere => None,
        }
    }
}

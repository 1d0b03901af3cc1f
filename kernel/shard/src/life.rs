//! Ends: of a process, in whatever state, and of a whole node.
//!
//! A process's end is one step: nothing reaches it afterwards, everybody who waits for it, watches
//! it or counts on credit from it is told, and what it held on others is taken back. Only its slot
//! may outlive it, while its host has not answered yet.

use crate::port::{Effect, HostEffect, HostReply, Lending, Resume};
use crate::process::{Identity, Process, Runs, State, Tenant};
use crate::shard::{Shard, Whereabouts};
use alloc::boxed::Box;
use alloc::vec::Vec;
use craton_abi::{
    ErrorCode, ExitReason, Incarnation, MonitorId, NodeId, Pid, Signal, SignalBody, Slot,
    SocketOrder,
};
use craton_process::{Closed, Notice, node_range};

impl Shard {
    /// Ends a process; nothing happens if it has ended already.
    pub(crate) fn end(&mut self, slot: Slot, reason: ExitReason, out: &mut Vec<Effect>) {
        let Some(process) = self.live_mut(slot) else { return };
        let parent = process.parent;
        let mut orphan = None;
        let lent = match process.runs {
            Runs::Lent(to) => Some(to),
            Runs::First | Runs::Here | Runs::Anywhere => None,
        };
        let host_works =
            lent.is_some() || matches!(process.state, State::Starting { .. } | State::Running);
        match core::mem::replace(&mut process.state, State::Calling) {
            State::Starting { request, .. } => {
                // It was born, and died: the parent hears both.
                let result = Ok(self.pid(slot));
                out.push(Effect::SpawnReply { request, parent, result });
            }
            State::Runnable { resume, .. } => {
                if lent.is_none() {
                    self.left_run_queue();
                }
                match resume {
                    Resume::Birth(_) => self.unborn -= 1,
                    Resume::Reply(HostReply::Spawned { pid: child, .. }) => orphan = Some(child),
                    _ => {}
                }
            }
            State::Receiving { deadline, .. } => self.timers.cancel(deadline, slot),
            State::Sending { to, ticket, deadline, .. } => {
                self.timers.cancel(Some(deadline), slot);
                self.leave(to, ticket, out);
            }
            State::Answering { to, ticket, .. } => self.leave_answering(to, ticket),
            State::Running => orphan = self.lender.take_told(slot),
            State::Calling | State::Spawning { .. } => {}
            State::Asking | State::OnSocket { .. } => {}
        }
        let Some(process) = self.take_out(slot, host_works) else { return };
        if !host_works {
            out.push(Effect::Host(HostEffect::Reclaim { slot }));
        }
        if let Some(to) = lent {
            out.push(Effect::Lending { to, slot, word: Lending::Recall });
        }
        let pid = self.pid(slot);
        let reason = reason.bounded();
        self.bury(slot, process, reason.clone(), out);
        out.push(Effect::Exited { pid, reason });
        if let Some(child) = orphan {
            self.kill_orphan(pid, child, out);
        }
    }

    /// Ends the process that ran, and came back saying so: its host drops it by itself.
    pub(crate) fn conclude(&mut self, slot: Slot, reason: ExitReason, out: &mut Vec<Effect>) {
        let Some(Tenant::Live(process)) = self.processes.remove(slot) else { return };
        let (pid, reason) = (self.pid(slot), reason.bounded());
        let news = (!reason.is_orderly()).then(|| reason.clone());
        self.bury(slot, process, reason, out);
        out.extend(news.map(|reason| Effect::Exited { pid, reason }));
    }

    /// The host has answered for a process that ended meanwhile: now its slot is free.
    pub(crate) fn host_let_go(&mut self, slot: Slot, out: &mut Vec<Effect>) {
        if let Some(Tenant::Ending(_)) = self.processes.get(slot) {
            self.processes.remove(slot);
            out.push(Effect::Host(HostEffect::Reclaim { slot }));
        }
    }

    /// Takes a process out of its slot, and the slot out of the table unless its host works on it.
    fn take_out(&mut self, slot: Slot, host_works: bool) -> Option<Box<Process>> {
        let tenant = if host_works {
            let process = self.live(slot)?;
            let Identity { program, cpu, ref entry } = process.identity;
            let remains = Identity { program, entry: entry.clone(), cpu };
            core::mem::replace(self.processes.get_mut(slot)?, Tenant::Ending(remains))
        } else {
            self.processes.remove(slot)?
        };
        match tenant {
            Tenant::Live(process) => Some(process),
            Tenant::Ending(_) => None,
        }
    }

    /// Tells everybody of an end. The process is out of the table.
    pub(crate) fn bury(
        &mut self,
        slot: Slot,
        mut process: Box<Process>,
        reason: ExitReason,
        out: &mut Vec<Effect>,
    ) {
        let pid = self.pid(slot);
        // Taken apart where it lies: it is large.
        let &mut Process { app, trace, has_sockets, is_named, .. } = &mut *process;
        if has_sockets {
            let orderly = reason.is_orderly();
            out.push(Effect::Socket(SocketOrder::Release { owner: pid, orderly }));
        }
        if is_named {
            out.push(Effect::NamesEnded { pid });
        }
        self.fail_waiting(core::mem::take(&mut process.senders), ErrorCode::NoProcess);
        let Closed { sources, watched, timers } = process.mailbox.close();
        for (due, id) in timers {
            self.timers.cancel_alarm(due, id);
        }
        for source in sources {
            out.push(Effect::Gone { to: source, pid });
        }
        let signal = |to, body| Effect::Signal(Signal { from: pid, to, app, trace, body });
        for (id, target) in watched {
            out.extend(self.unwatch(slot, id, target).map(|body| signal(target, body)));
        }
        for other in core::mem::take(&mut process.links).into_all() {
            match self.find(other) {
                Whereabouts::Here => self.link_broken(other.slot, pid, reason.clone()),
                Whereabouts::Away => {
                    out.push(signal(other, SignalBody::Exit { reason: reason.clone() }));
                }
                Whereabouts::Nowhere => {}
            }
        }
        for (watcher, id) in core::mem::take(&mut process.watchers).into_all() {
            if self.find(watcher) == Whereabouts::Away {
                out.push(signal(watcher, SignalBody::Down { id, reason: reason.clone() }));
            } else {
                self.notify(watcher, Notice { from: pid, id, reason: reason.clone() }, out);
            }
        }
    }

    /// A node is lost: who watched it, waited for it or was born by its order is told.
    pub(crate) fn node_lost(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
        out: &mut Vec<Effect>,
    ) {
        if node == self.config.node {
            // A shard does not outlive its node, so this is no news of this life.
            return;
        }
        for waiting in self.windows.close_node(node, incarnation) {
            self.fail_waiting(waiting, ErrorCode::NoConnection);
        }
        // What was handed over for it is no longer in anybody's way.
        self.room(node, out);
        for (slot, tenant) in self.processes.iter_mut() {
            let Some(process) = tenant.live_mut() else { continue };
            process.watchers.forget_node(node, incarnation);
            process.mailbox.forget_node(node, incarnation);
            for other in process.links.forget_node(node, incarnation) {
                self.exits.push_back((slot, other, ExitReason::NoConnection));
            }
        }
        let [first, last] = node_range(node, incarnation);
        let watches: Vec<((Pid, MonitorId), Slot)> = self
            .watches
            .range((first, MonitorId::new(0))..=(last, MonitorId::new(u64::MAX)))
            .map(|(&key, &slot)| (key, slot))
            .collect();
        for ((target, id), watcher) in watches {
            self.watches.remove(&(target, id));
            let notice = Notice { from: target, id, reason: ExitReason::NoConnection };
            self.notify(self.pid(watcher), notice, out);
        }
        let is_orphan = |process: &Process| {
            let parent = process.parent;
            (parent.node, parent.incarnation) == (node, incarnation) && !process.is_heard
        };
        let live = self.processes.iter().filter_map(|(slot, tenant)| Some((slot, tenant.live()?)));
        let orphans: Vec<Slot> =
            live.filter(|(_, process)| is_orphan(process)).map(|(slot, _)| slot).collect();
        for child in orphans {
            self.end(child, ExitReason::Killed, out);
        }
    }
}

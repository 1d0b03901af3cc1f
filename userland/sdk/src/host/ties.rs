//! What processes reserve and wait for: monitors, links, requests, timers.
//!
//! Adds to [`World`] what one process has to do with the end, or the answer, of another.

use super::world::{Item, Process, World};
use craton_abi::{ErrorCode, ExitReason, MonitorId, Pid, limit};
use std::time::Instant;

impl World {
    pub(crate) fn watch(&mut self, watcher: Pid, target: Pid) -> MonitorId {
        self.monitors += 1;
        let id = MonitorId::new(self.monitors);
        if let Some(process) = self.processes.get_mut(&target) {
            process.watchers.push((id, watcher));
        } else {
            self.notify(watcher, id, target, self.reason_of_absence(target));
        }
        id
    }

    fn reason_of_absence(&self, pid: Pid) -> ExitReason {
        match self.absence(pid) {
            ErrorCode::NoConnection => ExitReason::NoConnection,
            _ => ExitReason::NoProcess,
        }
    }

    pub(crate) fn link(&mut self, one: Pid, other: Pid) {
        if one == other {
            return;
        }
        if let Some(process) = self.processes.get_mut(&one) {
            process.links.insert(other);
        }
        if let Some(process) = self.processes.get_mut(&other) {
            process.links.insert(one);
        } else {
            self.link_broken(one, other, self.reason_of_absence(other));
        }
    }

    pub(crate) fn unlink(&mut self, one: Pid, other: Pid) {
        for (of, with) in [(one, other), (other, one)] {
            if let Some(process) = self.processes.get_mut(&of) {
                process.links.remove(&with);
            }
        }
    }

    /// What was set before.
    pub(crate) fn trap_exits(&mut self, pid: Pid, trap: bool) -> bool {
        let process = self.processes.get_mut(&pid);
        process.is_some_and(|process| core::mem::replace(&mut process.traps_exits, trap))
    }

    pub(super) fn link_broken(&mut self, pid: Pid, with: Pid, reason: ExitReason) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if !process.links.remove(&with) {
            return;
        }
        if process.traps_exits {
            process.queue.push_back(Item::Exit { pid: with, reason });
        } else if reason != ExitReason::Normal && process.doom.is_none() {
            process.doom = Some(reason);
        }
    }

    /// Takes a monitor back; whether its notice was queued.
    pub(crate) fn unwatch(&mut self, watcher: Pid, id: MonitorId) -> bool {
        for process in self.processes.values_mut() {
            process.watchers.retain(|(other, by)| (*other, *by) != (id, watcher));
        }
        let Some(process) = self.processes.get_mut(&watcher) else { return false };
        let before = process.queue.len();
        process.requests.remove(&id);
        let of_it = |item: &Item| match item {
            Item::Down { monitor, .. } => *monitor == id,
            Item::Answer { id: of, .. } => *of == id,
            _ => false,
        };
        process.queue.retain(|item| !of_it(item));
        process.queue.len() < before
    }

    pub(super) fn notify(
        &mut self,
        watcher: Pid,
        monitor: MonitorId,
        pid: Pid,
        reason: ExitReason,
    ) {
        if let Some(process) = self.processes.get_mut(&watcher) {
            process.requests.remove(&monitor);
            process.queue.push_back(Item::Down { pid, monitor, reason });
        }
    }

    pub(crate) fn offer_request(
        &mut self,
        from: Pid,
        to: Pid,
        tag: u64,
        payload: &[u8],
    ) -> Option<Result<MonitorId, ErrorCode>> {
        let id = MonitorId::new(self.monitors + 1);
        let offered = self.offer(from, to, (tag, id.get()), payload)?;
        Some(offered.map(|()| {
            if let Some(process) = self.processes.get_mut(&from) {
                process.requests.insert(id);
            }
            self.watch(from, to)
        }))
    }

    /// Requests of a process that are not answered.
    pub(crate) fn requests(&self, pid: Pid) -> usize {
        self.processes.get(&pid).map_or(0, |process| process.requests.len())
    }

    /// An answer; dropped if nobody waits for it.
    pub(crate) fn answer(&mut self, from: Pid, to: Pid, id: MonitorId, payload: &[u8]) {
        let Some(asker) = self.processes.get_mut(&to) else { return };
        if !asker.requests.remove(&id) {
            return;
        }
        asker.queue.push_back(Item::Answer { from, id, payload: payload.to_vec() });
        for process in self.processes.values_mut() {
            process.watchers.retain(|(other, by)| (*other, *by) != (id, to));
        }
    }

    pub(crate) fn set_timer(&mut self, owner: Pid, due: Instant, tag: u64) -> Option<u64> {
        self.monitors += 1;
        let id = self.monitors;
        let process = self.processes.get_mut(&owner)?;
        if process.timers.len() >= limit::TIMERS_PER_PROCESS_MAX {
            return None;
        }
        process.timers.insert((due, id), tag);
        Some(id)
    }

    /// Queues the timers that sockets have made due.
    pub(super) fn hasten(&mut self) {
        for (owner, timer) in self.net.take_due() {
            let Some(process) = self.processes.get_mut(&owner) else { continue };
            let due = process.timers.keys().find(|(_, id)| *id == timer).copied();
            if let Some(tag) = due.and_then(|due| process.timers.remove(&due)) {
                process.queue.push_back(Item::Timer { id: timer, tag });
            }
        }
    }

    /// Takes a timer back; whether it was not due yet.
    pub(crate) fn cancel_timer(&mut self, owner: Pid, id: u64) -> bool {
        let Some(process) = self.processes.get_mut(&owner) else { return false };
        process.ring(Instant::now());
        process.queue.retain(|item| !matches!(item, Item::Timer { id: of, .. } if *of == id));
        let before = process.timers.len();
        process.timers.retain(|(_, of), _| *of != id);
        process.timers.len() < before
    }

    /// When the next timer of any process is due.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        let first = |process: &Process| process.timers.first_key_value().map(|((at, _), _)| *at);
        self.processes.values().filter_map(first).min()
    }

    /// Whether something with this id may come to a process.
    pub(crate) fn expects(&self, pid: Pid, id: u64) -> bool {
        let watched = |process: &Process| {
            process.watchers.iter().any(|(monitor, by)| (monitor.get(), *by) == (id, pid))
        };
        let queued = |process: &Process| process.queue.iter().any(|item| item.id() == Some(id));
        let timed = |process: &Process| process.timers.keys().any(|(_, of)| *of == id);
        self.processes.get(&pid).is_some_and(|process| queued(process) || timed(process))
            || self.processes.values().any(watched)
    }
}

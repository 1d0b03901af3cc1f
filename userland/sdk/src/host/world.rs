//! The state of a run on threads: processes, mailboxes, monitors, nodes.
//!
//! Owns [`World`], all of it behind the one lock of [`Shared`]; whoever waits, waits on its one
//! condition variable. Lock order: there is one lock.

use super::names::Names;
use super::net::Net;
use super::{Fault, FaultKind, Scenario, node_id};
use crate::entry::EntryTable;
use crate::mailbox::Select;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use craton_abi::{
    ErrorCode, ExitReason, Incarnation, MonitorId, Pid, ProcessLimits, ShardId, Slot, TrapKind,
    is_taken_by,
};
use std::cell::RefCell;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What lies in a mailbox.
pub(crate) enum Item {
    /// The request is 0 if it is none.
    Message {
        from: Pid,
        tag: u64,
        request: u64,
        payload: Vec<u8>,
    },
    Down {
        pid: Pid,
        monitor: MonitorId,
        reason: ExitReason,
    },
    Exit {
        pid: Pid,
        reason: ExitReason,
    },
    Answer {
        from: Pid,
        id: MonitorId,
        payload: Vec<u8>,
    },
    Timer {
        id: u64,
        tag: u64,
    },
}

/// Who is tied to a process from its first instant.
pub(crate) struct Tie {
    pub(crate) watcher: Option<Pid>,
    pub(crate) linked: Option<Pid>,
}

pub(super) struct World {
    entries: EntryTable,
    pub(super) processes: BTreeMap<Pid, Process>,
    nodes_lost: Vec<u64>,
    pub(super) nodes: u64,
    pub(super) shards: u8,
    slots: u32,
    pub(super) monitors: u64,
    pub(super) names: Names,
    fault: Option<Fault>,
    pub(super) sends: u64,
    pub(super) log: Vec<String>,
    pub(super) seed: u64,
    pub(super) net: Net,
}

pub(super) struct Process {
    pub(super) entry: String,
    pub(super) node: u64,
    pub(super) queue: VecDeque<Item>,
    pub(super) bytes: usize,
    /// Of these, the mailbox's are kept; threads cannot bound each other's memory.
    limits: ProcessLimits,
    pub(super) watchers: Vec<(MonitorId, Pid)>,
    /// Requests that are not answered.
    pub(super) requests: BTreeSet<MonitorId>,
    /// Timers that are not due, and their tags.
    pub(super) timers: BTreeMap<(Instant, u64), u64>,
    pub(super) links: BTreeSet<Pid>,
    pub(super) traps_exits: bool,
    /// Set by a kill or the end of a linked process; the thread ends at its next host call.
    pub(super) doom: Option<ExitReason>,
}

pub(crate) struct Shared {
    world: Mutex<World>,
    changed: Condvar,
    /// When time began.
    pub(crate) epoch: Instant,
}

/// The process that a thread plays.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pid: Pid,
    pub(crate) argument: Arc<[u8]>,
}

/// What unwinds a thread whose process ends by itself or is killed.
pub(crate) struct Ended(pub(crate) ExitReason);

std::thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// The process that the calling thread plays.
pub(crate) fn current() -> Current {
    CURRENT.with(|current| current.borrow().clone()).expect("called inside craton::host::run")
}

impl Shared {
    pub(super) fn new(world: World) -> Self {
        Shared { world: Mutex::new(world), changed: Condvar::new(), epoch: Instant::now() }
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the world and wakes who waits for a change.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut World) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Retries `attempt` at each change until it succeeds or `deadline` passes.
    pub(crate) fn wait<R>(
        &self,
        deadline: Option<Instant>,
        mut attempt: impl FnMut(&mut World) -> Option<R>,
    ) -> Option<R> {
        let mut world = self.lock();
        loop {
            if let Some(result) = attempt(&mut world) {
                self.changed.notify_all();
                return Some(result);
            }
            let now = Instant::now();
            let timeout = match deadline {
                Some(deadline) if deadline <= now => return None,
                Some(deadline) => deadline - now,
                None => Duration::from_secs(3600),
            };
            let alarm = world.next_timer().map_or(timeout, |at| at.saturating_duration_since(now));
            let timeout = timeout.min(alarm);
            let waited = self.changed.wait_timeout(world, timeout);
            world = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn take_either(&self, one: Pid, other: Pid) -> Item {
        let take = |world: &mut World| {
            [one, other]
                .iter()
                .find_map(|pid| world.take(*pid, Select::Any, usize::MAX).and_then(Result::ok))
        };
        self.wait(None, take).expect("waits for ever")
    }

    /// Waits until only the console and standard input are left, ends the rest, names them.
    pub(super) fn end_all(&self, patience: Duration) -> Vec<String> {
        let quiet = |world: &mut World| (world.processes.len() <= 2).then_some(());
        if self.wait(Some(Instant::now() + patience), quiet).is_some() {
            return Vec::new();
        }
        let left = self.with(|world| {
            let rest = world.processes.values_mut().filter(|process| !process.is_operator());
            rest.map(|process| {
                process.doom = Some(ExitReason::Killed);
                process.entry.clone()
            })
            .collect()
        });
        self.wait(None, quiet);
        left
    }
}

impl Item {
    /// Of a notice, answer or timer.
    pub(super) fn id(&self) -> Option<u64> {
        match self {
            Item::Down { monitor: id, .. } | Item::Answer { id, .. } => Some(id.get()),
            Item::Timer { id, .. } => Some(*id),
            Item::Message { .. } | Item::Exit { .. } => None,
        }
    }
}

impl Process {
    fn is_operator(&self) -> bool {
        self.entry == "console" || self.entry == "stdin"
    }

    /// Queues the timers that are due.
    pub(super) fn ring(&mut self, now: Instant) {
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            let (id, tag) = (entry.key().1, entry.remove());
            self.queue.push_back(Item::Timer { id, tag });
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.queue.len() < self.limits.mailbox_messages as usize
            && self.bytes + bytes <= self.limits.mailbox_bytes as usize
    }
}

impl World {
    pub(super) fn new(entries: EntryTable, scenario: &Scenario) -> Self {
        World {
            entries,
            processes: BTreeMap::new(),
            nodes_lost: Vec::new(),
            nodes: scenario.nodes,
            shards: scenario.shards,
            slots: 0,
            monitors: 0,
            names: Names::default(),
            fault: scenario.fault.clone(),
            sends: 0,
            log: Vec::new(),
            seed: scenario.seed,
            net: Net::default(),
        }
    }

    pub(super) fn add(&mut self, entry: &str, node: u64, limits: ProcessLimits) -> Pid {
        self.slots += 1;
        let slot = Slot::new(ShardId::new(0), self.slots, 1).expect("a test's processes fit");
        let pid = Pid { node: node_id(node), incarnation: Incarnation::new(node + 1), slot };
        let process = Process {
            entry: entry.to_owned(),
            node,
            queue: VecDeque::new(),
            bytes: 0,
            limits,
            watchers: Vec::new(),
            requests: BTreeSet::new(),
            timers: BTreeMap::new(),
            links: BTreeSet::new(),
            traps_exits: false,
            doom: None,
        };
        self.processes.insert(pid, process);
        pid
    }

    pub(crate) fn living_nodes(&self) -> impl Iterator<Item = u64> {
        (0..self.nodes).filter(|node| !self.nodes_lost.contains(node))
    }

    /// Why a process must end now, if it must.
    pub(crate) fn doom_of(&self, pid: Pid) -> Option<ExitReason> {
        self.processes.get(&pid).map_or(Some(ExitReason::Killed), |process| process.doom.clone())
    }

    /// Takes the first fitting item; its length where it is longer than `capacity`.
    pub(crate) fn take(
        &mut self,
        pid: Pid,
        select: Select,
        capacity: usize,
    ) -> Option<Result<Item, usize>> {
        let process = self.processes.get_mut(&pid)?;
        process.ring(Instant::now());
        let wanted = |item: &Item| match (select, item) {
            (Select::Any, _) => true,
            (Select::Tag(tag), Item::Message { tag: is, .. }) => is_taken_by(*is, tag),
            (Select::Tag(_), _) => true,
            (Select::Id(id), item) => item.id() == Some(id),
        };
        let at = process.queue.iter().position(wanted)?;
        let len = match &process.queue[at] {
            Item::Message { payload, .. } | Item::Answer { payload, .. } => payload.len(),
            Item::Timer { .. } => 0,
            Item::Down { reason, .. } | Item::Exit { reason, .. } => reason.to_bytes().len(),
        };
        if len > capacity {
            return Some(Err(len));
        }
        let item = process.queue.remove(at)?;
        if let Item::Message { payload, .. } = &item {
            process.bytes -= payload.len();
        }
        Some(Ok(item))
    }

    /// Takes the next message, if it is next and short enough: its sender, tag, request and bytes.
    pub(crate) fn take_message(
        &mut self,
        pid: Pid,
        capacity: usize,
    ) -> Option<(Pid, u64, u64, Vec<u8>)> {
        let is_message =
            |process: &Process| matches!(process.queue.front(), Some(Item::Message { .. }));
        self.processes.get(&pid).filter(|process| is_message(process))?;
        match self.take(pid, Select::Any, capacity)? {
            Ok(Item::Message { from, tag, request, payload }) => {
                Some((from, tag, request, payload))
            }
            _ => None,
        }
    }

    /// Puts a message into a mailbox, if there is room; `None` where there is not yet.
    pub(crate) fn offer(
        &mut self,
        from: Pid,
        to: Pid,
        (tag, request): (u64, u64),
        payload: &[u8],
    ) -> Option<Result<(), ErrorCode>> {
        match self.processes.get(&to) {
            None => return Some(Err(self.absence(to))),
            Some(process) if process.doom.is_some() => return Some(Err(ErrorCode::NoProcess)),
            Some(process) if !process.has_room(payload.len()) => return None,
            Some(_) => {}
        }
        self.push_message(from, to, (tag, request), payload.to_vec());
        Some(Ok(()))
    }

    pub(super) fn absence(&self, pid: Pid) -> ErrorCode {
        let lost = self.nodes_lost.iter().any(|node| node_id(*node) == pid.node);
        if lost { ErrorCode::NoConnection } else { ErrorCode::NoProcess }
    }

    pub(crate) fn push_message(
        &mut self,
        from: Pid,
        to: Pid,
        (tag, request): (u64, u64),
        payload: Vec<u8>,
    ) {
        self.sends += 1;
        let kind = self.fault_due(tag);
        let dropped = matches!(kind, Some(FaultKind::DropMessage(_)));
        if let Some(process) = self.processes.get_mut(&to).filter(|_| !dropped) {
            process.bytes += payload.len();
            process.queue.push_back(Item::Message { from, tag, request, payload });
        }
        match kind {
            Some(FaultKind::Kill(entry)) => {
                let mut processes = self.processes.values_mut();
                if let Some(process) = processes.find(|process| process.entry == entry) {
                    process.doom = Some(ExitReason::Killed);
                }
            }
            Some(FaultKind::LoseNode(node)) => self.lose_node(node),
            Some(FaultKind::DropMessage(_)) | None => {}
        }
    }

    /// The fault, if this message brings it about; it happens once.
    fn fault_due(&mut self, tag: u64) -> Option<FaultKind> {
        let fault = self.fault.as_ref().filter(|fault| self.sends >= fault.after_sends)?;
        match fault.kind {
            FaultKind::DropMessage(other) if other != tag => None,
            _ => self.fault.take().map(|fault| fault.kind),
        }
    }

    fn lose_node(&mut self, node: u64) {
        self.nodes_lost.push(node);
        let on_node = |(_, process): &(&Pid, &Process)| process.node == node;
        let pids: Vec<Pid> = self.processes.iter().filter(on_node).map(|(pid, _)| *pid).collect();
        for pid in pids {
            self.end(pid, ExitReason::NoConnection);
        }
    }

    pub(crate) fn kill(&mut self, pid: Pid) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.doom = Some(ExitReason::Killed);
        }
    }

    fn end(&mut self, pid: Pid, reason: ExitReason) {
        let Some(process) = self.processes.remove(&pid) else { return };
        self.net.release(pid, reason.is_orderly());
        self.names.ended(pid);
        self.hasten();
        for other in process.links {
            self.link_broken(other, pid, reason.clone());
        }
        for (monitor, watcher) in process.watchers {
            self.notify(watcher, monitor, pid, reason.clone());
        }
    }
}

/// Starts a process on a node; with its monitor, if there is a watcher.
pub(crate) fn spawn(
    shared: &Arc<Shared>,
    entry: &str,
    argument: Vec<u8>,
    node: u64,
    tie: Tie,
    limits: ProcessLimits,
) -> Result<(Pid, MonitorId), ErrorCode> {
    let (function, pid, monitor) = shared.with(|world| {
        let known = world.entries.iter().find(|(name, _)| *name == entry);
        let (_, function) = *known.ok_or(ErrorCode::NoEntry)?;
        if !world.living_nodes().any(|living| living == node) {
            return Err(ErrorCode::NoConnection);
        }
        let pid = world.add(entry, node, limits);
        let monitor = tie.watcher.map_or(MonitorId::new(0), |watcher| world.watch(watcher, pid));
        if let Some(parent) = tie.linked {
            world.link(parent, pid);
        }
        Ok((function, pid, monitor))
    })?;
    let current = Current { shared: shared.clone(), pid, argument: argument.into() };
    let body = move || play(current, function);
    std::thread::Builder::new()
        .name(entry.to_owned())
        .spawn(body)
        .map_err(|_| ErrorCode::LimitProcesses)?;
    Ok((pid, monitor))
}

fn play(current: Current, function: fn()) {
    let (shared, pid) = (current.shared.clone(), current.pid);
    CURRENT.with(|slot| *slot.borrow_mut() = Some(current));
    let reason = match std::panic::catch_unwind(function) {
        Ok(()) => ExitReason::Normal,
        Err(payload) => reason_of(payload),
    };
    shared.with(|world| world.end(pid, reason));
}

fn reason_of(payload: Box<dyn core::any::Any + Send>) -> ExitReason {
    match payload.downcast::<Ended>() {
        Ok(ended) => ended.0,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            ExitReason::Trap(TrapKind::Unreachable, text.unwrap_or_default())
        }
    }
}

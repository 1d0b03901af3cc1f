//! Spawning: the parent's side, the child's side, and the words between them.
//!
//! ```text
//!  parent's shard                       child's shard
//!  HostCall::Spawn
//!    1 Effect::Place  ----------------> Input::Spawn
//!                                         2 HostEffect::Start, Input::Started
//!  Input::SpawnReply  <---------------- 3 Effect::SpawnReply
//!    4 parent runs on
//!      Effect::SpawnHeard ------------> Input::SpawnHeard
//! ```
//!
//! Between 2 and 4 the child is *unheard*: if its parent's node is lost it is killed. If the
//! parent dies before 4 the parent's shard kills the child. So no child lives whose parent never
//! heard of it.
//!
//! Where parent and child are of one shard and the parent still runs, all of it is one step
//! ([`Shard::spawn_at_once`]): the child stands in the run queue with what its instance is to be
//! made of, and its host makes that when it first runs. Such a child is *unborn* until then.

use crate::port::{Effect, HostEffect, HostReply, Resume, SpawnCall, Start};
use crate::process::{Identity, Process, Runs, State, Tenant};
use crate::shard::{SYSTEM, Shard, Whereabouts};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use craton_abi::{
    Duration, ErrorCode, ExitReason, MonitorId, Payload, Pid, Place, ProgramId, RequestId, Signal,
    SignalBody, Slot, SpawnOrder, TraceId, limit, run,
};
use craton_process::{Links, TableFull, Watchers};

impl Shard {
    /// The parent's call.
    pub(crate) fn call_spawn(
        &mut self,
        slot: Slot,
        call: SpawnCall,
        out: &mut Vec<Effect>,
    ) -> Option<HostReply> {
        let SpawnCall { place, program, entry, argument, monitor, link, limits } = call;
        if let Err(error) = check(&entry, &argument) {
            return Some(HostReply::Failed(error));
        }
        if link && !self.may_link(slot) {
            return Some(HostReply::Failed(ErrorCode::LimitLinks));
        }
        let monitor = match monitor.then(|| self.reserve_monitor(slot, None)).transpose() {
            Ok(monitor) => monitor,
            Err(error) => return Some(HostReply::Failed(error)),
        };
        self.request_last = self.request_last.next();
        let (request, parent) = (self.request_last, self.pid(slot));
        let process = self.live_mut(slot)?;
        process.state = State::Spawning { request, monitor, link: link.then(Vec::new) };
        let order = SpawnOrder {
            request,
            parent,
            monitor,
            link,
            app: process.app,
            trace: process.trace,
            program: program.unwrap_or(process.identity.program),
            entry: String::from(&*entry),
            argument,
            limits,
            shard: match place {
                Place::Near(pid) => Some(pid.slot.shard()),
                // Which shard has a socket is the node's to tell.
                Place::Here | Place::Anywhere | Place::Node(_) | Place::Socket(_) => None,
            },
        };
        out.push(Effect::Place { place, order: Box::new(order) });
        None
    }

    /// An order to bring a process to life here.
    pub(crate) fn spawn(&mut self, order: SpawnOrder, out: &mut Vec<Effect>) {
        let (request, parent) = (order.request, order.parent);
        if let Err(error) = self.try_spawn(order, out) {
            out.push(Effect::SpawnReply { request, parent, result: Err(error) });
        }
    }

    /// Has the parent pay for a birth, if it is of this shard. The child's virtual time.
    fn paid_birth(&mut self, parent: Pid) -> Duration {
        let floor = self.run_queue.floor();
        match self.find(parent) {
            Whereabouts::Here => {
                let process = self.live_mut(parent.slot);
                process.map_or(floor, |process| process.pay_birth(floor))
            }
            Whereabouts::Away | Whereabouts::Nowhere => floor,
        }
    }

    fn try_spawn(&mut self, order: SpawnOrder, out: &mut Vec<Effect>) -> Result<(), ErrorCode> {
        check(&order.entry, &order.argument)?;
        let SpawnOrder { request, parent, monitor, app, trace, program, .. } = order;
        let mut watchers = Watchers::new();
        if let Some(id) = monitor {
            watchers.add(parent, id).map_err(|_| ErrorCode::LimitMonitors)?;
        }
        let mut links = Links::new();
        if order.link {
            // The first one: there is room.
            let _ = links.linked(parent, 0);
        }
        let SpawnOrder { entry, argument, limits, .. } = order;
        let entry: Arc<str> = entry.into();
        let identity = Identity { program, entry: entry.clone(), cpu: Duration::ZERO };
        let process = Process {
            app,
            trace,
            parent,
            is_heard: false,
            state: State::Starting { request, monitor },
            runs: runs_of(program, order.shard.is_some()),
            watchers,
            links,
            virtual_time: self.paid_birth(parent),
            ..Process::new(identity, &limits)
        };
        let slot = self
            .processes
            .insert_with(|_| Tenant::Live(Box::new(process)))
            .map_err(|TableFull| ErrorCode::LimitProcesses)?;
        let start = Start { pid: self.pid(slot), program, entry, argument, limits };
        out.push(Effect::Host(HostEffect::Start(Box::new(start))));
        Ok(())
    }

    /// Brings a child of the process that runs to life on this shard, while the parent keeps the
    /// CPU: the answer to its call, whose argument is taken. Whoever asks has looked for room for
    /// as many unborn processes as `unborn_max`, this one among them. `None` if nothing was done:
    /// the process is to leave its stack with the call.
    pub fn spawn_at_once(
        &mut self,
        slot: Slot,
        call: &mut SpawnCall,
        unborn_max: usize,
    ) -> Option<HostReply> {
        let child = self.processes.slot_next()?;
        if !self.runs(slot) || self.unborn >= unborn_max {
            return None;
        }
        let reply = self.spawn_here(slot, self.pid(child), call);
        Some(reply.unwrap_or_else(HostReply::Failed))
    }

    /// As [`Shard::spawn_at_once`], where there is room: `child` is the pid that comes next.
    fn spawn_here(
        &mut self,
        slot: Slot,
        child: Pid,
        call: &mut SpawnCall,
    ) -> Result<HostReply, ErrorCode> {
        let &mut SpawnCall { program, monitor, link, limits, .. } = call;
        check(&call.entry, &call.argument)?;
        if link && !self.may_link(slot) {
            return Err(ErrorCode::LimitLinks);
        }
        let parent = self.pid(slot);
        let mut watchers = Watchers::new();
        let monitor = match monitor {
            true => Some(self.reserve_monitor(slot, Some(child))?),
            false => None,
        };
        if let Some(id) = monitor {
            // The first one: there is room.
            let _ = watchers.add(parent, id);
        }
        let mut links = Links::new();
        let floor = self.run_queue.floor();
        let process = self.live_mut(slot).ok_or(ErrorCode::NoProcess)?;
        if link {
            // There is room: of the parent it was asked, and of the child it is the first.
            let _ = (process.links.link(child), links.linked(parent, 0));
        }
        let (app, trace) = (process.app, process.trace);
        let program = program.unwrap_or(process.identity.program);
        let entry = call.entry.clone();
        let identity = Identity { program, entry: entry.clone(), cpu: Duration::ZERO };
        let mut virtual_time = process.pay_birth(floor);
        let turn = self.run_queue.push(child.slot, &mut virtual_time);
        let argument = core::mem::take(&mut call.argument);
        let start = Start { pid: child, program, entry, argument, limits };
        let mut process = Box::new(Process::new(identity, &limits));
        (process.app, process.trace, process.parent) = (app, trace, parent);
        (process.watchers, process.links) = (watchers, links);
        process.state.put(State::Runnable { resume: Resume::Birth(Box::new(start)), turn });
        process.runs = runs_where(&call.place);
        process.is_heard = true;
        process.virtual_time = virtual_time;
        let is_spare = process.runs == Runs::Anywhere;
        let _ = self.processes.insert_with(|_| Tenant::Live(process));
        self.runnable += 1;
        self.unborn += 1;
        if is_spare {
            self.offer(child.slot, turn);
        }
        Ok(HostReply::Spawned { pid: child, monitor })
    }

    /// The host's answer to [`HostEffect::Start`].
    pub(crate) fn started(
        &mut self,
        slot: Slot,
        result: Result<(), ErrorCode>,
        out: &mut Vec<Effect>,
    ) {
        let pid = self.pid(slot);
        let process = match self.processes.get(slot) {
            Some(Tenant::Live(process)) => process,
            Some(Tenant::Ending(_)) if result.is_ok() => return self.host_let_go(slot, out),
            // There is no instance to reclaim.
            Some(Tenant::Ending(_)) => return drop(self.processes.remove(slot)),
            None => return self.refuse(pid, "an answer to no start", pid, out),
        };
        let &State::Starting { request, monitor } = &process.state else {
            return self.refuse(pid, "an answer to no start", pid, out);
        };
        let parent = process.parent;
        match result {
            Ok(()) => {
                self.ready(slot, Resume::Start);
                out.push(Effect::SpawnReply { request, parent, result: Ok(pid) });
            }
            Err(error) => {
                out.push(Effect::SpawnReply { request, parent, result: Err(error) });
                self.end_unborn(slot, parent, monitor, out);
            }
        }
    }

    /// The child's node answers.
    pub(crate) fn spawn_reply(
        &mut self,
        request: RequestId,
        parent: Pid,
        result: Result<Pid, ErrorCode>,
        out: &mut Vec<Effect>,
    ) {
        match (self.find(parent), result) {
            (Whereabouts::Here, result) => {
                if !self.resume_parent(parent.slot, request, result) {
                    self.refuse(parent, "an answer to no spawn", parent, out);
                }
            }
            (Whereabouts::Nowhere, Ok(child)) => self.kill_orphan(parent, child, out),
            (Whereabouts::Nowhere, Err(_)) => {}
            (Whereabouts::Away, _) => {
                self.refuse(parent, "an answer for another shard", parent, out);
            }
        }
    }

    /// Answers the parent, if it waits for this. Otherwise the answer came twice, and the child
    /// is none of its business.
    fn resume_parent(
        &mut self,
        slot: Slot,
        request: RequestId,
        result: Result<Pid, ErrorCode>,
    ) -> bool {
        let Some(process) = self.live_mut(slot) else { return false };
        let &mut State::Spawning { request: waiting, monitor, ref mut link } = &mut process.state
        else {
            return false;
        };
        if waiting != request {
            return false;
        }
        let link = link.take();
        let reply = match result {
            // The parent has heard of its child once it runs with this answer: see `tick`.
            Ok(child) => {
                if let Some(id) = monitor
                    && process.mailbox.bind(id, child)
                {
                    self.watch_away(child, id, slot);
                }
                if let Some(early) = link {
                    self.link_to_child(slot, child, early);
                }
                HostReply::Spawned { pid: child, monitor }
            }
            Err(error) => {
                if let Some(id) = monitor {
                    let _ = process.mailbox.demonitor(id);
                }
                HostReply::Failed(error)
            }
        };
        self.reply(slot, reply);
        true
    }

    /// Kills a child whose parent died before it heard of it.
    pub(crate) fn kill_orphan(&mut self, parent: Pid, child: Pid, out: &mut Vec<Effect>) {
        match self.find(child) {
            Whereabouts::Here => {
                if self.live(child.slot).is_some_and(|process| process.waits_to_be_heard(parent)) {
                    self.end(child.slot, ExitReason::Killed, out);
                }
            }
            Whereabouts::Away => {
                let (from, to, trace) = (parent, child, TraceId::default());
                let body = SignalBody::Kill;
                out.push(Effect::Signal(Signal { from, to, app: SYSTEM, trace, body }));
            }
            Whereabouts::Nowhere => {}
        }
    }

    /// The parent knows of its child.
    pub(crate) fn spawn_heard(&mut self, child: Pid) {
        if self.find(child) == Whereabouts::Here
            && let Some(process) = self.live_mut(child.slot)
        {
            process.is_heard = true;
        }
    }

    /// Takes out a child that could not start. Its parent hears so by the answer to the spawn and
    /// not by the monitor that came with it.
    fn end_unborn(
        &mut self,
        slot: Slot,
        parent: Pid,
        monitor: Option<MonitorId>,
        out: &mut Vec<Effect>,
    ) {
        let Some(Tenant::Live(mut process)) = self.processes.remove(slot) else { return };
        if let Some(id) = monitor {
            process.watchers.remove(parent, id);
        }
        process.links.remove(parent);
        self.bury(slot, process, ExitReason::NoProcess, out);
    }
}

/// Where a process that was ordered runs; `is_placed` if the order says it.
fn runs_of(program: ProgramId, is_placed: bool) -> Runs {
    match program {
        run::CONSOLE | run::STDIN => Runs::First,
        _ if is_placed => Runs::Here,
        _ => Runs::Anywhere,
    }
}

/// Whether a child may be run elsewhere: not if it is to be beside somebody or something.
fn runs_where(place: &Place) -> Runs {
    match place {
        Place::Here | Place::Anywhere | Place::Node(_) => Runs::Anywhere,
        Place::Near(_) | Place::Socket(_) => Runs::Here,
    }
}

/// Whether the strings of a spawn are within their bounds.
fn check(entry: &str, argument: &Payload) -> Result<(), ErrorCode> {
    if entry.is_empty() || entry.len() > limit::ENTRY_BYTES_MAX {
        return Err(ErrorCode::Invalid);
    }
    if argument.0.len() > limit::ARGUMENT_BYTES_MAX {
        return Err(ErrorCode::TooLong);
    }
    Ok(())
}

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

use crate::port::{Effect, HostEffect, HostReply, Resume, SpawnCall, Start};
use crate::process::{Identity, Process, State, Tenant};
use crate::shard::{SYSTEM, Shard, Whereabouts};
use alloc::boxed::Box;
use alloc::vec::Vec;
use craton_abi::{
    Duration, ErrorCode, ExitReason, MonitorId, Payload, Pid, Place, RequestId, Signal, SignalBody,
    Slot, SpawnOrder, TraceId, limit,
};
use craton_process::{Links, Mailbox, TableFull, WaitQueue, Watchers};

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
            entry,
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

    fn try_spawn(&mut self, order: SpawnOrder, out: &mut Vec<Effect>) -> Result<(), ErrorCode> {
        check(&order.entry, &order.argument)?;
        let SpawnOrder { request, parent, monitor, app, trace, .. } = order;
        let mut watchers = Watchers::new();
        if let Some(id) = monitor {
            watchers.add(parent, id).map_err(|_| ErrorCode::LimitMonitors)?;
        }
        let mut links = Links::new();
        if order.link {
            // The first one: there is room.
            let _ = links.linked(parent, 0);
        }
        let program = order.program;
        let entry = order.entry.clone();
        let process = Process {
            identity: Identity { program, entry, cpu: Duration::ZERO },
            app,
            trace,
            parent,
            is_heard: false,
            state: State::Starting { request, monitor },
            mailbox: Mailbox::new(&order.limits),
            senders: WaitQueue::new(),
            watchers,
            links,
            traps_exits: false,
            has_sockets: false,
            is_named: false,
            virtual_time: self.run_queue.floor(),
            // An order may come from another node.
            cpu_share: order.limits.cpu_share.clamp(1, limit::CPU_SHARE_MAX),
        };
        let slot = self
            .processes
            .insert_with(|_| Tenant::Live(Box::new(process)))
            .map_err(|TableFull| ErrorCode::LimitProcesses)?;
        let SpawnOrder { entry, argument, limits, .. } = order;
        let start = Start { pid: self.pid(slot), program, entry, argument, limits };
        out.push(Effect::Host(HostEffect::Start(Box::new(start))));
        Ok(())
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
        self.bury(slot, *process, ExitReason::NoProcess, out);
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

//! Spawning across shards and nodes: where an order goes, and what comes of it.
//!
//! Owns [`Spawns`], the orders of this node's processes that are not answered yet, and adds to
//! [`Control`] placement and the orders that arrive. An order for `anywhere` that is refused for
//! want of a resource, or whose node is lost, goes to another node: three tries.

use crate::control::Control;
use crate::links::Stamp;
use crate::mail::CONTROL;
use crate::placement::Candidate;
use crate::programs::{Source, Wanted};
use crate::runs::RunId;
use crate::work::Work;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use craton_abi::{
    AppId, ErrorCode, Instant, NodeId, Pid, Place, ProgramId, RequestId, ShardId, Slot, SpawnOrder,
    limit, run,
};
use craton_session::PeerKey;
use craton_shard::port::{Input, SpawnCall};
use craton_wire::{Body, Lane};

/// Most orders of this node's processes that wait for an answer.
const ORDERS_MAX: usize = 64 << 10;
/// Nodes that are tried for an order to `anywhere`.
const TRIES_MAX: usize = 3;

/// Who waits for a program.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// A process that is to be brought to life here, ordered by that node.
    Spawn(Box<SpawnOrder>, NodeId),
    /// A run, for an operator if there is one: he sends the bundle.
    Run(RunId, Option<PeerKey>),
}

impl Waiter {
    /// Whether it waits on behalf of a node.
    pub(crate) fn is_of(&self, node: NodeId) -> bool {
        matches!(self, Waiter::Spawn(_, by) if *by == node)
    }
}

struct Ordered {
    target: NodeId,
    /// Kept only where another node can be tried.
    again: Option<Box<SpawnOrder>>,
    refused: Vec<NodeId>,
}

/// The orders of this node's processes that are not answered yet.
#[derive(Default)]
pub(crate) struct Spawns {
    ordered: BTreeMap<(Pid, RequestId), Ordered>,
    shard_next: u8,
}

impl Spawns {
    /// The next process goes to the shard after this one, of those that have as few.
    fn placed_on(&mut self, shard: ShardId, shards: u8) {
        self.shard_next = (shard.index() as u8 + 1) % shards.max(1);
    }

    /// The orders that a node has not answered.
    pub(crate) fn ordered_from(&self, node: NodeId) -> Vec<(Pid, RequestId)> {
        let open = self.ordered.iter().filter(|(_, ordered)| ordered.target == node);
        open.map(|(key, _)| *key).collect()
    }
}

impl Control {
    /// A process of this node wants another.
    pub(crate) fn place(
        &mut self,
        place: Place,
        mut order: Box<SpawnOrder>,
        now: Instant,
        work: &mut Work,
    ) {
        if let Place::Socket(socket) = place {
            order.shard = Some(socket.shard(self.shards));
        }
        let anywhere = place == Place::Anywhere;
        match self.target(place) {
            Some(target) => self.order(target, anywhere, order, Vec::new(), now, work),
            None => {
                self.tell_parent(order.parent, order.request, Err(ErrorCode::NoConnection), work)
            }
        }
    }

    fn target(&mut self, place: Place) -> Option<NodeId> {
        match place {
            Place::Here | Place::Socket(_) => Some(self.me.node),
            Place::Anywhere => self.choose(&[]),
            Place::Node(node) => {
                (node == self.me.node || self.member(node).is_some()).then_some(node)
            }
            Place::Near(pid) => {
                let alive = self.is_mine(pid) || self.is_alive(pid.node, pid.incarnation);
                alive.then_some(pid.node)
            }
        }
    }

    fn choose(&mut self, refused: &[NodeId]) -> Option<NodeId> {
        self.loads.heard(self.me.node, self.load());
        let me = Candidate { node: self.me.node, shards: self.shards };
        let others = self.membership.iter().flat_map(|membership| membership.up());
        let others = others.map(|member| Candidate { node: member.node, shards: member.shards });
        let all: Vec<Candidate> = core::iter::once(me).chain(others).collect();
        self.loads.choose(&all, refused, &mut self.rng)
    }

    fn order(
        &mut self,
        target: NodeId,
        anywhere: bool,
        order: Box<SpawnOrder>,
        refused: Vec<NodeId>,
        now: Instant,
        work: &mut Work,
    ) {
        let (parent, request) = (order.parent, order.request);
        if self.spawns.ordered.len() >= ORDERS_MAX {
            return self.tell_parent(parent, request, Err(ErrorCode::LimitRequests), work);
        }
        let again = anywhere && refused.len() + 1 < TRIES_MAX;
        let again = again.then(|| order.clone());
        self.spawns.ordered.insert((parent, request), Ordered { target, again, refused });
        if target == self.me.node {
            return self.order_came(order, None, now, work);
        }
        self.loads.placed(target);
        if let Some(incarnation) = self.member(target).map(|member| member.incarnation) {
            self.links.crossed(target, incarnation);
        }
        let stamp = Stamp { lane: Lane::CONTROL, app: order.app, trace: order.trace };
        self.send(target, stamp, Body::Spawn(*order), now, work);
    }

    /// An order to bring a process to life here: of a process of this node, or of another node.
    pub(crate) fn order_came(
        &mut self,
        order: Box<SpawnOrder>,
        by: Option<NodeId>,
        now: Instant,
        work: &mut Work,
    ) {
        let (parent, request, program) = (order.parent, order.request, order.program);
        if program == run::CONSOLE || program == run::STDIN {
            return self.answer_spawn(request, parent, Err(ErrorCode::NoProgram), now, work);
        }
        let waiter = Waiter::Spawn(order, by.unwrap_or(self.me.node));
        self.want(program, waiter, by.map(Source::Node), now, work);
    }

    /// Somebody needs a program before he can go on.
    pub(crate) fn want(
        &mut self,
        program: ProgramId,
        waiter: Waiter,
        source: Option<Source>,
        now: Instant,
        work: &mut Work,
    ) {
        if source.is_some() && self.programs.bundle(program).is_none() {
            self.make_room(work);
        }
        match self.programs.want(program, waiter, source, now) {
            Wanted::Ready(waiter) => self.go_on(waiter, now, work),
            Wanted::Waiting => {}
            Wanted::Fetch => {
                if let Some(source) = source {
                    self.fetch(program, source, now, work);
                }
            }
            Wanted::Refused(waiter, error) => self.give_up(waiter, error, "", now, work),
        }
    }

    /// The program that somebody waited for can be started.
    pub(crate) fn go_on(&mut self, waiter: Waiter, now: Instant, work: &mut Work) {
        match waiter {
            Waiter::Spawn(order, _) => {
                let shard = self.choose_shard(order.shard);
                self.crew.ordered(shard, order.program);
                work.input(shard, Input::Spawn(order));
            }
            Waiter::Run(run, _) => self.run_ready(run, now, work),
        }
    }

    /// The program of a child that a process of shard 0 may bring to life there by itself: its own,
    /// where the child is to be on that shard.
    pub(crate) fn spawns_here(&self, parent: Slot, call: &SpawnCall) -> Option<ProgramId> {
        let wanted = match call.place {
            Place::Here => None,
            Place::Near(pid) if self.is_here(pid) => Some(pid.slot.shard()),
            _ => return None,
        };
        let program = self.hosts.get(parent)?.program;
        let same = call.program.is_none_or(|wanted| wanted == program);
        let here = self.shards == 1 || self.next_shard(wanted) == CONTROL;
        (same && here).then_some(program)
    }

    /// A process was placed on shard 0.
    pub(crate) fn placed_here(&mut self) {
        self.spawns.placed_on(CONTROL, self.shards);
    }

    /// The shard that is to take a process: the one that is asked for, otherwise the one with the
    /// fewest processes, and each of those in turn.
    fn choose_shard(&mut self, wanted: Option<ShardId>) -> ShardId {
        let shard = self.next_shard(wanted);
        if wanted != Some(shard) {
            self.spawns.placed_on(shard, self.shards);
        }
        shard
    }

    fn next_shard(&self, wanted: Option<ShardId>) -> ShardId {
        let processes = |shard: ShardId| match shard {
            CONTROL => self.hosts.len(),
            worker => self.crew.processes_of(worker),
        };
        let there = |shard: &ShardId| shard.index() < usize::from(self.shards);
        let has_room = |shard: &ShardId| processes(*shard) < limit::PROCESSES_PER_SHARD_MAX;
        if let Some(wanted) = wanted.filter(there).filter(has_room) {
            return wanted;
        }
        let first = self.spawns.shard_next;
        let turns = (first..self.shards).chain(0..first).map(ShardId::new).filter(there);
        turns.min_by_key(|shard| processes(*shard)).unwrap_or(CONTROL)
    }

    /// The program that somebody waited for cannot be had.
    pub(crate) fn give_up(
        &mut self,
        waiter: Waiter,
        error: ErrorCode,
        why: &str,
        now: Instant,
        work: &mut Work,
    ) {
        match waiter {
            Waiter::Spawn(order, _) => {
                self.answer_spawn(order.request, order.parent, Err(error), now, work);
            }
            Waiter::Run(run, _) => self.run_failed(run, error, why, now, work),
        }
    }

    /// `by` answers an order of a process of this node.
    pub(crate) fn spawn_answered(
        &mut self,
        by: NodeId,
        parent: Pid,
        request: RequestId,
        result: Result<Pid, ErrorCode>,
        now: Instant,
        work: &mut Work,
    ) {
        if parent == self.pid() {
            if by == self.me.node {
                self.run_spawned(request, result, now, work);
            }
            return;
        }
        let open = self.spawns.ordered.get(&(parent, request));
        if open.is_none_or(|ordered| ordered.target != by) {
            // The parent was answered otherwise, so it will never hear of this child.
            if let Ok(child) = result {
                let _ = self.kill(child, AppId::new(0), now, work);
            }
            return;
        }
        let Some(mut ordered) = self.spawns.ordered.remove(&(parent, request)) else { return };
        if let (Err(error), Some(order)) = (result, ordered.again.take())
            && worth_another_try(error)
        {
            ordered.refused.push(by);
            if let Some(target) =
                self.choose(&ordered.refused).filter(|node| !ordered.refused.contains(node))
            {
                return self.order(target, true, order, ordered.refused, now, work);
            }
        }
        self.tell_parent(parent, request, result, work);
    }

    fn tell_parent(
        &self,
        parent: Pid,
        request: RequestId,
        result: Result<Pid, ErrorCode>,
        work: &mut Work,
    ) {
        if self.is_here(parent) {
            work.input_for(parent.slot, Input::SpawnReply { request, parent, result });
        }
    }
}

/// Whether another node may succeed where one failed like this.
fn worth_another_try(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::LimitMemory
            | ErrorCode::LimitProcesses
            | ErrorCode::LimitPrograms
            | ErrorCode::LimitRequests
            | ErrorCode::NoConnection
    )
}

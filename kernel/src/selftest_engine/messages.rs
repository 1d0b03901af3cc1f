//! What messages cost: two processes of a shard and its engine, joined as a host joins them.
//!
//! Owns [`Host`], the smallest host that there can be, and the measured round trips.

use super::{Bench, NODE, Outcomes, check};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use craton_abi::{
    AppId, Duration, ExitReason, Incarnation, Payload, Pid, ProcessLimits, ProgramId, RequestId,
    ShardId, Slot, SpawnOrder, TraceId,
};
use craton_engine::{Desk, Engine};
use craton_hal::clock;
use craton_shard::port::{
    Effect, HostCall, HostEffect, HostReply, Input, Make, Outcome, ReceiveAtOnce, Sink, SpawnCall,
};
use craton_shard::{Shard, ShardConfig};

struct Host<'a> {
    shard: Shard,
    engine: &'a mut Engine,
    program: ProgramId,
    request: RequestId,
    effects: Vec<Effect>,
    /// The processes that have ended as they should.
    ended: Vec<Pid>,
}

impl Host<'_> {
    fn step(&mut self, input: Input) {
        self.shard.step(input, clock::now(), &mut self.effects);
    }

    /// Does what the shard asks for. False if that was nothing.
    fn perform(&mut self) -> bool {
        let effects = core::mem::take(&mut self.effects);
        let any = !effects.is_empty();
        for effect in effects {
            match effect {
                Effect::Host(HostEffect::Start(start)) => {
                    let slot = start.pid.slot;
                    let result = self.engine.start(*start);
                    self.step(Input::Started { slot, result });
                }
                Effect::Host(HostEffect::Run { slot, mut resume, slice }) => {
                    let (shard, effects) = (&mut self.shard, &mut self.effects);
                    let (mut desk, now) = (ShardDesk { shard, effects, slot }, clock::now());
                    let mut outcome = Outcome::Preempted;
                    let passage = (&mut resume, &mut outcome);
                    let then = self.engine.run_at_desk(slot, passage, slice, now, &mut desk);
                    self.step(Input::Ran { slot, outcome, used: then - now });
                }
                Effect::Host(HostEffect::Reclaim { slot }) => self.engine.reclaim(slot),
                Effect::Exited { pid, reason: ExitReason::Normal } => self.ended.push(pid),
                _ => {}
            }
        }
        any
    }

    /// A process of this shard.
    fn spawn(&mut self, entry: &str, argument: Vec<u8>) -> Result<Pid, String> {
        self.request = self.request.next();
        let order = SpawnOrder {
            request: self.request,
            parent: Pid::default(),
            monitor: None,
            link: false,
            app: AppId::new(1),
            trace: TraceId::new(0),
            program: self.program,
            entry: String::from(entry),
            argument: Payload(argument),
            limits: ProcessLimits::default(),
            shard: None,
        };
        self.step(Input::Spawn(Box::new(order)));
        let start = self.effects.iter().find_map(|effect| match effect {
            Effect::Host(HostEffect::Start(start)) => Some(start.pid),
            _ => None,
        });
        self.perform();
        start.ok_or(String::from("nothing to start"))
    }

    /// Runs everything until `pid` has ended or nobody can run.
    fn run_until_ended(&mut self, pid: Pid) -> Outcomes {
        while !self.ended.contains(&pid) {
            self.step(Input::Tick);
            check(self.perform(), || String::from("both wait"))?;
        }
        Ok(())
    }
}

/// The desk of a process: its shard.
struct ShardDesk<'a> {
    shard: &'a mut Shard,
    effects: &'a mut Vec<Effect>,
    slot: Slot,
}

impl Desk for ShardDesk<'_> {
    fn ask(&mut self, call: HostCall) -> Result<HostReply, HostCall> {
        self.shard.answer_at_once(self.slot, call, self.effects)
    }

    fn send(&mut self, to: &Pid, tag: u64, message: &[u8], make: Make<'_>) -> bool {
        self.shard.send_at_once(self.slot, to, tag, (message, make), self.effects)
    }

    fn spawn(&mut self, call: &mut SpawnCall, unborn_max: usize) -> Option<HostReply> {
        self.shard.spawn_at_once(self.slot, call, unborn_max)
    }

    fn receive(
        &mut self,
        want: (Option<u64>, Option<Duration>),
        capacity: usize,
        sink: Sink<'_>,
    ) -> ReceiveAtOnce {
        self.shard.receive_at_once(self.slot, want, capacity, sink, self.effects)
    }
}

impl Bench {
    /// A shard with nothing in it, and the engine.
    fn host(&mut self) -> Host<'_> {
        let config = ShardConfig {
            node: NODE,
            incarnation: Incarnation::new(1),
            shard: ShardId::new(0),
            processes_max: 16,
        };
        Host {
            shard: Shard::new(config),
            engine: &mut self.engine,
            program: self.program,
            request: RequestId::new(1),
            effects: Vec::new(),
            ended: Vec::new(),
        }
    }
}

/// A receive of several messages takes those that lie there and fit.
pub(super) fn several(bench: &mut Bench) -> Outcomes {
    let mut host = bench.host();
    let process = host.spawn("several", Vec::new())?;
    let outcome = host.run_until_ended(process);
    host.engine.reclaim_all();
    outcome
}

/// The time for `rounds` round trips of 8 bytes between two processes.
pub(super) fn round_trips(bench: &mut Bench, rounds: u32) -> Result<Duration, String> {
    let mut host = bench.host();
    let pong = host.spawn("pong", Vec::new())?;
    let mut argument = rounds.to_le_bytes().to_vec();
    argument.extend_from_slice(&pong.to_bytes());
    let ping = host.spawn("ping", argument)?;
    let before = clock::now();
    host.run_until_ended(ping)?;
    let took = clock::now() - before;
    host.engine.reclaim_all();
    Ok(took)
}

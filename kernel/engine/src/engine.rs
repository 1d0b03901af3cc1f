//! The engine of one CPU: the processes that live on it.
//!
//! Owns [`Engine`], the host that answers a shard's effects `Start`, `Run` and `Reclaim` for
//! programs in WebAssembly. Every CPU has its own, over the [`Programs`] that all share; a process
//! is with one of them at a time, and `transit` has the way from one to another. It never looks at
//! a clock or a device of its own: time comes in as [`Clocks`], everything else through the
//! platform layer.

use crate::instance::{self, Birth, Instance};
use crate::kept::{Kept, Seat, Warm};
use crate::platform;
use crate::process::{Closed, Desk, Envelopes, Exchange};
use crate::programs::{Program, Programs};
use crate::{HOST_STACK_BYTES, STACK_BYTES};
use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use craton_abi::{
    Duration, ErrorCode, ExitReason, Instant, Payload, Resource, ShardId, Slot, TrapKind,
};
use craton_hal::fiber::Left;
use craton_hal::memory;
use craton_shard::BySlot;
use craton_shard::port::{Outcome, Resume, Start};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Where time comes from.
#[derive(Copy, Clone)]
pub struct Clocks {
    /// Time since the node started.
    pub monotonic: fn() -> Instant,
    /// Nanoseconds since 1970, or 0 if the node does not know.
    pub wall_nanos: fn() -> u64,
}

/// What the kernel must be able to spare before it makes a process, beside the memory and the
/// stack: store and instance. Most need a tenth of it.
const PROCESS_HEAP_BYTES: usize = 256 << 10;

/// So often it looks whether memory has become too short to keep any of it for later.
const RUNS_PER_LOOK: u32 = 64;

/// The host of one CPU's processes. It may be made on another CPU than the one that it is for.
pub struct Engine {
    programs: Arc<Programs>,
    clocks: Clocks,
    seeds: ChaCha8Rng,
    /// Whose processes are its own; all others are lodgers.
    shard: ShardId,
    /// Those of its own shard.
    processes: BySlot<Process>,
    /// Those of other shards, that it was given or that were born here.
    lodgers: BTreeMap<Slot, Process>,
    /// Instances whose process has ended and which are as good as new, the last one at the end.
    warm: Kept,
    /// What the programs' count of unloads was when those of `warm` were still loaded.
    unloads: u64,
    /// How often a process ran.
    runs: u32,
    /// Whether a process was started since [`Engine::age`].
    started: bool,
    /// Whether what is kept is being given back.
    ages: bool,
    /// Processes that ran since [`Engine::take_ran`], those that have ended among them.
    ran: Vec<Slot>,
    envelopes: Envelopes,
}

const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Engine>();
};

pub(crate) struct Process {
    seat: Seat,
    program: Arc<Program>,
    memory: platform::Made,
    /// It asked for something and has no answer yet.
    waits: bool,
    /// It is in [`Engine::ran`].
    ran: bool,
}

impl Process {
    pub(crate) fn memory(&self) -> &platform::Made {
        &self.memory
    }
}

impl Engine {
    /// The engine of a shard, for processes of `programs`, which draw their randomness from `seed`.
    pub fn new(programs: Arc<Programs>, shard: ShardId, seed: [u8; 32], clocks: Clocks) -> Engine {
        let seeds = ChaCha8Rng::from_seed(seed);
        Engine {
            unloads: programs.unloads(),
            shard,
            programs,
            clocks,
            seeds,
            processes: BySlot::default(),
            warm: Kept::default(),
            lodgers: BTreeMap::new(),
            runs: 0,
            started: false,
            ages: false,
            ran: Vec::new(),
            envelopes: Envelopes::default(),
        }
    }

    /// The programs that it runs.
    pub fn programs(&self) -> &Arc<Programs> {
        &self.programs
    }

    /// Makes a process that will call an entry; it runs with [`Engine::run`].
    ///
    /// # Errors
    ///
    /// `NoProgram`, `NoEntry`, `LimitMemory`; `Invalid` if its memory cannot be initialised or the
    /// slot is taken.
    pub fn start(&mut self, start: Start) -> Result<(), ErrorCode> {
        let Start { pid, program, entry, argument, limits } = start;
        (self.started, self.ages) = (true, false);
        let is_taken = match self.is_home_of(pid.slot) {
            true => self.processes.is_taken(pid.slot),
            false => self.lodgers.contains_key(&pid.slot),
        };
        if is_taken {
            return Err(ErrorCode::Invalid);
        }
        // One with less stack than usual has less of the usual stack.
        let stack_bytes = (instance::stack_bytes(&limits) + HOST_STACK_BYTES).max(STACK_BYTES);
        while !platform::has_room(PROCESS_HEAP_BYTES + stack_bytes - STACK_BYTES) {
            if !self.warm.give_back_one() {
                return Err(ErrorCode::LimitMemory);
            }
        }
        let birth = Birth { pid, argument, limits, clocks: self.clocks };
        self.forget_unloaded();
        let warm = if stack_bytes == STACK_BYTES { self.warm.take(program) } else { None };
        let (mut seat, program) = match warm {
            Some(Warm { mut seat, program, .. }) => {
                instance::begin_anew(&mut seat, &entry, birth)?;
                (seat, program)
            }
            None => {
                let program = self.programs.get(program).ok_or(ErrorCode::NoProgram)?;
                let fresh = Instance::new(self.programs.engine(), &program, &entry, birth)?;
                let seat = Seat::new(fresh, stack_bytes, Instance::run);
                (seat.ok_or(ErrorCode::LimitMemory)?, program)
            }
        };
        let memory = seat.at_rest().ok_or(ErrorCode::Invalid)?.memory().clone();
        self.insert(pid.slot, Process { seat, program, memory, waits: false, ran: false });
        Ok(())
    }

    pub(crate) fn shard(&self) -> ShardId {
        self.shard
    }

    /// Takes a process that came from another engine, or has come back.
    pub(crate) fn insert(&mut self, slot: Slot, mut process: Process) {
        process.ran = false;
        if self.is_home_of(slot) {
            self.processes.insert(slot, process);
        } else {
            self.lodgers.insert(slot, process);
        }
    }

    /// Whether a process is of this engine's own shard. Who is of another is a lodger, also if it
    /// is born here.
    fn is_home_of(&self, slot: Slot) -> bool {
        slot.shard() == self.shard
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Process> {
        self.processes.remove(slot).or_else(|| self.lodgers.remove(&slot))
    }

    fn get(&self, slot: Slot) -> Option<&Process> {
        self.processes.get(slot).or_else(|| self.lodgers.get(&slot))
    }

    /// Drops the instances of programs that were unloaded.
    fn forget_unloaded(&mut self) {
        let unloads = self.programs.unloads();
        if unloads != self.unloads {
            self.unloads = unloads;
            self.warm.forget_unloaded();
        }
    }

    /// Runs a process until it asks for something, ends, or has used `slice`. Answers with how it
    /// came back and the time that it used. One that is to be born is made first; where it cannot
    /// be, it comes back as ended, and there is nothing to reclaim.
    ///
    /// # Panics
    ///
    /// If there is no such process, or it waits and `resume` is no reply: the shard keeps both.
    pub fn run(&mut self, slot: Slot, resume: Resume, slice: Duration) -> (Outcome, Duration) {
        let (mut resume, mut outcome) = (resume, Outcome::Preempted);
        let start = (self.clocks.monotonic)();
        let passage = (&mut resume, &mut outcome);
        let end = self.run_at_desk(slot, passage, slice, start, &mut Closed);
        (outcome, end - start)
    }

    /// As [`Engine::run`], from `now` on; what the process asks is first brought to `desk`. Takes
    /// what it goes on with from the first of the two, says how it came back in the second, and
    /// answers with the time.
    ///
    /// # Panics
    ///
    /// As [`Engine::run`].
    pub fn run_at_desk(
        &mut self,
        slot: Slot,
        (resume, outcome): (&mut Resume, &mut Outcome),
        slice: Duration,
        now: Instant,
        desk: &mut dyn Desk,
    ) -> Instant {
        if matches!(resume, Resume::Birth(_))
            && let Resume::Birth(start) = core::mem::replace(resume, Resume::Start)
            && let Err(error) = self.start(*start)
        {
            *outcome = Outcome::Exited(unborn(error));
            return (self.clocks.monotonic)().max(now);
        }
        let process = match self.processes.get_mut(slot) {
            Some(process) => process,
            None => match self.lodgers.get_mut(&slot) {
                Some(lodger) => lodger,
                None => panic!("{slot} is no process of the engine"),
            },
        };
        let is_reply = matches!(resume, Resume::Reply(_));
        assert_eq!(process.waits, is_reply, "{slot}: a reply goes to a waiting process only");
        outcome.put(Outcome::Preempted);
        let (envelopes, seeds) = (&mut self.envelopes, &mut self.seeds);
        let mut exchange = Exchange { desk, resume, outcome, envelopes, seeds };
        process.memory.use_here();
        let mut left = process.seat.run(slice, &mut exchange);
        while left == Left::Starved && give_back_some(&mut self.warm) {
            left = process.seat.run(slice, &mut exchange);
        }
        let end = (self.clocks.monotonic)().max(now);
        let starved = || Outcome::Exited(ExitReason::Limit(Resource::Memory));
        match (left, &*outcome) {
            // Its receive was taken before it could use memory that is the kernel's own.
            (Left::Suspended, Outcome::Waiting) | (Left::Finished, Outcome::Exited(_)) => {}
            (Left::Finished, _) => *outcome = Outcome::Exited(ExitReason::Normal),
            (Left::Starved, _) => *outcome = starved(),
            (Left::Suspended | Left::Preempted, _) => {
                if process.memory.is_short() {
                    *outcome = starved();
                }
            }
        }
        process.waits = matches!(outcome, Outcome::Call(_) | Outcome::Waiting);
        if !core::mem::replace(&mut process.ran, true) {
            self.ran.push(slot);
        }
        self.runs = self.runs.wrapping_add(1);
        let looks = left == Left::Preempted || self.runs.is_multiple_of(RUNS_PER_LOOK);
        if looks && !platform::has_spare() {
            self.give_back_some();
        }
        end
    }

    /// A copy of a message for a process that is to be resumed with it.
    #[inline]
    pub fn copy_of(&mut self, message: &[u8]) -> Payload {
        self.envelopes.copy(message)
    }

    /// Drops a process, wherever it is, also if another engine gave it and nobody took it. Unknown
    /// slots are ignored: a start may have failed.
    pub fn reclaim(&mut self, slot: Slot) {
        let process = self.remove(slot).or_else(|| self.programs.transit().take(slot));
        let Some(Process { mut seat, program, .. }) = process else { return };
        self.forget_unloaded();
        let wanted = program.begins_anew
            && !program.is_unloaded()
            && seat.stack_bytes_max() == STACK_BYTES
            && platform::has_spare();
        if let Some(instance) = seat.at_rest().filter(|_| wanted)
            && instance.wipe()
        {
            let bytes = instance.memory().mapped();
            self.warm.keep(Warm { seat, program, bytes });
        }
    }

    /// Drops every process: the node starts a new life.
    pub fn reclaim_all(&mut self) {
        self.processes = BySlot::default();
        self.lodgers = BTreeMap::new();
        self.programs.transit().drop_given(self.shard);
        self.give_back();
    }

    /// To be called now and then: if nothing has been started since the last time, what is kept is
    /// given back from now on, so that a node at rest holds memory for nobody.
    pub fn age(&mut self) {
        self.ages = !core::mem::take(&mut self.started);
    }

    /// To be called at each turn of the CPU, when others have had theirs: gives back a part of what
    /// nobody needs any more. True if there is more of it.
    pub fn tidy(&mut self) -> bool {
        self.ages = self.ages && self.give_back_some();
        memory::give_back_some() || self.ages
    }

    /// Gives back the instances, stacks and memories that are kept for the next processes, and all
    /// that is on its way to be given back.
    pub fn give_back(&mut self) {
        while self.give_back_some() {}
        while memory::give_back_some() {}
    }

    /// Gives back some of what is kept for the next processes. False if nothing was.
    pub fn give_back_some(&mut self) -> bool {
        if give_back_some(&mut self.warm) {
            return true;
        }
        let (processes, lodgers) = (&self.processes, &self.lodgers);
        let is_here = |slot: Slot| processes.get(slot).is_some() || lodgers.contains_key(&slot);
        self.ran.retain(|slot| is_here(*slot));
        self.ran.shrink_to_fit();
        self.envelopes.give_back();
        self.processes.give_back();
        false
    }

    /// The processes that ran since this was asked last: only their memory can have changed.
    pub fn take_ran(&mut self) -> Vec<Slot> {
        let mut slots = core::mem::take(&mut self.ran);
        slots.retain(|slot| {
            let process = match self.processes.get_mut(*slot) {
                Some(process) => Some(process),
                None => self.lodgers.get_mut(slot),
            };
            process.is_some_and(|process| core::mem::take(&mut process.ran))
        });
        slots
    }

    /// Bytes that a process takes: what is mapped of its memory and its stack. Zero if there is
    /// none.
    pub fn memory_bytes(&self, slot: Slot) -> u64 {
        let bytes = |process: &Process| process.memory.mapped() + process.seat.stack_bytes();
        self.get(slot).map_or(0, |process| bytes(process) as u64)
    }
}

/// Gives back an instance, and a stack and a memory that are kept for the next processes. False if
/// there was none of them.
fn give_back_some(warm: &mut Kept) -> bool {
    let one = warm.give_back_one();
    platform::give_back_some() || one
}

/// How a process ended of which no instance could be made.
fn unborn(error: ErrorCode) -> ExitReason {
    match error {
        ErrorCode::LimitMemory => ExitReason::Limit(Resource::Memory),
        other => ExitReason::Trap(TrapKind::Other, other.to_string()),
    }
}

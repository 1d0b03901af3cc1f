//! `selftest=engine` on the command line: the engine's tests, on the machine that it is for.
//!
//! Owns [`run`], and [`Bench`], which stands in for the shard: it starts processes of the test
//! guest (`kernel/engine/guests/selftest.wat`, a signed bundle given to the kernel as its module)
//! and answers what they ask. One line is printed for each test, as for the machine's own.

mod calls;
mod ends;
mod kills;
mod measure;
mod messages;
mod moves;
mod preemption;
mod remains;
mod soak;
mod sockets;
mod wasi;

use crate::command_line;
use alloc::format;
use alloc::string::String;
use craton_abi::{
    Duration, ErrorCode, ExitReason, Incarnation, Instant, NodeId, Payload, Pid, ProcessLimits,
    ProgramId, ShardId, Slot,
};
use craton_bundle::{CompilerKey, program_id};
use craton_engine::{Clocks, Engine, Programs};
use craton_hal::power::{self, ExitCode};
use craton_hal::{boot, clock, memory, serial};
use craton_shard::port::{HostCall, Outcome, Resume, Start};

/// What a test says when it fails.
type Outcomes = Result<(), String>;
type Test = (&'static str, fn(&mut Bench) -> Outcomes);

const TESTS: &[Test] = &[
    ("engine_refuses_bad_bundles", ends::bad_bundles_are_refused),
    ("engine_ends_normally", ends::normal_ends),
    ("engine_traps", ends::every_trap_ends_its_process_alone),
    ("engine_stacks", ends::stacks),
    ("engine_memory_limits", ends::memory_limits),
    ("engine_slots_are_clean", ends::slots_are_clean),
    ("engine_bad_pointers", ends::bad_pointers),
    ("engine_start_errors", ends::start_errors),
    ("engine_own_calls", calls::own_calls),
    ("engine_log_yield_exit", calls::log_yield_exit),
    ("engine_spawn", calls::spawn),
    ("engine_send_and_receive", calls::send_and_receive),
    ("engine_receives_several", messages::several),
    ("engine_requests_and_timers", calls::requests_and_timers),
    ("engine_names", calls::names),
    ("engine_watch_and_nodes", calls::watch_and_nodes),
    ("engine_sockets", sockets::streams),
    ("engine_datagrams_and_names", sockets::datagrams_and_names),
    ("engine_wasi_own", wasi::own),
    ("engine_wasi_streams", wasi::streams),
    ("engine_wasi_ends", wasi::ends),
    ("engine_wasi_sleeps", wasi::sleeps),
    ("engine_preempts_endless_loops", preemption::endless_loops),
    ("engine_preemption_changes_no_result", preemption::results_are_equal),
    ("engine_goes_from_cpu_to_cpu", moves::results_are_equal),
    ("engine_leaves_nothing_on_another_cpu", moves::slots_are_clean),
    ("engine_unload_under_a_process", preemption::unload_under_a_process),
    ("engine_gives_large_memories_back", remains::a_large_memory_goes_in_steps),
    ("engine_gives_scattered_memories_back", remains::a_scattered_memory_goes_too),
    ("engine_has_what_it_gives_back", remains::what_goes_can_be_had),
    ("engine_kills", kills::ten_thousand_kills),
    ("engine_soak", soak::soak),
    ("engine_measures", measure::measure),
];

/// Where time comes from on this machine.
const CLOCKS: Clocks =
    Clocks { monotonic: clock::now, wall_nanos: || clock::wall().map_or(0, Duration::as_nanos) };

/// The slice that tests give unless they say otherwise.
const SLICE: Duration = Duration::from_millis(1);
/// The node's two numbers in every pid of the bench; the guest knows them.
const NODE: NodeId = NodeId::new(0x1111);
const INCARNATION: Incarnation = Incarnation::new(0x2222);

/// Runs every test and ends the machine. The guest's bundle is the kernel's module, its compiler's
/// key the command line's `compiler-keys`.
pub(crate) fn run() -> ! {
    let failed = match module().and_then(|(bundle, key)| Bench::new(bundle, key)) {
        Ok(mut bench) => TESTS.iter().filter(|test| !passes(&mut bench, test)).count(),
        Err(why) => {
            serial::write(format_args!("FAILED engine_loads: {why}\n"));
            TESTS.len()
        }
    };
    serial::write(format_args!("selftest: {} passed, {failed} failed\n", TESTS.len() - failed));
    power::end(if failed == 0 { ExitCode::Success } else { ExitCode::Failure })
}

/// The bundle and the key that the machine was started with.
fn module() -> Result<(&'static [u8], CompilerKey), String> {
    let word = command_line::words().into_iter().find(|word| word.key == "compiler-keys");
    let key =
        word.and_then(|word| word.value).ok_or("the command line has no compiler-keys=")?.parse();
    let range = boot::module().ok_or("no module: start with -initrd and a bundle")?;
    let bundle = memory::physical_bytes(range.start, (range.end - range.start) as usize);
    Ok((
        bundle.ok_or("the module is not in memory")?,
        key.map_err(|error| format!("compiler-keys: {error}"))?,
    ))
}

fn passes(bench: &mut Bench, (name, test): &Test) -> bool {
    let start = clock::now();
    let outcome = test(bench);
    match &outcome {
        Ok(()) => serial::write(format_args!("ok {name} ({})\n", clock::now() - start)),
        Err(why) => serial::write(format_args!("FAILED {name}: {why}\n")),
    }
    outcome.is_ok()
}

/// A shard's place, taken by tests.
struct Bench {
    engine: Engine,
    bundle: &'static [u8],
    key: CompilerKey,
    program: ProgramId,
    processes: u32,
}

impl Bench {
    fn new(bundle: &'static [u8], key: CompilerKey) -> Result<Bench, String> {
        let programs = Programs::new().map_err(|error| format!("{error:#}"))?;
        let engine = Engine::new(programs, ShardId::new(0), [9; 32], CLOCKS);
        let mut bench = Bench { engine, bundle, key, program: program_id(bundle), processes: 0 };
        bench.load()?;
        Ok(bench)
    }

    /// Another bench over the same programs, for a CPU of its own.
    fn sibling(&self) -> Bench {
        let programs = self.engine.programs().clone();
        let engine = Engine::new(programs, ShardId::new(1), [8; 32], CLOCKS);
        let Bench { bundle, key, program, .. } = *self;
        Bench { engine, bundle, key, program, processes: 0 }
    }

    fn load(&mut self) -> Outcomes {
        let loaded = self.engine.programs().load(self.program, self.bundle, &[self.key]);
        loaded.map_err(|error| format!("{error}"))
    }

    /// A process that is about to call `entry`.
    fn start(&mut self, entry: &str, argument: &[u8]) -> Result<Slot, String> {
        let started = self.start_limited(entry, argument, ProcessLimits::default());
        started.map_err(|error| format!("{entry} cannot start: {error}"))
    }

    fn start_limited(
        &mut self,
        entry: &str,
        argument: &[u8],
        limits: ProcessLimits,
    ) -> Result<Slot, ErrorCode> {
        let index = self.processes & Slot::INDEX_MAX;
        let slot = Slot::new(ShardId::new(0), index, self.processes).ok_or(ErrorCode::Invalid)?;
        self.processes += 1;
        let pid = Pid { node: NODE, incarnation: INCARNATION, slot };
        let argument = Payload(argument.to_vec());
        let (program, entry) = (self.program, entry.into());
        self.engine.start(Start { pid, program, entry, argument, limits })?;
        Ok(slot)
    }

    fn resume(&mut self, slot: Slot, resume: Resume) -> Outcome {
        self.engine.run(slot, resume, SLICE).0
    }

    /// Runs on until the process asks for something or ends.
    fn advance(&mut self, slot: Slot, resume: Resume) -> Outcome {
        let mut outcome = self.resume(slot, resume);
        while outcome == Outcome::Preempted {
            outcome = self.resume(slot, Resume::Continue);
        }
        outcome
    }

    /// Runs `entry` to its end, which must come without a request other than `exit`.
    fn run(&mut self, entry: &str, argument: &[u8]) -> Result<ExitReason, String> {
        let slot = self.start(entry, argument)?;
        let end = self.finish(slot, Resume::Start);
        end.map_err(|why| format!("{entry}: {why}"))
    }

    fn finish(&mut self, slot: Slot, resume: Resume) -> Result<ExitReason, String> {
        let outcome = self.advance(slot, resume);
        self.engine.reclaim(slot);
        match outcome {
            Outcome::Exited(reason) | Outcome::Call(HostCall::Exit { reason }) => Ok(reason),
            other => Err(format!("{other:?} where an end was due")),
        }
    }
}

/// Fails with `what` unless `condition` holds.
fn check(condition: bool, what: impl FnOnce() -> String) -> Outcomes {
    if condition { Ok(()) } else { Err(what()) }
}

/// A small generator (SplitMix64, Steele and others 2014), so that a failure can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// How long `work` takes.
fn timed(work: impl FnOnce() -> Outcomes) -> Result<Duration, String> {
    let start: Instant = clock::now();
    work()?;
    Ok(clock::now() - start)
}

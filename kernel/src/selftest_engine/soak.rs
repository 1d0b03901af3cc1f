//! Every CPU at once does all that an engine does, over the one wasmtime engine below them.
//!
//! Owns the soak: each CPU has an engine of its own and loads, starts, preempts, traps, kills and
//! unloads at random, while the others do the same. It ends when each has said that it is through;
//! memory must be where it was. `soak=60` on the command line makes it last a minute.

use super::kills::{ENTRIES, Victim, step};
use super::{Bench, Outcomes, Random, check};
use crate::command_line;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use craton_abi::{Duration, Instant, ProgramId};
use craton_bundle::program_id;
use craton_hal::{clock, cpu, interrupt, memory, serial, smp};
use craton_shard::port::{Outcome, Resume};

/// How long it lasts unless the command line says otherwise.
const USUAL: Duration = Duration::from_millis(1500);
/// How long the first round lasts, which warms what is kept for ever.
const WARM_UP: Duration = Duration::from_millis(500);
/// A CPU that is not through this long after the end has locked up.
const GRACE: Duration = Duration::from_secs(60);
/// Processes alive on a CPU.
const LIVE: usize = 12;
/// One round in this many loads the program under a new id.
const LOADS_EVERY: usize = 48;
/// A fixed part of memory may stay with the heap, which takes it in pieces of this.
const SLACK_BYTES: u64 = 64 << 10;
/// And this part of memory with the page tables: code that comes to lie in 2 MiB of memory for the
/// first time splits the page by which the physical map shows them, which takes a table of 4 KiB.
const TABLES_PART: u64 = 512;

/// What happened, on all CPUs together.
#[derive(Default)]
struct Counts {
    loads: AtomicU64,
    starts: AtomicU64,
    preemptions: AtomicU64,
    calls: AtomicU64,
    ends: AtomicU64,
    kills: AtomicU64,
    /// CPUs that are through.
    through: AtomicU64,
    /// CPUs that found something wrong.
    failed: AtomicU64,
}

impl Counts {
    fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) fn soak(bench: &mut Bench) -> Outcomes {
    let lasts = wanted()?;
    round(bench, WARM_UP)?;
    let before = in_use(bench);
    let happened = round(bench, lasts)?;
    let after = in_use(bench);
    let [loads, starts, preemptions, calls, ends, kills] = happened;
    serial::write(format_args!(
        "soaked {} CPUs for {lasts}: {loads} loads, {starts} starts, {preemptions} preemptions, \
         {calls} calls, {ends} ends, {kills} kills\n",
        cpu::count(),
    ));
    check(happened.iter().all(|count| *count > 0), || String::from("not all of it happened"))?;
    let slack = SLACK_BYTES + before.1 / TABLES_PART;
    let same = after.0 == before.0 && after.1.abs_diff(before.1) <= slack;
    check(same, || format!("(heap in use, memory free) went from {before:?} to {after:?}"))
}

fn wanted() -> Result<Duration, String> {
    let words = command_line::words();
    let Some(word) = words.into_iter().find(|word| word.key == "soak") else { return Ok(USUAL) };
    let secs = word.value.and_then(|value| value.parse::<u32>().ok());
    let secs = secs.ok_or("soak= wants seconds")?;
    Ok(Duration::from_secs(u64::from(secs)))
}

/// Bytes of the heap in use and of memory free when nothing is kept for a next process.
fn in_use(bench: &mut Bench) -> (usize, u64) {
    bench.engine.give_back();
    (memory::heap::live_bytes(), memory::free_bytes())
}

/// Lets every CPU soak until the same time. Answers with what happened, in the order of [`Counts`].
fn round(bench: &mut Bench, lasts: Duration) -> Result<[u64; 6], String> {
    let counts = Arc::new(Counts::default());
    let end = clock::now() + lasts;
    for cpu in 1..cpu::count() {
        let (mut other, counts) = (bench.sibling(), counts.clone());
        smp::run_on(cpu, Box::new(move || on_this_cpu(&mut other, end, &counts)));
    }
    let mut own = bench.sibling();
    on_this_cpu(&mut own, end, &counts);
    drop(own);
    let through = || (1..cpu::count()).all(smp::is_idle);
    while !through() && clock::now() < end + GRACE {
        smp::quiescent();
    }
    let number = |count: &AtomicU64| count.load(Ordering::Relaxed);
    check(through(), || {
        format!("only {} of {} CPUs came through", number(&counts.through), cpu::count())
    })?;
    check(number(&counts.failed) == 0, || String::from("see above"))?;
    let Counts { loads, starts, preemptions, calls, ends, kills, .. } = &*counts;
    Ok([loads, starts, preemptions, calls, ends, kills].map(number))
}

fn on_this_cpu(bench: &mut Bench, end: Instant, counts: &Counts) {
    let before = interrupt::counters().preemptions;
    if let Err(why) = until(bench, end, counts) {
        serial::write(format_args!("CPU {}: {why}\n", cpu::index()));
        Counts::add(&counts.failed);
    }
    bench.engine.reclaim_all();
    let preemptions = interrupt::counters().preemptions - before;
    counts.preemptions.fetch_add(preemptions, Ordering::Relaxed);
    Counts::add(&counts.through);
}

fn until(bench: &mut Bench, end: Instant, counts: &Counts) -> Outcomes {
    let mut random = Random(cpu::index() as u64);
    let mut live: Vec<Victim> = Vec::with_capacity(LIVE);
    let mut own: Option<ProgramId> = None;
    for number in 0_u64.. {
        smp::quiescent();
        if clock::now() >= end {
            break;
        }
        if random.below(LOADS_EVERY) == 0 {
            load_anew(bench, &mut own, number)?;
            Counts::add(&counts.loads);
        }
        while live.len() < LIVE {
            let entry = ENTRIES[random.below(ENTRIES.len())];
            live.push(Victim(bench.start(entry, b"")?, Some(Resume::Start)));
            Counts::add(&counts.starts);
        }
        for _ in 0..random.below(6) {
            match step(bench, &mut live[random.below(LIVE)], &mut random) {
                Some(Outcome::Call(_)) => Counts::add(&counts.calls),
                Some(Outcome::Exited(_)) => Counts::add(&counts.ends),
                _ => {}
            }
        }
        let Victim(slot, _) = live.swap_remove(random.below(LIVE));
        bench.engine.reclaim(slot);
        Counts::add(&counts.kills);
    }
    own.into_iter().for_each(|program| bench.engine.programs().unload(program));
    Ok(())
}

/// Loads the program under an id that no other CPU has, and unloads the last such. Processes of
/// both live on.
fn load_anew(bench: &mut Bench, own: &mut Option<ProgramId>, number: u64) -> Outcomes {
    let fresh = program_id(format!("CPU {} load {number}", cpu::index()).as_bytes());
    bench.program = fresh;
    bench.load()?;
    if let Some(last) = own.replace(fresh) {
        bench.engine.programs().unload(last);
    }
    Ok(())
}

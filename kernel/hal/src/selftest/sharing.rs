//! Tests of memory that several CPUs share: what one unmaps, the others must forget.

use super::cpus::{on_all, wait_until};
use super::traps::caught;
use super::{Dice, Outcome, check};
use crate::memory::layout::{PAGE_BYTES, PHYSICAL_MAP_BASE};
use crate::memory::{Protection, Reservation};
use crate::memory::{physical, vm};
use crate::probe::{Caught, Probe, probe, read_byte};
use crate::{cpu, smp, timer};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use spin::Mutex;

const PAGE: usize = PAGE_BYTES as usize;
/// The instruction `ret`.
const RET: u8 = 0xc3;
const MINE: u8 = 0x11;
const STRANGERS: u8 = 0x99;
/// Pages of each reservation of the tests.
const PAGES: usize = 4;
/// Reservations that a stranger makes, so that what was given back would be among them.
const STRANGERS_MADE: usize = 8;
/// Memory that is filled again and again in reasonable time: 512 MiB.
const FILLED_FRAMES_MAX: usize = 128 << 10;
const ROUNDS: u32 = 100;
const STORM_ROUNDS: usize = 100;

fn filled(byte: u8) -> Result<Reservation, String> {
    let mut reservation = Reservation::new(PAGES * PAGE).map_err(|e| format!("{e:?}"))?;
    reservation.commit(PAGES * PAGE).map_err(|e| format!("{e:?}"))?;
    // SAFETY: As many bytes are committed, and nobody else refers to them.
    unsafe { reservation.as_ptr().write_bytes(byte, PAGES * PAGE) };
    Ok(reservation)
}

/// What the reading CPU is told and tells.
#[derive(Default)]
struct Reader {
    address: AtomicU64,
    /// The round whose address is told, and the one that the reader has seen.
    told: AtomicU32,
    seen: AtomicU32,
    /// The round whose memory is given back and taken by strangers.
    replaced: AtomicU32,
    /// Where the strangers' memory is, which must be read as theirs.
    strangers: [AtomicU64; STRANGERS_MADE],
    failures: AtomicU32,
}

impl Reader {
    /// Reads every page of a range; false where somebody else's byte was read.
    fn reads_its_own(&self) -> bool {
        let start = self.address.load(Ordering::Acquire);
        let mut pages = (start..start + (PAGES * PAGE) as u64).step_by(PAGE);
        // SAFETY: Memory of the test, or nothing's.
        pages.all(|page| unsafe { read_byte(page) } != Ok(STRANGERS))
    }

    /// Whether what strangers wrote is seen in their memory, wherever it is.
    fn reads_strangers(&self) -> bool {
        self.strangers.iter().all(|start| {
            let start = start.load(Ordering::Relaxed);
            let mut pages = (start..start + (PAGES * PAGE) as u64).step_by(PAGE);
            // SAFETY: Memory of the test.
            pages.all(|page| unsafe { read_byte(page) } == Ok(STRANGERS))
        })
    }

    /// The reading CPU's part: never at rest once it has begun a round.
    fn read(&self) {
        for round in 1..=ROUNDS {
            while self.told.load(Ordering::Acquire) < round {
                timer::halt_unless(|| self.told.load(Ordering::Acquire) >= round);
            }
            let mut good = self.reads_its_own();
            self.seen.store(round, Ordering::Release);
            smp::wake(0);
            while self.replaced.load(Ordering::Acquire) < round {
                good &= self.reads_its_own();
            }
            good &= self.reads_its_own() && self.reads_strangers();
            self.failures.fetch_add(u32::from(!good), Ordering::Relaxed);
            self.seen.store(round + ROUNDS, Ordering::Release);
            smp::wake(0);
        }
    }
}

pub(super) fn strangers() -> Outcome {
    if cpu::count() == 1 {
        log::info!("left out, with one CPU: what another CPU remembers");
        return Ok(());
    }
    let reader = Arc::new(Reader::default());
    let theirs = reader.clone();
    smp::run_on(1, Box::new(move || theirs.read()));
    for round in 1..=ROUNDS {
        let mine = filled(MINE)?;
        reader.address.store(mine.as_ptr() as u64, Ordering::Release);
        reader.told.store(round, Ordering::Release);
        smp::wake(1);
        wait_until("the reader", || reader.seen.load(Ordering::Acquire) == round)?;
        drop(mine);
        let strangers: Result<Vec<_>, _> = (0..STRANGERS_MADE).map(|_| filled(STRANGERS)).collect();
        let strangers = strangers?;
        for (told, stranger) in reader.strangers.iter().zip(&strangers) {
            told.store(stranger.as_ptr() as u64, Ordering::Relaxed);
        }
        reader.replaced.store(round, Ordering::Release);
        wait_until("the reader", || reader.seen.load(Ordering::Acquire) == round + ROUNDS)?;
        drop(strangers);
    }
    wait_until("an idle CPU", || smp::is_idle(1))?;
    let failures = reader.failures.load(Ordering::Relaxed);
    check!(failures == 0, "in {failures} of {ROUNDS} rounds");
    Ok(())
}

/// Probes that one CPU has another make, which does nothing between them that could make it flush.
#[derive(Default)]
struct Prober {
    asked: AtomicU32,
    answered: AtomicU32,
    over: AtomicBool,
    probe: Mutex<Option<(Probe, Result<(), Caught>)>>,
}

impl Prober {
    fn serve(&self) {
        while !self.over.load(Ordering::Acquire) {
            let asked = self.asked.load(Ordering::Acquire);
            if asked == self.answered.load(Ordering::Relaxed) {
                core::hint::spin_loop();
                continue;
            }
            if let Some((what, found)) = &mut *self.probe.lock() {
                // SAFETY: The asker's memory; nobody else uses it meanwhile.
                *found = unsafe { probe(*what) };
            }
            self.answered.store(asked, Ordering::Release);
            smp::wake(0);
        }
    }

    fn expect(&self, what: Probe, expected: Result<(), Caught>) -> Outcome {
        *self.probe.lock() = Some((what, Ok(())));
        let round = self.asked.load(Ordering::Relaxed) + 1;
        self.asked.store(round, Ordering::Release);
        wait_until("the probe", || self.answered.load(Ordering::Acquire) == round)?;
        let found = self.probe.lock().take().map(|(_, found)| found);
        check!(found == Some(expected), "{what:x?} gave {found:x?} where {expected:x?} was due");
        Ok(())
    }
}

fn protections_round(there: &Prober) -> Outcome {
    let mut program = filled(RET)?;
    let page = program.as_ptr() as u64;
    let physical = vm::physical_address(page).ok_or_else(|| String::from("unmapped"))?;
    let alias = PHYSICAL_MAP_BASE + physical;
    there.expect(Probe::Write(page), Ok(()))?;
    there.expect(Probe::Write(alias), Ok(()))?;
    there.expect(Probe::Execute(page), caught(14, 0x11))?;
    // SAFETY: Nobody refers to the page.
    unsafe { program.protect(0..PAGE, Protection::ReadExecute) }.map_err(|e| format!("{e:?}"))?;
    there.expect(Probe::Execute(page), Ok(()))?;
    there.expect(Probe::Write(page), caught(14, 3))?;
    there.expect(Probe::Write(alias), caught(14, 3))?;
    // SAFETY: Nobody executes the page any more.
    unsafe { program.protect(0..PAGE, Protection::ReadWrite) }.map_err(|e| format!("{e:?}"))?;
    there.expect(Probe::Execute(page), caught(14, 0x11))?;
    there.expect(Probe::Write(page), Ok(()))?;
    there.expect(Probe::Write(alias), Ok(()))
}

pub(super) fn protections() -> Outcome {
    if cpu::count() == 1 {
        log::info!("left out, with one CPU: what another CPU may do with a page");
        return Ok(());
    }
    let prober = Arc::new(Prober::default());
    let theirs = prober.clone();
    smp::run_on(1, Box::new(move || theirs.serve()));
    let outcome = (0..5).try_for_each(|_| protections_round(&prober));
    prober.over.store(true, Ordering::Release);
    wait_until("an idle CPU", || smp::is_idle(1))?;
    outcome
}

/// Frames short of the kernel's reserve at which taking by the batch may end, tables among them.
const LEFT_FRAMES_MAX: usize = 64;

/// Takes memory for a process until there is no more; how many frames are left then.
fn fill() -> Result<usize, String> {
    let all = physical::free_frames();
    let mut greedy = Reservation::new(all * PAGE).map_err(|e| format!("{e:?}"))?;
    while greedy.commit(greedy.committed_bytes() + 16 * PAGE).is_ok() {}
    Ok(physical::free_frames())
}

/// Fills memory alone: all of it must be had, but for the kernel's reserve.
fn fill_whole() -> Outcome {
    let left = fill()?;
    let most = physical::kernel_reserve_frames() + LEFT_FRAMES_MAX;
    check!(left <= most, "{left} frames were not to be had");
    Ok(())
}

fn is_small_enough_to_fill() -> bool {
    let small = physical::free_frames() <= FILLED_FRAMES_MAX;
    if !small {
        log::info!("left out, with so much memory: filling it several times");
    }
    small
}

/// Memory is what it was, but for a frame of list nodes that may be kept for ever.
fn came_back(before: usize) -> Outcome {
    let after = physical::free_frames();
    check!(after + 1 >= before, "{after} frames are free instead of {before}");
    Ok(())
}

pub(super) fn drains() -> Outcome {
    if !is_small_enough_to_fill() {
        return Ok(());
    }
    fill()?; // the tables of the physical map are split where they will be
    let before = physical::free_frames();
    (0..4).try_for_each(|_| fill_whole())?;
    came_back(before)
}

pub(super) fn drains_at_once() -> Outcome {
    if !is_small_enough_to_fill() {
        return Ok(());
    }
    let before = physical::free_frames();
    // Two are enough: more of them than the host has CPUs wait for one another for minutes.
    on_all(|index| (0..2).filter(|_| index < 2).try_for_each(|_| fill().map(drop)))?;
    fill_whole()?;
    came_back(before)
}

/// Calls a page that holds a `ret`, after another CPU may have had the same frame.
fn run_text(program: &mut Reservation) -> Outcome {
    // SAFETY: Committed and writable, and this CPU's alone.
    unsafe { program.as_ptr().write(RET) };
    // SAFETY: Nobody refers to the page.
    unsafe { program.protect(0..PAGE, Protection::ReadExecute) }.map_err(|e| format!("{e:?}"))?;
    // SAFETY: The page holds a function that does nothing.
    let function = unsafe { core::mem::transmute::<*mut u8, extern "C" fn()>(program.as_ptr()) };
    function();
    Ok(())
}

fn storm_on(index: usize) -> Outcome {
    let mut dice = Dice(index as u64 + 1);
    let mine = index as u8 + 1;
    let mut held: Vec<Reservation> = Vec::new();
    for round in 0..STORM_ROUNDS {
        if held.len() < 6 {
            let mut fresh = Reservation::new(PAGES * PAGE).map_err(|e| format!("{e:?}"))?;
            fresh.commit(PAGES * PAGE).map_err(|e| format!("{e:?}"))?;
            // SAFETY: As many bytes are committed, and nobody else refers to them.
            let bytes = unsafe { core::slice::from_raw_parts_mut(fresh.as_ptr(), PAGES * PAGE) };
            check!(bytes.iter().all(|&byte| byte == 0), "round {round}: fresh memory is not zero");
            bytes.fill(mine);
            held.push(fresh);
        } else {
            let mut old = held.swap_remove(dice.below(held.len()));
            // SAFETY: As above.
            let bytes = unsafe { core::slice::from_raw_parts(old.as_ptr(), PAGES * PAGE) };
            check!(bytes.iter().all(|&byte| byte == mine), "round {round}: somebody wrote to it");
            if dice.below(4) == 0 {
                run_text(&mut old)?;
            }
        }
        smp::quiescent();
    }
    Ok(())
}

pub(super) fn storm() -> Outcome {
    on_all(storm_on)?; // the physical map is split where it will be
    let before = physical::free_frames();
    on_all(storm_on)?;
    let after = physical::free_frames();
    // Other frames may have been executable this time: a table for each large page they are in.
    check!(after + 16 >= before, "{after} frames are free instead of {before}");
    Ok(())
}

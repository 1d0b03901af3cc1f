//! Where the time of booting goes: stages, each with the moment of its end.
//!
//! Owns the few marks that the kernel's start sets, always, since a mark costs a reading of the
//! time-stamp counter, and [`print`], for who puts `boottrace` on the command line. Marks before
//! the clock runs count too: ticks become microseconds only when they are printed.

use crate::{boot, clock, cpu, serial};
use spin::Mutex;

/// Marks that are kept; more are not, which the last line tells.
const MARKS_MAX: usize = 24;

#[derive(Clone, Copy)]
struct Marks {
    marks: [(&'static str, u64); MARKS_MAX],
    count: usize,
}

static MARKS: Mutex<Marks> = Mutex::new(Marks { marks: [("", 0); MARKS_MAX], count: 0 });

/// Says that a stage of booting has ended here.
pub fn mark(stage: &'static str) {
    let now = cpu::time_stamp();
    let mut marks = MARKS.lock();
    let count = marks.count;
    if let Some(place) = marks.marks.get_mut(count) {
        *place = (stage, now);
    }
    marks.count = count + 1;
}

/// Prints the stages with the microseconds at their end, counted from the kernel's entry, and those
/// that each took. What the counter read at the entry is the firmware's time where the counter
/// starts with the machine, as under emulation.
pub fn print() {
    let Marks { marks, count } = *MARKS.lock();
    let kept = marks.get(..count).unwrap_or(&marks);
    let first = kept.first().map_or(0, |(_, at)| *at);
    let entry = boot::entry_time_stamp().unwrap_or(first);
    let micros = |ticks| clock::duration(ticks).as_nanos() / 1000;
    serial::write(format_args!("boottrace: {:>8} us before the kernel's entry\n", micros(entry)));
    let mut before = entry;
    for (stage, at) in kept {
        let (since, took) = (at.saturating_sub(entry), at.saturating_sub(before));
        let (since, took) = (micros(since), micros(took));
        serial::write(format_args!("boottrace: {since:>8} us +{took:>7} us {stage}\n"));
        before = *at;
    }
    if count > MARKS_MAX {
        serial::write(format_args!("boottrace: {} stages more\n", count - MARKS_MAX));
    }
}

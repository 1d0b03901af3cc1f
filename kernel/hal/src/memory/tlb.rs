//! What CPUs remember of the page tables, and when all of them have forgotten it.
//!
//! Owns the epoch: a number that rises when something must be forgotten, and for each CPU the epoch
//! of its last flush ([`crate::cpu::PerCpu`]). Whoever unmaps changes the tables first, then raises
//! the epoch to `e`; a CPU reads the epoch, flushes, and only then writes down what it had read. So
//! when every CPU has written `e` or more, none remembers what was unmapped before `e`. A change
//! that takes rights away and cannot wait is a [`shoot_down`]; frames and addresses wait in
//! quarantine ([`super::quarantine`], [`super::addresses`]) until the CPUs flush at their own time,
//! or are urged to ([`urge`]).
//!
//! With one CPU nothing waits: it flushes at once, and the epoch never rises.
//!
//! **Locks.** Frames can be so short that somebody waits for flushes while it holds the locks of
//! the heap and of memory. So who waits for one of those ([`Lock`]) flushes when it is asked to, as
//! it may have interrupts off; and nothing else that a CPU holds while it waits for flushes is ever
//! waited for with interrupts off.

use crate::apic::{self, Command};
use crate::cpu::{self, PerCpu};
use crate::interrupt::FLUSH_VECTOR;
use crate::smp;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::RelaxStrategy;
use x86_64::instructions::tlb;

/// Rises with everything that CPUs must forget.
static EPOCH: AtomicU64 = AtomicU64::new(1);

/// A lock that may be held while its holder waits for all CPUs to flush.
pub(crate) type Lock<T> = spin::mutex::Mutex<T, Patient>;

/// Waits and flushes meanwhile if somebody asks for it.
#[derive(Debug)]
pub(crate) struct Patient;

impl RelaxStrategy for Patient {
    fn relax() {
        serve();
        core::hint::spin_loop();
    }
}

/// Whether there are CPUs that remember what this one unmaps.
pub(crate) fn is_shared() -> bool {
    cpu::count() > 1
}

/// Raises the epoch: what was unmapped before is forgotten by all CPUs once [`flushed`] is as high
/// as the number returned.
pub(crate) fn raise() -> u64 {
    EPOCH.fetch_add(1, Ordering::SeqCst) + 1
}

/// The epoch up to which every CPU has flushed.
pub(crate) fn flushed() -> u64 {
    cpu::all().map(PerCpu::flushed).min().unwrap_or(0)
}

/// Flushes this CPU, if there is something to forget. From any context.
pub(crate) fn serve() {
    if is_shared() && cpu::current().flushed() < EPOCH.load(Ordering::SeqCst) {
        flush();
    }
}

fn flush() {
    let epoch = EPOCH.load(Ordering::SeqCst);
    tlb::flush_all();
    cpu::current().set_flushed(epoch);
}

/// Asks the CPUs that have not flushed up to now to do it, and does not wait. A CPU that sleeps
/// would not otherwise.
pub(crate) fn urge() {
    let epoch = EPOCH.load(Ordering::SeqCst);
    let this = cpu::index();
    for (index, other) in cpu::all().enumerate() {
        if index != this && other.flushed() < epoch {
            apic::send(other.apic_id(), Command::Interrupt(FLUSH_VECTOR));
        }
    }
}

/// Makes all CPUs forget what was changed before, and waits until they have.
pub(crate) fn shoot_down() {
    let epoch = raise();
    flush();
    urge();
    // Two CPUs may do this at once, with interrupts off even: each serves the other.
    while flushed() < epoch && !smp::is_stopping() {
        Patient::relax();
    }
}

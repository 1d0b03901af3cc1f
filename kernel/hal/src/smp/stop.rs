//! Stopping every other CPU, for whoever ends the machine.
//!
//! Owns [`stop_others`] and what the CPUs that are stopped do. It takes no lock and waits only so
//! long, since it runs in a panic.

use crate::apic::{self, Command};
use crate::cpu;
use core::sync::atomic::{AtomicUsize, Ordering};
use x86_64::instructions::{hlt, interrupts};

/// Turns of waiting for the others: some tens of milliseconds. The clock may not run yet.
const WAIT_TURNS_MAX: u32 = 1 << 22;
/// Nobody stops the machine.
const NOBODY: usize = usize::MAX;

/// The CPU that stopped the others.
static STOPPER: AtomicUsize = AtomicUsize::new(NOBODY);
/// How many have stopped.
static STOPPED: AtomicUsize = AtomicUsize::new(0);

/// Halts all other CPUs for good and waits, a bounded time, until they have. From any context: the
/// interrupt that does it cannot be masked. To be called first thing in a panic or a fatal
/// exception: of several CPUs that do so at once it returns on one, and halts the others. On the
/// same CPU it may be called again and does nothing then.
pub fn stop_others() {
    let (this, count) = (cpu::index(), cpu::count());
    if count == 1 {
        return;
    }
    match STOPPER.compare_exchange(NOBODY, this, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {}
        Err(stopper) if stopper == this => return,
        Err(_) => halt_for_good(),
    }
    apic::send_to_others(Command::NonMaskable);
    for _ in 0..WAIT_TURNS_MAX {
        if STOPPED.load(Ordering::Acquire) + 1 >= count {
            return;
        }
        core::hint::spin_loop();
    }
}

/// Whether the machine is being stopped: CPUs do not answer any more.
pub(crate) fn is_stopping() -> bool {
    STOPPER.load(Ordering::Acquire) != NOBODY
}

/// Stops here for good if another CPU has asked for it; to be called for an NMI.
pub(crate) fn stop_if_asked() {
    let stopper = STOPPER.load(Ordering::Acquire);
    if stopper != NOBODY && stopper != cpu::index() {
        halt_for_good();
    }
}

/// With interrupts off only an NMI ends a halt, and there is nothing more to do then.
fn halt_for_good() -> ! {
    interrupts::disable();
    STOPPED.fetch_add(1, Ordering::AcqRel);
    loop {
        hlt();
    }
}

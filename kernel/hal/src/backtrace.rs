//! A backtrace by frame pointers, for a machine that can trust nothing any more.
//!
//! Owns the walk: bounded, and every word is looked up in the page tables before it is read. The
//! addresses are the kernel's as linked, so `addr2line -e kernel.elf` names them.

use crate::{memory, serial};
use core::ptr;

/// Frames that are printed.
const FRAMES_MAX: usize = 32;

/// Prints `rip` and the return addresses above the frame at `rbp`.
pub fn print(rip: u64, rbp: u64) {
    serial::write(format_args!("backtrace:\n  {rip:#018x}\n"));
    walk(rbp, |address| serial::write(format_args!("  {address:#018x}\n")));
}

/// Prints the return addresses of the function that called this one and of its callers.
#[inline(never)]
pub fn print_here() {
    let rbp: u64;
    // SAFETY: Copies a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack)) };
    serial::write(format_args!("backtrace:\n"));
    walk(rbp, |address| serial::write(format_args!("  {address:#018x}\n")));
}

fn read(address: u64) -> Option<u64> {
    let place = ptr::with_exposed_provenance::<u64>(address as usize);
    if !place.is_aligned() || !memory::is_mapped(address) {
        return None;
    }
    // SAFETY: Aligned, hence within one page, which is mapped memory: the kernel maps devices apart
    // and no frame pointer of its own points there.
    Some(unsafe { place.read() })
}

fn walk(mut rbp: u64, mut each: impl FnMut(u64)) {
    for _ in 0..FRAMES_MAX {
        let (Some(above), Some(return_address)) = (read(rbp), read(rbp.wrapping_add(8))) else {
            return;
        };
        if return_address == 0 {
            return;
        }
        each(return_address);
        // Callers lie above; anything else is not a chain of frames.
        if above <= rbp {
            return;
        }
        rbp = above;
    }
}

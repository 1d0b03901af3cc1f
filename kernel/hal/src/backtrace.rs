//! A backtrace by frame pointers, for a machine that can trust nothing any more.
//!
//! Owns the walk: bounded, and every word is looked up in the page tables before it is read. Where
//! the kernel carries its table of names (`make kernel` gives it one) each address is followed by
//! its function and the distance from that one's start; `addr2line -e build/kernel.debug` knows the
//! line.

use crate::{boot, memory, serial};
use core::ptr;
use craton_symbols::Table;

/// Frames that are printed.
const FRAMES_MAX: usize = 32;

/// Prints `rip` and the return addresses above the frame at `rbp`. `rsp` is given where the CPU was
/// led astray by a call: nothing but the top of the stack knows then who called.
pub fn print(rip: u64, rbp: u64, rsp: Option<u64>) {
    serial::write(format_args!("backtrace:\n"));
    print_address(rip, rip);
    if let Some(return_address) = rsp.and_then(read) {
        print_return(return_address);
    }
    walk(rbp, print_return);
}

/// Prints the return addresses of the function that called this one and of its callers.
#[inline(never)]
pub fn print_here() {
    let rbp: u64;
    // SAFETY: Copies a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack)) };
    serial::write(format_args!("backtrace:\n"));
    walk(rbp, print_return);
}

/// A call that does not return can be the last instruction of its function: the byte before is the
/// caller's for certain.
fn print_return(address: u64) {
    print_address(address, address.wrapping_sub(1));
}

fn print_address(address: u64, within: u64) {
    match Table::parse(boot::symbols()).and_then(|table| table.find(within)) {
        Some((name, offset)) => {
            let offset = offset + (address - within);
            serial::write(format_args!("  {address:#018x} {}+{offset:#x}\n", name.as_str()));
        }
        None => serial::write(format_args!("  {address:#018x}\n")),
    }
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

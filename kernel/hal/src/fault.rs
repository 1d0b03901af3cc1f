//! Faults on purpose, so that a test can read the report and the exit code.
//!
//! Owns [`provoke`]: what the kernel does for `fault=NAME` on its command line. None of it returns
//! if the protections hold.

use crate::interrupt::{self, TIMER_VECTOR};
use crate::memory::layout::PHYSICAL_MAP_BASE;
use crate::{cpu, idt, smp, timer};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::arch::asm;
use core::hint::black_box;
use craton_abi::Duration;

/// The faults that can be asked for.
pub const NAMES: [&str; 10] = [
    "null-read",
    "write-text",
    "exec-data",
    "stack-overflow",
    "divide",
    "invalid-opcode",
    "double-fault",
    "out-of-memory",
    "panic-in-interrupt",
    "panic-on-second-cpu",
];

static DATA: [u8; 16] = [0xc3; 16];
/// Bytes of each object that is allocated to have no memory left.
const EXHAUST_BYTES: usize = 64 << 10;
/// What another CPU does has happened by then.
const LONG: Duration = Duration::from_secs(60);
/// An address that no CPU accepts.
const NON_CANONICAL: u64 = 0x8000_0000_0000_0000 ^ PHYSICAL_MAP_BASE;
const GENERAL_PROTECTION: u8 = 13;

/// Provokes a fault by its name. Returns if there is none of that name, or if it did not happen.
pub fn provoke(name: &str) {
    match name {
        "null-read" => read(black_box(8)),
        // SAFETY: Not safe at all, and meant so: the write must fault.
        "write-text" => unsafe { (provoke as *const () as *mut u8).write_volatile(0) },
        "exec-data" => call(DATA.as_ptr() as u64),
        "stack-overflow" => {
            black_box(overflow(black_box(1)));
        }
        // SAFETY: Raises #DE.
        "divide" => unsafe { asm!("xor edx, edx", "div edx", out("eax") _, out("edx") _) },
        // SAFETY: Raises #UD.
        "invalid-opcode" => unsafe { asm!("ud2") },
        "double-fault" => {
            // #GP without a handler raises #NP, and one contributory exception in another is #DF.
            idt::clear_gate(GENERAL_PROTECTION);
            read(black_box(NON_CANONICAL));
        }
        "out-of-memory" => exhaust(),
        "panic-in-interrupt" => {
            interrupt::set_handler(TIMER_VECTOR, |_vector| panic!("asked for, in an interrupt"));
            timer::halt_at_most(Duration::from_millis(1), || false);
        }
        "panic-on-second-cpu" if cpu::count() > 1 => {
            smp::run_on(1, Box::new(panic_elsewhere));
            timer::halt_at_most(LONG, || false);
        }
        _ => {}
    }
}

/// Allocates until there is nothing left, as code does that does not expect it.
fn exhaust() {
    let mut held: Vec<Vec<u8>> = Vec::new();
    loop {
        held.push(black_box(Vec::with_capacity(EXHAUST_BYTES)));
    }
}

#[inline(never)]
fn panic_elsewhere() {
    panic!("asked for, on CPU {}", cpu::index());
}

fn read(address: u64) {
    // SAFETY: Not safe at all, and meant so: the read must fault.
    unsafe { asm!("mov al, [{}]", in(reg) address, out("al") _) }
}

fn call(address: u64) {
    // SAFETY: Not safe at all, and meant so: the fetch must fault.
    unsafe { asm!("call {}", in(reg) address, clobber_abi("C")) }
}

/// Calls itself until the stack ends, in steps smaller than the guard page.
#[inline(never)]
fn overflow(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == u64::MAX {
        return frame[0];
    }
    overflow(depth + 1) + black_box(frame)[63]
}

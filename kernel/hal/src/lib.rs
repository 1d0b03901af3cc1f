//! The hardware, and all the unsafe code that it takes.
//!
//! Owns booting, memory, traps, timers, the serial line and the devices of one x86-64 machine, and
//! no policy. Feature `metal` adds what only makes sense in the kernel's binary: the entry code,
//! the symbols of a C library and whatever refers to symbols of the linker script. Without it the
//! crate compiles for host tests of its encodings.

#![no_std]
// The kernel's start uses much that nothing else does, and is absent without `metal`.
#![cfg_attr(not(feature = "metal"), allow(dead_code))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod acpi;
pub mod apic;
#[cfg(feature = "metal")]
pub mod backtrace;
#[cfg(feature = "metal")]
pub mod boot;
#[cfg(feature = "metal")]
pub mod boottrace;
pub mod clock;
pub mod cpu;
pub mod entropy;
#[cfg(feature = "metal")]
pub mod fault;
pub mod fiber;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod fw_cfg;
#[cfg(feature = "metal")]
pub mod heapbench;
pub mod idt;
pub mod interrupt;
pub mod ioapic;
mod kvmclock;
mod lines;
pub mod logger;
#[cfg(feature = "metal")]
pub mod measure;
pub mod memory;
pub mod pci;
mod pit;
pub mod power;
#[cfg(feature = "metal")]
pub mod probe;
mod pvh;
mod registers;
mod rtc;
#[cfg(feature = "metal")]
pub mod selftest;
pub mod serial;
pub mod smp;
pub mod stack;
#[cfg(feature = "metal")]
pub mod symbols;
pub mod timer;
#[cfg(feature = "metal")]
pub mod trap;
pub mod virtio;

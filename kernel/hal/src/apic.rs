//! The local interrupt controller of a CPU, and the silence of the old one.
//!
//! Owns the local APIC's registers (Intel SDM vol. 3, chapter 11), by memory or, where the CPU has
//! x2APIC, by MSR, interrupts to other CPUs, and the masking of the two 8259s. [`crate::timer`]
//! uses its timer, [`crate::interrupt`] ends interrupts, [`crate::smp`] sends to other CPUs.

use crate::cpu::{self, cpuid};
use crate::memory::vm;
use core::arch::asm;
use core::ptr::NonNull;
use spin::Once;
use volatile::VolatilePtr;
use x86_64::instructions::port::Port;
use x86_64::registers::model_specific::Msr;

/// IA32_APIC_BASE: the address, and the bits that enable the APIC and its x2 mode.
const APIC_BASE_MSR: u32 = 0x1b;
const APIC_BASE_ENABLE: u64 = 1 << 11;
const APIC_BASE_X2: u64 = 1 << 10;
const APIC_BASE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// In x2 mode register `r` is the MSR `0x800 + r / 16`.
const X2_MSR_BASE: u32 = 0x800;
/// Bytes of the register page.
const REGISTERS_BYTES: usize = 4096;

/// A register, by its offset in the register page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Register {
    Id = 0x20,
    EndOfInterrupt = 0xb0,
    SpuriousVector = 0xf0,
    CommandLow = 0x300,
    CommandHigh = 0x310,
    LvtTimer = 0x320,
    LvtLint0 = 0x350,
    LvtLint1 = 0x360,
    LvtError = 0x370,
    InitialCount = 0x380,
    CurrentCount = 0x390,
    DivideConfiguration = 0x3e0,
}

/// Spurious-vector register: the APIC accepts interrupts.
const SOFTWARE_ENABLE: u32 = 1 << 8;
/// Local vector table: the source is masked.
pub(crate) const LVT_MASKED: u32 = 1 << 16;
/// Local vector table: deliver as NMI (the wiring of LINT1 on a PC).
const LVT_NMI: u32 = 4 << 8;

/// Interrupt command register: the last command is still being sent (not in x2 mode).
const COMMAND_PENDING: u32 = 1 << 12;
/// Interrupt command register: the level of INIT; set in every other command too.
const COMMAND_ASSERT: u32 = 1 << 14;
/// Interrupt command register, destination shorthand: all but the sender.
const COMMAND_TO_OTHERS: u32 = 3 << 18;
/// Readings of a pending command after which the next is sent all the same.
const PENDING_READINGS_MAX: u32 = 100_000;
/// The highest id that a command can name by a byte; 255 is everybody.
const BYTE_ID_MAX: u32 = 254;

/// What one CPU sends another (Intel SDM vol. 3, 11.6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// An interrupt.
    Interrupt(u8),
    /// An interrupt that cannot be masked.
    NonMaskable,
    /// Stop and wait for [`Command::StartUp`].
    Init,
    /// Start in real mode at this page of the first MiB.
    StartUp(u8),
}

impl Command {
    /// The lower half of the interrupt command register: physical destination, edge.
    const fn encode(self) -> u32 {
        COMMAND_ASSERT
            | match self {
                Command::Interrupt(vector) => vector as u32,
                Command::NonMaskable => 4 << 8,
                Command::Init => 5 << 8,
                Command::StartUp(page) => 6 << 8 | page as u32,
            }
    }
}

#[derive(Clone, Copy)]
enum Access {
    /// The register page, mapped uncached.
    Memory(NonNull<u8>),
    Msr,
}

// SAFETY: The page shows each CPU its own registers; a register access is one instruction.
unsafe impl Send for Access {}
// SAFETY: As above.
unsafe impl Sync for Access {}

static ACCESS: Once<Access> = Once::new();

/// Masks the 8259s and turns the boot CPU's local APIC on.
pub fn start() {
    mask_8259();
    start_on_this_cpu();
    cpu::current().set_apic_id(id());
}

/// Turns this CPU's local APIC on, everything in it masked but NMI.
pub(crate) fn start_on_this_cpu() {
    let mut base = Msr::new(APIC_BASE_MSR);
    // SAFETY: Every CPU with a local APIC, hence every CPU in long mode, has this MSR.
    let value = unsafe { base.read() };
    let x2 = cpuid(1, 0).ecx & (1 << 21) != 0;
    for value in enabling(value, x2) {
        // SAFETY: Enables the APIC, in the mode that the CPU has, step by step.
        unsafe { base.write(value) };
    }
    ACCESS.call_once(|| {
        if x2 {
            return Access::Msr;
        }
        let page = vm::map_device(value & APIC_BASE_ADDRESS, REGISTERS_BYTES);
        Access::Memory(page.expect("a fresh machine has addresses and tables"))
    });
    write(Register::LvtTimer, LVT_MASKED);
    write(Register::LvtLint0, LVT_MASKED);
    write(Register::LvtLint1, LVT_NMI);
    write(Register::LvtError, LVT_MASKED);
    write(Register::SpuriousVector, SOFTWARE_ENABLE | u32::from(crate::interrupt::SPURIOUS_VECTOR));
}

/// What to write to the base register, which holds `value`, one after the other: an APIC that is
/// off gets into x2 mode only by way of the other, and never back (Intel SDM vol. 3, 11.12.5).
fn enabling(value: u64, x2: bool) -> impl Iterator<Item = u64> {
    let first = value | APIC_BASE_ENABLE;
    let second = x2.then_some(first | APIC_BASE_X2).filter(|second| *second != first);
    core::iter::once(first).chain(second)
}

/// Tells the APIC that the interrupt being served is over.
pub fn end_of_interrupt() {
    write(Register::EndOfInterrupt, 0);
}

/// The APIC's id of this CPU: where devices send their interrupts.
pub fn id() -> u32 {
    match ACCESS.get() {
        Some(Access::Memory(_)) => read(Register::Id) >> 24,
        _ => read(Register::Id),
    }
}

/// Whether a command can be sent to the APIC of this id: without x2APIC an id is a byte.
pub(crate) fn can_reach(id: u32) -> bool {
    id <= BYTE_ID_MAX || matches!(ACCESS.get(), Some(Access::Msr))
}

/// Sends a command to the CPU whose APIC has this id. What was written to memory before is seen by
/// whoever gets it. From any context.
pub(crate) fn send(id: u32, command: Command) {
    x86_64::instructions::interrupts::without_interrupts(|| send_raw(id, command.encode()));
}

/// Sends a command to all CPUs but this one. From any context.
pub(crate) fn send_to_others(command: Command) {
    let low = command.encode() | COMMAND_TO_OTHERS;
    x86_64::instructions::interrupts::without_interrupts(|| send_raw(0, low));
}

/// The value of the one command register of x2 mode (Intel SDM vol. 3, 11.12.9).
const fn x2_command(id: u32, low: u32) -> u64 {
    (id as u64) << 32 | low as u64
}

/// Writes a command: without x2APIC in two halves, which no interrupt may tear apart.
fn send_raw(id: u32, low: u32) {
    match ACCESS.get() {
        Some(Access::Msr) => {
            // A write to an MSR of the APIC is ordered with nothing (Intel SDM vol. 3, 11.12.3).
            // SAFETY: Fences.
            unsafe { asm!("mfence", "lfence", options(nostack, preserves_flags)) };
            let mut msr = Msr::new(X2_MSR_BASE + Register::CommandLow as u32 / 16);
            // SAFETY: The CPU is in x2 mode and has this register; what the other CPU does on the
            // command is what its sender answers for.
            unsafe { msr.write(x2_command(id, low)) };
        }
        Some(Access::Memory(_)) => {
            let pending = || read(Register::CommandLow) & COMMAND_PENDING != 0;
            let _ = (0..PENDING_READINGS_MAX).find(|_| !pending());
            write(Register::CommandHigh, id << 24);
            write(Register::CommandLow, low);
        }
        None => {}
    }
}

fn register(page: NonNull<u8>, register: Register) -> VolatilePtr<'static, u32> {
    // SAFETY: The offset is within the page.
    let place = unsafe { page.add(register as usize) };
    // SAFETY: A mapped, aligned register that stays mapped for ever.
    unsafe { VolatilePtr::new(place.cast()) }
}

pub(crate) fn read(which: Register) -> u32 {
    match ACCESS.get() {
        Some(Access::Memory(page)) => register(*page, which).read(),
        Some(Access::Msr) => {
            let msr = Msr::new(X2_MSR_BASE + which as u32 / 16);
            // SAFETY: The CPU is in x2 mode and has this register.
            let value = unsafe { msr.read() };
            value as u32
        }
        None => 0,
    }
}

pub(crate) fn write(which: Register, value: u32) {
    match ACCESS.get() {
        Some(Access::Memory(page)) => register(*page, which).write(value),
        Some(Access::Msr) => {
            let mut msr = Msr::new(X2_MSR_BASE + which as u32 / 16);
            // SAFETY: The CPU is in x2 mode; what is written unmasks nothing without a handler.
            unsafe { msr.write(u64::from(value)) };
        }
        None => {}
    }
}

/// Masks every line of both 8259s (Intel 8259A, OCW1), whose vectors would collide with exceptions.
fn mask_8259() {
    for data_port in [0x21, 0xa1] {
        let mut port = Port::<u8>::new(data_port);
        // SAFETY: The port is the interrupt mask of an 8259 or nothing.
        unsafe { port.write(0xff) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_encoded_as_the_manual_says() {
        assert_eq!(Command::Interrupt(0xf0).encode(), 0x40f0);
        assert_eq!(Command::NonMaskable.encode(), 0x4400);
        assert_eq!(Command::Init.encode(), 0x4500);
        assert_eq!(Command::StartUp(0x9f).encode(), 0x469f);
        assert_eq!(Command::NonMaskable.encode() | COMMAND_TO_OTHERS, 0xc_4400);
        assert_eq!(x2_command(0x1_2345, Command::Init.encode()), 0x0001_2345_0000_4500);
        assert_eq!(X2_MSR_BASE + Register::CommandLow as u32 / 16, 0x830);
    }

    #[test]
    fn x2_mode_is_entered_by_the_permitted_steps() {
        let steps = |value, x2| enabling(value, x2).collect::<std::vec::Vec<_>>();
        let base = 0xfee0_0000;
        assert_eq!(steps(base, false), [base | 0x800]);
        assert_eq!(steps(base, true), [base | 0x800, base | 0xc00]);
        assert_eq!(steps(base | 0xc00, true), [base | 0xc00]);
        assert_eq!(steps(base | 0x100 | 0x800, true), [base | 0x900, base | 0xd00]);
    }

    #[test]
    fn without_x2_an_id_is_a_byte() {
        assert!(can_reach(0) && can_reach(254) && !can_reach(255) && !can_reach(256));
    }
}

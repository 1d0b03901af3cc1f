//! The I/O APICs: interrupts of devices that have a line instead of messages.
//!
//! Owns their redirection tables (Intel 82093AA, section 3.2): [`route`] lets an input of the
//! machine interrupt a CPU by a vector, [`route_isa`] does it for a line of the old ISA bus, the
//! serial port's for one. They are found at the first call, through ACPI's MADT or at the customary
//! address, and silenced: what firmware had routed would reach vectors of ours. The lock is held
//! for two register accesses and never by a handler.

pub(crate) mod madt;

use crate::interrupt::FIRST_VECTOR;
use crate::memory::physical_bytes;
use crate::registers::Registers;
use crate::{acpi, power};
use alloc::vec::Vec;
use madt::{Layout, Signal};
use spin::{Mutex, Once};

/// The two registers that the CPU sees (3.1): which register, and its value.
const SELECT: usize = 0x00;
const WINDOW: usize = 0x10;
const REGISTERS_BYTES: usize = 0x20;
/// Version, and in bits 16 to 23 the number of the last input (3.2.2).
const VERSION: u32 = 0x01;
/// The first half of the first input's entry; each has two (3.2.4).
const REDIRECTION: u32 = 0x10;
/// Inputs of one I/O APIC: the register that counts them has 8 bits, of which 240 may be used.
const INPUTS_MAX: u32 = 240;
const POLARITY_LOW: u32 = 1 << 13;
const TRIGGER_LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;
/// The CPU's local APIC id, in the second half.
const DESTINATION_SHIFT: u32 = 24;

/// Why an interrupt cannot be routed.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum RouteError {
    /// No I/O APIC has this input.
    NoInput,
    /// The vector is one of the CPU's exceptions.
    NoVector,
}

/// Lets the machine's input `input` (a "global system interrupt") interrupt the CPU with this local
/// APIC id by `vector`, each time that the line rises.
///
/// # Errors
///
/// If there is no such input or vector; then nothing was changed.
pub fn route(input: u32, vector: u8, apic_id: u8) -> Result<(), RouteError> {
    set(input, Signal::RISING_EDGE, vector, apic_id)
}

/// As [`route`], for a line of the ISA bus: the machine may have wired it to another input.
///
/// # Errors
///
/// As [`route`].
pub fn route_isa(line: u8, vector: u8, apic_id: u8) -> Result<(), RouteError> {
    let (input, signal) = machine().layout.isa(line).ok_or(RouteError::NoInput)?;
    set(input, signal, vector, apic_id)
}

/// Lets an input interrupt nobody any more.
///
/// # Errors
///
/// If there is no such input.
pub fn silence(input: u32) -> Result<(), RouteError> {
    machine().with(input, |ioapic, index| ioapic.write_entry(index, MASKED, 0))
}

fn set(input: u32, signal: Signal, vector: u8, apic_id: u8) -> Result<(), RouteError> {
    if vector < FIRST_VECTOR {
        return Err(RouteError::NoVector);
    }
    let low = entry(signal, vector);
    machine().with(input, |ioapic, index| {
        ioapic.write_entry(index, low, u32::from(apic_id) << DESTINATION_SHIFT);
    })
}

/// The first half of an entry: fixed delivery to one CPU.
fn entry(signal: Signal, vector: u8) -> u32 {
    let polarity = if signal.low { POLARITY_LOW } else { 0 };
    let trigger = if signal.level { TRIGGER_LEVEL } else { 0 };
    u32::from(vector) | polarity | trigger
}

/// All I/O APICs of this machine.
struct Machine {
    layout: Layout,
    ioapics: Mutex<Vec<IoApic>>,
}

struct IoApic {
    registers: Registers,
    first: u32,
    inputs: u32,
}

fn machine() -> &'static Machine {
    static MACHINE: Once<Machine> = Once::new();
    MACHINE.call_once(|| {
        let table =
            power::root_pointer().and_then(|rsdp| acpi::find(rsdp, *b"APIC", physical_bytes));
        let layout = table.map_or_else(Layout::customary, Layout::parse);
        let ioapics = layout.places.iter().filter_map(|place| {
            let registers = Registers::map(place.address, REGISTERS_BYTES)?;
            IoApic::new(registers, place.first)
        });
        Machine { ioapics: Mutex::new(ioapics.collect()), layout }
    })
}

impl Machine {
    /// Gives the I/O APIC that has the input, and the input's number there, to `act`.
    fn with(&self, input: u32, act: impl FnOnce(&mut IoApic, u32)) -> Result<(), RouteError> {
        let mut ioapics = self.ioapics.lock();
        let has = |ioapic: &&mut IoApic| ioapic.index(input).is_some();
        let ioapic = ioapics.iter_mut().find(has).ok_or(RouteError::NoInput)?;
        let index = ioapic.index(input).ok_or(RouteError::NoInput)?;
        act(ioapic, index);
        Ok(())
    }
}

impl IoApic {
    /// Takes one over, with every input silent. None if there is none at these registers.
    fn new(registers: Registers, first: u32) -> Option<Self> {
        let mut ioapic = IoApic { registers, first, inputs: 0 };
        let version = ioapic.read(VERSION);
        if version == 0 || version == u32::MAX {
            return None;
        }
        ioapic.inputs = ((version >> 16 & 0xff) + 1).min(INPUTS_MAX);
        for index in 0..ioapic.inputs {
            ioapic.write_entry(index, MASKED, 0);
        }
        Some(ioapic)
    }

    /// The number here of an input of the machine.
    fn index(&self, input: u32) -> Option<u32> {
        input.checked_sub(self.first).filter(|index| *index < self.inputs)
    }

    /// The destination is written while the input is silent: half an entry would go astray.
    fn write_entry(&mut self, index: u32, low: u32, high: u32) {
        let register = REDIRECTION + 2 * index;
        self.write(register, MASKED);
        self.write(register + 1, high);
        self.write(register, low);
    }

    fn read(&mut self, register: u32) -> u32 {
        self.registers.write_u32(SELECT, register);
        self.registers.read_u32(WINDOW)
    }

    fn write(&mut self, register: u32, value: u32) {
        self.registers.write_u32(SELECT, register);
        self.registers.write_u32(WINDOW, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    /// The select register holds what was written last, and the window is one word here: a version
    /// read through it is the word itself.
    fn ioapic(version: u32) -> Option<IoApic> {
        let words = Vec::leak(vec![0_u64; REGISTERS_BYTES / 8]);
        words[WINDOW / 8] = u64::from(version);
        IoApic::new(Registers::over(words), 24)
    }

    #[test]
    fn an_absent_one_is_none_and_inputs_are_counted() {
        assert!(ioapic(0).is_none() && ioapic(u32::MAX).is_none());
        let ioapic = ioapic(0x0017_0020).expect("it has a version");
        assert_eq!(ioapic.index(24), Some(0));
        assert_eq!(ioapic.index(47), Some(23));
        assert_eq!((ioapic.index(23), ioapic.index(48), ioapic.index(0)), (None, None, None));
    }

    #[test]
    fn entries_say_what_the_line_does() {
        assert_eq!(entry(Signal::RISING_EDGE, 0x61), 0x61);
        assert_eq!(entry(Signal { low: true, level: true }, 0x61), 0xa061);
    }

    #[test]
    fn exceptions_are_no_vectors_of_devices() {
        assert_eq!(route(4, 14, 0), Err(RouteError::NoVector));
    }
}

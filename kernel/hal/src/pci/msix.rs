//! Interrupts that a device sends as messages (PCI Local Bus Specification 3.0, section 6.8.2).
//!
//! Owns [`MsixTable`] and the vectors of devices. Such an interrupt sets a flag and nothing more
//! ([`note_interrupt`], which the kernel registers): whoever polls the device asks
//! [`take_pending`], or just polls.

use super::{Bus, Config, Function, spec};
use crate::registers::Registers;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The first vector of devices.
pub const DEVICE_VECTOR_FIRST: u8 = 0x50;
/// The last vector of devices.
pub const DEVICE_VECTOR_LAST: u8 = 0x5f;

const CAPABILITY_ID: u8 = 0x11;
const ENABLE: u32 = 1 << 31;
const MASK_ALL: u32 = 1 << 30;
const ENTRY_BYTES: usize = 16;
/// Where a message to the local APIC of a CPU goes (Intel SDM, volume 3, 11.11.1).
const MESSAGE_ADDRESS: u32 = 0xfee0_0000;

const VECTORS: usize = (DEVICE_VECTOR_LAST - DEVICE_VECTOR_FIRST) as usize + 1;

static PENDING: AtomicU32 = AtomicU32::new(0);
static INTERRUPTS: [AtomicU64; VECTORS] = [const { AtomicU64::new(0) }; VECTORS];

/// Why a function cannot send messages.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum MsixError {
    /// It does not say that it can.
    Absent,
    /// Its table lies outside its memory.
    TableOutside,
    /// There is no room to map the table.
    NoMemory,
    /// The entry or the vector does not exist.
    Invalid,
}

/// The table of messages of one function.
#[derive(Debug)]
pub struct MsixTable {
    registers: Registers,
    entries: u16,
}

impl MsixTable {
    /// Finds and maps the table, and turns messages on with every entry silent.
    ///
    /// # Errors
    ///
    /// If the function has no usable table; then nothing was changed.
    pub fn open<C: Config>(bus: &mut Bus<C>, function: &Function) -> Result<Self, MsixError> {
        let capabilities = bus.capabilities(function);
        let capability =
            capabilities.iter().find(|c| c.id == CAPABILITY_ID).ok_or(MsixError::Absent)?;
        let header = bus.capability_word(function, *capability, 0).ok_or(MsixError::Absent)?;
        let table = bus.capability_word(function, *capability, 1).ok_or(MsixError::Absent)?;
        let entries = ((header >> 16) as u16 & 0x7ff) + 1;
        let bytes = usize::from(entries) * ENTRY_BYTES;
        let (bar, offset) = ((table & 7) as usize, u64::from(table & !7));
        let address = function.memory(bar, offset, bytes as u64).ok_or(MsixError::TableOutside)?;
        if bar >= spec::BARS || address == 0 {
            return Err(MsixError::TableOutside);
        }
        bus.enable(function);
        let registers = Registers::map(address, bytes).ok_or(MsixError::NoMemory)?;
        let mut table = MsixTable { registers, entries };
        for entry in 0..entries {
            table.registers.write_u32(usize::from(entry) * ENTRY_BYTES + 12, 1);
        }
        let header = header & !MASK_ALL | ENABLE;
        bus.config.write(function.place, capability.offset, header);
        Ok(table)
    }

    /// Entries, at least one.
    pub fn entries(&self) -> u16 {
        self.entries
    }

    /// Lets `entry` interrupt the CPU with this local APIC id by this vector.
    ///
    /// # Errors
    ///
    /// If there is no such entry, or the vector is none of devices.
    pub fn route(&mut self, entry: u16, vector: u8, apic_id: u8) -> Result<(), MsixError> {
        if entry >= self.entries || !(DEVICE_VECTOR_FIRST..=DEVICE_VECTOR_LAST).contains(&vector) {
            return Err(MsixError::Invalid);
        }
        let at = usize::from(entry) * ENTRY_BYTES;
        self.registers.write_u32(at, MESSAGE_ADDRESS | u32::from(apic_id) << 12);
        self.registers.write_u32(at + 4, 0);
        self.registers.write_u32(at + 8, u32::from(vector));
        self.registers.write_u32(at + 12, 0);
        Ok(())
    }
}

/// The handler of all vectors of devices.
pub fn note_interrupt(vector: u8) {
    PENDING.fetch_or(bit(vector), Ordering::Release);
    if let Some(count) = INTERRUPTS.get(index(vector)) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Interrupts that came by a vector of devices.
pub fn interrupts(vector: u8) -> u64 {
    INTERRUPTS.get(index(vector)).map_or(0, |count| count.load(Ordering::Relaxed))
}

/// Whether a device's interrupt came since the last call.
pub fn take_pending(vector: u8) -> bool {
    let bit = bit(vector);
    PENDING.load(Ordering::Relaxed) & bit != 0
        && PENDING.fetch_and(!bit, Ordering::Acquire) & bit != 0
}

fn bit(vector: u8) -> u32 {
    1_u32.checked_shl(index(vector) as u32).unwrap_or(0)
}

/// A vector among those of devices; beyond them if it is none.
fn index(vector: u8) -> usize {
    usize::from(vector.wrapping_sub(DEVICE_VECTOR_FIRST))
}

//! Registers of configuration space: PCI Local Bus Specification 3.0, chapter 6.
//!
//! Owns every offset and bit that `pci.rs` and its other files use, and no logic.

use super::Place;

/// Port that chooses a register (3.2.2.3.2).
pub(super) const ADDRESS_PORT: u16 = 0xcf8;
/// Port that it is read and written through.
pub(super) const DATA_PORT: u16 = 0xcfc;

/// Devices of a bus.
pub(super) const DEVICES: u8 = 32;
/// Functions of a device.
pub(super) const FUNCTIONS: u8 = 8;
/// Base address registers of an ordinary function.
pub(super) const BARS: usize = 6;

/// Vendor and device id.
pub(super) const ID: u8 = 0x00;
/// Command (low half) and status (high half).
pub(super) const COMMAND: u8 = 0x04;
/// Header type, in the third byte.
pub(super) const HEADER: u8 = 0x0c;
/// The first base address register.
pub(super) const BAR_FIRST: u8 = 0x10;
/// Primary, secondary and subordinate bus of a bridge.
pub(super) const BRIDGE_BUSES: u8 = 0x18;
/// Where the list of capabilities begins.
pub(super) const CAPABILITIES: u8 = 0x34;
/// Capabilities lie above the header.
pub(super) const CAPABILITY_FIRST: u8 = 0x40;

/// Nobody is there.
pub(super) const NO_VENDOR: u16 = 0xffff;
/// Status bit 4.
pub(super) const STATUS_HAS_CAPABILITIES: u32 = 1 << 4;
/// The command half of the register; status bits are cleared by writing ones, so zeros go there.
pub(super) const COMMAND_MASK: u32 = 0xffff;

/// Bits of the command register (6.2.2).
pub(super) struct Command;

impl Command {
    /// It answers at its memory addresses.
    pub(super) const MEMORY: u32 = 1 << 1;
    /// It may read and write memory by itself.
    pub(super) const MASTER: u32 = 1 << 2;
    /// It raises no interrupt by a pin.
    pub(super) const NO_PIN_INTERRUPT: u32 = 1 << 10;
    /// It answers at its port addresses.
    pub(super) const PORTS: u32 = 1 << 0;
}

/// Bits of a base address register (6.2.5.1).
pub(super) struct BarBits;

impl BarBits {
    /// It is for ports, not memory.
    pub(super) const PORTS: u32 = 1 << 0;
    /// Bits 1 and 2: how wide it is.
    pub(super) const WIDTH: u32 = 3 << 1;
    /// 64 bits: the next register is its upper half.
    pub(super) const WIDTH_64: u32 = 2 << 1;
    /// The bits that are no address.
    pub(super) const FLAGS: u32 = 0xf;
}

/// The kind of a function's header (6.2.1).
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Header {
    kind: u8,
    /// The device has functions beside 0.
    pub(super) many_functions: bool,
}

impl Header {
    pub(super) fn of(register: u32) -> Self {
        let byte = (register >> 16) as u8;
        Header { kind: byte & 0x7f, many_functions: byte & 0x80 != 0 && byte != 0xff }
    }

    pub(super) fn is_ordinary(self) -> bool {
        self.kind == 0
    }

    pub(super) fn is_bridge(self) -> bool {
        self.kind == 1
    }
}

/// What chooses a register at the address port.
pub(super) fn address(place: Place, offset: u8) -> u32 {
    let Place { bus, device, function } = place;
    1 << 31
        | u32::from(bus) << 16
        | u32::from(device & 0x1f) << 11
        | u32::from(function & 7) << 8
        | u32::from(offset & !3)
}

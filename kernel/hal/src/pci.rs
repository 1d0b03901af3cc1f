//! The PCI bus: finding functions, giving them addresses, reading their capabilities.
//!
//! Owns [`Bus`], the way to configuration space (mechanism 1: ports 0xCF8 and 0xCFC), and
//! [`Function`], one function of one device. Addresses that the firmware left out (qboot does) are
//! assigned here. What a device says of itself is checked before it is used. Neighbours:
//! `pci/spec.rs` (the registers), `pci/bar.rs` (addresses), `pci/msix.rs` (interrupts).

mod bar;
mod msix;
mod spec;

pub use bar::{Bar, Window};
pub use msix::{DEVICE_VECTOR_FIRST, DEVICE_VECTOR_LAST, MsixError, MsixTable};
pub use msix::{interrupts, note_interrupt, take_pending};

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use spec::{Command, Header};
use x86_64::instructions::port::Port;

/// Buses that are looked at.
const BUSES_MAX: usize = 16;
/// Functions that are found; a machine of the clouds has a handful.
pub const FUNCTIONS_MAX: usize = 64;
/// Capabilities of one function: more than fit 192 bytes are a loop.
const CAPABILITIES_MAX: usize = 48;

/// Where a function sits.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub struct Place {
    /// Number of the bus.
    pub bus: u8,
    /// Device on the bus, 0 to 31.
    pub device: u8,
    /// Function of the device, 0 to 7.
    pub function: u8,
}

/// A way to configuration space. `offset` is a multiple of 4.
pub trait Config {
    /// Reads a register; all ones where nothing is.
    fn read(&mut self, place: Place, offset: u8) -> u32;
    /// Writes a register.
    fn write(&mut self, place: Place, offset: u8, value: u32);
}

/// Mechanism 1: an address port and a data port.
#[derive(Debug)]
pub struct Ports {
    address: Port<u32>,
    data: Port<u32>,
}

impl Ports {
    /// The ports, to whoever asks first: between an address and its data nobody else may use them.
    pub fn take() -> Option<Self> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        let ports =
            Ports { address: Port::new(spec::ADDRESS_PORT), data: Port::new(spec::DATA_PORT) };
        (!TAKEN.swap(true, Ordering::Relaxed)).then_some(ports)
    }

    fn select(&mut self, place: Place, offset: u8) {
        // SAFETY: choosing a register has no effect by itself, and `take` gave the ports
        // to nobody else.
        unsafe { self.address.write(spec::address(place, offset)) };
    }
}

impl Config for Ports {
    fn read(&mut self, place: Place, offset: u8) -> u32 {
        self.select(place, offset);
        // SAFETY: reads of configuration space have no effect; absent functions read as ones.
        unsafe { self.data.read() }
    }

    fn write(&mut self, place: Place, offset: u8, value: u32) {
        self.select(place, offset);
        // SAFETY: this module writes only registers whose effect it means: command, BARs, MSI-X.
        unsafe { self.data.write(value) };
    }
}

/// All functions of a machine.
#[derive(Debug)]
pub struct Bus<C> {
    config: C,
    functions: Vec<Function>,
}

/// One function of one device, as it described itself when it was found.
#[derive(Clone, Debug)]
pub struct Function {
    /// Where it sits.
    pub place: Place,
    /// Who made it.
    pub vendor: u16,
    /// What it is, in the maker's numbering.
    pub device: u16,
    bars: [Option<Bar>; spec::BARS],
}

/// One capability: its id, and where its registers lie.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Capability {
    /// What it is for.
    pub id: u8,
    /// Offset of its first byte in configuration space.
    pub offset: u8,
}

impl<C: Config> Bus<C> {
    /// Finds all functions, and gives addresses out of `window` to those that have none.
    pub fn scan(mut config: C, window: Window) -> Self {
        let mut functions = find_functions(&mut config);
        bar::assign(&mut config, &mut functions, window);
        Bus { config, functions }
    }

    /// What was found.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// Lets a function read and write memory by itself and answer at its addresses.
    pub fn enable(&mut self, function: &Function) {
        let command = self.config.read(function.place, spec::COMMAND) & spec::COMMAND_MASK;
        let wanted = command | Command::MEMORY | Command::MASTER | Command::NO_PIN_INTERRUPT;
        // A write makes an emulator lay its memory out anew, which costs more than the rest.
        if wanted != command {
            self.config.write(function.place, spec::COMMAND, wanted);
        }
    }

    /// The capabilities of a function, in its order.
    pub fn capabilities(&mut self, function: &Function) -> Vec<Capability> {
        let mut found = Vec::new();
        let status = self.config.read(function.place, spec::COMMAND) >> 16;
        if status & spec::STATUS_HAS_CAPABILITIES == 0 {
            return found;
        }
        let mut offset = self.config.read(function.place, spec::CAPABILITIES) as u8 & !3;
        while offset >= spec::CAPABILITY_FIRST && found.len() < CAPABILITIES_MAX {
            let header = self.config.read(function.place, offset);
            found.push(Capability { id: header as u8, offset });
            offset = (header >> 8) as u8 & !3;
        }
        found
    }

    /// A register of a capability, `index` words after its first; none beyond configuration space.
    pub fn capability_word(
        &mut self,
        function: &Function,
        capability: Capability,
        index: u8,
    ) -> Option<u32> {
        let offset = index.checked_mul(4).and_then(|bytes| capability.offset.checked_add(bytes))?;
        Some(self.config.read(function.place, offset))
    }
}

impl Function {
    /// The memory of base address register `index`, if it has one.
    pub fn bar(&self, index: usize) -> Option<Bar> {
        self.bars.get(index).copied().flatten()
    }

    /// Physical address of `length` bytes at `offset` in base address register `index`, if they lie
    /// within it.
    pub fn memory(&self, index: usize, offset: u64, length: u64) -> Option<u64> {
        let bar = self.bar(index)?;
        let end = offset.checked_add(length)?;
        (end <= bar.bytes).then(|| bar.address + offset)
    }
}

fn find_functions<C: Config>(config: &mut C) -> Vec<Function> {
    let mut functions = Vec::new();
    let mut buses = Vec::from([0_u8]);
    let mut next = 0;
    while let Some(&bus) = buses.get(next) {
        next += 1;
        for device in 0..spec::DEVICES {
            for function in 0..functions_of(config, bus, device) {
                let place = Place { bus, device, function };
                let Some((found, behind)) = look(config, place) else { continue };
                if let Some(bus) = behind.filter(|bus| !buses.contains(bus))
                    && buses.len() < BUSES_MAX
                {
                    buses.push(bus);
                }
                if functions.len() < FUNCTIONS_MAX {
                    functions.push(found);
                }
            }
        }
    }
    functions
}

/// How many function numbers of a device are worth a look.
fn functions_of<C: Config>(config: &mut C, bus: u8, device: u8) -> u8 {
    let place = Place { bus, device, function: 0 };
    let header = Header::of(config.read(place, spec::HEADER));
    if header.many_functions { spec::FUNCTIONS } else { 1 }
}

/// The function at a place, and the bus behind it if it is a bridge that the firmware set up.
fn look<C: Config>(config: &mut C, place: Place) -> Option<(Function, Option<u8>)> {
    let id = config.read(place, spec::ID);
    let (vendor, device) = (id as u16, (id >> 16) as u16);
    if vendor == spec::NO_VENDOR || vendor == 0 {
        return None;
    }
    let header = Header::of(config.read(place, spec::HEADER));
    let bars = if header.is_ordinary() { bar::read(config, place) } else { [None; spec::BARS] };
    let behind = header
        .is_bridge()
        .then(|| (config.read(place, spec::BRIDGE_BUSES) >> 8) as u8)
        .filter(|bus| *bus > place.bus);
    Some((Function { place, vendor, device, bars }, behind))
}

#[cfg(test)]
mod tests;

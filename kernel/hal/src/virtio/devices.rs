//! Which virtio devices the machine has, and where.
//!
//! Owns [`Devices`]: those on the PCI bus, and those that lie plainly in memory, of which the
//! firmware's tables tell or the command line. Neighbours: `devices/place.rs` reads both,
//! `transport.rs` brings a device up.

pub(crate) mod place;

use super::spec::{self, Kind, mmio};
use super::transport::mmio::MmioFace;
use super::transport::pci::PciFace;
use super::transport::{OpenError, Transport};
use crate::memory::physical_bytes;
use crate::pci::{Bus, Config, Function, MsixTable};
use crate::registers::Registers;
use crate::{acpi, ioapic, power};
use alloc::boxed::Box;
use alloc::vec::Vec;
use place::MmioPlace;

/// Devices in memory that are looked at; QEMU's microvm has room for 24.
const MMIO_DEVICES_MAX: usize = 32;

/// All virtio devices of a machine.
pub struct Devices<C> {
    bus: Bus<C>,
    in_memory: Vec<MmioDevice>,
}

/// One device, where it was found.
#[derive(Debug)]
pub struct Device(Place);

#[derive(Debug)]
enum Place {
    Pci(Function),
    /// Its index in [`Devices::in_memory`].
    Memory(usize),
}

struct MmioDevice {
    registers: Registers,
    /// The input of the I/O APICs that its line leads to.
    input: u32,
    number: u32,
}

/// The way by which a device interrupts.
pub(super) enum Messages {
    /// As messages, from this table.
    Table(MsixTable),
    /// By a line into this input of the I/O APICs.
    Line(u32),
}

impl<C: Config> Devices<C> {
    /// Finds all devices. `command_line` is the kernel's, to which a hypervisor without ACPI adds
    /// where its devices are.
    pub fn find(bus: Bus<C>, command_line: &str) -> Self {
        let dsdt = power::root_pointer().and_then(|rsdp| acpi::dsdt(rsdp, physical_bytes));
        let mut places = place::of_command_line(command_line);
        for place in dsdt.map(place::of_dsdt).unwrap_or_default() {
            if places.iter().all(|known| known.address != place.address) {
                places.push(place);
            }
        }
        let in_memory = places.into_iter().take(MMIO_DEVICES_MAX).filter_map(MmioDevice::open);
        Devices { bus, in_memory: in_memory.collect() }
    }

    /// The first device of a kind: on PCI, where interrupts cost less, before in memory.
    pub(super) fn first(&self, kind: Kind) -> Option<Device> {
        let ids = [spec::PCI_DEVICE_MODERN + kind.number, kind.pci_transitional];
        let on_pci = |f: &&Function| f.vendor == spec::PCI_VENDOR && ids.contains(&f.device);
        if let Some(function) = self.bus.functions().iter().find(on_pci) {
            return Some(Device(Place::Pci(function.clone())));
        }
        let number = u32::from(kind.number);
        let index = self.in_memory.iter().position(|device| device.number == number)?;
        Some(Device(Place::Memory(index)))
    }

    /// Opens a device's registers. `device_bytes` of its own configuration are used.
    ///
    /// # Errors
    ///
    /// If they are not what every modern device has.
    pub(super) fn transport(
        &mut self,
        device: &Device,
        device_bytes: usize,
    ) -> Result<Transport, OpenError> {
        Ok(match &device.0 {
            Place::Pci(function) => {
                let face = PciFace::open(&mut self.bus, function, device_bytes)?;
                Transport::new(Box::new(face))
            }
            Place::Memory(index) => {
                let device = self.in_memory.get(*index).ok_or(OpenError::Malformed)?;
                Transport::new(Box::new(MmioFace::open(&device.registers, device_bytes)?))
            }
        })
    }

    /// The way by which a device interrupts.
    ///
    /// # Errors
    ///
    /// If it has none.
    pub(super) fn messages(&mut self, device: &Device) -> Result<Messages, OpenError> {
        match &device.0 {
            Place::Pci(function) => MsixTable::open(&mut self.bus, function)
                .map(Messages::Table)
                .map_err(OpenError::NoMessages),
            Place::Memory(index) => {
                let device = self.in_memory.get(*index).ok_or(OpenError::Malformed)?;
                Ok(Messages::Line(device.input))
            }
        }
    }
}

impl Messages {
    /// How many interrupts the device can tell apart.
    pub(super) fn entries(&self) -> u16 {
        match self {
            Messages::Table(table) => table.entries(),
            Messages::Line(_) => 1,
        }
    }

    /// Lets entry `entry` of the device interrupt the CPU with this local APIC id by `vector`. A
    /// line has one entry, 0.
    ///
    /// # Errors
    ///
    /// If there is no such entry, or it leads nowhere.
    pub(super) fn route(&mut self, entry: u16, vector: u8, apic_id: u8) -> Result<(), OpenError> {
        match self {
            Messages::Table(table) => {
                table.route(entry, vector, apic_id).map_err(OpenError::NoMessages)
            }
            Messages::Line(_) if entry != 0 => Err(OpenError::NoVector),
            Messages::Line(input) => {
                ioapic::route(*input, vector, apic_id).map_err(OpenError::NoLine)
            }
        }
    }
}

impl MmioDevice {
    /// Maps a place's registers; none if no device answers there.
    fn open(place: MmioPlace) -> Option<Self> {
        let registers = Registers::map(place.address, place.bytes)?;
        let number = registers.read_u32(mmio::DEVICE_ID);
        let is_one = registers.read_u32(mmio::MAGIC) == mmio::MAGIC_VALUE && number != 0;
        is_one.then_some(MmioDevice { registers, input: place.input, number })
    }
}

//! What firmware, hypervisor and devices say, read as on a machine but out of any bytes.
//!
//! Owns the way of `tools/fuzz` to this crate's parsers. Each function answers with what the bytes
//! came to, so that bytes which come to something new can be told from others.

use crate::acpi::{self, Register, Write};
use crate::ioapic::madt::Layout;
use crate::pci::{Bus, Config, Place, Window};
use crate::pvh::{self, Range, StartInfo};
use crate::smp::processors::Processors;
use crate::virtio::devices::place;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bootloader_api::info::MemoryRegion;

/// Where ACPI's root pointer lies in the bytes of [`acpi_tables`].
pub const RSDP: u64 = 0x1_0000;
/// Bytes of a function's configuration space.
const CONFIG_BYTES: usize = 256;
const WINDOW: Window = Window { start: 0xe000_0000, end: 0xe100_0000 };

/// Reads memory from [`RSDP`] on as ACPI's tables: power, devices and CPUs.
pub fn acpi_tables(memory: &[u8]) -> u64 {
    let fetch = |address: u64, len: usize| {
        let at = usize::try_from(address.checked_sub(RSDP)?).ok()?;
        memory.get(at..at.checked_add(len)?)
    };
    let _ = acpi::find_rsdp(memory);
    let power = match acpi::power(RSDP, fetch).map(|power| (power.off, power.reset)) {
        None => 0,
        Some((Write::Word(..), _)) => 1,
        Some((Write::Byte(Register::Port(_), _), reset)) => 2 + u64::from(reset.is_some()),
        Some((Write::Byte(Register::Memory(_), _), reset)) => 4 + u64::from(reset.is_some()),
    };
    let devices = acpi::dsdt(RSDP, fetch).map_or(0, |dsdt| 1 + place::of_dsdt(dsdt).len());
    let cpus = acpi::find(RSDP, *b"APIC", fetch).map_or(0, |table| 1 + madt(table));
    power << 32 | (devices as u64 & 0xff) << 16 | cpus & 0xffff
}

/// Reads a table of interrupt controllers.
pub fn madt(table: &[u8]) -> u64 {
    let layout = Layout::parse(table);
    assert!(!layout.places.is_empty(), "there is an I/O APIC, by custom if by nothing else");
    let cpus = Processors::parse(table).map_or(0, |found| 1 + found.left_off.min(3) as u64);
    cpus << 8 | layout.places.len() as u64
}

/// Reads what a PVH loader leaves: a start-info, then a memory map, which is also taken as a
/// command line.
pub fn pvh_start(bytes: &[u8]) -> u64 {
    let Some((info, rest)) = bytes.split_first_chunk() else { return 0 };
    let info = match StartInfo::parse(info) {
        Ok(_) => 1,
        Err(pvh::Malformed::NoMemoryMap) => 2,
        Err(_) => 3,
    };
    let line = pvh::command_line(rest).map_or(0, |line| 1 + u64::from(!line.is_empty()));
    let module = u64::from(pvh::module(rest).is_some());
    let image = Range { start: 0x20_0000, end: 0x60_0000 };
    let checked = u64::from(pvh::check(rest, image).is_ok());
    let mut regions = [MemoryRegion::empty(); pvh::REGIONS_MAX];
    let held_back = [Range { start: 0, end: 0x1000 }, image];
    let count = pvh::regions(rest, &held_back, &mut regions);
    assert!(regions[..count].iter().all(|region| region.start < region.end), "regions are some");
    info << 24 | line << 20 | module << 16 | checked << 12 | count as u64
}

/// Reads where virtio devices are, out of a command line and out of a DSDT.
pub fn virtio_places(bytes: &[u8]) -> u64 {
    let named = str::from_utf8(bytes).map_or(0, |line| place::of_command_line(line).len());
    (named as u64) << 8 | place::of_dsdt(bytes).len() as u64
}

/// Looks for functions on a bus whose configuration space is these bytes, over and over, and reads
/// their capabilities.
pub fn pci_bus(bytes: &[u8]) -> u64 {
    let mut bus = Bus::scan(Claims { bytes, written: BTreeMap::new() }, WINDOW);
    let functions = bus.functions().to_vec();
    let mut capabilities = 0;
    for function in &functions {
        for capability in bus.capabilities(function) {
            capabilities += 1;
            for index in [0, 1, 4, u8::MAX] {
                let _ = bus.capability_word(function, capability, index);
            }
        }
        for index in 0..=6 {
            let _ = function.memory(index, u64::MAX - 8, 16);
            let Some(bar) = function.bar(index) else { continue };
            assert!(function.memory(index, 0, bar.bytes).is_some(), "a BAR holds itself");
        }
        bus.enable(function);
    }
    let functions: Vec<u16> = functions.iter().map(|function| function.device).collect();
    (functions.len() as u64) << 16 | capabilities
}

/// Configuration space that remembers what is written to it, where the bytes let it.
struct Claims<'a> {
    bytes: &'a [u8],
    written: BTreeMap<(Place, u8), u32>,
}

impl Claims<'_> {
    fn word(&self, place: Place, offset: u8) -> Option<u32> {
        let number = usize::from(place.device) + 4 * usize::from(place.bus);
        let first = number * 2 + usize::from(place.function);
        let at = first * CONFIG_BYTES + usize::from(offset);
        self.bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
    }
}

impl Config for Claims<'_> {
    fn read(&mut self, place: Place, offset: u8) -> u32 {
        if let Some(written) = self.written.get(&(place, offset)) {
            return *written;
        }
        self.word(place, offset).unwrap_or(u32::MAX)
    }

    fn write(&mut self, place: Place, offset: u8, value: u32) {
        // Which bits take: a register like any other, from the second half of the space.
        if let Some(mask) = self.word(place, offset | 0x80) {
            self.written.insert((place, offset), value & mask);
        }
    }
}

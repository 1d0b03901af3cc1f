//! The PVH start-info as bytes: proven before it is believed.
//!
//! Owns the layouts of `hvm_start_info`, its memory map and its module list (Xen, "x86/HVM direct
//! boot ABI", version 1) and the carving of that map into the regions of a
//! `bootloader_api::BootInfo`. Pure: bytes in, values out. `crate::boot` fetches the bytes.

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};

/// `HVM_START_MAGIC_VALUE`: "xEn3" with the top bit of the E set.
const MAGIC: u32 = 0x336e_c578;
/// Length of a version 1 start-info.
pub(crate) const START_INFO_BYTES: usize = 56;
/// Length of a memory map entry.
pub(crate) const MEMORY_ENTRY_BYTES: usize = 24;
/// Length of a module list entry.
pub(crate) const MODULE_ENTRY_BYTES: usize = 32;
/// RAM, in the memory map's words (as E820 has it).
const KIND_RAM: u32 = 1;

/// Regions beyond this many are ignored: they are memory that goes unused, not a failure.
pub(crate) const REGIONS_MAX: usize = 96;
/// Entries of a loader's map that are looked at.
pub(crate) const MEMORY_ENTRIES_MAX: usize = 64;
/// Ranges that can be held back from the regions: low memory, the image, the modules.
pub(crate) const HELD_BACK_MAX: usize = 4;

/// What makes a start-info unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The magic number is wrong: whatever jumped here was no PVH loader.
    Magic,
    /// Version 0 carries no memory map.
    NoMemoryMap,
}

/// The proven start-info; its addresses are physical and still only claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StartInfo {
    pub(crate) modules: u64,
    pub(crate) module_count: u32,
    pub(crate) command_line: u64,
    pub(crate) rsdp: u64,
    pub(crate) memory_map: u64,
    pub(crate) memory_entries: u32,
}

/// A half-open range of physical addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

impl StartInfo {
    /// Proves the bytes at the address a loader gave.
    pub(crate) fn parse(bytes: &[u8; START_INFO_BYTES]) -> Result<Self, Malformed> {
        if u32_at(bytes, 0) != MAGIC {
            return Err(Malformed::Magic);
        }
        let info = StartInfo {
            module_count: u32_at(bytes, 12),
            modules: u64_at(bytes, 16),
            command_line: u64_at(bytes, 24),
            rsdp: u64_at(bytes, 32),
            memory_map: u64_at(bytes, 40),
            memory_entries: u32_at(bytes, 48),
        };
        if u32_at(bytes, 4) < 1 || info.memory_map == 0 || info.memory_entries == 0 {
            return Err(Malformed::NoMemoryMap);
        }
        Ok(info)
    }
}

/// Where the first module of a module list lies; `None` if it is empty or wraps around.
pub(crate) fn module(entry: &[u8]) -> Option<Range> {
    let (start, bytes) = (u64_at(entry, 0), u64_at(entry, 8));
    let end = start.checked_add(bytes)?;
    (bytes > 0).then_some(Range { start, end })
}

/// Turns a loader's memory map into regions, with the ranges in `held_back` set apart as used.
/// Returns how many regions were written. `held_back` must be sorted and free of overlap.
pub(crate) fn regions(
    memory_map: &[u8],
    held_back: &[Range],
    out: &mut [MemoryRegion; REGIONS_MAX],
) -> usize {
    let mut count = 0;
    let mut push = |start: u64, end: u64, kind| {
        if start < end && count < REGIONS_MAX {
            out[count] = MemoryRegion { start, end, kind };
            count += 1;
        }
    };
    for entry in memory_map.chunks_exact(MEMORY_ENTRY_BYTES).take(MEMORY_ENTRIES_MAX) {
        let start = u64_at(entry, 0);
        let end = start.saturating_add(u64_at(entry, 8));
        let kind = u32_at(entry, 16);
        if kind != KIND_RAM {
            push(start, end, MemoryRegionKind::UnknownBios(kind));
            continue;
        }
        let mut from = start;
        for held in held_back {
            let (held_start, held_end) = (held.start.max(from), held.end.min(end));
            if held_start < held_end {
                push(from, held_start, MemoryRegionKind::Usable);
                push(held_start, held_end, MemoryRegionKind::Bootloader);
                from = held_end;
            }
        }
        push(from, end, MemoryRegionKind::Usable);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    use MemoryRegionKind::{Bootloader, UnknownBios, Usable};

    fn start_info() -> [u8; START_INFO_BYTES] {
        let mut bytes = [0; START_INFO_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4] = 1;
        bytes[24..32].copy_from_slice(&0x2_0000_u64.to_le_bytes());
        bytes[40..48].copy_from_slice(&0x9000_u64.to_le_bytes());
        bytes[48] = 5;
        bytes
    }

    fn entry(start: u64, len: u64, kind: u32) -> [u8; MEMORY_ENTRY_BYTES] {
        let mut bytes = [0; MEMORY_ENTRY_BYTES];
        bytes[0..8].copy_from_slice(&start.to_le_bytes());
        bytes[8..16].copy_from_slice(&len.to_le_bytes());
        bytes[16..20].copy_from_slice(&kind.to_le_bytes());
        bytes
    }

    fn carve(map: &[u8], held: &[Range]) -> ([MemoryRegion; REGIONS_MAX], usize) {
        let mut out = [MemoryRegion::empty(); REGIONS_MAX];
        let count = regions(map, held, &mut out);
        (out, count)
    }

    #[test]
    fn a_good_start_info_is_read() {
        let info = StartInfo::parse(&start_info()).expect("it is good");
        assert_eq!(info.command_line, 0x2_0000);
        assert_eq!((info.memory_map, info.memory_entries), (0x9000, 5));
    }

    #[test]
    fn a_bad_start_info_is_refused() {
        let mut bytes = start_info();
        bytes[3] ^= 1;
        assert_eq!(StartInfo::parse(&bytes), Err(Malformed::Magic));
        for at in [4, 41, 48] {
            let mut bytes = start_info();
            bytes[at] = 0;
            assert_eq!(StartInfo::parse(&bytes), Err(Malformed::NoMemoryMap), "byte {at}");
        }
    }

    #[test]
    fn what_is_held_back_is_cut_out_of_ram() {
        let map = [entry(0, 0x9_f000, 1), entry(0x10_0000, 0x70_0000, 1), entry(0xf0_0000, 9, 2)];
        let held = [Range { start: 0, end: 0x1_0000 }, Range { start: 0x20_0000, end: 0x40_0000 }];
        let (out, count) = carve(map.as_flattened(), &held);
        let found: Vec<_> = out[..count].iter().map(|r| (r.start, r.end, r.kind)).collect();
        assert_eq!(
            found,
            [
                (0, 0x1_0000, Bootloader),
                (0x1_0000, 0x9_f000, Usable),
                (0x10_0000, 0x20_0000, Usable),
                (0x20_0000, 0x40_0000, Bootloader),
                (0x40_0000, 0x80_0000, Usable),
                (0xf0_0000, 0xf0_0009, UnknownBios(2)),
            ]
        );
    }

    #[test]
    fn a_hostile_map_neither_overflows_nor_panics() {
        let map = [entry(u64::MAX - 10, 100, 1), entry(5, 0, 1)];
        let (out, count) = carve(map.as_flattened(), &[Range { start: 0, end: u64::MAX }]);
        assert_eq!((count, out[0].end), (1, u64::MAX));
        let many: Vec<_> = (0..200).map(|i| entry(i * 0x1000, 0x800, 2)).collect();
        assert_eq!(carve(many.as_flattened(), &[]).1, MEMORY_ENTRIES_MAX);
        assert_eq!(carve(&[1, 2, 3], &[]).1, 0);
    }

    #[test]
    fn a_module_that_wraps_around_is_none() {
        let mut bytes = [0; MODULE_ENTRY_BYTES];
        assert_eq!(module(&bytes), None);
        bytes[..8].copy_from_slice(&0x4000_u64.to_le_bytes());
        bytes[8] = 16;
        assert_eq!(module(&bytes), Some(Range { start: 0x4000, end: 0x4010 }));
        bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(module(&bytes), None);
    }
}

//! The PVH start-info as bytes: proven before it is believed.
//!
//! Owns the layouts of `hvm_start_info`, its memory map and its module list (Xen, "x86/HVM direct
//! boot ABI", version 1) and the carving of that map into the regions of a
//! `bootloader_api::BootInfo`. Pure: bytes in, values out. `crate::boot` fetches the bytes.

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use core::fmt;

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

/// Longest command line; a machine with a longer one refuses to run.
pub(crate) const COMMAND_LINE_BYTES_MAX: usize = 2048;
/// Regions beyond this many are ignored: they are memory that goes unused, not a failure.
pub(crate) const REGIONS_MAX: usize = 96;
/// Entries of a loader's map that are looked at.
pub(crate) const MEMORY_ENTRIES_MAX: usize = 64;
/// Ranges that can be held back from the regions: low memory, the image, the modules.
pub(crate) const HELD_BACK_MAX: usize = 4;

/// What makes what a loader left unusable: a sentence that says why there can be no machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// There is nothing where EBX points.
    Missing,
    /// The magic number is wrong: whatever jumped here was no PVH loader.
    Magic(u32),
    /// Version 0 carries no memory map, and version 1 need not.
    NoMemoryMap,
    /// The memory map is where the entry code's tables do not reach.
    MemoryMapOutOfReach,
    /// No entry of the memory map is RAM.
    NoMemory,
    /// The kernel runs where the memory map has no RAM.
    NoMemoryForImage(Range),
    /// The command line is longer than the kernel keeps.
    LongCommandLine,
    /// The command line is not UTF-8.
    GarbledCommandLine,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Missing => write!(f, "the loader left no start-info"),
            Malformed::Magic(magic) => {
                write!(f, "the loader's start-info begins with {magic:#x} where PVH has {MAGIC:#x}")
            }
            Malformed::NoMemoryMap => write!(f, "the loader gave no memory map"),
            Malformed::MemoryMapOutOfReach => {
                write!(f, "the loader's memory map lies beyond the first 4 GiB")
            }
            Malformed::NoMemory => write!(f, "the loader's memory map has no usable memory"),
            Malformed::NoMemoryForImage(Range { start, end }) => write!(
                f,
                "the loader's memory map has no memory at {start:#x} to {end:#x}, where the \
                 kernel is"
            ),
            Malformed::LongCommandLine => {
                write!(f, "the command line is longer than {COMMAND_LINE_BYTES_MAX} bytes")
            }
            Malformed::GarbledCommandLine => write!(f, "the command line is not UTF-8"),
        }
    }
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
            return Err(Malformed::Magic(u32_at(bytes, 0)));
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

/// The command line in the bytes from its start on, of which as many are given as may matter.
pub(crate) fn command_line(bytes: &[u8]) -> Result<&str, Malformed> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let text = bytes.get(..end).filter(|text| text.len() <= COMMAND_LINE_BYTES_MAX);
    str::from_utf8(text.ok_or(Malformed::LongCommandLine)?)
        .map_err(|_| Malformed::GarbledCommandLine)
}

/// The entries of a memory map: what they cover, and of what kind it is.
fn entries(memory_map: &[u8]) -> impl Iterator<Item = (Range, u32)> + Clone {
    memory_map.chunks_exact(MEMORY_ENTRY_BYTES).take(MEMORY_ENTRIES_MAX).map(|entry| {
        let start = u64_at(entry, 0);
        (Range { start, end: start.saturating_add(u64_at(entry, 8)) }, u32_at(entry, 16))
    })
}

/// Whether a memory map can be true of a machine on which the image at `image` runs.
pub(crate) fn check(memory_map: &[u8], image: Range) -> Result<(), Malformed> {
    let ram =
        || entries(memory_map).filter(|(range, kind)| *kind == KIND_RAM && range.start < range.end);
    if ram().next().is_none() {
        return Err(Malformed::NoMemory);
    }
    // Entries may split the image among them, in any order.
    let mut from = image.start;
    while from < image.end {
        let reaches = ram().filter(|(range, _)| range.start <= from && from < range.end);
        let Some(end) = reaches.map(|(range, _)| range.end).max() else {
            return Err(Malformed::NoMemoryForImage(image));
        };
        from = end;
    }
    Ok(())
}

/// Turns a loader's memory map into regions, with the ranges in `held_back` set apart as used.
/// Where entries overlap, what is not RAM wins. Returns how many regions were written. `held_back`
/// must be sorted and free of overlap.
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
    let reserved = entries(memory_map).filter(|(_, kind)| *kind != KIND_RAM);
    for (range, kind) in entries(memory_map) {
        if kind != KIND_RAM {
            push(range.start, range.end, MemoryRegionKind::UnknownBios(kind));
            continue;
        }
        let mut from = range.start;
        while from < range.end {
            let taken = reserved.clone().map(|(range, _)| (range, None));
            let held = held_back.iter().map(|held| (*held, Some(MemoryRegionKind::Bootloader)));
            // What comes first wins; of those that began before, what is not RAM.
            let next = taken
                .chain(held)
                .filter(|(other, _)| other.start < range.end && from < other.end)
                .min_by_key(|(other, kind)| (other.start.max(from), kind.is_some()));
            let Some((other, kind)) = next else { break };
            let (start, end) = (other.start.max(from), other.end.min(range.end));
            push(from, start, MemoryRegionKind::Usable);
            if let Some(kind) = kind {
                push(start, end, kind);
            }
            from = end;
        }
        push(from, range.end, MemoryRegionKind::Usable);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
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
        assert_eq!(StartInfo::parse(&bytes), Err(Malformed::Magic(MAGIC ^ 1 << 24)));
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
    fn what_is_not_ram_wins_where_entries_overlap() {
        let map = [entry(0x1000, 0x9000, 1), entry(0x3000, 0x2000, 2), entry(0x4000, 0x3000, 1)];
        let (out, count) = carve(map.as_flattened(), &[Range { start: 0x2000, end: 0x4000 }]);
        let found: Vec<_> = out[..count].iter().map(|r| (r.start, r.end, r.kind)).collect();
        assert_eq!(
            found,
            [
                (0x1000, 0x2000, Usable),
                (0x2000, 0x4000, Bootloader),
                (0x5000, 0xa000, Usable),
                (0x3000, 0x5000, UnknownBios(2)),
                (0x5000, 0x7000, Usable),
            ]
        );
    }

    #[test]
    fn a_map_that_cannot_be_true_is_refused() {
        let image = Range { start: 0x20_0000, end: 0x40_0000 };
        let good = [entry(0x30_0000, 0x10_0000, 1), entry(0, 0x30_0000, 1)];
        assert_eq!(check(good.as_flattened(), image), Ok(()), "two entries share the image");
        assert_eq!(check(&[], image), Err(Malformed::NoMemory));
        let reserved = [entry(0, u64::MAX, 2), entry(0x20_0000, 0, 1)];
        assert_eq!(check(reserved.as_flattened(), image), Err(Malformed::NoMemory));
        let refused = Err(Malformed::NoMemoryForImage(image));
        for short in [entry(0x20_1000, 0x100_0000, 1), entry(0, 0x3f_ffff, 1)] {
            assert_eq!(check(&short, image), refused);
        }
    }

    #[test]
    fn a_command_line_is_text_of_bounded_length() {
        assert_eq!(command_line(b""), Ok(""));
        assert_eq!(command_line(b"a=b c\0rest"), Ok("a=b c"));
        let longest = [b'x'; COMMAND_LINE_BYTES_MAX];
        assert_eq!(command_line(&longest).map(str::len), Ok(COMMAND_LINE_BYTES_MAX));
        let longer = [b'x'; COMMAND_LINE_BYTES_MAX + 1];
        assert_eq!(command_line(&longer), Err(Malformed::LongCommandLine));
        assert_eq!(command_line(b"\xff\0"), Err(Malformed::GarbledCommandLine));
    }

    #[test]
    fn every_refusal_is_one_sentence() {
        let image = Range { start: 0x20_0000, end: 0x40_0000 };
        for (malformed, words) in [
            (Malformed::Missing, "no start-info"),
            (Malformed::Magic(0x1badb002), "begins with 0x1badb002"),
            (Malformed::NoMemoryMap, "no memory map"),
            (Malformed::MemoryMapOutOfReach, "beyond the first 4 GiB"),
            (Malformed::NoMemory, "no usable memory"),
            (Malformed::NoMemoryForImage(image), "no memory at 0x200000 to 0x400000"),
            (Malformed::LongCommandLine, "longer than 2048 bytes"),
            (Malformed::GarbledCommandLine, "not UTF-8"),
        ] {
            let text = malformed.to_string();
            assert!(text.contains(words) && !text.contains('\n'), "{text}");
        }
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

//! Which CPUs the machine has: ACPI's table of interrupt controllers (MADT).
//!
//! Owns [`Processors`]: the ids of the local APICs of CPUs that may be started, out of the entries
//! of types 0 and 9 (ACPI 6.5, 5.2.12.2 and 5.2.12.12). Pure. Neighbour: `ioapic/madt.rs` reads the
//! table's other entries.

use crate::acpi::{HEADER_BYTES, u32_at};
use crate::cpu::CPUS_MAX;
use core::fmt;

/// Bytes between the header and the first entry: an address and flags.
const FIXED_BYTES: usize = 8;
/// An entry begins with its type and its length.
const ENTRY_HEADER_BYTES: usize = 2;
const TYPE_LOCAL_APIC: u8 = 0;
const LOCAL_APIC_BYTES: usize = 8;
const TYPE_LOCAL_X2APIC: u8 = 9;
const LOCAL_X2APIC_BYTES: usize = 16;
/// The CPU is there and may be started.
const ENABLED: u32 = 1 << 0;
/// The id that means everybody, hence nobody's: a byte's and a word's.
const BROADCAST_ID: u32 = 0xff;
const X2_BROADCAST_ID: u32 = u32::MAX;

/// An entry is too short for its type, or reaches beyond the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MalformedMadt {
    /// Where in the table it begins.
    pub(crate) offset: usize,
}

impl fmt::Display for MalformedMadt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the entry at byte {} of its table of CPUs (ACPI's MADT) is broken", self.offset)
    }
}

/// The ids of the local APICs of enabled CPUs, each once, in the table's order.
#[derive(Debug, Clone)]
pub(crate) struct Processors {
    ids: [u32; CPUS_MAX],
    count: usize,
    /// Enabled CPUs beyond [`CPUS_MAX`].
    pub(crate) left_off: usize,
}

impl Processors {
    /// Reads a whole table, whose sum is right.
    pub(crate) fn parse(table: &[u8]) -> Result<Self, MalformedMadt> {
        let mut found = Processors { ids: [0; CPUS_MAX], count: 0, left_off: 0 };
        let mut offset = HEADER_BYTES + FIXED_BYTES;
        let mut rest = table.get(offset..).ok_or(MalformedMadt { offset: HEADER_BYTES })?;
        while !rest.is_empty() {
            let malformed = MalformedMadt { offset };
            let len = usize::from(*rest.get(1).ok_or(malformed)?);
            let fits = len >= ENTRY_HEADER_BYTES && len <= rest.len();
            let (entry, after) = rest.split_at_checked(len).filter(|_| fits).ok_or(malformed)?;
            if let Some(id) = enabled_id(entry).map_err(|()| malformed)? {
                found.add(id);
            }
            (rest, offset) = (after, offset + len);
        }
        Ok(found)
    }

    /// The ids.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids[..self.count]
    }

    fn add(&mut self, id: u32) {
        if self.ids().contains(&id) {
            return;
        }
        match self.ids.get_mut(self.count) {
            Some(place) => {
                *place = id;
                self.count += 1;
            }
            None => self.left_off += 1,
        }
    }
}

/// The id in an entry, if it is an enabled CPU's.
fn enabled_id(entry: &[u8]) -> Result<Option<u32>, ()> {
    let (bytes, id, flags, nobody) = match *entry {
        [TYPE_LOCAL_APIC, _, _, id, ..] => {
            (LOCAL_APIC_BYTES, Some(u32::from(id)), u32_at(entry, 4), BROADCAST_ID)
        }
        [TYPE_LOCAL_APIC, ..] => return Err(()),
        [TYPE_LOCAL_X2APIC, ..] => {
            (LOCAL_X2APIC_BYTES, u32_at(entry, 4), u32_at(entry, 8), X2_BROADCAST_ID)
        }
        _ => return Ok(None),
    };
    if entry.len() < bytes {
        return Err(());
    }
    let (id, flags) = id.zip(flags).ok_or(())?;
    Ok((flags & ENABLED != 0 && id != nobody).then_some(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn table(entries: &[Vec<u8>]) -> Vec<u8> {
        [vec![0; HEADER_BYTES + FIXED_BYTES], entries.concat()].concat()
    }

    fn local(id: u8, flags: u8) -> Vec<u8> {
        vec![0, 8, 77, id, flags, 0, 0, 0]
    }

    fn local_x2(id: u32, flags: u8) -> Vec<u8> {
        [&[9, 16, 0, 0][..], &id.to_le_bytes(), &[flags, 0, 0, 0], &[0; 4]].concat()
    }

    #[test]
    fn enabled_cpus_of_both_kinds_are_listed_once() {
        let other = vec![1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0];
        let entries = [
            local(0, 1),
            other,
            local(2, 0),
            local(3, 2),
            local(1, 1),
            local_x2(0x1_0000, 1),
            local_x2(1, 1),
            local_x2(5, 0),
            local(255, 1),
            local_x2(u32::MAX, 1),
        ];
        let found = Processors::parse(&table(&entries)).expect("a good table");
        assert_eq!((found.ids(), found.left_off), (&[0, 1, 0x1_0000][..], 0));
    }

    #[test]
    fn cpus_beyond_the_most_are_counted() {
        let entries: Vec<_> = (0..100).map(|id| local_x2(id, 1)).collect();
        let found = Processors::parse(&table(&entries)).expect("a good table");
        assert_eq!((found.ids().len(), found.left_off), (CPUS_MAX, 100 - CPUS_MAX));
    }

    #[test]
    fn broken_entries_are_refused_with_their_place() {
        let first = HEADER_BYTES + FIXED_BYTES;
        for entry in [vec![0, 0], vec![0, 1], vec![7], vec![0, 7, 0, 0, 1, 0, 0], vec![9, 40]] {
            let parsed = Processors::parse(&table(&[local(0, 1), entry.clone()]));
            assert_eq!(parsed.err(), Some(MalformedMadt { offset: first + 8 }), "{entry:?}");
        }
        let cut = Processors::parse(&[0; HEADER_BYTES + 3]);
        assert_eq!(cut.err(), Some(MalformedMadt { offset: HEADER_BYTES }));
    }

    #[test]
    fn every_corrupt_byte_is_survived() {
        let good = table(&[local(0, 1), local(1, 1), local_x2(300, 1)]);
        for at in 0..good.len() {
            for value in 0..=255 {
                let mut bad = good.clone();
                bad[at] = value;
                let _ = Processors::parse(&bad);
            }
            let _ = Processors::parse(&good[..at]);
        }
    }
}

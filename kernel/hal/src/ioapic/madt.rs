//! What the MADT says of I/O APICs (ACPI 6.5, 5.2.12): where they are, how old lines run to them.
//!
//! Owns [`Layout`] and its reading. Pure; firmware's bytes are claims, so every entry is measured
//! before it is read and what does not fit is left out.

use crate::acpi::{HEADER_BYTES, u32_at};
use alloc::vec::Vec;

/// I/O APICs that are looked at.
const IOAPICS_MAX: usize = 8;
/// Interrupts of the ISA bus.
pub(super) const ISA_LINES: u8 = 16;
/// Where the entries begin: after the local APICs' address and the flags.
const ENTRIES: usize = HEADER_BYTES + 8;
const KIND_IOAPIC: u8 = 1;
const KIND_OVERRIDE: u8 = 2;
const IOAPIC_BYTES: usize = 12;
const OVERRIDE_BYTES: usize = 10;
/// Flags of an override: polarity in bits 0 and 1, trigger in bits 2 and 3 (table 5.26).
const POLARITY: u16 = 0b11;
const POLARITY_LOW: u16 = 0b11;
const TRIGGER: u16 = 0b1100;
const TRIGGER_LEVEL: u16 = 0b1100;

/// How a line says that it wants something.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Signal {
    /// It is low then, not high.
    pub(super) low: bool,
    /// For as long as it is so, not by becoming so.
    pub(super) level: bool,
}

impl Signal {
    /// What ISA devices do, and virtio devices in memory bear.
    pub(super) const RISING_EDGE: Signal = Signal { low: false, level: false };
}

/// One I/O APIC.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    /// Physical address of its registers.
    pub(super) address: u64,
    /// Number of its first input among the machine's.
    pub(super) first: u32,
}

/// All of them, and where the ISA lines run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Layout {
    pub(crate) places: Vec<Place>,
    isa: [(u32, Signal); ISA_LINES as usize],
}

impl Layout {
    /// A PC's, where no table says otherwise: one I/O APIC at its customary address.
    pub(super) fn customary() -> Self {
        Layout {
            places: Vec::from([Place { address: 0xfec0_0000, first: 0 }]),
            isa: core::array::from_fn(|line| (line as u32, Signal::RISING_EDGE)),
        }
    }

    /// Reads a MADT whose length and sum were checked.
    pub(crate) fn parse(madt: &[u8]) -> Self {
        let mut layout = Layout { places: Vec::new(), ..Layout::customary() };
        let mut rest = madt.get(ENTRIES..).unwrap_or(&[]);
        while let [kind, length, ..] = *rest {
            // An entry shorter than its own head would be read for ever.
            let Some((entry, after)) = rest.split_at_checked(usize::from(length).max(2)) else {
                break;
            };
            match kind {
                KIND_IOAPIC if entry.len() >= IOAPIC_BYTES => layout.add_ioapic(entry),
                KIND_OVERRIDE if entry.len() >= OVERRIDE_BYTES => layout.add_override(entry),
                _ => {}
            }
            rest = after;
        }
        if layout.places.is_empty() {
            layout.places = Layout::customary().places;
        }
        layout
    }

    /// The input that an ISA line runs to, and how it signals. None beyond the 16 lines.
    pub(super) fn isa(&self, line: u8) -> Option<(u32, Signal)> {
        self.isa.get(usize::from(line)).copied()
    }

    fn add_ioapic(&mut self, entry: &[u8]) {
        let (Some(address), Some(first)) = (u32_at(entry, 4), u32_at(entry, 8)) else { return };
        if address != 0 && self.places.len() < IOAPICS_MAX {
            self.places.push(Place { address: u64::from(address), first });
        }
    }

    fn add_override(&mut self, entry: &[u8]) {
        let Some(input) = u32_at(entry, 4) else { return };
        let flags = u16::from_le_bytes([entry[8], entry[9]]);
        let low = flags & POLARITY == POLARITY_LOW;
        let level = flags & TRIGGER == TRIGGER_LEVEL;
        if let Some(line) = self.isa.get_mut(usize::from(entry[3])) {
            *line = (input, Signal { low, level });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn madt(entries: &[&[u8]]) -> Vec<u8> {
        [vec![0; ENTRIES], entries.concat()].concat()
    }

    /// As QEMU's microvm has it: two I/O APICs, the 8254 on input 2, PCI's lines by level.
    #[test]
    fn a_good_table_is_read() {
        let layout = Layout::parse(&madt(&[
            &[0, 8, 0, 0, 1, 0, 0, 0],
            &[1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0],
            &[2, 10, 0, 0, 2, 0, 0, 0, 0, 0],
            &[2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0],
            &[2, 10, 0, 10, 11, 0, 0, 0, 0x0f, 0],
            &[1, 12, 1, 0, 0, 0, 0xc1, 0xfe, 24, 0, 0, 0],
        ]));
        let places = [(0xfec0_0000, 0), (0xfec1_0000, 24)];
        let places = places.map(|(address, first)| Place { address, first });
        assert_eq!(layout.places, places);
        assert_eq!(layout.isa(0), Some((2, Signal::RISING_EDGE)));
        assert_eq!(layout.isa(4), Some((4, Signal::RISING_EDGE)));
        assert_eq!(layout.isa(9), Some((9, Signal { low: false, level: true })));
        assert_eq!(layout.isa(10), Some((11, Signal { low: true, level: true })));
        assert_eq!(layout.isa(16), None);
    }

    #[test]
    fn a_table_of_nonsense_is_survived() {
        let customary = Layout::customary();
        assert_eq!(Layout::parse(&[]), customary);
        assert_eq!(Layout::parse(&madt(&[&[1, 0, 0, 0], &[1, 255, 0]])), customary);
        assert_eq!(Layout::parse(&madt(&[&[2, 10, 0, 99, 5, 0, 0, 0, 0, 0]])), customary);
        assert_eq!(Layout::parse(&madt(&[&[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]])), customary);
        let mut state = 7_u64;
        for _ in 0..10_000 {
            let mut bytes = vec![0; ENTRIES + 64];
            for byte in &mut bytes {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (state >> 56) as u8 % 16;
            }
            assert!(!Layout::parse(&bytes).places.is_empty());
        }
    }
}

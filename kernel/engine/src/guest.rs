//! A guest's memory as the host sees it: every pointer is unproven until it was checked here.
//!
//! Owns [`Region`], a proven range of a guest's memory, and [`BadPointer`]. A memory never shrinks,
//! so what was proven stays so while the process lives, also across a suspension.

use core::fmt;
use core::ops::Range;

/// A pointer or length that lies outside the guest's memory. Ends the process.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct BadPointer;

/// A range of a guest's memory that is inside of it.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Region {
    start: usize,
    len: usize,
}

impl Region {
    /// Proves that `len` bytes at `pointer`, both as the guest gave them, are inside `memory`.
    pub(crate) fn prove(memory: &[u8], pointer: i32, len: i32) -> Result<Region, BadPointer> {
        Region::prove_items(memory, pointer, len, 1)
    }

    /// As [`Region::prove`], for `count` items of `item_bytes` each.
    pub(crate) fn prove_items(
        memory: &[u8],
        pointer: i32,
        count: i32,
        item_bytes: u32,
    ) -> Result<Region, BadPointer> {
        // The guest's numbers are unsigned; none of this can overflow 64 bits.
        let start = u64::from(pointer as u32);
        let len = u64::from(count as u32) * u64::from(item_bytes);
        if start + len > memory.len() as u64 {
            return Err(BadPointer);
        }
        Ok(Region { start: start as usize, len: len as usize })
    }

    pub(crate) fn len(self) -> usize {
        self.len
    }

    /// The region's first `len` bytes, or all of it if it is shorter.
    pub(crate) fn first(self, len: usize) -> Region {
        Region { start: self.start, len: self.len.min(len) }
    }

    /// What is left behind the region's first `len` bytes.
    pub(crate) fn after(self, len: usize) -> Region {
        let skip = self.len.min(len);
        Region { start: self.start + skip, len: self.len - skip }
    }

    fn range(self) -> Range<usize> {
        self.start..self.start + self.len
    }

    /// The region's bytes. `memory` is the one that it was proven for.
    pub(crate) fn of(self, memory: &[u8]) -> &[u8] {
        &memory[self.range()]
    }

    /// The region's bytes, to write to.
    pub(crate) fn of_mut(self, memory: &mut [u8]) -> &mut [u8] {
        &mut memory[self.range()]
    }

    /// Copies `bytes` to the start of the region; what does not fit is left out.
    pub(crate) fn write(self, memory: &mut [u8], bytes: &[u8]) {
        let len = self.len.min(bytes.len());
        self.first(len).of_mut(memory).copy_from_slice(&bytes[..len]);
    }
}

impl fmt::Display for BadPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pointer given to a host call lies outside the memory")
    }
}

impl core::error::Error for BadPointer {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_inside_is_proven() {
        let memory = [0; 100];
        let good = [(0, 100), (99, 1), (100, 0), (0, 0), (50, 50)];
        for (pointer, len) in good {
            let region = Region::prove(&memory, pointer, len).expect("inside");
            assert_eq!(region.of(&memory).len(), len as usize);
        }
        let bad = [(0, 101), (100, 1), (101, 0), (-1, 0), (-1, 1), (1, -1), (0, -1), (-1, -1)];
        for (pointer, len) in bad {
            assert_eq!(Region::prove(&memory, pointer, len), Err(BadPointer), "{pointer} {len}");
        }
        assert!(Region::prove_items(&memory, 0, 12, 8).is_ok());
        assert!(Region::prove_items(&memory, 0, 13, 8).is_err());
        assert!(Region::prove_items(&memory, 0, -1, u32::MAX).is_err());
    }

    #[test]
    fn a_write_never_leaves_its_region() {
        let mut memory = [0; 8];
        let region = Region::prove(&memory, 2, 4).expect("inside");
        region.write(&mut memory, &[7; 100]);
        assert_eq!(memory, [0, 0, 7, 7, 7, 7, 0, 0]);
        region.after(3).write(&mut memory, &[9; 100]);
        assert_eq!(memory, [0, 0, 7, 7, 7, 9, 0, 0]);
        assert_eq!(region.after(100).len(), 0);
        assert_eq!(region.first(1).of(&memory), [7]);
    }
}

//! Which function an address lies in: a table small enough to travel inside the kernel.
//!
//! Owns the format, [`encode`] for the build step that fills the kernel's `.symbols` section
//! (`tools/symbolize`), and [`Table`] for the backtrace that reads it (`craton_hal::backtrace`).
//! Reading allocates nothing and believes nothing: a damaged table gives no name, or a wrong one.
//!
//! ```text
//!   magic 8 │ base u64 │ text bytes u32 │ blocks u32 │ blocks × (address u32, at u32) │ entries
//!   entry: distance to the last one's address (LEB128) │ bytes shared with the last one's name u8
//!          │ further bytes u8 │ those bytes
//! ```
//! Addresses count from `base`. Neighbours in the image mostly share the path in front of their
//! names, so an entry writes only what differs; each block of [`BLOCK_ENTRIES`] starts anew.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::vec::Vec;

/// Bytes of the longest name; longer ones are cut.
pub const NAME_BYTES_MAX: usize = 255;
/// Entries that a look-up reads at most, and of which the first is found by bisection.
pub const BLOCK_ENTRIES: usize = 16;

const MAGIC: &[u8; 8] = b"CRTNSYM1";
const HEADER_BYTES: usize = 24;
const INDEX_BYTES: usize = 8;

/// A name as read from the table.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    bytes: [u8; NAME_BYTES_MAX],
    len: usize,
}

impl Name {
    const fn new() -> Self {
        Name { bytes: [0; NAME_BYTES_MAX], len: 0 }
    }

    /// The text; empty if the table held none.
    pub fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or("")
    }

    /// Keeps `shared` bytes and appends `rest`; `None` if the table contradicts itself.
    fn replace(&mut self, shared: usize, rest: &[u8]) -> Option<()> {
        let end = shared.checked_add(rest.len())?;
        if shared > self.len {
            return None;
        }
        self.bytes.get_mut(shared..end)?.copy_from_slice(rest);
        self.len = end;
        Some(())
    }
}

/// A table as it lies in memory.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    base: u64,
    text_bytes: u32,
    index: &'a [u8],
    entries: &'a [u8],
}

impl<'a> Table<'a> {
    /// The table at the start of `bytes`; `None` if there is none.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.get(..MAGIC.len())? != MAGIC {
            return None;
        }
        let base = u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?);
        let blocks = word(bytes, 20)? as usize;
        let index_end = blocks.checked_mul(INDEX_BYTES)?.checked_add(HEADER_BYTES)?;
        Some(Table {
            base,
            text_bytes: word(bytes, 16)?,
            index: bytes.get(HEADER_BYTES..index_end)?,
            entries: bytes.get(index_end..)?,
        })
    }

    /// The function that an address lies in, and how far from its start.
    pub fn find(&self, address: u64) -> Option<(Name, u64)> {
        let wanted = u32::try_from(address.checked_sub(self.base)?).ok()?;
        if wanted >= self.text_bytes {
            return None;
        }
        let (mut address, at) = self.block(wanted)?;
        let mut entries = self.entries.get(at..)?;
        let (mut name, mut found) = (Name::new(), None);
        for _ in 0..BLOCK_ENTRIES {
            let Some(distance) = take_varint(&mut entries) else { break };
            address = address.checked_add(distance)?;
            if address > wanted {
                break;
            }
            let [shared, len] = *entries.split_off(..2)? else { return None };
            name.replace(shared.into(), entries.split_off(..len.into())?)?;
            found = Some((name, u64::from(wanted - address)));
        }
        found
    }

    /// Address and place of the last block that starts at or before `wanted`.
    fn block(&self, wanted: u32) -> Option<(u32, usize)> {
        let (mut low, mut high) = (0, self.index.len() / INDEX_BYTES);
        while low < high {
            let middle = low + (high - low) / 2;
            if word(self.index, middle * INDEX_BYTES)? <= wanted {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let at = low.checked_sub(1)? * INDEX_BYTES;
        Some((word(self.index, at)?, word(self.index, at + 4)? as usize))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn take_varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0;
    for shift in (0..32).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn push_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes the table of functions given as (address, name), sorted by address. What lies outside of
/// `text_bytes` bytes from `base`, or at the address of the one before, is left out; names are cut
/// to `name_bytes_max`.
pub fn encode(
    base: u64,
    text_bytes: u32,
    functions: &[(u64, &str)],
    name_bytes_max: usize,
) -> Vec<u8> {
    let (mut index, mut entries) = (Vec::new(), Vec::new());
    let mut last: Option<(u32, &[u8])> = None;
    let mut count = 0;
    for (address, name) in functions {
        let relative = address.checked_sub(base).and_then(|distance| u32::try_from(distance).ok());
        let Some(address) = relative.filter(|address| *address < text_bytes) else { continue };
        if last.is_some_and(|(before, _)| before >= address) {
            continue;
        }
        let name = &name.as_bytes()[..name.floor_char_boundary(name_bytes_max.min(NAME_BYTES_MAX))];
        if count % BLOCK_ENTRIES == 0 {
            index.extend_from_slice(&address.to_le_bytes());
            index.extend_from_slice(&(entries.len() as u32).to_le_bytes());
            last = None;
        }
        let (before, before_name) = last.unwrap_or((address, &[]));
        let shared = name.iter().zip(before_name).take_while(|(a, b)| a == b).count();
        push_varint(&mut entries, address - before);
        entries.extend_from_slice(&[shared as u8, (name.len() - shared) as u8]);
        entries.extend_from_slice(&name[shared..]);
        last = Some((address, name));
        count += 1;
    }
    let blocks = (index.len() / INDEX_BYTES) as u32;
    let mut table = Vec::from(*MAGIC);
    table.extend_from_slice(&base.to_le_bytes());
    table.extend_from_slice(&text_bytes.to_le_bytes());
    table.extend_from_slice(&blocks.to_le_bytes());
    table.extend_from_slice(&index);
    table.extend_from_slice(&entries);
    table
}

#[cfg(test)]
mod tests;

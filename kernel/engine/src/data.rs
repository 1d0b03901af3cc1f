//! What a program's memory holds in the beginning, as its WebAssembly says.
//!
//! Owns [`data_of`], for compiler and node alike: the compiler leaves the data out of an artifact's
//! code if it can read them here, and marks it with [`DATA_IN_PAGES`](crate::DATA_IN_PAGES); the
//! node then reads them here too, and lets memories have them page by page
//! (`docs/decisions/0028`). So both decide alike. Total on bytes of any kind.

use alloc::vec::Vec;

/// Most pages that data are put into; of programs with more the code copies them.
const PAGES_MAX: usize = 256;
/// Bytes of such a page.
const PAGE_BYTES: usize = 4096;
/// Bytes of a page of WebAssembly.
const WASM_PAGE_BYTES: u64 = 64 << 10;

const HEADER: &[u8] = b"\0asm\x01\0\0\0";
const MEMORY_SECTION: u8 = 5;
const DATA_SECTION: u8 = 11;
/// Flags of a memory: a bound. All others are of proposals that programs do not use.
const BOUNDED: u8 = 1;
const I32_CONST: u8 = 0x41;
const END: u8 = 0x0b;

/// The active data of a module, in their order: where each begins, and its bytes. `None` if there
/// are none, or some that are not as simple as most: more than fit some pages, where only running
/// code finds them, or beyond the memory, which is for the code to find out.
pub fn data_of(wasm: &[u8]) -> Option<Vec<(u32, &[u8])>> {
    let mut reader = Reader(wasm.strip_prefix(HEADER)?);
    let (mut memory_bytes, mut data) = (0, Vec::new());
    while !reader.0.is_empty() {
        let (id, len) = (reader.byte()?, reader.number()?);
        let mut section = Reader(reader.take(len)?);
        match id {
            MEMORY_SECTION => memory_bytes = section.memory_bytes()?,
            DATA_SECTION => data = section.segments()?,
            _ => {}
        }
    }
    let end = |(start, bytes): &(u32, &[u8])| u64::from(*start) + bytes.len() as u64;
    let fits = data.iter().all(|segment| end(segment) <= memory_bytes);
    let pages: usize = data.iter().map(|(_, bytes)| bytes.len().div_ceil(PAGE_BYTES) + 1).sum();
    (fits && !data.is_empty() && pages <= PAGES_MAX).then_some(data)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: u32) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len as usize)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// A number of at most 32 bits in LEB128, and how many bits it was given in.
    fn leb(&mut self) -> Option<(u32, u32)> {
        let mut number = 0;
        for shift in (0..5).map(|group| group * 7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some((number as u32, shift + 7));
            }
        }
        None
    }

    fn number(&mut self) -> Option<u32> {
        self.leb().map(|(number, _)| number)
    }

    fn signed_number(&mut self) -> Option<i32> {
        let (number, bits) = self.leb()?;
        let unused = u32::BITS.saturating_sub(bits);
        Some((number << unused).cast_signed() >> unused)
    }

    /// What the one memory has in the beginning.
    fn memory_bytes(&mut self) -> Option<u64> {
        let (count, flags, pages) = (self.number()?, self.byte()?, self.number()?);
        let plain = count == 1 && flags & !BOUNDED == 0;
        plain.then_some(u64::from(pages) * WASM_PAGE_BYTES)
    }

    fn segments(&mut self) -> Option<Vec<(u32, &'a [u8])>> {
        let mut active = Vec::new();
        for _ in 0..self.number()? {
            let start = match self.number()? {
                0 => Some(self.offset()?),
                1 => None,
                _ => return None,
            };
            let len = self.number()?;
            let bytes = self.take(len)?;
            active.extend(start.map(|start| (start, bytes)));
        }
        Some(active)
    }

    fn offset(&mut self) -> Option<u32> {
        let (first, offset, last) = (self.byte()?, self.signed_number()?, self.byte()?);
        (first == I32_CONST && last == END).then_some(offset.cast_unsigned())
    }
}

#[cfg(test)]
mod tests;

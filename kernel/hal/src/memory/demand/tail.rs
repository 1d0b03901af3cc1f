//! The end of a memory, which goes when it gets smaller.
//!
//! Owns the unmapping of what lies behind the bytes that may be used: what was given to the last
//! process that had the memory. Compiled code counts on a fault there (`Sparse::cut`).

use super::{LISTED_PAGES, PAGE_BYTES, Pages, Relaxed, physical, tlb, with_space};

impl Pages {
    /// Unmaps the pages from a number on.
    pub(super) fn unmap_from(&self, first: u32) {
        let mapped = self.mapped.load(Relaxed);
        if mapped > LISTED_PAGES {
            return self.unmap_tail(first);
        }
        let (mut gone, mut count) = ([0; LISTED_PAGES], 0);
        for place in 0..mapped {
            let number = self.listed[place].load(Relaxed);
            if number < first {
                self.listed[place - count].store(number, Relaxed);
            } else {
                gone[count] = self.page(number);
                count += 1;
            }
        }
        if count > 0 {
            with_space(|space| space.unmap_some(gone[..count].iter().copied()));
            self.mapped.store(mapped - count, Relaxed);
        }
    }

    /// As [`Pages::unmap_from`], where not all pages are listed: their tables are searched.
    fn unmap_tail(&self, first: u32) {
        let (start, end) = (self.page(first), self.page(self.pages_max as u32));
        with_space(|space| {
            let mut next = start;
            let mut gone = 0;
            while let Some((page, _)) = space.mapper.next_mapped(next, end) {
                (next, gone) = (page + PAGE_BYTES, gone + 1);
            }
            if gone == 0 {
                return;
            }
            space.mapper.unmap_range(start, end, physical::give_unmapped);
            space.mapper.prune(start, end);
            tlb::flush_all();
            self.mapped.store(self.mapped.load(Relaxed) - gone, Relaxed);
            let mut next = self.base;
            for place in &self.listed {
                let Some((page, _)) = space.mapper.next_mapped(next, start) else { break };
                place.store(((page - self.base) / PAGE_BYTES) as u32, Relaxed);
                next = page + PAGE_BYTES;
            }
        });
    }
}

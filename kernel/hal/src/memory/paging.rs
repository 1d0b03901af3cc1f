//! Page tables: four levels, pages of 4 KiB and 2 MiB, W^X by type.
//!
//! Owns [`Mapper`] and [`Protection`], which has no variant both writable and executable. Tables
//! come from a [`TableStore`], the machine's or a test's. It does not flush the TLB and does not
//! own the frames it maps: [`super::vm`] does both. Layouts are of the Intel SDM, vol. 3, 4.5.

use super::layout::{LARGE_PAGE_BYTES, PAGE_BYTES};
use x86_64::PhysAddr;
use x86_64::structures::paging::page_table::PageTableEntry;
use x86_64::structures::paging::{PageTable, PageTableFlags};

/// Entries of a table.
const ENTRIES: usize = 512;

/// What a page allows. A page that is writable *and* executable cannot be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Read.
    ReadOnly,
    /// Read and write.
    ReadWrite,
    /// Read and execute.
    ReadExecute,
}

/// How a page's memory is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    /// Memory.
    WriteBack,
    /// Device registers.
    Uncached,
}

/// Why a mapping could not be made; no page was changed, though a table may have been added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MapError {
    /// No frame is left for a table.
    NoTable,
    /// Something is mapped there already.
    AlreadyMapped,
    /// Nothing is mapped there.
    NotMapped,
}

/// Where the frames of page tables come from and how they are reached.
pub(crate) trait TableStore {
    /// A zeroed table: its physical address.
    fn take(&mut self) -> Option<PhysAddr>;
    /// Gives back a table that [`TableStore::take`] gave.
    fn give(&mut self, table: PhysAddr);
    /// The table at an address that [`TableStore::take`] gave.
    fn table(&mut self, table: PhysAddr) -> &mut PageTable;
}

impl Protection {
    /// As flags of a page table entry.
    pub(crate) fn flags(self) -> PageTableFlags {
        PageTableFlags::PRESENT
            | match self {
                Protection::ReadOnly => PageTableFlags::NO_EXECUTE,
                Protection::ReadWrite => PageTableFlags::WRITABLE | PageTableFlags::NO_EXECUTE,
                Protection::ReadExecute => PageTableFlags::empty(),
            }
    }

    /// The protection that flags express; `None` for the one that must not exist.
    pub(crate) fn of(flags: PageTableFlags) -> Option<Protection> {
        let writable = flags.contains(PageTableFlags::WRITABLE);
        let executable = !flags.contains(PageTableFlags::NO_EXECUTE);
        match (writable, executable) {
            (false, false) => Some(Protection::ReadOnly),
            (true, false) => Some(Protection::ReadWrite),
            (false, true) => Some(Protection::ReadExecute),
            (true, true) => None,
        }
    }
}

impl Cache {
    fn flags(self) -> PageTableFlags {
        match self {
            Cache::WriteBack => PageTableFlags::empty(),
            Cache::Uncached => PageTableFlags::NO_CACHE | PageTableFlags::WRITE_THROUGH,
        }
    }
}

/// A mapping as the tables have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// The physical address that the looked-up address has.
    pub(crate) physical: u64,
    pub(crate) flags: PageTableFlags,
}

/// The index into the table of a level, 4 being the root's.
fn index(address: u64, level: u8) -> usize {
    (address >> (12 + 9 * (level - 1))) as usize % ENTRIES
}

/// Flags of entries that lead to a table: the entries of the last level protect.
const TABLE_FLAGS: PageTableFlags = PageTableFlags::PRESENT.union(PageTableFlags::WRITABLE);

/// The page tables of one address space.
pub(crate) struct Mapper<S> {
    pub(crate) store: S,
    root: PhysAddr,
}

impl<S: TableStore> Mapper<S> {
    /// An address space in which nothing is mapped; `None` without a frame for its root.
    pub(crate) fn new(mut store: S) -> Option<Self> {
        let root = store.take()?;
        Some(Mapper { store, root })
    }

    /// An address space that exists: the root is a table the store can reach.
    pub(crate) fn over(store: S, root: PhysAddr) -> Self {
        Mapper { store, root }
    }

    /// The physical address of the root table, for CR3.
    pub(crate) fn root(&self) -> PhysAddr {
        self.root
    }

    /// The entry that covers `address` at `level`, with the tables above it made if `make`.
    fn entry(
        &mut self,
        address: u64,
        level: u8,
        make: bool,
    ) -> Result<&mut PageTableEntry, MapError> {
        let mut table = self.root;
        for upper in (level + 1..=4).rev() {
            let entry = &self.store.table(table)[index(address, upper)];
            if entry.flags().contains(PageTableFlags::HUGE_PAGE) {
                return Err(MapError::AlreadyMapped);
            }
            if !entry.is_unused() {
                table = entry.addr();
                continue;
            }
            if !make {
                return Err(MapError::NotMapped);
            }
            let below = self.store.take().ok_or(MapError::NoTable)?;
            self.store.table(table)[index(address, upper)].set_addr(below, TABLE_FLAGS);
            table = below;
        }
        Ok(&mut self.store.table(table)[index(address, level)])
    }

    /// Maps a page of 4 KiB.
    pub(crate) fn map(
        &mut self,
        page: u64,
        frame: u64,
        protection: Protection,
        cache: Cache,
    ) -> Result<(), MapError> {
        let entry = self.entry(page, 1, true)?;
        if !entry.is_unused() {
            return Err(MapError::AlreadyMapped);
        }
        entry.set_addr(PhysAddr::new(frame), protection.flags() | cache.flags());
        Ok(())
    }

    /// Maps a page of 2 MiB, readable and writable.
    pub(crate) fn map_large(&mut self, page: u64, frame: u64) -> Result<(), MapError> {
        let entry = self.entry(page, 2, true)?;
        if !entry.is_unused() {
            return Err(MapError::AlreadyMapped);
        }
        let flags = Protection::ReadWrite.flags() | PageTableFlags::HUGE_PAGE;
        entry.set_addr(PhysAddr::new(frame), flags);
        Ok(())
    }

    /// Changes what a page of 4 KiB allows. A page of 2 MiB around it is split first, which takes a
    /// frame for the table.
    pub(crate) fn protect(&mut self, page: u64, protection: Protection) -> Result<(), MapError> {
        self.split(page)?;
        let entry = self.entry(page, 1, false)?;
        if entry.is_unused() {
            return Err(MapError::NotMapped);
        }
        let keep = entry.flags() & (PageTableFlags::NO_CACHE | PageTableFlags::WRITE_THROUGH);
        entry.set_flags(protection.flags() | keep);
        Ok(())
    }

    /// Unmaps a page of 4 KiB and returns the frame that was there.
    pub(crate) fn unmap(&mut self, page: u64) -> Result<u64, MapError> {
        self.split(page)?;
        let entry = self.entry(page, 1, false)?;
        if entry.is_unused() {
            return Err(MapError::NotMapped);
        }
        let frame = entry.addr().as_u64();
        entry.set_unused();
        Ok(frame)
    }

    /// Replaces a page of 2 MiB by 512 of 4 KiB that map the same.
    fn split(&mut self, page: u64) -> Result<(), MapError> {
        let entry = self.entry(page, 2, false)?;
        if !entry.flags().contains(PageTableFlags::HUGE_PAGE) {
            return Ok(());
        }
        let (first, flags) = (entry.addr().as_u64(), entry.flags() - PageTableFlags::HUGE_PAGE);
        let below = self.store.take().ok_or(MapError::NoTable)?;
        for (i, small) in self.store.table(below).iter_mut().enumerate() {
            small.set_addr(PhysAddr::new(first + i as u64 * PAGE_BYTES), flags);
        }
        self.entry(page, 2, false)?.set_addr(below, TABLE_FLAGS);
        Ok(())
    }

    /// Gives back the tables that cover nothing but unused entries in a range of unmapped pages.
    pub(crate) fn prune(&mut self, start: u64, end: u64) {
        let mut page = start - start % LARGE_PAGE_BYTES;
        while page < end {
            for level in 2..=3 {
                self.prune_below(page, level);
            }
            page += LARGE_PAGE_BYTES;
        }
    }

    /// Gives back the table under the entry for `page` at `level` if it is empty.
    fn prune_below(&mut self, page: u64, level: u8) {
        let Ok(entry) = self.entry(page, level, false) else { return };
        if entry.is_unused() || entry.flags().contains(PageTableFlags::HUGE_PAGE) {
            return;
        }
        let below = entry.addr();
        if self.store.table(below).iter().any(|entry| !entry.is_unused()) {
            return;
        }
        if let Ok(entry) = self.entry(page, level, false) {
            entry.set_unused();
            self.store.give(below);
        }
    }

    /// Visits the pages of a range that were written to since they were mapped or visited here: the
    /// address of each and its frame. The caller flushes them, or the CPU notes no later write.
    pub(crate) fn take_dirty(
        &mut self,
        pages: impl Iterator<Item = u64>,
        mut each: impl FnMut(u64, u64),
    ) {
        let mut pages = pages;
        let mut next = pages.next();
        while let Some(page) = next {
            // Neighbours have one table.
            let large = page / LARGE_PAGE_BYTES;
            let mut table = self.table_of(page).ok();
            while let Some(page) = next.filter(|page| page / LARGE_PAGE_BYTES == large) {
                if let Some(table) = &mut table {
                    let entry = &mut table[index(page, 1)];
                    let flags = entry.flags();
                    if flags.contains(PageTableFlags::PRESENT | PageTableFlags::DIRTY) {
                        entry.set_flags(flags - PageTableFlags::DIRTY);
                        each(page, entry.addr().as_u64());
                    }
                }
                next = pages.next();
            }
        }
    }

    /// The first page of 4 KiB that is mapped in a range, and its frame.
    pub(crate) fn next_mapped(&mut self, start: u64, end: u64) -> Option<(u64, u64)> {
        self.find_entry(start, end, |page, entry| {
            (!entry.is_unused()).then(|| (page, entry.addr().as_u64()))
        })
    }

    /// Unmaps all pages of 4 KiB in a range and tells the frame of each. Skips what has no table.
    pub(crate) fn unmap_range(&mut self, start: u64, end: u64, mut each: impl FnMut(u64)) {
        self.find_entry(start, end, |_, entry| {
            if !entry.is_unused() {
                each(entry.addr().as_u64());
                entry.set_unused();
            }
            None::<()>
        });
    }

    /// Goes through the pages of 4 KiB of a range that have a table, until one gives an answer.
    fn find_entry<T>(
        &mut self,
        start: u64,
        end: u64,
        mut each: impl FnMut(u64, &mut PageTableEntry) -> Option<T>,
    ) -> Option<T> {
        let mut page = start;
        while page < end {
            let next = (page - page % LARGE_PAGE_BYTES + LARGE_PAGE_BYTES).min(end);
            if let Ok(table) = self.table_of(page) {
                let first = index(page, 1);
                let pages = ((next - page) / PAGE_BYTES) as usize;
                // By index: `skip` would step through all entries before.
                for i in 0..pages {
                    let found = each(page + i as u64 * PAGE_BYTES, &mut table[first + i]);
                    if found.is_some() {
                        return found;
                    }
                }
            }
            page = next;
        }
        None
    }

    /// Whether there is a table of the last level that covers an address.
    pub(crate) fn has_table(&mut self, address: u64) -> bool {
        self.table_of(address).is_ok()
    }

    /// The table of the last level that covers an address.
    fn table_of(&mut self, address: u64) -> Result<&mut PageTable, MapError> {
        let entry = self.entry(address, 2, false)?;
        if entry.is_unused() || entry.flags().contains(PageTableFlags::HUGE_PAGE) {
            return Err(MapError::NotMapped);
        }
        let table = entry.addr();
        Ok(self.store.table(table))
    }

    /// Looks an address up.
    pub(crate) fn lookup(&mut self, address: u64) -> Option<Mapping> {
        if let Ok(entry) = self.entry(address, 1, false) {
            let (flags, frame) = (entry.flags(), entry.addr().as_u64());
            let mapped = flags.contains(PageTableFlags::PRESENT);
            return mapped.then(|| Mapping { physical: frame + address % PAGE_BYTES, flags });
        }
        let entry = self.entry(address, 2, false).ok()?;
        let (flags, frame) = (entry.flags(), entry.addr().as_u64());
        let large = flags.contains(PageTableFlags::PRESENT | PageTableFlags::HUGE_PAGE);
        large.then(|| Mapping { physical: frame + address % LARGE_PAGE_BYTES, flags })
    }

    /// Visits every page: its address, its length and its mapping.
    #[cfg(any(feature = "metal", test))]
    pub(crate) fn visit(&mut self, each: &mut dyn FnMut(u64, u64, Mapping)) {
        self.visit_table(self.root, 4, 0, each);
    }

    #[cfg(any(feature = "metal", test))]
    fn visit_table(
        &mut self,
        table: PhysAddr,
        level: u8,
        base: u64,
        each: &mut dyn FnMut(u64, u64, Mapping),
    ) {
        let bytes = PAGE_BYTES << (9 * (level - 1));
        for i in 0..ENTRIES {
            let entry = &self.store.table(table)[i];
            let (flags, physical) = (entry.flags(), entry.addr().as_u64());
            if !flags.contains(PageTableFlags::PRESENT) {
                continue;
            }
            let mut address = base + i as u64 * bytes;
            if level == 4 && i >= ENTRIES / 2 {
                address |= 0xffff << 48; // canonical
            }
            if level == 1 || flags.contains(PageTableFlags::HUGE_PAGE) {
                each(address, bytes, Mapping { physical, flags });
            } else {
                self.visit_table(PhysAddr::new(physical), level - 1, address, each);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    /// Tables in host memory, at made-up physical addresses.
    struct Fake {
        tables: BTreeMap<u64, Box<PageTable>>,
        next: u64,
        tables_max: usize,
    }

    impl TableStore for Fake {
        fn take(&mut self) -> Option<PhysAddr> {
            (self.tables.len() < self.tables_max).then(|| {
                self.next += PAGE_BYTES;
                self.tables.insert(self.next, Box::new(PageTable::new()));
                PhysAddr::new(self.next)
            })
        }
        fn give(&mut self, table: PhysAddr) {
            self.tables.remove(&table.as_u64()).expect("it was taken");
        }
        fn table(&mut self, table: PhysAddr) -> &mut PageTable {
            self.tables.get_mut(&table.as_u64()).expect("it was taken")
        }
    }

    fn mapper(tables_max: usize) -> Mapper<Fake> {
        let fake = Fake { tables: BTreeMap::new(), next: 0x10_0000, tables_max };
        Mapper::new(fake).expect("one table is allowed")
    }

    const HIGH: u64 = 0xffff_c000_0000_0000;

    #[test]
    fn no_protection_is_writable_and_executable() {
        for protection in [Protection::ReadOnly, Protection::ReadWrite, Protection::ReadExecute] {
            assert_eq!(Protection::of(protection.flags()), Some(protection));
        }
        assert_eq!(Protection::of(PageTableFlags::PRESENT | PageTableFlags::WRITABLE), None);
    }

    #[test]
    fn entries_are_encoded_as_the_manual_says() {
        let mut m = mapper(10);
        m.map(HIGH, 0x1234_5000, Protection::ReadWrite, Cache::Uncached).expect("free");
        let entry = m.entry(HIGH, 1, false).expect("mapped").clone();
        let raw = entry.addr().as_u64() | entry.flags().bits();
        assert_eq!(raw, 0x8000_0000_1234_501b, "NX, PCD, PWT, RW, P");
    }

    #[test]
    fn what_is_mapped_is_found_and_nothing_else() {
        let mut m = mapper(10);
        m.map(HIGH + 0x3000, 0x7000, Protection::ReadExecute, Cache::WriteBack).expect("free");
        let found = m.lookup(HIGH + 0x3abc).expect("mapped");
        assert_eq!(
            (found.physical, Protection::of(found.flags)),
            (0x7abc, Some(Protection::ReadExecute))
        );
        assert_eq!(m.lookup(HIGH + 0x4000), None);
        assert_eq!(m.lookup(0), None);
        let again = m.map(HIGH + 0x3000, 0x8000, Protection::ReadOnly, Cache::WriteBack);
        assert_eq!(again, Err(MapError::AlreadyMapped));
        assert_eq!(m.unmap(HIGH + 0x3000), Ok(0x7000));
        assert_eq!(m.unmap(HIGH + 0x3000), Err(MapError::NotMapped));
        assert_eq!(m.protect(HIGH + 0x3000, Protection::ReadOnly), Err(MapError::NotMapped));
    }

    #[test]
    fn a_large_page_splits_into_the_same_memory() {
        let mut m = mapper(10);
        m.map_large(HIGH, 0x4000_0000).expect("free");
        assert_eq!(m.lookup(HIGH + 0x1f_ffff).expect("mapped").physical, 0x401f_ffff);
        m.protect(HIGH + 0x5000, Protection::ReadOnly).expect("a table is left");
        for page in 0..512 {
            let found = m.lookup(HIGH + page * 0x1000).expect("mapped");
            assert_eq!(found.physical, 0x4000_0000 + page * 0x1000);
            let protection = if page == 5 { Protection::ReadOnly } else { Protection::ReadWrite };
            assert_eq!(Protection::of(found.flags), Some(protection));
        }
    }

    #[test]
    fn without_tables_nothing_changes() {
        let mut m = mapper(4);
        m.map_large(HIGH, 0x4000_0000).expect("root, two more");
        assert_eq!(m.store.tables.len(), 3);
        m.store.tables_max = 3;
        assert_eq!(m.protect(HIGH, Protection::ReadOnly), Err(MapError::NoTable));
        assert_eq!(
            m.lookup(HIGH).expect("mapped").flags,
            Protection::ReadWrite.flags() | PageTableFlags::HUGE_PAGE
        );
        let other = m.map(0x1000, 0x1000, Protection::ReadOnly, Cache::WriteBack);
        assert_eq!(other, Err(MapError::NoTable));
    }

    #[test]
    fn pruning_returns_every_empty_table_and_no_other() {
        let mut m = mapper(100);
        let pages: Vec<u64> = (0..40).map(|i| HIGH + i * 0x10_0000).collect();
        for &page in &pages {
            m.map(page, 0x9000, Protection::ReadWrite, Cache::WriteBack).expect("free");
        }
        for &page in &pages[1..] {
            m.unmap(page).expect("mapped");
        }
        m.prune(HIGH, HIGH + 40 * 0x10_0000);
        assert_eq!(m.store.tables.len(), 4, "the tables of the one page left");
        assert!(m.lookup(HIGH).is_some());
        m.unmap(HIGH).expect("mapped");
        m.prune(HIGH, HIGH + 0x1000);
        assert_eq!(m.store.tables.len(), 2, "the root and the level below it stay");
    }

    #[test]
    fn a_visit_sees_every_page_once() {
        let mut m = mapper(100);
        m.map_large(HIGH, 0).expect("free");
        m.map(0x20_0000, 0x5000, Protection::ReadOnly, Cache::WriteBack).expect("free");
        let mut seen = Vec::new();
        m.visit(&mut |address, bytes, mapping| seen.push((address, bytes, mapping.physical)));
        assert_eq!(seen, [(0x20_0000, 4096, 0x5000), (HIGH, 2 << 20, 0)]);
    }
}

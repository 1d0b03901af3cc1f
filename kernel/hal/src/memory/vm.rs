//! Reservations: ranges of virtual addresses whose frames come when they are asked for.
//!
//! Owns the kernel's one address space and [`Reservation`]. A reservation begins above a page that
//! is never mapped, as the next one does, so running out of either end faults. Pages are writable
//! or executable, never both; while a page is executable the physical map shows its frame
//! read-only, so no mapping anywhere can write to what runs. Frames and addresses of what is
//! unmapped wait until every CPU has forgotten them; a change of what pages allow is known to all
//! CPUs when it returns (`tlb.rs`). Locks are taken in the order heap, address space, frames.

use super::addresses::{Addresses, Node};
use super::layout::{
    LARGE_PAGE_BYTES, PAGE_BYTES, PHYSICAL_MAP_BASE, RESERVATIONS_BASE, RESERVATIONS_BYTES,
};
use super::paging::{Cache, MapError, Mapper, Protection, TableStore};
use super::physical::{self, Purpose};
use super::tlb as shared;
use core::ops::Range;
use core::ptr::{self, NonNull};
use x86_64::instructions::tlb;
use x86_64::structures::paging::PageTable;
use x86_64::{PhysAddr, VirtAddr};

/// Flushing more pages than this one by one costs more than flushing all.
const FLUSH_PAGES_MAX: u64 = 64;
/// So many fresh frames are mapped at once.
const FRESH_BATCH: usize = 16;

/// So many ranges of addresses in quarantine are closed at an epoch.
const BATCH_RANGES: usize = 128;
const NODES_IN_FRAME: usize = PAGE_BYTES as usize / size_of::<Node>();
/// Frames of list nodes for what is in quarantine while all CPUs do their part.
#[cfg(feature = "metal")]
const SHARED_NODE_FRAMES: usize = 2;
#[cfg(feature = "metal")]
const _: () = assert!(
    SHARED_NODE_FRAMES * NODES_IN_FRAME >= 2 * BATCH_RANGES,
    "or memory would be lost now and then for nodes, and a leak could hide behind that"
);

/// Why a reservation could not be made, grown or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmError {
    /// No frame is left, or only the kernel's reserve.
    NoMemory,
    /// No range of addresses is left, or what was asked for is absurd.
    NoAddresses,
    /// The range is not within what is committed.
    OutOfRange,
}

impl From<MapError> for VmError {
    fn from(error: MapError) -> Self {
        match error {
            MapError::NoTable => VmError::NoMemory,
            MapError::AlreadyMapped | MapError::NotMapped => VmError::OutOfRange,
        }
    }
}

/// Page tables in the machine's frames, reached through the physical map.
pub(crate) struct MachineTables;

impl TableStore for MachineTables {
    fn take(&mut self) -> Option<PhysAddr> {
        physical::take_zeroed(Purpose::Kernel).map(PhysAddr::new)
    }

    fn give(&mut self, table: PhysAddr) {
        // CPUs remember tables too.
        physical::give_unmapped(table.as_u64());
    }

    fn table(&mut self, table: PhysAddr) -> &mut PageTable {
        let table: NonNull<PageTable> = physical::pointer(table.as_u64()).cast();
        // SAFETY: The mapper asks only for frames that hold tables; they are reached through it
        // alone, under the lock of the address space (or on a CPU that stopped in a trap).
        unsafe { &mut *table.as_ptr() }
    }
}

/// The kernel's address space.
pub(super) struct Space {
    pub(super) mapper: Mapper<MachineTables>,
    pub(super) addresses: Addresses,
}

pub(super) static SPACE: shared::Lock<Option<Space>> = shared::Lock::new(None);

impl Space {
    pub(super) fn new(mapper: Mapper<MachineTables>) -> Self {
        let end = RESERVATIONS_BASE + RESERVATIONS_BYTES;
        Space { mapper, addresses: Addresses::new(RESERVATIONS_BASE, end) }
    }

    /// Maps frames on unmapped pages; how many, if not all could be mapped, and why.
    fn map_frames(&mut self, start: u64, frames: &[u64]) -> Result<(), (usize, VmError)> {
        for (i, &frame) in frames.iter().enumerate() {
            let page = start + i as u64 * PAGE_BYTES;
            let mapped = self.mapper.map(page, frame, Protection::ReadWrite, Cache::WriteBack);
            mapped.map_err(|error| (i, error.into()))?;
        }
        Ok(())
    }

    /// Unmaps pages, none of them executable, gives back their frames and the tables that nothing
    /// needs any more. This CPU forgets them now, the others in their time.
    pub(super) fn unmap_all(&mut self, start: u64, pages: usize) {
        let end = start + pages as u64 * PAGE_BYTES;
        for page in (start..end).step_by(PAGE_BYTES as usize) {
            if let Ok(frame) = self.mapper.unmap(page) {
                physical::give_unmapped(frame);
            }
        }
        self.mapper.prune(start, end);
        flush(start, end);
    }

    /// As [`Space::unmap_all`], of single pages.
    pub(super) fn unmap_some(&mut self, pages: impl Iterator<Item = u64> + Clone) {
        for page in pages.clone() {
            if let Ok(frame) = self.mapper.unmap(page) {
                physical::give_unmapped(frame);
            }
            tlb::flush(VirtAddr::new_truncate(page));
        }
        // Those of one table mostly follow one another.
        let mut last = None;
        for page in pages {
            if last.replace(page / LARGE_PAGE_BYTES) != Some(page / LARGE_PAGE_BYTES) {
                self.mapper.prune(page, page + PAGE_BYTES);
                tlb::flush(VirtAddr::new_truncate(page));
            }
        }
    }

    /// Maps what is mapped in a range, none of it executable, from `to` on instead. On an error all
    /// is as it was.
    pub(super) fn move_pages(&mut self, range: Range<u64>, to: u64) -> Result<(), VmError> {
        let (start, end) = (range.start, range.end);
        let mut outcome = Ok(());
        let mapper = &mut self.mapper;
        let mut page = start;
        while let Some((at, frame)) = mapper.next_mapped(page, end) {
            let there = to + (at - start);
            let mapped = mapper.map(there, frame, Protection::ReadWrite, Cache::WriteBack);
            if let Err(error) = mapped {
                outcome = Err(error.into());
                break;
            }
            page = at + PAGE_BYTES;
        }
        // Each frame is mapped twice now: the one mapping or the other goes.
        let (gone, gone_end) = match outcome {
            Ok(()) => (start, end),
            Err(_) => (to, to + (end - start)),
        };
        mapper.unmap_range(gone, gone_end, |_| ());
        mapper.prune(gone, gone_end);
        flush(gone, gone_end);
        outcome
    }

    /// Changes pages and, where they become executable, the physical map's view of their frames
    /// first. Tells whether it shows some read-only that are not executable any more, which is for
    /// [`Space::show_again`]. Who called makes all CPUs forget.
    fn protect_pages(&mut self, pages: Range<u64>, to: Protection) -> Result<bool, VmError> {
        let mut ended = false;
        for page in pages.step_by(PAGE_BYTES as usize) {
            let physical = self.mapper.lookup(page).ok_or(VmError::OutOfRange)?.physical;
            let alias = alias_of(physical);
            if to == Protection::ReadExecute {
                self.mapper.protect(alias, Protection::ReadOnly)?;
            } else {
                let shown = self.mapper.lookup(alias).and_then(|alias| Protection::of(alias.flags));
                ended |= shown == Some(Protection::ReadOnly);
            }
            self.mapper.protect(page, to)?;
        }
        Ok(ended)
    }

    /// Lets the physical map write again to the frames of pages that are executable no longer and
    /// that every CPU has forgotten to be so.
    fn show_again(&mut self, pages: Range<u64>) {
        for page in pages.step_by(PAGE_BYTES as usize) {
            let Some(mapping) = self.mapper.lookup(page) else { continue };
            if Protection::of(mapping.flags) != Some(Protection::ReadExecute) {
                let shown = self.mapper.protect(alias_of(mapping.physical), Protection::ReadWrite);
                shown.expect("the page of the physical map was split when it became read-only");
            }
        }
    }

    /// Takes a frame for list nodes; without one addresses are lost.
    fn add_nodes(&mut self) {
        let Some(frame) = physical::take_zeroed(Purpose::Kernel) else { return };
        let nodes: NonNull<Node> = physical::pointer(frame).cast();
        for i in 0..NODES_IN_FRAME {
            // SAFETY: Within the frame just taken, which is aligned to a page.
            let node = unsafe { nodes.add(i) };
            // SAFETY: The place is valid and holds nothing to drop.
            unsafe { node.write(Node::default()) };
        }
        let nodes = ptr::slice_from_raw_parts_mut(nodes.as_ptr(), NODES_IN_FRAME);
        // SAFETY: The frame is full of nodes, is nobody else's, and is never given back.
        self.addresses.add_nodes(unsafe { &mut *nodes });
    }

    pub(super) fn give_addresses(&mut self, start: u64, pages: usize) {
        if self.addresses.needs_nodes() {
            self.add_nodes();
        }
        if !shared::is_shared() {
            return self.addresses.give(start, pages);
        }
        self.addresses.give_later(start, pages);
        if self.addresses.open_count() < BATCH_RANGES {
            return;
        }
        self.addresses.release(shared::flushed());
        if !self.addresses.is_closed() {
            self.addresses.close(shared::raise());
        } else if self.addresses.open_count().is_multiple_of(BATCH_RANGES) {
            shared::urge();
        }
    }
}

/// Where the physical map shows the frame of a physical address.
pub(super) fn alias_of(physical: u64) -> u64 {
    PHYSICAL_MAP_BASE + physical / PAGE_BYTES * PAGE_BYTES
}

/// Gets ready for other CPUs, before they take part.
#[cfg(feature = "metal")]
pub(crate) fn prepare_sharing() {
    with_space(|space| (0..SHARED_NODE_FRAMES).for_each(|_| space.add_nodes()));
}

/// Makes all CPUs forget what was changed of a range of pages, and waits for it.
fn forget(start: u64, end: u64) {
    if shared::is_shared() {
        shared::shoot_down();
    } else {
        flush(start, end);
    }
}

/// Makes all CPUs forget a change of pages and of the physical map, and waits for it.
fn forget_all() {
    if shared::is_shared() {
        shared::shoot_down();
    } else {
        tlb::flush_all();
    }
}

/// Changes what pages allow, for all CPUs when it returns. The locks are free while it waits.
pub(super) fn protect_for_all(pages: Range<u64>, to: Protection) -> Result<(), VmError> {
    let changed = with_space(|space| space.protect_pages(pages.clone(), to));
    forget_all();
    let ended = changed.ok_or(VmError::NoMemory)??;
    if ended {
        with_space(|space| space.show_again(pages));
        // A CPU that remembers the physical map's page as read-only would fault on it.
        forget_all();
    }
    Ok(())
}

/// Forgets what this CPU remembers of a range of pages and of the tables above them.
fn flush(start: u64, end: u64) {
    if (end - start) / PAGE_BYTES > FLUSH_PAGES_MAX {
        tlb::flush_all();
        return;
    }
    for page in (start..end).step_by(PAGE_BYTES as usize) {
        tlb::flush(VirtAddr::new_truncate(page));
    }
}

/// Maps fresh frames, zeroed, on unmapped pages; all of them or none. The frames are taken and
/// zeroed outside of the lock, so that CPUs can do it at once.
pub(super) fn map_fresh(start: u64, pages: usize, purpose: Purpose) -> Result<(), VmError> {
    let mut mapped = 0;
    while mapped < pages {
        let mut frames = [0; FRESH_BATCH];
        let wanted = (pages - mapped).min(FRESH_BATCH);
        let fresh = core::iter::from_fn(|| physical::take_zeroed(purpose));
        let taken = frames[..wanted].iter_mut().zip(fresh).map(|(place, f)| *place = f).count();
        let page = start + mapped as u64 * PAGE_BYTES;
        let outcome = with_space(|space| space.map_frames(page, &frames[..taken]));
        let (done, error) = match outcome.unwrap_or(Err((0, VmError::NoMemory))) {
            Ok(()) if taken == wanted => (taken, None),
            Ok(()) => (taken, Some(VmError::NoMemory)),
            Err((done, error)) => (done, Some(error)),
        };
        frames[done..taken].iter().for_each(|&frame| physical::give(frame, 1));
        mapped += done;
        if let Some(error) = error {
            let end = start + (mapped as u64 + 1) * PAGE_BYTES;
            with_space(|space| {
                space.unmap_all(start, mapped);
                space.mapper.prune(start, end);
            });
            // The addresses stay with their owner, who may try again at once.
            forget(start, end);
            return Err(error);
        }
    }
    Ok(())
}

pub(super) fn with_space<R>(f: impl FnOnce(&mut Space) -> R) -> Option<R> {
    SPACE.lock().as_mut().map(f)
}

/// A range of addresses, committed from its start: backed by zeroed frames as far as was asked.
/// Dropping it unmaps everything and gives frames and addresses back.
#[derive(Debug)]
pub struct Reservation {
    /// The first address that can be mapped; the page below is the guard.
    base: u64,
    pages_max: usize,
    committed_pages: usize,
    /// Whether pages may be executable.
    executable: bool,
    purpose: Purpose,
}

impl Reservation {
    /// Reserves room for `max_bytes`, for a process. Nothing is mapped yet.
    pub fn new(max_bytes: usize) -> Result<Self, VmError> {
        Self::reserve(max_bytes, Purpose::Process)
    }

    /// Reserves room for `max_bytes`, for the kernel, which may take the last frames.
    pub fn new_for_kernel(max_bytes: usize) -> Result<Self, VmError> {
        Self::reserve(max_bytes, Purpose::Kernel)
    }

    fn reserve(max_bytes: usize, purpose: Purpose) -> Result<Self, VmError> {
        let pages_max = max_bytes.div_ceil(PAGE_BYTES as usize);
        let start = with_space(|space| space.addresses.take(pages_max + 1)).flatten();
        let base = start.ok_or(VmError::NoAddresses)? + PAGE_BYTES;
        Ok(Reservation { base, pages_max, committed_pages: 0, executable: false, purpose })
    }

    /// The first byte. Valid for [`Reservation::committed_bytes`] bytes while `self` lives.
    pub fn as_ptr(&self) -> *mut u8 {
        ptr::with_exposed_provenance_mut(self.base as usize)
    }

    /// Bytes that can be committed, a multiple of a page.
    pub fn max_bytes(&self) -> usize {
        self.pages_max * PAGE_BYTES as usize
    }

    /// Bytes that are mapped, a multiple of a page.
    pub fn committed_bytes(&self) -> usize {
        self.committed_pages * PAGE_BYTES as usize
    }

    /// Maps zeroed, writable frames until at least `bytes` bytes are committed. On an error what
    /// was committed before still is, and nothing more.
    pub fn commit(&mut self, bytes: usize) -> Result<(), VmError> {
        let pages = bytes.div_ceil(PAGE_BYTES as usize);
        if pages > self.pages_max {
            return Err(VmError::OutOfRange);
        }
        let more = pages.saturating_sub(self.committed_pages);
        let start = self.base + self.committed_bytes() as u64;
        let purpose = self.purpose;
        map_fresh(start, more, purpose)?;
        self.committed_pages += more;
        Ok(())
    }

    /// Changes what the pages of a range of bytes allow; the range lies within what is committed
    /// and on page boundaries. Making pages executable can need a frame for a table; on an error
    /// the pages before the one that failed are changed.
    ///
    /// # Safety
    /// Nobody holds a reference to bytes of the range that the new protection forbids to use, and
    /// nobody executes there when it stops being executable.
    pub unsafe fn protect(
        &mut self,
        range: Range<usize>,
        protection: Protection,
    ) -> Result<(), VmError> {
        let page_bytes = PAGE_BYTES as usize;
        let aligned =
            range.start.is_multiple_of(page_bytes) && range.end.is_multiple_of(page_bytes);
        if !aligned || range.start > range.end || range.end > self.committed_bytes() {
            return Err(VmError::OutOfRange);
        }
        self.executable |= protection == Protection::ReadExecute;
        let pages = self.base + range.start as u64..self.base + range.end as u64;
        protect_for_all(pages, protection)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.executable {
            // A frame can go to somebody else only once the physical map can write to it.
            let pages = self.base..self.base + self.committed_bytes() as u64;
            protect_for_all(pages, Protection::ReadWrite).expect("the tables are there");
        }
        with_space(|space| {
            space.unmap_all(self.base, self.committed_pages);
            space.give_addresses(self.base - PAGE_BYTES, self.pages_max + 1);
        });
    }
}

/// Maps pages for the heap at fixed addresses that nothing uses yet.
pub(super) fn map_heap(start: u64, pages: usize) -> Result<(), VmError> {
    map_fresh(start, pages, Purpose::Kernel)
}

/// Maps pages anywhere for the heap, with a guard below.
pub(super) fn take_pages(pages: usize) -> Option<NonNull<u8>> {
    let mut reservation = Reservation::new_for_kernel(pages * PAGE_BYTES as usize).ok()?;
    reservation.commit(reservation.max_bytes()).ok()?;
    let pointer = NonNull::new(reservation.as_ptr());
    core::mem::forget(reservation);
    pointer
}

/// Gives back what [`take_pages`] gave for as many pages.
pub(super) fn give_pages(address: u64, pages: usize) {
    drop(Reservation {
        base: address,
        pages_max: pages,
        committed_pages: pages,
        executable: false,
        purpose: Purpose::Kernel,
    });
}

/// Maps a device's registers, uncached, for ever; the pointer is valid for `len` bytes. `None` if
/// no addresses or tables are left, or if there is memory and no device.
pub fn map_device(physical: u64, len: usize) -> Option<NonNull<u8>> {
    let offset = physical % PAGE_BYTES;
    let pages = (offset as usize).checked_add(len)?.div_ceil(PAGE_BYTES as usize);
    let start = with_space(|space| {
        let start = space.addresses.take(pages + 1)? + PAGE_BYTES;
        for i in 0..pages as u64 {
            let frame = physical - offset + i * PAGE_BYTES;
            let page = start + i * PAGE_BYTES;
            if space.mapper.lookup(PHYSICAL_MAP_BASE.checked_add(frame)?).is_some() {
                return None;
            }
            space.mapper.map(page, frame, Protection::ReadWrite, Cache::Uncached).ok()?;
        }
        Some(start)
    })??;
    NonNull::new(ptr::with_exposed_provenance_mut((start + offset) as usize))
}

/// The physical address of the root of the page tables.
#[cfg(feature = "metal")]
pub(crate) fn root() -> u64 {
    with_space(|space| space.mapper.root().as_u64()).unwrap_or(u64::MAX)
}

/// The physical address behind a mapped one.
pub fn physical_address(address: u64) -> Option<u64> {
    with_space(|space| space.mapper.lookup(address)).flatten().map(|found| found.physical)
}

/// Visits every mapping of the machine: its address, its length, what it leads to. The visitor
/// neither allocates nor maps.
#[cfg(feature = "metal")]
pub(crate) fn visit(each: &mut dyn FnMut(u64, u64, super::paging::Mapping)) {
    with_space(|space| space.mapper.visit(each));
}

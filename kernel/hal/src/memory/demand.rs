//! Pages that come when they are touched: stacks of fibers and memories of processes.
//!
//! Owns [`Stack`] and [`Sparse`], and [`serve`], which the page fault asks. Each CPU knows the one
//! stack and the one memory that are in use on it, so a fault anywhere else is what it always was.
//!
//! A **stack** may fault in the middle of anything that the kernel does on a fiber, also where it
//! holds locks. So its pages take none: the frame comes from a few that the CPU has at hand
//! ([`Spare`], filled before a fiber runs with as many as its stack may still want), the tables
//! above were made with the stack and stay, since a page under each of them is mapped from the
//! beginning.
//!
//! A **memory** is touched by module text and by kernel code that works on a guest's bytes, which
//! holds none of memory's own locks (all code that does is in this directory, and uses the physical
//! map alone). So its pages are mapped under the lock of the address space. Where no frame is left
//! module text is left for good; kernel code gets one of the kernel's reserve, and the process is
//! [`Sparse::is_short`] from then on. Where much is to be given back that is done in steps
//! (`dying`).

mod dying;

use dying::Remains;
pub use dying::give_back_some;
pub(super) use dying::{dying_frames, give_back_until};

mod tail;

use super::image::Image;
use super::layout::{LARGE_PAGE_BYTES, PAGE_BYTES};
use super::paging::{Cache, Mapper, Protection};
use super::physical::{self, Purpose};
use super::vm::{self, MachineTables, VmError, with_space};
use crate::cpu::{self, CPUS_MAX};
use crate::interrupt::cpu as this_cpu;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use x86_64::VirtAddr;
use x86_64::instructions::tlb;
use x86_64::registers::control::Cr3;

/// Words of a bit for each page of a stack.
const STACK_WORDS: usize = 5;
/// Pages of the largest stack.
const STACK_PAGES_MAX: usize = STACK_WORDS * u64::BITS as usize;
/// Frames that each CPU has at hand for stacks: all that the usual one has. Those with more pages
/// let a CPU have more at hand, until [`give_back`].
const SPARE_FRAMES: usize = 16;
/// Pages of a memory that are listed one by one; of a larger one the tables are searched.
const LISTED_PAGES: usize = 20;

/// Frames at hand for the stack of the fiber that runs, a list: each begins with the address of the
/// next. Touched by their CPU alone: filled while no fiber runs, taken from in its page faults.
struct Spare {
    first: AtomicU64,
    count: AtomicUsize,
}

static SPARE: [Spare; CPUS_MAX] = [const { Spare::new() }; CPUS_MAX];

impl Spare {
    const fn new() -> Self {
        Spare { first: AtomicU64::new(0), count: AtomicUsize::new(0) }
    }

    fn take(&self) -> Option<u64> {
        let rest = self.count.load(Relaxed).checked_sub(1)?;
        let frame = self.first.load(Relaxed);
        // SAFETY: `put` wrote it there, and nobody else has had the frame since.
        let next = unsafe { physical::pointer(frame).cast::<u64>().read() };
        self.first.store(next, Relaxed);
        self.count.store(rest, Relaxed);
        Some(frame)
    }

    fn put(&self, frame: u64) {
        let place = physical::pointer(frame).cast::<u64>();
        // SAFETY: the frame was taken for this list: nothing refers to it, and the physical map has
        // it writable.
        unsafe { place.write(self.first.load(Relaxed)) };
        self.first.store(frame, Relaxed);
        self.count.store(self.count.load(Relaxed) + 1, Relaxed);
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.count.load(Relaxed) >= SPARE_FRAMES
    }

    #[cold]
    fn fill(&self, wanted: usize) {
        // Compiled code reads of its stack only what it has written: no zeros are needed.
        while self.count.load(Relaxed) < wanted
            && let Some(frame) = physical::take(Purpose::Process)
        {
            self.put(frame);
        }
    }
}

/// Fills up what this CPU has at hand. No fiber runs.
#[inline]
pub(crate) fn prepare() {
    let spare = &SPARE[cpu::index()];
    if !spare.is_full() {
        spare.fill(SPARE_FRAMES);
    }
}

/// Whether this CPU has at hand what `stack` may still want. No fiber runs.
#[inline]
pub(crate) fn suffices(stack: &Stack) -> bool {
    let spare = &SPARE[cpu::index()];
    spare.is_full() && stack.pages <= SPARE_FRAMES || has_enough(spare, stack)
}

fn has_enough(spare: &Spare, stack: &Stack) -> bool {
    let wanted = stack.unmapped_pages();
    if spare.count.load(Relaxed) < wanted {
        spare.fill(wanted.max(SPARE_FRAMES));
    }
    spare.count.load(Relaxed) >= wanted
}

/// Gives back what this CPU has at hand beyond what the usual stack may want. No fiber runs.
pub fn give_back() {
    let spare = &SPARE[cpu::index()];
    while spare.count.load(Relaxed) > SPARE_FRAMES
        && let Some(frame) = spare.take()
    {
        physical::give(frame, 1);
    }
}

/// Whether kernel code touched the memory that is in use on this CPU when no frame was left.
#[inline]
pub fn is_short_here() -> bool {
    // SAFETY: as in `serve`.
    let memory = unsafe { (this_cpu().memory() as *const Pages).as_ref() };
    memory.is_some_and(|memory| memory.short.load(Relaxed))
}

/// The stack of a fiber: a guard page, then pages that come as it grows down.
#[derive(Debug)]
pub(crate) struct Stack {
    base: u64,
    pages: usize,
    /// A bit for each page that is mapped.
    mapped: [AtomicU64; STACK_WORDS],
}

impl Stack {
    /// A stack of `bytes` of which the first page, and what keeps its tables, is mapped.
    pub(crate) fn new(bytes: usize) -> Result<Self, VmError> {
        let pages = bytes.div_ceil(PAGE_BYTES as usize);
        if !(1..=STACK_PAGES_MAX).contains(&pages) {
            return Err(VmError::OutOfRange);
        }
        let start = with_space(|space| space.addresses.take(pages + 1)).flatten();
        let base = start.ok_or(VmError::NoAddresses)? + PAGE_BYTES;
        let mapped = [const { AtomicU64::new(0) }; STACK_WORDS];
        let stack = Stack { base, pages, mapped };
        let top = pages - 1;
        stack.map_first(top)?;
        if base / LARGE_PAGE_BYTES != stack.page(top) / LARGE_PAGE_BYTES {
            stack.map_first(0)?;
        }
        Ok(stack)
    }

    fn map_first(&self, index: usize) -> Result<(), VmError> {
        vm::map_fresh(self.page(index), 1, Purpose::Process)?;
        self.note(index);
        Ok(())
    }

    fn note(&self, index: usize) {
        let word = &self.mapped[index / u64::BITS as usize];
        word.store(word.load(Relaxed) | 1 << (index % u64::BITS as usize), Relaxed);
    }

    fn is_mapped(&self, index: usize) -> bool {
        let word = self.mapped[index / u64::BITS as usize].load(Relaxed);
        word & 1 << (index % u64::BITS as usize) != 0
    }

    fn page(&self, index: usize) -> u64 {
        self.base + index as u64 * PAGE_BYTES
    }

    /// Its addresses, mapped or not.
    pub(crate) fn range(&self) -> Range<usize> {
        self.base as usize..self.base as usize + self.pages * PAGE_BYTES as usize
    }

    /// Pages that are not mapped yet.
    pub(crate) fn unmapped_pages(&self) -> usize {
        self.pages - self.mapped_pages()
    }

    /// Pages that are mapped.
    pub(crate) fn mapped_pages(&self) -> usize {
        self.mapped.iter().map(|word| word.load(Relaxed).count_ones() as usize).sum()
    }

    /// Maps the page of an address within it, without a lock.
    fn touch(&self, address: u64) -> bool {
        let Some(frame) = SPARE[cpu::index()].take() else { return false };
        let index = ((address - self.base) / PAGE_BYTES) as usize;
        // The entry is this stack's alone, and the tables above it stay: see the head of the file.
        let mut mapper = Mapper::over(MachineTables, Cr3::read().0.start_address());
        let page = self.page(index);
        let mapped = mapper.map(page, frame, Protection::ReadWrite, Cache::WriteBack).is_ok();
        if mapped {
            self.note(index);
        }
        mapped
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let pages = (0..self.pages).filter(|index| self.is_mapped(*index));
        with_space(|space| {
            space.unmap_some(pages.map(|index| self.page(index)));
            space.give_addresses(self.base - PAGE_BYTES, self.pages + 1);
        });
    }
}

/// A process's memory: addresses of which the first so many bytes may be used, and pages that come
/// when they are touched on the CPU that has it [in use](Sparse::use_here): copies of its image's,
/// or zeros. Dropping it gives all of it back. One CPU at a time uses it: it lets it go
/// ([`Sparse::leave_here`]) before another has it ([`Sparse::arrive_here`]).
#[derive(Debug)]
pub struct Sparse {
    /// In a box since page faults find it by its address.
    pages: Box<Pages>,
}

#[derive(Debug)]
struct Pages {
    base: u64,
    pages_max: usize,
    /// Bytes that may be touched.
    allowed: AtomicU64,
    mapped: AtomicUsize,
    /// The first pages that were mapped, by their number.
    listed: [AtomicU32; LISTED_PAGES],
    short: AtomicBool,
    /// What it holds in the beginning, if that is not zeros alone.
    image: Option<Arc<Image>>,
    /// The next one that is given back, if this one is ([`dying`]).
    after: Option<Sparse>,
}

impl Sparse {
    /// Addresses for `max_bytes`. None of them may be used yet.
    pub fn new(max_bytes: usize) -> Result<Self, VmError> {
        let pages_max = max_bytes.div_ceil(PAGE_BYTES as usize);
        let start = with_space(|space| space.addresses.take(pages_max + 1)).flatten();
        let base = start.ok_or(VmError::NoAddresses)? + PAGE_BYTES;
        let pages = Box::new(Pages {
            base,
            pages_max,
            allowed: AtomicU64::new(0),
            mapped: AtomicUsize::new(0),
            listed: [const { AtomicU32::new(0) }; LISTED_PAGES],
            short: AtomicBool::new(false),
            image: None,
            after: None,
        });
        Ok(Sparse { pages })
    }

    /// The first byte. Valid for [`Sparse::allowed_bytes`] bytes while it is in use here.
    pub fn as_ptr(&self) -> *mut u8 {
        ptr::with_exposed_provenance_mut(self.pages.base as usize)
    }

    /// Bytes that can be allowed at most, a multiple of a page.
    pub fn max_bytes(&self) -> usize {
        self.pages.pages_max * PAGE_BYTES as usize
    }

    /// Gives it other addresses, of which `max_bytes` can be allowed; its pages move along. On an
    /// error nothing has changed. Nothing refers to the bytes meanwhile.
    pub fn rehouse(&mut self, max_bytes: usize) -> Result<(), VmError> {
        let mut other = Sparse::new(max_bytes.max(self.max_bytes()))?;
        let (from, to) = (self.pages.base, other.pages.base);
        let bytes = self.max_bytes() as u64;
        with_space(|space| space.move_pages(from..from + bytes, to)).ok_or(VmError::NoMemory)??;
        core::mem::swap(&mut self.pages.base, &mut other.pages.base);
        core::mem::swap(&mut self.pages.pages_max, &mut other.pages.pages_max);
        // The other, which has no page, gives back the addresses that were this one's.
        Ok(())
    }

    /// Bytes that may be used.
    pub fn allowed_bytes(&self) -> usize {
        self.pages.allowed.load(Relaxed) as usize
    }

    /// Lets `bytes` bytes be used from now on, within what it can have.
    pub fn allow(&mut self, bytes: usize) {
        self.pages.short.store(false, Relaxed);
        self.pages.allowed.store(bytes.min(self.max_bytes()) as u64, Relaxed);
    }

    /// Lets the first `bytes` bytes be used and no more: what is mapped behind them goes, so that a
    /// touch faults there.
    pub fn cut(&mut self, bytes: usize) {
        self.allow(bytes);
        self.pages.unmap_from(self.pages.allowed.load(Relaxed).div_ceil(PAGE_BYTES) as u32);
    }

    /// Bytes that are mapped, a multiple of a page.
    pub fn mapped_bytes(&self) -> usize {
        self.pages.mapped.load(Relaxed) * PAGE_BYTES as usize
    }

    /// Whether kernel code touched it when no frame was left for processes.
    #[inline]
    pub fn is_short(&self) -> bool {
        self.pages.short.load(Relaxed)
    }

    /// Lets this CPU touch it, until it is to touch another.
    #[inline]
    pub fn use_here(&self) {
        this_cpu().set_memory(&raw const *self.pages as u64);
    }

    /// Lets this CPU touch it no more.
    pub fn leave_here(&self) {
        if this_cpu().memory() == &raw const *self.pages as u64 {
            this_cpu().set_memory(0);
        }
    }

    /// It comes from another CPU. This one may have used it before and remember that its pages are
    /// dirty, which [`Sparse::restore`] made a secret of on the other: then it would note no write.
    pub fn arrive_here(&self) {
        tlb::flush_all();
    }

    /// Makes it what it is in the beginning, where it was written to since it was mapped or last
    /// restored: the dirty bits of the page tables know (Intel SDM vol. 3, 4.8). Nothing refers to
    /// the bytes meanwhile.
    pub fn restore(&mut self) {
        let pages = &self.pages;
        let mapped = pages.mapped.load(Relaxed);
        if mapped <= LISTED_PAGES {
            return pages.restore(pages.listed[..mapped].iter().map(|page| page.load(Relaxed)));
        }
        let end = pages.allowed.load(Relaxed).div_ceil(PAGE_BYTES) as u32;
        for start in (0..end).step_by(LISTED_PAGES) {
            pages.restore(start..end.min(start + LISTED_PAGES as u32));
        }
    }

    /// Gives it another image, or none, after it was [restored](Sparse::restore): so it is what
    /// that says.
    pub fn set_image(&mut self, image: Option<Arc<Image>>) {
        let last = core::mem::replace(&mut self.pages.image, image);
        let pages = &self.pages;
        for image in [&last, &pages.image].into_iter().flatten() {
            for number in image.numbers() {
                let mapping = with_space(|space| space.mapper.lookup(pages.page(number))).flatten();
                if let Some(mapping) = mapping.filter(|_| (number as usize) < pages.pages_max) {
                    pages.fill(number, mapping.physical);
                }
            }
        }
    }
}

impl Pages {
    /// Restores the dirty ones of pages, of which there are no more than [`LISTED_PAGES`].
    fn restore(&self, numbers: impl Iterator<Item = u32>) {
        let (mut dirty, mut count) = ([(0, 0); LISTED_PAGES], 0);
        with_space(|space| {
            let pages = numbers.map(|number| self.page(number));
            space.mapper.take_dirty(pages, |page, frame| {
                tlb::flush(VirtAddr::new_truncate(page));
                dirty[count] = (((page - self.base) / PAGE_BYTES) as u32, frame);
                count += 1;
            });
        });
        // With the lock free.
        dirty[..count].iter().for_each(|&(number, frame)| self.fill(number, frame));
    }

    /// Fills a frame with what a page holds in the beginning: through the physical map, which sets
    /// no dirty bit here.
    fn fill(&self, number: u32, frame: u64) {
        match self.image.as_ref().and_then(|image| image.page(number)) {
            Some(content) => physical::fill(frame, content),
            None => physical::zero(frame),
        }
    }

    fn page(&self, number: u32) -> u64 {
        self.base + u64::from(number) * PAGE_BYTES
    }

    fn covers(&self, address: u64) -> bool {
        // Allowed are whole pages: what lies behind the last byte in its page nobody reaches.
        let allowed = self.allowed.load(Relaxed).next_multiple_of(PAGE_BYTES);
        (self.base..self.base + allowed).contains(&address)
    }

    /// Maps the page of an address that it covers.
    fn touch(&self, address: u64, purpose: Purpose) -> bool {
        let Some(frame) = physical::take(purpose) else { return false };
        let number = ((address - self.base) / PAGE_BYTES) as u32;
        self.fill(number, frame);
        let page = self.page(number);
        let mapped = with_space(|space| {
            space.mapper.map(page, frame, Protection::ReadWrite, Cache::WriteBack).is_ok()
        });
        if mapped != Some(true) {
            physical::give(frame, 1);
            return false;
        }
        let count = self.mapped.load(Relaxed);
        self.mapped.store(count + 1, Relaxed);
        if let Some(place) = self.listed.get(count) {
            place.store(number, Relaxed);
        }
        true
    }
}

impl Drop for Sparse {
    fn drop(&mut self) {
        self.leave_here();
        let pages = &self.pages;
        let mapped = pages.mapped.load(Relaxed);
        if mapped > LISTED_PAGES {
            Remains::of(self).unmap();
        }
        with_space(|space| {
            if mapped <= LISTED_PAGES {
                let listed = pages.listed[..mapped].iter();
                space.unmap_some(listed.map(|page| pages.page(page.load(Relaxed))));
            }
            space.give_addresses(pages.base - PAGE_BYTES, pages.pages_max + 1);
        });
    }
}

/// What became of a page fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    /// The page is there now.
    Mapped,
    /// It may be touched, and there is no frame for it.
    Short,
    /// It may not be touched.
    Foreign,
}

/// Serves a page fault of this CPU at an address where nothing is mapped. `may_leave` says whether
/// the code that it happened in can be left for good.
pub(crate) fn serve(address: u64, may_leave: bool) -> Served {
    let cpu = this_cpu();
    // SAFETY: `Fiber::resume` sets it to the stack of the fiber that it waits for, or null.
    let stack = unsafe { (cpu.stack() as *const Stack).as_ref() };
    if let Some(stack) = stack.filter(|stack| stack.range().contains(&(address as usize))) {
        return if stack.touch(address) { Served::Mapped } else { Served::Foreign };
    }
    // SAFETY: null, or of a `Sparse` that clears the word when it is dropped, on this CPU. All that
    // changes of it are atomics.
    let memory = unsafe { (cpu.memory() as *const Pages).as_ref() };
    let Some(memory) = memory.filter(|memory| memory.covers(address)) else {
        return Served::Foreign;
    };
    if memory.touch(address, Purpose::Process) {
        return Served::Mapped;
    }
    if may_leave {
        return Served::Short;
    }
    memory.short.store(true, Relaxed);
    if memory.touch(address, Purpose::Kernel) { Served::Mapped } else { Served::Foreign }
}

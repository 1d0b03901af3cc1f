//! Large memories that nobody uses any more: they are given back in steps.
//!
//! Owns the list of them, for all CPUs. To unmap a GiB takes longer than anybody else may wait for
//! the CPU, so whoever ends with one leaves it here, and each turn of a CPU gives back a part. What
//! is not given back yet counts as free, as what is in quarantine does: whoever needs a frame for a
//! process, or room for something on behalf of one, gives back as much as that takes, a step at a
//! time. The lock of the list comes before all others of memory.

use super::{LISTED_PAGES, Sparse};
use crate::memory::layout::{LARGE_PAGE_BYTES, PAGE_BYTES};
use crate::memory::physical;
use crate::memory::tlb::Lock;
use crate::memory::vm::with_space;
use core::sync::atomic::{AtomicUsize, Ordering};
use x86_64::instructions::tlb;

/// What a step costs at most, in pages that are unmapped: some ten thousand instructions.
const STEP: usize = 256;
/// So many entries of a table are looked at in one piece.
const PIECE_PAGES: u64 = 128;
/// What it costs to look at them, and to give back their table if they are its last.
const PIECE_COST: usize = 8;
const TABLE_COST: usize = 24;
/// What it costs to find out that there is no table.
const NO_TABLE_COST: usize = 1;

/// The memories, a list by way of [`Pages::after`](super::Pages).
struct Dying {
    /// The one that is being given back, and how far that is.
    first: Option<(Sparse, Remains)>,
}

static DYING: Lock<Dying> = Lock::new(Dying { first: None });

/// Their pages that are mapped still. Falls after the frames are free, so that whoever asks for
/// these and then for those misses none.
static LEFT: AtomicUsize = AtomicUsize::new(0);

/// What is mapped of a memory that is being given back.
pub(super) struct Remains {
    /// From here on.
    start: u64,
    end: u64,
    /// So many pages.
    pages: usize,
}

/// Frames of memories that are being given back.
pub(in crate::memory) fn dying_frames() -> usize {
    LEFT.load(Ordering::SeqCst)
}

impl Sparse {
    /// Gives it back: at once if it has few pages, else in steps ([`give_back_some`]).
    pub fn give_back(mut self) {
        self.leave_here();
        let pages = self.pages.mapped.load(Ordering::Relaxed);
        if pages <= LISTED_PAGES {
            return;
        }
        let mut dying = DYING.lock();
        LEFT.fetch_add(pages, Ordering::SeqCst);
        match &mut dying.first {
            Some((first, _)) => {
                self.pages.after = first.pages.after.take();
                first.pages.after = Some(self);
            }
            first => {
                let remains = Remains::of(&self);
                *first = Some((self, remains));
            }
        }
    }
}

/// Gives back a part of the memories that nobody uses any more, on whatever CPU. True if there is
/// more of them.
#[inline]
pub fn give_back_some() -> bool {
    dying_frames() > 0 && step()
}

/// Gives back so much of them that `wanted` frames are free. False if that cannot be, and then
/// perhaps nothing was done.
pub(in crate::memory) fn give_back_until(wanted: usize) -> bool {
    loop {
        let dying = dying_frames();
        let free = physical::free_frames();
        if free >= wanted || free + dying < wanted {
            return free >= wanted;
        }
        step();
    }
}

#[cold]
fn step() -> bool {
    let mut dying = DYING.lock();
    let mut cost = 0;
    while cost < STEP
        && let Some((memory, remains)) = &mut dying.first
    {
        let before = remains.pages;
        cost += remains.unmap_piece();
        LEFT.fetch_sub(before - remains.pages, Ordering::SeqCst);
        if remains.pages == 0 {
            // It has neither pages nor tables: what is left of it are addresses.
            memory.pages.mapped.store(0, Ordering::Relaxed);
            let after = memory.pages.after.take();
            dying.first = after.map(|memory| {
                let remains = Remains::of(&memory);
                (memory, remains)
            });
        }
    }
    dying.first.is_some()
}

impl Remains {
    /// All that is mapped of a memory.
    pub(super) fn of(memory: &Sparse) -> Self {
        let start = memory.pages.base;
        let pages = memory.pages.mapped.load(Ordering::Relaxed);
        Remains { start, end: start + memory.max_bytes() as u64, pages }
    }

    /// Unmaps all of it.
    pub(super) fn unmap(mut self) {
        while self.pages > 0 {
            self.unmap_piece();
        }
    }

    /// Unmaps the pages of the next few addresses. What that cost.
    fn unmap_piece(&mut self) -> usize {
        let start = self.start;
        assert!(start < self.end, "{} pages are missing", self.pages);
        let table_end = start - start % LARGE_PAGE_BYTES + LARGE_PAGE_BYTES;
        let (mut frames, mut count) = ([0; PIECE_PAGES as usize], 0);
        let done = with_space(|space| {
            if !space.mapper.has_table(start) {
                return (table_end, NO_TABLE_COST);
            }
            let end = table_end.min(start + PIECE_PAGES * PAGE_BYTES).min(self.end);
            space.mapper.unmap_range(start, end, |frame| {
                frames[count] = frame;
                count += 1;
            });
            let mut cost = PIECE_COST + count;
            if end == table_end || count == self.pages {
                space.mapper.prune(start, end);
                cost += TABLE_COST;
            }
            // Nobody uses the memory: what this CPU remembers of it only must be gone before the
            // frames and the table are somebody else's. The other CPUs forget in their time.
            tlb::flush_all();
            physical::give_all_unmapped(&frames[..count]);
            (end, cost)
        });
        let (next, cost) = done.unwrap_or((table_end, NO_TABLE_COST));
        self.start = next;
        self.pages -= count;
        cost
    }
}

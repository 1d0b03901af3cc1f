//! The kernel's heap: size classes, then a first-fit list, then whole pages.
//!
//! Owns [`KernelHeap`], to be the `#[global_allocator]`. Objects up to [`SMALL_BYTES_MAX`] come
//! from free lists by size class, which refill from `linked_list_allocator`, which grows by frames
//! and never shrinks. Larger ones are neighbouring frames seen through the physical map, which
//! costs no mapping, or mapped pages where memory is in pieces. Nothing allocates in an interrupt,
//! so the lock is taken with interrupts on.

use super::classes::{class_of, units_of};
use super::layout::{
    HEAP_BASE, HEAP_BYTES_MAX, PAGE_BYTES, PHYSICAL_MAP_BASE, PHYSICAL_MAP_BYTES_MAX,
};
use super::tlb::Lock as Mutex;
use super::{physical, vm};
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};
use linked_list_allocator::Heap as FirstFit;

/// The unit of the size classes, and the alignment of every object.
const UNIT_BYTES: usize = 16;
/// Objects above this size are whole pages.
pub const SMALL_BYTES_MAX: usize = 2048;
const CLASSES: usize = class_of(SMALL_BYTES_MAX / UNIT_BYTES) + 1;
/// An empty class takes this many bytes' worth of objects at once.
const REFILL_BYTES: usize = 2048;
/// The first-fit list grows by this at least.
const GROWTH_PAGES: usize = 16;

const _: () = assert!(units_of(CLASSES - 1) * UNIT_BYTES == SMALL_BYTES_MAX, "the last class fits");
const _: () = assert!(SMALL_BYTES_MAX.is_multiple_of(UNIT_BYTES), "classes count in units");

/// A free object holds the link to the next.
#[derive(Clone, Copy)]
struct FreeObject(Option<NonNull<FreeObject>>);

struct Small {
    lists: [FreeObject; CLASSES],
    /// Bytes in the lists.
    listed_bytes: usize,
    first_fit: FirstFit,
}

// SAFETY: The pointers are to free memory that the value owns.
unsafe impl Send for Small {}

static SMALL: Mutex<Small> = Mutex::new(Small {
    lists: [FreeObject(None); CLASSES],
    listed_bytes: 0,
    first_fit: FirstFit::empty(),
});

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Bytes that the heap holds and nobody uses; more can come from free frames.
pub fn free_bytes() -> usize {
    let small = SMALL.lock();
    small.listed_bytes + small.first_fit.free()
}

/// Whether an object of `bytes` bytes can be had without taking a frame.
pub(super) fn has_listed(bytes: usize) -> bool {
    let layout = Layout::from_size_align(bytes, 1).ok();
    layout.and_then(class_for).is_some_and(|class| SMALL.lock().lists[class].0.is_some())
}

/// Bytes asked for and not given back.
pub fn live_bytes() -> usize {
    LIVE_BYTES.load(Ordering::Relaxed)
}

/// The class for a layout: large enough, and all of its objects aligned well enough.
fn class_for(layout: Layout) -> Option<usize> {
    let units = layout.size().div_ceil(UNIT_BYTES).max(1);
    (class_of(units)..CLASSES).find(|&class| class_align(class) >= layout.align())
}

/// Objects of a class lie one behind the other in a piece aligned to this: the largest power of two
/// that divides their size.
fn class_align(class: usize) -> usize {
    let bytes = units_of(class) * UNIT_BYTES;
    1 << bytes.trailing_zeros()
}

impl Small {
    fn take(&mut self, class: usize) -> Option<NonNull<u8>> {
        if self.lists[class].0.is_none() {
            self.refill(class)?;
        }
        let object = self.lists[class].0?;
        // SAFETY: What is in a list is free, aligned memory of the class's size.
        self.lists[class] = unsafe { object.read() };
        self.listed_bytes -= units_of(class) * UNIT_BYTES;
        Some(object.cast())
    }

    /// # Safety
    /// `object` is memory of the class's size that nobody uses any more.
    unsafe fn give(&mut self, class: usize, object: NonNull<u8>) {
        let object: NonNull<FreeObject> = object.cast();
        // SAFETY: The caller gives the memory up; the smallest class has room for the link.
        unsafe { object.write(self.lists[class]) };
        self.lists[class] = FreeObject(Some(object));
        self.listed_bytes += units_of(class) * UNIT_BYTES;
    }

    /// Cuts a piece of the first-fit list into objects.
    fn refill(&mut self, class: usize) -> Option<()> {
        let bytes = units_of(class) * UNIT_BYTES;
        let count = (REFILL_BYTES / bytes).max(1);
        let layout = Layout::from_size_align(bytes * count, class_align(class)).ok()?;
        let piece = match self.first_fit.allocate_first_fit(layout) {
            Ok(piece) => piece,
            Err(()) => {
                self.grow(layout)?;
                self.first_fit.allocate_first_fit(layout).ok()?
            }
        };
        for i in (0..count).rev() {
            // SAFETY: Within the piece.
            let object = unsafe { piece.add(i * bytes) };
            // SAFETY: The piece is fresh, and each of its objects is listed once.
            unsafe { self.give(class, object) };
        }
        Some(())
    }

    fn grow(&mut self, layout: Layout) -> Option<()> {
        let page_bytes = PAGE_BYTES as usize;
        let pages = (layout.size() + layout.align()).div_ceil(page_bytes).max(GROWTH_PAGES);
        let (size, more) = (self.first_fit.size(), pages * page_bytes);
        if (size + more) as u64 > HEAP_BYTES_MAX {
            return None;
        }
        vm::map_heap(HEAP_BASE + size as u64, pages).ok()?;
        if size == 0 {
            let start = ptr::with_exposed_provenance_mut(HEAP_BASE as usize);
            // SAFETY: Just mapped, writable, for ever, and used by nobody else.
            unsafe { self.first_fit.init(start, more) };
        } else {
            // SAFETY: Just mapped at the end of what the list has.
            unsafe { self.first_fit.extend(more) };
        }
        Some(())
    }
}

/// Neighbouring frames where there are some, else mapped pages.
fn take_pages(layout: Layout) -> Option<NonNull<u8>> {
    if layout.align() > PAGE_BYTES as usize {
        return None;
    }
    let pages = layout.size().div_ceil(PAGE_BYTES as usize);
    match physical::take_run(pages) {
        Some(frame) => Some(physical::pointer(frame)),
        None => vm::take_pages(pages),
    }
}

/// Gives back what [`take_pages`] gave for the same layout.
fn give_pages(address: u64, layout: Layout) {
    let pages = layout.size().div_ceil(PAGE_BYTES as usize);
    if (PHYSICAL_MAP_BASE..PHYSICAL_MAP_BASE + PHYSICAL_MAP_BYTES_MAX).contains(&address) {
        physical::give(address - PHYSICAL_MAP_BASE, pages);
    } else {
        vm::give_pages(address, pages);
    }
}

/// The kernel's global allocator. Usable once [`super::start`] has run.
#[derive(Debug, Default)]
pub struct KernelHeap;

// SAFETY: Objects of a class, runs of frames and mapped pages are exclusive until given back, are
// as large as asked and aligned as asked; a layout finds the same way back that it came by.
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let object = match class_for(layout) {
            Some(class) => SMALL.lock().take(class),
            None => take_pages(layout),
        };
        let Some(object) = object else { return ptr::null_mut() };
        LIVE_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        object.as_ptr()
    }

    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        match (class_for(layout), NonNull::new(object)) {
            // SAFETY: The caller gives up what `alloc` gave for this layout, hence of this class.
            (Some(class), Some(object)) => unsafe { SMALL.lock().give(class, object) },
            _ => give_pages(object.expose_provenance() as u64, layout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_its_layouts() {
        for size in 1..=SMALL_BYTES_MAX {
            for align in (0..12).map(|bit| 1 << bit) {
                let layout = Layout::from_size_align(size, align).expect("small");
                let class = class_for(layout).expect("small objects have classes");
                assert!(units_of(class) * UNIT_BYTES >= size, "{layout:?}");
                assert!(class_align(class) >= align, "{layout:?}");
                // Every object of a piece is aligned, not only the first.
                assert!((units_of(class) * UNIT_BYTES).is_multiple_of(align), "{layout:?}");
            }
        }
    }

    #[test]
    fn large_and_strongly_aligned_layouts_have_none() {
        for (size, align) in [(SMALL_BYTES_MAX + 1, 1), (8, 4096), (1 << 20, 16)] {
            assert_eq!(class_for(Layout::from_size_align(size, align).expect("valid")), None);
        }
    }
}

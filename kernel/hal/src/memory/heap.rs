//! The kernel's heap: size classes with a cache for each CPU, and whole pages.
//!
//! Owns [`KernelHeap`], to be the `#[global_allocator]`. Objects up to [`SMALL_BYTES_MAX`] come
//! from [`super::magazines`], in front of [`super::slabs`], whose chunks are sixteen neighbouring
//! frames seen through the physical map or, where memory is in pieces, mapped pages. Larger ones
//! are neighbouring frames, or else mapped pages. What is no longer used goes back to the frames;
//! where they run out, what the CPUs keep for themselves does too before an allocation fails.
//! Nothing allocates in an interrupt, so locks are taken with interrupts on.

use super::layout::{
    HEAP_BASE, HEAP_BYTES_MAX, PAGE_BYTES, PHYSICAL_MAP_BASE, PHYSICAL_MAP_BYTES_MAX,
};
use super::magazines::SmallHeap;
pub use super::sizes::SMALL_BYTES_MAX;
use super::sizes::class_for;
use super::slabs::{CHUNK_BYTES, Source};
use super::tlb::Lock as Mutex;
use super::{physical, vm};
use crate::cpu::{self, CPUS_MAX};
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

const CHUNK_PAGES: usize = CHUNK_BYTES / PAGE_BYTES as usize;

const _: () = assert!(HEAP_BASE.is_multiple_of(CHUNK_BYTES as u64), "mapped chunks are aligned");

static SMALL: SmallHeap<MachineChunks, CPUS_MAX> = SmallHeap::new(MachineChunks);

/// Bytes that the heap holds and nobody uses; more can come from free frames.
pub fn free_bytes() -> usize {
    SMALL.free_bytes()
}

/// Whether an object of `bytes` bytes can be had without taking a frame.
pub(super) fn has_listed(bytes: usize) -> bool {
    let layout = Layout::from_size_align(bytes, 1).ok();
    layout.and_then(class_for).is_some_and(|class| SMALL.has_listed(cpu::index(), class))
}

/// Bytes asked for and not given back.
pub fn live_bytes() -> usize {
    SMALL.live_bytes()
}

/// Gives back to the frames whatever the heap keeps for its next objects, on every CPU.
pub fn trim() {
    SMALL.trim();
}

/// Chunks of the machine's memory.
struct MachineChunks;

/// Chunks that are mapped pages. They stay mapped: a page that is given back could be reused only
/// once every CPU has forgotten it, which is not worth it for a chunk.
struct Mapped {
    bytes: u64,
    free: Option<NonNull<FreeChunk>>,
}

struct FreeChunk(Option<NonNull<FreeChunk>>);

// SAFETY: The pointers are to free memory that the value owns.
unsafe impl Send for Mapped {}

static MAPPED: Mutex<Mapped> = Mutex::new(Mapped { bytes: 0, free: None });

impl Mapped {
    fn take(&mut self) -> Option<NonNull<u8>> {
        if let Some(chunk) = self.free {
            // SAFETY: What is linked is a free, mapped chunk that holds a link.
            self.free = unsafe { chunk.read() }.0;
            return Some(chunk.cast());
        }
        let start = HEAP_BASE + self.bytes;
        if self.bytes + CHUNK_BYTES as u64 > HEAP_BYTES_MAX {
            return None;
        }
        vm::map_heap(start, CHUNK_PAGES).ok()?;
        self.bytes += CHUNK_BYTES as u64;
        NonNull::new(ptr::with_exposed_provenance_mut(start as usize))
    }
}

// SAFETY: Free frames, and pages that are mapped once, are exclusive until given back; both
// kinds are aligned to a chunk and reached by exposed addresses.
unsafe impl Source for MachineChunks {
    fn take_for_ever(&self, bytes: usize) -> Option<NonNull<u8>> {
        let memory = physical::pointer(physical::take_run(bytes.div_ceil(PAGE_BYTES as usize))?);
        // SAFETY: The frames were free: nobody else refers to them, and the map has them writable.
        unsafe { memory.as_ptr().write_bytes(0, bytes) };
        Some(memory)
    }

    fn take(&self) -> Option<NonNull<u8>> {
        match physical::take_block(CHUNK_PAGES) {
            Some(frame) => Some(physical::pointer(frame)),
            None => MAPPED.lock().take(),
        }
    }

    unsafe fn give(&self, chunk: NonNull<u8>) {
        let address = chunk.as_ptr().expose_provenance() as u64;
        if let Some(frame) = frame_of(address) {
            physical::give(frame, CHUNK_PAGES);
            return;
        }
        let chunk: NonNull<FreeChunk> = chunk.cast();
        let mut mapped = MAPPED.lock();
        // SAFETY: The caller gives up what `take` returned.
        unsafe { chunk.write(FreeChunk(mapped.free)) };
        mapped.free = Some(chunk);
    }
}

/// The physical address behind one in the physical map.
fn frame_of(address: u64) -> Option<u64> {
    let map = PHYSICAL_MAP_BASE..PHYSICAL_MAP_BASE + PHYSICAL_MAP_BYTES_MAX;
    map.contains(&address).then(|| address - PHYSICAL_MAP_BASE)
}

fn pages_of(layout: Layout) -> usize {
    layout.size().div_ceil(PAGE_BYTES as usize)
}

/// Neighbouring frames where there are some, else mapped pages.
fn take_pages(layout: Layout) -> Option<NonNull<u8>> {
    let pages = pages_of(layout);
    // Mapping would find out too, having filled all that there is with zeros.
    if layout.align() > PAGE_BYTES as usize || pages > physical::free_frames() {
        return None;
    }
    match physical::take_run(pages) {
        Some(frame) => Some(physical::pointer(frame)),
        None => vm::take_pages(pages),
    }
}

/// Gives back what [`take_pages`] gave for the same layout.
fn give_pages(address: u64, layout: Layout) {
    match frame_of(address) {
        Some(frame) => physical::give(frame, pages_of(layout)),
        None => vm::give_pages(address, pages_of(layout)),
    }
}

fn take(layout: Layout) -> Option<NonNull<u8>> {
    let cpu = cpu::index();
    let Some(class) = class_for(layout) else {
        let pages = take_pages(layout)?;
        SMALL.count_live(cpu, layout.size().cast_signed());
        return Some(pages);
    };
    SMALL.take(cpu, class, layout.size())
}

/// Whether an object can stay where it is when its size changes.
fn stays(old: Layout, new: Layout) -> bool {
    match (class_for(old), class_for(new)) {
        (None, None) => pages_of(old) == pages_of(new),
        (old, new) => old == new,
    }
}

/// The kernel's global allocator. Usable once [`super::start`] has run.
#[derive(Debug, Default)]
pub struct KernelHeap;

// SAFETY: Objects of a class, runs of frames and mapped pages are exclusive until given back, are
// as large as asked and aligned as asked; a layout finds the same way back that it came by.
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let object = take(layout).or_else(|| {
            trim();
            take(layout)
        });
        object.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        let cpu = cpu::index();
        match (class_for(layout), NonNull::new(object)) {
            // SAFETY: The caller gives up what `alloc` gave for this layout, hence of this class.
            (Some(class), Some(object)) => unsafe { SMALL.give(cpu, class, object, layout.size()) },
            _ => {
                SMALL.count_live(cpu, -layout.size().cast_signed());
                give_pages(object.expose_provenance() as u64, layout);
            }
        }
    }

    unsafe fn realloc(&self, object: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: The caller gives a size that is a valid one for the alignment.
        let new = unsafe { Layout::from_size_align_unchecked(bytes, layout.align()) };
        if stays(layout, new) {
            let more = bytes.cast_signed() - layout.size().cast_signed();
            SMALL.count_live(cpu::index(), more);
            return object;
        }
        // SAFETY: The caller gives a layout with a size.
        let moved = unsafe { self.alloc(new) };
        if !moved.is_null() {
            // SAFETY: Two objects, both as large as the smaller of their sizes.
            unsafe { object.copy_to_nonoverlapping(moved, layout.size().min(bytes)) };
            // SAFETY: The caller gives the old object up.
            unsafe { self.dealloc(object, layout) };
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_stays_while_its_class_or_its_pages_do() {
        let layout = |bytes, align| Layout::from_size_align(bytes, align).expect("valid");
        assert!(stays(layout(33, 1), layout(48, 1)));
        assert!(!stays(layout(48, 1), layout(49, 1)));
        assert!(!stays(layout(48, 1), layout(4000, 1)), "to pages");
        assert!(!stays(layout(8192, 1), layout(100, 1)), "from pages");
        assert!(stays(layout(4097, 1), layout(8192, 1)));
        assert!(!stays(layout(8192, 1), layout(8193, 1)));
    }
}

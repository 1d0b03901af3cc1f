//! Linear memories and stacks from the kernel's page tables, those of dead processes first.
//!
//! Owns the `MemoryCreator` that wasmtime asks, and for each CPU the memories and stacks that are
//! kept warm for its next processes. A memory stays mapped and is what it was in the beginning,
//! since [`Sparse::restore`] wipes what the last process wrote before the next one can see it. All
//! of it is made, grown and dropped on the CPU whose engine has its process, and given back when
//! memory is wanted for anything else.

use super::PAGE_BYTES;
use crate::STACK_BYTES;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use craton_hal::cpu::{self, CPUS_MAX};
use craton_hal::fiber::Fiber;
use craton_hal::memory::{self, Image, Sparse};
use spin::Mutex;
use wasmtime::{Error, LinearMemory, MemoryCreator, MemoryType, Result};

/// Addresses of every memory that needs no more, so that one fits the next process. Few, so that
/// many small memories share a page table.
const USUAL_BYTES: usize = 192 << 10;
/// A memory that outgrows this gets addresses for all that it may ever need: moving costs a bit for
/// each page.
const MOVED_BYTES_MAX: usize = 1 << 20;
/// A memory that grew beyond this is not kept.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// A CPU keeps no more memories than this, and as many stacks.
const WARM_MAX: usize = 32;
/// Nor more bytes of memories; instances that are kept may hold as many.
pub(crate) const WARM_BYTES_MAX: usize = 4 << 20;
/// What a process that is not born yet may take when it is: a third more than one of the benchmarks
/// does that waits.
const BIRTH_BYTES: usize = 56 << 10;
/// While less than this can be had, nothing is kept.
const SPARE_BYTES: usize = WARM_BYTES_MAX + WARM_MAX * STACK_BYTES;

/// What one CPU knows that wasmtime has no argument for.
struct Local {
    /// How far the memory may grow that is made next.
    limit: u64,
    /// What it holds in the beginning.
    image: Option<Arc<Image>>,
    /// The memory that was made last.
    made: Option<Made>,
    memories: Vec<Sparse>,
    memories_bytes: usize,
    /// Fibers without a body, of the usual size.
    stacks: Vec<Fiber>,
}

impl Local {
    const EMPTY: Local = Local {
        limit: 0,
        image: None,
        made: None,
        memories: Vec::new(),
        memories_bytes: 0,
        stacks: Vec::new(),
    };
}

/// Each CPU locks its own alone, so nobody waits.
static LOCAL: [Mutex<Local>; CPUS_MAX] = [const { Mutex::new(Local::EMPTY) }; CPUS_MAX];

fn local() -> &'static Mutex<Local> {
    &LOCAL[cpu::index()]
}

/// Says how far the memory may grow that this CPU makes next, in `make`, and what it holds in the
/// beginning; answers with it too.
pub(crate) fn with_memory_of<R>(
    bytes: u64,
    image: Option<Arc<Image>>,
    make: impl FnOnce() -> R,
) -> (R, Option<Made>) {
    let mut place = local().lock();
    (place.limit, place.image) = (bytes, image);
    drop(place);
    let result = make();
    (result, local().lock().made.take())
}

/// Whether there is so much memory that some can be kept for what may come.
pub(crate) fn has_spare() -> bool {
    memory::room_bytes() >= SPARE_BYTES
}

/// Whether the kernel can take `bytes` on a process's behalf without touching its own reserve. What
/// is kept warm gives way, as far as that takes.
pub(crate) fn has_room(bytes: usize) -> bool {
    while !memory::has_room(bytes) {
        if !give_back_some() {
            return false;
        }
    }
    true
}

/// Whether a memory can have so many bytes more, which come when they are touched. As
/// [`has_room`], but for what is being given back: that may be much, and takes its time.
fn can_grow_by(bytes: usize) -> bool {
    while memory::room_bytes() < bytes {
        if !give_back_some() {
            return false;
        }
    }
    true
}

/// How many processes that have so much memory in the beginning, most of it untouched, can be born
/// before memory may be short.
pub(crate) fn births_max(memory_bytes: u64) -> usize {
    let needed = SPARE_BYTES.saturating_add(memory_bytes as usize);
    memory::room_bytes().saturating_sub(needed) / BIRTH_BYTES
}

/// Gives back a memory and a stack that this CPU keeps warm. False if it had none.
pub(crate) fn give_back_some() -> bool {
    let mut local = local().lock();
    let memory = local.memories.pop();
    let stack = local.stacks.pop();
    local.memories_bytes -= memory.as_ref().map_or(0, Sparse::mapped_bytes);
    if local.memories.is_empty() && local.stacks.is_empty() {
        (local.memories, local.stacks) = (Vec::new(), Vec::new());
    }
    drop(local);
    memory::give_back_stack_frames();
    // Unmapped when they go out of scope, with the lock free.
    memory.is_some() || stack.is_some()
}

/// A stack of so many bytes that a process left, to be renewed.
pub(super) fn take_stack(bytes: usize) -> Option<Fiber> {
    if bytes == STACK_BYTES { local().lock().stacks.pop() } else { None }
}

/// Ends a process's fiber, wherever it is, and keeps its stack if it is worth it.
pub(crate) fn keep_stack(mut fiber: Fiber) {
    // Drops the process's store with everything in it, its memory too: not under the lock.
    fiber.clear();
    let usual = fiber.stack_bytes_max() == STACK_BYTES;
    let mut local = local().lock();
    if usual && local.stacks.len() < WARM_MAX && has_spare() {
        local.stacks.push(fiber);
    }
}

impl Local {
    /// A warm memory with room for `bytes`.
    fn take(&mut self, bytes: usize) -> Option<Sparse> {
        let pages = self.memories.pop_if(|pages| pages.max_bytes() >= bytes)?;
        self.memories_bytes -= pages.mapped_bytes();
        Some(pages)
    }

    /// Keeps a memory, full of zeros, or gives it back where it is not worth keeping.
    fn keep(&mut self, pages: Sparse) -> Option<Sparse> {
        let bytes = pages.mapped_bytes();
        let fits = self.memories.len() < WARM_MAX && self.memories_bytes + bytes <= WARM_BYTES_MAX;
        if !fits || pages.max_bytes() != USUAL_BYTES {
            return Some(pages);
        }
        self.memories_bytes += bytes;
        self.memories.push(pages);
        None
    }
}

/// Makes linear memories: addresses for what they need, pages as they are touched. One that grows
/// out of its addresses moves to others, which compiled code expects (`memory_may_move`).
pub(super) struct Memories;

// SAFETY: memories are zeroed and at least as large as asked for; they move only while they grow,
// which the shared configuration allows. What lies behind a memory's bytes is not mapped, up to the
// end of its addresses (`Sparse::cut`) and the page after, with which the next reservation begins:
// that is the guard that the configuration asks for.
unsafe impl MemoryCreator for Memories {
    fn new_memory(
        &self,
        _kind: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        _reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        debug_assert!(guard <= PAGE_BYTES, "there is one page between any two reservations");
        let mut local = local().lock();
        let limit = local.limit.min(1 << 32) as usize;
        // The process's limiter holds it to its limit; the next process may have a higher one.
        let limit = limit.max(craton_abi::limit::PROCESS_MEMORY_BYTES as usize);
        let capacity = maximum.unwrap_or(limit).min(limit).max(minimum).max(PAGE_BYTES);
        let (warm, image) = (local.take(minimum), local.image.take());
        drop(local);
        if !can_grow_by(minimum) {
            return Err(String::from("no memory"));
        }
        let pages = warm.map_or_else(|| Sparse::new(minimum.max(USUAL_BYTES)), Ok);
        let Ok(mut pages) = pages else {
            return Err(String::from("no addresses"));
        };
        // The last process may have had more.
        pages.cut(minimum);
        pages.set_image(image);
        // Its first data may come next.
        pages.use_here();
        let memory = Pages { pages: Some(pages), bytes: minimum, minimum, capacity };
        let made = Made(Arc::new(Mutex::new(memory)));
        self::local().lock().made = Some(made.clone());
        Ok(Box::new(Linear(made)))
    }
}

struct Pages {
    /// `None` only when the memory was dropped.
    pages: Option<Sparse>,
    bytes: usize,
    minimum: usize,
    capacity: usize,
}

/// A linear memory, as its engine knows it. Only one of the two ever uses it at a time.
#[derive(Clone)]
pub(crate) struct Made(Arc<Mutex<Pages>>);

impl Made {
    /// Makes the memory what it was in the beginning, unless it is too large to be worth it.
    /// Answers whether it is. Nothing runs that uses it, and a memory that had grown is to be grown
    /// by nothing then, for wasmtime to take note.
    pub(crate) fn wipe(&self) -> bool {
        let mut memory = self.0.lock();
        let minimum = memory.minimum;
        let Some(pages) = memory.pages.as_mut() else { return false };
        if pages.mapped_bytes() > KEPT_BYTES_MAX {
            return false;
        }
        pages.cut(minimum);
        pages.restore();
        memory.bytes = minimum;
        true
    }

    /// Lets this CPU touch it, until it is to touch another.
    pub(crate) fn use_here(&self) {
        if let Some(pages) = &self.0.lock().pages {
            pages.use_here();
        }
    }

    /// Lets this CPU touch it no more: another may.
    pub(crate) fn leave(&self) {
        if let Some(pages) = &self.0.lock().pages {
            pages.leave_here();
        }
    }

    /// To be called on another CPU than it was used on last, before it is used there.
    pub(crate) fn arrive(&self) {
        if let Some(pages) = &self.0.lock().pages {
            pages.arrive_here();
        }
    }

    /// Whether host calls have used memory for it that is the kernel's own.
    pub(crate) fn is_short(&self) -> bool {
        self.0.lock().pages.as_ref().is_some_and(Sparse::is_short)
    }

    /// Bytes that are mapped for it.
    pub(crate) fn mapped(&self) -> usize {
        self.0.lock().pages.as_ref().map_or(0, Sparse::mapped_bytes)
    }

    /// How large it is in the beginning.
    pub(crate) fn minimum(&self) -> usize {
        self.0.lock().minimum
    }
}

/// A linear memory, as wasmtime knows it.
struct Linear(Made);

// SAFETY: `as_ptr` is the base of a range of addresses of which `bytes` may be read and written, as
// pages of them come where they are touched, until this value is dropped or grown. wasmtime asks
// for it again when it has grown.
unsafe impl LinearMemory for Linear {
    fn byte_size(&self) -> usize {
        self.0.0.lock().bytes
    }

    /// Up to here it grows where it is.
    fn byte_capacity(&self) -> usize {
        self.0.0.lock().pages.as_ref().map_or(0, Sparse::max_bytes)
    }

    /// Refuses at once what could not be had now, so that a program hears of it. What is granted is
    /// not set aside: it can still be missing when it is touched.
    fn grow_to(&mut self, bytes: usize) -> Result<()> {
        let mut memory = self.0.0.lock();
        let (before, capacity) = (memory.bytes, memory.capacity);
        let fits = bytes <= capacity && can_grow_by(bytes.saturating_sub(before));
        let Some(pages) = memory.pages.as_mut().filter(|_| fits) else {
            return Err(Error::msg("no memory"));
        };
        if bytes > pages.max_bytes() {
            let more = if bytes > MOVED_BYTES_MAX { capacity } else { bytes.next_power_of_two() };
            if pages.rehouse(more).is_err() {
                return Err(Error::msg("no addresses"));
            }
        }
        pages.allow(bytes);
        memory.bytes = bytes;
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.0.0.lock().pages.as_ref().map_or(core::ptr::null_mut(), Sparse::as_ptr)
    }
}

impl Drop for Linear {
    fn drop(&mut self) {
        let Some(mut pages) = self.0.0.lock().pages.take() else { return };
        if pages.mapped_bytes() > KEPT_BYTES_MAX || !has_spare() {
            return pages.give_back();
        }
        pages.restore();
        pages.set_image(None);
        pages.allow(0);
        let refused = local().lock().keep(pages);
        if let Some(pages) = refused {
            pages.give_back();
        }
    }
}

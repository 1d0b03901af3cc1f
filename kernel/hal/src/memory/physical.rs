//! The machine's physical memory: frames, and how they are reached.
//!
//! Owns the one [`FrameMap`] with its quarantine, the purposes that frames are taken for, and the
//! accesses through the physical map. The lock here is the innermost of memory: heap, then address
//! space, then frames.

use super::demand;
use super::frames::FrameMap;
use super::image::PageContent;
use super::layout::{PAGE_BYTES, PHYSICAL_MAP_BASE};
use super::quarantine::Quarantine;
use super::tlb::{self, Lock};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The part of the machine's frames that only the kernel itself gets, so that a machine full of
/// processes can still answer: an eighth, within bounds. The kernel cannot live through a failed
/// allocation, and what sessions and connections hold comes from here.
const KERNEL_RESERVE_DIVISOR: usize = 8;
/// The least of it: 1 MiB.
pub const KERNEL_RESERVE_FRAMES_MIN: usize = 256;
/// The most of it: 32 MiB.
pub const KERNEL_RESERVE_FRAMES_MAX: usize = 8192;

/// Whom a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The kernel: gets the last frame too.
    Kernel,
    /// A process: refused while only [`kernel_reserve_frames`] are left.
    Process,
}

/// The machine's frames: those that are free, and those that will be.
pub(super) struct Frames {
    pub(super) map: FrameMap<'static>,
    pub(super) quarantine: Quarantine<'static>,
}

static FRAMES: Lock<Option<Frames>> = Lock::new(None);

/// So many frames in quarantine are closed at an epoch: at least this, and as a part of the map, so
/// that going through its words costs no more than going through the frames.
const BATCH_FRAMES_MIN: usize = 256;
const BATCH_DIVISOR: usize = 64;

/// Free frames as they were when the lock was last given up: asked before most allocations, so it
/// takes no lock.
static FREE: AtomicUsize = AtomicUsize::new(0);

static KERNEL_RESERVE: AtomicUsize = AtomicUsize::new(KERNEL_RESERVE_FRAMES_MIN);

/// A frame of the first MiB, where other CPUs can begin; 0 if there is none, or it is taken.
static LOW_FRAME: AtomicU64 = AtomicU64::new(0);

/// Sets a frame of the first MiB aside for [`take_low`], before others take them all.
#[cfg(feature = "metal")]
pub(super) fn set_low_frame(frame: Option<u64>) {
    LOW_FRAME.store(frame.unwrap_or(0), Ordering::Relaxed);
}

/// Takes the frame of the first MiB that was set aside. It is given back as any other.
#[cfg(feature = "metal")]
pub(super) fn take_low() -> Option<u64> {
    Some(LOW_FRAME.swap(0, Ordering::Relaxed)).filter(|&frame| frame != 0)
}

/// Sets the kernel's reserve for a machine of `frames` frames.
#[cfg(feature = "metal")]
pub(super) fn set_kernel_reserve(frames: usize) {
    KERNEL_RESERVE.store(reserve_of(frames), Ordering::Relaxed);
}

/// Frames that only the kernel itself gets.
pub fn kernel_reserve_frames() -> usize {
    KERNEL_RESERVE.load(Ordering::Relaxed)
}

#[cfg(any(feature = "metal", test))]
fn reserve_of(frames: usize) -> usize {
    let part = frames / KERNEL_RESERVE_DIVISOR;
    part.clamp(KERNEL_RESERVE_FRAMES_MIN, KERNEL_RESERVE_FRAMES_MAX)
}

/// Whether the kernel can take `bytes` on a process's behalf and keep its reserve. What is being
/// given back is, as far as that takes: asked for is no more than a large message.
pub(super) fn has_room(bytes: usize) -> bool {
    let frames = bytes.div_ceil(PAGE_BYTES as usize);
    has_frames(frames.saturating_add(kernel_reserve_frames()))
}

/// What processes can have, and the kernel keeps its reserve.
pub(super) fn room_bytes() -> usize {
    obtainable_frames().saturating_sub(kernel_reserve_frames()) * PAGE_BYTES as usize
}

/// Whether at least half of the kernel's reserve is free.
pub(super) fn has_half_of_reserve() -> bool {
    keeps_half_of_reserve(0)
}

/// Whether it is when `bytes` more are taken.
pub(super) fn keeps_half_of_reserve(bytes: usize) -> bool {
    let frames = bytes.div_ceil(PAGE_BYTES as usize);
    has_frames(frames.saturating_add(kernel_reserve_frames() / 2))
}

fn has_frames(wanted: usize) -> bool {
    free_frames() >= wanted || demand::give_back_until(wanted)
}

/// Frames that processes can have: those that are free, and those of memories that are being given
/// back.
pub(super) fn obtainable_frames() -> usize {
    let dying = demand::dying_frames();
    dying + free_frames()
}

/// Free frames of physical memory, those in quarantine among them: whoever needs one gets it.
pub fn free_frames() -> usize {
    FREE.load(Ordering::Relaxed)
}

impl Frames {
    fn free(&self) -> usize {
        self.map.free() + self.quarantine.count()
    }

    /// Frees what all CPUs have forgotten and closes what has gathered, if it is worth it. True if
    /// some CPUs ought to be urged: one of them has not flushed for a whole batch.
    #[must_use]
    fn settle(&mut self) -> bool {
        let batch = BATCH_FRAMES_MIN.max(self.map.capacity() / BATCH_DIVISOR);
        if self.quarantine.open_count() < batch {
            return false;
        }
        self.quarantine.release(tlb::flushed(), &mut self.map);
        if !self.quarantine.is_closed() {
            self.quarantine.close(tlb::raise());
            return false;
        }
        self.quarantine.open_count().is_multiple_of(batch)
    }
}

/// These are the machine's.
#[cfg(feature = "metal")]
pub(super) fn begin(frames: Frames) {
    *FRAMES.lock() = Some(frames);
    with_frames(|_| ());
}

/// Works on the frames, if there are some yet.
pub(super) fn with_frames<R>(work: impl FnOnce(&mut Frames) -> R) -> Option<R> {
    let mut frames = FRAMES.lock();
    let frames = frames.as_mut()?;
    let result = work(frames);
    FREE.store(frames.free(), Ordering::Relaxed);
    Some(result)
}

/// Takes a frame, its content undefined.
pub(crate) fn take(purpose: Purpose) -> Option<u64> {
    let mut more_to_come = true;
    loop {
        // Asked before: what is not dying any more is free by then.
        let some_dying = demand::dying_frames() > 0;
        let (frame, refused) = with_frames(|frames| {
            let refused = purpose == Purpose::Process && frames.free() <= kernel_reserve_frames();
            (if refused { None } else { frames.map.take() }, refused)
        })?;
        if refused && some_dying {
            // Who takes for a process holds no lock of memory.
            demand::give_back_some();
            continue;
        }
        if frame.is_some() || refused || !more_to_come {
            return frame;
        }
        // If nothing is in quarantine, another CPU may have freed it all just now: look once more.
        more_to_come = drain();
    }
}

/// Makes all CPUs flush and frees all that is in quarantine; false if nothing was.
fn drain() -> bool {
    let some = with_frames(|frames| {
        let some = frames.quarantine.count() > 0;
        if some {
            frames.quarantine.close(tlb::raise());
        }
        some
    });
    if some != Some(true) {
        return false;
    }
    tlb::shoot_down();
    with_frames(|frames| frames.quarantine.release(tlb::flushed(), &mut frames.map));
    true
}

/// Takes a frame full of zeros.
pub(crate) fn take_zeroed(purpose: Purpose) -> Option<u64> {
    let frame = take(purpose)?;
    zero(frame);
    Some(frame)
}

/// Fills with zeros a frame that belongs to the caller and that nothing refers to.
pub(super) fn zero(frame: u64) {
    let start = pointer(frame);
    // SAFETY: The physical map has every frame that is not executable writable, and the caller
    // answers for nobody referring to this one.
    unsafe { start.as_ptr().write_bytes(0, PAGE_BYTES as usize) };
}

/// Fills a frame as [`zero`] does, with this.
pub(super) fn fill(frame: u64, content: &PageContent) {
    let start = pointer(frame);
    // SAFETY: As in `zero`; the content, which is Rust's, lies elsewhere.
    unsafe { start.as_ptr().copy_from_nonoverlapping(content.as_ptr(), content.len()) };
}

/// Takes neighbouring frames for the kernel.
pub(crate) fn take_run(count: usize) -> Option<u64> {
    with_frames(|frames| frames.map.take_run(count))?
}

/// Takes neighbouring frames for the kernel, a power of two up to 64 of them, aligned to that many.
pub(crate) fn take_block(count: usize) -> Option<u64> {
    with_frames(|frames| frames.map.take_block(count))?
}

/// Gives frames back, which the physical map alone has shown: `count` neighbours from `frame` on.
pub(crate) fn give(frame: u64, count: usize) {
    with_frames(|frames| {
        for i in 0..count as u64 {
            frames.map.give(frame + i * PAGE_BYTES);
        }
    });
}

/// Gives a frame back that was mapped, or was a table, and is not any more. Other CPUs may remember
/// it: it is taken by nobody before they have forgotten.
pub(crate) fn give_unmapped(frame: u64) {
    if !tlb::is_shared() {
        return give(frame, 1);
    }
    let urgent = with_frames(|frames| {
        frames.quarantine.give(frame);
        frames.settle()
    });
    if urgent == Some(true) {
        tlb::urge();
    }
}

/// As [`give_unmapped`], of many.
pub(super) fn give_all_unmapped(unmapped: &[u64]) {
    let is_shared = tlb::is_shared();
    let urgent = with_frames(|frames| {
        let mut urgent = false;
        for &frame in unmapped {
            if is_shared {
                frames.quarantine.give(frame);
                urgent |= frames.settle();
            } else {
                frames.map.give(frame);
            }
        }
        urgent
    });
    if urgent == Some(true) {
        tlb::urge();
    }
}

/// Where the physical map shows an address.
pub(crate) fn pointer(physical: u64) -> NonNull<u8> {
    let pointer = ptr::with_exposed_provenance_mut((PHYSICAL_MAP_BASE + physical) as usize);
    NonNull::new(pointer).expect("the physical map does not begin at null")
}

/// Neighbouring frames that a device reads and writes, zeroed; given back on drop.
#[derive(Debug)]
pub struct DmaBuffer {
    physical: u64,
    frames: usize,
}

impl DmaBuffer {
    /// At least `bytes` bytes on a page boundary; `None` if no such run of frames is free.
    pub fn new(bytes: usize) -> Option<Self> {
        let frames = bytes.div_ceil(PAGE_BYTES as usize).max(1);
        let run = take_run(frames).or_else(|| drain().then(|| take_run(frames)).flatten());
        let buffer = DmaBuffer { physical: run?, frames };
        // SAFETY: The frames were free: nobody else refers to them, and the map has them writable.
        unsafe { buffer.pointer().as_ptr().write_bytes(0, buffer.len()) };
        Some(buffer)
    }

    /// The address that the device is told.
    pub fn physical(&self) -> u64 {
        self.physical
    }

    /// Where the kernel sees the first byte. Valid for [`DmaBuffer::len`] bytes while `self` lives.
    pub fn pointer(&self) -> NonNull<u8> {
        pointer(self.physical)
    }

    /// Bytes, a multiple of a page.
    pub fn len(&self) -> usize {
        self.frames * PAGE_BYTES as usize
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl Drop for DmaBuffer {
    fn drop(&mut self) {
        give(self.physical, self.frames);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_grows_with_the_machine_within_bounds() {
        assert_eq!(reserve_of(0), KERNEL_RESERVE_FRAMES_MIN);
        assert_eq!(reserve_of(16 << 10), 2048, "8 of 64 MiB");
        assert_eq!(reserve_of(usize::MAX), KERNEL_RESERVE_FRAMES_MAX);
    }

    #[test]
    fn without_frames_there_is_no_room() {
        assert!(!has_room(0) && !has_room(usize::MAX));
    }
}

//! The machine's physical memory: frames, and how they are reached.
//!
//! Owns the one [`FrameMap`], the purposes that frames are taken for, and the accesses through the
//! physical map. The lock here is the innermost of memory: heap, then address space, then frames.

use super::frames::FrameMap;
use super::layout::{PAGE_BYTES, PHYSICAL_MAP_BASE};
use core::ptr::{self, NonNull};
use spin::Mutex;

/// Frames that only the kernel itself gets, so that a machine full of processes can still answer.
pub const KERNEL_RESERVE_FRAMES: usize = 256;

/// Whom a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The kernel: gets the last frame too.
    Kernel,
    /// A process: refused while only [`KERNEL_RESERVE_FRAMES`] are left.
    Process,
}

pub(super) static FRAMES: Mutex<Option<FrameMap<'static>>> = Mutex::new(None);

/// Free frames of physical memory.
pub fn free_frames() -> usize {
    FRAMES.lock().as_ref().map_or(0, FrameMap::free)
}

/// Takes a frame, its content undefined.
pub(crate) fn take(purpose: Purpose) -> Option<u64> {
    let mut frames = FRAMES.lock();
    let frames = frames.as_mut()?;
    if purpose == Purpose::Process && frames.free() <= KERNEL_RESERVE_FRAMES {
        return None;
    }
    frames.take()
}

/// Takes a frame full of zeros.
pub(crate) fn take_zeroed(purpose: Purpose) -> Option<u64> {
    let frame = take(purpose)?;
    let start = pointer(frame);
    // SAFETY: The frame was free, so nobody else refers to it, and the physical map has it
    // writable.
    unsafe { start.as_ptr().write_bytes(0, PAGE_BYTES as usize) };
    Some(frame)
}

/// Takes neighbouring frames for the kernel.
pub(crate) fn take_run(count: usize) -> Option<u64> {
    FRAMES.lock().as_mut()?.take_run(count)
}

/// Gives frames back: `count` neighbours from `frame` on.
pub(crate) fn give(frame: u64, count: usize) {
    if let Some(frames) = FRAMES.lock().as_mut() {
        for i in 0..count as u64 {
            frames.give(frame + i * PAGE_BYTES);
        }
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
        let buffer = DmaBuffer { physical: take_run(frames)?, frames };
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

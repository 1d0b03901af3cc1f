//! Physical and virtual memory: from the loader's map to the kernel's own.
//!
//! Owns the start of memory ([`start`]) and the questions about it that every context may ask.
//! [`physical`] has the frames, [`vm`] the reservations, [`heap`] the kernel's objects, `tlb` what
//! other CPUs remember; `frames`, `quarantine`, `paging`, `addresses`, `classes`, `sizes`, `slabs`
//! and `magazines` are pure.

pub(crate) mod addresses;
pub(crate) mod classes;
pub(crate) mod demand;
pub(crate) mod frames;
pub mod heap;
mod image;
pub mod layout;
#[cfg(feature = "metal")]
pub(crate) mod low_text;
mod magazines;
pub(crate) mod paging;
pub mod physical;
pub(crate) mod quarantine;
mod sizes;
mod slabs;
#[cfg(feature = "metal")]
mod start;
pub(crate) mod tlb;
pub mod vm;

pub use demand::{Sparse, give_back as give_back_stack_frames, give_back_some, is_short_here};
pub use image::{Image, PageContent};
pub use paging::Protection;
pub use physical::DmaBuffer;
#[cfg(feature = "metal")]
pub use start::{Guarded, Memory, guard_at, start};
pub use vm::{Reservation, VmError};

use layout::{PAGE_BYTES, PHYSICAL_MAP_BASE, PHYSICAL_MAP_BYTES_MAX};
use paging::Mapper;
use spin::Once;
use x86_64::registers::control::Cr3;

/// Ranges of memory that frames may come from, as many as regions are kept.
const RAM_RANGES_MAX: usize = 32;

/// The ranges that frames were made of, for telling them from firmware and devices.
static RAM: Once<[(u64, u64); RAM_RANGES_MAX]> = Once::new();

/// Bytes that can still be had, by the kernel at least: free frames, those of memories that are
/// being given back, and free pieces of the heap.
pub fn free_bytes() -> u64 {
    physical::obtainable_frames() as u64 * PAGE_BYTES + heap::free_bytes() as u64
}

/// Whether the kernel can take an object of `bytes` bytes on a process's behalf, a message for one,
/// and keep what it needs for itself. To be asked before every allocation whose number or size a
/// process chooses: an allocation that fails ends the machine.
///
/// What the heap has lying ready costs no frame, so it may be used where frames are short. It may
/// not be all that such a call takes, hence only down to half of the kernel's reserve.
pub fn has_room(bytes: usize) -> bool {
    physical::has_room(bytes) || heap::has_listed(bytes) && physical::has_half_of_reserve()
}

/// Bytes of frames that the kernel can take on processes' behalf and keep what it needs for itself.
pub fn room_bytes() -> usize {
    physical::room_bytes()
}

/// Whether so little is left that the kernel itself may soon fail.
pub fn is_short() -> bool {
    !physical::has_half_of_reserve()
}

/// Whether the kernel can take an object of `bytes` bytes on its own behalf, at somebody else's
/// word, and memory is not [short](is_short) then.
pub fn can_spare(bytes: usize) -> bool {
    physical::keeps_half_of_reserve(bytes)
}

/// Whether an address is mapped. Takes no lock, so that a trap may ask.
pub fn is_mapped(address: u64) -> bool {
    if address >> 47 != 0 && address >> 47 != 0x1_ffff {
        return false;
    }
    let root = Cr3::read().0.start_address();
    Mapper::over(vm::MachineTables, root).lookup(address).is_some()
}

/// Bytes that firmware or a loader left in memory: tables, a module. `None` for what is not mapped
/// or belongs to the frames that are handed out.
pub fn physical_bytes(physical: u64, len: usize) -> Option<&'static [u8]> {
    let end = physical.checked_add(len as u64)?;
    if physical == 0 || len == 0 || end > PHYSICAL_MAP_BYTES_MAX {
        return None;
    }
    let in_ram = |&(start, after): &(u64, u64)| physical < after && start < end;
    if RAM.get()?.iter().any(in_ram) {
        return None;
    }
    let first_page = physical / PAGE_BYTES * PAGE_BYTES;
    let mut pages = (first_page..end).step_by(PAGE_BYTES as usize);
    if !pages.all(|page| is_mapped(PHYSICAL_MAP_BASE + page)) {
        return None;
    }
    let pointer = physical::pointer(physical);
    // SAFETY: Mapped, never handed out as a frame, and nobody writes to what firmware left.
    Some(unsafe { core::slice::from_raw_parts(pointer.as_ptr(), len) })
}

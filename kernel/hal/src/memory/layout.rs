//! The kernel's virtual address space: who lives where.
//!
//! ```text
//! 0x0000_0000_0020_0000  the image (text RX, rodata R, data RW)      linked there
//! 0xffff_8000_0000_0000  the physical map (RW, what is executable elsewhere read-only)
//! 0xffff_b000_0000_0000  the heap of small objects
//! 0xffff_c000_0000_0000  reservations: process memories, stacks, program text, device registers
//! ```
//!
//! Everything else is unmapped, the null page before all.

/// Bytes of a page and of a frame.
pub const PAGE_BYTES: u64 = 4096;
/// Bytes of a large page.
pub const LARGE_PAGE_BYTES: u64 = 2 << 20;

/// Where physical address 0 is seen.
pub const PHYSICAL_MAP_BASE: u64 = 0xffff_8000_0000_0000;
/// The physical map may reach this far: 32 TiB of memory.
pub const PHYSICAL_MAP_BYTES_MAX: u64 = 32 << 40;

/// Where the heap of small objects begins.
pub const HEAP_BASE: u64 = 0xffff_b000_0000_0000;
/// The heap of small objects never grows beyond this.
pub const HEAP_BYTES_MAX: u64 = 64 << 30;

/// Where reservations begin.
pub const RESERVATIONS_BASE: u64 = 0xffff_c000_0000_0000;
/// Addresses set aside for reservations.
pub const RESERVATIONS_BYTES: u64 = 32 << 40;

const _: () = assert!(PHYSICAL_MAP_BASE + PHYSICAL_MAP_BYTES_MAX <= HEAP_BASE, "no overlap");
const _: () = assert!(HEAP_BASE + HEAP_BYTES_MAX <= RESERVATIONS_BASE, "no overlap");

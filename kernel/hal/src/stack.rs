//! Stacks that the image itself brings: the boot stack, which becomes the main loop's.
//!
//! Owns [`GuardedStack`]: a stack above a page that [`crate::memory`] unmaps, so that an overflow
//! faults instead of writing on. Stacks of processes are reservations of [`crate::vm`].

/// A guard is one page.
pub const GUARD_BYTES: usize = 4096;
/// Enough for loading a program, the deepest thing the main loop does.
pub const BOOT_STACK_BYTES: usize = 128 * 1024;

/// A stack with the page below it that must fault.
#[repr(C, align(4096))]
pub struct GuardedStack<const BYTES: usize> {
    guard: [u8; GUARD_BYTES],
    bytes: [u8; BYTES],
}

impl<const BYTES: usize> GuardedStack<BYTES> {
    /// A stack of zeros, guard and all.
    pub const fn new() -> Self {
        const { assert!(BYTES.is_multiple_of(GUARD_BYTES), "pages have one protection each") };
        GuardedStack { guard: [0; GUARD_BYTES], bytes: [0; BYTES] }
    }
}

impl<const BYTES: usize> Default for GuardedStack<BYTES> {
    fn default() -> Self {
        Self::new()
    }
}

/// The stack of the boot CPU. Outside of what the entry code clears, since it stands on it.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.stacks")]
pub static mut BOOT_STACK: GuardedStack<BOOT_STACK_BYTES> = GuardedStack::new();

/// The page below the boot stack.
pub(crate) fn boot_guard() -> u64 {
    &raw const BOOT_STACK as u64
}

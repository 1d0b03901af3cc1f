//! Registers of a device in memory.
//!
//! Owns [`Registers`], a mapped range that is read and written by whole registers, in order and
//! never twice. Offsets come from `spec` files; one beyond the range is a bug of ours.

use core::ptr::NonNull;

/// A device's registers.
#[derive(Debug)]
pub(crate) struct Registers {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is global and lives for ever; registers have no owner among threads.
unsafe impl Send for Registers {}

macro_rules! accessors {
    ($($read:ident $write:ident $word:ty;)*) => {$(
        /// Reads the register at `offset`.
        pub(crate) fn $read(&self, offset: usize) -> $word {
            let register = self.register::<$word>(offset);
            // SAFETY: `register` checked that it lies in the mapping and is aligned.
            unsafe { register.read_volatile() }
        }

        /// Writes the register at `offset`.
        pub(crate) fn $write(&mut self, offset: usize, value: $word) {
            let register = self.register::<$word>(offset);
            // SAFETY: `register` checked that it lies in the mapping and is aligned; what the
            // device does on the write is what the caller wants.
            unsafe { register.write_volatile(value) }
        }
    )*};
}

impl Registers {
    /// Maps `bytes` bytes of a device at a physical address; none if that cannot be mapped.
    #[cfg(feature = "metal")]
    pub(crate) fn map(physical: u64, bytes: usize) -> Option<Self> {
        let start = crate::memory::vm::map_device(physical, bytes)?;
        Some(Registers { start, bytes })
    }

    /// Host tests have no devices in memory.
    #[cfg(not(feature = "metal"))]
    pub(crate) fn map(_physical: u64, _bytes: usize) -> Option<Self> {
        None
    }

    /// The `bytes` bytes at `offset`, as registers of their own; none if they lie outside.
    pub(crate) fn part(&self, offset: usize, bytes: usize) -> Option<Registers> {
        let end = offset.checked_add(bytes)?;
        let start = NonNull::new(self.start.as_ptr().wrapping_add(offset))?;
        (end <= self.bytes).then_some(Registers { start, bytes })
    }

    /// Memory that a test looks at in a device's place.
    #[cfg(test)]
    pub(crate) fn over(memory: &'static mut [u64]) -> Self {
        Registers { start: NonNull::from(&mut memory[0]).cast(), bytes: size_of_val(memory) }
    }

    accessors! {
        read_u8 write_u8 u8;
        read_u16 write_u16 u16;
        read_u32 write_u32 u32;
    }

    fn register<T>(&self, offset: usize) -> *mut T {
        let fits = offset.checked_add(size_of::<T>()).is_some_and(|end| end <= self.bytes);
        assert!(fits, "register {offset:#x} lies within {:#x} bytes", self.bytes);
        let pointer = self.start.as_ptr().wrapping_add(offset).cast::<T>();
        assert!(pointer.is_aligned(), "register {offset:#x} is aligned");
        pointer
    }
}

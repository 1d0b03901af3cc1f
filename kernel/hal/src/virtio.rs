//! Devices that a hypervisor makes for guests: Virtual I/O Device (VIRTIO) version 1.2.
//!
//! Owns finding the devices, the two transports (PCI, and registers plainly in memory) and the
//! split ring that all such devices share, the network device and the entropy device. Neighbours:
//! [`crate::pci`] finds the functions, [`crate::memory`] gives the memory that device and driver
//! share. Nothing that a device can write decides about memory here before it was compared with
//! what the driver itself remembers.

pub(crate) mod devices;
pub mod net;
mod queue;
pub(crate) mod rng;
pub(crate) mod spec;
mod transport;

pub use devices::{Device, Devices};
pub use queue::Broken;
pub use transport::OpenError;

use core::ptr::NonNull;

/// Memory that a device reads and writes too.
///
/// # Safety
/// `pointer` is valid for `bytes` bytes and aligned to 4096 as long as the value lives, wherever it
/// is moved, and nothing else in the program uses those bytes.
pub unsafe trait Shared {
    /// Where we see it.
    fn pointer(&self) -> NonNull<u8>;
    /// Where the device sees it.
    fn physical(&self) -> u64;
    /// Bytes.
    fn bytes(&self) -> usize;
}

// SAFETY: the frames are the buffer's own until it is dropped, and frames are page-aligned.
unsafe impl Shared for crate::memory::physical::DmaBuffer {
    fn pointer(&self) -> NonNull<u8> {
        self.pointer()
    }

    fn physical(&self) -> u64 {
        self.physical()
    }

    fn bytes(&self) -> usize {
        self.len()
    }
}

//! The entropy device (VIRTIO 1.2, section 5.4): random bytes from the host.
//!
//! Owns [`read`], which asks a device once and puts it away again: a node needs a seed when it
//! starts, and no driver afterwards. The device is polled, not heard by interrupt, for a bounded
//! time. What it writes is mixed with other sources (`crate::entropy`), so a device that lies
//! cannot make a seed worse.

use super::queue::{Part, QUEUE_BYTES, wait};
use super::spec::{Kind, feature, rng};
use super::{Device, Devices, OpenError, Shared};
use crate::memory::physical::DmaBuffer;
use crate::pci::Config;
use craton_abi::Duration;

/// Bytes that are asked for: twice a seed.
pub(crate) const BYTES: usize = 64;
/// How long a device may take; a host has the bytes within a millisecond.
const PATIENCE: Duration = Duration::from_millis(500);

/// The first entropy device of the machine.
pub(crate) fn find<C: Config>(devices: &Devices<C>) -> Option<Device> {
    devices.first(Kind::RNG)
}

/// Asks a device for random bytes: how many of `bytes` it wrote.
///
/// # Errors
///
/// If it is no device that can be used. One that gives nothing in time gives 0 bytes.
pub(crate) fn read<C: Config>(
    devices: &mut Devices<C>,
    device: &Device,
    bytes: &mut [u8; BYTES],
) -> Result<usize, OpenError> {
    let mut transport = devices.transport(device, rng::CONFIG_BYTES)?;
    transport.negotiate(feature::ACCESS_PLATFORM, 0)?;
    let ring = DmaBuffer::new(QUEUE_BYTES).ok_or(OpenError::NoMemory)?;
    let buffer = DmaBuffer::new(BYTES).ok_or(OpenError::NoMemory)?;
    let (mut queue, mut bell) = transport.queue(rng::REQUEST_QUEUE, ring, false, None)?;
    transport.start();
    queue.post(0, whole(&buffer));
    if queue.must_tell() {
        bell.ring();
    }
    let written = wait(&mut queue, PATIENCE).map_or(0, |written| written as usize);
    // The memory is about to be somebody else's.
    assert!(transport.reset().is_ok(), "a device that will not stop ends the machine");
    copy(&buffer, written, bytes);
    Ok(written)
}

fn whole<M: Shared>(buffer: &M) -> Part {
    Part { physical: buffer.physical(), bytes: BYTES as u32, device_writes: true }
}

/// Takes what was written over, one byte after another.
fn copy<M: Shared>(buffer: &M, written: usize, bytes: &mut [u8; BYTES]) {
    assert!(written <= buffer.bytes(), "the queue checks the length");
    for (index, byte) in bytes.iter_mut().take(written).enumerate() {
        // SAFETY: Within the buffer, which the device, reset by now, does not write to.
        *byte = unsafe { buffer.pointer().as_ptr().wrapping_add(index).read_volatile() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::queue::Queue;
    use crate::virtio::queue::tests::{Device, Leaked};

    const SIZE: u16 = 8;

    fn parts() -> (Queue<Leaked>, Device, Leaked) {
        let (ring, buffer) = (Leaked::new(QUEUE_BYTES), Leaked::new(BYTES));
        let mut queue = Queue::new(ring, SIZE, false);
        let mut device = Device::new(ring, SIZE);
        queue.post(0, whole(&buffer));
        device.look();
        (queue, device, buffer)
    }

    #[test]
    fn what_the_device_wrote_is_taken_and_no_more() {
        let (mut queue, mut device, buffer) = parts();
        let (id, address, asked) = device.held.pop_front().expect("the buffer was posted");
        assert_eq!((address, asked), (buffer.physical(), BYTES as u32));
        for index in 0..BYTES {
            // SAFETY: Within the leaked buffer.
            unsafe { buffer.pointer().as_ptr().wrapping_add(index).write(index as u8 + 1) };
        }
        device.finish(id.into(), 40);
        let mut bytes = [0; BYTES];
        let written = wait(&mut queue, PATIENCE).map_or(0, |written| written as usize);
        copy(&buffer, written, &mut bytes);
        assert_eq!((written, bytes[39], bytes[40]), (40, 40, 0));
    }

    #[test]
    fn a_device_that_lies_gives_nothing() {
        for (id, written) in [(0, BYTES as u32 + 1), (3, 8), (u32::MAX, 8)] {
            let (mut queue, mut device, _) = parts();
            device.finish(id, written);
            assert_eq!(wait(&mut queue, PATIENCE), None, "{written} bytes in buffer {id}");
        }
    }
}

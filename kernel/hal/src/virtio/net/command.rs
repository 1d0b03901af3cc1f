//! The queue of commands to a network device (VIRTIO 1.2, section 5.1.6.5).
//!
//! Owns [`Command`], which asks once: to use several pairs of queues. The answer is waited for, not
//! heard by interrupt.

use crate::memory::physical::DmaBuffer;
use crate::virtio::queue::{Part, QUEUE_BYTES, Queue, wait};
use crate::virtio::spec::{feature, net};
use crate::virtio::transport::{Bell, Transport};
use crate::virtio::{OpenError, Shared};
use craton_abi::Duration;

/// How long the device may take.
const PATIENCE: Duration = Duration::from_millis(500);
/// A command in the shared memory: its class, its number, its argument; and the device's answer.
const COMMAND_BYTES: usize = 4;
const ANSWER: usize = COMMAND_BYTES;
/// No answer that the device gives.
const UNANSWERED: u8 = 0xff;

/// The queue of commands.
pub(super) struct Command<M> {
    queue: Queue<M>,
    bell: Bell,
    memory: M,
}

impl Command<DmaBuffer> {
    /// Sets the queue up, before the device is started.
    pub(super) fn open(
        transport: &mut Transport,
        pairs_max: u16,
        chosen: u64,
    ) -> Result<Self, OpenError> {
        let ring = DmaBuffer::new(QUEUE_BYTES).ok_or(OpenError::NoMemory)?;
        let memory = DmaBuffer::new(COMMAND_BYTES + 1).ok_or(OpenError::NoMemory)?;
        let event_index = chosen & feature::EVENT_INDEX != 0;
        let number = net::control_queue(pairs_max);
        let (queue, bell) = transport.queue(number, ring, event_index, None)?;
        if queue.size() < 2 {
            return Err(OpenError::NoQueue);
        }
        Ok(Command { queue, bell, memory })
    }
}

impl<M: Shared> Command<M> {
    /// Asks the started device to use so many pairs. Whether it does.
    ///
    /// The value is not used any more: the device may hold on to what it was given if it did not
    /// answer, so the caller stops the device then, before the memory is somebody else's.
    pub(super) fn set_pairs(&mut self, pairs: u16) -> bool {
        let [low, high] = pairs.to_le_bytes();
        let command = [net::COMMAND_MULTIQUEUE, net::COMMAND_SET_PAIRS, low, high, UNANSWERED];
        for (index, byte) in command.into_iter().enumerate() {
            self.write(index, byte);
        }
        let physical = self.memory.physical();
        let question = Part { physical, bytes: COMMAND_BYTES as u32, device_writes: false };
        let answer = Part { physical: physical + ANSWER as u64, bytes: 1, device_writes: true };
        self.queue.post_chain(0, &[question, answer]);
        if self.queue.must_tell() {
            self.bell.ring();
        }
        wait(&mut self.queue, PATIENCE).is_some() && self.read(ANSWER) == net::COMMAND_DONE
    }

    fn place(&self, index: usize) -> *mut u8 {
        assert!(index <= ANSWER && self.memory.bytes() > ANSWER, "within a command");
        self.memory.pointer().as_ptr().wrapping_add(index)
    }

    fn write(&mut self, index: usize, byte: u8) {
        let place = self.place(index);
        // SAFETY: as `place` checked, within memory that is this queue's.
        unsafe { place.write_volatile(byte) };
    }

    fn read(&self, index: usize) -> u8 {
        let place = self.place(index);
        // SAFETY: as `place` checked, within memory that is this queue's.
        unsafe { place.read_volatile() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registers::Registers;
    use crate::virtio::queue::tests::{Device, Leaked};
    use std::vec;
    use std::vec::Vec;

    /// A queue of commands whose device has answered before it was asked.
    fn answered(id: u32, written: u32) -> (Command<Leaked>, Device) {
        let ring = Leaked::new(QUEUE_BYTES);
        let door = Registers::over(Vec::leak(vec![0_u64]));
        let queue = Queue::new(ring, 8, true);
        let bell = Bell::new(door, 2, false);
        let mut device = Device::new(ring, 8);
        device.finish(id, written);
        (Command { queue, bell, memory: Leaked::new(QUEUE_BYTES) }, device)
    }

    #[test]
    fn the_command_is_a_question_and_room_for_an_answer() {
        let (mut command, mut device) = answered(0, 1);
        // The answer's byte is not the device's here, so it stays what it was.
        assert!(!command.set_pairs(0x0203), "what is not answered is not done");
        device.look();
        let (id, address, bytes) = device.held.pop_front().expect("it was posted");
        assert_eq!((id, address, bytes), (0, command.memory.physical(), 4));
        assert_eq!(core::array::from_fn(|index| command.read(index)), [4, 0, 3, 2]);
        assert_eq!(device.descriptor(0), (command.memory.physical(), 4, 1, 1));
        assert_eq!(device.descriptor(1), (command.memory.physical() + 4, 1, 2, 0));
    }

    #[test]
    fn a_device_that_lies_has_not_done_it() {
        for (id, written) in [(0, 2), (1, 1), (9, 1), (u32::MAX, 0)] {
            assert!(!answered(id, written).0.set_pairs(2), "{written} bytes in buffer {id}");
        }
    }
}

//! The ring against a device made of the same memory, honest and hostile.

use super::*;
use crate::virtio::Shared;
use core::ptr::NonNull;
use std::boxed::Box;
use std::collections::VecDeque;
use std::vec::Vec;

/// Memory for one test, never given back.
#[derive(Clone, Copy)]
pub(in crate::virtio) struct Leaked {
    pointer: NonNull<u8>,
    bytes: usize,
}

impl Leaked {
    pub(in crate::virtio) fn new(bytes: usize) -> Self {
        #[derive(Clone, Copy)]
        #[repr(align(4096))]
        struct Page([u8; 4096]);
        let pages: &mut [Page] = Box::leak(vec![Page([0; 4096]); bytes.div_ceil(4096)].into());
        Leaked { pointer: NonNull::from(&mut pages[0].0).cast(), bytes }
    }
}

// SAFETY: leaked pages live for ever, and only the queue and the pretended device use them.
unsafe impl Shared for Leaked {
    fn pointer(&self) -> NonNull<u8> {
        self.pointer
    }

    fn physical(&self) -> u64 {
        self.pointer.as_ptr() as u64
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The other side of a ring.
pub(in crate::virtio) struct Device {
    memory: Leaked,
    size: u16,
    seen: u16,
    used: u16,
    /// Buffers that it holds: descriptor, address, length.
    pub(in crate::virtio) held: VecDeque<(u16, u64, u32)>,
}

impl Device {
    pub(in crate::virtio) fn new(memory: Leaked, size: u16) -> Self {
        Device { memory, size, seen: 0, used: 0, held: VecDeque::new() }
    }

    fn word<T>(&self, offset: usize) -> *mut T {
        assert!(offset + size_of::<T>() <= QUEUE_BYTES);
        self.memory.pointer.as_ptr().wrapping_add(offset).cast()
    }

    fn read<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: within the leaked memory, as `word` checked.
        unsafe { self.word::<T>(offset).read_volatile() }
    }

    fn write<T>(&self, offset: usize, value: T) {
        // SAFETY: within the leaked memory, as `word` checked.
        unsafe { self.word::<T>(offset).write_volatile(value) }
    }

    /// Looks at what was posted.
    pub(in crate::virtio) fn look(&mut self) {
        let posted: u16 = self.read(DRIVER_PART + 2);
        while self.seen != posted {
            let slot = usize::from(self.seen % self.size);
            let id: u16 = self.read(DRIVER_PART + 4 + slot * 2);
            let at = usize::from(id) * 16;
            self.held.push_back((id, self.read(at), self.read(at + 8)));
            self.seen = self.seen.wrapping_add(1);
        }
    }

    /// A descriptor: address, length, flags, next.
    pub(in crate::virtio) fn descriptor(&self, id: u16) -> (u64, u32, u16, u16) {
        let at = usize::from(id) * 16;
        (self.read(at), self.read(at + 8), self.read(at + 12), self.read(at + 14))
    }

    /// Says that it is done with a buffer, true or not.
    pub(in crate::virtio) fn finish(&mut self, id: u32, written: u32) {
        let at = DEVICE_PART + 4 + usize::from(self.used % self.size) * 8;
        self.write(at, id);
        self.write(at + 4, written);
        self.set_used(self.used.wrapping_add(1));
    }

    fn set_used(&mut self, used: u16) {
        self.used = used;
        self.write(DEVICE_PART + 2, used);
    }

    /// Asks to be told when our index passes this.
    fn ask_event(&self, index: u16) {
        self.write(DEVICE_PART + 4 + usize::from(self.size) * 8, index);
    }

    /// The index at which the driver wants an interrupt.
    fn driver_event(&self) -> u16 {
        self.read(DRIVER_PART + 4 + usize::from(self.size) * 2)
    }
}

fn pair(size: u16, event_index: bool) -> (Queue<Leaked>, Device) {
    let memory = Leaked::new(QUEUE_BYTES);
    (Queue::new(memory, size, event_index), Device::new(memory, size))
}

/// A buffer for the device to write.
fn part(physical: u64, bytes: u32) -> Part {
    Part { physical, bytes, device_writes: true }
}

/// The lowest descriptor that is free.
fn free(queue: &Queue<Leaked>) -> Option<u16> {
    queue.in_flight.iter().position(Option::is_none).map(|id| id as u16)
}

/// Posts a buffer by a free descriptor, which it gives.
fn post(queue: &mut Queue<Leaked>, part: Part) -> Option<u16> {
    free(queue).inspect(|id| queue.post(*id, part))
}

#[test]
fn buffers_go_round_in_any_order() {
    for seed in 0..20_u64 {
        let (mut queue, mut device) = pair(8, seed % 2 == 0);
        let mut state = seed;
        let mut posted = Vec::new();
        // Far enough for the indices to pass 65,535.
        for step in 0..200_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let dice = (state >> 40) as usize;
            if dice.is_multiple_of(2) {
                if let Some(id) = post(&mut queue, part(step, 100)) {
                    posted.push((id, step));
                }
            } else {
                device.look();
                if !device.held.is_empty() {
                    let (id, _, bytes) = device.held.remove(dice / 2 % device.held.len()).unwrap();
                    device.finish(u32::from(id), bytes.min(dice as u32));
                    let expected = Ok(Some((id, bytes.min(dice as u32))));
                    assert_eq!(queue.take(), expected, "seed {seed}");
                    posted.retain(|(other, _)| *other != id);
                }
                assert_eq!(queue.take(), Ok(None), "seed {seed}");
                let held: Vec<(u16, u64)> = device.held.iter().map(|b| (b.0, b.1)).collect();
                assert_eq!(held, posted, "seed {seed}");
            }
        }
        assert!(device.used > 1000, "seed {seed}: it turned");
    }
}

#[test]
fn a_device_that_lies_breaks_the_queue_for_good() {
    type Lie<'a> = &'a dyn Fn(&mut Device);
    let lies: [(Lie, Broken); 7] = [
        (&|device| device.finish(99, 0), Broken::NotInFlight),
        (&|device| device.finish(u32::MAX, 0), Broken::NotInFlight),
        (&|device| device.finish(1 << 16, 0), Broken::NotInFlight),
        (&|device| device.finish(0, 101), Broken::TooLong),
        (&|device| device.finish(0, u32::MAX), Broken::TooLong),
        (&|device| device.set_used(5), Broken::TooMany),
        (&|device| device.set_used(u16::MAX), Broken::TooMany),
    ];
    for (lie, broken) in lies {
        let (mut queue, mut device) = pair(8, true);
        for _ in 0..4 {
            post(&mut queue, part(0x1000, 100)).expect("it is free");
        }
        device.look();
        lie(&mut device);
        assert_eq!(queue.take(), Err(broken));
        assert_eq!(queue.take(), Err(broken), "and stays so");
        assert_eq!(queue.broken(), Some(broken));
        assert!(!queue.must_tell());
    }
}

#[test]
fn a_buffer_used_twice_is_refused() {
    let (mut queue, mut device) = pair(8, false);
    post(&mut queue, part(0x1000, 100));
    post(&mut queue, part(0x2000, 100));
    device.look();
    device.finish(0, 10);
    device.finish(0, 10);
    assert_eq!(queue.take(), Ok(Some((0, 10))));
    assert_eq!(queue.take(), Err(Broken::NotInFlight));
}

#[test]
fn any_answer_at_all_leaves_the_driver_whole() {
    for seed in 0..200_u64 {
        let (mut queue, mut device) = pair(16, seed % 2 == 0);
        let mut state = seed;
        for _ in 0..1000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let dice = (state >> 33) as u32;
            match dice % 5 {
                0 => _ = post(&mut queue, part(u64::from(dice), dice % 3000)),
                1 => device.finish(dice / 5 % 20, dice / 100 % 4000),
                2 if dice % 100 == 2 => device.set_used(dice as u16),
                3 => _ = queue.must_tell(),
                _ => _ = queue.take(),
            }
            let in_flight = queue.in_flight.iter().flatten().count();
            assert_eq!(in_flight, usize::from(queue.in_flight_count), "seed {seed}");
        }
    }
}

#[test]
fn the_device_is_told_only_when_it_wants_to_be() {
    let (mut queue, mut device) = pair(8, true);
    assert!(!queue.must_tell(), "nothing was posted");
    post(&mut queue, part(0, 1));
    assert!(queue.must_tell(), "it waits for the first");
    assert!(!queue.must_tell(), "once");
    post(&mut queue, part(0, 1));
    assert!(!queue.must_tell(), "it did not ask again");
    device.look();
    device.ask_event(2);
    post(&mut queue, part(0, 1));
    post(&mut queue, part(0, 1));
    assert!(queue.must_tell(), "index 2 was passed on the way to 4");

    let (mut queue, device) = pair(8, false);
    post(&mut queue, part(0, 1));
    device.write::<u16>(DEVICE_PART, ring::NO_NOTIFY);
    assert!(!queue.must_tell());
    device.write::<u16>(DEVICE_PART, 0);
    post(&mut queue, part(0, 1));
    assert!(queue.must_tell());
}

#[test]
fn several_pieces_are_one_buffer() {
    let (mut queue, mut device) = pair(8, true);
    let read = Part { physical: 0x1_0000_1000, bytes: 100, device_writes: false };
    queue.post_chain(5, &[read, part(0x2000, 40), part(0x3000, 2)]);
    device.look();
    assert_eq!(device.held.pop_front(), Some((5, 0x1_0000_1000, 100)));
    assert_eq!(device.descriptor(5), (0x1_0000_1000, 100, 1, 6));
    assert_eq!(device.descriptor(6), (0x2000, 40, 3, 7));
    assert_eq!(device.descriptor(7), (0x3000, 2, 2, 0));
    device.finish(5, 42);
    assert_eq!(queue.take(), Ok(Some((5, 42))), "it may write all that it does not read");
    queue.post_chain(5, &[read, part(0x2000, 40)]);
    device.look();
    device.finish(5, 41);
    assert_eq!(queue.take(), Err(Broken::TooLong));
}

#[test]
#[should_panic(expected = "descriptors of the queue, and free")]
fn a_descriptor_in_flight_is_not_posted_again() {
    let (mut queue, _) = pair(8, true);
    queue.post(3, part(0x1000, 100));
    queue.post(3, part(0x2000, 100));
}

#[test]
fn arming_sees_what_came_before() {
    let (mut queue, mut device) = pair(8, true);
    post(&mut queue, part(0, 100));
    post(&mut queue, part(0, 100));
    device.look();
    assert!(!queue.arm());
    assert_eq!(device.driver_event(), 0, "an interrupt at the first used buffer");
    device.finish(0, 1);
    assert!(queue.arm(), "too late for an interrupt");
    assert_eq!(queue.take(), Ok(Some((0, 1))));
    assert_ne!(device.driver_event(), 1, "while it is polled it is quiet");
    assert!(!queue.arm());
    assert_eq!(device.driver_event(), 1);

    let (mut queue, mut device) = pair(8, false);
    let flags = |device: &Device| device.read::<u16>(DRIVER_PART);
    assert_eq!(flags(&device), ring::NO_INTERRUPT);
    post(&mut queue, part(0, 100));
    device.look();
    assert!(!queue.arm());
    assert_eq!(flags(&device), 0);
    device.finish(0, 1);
    assert_eq!(queue.take(), Ok(Some((0, 1))));
    assert_eq!(flags(&device), ring::NO_INTERRUPT, "while it is polled it is quiet");
}

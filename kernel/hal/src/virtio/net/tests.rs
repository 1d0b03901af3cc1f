//! Both halves against a pretended device, honest and hostile.

use super::*;
use crate::registers::Registers;
use crate::virtio::queue::Queue;
use crate::virtio::queue::tests::{Device, Leaked};
use crate::virtio::transport::Bell;
use core::slice;
use craton_abi::Offload;
use receiver::Agreed;
use std::boxed::Box;
use std::vec;

const SIZE: u16 = 8;
/// For long frames: two of them, and some.
const LARGE: u16 = 128;
const ALL: Agreed = Agreed { vouches: true, spreads: true, long: true };
const PLAIN: Agreed = Agreed { vouches: true, spreads: false, long: false };

type Parts = (Queue<Leaked>, Bell, Buffers<Leaked>, Device, &'static [u64; 1]);

/// A half's parts, and the device that sees them.
fn parts(size: u16) -> Parts {
    let ring = Leaked::new(QUEUE_BYTES);
    let door: &'static mut [u64; 1] = Box::leak(Box::new([u64::MAX]));
    // SAFETY: the register is written through another pointer, and read here volatilely only.
    let seen = unsafe { &*core::ptr::from_mut(door) };
    let bell = Bell::new(Registers::over(door), 7, false);
    let buffers = Buffers::new(Leaked::new(usize::from(size) * BUFFER_BYTES));
    (Queue::new(ring, size, true), bell, buffers, Device::new(ring, size), seen)
}

fn receiver(size: u16, agreed: Agreed) -> (Receiver<Leaked>, Device) {
    let (queue, bell, buffers, device, _) = parts(size);
    (Receiver::new(queue, bell, buffers, agreed), device)
}

fn transmitter(size: u16, long: bool) -> (Transmitter<Leaked>, Device) {
    let (queue, bell, buffers, device, _) = parts(size);
    (Transmitter::new(queue, bell, buffers, long), device)
}

fn put(address: u64, bytes: &[u8]) {
    let start = address as *mut u8;
    for (index, byte) in bytes.iter().enumerate() {
        // SAFETY: the device was given at least as many bytes of leaked memory at this address.
        unsafe { start.wrapping_add(index).write(*byte) };
    }
}

fn get(address: u64, length: usize) -> Vec<u8> {
    // SAFETY: as above.
    unsafe { slice::from_raw_parts(address as *const u8, length) }.to_vec()
}

/// A frame with its header, as a device would write it.
fn received(flags: u8, segmentation: u8, buffers: u16, frame: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; net::HEADER_BYTES];
    bytes[0] = flags;
    bytes[1] = segmentation;
    bytes[10..12].copy_from_slice(&buffers.to_le_bytes());
    bytes.extend_from_slice(frame);
    bytes
}

/// Writes bytes into the next buffers that the device holds, and says which those were.
fn spread(device: &mut Device, bytes: &[u8]) -> Vec<(u16, u32)> {
    let pieces = bytes.chunks(BUFFER_BYTES).map(|piece| {
        let (id, address, _) = device.held.pop_front().expect("there are buffers");
        put(address, piece);
        (id, piece.len() as u32)
    });
    pieces.collect()
}

fn take(receiver: &mut Receiver<Leaked>) -> Option<(Vec<u8>, bool)> {
    receiver.receive(|bytes, checked| (bytes.to_vec(), checked))
}

/// Bytes of which no two neighbours in distance of a buffer are alike.
fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251 + index / 2048 + seed) as u8).collect()
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % bound
    }
}

#[test]
fn frames_arrive_in_order_and_their_buffers_return() {
    let (mut receiver, mut device) = receiver(SIZE, PLAIN);
    for number in 0..1000_u32 {
        device.look();
        let (id, address, _) = device.held.pop_front().expect("a buffer is always there");
        let frame = vec![number as u8; 14 + number as usize % 1500];
        let flags = if number % 3 == 0 { net::CHECKSUM_VALID } else { 0 };
        let bytes = received(flags, 0, 1, &frame);
        put(address, &bytes);
        device.finish(u32::from(id), bytes.len() as u32);
        assert!(take(&mut receiver) == Some((frame, number % 3 == 0)), "frame {number}");
        assert_eq!(take(&mut receiver), None);
    }
    device.look();
    assert_eq!(device.held.len(), usize::from(SIZE));
}

#[test]
fn frames_of_any_length_arrive_whole_in_any_order_of_buffers() {
    for seed in 0..20 {
        let (mut receiver, mut device) = receiver(LARGE, ALL);
        let mut dice = Dice(seed);
        for number in 0..300 {
            device.look();
            if seed % 2 == 1 {
                // It takes its buffers from anywhere.
                let at = dice.below(device.held.len());
                device.held.rotate_left(at);
            }
            let longest = if dice.below(2) == 0 { LONG_FRAME_BYTES_MAX } else { 1514 };
            let frame = pattern(14 + dice.below(longest - 13), number);
            let count = (net::HEADER_BYTES + frame.len()).div_ceil(BUFFER_BYTES);
            let kind = if frame.len() > 1514 { net::SEGMENTATION_TCP4 } else { 0 };
            let bytes = received(net::NEEDS_CHECKSUM, kind, count as u16, &frame);
            let pieces = spread(&mut device, &bytes);
            let (last, before) = pieces.split_last().expect("a frame has a piece");
            before.iter().for_each(|(id, bytes)| device.finish(u32::from(*id), *bytes));
            assert_eq!(take(&mut receiver), None, "it is not whole yet");
            device.finish(u32::from(last.0), last.1);
            assert!(take(&mut receiver) == Some((frame, true)), "seed {seed}, frame {number}");
        }
        device.look();
        assert_eq!(device.held.len(), usize::from(LARGE), "seed {seed}");
    }
}

#[test]
fn what_is_no_frame_is_passed_over() {
    let agreed = Agreed { vouches: false, ..PLAIN };
    let (mut receiver, mut device) = receiver(SIZE, agreed);
    device.look();
    let frame = [5; 60];
    let cut = received(0, 0, 1, &[1; 13]);
    let nonsense = [Vec::new(), vec![0; 11], cut, received(0, 1, 1, &frame)];
    for bytes in nonsense.iter().chain([&received(net::CHECKSUM_VALID, 0, 1, &frame)]) {
        let (id, address, _) = device.held.pop_front().expect("a buffer is there");
        put(address, bytes);
        device.finish(u32::from(id), bytes.len() as u32);
    }
    let got = take(&mut receiver);
    assert_eq!(got, Some((frame.to_vec(), false)), "it may not vouch: that was not agreed on");
    assert_eq!((receiver.counters().frames, receiver.counters().dropped), (1, 4));
}

#[test]
fn a_lying_device_receives_nothing_more() {
    let (mut receiver, mut device) = receiver(SIZE, PLAIN);
    device.look();
    device.finish(0, BUFFER_BYTES as u32 + 1);
    assert_eq!(take(&mut receiver), None);
    assert_eq!(receiver.broken(), Some(Broken::TooLong));
    device.finish(1, 60);
    assert_eq!(take(&mut receiver), None);
}

#[test]
fn a_frame_of_no_buffers_or_of_too_many_breaks_the_queue() {
    for count in [0, 34, 0x8000, u16::MAX] {
        let (mut receiver, mut device) = receiver(LARGE, ALL);
        device.look();
        let (id, address, _) = device.held.pop_front().expect("a buffer is there");
        put(address, &received(0, 0, count, &[1; 60]));
        device.finish(u32::from(id), 72);
        assert_eq!(take(&mut receiver), None);
        assert_eq!(receiver.broken(), Some(Broken::NoFrame), "{count} buffers");
        assert_eq!(take(&mut receiver), None);
    }
}

#[test]
fn a_device_that_writes_anything_at_all_leaves_the_driver_whole() {
    for seed in 0..300 {
        let (mut receiver, mut device) = receiver(LARGE, ALL);
        let mut dice = Dice(seed);
        let (mut frames, mut steps) = (0, 0);
        while receiver.broken().is_none() && steps < 2000 {
            steps += 1;
            device.look();
            if let Some((id, address, bytes)) = device.held.pop_front() {
                let kinds = [0, 0, 1, 4, dice.below(256)];
                let counts = [1, 1, 1 + dice.below(FRAME_BUFFERS_MAX)];
                let count =
                    if dice.below(500) == 0 { dice.below(1 << 16) } else { counts[dice.below(3)] };
                let kind = kinds[dice.below(kinds.len())] as u8;
                put(address, &received(dice.below(256) as u8, kind, count as u16, &[]));
                let id = if dice.below(200) == 0 { dice.below(300) as u32 } else { id.into() };
                let beyond = dice.below(400) == 0;
                device
                    .finish(id, dice.below(bytes as usize + 1) as u32 + u32::from(beyond) * bytes);
            }
            if let Some((frame, _)) = take(&mut receiver) {
                assert!((14..=FRAME_BUFFERS_MAX * BUFFER_BYTES).contains(&frame.len()));
                frames += 1;
            }
        }
        assert_eq!(frames, receiver.counters().frames, "seed {seed}");
    }
}

#[test]
fn frames_are_sent_with_their_header_and_one_ring() {
    let (queue, bell, buffers, mut device, door) = parts(SIZE);
    let mut transmitter = Transmitter::new(queue, bell, buffers, false);
    let door = || {
        // SAFETY: the register lives for ever.
        unsafe { core::ptr::from_ref(door).cast::<u16>().read_volatile() }
    };
    let sum = Offload::Checksum { start: 34, offset: 16 };
    transmitter.transmit(60, |frame| (frame.fill(1), Offload::None));
    transmitter.transmit(1514, |frame| (frame.fill(2), sum));
    assert_eq!(door(), u16::MAX, "not before the flush");
    transmitter.flush();
    assert_eq!((door(), transmitter.counters().rings), (7, 1));
    transmitter.flush();
    assert_eq!(transmitter.counters().rings, 1);
    device.look();
    let sent: Vec<_> = device.held.iter().map(|(_, at, n)| get(*at, *n as usize)).collect();
    assert!(sent[0] == received(0, 0, 0, &[1; 60]));
    assert_eq!(sent[1][..12], [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0]);
    assert!(sent[1][12..] == [2; 1514]);
}

#[test]
fn a_frame_to_be_cut_says_how() {
    let (mut transmitter, mut device) = transmitter(LARGE, true);
    let frame = pattern(LONG_FRAME_BYTES_MAX, 3);
    for (ipv6, kind) in [(false, 1), (true, 4)] {
        let cut = Offload::Segments {
            start: 34,
            offset: 16,
            header_bytes: 66,
            payload_bytes: 1448,
            ipv6,
        };
        transmitter.transmit(frame.len(), |bytes| (bytes.copy_from_slice(&frame), cut));
        device.look();
        let (_, address, length) = device.held.pop_front().expect("it was sent");
        let sent = get(address, length as usize);
        assert_eq!(sent[..12], [1, kind, 66, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0]);
        assert!(sent[12..] == frame);
    }
}

#[test]
fn a_full_ring_is_not_ready_until_the_device_gives_back() {
    let (mut transmitter, mut device) = transmitter(SIZE, false);
    for number in 0..SIZE {
        assert!(transmitter.ready());
        transmitter.transmit(60, |frame| (frame.fill(number as u8), Offload::None));
    }
    assert!(!transmitter.ready());
    let length = transmitter.transmit(60, |frame| (frame.len(), Offload::None));
    assert_eq!(length, 60, "into the void");
    device.look();
    assert_eq!(device.held.len(), usize::from(SIZE));
    device.finish(0, 0);
    assert!(transmitter.ready());
    transmitter.transmit(BUFFER_BYTES, |frame| (frame.fill(9), Offload::None));
    assert_eq!(transmitter.counters().dropped, 2, "one without room, one too long");
    transmitter.transmit(60, |frame| (frame.fill(8), Offload::None));
    device.finish(0, 0);
    device.finish(0, 0);
    assert!(transmitter.ready() && transmitter.broken() == Some(Broken::NotInFlight));
    transmitter.transmit(60, |frame| (frame.fill(7), Offload::None));
    assert_eq!(transmitter.counters().dropped, 3, "a broken device takes all and sends nothing");
}

/// Every frame in flight keeps its bytes, however long the others are and in whatever order the
/// device is done with them, and a ring that says it is ready takes the longest.
#[test]
fn frames_in_flight_never_share_memory() {
    for seed in 0..10 {
        let (mut transmitter, mut device) = transmitter(LARGE, true);
        let mut dice = Dice(seed);
        let mut sent = Vec::new();
        for number in 0..2000 {
            while transmitter.ready() && dice.below(4) != 0 {
                let longest = if dice.below(3) == 0 { LONG_FRAME_BYTES_MAX } else { 1514 };
                let frame = pattern(14 + dice.below(longest - 13), number);
                transmitter
                    .transmit(frame.len(), |bytes| (bytes.copy_from_slice(&frame), Offload::None));
                sent.push(frame);
                device.look();
                assert_eq!(device.held.len(), sent.len(), "seed {seed}");
            }
            if !sent.is_empty() {
                let at = if seed % 2 == 0 { 0 } else { dice.below(sent.len()) };
                let (id, address, length) = device.held.remove(at).expect("it is held");
                let bytes = get(address + 12, length as usize - 12);
                assert!(bytes == sent.remove(at), "seed {seed}, step {number}");
                device.finish(id.into(), 0);
            }
        }
        assert_eq!(transmitter.counters().dropped, 0, "seed {seed}");
        assert!(transmitter.counters().frames > 1000, "seed {seed}");
    }
}

#[test]
fn features_are_wanted_only_with_those_that_they_need() {
    let segments = feature::NET_HOST_TSO4 | feature::NET_HOST_TSO6;
    let together = feature::NET_GUEST_TSO4 | feature::NET_GUEST_TSO6;
    let pairs = feature::NET_CONTROL | feature::NET_MULTIQUEUE;
    let chosen = |offered, several| offered & wanted(offered, several);
    assert_eq!(chosen(segments | together, true), 0);
    assert_eq!(chosen(segments | feature::NET_CSUM, true), segments | feature::NET_CSUM);
    let spread = feature::NET_GUEST_CSUM | feature::NET_MERGEABLE;
    assert_eq!(chosen(together | spread, false), together | spread);
    assert_eq!(chosen(together | feature::NET_GUEST_CSUM, false), feature::NET_GUEST_CSUM);
    assert_eq!(chosen(pairs, true), pairs);
    assert_eq!(chosen(pairs, false), 0);
    assert_eq!(chosen(feature::NET_MULTIQUEUE, true), 0);
}

//! Both halves against a pretended device.

use super::*;
use crate::registers::Registers;
use crate::virtio::queue::tests::{Device, Leaked};
use std::boxed::Box;
use std::vec::Vec;

const SIZE: u16 = 8;

/// A half's parts, and the device that sees them.
fn parts() -> (Queue<Leaked>, Bell, Buffers<Leaked>, Device, &'static [u64; 1]) {
    let ring = Leaked::new(QUEUE_BYTES);
    let door: &'static mut [u64; 1] = Box::leak(Box::new([u64::MAX]));
    // SAFETY: the register is written through another pointer, and read here volatilely only.
    let seen = unsafe { &*core::ptr::from_mut(door) };
    let bell = Bell::new(Registers::over(door), 7, false);
    let buffers = Buffers { memory: Leaked::new(usize::from(SIZE) * BUFFER_BYTES) };
    (Queue::new(ring, SIZE, true), bell, buffers, Device::new(ring, SIZE), seen)
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
fn received(flags: u8, segmentation: u8, frame: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; net::HEADER_BYTES];
    bytes[0] = flags;
    bytes[1] = segmentation;
    bytes.extend_from_slice(frame);
    bytes
}

#[test]
fn frames_arrive_in_order_and_their_buffers_return() {
    let (queue, bell, buffers, mut device, _) = parts();
    let mut receiver = Receiver::new(queue, bell, buffers, true);
    for number in 0..1000_u32 {
        device.look();
        let (id, address, _) = device.held.pop_front().expect("a buffer is always there");
        let frame = vec![number as u8; 14 + number as usize % 1500];
        let bytes = received(if number % 3 == 0 { net::CHECKSUM_VALID } else { 0 }, 0, &frame);
        put(address, &bytes);
        device.finish(u32::from(id), bytes.len() as u32);
        let got = receiver.receive(|bytes, checked| (bytes.to_vec(), checked));
        assert!(got == Some((frame, number % 3 == 0)), "frame {number}");
        assert_eq!(receiver.receive(|_, _| ()), None);
    }
    device.look();
    assert_eq!(device.held.len(), usize::from(SIZE));
}

#[test]
fn what_is_no_frame_is_passed_over() {
    let (queue, bell, buffers, mut device, _) = parts();
    let mut receiver = Receiver::new(queue, bell, buffers, false);
    device.look();
    let frame = [5; 60];
    let nonsense = [Vec::new(), vec![0; 11], received(0, 0, &[1; 13]), received(0, 1, &frame)];
    for bytes in nonsense.iter().chain([&received(net::CHECKSUM_VALID, 0, &frame)]) {
        let (id, address, _) = device.held.pop_front().expect("a buffer is there");
        put(address, bytes);
        device.finish(u32::from(id), bytes.len() as u32);
    }
    let got = receiver.receive(|bytes, checked| (bytes.to_vec(), checked));
    assert_eq!(got, Some((frame.to_vec(), false)), "it may not vouch: that was not agreed on");
    assert_eq!((receiver.counters.frames, receiver.counters.dropped), (1, 4));
}

#[test]
fn a_lying_device_receives_nothing_more() {
    let (queue, bell, buffers, mut device, _) = parts();
    let mut receiver = Receiver::new(queue, bell, buffers, true);
    device.look();
    device.finish(0, BUFFER_BYTES as u32 + 1);
    assert_eq!(receiver.receive(|_, _| ()), None);
    assert_eq!(receiver.broken, Some(Broken::TooLong));
    device.finish(1, 60);
    assert_eq!(receiver.receive(|_, _| ()), None);
}

#[test]
fn frames_are_sent_with_their_header_and_one_ring() {
    let (queue, bell, buffers, mut device, door) = parts();
    let mut transmitter = Transmitter::new(queue, bell, buffers);
    let door = || {
        // SAFETY: the register lives for ever.
        unsafe { core::ptr::from_ref(door).cast::<u16>().read_volatile() }
    };
    let sum = PartialChecksum { start: 34, offset: 16 };
    transmitter.transmit(60, |frame| (frame.fill(1), None));
    transmitter.transmit(1514, |frame| (frame.fill(2), Some(sum)));
    assert_eq!(door(), u16::MAX, "not before the flush");
    transmitter.flush();
    assert_eq!((door(), transmitter.counters.rings), (7, 1));
    transmitter.flush();
    assert_eq!(transmitter.counters.rings, 1);
    device.look();
    let sent: Vec<_> = device.held.iter().map(|(_, at, n)| get(*at, *n as usize)).collect();
    assert!(sent[0] == received(0, 0, &[1; 60]));
    assert_eq!(sent[1][..12], [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0]);
    assert!(sent[1][12..] == [2; 1514]);
}

#[test]
fn a_full_ring_is_not_ready_until_the_device_gives_back() {
    let (queue, bell, buffers, mut device, _) = parts();
    let mut transmitter = Transmitter::new(queue, bell, buffers);
    for number in 0..SIZE {
        assert!(transmitter.ready());
        transmitter.transmit(60, |frame| (frame.fill(number as u8), None));
    }
    assert!(!transmitter.ready());
    assert_eq!(transmitter.transmit(60, |frame| (frame.len(), None)), 60, "into the void");
    device.look();
    assert_eq!(device.held.len(), usize::from(SIZE));
    device.finish(3, 0);
    assert!(transmitter.ready());
    transmitter.transmit(BUFFER_BYTES, |frame| (frame.fill(9), None));
    assert_eq!(transmitter.counters.dropped, 2, "one without room, one too long");
    transmitter.transmit(60, |frame| (frame.fill(8), None));
    device.finish(3, 0);
    device.finish(3, 0);
    assert!(transmitter.ready() && transmitter.broken == Some(Broken::NotInFlight));
    transmitter.transmit(60, |frame| (frame.fill(7), None));
    assert_eq!(transmitter.counters.dropped, 3, "a broken device takes all and sends nothing");
}

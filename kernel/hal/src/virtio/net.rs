//! The network device (VIRTIO 1.2, section 5.1): one pair of queues, frames of up to 1,514 bytes.
//!
//! Owns [`Net`] and its two halves. Receive buffers are always posted; what was sent is taken back
//! when room is needed, without interrupts; the receiving side interrupts only when it was armed,
//! for a machine about to sleep. A descriptor owns the buffer of its number for ever, so there is
//! nothing to look up and nothing that a device could confuse. Neighbours: `queue.rs` (the ring),
//! `transport.rs` (the registers); the kernel fits it to the network stack.

use super::devices::Messages;
use super::queue::{Broken, QUEUE_BYTES, QUEUE_SIZE_MAX, Queue};
use super::spec::{Kind, feature, net};
use super::transport::mmio::Line;
use super::transport::{Bell, Transport};
use super::{Device, Devices, OpenError, Shared};
use crate::memory::physical::DmaBuffer;
use crate::pci::Config;
use alloc::vec;
use core::slice;

/// Bytes of each buffer: the header, and the longest frame with room to spare.
const BUFFER_BYTES: usize = 2048;
/// Longest IP packet: what Ethernet carries, whatever the device offers.
const MTU_MAX: u16 = 1500;
/// Shortest MTU that IPv4 lives with.
const MTU_MIN: u16 = 576;
const ETHERNET_BYTES: usize = 14;
/// Frames received before the device is told of the buffers that it got back.
const REFILL_BATCH: usize = 32;
/// The entry of the device's table of interrupts that receiving uses.
const RECEIVE_ENTRY: u16 = 0;

const _: () = assert!(
    net::HEADER_BYTES + ETHERNET_BYTES + MTU_MAX as usize <= BUFFER_BYTES,
    "a frame and its header fit one buffer"
);

/// What the device is.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Info {
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Longest IP packet.
    pub mtu: u16,
    /// It completes the TCP and UDP checksums of frames that are sent with a [`PartialChecksum`].
    pub checksum_transmit: bool,
    /// It says of received frames whether their TCP or UDP checksum is right.
    pub checksum_receive: bool,
    /// The link is up, as far as the device says.
    pub link_up: bool,
}

/// A checksum that the device completes: the ones' complement of the sum of everything from `start`
/// goes to `start + offset`.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct PartialChecksum {
    /// Counted from the start of the frame.
    pub start: u16,
    /// Counted from `start`.
    pub offset: u16,
}

/// What was counted since the device was opened.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Frames.
    pub frames: u64,
    /// Frames that were none, or that found no room.
    pub dropped: u64,
    /// Times that the device was told of new buffers.
    pub rings: u64,
}

/// A network device at work.
pub struct Net {
    transport: Transport,
    _messages: Messages,
    line: Option<Line>,
    vector: u8,
    info: Info,
    receiver: Receiver<DmaBuffer>,
    transmitter: Transmitter<DmaBuffer>,
}

impl Net {
    /// The first network device of the machine.
    pub fn find<C: Config>(devices: &Devices<C>) -> Option<Device> {
        devices.first(Kind::NET)
    }

    /// Brings a device up. Received frames interrupt the CPU with this local APIC id by `vector`.
    ///
    /// # Errors
    ///
    /// If it is no device that can be used; it was not started then and touches no memory.
    pub fn open<C: Config>(
        devices: &mut Devices<C>,
        device: &Device,
        vector: u8,
        apic_id: u8,
    ) -> Result<Self, OpenError> {
        let mut transport = devices.transport(device, net::CONFIG_BYTES)?;
        let mut messages = devices.messages(device)?;
        messages.route(RECEIVE_ENTRY, vector, apic_id)?;
        let wanted = feature::NET_CSUM
            | feature::NET_GUEST_CSUM
            | feature::NET_MTU
            | feature::NET_STATUS
            | feature::EVENT_INDEX
            | feature::ACCESS_PLATFORM;
        let chosen = transport.negotiate(wanted, feature::NET_MAC)?;
        let info = info(&mut transport, chosen);
        let event_index = chosen & feature::EVENT_INDEX != 0;
        let mut set_up = |number, entry| {
            let ring = DmaBuffer::new(QUEUE_BYTES).ok_or(OpenError::NoMemory)?;
            let buffers = DmaBuffer::new(usize::from(QUEUE_SIZE_MAX) * BUFFER_BYTES);
            let buffers = buffers.ok_or(OpenError::NoMemory)?;
            let (queue, bell) = transport.queue(number, ring, event_index, entry)?;
            Ok((queue, bell, Buffers { memory: buffers }))
        };
        let (queue, bell, buffers) = set_up(net::RECEIVE_QUEUE, Some(RECEIVE_ENTRY))?;
        let receiver = Receiver::new(queue, bell, buffers, info.checksum_receive);
        let (queue, bell, buffers) = set_up(net::TRANSMIT_QUEUE, None)?;
        let transmitter = Transmitter::new(queue, bell, buffers);
        transport.start();
        let line = transport.take_line();
        let mut device =
            Net { transport, _messages: messages, line, vector, info, receiver, transmitter };
        device.receiver.tell();
        Ok(device)
    }

    /// What it is.
    pub fn info(&self) -> Info {
        self.info
    }

    /// Both halves.
    pub fn halves(&mut self) -> (&mut Receiver<DmaBuffer>, &mut Transmitter<DmaBuffer>) {
        (&mut self.receiver, &mut self.transmitter)
    }

    /// Before sleep: asks for an interrupt at the next frame. True if there is a frame already;
    /// then poll instead. Interrupts are off from this call until the CPU sleeps.
    pub fn arm(&mut self) -> bool {
        if let Some(line) = &mut self.line {
            line.acknowledge(self.vector);
        }
        self.receiver.queue.arm()
    }

    /// Frames received and sent.
    pub fn counters(&self) -> (Counters, Counters) {
        (self.receiver.counters, self.transmitter.counters)
    }

    /// Why the device is not used any more: it said what cannot be.
    pub fn broken(&self) -> Option<Broken> {
        self.receiver.broken.or(self.transmitter.broken)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // Its memory is about to be somebody else's.
        assert!(self.transport.reset().is_ok(), "a device that will not stop ends the machine");
    }
}

fn info(transport: &mut Transport, chosen: u64) -> Info {
    let (mac, status, mtu) = transport.configuration(|registers| {
        let mac = core::array::from_fn(|index| registers.read_u8(net::CONFIG_MAC + index));
        (mac, registers.read_u16(net::CONFIG_STATUS), registers.read_u16(net::CONFIG_MTU))
    });
    let has = |feature| chosen & feature != 0;
    Info {
        mac,
        mtu: if has(feature::NET_MTU) { mtu.clamp(MTU_MIN, MTU_MAX) } else { MTU_MAX },
        checksum_transmit: has(feature::NET_CSUM),
        checksum_receive: has(feature::NET_GUEST_CSUM),
        link_up: !has(feature::NET_STATUS) || status & net::STATUS_LINK_UP != 0,
    }
}

/// A buffer for each descriptor.
struct Buffers<M> {
    memory: M,
}

impl<M: Shared> Buffers<M> {
    fn physical(&self, id: u16) -> u64 {
        self.memory.physical() + u64::from(id) * BUFFER_BYTES as u64
    }

    /// A buffer that the device gave back.
    fn bytes(&self, id: u16, length: usize) -> &[u8] {
        let start = self.start(id, length);
        // SAFETY: `start` checked that the bytes lie in the memory, which lives as long as `self`;
        // the buffer is not in flight, so nobody writes to it while the slice is in use.
        unsafe { slice::from_raw_parts(start, length) }
    }

    /// A buffer that the device has not been given yet.
    fn bytes_mut(&mut self, id: u16, length: usize) -> &mut [u8] {
        let start = self.start(id, length);
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(start, length) }
    }

    fn start(&self, id: u16, length: usize) -> *mut u8 {
        let offset = usize::from(id) * BUFFER_BYTES;
        let fits = length <= BUFFER_BYTES && offset + BUFFER_BYTES <= self.memory.bytes();
        assert!(fits, "a descriptor of the queue, a length that was checked");
        self.memory.pointer().as_ptr().wrapping_add(offset)
    }
}

/// The half that frames come from.
pub struct Receiver<M> {
    queue: Queue<M>,
    bell: Bell,
    buffers: Buffers<M>,
    vouches: bool,
    refilled: usize,
    broken: Option<Broken>,
    counters: Counters,
}

impl<M: Shared> Receiver<M> {
    fn new(queue: Queue<M>, bell: Bell, buffers: Buffers<M>, vouches: bool) -> Self {
        let counters = Counters::default();
        let mut receiver =
            Receiver { queue, bell, buffers, vouches, refilled: 0, broken: None, counters };
        while let Some(id) = receiver.queue.next_free() {
            receiver.post(id);
        }
        receiver
    }

    /// Gives the next frame, if there is one, to `handle`, with whether the device vouches for its
    /// checksum. Afterwards the frame is gone.
    pub fn receive<R>(&mut self, handle: impl FnOnce(&[u8], bool) -> R) -> Option<R> {
        // What is no frame is passed over: at most a queue full, then the caller has its turn.
        for _ in 0..QUEUE_SIZE_MAX {
            let (id, written) = match self.queue.take() {
                Ok(Some(used)) => used,
                Ok(None) => {
                    self.tell();
                    return None;
                }
                Err(broken) => {
                    self.broken = Some(broken);
                    return None;
                }
            };
            let bytes = self.buffers.bytes(id, written as usize);
            if let Some((frame, checked)) = frame(bytes) {
                let result = handle(frame, checked && self.vouches);
                self.counters.frames += 1;
                self.recycle(id);
                return Some(result);
            }
            self.counters.dropped += 1;
            self.recycle(id);
        }
        None
    }

    fn recycle(&mut self, id: u16) {
        self.post(id);
        self.refilled += 1;
        if self.refilled >= REFILL_BATCH {
            self.tell();
        }
    }

    fn post(&mut self, id: u16) {
        let posted = self.queue.post(self.buffers.physical(id), BUFFER_BYTES as u32, true);
        assert!(posted == Some(id), "the descriptor freed last is the next to be used");
    }

    fn tell(&mut self) {
        self.refilled = 0;
        if self.queue.must_tell() {
            self.counters.rings += 1;
            self.bell.ring();
        }
    }
}

/// The frame in a received buffer and whether its checksum was checked (5.1.6.4). None if it is cut
/// off or segmented in a way that was not agreed on.
fn frame(bytes: &[u8]) -> Option<(&[u8], bool)> {
    let (header, frame) = bytes.split_at_checked(net::HEADER_BYTES)?;
    let flags = header[net::HEADER_FLAGS];
    let whole = header[net::HEADER_SEGMENTATION] == net::SEGMENTATION_NONE;
    let checked = flags & (net::NEEDS_CHECKSUM | net::CHECKSUM_VALID) != 0;
    (whole && frame.len() >= ETHERNET_BYTES).then_some((frame, checked))
}

/// The half that frames go to.
pub struct Transmitter<M> {
    queue: Queue<M>,
    bell: Bell,
    buffers: Buffers<M>,
    broken: Option<Broken>,
    counters: Counters,
}

impl<M: Shared> Transmitter<M> {
    fn new(queue: Queue<M>, bell: Bell, buffers: Buffers<M>) -> Self {
        Transmitter { queue, bell, buffers, broken: None, counters: Counters::default() }
    }

    /// Whether a frame can be sent now. A broken device takes everything, and sends nothing.
    pub fn ready(&mut self) -> bool {
        if self.queue.free() == 0 {
            self.take_back();
        }
        self.queue.free() > 0 || self.broken.is_some()
    }

    /// Sends a frame of `length` bytes that `fill` writes whole. A frame too long, or one for which
    /// there is no room, is written into the void.
    pub fn transmit<R>(
        &mut self,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> (R, Option<PartialChecksum>),
    ) -> R {
        let total = net::HEADER_BYTES + length;
        let ready = self.ready() && total <= BUFFER_BYTES;
        let Some(id) = self.queue.next_free().filter(|_| ready) else {
            self.counters.dropped += 1;
            return fill(&mut vec![0; length]).0;
        };
        let bytes = self.buffers.bytes_mut(id, total);
        let (header, frame) = bytes.split_at_mut(net::HEADER_BYTES);
        let (result, checksum) = fill(frame);
        header.fill(0);
        if let Some(PartialChecksum { start, offset }) = checksum {
            header[net::HEADER_FLAGS] = net::NEEDS_CHECKSUM;
            let place = net::HEADER_CHECKSUM_START;
            header[place..place + 2].copy_from_slice(&start.to_le_bytes());
            let place = net::HEADER_CHECKSUM_OFFSET;
            header[place..place + 2].copy_from_slice(&offset.to_le_bytes());
        }
        let posted = self.queue.post(self.buffers.physical(id), total as u32, false);
        assert!(posted == Some(id), "the descriptor that was offered is used");
        self.counters.frames += 1;
        result
    }

    /// Tells the device of the frames that were sent since the last time, if it must be told.
    pub fn flush(&mut self) {
        if self.queue.must_tell() {
            self.counters.rings += 1;
            self.bell.ring();
        }
    }

    fn take_back(&mut self) {
        for _ in 0..QUEUE_SIZE_MAX {
            match self.queue.take() {
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(broken) => {
                    self.broken = Some(broken);
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

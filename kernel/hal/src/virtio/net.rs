//! The network device (VIRTIO 1.2, section 5.1): pairs of queues, frames up to 64 KiB.
//!
//! Owns [`Net`], which brings a device up, and [`Pair`], a receiving and a sending queue that one
//! CPU uses. What the device can do for us is agreed on here: checksums both ways, TCP segments
//! that it cuts and puts together, frames spread over several buffers, several pairs. Neighbours:
//! `net/receiver.rs` and `net/transmitter.rs` (the halves of a pair), `net/command.rs` (the queue
//! of commands), `queue.rs` (the ring), `transport.rs` (the registers); the kernel fits it to the
//! network stack.

mod buffers;
mod command;
mod receiver;
mod transmitter;

pub use receiver::Receiver;
pub use transmitter::Transmitter;

use super::devices::Messages;
use super::queue::{Broken, QUEUE_BYTES, QUEUE_SIZE_MAX};
use super::spec::{Kind, feature, net};
use super::transport::Transport;
use super::transport::mmio::Line;
use super::{Device, Devices, OpenError};
use crate::memory::physical::DmaBuffer;
use crate::pci::{Config, interrupts};
use crate::registers::Registers;
use alloc::sync::Arc;
use alloc::vec::Vec;
use buffers::{BUFFER_BYTES, Buffers, FRAME_BUFFERS_MAX};
use command::Command;
use core::fmt;
use spin::Mutex;

/// Longest IP packet that is not cut: what Ethernet carries, whatever the device offers.
const MTU_MAX: u16 = 1500;
/// Shortest MTU that IPv4 lives with.
const MTU_MIN: u16 = 576;
const ETHERNET_BYTES: usize = 14;
/// Longest frame that the device cuts or puts together: an IP packet as long as its header can say.
const LONG_FRAME_BYTES_MAX: usize = ETHERNET_BYTES + u16::MAX as usize;
/// Pairs that are set up, however many CPUs there are.
pub const PAIRS_MAX: usize = 64;

const _: () = assert!(
    net::HEADER_BYTES + ETHERNET_BYTES + MTU_MAX as usize <= BUFFER_BYTES,
    "an ordinary frame and its header fit one buffer"
);
const _: () = assert!(
    net::HEADER_BYTES + LONG_FRAME_BYTES_MAX <= FRAME_BUFFERS_MAX * BUFFER_BYTES,
    "a long frame and its header fit the buffers that a frame may have"
);
const _: () = assert!(
    2 * FRAME_BUFFERS_MAX <= QUEUE_SIZE_MAX as usize,
    "while one long frame is under way another can be made"
);

/// What the device is.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Info {
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Longest IP packet.
    pub mtu: u16,
    /// It completes TCP and UDP checksums, see [`craton_abi::Offload::Checksum`].
    pub checksum_transmit: bool,
    /// It says of received frames whether their TCP or UDP checksum is right.
    pub checksum_receive: bool,
    /// It cuts frames as long as [`Info::long_frame_bytes_max`] into TCP segments over IPv4, and
    /// over IPv6, see [`craton_abi::Offload::Segments`].
    pub segments_transmit: [bool; 2],
    /// It may give us such frames, put together from segments.
    pub segments_receive: bool,
    /// Longest frame that is cut or put together.
    pub long_frame_bytes_max: usize,
    /// The link was up when the device was opened; see [`Pair::link_up`].
    pub link_up: bool,
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways = |sent, received| match (sent, received) {
            (true, true) => "sent and received",
            (true, false) => "sent",
            (false, true) => "received",
            (false, false) => "none",
        };
        let checksums = ways(self.checksum_transmit, self.checksum_receive);
        let segments = ways(self.segments_transmit.contains(&true), self.segments_receive);
        let link = if self.link_up { "up" } else { "down" };
        let mtu = self.mtu;
        write!(f, "MTU {mtu}, link {link}; does checksums: {checksums}; TCP segments: {segments}")
    }
}

/// What was counted since the device was opened.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Frames.
    pub frames: u64,
    /// Bytes of them, without their headers for the device.
    pub bytes: u64,
    /// Frames that were none, or that found no room.
    pub dropped: u64,
    /// Times that the device was told of new buffers.
    pub rings: u64,
}

/// Whom the received frames of a pair interrupt.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Interrupt {
    /// By which vector.
    pub vector: u8,
    /// The local APIC id of the CPU.
    pub apic_id: u8,
}

/// A network device at work.
pub struct Net {
    info: Info,
    first: Pair,
    others: Vec<Pair>,
}

/// A receiving and a sending queue, for one CPU at a time. The device is stopped when the first of
/// its pairs is dropped: the memory of that one is about to be somebody else's.
pub struct Pair {
    device: Arc<Mutex<Running>>,
    line: Option<Line>,
    vector: u8,
    receiver: Receiver<DmaBuffer>,
    transmitter: Transmitter<DmaBuffer>,
}

/// What all pairs of a device share, and nothing uses while it works.
struct Running {
    transport: Transport,
    tells_link: bool,
    _messages: Messages,
    _command: Option<Command<DmaBuffer>>,
}

impl Net {
    /// The first network device of the machine.
    pub fn find<C: Config>(devices: &Devices<C>) -> Option<Device> {
        devices.first(Kind::NET)
    }

    /// Brings a device up, with a pair of queues for each of `interrupts` as far as it has as many;
    /// at least one.
    ///
    /// # Errors
    ///
    /// If it is no device that can be used; it was not started then and touches no memory.
    ///
    /// # Panics
    ///
    /// If `interrupts` is empty.
    pub fn open<C: Config>(
        devices: &mut Devices<C>,
        device: &Device,
        interrupts: &[Interrupt],
    ) -> Result<Self, OpenError> {
        let mut transport = devices.transport(device, net::CONFIG_BYTES)?;
        let mut messages = devices.messages(device)?;
        let entries = usize::from(messages.entries());
        let interrupts = &interrupts[..interrupts.len().min(entries).min(PAIRS_MAX)];
        let several = interrupts.len() > 1;
        let chosen =
            transport.negotiate_by(feature::NET_MAC, |offered| wanted(offered, several))?;
        let (info, pairs_max) = describe(&mut transport, chosen);
        let interrupts = &interrupts[..interrupts.len().min(usize::from(pairs_max))];
        let mut parts = Vec::new();
        for (pair, interrupt) in (0..).zip(interrupts) {
            messages.route(pair, interrupt.vector, interrupt.apic_id)?;
            parts.push(halves(&mut transport, pair, chosen, &info)?);
        }
        let mut command = match parts.len() {
            0 => panic!("whom to interrupt is the caller's to say"),
            1 => None,
            _ => Some(Command::open(&mut transport, pairs_max, chosen)?),
        };
        let line = transport.take_line();
        transport.start();
        if let Some(command) = &mut command
            && !command.set_pairs(parts.len() as u16)
        {
            // It may hold on to the memory of the others, and of the command, until it is stopped.
            assert!(transport.reset().is_ok(), "a device that will not stop ends the machine");
            return Net::open(devices, device, &interrupts[..1]);
        }
        let tells_link = chosen & feature::NET_STATUS != 0;
        let device = Running { transport, tells_link, _messages: messages, _command: command };
        let device = Arc::new(Mutex::new(device));
        Ok(Net::new(info, &device, line, interrupts.iter().zip(parts)))
    }

    fn new<'a>(
        info: Info,
        device: &Arc<Mutex<Running>>,
        mut line: Option<Line>,
        parts: impl Iterator<Item = (&'a Interrupt, Halves)>,
    ) -> Self {
        let mut pairs = parts.map(|(interrupt, (receiver, transmitter))| Pair {
            device: device.clone(),
            line: line.take(),
            vector: interrupt.vector,
            receiver,
            transmitter,
        });
        let mut first = pairs.next().expect("a device has a pair, as `open` checked");
        let mut others: Vec<Pair> = pairs.collect();
        first.receiver.tell();
        others.iter_mut().for_each(|pair| pair.receiver.tell());
        Net { info, first, others }
    }

    /// What it is.
    pub fn info(&self) -> Info {
        self.info
    }

    /// All pairs, the first of them first.
    pub fn into_pairs(self) -> impl Iterator<Item = Pair> {
        core::iter::once(self.first).chain(self.others)
    }
}

impl Pair {
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
        self.receiver.arm()
    }

    /// Whether the link is up now, as far as the device says. A few exits to the host.
    pub fn link_up(&self) -> bool {
        let mut device = self.device.lock();
        let status = |registers: &Registers| registers.read_u16(net::CONFIG_STATUS);
        !device.tells_link || device.transport.configuration(status) & net::STATUS_LINK_UP != 0
    }

    /// Frames received and sent.
    pub fn counters(&self) -> (Counters, Counters) {
        (self.receiver.counters(), self.transmitter.counters())
    }

    /// Interrupts that came.
    pub fn interrupts(&self) -> u64 {
        interrupts(self.vector)
    }

    /// Why the device is not used any more: it said what cannot be.
    pub fn broken(&self) -> Option<Broken> {
        self.receiver.broken().or(self.transmitter.broken())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let stopped = self.device.lock().transport.reset();
        assert!(stopped.is_ok(), "a device that will not stop ends the machine");
    }
}

/// The features to choose among those offered: each only with those that it needs (5.1.3.1).
fn wanted(offered: u64, several_pairs: bool) -> u64 {
    let mut wanted = feature::NET_CSUM
        | feature::NET_GUEST_CSUM
        | feature::NET_MTU
        | feature::NET_STATUS
        | feature::EVENT_INDEX
        | feature::ACCESS_PLATFORM
        | feature::NET_MERGEABLE;
    let has = |all: u64| offered & all == all;
    if has(feature::NET_CSUM) {
        wanted |= feature::NET_HOST_TSO4 | feature::NET_HOST_TSO6;
    }
    // Without spreading, every buffer would have to hold the longest frame.
    if has(feature::NET_GUEST_CSUM | feature::NET_MERGEABLE) {
        wanted |= feature::NET_GUEST_TSO4 | feature::NET_GUEST_TSO6;
    }
    if several_pairs && has(feature::NET_CONTROL | feature::NET_MULTIQUEUE) {
        wanted |= feature::NET_CONTROL | feature::NET_MULTIQUEUE;
    }
    wanted
}

/// What the device says of itself, and the most pairs that it has.
fn describe(transport: &mut Transport, chosen: u64) -> (Info, u16) {
    let (mac, status, pairs_max, mtu) = transport.configuration(|registers| {
        (
            core::array::from_fn(|index| registers.read_u8(net::CONFIG_MAC + index)),
            registers.read_u16(net::CONFIG_STATUS),
            registers.read_u16(net::CONFIG_PAIRS_MAX),
            registers.read_u16(net::CONFIG_MTU),
        )
    });
    let has = |feature| chosen & feature != 0;
    let info = Info {
        mac,
        mtu: if has(feature::NET_MTU) { mtu.clamp(MTU_MIN, MTU_MAX) } else { MTU_MAX },
        checksum_transmit: has(feature::NET_CSUM),
        checksum_receive: has(feature::NET_GUEST_CSUM),
        segments_transmit: [has(feature::NET_HOST_TSO4), has(feature::NET_HOST_TSO6)],
        segments_receive: has(feature::NET_GUEST_TSO4 | feature::NET_GUEST_TSO6),
        long_frame_bytes_max: LONG_FRAME_BYTES_MAX,
        link_up: !has(feature::NET_STATUS) || status & net::STATUS_LINK_UP != 0,
    };
    let pairs_max =
        if has(feature::NET_MULTIQUEUE) { pairs_max.clamp(1, net::PAIRS_MAX) } else { 1 };
    (info, pairs_max)
}

type Halves = (Receiver<DmaBuffer>, Transmitter<DmaBuffer>);

/// Sets the queues of a pair up. Receiving interrupts by the entry of the pair's number, sending
/// never.
fn halves(
    transport: &mut Transport,
    pair: u16,
    chosen: u64,
    info: &Info,
) -> Result<Halves, OpenError> {
    let event_index = chosen & feature::EVENT_INDEX != 0;
    let mut set_up = |number, entry| {
        let ring = DmaBuffer::new(QUEUE_BYTES).ok_or(OpenError::NoMemory)?;
        let buffers = DmaBuffer::new(usize::from(QUEUE_SIZE_MAX) * BUFFER_BYTES);
        let buffers = buffers.ok_or(OpenError::NoMemory)?;
        let (queue, bell) = transport.queue(number, ring, event_index, entry)?;
        Ok((queue, bell, Buffers::new(buffers)))
    };
    let (queue, bell, buffers) = set_up(net::receive_queue(pair), Some(pair))?;
    let long = info.segments_receive;
    // A long frame would wait for ever for buffers enough.
    let too_few = |size: u16, long: bool| long && usize::from(size) < 2 * FRAME_BUFFERS_MAX;
    if too_few(queue.size(), long) {
        return Err(OpenError::NoQueue);
    }
    let agreed = receiver::Agreed {
        vouches: info.checksum_receive,
        spreads: chosen & feature::NET_MERGEABLE != 0,
        long,
    };
    let receiver = Receiver::new(queue, bell, buffers, agreed);
    let (queue, bell, buffers) = set_up(net::transmit_queue(pair), None)?;
    let long = info.segments_transmit.contains(&true);
    if too_few(queue.size(), long) {
        return Err(OpenError::NoQueue);
    }
    Ok((receiver, Transmitter::new(queue, bell, buffers, long)))
}

#[cfg(test)]
mod tests;

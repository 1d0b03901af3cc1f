//! The gateway's cable: a port of the LAN as smoltcp's `Device`.
//!
//! Owns the stream to the switch and the frames that wait on either side of it. It never blocks:
//! `router` polls the stream and calls [`Wire::fill`] and [`Wire::flush`] when there is something
//! to do.

use crate::lan::{FrameReader, HEADER_BYTES, Mac};
use rustix::event::PollFlags;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Ipv4Packet,
};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;

/// An Ethernet frame: 1,500 bytes of payload and the 14-byte header.
const FRAME_BYTES: usize = 1514;
/// Bytes that wait to be written; beyond that smoltcp is told to wait.
const OUT_BYTES_MAX: usize = 1 << 20;

pub(super) struct Wire {
    socket: UnixStream,
    incoming: FrameReader,
    out: Vec<u8>,
    written: usize,
    /// Whose frames were taken since the last look; the same neighbour twice in a row counts once.
    senders: Vec<Ipv4Addr>,
    /// A frame of impossible length came: what follows has no sense.
    broken: bool,
}

impl Wire {
    /// Takes the stream of a LAN port.
    pub(super) fn new(socket: UnixStream) -> io::Result<Wire> {
        socket.set_nonblocking(true)?;
        Ok(Wire {
            socket,
            incoming: FrameReader::new(),
            out: Vec::new(),
            written: 0,
            senders: Vec::new(),
            broken: false,
        })
    }

    pub(super) fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Whether frames wait to be written.
    pub(super) fn is_pending(&self) -> bool {
        self.written < self.out.len()
    }

    /// What to wait for on the stream.
    pub(super) fn interest(&self) -> PollFlags {
        let mut interest = PollFlags::empty();
        interest.set(PollFlags::IN, !self.is_full());
        interest.set(PollFlags::OUT, self.is_pending());
        interest
    }

    /// Reads what has arrived. An error, the end of the stream included, ends the gateway.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        if self.broken {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if self.is_full() {
            // smoltcp took nothing, so there may be no room either.
            return Ok(());
        }
        match self.incoming.fill(&mut self.socket) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes as much as the switch takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.is_pending() {
            match self.socket.write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Whose frames smoltcp has taken since the last call.
    pub(super) fn senders(&mut self) -> impl Iterator<Item = Ipv4Addr> {
        self.senders.drain(..)
    }

    /// Sends an ARP request for the address, beside what smoltcp sends.
    pub(super) fn ask(&mut self, own_mac: Mac, own: Ipv4Addr, address: Ipv4Addr) {
        let own_mac = EthernetAddress(own_mac.0);
        let question = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: own_mac,
            source_protocol_addr: own,
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: address,
        };
        let header = EthernetRepr {
            src_addr: own_mac,
            dst_addr: EthernetAddress::BROADCAST,
            ethertype: EthernetProtocol::Arp,
        };
        let length = header.buffer_len() + question.buffer_len();
        Outgoing(&mut self.out).consume(length, |frame| {
            let mut frame = EthernetFrame::new_unchecked(frame);
            header.emit(&mut frame);
            question.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
        });
    }

    fn is_full(&self) -> bool {
        self.out.len() >= OUT_BYTES_MAX
    }
}

impl Device for Wire {
    type RxToken<'a> = Incoming<'a>;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        if self.is_full() {
            return None;
        }
        let Ok(frame) = self.incoming.next() else {
            self.broken = true;
            return None;
        };
        let frame = frame?;
        let sender = sender(frame);
        if self.senders.last().copied() != sender {
            self.senders.extend(sender);
        }
        Some((Incoming(frame), Outgoing(&mut self.out)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Outgoing<'_>> {
        (!self.is_full()).then_some(Outgoing(&mut self.out))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_BYTES;
        capabilities
    }
}

/// The IPv4 address that the frame says it is from.
fn sender(frame: &[u8]) -> Option<Ipv4Addr> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    match frame.ethertype() {
        EthernetProtocol::Ipv4 => Some(Ipv4Packet::new_checked(frame.payload()).ok()?.src_addr()),
        EthernetProtocol::Arp => {
            match ArpRepr::parse(&ArpPacket::new_checked(frame.payload()).ok()?).ok()? {
                ArpRepr::EthernetIpv4 { source_protocol_addr, .. } => Some(source_protocol_addr),
                _ => None,
            }
        }
        _ => None,
    }
}

pub(super) struct Incoming<'a>(&'a [u8]);

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, use_frame: F) -> R {
        use_frame(self.0)
    }
}

pub(super) struct Outgoing<'a>(&'a mut Vec<u8>);

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, make_frame: F) -> R {
        let header = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        self.0.extend_from_slice(&header);
        let start = self.0.len();
        self.0.resize(start + length, 0);
        make_frame(&mut self.0[start..])
    }
}

const _: () = assert!(HEADER_BYTES == size_of::<u32>(), "the header written above");

//! Frames in, frames out: the stack's work in a poll.
//!
//! Owns the order in which frames are taken, judged (`sight.rs`, `checksum.rs`), answered and sent;
//! `stack.rs` has the rest of the stack.

use super::Stack;
use super::address::Way;
use crate::adapter::Port;
use crate::checksum;
use crate::clock;
use crate::device::{FrameReceiver, FrameTransmitter, Offload};
use crate::limit;
use crate::neighbour::Answer;
use crate::sight::{self, Kind};
use crate::stream::{Closed, Phase, StreamId};
use crate::streams::Admission;
use crate::udp::Verdict;
use alloc::vec::Vec;
use core::net::SocketAddrV4;
use craton_abi::Instant;
use smoltcp::iface::{PollIngressSingleResult, PollResult};
use smoltcp::socket::tcp;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, IpAddress,
};

const ETHERNET_ARP_BYTES: usize = 14 + 28;

impl Stack {
    /// Takes frames from the device; says whether there may be more.
    pub(super) fn receive_frames<R: FrameReceiver, T: FrameTransmitter>(
        &mut self,
        receiver: &mut R,
        transmitter: &mut T,
        now: Instant,
    ) -> bool {
        for _ in 0..limit::POLL_FRAMES_MAX {
            // Any frame may want an answer.
            if !transmitter.ready() {
                return true;
            }
            let handled = receiver.receive(|frame, vouched| {
                self.receive_frame(frame, vouched, transmitter, now);
            });
            if handled.is_none() {
                return false;
            }
        }
        true
    }

    fn receive_frame<T: FrameTransmitter>(
        &mut self,
        frame: &[u8],
        vouched: bool,
        transmitter: &mut T,
        now: Instant,
    ) {
        self.counters.frames_received += 1;
        let sight = sight::look(frame, self.address.as_ref().map(|own| own.address));
        if sight.kind == Kind::Refuse {
            self.counters.frames_refused += 1;
            return;
        }
        if !vouched && !checksum::holds(frame) {
            self.counters.checksums_wrong += 1;
            return;
        }
        if let Some(neighbour) = sight.neighbour {
            self.neighbours.heard(neighbour, now);
        }
        let admission = match sight.kind {
            Kind::Open { from, to_port } => {
                self.streams.admit(from, to_port, &mut self.sockets, now)
            }
            Kind::Reset { from, to_port } => {
                self.streams.note_reset(from, to_port);
                Admission::Pass
            }
            Kind::Pass | Kind::Refuse => Admission::Pass,
        };
        if admission == Admission::Full {
            self.counters.syns_dropped += 1;
            return;
        }
        self.hand_on(frame, transmitter, now);
        if let Admission::Awaited(stream) = admission {
            self.streams.settle(stream, &mut self.sockets);
        }
    }

    fn hand_on<T: FrameTransmitter>(&mut self, frame: &[u8], transmitter: &mut T, now: Instant) {
        let mut port = Port {
            frame: Some(frame),
            transmitter,
            capabilities: &self.capabilities,
            by_device: self.link.checksum_transmit,
            sent: &mut self.counters.frames_sent,
        };
        let now = clock::to_smoltcp(now);
        let _: PollIngressSingleResult =
            self.interface.poll_ingress_single(now, &mut port, &mut self.sockets);
    }

    /// Lets every socket send; says whether they could send more.
    pub(super) fn send_frames<T: FrameTransmitter>(
        &mut self,
        transmitter: &mut T,
        now: Instant,
    ) -> bool {
        let mut port = Port {
            frame: None,
            transmitter,
            capabilities: &self.capabilities,
            by_device: self.link.checksum_transmit,
            sent: &mut self.counters.frames_sent,
        };
        let now = clock::to_smoltcp(now);
        for _ in 0..limit::POLL_ROUNDS_MAX {
            if !port.transmitter.ready() {
                return true;
            }
            if self.interface.poll_egress(now, &mut port, &mut self.sockets) == PollResult::None {
                return false;
            }
        }
        true
    }

    /// Sends the questions that are due.
    pub(super) fn ask_neighbours<T: FrameTransmitter>(
        &mut self,
        transmitter: &mut T,
        now: Instant,
    ) {
        let Some(own) = self.address.as_ref().map(|own| own.address) else { return };
        for _ in 0..limit::NEIGHBOURS_MAX {
            if !transmitter.ready() {
                return;
            }
            let Some(target) = self.neighbours.question(now) else { return };
            let question = ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Request,
                source_hardware_addr: EthernetAddress(self.link.mac),
                source_protocol_addr: own,
                target_hardware_addr: EthernetAddress([0; 6]),
                target_protocol_addr: target,
            };
            self.counters.frames_sent += 1;
            transmitter.transmit(ETHERNET_ARP_BYTES, |bytes| {
                let mut frame = EthernetFrame::new_unchecked(bytes);
                frame.set_src_addr(EthernetAddress(self.link.mac));
                frame.set_dst_addr(EthernetAddress::BROADCAST);
                frame.set_ethertype(EthernetProtocol::Arp);
                question.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
                ((), Offload::None)
            });
        }
    }

    /// Goes on with what waited for neighbours.
    pub(super) fn use_neighbours(&mut self, now: Instant) {
        let neighbours = &self.neighbours;
        let verdict = |hop| match neighbours.answer(hop, now) {
            Answer::Known => Verdict::Send,
            Answer::Asking => Verdict::Keep,
            Answer::Silent => Verdict::Drop,
        };
        self.counters.datagrams_dropped += self.datagrams.resolve(verdict, &mut self.sockets);
        let resolving: Vec<(StreamId, SocketAddrV4, u16)> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.phase == Phase::Resolving)
            .map(|(id, stream)| (id, stream.peer, stream.local_port))
            .collect();
        for (id, peer, port) in resolving {
            let answer = match self.way(*peer.ip()) {
                Way::Through(hop) => self.neighbours.answer(hop, now),
                Way::Broadcast | Way::None => Answer::Silent,
            };
            match answer {
                Answer::Known if self.connect(id, peer, port) => self.streams.connecting(id),
                Answer::Asking => {}
                _ => self.streams.end(id, Closed::Unreachable, &mut self.sockets),
            }
        }
    }

    fn connect(&mut self, id: StreamId, peer: SocketAddrV4, port: u16) -> bool {
        let Some(handle) = self.streams.socket_of(id) else { return false };
        let socket = self.sockets.get_mut::<tcp::Socket>(handle);
        let to = (IpAddress::Ipv4(*peer.ip()), peer.port());
        socket.connect(self.interface.context(), to, port).is_ok()
    }
}

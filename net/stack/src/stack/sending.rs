//! Frames out: streams, datagrams and questions that are due.
//!
//! Owns the order and the budget of sending, and what waits for neighbours. A stream's socket is
//! let to speak only when the hop to its peer is known, so smoltcp never asks for a neighbour.

use super::Stack;
use super::address::Way;
use crate::adapter::{Header, Port, Void};
use crate::clock;
use crate::device::FrameTransmitter;
use crate::handover;
use crate::limit;
use crate::neighbour::Answer;
use crate::stream::{Closed, Phase, StreamId};
use core::net::IpAddr;
use craton_abi::{Duration, Instant};
use smoltcp::iface::PollResult;
use smoltcp::wire::EthernetAddress;

/// When a stream is looked at again that says it has something to send, and sends nothing.
const SECOND_LOOK: Duration = Duration::from_millis(1);

/// What became of a stream's turn.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Turn {
    /// It sent, and may send more.
    Sent,
    /// It has nothing to send now.
    Idle,
    /// It waits for its neighbour.
    Parked,
}

impl Stack {
    /// Lets datagrams and streams be sent; says whether there is more to send.
    pub(super) fn send_frames<T: FrameTransmitter>(
        &mut self,
        transmitter: &mut T,
        now: Instant,
    ) -> bool {
        self.repeat_answers(transmitter, now);
        while transmitter.ready()
            && let Some(datagram) = self.datagrams.next()
        {
            let (from, to) = (datagram.from, datagram.to);
            self.outlet(transmitter).datagram(datagram.mac, from, to, &datagram.bytes);
        }
        self.streams.expire(now);
        for _ in 0..limit::POLL_SENDS_MAX {
            if !transmitter.ready() {
                return true;
            }
            let Some(id) = self.streams.next_active() else { return false };
            self.turn(id, transmitter, now);
        }
        self.streams.has_active()
    }

    /// One stream's turn: a segment, if it has one.
    fn turn<T: FrameTransmitter>(&mut self, id: StreamId, transmitter: &mut T, now: Instant) {
        self.counters.streams_polled += 1;
        let turn = self.speak(id, transmitter, now);
        self.streams.refresh(id, now);
        self.rest(None, transmitter, now);
        if turn == Turn::Sent {
            return self.streams.touch(id);
        }
        let Some(stream) = self.streams.get(id) else { return };
        let Some(seat) = &stream.seat else { return };
        // What it waits for wakes a parked stream; only its phase has an end of its own.
        let socket = (turn == Turn::Idle)
            .then(|| self.interface.poll_at(clock::to_smoltcp(now), &seat.sockets))
            .flatten()
            .map(|at| clock::from_smoltcp(at).max(now + SECOND_LOOK));
        let next = [socket, stream.due()].into_iter().flatten().min();
        self.streams.set_timer(id, next);
    }

    fn speak<T: FrameTransmitter>(
        &mut self,
        id: StreamId,
        transmitter: &mut T,
        now: Instant,
    ) -> Turn {
        let Some(stream) = self.streams.get(id) else { return Turn::Idle };
        let (phase, peer) = (stream.phase, stream.tuple.remote.ip());
        let hop = match self.way(peer) {
            Way::Through(hop) => hop,
            Way::Everybody | Way::None if phase == Phase::Resolving => {
                self.streams.end(id, Closed::Unreachable);
                return Turn::Idle;
            }
            Way::Everybody | Way::None => return self.speak_into_the_void(id, now),
        };
        // A neighbour that was given up is asked again only by those who do not dial.
        let answer = match phase {
            Phase::Resolving => self.neighbours.answer(hop, now),
            _ => self.neighbours.want(hop, now),
        };
        match answer {
            Answer::Known(mac) => {
                if phase == Phase::Resolving && !self.connect(id, now) {
                    self.streams.end(id, Closed::Unreachable);
                    return Turn::Idle;
                }
                self.poll_socket(id, mac, transmitter, now)
            }
            Answer::Asking => {
                self.parked.entry(hop).or_default().insert(id);
                Turn::Parked
            }
            Answer::Silent if phase == Phase::Resolving => {
                self.streams.end(id, Closed::Unreachable);
                Turn::Idle
            }
            Answer::Silent => self.speak_into_the_void(id, now),
        }
    }

    /// A peer that cannot be reached is one that does not answer: the stream's time-outs go on.
    fn speak_into_the_void(&mut self, id: StreamId, now: Instant) -> Turn {
        let mut void = Void::default();
        match self.poll_socket(id, self.mac, &mut void, now) {
            Turn::Sent => Turn::Sent,
            _ => Turn::Idle,
        }
    }

    fn connect(&mut self, id: StreamId, now: Instant) -> bool {
        let Some(stream) = self.streams.get_mut(id) else { return false };
        stream.phase = Phase::Connecting;
        let (tuple, number) = (stream.tuple, stream.number);
        let Some(seat) = &mut stream.seat else { return false };
        handover::connect(seat, &tuple, number, &self.capabilities, now)
    }

    fn poll_socket<T: FrameTransmitter>(
        &mut self,
        id: StreamId,
        to: EthernetAddress,
        transmitter: &mut T,
        now: Instant,
    ) -> Turn {
        let stream = self.streams.get_mut(id);
        let Some(stream) = stream else { return Turn::Idle };
        let Some(seat) = &mut stream.seat else { return Turn::Idle };
        let mut port = Port {
            received: None,
            header: Some(Header { to, from: self.mac }),
            transmitter,
            capabilities: &self.capabilities,
            by_device: self.link.checksum_transmit,
            highest: Some(&mut stream.highest),
        };
        let now = clock::to_smoltcp(now);
        let result = self.interface.poll_egress(now, &mut port, &mut seat.sockets);
        self.counters.segments_repeated += stream.highest.take_repeated();
        match result {
            PollResult::None => Turn::Idle,
            PollResult::SocketStateChanged => Turn::Sent,
        }
    }

    /// Sends the questions that are due.
    pub(super) fn ask_neighbours<T: FrameTransmitter>(
        &mut self,
        transmitter: &mut T,
        now: Instant,
    ) {
        for _ in 0..limit::NEIGHBOURS_MAX {
            if !transmitter.ready() {
                return;
            }
            let Some(target) = self.neighbours.question(now) else { return };
            if let Some(own) = self.source(target) {
                self.outlet(transmitter).question(own, target);
            }
        }
    }

    /// Goes on with what waited for neighbours.
    pub(super) fn settle_neighbours(&mut self, now: Instant) {
        for hop in self.neighbours.take_settled() {
            let mac = match self.neighbours.answer(hop, now) {
                Answer::Known(mac) => Some(mac),
                Answer::Asking | Answer::Silent => None,
            };
            self.counters.datagrams_dropped += self.datagrams.settle(hop, mac);
            for id in self.parked.remove(&hop).unwrap_or_default() {
                self.streams.touch(id);
            }
        }
    }

    /// Sends the questions about names that are due.
    pub(super) fn poll_resolver(&mut self, now: Instant) {
        if self.resolver.deadline().is_none_or(|at| at > now) {
            return;
        }
        let servers = self.name_servers();
        for _ in 0..limit::UDP_OUTGOING_MAX {
            let query = self.resolver.query(&servers, &mut self.random, now);
            let Some(query) = query else { return };
            // A question that cannot be sent is as good as lost, and asked again.
            let _ = self.ask_server(query.port, query.server, query.bytes, now);
        }
    }

    fn ask_server(
        &mut self,
        port: u16,
        server: core::net::SocketAddr,
        bytes: alloc::vec::Vec<u8>,
        now: Instant,
    ) -> Option<()> {
        let from: IpAddr = self.source(server.ip())?;
        let Way::Through(hop) = self.way(server.ip()) else { return None };
        let from = core::net::SocketAddr::new(from, port);
        let mut outgoing = crate::udp::Outgoing { mac: self.mac, from, to: server, bytes };
        match self.neighbours.want(hop, now) {
            Answer::Known(mac) => {
                outgoing.mac = mac;
                self.datagrams.send(outgoing).ok()
            }
            Answer::Asking => self.datagrams.hold(crate::udp::UdpId::NODE, hop, outgoing).ok(),
            Answer::Silent => None,
        }
    }
}

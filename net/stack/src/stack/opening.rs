//! TCP around the streams: which segment belongs to which, how connections open and rest.
//!
//! Owns the order of the tables that a segment is looked up in (streams, TIME-WAIT, handshakes) and
//! what each has to say to the peer.

use super::Stack;
use super::frames::Ingress;
use crate::adapter::Header;
use crate::device::FrameTransmitter;
use crate::emit::Bare;
use crate::handover;
use crate::handshake::HalfOpen;
use crate::sight::Segment;
use crate::stream::StreamId;
use crate::timewait::Verdict;
use crate::tuple::Tuple;
use craton_abi::Instant;
use smoltcp::wire::{EthernetAddress, TcpControl};

/// Handshakes that are answered again in one poll.
const REPEATS_MAX: usize = 64;

impl Stack {
    /// A segment for one of our addresses.
    pub(super) fn take_segment<T: FrameTransmitter>(
        &mut self,
        segment: &Segment,
        packet: &[u8],
        source: EthernetAddress,
        transmitter: &mut T,
        now: Instant,
    ) {
        let tuple = &segment.tuple;
        if let Some(id) = self.streams.find(tuple) {
            if segment.reset
                && let Some(stream) = self.streams.get_mut(id)
            {
                stream.reset = true;
            }
            return self.give(id, (segment, packet), source, transmitter, now);
        }
        let options = self.streams.listener(tuple.local.port());
        match self.time_waits.judge(segment, options.is_some()) {
            Verdict::Acknowledge(ours, theirs) => {
                return self.acknowledge(tuple, (ours, theirs), source, transmitter);
            }
            Verdict::Ignore => return,
            Verdict::New | Verdict::None => {}
        }
        if segment.reset {
            return self.handshakes.reset(segment);
        }
        let Some(options) = options else {
            return self.answer_for_nobody(packet, source, transmitter, now);
        };
        if segment.syn && segment.acknowledges.is_none() && !segment.fin {
            let half = self.handshakes.begin(segment, source, now);
            let answer = handover::answer(&half, options.buffers, self.link.mtu);
            self.outlet(transmitter).segment(source, &answer);
        } else if let Some(half) = self.handshakes.complete(segment, now) {
            if let Some(id) = self.accept(&half, now) {
                self.give(id, (segment, packet), source, transmitter, now);
            }
        } else {
            self.answer_for_nobody(packet, source, transmitter, now);
        }
    }

    /// A stream for a completed handshake, if there is room for one. If not, the peer waits: our
    /// answer is repeated, and so is its acknowledgement.
    fn accept(&mut self, half: &HalfOpen, now: Instant) -> Option<StreamId> {
        let port = half.tuple.local.port();
        let options = self.streams.listener(port)?;
        let bytes = options.buffers.total();
        let room =
            self.streams.has_room(port) && self.streams.budget.charge(options.owner, bytes).is_ok();
        if !room {
            self.counters.accepts_deferred += 1;
            return None;
        }
        match handover::adopt(half, options.buffers, &self.capabilities) {
            Ok(seat) => {
                self.handshakes.forget(&half.tuple);
                Some(self.streams.accept(half.tuple, seat, options, now))
            }
            Err(_) => {
                self.streams.budget.refund(options.owner, bytes);
                self.counters.accepts_deferred += 1;
                None
            }
        }
    }

    /// Gives a packet to the stream that it is for.
    fn give<T: FrameTransmitter>(
        &mut self,
        id: StreamId,
        (segment, packet): (&Segment, &[u8]),
        source: EthernetAddress,
        transmitter: &mut T,
        now: Instant,
    ) {
        self.counters.streams_polled += 1;
        let header = Header { to: source, from: self.mac };
        let by_device = self.link.checksum_transmit;
        if let Some(stream) = self.streams.get_mut(id)
            && let Some(seat) = &mut stream.seat
        {
            let heard = stream.highest.heard(segment);
            let highest = Some(&mut stream.highest);
            let capabilities = &self.capabilities;
            let mut way = Ingress { transmitter, capabilities, by_device, header, highest };
            if let Some(heard) = heard {
                way.hand_on(&heard.packet(), &mut self.interface, &mut seat.sockets, now);
            }
            way.hand_on(packet, &mut self.interface, &mut seat.sockets, now);
        }
        self.streams.refresh(id, now);
        self.streams.touch(id);
        self.rest(Some(source), transmitter, now);
    }

    /// Lets connections rest whose last word was said: the peer's is acknowledged here.
    pub(super) fn rest<T: FrameTransmitter>(
        &mut self,
        source: Option<EthernetAddress>,
        transmitter: &mut T,
        now: Instant,
    ) {
        for rest in self.streams.take_resting() {
            let tuple = rest.tuple;
            let retired = handover::retire(rest.seat, &tuple, &self.capabilities, now);
            let Some((ours, theirs)) = retired else { continue };
            self.time_waits.add(&tuple, ours, theirs, now);
            if let Some(source) = source {
                self.acknowledge(&tuple, (ours, theirs), source, transmitter);
            }
        }
    }

    fn acknowledge<T: FrameTransmitter>(
        &self,
        tuple: &Tuple,
        (ours, theirs): (u32, u32),
        to: EthernetAddress,
        transmitter: &mut T,
    ) {
        let segment = Bare {
            tuple: *tuple,
            control: TcpControl::None,
            sequence: ours,
            acknowledges: Some(theirs),
            window: u16::MAX,
            segment_bytes_max: None,
            window_scale: None,
            selective: false,
        };
        self.outlet(transmitter).segment(to, &segment);
    }

    /// Answers again the peers that did not hear, or say, what completes their handshake.
    pub(super) fn repeat_answers<T: FrameTransmitter>(
        &mut self,
        transmitter: &mut T,
        now: Instant,
    ) {
        for _ in 0..REPEATS_MAX {
            if !transmitter.ready() {
                return;
            }
            let Some(half) = self.handshakes.repeat(now) else { return };
            match self.streams.listener(half.tuple.local.port()) {
                Some(options) => {
                    let answer = handover::answer(&half, options.buffers, self.link.mtu);
                    self.outlet(transmitter).segment(half.mac, &answer);
                }
                None => self.handshakes.forget(&half.tuple),
            }
        }
    }
}

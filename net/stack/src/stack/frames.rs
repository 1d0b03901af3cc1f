//! Frames in: what is taken, judged, learnt from and handed on.
//!
//! Owns the order in which frames are judged (`sight.rs` says what they are, `checksum.rs` whether
//! they arrived whole) and the answers about neighbours. TCP goes on in `opening.rs`.

use super::Stack;
use super::address::usable;
use crate::adapter::{Header, Port};
use crate::checksum;
use crate::clock;
use crate::device::{FrameReceiver, FrameTransmitter};
use crate::emit::{Outlet, solicited_node};
use crate::highest::Highest;
use crate::limit;
use crate::sight::{self, Advertised, Arp, Datagram, Ends, Kind, Solicited, Unreachable};
use core::net::{IpAddr, Ipv6Addr};
use craton_abi::Instant;
use smoltcp::iface::{Interface, PollIngressSingleResult, SocketSet};
use smoltcp::phy::DeviceCapabilities;
use smoltcp::wire::EthernetAddress;

/// Every host of a link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

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

    pub(super) fn receive_frame<T: FrameTransmitter>(
        &mut self,
        frame: &[u8],
        vouched: bool,
        transmitter: &mut T,
        now: Instant,
    ) {
        self.counters.frames_received += 1;
        let ours = frame.first_chunk::<6>().is_some_and(|to| {
            let to = EthernetAddress(*to);
            to == self.mac || to.is_multicast() || to.is_broadcast()
        });
        if !ours {
            self.counters.frames_refused += 1;
            return;
        }
        self.take(frame, vouched, transmitter, now);
    }

    /// Deals with a frame that is meant for us, or a packet put together from several.
    fn take<T: FrameTransmitter>(
        &mut self,
        frame: &[u8],
        vouched: bool,
        transmitter: &mut T,
        now: Instant,
    ) {
        let sight = sight::look(frame);
        let partial = matches!(sight.kind, Kind::Fragment(_));
        if !vouched && !partial && !checksum::holds(frame) {
            self.counters.checksums_wrong += 1;
            return;
        }
        let source = sight.source;
        let taken = match sight.kind {
            Kind::Refuse => false,
            Kind::Arp(arp) => self.take_arp(&arp, frame, transmitter, now),
            Kind::Solicited(solicited) => self.take_solicited(&solicited, transmitter, now),
            Kind::Advertised(advertised) => self.take_advertised(&advertised, now),
            Kind::Router(router, message) => self.slaac.as_mut().is_some_and(|slaac| {
                slaac.announced(router, message, now);
                true
            }),
            Kind::Dhcp => self.dhcp.as_mut().is_some_and(|dhcp| {
                dhcp.receive(frame, transmitter, now);
                true
            }),
            Kind::Tcp(segment, packet) => {
                let tuple = &segment.tuple;
                let fit = self.ours(tuple.local.ip()) && self.peer(tuple.remote.ip());
                if fit {
                    self.neighbours.heard(tuple.remote.ip(), source, now);
                    self.take_segment(&segment, packet, source, transmitter, now);
                }
                fit
            }
            Kind::Udp(datagram, packet) => {
                self.take_datagram(&datagram, packet, source, transmitter, now)
            }
            Kind::Unreachable(unreachable) => self.take_unreachable(&unreachable),
            Kind::Fragment(fragment) => {
                let fit = self.ours(fragment.ends.to) && self.peer(fragment.ends.from);
                let whole = fit.then(|| self.fragments.add(&fragment, source, now)).flatten();
                if let Some(whole) = whole {
                    self.take_whole(whole, transmitter, now);
                }
                fit
            }
            Kind::Other(ends, packet) => self.take_other(&ends, packet, source, transmitter, now),
        };
        self.counters.frames_refused += u64::from(!taken);
    }

    /// A packet that was put together may turn out to be another shard's.
    fn take_whole<T: FrameTransmitter>(
        &mut self,
        frame: alloc::vec::Vec<u8>,
        transmitter: &mut T,
        now: Instant,
    ) {
        match self.steer.frame(&frame) {
            crate::tuple::Target::Shard(shard) if shard != self.shard => {
                if self.forwarded.len() < super::FORWARDED_MAX {
                    let mut frame = frame;
                    frame[..6].copy_from_slice(self.mac.as_bytes());
                    self.forwarded.push_back((shard, frame));
                }
            }
            // Its fragments were checked one by one by nobody.
            _ => self.take(&frame, false, transmitter, now),
        }
    }

    fn take_arp<T: FrameTransmitter>(
        &mut self,
        arp: &Arp,
        frame: &[u8],
        transmitter: &mut T,
        now: Instant,
    ) -> bool {
        let (from, target) = (IpAddr::V4(arp.from), IpAddr::V4(arp.target));
        let fit = self.ours(target) && self.peer(from) && self.on_link(from);
        if !fit {
            return false;
        }
        if arp.request || self.neighbours.expects(from) {
            self.neighbours.learn(from, arp.mac, now);
        }
        if arp.request && self.shard == 0 {
            self.outlet(transmitter).answer_arp(arp.target, arp.from, arp.mac);
        } else if let Some(dhcp) = &mut self.dhcp {
            // It asks for its server when a lease is to be renewed.
            dhcp.receive(frame, transmitter, now);
        }
        true
    }

    fn take_solicited<T: FrameTransmitter>(
        &mut self,
        solicited: &Solicited,
        transmitter: &mut T,
        now: Instant,
    ) -> bool {
        let from = IpAddr::V6(solicited.from);
        let fit = self.ours(solicited.target.into()) && self.peer(from) && self.on_link(from);
        if fit {
            self.neighbours.learn(from, solicited.mac, now);
            self.outlet(transmitter).advertise(solicited.target, solicited.from, solicited.mac);
        }
        fit
    }

    fn take_advertised(&mut self, advertised: &Advertised, now: Instant) -> bool {
        let target = IpAddr::V6(advertised.target);
        let fit = self.peer(target) && self.neighbours.expects(target);
        if fit {
            self.neighbours.learn(target, advertised.mac, now);
        }
        fit
    }

    fn take_datagram<T: FrameTransmitter>(
        &mut self,
        datagram: &Datagram<'_>,
        packet: &[u8],
        source: EthernetAddress,
        transmitter: &mut T,
        now: Instant,
    ) -> bool {
        let Datagram { from, to, bytes } = *datagram;
        let alone = self.ours(to.ip());
        if !self.peer(from.ip()) || !(alone || self.is_for_everybody(to.ip())) {
            return false;
        }
        if alone {
            self.neighbours.heard(from.ip(), source, now);
        }
        if alone && self.resolver.answer(to.port(), from, bytes, now) {
            return true;
        }
        match self.datagrams.deliver(to.port(), from, bytes, &mut self.streams.budget) {
            Some(true) => {}
            Some(false) => self.counters.datagrams_dropped += 1,
            // smoltcp tells the sender that nobody is there.
            None if alone => self.answer_for_nobody(packet, source, transmitter, now),
            None => return false,
        }
        true
    }

    /// A router says that a peer which we dial cannot be reached (RFC 1122, 4.2.3.9). Streams that
    /// are open outlive such news.
    fn take_unreachable(&mut self, error: &Unreachable) -> bool {
        let Some(id) = self.streams.find(&error.tuple) else { return false };
        let Some(stream) = self.streams.get_mut(id) else { return false };
        let fit = stream.dialled && stream.number == error.sequence;
        stream.unreachable |= fit;
        if fit {
            self.streams.touch(id);
        }
        fit
    }

    fn take_other<T: FrameTransmitter>(
        &mut self,
        ends: &Ends,
        packet: &[u8],
        source: EthernetAddress,
        transmitter: &mut T,
        now: Instant,
    ) -> bool {
        let fit = self.ours(ends.to) && self.peer(ends.from);
        if fit {
            self.answer_for_nobody(packet, source, transmitter, now);
        }
        fit
    }

    /// Lets smoltcp answer a packet that is for no socket: echo, refusals.
    pub(super) fn answer_for_nobody<T: FrameTransmitter>(
        &mut self,
        packet: &[u8],
        source: EthernetAddress,
        transmitter: &mut T,
        now: Instant,
    ) {
        let header = Header { to: source, from: self.mac };
        let by_device = self.link.checksum_transmit;
        let mut way = Ingress {
            transmitter,
            capabilities: &self.capabilities,
            by_device,
            header,
            highest: None,
        };
        way.hand_on(packet, &mut self.interface, &mut self.nobody, now);
    }

    /// Whether an address can be somebody else's.
    fn peer(&self, address: IpAddr) -> bool {
        let everybody = matches!(address, IpAddr::V4(address) if self.is_broadcast(address));
        usable(address) && !everybody && !self.ours(address)
    }

    /// Whether a packet to this address is for every host of the link, or for us among others.
    fn is_for_everybody(&self, to: IpAddr) -> bool {
        match to {
            IpAddr::V4(to) => self.is_broadcast(to),
            IpAddr::V6(to) => {
                let own = self.link_local.into_iter().chain(self.announced.address);
                to == ALL_NODES || own.map(solicited_node).any(|group| group == to)
            }
        }
    }

    /// The way out for what the stack itself has to say.
    pub(super) fn outlet<'a, T: FrameTransmitter>(&self, transmitter: &'a mut T) -> Outlet<'a, T> {
        Outlet { transmitter, own: self.mac, by_device: self.link.checksum_transmit }
    }
}

/// The way of one packet into smoltcp, and of its answers out.
pub(super) struct Ingress<'a, T> {
    pub(super) transmitter: &'a mut T,
    pub(super) capabilities: &'a DeviceCapabilities,
    pub(super) by_device: bool,
    pub(super) header: Header,
    pub(super) highest: Option<&'a mut Highest>,
}

impl<T: FrameTransmitter> Ingress<'_, T> {
    pub(super) fn hand_on(
        &mut self,
        packet: &[u8],
        interface: &mut Interface,
        sockets: &mut SocketSet<'static>,
        now: Instant,
    ) {
        let mut port = Port {
            received: Some(packet),
            header: Some(self.header),
            transmitter: self.transmitter,
            capabilities: self.capabilities,
            by_device: self.by_device,
            highest: self.highest.as_deref_mut(),
        };
        let _: PollIngressSingleResult =
            interface.poll_ingress_single(clock::to_smoltcp(now), &mut port, sockets);
    }
}

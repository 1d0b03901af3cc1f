//! Packets that the stack itself makes: what smoltcp has no socket for.
//!
//! Owns [`Outlet`], the way to the device with what every frame needs, and one function for each
//! kind of packet: datagrams, the segments of handshakes and of TIME-WAIT, questions and answers
//! about neighbours, and a host's call for routers.

use crate::adapter::{ETHERNET_BYTES, Header};
use crate::checksum;
use crate::device::{FrameTransmitter, Offload};
use crate::tuple::Tuple;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    Icmpv6Packet, Icmpv6Repr, IpProtocol, IpRepr, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
    TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, UdpRepr,
};

const HOP_LIMIT: u8 = 64;
const ARP_BYTES: usize = 28;

/// The way out.
pub(crate) struct Outlet<'a, T> {
    pub(crate) transmitter: &'a mut T,
    pub(crate) own: EthernetAddress,
    pub(crate) by_device: bool,
}

/// A TCP segment without payload.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Bare {
    pub(crate) tuple: Tuple,
    pub(crate) control: TcpControl,
    pub(crate) sequence: u32,
    pub(crate) acknowledges: Option<u32>,
    pub(crate) window: u16,
    pub(crate) segment_bytes_max: Option<u16>,
    pub(crate) window_scale: Option<u8>,
    pub(crate) selective: bool,
}

impl Bare {
    fn repr(&self) -> TcpRepr<'static> {
        TcpRepr {
            src_port: self.tuple.local.port(),
            dst_port: self.tuple.remote.port(),
            control: self.control,
            seq_number: TcpSeqNumber(self.sequence as i32),
            ack_number: self.acknowledges.map(|number| TcpSeqNumber(number as i32)),
            window_len: self.window,
            window_scale: self.window_scale,
            max_seg_size: self.segment_bytes_max,
            sack_permitted: self.selective,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[],
        }
    }

    fn ip(&self, repr: &TcpRepr<'_>) -> IpRepr {
        let (from, to) = (self.tuple.local.ip().into(), self.tuple.remote.ip().into());
        IpRepr::new(from, to, IpProtocol::Tcp, repr.buffer_len(), HOP_LIMIT)
    }

    /// The segment as an IP packet, without its TCP checksum.
    pub(crate) fn packet(&self) -> alloc::vec::Vec<u8> {
        let repr = self.repr();
        let ip = self.ip(&repr);
        let mut packet = alloc::vec![0; ip.buffer_len()];
        self.write(&repr, &ip, &mut packet);
        packet
    }

    fn write(&self, repr: &TcpRepr<'_>, ip: &IpRepr, packet: &mut [u8]) {
        ip.emit(&mut *packet, &ChecksumCapabilities::default());
        let (from, to) = (ip.src_addr(), ip.dst_addr());
        let mut tcp = TcpPacket::new_unchecked(&mut packet[ip.header_len()..]);
        repr.emit(&mut tcp, &from, &to, &ChecksumCapabilities::ignored());
    }
}

impl<T: FrameTransmitter> Outlet<'_, T> {
    /// Sends an IP packet, whose TCP or UDP checksum is completed on the way.
    fn packet(&mut self, to: EthernetAddress, length: usize, fill: impl FnOnce(&mut [u8])) {
        let header = Header { to, from: self.own };
        let by_device = self.by_device;
        self.transmitter.transmit(ETHERNET_BYTES + length, |frame| {
            fill(&mut frame[ETHERNET_BYTES..]);
            header.write(frame);
            ((), checksum::finish(frame, by_device, None))
        });
    }

    /// A TCP segment.
    pub(crate) fn segment(&mut self, to: EthernetAddress, segment: &Bare) {
        let repr = segment.repr();
        let ip = segment.ip(&repr);
        self.packet(to, ip.buffer_len(), |packet| segment.write(&repr, &ip, packet));
    }

    /// A datagram.
    pub(crate) fn datagram(
        &mut self,
        to_mac: EthernetAddress,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
    ) {
        let udp = UdpRepr { src_port: from.port(), dst_port: to.port() };
        let length = udp.header_len() + bytes.len();
        let ip = IpRepr::new(from.ip().into(), to.ip().into(), IpProtocol::Udp, length, HOP_LIMIT);
        self.packet(to_mac, ip.buffer_len(), |packet| {
            ip.emit(&mut *packet, &ChecksumCapabilities::default());
            let mut payload =
                smoltcp::wire::UdpPacket::new_unchecked(&mut packet[ip.header_len()..]);
            let ignored = ChecksumCapabilities::ignored();
            udp.emit(
                &mut payload,
                &ip.src_addr(),
                &ip.dst_addr(),
                bytes.len(),
                |place| place.copy_from_slice(bytes),
                &ignored,
            );
        });
    }

    /// Asks where a neighbour is.
    pub(crate) fn question(&mut self, from: IpAddr, target: IpAddr) {
        match (from, target) {
            (IpAddr::V4(from), IpAddr::V4(target)) => {
                let to = EthernetAddress::BROADCAST;
                self.arp(ArpOperation::Request, from, EthernetAddress([0; 6]), target, to);
            }
            (IpAddr::V6(from), IpAddr::V6(target)) => {
                let group = solicited_node(target);
                let solicit = NdiscRepr::NeighborSolicit {
                    target_addr: target,
                    lladdr: Some(self.own.into()),
                };
                self.discovery(multicast_mac(group.into()), from, group, solicit);
            }
            _ => {}
        }
    }

    /// Says where we are.
    pub(crate) fn answer_arp(&mut self, from: Ipv4Addr, to: Ipv4Addr, to_mac: EthernetAddress) {
        self.arp(ArpOperation::Reply, from, to_mac, to, to_mac);
    }

    fn arp(
        &mut self,
        operation: ArpOperation,
        from: Ipv4Addr,
        target_mac: EthernetAddress,
        target: Ipv4Addr,
        to: EthernetAddress,
    ) {
        let own = self.own;
        let repr = ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: own,
            source_protocol_addr: from,
            target_hardware_addr: target_mac,
            target_protocol_addr: target,
        };
        self.transmitter.transmit(ETHERNET_BYTES + ARP_BYTES, |bytes| {
            let mut frame = EthernetFrame::new_unchecked(bytes);
            frame.set_src_addr(own);
            frame.set_dst_addr(to);
            frame.set_ethertype(EthernetProtocol::Arp);
            repr.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
            ((), Offload::None)
        });
    }

    /// Says to an IPv6 neighbour where we are.
    pub(crate) fn advertise(&mut self, from: Ipv6Addr, to: Ipv6Addr, to_mac: EthernetAddress) {
        let advert = NdiscRepr::NeighborAdvert {
            flags: NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE,
            target_addr: from,
            lladdr: Some(self.own.into()),
        };
        self.discovery(to_mac, from, to, advert);
    }

    /// Asks all routers to say what the network is.
    pub(crate) fn solicit_routers(&mut self, from: Ipv6Addr) {
        let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
        let solicit = NdiscRepr::RouterSolicit { lladdr: Some(self.own.into()) };
        self.discovery(multicast_mac(to.into()), from, to, solicit);
    }

    fn discovery(
        &mut self,
        to_mac: EthernetAddress,
        from: Ipv6Addr,
        to: Ipv6Addr,
        what: NdiscRepr<'_>,
    ) {
        let icmp = Icmpv6Repr::Ndisc(what);
        let ip = IpRepr::Ipv6(Ipv6Repr {
            src_addr: from,
            dst_addr: to,
            next_header: IpProtocol::Icmpv6,
            payload_len: icmp.buffer_len(),
            hop_limit: 255,
        });
        self.packet(to_mac, ip.buffer_len(), |packet| {
            ip.emit(&mut *packet, &ChecksumCapabilities::default());
            let mut payload = Icmpv6Packet::new_unchecked(&mut packet[ip.header_len()..]);
            icmp.emit(&from, &to, &mut payload, &ChecksumCapabilities::default());
        });
    }
}

/// The group that an IPv6 address is asked for in (RFC 4291, 2.7.1).
pub(crate) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    let low = u16::from_be_bytes([b, c]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), low)
}

/// The Ethernet address of a group.
pub(crate) fn multicast_mac(group: IpAddr) -> EthernetAddress {
    match group {
        IpAddr::V4(group) => {
            let [_, b, c, d] = group.octets();
            EthernetAddress([0x01, 0x00, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(group) => {
            let [.., a, b, c, d] = group.octets();
            EthernetAddress([0x33, 0x33, a, b, c, d])
        }
    }
}

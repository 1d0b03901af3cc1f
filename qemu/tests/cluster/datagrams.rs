//! Hostile frames on the LAN: noise, changed and repeated datagrams of membership.

use crate::bed::{Bed, DOWN, count_words};
use crate::random::{Random, text};
use craton_abi::limit;
use craton_qemu::{Port, node_address, node_mac};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol,
    Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;

const DATAGRAMS: u64 = 3_000;
/// An address and a card on the LAN that no node has.
const SENDER: (Ipv4Addr, [u8; 6]) = (Ipv4Addr::new(10, 77, 0, 99), [2, 0, 0, 0, 0, 99]);

/// A place on the LAN from which any frame can be sent.
struct Attacker(UnixStream);

impl Attacker {
    fn new(port: Port) -> Self {
        Attacker(port.into_socket())
    }

    fn send(&mut self, frame: &[u8]) {
        self.0.write_all(&(frame.len() as u32).to_be_bytes()).unwrap();
        self.0.write_all(frame).unwrap();
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut frame).unwrap();
        frame
    }

    /// The next datagram to the membership port that a node sends to everybody.
    fn overhear(&mut self) -> Vec<u8> {
        loop {
            let frame = self.receive();
            let Ok(frame) = EthernetFrame::new_checked(&frame[..]) else { continue };
            if frame.ethertype() != EthernetProtocol::Ipv4 {
                continue;
            }
            let Ok(packet) = Ipv4Packet::new_checked(frame.payload()) else { continue };
            if packet.next_header() != IpProtocol::Udp {
                continue;
            }
            let Ok(datagram) = UdpPacket::new_checked(packet.payload()) else { continue };
            if datagram.dst_port() == limit::MEMBERSHIP_PORT {
                return datagram.payload().to_vec();
            }
        }
    }
}

/// A datagram to a node's membership port, good as far as UDP goes.
fn datagram(to: u8, from: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let udp = UdpRepr { src_port: limit::MEMBERSHIP_PORT, dst_port: limit::MEMBERSHIP_PORT };
    let ip = Ipv4Repr {
        src_addr: from,
        dst_addr: node_address(to),
        next_header: IpProtocol::Udp,
        payload_len: udp.header_len() + payload.len(),
        hop_limit: 64,
    };
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress(SENDER.1),
        dst_addr: EthernetAddress(node_mac(to).0),
        ethertype: EthernetProtocol::Ipv4,
    };
    let sums = ChecksumCapabilities::default();
    let mut frame = vec![0; ethernet.buffer_len() + ip.buffer_len() + ip.payload_len];
    ethernet.emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
    let packet = &mut frame[ethernet.buffer_len()..];
    ip.emit(&mut Ipv4Packet::new_unchecked(&mut packet[..]), &sums);
    let (source, destination) = (IpAddress::Ipv4(ip.src_addr), IpAddress::Ipv4(ip.dst_addr));
    udp.emit(
        &mut UdpPacket::new_unchecked(&mut packet[ip.buffer_len()..]),
        &source,
        &destination,
        payload.len(),
        |room| room.copy_from_slice(payload),
        &sums,
    );
    frame
}

#[test]
fn noise_and_forgeries_on_the_lan_change_nothing() {
    let mut bed = Bed::boot_with(2, 1, "log=warn");
    let mut attacker = Attacker::new(bed.lan.attach().unwrap());
    // A third node makes the others talk, and itself be heard by everybody.
    let config = bed.keys.node_config("n3").unwrap().render();
    let third = bed.launch(2, config);
    let heard: Vec<Vec<u8>> = (0..3).map(|_| attacker.overhear()).collect();
    bed.nodes.push(third);
    bed.wait_until_all_see(&[0, 1, 2]);
    count_words(&mut bed.client(0), &bed.program("wordcount"), text(1, 200_000));
    let before = [0, 1, 2].map(|at| bed.settled(at));
    for seed in 0..DATAGRAMS {
        let mut random = Random::new(seed);
        let (to, from) = (random.below(3) as u8, random.below(4) as u8);
        let from = if from == 3 { SENDER.0 } else { node_address(from) };
        let real = &heard[random.below(heard.len())];
        let payload = match random.below(4) {
            0 => {
                let length = random.below(1400);
                random.bytes(length)
            }
            1 => real.clone(),
            2 => real[..random.below(real.len())].to_vec(),
            _ => {
                let mut changed = real.clone();
                changed[random.below(real.len())] ^= 1 << random.below(8);
                changed
            }
        };
        let mut frame = datagram(to, from, &payload);
        if random.below(10) == 0 {
            // Not even UDP: anything may be wrong in the headers.
            for _ in 0..4 {
                frame[6 + random.below(36)] = random.next() as u8;
            }
        }
        attacker.send(&frame);
    }
    bed.wait_until_all_see(&[0, 1, 2]);
    for (at, before) in before.iter().enumerate() {
        assert_eq!(bed.count_lines(at, DOWN), 0);
        bed.expect_memory_back(at, before);
    }
    count_words(&mut bed.client(0), &bed.program("wordcount"), text(2, 200_000));
}

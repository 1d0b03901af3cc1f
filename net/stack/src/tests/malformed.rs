//! Frames that are wrong at one layer and right below it, so that each layer's checks are met.
//!
//! Checksums are put right after the damage: what a checksum would catch never gets deep. 100,000
//! frames a layer; meanwhile a stream carries bytes, and afterwards the stack serves and holds what
//! it held before.

use super::link::{World, at, frame, ip};
use super::streams::{PORT, SOON, bytes, exchange, pair};
use crate::emit::Bare;
use crate::sight::{self, Kind};
use crate::tuple::Tuple;
use crate::{Event, Stack, StreamId, Usage, limit};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{Ipv6Addr, SocketAddr};
use craton_abi::Duration;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpProtocol, IpRepr, TcpControl};

const FRAMES: usize = 100_000;
const BATCH: usize = 20;
const STRANGER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

#[derive(Copy, Clone, Debug)]
enum Layer {
    Arp,
    Ipv4,
    Icmp,
    Udp,
    Tcp,
    TcpOptions,
    Ipv6,
    Discovery,
    Fragments,
}

struct Maker<'r> {
    random: &'r mut ChaCha8Rng,
    /// The live connection, as its peer has it, and the number that stack 1 expects next.
    live: Tuple,
    next: u32,
}

impl Maker<'_> {
    fn draw(&mut self, below: usize) -> usize {
        self.random.next_u32() as usize % below
    }

    fn byte(&mut self) -> u8 {
        self.random.next_u32() as u8
    }

    fn noise(&mut self, length: usize) -> Vec<u8> {
        let mut noise = vec![0; length];
        self.random.fill_bytes(&mut noise);
        noise
    }

    /// Changes a few bytes of a part, or its length.
    fn damage(&mut self, packet: &mut Vec<u8>, from: usize, to: usize) {
        for _ in 0..=self.draw(3) {
            let place = from + self.draw(to - from);
            let odd = [0, 1, 0x7f, 0x80, 0xff, self.byte()];
            let byte = odd[self.draw(odd.len())];
            if let Some(place) = packet.get_mut(place) {
                *place = byte;
            }
        }
        match self.draw(10) {
            0 => packet.truncate(self.draw(packet.len() + 1)),
            1 => {
                let noise = 1 + self.draw(60);
                packet.extend(self.noise(noise));
            }
            _ => {}
        }
    }

    fn ipv4(&mut self, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
        let repr = IpRepr::new(ip(0).into(), ip(1).into(), protocol, payload.len(), 64);
        let mut packet = vec![0; repr.buffer_len()];
        repr.emit(&mut packet[..], &ChecksumCapabilities::default());
        packet[20..].copy_from_slice(payload);
        packet
    }

    fn ipv6(&mut self, protocol: IpProtocol, payload: &[u8], hops: u8) -> Vec<u8> {
        let (from, to) = (local(0), local(1));
        let repr = IpRepr::new(from.into(), to.into(), protocol, payload.len(), hops);
        let mut packet = vec![0; repr.buffer_len()];
        repr.emit(&mut packet[..], &ChecksumCapabilities::default());
        packet[40..].copy_from_slice(payload);
        packet
    }

    /// A segment of the live connection, of a half known one or of none.
    fn segment(&mut self) -> Bare {
        let mut tuple = self.live;
        if self.draw(3) == 0 {
            tuple.local.set_port(1 + self.draw(65_535) as u16);
        }
        if self.draw(8) == 0 {
            tuple.remote.set_port(1 + self.draw(65_535) as u16);
        }
        let controls =
            [TcpControl::None, TcpControl::Psh, TcpControl::Syn, TcpControl::Fin, TcpControl::Rst];
        // A live connection is reset by whoever guesses its window, so none of these guesses do.
        let distance = 1 << 20 | self.random.next_u32() >> 2;
        Bare {
            tuple,
            control: controls[self.draw(controls.len())],
            sequence: self.next.wrapping_add(distance),
            acknowledges: (self.draw(4) > 0).then(|| self.random.next_u32()),
            window: self.random.next_u32() as u16,
            segment_bytes_max: None,
            window_scale: None,
            selective: false,
        }
    }

    fn tcp(&mut self, options: bool) -> Vec<u8> {
        let mut packet = self.segment().packet();
        if options {
            let count = 4 * self.draw(11);
            let mut list = self.noise(count);
            for byte in &mut list {
                // Kinds that mean something, and lengths that do not fit.
                if self.draw(2) == 0 {
                    *byte = [0, 1, 2, 3, 4, 5, 8, 0xff][self.draw(8)];
                }
            }
            let header = 5 + list.len() / 4;
            packet.truncate(40);
            packet.extend(list);
            packet[32] = (header as u8) << 4;
        }
        let payload = self.draw(60);
        packet.extend(self.noise(payload));
        set_length(&mut packet);
        if !options {
            self.damage(&mut packet, 20, 40);
            // Ports and numbers stay, or it is nobody's; the flags are any.
            packet.resize(packet.len().max(40), 0);
            packet[33] = self.byte();
            if self.next.wrapping_sub(number(&packet)) < 1 << 18
                || number(&packet).wrapping_sub(self.next) < 1 << 18
            {
                packet[24] ^= 0x80;
            }
        }
        packet
    }

    fn discovery(&mut self) -> Vec<u8> {
        let kind = 133 + self.draw(5) as u8;
        let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        if kind == 134 {
            message.extend([0; 8]);
        } else if kind != 133 {
            message.extend(local(1).octets());
        }
        for _ in 0..self.draw(4) {
            let units = self.draw(4);
            message.extend([[1, 2, 3, 5, 25, 9][self.draw(6)], units as u8]);
            let length = (units * 8).saturating_sub(2);
            message.extend(self.noise(length));
        }
        let end = message.len();
        self.damage(&mut message, 4, end);
        let hops = if self.draw(8) == 0 { 64 } else { 255 };
        self.ipv6(IpProtocol::Icmpv6, &message, hops)
    }

    fn fragment(&mut self) -> Vec<u8> {
        let length = 1 + self.draw(80);
        let payload = self.noise(length);
        let protocol = [IpProtocol::Tcp, IpProtocol::Udp, IpProtocol::Icmp][self.draw(3)];
        let more = self.draw(3) > 0;
        let offset = self.draw(8) as u16 * 3;
        if self.draw(2) == 0 {
            let mut packet = self.ipv4(protocol, &payload);
            packet[5] = self.draw(6) as u8;
            let place = u16::from(more) << 13 | offset;
            packet[6..8].copy_from_slice(&place.to_be_bytes());
            packet
        } else {
            let mut header = vec![u8::from(protocol), 0];
            header.extend((offset << 3 | u16::from(more)).to_be_bytes());
            header.extend([0, 0, 0, self.draw(6) as u8]);
            header.extend(payload);
            self.ipv6(IpProtocol::Ipv6Frag, &header, 64)
        }
    }

    fn make(&mut self, layer: Layer) -> Vec<u8> {
        let length = self.draw(64);
        let packet = match layer {
            Layer::Arp => {
                let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
                arp.extend(STRANGER_MAC);
                arp.extend(ip(self.draw(250)).octets());
                arp.extend([0; 6]);
                arp.extend(ip(1).octets());
                self.damage(&mut arp, 0, 28);
                let mut frame = vec![0xff; 6];
                frame.extend(STRANGER_MAC);
                frame.extend([8, 6]);
                frame.extend(arp);
                return frame;
            }
            Layer::Ipv4 => {
                let noise = self.noise(length);
                let mut packet = self.ipv4(IpProtocol::Udp, &noise);
                self.damage(&mut packet, 0, 20);
                packet
            }
            Layer::Icmp => {
                let mut icmp = vec![[0, 3, 5, 8, 11, 12, 13][self.draw(7)], self.byte(), 0, 0];
                icmp.extend([0; 4]);
                icmp.extend(self.tcp(false));
                let end = icmp.len();
                self.damage(&mut icmp, 4, end);
                self.ipv4(IpProtocol::Icmp, &icmp)
            }
            Layer::Udp => {
                let ports = [53, 67, 68, PORT, 9, 0, 40_000];
                let mut udp = Vec::new();
                udp.extend(ports[self.draw(7)].to_be_bytes());
                udp.extend(ports[self.draw(7)].to_be_bytes());
                udp.extend((8 + length as u16).to_be_bytes());
                udp.extend([0; 2]);
                udp.extend(self.noise(length));
                self.damage(&mut udp, 0, 8);
                self.ipv4(IpProtocol::Udp, &udp)
            }
            Layer::Tcp => self.tcp(false),
            Layer::TcpOptions => self.tcp(true),
            Layer::Ipv6 => {
                let noise = self.noise(length);
                let headers = [0, 6, 17, 43, 44, 50, 51, 58, 59, 60, 135];
                let header = headers[self.draw(headers.len())];
                let mut packet = self.ipv6(header.into(), &noise, 64);
                self.damage(&mut packet, 0, 40);
                packet
            }
            Layer::Discovery => self.discovery(),
            Layer::Fragments => self.fragment(),
        };
        frame_of(packet)
    }
}

fn local(index: usize) -> Ipv6Addr {
    crate::slaac::address(crate::slaac::LINK_LOCAL, [2, 0, 0, 0, 0, index as u8 + 1])
}

fn number(packet: &[u8]) -> u32 {
    packet.get(24..28).map_or(0, |number| u32::from_be_bytes(number.try_into().expect("four")))
}

fn set_length(packet: &mut [u8]) {
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
}

/// A frame with every checksum that can be made.
fn frame_of(mut packet: Vec<u8>) -> Vec<u8> {
    let sum = |bytes: &[u8]| {
        let words = bytes
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
        let mut sum: u32 = words.sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    };
    let header = usize::from(packet.first().unwrap_or(&0) & 0xf) * 4;
    if packet.first().is_some_and(|byte| byte >> 4 == 4) && header >= 20 && header <= packet.len() {
        packet[10..12].fill(0);
        let checksum = sum(&packet[..header]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        if packet[9] == 1 && packet.len() >= header + 4 {
            packet[header + 2..header + 4].fill(0);
            let checksum = sum(&packet[header..]);
            packet[header + 2..header + 4].copy_from_slice(&checksum.to_be_bytes());
        }
    }
    if packet.first().is_some_and(|byte| byte >> 4 == 6) && packet.len() >= 44 && packet[6] == 58 {
        let length = packet.len() - 40;
        packet[42..44].fill(0);
        let mut pseudo = packet[8..40].to_vec();
        pseudo.extend((length as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, 58]);
        pseudo.extend(&packet[40..]);
        let checksum = sum(&pseudo);
        packet[42..44].copy_from_slice(&checksum.to_be_bytes());
    }
    frame([2, 0, 0, 0, 0, 2], STRANGER_MAC, &packet)
}

/// Lets stack 1's owner do what owners do.
fn own(stack: &mut Stack, socket: crate::UdpId, keep: StreamId, now: craton_abi::Instant) {
    let mut scratch = Vec::new();
    while stack.receive_from(socket, &mut scratch).is_some() {}
    while let Some(event) = stack.poll_event() {
        match event {
            Event::Readable { stream } if stream != keep => {
                let _ = stack.read(stream, &mut scratch, 1 << 20);
            }
            Event::Finished { stream } if stream != keep => stack.close(stream, now),
            Event::Closed { stream, why } => assert_ne!(stream, keep, "the live one ended: {why}"),
            _ => {}
        }
    }
}

/// The live connection, what stack 1 expects next of it, and what it will send next.
fn expects(world: &mut World, a: StreamId) -> (Tuple, u32, u32) {
    world.stacks[0].write(a, b"x").expect("it lives");
    world.plugs[0].step(world.now);
    let _ = world.stacks[0].poll(&mut world.plugs[0], world.now);
    let sent = core::mem::take(&mut world.plugs[0].outbox.frames);
    let mut found = None;
    for frame in sent {
        if let Kind::Tcp(segment, _) = sight::look(&frame).kind
            && segment.payload_bytes == 1
        {
            let tuple = Tuple { local: segment.tuple.remote, remote: segment.tuple.local };
            let ours = segment.acknowledges.expect("every segment acknowledges");
            found = Some((tuple, segment.sequence.wrapping_add(1), ours));
        }
        world.plugs[1].deliver(world.now, frame);
    }
    found.expect("it was sent")
}

fn storm(layer: Layer, seed: u64) {
    let mut world = World::new(2, seed);
    let (a, b) = pair(&mut world);
    let socket = world.stacks[1].bind(PORT).expect("it is free");
    let data = [bytes(seed, 50_000), bytes(seed + 1, 50_000)];
    exchange(&mut world, [a, b], &data, SOON);
    let (live, next, _) = expects(&mut world, a);
    world.run_for(Duration::from_millis(20));
    let mut got = Vec::new();
    world.stacks[1].read(b, &mut got, 10).expect("it lives");
    let mut random = world.random.clone();
    let mut maker = Maker { random: &mut random, live, next };
    for _ in 0..FRAMES / BATCH {
        for _ in 0..BATCH {
            let frame = maker.make(layer);
            world.plugs[1].deliver(world.now, frame);
        }
        world.plugs[1].step(world.now);
        let now = world.now;
        let _ = world.stacks[1].poll(&mut world.plugs[1], now);
        own(&mut world.stacks[1], socket, b, now);
        world.plugs[1].outbox.frames.clear();
        world.now += Duration::from_micros(100);
    }
    // The live one carries on as if nothing had been, and a new one opens.
    let data = [bytes(seed + 2, 50_000), bytes(seed + 3, 50_000)];
    exchange(&mut world, [a, b], &data, Duration::from_secs(30));
    let to = SocketAddr::new(at(1, PORT).ip(), PORT);
    let stream = world.stacks[0].dial(to, world.now).expect("it can be dialled");
    let connected = |event: &Event| (*event == Event::Connected { stream }).then_some(());
    world.wait(0, SOON, connected);
    world.stacks[0].abort(stream, world.now);
    world.run_for(limit::TIME_WAIT + Duration::from_secs(30));
    let usage = world.stacks[1].usage();
    let buffer_bytes = 2 * limit::BULK_BYTES + limit::UDP_SOCKET_BYTES;
    let idle = Usage { streams: 1, sockets: 2, buffer_bytes, ..Usage::default() };
    assert_eq!(usage, idle, "{layer:?}, seed {seed}");
}

#[test]
fn a_hundred_thousand_frames_wrong_at_each_layer_do_nothing() {
    let layers = [
        Layer::Arp,
        Layer::Ipv4,
        Layer::Icmp,
        Layer::Udp,
        Layer::Tcp,
        Layer::TcpOptions,
        Layer::Ipv6,
        Layer::Discovery,
        Layer::Fragments,
    ];
    for (index, layer) in layers.into_iter().enumerate() {
        storm(layer, 100 + index as u64);
    }
}

/// Segments that overlap, come out of order, twice or cut differently: what they agree on arrives,
/// once and in order.
#[test]
fn overlapping_segments_come_to_the_bytes_they_agree_on() {
    for seed in 0..20 {
        let mut world = World::new(2, seed);
        let (a, b) = pair(&mut world);
        let (live, next, ours) = expects(&mut world, a);
        world.run_for(Duration::from_millis(20));
        world.dead[0] = true;
        let text = bytes(seed, 8_000);
        let mut got = Vec::new();
        let mut acknowledged = 0;
        world.run_until(Duration::from_secs(10), |world| {
            for _ in 0..3 {
                let start = (acknowledged + world.random.next_u32() as usize % 3_000)
                    .saturating_sub(1_000)
                    .min(text.len() - 1);
                let length = 1 + world.random.next_u32() as usize % 1_400;
                let part = &text[start..text.len().min(start + length)];
                let segment = Bare {
                    tuple: live,
                    control: TcpControl::None,
                    sequence: next.wrapping_add(start as u32),
                    acknowledges: Some(ours),
                    window: 64_000,
                    segment_bytes_max: None,
                    window_scale: None,
                    selective: false,
                };
                let mut packet = segment.packet();
                packet.extend(part);
                set_length(&mut packet);
                world.plugs[1].deliver(world.now, frame_of(packet));
            }
            world.stacks[1].read(b, &mut got, 1 << 20).expect("it lives");
            acknowledged = got.len().saturating_sub(1);
            got.len() == text.len() + 1
        });
        assert!(got[1..] == text, "seed {seed}");
    }
}

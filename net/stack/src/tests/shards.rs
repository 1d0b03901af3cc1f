//! Several stacks behind one device, fragments, and what routers say of peers.

use super::link::{World, at, fixed, frame, link};
use super::streams::{PORT, SOON, closed, pair};
use crate::emit::Bare;
use crate::sight::{self, Kind};
use crate::tuple::Tuple;
use crate::{
    Address, AddressSource, Announced, Closed, Config, Event, FrameDevice, FrameReceiver, Shard,
    Stack, Steer, StreamId, Target,
};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use craton_abi::Duration;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, IpProtocol, IpRepr, Ipv4Packet, Ipv4Repr,
    TcpControl, TcpPacket,
};

const SHARDS: u16 = 4;

/// A node of several shards at the place of stack 1: they share its device.
struct Node {
    steer: Steer,
    shards: Vec<Stack>,
    plugs: Vec<super::link::Plug>,
    accepted: Vec<Vec<StreamId>>,
}

impl Node {
    fn new(world: &World) -> Node {
        let steer = Steer::new([9; 16], SHARDS);
        let shards = (0..SHARDS).map(|index| {
            let address = if index == 0 { fixed(1) } else { AddressSource::Follow };
            let shard = Some(Shard { steer: steer.clone(), index });
            let config =
                Config { shard, ..Config::new(link(1, false), [index as u8; 32], address) };
            let mut stack = Stack::new(config, world.now);
            stack.listen(PORT).expect("it is free");
            stack
        });
        let shards: Vec<Stack> = shards.collect();
        let plugs = shards.iter().map(|_| super::link::Plug::default()).collect();
        Node { steer, shards, plugs, accepted: vec![Vec::new(); usize::from(SHARDS)] }
    }

    /// Spreads what came, polls every shard and gives back what they sent.
    fn step(&mut self, world: &mut World) {
        world.plugs[1].step(world.now);
        let (receiver, _) = world.plugs[1].halves();
        while let Some(frame) = receiver.receive(|frame, _| frame.to_vec()) {
            for (index, plug) in self.plugs.iter_mut().enumerate() {
                let mine = match self.steer.frame(&frame) {
                    Target::Every => true,
                    Target::Shard(shard) => usize::from(shard) == index,
                };
                if mine {
                    plug.deliver(world.now, frame.clone());
                }
            }
        }
        for index in 0..self.shards.len() {
            self.plugs[index].step(world.now);
            let _ = self.shards[index].poll(&mut self.plugs[index], world.now);
            while let Some((shard, frame)) = self.shards[index].forwarded() {
                let shard = usize::from(shard);
                self.shards[shard].receive(&frame, &mut self.plugs[shard], world.now);
            }
            while let Some(event) = self.shards[index].poll_event() {
                self.take(index, event, world);
            }
            let frames = core::mem::take(&mut self.plugs[index].outbox.frames);
            world.plugs[1].outbox.frames.extend(frames);
        }
    }

    fn take(&mut self, index: usize, event: Event, world: &World) {
        match event {
            Event::Address(address) => {
                for shard in &mut self.shards[1..] {
                    let address: Option<Address> = address.clone();
                    shard.set_addresses(address, Announced::default());
                }
            }
            Event::Accepted { stream, .. } => self.accepted[index].push(stream),
            Event::Readable { stream } => {
                let mut got = Vec::new();
                self.shards[index].read(stream, &mut got, 1 << 16).expect("it lives");
                self.shards[index].write(stream, &got).expect("it lives");
            }
            Event::Finished { stream } => self.shards[index].close(stream, world.now),
            _ => {}
        }
    }

    fn run(&mut self, world: &mut World, span: Duration) {
        let end = world.now + span;
        while world.now < end {
            self.step(world);
            world.run_for(Duration::from_micros(100));
        }
    }
}

#[test]
fn connections_spread_over_shards_and_each_works() {
    let mut world = World::new(2, 1);
    world.dead[1] = true;
    world.keep_inbox = true;
    let mut node = Node::new(&world);
    node.run(&mut world, Duration::from_millis(2));
    let streams: Vec<StreamId> = (0..200)
        .map(|_| world.stacks[0].dial(at(1, PORT), world.now).expect("there is room"))
        .collect();
    node.run(&mut world, Duration::from_millis(100));
    for stream in &streams {
        world.stacks[0].write(*stream, b"hello").expect("it lives");
    }
    node.run(&mut world, Duration::from_millis(100));
    for stream in &streams {
        let mut got = Vec::new();
        world.stacks[0].read(*stream, &mut got, 100).expect("it lives");
        assert_eq!(got, b"hello");
    }
    for (index, accepted) in node.accepted.iter().enumerate() {
        assert!((25..75).contains(&accepted.len()), "shard {index} has {}", accepted.len());
    }
    // And back: each shard dials from ports whose answers come to it.
    world.stacks[0].listen(PORT).expect("it is free");
    let dialled: Vec<StreamId> = (0..usize::from(SHARDS))
        .map(|index| node.shards[index].dial(at(0, PORT), world.now).expect("there is room"))
        .collect();
    node.run(&mut world, Duration::from_millis(100));
    for (shard, stream) in node.shards.iter_mut().zip(dialled) {
        assert!(shard.room(stream).is_ok_and(|room| room > 0), "it is open");
    }
}

#[test]
fn ports_that_shard_0_alone_serves_are_not_spread() {
    let spread = Steer::new([9; 16], SHARDS).except([81, 82]);
    let shards = |steer: &Steer, local: u16| -> Vec<u16> {
        let tuple = |port| Tuple { local: at(1, local), remote: at(0, port) };
        let mut shards: Vec<u16> = (1_000..1_200).map(|port| steer.shard(&tuple(port))).collect();
        shards.sort_unstable();
        shards.dedup();
        shards
    };
    assert_eq!(shards(&spread, 80), [0, 1, 2, 3]);
    assert_eq!(shards(&spread, PORT), [0, 1, 2, 3]);
    assert_eq!(shards(&spread, 81), [0], "a listener that exists once is found");
    assert_eq!(shards(&spread, 82), [0]);
    // Any shard may open connections.
    assert_eq!(shards(&spread, 60_000), [0, 1, 2, 3]);
}

/// A packet cut in two, the second part first if so asked.
fn fragments(packet: &[u8], at: usize, reversed: bool) -> Vec<Vec<u8>> {
    let header = 20;
    let mut parts = Vec::new();
    for (start, end) in [(header, header + at), (header + at, packet.len())] {
        let mut part = [&packet[..header], &packet[start..end]].concat();
        let length = part.len() as u16;
        let mut ip = Ipv4Packet::new_unchecked(&mut part[..]);
        ip.set_total_len(length);
        ip.set_ident(7);
        ip.set_dont_frag(false);
        ip.set_more_frags(end < packet.len());
        ip.set_frag_offset((start - header) as u16);
        ip.fill_checksum();
        parts.push(part);
    }
    if reversed {
        parts.reverse();
    }
    parts
}

fn syn(port: u16) -> Vec<u8> {
    let syn = Bare {
        tuple: Tuple { local: at(0, port), remote: at(1, PORT) },
        control: TcpControl::Syn,
        sequence: 1_000,
        acknowledges: None,
        window: 64_240,
        segment_bytes_max: Some(1_460),
        window_scale: Some(7),
        selective: true,
    };
    let mut packet = syn.packet();
    let (from, to) = (at(0, 0).ip().into(), at(1, 0).ip().into());
    TcpPacket::new_unchecked(&mut packet[20..]).fill_checksum(&from, &to);
    packet
}

#[test]
fn fragments_are_put_together_before_they_are_steered() {
    let mut world = World::new(2, 2);
    world.dead[1] = true;
    world.keep_inbox = true;
    let mut node = Node::new(&world);
    node.run(&mut world, Duration::from_millis(2));
    for port in 2_000..2_020 {
        for part in fragments(&syn(port), 16, port % 2 == 0) {
            let frame = frame(world.stacks[1].link().mac, world.stacks[0].link().mac, &part);
            world.plugs[1].deliver(world.now, frame);
        }
        node.step(&mut world);
        let answers = core::mem::take(&mut world.plugs[1].outbox.frames);
        let answered = answers.iter().any(|frame| {
            matches!(sight::look(frame).kind, Kind::Tcp(segment, _)
                if segment.syn && segment.tuple.local.port() == port)
        });
        assert!(answered, "port {port}");
    }
    let handshakes = node.shards.iter().map(|shard| shard.usage().handshakes);
    assert_eq!(handshakes.clone().sum::<usize>(), 20);
    assert!(handshakes.filter(|count| *count > 0).count() > 1, "they went to several shards");
}

#[test]
fn fragments_that_overlap_or_never_end_come_to_nothing() {
    let mut world = World::new(2, 3);
    world.stacks[1].listen(PORT).expect("it is free");
    let packet = syn(3_000);
    let mut parts = fragments(&packet, 16, false);
    // The second begins eight bytes earlier than the first ends.
    let mut second = fragments(&packet, 8, false).remove(1);
    core::mem::swap(&mut parts[1], &mut second);
    for part in parts {
        let frame = frame(world.stacks[1].link().mac, world.stacks[0].link().mac, &part);
        world.plugs[1].deliver(world.now, frame);
    }
    world.run_for(Duration::from_millis(1));
    assert_eq!(world.stacks[1].usage().handshakes, 0);
    // Ten thousand first parts: a few are kept, for a while.
    for id in 0..10_000_u16 {
        let mut part = fragments(&packet, 16, false).remove(0);
        let mut ip = Ipv4Packet::new_unchecked(&mut part[..]);
        ip.set_ident(id + 100);
        ip.fill_checksum();
        let frame = frame(world.stacks[1].link().mac, world.stacks[0].link().mac, &part);
        world.plugs[1].deliver(world.now, frame);
        world.run_for(Duration::from_micros(100));
    }
    assert!(world.stacks[1].usage().fragmented <= crate::limit::FRAGMENTED_MAX);
    world.run_for(crate::limit::FRAGMENT_TIMEOUT + Duration::from_secs(1));
    assert_eq!(world.stacks[1].usage().fragmented, 0);
    pair(&mut world);
}

/// A router's word that the host of `tuple` cannot be reached, about the segment `sequence`.
fn unreachable(tuple: &Tuple, sequence: u32) -> Vec<u8> {
    let (IpAddr::V4(own), IpAddr::V4(peer)) = (tuple.local.ip(), tuple.remote.ip()) else {
        panic!("IPv4 only");
    };
    let mut quoted = Vec::new();
    quoted.extend(tuple.local.port().to_be_bytes());
    quoted.extend(tuple.remote.port().to_be_bytes());
    quoted.extend(sequence.to_be_bytes());
    let header = Ipv4Repr {
        src_addr: own,
        dst_addr: peer,
        next_header: IpProtocol::Tcp,
        payload_len: quoted.len(),
        hop_limit: 64,
    };
    let reason = Icmpv4DstUnreachable::HostUnreachable;
    let icmp = Icmpv4Repr::DstUnreachable { reason, header, data: &quoted };
    let router = super::link::GATEWAY;
    let (from, to) = (router.into(), tuple.local.ip().into());
    let ip = IpRepr::new(from, to, IpProtocol::Icmp, icmp.buffer_len(), 64);
    let mut packet = vec![0; ip.buffer_len()];
    ip.emit(&mut packet[..], &ChecksumCapabilities::default());
    let mut payload = Icmpv4Packet::new_unchecked(&mut packet[20..]);
    icmp.emit(&mut payload, &ChecksumCapabilities::default());
    packet
}

#[test]
fn a_dial_ends_when_a_router_says_so_and_an_open_stream_does_not() {
    let mut world = World::new(2, 4);
    let (a, _) = pair(&mut world);
    let stream = world.stacks[0].dial(at(1, PORT), world.now).expect("it can be dialled");
    // What the dial sends is seen by nobody but the router.
    world.plugs[0].step(world.now);
    let _ = world.stacks[0].poll(&mut world.plugs[0], world.now);
    let sent = core::mem::take(&mut world.plugs[0].outbox.frames);
    let syn = sent.iter().find_map(|frame| match sight::look(frame).kind {
        Kind::Tcp(segment, _) if segment.syn => Some(segment),
        _ => None,
    });
    let syn = syn.expect("a SYN");
    let tuple = Tuple { local: syn.tuple.remote, remote: syn.tuple.local };
    let own = world.stacks[0].link().mac;
    let say = |world: &mut World, tuple: &Tuple, sequence| {
        let frame = frame(own, [2, 9, 9, 9, 9, 9], &unreachable(tuple, sequence));
        world.plugs[0].deliver(world.now, frame);
        world.run_for(Duration::from_millis(1));
    };
    say(&mut world, &tuple, syn.sequence.wrapping_add(1));
    assert!(
        world.pick(0, closed(stream)).is_none(),
        "who does not know the number is not believed"
    );
    say(&mut world, &tuple, syn.sequence);
    assert_eq!(world.wait(0, SOON, closed(stream)), Closed::Unreachable);
    let open = Tuple {
        local: SocketAddr::new(at(0, 0).ip(), 50_000),
        remote: SocketAddr::new(at(1, 0).ip(), PORT),
    };
    say(&mut world, &open, 0);
    assert_eq!(world.stacks[0].write(a, b"x"), Ok(1));
}

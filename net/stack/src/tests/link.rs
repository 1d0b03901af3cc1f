//! A link between several stacks, with loss, duplication and delay drawn from a seed.

use crate::adapter::Header;
use crate::checksum;
use crate::{
    Address, AddressSource, Config, Event, FrameDevice, FrameReceiver, FrameTransmitter, Link,
    Offload, Segments, Stack,
};
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::num::NonZeroUsize;
use craton_abi::{Duration, Instant};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use smoltcp::wire::EthernetAddress;

const ETHERNET_BYTES: usize = 14;

/// Faults of a link, each in so many of a thousand frames.
#[derive(Copy, Clone, Default)]
pub(super) struct Faults {
    pub(super) lost: u32,
    pub(super) doubled: u32,
    pub(super) delayed: u32,
    /// One bit of an IP packet is wrong.
    pub(super) flipped: u32,
}

/// Where a stack is plugged in.
#[derive(Default)]
pub(super) struct Plug {
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
}

#[derive(Default)]
pub(super) struct Inbox {
    now: Instant,
    vouches: bool,
    frames: VecDeque<(Instant, Vec<u8>)>,
}

#[derive(Default)]
pub(super) struct Outbox {
    pub(super) frames: Vec<Vec<u8>>,
    /// Segments cut from longer frames.
    pub(super) cut: usize,
}

impl Plug {
    /// Lets frames that have arrived by `now` be received.
    pub(super) fn step(&mut self, now: Instant) {
        self.inbox.now = now;
    }

    /// Puts a frame in, to be received at `at`.
    pub(super) fn deliver(&mut self, at: Instant, frame: Vec<u8>) {
        self.inbox.frames.push_back((at, frame));
    }

    /// Puts a frame in, to be received at once and vouched for.
    pub(super) fn inject(&mut self, frame: Vec<u8>) {
        self.inbox.vouches = true;
        self.inbox.frames.push_back((Instant::ZERO, frame));
    }
}

impl Inbox {
    /// Frames that have not been received.
    pub(super) fn frames(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.frames.iter().map(|(_, frame)| frame)
    }

    /// Loses them.
    pub(super) fn clear(&mut self) {
        self.frames.clear();
    }
}

impl FrameDevice for Plug {
    type Receiver<'a> = &'a mut Inbox;
    type Transmitter<'a> = &'a mut Outbox;

    fn halves(&mut self) -> (&mut Inbox, &mut Outbox) {
        (&mut self.inbox, &mut self.outbox)
    }
}

impl FrameReceiver for Inbox {
    fn receive<R>(&mut self, handle: impl FnOnce(&[u8], bool) -> R) -> Option<R> {
        let next = self.frames.iter().position(|(at, _)| *at <= self.now)?;
        let (_, frame) = self.frames.remove(next)?;
        Some(handle(&frame, self.vouches))
    }
}

impl FrameTransmitter for Outbox {
    fn ready(&mut self) -> bool {
        self.frames.len() < 256
    }

    fn transmit<R>(&mut self, length: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        let mut frame = vec![0xa5; length];
        let (result, offload) = fill(&mut frame);
        match offload {
            Offload::None => self.frames.push(frame),
            Offload::Checksum { start, offset } => {
                complete(&mut frame, usize::from(start), usize::from(offset));
                self.frames.push(frame);
            }
            Offload::Segments { start, header_bytes, payload_bytes, .. } => {
                let cut = segments(&frame, start.into(), header_bytes.into(), payload_bytes.into());
                self.cut += cut.len();
                self.frames.extend(cut);
            }
        }
        result
    }

    fn flush(&mut self) {}
}

/// What a device does with a partial checksum.
fn complete(frame: &mut [u8], start: usize, offset: usize) {
    let sum = fold(words(&frame[start..]));
    frame[start + offset..start + offset + 2].copy_from_slice(&(!sum).to_be_bytes());
}

/// What a device does with a frame that it is to cut: each segment whole, as if nobody had helped.
fn segments(frame: &[u8], start: usize, headers: usize, payload: usize) -> Vec<Vec<u8>> {
    let (head, bytes) = frame.split_at(headers);
    let (checksum, sequence) = (start + 16, start + 4);
    let first = u32::from_be_bytes(head[sequence..sequence + 4].try_into().expect("four bytes"));
    let pseudo = u16::from_be_bytes([head[checksum], head[checksum + 1]]);
    let mut cut = Vec::new();
    for (index, part) in bytes.chunks(payload).enumerate() {
        let mut segment = [head, part].concat();
        let at = first.wrapping_add((index * payload) as u32);
        segment[sequence..sequence + 4].copy_from_slice(&at.to_be_bytes());
        if (index + 1) * payload < bytes.len() {
            // FIN and PSH belong to the last.
            segment[start + 13] &= !0b1001;
        }
        let length = (segment.len() - ETHERNET_BYTES) as u16;
        segment[16..18].copy_from_slice(&length.to_be_bytes());
        segment[24..26].fill(0);
        let header: u32 = words(&segment[ETHERNET_BYTES..start]);
        segment[24..26].copy_from_slice(&(!fold(header)).to_be_bytes());
        // The sum over the pseudo-header had the length of the whole.
        let excess = (bytes.len() - part.len()) as u32;
        let pseudo = fold(u32::from(pseudo) + u32::from(!fold(excess)));
        segment[checksum..checksum + 2].copy_from_slice(&pseudo.to_be_bytes());
        complete(&mut segment, start, 16);
        cut.push(segment);
    }
    cut
}

fn words(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Stacks on one link, in virtual time.
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) now: Instant,
    pub(super) faults: Faults,
    /// How long a frame is under way.
    pub(super) delay: Duration,
    pub(super) stacks: Vec<Stack>,
    pub(super) plugs: Vec<Plug>,
    pub(super) random: ChaCha8Rng,
    /// Events taken from each stack and not yet looked at.
    pub(super) events: Vec<VecDeque<Event>>,
    /// Stacks that are switched off.
    pub(super) dead: Vec<bool>,
    /// Stacks whose owner takes no events.
    pub(super) deaf: Vec<bool>,
    /// What comes for stacks that are switched off is kept for somebody else.
    pub(super) keep_inbox: bool,
}

pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 254);

pub(super) fn ip(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, index as u8 + 1)
}

pub(super) fn at(index: usize, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(ip(index)), port)
}

pub(super) fn link(index: usize, checksums: bool) -> Link {
    Link {
        mac: [2, 0, 0, 0, 0, index as u8 + 1],
        mtu: 1500,
        checksum_transmit: checksums,
        segments_bytes_max: Segments { ipv4: NonZeroUsize::new(20_000), ipv6: None },
    }
}

pub(super) fn fixed(index: usize) -> AddressSource {
    AddressSource::Static(Address {
        address: ip(index),
        prefix: 24,
        gateway: Some(GATEWAY),
        name_servers: Vec::new(),
    })
}

/// A frame around an IP packet, with its TCP checksum.
pub(super) fn frame(to: [u8; 6], from: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET_BYTES + packet.len()];
    frame[ETHERNET_BYTES..].copy_from_slice(packet);
    let header = Header { to: EthernetAddress(to), from: EthernetAddress(from) };
    header.write(&mut frame);
    assert_eq!(checksum::finish(&mut frame, false, None), Offload::None);
    frame
}

impl World {
    pub(super) fn new(count: usize, seed: u64) -> World {
        let mut world = World {
            seed,
            now: Instant::from_nanos(1_000_000),
            faults: Faults::default(),
            delay: Duration::from_micros(50),
            stacks: Vec::new(),
            plugs: Vec::new(),
            random: ChaCha8Rng::seed_from_u64(seed),
            events: Vec::new(),
            dead: Vec::new(),
            deaf: Vec::new(),
            keep_inbox: false,
        };
        for index in 0..count {
            // Every other device helps with checksums.
            world.add(link(index, index % 2 == 1), fixed(index));
        }
        world
    }

    pub(super) fn add(&mut self, link: Link, address: AddressSource) {
        let mut seed = [0; 32];
        self.random.fill_bytes(&mut seed);
        self.stacks.push(Stack::new(Config::new(link, seed, address), self.now));
        self.plugs.push(Plug::default());
        self.events.push(VecDeque::new());
        self.dead.push(false);
        self.deaf.push(false);
    }

    /// Polls everyone once and carries the frames.
    pub(super) fn step(&mut self) {
        for index in 0..self.stacks.len() {
            if self.dead[index] {
                if !self.keep_inbox {
                    self.plugs[index].inbox.frames.clear();
                }
                continue;
            }
            self.plugs[index].inbox.now = self.now;
            let _ = self.stacks[index].poll(&mut self.plugs[index], self.now);
            while !self.deaf[index]
                && let Some(event) = self.stacks[index].poll_event()
            {
                self.events[index].push_back(event);
            }
        }
        self.carry();
    }

    fn carry(&mut self) {
        for from in 0..self.plugs.len() {
            for frame in core::mem::take(&mut self.plugs[from].outbox.frames) {
                for to in (0..self.plugs.len()).filter(|to| *to != from) {
                    let own = self.stacks[to].link().mac;
                    if frame[0] & 1 == 1 || frame[..6] == own {
                        self.deliver(to, &frame);
                    }
                }
            }
        }
    }

    fn chance(&mut self, thousandths: u32) -> bool {
        thousandths > 0 && self.random.next_u32() % 1000 < thousandths
    }

    pub(super) fn deliver(&mut self, to: usize, frame: &[u8]) {
        if self.chance(self.faults.lost) {
            return;
        }
        let copies = if self.chance(self.faults.doubled) { 2 } else { 1 };
        for _ in 0..copies {
            let mut delay = self.delay;
            if self.chance(self.faults.delayed) {
                let extra = u64::from(self.random.next_u32() % 20_000);
                delay = delay + Duration::from_micros(extra);
            }
            let mut frame = frame.to_vec();
            if frame[12..14] == [8, 0] && self.chance(self.faults.flipped) {
                let bit = self.random.next_u32() as usize % ((frame.len() - 14) * 8);
                frame[14 + bit / 8] ^= 1 << (bit % 8);
            }
            self.plugs[to].inbox.frames.push_back((self.now + delay, frame));
        }
    }

    /// Lets time pass to the next thing that happens, at most to `limit`.
    pub(super) fn advance(&mut self, limit: Instant) {
        let mut next = limit;
        for index in (0..self.stacks.len()).filter(|index| !self.dead[*index]) {
            let arrivals = self.plugs[index].inbox.frames.iter().map(|(at, _)| *at);
            let deadline = self.stacks[index].deadline(self.now);
            next = arrivals.chain(deadline).fold(next, Instant::min);
        }
        self.now = next.max(self.now + Duration::from_micros(1)).min(limit.max(self.now));
    }

    /// Tells every plug the time.
    pub(super) fn step_clock(&mut self) {
        for plug in &mut self.plugs {
            plug.step(self.now);
        }
    }

    /// Runs until `done` says so; fails after `span` of virtual time.
    pub(super) fn run_until(&mut self, span: Duration, mut done: impl FnMut(&mut World) -> bool) {
        let end = self.now + span;
        loop {
            self.step();
            if done(self) {
                return;
            }
            assert!(self.now < end, "seed {}: not done at {}", self.seed, self.now);
            self.advance(end);
        }
    }

    pub(super) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        self.run_until(span + Duration::from_millis(1), |world| world.now >= end);
    }

    /// The first event of `index` for which `pick` gives something; the others stay.
    pub(super) fn pick<T>(
        &mut self,
        index: usize,
        pick: impl Fn(&Event) -> Option<T>,
    ) -> Option<T> {
        let position = self.events[index].iter().position(|event| pick(event).is_some())?;
        self.events[index].remove(position).and_then(|event| pick(&event))
    }

    /// Runs until `index` has such an event.
    pub(super) fn wait<T>(
        &mut self,
        index: usize,
        span: Duration,
        pick: impl Fn(&Event) -> Option<T>,
    ) -> T {
        let mut found = None;
        self.run_until(span, |world| {
            found = world.pick(index, &pick);
            found.is_some()
        });
        found.expect("run_until returned because it was found")
    }
}

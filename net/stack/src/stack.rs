//! One network interface as a value.
//!
//! Owns [`Stack`] and what it is made of: smoltcp's interface, the neighbour table, the streams,
//! what comes before and after them, the datagram sockets and the resolver. Here are its verbs; its
//! work in a poll is in `stack/frames.rs` (frames of all kinds), `stack/opening.rs` (TCP before
//! there is a stream) and `stack/sending.rs`, its addresses in `stack/address.rs`, the verbs of
//! datagram sockets in `stack/datagrams.rs`.

mod address;
mod datagrams;
mod frames;
mod opening;
mod sending;

use crate::adapter::{self, Counted, Port, Void};
use crate::budget::{Budget, Owner};
use crate::clock;
use crate::config::{Address, AddressSource, Announced, Config, Counters, Event, Progress};
use crate::device::{FrameDevice, FrameTransmitter, Link};
use crate::dhcp::Dhcp;
use crate::fragment::Fragments;
use crate::handshake::Handshakes;
use crate::limit::EPHEMERAL_PORT_FIRST;
use crate::neighbour::Neighbours;
use crate::resolver::{Kinds, ResolveId, Resolver};
use crate::slaac::{self, Slaac};
use crate::stream::{
    Closed, DialError, DialOptions, ListenError, ListenOptions, NoStream, Notice, PassError,
    StreamId,
};
use crate::streams::Streams;
use crate::timewait::TimeWaits;
use crate::tuple::{Steer, Tuple};
use crate::udp::Datagrams;
use address::Way;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::ops::AddAssign;
use craton_abi::Instant;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use smoltcp::iface::{Interface, SocketSet};
use smoltcp::phy::DeviceCapabilities;
use smoltcp::wire::{EthernetAddress, HardwareAddress};

/// Ports that are tried for a dial before it is given up.
const PORT_TRIES: usize = 1 << 15;
/// Frames for other shards that wait to be taken.
const FORWARDED_MAX: usize = 64;

/// One network interface: its addresses, listeners, streams and datagram sockets.
pub struct Stack {
    interface: Interface,
    /// For packets that no socket of ours is to see.
    nobody: SocketSet<'static>,
    capabilities: DeviceCapabilities,
    link: Link,
    mac: EthernetAddress,
    steer: Steer,
    /// Makes sequence numbers.
    secret: Steer,
    shard: u16,
    dhcp: Option<Dhcp>,
    slaac: Option<Slaac>,
    address: Option<Address>,
    link_local: Option<Ipv6Addr>,
    announced: Announced,
    address_told: bool,
    announced_told: bool,
    neighbours: Neighbours,
    /// Streams that wait for a neighbour.
    parked: BTreeMap<IpAddr, BTreeSet<StreamId>>,
    streams: Streams,
    handshakes: Handshakes,
    time_waits: TimeWaits,
    datagrams: Datagrams,
    fragments: Fragments,
    forwarded: VecDeque<(u16, Vec<u8>)>,
    resolver: Resolver,
    random: ChaCha8Rng,
    counters: Counters,
}

impl Stack {
    /// An interface that begins to look for its address at the first poll.
    pub fn new(config: Config, now: Instant) -> Stack {
        let Config { link, seed, address, ipv6, buffer_bytes_max, has_room, shard } = config;
        let capabilities = adapter::packet_capabilities(&link);
        let mut random = ChaCha8Rng::from_seed(seed);
        let mac = EthernetAddress(unicast(link.mac));
        let mut key = || {
            let mut key = [0; 16];
            random.fill_bytes(&mut key);
            key
        };
        let (own_steer, secret) = (Steer::new(key(), 1), Steer::new(key(), 1));
        let (steer, shard) = shard.map_or((own_steer, 0), |shard| (shard.steer, shard.index));
        let mut void = Void::default();
        let (received, transmitter) = (None, &mut void);
        let mut port = Port {
            received,
            header: None,
            transmitter,
            capabilities: &capabilities,
            by_device: false,
            highest: None,
        };
        let interface_config = smoltcp::iface::Config::new(HardwareAddress::Ip);
        let interface = Interface::new(interface_config, &mut port, clock::to_smoltcp(now));
        // What routers say is heard at shard 0 and told to the others.
        let slaac = (ipv6 && shard == 0).then(|| Slaac::new(mac.0, now));
        let dhcp = matches!(address, AddressSource::Dhcp)
            .then(|| Dhcp::new(&link, mac, random.next_u64(), now));
        let mut stack = Stack {
            interface,
            nobody: SocketSet::new(Vec::new()),
            capabilities,
            link,
            mac,
            shard,
            dhcp,
            slaac,
            address: None,
            link_local: ipv6.then(|| slaac::address(slaac::LINK_LOCAL, mac.0)),
            announced: Announced::default(),
            address_told: true,
            announced_told: true,
            neighbours: Neighbours::default(),
            parked: BTreeMap::new(),
            streams: Streams::new(steer.clone(), Budget::new(buffer_bytes_max, has_room)),
            handshakes: Handshakes::new(secret.clone()),
            secret,
            time_waits: TimeWaits::new(steer.clone()),
            steer,
            datagrams: Datagrams::default(),
            fragments: Fragments::default(),
            forwarded: VecDeque::new(),
            resolver: Resolver::default(),
            random,
            counters: Counters::default(),
        };
        stack.apply_addresses();
        if let AddressSource::Static(address) = address {
            stack.set_address(Some(address));
        }
        stack
    }

    /// Receives, sends and lets time pass; takes a bounded share of what the device holds.
    pub fn poll<D: FrameDevice>(&mut self, device: &mut D, now: Instant) -> Progress {
        let (mut receiver, mut transmitter) = device.halves();
        let mut transmitter = Counted { transmitter: &mut transmitter, sent: 0 };
        let mut more = self.receive_frames(&mut receiver, &mut transmitter, now);
        self.poll_addresses(&mut transmitter, now);
        self.poll_resolver(now);
        self.ask_neighbours(&mut transmitter, now);
        self.settle_neighbours(now);
        more |= self.send_frames(&mut transmitter, now);
        self.time_waits.expire(now);
        self.fragments.expire(now);
        transmitter.flush();
        self.counters.frames_sent += transmitter.sent;
        Progress { more }
    }

    /// Deals with a frame that another shard passed on; see [`forwarded`](Self::forwarded).
    pub fn receive<D: FrameDevice>(&mut self, frame: &[u8], device: &mut D, now: Instant) {
        let (_, mut transmitter) = device.halves();
        let mut transmitter = Counted { transmitter: &mut transmitter, sent: 0 };
        self.receive_frame(frame, false, &mut transmitter, now);
        transmitter.flush();
        self.counters.frames_sent += transmitter.sent;
    }

    /// The next frame that turned out to be another shard's, once its fragments were put together,
    /// and whose it is.
    pub fn forwarded(&mut self) -> Option<(u16, Vec<u8>)> {
        self.forwarded.pop_front()
    }

    /// When to poll next if no frame comes. In the past if there is something to do at once.
    pub fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let told = self.address_told && self.announced_told;
        let urgent = !told
            || self.streams.has_notice()
            || self.streams.has_active()
            || self.datagrams.has_outgoing()
            || self.resolver.has_outcome();
        if urgent {
            return Some(now);
        }
        let due = [
            self.dhcp.as_mut().and_then(|dhcp| dhcp.deadline(now)),
            self.slaac.as_ref().and_then(Slaac::deadline),
            self.neighbours.deadline(),
            self.handshakes.deadline(),
            self.streams.deadline(),
            self.resolver.deadline(),
        ];
        due.into_iter().flatten().min()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        if !self.address_told {
            self.address_told = true;
            return Some(Event::Address(self.address.clone()));
        }
        if !self.announced_told {
            self.announced_told = true;
            return Some(Event::Announced(self.announced.clone()));
        }
        if let Some((question, result)) = self.resolver.next() {
            return Some(Event::Resolved { question, result });
        }
        let (stream, notice) = self.streams.next()?;
        Some(match notice {
            Notice::Accepted { port, from } => Event::Accepted { port, stream, from },
            Notice::Connected => Event::Connected { stream },
            Notice::Readable => Event::Readable { stream },
            Notice::Writable => Event::Writable { stream },
            Notice::Finished => Event::Finished { stream },
            Notice::Closed(why) => Event::Closed { stream, why },
        })
    }

    /// The device, as it was described.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Our IPv4 address, if we have one.
    pub fn address(&self) -> Option<&Address> {
        self.address.as_ref()
    }

    /// Our address on the link, if we have IPv6.
    pub fn link_local(&self) -> Option<Ipv6Addr> {
        self.link_local
    }

    /// What the routers of the link announced.
    pub fn announced(&self) -> &Announced {
        &self.announced
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Counters {
        Counters { handshakes_evicted: self.handshakes.evicted, ..self.counters }
    }

    /// What is held now.
    pub fn usage(&self) -> Usage {
        Usage {
            streams: self.streams.count(),
            sockets: self.streams.sockets() + self.datagrams.count(),
            handshakes: self.handshakes.count(),
            time_waits: self.time_waits.count(),
            fragmented: self.fragments.count(),
            buffer_bytes: self.streams.buffer_bytes(None),
        }
    }

    /// Bytes of buffers that an owner's streams and sockets hold.
    pub fn buffer_bytes(&self, owner: Owner) -> usize {
        self.streams.buffer_bytes(Some(owner))
    }

    /// Bytes of buffers that all owners together may have.
    pub fn buffer_bytes_max(&self) -> usize {
        self.streams.budget.limit()
    }

    /// Limits the buffers of an owner; without a limit only that of all counts.
    pub fn limit_buffers(&mut self, owner: Owner, bytes_max: Option<usize>) {
        self.streams.budget.set_limit(owner, bytes_max);
    }

    /// Accepts streams to this port from now on, with large buffers.
    ///
    /// # Errors
    ///
    /// If the port is 0 or listened on already, or there are too many listeners.
    pub fn listen(&mut self, port: u16) -> Result<(), ListenError> {
        self.listen_with(port, ListenOptions::default())
    }

    /// Accepts streams to this port from now on.
    ///
    /// # Errors
    ///
    /// If the port is 0 or listened on already, or there are too many listeners.
    pub fn listen_with(&mut self, port: u16, options: ListenOptions) -> Result<(), ListenError> {
        self.streams.listen(port, options)
    }

    /// Accepts no more streams to this port; those that were live on.
    pub fn unlisten(&mut self, port: u16) {
        self.streams.unlisten(port);
    }

    /// Has the peers of a port that is listened on wait, as for want of room, or no longer.
    pub fn pause(&mut self, port: u16, paused: bool) {
        self.streams.pause(port, paused);
    }

    /// Opens a stream with large buffers. See [`dial_with`](Self::dial_with).
    ///
    /// # Errors
    ///
    /// If it cannot even begin; nothing was done then.
    pub fn dial(&mut self, to: SocketAddr, now: Instant) -> Result<StreamId, DialError> {
        self.dial_with(to, DialOptions::default(), now)
    }

    /// Opens a stream. [`Event::Connected`] or [`Event::Closed`] follows within
    /// [`limit::DIAL_TIMEOUT`](crate::limit::DIAL_TIMEOUT).
    ///
    /// # Errors
    ///
    /// If it cannot even begin; nothing was done then.
    pub fn dial_with(
        &mut self,
        to: SocketAddr,
        options: DialOptions,
        now: Instant,
    ) -> Result<StreamId, DialError> {
        // Scope and flow of an IPv6 address are the link's business.
        let to = SocketAddr::new(to.ip(), to.port());
        let from = self.source(to.ip()).ok_or(DialError::NoAddress)?;
        if to.port() == 0 || self.ours(to.ip()) || to.ip().is_multicast() {
            return Err(DialError::Invalid);
        }
        let hop = match self.way(to.ip()) {
            Way::Everybody => return Err(DialError::Invalid),
            Way::Through(hop) => Some(hop),
            Way::None => None,
        };
        let tuple = self.free_tuple(from, to).ok_or(DialError::LimitPorts)?;
        let number = self.first_number(&tuple, now);
        let stream = self.streams.dial(tuple, options, number, now)?;
        match hop {
            Some(hop) => _ = self.neighbours.want(hop, now),
            None => self.streams.end(stream, Closed::Unreachable),
        }
        Ok(stream)
    }

    /// Moves received bytes to the end of `out`, at most `bytes_max`; says how many. 0 means that
    /// there are none now.
    ///
    /// # Errors
    ///
    /// If the stream is gone.
    pub fn read(
        &mut self,
        stream: StreamId,
        out: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<usize, NoStream> {
        self.streams.read(stream, out, bytes_max)
    }

    /// Takes as many bytes as there is room for; says how many. If that leaves no room,
    /// [`Event::Writable`] follows when there is some again. They are sent by the next poll.
    ///
    /// # Errors
    ///
    /// If the stream is gone.
    pub fn write(&mut self, stream: StreamId, bytes: &[u8]) -> Result<usize, NoStream> {
        self.streams.write(stream, bytes)
    }

    /// Bytes that a write would take now. If 0, [`Event::Writable`] follows.
    ///
    /// # Errors
    ///
    /// If the stream is gone.
    pub fn room(&mut self, stream: StreamId) -> Result<usize, NoStream> {
        self.streams.room(stream)
    }

    /// Whether a read would take something now.
    pub fn is_readable(&self, stream: StreamId) -> bool {
        self.streams.is_readable(stream)
    }

    /// Tells the peer that no more will be sent, after what was written. Reading goes on.
    ///
    /// # Errors
    ///
    /// If the stream is gone.
    pub fn finish(&mut self, stream: StreamId) -> Result<(), NoStream> {
        self.streams.finish(stream)
    }

    /// Closes: delivers what was written within [`limit::LINGER`](crate::limit::LINGER) and
    /// discards what comes. The id is dead at once, no event follows.
    pub fn close(&mut self, stream: StreamId, now: Instant) {
        self.streams.close(stream, now);
    }

    /// Resets: nothing more is delivered. The id is dead at once, no event follows.
    pub fn abort(&mut self, stream: StreamId, now: Instant) {
        self.streams.abort(stream, now);
    }

    /// Counts a stream's buffers against another owner from now on.
    ///
    /// # Errors
    ///
    /// If the stream is gone, or the owner's buffers are as large as they may be.
    pub fn pass(&mut self, stream: StreamId, to: Owner) -> Result<(), PassError> {
        self.streams.pass(stream, to)
    }

    /// Whether an address is the node's own.
    pub fn is_ours(&self, address: IpAddr) -> bool {
        self.ours(address)
    }

    /// Asks for the addresses of a name; [`Event::Resolved`] follows within seconds.
    pub fn resolve(&mut self, name: &str, now: Instant) -> ResolveId {
        let ipv6 = self.announced.address.is_some();
        self.resolver.ask(name, Kinds { ipv4: self.address.is_some() || !ipv6, ipv6 }, now)
    }

    /// The first sequence number of a connection (RFC 6528): nobody outside can tell it, and it is
    /// ahead of those of an earlier connection between the same ends.
    fn first_number(&self, tuple: &Tuple, now: Instant) -> u32 {
        const TICK_BITS: u32 = 6;
        let ticks = now.as_nanos() >> TICK_BITS;
        (self.secret.secret(tuple, &[]) as u32).wrapping_add(ticks as u32)
    }

    /// Two ends that no connection has, and whose frames come to this shard: from a random port
    /// on, the first that fits.
    fn free_tuple(&mut self, from: IpAddr, to: SocketAddr) -> Option<Tuple> {
        let ports = u32::from(u16::MAX - EPHEMERAL_PORT_FIRST) + 1;
        let start = self.random.next_u32() % ports;
        let nth = |step: usize| {
            let port = EPHEMERAL_PORT_FIRST + ((start + step as u32) % ports) as u16;
            Tuple { local: SocketAddr::new(from, port), remote: to }
        };
        (0..PORT_TRIES.min(ports as usize)).map(nth).find(|tuple| {
            !self.streams.contains(tuple)
                && !self.time_waits.contains(tuple)
                && self.streams.listener(tuple.local.port()).is_none()
                && self.steer.shard(tuple) == self.shard
        })
    }
}

/// What a stack holds at a moment.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// TCP streams in any state.
    pub streams: usize,
    /// Sockets of streams, and of datagrams.
    pub sockets: usize,
    /// Handshakes under way.
    pub handshakes: usize,
    /// Connections in TIME-WAIT.
    pub time_waits: usize,
    /// Packets of which fragments are missing.
    pub fragmented: usize,
    /// Buffers of streams and datagram sockets.
    pub buffer_bytes: usize,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        self.streams += other.streams;
        self.sockets += other.sockets;
        self.handshakes += other.handshakes;
        self.time_waits += other.time_waits;
        self.fragmented += other.fragmented;
        self.buffer_bytes += other.buffer_bytes;
    }
}

/// The address with its group bit cleared: smoltcp panics on one that is no host's.
fn unicast(mac: [u8; 6]) -> [u8; 6] {
    let [first, rest @ ..] = mac;
    let mut address = [first & !1, 0, 0, 0, 0, 0];
    address[1..].copy_from_slice(&rest);
    address
}

//! What a stack is made from, and what it tells.
//!
//! Owns [`Config`], the addresses of an interface, [`Event`] and [`Counters`].

use crate::device::Link;
use crate::limit;
use crate::resolver::{ResolveError, ResolveId};
use crate::stream::{Closed, StreamId};
use crate::tuple::Steer;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::ops::AddAssign;

/// What a stack is made from.
#[derive(Clone)]
pub struct Config {
    /// The device.
    pub link: Link,
    /// Randomness for ports, sequence numbers and keys; another at each start.
    pub seed: [u8; 32],
    /// Where the addresses come from.
    pub address: AddressSource,
    /// Have IPv6: an address of the link, and one of each network that a router announces.
    pub ipv6: bool,
    /// Buffers of all streams and datagram sockets together, in bytes.
    pub buffer_bytes_max: usize,
    /// Whether the machine has so many bytes for one more of them. Where it has not, a connection
    /// that comes waits, one that is opened is refused, and a datagram is lost.
    pub has_room: fn(usize) -> bool,
    /// Which of a node's shards this is; `None` if it has one.
    pub shard: Option<Shard>,
}

/// One of the stacks that share a device.
#[derive(Clone)]
pub struct Shard {
    /// How frames are spread.
    pub steer: Steer,
    /// Which of them are for this stack, from 0.
    pub index: u16,
}

impl Config {
    /// A stack alone on its device, with IPv6.
    pub fn new(link: Link, seed: [u8; 32], address: AddressSource) -> Self {
        let buffer_bytes_max = limit::BUFFER_BYTES;
        let has_room = |_| true;
        Config { link, seed, address, ipv6: true, buffer_bytes_max, has_room, shard: None }
    }
}

/// Where the interface's addresses come from.
#[derive(Clone, Debug)]
pub enum AddressSource {
    /// Ask for one, and keep it for as long as the lease lasts.
    Dhcp,
    /// This one.
    Static(Address),
    /// What [`Stack::set_addresses`](crate::Stack::set_addresses) says, which shard 0 was told.
    Follow,
}

/// An IPv4 address and what came with it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    /// Our address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix in bits.
    pub prefix: u8,
    /// The way off the link.
    pub gateway: Option<Ipv4Addr>,
    /// Servers that resolve names.
    pub name_servers: Vec<Ipv4Addr>,
}

/// What the routers of the link announced.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Announced {
    /// Our address in their network, if they let us make one.
    pub address: Option<Ipv6Addr>,
    /// The way off the link.
    pub gateway: Option<Ipv6Addr>,
    /// Servers that resolve names.
    pub name_servers: Vec<Ipv6Addr>,
}

/// What happened, told once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// The interface has this IPv4 address now, or none any more.
    Address(Option<Address>),
    /// The routers of the link announced this.
    Announced(Announced),
    /// A stream was opened to a port that is listened on.
    Accepted {
        /// The port.
        port: u16,
        /// The stream.
        stream: StreamId,
        /// The peer.
        from: SocketAddr,
    },
    /// A dial succeeded.
    Connected {
        /// The stream.
        stream: StreamId,
    },
    /// There is something to read. Not told again before all of it was read.
    Readable {
        /// The stream.
        stream: StreamId,
    },
    /// There is room again, after a write left none or [`Stack::room`](crate::Stack::room) said 0.
    Writable {
        /// The stream.
        stream: StreamId,
    },
    /// The peer sends no more and everything was read. Writing goes on.
    Finished {
        /// The stream.
        stream: StreamId,
    },
    /// The stream is gone, its id dead. Does not follow a close or abort of our own.
    Closed {
        /// The stream.
        stream: StreamId,
        /// Why.
        why: Closed,
    },
    /// A name was resolved, or cannot be.
    Resolved {
        /// The question.
        question: ResolveId,
        /// Its addresses, one at least.
        result: Result<Vec<IpAddr>, ResolveError>,
    },
}

/// What a poll left.
#[must_use]
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Progress {
    /// The budget is used up: poll again soon, without sleeping.
    pub more: bool,
}

/// What was counted since the start.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Frames taken from the device.
    pub frames_received: u64,
    /// Frames given to the device.
    pub frames_sent: u64,
    /// Frames not meant for us, malformed or harmful.
    pub frames_refused: u64,
    /// Frames with a wrong TCP or UDP checksum.
    pub checksums_wrong: u64,
    /// Times that a stream was looked at.
    pub streams_polled: u64,
    /// Segments that were sent again.
    pub segments_repeated: u64,
    /// Attempts to open a stream for which there was no room; peers repeat them.
    pub accepts_deferred: u64,
    /// Handshakes that made room for others. Their peers may complete them all the same.
    pub handshakes_evicted: u64,
    /// Datagrams whose neighbour did not answer or whose queue was full.
    pub datagrams_dropped: u64,
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Counters) {
        self.frames_received += other.frames_received;
        self.frames_sent += other.frames_sent;
        self.frames_refused += other.frames_refused;
        self.checksums_wrong += other.checksums_wrong;
        self.streams_polled += other.streams_polled;
        self.segments_repeated += other.segments_repeated;
        self.accepts_deferred += other.accepts_deferred;
        self.handshakes_evicted += other.handshakes_evicted;
        self.datagrams_dropped += other.datagrams_dropped;
    }
}

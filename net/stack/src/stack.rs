//! One network interface as a value.
//!
//! Owns [`Stack`] and what it is made of: smoltcp's interface and sockets, the neighbour table,
//! the streams and the datagram sockets. Here are its verbs; its work in a poll is in
//! `stack/frames.rs`, its address in `stack/address.rs`.

mod address;
mod frames;

use crate::adapter::{self, Nowhere, Port};
use crate::clock;
use crate::device::{FrameDevice, FrameTransmitter, Link};
use crate::neighbour::{Answer, Neighbours};
use crate::stream::{Closed, DialError, ListenError, NoStream, Notice, StreamId};
use crate::streams::Streams;
use crate::udp::{BindError, DatagramError, Datagrams, UdpId};
use address::Way;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};
use craton_abi::Instant;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::phy::DeviceCapabilities;
use smoltcp::wire::{EthernetAddress, HardwareAddress};

const EPHEMERAL_PORT_FIRST: u16 = 49_152;
const IPV4_UDP_HEADER_BYTES: usize = 28;

/// What a stack is made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// The device.
    pub link: Link,
    /// Randomness for ports and sequence numbers; another at each start.
    pub seed: [u8; 32],
    /// Where the address comes from.
    pub address: AddressSource,
}

/// Where the interface's address comes from.
#[derive(Clone, Debug)]
pub enum AddressSource {
    /// Ask for one, and keep it for as long as the lease lasts.
    Dhcp,
    /// This one.
    Static(Address),
}

/// An address and what came with it.
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

/// What happened, told once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// The interface has this address now, or none any more.
    Address(Option<Address>),
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
    /// There is room again, after a write left none or [`Stack::room`] said 0.
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
    /// Attempts to open a stream for which there was no room.
    pub syns_dropped: u64,
    /// Datagrams whose neighbour did not answer or whose queue was full.
    pub datagrams_dropped: u64,
}

/// One network interface: its address, listeners, streams and datagram sockets.
pub struct Stack {
    interface: Interface,
    sockets: SocketSet<'static>,
    dhcp: Option<SocketHandle>,
    capabilities: DeviceCapabilities,
    link: Link,
    address: Option<Address>,
    address_told: bool,
    neighbours: Neighbours,
    streams: Streams,
    datagrams: Datagrams,
    random: ChaCha8Rng,
    counters: Counters,
}

impl Stack {
    /// An interface that begins to look for its address at the first poll.
    pub fn new(config: Config, now: Instant) -> Stack {
        let Config { link, seed, address } = config;
        let capabilities = adapter::capabilities(&link);
        let mut random = ChaCha8Rng::from_seed(seed);
        let hardware = HardwareAddress::Ethernet(EthernetAddress(unicast(link.mac)));
        let mut interface_config = smoltcp::iface::Config::new(hardware);
        interface_config.random_seed = random.next_u64();
        let mut port = Port {
            frame: None,
            transmitter: &mut Nowhere,
            capabilities: &capabilities,
            by_device: false,
            sent: &mut 0,
        };
        let interface = Interface::new(interface_config, &mut port, clock::to_smoltcp(now));
        let mut stack = Stack {
            interface,
            sockets: SocketSet::new(Vec::new()),
            dhcp: None,
            capabilities,
            link,
            address: None,
            address_told: true,
            neighbours: Neighbours::default(),
            streams: Streams::default(),
            datagrams: Datagrams::default(),
            random,
            counters: Counters::default(),
        };
        match address {
            AddressSource::Dhcp => stack.dhcp = Some(stack.sockets.add(address::dhcp_socket())),
            AddressSource::Static(address) => stack.set_address(Some(address)),
        }
        stack
    }

    /// Receives, sends and lets time pass; takes a bounded share of what the device holds.
    pub fn poll<D: FrameDevice>(&mut self, device: &mut D, now: Instant) -> Progress {
        let (mut receiver, mut transmitter) = device.halves();
        let mut more = self.receive_frames(&mut receiver, &mut transmitter, now);
        self.poll_dhcp();
        self.ask_neighbours(&mut transmitter, now);
        self.use_neighbours(now);
        more |= self.send_frames(&mut transmitter, now);
        self.streams.refresh(&mut self.sockets, now);
        transmitter.flush();
        Progress { more }
    }

    /// When to poll next if no frame comes. In the past if there is something to do at once.
    pub fn deadline(&mut self, now: Instant) -> Option<Instant> {
        if !self.address_told || self.streams.has_notice() {
            return Some(now);
        }
        let smoltcp = self.interface.poll_at(clock::to_smoltcp(now), &self.sockets);
        let due =
            [smoltcp.map(clock::from_smoltcp), self.neighbours.deadline(), self.streams.deadline()];
        due.into_iter().flatten().min()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        if !self.address_told {
            self.address_told = true;
            return Some(Event::Address(self.address.clone()));
        }
        let (stream, notice) = self.streams.next()?;
        Some(match notice {
            Notice::Accepted { port, from } => {
                Event::Accepted { port, stream, from: SocketAddr::V4(from) }
            }
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

    /// Our address, if we have one.
    pub fn address(&self) -> Option<&Address> {
        self.address.as_ref()
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// TCP streams in any state, and sockets of all kinds.
    pub fn usage(&self) -> (usize, usize) {
        (self.streams.count(), self.sockets.iter().count())
    }

    /// Accepts streams to this port from now on.
    ///
    /// # Errors
    ///
    /// If the port is 0 or listened on already, or there are too many listeners.
    pub fn listen(&mut self, port: u16) -> Result<(), ListenError> {
        self.streams.listen(port)
    }

    /// Accepts no more streams to this port; those that were live on.
    pub fn unlisten(&mut self, port: u16) {
        self.streams.unlisten(port);
    }

    /// Opens a stream. [`Event::Connected`] or [`Event::Closed`] follows within
    /// [`limit::DIAL_TIMEOUT`](crate::limit::DIAL_TIMEOUT).
    ///
    /// # Errors
    ///
    /// If it cannot even begin; nothing was done then.
    pub fn dial(&mut self, to: SocketAddr, now: Instant) -> Result<StreamId, DialError> {
        let own = self.address.as_ref().ok_or(DialError::NoAddress)?.address;
        let SocketAddr::V4(to) = to else { return Err(DialError::Invalid) };
        if to.port() == 0 || *to.ip() == own || to.ip().is_multicast() {
            return Err(DialError::Invalid);
        }
        let hop = match self.way(*to.ip()) {
            Way::Broadcast => return Err(DialError::Invalid),
            Way::Through(hop) => Some(hop),
            Way::None => None,
        };
        let port = self.ephemeral_port();
        let stream = self.streams.dial(to, port, &mut self.sockets, now)?;
        match hop {
            Some(hop) => _ = self.neighbours.want(hop, now),
            None => self.streams.end(stream, Closed::Unreachable, &mut self.sockets),
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
        self.streams.read(stream, out, bytes_max, &mut self.sockets)
    }

    /// Takes as many bytes as there is room for; says how many. If that leaves no room,
    /// [`Event::Writable`] follows when there is some again. They are sent by the next poll.
    ///
    /// # Errors
    ///
    /// If the stream is gone.
    pub fn write(&mut self, stream: StreamId, bytes: &[u8]) -> Result<usize, NoStream> {
        self.streams.write(stream, bytes, &mut self.sockets)
    }

    /// Bytes that a write would take now. If 0, [`Event::Writable`] follows.
    ///
    /// # Errors
    ///
    /// If the stream is gone.
    pub fn room(&mut self, stream: StreamId) -> Result<usize, NoStream> {
        self.streams.room(stream, &mut self.sockets)
    }

    /// Tells the peer that no more will be sent, after what was written. Reading goes on.
    ///
    /// # Errors
    ///
    /// If the stream is gone.
    pub fn finish(&mut self, stream: StreamId) -> Result<(), NoStream> {
        self.streams.finish(stream, &mut self.sockets)
    }

    /// Closes: delivers what was written within [`limit::LINGER`](crate::limit::LINGER) and
    /// discards what comes. The id is dead at once, no event follows.
    pub fn close(&mut self, stream: StreamId, now: Instant) {
        self.streams.close(stream, &mut self.sockets, now);
    }

    /// Resets: nothing more is delivered. The id is dead at once, no event follows.
    pub fn abort(&mut self, stream: StreamId, now: Instant) {
        self.streams.abort(stream, &mut self.sockets, now);
    }

    /// A socket for datagrams to and from this port, broadcasts included.
    ///
    /// # Errors
    ///
    /// If the port is 0 or bound already, or there are too many sockets.
    pub fn bind(&mut self, port: u16) -> Result<UdpId, BindError> {
        self.datagrams.bind(port, &mut self.sockets)
    }

    /// Frees a datagram socket.
    pub fn unbind(&mut self, socket: UdpId) {
        self.datagrams.unbind(socket, &mut self.sockets);
    }

    /// Sends a datagram with the next poll, or once its neighbour answers. To
    /// `255.255.255.255` or the network's broadcast address it goes to everybody on the link.
    ///
    /// # Errors
    ///
    /// If it cannot be sent; it is dropped then.
    pub fn send_to(
        &mut self,
        socket: UdpId,
        to: SocketAddr,
        bytes: &[u8],
        now: Instant,
    ) -> Result<(), DatagramError> {
        let result = self.try_send_to(socket, to, bytes, now);
        self.counters.datagrams_dropped += u64::from(result.is_err());
        result
    }

    /// Takes the next received datagram into `out`, which is overwritten; gives its sender.
    pub fn receive_from(&mut self, socket: UdpId, out: &mut Vec<u8>) -> Option<SocketAddr> {
        self.datagrams.receive(socket, out, &mut self.sockets)
    }

    /// Whether any datagram waits to be taken.
    pub fn has_datagram(&self) -> bool {
        self.datagrams.readable(&self.sockets)
    }

    fn try_send_to(
        &mut self,
        socket: UdpId,
        to: SocketAddr,
        bytes: &[u8],
        now: Instant,
    ) -> Result<(), DatagramError> {
        let SocketAddr::V4(to) = to else { return Err(DatagramError::Unreachable) };
        if self.address.is_none() {
            return Err(DatagramError::NoAddress);
        }
        if to.port() == 0 || to.ip().is_unspecified() {
            return Err(DatagramError::Unreachable);
        }
        if bytes.len() + IPV4_UDP_HEADER_BYTES > self.link.mtu {
            return Err(DatagramError::TooLong);
        }
        let hop = match self.way(*to.ip()) {
            Way::Broadcast => return self.datagrams.send(socket, to, bytes, &mut self.sockets),
            Way::Through(hop) => hop,
            Way::None => return Err(DatagramError::Unreachable),
        };
        match self.neighbours.want(hop, now) {
            Answer::Known => self.datagrams.send(socket, to, bytes, &mut self.sockets),
            Answer::Asking => self.datagrams.hold(socket, hop, to, bytes),
            Answer::Silent => Err(DatagramError::Full),
        }
    }

    /// A local port that no stream uses: the first free one from a random start. There are many
    /// more ports than streams, so one is free.
    fn ephemeral_port(&mut self) -> u16 {
        let ports = u32::from(u16::MAX - EPHEMERAL_PORT_FIRST) + 1;
        let start = self.random.next_u32() % ports;
        let nth = |step: u32| EPHEMERAL_PORT_FIRST + ((start + step) % ports) as u16;
        let free = |port: &u16| !self.streams.uses_port(*port) && !self.streams.listens(*port);
        (0..ports).map(nth).find(free).unwrap_or(EPHEMERAL_PORT_FIRST)
    }
}

/// The address with its group bit cleared: smoltcp panics on one that is no host's.
fn unicast(mac: [u8; 6]) -> [u8; 6] {
    let [first, rest @ ..] = mac;
    let mut address = [first & !1, 0, 0, 0, 0, 0];
    address[1..].copy_from_slice(&rest);
    address
}

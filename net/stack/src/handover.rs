//! Into smoltcp and out of it: connections that it did not see begin, or need not see end.
//!
//! smoltcp has no way to be given a connection, and draws the first sequence number of each from a
//! plain generator. Both are got round without changing it, by a second interface that exists for
//! the moment ([`Bench`]) and talks to nobody:
//!
//! - its generator is seeded so that the number that it draws next is the one that we want, since
//!   the generator can be run backwards ([`seed_for`]);
//! - [`adopt`] gives it the SYN that was answered long ago, lets it answer into the void, and
//!   checks that it would have said what was said. The socket then stands where the peer believes
//!   it to be;
//! - [`retire`] asks a socket in TIME-WAIT to reset the connection into the void, and reads the
//!   sequence numbers off the reset.
//!
//! What is relied on (the generator's constants, and that making an interface draws once) is
//! checked each time and by the tests of this file: a newer smoltcp that differs fails there.

use crate::adapter::{Header, Port, Void};
use crate::clock;
use crate::emit::Bare;
use crate::handshake::HalfOpen;
use crate::sight::{self, Kind, Segment};
use crate::stream::{Buffers, NoMemory, new_socket};
use crate::tuple::Tuple;
use alloc::vec::Vec;
use core::net::IpAddr;
use craton_abi::Instant;
use smoltcp::iface::{
    Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet,
};
use smoltcp::phy::DeviceCapabilities;
use smoltcp::socket::tcp::Socket;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, IpEndpoint, TcpControl};

/// The constants of smoltcp's generator (`rand.rs`: a linear congruence, permuted).
const MULTIPLIER: u64 = 0xbb2e_fcec_3c39_611d;
const INCREMENT: u64 = 0x7590_ef39;
const MULTIPLIER_INVERSE: u64 = inverse(MULTIPLIER);
/// How far the state is shifted for output when its top three bits are zero.
const SHIFT: u32 = 29;

/// Frames into the void have a source all the same, or they would not be looked at.
const HEADER: Header =
    Header { to: EthernetAddress([0; 6]), from: EthernetAddress([2, 0, 0, 0, 0, 0]) };

/// The inverse of an odd number modulo 2^64: Newton's iteration doubles the right bits.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut step = 0;
    while step < 6 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
}

/// A seed with which an interface, once made, draws `number` next.
fn seed_for(number: u32) -> u64 {
    let back = |state: u64| state.wrapping_sub(INCREMENT).wrapping_mul(MULTIPLIER_INVERSE);
    // The low bits of the state do not show in the number, so they are free: making the interface
    // draws sixteen bits, and again if they are zero.
    let before = |low: u64| back(u64::from(number) << SHIFT | low);
    let drawn = |state: u64| {
        let number = (state >> (SHIFT - (state >> 61) as u32)) as u32;
        (number ^ (number >> 16)) as u16
    };
    let low = (0..1 << SHIFT).find(|low| drawn(before(*low)) != 0).unwrap_or(0);
    back(before(low))
}

/// An interface for the moment, and the void that it talks to.
struct Bench<'a> {
    interface: Interface,
    capabilities: &'a DeviceCapabilities,
    void: Void,
}

impl<'a> Bench<'a> {
    /// One with this address, which draws `number` next.
    fn new(
        capabilities: &'a DeviceCapabilities,
        local: IpAddr,
        number: u32,
        now: Instant,
    ) -> Bench<'a> {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed_for(number);
        let mut void = Void::default();
        let mut port = port(None, &mut void, capabilities);
        let mut interface = Interface::new(config, &mut port, clock::to_smoltcp(now));
        interface.update_ip_addrs(|addresses| {
            let bits = if local.is_ipv4() { 32 } else { 128 };
            // The list holds several and is empty.
            let _: Result<(), IpCidr> = addresses.push(IpCidr::new(local.into(), bits));
        });
        Bench { interface, capabilities, void }
    }

    fn receive(&mut self, packet: &[u8], sockets: &mut SocketSet<'static>, now: Instant) {
        let mut port = port(Some(packet), &mut self.void, self.capabilities);
        let now = clock::to_smoltcp(now);
        let _: PollIngressSingleResult =
            self.interface.poll_ingress_single(now, &mut port, sockets);
    }

    /// Lets a socket send, and gives what it sent.
    fn send(&mut self, sockets: &mut SocketSet<'static>, now: Instant) -> Option<Segment> {
        let mut port = port(None, &mut self.void, self.capabilities);
        let now = clock::to_smoltcp(now);
        let _: PollResult = self.interface.poll_egress(now, &mut port, sockets);
        match sight::look(&self.void.last).kind {
            Kind::Tcp(segment, _) => Some(segment),
            _ => None,
        }
    }
}

fn port<'a>(
    received: Option<&'a [u8]>,
    void: &'a mut Void,
    capabilities: &'a DeviceCapabilities,
) -> Port<'a, Void> {
    void.last.clear();
    Port {
        received,
        header: Some(HEADER),
        transmitter: void,
        capabilities,
        by_device: false,
        highest: None,
    }
}

/// A socket of one connection, in a set of its own.
pub(crate) struct Seat {
    pub(crate) sockets: SocketSet<'static>,
    pub(crate) handle: SocketHandle,
}

impl Seat {
    pub(crate) fn new(buffers: Buffers) -> Result<Seat, NoMemory> {
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(new_socket(buffers)?);
        Ok(Seat { sockets, handle })
    }

    pub(crate) fn socket(&self) -> &Socket<'static> {
        self.sockets.get(self.handle)
    }

    pub(crate) fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }
}

/// The answer to a SYN: what smoltcp will believe that it said.
pub(crate) fn answer(half: &HalfOpen, buffers: Buffers, mtu: usize) -> Bare {
    let header_bytes = if half.tuple.local.is_ipv4() { 40 } else { 60 };
    let capacity = buffers.bytes();
    // The window is said in as many bits as a scale of at most 14 leaves (RFC 7323).
    let scale = (usize::BITS - capacity.leading_zeros()).saturating_sub(16) as u8;
    Bare {
        tuple: half.tuple,
        control: TcpControl::Syn,
        sequence: half.ours,
        acknowledges: Some(half.theirs.wrapping_add(1)),
        window: u16::try_from(capacity).unwrap_or(u16::MAX),
        segment_bytes_max: Some(mtu.saturating_sub(header_bytes) as u16),
        window_scale: half.offers.window_scale.map(|_| scale),
        selective: half.offers.selective,
    }
}

/// Why a connection was not adopted.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum NotAdopted {
    /// There is no memory for its buffers.
    Memory,
    /// smoltcp would have answered otherwise.
    Differs,
}

/// A socket that stands where the answered peer believes it to be; the acknowledgement that
/// completes the handshake is still to be given to it.
pub(crate) fn adopt(
    half: &HalfOpen,
    buffers: Buffers,
    capabilities: &DeviceCapabilities,
) -> Result<Seat, NotAdopted> {
    let mut seat = Seat::new(buffers).map_err(|_| NotAdopted::Memory)?;
    let Tuple { local, remote } = half.tuple;
    let endpoint = IpEndpoint::new(local.ip().into(), local.port());
    seat.socket_mut().listen(endpoint).map_err(|_| NotAdopted::Differs)?;
    // As of when the peer was answered, so that the round trip is measured.
    let at = half.answered_at;
    let mut bench = Bench::new(capabilities, local.ip(), half.ours, at);
    let syn = Bare {
        tuple: Tuple { local: remote, remote: local },
        control: TcpControl::Syn,
        sequence: half.theirs,
        acknowledges: None,
        window: half.window,
        segment_bytes_max: half.offers.segment_bytes_max,
        window_scale: half.offers.window_scale,
        selective: half.offers.selective,
    };
    bench.receive(&syn.packet(), &mut seat.sockets, at);
    let said = bench.send(&mut seat.sockets, at).ok_or(NotAdopted::Differs)?;
    let same = said.syn
        && said.sequence == half.ours
        && said.acknowledges == Some(half.theirs.wrapping_add(1));
    if same { Ok(seat) } else { Err(NotAdopted::Differs) }
}

/// Begins to dial with this first sequence number.
pub(crate) fn connect(
    seat: &mut Seat,
    tuple: &Tuple,
    number: u32,
    capabilities: &DeviceCapabilities,
    now: Instant,
) -> bool {
    let mut bench = Bench::new(capabilities, tuple.local.ip(), number, now);
    let local = IpEndpoint::new(tuple.local.ip().into(), tuple.local.port());
    let remote = IpEndpoint::new(tuple.remote.ip().into(), tuple.remote.port());
    seat.socket_mut().connect(bench.interface.context(), remote, local).is_ok()
}

/// The next sequence numbers, ours and theirs, of a connection whose socket is not needed any more.
pub(crate) fn retire(
    mut seat: Seat,
    tuple: &Tuple,
    capabilities: &DeviceCapabilities,
    now: Instant,
) -> Option<(u32, u32)> {
    seat.socket_mut().abort();
    let mut bench = Bench::new(capabilities, tuple.local.ip(), 0, now);
    let said = bench.send(&mut seat.sockets, now)?;
    Some((said.sequence, said.acknowledges?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::packet_capabilities;
    use crate::device::{Link, Segments};
    use crate::handshake::Handshakes;
    use crate::sight::Offers;
    use crate::tuple::Steer;
    use core::net::SocketAddr;

    fn link() -> Link {
        Link {
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            checksum_transmit: false,
            segments_bytes_max: Segments::default(),
        }
    }

    fn tuple(text: &str) -> Tuple {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (local, remote) = text.split_once(' ').expect("two");
        Tuple { local: address(local), remote: address(remote) }
    }

    /// What was said to the peer is, byte by byte, what smoltcp believes that it said.
    #[test]
    fn an_adopted_socket_believes_what_was_said() {
        let mut handshakes = Handshakes::new(Steer::new([3; 16], 1));
        let offers = [
            Offers::default(),
            Offers { segment_bytes_max: Some(1_460), window_scale: Some(7), selective: true },
            Offers { segment_bytes_max: Some(1_220), window_scale: None, selective: true },
            Offers { segment_bytes_max: Some(536), window_scale: Some(0), selective: false },
        ];
        let capabilities = packet_capabilities(&link());
        let tuples = ["10.0.0.1:80 10.0.0.2:999", "[fd00::1]:80 [fd00::2]:999"];
        for number in 0..200_u32 {
            let syn = Segment {
                tuple: tuple(tuples[number as usize % 2]),
                sequence: number.wrapping_mul(0x9e37_79b9),
                acknowledges: None,
                syn: true,
                fin: false,
                reset: false,
                window: 1_000,
                payload_bytes: 0,
                offers: offers[number as usize % 4],
            };
            let buffers = if number % 3 == 0 { Buffers::Small } else { Buffers::Bulk };
            let half = handshakes.begin(&syn, HEADER.to, Instant::from_nanos(5));
            let seat = adopt(&half, buffers, &capabilities);
            let Ok(mut seat) = seat else { panic!("number {number}: it differs") };
            let mut bench = Bench::new(&capabilities, syn.tuple.local.ip(), 0, half.answered_at);
            // Nobody acknowledged, so it is said again after a second.
            let later = half.answered_at + craton_abi::Duration::from_secs(2);
            bench.send(&mut seat.sockets, later).expect("it is said again");
            let header_bytes = if half.tuple.local.is_ipv4() { 20 } else { 40 };
            let mut said = answer(&half, buffers, 1500).packet();
            let believed = &mut bench.void.last[crate::adapter::ETHERNET_BYTES..];
            // Checksums are made on the way out.
            for packet in [&mut said[..], &mut *believed] {
                packet[header_bytes + 16..header_bytes + 18].fill(0);
            }
            assert_eq!(*believed, said, "number {number}");
        }
    }

    #[test]
    fn any_number_can_be_drawn_next() {
        let capabilities = packet_capabilities(&link());
        let tuple = tuple("10.0.0.1:80 10.0.0.2:999");
        for number in (0..400_u32).map(|n| n.wrapping_mul(0x0101_0db3)).chain([0, u32::MAX]) {
            let Ok(mut seat) = Seat::new(Buffers::Small) else { panic!("no memory") };
            let now = Instant::from_nanos(1_000_000);
            assert!(connect(&mut seat, &tuple, number, &capabilities, now));
            let mut bench = Bench::new(&capabilities, tuple.local.ip(), 7, now);
            let syn = bench.send(&mut seat.sockets, now).expect("a SYN");
            assert_eq!((syn.sequence, syn.syn), (number, true));
        }
    }
}

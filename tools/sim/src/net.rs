//! The virtual network: datagrams and byte streams between machines, with faults.
//!
//! Owns [`Net`]: which way is open, slow or cut, and every connection with what is under way on it.
//! It schedules nothing itself; it answers when something arrives.

use crate::random::Random;
use craton_abi::{Duration, Instant};
use craton_session::ConnId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Machines of a cluster.
pub(crate) const NODES: usize = 4;
/// Where the operator sits.
pub(crate) const OPERATOR: Place = NODES;
/// Bytes that may be under way in one direction of a connection.
pub(crate) const FLIGHT_BYTES_MAX: usize = 256 << 10;

/// A machine, by number; the operator's is the last.
pub(crate) type Place = usize;

pub(crate) fn address(place: Place) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, place as u8 + 1))
}

/// Whose address it is; `None` for a broadcast or nobody's.
pub(crate) fn place_of(address: SocketAddr) -> Option<Place> {
    match address.ip() {
        IpAddr::V4(ip) if ip.octets()[..3] == [10, 0, 0] => {
            usize::from(ip.octets()[3]).checked_sub(1)
        }
        _ => None,
    }
}

/// What a cut stops.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) enum Ways {
    All,
    /// Connections only: membership goes on.
    Streams,
    /// Datagrams only: sessions go on.
    Datagrams,
}

/// One end of a connection.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) struct End {
    pub(crate) place: Place,
    /// Which boot of the machine.
    pub(crate) boot: u32,
    pub(crate) conn: ConnId,
}

/// A TCP connection. Side 0 dialled.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) ends: [End; 2],
    /// Bytes under way from each side.
    pub(crate) flight: [usize; 2],
    /// What was sent last from each side arrives then; nothing overtakes it.
    pub(crate) arrives: [Instant; 2],
    /// The side has bytes that found no room.
    pub(crate) stalled: [bool; 2],
}

pub(crate) struct Net {
    pub(crate) streams: BTreeMap<u64, Stream>,
    stream_next: u64,
    /// Ends that were closed before their connection came to be.
    pub(crate) given_up: BTreeSet<End>,
    /// Ordered pairs of places between which something does not pass.
    cut: BTreeSet<(Place, Place, Ways)>,
    /// Pairs on whose way bytes stand still until then; datagrams are lost.
    held: BTreeMap<(Place, Place), Instant>,
    pub(crate) loss_percent: u64,
    pub(crate) duplicate_percent: u64,
    pub(crate) delay_max: Duration,
}

impl Net {
    pub(crate) fn new() -> Self {
        Net {
            streams: BTreeMap::new(),
            stream_next: 0,
            given_up: BTreeSet::new(),
            cut: BTreeSet::new(),
            held: BTreeMap::new(),
            loss_percent: 0,
            duplicate_percent: 0,
            delay_max: Duration::from_millis(1),
        }
    }

    /// Whether the bytes of connections pass.
    pub(crate) fn is_open(&self, from: Place, to: Place) -> bool {
        self.passes(from, to, Ways::Streams)
    }

    fn passes(&self, from: Place, to: Place, ways: Ways) -> bool {
        [Ways::All, ways].iter().all(|ways| !self.cut.contains(&(from, to, *ways)))
    }

    pub(crate) fn cut(&mut self, from: Place, to: Place, ways: Ways) {
        self.cut.insert((from, to, ways));
    }

    pub(crate) fn mend(&mut self, a: Place, b: Place) {
        self.cut.retain(|(from, to, _)| (*from, *to) != (a, b) && (*from, *to) != (b, a));
    }

    pub(crate) fn hold(&mut self, a: Place, b: Place, until: Instant) {
        self.held.insert((a, b), until);
        self.held.insert((b, a), until);
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.held.clear();
        self.loss_percent = 0;
        self.duplicate_percent = 0;
        self.delay_max = Duration::from_millis(1);
    }

    fn delay(&self, random: &mut Random) -> Duration {
        random.between(Duration::from_micros(50), self.delay_max)
    }

    /// When copies of a datagram arrive; never, if it is lost.
    pub(crate) fn datagram(
        &self,
        from: Place,
        to: Place,
        now: Instant,
        random: &mut Random,
    ) -> Vec<Instant> {
        let held = self.held.get(&(from, to)).is_some_and(|until| *until > now);
        if held || !self.passes(from, to, Ways::Datagrams) || random.chance(self.loss_percent) {
            return Vec::new();
        }
        let copies = 1 + usize::from(random.chance(self.duplicate_percent));
        (0..copies).map(|_| now + self.delay(random)).collect()
    }

    /// When something small arrives that TCP repeats until it does: `None` if the way is cut.
    pub(crate) fn control(
        &self,
        from: Place,
        to: Place,
        now: Instant,
        random: &mut Random,
    ) -> Option<Instant> {
        let start = self.held.get(&(from, to)).map_or(now, |until| now.max(*until));
        self.is_open(from, to).then(|| start + self.delay(random))
    }

    pub(crate) fn connect(&mut self, ends: [End; 2], now: Instant) -> u64 {
        self.stream_next += 1;
        let stream = Stream { ends, flight: [0; 2], arrives: [now; 2], stalled: [false; 2] };
        self.streams.insert(self.stream_next, stream);
        self.stream_next
    }

    /// The connection of which a machine knows one end by this name, and which side it is.
    pub(crate) fn find(&self, place: Place, boot: u32, conn: ConnId) -> Option<(u64, usize)> {
        self.streams.iter().find_map(|(id, stream)| {
            let is = |end: &End| (end.place, end.boot, end.conn) == (place, boot, conn);
            stream.ends.iter().position(is).map(|side| (*id, side))
        })
    }

    /// Puts bytes under way: when they arrive. `None` if the way is cut: they wait, as in TCP.
    pub(crate) fn send(
        &mut self,
        id: u64,
        side: usize,
        bytes: usize,
        now: Instant,
        random: &mut Random,
    ) -> Option<Instant> {
        let stream = self.streams.get(&id)?;
        let (from, to) = (stream.ends[side].place, stream.ends[1 - side].place);
        let arrives = self.control(from, to, now, random)?;
        let stream = self.streams.get_mut(&id)?;
        stream.flight[side] += bytes;
        stream.arrives[side] = stream.arrives[side].max(arrives);
        Some(stream.arrives[side])
    }
}

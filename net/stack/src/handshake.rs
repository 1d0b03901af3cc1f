//! Connections that are being opened to us: no socket, no buffer before the peer has answered.
//!
//! Owns [`Handshakes`], a bounded table of SYNs that were answered, and the sequence numbers of the
//! answers. A number is a keyed hash of the connection (RFC 6528) whose low byte says what the SYN
//! offered, so that the peer's acknowledgement alone proves that it was answered and tells how to
//! go on: what a flood pushes out of the table completes nevertheless (RFC 4987, SYN cookies), with
//! its segment size rounded down. What is in the table loses nothing, and its answer is repeated.
//!
//! ```text
//!              SYN (1)                 acknowledgement (2)
//!  (nothing) ──────────▶ answered ──────────────────────────▶ handed to a stream
//!      ▲  │               │  │ ▲
//!      │  │               │  └─┘ silence: answered again (3)
//!      │  └──── (5) ──────┼──────────────────────────────────▶ handed to a stream
//!      └──────────────────┘  reset, tries used up, or the oldest of too many (4)
//! ```
//!
//! (5) is the acknowledgement of an answer that the table forgot.

use crate::limit;
use crate::sight::{Offers, Segment};
use crate::tuple::{Steer, Tuple};
use alloc::collections::{BTreeMap, BTreeSet};
use craton_abi::{Duration, Instant};
use hashbrown::HashMap;
use smoltcp::wire::EthernetAddress;

/// The segment sizes that a number can tell: those of common links, and what IPv4 and IPv6 promise.
const SEGMENT_BYTES: [u16; 8] = [536, 1_220, 1_300, 1_380, 1_420, 1_440, 1_460, 8_940];
/// A window scale that was not offered.
const NO_SCALE: u8 = 15;
/// How long a number proves something: this and the time before.
const ERA: Duration = Duration::from_secs(64);

/// A connection that was answered.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct HalfOpen {
    pub(crate) tuple: Tuple,
    /// Where the answer went.
    pub(crate) mac: EthernetAddress,
    /// The peer's first sequence number, and ours.
    pub(crate) theirs: u32,
    pub(crate) ours: u32,
    pub(crate) window: u16,
    pub(crate) offers: Offers,
    /// When it was last answered.
    pub(crate) answered_at: Instant,
    answered: u8,
}

/// All connections that are being opened to us.
pub(crate) struct Handshakes {
    steer: Steer,
    serials: HashMap<Tuple, u64, Steer>,
    waiting: BTreeMap<u64, HalfOpen>,
    repeats: BTreeSet<(Instant, u64)>,
    last_serial: u64,
    /// Those that made room for others.
    pub(crate) evicted: u64,
}

impl Handshakes {
    /// `secret` steers nothing: it makes numbers, and must not be known outside.
    pub(crate) fn new(secret: Steer) -> Self {
        Handshakes {
            serials: HashMap::with_hasher(secret.clone()),
            steer: secret,
            waiting: BTreeMap::new(),
            repeats: BTreeSet::new(),
            last_serial: 0,
            evicted: 0,
        }
    }

    /// Connections in the table.
    pub(crate) fn count(&self) -> usize {
        self.waiting.len()
    }

    /// Notes a SYN; what comes back is to be answered.
    pub(crate) fn begin(&mut self, syn: &Segment, mac: EthernetAddress, now: Instant) -> HalfOpen {
        self.forget(&syn.tuple);
        if self.waiting.len() >= limit::HANDSHAKES_MAX
            && let Some((_, oldest)) = self.waiting.first_key_value()
        {
            let oldest = oldest.tuple;
            self.forget(&oldest);
            self.evicted += 1;
        }
        let half = HalfOpen {
            tuple: syn.tuple,
            mac,
            theirs: syn.sequence,
            ours: self.number(&syn.tuple, syn.sequence, encode(&syn.offers), era(now)),
            window: syn.window,
            offers: syn.offers,
            answered_at: now,
            answered: 1,
        };
        self.last_serial += 1;
        let serial = self.last_serial;
        self.serials.insert(syn.tuple, serial);
        self.waiting.insert(serial, half);
        self.repeats.insert((now + limit::HANDSHAKE_RETRY, serial));
        half
    }

    /// The connection that this segment completes, if it does. It stays until it is
    /// [forgotten](Self::forget).
    pub(crate) fn complete(&self, segment: &Segment, now: Instant) -> Option<HalfOpen> {
        if segment.syn || segment.reset {
            return None;
        }
        let ours = segment.acknowledges?.wrapping_sub(1);
        let half = self.serials.get(&segment.tuple).and_then(|serial| self.waiting.get(serial));
        if let Some(half) = half {
            // What was sent first may come second, but not from beyond the window.
            let ahead = segment.sequence.wrapping_sub(half.theirs).wrapping_sub(1);
            let fits = half.ours == ours && ahead < u32::from(u16::MAX);
            return fits.then_some(*half);
        }
        let theirs = segment.sequence.wrapping_sub(1);
        let offers = decode(ours as u8);
        let proves = |era| self.number(&segment.tuple, theirs, ours as u8, era) == ours;
        let fits = proves(era(now)) || era(now).checked_sub(1).is_some_and(proves);
        fits.then_some(HalfOpen {
            tuple: segment.tuple,
            mac: EthernetAddress([0; 6]),
            theirs,
            ours,
            window: segment.window,
            offers,
            answered_at: now,
            answered: 1,
        })
    }

    /// A reset takes a connection back, if it is the peer's own.
    pub(crate) fn reset(&mut self, segment: &Segment) {
        let serial = self.serials.get(&segment.tuple);
        let half = serial.and_then(|serial| self.waiting.get(serial));
        if half.is_some_and(|half| segment.sequence == half.theirs.wrapping_add(1)) {
            self.forget(&segment.tuple);
        }
    }

    /// Forgets a connection.
    pub(crate) fn forget(&mut self, tuple: &Tuple) {
        let Some(serial) = self.serials.remove(tuple) else { return };
        if let Some(half) = self.waiting.remove(&serial) {
            self.repeats.remove(&(half.repeat_at(), serial));
        }
        self.give_back();
    }

    /// After a flood the table is as small as before.
    fn give_back(&mut self) {
        if self.serials.is_empty() {
            self.serials.shrink_to_fit();
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.serials.clear();
        self.waiting.clear();
        self.repeats.clear();
    }

    /// The next connection to be answered again, which counts as answered. Those that were answered
    /// often enough are forgotten.
    pub(crate) fn repeat(&mut self, now: Instant) -> Option<HalfOpen> {
        while let Some((_, serial)) = self.repeats.first().filter(|(at, _)| *at <= now).copied() {
            self.repeats.pop_first();
            let Some(half) = self.waiting.get_mut(&serial) else { continue };
            if half.answered == limit::HANDSHAKE_TRIES {
                let tuple = half.tuple;
                self.serials.remove(&tuple);
                self.waiting.remove(&serial);
                self.give_back();
                continue;
            }
            half.answered += 1;
            half.answered_at = now;
            self.repeats.insert((half.repeat_at(), serial));
            return Some(*half);
        }
        None
    }

    /// When an answer is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.repeats.first().map(|(at, _)| *at)
    }

    fn number(&self, tuple: &Tuple, theirs: u32, offers: u8, era: u64) -> u32 {
        let hash = self.steer.secret(tuple, &[u64::from(theirs), u64::from(offers), era]);
        (hash as u32) << 8 | u32::from(offers)
    }
}

impl HalfOpen {
    fn repeat_at(&self) -> Instant {
        let backoff = 1_u64 << (self.answered - 1);
        self.answered_at + limit::HANDSHAKE_RETRY.saturating_mul(backoff)
    }
}

fn era(now: Instant) -> u64 {
    now.as_nanos() / ERA.as_nanos()
}

/// What a SYN offered, in a byte: segment size (3 bits), selective acknowledgement, window scale.
fn encode(offers: &Offers) -> u8 {
    let offered = offers.segment_bytes_max.unwrap_or(SEGMENT_BYTES[0]);
    let size = SEGMENT_BYTES.iter().rposition(|size| *size <= offered).unwrap_or(0);
    let scale = offers.window_scale.map_or(NO_SCALE, |scale| scale.min(NO_SCALE - 1));
    (size as u8) << 5 | u8::from(offers.selective) << 4 | scale
}

fn decode(byte: u8) -> Offers {
    let scale = byte & 0xf;
    Offers {
        segment_bytes_max: Some(SEGMENT_BYTES[usize::from(byte >> 5)]),
        window_scale: (scale != NO_SCALE).then_some(scale),
        selective: byte & 0x10 != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::SocketAddr;

    fn syn(number: u32) -> Segment {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let mut remote = address("192.0.2.1:1024");
        remote.set_port(1024 + (number % 60_000) as u16);
        Segment {
            tuple: Tuple { local: address("192.0.2.9:80"), remote },
            sequence: number.wrapping_mul(77_777),
            acknowledges: None,
            syn: true,
            fin: false,
            reset: false,
            window: 64_000,
            payload_bytes: 0,
            offers: Offers {
                segment_bytes_max: Some(1_460),
                window_scale: Some(7),
                selective: true,
            },
        }
    }

    fn answer(half: &HalfOpen) -> Segment {
        Segment {
            syn: false,
            sequence: half.theirs.wrapping_add(1),
            acknowledges: Some(half.ours.wrapping_add(1)),
            offers: Offers::default(),
            ..Segment { tuple: half.tuple, ..syn(0) }
        }
    }

    fn table() -> Handshakes {
        Handshakes::new(Steer::new([7; 16], 1))
    }

    const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);

    #[test]
    fn what_the_table_forgot_completes_by_its_number() {
        let mut table = table();
        let start = Instant::from_nanos(1);
        let all: [HalfOpen; 20] = core::array::from_fn(|n| table.begin(&syn(n as u32), MAC, start));
        table.clear();
        for half in &all {
            let later = start + ERA;
            let again = table.complete(&answer(half), later).expect("the number proves it");
            assert_eq!(
                (again.theirs, again.ours, again.offers),
                (half.theirs, half.ours, half.offers)
            );
            let stale = later + ERA;
            assert_eq!(table.complete(&answer(half), stale), None);
            for wrong in [1, 1 << 8, 1 << 20] {
                let mut forged = answer(half);
                forged.acknowledges = forged.acknowledges.map(|number| number.wrapping_add(wrong));
                assert_eq!(table.complete(&forged, start), None);
                let mut forged = answer(half);
                forged.sequence = forged.sequence.wrapping_add(wrong);
                assert_eq!(table.complete(&forged, start), None);
            }
        }
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut table = table();
        let now = Instant::from_nanos(1);
        for n in 0..limit::HANDSHAKES_MAX as u32 + 10 {
            table.begin(&syn(n), MAC, now);
        }
        assert_eq!((table.count(), table.evicted), (limit::HANDSHAKES_MAX, 10));
        assert!(!table.serials.contains_key(&syn(9).tuple));
        assert!(table.serials.contains_key(&syn(10).tuple));
        assert_eq!(table.repeats.len(), table.count());
    }

    #[test]
    fn a_silent_peer_is_answered_a_few_times_and_forgotten() {
        let mut table = table();
        let mut now = Instant::from_nanos(0);
        table.begin(&syn(1), MAC, now);
        let mut times = alloc::vec::Vec::new();
        while let Some(at) = table.deadline() {
            now = at;
            if table.repeat(now).is_some() {
                times.push(now.as_millis());
            }
        }
        assert_eq!(times, [1_000, 3_000, 7_000]);
        assert_eq!((table.count(), table.serials.len()), (0, 0));
    }

    #[test]
    fn sizes_round_down() {
        for (offered, told) in
            [(None, 536), (Some(1), 536), (Some(1_459), 1_440), (Some(9_000), 8_940)]
        {
            let offers = Offers { segment_bytes_max: offered, ..Offers::default() };
            assert_eq!(decode(encode(&offers)).segment_bytes_max, Some(told));
        }
    }
}

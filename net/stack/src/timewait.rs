//! TIME-WAIT without a socket: closed connections whose pair of ports must rest.
//!
//! Owns [`TimeWaits`], a bounded table of two sequence numbers for each connection. A late or
//! repeated FIN is acknowledged, old duplicates are refused, only an exact reset ends the rest
//! (RFC 1337, RFC 5961), and a SYN that is surely new begins another life (RFC 9293, 3.10.7.4).

use crate::limit;
use crate::sight::Segment;
use crate::tuple::{Steer, Tuple};
use alloc::collections::VecDeque;
use craton_abi::Instant;
use hashbrown::HashMap;

/// Connections that rest. They are known by a keyed hash of their ends, so that each costs forty
/// bytes: among 2^64 no two of a few thousand meet, nor can anybody make them.
pub(crate) struct TimeWaits {
    steer: Steer,
    resting: HashMap<u64, Rest, Steer>,
    /// In the order in which they came; those that rest anew are in it twice.
    order: VecDeque<(Instant, u64)>,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
struct Rest {
    /// The next sequence number of ours, and of theirs.
    ours: u32,
    theirs: u32,
    until: Instant,
}

/// What a segment for a resting connection leads to.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// There is no such connection.
    None,
    /// Acknowledge: our number, theirs.
    Acknowledge(u32, u32),
    /// Say nothing.
    Ignore,
    /// It opens a new connection; the old one is forgotten.
    New,
}

impl TimeWaits {
    pub(crate) fn new(steer: Steer) -> Self {
        let resting = HashMap::with_hasher(steer.clone());
        TimeWaits { steer, resting, order: VecDeque::new() }
    }

    /// Connections that rest.
    pub(crate) fn count(&self) -> usize {
        self.resting.len()
    }

    /// Whether a pair of ports rests.
    pub(crate) fn contains(&self, tuple: &Tuple) -> bool {
        self.resting.contains_key(&self.steer.secret(tuple, &[]))
    }

    /// Lets a connection rest.
    pub(crate) fn add(&mut self, tuple: &Tuple, ours: u32, theirs: u32, now: Instant) {
        while self.resting.len() >= limit::TIME_WAITS_MAX {
            let Some((_, oldest)) = self.order.pop_front() else { break };
            self.resting.remove(&oldest);
        }
        let until = now + limit::TIME_WAIT;
        let key = self.steer.secret(tuple, &[]);
        self.resting.insert(key, Rest { ours, theirs, until });
        self.order.push_back((until, key));
    }

    /// Forgets those that rested long enough.
    pub(crate) fn expire(&mut self, now: Instant) {
        let before = self.order.len();
        while let Some((_, key)) = self.order.front().filter(|(until, _)| *until <= now) {
            if self.resting.get(key).is_some_and(|rest| rest.until <= now) {
                self.resting.remove(key);
            }
            self.order.pop_front();
        }
        if self.order.is_empty() && before > 0 {
            self.resting.shrink_to_fit();
            self.order.shrink_to_fit();
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.resting.clear();
        self.order.clear();
    }

    /// What a segment leads to. `listens`: a new connection would find a listener.
    pub(crate) fn judge(&mut self, segment: &Segment, listens: bool) -> Verdict {
        if self.resting.is_empty() {
            return Verdict::None;
        }
        let key = self.steer.secret(&segment.tuple, &[]);
        let Some(rest) = self.resting.get(&key).copied() else { return Verdict::None };
        if segment.reset {
            // The peer opens anew from where we would not have it, and was told where we stand.
            if segment.sequence == rest.theirs {
                self.resting.remove(&key);
            }
            return Verdict::Ignore;
        }
        let newer = (segment.sequence.wrapping_sub(rest.theirs) as i32) > 0;
        if segment.syn && segment.acknowledges.is_none() && newer && listens {
            self.resting.remove(&key);
            return Verdict::New;
        }
        // A bare acknowledgement of all is what is expected; anything else shows a peer that has
        // not heard ours.
        let expected = segment.sequence == rest.theirs
            && segment.acknowledges == Some(rest.ours)
            && segment.payload_bytes == 0
            && !segment.fin
            && !segment.syn;
        if expected { Verdict::Ignore } else { Verdict::Acknowledge(rest.ours, rest.theirs) }
    }
}

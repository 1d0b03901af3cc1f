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

/// Connections that rest.
pub(crate) struct TimeWaits {
    resting: HashMap<Tuple, Rest, Steer>,
    /// In the order in which they came; those that rest anew are in it twice.
    order: VecDeque<(Instant, Tuple)>,
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
        TimeWaits { resting: HashMap::with_hasher(steer), order: VecDeque::new() }
    }

    /// Connections that rest.
    pub(crate) fn count(&self) -> usize {
        self.resting.len()
    }

    /// Whether a pair of ports rests.
    pub(crate) fn contains(&self, tuple: &Tuple) -> bool {
        self.resting.contains_key(tuple)
    }

    /// Lets a connection rest.
    pub(crate) fn add(&mut self, tuple: Tuple, ours: u32, theirs: u32, now: Instant) {
        while self.resting.len() >= limit::TIME_WAITS_MAX {
            let Some((_, oldest)) = self.order.pop_front() else { break };
            self.resting.remove(&oldest);
        }
        let until = now + limit::TIME_WAIT;
        self.resting.insert(tuple, Rest { ours, theirs, until });
        self.order.push_back((until, tuple));
    }

    /// Forgets those that rested long enough.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((_, tuple)) = self.order.front().filter(|(until, _)| *until <= now) {
            if self.resting.get(tuple).is_some_and(|rest| rest.until <= now) {
                self.resting.remove(tuple);
            }
            self.order.pop_front();
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.resting.clear();
        self.order.clear();
    }

    /// What a segment leads to. `listens`: a new connection would find a listener.
    pub(crate) fn judge(&mut self, segment: &Segment, listens: bool) -> Verdict {
        let Some(rest) = self.resting.get(&segment.tuple).copied() else { return Verdict::None };
        if segment.reset {
            // The peer opens anew from where we would not have it, and was told where we stand.
            if segment.sequence == rest.theirs {
                self.resting.remove(&segment.tuple);
            }
            return Verdict::Ignore;
        }
        let newer = (segment.sequence.wrapping_sub(rest.theirs) as i32) > 0;
        if segment.syn && segment.acknowledges.is_none() && newer && listens {
            self.resting.remove(&segment.tuple);
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

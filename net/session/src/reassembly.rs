//! Fragments on their way in: bodies that are not whole yet.
//!
//! Owns [`Reassembly`]: at most one body for each lane, each at most [`BODY_BYTES_MAX`] long.

use alloc::vec::Vec;
use craton_wire::{BODY_BYTES_MAX, Body, Flags, LANES, Lane};

/// Room that a lane keeps for its next long body.
const KEPT_BYTES: usize = 128 << 10;

/// The peer's fragments do not make a body.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct BrokenBody;

#[derive(Default)]
struct Partial {
    bytes: Vec<u8>,
    /// What its fragments cost of the window.
    cost: u64,
    under_way: bool,
}

/// A body that became whole, and what it cost of the window.
pub(crate) struct Whole {
    pub(crate) body: Body,
    pub(crate) cost: u64,
}

/// Bodies from one peer that are not whole yet.
#[derive(Default)]
pub(crate) struct Reassembly {
    lanes: [Partial; LANES],
}

impl Reassembly {
    /// Takes the next fragment of a lane, and returns the body that it completes.
    pub(crate) fn take(
        &mut self,
        lane: Lane,
        flags: Flags,
        fragment: &[u8],
        cost: u64,
    ) -> Result<Option<Whole>, BrokenBody> {
        let partial = &mut self.lanes[lane.index()];
        if flags.has(Flags::FIRST) == partial.under_way {
            return Err(BrokenBody);
        }
        let decode = |bytes: &[u8]| Body::decode(bytes).map_err(|_| BrokenBody);
        if flags.has(Flags::FIRST.with(Flags::LAST)) {
            return Ok(Some(Whole { body: decode(fragment)?, cost }));
        }
        if partial.bytes.len() + fragment.len() > BODY_BYTES_MAX {
            return Err(BrokenBody);
        }
        partial.under_way = true;
        partial.bytes.extend_from_slice(fragment);
        partial.cost += cost;
        if !flags.has(Flags::LAST) {
            return Ok(None);
        }
        let body = decode(&partial.bytes)?;
        let whole = Whole { body, cost: partial.cost };
        partial.bytes.clear();
        partial.bytes.shrink_to(KEPT_BYTES);
        partial.cost = 0;
        partial.under_way = false;
        Ok(Some(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use craton_abi::{Payload, ProgramId};

    fn encoded(length: usize) -> (Body, Vec<u8>) {
        let part = Payload(alloc::vec![7; length]);
        let body = Body::ProgramPart { program: ProgramId([1; 32]), offset: 0, total: 9, part };
        let mut bytes = Vec::new();
        body.encode(&mut bytes).expect("short enough");
        (body, bytes)
    }

    #[test]
    fn lanes_do_not_mix() {
        let mut reassembly = Reassembly::default();
        let (long, long_bytes) = encoded(1000);
        let (short, short_bytes) = encoded(3);
        let (a, b) = (Lane::CONTROL, Lane::new(5).expect("a lane"));
        assert!(reassembly.take(a, Flags::FIRST, &long_bytes[..10], 82).expect("ok").is_none());
        let both = Flags::FIRST.with(Flags::LAST);
        let whole = reassembly.take(b, both, &short_bytes, 1).expect("ok").expect("whole");
        assert_eq!((whole.body, whole.cost), (short, 1));
        assert!(reassembly.take(a, Flags::NONE, &long_bytes[10..20], 82).expect("ok").is_none());
        let whole = reassembly.take(a, Flags::LAST, &long_bytes[20..], 100).expect("ok");
        let whole = whole.expect("whole");
        assert_eq!((whole.body, whole.cost), (long, 264));
    }

    #[test]
    fn what_makes_no_body_is_refused() {
        let (_, bytes) = encoded(10);
        let lane = Lane::CONTROL;
        let take = |reassembly: &mut Reassembly, flags, bytes: &[u8]| {
            reassembly.take(lane, flags, bytes, 0).map(|whole| whole.is_some())
        };
        let mut reassembly = Reassembly::default();
        assert_eq!(take(&mut reassembly, Flags::NONE, &bytes), Err(BrokenBody));
        assert_eq!(take(&mut reassembly, Flags::LAST, &bytes), Err(BrokenBody));
        assert_eq!(take(&mut reassembly, Flags::FIRST, &bytes), Ok(false));
        assert_eq!(take(&mut reassembly, Flags::FIRST, &bytes), Err(BrokenBody));
        let mut reassembly = Reassembly::default();
        let both = Flags::FIRST.with(Flags::LAST);
        assert_eq!(take(&mut reassembly, both, &bytes[..9]), Err(BrokenBody));
        let mut reassembly = Reassembly::default();
        assert_eq!(take(&mut reassembly, Flags::FIRST, &[0; BODY_BYTES_MAX]), Ok(false));
        assert_eq!(take(&mut reassembly, Flags::NONE, &[0]), Err(BrokenBody));
    }
}

//! Bodies on their way out: what waits in lanes, and how it is cut into fragments.
//!
//! Owns [`SendQueue`]. Lanes take turns by fragment, so that a long body in one lane delays the
//! others by one fragment at most.

use crate::limit::{FRAGMENT_BYTES_MAX, FRAGMENT_BYTES_MIN, QUEUE_BYTES_MAX, QUEUE_ENTRY_BYTES};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::ops::Range;
use craton_abi::{AppId, TraceId};
use craton_wire::{Flags, LANES, Lane};

/// A body that waits, and how much of it is sent.
struct Waiting {
    bytes: Arc<[u8]>,
    sent: usize,
    app: AppId,
    trace: TraceId,
}

/// A piece of a body. It shares the body's bytes, so that keeping it for replay costs no copy.
#[derive(Clone)]
pub(crate) struct Fragment {
    body: Arc<[u8]>,
    range: Range<usize>,
    pub(crate) lane: Lane,
    pub(crate) flags: Flags,
    pub(crate) app: AppId,
    pub(crate) trace: TraceId,
}

impl Fragment {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.body[self.range.clone()]
    }
}

/// Everything that waits to be sent to one peer.
#[derive(Default)]
pub(crate) struct SendQueue {
    lanes: [VecDeque<Waiting>; LANES],
    /// Bit for each lane that holds something.
    filled: u32,
    /// The lane whose turn it is.
    turn: usize,
    bytes: usize,
}

const _: () = assert!(LANES <= 32, "`filled` has a bit for each lane");

impl SendQueue {
    /// Puts a body at the end of its lane; `false`, and nothing changed, if the queue is full.
    pub(crate) fn push(&mut self, lane: Lane, app: AppId, trace: TraceId, body: &[u8]) -> bool {
        let charge = body.len() + QUEUE_ENTRY_BYTES;
        if self.bytes + charge > QUEUE_BYTES_MAX {
            return false;
        }
        self.bytes += charge;
        self.filled |= 1 << lane.index();
        self.lanes[lane.index()].push_back(Waiting { bytes: body.into(), sent: 0, app, trace });
        true
    }

    /// Bytes charged for what waits.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// The next fragment, at most `bytes_max` long. `None` if nothing waits, or so little room is
    /// left that the fragment would be needlessly short.
    pub(crate) fn next(&mut self, bytes_max: usize) -> Option<Fragment> {
        let index = (0..LANES)
            .map(|step| (self.turn + step) % LANES)
            .find(|index| self.filled & (1 << index) != 0)?;
        let lane = Lane::new(index)?;
        let waiting = self.lanes[index].front_mut()?;
        let left = waiting.bytes.len() - waiting.sent;
        let length = left.min(bytes_max).min(FRAGMENT_BYTES_MAX);
        if length < left.min(FRAGMENT_BYTES_MIN) {
            return None;
        }
        let first = if waiting.sent == 0 { Flags::FIRST } else { Flags::NONE };
        let last = if length == left { Flags::LAST } else { Flags::NONE };
        let fragment = Fragment {
            body: waiting.bytes.clone(),
            range: waiting.sent..waiting.sent + length,
            lane,
            flags: first.with(last),
            app: waiting.app,
            trace: waiting.trace,
        };
        waiting.sent += length;
        if length == left {
            self.bytes -= waiting.bytes.len() + QUEUE_ENTRY_BYTES;
            self.lanes[index].pop_front();
            if self.lanes[index].is_empty() {
                self.filled &= !(1 << index);
            }
        }
        self.turn = (index + 1) % LANES;
        Some(fragment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn lane(index: usize) -> Lane {
        Lane::new(index).expect("a lane")
    }

    fn push(queue: &mut SendQueue, index: usize, length: usize) -> bool {
        queue.push(lane(index), AppId::new(1), TraceId::new(2), &vec![index as u8; length])
    }

    #[test]
    fn lanes_take_turns_by_fragment() {
        let mut queue = SendQueue::default();
        assert!(push(&mut queue, 1, 1 << 20));
        assert!(push(&mut queue, 2, 1 << 20));
        for _ in 0..5 {
            assert!(push(&mut queue, 0, 10));
        }
        let order: Vec<usize> =
            (0..9).map(|_| queue.next(usize::MAX).expect("waits").lane.index()).collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn a_body_is_cut_without_gap_and_marked_at_its_ends() {
        let mut queue = SendQueue::default();
        let body: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        assert!(queue.push(lane(3), AppId::new(1), TraceId::new(2), &body));
        let mut whole = Vec::new();
        let mut marks = Vec::new();
        while let Some(fragment) = queue.next(FRAGMENT_BYTES_MAX) {
            whole.extend_from_slice(fragment.bytes());
            marks.push(fragment.flags);
        }
        assert_eq!(whole, body);
        assert_eq!(marks, [Flags::FIRST, Flags::NONE, Flags::NONE, Flags::LAST]);
        assert_eq!((queue.bytes(), queue.is_empty()), (0, true));
    }

    #[test]
    fn little_room_is_not_filled_with_crumbs() {
        let mut queue = SendQueue::default();
        assert!(push(&mut queue, 1, 10_000));
        assert!(queue.next(FRAGMENT_BYTES_MIN - 1).is_none());
        assert_eq!(queue.next(FRAGMENT_BYTES_MIN).expect("enough").bytes().len(), 4096);
        assert!(push(&mut queue, 1, 0));
        assert_eq!(queue.next(6_000).expect("the rest").bytes().len(), 10_000 - 4096);
        assert!(queue.next(0).expect("nothing needs no room").flags.has(Flags::LAST));
    }

    #[test]
    fn a_full_queue_refuses() {
        let mut queue = SendQueue::default();
        let mut bodies = 0;
        while push(&mut queue, bodies % LANES, 100_000) {
            bodies += 1;
        }
        assert_eq!(bodies, QUEUE_BYTES_MAX / (100_000 + QUEUE_ENTRY_BYTES));
        assert!(queue.bytes() <= QUEUE_BYTES_MAX);
        while queue.next(usize::MAX).is_some() {}
        assert!(queue.is_empty() && push(&mut queue, 0, 100_000));
    }
}

//! The frames that wait to leave by one port.
//!
//! Owns a bounded queue between the threads that forward and the one that writes to the port.
//! Its lock is taken after the switch's, never before it. Neighbour: `lan`.

use super::frame::{HEADER_BYTES, append};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Bytes that wait for one port; frames beyond are dropped, as a switch does.
pub(super) const QUEUE_BYTES_MAX: usize = 8 << 20;
/// What a frame that waits for its time costs beside its bytes.
const DELAYED_OVERHEAD_BYTES: usize = 64;

pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Frames with their lengths, ready to be written.
    ready: Vec<u8>,
    /// Frames whose time has not come; the number keeps frames of one time in order.
    delayed: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    delayed_bytes: usize,
    delayed_count: u64,
    closed: bool,
    /// The writer sleeps; nobody else needs a system call to wake it.
    waiting: bool,
}

impl Queue {
    pub(super) fn new() -> Queue {
        Queue { state: Mutex::default(), changed: Condvar::new() }
    }

    /// Adds a frame that is due then; says whether there was room.
    pub(super) fn push(&self, frame: &[u8], due: Instant, now: Instant) -> bool {
        let mut state = self.lock();
        let queued = state.ready.len() + state.delayed_bytes;
        if state.closed || queued + frame.len() + HEADER_BYTES > QUEUE_BYTES_MAX {
            return false;
        }
        if due <= now && state.delayed.is_empty() {
            append(frame, &mut state.ready);
        } else {
            let number = state.delayed_count;
            state.delayed_count += 1;
            state.delayed_bytes += frame.len() + DELAYED_OVERHEAD_BYTES;
            state.delayed.push(Reverse((due, number, frame.to_vec())));
        }
        if std::mem::take(&mut state.waiting) {
            self.changed.notify_one();
        }
        true
    }

    /// Fills `batch` with everything that may be written now; waits while there is nothing.
    /// `false` when the queue is closed.
    pub(super) fn take(&self, batch: &mut Vec<u8>) -> bool {
        batch.clear();
        let mut state = self.lock();
        loop {
            if state.closed {
                return false;
            }
            let now = Instant::now();
            state.release(now);
            if !state.ready.is_empty() {
                std::mem::swap(&mut state.ready, batch);
                return true;
            }
            state.waiting = true;
            let next = state.delayed.peek().map(|Reverse((due, ..))| *due);
            state = match next {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let waited = self.changed.wait_timeout(state, due.duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.waiting = false;
        }
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        *state = State { closed: true, ..State::default() };
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn release(&mut self, now: Instant) {
        while self.delayed.peek().is_some_and(|Reverse((due, ..))| *due <= now)
            && let Some(Reverse((_, _, frame))) = self.delayed.pop()
        {
            self.delayed_bytes -= frame.len() + DELAYED_OVERHEAD_BYTES;
            append(&frame, &mut self.ready);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_full_queue_drops_and_a_drained_one_takes_again() {
        let queue = Queue::new();
        let now = Instant::now();
        let frame = vec![7; 64 * 1024];
        let taken = (0..1000).take_while(|_| queue.push(&frame, now, now)).count();
        assert_eq!(taken, QUEUE_BYTES_MAX / (frame.len() + HEADER_BYTES));
        let mut batch = Vec::new();
        assert!(queue.take(&mut batch));
        assert_eq!(batch.len(), taken * (frame.len() + HEADER_BYTES));
        assert!(queue.push(&frame, now, now));
        queue.close();
        assert!(!queue.take(&mut batch));
        assert!(!queue.push(&frame, now, now));
    }

    #[test]
    fn delayed_frames_come_in_the_order_of_their_times_and_count_against_the_bound() {
        let queue = Queue::new();
        let now = Instant::now();
        for (byte, delay) in [(3, 30), (1, 10), (2, 20), (4, 30)] {
            assert!(queue.push(&[byte], now + Duration::from_millis(delay), now));
        }
        let (mut batch, mut seen) = (Vec::new(), Vec::new());
        while seen.len() < 4 {
            assert!(queue.take(&mut batch));
            seen.extend(batch.chunks(5).map(|frame| frame[4]));
        }
        assert_eq!(seen, [1, 2, 3, 4]);
        assert!(now.elapsed() >= Duration::from_millis(30));
        let late = now + Duration::from_secs(3600);
        let taken = (0..1_000_000).take_while(|_| queue.push(&[0; 6], late, now)).count();
        assert!(taken <= QUEUE_BYTES_MAX / DELAYED_OVERHEAD_BYTES, "{taken} frames");
    }
}

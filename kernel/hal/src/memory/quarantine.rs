//! Frames that are free but for what some CPU may still remember of them.
//!
//! Owns [`Quarantine`]: two bitmaps of frames. Those that are given gather in the first. When they
//! are many it is closed at an epoch, which makes it the second; once every CPU has flushed since,
//! its frames are free. So a frame waits without being touched, which matters since a stale mapping
//! may still lead to it. Pure; [`super::tlb`] has the epochs, [`super::physical`] the machine's.

use super::frames::{FrameMap, WORD_FRAMES};
use super::layout::PAGE_BYTES;
use core::ops::Range;

/// A set of frames.
struct Set<'a> {
    words: &'a mut [u64],
    count: usize,
    /// The words that may have bits set.
    used: Range<usize>,
}

/// Frames that wait until every CPU has flushed.
pub(crate) struct Quarantine<'a> {
    open: Set<'a>,
    closed: Set<'a>,
    /// Since when the frames in `closed` are there.
    epoch: u64,
}

impl<'a> Set<'a> {
    fn new(words: &'a mut [u64]) -> Self {
        words.fill(0);
        Set { words, count: 0, used: 0..0 }
    }

    /// False if the frame was in it.
    fn insert(&mut self, frame: usize) -> bool {
        let (at, bit) = (frame / WORD_FRAMES, 1 << (frame % WORD_FRAMES));
        let word = &mut self.words[at];
        let fresh = *word & bit == 0;
        *word |= bit;
        self.count += usize::from(fresh);
        self.used = match self.used.is_empty() {
            true => at..at + 1,
            false => self.used.start.min(at)..self.used.end.max(at + 1),
        };
        fresh
    }

    /// Empties the set word by word.
    fn drain(&mut self, mut each: impl FnMut(usize, u64)) {
        for at in core::mem::take(&mut self.used) {
            let word = core::mem::take(&mut self.words[at]);
            if word != 0 {
                each(at, word);
            }
        }
        self.count = 0;
    }
}

impl<'a> Quarantine<'a> {
    /// An empty quarantine. Each slice has as many words as the map of frames.
    pub(crate) fn new(open: &'a mut [u64], closed: &'a mut [u64]) -> Self {
        Quarantine { open: Set::new(open), closed: Set::new(closed), epoch: 0 }
    }

    /// Frames in it.
    pub(crate) fn count(&self) -> usize {
        self.open.count + self.closed.count
    }

    /// Frames that were given since the last closing.
    pub(crate) fn open_count(&self) -> usize {
        self.open.count
    }

    /// Whether frames wait for an epoch.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.count > 0
    }

    /// Takes a frame in, whose mapping is gone from the tables.
    ///
    /// # Panics
    /// If it is in already: a bug that must not go on.
    pub(crate) fn give(&mut self, address: u64) {
        assert!(address.is_multiple_of(PAGE_BYTES), "frame {address:#x} is aligned");
        let frame = (address / PAGE_BYTES) as usize;
        assert!(self.open.insert(frame), "frame {address:#x} was in use");
    }

    /// Closes: all frames in it wait for `epoch`, which was raised since the last was given.
    pub(crate) fn close(&mut self, epoch: u64) {
        if self.closed.count == 0 {
            core::mem::swap(&mut self.open, &mut self.closed);
        } else {
            let closed = &mut self.closed;
            self.open.drain(|at, word| {
                assert!(closed.words[at] & word == 0, "no frame was given twice");
                closed.words[at] |= word;
                closed.count += word.count_ones() as usize;
                closed.used = closed.used.start.min(at)..closed.used.end.max(at + 1);
            });
        }
        self.epoch = epoch;
    }

    /// Frees what waits for no later epoch than `flushed`, up to which every CPU has flushed.
    pub(crate) fn release(&mut self, flushed: u64, frames: &mut FrameMap<'_>) {
        if self.closed.count > 0 && flushed >= self.epoch {
            self.closed.drain(|at, word| frames.give_word(at, word));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::vec::Vec;

    const FRAMES: u64 = 8 * WORD_FRAMES as u64;

    fn next(state: &mut u64) -> usize {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize
    }

    /// CPUs that remember mappings and forget them when they flush; a frame must come free only
    /// when nobody remembers it, and none may be lost.
    #[test]
    fn no_frame_is_free_while_a_cpu_remembers_it() {
        for seed in 0..100_u64 {
            let mut state = seed;
            let (mut a, mut b, mut c) = ([0; 8], [0; 8], [0; 8]);
            let mut map = FrameMap::new(&mut a);
            map.add(0, FRAMES * PAGE_BYTES);
            let mut quarantine = Quarantine::new(&mut b, &mut c);
            let mut epoch = 1_u64;
            let mut flushed = [0_u64; 3];
            let mut remembered = [const { BTreeSet::<u64>::new() }; 3];
            let mut held: Vec<u64> = Vec::new();
            for _ in 0..3000 {
                match next(&mut state) % 6 {
                    0 | 1 => {
                        if let Some(frame) = map.take() {
                            let fresh = remembered.iter().all(|cpu| !cpu.contains(&frame));
                            assert!(fresh, "seed {seed}: frame {frame:#x} is remembered");
                            held.push(frame);
                            // Some CPUs use the mapping.
                            let cpu = next(&mut state) % 3;
                            remembered[cpu].insert(frame);
                        }
                    }
                    2 | 3 if !held.is_empty() => {
                        let frame = held.swap_remove(next(&mut state) % held.len());
                        quarantine.give(frame);
                    }
                    4 => {
                        let cpu = next(&mut state) % 3;
                        let seen = epoch;
                        remembered[cpu].retain(|frame| held.contains(frame));
                        flushed[cpu] = seen;
                    }
                    _ => {
                        let least = flushed.into_iter().min().expect("three");
                        quarantine.release(least, &mut map);
                        if !quarantine.is_closed() || next(&mut state).is_multiple_of(5) {
                            epoch += 1;
                            quarantine.close(epoch);
                        }
                    }
                }
                let all = map.free() + quarantine.count() + held.len();
                assert_eq!(all as u64, FRAMES, "seed {seed}");
            }
            held.drain(..).for_each(|frame| quarantine.give(frame));
            quarantine.close(epoch + 1);
            quarantine.release(epoch, &mut map);
            assert!(quarantine.is_closed(), "seed {seed}: an epoch too early");
            quarantine.release(epoch + 1, &mut map);
            assert_eq!((map.free() as u64, quarantine.count()), (FRAMES, 0), "seed {seed}");
        }
    }

    #[test]
    fn frames_and_epochs_are_the_given_ones() {
        let (mut a, mut b, mut c) = ([0; 8], [0; 8], [0; 8]);
        let mut map = FrameMap::new(&mut a);
        let mut quarantine = Quarantine::new(&mut b, &mut c);
        let mut expected = BTreeMap::new();
        for (epoch, frames) in [(2, [5_u64, 500]), (3, [6, 64])] {
            for frame in frames {
                quarantine.give(frame * PAGE_BYTES);
                expected.insert(frame, epoch);
            }
            quarantine.close(epoch);
        }
        quarantine.release(2, &mut map);
        assert_eq!(map.free(), 0, "closed again, all wait for the later epoch");
        quarantine.release(3, &mut map);
        let free: Vec<u64> = core::iter::from_fn(|| map.take()).map(|f| f / PAGE_BYTES).collect();
        assert_eq!(free, expected.into_keys().collect::<Vec<_>>());
    }

    #[test]
    #[should_panic(expected = "was in use")]
    fn giving_twice_is_caught() {
        let (mut b, mut c) = ([0; 8], [0; 8]);
        let mut quarantine = Quarantine::new(&mut b, &mut c);
        quarantine.give(PAGE_BYTES);
        quarantine.give(PAGE_BYTES);
    }
}

//! Which frames of physical memory are free: a bitmap.
//!
//! Owns [`FrameMap`]: one bit a frame, a count and a hint where to look next, so that taking one is
//! constant in practice and a run of neighbours (for devices and for the heap) can be found. Pure:
//! the words of the map are given at construction. [`super::physical`] holds the one of the
//! machine.

use super::layout::PAGE_BYTES;

/// Frames described by one word.
pub(crate) const WORD_FRAMES: usize = u64::BITS as usize;
/// Words looked at for a run of neighbours before giving up: 128 MiB of memory.
const RUN_SEARCH_WORDS_MAX: usize = 512;

/// A set bit is a free frame.
pub(crate) struct FrameMap<'a> {
    words: &'a mut [u64],
    free: usize,
    /// The word where the last frame was found.
    hint: usize,
    /// The word where the last run of neighbours was found, and the last block: looking on from
    /// there finds the next without passing all that is in use.
    run_hint: usize,
    block_hint: usize,
}

/// The bits of a word from which on `count` bits are set, `count` being at most 64.
fn runs_in(word: u64, count: usize) -> u64 {
    let (mut starts, mut left) = (word, count);
    while left > 1 {
        // A bit stands for a run; two runs that touch or overlap make a longer one.
        starts &= starts >> (left / 2);
        left -= left / 2;
    }
    starts
}

/// Words needed to describe memory up to physical address `end`.
pub(crate) fn words_for(end: u64) -> usize {
    (end / PAGE_BYTES).div_ceil(WORD_FRAMES as u64) as usize
}

impl<'a> FrameMap<'a> {
    /// A map in which no frame is free.
    pub(crate) fn new(words: &'a mut [u64]) -> Self {
        words.fill(0);
        FrameMap { words, free: 0, hint: 0, run_hint: 0, block_hint: 0 }
    }

    /// Free frames.
    pub(crate) fn free(&self) -> usize {
        self.free
    }

    /// Frames that the map describes.
    pub(crate) fn capacity(&self) -> usize {
        self.words.len() * WORD_FRAMES
    }

    /// Makes every whole frame in a range of addresses free; parts beyond the map are ignored.
    pub(crate) fn add(&mut self, start: u64, end: u64) {
        let first = start.div_ceil(PAGE_BYTES) as usize;
        let after = ((end / PAGE_BYTES) as usize).min(self.words.len() * WORD_FRAMES);
        let mut frame = first;
        while frame < after {
            // As many as lie in one word, at once: a machine has millions.
            let bit = frame % WORD_FRAMES;
            let count = (WORD_FRAMES - bit).min(after - frame);
            let mask = (u64::MAX >> (WORD_FRAMES - count)) << bit;
            let word = &mut self.words[frame / WORD_FRAMES];
            self.free += (mask & !*word).count_ones() as usize;
            *word |= mask;
            frame += count;
        }
    }

    /// Takes one frame: its address.
    pub(crate) fn take(&mut self) -> Option<u64> {
        if self.free == 0 {
            return None;
        }
        let (before, from_hint) = self.words.split_at(self.hint);
        let found = from_hint.iter().position(|&word| word != 0).map(|at| at + self.hint);
        let found = found.or_else(|| before.iter().position(|&word| word != 0));
        let at = found.expect("the count says that a frame is free");
        self.hint = at;
        let frame = at * WORD_FRAMES + self.words[at].trailing_zeros() as usize;
        self.set_used(frame);
        Some(frame as u64 * PAGE_BYTES)
    }

    /// Takes the first free frame, if it lies below `end`, except the one at 0.
    #[cfg(any(feature = "metal", test))]
    pub(crate) fn take_below(&mut self, end: u64) -> Option<u64> {
        let after = ((end / PAGE_BYTES) as usize).min(self.words.len() * WORD_FRAMES);
        let frame = (1..after).find(|&frame| self.is_free(frame))?;
        self.set_used(frame);
        Some(frame as u64 * PAGE_BYTES)
    }

    /// Takes `count` frames that are neighbours: the address of the first. `None` if no such run
    /// shows up within a bounded search.
    pub(crate) fn take_run(&mut self, count: usize) -> Option<u64> {
        if count > self.free || count == 0 {
            return None;
        }
        let total = self.words.len();
        let mut before = 0; // free frames at the end of the last word
        for step in 0..total.min(RUN_SEARCH_WORDS_MAX) {
            let at = (self.run_hint + step) % total;
            let word = self.words[at];
            if at == 0 {
                before = 0; // the ends of memory are no neighbours
            }
            let start = if before + word.trailing_ones() as usize >= count {
                Some(at * WORD_FRAMES - before)
            } else {
                let starts = if count <= WORD_FRAMES { runs_in(word, count) } else { 0 };
                (starts != 0).then(|| at * WORD_FRAMES + starts.trailing_zeros() as usize)
            };
            if let Some(start) = start {
                self.run_hint = at;
                (start..start + count).for_each(|frame| self.set_used(frame));
                return Some(start as u64 * PAGE_BYTES);
            }
            before =
                if word == u64::MAX { before + WORD_FRAMES } else { word.leading_ones() as usize };
        }
        None
    }

    /// Takes `count` neighbours whose first is a multiple of `count`, a power of two up to 64: its
    /// address. `None` if no such block shows up within a bounded search.
    pub(crate) fn take_block(&mut self, count: usize) -> Option<u64> {
        // Where single frames are taken in large numbers, all behind the last block may be in use
        // for longer than the search goes; where the last frame was found there is more.
        self.take_block_from(self.block_hint, count)
            .or_else(|| self.take_block_from(self.hint, count))
    }

    fn take_block_from(&mut self, first_word: usize, count: usize) -> Option<u64> {
        let total = self.words.len();
        let aligned = u64::MAX / (u64::MAX >> (WORD_FRAMES - count));
        for step in 0..total.min(RUN_SEARCH_WORDS_MAX) {
            let at = (first_word + step) % total;
            let starts = runs_in(self.words[at], count) & aligned;
            if starts != 0 {
                self.block_hint = at;
                let first = at * WORD_FRAMES + starts.trailing_zeros() as usize;
                (first..first + count).for_each(|frame| self.set_used(frame));
                return Some(first as u64 * PAGE_BYTES);
            }
        }
        None
    }

    /// Gives a frame back.
    ///
    /// # Panics
    /// If it was free already or is none of the map's: a bug that must not go on.
    pub(crate) fn give(&mut self, address: u64) {
        let frame = (address / PAGE_BYTES) as usize;
        assert!(address.is_multiple_of(PAGE_BYTES), "frame {address:#x} is aligned");
        assert!(frame < self.words.len() * WORD_FRAMES, "frame {address:#x} is memory");
        assert!(!self.is_free(frame), "frame {address:#x} was in use");
        self.set_free(frame);
    }

    /// Gives back the frames of a word: its index, and a bit for each.
    ///
    /// # Panics
    /// As [`FrameMap::give`].
    pub(crate) fn give_word(&mut self, at: usize, frames: u64) {
        assert!(self.words[at] & frames == 0, "frames {frames:#x} of word {at} were in use");
        self.words[at] |= frames;
        self.free += frames.count_ones() as usize;
    }

    fn is_free(&self, frame: usize) -> bool {
        self.words[frame / WORD_FRAMES] >> (frame % WORD_FRAMES) & 1 != 0
    }

    fn set_free(&mut self, frame: usize) {
        self.words[frame / WORD_FRAMES] |= 1 << (frame % WORD_FRAMES);
        self.free += 1;
    }

    fn set_used(&mut self, frame: usize) {
        self.words[frame / WORD_FRAMES] &= !(1 << (frame % WORD_FRAMES));
        self.free -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    /// A small deterministic generator, so that a failure replays by its seed.
    fn next(state: &mut u64) -> usize {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize
    }

    #[test]
    fn only_whole_frames_are_added_and_none_twice() {
        let mut words = [!0; 4];
        let mut map = FrameMap::new(&mut words);
        assert_eq!((map.free(), map.take()), (0, None));
        map.add(0x1800, 0x4800);
        assert_eq!(map.free(), 2, "0x2000 and 0x3000");
        map.add(0x2000, 0x4000);
        assert_eq!(map.free(), 2);
        map.add(0, u64::MAX);
        assert_eq!(map.free(), 256, "as many as the map describes");
    }

    #[test]
    fn words_cover_the_last_frame() {
        assert_eq!(words_for(0), 0);
        assert_eq!(words_for(4096), 1);
        assert_eq!(words_for(64 * 4096), 1);
        assert_eq!(words_for(65 * 4096), 2);
    }

    #[test]
    fn it_agrees_with_a_set() {
        for seed in 0..50_u64 {
            let mut state = seed;
            let mut words = [0; 8];
            let mut map = FrameMap::new(&mut words);
            map.add(3 * 4096, 500 * 4096);
            let mut model: BTreeSet<u64> = (3..500).collect();
            let mut held: Vec<u64> = Vec::new();
            for _ in 0..2000 {
                match next(&mut state) % 5 {
                    3 => {
                        let count = 1 << (next(&mut state) % 6);
                        if let Some(address) = map.take_block(count) {
                            let first = address / 4096;
                            assert!(first.is_multiple_of(count as u64), "seed {seed}");
                            for frame in first..first + count as u64 {
                                assert!(model.remove(&frame), "seed {seed}");
                                held.push(frame * 4096);
                            }
                        }
                    }
                    0 | 1 => match map.take() {
                        Some(address) => {
                            assert!(model.remove(&(address / 4096)), "seed {seed}");
                            held.push(address);
                        }
                        None => assert!(model.is_empty(), "seed {seed}"),
                    },
                    2 => {
                        let count = next(&mut state) % 20;
                        if let Some(address) = map.take_run(count) {
                            for i in 0..count as u64 {
                                assert!(model.remove(&(address / 4096 + i)), "seed {seed}");
                                held.push(address + i * 4096);
                            }
                        }
                    }
                    _ if !held.is_empty() => {
                        let address = held.swap_remove(next(&mut state) % held.len());
                        map.give(address);
                        assert!(model.insert(address / 4096), "seed {seed}");
                    }
                    _ => {}
                }
                assert_eq!(map.free(), model.len(), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_run_crosses_words_but_not_the_ends() {
        let mut words = [0; 2];
        let mut map = FrameMap::new(&mut words);
        map.add(60 * 4096, 70 * 4096);
        assert_eq!(map.take_run(11), None);
        assert_eq!(map.take_run(10), Some(60 * 4096));
        map.add(0, 2 * 4096);
        map.add(126 * 4096, 128 * 4096);
        map.run_hint = 1;
        assert_eq!(map.take_run(4), None, "the last and the first frame are no neighbours");
        assert_eq!(map.take_run(0), None);
    }

    #[test]
    fn a_low_frame_is_low() {
        let mut words = [0; 2];
        let mut map = FrameMap::new(&mut words);
        map.add(0, 2 * 4096);
        map.add(100 * 4096, 101 * 4096);
        assert_eq!(map.take_below(4096), None, "never the one at 0");
        assert_eq!(map.take_below(100 * 4096), Some(4096));
        assert_eq!(map.take_below(100 * 4096), None);
        assert_eq!((map.take_below(u64::MAX), map.free()), (Some(100 * 4096), 1));
    }

    #[test]
    fn runs_longer_than_a_word_are_found() {
        let mut words = [0; 8];
        let mut map = FrameMap::new(&mut words);
        map.add(10 * 4096, 300 * 4096);
        assert_eq!(map.take_run(291), None);
        assert_eq!(map.take_run(290), Some(10 * 4096));
        assert_eq!(map.free(), 0);
    }

    #[test]
    fn runs_in_a_word_are_found_where_they_are() {
        let mut state = 3;
        for _ in 0..1000 {
            let word =
                (next(&mut state) as u64) << 32 ^ (next(&mut state) | next(&mut state)) as u64;
            for count in 1..=64 {
                let is_run =
                    |at: &usize| (*at..at + count).all(|bit| bit < 64 && word >> bit & 1 != 0);
                let model: u64 = (0..64).filter(is_run).map(|at| 1 << at).sum();
                assert_eq!(runs_in(word, count), model, "{count} in {word:#x}");
            }
        }
    }

    #[test]
    fn a_block_is_aligned_and_found_if_it_is_there() {
        let mut words = [0; 2];
        let mut map = FrameMap::new(&mut words);
        map.add(72 * 4096, 103 * 4096);
        assert_eq!(map.take_block(32), None, "31 neighbours are no block of 32");
        assert_eq!(map.take_block(16), Some(80 * 4096));
        assert_eq!(map.take_block(16), None, "8 before it and 7 behind are none of 16");
        assert_eq!(map.take_block(8), Some(72 * 4096));
        map.add(0, 64 * 4096);
        assert_eq!(map.take_block(64), Some(0));
        assert_eq!(map.free(), 7);
    }

    #[test]
    #[should_panic(expected = "was in use")]
    fn giving_twice_is_caught() {
        let mut words = [0; 1];
        let mut map = FrameMap::new(&mut words);
        map.add(0, 4096);
        let frame = map.take().expect("one is free");
        map.give(frame);
        map.give(frame);
    }

    #[test]
    fn a_block_is_found_beyond_what_single_frames_took() {
        let words = RUN_SEARCH_WORDS_MAX * 4;
        let mut storage = std::vec![0; words];
        let mut map = FrameMap::new(&mut storage);
        map.add(0, (words * WORD_FRAMES) as u64 * PAGE_BYTES);
        assert_eq!(map.take_block(16), Some(0), "where the search begins");
        for _ in 0..RUN_SEARCH_WORDS_MAX * 2 * WORD_FRAMES {
            map.take().expect("half of the map is free");
        }
        assert!(map.take_block(16).is_some(), "the other half is free");
    }
}

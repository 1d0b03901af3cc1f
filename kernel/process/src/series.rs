//! Values by numbers that rise: whatever came first is taken first, mostly.
//!
//! Owns [`Series`], what a mailbox keeps its monitors and its notices in. Most processes have one
//! of each at a time, which lies in the series itself. The others lie in pieces of a bounded size,
//! so that a thousand need no large object, and are found where their number says that they are if
//! none before them is missing.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Entries in a piece.
const PIECE_ENTRIES: usize = 16;
/// So many that were taken from the middle are no matter.
const GAPS_MIN: usize = 32;

/// Values by number, in order.
#[derive(Debug)]
pub(crate) struct Series<T> {
    /// Before all others.
    first: Option<(u64, T)>,
    /// All but the last are full.
    pieces: VecDeque<Vec<Entry<T>>>,
    /// Of the first piece, those that are before the first entry.
    skipped: usize,
    /// Entries in the pieces, of which neither the first nor the last is a gap.
    entries: usize,
    /// Those among them that are none.
    gaps: usize,
}

/// A number and, unless it was taken, its value.
type Entry<T> = (u64, Option<T>);

impl<T> Series<T> {
    pub(crate) const fn new() -> Self {
        Series { first: None, pieces: VecDeque::new(), skipped: 0, entries: 0, gaps: 0 }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.entries == 0
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.entries - self.gaps
    }

    /// Adds a value, whose number is usually the largest yet. One of the same number is replaced.
    #[inline]
    pub(crate) fn insert(&mut self, number: u64, value: T) {
        if self.is_empty() {
            self.first = Some((number, value));
        } else if self.last().is_some_and(|last| number > last) {
            self.push(number, value);
        } else {
            self.insert_between(number, value);
        }
    }

    /// The first value, and its number.
    #[inline]
    pub(crate) fn first(&self) -> Option<(u64, &T)> {
        match &self.first {
            Some((number, value)) => Some((*number, value)),
            None => match self.at(0)? {
                (number, Some(value)) => Some((*number, value)),
                (_, None) => None,
            },
        }
    }

    #[inline]
    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        match &self.first {
            Some((first, value)) if *first == number => Some(value),
            _ => self.at(self.find(number)?)?.1.as_ref(),
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        if self.first.as_ref().is_some_and(|(first, _)| *first == number) {
            return self.first.as_mut().map(|(_, value)| value);
        }
        let at = self.find(number)?;
        self.at_mut(at)?.1.as_mut()
    }

    #[inline]
    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        match self.first.take_if(|(first, _)| *first == number) {
            Some((_, value)) => Some(value),
            None => self.remove_behind(number),
        }
    }

    /// All values and their numbers.
    pub(crate) fn into_all(self) -> impl Iterator<Item = (u64, T)> {
        let rest = self.pieces.into_iter().flatten().skip(self.skipped);
        self.first.into_iter().chain(rest.filter_map(|(number, value)| Some((number, value?))))
    }

    #[inline(never)]
    fn remove_behind(&mut self, number: u64) -> Option<T> {
        let at = self.find(number)?;
        let value = self.at_mut(at)?.1.take()?;
        self.gaps += 1;
        self.trim();
        if self.gaps > GAPS_MIN + self.entries / 2 {
            self.close_gaps();
        }
        Some(value)
    }

    /// Takes away the gaps at both ends.
    fn trim(&mut self) {
        while self.at(0).is_some_and(|(_, value)| value.is_none()) {
            self.entries -= 1;
            self.gaps -= 1;
            self.skipped += 1;
            if self.skipped == PIECE_ENTRIES {
                self.skipped = 0;
                self.pieces.pop_front();
            }
        }
        if self.entries == 0 {
            // What a few need is kept for the next ones.
            self.pieces.truncate(1);
            self.pieces.iter_mut().for_each(Vec::clear);
            self.pieces.shrink_to(1);
            self.skipped = 0;
            return;
        }
        while let Some(last) = self.pieces.back_mut()
            && last.pop_if(|(_, value)| value.is_none()).is_some()
        {
            self.entries -= 1;
            self.gaps -= 1;
            if last.is_empty() {
                self.pieces.pop_back();
            }
        }
    }

    #[cold]
    fn close_gaps(&mut self) {
        let all = core::mem::replace(self, Series::new());
        all.into_all().for_each(|(number, value)| self.insert(number, value));
    }

    /// As [`Series::insert`] of a number that is not the largest.
    #[cold]
    fn insert_between(&mut self, number: u64, value: T) {
        if let Some(place) = self.get_mut(number) {
            *place = value;
            return;
        }
        let all = core::mem::replace(self, Series::new());
        let mut all: Vec<(u64, T)> = all.into_all().collect();
        let at = all.partition_point(|(before, _)| *before < number);
        all.insert(at, (number, value));
        all.into_iter().for_each(|(number, value)| self.insert(number, value));
    }

    fn last(&self) -> Option<u64> {
        match self.pieces.back().and_then(|piece| piece.last()) {
            Some((last, _)) if self.entries > 0 => Some(*last),
            _ => self.first.as_ref().map(|(first, _)| *first),
        }
    }

    fn push(&mut self, number: u64, value: T) {
        match self.pieces.back_mut() {
            Some(last) if last.len() < PIECE_ENTRIES => last.push((number, Some(value))),
            // Most have few: the first piece grows.
            None => self.pieces.push_back(Vec::from([(number, Some(value))])),
            Some(_) => {
                let mut piece = Vec::with_capacity(PIECE_ENTRIES);
                piece.push((number, Some(value)));
                self.pieces.push_back(piece);
            }
        }
        self.entries += 1;
    }

    /// Where an entry is.
    #[inline]
    fn find(&self, number: u64) -> Option<usize> {
        let behind = number.checked_sub(self.at(0)?.0)?;
        // Numbers rise, so it is no further behind the first than its number is.
        let end = self.entries.min(usize::try_from(behind).ok()?.saturating_add(1));
        if self.at(end - 1)?.0 == number { Some(end - 1) } else { self.search(number, end) }
    }

    #[inline(never)]
    fn search(&self, number: u64, mut end: usize) -> Option<usize> {
        let mut start = 0;
        while start < end {
            let middle = start + (end - start) / 2;
            match self.at(middle)?.0 {
                at if at == number => return Some(middle),
                at if at < number => start = middle + 1,
                _ => end = middle,
            }
        }
        None
    }

    #[inline]
    fn at(&self, index: usize) -> Option<&Entry<T>> {
        let place = self.skipped + index;
        self.pieces.get(place / PIECE_ENTRIES)?.get(place % PIECE_ENTRIES)
    }

    #[inline]
    fn at_mut(&mut self, index: usize) -> Option<&mut Entry<T>> {
        let place = self.skipped + index;
        self.pieces.get_mut(place / PIECE_ENTRIES)?.get_mut(place % PIECE_ENTRIES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;

    /// Numbers of which most rise by one, some by more, and a few fall.
    #[test]
    fn agrees_with_a_map() {
        for seed in 0..200_u64 {
            let mut random = seed;
            let mut next = || {
                random = (random ^ 0x9e37_79b9)
                    .wrapping_mul(0xbf58_476d_1ce4_e5b9)
                    .rotate_left(23)
                    .wrapping_add(seed);
                random >> 8
            };
            let (mut series, mut map) = (Series::new(), BTreeMap::new());
            let mut last = 0;
            for step in 0..2_000_u64 {
                // Phases of growth and of decline.
                if next() % 100 < if step % 400 < 200 { 70 } else { 30 } {
                    let number = match next() % 200 {
                        0 => next() % (last + 1),
                        1..20 => last + next() % 50 + 1,
                        _ => last + 1,
                    };
                    last = last.max(number);
                    series.insert(number, step);
                    map.insert(number, step);
                } else {
                    let first = map.first_key_value().map(|(number, _)| *number);
                    let some = map.range(next() % (last + 1)..).next().map(|(number, _)| *number);
                    let number = match next() % 4 {
                        0 => some.unwrap_or(last + 1),
                        1 => next() % (last + 2),
                        _ => first.unwrap_or(0),
                    };
                    assert_eq!(series.get(number), map.get(&number), "seed {seed}");
                    assert_eq!(series.get_mut(number), map.get_mut(&number), "seed {seed}");
                    assert_eq!(series.remove(number), map.remove(&number), "seed {seed}");
                }
                let first = map.first_key_value().map(|(number, value)| (*number, value));
                assert_eq!(series.first(), first, "seed {seed}");
                assert_eq!((series.len(), series.is_empty()), (map.len(), map.is_empty()));
                assert!(series.gaps <= GAPS_MIN + series.entries / 2 + 1, "seed {seed}");
            }
            assert!(series.into_all().eq(map), "seed {seed}");
        }
    }

    #[test]
    fn one_needs_no_object_and_a_burst_gives_its_memory_back() {
        let mut series = Series::new();
        for number in 0..100 {
            series.insert(number, number);
            assert_eq!(series.remove(number), Some(number));
        }
        assert_eq!(series.pieces.capacity(), 0);
        (0..10_000).for_each(|number| series.insert(number, number));
        for number in (0..10_000).rev() {
            assert_eq!(series.remove(number), Some(number));
        }
        assert!(series.is_empty());
        assert!(series.pieces.iter().map(Vec::capacity).sum::<usize>() <= PIECE_ENTRIES);
        assert!(series.pieces.capacity() <= 4);
    }
}

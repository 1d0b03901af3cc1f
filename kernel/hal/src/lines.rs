//! Lines of text on their way to a slow serial port.
//!
//! Owns [`Line`], text of bounded length, and [`Lines`], a bounded ring of them that any CPU fills
//! in any context, interrupts and panics included, without a lock and without waiting: a line that
//! finds the ring full is dropped and counted. One reader at a time empties it; the lock around
//! that one is [`crate::serial`]'s.
//!
//! A place of the ring goes through these states, each time with the next lap:
//!
//! ```text
//!         1. claimed: `head` moves on        2. written            3. read
//!  free ------------------------------> claimed -------> full ------------> free, next lap
//! ```

use core::cell::UnsafeCell;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of the longest line.
pub const LINE_BYTES_MAX: usize = 512;

/// Text under construction, cut at the end of its room. Control characters become spaces, so that a
/// line is one.
#[derive(Clone, Copy)]
pub(crate) struct Line<const BYTES: usize = LINE_BYTES_MAX> {
    bytes: [u8; BYTES],
    len: usize,
}

impl<const BYTES: usize> Line<BYTES> {
    pub(crate) const fn new() -> Self {
        Line { bytes: [0; BYTES], len: 0 }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub(crate) fn as_str(&self) -> &str {
        // Only whole characters are pushed.
        str::from_utf8(self.bytes()).unwrap_or("")
    }
}

impl<const BYTES: usize> Write for Line<BYTES> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let character = if character.is_control() { ' ' } else { character };
            let end = self.len + character.len_utf8();
            let Some(place) = self.bytes.get_mut(self.len..end) else { return Err(fmt::Error) };
            character.encode_utf8(place);
            self.len = end;
        }
        Ok(())
    }
}

struct Place {
    /// Twice the lap in which the place is free, or that and one if it is full in it.
    state: AtomicUsize,
    line: UnsafeCell<Line>,
    /// Lines that were dropped before this one, because the ring was full.
    dropped: UnsafeCell<usize>,
}

/// A bounded ring of lines. See the module.
pub(crate) struct Lines<const LINES: usize> {
    places: [Place; LINES],
    /// Lines that were claimed so far.
    head: AtomicUsize,
    /// Lines that were read so far. Written by the reader alone.
    tail: AtomicUsize,
    /// Lines that were dropped and nobody has told yet.
    dropped: AtomicUsize,
}

// SAFETY: A place's cells are written by the one who claimed it and read by the one reader between
// the store and the load of `state` that hand them over.
unsafe impl<const LINES: usize> Sync for Lines<LINES> {}

impl<const LINES: usize> Lines<LINES> {
    pub(crate) const fn new() -> Self {
        Lines {
            places: [const {
                Place {
                    state: AtomicUsize::new(0),
                    line: UnsafeCell::new(Line::new()),
                    dropped: UnsafeCell::new(0),
                }
            }; LINES],
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
        }
    }

    fn place(&self, number: usize) -> (&Place, usize) {
        (&self.places[number % LINES], number / LINES * 2)
    }

    /// Puts a line in, from any context; false if it was dropped.
    pub(crate) fn push(&self, line: &Line) -> bool {
        let mut number = self.head.load(Ordering::Relaxed);
        loop {
            let (place, free) = self.place(number);
            let state = place.state.load(Ordering::Acquire);
            if state == free {
                let (relaxed, next) = (Ordering::Relaxed, number.wrapping_add(1));
                match self.head.compare_exchange_weak(number, next, relaxed, relaxed) {
                    Ok(_) => break,
                    Err(now) => number = now,
                }
            } else if state < free {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return false;
            } else {
                number = self.head.load(Ordering::Relaxed);
            }
        }
        let (place, free) = self.place(number);
        // SAFETY: The place is claimed: nobody else touches its cells until `state` says so.
        unsafe { place.line.get().write(*line) };
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        // SAFETY: As above.
        unsafe { place.dropped.get().write(dropped) };
        place.state.store(free + 1, Ordering::Release);
        true
    }

    /// Whether nothing is to be read, nor was claimed to be written.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire) == self.tail.load(Ordering::Relaxed)
    }

    /// The oldest line, if it is written, and how many were dropped before it. Only for the one
    /// reader: a second would have the same line.
    pub(crate) fn peek<R>(&self, read: impl FnOnce(&Line, usize) -> R) -> Option<R> {
        let (place, free) = self.place(self.tail.load(Ordering::Relaxed));
        if place.state.load(Ordering::Acquire) != free + 1 {
            return None;
        }
        // SAFETY: The place is full, and stays so until the reader, who is here, says otherwise.
        let line = unsafe { &*place.line.get() };
        // SAFETY: As above.
        let dropped = unsafe { place.dropped.get().read() };
        Some(read(line, dropped))
    }

    /// Ends with the oldest line: its place is free for the next lap. Only for the one reader,
    /// after a successful [`Lines::peek`].
    pub(crate) fn pop(&self) {
        let number = self.tail.load(Ordering::Relaxed);
        let (place, free) = self.place(number);
        place.state.store(free + 2, Ordering::Release);
        self.tail.store(number.wrapping_add(1), Ordering::Release);
    }

    /// Takes the number of lines that were dropped after the newest that is in the ring.
    pub(crate) fn take_dropped(&self) -> usize {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::String;
    use std::sync::atomic::AtomicBool;
    use std::vec::Vec;

    fn line(text: &str) -> Line {
        let mut line = Line::new();
        line.write_str(text).expect("it is short");
        line
    }

    #[test]
    fn lines_are_cut_at_a_character_and_cleaned() {
        let mut line = Line::<8>::new();
        assert!(line.write_str("a\n\x1bé12345").is_err());
        assert_eq!(line.as_str(), "a  é123");
        let mut line = Line::<4>::new();
        assert!(line.write_str("abcé").is_err(), "half a character is none");
        assert_eq!(line.as_str(), "abc");
    }

    #[test]
    fn a_full_ring_drops_and_says_how_many() {
        let ring = Lines::<4>::new();
        assert!(ring.is_empty() && ring.peek(|_, _| ()).is_none());
        for lap in 0..3 {
            for i in 0..4 {
                assert!(ring.push(&line(&format!("{lap}.{i}"))));
            }
            assert!(!ring.push(&line("no room")) && !ring.push(&line("no room")));
            let first = ring.peek(|line, dropped| (String::from(line.as_str()), dropped));
            assert_eq!(first, Some((format!("{lap}.0"), 0)));
            ring.pop();
            assert!(ring.push(&line("after the gap")));
            (0..3).for_each(|_| ring.pop());
            assert_eq!(ring.peek(|line, dropped| (line.as_str() == "after the gap", dropped)), {
                Some((true, 2))
            });
            ring.pop();
            assert!(ring.is_empty());
        }
        assert_eq!(ring.take_dropped(), 0);
    }

    #[test]
    fn what_is_dropped_last_is_told_apart() {
        let ring = Lines::<1>::new();
        assert!(ring.push(&line("one")) && !ring.push(&line("two")));
        ring.pop();
        assert_eq!((ring.take_dropped(), ring.take_dropped()), (1, 0));
    }

    #[test]
    fn lines_of_several_writers_come_whole_and_each_writers_in_order() {
        const WRITERS: usize = 4;
        const LINES: usize = 5000;
        let ring = Lines::<8>::new();
        let done = AtomicBool::new(false);
        let mut seen: Vec<Vec<usize>> = std::vec![Vec::new(); WRITERS];
        let mut dropped = 0;
        std::thread::scope(|scope| {
            let ring = &ring;
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    scope.spawn(move || {
                        for i in 0..LINES {
                            ring.push(&line(&format!("{writer} {i} {writer} {i}")));
                        }
                    })
                })
                .collect();
            let done = &done;
            let reader = scope.spawn(move || {
                let mut lines = Vec::new();
                let mut dropped = 0;
                while !done.load(Ordering::Acquire) || !ring.is_empty() {
                    if let Some((line, before)) =
                        ring.peek(|line, before| (String::from(line.as_str()), before))
                    {
                        lines.push(line);
                        dropped += before;
                        ring.pop();
                    }
                }
                (lines, dropped + ring.take_dropped())
            });
            writers.into_iter().for_each(|writer| writer.join().expect("it works"));
            done.store(true, Ordering::Release);
            let (lines, before) = reader.join().expect("it works");
            dropped = before;
            for line in lines {
                let words: Vec<usize> = line.split(' ').filter_map(|w| w.parse().ok()).collect();
                let [writer, i, writer_again, i_again] = words[..] else { panic!("{line}") };
                assert_eq!((writer, i), (writer_again, i_again));
                seen[writer].push(i);
            }
        });
        assert!(seen.iter().all(|lines| lines.is_sorted()));
        assert_eq!(seen.iter().map(Vec::len).sum::<usize>() + dropped, WRITERS * LINES);
    }
}

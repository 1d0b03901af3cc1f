//! The log: lines on the serial port, `time level node module: text`.
//!
//! Owns the backend of the crate `log`, the longest line, and a small ring of the kernel's own
//! lines for the node to show to operators. Nothing here allocates or waits, so it works in a panic
//! and in an interrupt; a line that does not fit is cut, and control characters (a guest chose some
//! of the text) become spaces.

use crate::{clock, serial};
use core::fmt::{self, Write};
use log::{Level, LevelFilter, Log, Metadata, Record};
use spin::Mutex;

/// Bytes of the longest line.
pub const LINE_BYTES_MAX: usize = 512;
/// Lines kept for [`take_line`]; the oldest are dropped first.
pub const KEPT_LINES_MAX: usize = 32;
/// Bytes of the node's name that are shown.
pub const NODE_NAME_BYTES_MAX: usize = 32;

/// A line under construction, cut at the end of its room.
#[derive(Clone, Copy)]
struct Line<const BYTES: usize> {
    bytes: [u8; BYTES],
    len: usize,
}

impl<const BYTES: usize> Line<BYTES> {
    const fn new() -> Self {
        Line { bytes: [0; BYTES], len: 0 }
    }

    fn as_str(&self) -> &str {
        // Only whole characters are pushed.
        self.bytes.get(..self.len).and_then(|b| str::from_utf8(b).ok()).unwrap_or("")
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

struct Kept {
    lines: [Line<LINE_BYTES_MAX>; KEPT_LINES_MAX],
    first: usize,
    count: usize,
    dropped: u64,
}

static NODE_NAME: Mutex<Line<NODE_NAME_BYTES_MAX>> = Mutex::new(Line::new());
static KEPT: Mutex<Kept> =
    Mutex::new(Kept { lines: [Line::new(); KEPT_LINES_MAX], first: 0, count: 0, dropped: 0 });

struct Backend;

impl Log for Backend {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = print(record.level(), module(record.target()), *record.args());
            keep(&line);
        }
    }

    fn flush(&self) {}
}

/// The part of a target that a reader wants: no `craton_` in front.
fn module(target: &str) -> &str {
    target.strip_prefix("craton_").unwrap_or(target)
}

/// Makes the crate `log` print here.
pub fn start(level: LevelFilter) {
    // Fails only if it was done before, which is as well.
    let _ = log::set_logger(&Backend);
    log::set_max_level(level);
}

/// Sets the name that lines carry.
pub fn set_node_name(name: &str) {
    let mut line = Line::new();
    // A long name is cut.
    let _ = line.write_str(name);
    *NODE_NAME.lock() = line;
}

/// Prints a line that is not the kernel's own: [`take_line`] does not return it.
pub fn print_foreign(level: Level, module: &str, text: fmt::Arguments<'_>) {
    print(level, module, text);
}

fn print(level: Level, module: &str, text: fmt::Arguments<'_>) -> Line<LINE_BYTES_MAX> {
    let mut line = Line::new();
    let name = NODE_NAME.try_lock().map_or(Line::new(), |name| *name);
    let name = if name.len == 0 { "-" } else { name.as_str() };
    let now = clock::now();
    let level = level.as_str();
    // A long line is cut.
    let _ = write!(line, "{now} {level:<5} {name} {module}: {text}");
    serial::write(format_args!("{}\n", line.as_str()));
    line
}

fn keep(line: &Line<LINE_BYTES_MAX>) {
    // Whoever holds the lock was interrupted by this line: leave it out of the ring.
    let Some(mut kept) = KEPT.try_lock() else { return };
    if kept.count == KEPT_LINES_MAX {
        kept.first = (kept.first + 1) % KEPT_LINES_MAX;
        kept.count -= 1;
        kept.dropped += 1;
    }
    let at = (kept.first + kept.count) % KEPT_LINES_MAX;
    kept.lines[at] = *line;
    kept.count += 1;
}

/// Takes the oldest kept line, and how many before it were dropped.
pub fn take_line<R>(read: impl FnOnce(&str, u64) -> R) -> Option<R> {
    let (line, dropped) = {
        let mut kept = KEPT.lock();
        if kept.count == 0 {
            return None;
        }
        let line = kept.lines[kept.first];
        kept.first = (kept.first + 1) % KEPT_LINES_MAX;
        kept.count -= 1;
        (line, core::mem::take(&mut kept.dropped))
    };
    Some(read(line.as_str(), dropped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

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
    fn kept_lines_are_bounded_and_in_order() {
        for i in 0..KEPT_LINES_MAX + 5 {
            let mut line = Line::new();
            let _ = write!(line, "{i}");
            keep(&line);
        }
        let first = take_line(|line, dropped| (String::from(line), dropped));
        assert_eq!(first, Some((String::from("5"), 5)));
        let rest = core::iter::from_fn(|| take_line(|_, dropped| dropped)).sum::<u64>();
        assert_eq!(rest, 0);
        assert!(take_line(|_, _| ()).is_none());
    }

    #[test]
    fn modules_lose_the_prefix() {
        assert_eq!((module("craton_net::tcp"), module("foca")), ("net::tcp", "foca"));
    }
}

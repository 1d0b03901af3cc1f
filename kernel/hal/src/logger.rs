//! The log: lines on the serial port, `time level node.cpu module: text`.
//!
//! Owns the backend of the crate `log`, the form of a line, and a small ring of the kernel's own
//! lines for the node to show to operators. Nothing here allocates or waits, so it works in a panic
//! and in an interrupt; a line that does not fit is cut, and control characters (a guest chose some
//! of the text) become spaces. [`crate::serial`] brings the lines out.

pub use crate::lines::LINE_BYTES_MAX;
use crate::lines::Line;
use crate::{clock, cpu, serial};
use core::fmt::{self, Write};
use log::{Level, LevelFilter, Log, Metadata, Record};
use spin::{Mutex, Once};

/// Lines kept for [`take_line`]; the oldest are dropped first.
pub const KEPT_LINES_MAX: usize = 32;
/// Bytes of the node's name that are shown.
pub const NODE_NAME_BYTES_MAX: usize = 32;
/// Turns of waiting for another CPU that keeps a line.
const KEEP_SPINS_MAX: u32 = 1000;

struct Kept {
    lines: [Line; KEPT_LINES_MAX],
    first: usize,
    count: usize,
    dropped: u64,
}

static NODE_NAME: Once<Line<NODE_NAME_BYTES_MAX>> = Once::new();
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

/// Sets the name that lines carry; once, as a node has one name.
pub fn set_node_name(name: &str) {
    let mut line = Line::new();
    // A long name is cut.
    let _ = line.write_str(name);
    if !line.bytes().is_empty() {
        NODE_NAME.call_once(|| line);
    }
}

/// Prints a line that is not the kernel's own: [`take_line`] does not return it.
pub fn print_foreign(level: Level, module: &str, text: fmt::Arguments<'_>) {
    print(level, module, text);
}

fn print(level: Level, module: &str, text: fmt::Arguments<'_>) -> Line {
    let name = NODE_NAME.get().map_or("-", Line::as_str);
    let line = format(level, name, cpu::index(), module, text);
    serial::queue(&line);
    line
}

fn format(level: Level, node: &str, cpu: usize, module: &str, text: fmt::Arguments<'_>) -> Line {
    let mut line = Line::new();
    let now = clock::now();
    let level = level.as_str();
    // A long line is cut.
    let _ = write!(line, "{now} {level:<5} {node}.{cpu} {module}: {text}");
    line
}

fn keep(line: &Line) {
    // Another CPU holds the lock for a moment; an interrupted line of this one for ever.
    let Some(mut kept) = (0..KEEP_SPINS_MAX).find_map(|_| KEPT.try_lock()) else { return };
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
    fn a_line_says_when_how_bad_where_and_what() {
        let line = format(Level::Warn, "n1", 3, "net::tcp", format_args!("a\n{}", 7));
        assert!(line.as_str().ends_with(" WARN  n1.3 net::tcp: a 7"), "{}", line.as_str());
        let long = "x".repeat(LINE_BYTES_MAX);
        let line = format(Level::Info, "-", 0, "m", format_args!("{long}"));
        assert_eq!(line.bytes().len(), LINE_BYTES_MAX);
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

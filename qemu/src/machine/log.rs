//! The serial output of a machine as a bounded log of lines that threads can wait on.
//!
//! Owns [`SerialLog`]: one thread reads the pipe into it, any number of threads wait for a line.
//! The lock is held for a push or a look, never while a caller's predicate waits for anything.

use super::command::LineSink;
use crate::lan::read_uninterrupted;
use std::collections::VecDeque;
use std::fmt;
use std::io::Read;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lines kept; older ones are dropped.
const LINES_MAX: usize = 20_000;
/// Bytes of a line kept; the rest of a longer one starts a new line.
const LINE_BYTES_MAX: usize = 4096;

/// Why a wait ended without what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// The time given ran out.
    TimedOut,
    /// The machine ended, so it never will come.
    Ended,
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WaitError::TimedOut => "the machine did not do it in the time given",
            WaitError::Ended => "the machine ended before it did it",
        })
    }
}

impl std::error::Error for WaitError {}

pub(super) struct SerialLog {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Default)]
struct Lines {
    kept: VecDeque<String>,
    /// How many lines were dropped from the front; `kept[0]` is line number `dropped`.
    dropped: usize,
    /// Pipes that have not come to their end.
    pipes_open: usize,
}

impl SerialLog {
    /// A log that ends when `pipes` calls of [`SerialLog::fill`] have ended.
    pub(super) fn new(pipes: usize) -> SerialLog {
        let lines = Lines { pipes_open: pipes, ..Lines::default() };
        SerialLog { lines: Mutex::new(lines), changed: Condvar::new() }
    }

    /// Reads the pipe to its end. `sink` sees each line before it is in the log.
    pub(super) fn fill(&self, mut pipe: impl Read, prefix: &str, mut sink: Option<LineSink>) {
        let mut splitter = LineSplitter::default();
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = read_uninterrupted(&mut pipe, &mut chunk) {
            splitter.feed(&chunk[..length], |line| self.push(prefix, line, &mut sink));
        }
        splitter.finish(|line| self.push(prefix, line, &mut sink));
        self.lock().pipes_open -= 1;
        self.changed.notify_all();
    }

    /// The first line kept that matches, or the first one to come within `timeout`.
    pub(super) fn wait_for(
        &self,
        mut matches: impl FnMut(&str) -> bool,
        timeout: Duration,
    ) -> Result<String, WaitError> {
        let deadline = Instant::now() + timeout;
        let mut lines = self.lock();
        let mut next = 0;
        loop {
            let skip = next.max(lines.dropped) - lines.dropped;
            if let Some(line) = lines.kept.iter().skip(skip).find(|line| matches(line)) {
                return Ok(line.clone());
            }
            next = lines.dropped + lines.kept.len();
            if lines.pipes_open == 0 {
                return Err(WaitError::Ended);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(WaitError::TimedOut);
            }
            let waited = self.changed.wait_timeout(lines, left);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All lines kept, oldest first.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lock().kept.iter().cloned().collect()
    }

    fn push(&self, prefix: &str, line: &str, sink: &mut Option<LineSink>) {
        let line = format!("{prefix}{line}");
        if let Some(sink) = sink {
            sink(&line);
        }
        let mut lines = self.lock();
        if lines.kept.len() == LINES_MAX {
            lines.kept.pop_front();
            lines.dropped += 1;
        }
        lines.kept.push_back(line);
        drop(lines);
        self.changed.notify_all();
    }

    /// A predicate that panics leaves the lines whole, so a poisoned lock is as good as another.
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts a stream of bytes into lines of text.
#[derive(Default)]
struct LineSplitter {
    partial: Vec<u8>,
}

impl LineSplitter {
    fn feed(&mut self, bytes: &[u8], mut emit: impl FnMut(&str)) {
        for &byte in bytes {
            match byte {
                b'\n' => self.take(&mut emit),
                b'\r' => {}
                _ => {
                    self.partial.push(byte);
                    if self.partial.len() == LINE_BYTES_MAX {
                        self.take(&mut emit);
                    }
                }
            }
        }
    }

    fn finish(&mut self, mut emit: impl FnMut(&str)) {
        if !self.partial.is_empty() {
            self.take(&mut emit);
        }
    }

    fn take(&mut self, emit: &mut impl FnMut(&str)) {
        emit(&String::from_utf8_lossy(&self.partial));
        self.partial.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn lines_survive_any_chunking() {
        for size in 1..12 {
            let mut seen = Vec::new();
            let mut splitter = LineSplitter::default();
            for chunk in b"one\r\n\ntwo \xff\nlast".chunks(size) {
                splitter.feed(chunk, |line| seen.push(line.to_owned()));
            }
            splitter.finish(|line| seen.push(line.to_owned()));
            assert_eq!(seen, ["one", "", "two \u{fffd}", "last"]);
        }
    }

    #[test]
    fn a_line_without_end_is_cut_and_nothing_is_lost() {
        let mut lengths = Vec::new();
        let mut splitter = LineSplitter::default();
        splitter.feed(&[b'x'; LINE_BYTES_MAX + 5], |line| lengths.push(line.len()));
        splitter.finish(|line| lengths.push(line.len()));
        assert_eq!(lengths, [LINE_BYTES_MAX, 5]);
    }

    #[test]
    fn a_wait_sees_lines_before_and_after_it_began_and_the_end() {
        let (reader, mut writer) = UnixStream::pair().unwrap();
        let log = SerialLog::new(1);
        std::thread::scope(|scope| {
            scope.spawn(|| log.fill(reader, "", None));
            writer.write_all(b"early\n").unwrap();
            assert_eq!(log.wait_for(|line| line == "early", LONG).unwrap(), "early");
            assert_eq!(log.wait_for(|line| line == "early", LONG).unwrap(), "early");
            let late = scope.spawn(|| log.wait_for(|line| line == "late", LONG));
            writer.write_all(b"late").unwrap();
            assert_eq!(
                log.wait_for(|line| line == "late", Duration::ZERO),
                Err(WaitError::TimedOut)
            );
            writer.write_all(b"\n").unwrap();
            assert_eq!(late.join().unwrap().unwrap(), "late");
            let never = scope.spawn(|| log.wait_for(|line| line == "never", LONG));
            drop(writer);
            assert_eq!(never.join().unwrap(), Err(WaitError::Ended));
        });
        assert_eq!(log.lines(), ["early", "late"]);
    }

    #[test]
    fn the_log_ends_with_its_last_pipe() {
        let log = SerialLog::new(2);
        log.fill(&b"bad option"[..], "qemu: ", None);
        assert_eq!(log.wait_for(|_| false, Duration::ZERO), Err(WaitError::TimedOut));
        log.fill(&b""[..], "", None);
        assert_eq!(log.wait_for(|_| false, LONG), Err(WaitError::Ended));
        assert_eq!(log.lines(), ["qemu: bad option"]);
    }

    #[test]
    fn the_log_is_bounded_and_keeps_the_newest() {
        let log = SerialLog::new(1);
        for number in 0..LINES_MAX + 3 {
            log.push("", &number.to_string(), &mut None);
        }
        let lines = log.lines();
        assert_eq!(lines.len(), LINES_MAX);
        assert_eq!(lines[0], "3");
        let last = (LINES_MAX + 2).to_string();
        assert_eq!(log.wait_for(|line| line == last, Duration::ZERO).unwrap(), last);
    }
}

//! The last lines of the node's log, for `craton logs`.
//!
//! Owns [`LogRing`]. Lines are counted from the start of the machine, so that a reader knows when
//! some were lost.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use craton_abi::limit;

/// Lines that are kept.
pub(crate) const LINES_MAX: usize = 2_000;
/// Bytes that are kept; long lines push out more of the short ones.
const BYTES_MAX: usize = 256 << 10;
/// Most lines in one answer.
const ANSWER_LINES_MAX: usize = 500;

/// A text as one line without control characters: what a guest or a peer says must neither forge
/// lines of the log nor command the terminal that shows it.
pub(crate) fn one_line(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => line.push_str(" | "),
            '\t' => line.push(' '),
            _ if character.is_control() => line.push(char::REPLACEMENT_CHARACTER),
            _ => line.push(character),
        }
    }
    line
}

#[derive(Default)]
pub(crate) struct LogRing {
    lines: VecDeque<String>,
    bytes: usize,
    /// Number of the first line in `lines`.
    first: u64,
}

impl LogRing {
    /// Keeps a line, cut to what a line may be; the oldest make room.
    pub(crate) fn push(&mut self, line: String) {
        let mut line = one_line(line);
        let mut end = line.len().min(limit::LOG_LINE_BYTES_MAX);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.len();
            self.first += 1;
        }
    }

    /// Lines from number `from` on, or from the oldest that is left, with the first one's number.
    pub(crate) fn read(&self, from: u64) -> (u64, Vec<String>) {
        let end = self.first + self.lines.len() as u64;
        let first = from.clamp(self.first, end);
        let skip = usize::try_from(first - self.first).unwrap_or(usize::MAX);
        let lines = self.lines.iter().skip(skip).take(ANSWER_LINES_MAX);
        (first, lines.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn old_lines_make_room_and_numbers_go_on() {
        let mut ring = LogRing::default();
        for number in 0..LINES_MAX + 10 {
            ring.push(format!("line {number}"));
        }
        let (first, lines) = ring.read(0);
        assert_eq!((first, lines[0].as_str()), (10, "line 10"));
        assert_eq!(lines.len(), ANSWER_LINES_MAX);
        let (first, lines) = ring.read(LINES_MAX as u64 + 9);
        assert_eq!((first, lines.len()), (LINES_MAX as u64 + 9, 1));
        assert_eq!(ring.read(u64::MAX), (LINES_MAX as u64 + 10, Vec::new()));
    }

    #[test]
    fn long_lines_are_cut_and_bytes_are_bounded() {
        let mut ring = LogRing::default();
        for _ in 0..LINES_MAX {
            ring.push("é".repeat(limit::LOG_LINE_BYTES_MAX));
        }
        assert!(ring.bytes <= BYTES_MAX);
        assert_eq!(ring.read(0).1[0].len(), limit::LOG_LINE_BYTES_MAX);
    }

    #[test]
    fn no_text_makes_two_lines_or_commands_a_terminal() {
        let forged = String::from("hi\r\n0.1 warn cluster: n1 is down\x1b[2J\u{9b}1m");
        let line = one_line(forged);
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(line.starts_with("hi\u{fffd} | 0.1 warn"));
        assert_eq!(one_line(String::from("as it is: é")), "as it is: é");
        let mut ring = LogRing::default();
        ring.push(String::from("a\nb"));
        assert_eq!(ring.read(0).1, ["a | b"]);
    }
}

//! The character generator (RFC 864): lines of 72 characters, each begun one further.
//!
//! Owns the pattern, made when this is compiled, so that what is measured is the network; `lib.rs`
//! has the connections.

use alloc::vec::Vec;
use craton_net::{Stack, StreamId};

const CHARACTERS: usize = 95;
const FIRST: usize = b' ' as usize;
const LINE: usize = 72;
const LINE_BYTES: usize = LINE + 2;
const PATTERN_BYTES: usize = LINE_BYTES * CHARACTERS;

/// All lines, after which the first comes again.
static PATTERN: [u8; PATTERN_BYTES] = pattern();

const fn pattern() -> [u8; PATTERN_BYTES] {
    let mut pattern = [0; PATTERN_BYTES];
    let mut place = 0;
    while place < PATTERN_BYTES {
        let (line, column) = (place / LINE_BYTES, place % LINE_BYTES);
        pattern[place] = if column == LINE {
            b'\r'
        } else if column > LINE {
            b'\n'
        } else {
            (FIRST + (line + column) % CHARACTERS) as u8
        };
        place += 1;
    }
    pattern
}

/// Writes as much of the pattern as there is room for.
pub(crate) fn fill(stream: StreamId, stack: &mut Stack, place: &mut usize) {
    while stack.room(stream).unwrap_or(0) > 0 {
        let written = stack.write(stream, &PATTERN[*place..]).unwrap_or(0);
        if written == 0 {
            return;
        }
        *place = (*place + written) % PATTERN_BYTES;
    }
}

/// The answer to a datagram: a line, and no longer than the question, so that nobody can make us
/// send a victim more than was sent to us.
pub(crate) fn line(question_bytes: usize) -> Vec<u8> {
    PATTERN[..LINE_BYTES.min(question_bytes)].to_vec()
}

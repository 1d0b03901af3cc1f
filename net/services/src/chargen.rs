//! The character generator (RFC 864): lines of 72 characters, each begun one further.
//!
//! Owns the pattern; `lib.rs` has the connections.

use crate::limit;
use alloc::vec::Vec;
use craton_net::{Stack, StreamId};

const CHARACTERS: usize = 95;
const FIRST: usize = b' ' as usize;
const LINE: usize = 72;
const LINE_BYTES: usize = LINE + 2;

/// The byte at a place of the pattern.
fn byte(place: usize) -> u8 {
    let (line, column) = (place / LINE_BYTES, place % LINE_BYTES);
    match column {
        LINE => b'\r',
        column if column > LINE => b'\n',
        column => (FIRST + (line + column) % CHARACTERS) as u8,
    }
}

/// Writes as much of the pattern as there is room for.
pub(crate) fn fill(stream: StreamId, stack: &mut Stack, place: &mut usize, block: &mut Vec<u8>) {
    loop {
        let room = stack.room(stream).unwrap_or(0).min(limit::BLOCK_BYTES);
        if room == 0 {
            return;
        }
        block.clear();
        block.extend((*place..*place + room).map(byte));
        let written = stack.write(stream, block).unwrap_or(0);
        if written == 0 {
            return;
        }
        *place = (*place + written) % (LINE_BYTES * CHARACTERS);
    }
}

/// The answer to a datagram: a line, and no longer than the question, so that nobody can make us
/// send a victim more than was sent to us.
pub(crate) fn line(question_bytes: usize) -> Vec<u8> {
    (0..LINE_BYTES.min(question_bytes)).map(byte).collect()
}

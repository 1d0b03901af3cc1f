//! Cuts standard input, which comes in parts of any length, into chunks that end between words.
//!
//! Owns [`Cutter`]. It holds back the beginning of a word that may go on, at most
//! [`WORD_BYTES_MAX`] bytes of it; what exceeds them is passed over and counted as bytes only.

use crate::table::WORD_BYTES_MAX;
use crate::text::is_word_byte;
use alloc::vec::Vec;

/// Longest chunk, so that with its header it is one fragment of a session.
pub const CHUNK_BYTES_MAX: usize = 63 << 10;

/// See the module.
#[derive(Default)]
pub struct Cutter {
    /// The chunk that is being filled.
    pending: Vec<u8>,
    /// Whether the word at the end of `pending` is as long as is told apart, and still goes on.
    passing_over: bool,
    /// Bytes of input so far.
    bytes: u64,
    /// Bytes of long words that are in no chunk.
    passed_over: u64,
}

impl Cutter {
    /// Takes the next part of the input and gives each whole chunk to `emit`.
    pub fn push<E>(
        &mut self,
        input: &[u8],
        mut emit: impl FnMut(Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.bytes += input.len() as u64;
        let mut rest = self.pass_over(input);
        while !rest.is_empty() {
            let room = CHUNK_BYTES_MAX - self.pending.len();
            let (part, after) = rest.split_at(room.min(rest.len()));
            self.pending.extend_from_slice(part);
            rest = after;
            if self.pending.len() == CHUNK_BYTES_MAX {
                let chunk = self.cut();
                if !chunk.is_empty() {
                    emit(chunk)?;
                }
                rest = self.pass_over(rest);
            }
        }
        Ok(())
    }

    /// What is left at the end of the input: the last chunk.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        self.passing_over = false;
        Some(core::mem::take(&mut self.pending)).filter(|chunk| !chunk.is_empty())
    }

    /// Bytes of input so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of input that are in no chunk and never will be.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Splits `pending` after its last byte that is no word's and keeps what follows; the chunk is
    /// empty if there is no such byte.
    fn cut(&mut self) -> Vec<u8> {
        let end = self.pending.iter().rposition(|byte| !is_word_byte(*byte)).map_or(0, |at| at + 1);
        let mut kept = Vec::with_capacity(CHUNK_BYTES_MAX);
        kept.extend_from_slice(&self.pending[end..]);
        let mut chunk = core::mem::replace(&mut self.pending, kept);
        chunk.truncate(end);
        if self.pending.len() >= WORD_BYTES_MAX {
            self.passed_over += (self.pending.len() - WORD_BYTES_MAX) as u64;
            self.pending.truncate(WORD_BYTES_MAX);
            self.passing_over = true;
        }
        chunk
    }

    /// Drops the rest of a long word from the front of `input`.
    fn pass_over<'a>(&mut self, input: &'a [u8]) -> &'a [u8] {
        if !self.passing_over {
            return input;
        }
        let end = input.iter().position(|byte| !is_word_byte(*byte));
        self.passing_over = end.is_none();
        let (dropped, rest) = input.split_at(end.unwrap_or(input.len()));
        self.passed_over += dropped.len() as u64;
        rest
    }
}

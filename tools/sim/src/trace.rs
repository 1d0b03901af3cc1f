//! What happened, as one hash: equal seeds must give equal hashes.
//!
//! Owns [`Trace`]. Every event of the world goes through it; printing is optional.

use craton_abi::Instant;
use std::fmt::{self, Write};

pub(crate) struct Trace {
    hasher: blake3::Hasher,
    print: bool,
    line: String,
}

impl Trace {
    pub(crate) fn new(print: bool) -> Self {
        Trace { hasher: blake3::Hasher::new(), print, line: String::new() }
    }

    /// Something happened.
    pub(crate) fn note(&mut self, now: Instant, what: fmt::Arguments<'_>) {
        self.line.clear();
        let _ = write!(self.line, "{now} {what}");
        self.hasher.update(self.line.as_bytes());
        if self.print {
            println!("{}", self.line);
        }
    }

    /// Bytes went over the network.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    pub(crate) fn hash(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }
}

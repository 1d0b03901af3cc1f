//! A message on its way from one shard of a node to another.
//!
//! Owns [`Letter`]. It says what a signal says, and no more than two shards of one life of a node
//! must tell each other; a short message lies in it, so that nothing is allocated for most.

use super::Make;
use craton_abi::{AppId, Payload, Slot};

/// Longest message that lies in its letter.
const SHORT_BYTES_MAX: usize = 32;

/// A message between shards of a node. Its sender holds the receiver's credit for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Letter {
    /// Who sent it.
    pub from: Slot,
    /// For whom it is.
    pub to: Slot,
    /// The sender's app.
    pub(crate) app: AppId,
    /// What the receiver may select by.
    pub(crate) tag: u64,
    body: Body,
}

/// Where its bytes are.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Body {
    Short(Short),
    Long(Payload),
}

/// A message of few bytes: so many, and as many as there may be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Short(u8, [u8; SHORT_BYTES_MAX]);

impl Short {
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.1.get(..usize::from(self.0)).unwrap_or(&self.1)
    }
}

impl Letter {
    /// With a copy of a message if it is short, otherwise with what `make` makes of it.
    #[inline]
    pub(crate) fn new(
        (from, to): (Slot, Slot),
        app: AppId,
        tag: u64,
        message: &[u8],
        make: Make<'_>,
    ) -> Self {
        let mut short = [0; SHORT_BYTES_MAX];
        let len = message.len();
        if let (Ok(word), Some(to)) = (message.try_into(), short.first_chunk_mut::<8>()) {
            // Most are of a word, and a copy of any length is a call.
            let word: &[u8; 8] = word;
            *to = *word;
        } else if let Some(to) = short.get_mut(..len) {
            to.copy_from_slice(message);
        } else {
            return Letter { from, to, app, tag, body: Body::Long(make(message)) };
        }
        Letter { from, to, app, tag, body: Body::Short(Short(len as u8, short)) }
    }

    /// The message.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.body {
            Body::Short(short) => short.bytes(),
            Body::Long(payload) => &payload.0,
        }
    }

    /// What a process is given: `make` makes it of a short one.
    #[inline]
    pub(crate) fn into_payload(self, make: Make<'_>) -> Payload {
        self.into_short().map_or_else(|payload| payload, |short| make(short.bytes()))
    }

    /// What lay in it.
    ///
    /// # Errors
    ///
    /// The message, if it is longer.
    #[inline]
    pub(crate) fn into_short(self) -> Result<Short, Payload> {
        match self.body {
            Body::Short(short) => Ok(short),
            Body::Long(payload) => Err(payload),
        }
    }
}

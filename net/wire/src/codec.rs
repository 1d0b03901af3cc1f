//! How a body becomes bytes and bytes become a body.
//!
//! Owns the bound on a body's length and on every list in it: an element of a list may be many
//! times larger in memory than on the wire, so a count is bounded apart from the bytes.

use crate::body::Body;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use craton_abi::limit;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// Longest encoded body: the longest message and what is said around it.
pub const BODY_BYTES_MAX: usize = limit::MESSAGE_BYTES_MAX + (8 << 10);

/// Elements of any list in a body.
pub(crate) const LIST_MAX: usize = 16 << 10;

/// Why something is no body.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum BodyError {
    /// Longer than [`BODY_BYTES_MAX`].
    TooLong,
    /// The bytes are no body.
    Malformed,
    /// Bytes are left over behind the body.
    Trailing,
}

impl Body {
    /// Appends the encoded body to `out`.
    ///
    /// # Errors
    ///
    /// [`BodyError::TooLong`]; `out` is as it was before.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BodyError> {
        let start = out.len();
        let taken = core::mem::take(out);
        // Encoding into memory that grows cannot fail, and no body holds a type that refuses.
        *out = postcard::to_extend(self, taken).map_err(|_| BodyError::Malformed)?;
        if out.len() - start > BODY_BYTES_MAX {
            out.truncate(start);
            return Err(BodyError::TooLong);
        }
        Ok(())
    }

    /// Proves that `bytes` are one whole body.
    ///
    /// # Errors
    ///
    /// [`BodyError`] says why they are none.
    pub fn decode(bytes: &[u8]) -> Result<Body, BodyError> {
        if bytes.len() > BODY_BYTES_MAX {
            return Err(BodyError::TooLong);
        }
        let (body, rest) = postcard::take_from_bytes(bytes).map_err(|_| BodyError::Malformed)?;
        if rest.is_empty() { Ok(body) } else { Err(BodyError::Trailing) }
    }
}

/// Decodes a list of at most [`LIST_MAX`] elements.
pub(crate) fn bounded_list<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_seq(ListVisitor(PhantomData))
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {LIST_MAX} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        // No reservation: the claimed count is not to be trusted.
        let mut list = Vec::new();
        while let Some(element) = seq.next_element()? {
            if list.len() == LIST_MAX {
                return Err(A::Error::custom("too many elements"));
            }
            list.push(element);
        }
        Ok(list)
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;

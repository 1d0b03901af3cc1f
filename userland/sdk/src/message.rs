//! Messages: typed values and raw bytes under a tag.
//!
//! Owns [`Message`], [`Request`] and sending; receiving is in [`Mailbox`](crate::Mailbox). The
//! space of tags: programs use tags up to [`TAG_MAX`], bit 61 marks a request, bit 62 is kept for
//! the SDK, bit 63 for the system's own protocols.

use crate::error::{Error, check};
use crate::sys;
use alloc::vec::Vec;
use craton_abi::{Duration, Pid};
use postcard::ser_flavors::Flavor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Largest tag that a program may give a message of its own.
pub const TAG_MAX: u64 = REQUEST_BIT - 1;
/// Set in the tag of a [`Request`].
const REQUEST_BIT: u64 = 1 << 61;

/// Values of so many bytes are encoded where nothing need be allocated.
pub(crate) const SHORT_BYTES: usize = 64;
/// Lets the system's default decide how long to wait for room in the receiver's mailbox.
const TIMEOUT_DEFAULT: i64 = -1;

/// A value that can be sent to another process. Declare it with [`message!`](crate::message!).
pub trait Message: Serialize + DeserializeOwned {
    /// What the receiver selects it by; unique among the program's messages, at most [`TAG_MAX`].
    const TAG: u64;

    /// Told who sent the message, and the request that it is, or 0. Only a [`Request`] cares.
    #[doc(hidden)]
    fn came_as(&mut self, _from: Pid, _request: u64) {}
}

/// A [`Message`] whose sender waits for an answer: see [`Mailbox::call`](crate::Mailbox::call).
///
/// It can be handed on: whoever holds it may answer, in the app of the asker.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Request<T> {
    /// What is asked.
    pub body: T,
    /// By whom, and under which id.
    #[serde(skip)]
    asker: Asker,
}

/// Who waits for an answer. Can be sent to another process, which answers in place of this one.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Asker {
    pid: Pid,
    id: u64,
}

impl<T: Message> Message for Request<T> {
    const TAG: u64 = T::TAG | REQUEST_BIT;

    fn came_as(&mut self, from: Pid, request: u64) {
        self.asker = Asker { pid: from, id: request };
    }
}

impl<T> Request<T> {
    /// Answers the process that asked. It may have given up by now; that is no error.
    ///
    /// # Errors
    ///
    /// As [`Asker::reply`].
    pub fn reply<A: Serialize>(&self, answer: &A) -> Result<(), Error> {
        self.asker.reply(answer)
    }

    /// Who asked, for another process to answer to.
    pub fn asker(&self) -> Asker {
        self.asker
    }
}

impl Asker {
    /// The process that asked.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Answers. An answer needs no room in the asker's mailbox; a second one is dropped.
    ///
    /// # Errors
    ///
    /// `too-long` above [`MESSAGE_BYTES_MAX`](craton_abi::limit::MESSAGE_BYTES_MAX);
    /// [`Error::Malformed`] if the message was sent as no request: nobody waits.
    pub fn reply<A: Serialize>(&self, answer: &A) -> Result<(), Error> {
        if self.id == 0 {
            return Err(Error::Malformed);
        }
        encoded(answer, |bytes| check(sys::answer(&self.pid, self.id, bytes)))
    }
}

/// Sends a value; waits for room in the receiver's mailbox for as long as the system's default
/// says (5 s).
///
/// # Errors
///
/// `full` after that time, `no-process` or `no-connection` if there is nobody to take it. Success
/// means that the message holds room in the mailbox, not that anybody read it.
pub fn send<T: Message>(to: &Pid, message: &T) -> Result<(), Error> {
    encoded(message, |bytes| send_bytes(to, T::TAG, bytes, None))
}

/// As [`send`], with a time-out of the caller's choice; zero refuses at once.
///
/// # Errors
///
/// As [`send`].
pub fn send_within<T: Message>(to: &Pid, message: &T, timeout: Duration) -> Result<(), Error> {
    encoded(message, |bytes| send_bytes(to, T::TAG, bytes, Some(timeout)))
}

/// Sends bytes under a tag; without a time-out, the system's default counts.
///
/// # Errors
///
/// As [`send`], and `too-long` above
/// [`MESSAGE_BYTES_MAX`](craton_abi::limit::MESSAGE_BYTES_MAX).
pub fn send_bytes(
    to: &Pid,
    tag: u64,
    payload: &[u8],
    timeout: Option<Duration>,
) -> Result<(), Error> {
    check(sys::send(to, tag, payload, timeout.map_or(TIMEOUT_DEFAULT, timeout_nanos)))
}

/// The tag for a message's name: a 61-bit FNV-1a hash, so that two parts of a program need no
/// table in common.
pub const fn tag_of_name(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    (hash ^ (hash >> 61)) & TAG_MAX
}

/// Declares types as messages, each under a name that is unique in the program.
#[macro_export]
macro_rules! message {
    ($($type:ty = $name:literal),+ $(,)?) => {
        $(impl $crate::Message for $type {
            const TAG: u64 = $crate::tag_of_name($name);
        })+
    };
}

pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    postcard::to_allocvec(value).map_err(|_| Error::Unencodable)
}

/// Gives `then` the bytes of a value. Nothing is allocated for one that is short: most are, and a
/// process that has just begun would make its heap for it.
#[inline]
pub(crate) fn encoded<T: Serialize + ?Sized, R>(
    value: &T,
    then: impl FnOnce(&[u8]) -> Result<R, Error>,
) -> Result<R, Error> {
    let mut bytes = Encoded { short: [0; SHORT_BYTES], len: 0, long: Vec::new() };
    // Once, whatever the length: to encode an end of a channel gives it away.
    postcard::serialize_with_flavor(value, Encoder(&mut bytes)).map_err(|_| Error::Unencodable)?;
    then(bytes.bytes())
}

/// The bytes of a value: short ones where they are, long ones in the vector.
struct Encoded {
    short: [u8; SHORT_BYTES],
    /// Of the short ones; more than there can be where they are long.
    len: usize,
    long: Vec<u8>,
}

struct Encoder<'a>(&'a mut Encoded);

impl Encoded {
    fn bytes(&self) -> &[u8] {
        self.short.get(..self.len).unwrap_or(&self.long)
    }

    #[inline(never)]
    fn push_long(&mut self, more: &[u8]) {
        if let Some(short) = self.short.get(..self.len) {
            self.long = Vec::with_capacity(2 * SHORT_BYTES + more.len());
            self.long.extend_from_slice(short);
            self.len = usize::MAX;
        }
        self.long.extend_from_slice(more);
    }
}

impl Flavor for Encoder<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        match self.0.short.get_mut(self.0.len) {
            Some(place) => {
                *place = byte;
                self.0.len += 1;
            }
            None => self.0.push_long(&[byte]),
        }
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let room = self.0.short.get_mut(self.0.len..).and_then(|room| room.get_mut(..bytes.len()));
        match room {
            Some(room) => {
                copy_short(room, bytes);
                self.0.len += bytes.len();
            }
            None => self.0.push_long(bytes),
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Copies `from` to `to`, which is as long. Numbers are written in a few bytes each, and a copy of
/// any length is a call out of WebAssembly: these two are first and last parts that overlap.
#[inline]
fn copy_short(to: &mut [u8], from: &[u8]) {
    if from.len() > 16 {
        return to.copy_from_slice(from);
    }
    let copied = copy_ends::<8>(to, from) || copy_ends::<4>(to, from) || copy_ends::<2>(to, from);
    if !copied && let ([to], [from]) = (to, from) {
        *to = *from;
    }
}

/// Copies the first and the last `N` bytes, if there are as many.
#[inline]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) -> bool {
    let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else {
        return false;
    };
    if let Some(to) = to.first_chunk_mut() {
        *to = *first;
    }
    if let Some(to) = to.last_chunk_mut() {
        *to = *last;
    }
    true
}

/// Reads a value that takes up all of `bytes`.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(Error::Malformed),
    }
}

/// A time-out as the ABI takes it.
pub(crate) fn timeout_nanos(timeout: Duration) -> i64 {
    i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec;

    /// As its bytes are in the vector that postcard makes.
    fn check<T: Serialize>(value: &T) {
        let expected = encode(value).expect("it can be encoded");
        let bytes = encoded(value, |bytes| Ok(bytes.to_vec()));
        assert_eq!(bytes, Ok(expected));
    }

    #[test]
    fn short_and_long_values_have_the_same_bytes_wherever_they_are_made() {
        check(&());
        for len in 0..3 * SHORT_BYTES {
            let text: String = (0..len).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
            check(&text);
            check(&(7_u8, &text, u64::MAX));
            check(&vec![true; len]);
        }
        for shift in 0..64 {
            check(&(1_u64 << shift, u64::MAX >> shift, 1_u32 << (shift % 32), shift as i8));
            check(&[u64::MAX >> shift; 12]);
        }
    }
}

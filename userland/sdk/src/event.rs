//! What comes to a process: messages, answers and notices as the SDK shows them.
//!
//! Owns [`Event`], [`Received`] and what they are made of; [`Mailbox`](crate::Mailbox) makes them.

use crate::error::Error;
use crate::message::{Message, decode};
use crate::process::Monitor;
use crate::timer::Timer;
use alloc::vec::Vec;
use craton_abi::{ErrorCode, ExitReason, Pid};

/// What came: a message in the mailbox's buffer, or a notice. A process gets no kind of notice that
/// it did not ask for, so that a kind which a program does not know needs no care.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A message.
    Message(Envelope<'a>),
    /// A watched process ended.
    Down(Down),
    /// A linked process ended, and this one [traps exits](crate::trap_exits).
    Exit(Exit),
    /// The answer to a request that was made by [`ask`](crate::ask).
    Answer(Answer<'a>),
    /// A [`Timer`] is due.
    Timer(Timer),
}

/// A message as it came.
#[derive(Copy, Clone, Debug)]
pub struct Envelope<'a> {
    /// Who sent it.
    pub from: Pid,
    /// What it can be selected by.
    pub tag: u64,
    /// The message.
    pub payload: &'a [u8],
    /// The request that it is, or 0.
    pub(crate) request: u64,
}

/// The answer to a request.
#[derive(Copy, Clone, Debug)]
pub struct Answer<'a> {
    /// Who answers: the process asked, or one that it handed the request to.
    pub from: Pid,
    /// Which request.
    pub pending: Pending,
    /// The answer.
    pub payload: &'a [u8],
}

/// A request that was made by [`ask`](crate::ask): the mailbox will get an [`Answer`] to it, or
/// else a [`Down`] of its monitor.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Pending {
    /// The monitor that came with it.
    pub monitor: Monitor,
}

/// The notice of a monitor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Down {
    /// The process that was watched.
    pub pid: Pid,
    /// Which monitor told.
    pub monitor: Monitor,
    /// How it ended, or why there will be no more news of it.
    pub reason: ExitReason,
}

/// The end of a linked process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exit {
    /// The process that was linked.
    pub pid: Pid,
    /// How it ended.
    pub reason: ExitReason,
}

/// A notice that waits for its turn.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    Down(Down),
    Exit(Exit),
    Timer(Timer),
    /// An answer, kept whole.
    Answer(Pid, Pending, Vec<u8>),
}

/// A message of an expected type, or a notice that came first.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Received<T> {
    /// The message.
    Message {
        /// Who sent it.
        from: Pid,
        /// What it says.
        body: T,
    },
    /// A watched process ended.
    Down(Down),
    /// A linked process ended, and this one [traps exits](crate::trap_exits).
    Exit(Exit),
    /// A [`Timer`] is due.
    Timer(Timer),
}

impl<T> Received<T> {
    /// The message and its sender; a notice becomes an error.
    ///
    /// # Errors
    ///
    /// [`Error::Down`], or `timed-out` if a timer was due.
    pub fn message(self) -> Result<(Pid, T), Error> {
        match self {
            Received::Message { from, body } => Ok((from, body)),
            Received::Down(Down { pid, reason, .. }) | Received::Exit(Exit { pid, reason }) => {
                Err(Error::Down { pid, reason })
            }
            Received::Timer(_) => Err(ErrorCode::TimedOut.into()),
        }
    }
}

impl Envelope<'_> {
    /// Whether this is a `T`.
    pub fn is<T: Message>(&self) -> bool {
        self.tag == T::TAG
    }

    /// The message as a `T`.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if it is none.
    pub fn decode<T: Message>(&self) -> Result<T, Error> {
        if !self.is::<T>() {
            return Err(Error::Malformed);
        }
        let mut message: T = decode(self.payload)?;
        message.came_as(self.from, self.request);
        Ok(message)
    }
}

impl Answer<'_> {
    /// The answer as an `A`.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if it is none.
    pub fn decode<A: serde::de::DeserializeOwned>(&self) -> Result<A, Error> {
        decode(self.payload)
    }
}

impl Pending {
    /// Takes the request back: its answer will not come. Says whether it, or the end of the asked,
    /// was queued already.
    pub fn cancel(self) -> bool {
        self.monitor.cancel()
    }
}

impl Notice {
    /// The id of the monitor, timer or request that it is of.
    pub(crate) fn id(&self) -> Option<u64> {
        match self {
            Notice::Down(down) => Some(down.monitor.id()),
            Notice::Timer(timer) => Some(timer.id()),
            Notice::Answer(_, pending, _) => Some(pending.monitor.id()),
            Notice::Exit(_) => None,
        }
    }

    pub(crate) fn received<T>(self) -> Option<Received<T>> {
        match self {
            Notice::Down(down) => Some(Received::Down(down)),
            Notice::Exit(exit) => Some(Received::Exit(exit)),
            Notice::Timer(timer) => Some(Received::Timer(timer)),
            Notice::Answer(..) => None,
        }
    }
}

//! Receiving: messages, notices of monitors, answers to requests.
//!
//! Owns [`Mailbox`], the buffer through which a process reads its one queue. Several may exist;
//! they share the queue. The buffer grows to the longest message seen and is used again.

use crate::error::{Error, check};
use crate::message::{Message, REPLY_BIT, TAG_MAX, decode, encode, send_bytes, timeout_nanos};
use crate::process::Monitor;
use crate::sys;
use crate::sys::ReceiveHeader;
use crate::system::{now, random_u64};
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use craton_abi::{Duration, ErrorCode, ExitReason, Instant, Pid, limit};

/// Room for a message before the first long one.
const CAPACITY_FIRST: usize = 256;
/// Waits for ever.
const TIMEOUT_NEVER: i64 = -1;
/// Kinds of [`ReceiveHeader`].
const KIND_MESSAGE: u32 = 0;
const KIND_DOWN: u32 = 1;
const KIND_EXIT: u32 = 2;

/// The receiving end of a process.
#[derive(Debug)]
pub struct Mailbox {
    buffer: Vec<u8>,
    /// Notices that came while something else was awaited. A monitor fires once and a link breaks
    /// once, so there are at most as many as a process may hold of both.
    kept: VecDeque<Notice>,
    /// The last reply tag; 0 before the first request.
    reply_tag: u64,
}

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
enum Notice {
    Down(Down),
    Exit(Exit),
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
}

impl<T> Received<T> {
    /// The message and its sender; a notice becomes an error.
    ///
    /// # Errors
    ///
    /// [`Error::Down`].
    pub fn message(self) -> Result<(Pid, T), Error> {
        match self {
            Received::Message { from, body } => Ok((from, body)),
            Received::Down(Down { pid, reason, .. }) | Received::Exit(Exit { pid, reason }) => {
                Err(Error::Down { pid, reason })
            }
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
        if self.is::<T>() { decode(self.payload) } else { Err(Error::Malformed) }
    }
}

impl Default for Mailbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Mailbox {
    /// A mailbox with a small buffer.
    pub fn new() -> Self {
        Self::with_capacity(CAPACITY_FIRST)
    }

    /// A mailbox with room for messages of this many bytes from the start.
    pub fn with_capacity(bytes: usize) -> Self {
        let buffer = vec![0; bytes.min(limit::MESSAGE_BYTES_MAX)];
        Mailbox { buffer, kept: VecDeque::new(), reply_tag: 0 }
    }

    /// Waits for whatever comes next.
    ///
    /// # Errors
    ///
    /// As the system refuses; the ABI names no reason to.
    pub fn next_event(&mut self) -> Result<Event<'_>, Error> {
        self.next_before(None)
    }

    /// As [`Mailbox::next_event`], for so long. Zero takes only what is there already.
    ///
    /// # Errors
    ///
    /// `timed-out`.
    pub fn next_event_within(&mut self, timeout: Duration) -> Result<Event<'_>, Error> {
        self.next_before(Some(now() + timeout))
    }

    /// Waits for the next `T`, or a notice; other messages stay queued.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the message is no `T` in spite of its tag; it is gone then.
    pub fn receive<T: Message>(&mut self) -> Result<Received<T>, Error> {
        self.receive_before(None)
    }

    /// As [`Mailbox::receive`], for so long.
    ///
    /// # Errors
    ///
    /// As [`Mailbox::receive`], and `timed-out`.
    pub fn receive_within<T: Message>(&mut self, timeout: Duration) -> Result<Received<T>, Error> {
        self.receive_before(Some(now() + timeout))
    }

    /// Sends a request and waits for its answer; notices of other monitors are kept for the next
    /// receive. The answerer takes a [`Request`](crate::Request) and calls its `reply`.
    ///
    /// # Errors
    ///
    /// [`Error::Down`] if the process asked ends first, `timed-out` after `timeout`, and as
    /// [`send`](crate::send). The request may have been carried out in spite of the error.
    pub fn call<T: Message, A: serde::de::DeserializeOwned>(
        &mut self,
        to: &Pid,
        request: &T,
        timeout: Duration,
    ) -> Result<A, Error> {
        let reply_tag = self.fresh_reply_tag();
        let deadline = now() + timeout;
        let payload = encode(&(reply_tag, request))?;
        let monitor = Monitor::new(to)?;
        let tag = <crate::Request<T> as Message>::TAG;
        let answer = send_bytes(to, tag, &payload, Some(timeout))
            .and_then(|()| self.await_reply(reply_tag, monitor, deadline));
        monitor.cancel();
        answer
    }

    /// Waits for a message with this tag; notices are kept for the next receive.
    pub(crate) fn tagged(&mut self, tag: u64) -> Result<Envelope<'_>, Error> {
        loop {
            let header = self.take(Some(tag), None)?;
            if header.kind == KIND_MESSAGE {
                return Ok(envelope(&header, &self.buffer));
            }
            let notice = self.notice(&header)?;
            self.kept.push_back(notice);
        }
    }

    fn next_before(&mut self, deadline: Option<Instant>) -> Result<Event<'_>, Error> {
        if let Some(notice) = self.kept.pop_front() {
            return Ok(notice.into());
        }
        loop {
            let header = self.take(None, deadline)?;
            if header.kind != KIND_MESSAGE {
                return self.notice(&header).map(Event::from);
            }
            // An answer that nobody waits for any more.
            if header.tag & !TAG_MAX == REPLY_BIT {
                continue;
            }
            return Ok(Event::Message(envelope(&header, &self.buffer)));
        }
    }

    fn receive_before<T: Message>(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Received<T>, Error> {
        if let Some(notice) = self.kept.pop_front() {
            return Ok(notice.into());
        }
        let header = self.take(Some(T::TAG), deadline)?;
        if header.kind != KIND_MESSAGE {
            return self.notice(&header).map(Received::from);
        }
        let envelope = envelope(&header, &self.buffer);
        Ok(Received::Message { from: envelope.from, body: envelope.decode()? })
    }

    fn await_reply<A: serde::de::DeserializeOwned>(
        &mut self,
        reply_tag: u64,
        monitor: Monitor,
        deadline: Instant,
    ) -> Result<A, Error> {
        loop {
            let header = self.take(Some(reply_tag), Some(deadline))?;
            if header.kind == KIND_MESSAGE {
                return decode(envelope(&header, &self.buffer).payload);
            }
            match self.notice(&header)? {
                Notice::Down(down) if down.monitor == monitor => {
                    return Err(Error::Down { pid: down.pid, reason: down.reason });
                }
                other => self.kept.push_back(other),
            }
        }
    }

    /// Takes what comes next into the buffer, which grows where it is too small.
    fn take(
        &mut self,
        tag: Option<u64>,
        deadline: Option<Instant>,
    ) -> Result<ReceiveHeader, Error> {
        let mut header = ReceiveHeader::default();
        loop {
            let timeout = deadline.map_or(TIMEOUT_NEVER, |at| timeout_nanos(at - now()));
            match check(sys::receive(&mut self.buffer, tag, timeout, &mut header)) {
                Err(Error::Refused(ErrorCode::TooLong)) if self.grow_for(&header) => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(header),
            }
        }
    }

    /// Makes room for the message that did not fit; `false` if there was room.
    fn grow_for(&mut self, header: &ReceiveHeader) -> bool {
        let len = usize::try_from(header.len).unwrap_or(usize::MAX);
        let grows = len > self.buffer.len();
        if grows {
            self.buffer = Vec::new();
            self.buffer.resize(len.checked_next_power_of_two().unwrap_or(len), 0);
        }
        grows
    }

    fn notice(&self, header: &ReceiveHeader) -> Result<Notice, Error> {
        let pid = Pid::from_bytes(&header.from);
        let bytes = envelope(header, &self.buffer).payload;
        let reason = || ExitReason::from_bytes(bytes).map_err(|_| Error::Malformed);
        match header.kind {
            KIND_DOWN => {
                let monitor = Monitor::from_id(header.tag);
                Ok(Notice::Down(Down { pid, monitor, reason: reason()? }))
            }
            KIND_EXIT => Ok(Notice::Exit(Exit { pid, reason: reason()? })),
            // This SDK asks for no other kind.
            _ => Err(Error::Malformed),
        }
    }

    /// Random at first, so that an answer meant for an earlier process of the same program is
    /// never taken for one of ours; then counted.
    fn fresh_reply_tag(&mut self) -> u64 {
        let last = if self.reply_tag == 0 { random_u64() } else { self.reply_tag };
        self.reply_tag = (last.wrapping_add(1) & TAG_MAX) | REPLY_BIT;
        self.reply_tag
    }
}

impl From<Notice> for Event<'_> {
    fn from(notice: Notice) -> Self {
        match notice {
            Notice::Down(down) => Event::Down(down),
            Notice::Exit(exit) => Event::Exit(exit),
        }
    }
}

impl<T> From<Notice> for Received<T> {
    fn from(notice: Notice) -> Self {
        match notice {
            Notice::Down(down) => Received::Down(down),
            Notice::Exit(exit) => Received::Exit(exit),
        }
    }
}

/// The message that `header` describes. The system fills at most the buffer; should it ever claim
/// more, the message is what is there.
fn envelope<'a>(header: &ReceiveHeader, buffer: &'a [u8]) -> Envelope<'a> {
    let len = usize::try_from(header.len).unwrap_or(usize::MAX).min(buffer.len());
    Envelope { from: Pid::from_bytes(&header.from), tag: header.tag, payload: &buffer[..len] }
}

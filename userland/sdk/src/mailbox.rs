//! Receiving: messages, notices of monitors, links and timers, answers to requests.
//!
//! Owns [`Mailbox`], the buffer through which a process reads its one queue. Several may exist;
//! they share the queue. The buffer grows to the longest message seen and is used again.

mod reading;

use crate::channel;
use crate::error::{Error, check, check_id};
use crate::event::{Answer, Down, Envelope, Event, Exit, Notice, Pending, Received};
use crate::inbox;
use crate::message::{Message, decode, encoded, timeout_nanos};
use crate::process::Monitor;
use crate::sys;
use crate::sys::ReceiveHeader;
use crate::system::now;
use crate::timer::Timer;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use craton_abi::{Duration, ExitReason, Instant, Pid, is_channel_tag, limit};

/// Room for messages before the first long one: for a short one, and some behind it.
const CAPACITY_FIRST: usize = 512;
/// Waits for ever.
const TIMEOUT_NEVER: i64 = -1;
/// Lets the system's default decide how long to wait for room.
const TIMEOUT_DEFAULT: i64 = -1;
/// The tag of no message: who waits for it gets notices alone.
const TAG_NEVER: u64 = u64::MAX;
/// Kinds of [`ReceiveHeader`].
const KIND_MESSAGE: u32 = 0;
const KIND_DOWN: u32 = 1;
const KIND_EXIT: u32 = 2;
const KIND_ANSWER: u32 = 3;
const KIND_TIMER: u32 = 4;

/// What a receive takes; everything else stays queued.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Select {
    /// Whatever is next.
    Any,
    /// A message with this tag, or whatever is no message.
    Tag(u64),
    /// The notice, answer or time-out of this id.
    Id(u64),
}

/// The receiving end of a process.
#[derive(Debug)]
pub struct Mailbox {
    buffer: Vec<u8>,
    /// Of what is in the buffer; it stays where the system writes it.
    header: ReceiveHeader,
    /// Notices that came while something else was awaited. A monitor fires once and a link breaks
    /// once, and so on, so there are at most as many as a process may hold of all.
    kept: VecDeque<Notice>,
    /// Counts the waits of [`select!`](crate::select!), each of which has another order.
    pub(crate) turn: u64,
}

/// What was taken from the queue.
pub(crate) enum Taken {
    /// A message, which is in the buffer.
    Message,
    /// An answer, which is in the buffer.
    Answer(Pending),
    Notice(Notice),
    /// Something for the channel with this tag, which is in its inbox.
    Channel(u64),
    /// What became of an item that this process sent, by its request; it is with the inboxes.
    Sent(Monitor),
}

impl Taken {
    /// The id of the monitor, timer or request that it is of.
    pub(crate) fn id(&self) -> Option<u64> {
        match self {
            Taken::Answer(pending) => Some(pending.monitor.id()),
            Taken::Sent(request) => Some(request.id()),
            Taken::Notice(notice) => notice.id(),
            Taken::Message | Taken::Channel(_) => None,
        }
    }
}

/// Sends a request and does not wait: its answer comes to the mailbox as
/// [`Event::Answer`], or else the end of the asked as [`Event::Down`]. Waits for room in the
/// receiver's mailbox as [`send`](crate::send) does.
///
/// # Errors
///
/// As [`send`](crate::send), and `limit: requests` if as many are outstanding as may be.
pub fn ask<T: Message>(to: &Pid, request: &T) -> Result<Pending, Error> {
    ask_within(to, request, None)
}

fn ask_within<T: Message>(
    to: &Pid,
    request: &T,
    timeout: Option<Duration>,
) -> Result<Pending, Error> {
    let tag = <crate::Request<T> as Message>::TAG;
    let timeout = timeout.map_or(TIMEOUT_DEFAULT, timeout_nanos);
    let id = encoded(request, |bytes| check_id(sys::request(to, tag, bytes, timeout)))?;
    Ok(Pending { monitor: Monitor::from_id(id) })
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
        let header = ReceiveHeader::default();
        Mailbox { buffer, header, kept: VecDeque::new(), turn: 0 }
    }

    /// Waits for whatever comes next.
    ///
    /// # Errors
    ///
    /// As the system refuses; the ABI names no reason to.
    #[inline]
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

    /// Sends a request and waits for its answer; all else that comes meanwhile stays queued. The
    /// answerer takes a [`Request`](crate::Request) and calls its `reply`.
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
        let deadline = now() + timeout;
        let pending = ask_within(to, request, Some(timeout))?;
        match self.outcome(pending.monitor, Some(deadline)) {
            Ok(answer) => decode(answer),
            Err(error) => {
                pending.cancel();
                Err(error)
            }
        }
    }

    /// Waits for a message with this tag; notices are kept for the next receive.
    pub fn tagged(&mut self, tag: u64) -> Result<Envelope<'_>, Error> {
        loop {
            match self.take(Select::Tag(tag), None)? {
                Taken::Message => return Ok(self.envelope()),
                taken => self.keep(&taken)?,
            }
        }
    }

    /// Waits for a message with this tag from one process, which a monitor watches. Those with the
    /// tag from others are thrown away; notices of all else are kept.
    pub(crate) fn tagged_from(
        &mut self,
        tag: u64,
        from: &Pid,
        monitor: Monitor,
    ) -> Result<&[u8], Error> {
        loop {
            match self.take(Select::Tag(tag), None)? {
                Taken::Message if self.envelope().from == *from => break,
                Taken::Message => {}
                Taken::Notice(Notice::Down(Down { monitor: of, pid, reason })) if of == monitor => {
                    return Err(Error::Down { pid, reason });
                }
                taken => self.keep(&taken)?,
            }
        }
        Ok(self.envelope().payload)
    }

    /// Waits until something of this channel is in its inbox.
    pub(crate) fn await_channel(&mut self, tag: u64) -> Result<(), Error> {
        loop {
            match self.take(Select::Tag(tag), None)? {
                Taken::Channel(of) if of == tag => return Ok(()),
                taken => self.keep(&taken)?,
            }
        }
    }

    /// Waits for the answer to the request of this monitor.
    pub(crate) fn outcome(
        &mut self,
        monitor: Monitor,
        deadline: Option<Instant>,
    ) -> Result<&[u8], Error> {
        match self.take(Select::Id(monitor.id()), deadline)? {
            Taken::Answer(_) => Ok(self.envelope().payload),
            Taken::Notice(Notice::Down(Down { pid, reason, .. })) => {
                Err(Error::Down { pid, reason })
            }
            _ => Err(Error::Malformed),
        }
    }

    /// Waits until it is with the inboxes what became of an item that was sent.
    pub(crate) fn await_sent(
        &mut self,
        request: Monitor,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        match self.take(Select::Id(request.id()), deadline)? {
            Taken::Sent(_) => Ok(()),
            _ => Err(Error::Malformed),
        }
    }

    /// Brings up the queued items of a channel that is closed, which refuses them.
    pub(crate) fn drain_channel(&mut self, tag: u64) {
        // The end of what is queued is told like a time-out.
        while let Ok(taken) = self.take(Select::Tag(tag), Some(now())) {
            // What is no item of this channel is a notice.
            let _ = self.keep(&taken);
        }
    }

    /// Waits for the end of a linked process; other notices are kept, messages stay queued.
    pub(crate) fn exit_of(
        &mut self,
        pid: &Pid,
        deadline: Option<Instant>,
    ) -> Result<ExitReason, Error> {
        let is_it = |notice: &Notice| matches!(notice, Notice::Exit(exit) if exit.pid == *pid);
        if let Some(place) = self.kept.iter().position(is_it)
            && let Some(Notice::Exit(exit)) = self.kept.remove(place)
        {
            return Ok(exit.reason);
        }
        loop {
            match self.take(Select::Tag(TAG_NEVER), deadline)? {
                Taken::Notice(Notice::Exit(exit)) if exit.pid == *pid => return Ok(exit.reason),
                taken => self.keep(&taken)?,
            }
        }
    }

    /// Takes what was kept, or waits for what comes next.
    pub(crate) fn next_taken(&mut self, deadline: Option<Instant>) -> Result<Taken, Error> {
        match self.kept.pop_front() {
            Some(notice) => Ok(Taken::Notice(notice)),
            None => self.take(Select::Any, deadline),
        }
    }

    fn receive_before<T: Message>(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Received<T>, Error> {
        // Answers have no place in what this returns: they wait for `next_event`.
        let at = self.kept.iter().position(|notice| !matches!(notice, Notice::Answer(..)));
        if let Some(received) = at.and_then(|at| self.kept.remove(at)).and_then(Notice::received) {
            return Ok(received);
        }
        loop {
            check(self.read(Select::Tag(T::TAG), deadline))?;
            if self.is_plain() {
                let envelope = self.envelope();
                return Ok(Received::Message { from: envelope.from, body: envelope.decode()? });
            }
            if self.is_plain_end() {
                return self.down().map(Received::Down);
            }
            match self.sort()? {
                Taken::Notice(notice) => {
                    if let Some(received) = notice.received() {
                        return Ok(received);
                    }
                }
                taken => self.keep(&taken)?,
            }
        }
    }

    /// The notice with this id among those that were kept.
    pub(crate) fn kept(&self, id: u64) -> Option<&Notice> {
        self.kept.iter().find(|notice| notice.id() == Some(id))
    }

    /// Takes the notice with this id from those that were kept.
    pub(crate) fn take_kept(&mut self, id: u64) -> Option<Notice> {
        let at = self.kept.iter().position(|notice| notice.id() == Some(id))?;
        self.kept.remove(at)
    }

    /// Keeps a notice or an answer for a later receive.
    pub(crate) fn keep(&mut self, taken: &Taken) -> Result<(), Error> {
        match taken {
            Taken::Notice(notice) => self.kept.push_back(notice.clone()),
            Taken::Message | Taken::Answer(_) => {
                let notice = self.notice()?;
                self.kept.push_back(notice);
            }
            Taken::Channel(_) | Taken::Sent(_) => {}
        }
        Ok(())
    }

    /// What was taken, as an event. There is none for what is a channel's.
    pub(crate) fn event(&mut self, taken: Taken) -> Result<Event<'_>, Error> {
        match taken {
            Taken::Message => Ok(Event::Message(self.envelope())),
            Taken::Answer(pending) => {
                let Envelope { from, payload, .. } = self.envelope();
                Ok(Event::Answer(Answer { from, pending, payload }))
            }
            Taken::Notice(notice) => Ok(self.event_of(notice)),
            Taken::Channel(_) | Taken::Sent(_) => Err(Error::Malformed),
        }
    }

    /// A notice as an event; an answer goes back to the buffer.
    fn event_of(&mut self, notice: Notice) -> Event<'_> {
        match notice {
            Notice::Down(down) => Event::Down(down),
            Notice::Exit(exit) => Event::Exit(exit),
            Notice::Timer(timer) => Event::Timer(timer),
            Notice::Answer(from, pending, bytes) => {
                let len = bytes.len();
                if self.buffer.len() < len {
                    self.buffer = bytes;
                } else {
                    self.buffer[..len].copy_from_slice(&bytes);
                }
                Event::Answer(Answer { from, pending, payload: &self.buffer[..len] })
            }
        }
    }

    /// Takes what comes next, and puts it in an inbox if it is a channel's.
    fn take(&mut self, select: Select, deadline: Option<Instant>) -> Result<Taken, Error> {
        check(self.read(select, deadline))?;
        self.sort()
    }

    /// As [`Mailbox::take`], of what was read.
    #[inline(never)]
    fn sort(&mut self) -> Result<Taken, Error> {
        match self.header.kind {
            KIND_MESSAGE if is_channel_tag(self.header.tag) => {
                let item = envelope(&self.header, &self.buffer);
                inbox::with(|inboxes| inboxes.keep(&item));
                Ok(Taken::Channel(self.header.tag))
            }
            KIND_MESSAGE => Ok(Taken::Message),
            KIND_ANSWER => {
                let pending = pending(&self.header);
                let taken = channel::is_taken(self.envelope().payload);
                let is_sent = inbox::with(|inboxes| inboxes.settle(pending.monitor, Ok(taken)));
                Ok(if is_sent { Taken::Sent(pending.monitor) } else { Taken::Answer(pending) })
            }
            _ => match self.notice()? {
                Notice::Down(down) => Ok(sort_end(down)),
                notice => Ok(Taken::Notice(notice)),
            },
        }
    }

    /// What is in the buffer.
    #[inline]
    fn envelope(&self) -> Envelope<'_> {
        envelope(&self.header, &self.buffer)
    }

    fn notice(&self) -> Result<Notice, Error> {
        let header = &self.header;
        let pid = Pid::from_bytes(&header.from);
        let bytes = envelope(header, &self.buffer).payload;
        match header.kind {
            KIND_DOWN => self.down().map(Notice::Down),
            KIND_EXIT => {
                let reason = ExitReason::from_bytes(bytes).map_err(|_| Error::Malformed)?;
                Ok(Notice::Exit(Exit { pid, reason }))
            }
            KIND_ANSWER => Ok(Notice::Answer(pid, pending(header), bytes.to_vec())),
            KIND_TIMER => Ok(Notice::Timer(Timer::from_id(header.id, header.tag))),
            // This SDK asks for no other kind.
            _ => Err(Error::Malformed),
        }
    }
}

/// Gives the end of a process to the channel that it ends, or whose item it did not take.
fn sort_end(down: Down) -> Taken {
    let Down { pid, monitor, ref reason } = down;
    let outcome = Err(Error::Down { pid, reason: reason.clone() });
    if inbox::with(|inboxes| inboxes.settle(monitor, outcome)) {
        return Taken::Sent(monitor);
    }
    match inbox::with(|inboxes| inboxes.keep_end(down)) {
        Ok(tag) => Taken::Channel(tag),
        Err(down) => Taken::Notice(Notice::Down(down)),
    }
}

/// The request that an answer is to.
fn pending(header: &ReceiveHeader) -> Pending {
    Pending { monitor: Monitor::from_id(header.tag) }
}

/// The message that `header` describes. The system fills at most the buffer; should it ever claim
/// more, the message is what is there.
#[inline]
fn envelope<'a>(header: &ReceiveHeader, buffer: &'a [u8]) -> Envelope<'a> {
    let len = usize::try_from(header.len).unwrap_or(usize::MAX).min(buffer.len());
    let (from, payload) = (Pid::from_bytes(&header.from), &buffer[..len]);
    Envelope { from, tag: header.tag, payload, request: header.id }
}

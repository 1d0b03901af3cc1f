//! Channels: a stream of values from one process to another, bounded from end to end.
//!
//! Owns [`Receiver`], which makes a channel, [`SenderEnd`], which names its other end and can be
//! given to a process at its spawn or in a message, and [`Sender`], which that process makes of it.
//! A channel between two others begins with a [`ReceiverEnd`], which is given away likewise.
//! Each item is a request, and its answer is the credit for another: so few are under way at once
//! that a full channel holds up its sender and nobody else, and the end of either side is told to
//! the other as for any request. See docs/decisions/0019-channels-are-requests.md.

use crate::error::{Error, check_id};
use crate::event::Down;
use crate::inbox::{self, Item, Outcome};
use crate::mailbox::Mailbox;
use crate::message::{decode, encode, send_bytes, timeout_nanos};
use crate::process::{Monitor, me};
use crate::sys;
use crate::system::{now, random_u64};
use alloc::collections::VecDeque;
use core::marker::PhantomData;
use craton_abi::{Duration, ErrorCode, ExitReason, Instant, Pid};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Items that may be under way.
pub const CHANNEL_ITEMS: usize = 4;
/// Bytes that may be under way; an item of any length may be, alone.
pub const CHANNEL_BYTES: usize = 64 << 10;

/// Set in the tag of a channel's items; the rest is random.
const CHANNEL_BIT: u64 = 1 << 62;
/// First byte of what goes to the receiver.
const ITEM: u8 = 0;
const FINISH: u8 = 1;
/// The answer to an item.
const TAKEN: &[u8] = &[0];
const CLOSED: &[u8] = &[1];

/// The receiving end of a channel. It stays with the process that opened it. One that is dropped is
/// closed, but what lies in the queue is refused only when the process next receives.
#[derive(Debug)]
pub struct Receiver<T> {
    tag: u64,
    /// Watches whoever sends, from the first item on.
    sender: Option<Monitor>,
    over: bool,
    item: PhantomData<fn() -> T>,
}

/// The receiving end of a channel that no process has opened yet. It can be given to a process at
/// its spawn or in a message; that process's pid then makes the sending end:
///
/// ```
/// # use craton::{Error, Mailbox, ReceiverEnd, SenderEnd, SpawnOptions};
/// # craton::entries! {
/// #     SINK: "sink" = sink as fn(ReceiverEnd<u64>);
/// #     SOURCE: "source" = source as fn(SenderEnd<u64>);
/// # }
/// fn join_two() -> Result<(), Error> {
///     let end = ReceiverEnd::new();
///     let sink = SINK.spawn(&end, SpawnOptions::anywhere())?;
///     SOURCE.spawn(&end.sender(&sink.pid), SpawnOptions::anywhere())?;
///     Ok(())
/// }
///
/// fn sink(end: ReceiverEnd<u64>) -> Result<(), Error> {
///     let (mut receiver, mut mailbox) = (end.open(), Mailbox::new());
///     while let Some(_number) = receiver.receive(&mut mailbox)? {}
///     Ok(())
/// }
///
/// fn source(end: SenderEnd<u64>) -> Result<(), Error> {
///     end.open().send(&7)
/// }
/// ```
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct ReceiverEnd<T> {
    tag: u64,
    #[serde(skip)]
    item: PhantomData<fn() -> T>,
}

/// Names the sending end of a channel, for the one process that is to send.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct SenderEnd<T> {
    to: Pid,
    tag: u64,
    #[serde(skip)]
    item: PhantomData<fn(T)>,
}

/// The sending end of a channel. The channel ends in order when it is dropped, with what was sent.
///
/// The answers to its items are no events: whatever the process waits for, they are kept for this.
#[derive(Debug)]
pub struct Sender<T> {
    to: Pid,
    tag: u64,
    /// Items that are not taken yet: their requests and lengths.
    under_way: VecDeque<(Monitor, usize)>,
    bytes: usize,
    over: bool,
    /// For answers; it is asked for nothing else.
    mailbox: Mailbox,
    item: PhantomData<fn(T)>,
}

impl<T> Clone for ReceiverEnd<T> {
    /// Another name of the same end. One process alone may open it.
    fn clone(&self) -> Self {
        ReceiverEnd { tag: self.tag, item: PhantomData }
    }
}

impl<T: DeserializeOwned> Default for ReceiverEnd<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: DeserializeOwned> ReceiverEnd<T> {
    /// Makes a channel for others.
    pub fn new() -> Self {
        let tag = random_u64() & (CHANNEL_BIT - 1) | CHANNEL_BIT;
        ReceiverEnd { tag, item: PhantomData }
    }

    /// The other end, where `receiver` is the process that opens this one. The first that sends
    /// has it; others are told that the channel is closed.
    pub fn sender(&self, receiver: &Pid) -> SenderEnd<T> {
        SenderEnd { to: *receiver, tag: self.tag, item: PhantomData }
    }

    /// Makes it the calling process's receiving end.
    pub fn open(self) -> Receiver<T> {
        inbox::with(|inboxes| inboxes.open(self.tag));
        Receiver { tag: self.tag, sender: None, over: false, item: PhantomData }
    }
}

impl<T: DeserializeOwned> Default for Receiver<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: DeserializeOwned> Receiver<T> {
    /// Makes a channel whose items this process receives.
    pub fn new() -> Self {
        ReceiverEnd::new().open()
    }

    /// The other end, to be given to the one process that is to send. The first that sends has it;
    /// others are told that the channel is closed.
    pub fn sender(&self) -> SenderEnd<T> {
        SenderEnd { to: me(), tag: self.tag, item: PhantomData }
    }

    /// Waits for the next item; `None` once the sender has finished. Other messages stay queued,
    /// and notices are kept for the mailbox's next receive. To wait for other things too, see
    /// [`select!`](crate::select!).
    ///
    /// # Errors
    ///
    /// [`Error::Down`] if the sender ended without finishing, [`Error::Malformed`] if the item is
    /// no `T`; it is gone then. `limit: monitors` if the sender cannot be watched; nothing is lost.
    pub fn receive(&mut self, mailbox: &mut Mailbox) -> Result<Option<T>, Error> {
        loop {
            match self.take_item() {
                Some(item) => return item,
                None => mailbox.await_channel(self.tag)?,
            }
        }
    }

    /// Takes what [`Receiver::receive`] would give without waiting.
    pub(crate) fn take_item(&mut self) -> Option<Result<Option<T>, Error>> {
        while !self.over {
            if let Err(error) = self.watch_sender() {
                return Some(Err(error));
            }
            match inbox::with(|inboxes| inboxes.next(self.tag))? {
                Item::Message { from, request, bytes } => {
                    if let Some(item) = self.accept(from, request, &bytes) {
                        return Some(item);
                    }
                }
                Item::End(Down { pid, reason, .. }) => {
                    self.end();
                    return Some(Err(Error::Down { pid, reason }));
                }
            }
        }
        Some(Ok(None))
    }

    /// What a message of the channel gives; nothing where it is none.
    fn accept(
        &mut self,
        from: Pid,
        request: u64,
        bytes: &[u8],
    ) -> Option<Result<Option<T>, Error>> {
        match bytes.split_first()? {
            (&FINISH, _) => {
                self.end();
                Some(Ok(None))
            }
            (_, item) => {
                let _ = sys::answer(&from, request, TAKEN);
                Some(decode(item).map(Some))
            }
        }
    }

    pub(crate) fn tag(&self) -> u64 {
        self.tag
    }

    /// Closes the channel: what is queued is thrown away, and the sender is told at its next item.
    pub fn close(mut self, mailbox: &mut Mailbox) {
        self.end();
        mailbox.drain_channel(self.tag);
    }

    /// Watches the sender once it is known, before anything of it is taken.
    fn watch_sender(&mut self) -> Result<(), Error> {
        if self.sender.is_none()
            && let Some(pid) = inbox::with(|inboxes| inboxes.sender(self.tag))
        {
            let monitor = Monitor::new(&pid)?;
            inbox::with(|inboxes| inboxes.watch(monitor, self.tag));
            self.sender = Some(monitor);
        }
        Ok(())
    }
}

impl<T> Receiver<T> {
    fn end(&mut self) {
        if core::mem::replace(&mut self.over, true) {
            return;
        }
        if let Some(monitor) = self.sender {
            monitor.cancel();
        }
        inbox::with(|inboxes| inboxes.close(self.tag));
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if !sys::is_unwinding() {
            self.end();
        }
    }
}

/// Whether the answer to an item says that it was taken.
pub(crate) fn is_taken(answer: &[u8]) -> bool {
    answer == TAKEN
}

/// Tells the sender of an item that its channel is closed.
pub(crate) fn refuse(from: &Pid, request: u64) {
    let _ = sys::answer(from, request, CLOSED);
}

impl<T: Serialize> SenderEnd<T> {
    /// Makes the sending end of it.
    pub fn open(self) -> Sender<T> {
        Sender {
            to: self.to,
            tag: self.tag,
            under_way: VecDeque::new(),
            bytes: 0,
            over: false,
            mailbox: Mailbox::new(),
            item: PhantomData,
        }
    }
}

impl<T: Serialize> Sender<T> {
    /// Sends an item; waits for as long as the channel is full.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the receiver closed the channel or has another sender, [`Error::Down`]
    /// if it ended, `too-long` for what is no message. What was sent and not taken is lost.
    pub fn send(&mut self, item: &T) -> Result<(), Error> {
        self.send_before(item, None)
    }

    /// As [`Sender::send`], for so long.
    ///
    /// # Errors
    ///
    /// `full` after that time, and as [`Sender::send`].
    pub fn send_within(&mut self, item: &T, timeout: Duration) -> Result<(), Error> {
        self.send_before(item, Some(now() + timeout))
    }

    fn send_before(&mut self, item: &T, deadline: Option<Instant>) -> Result<(), Error> {
        let bytes = encode(&(ITEM, item))?;
        while self.is_full(bytes.len()) {
            self.await_credit(deadline)?;
        }
        if self.over {
            return Err(Error::Closed);
        }
        let timeout = deadline.map_or(Duration::MAX, |deadline| deadline - now());
        let id = sys::request(&self.to, self.tag, &bytes, timeout_nanos(timeout));
        let monitor = match check_id(id) {
            Ok(id) => Monitor::from_id(id),
            Err(Error::Refused(ErrorCode::NoProcess | ErrorCode::NoConnection)) => {
                return Err(self.end_of_receiver());
            }
            Err(error) => return Err(error),
        };
        inbox::with(|inboxes| inboxes.expect(monitor));
        self.under_way.push_back((monitor, bytes.len()));
        self.bytes += bytes.len();
        Ok(())
    }

    /// How the receiver ended, as the items that it did not take tell.
    fn end_of_receiver(&mut self) -> Error {
        let told = self.flush();
        self.over = true;
        let unknown = Error::Down { pid: self.to, reason: ExitReason::NoProcess };
        told.err().unwrap_or(unknown)
    }

    /// Waits until everything that was sent is taken.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    pub fn flush(&mut self) -> Result<(), Error> {
        while !self.under_way.is_empty() {
            self.await_credit(None)?;
        }
        Ok(())
    }

    fn is_full(&self, bytes: usize) -> bool {
        let items = self.under_way.len();
        items >= CHANNEL_ITEMS || (items > 0 && self.bytes + bytes > CHANNEL_BYTES)
    }

    /// Waits until the oldest item is taken.
    fn await_credit(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        let Some(&(monitor, _)) = self.under_way.front() else { return Ok(()) };
        let mut outcome = inbox::with(|inboxes| inboxes.outcome(monitor));
        if outcome.is_none() {
            match self.mailbox.await_sent(monitor, deadline) {
                Err(Error::Refused(ErrorCode::TimedOut)) => return Err(ErrorCode::Full.into()),
                Err(error) => {
                    inbox::with(|inboxes| inboxes.forget(monitor));
                    outcome = Some(Err(error));
                }
                Ok(()) => outcome = inbox::with(|inboxes| inboxes.outcome(monitor)),
            }
        }
        self.settle(0, outcome.unwrap_or(Err(Error::Malformed)))
    }

    /// What became of an item under way: it was taken, or refused, or its receiver ended.
    fn settle(&mut self, at: usize, taken: Outcome) -> Result<(), Error> {
        if let Some((_, bytes)) = self.under_way.remove(at) {
            self.bytes -= bytes;
        }
        self.over |= taken != Ok(true);
        match taken {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Closed),
            Err(error) => Err(error),
        }
    }

    /// The requests under way.
    pub(crate) fn requests(&self) -> impl Iterator<Item = Monitor> {
        self.under_way.iter().map(|(monitor, _)| *monitor)
    }

    /// Takes all answers that have come; says that there is room, or why there is none any more.
    pub(crate) fn take_room(&mut self) -> Option<Result<(), Error>> {
        let (mut at, mut told) = (0, Ok(()));
        while let Some(&(monitor, _)) = self.under_way.get(at) {
            match inbox::with(|inboxes| inboxes.outcome(monitor)) {
                None => at += 1,
                Some(outcome) => told = told.and(self.settle(at, outcome)),
            }
        }
        if told.is_ok() && self.over {
            told = Err(Error::Closed);
        }
        (told.is_err() || !self.is_full(1)).then_some(told)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if sys::is_unwinding() {
            return;
        }
        for (monitor, _) in self.under_way.drain(..) {
            inbox::with(|inboxes| inboxes.forget(monitor));
            monitor.cancel();
        }
        if !self.over {
            // Nobody is left to be told of a failure: the receiver is gone then.
            let _ = send_bytes(&self.to, self.tag, &[FINISH], Some(Duration::MAX));
        }
    }
}

const _: () = assert!(
    3 * CHANNEL_ITEMS < craton_abi::limit::WINDOW_MESSAGES as usize
        && 3 * CHANNEL_BYTES < craton_abi::limit::WINDOW_BYTES as usize,
    "full channels must leave credit for other messages"
);

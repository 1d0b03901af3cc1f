//! What goes into a mailbox, what comes out of it, and what is said about it.
//!
//! Owns the values that cross the edge of a [`Mailbox`](super::Mailbox).

use crate::{Amount, CreditDue, Source};
use alloc::vec::Vec;
use craton_abi::{ExitReason, Instant, MonitorId, Payload, Pid, TimerId};

/// A message in a mailbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Who sent it.
    pub from: Pid,
    /// What it may be selected by.
    pub tag: u64,
    /// The message.
    pub payload: Payload,
    /// The request that it is, if its sender waits for an answer.
    pub request: Option<MonitorId>,
}

/// A message where it lies.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct MessageView<'a> {
    /// Who sent it.
    pub from: Pid,
    /// What it may be selected by.
    pub tag: u64,
    /// The message.
    pub bytes: &'a [u8],
    /// The request that it is, if its sender waits for an answer.
    pub request: Option<MonitorId>,
}

/// News of a watched or linked process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// The watched process.
    pub from: Pid,
    /// The monitor.
    pub id: MonitorId,
    /// How it ended.
    pub reason: ExitReason,
}

/// The answer to a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Who answers: the process asked, or one that it handed the request to.
    pub from: Pid,
    /// The request.
    pub id: MonitorId,
    /// The answer.
    pub payload: Payload,
}

/// A timer that is due.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Timeout {
    /// Which.
    pub id: TimerId,
    /// What its owner marked it with.
    pub tag: u64,
}

/// The mailbox has no room for a message.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Refused {
    /// Until the process takes some.
    Full,
    /// It never has.
    TooLarge,
}

/// What a receive takes.
#[must_use]
#[derive(Debug, Eq, PartialEq)]
pub enum Taken {
    /// A message of the same shard. A sender that waits may have room now.
    Local(Message),
    /// A message from elsewhere, and the credit to be returned, if it is time to.
    Credited(Message, Option<CreditDue>),
    /// A notice.
    Notice(Notice),
    /// The end of a linked process, and how it ended.
    Exit(Pid, ExitReason),
    /// The answer to a request.
    Answer(Answer),
    /// A timer that was due.
    Timeout(Timeout),
}

/// How the room of a message was paid for that was taken.
#[must_use]
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Paid {
    /// By the mailbox's bound: a sender of the same shard that waits may have room now.
    Local,
    /// By the credit of its shard: what is to be returned, if it is time to.
    Credited(Option<CreditDue>),
}

/// What is left to do when a mailbox ends.
#[must_use]
#[derive(Debug, Default)]
pub struct Closed {
    /// The shards that still count on credit.
    pub sources: Vec<Source>,
    /// The monitors to take back, and whom they watch.
    pub watched: Vec<(MonitorId, Pid)>,
    /// The timers to take back, and when they would have been due.
    pub timers: Vec<(Instant, TimerId)>,
}

/// What became of a monitor that is taken back.
#[must_use]
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Released {
    /// There is no such monitor, or its notice was received.
    Unknown,
    /// It had fired; its notice was queued and is taken back.
    Notice,
    /// It had not: the target is to be told.
    Watching(Pid),
    /// It had not, and its target is not known yet.
    Unbound,
}

impl Answer {
    /// It is none of the messages, but its bytes lie in the mailbox like theirs.
    pub(super) fn amount(&self) -> Amount {
        Amount { messages: 0, ..Amount::of_message(self.payload.0.len()) }
    }
}

//! What a process receives from: messages within a bound, and notices within its monitors.
//!
//! Owns [`Mailbox`]. Messages from the same shard are bounded by the mailbox's own limits;
//! messages from elsewhere were paid for with the credit of their shard, so that the whole is
//! bounded by the mailbox plus the windows. Notices need neither: their room is reserved by the
//! monitor. Everything is taken in order of arrival.

use crate::credit::{Accounts, Opening};
use crate::monitors::Monitors;
use crate::queue::{Position, Queue, Queued};
use crate::{Amount, CreditDue, Overdrawn, Source, TooManyMonitors};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use craton_abi::{ExitReason, Incarnation, MonitorId, NodeId, Payload, Pid, ProcessLimits, limit};

/// Most messages that a mailbox can be given room for.
pub const MAILBOX_MESSAGES_MAX: u32 = 1 << 20;
/// Most bytes that a mailbox can be given room for.
pub const MAILBOX_BYTES_MAX: u32 = 256 << 20;

const _: () = assert!(
    limit::MAILBOX_MESSAGES <= MAILBOX_MESSAGES_MAX && limit::MAILBOX_BYTES <= MAILBOX_BYTES_MAX,
    "the usual mailbox must be possible"
);

/// A message in a mailbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Who sent it.
    pub from: Pid,
    /// What it may be selected by.
    pub tag: u64,
    /// The message.
    pub payload: Payload,
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

/// The mailbox has no room for a message.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Refused {
    /// Until the process takes some.
    Full,
    /// It never has.
    TooLarge,
}

/// What a receive finds, before it is taken.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Found {
    key: Key,
    /// Its length in bytes; of a notice, that of the reason's byte form.
    pub len: usize,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Key {
    Message(Position),
    Notice(u64),
    Exit(u64),
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

/// Messages and notices of one process.
#[derive(Debug)]
pub struct Mailbox {
    messages: Queue,
    notices: BTreeMap<u64, Notice>,
    /// Ends of linked processes, by the same sequence.
    exits: BTreeMap<u64, (Pid, ExitReason)>,
    monitors: Monitors,
    accounts: Accounts,
    /// Of the last arrival.
    sequence: u64,
    /// What lies here from the same shard.
    local: Amount,
    /// What lies here in all.
    total: Amount,
    /// What may lie here from the same shard.
    bound: Amount,
}

impl Mailbox {
    /// An empty mailbox.
    pub fn new(limits: &ProcessLimits) -> Self {
        let bound = Amount {
            messages: limits.mailbox_messages.min(MAILBOX_MESSAGES_MAX),
            bytes: limits.mailbox_bytes.min(MAILBOX_BYTES_MAX),
        };
        Mailbox {
            messages: Queue::new(),
            notices: BTreeMap::new(),
            exits: BTreeMap::new(),
            monitors: Monitors::new(),
            accounts: Accounts::new(),
            sequence: 0,
            local: Amount::ZERO,
            total: Amount::ZERO,
            bound,
        }
    }

    /// Whether a message of the same shard has room now.
    ///
    /// # Errors
    ///
    /// [`Refused`] if it has not.
    pub fn admits(&self, message: Amount) -> Result<(), Refused> {
        if self.local.plus(message).within(self.bound) {
            Ok(())
        } else if message.within(self.bound) {
            Err(Refused::Full)
        } else {
            Err(Refused::TooLarge)
        }
    }

    /// Takes a message of the same shard in. The caller asked [`Mailbox::admits`].
    pub fn push_local(&mut self, message: Message) {
        let amount = Amount::of_message(message.payload.0.len());
        self.local = self.local.plus(amount);
        self.push(message, None);
    }

    /// Takes a message from elsewhere in, if its shard holds credit for it.
    ///
    /// # Errors
    ///
    /// [`Overdrawn`] if it does not; the message is dropped.
    pub fn push_credited(&mut self, message: Message) -> Result<(), Overdrawn> {
        let amount = Amount::of_message(message.payload.0.len());
        let opening = self.accounts.accept(Source::of(message.from), amount)?;
        self.push(message, Some(opening));
        Ok(())
    }

    /// The next message or notice; with a tag, the next such message or the next notice,
    /// whichever came first.
    pub fn find(&mut self, tag: Option<u64>) -> Option<Found> {
        let message = self.messages.find(tag).map(|(position, sequence, message)| {
            (sequence, Found { key: Key::Message(position), len: message.payload.0.len() })
        });
        let notice = self.notices.first_key_value().map(|(&sequence, notice)| {
            (sequence, Found { key: Key::Notice(sequence), len: reason_bytes(&notice.reason) })
        });
        let exit = self.exits.first_key_value().map(|(&sequence, (_, reason))| {
            (sequence, Found { key: Key::Exit(sequence), len: reason_bytes(reason) })
        });
        let notice = [notice, exit].into_iter().flatten().min_by_key(|(sequence, _)| *sequence);
        match (message, notice) {
            (Some(message), Some(notice)) if notice.0 < message.0 => Some(notice.1),
            (Some(message), _) => Some(message.1),
            (None, notice) => notice.map(|(_, found)| found),
        }
    }

    /// Takes what [`Mailbox::find`] found, with nothing done to the mailbox since.
    pub fn take(&mut self, found: Found) -> Option<Taken> {
        match found.key {
            Key::Notice(sequence) => {
                let notice = self.notices.remove(&sequence)?;
                self.monitors.release(notice.id);
                Some(Taken::Notice(notice))
            }
            Key::Exit(sequence) => {
                let (from, reason) = self.exits.remove(&sequence)?;
                Some(Taken::Exit(from, reason))
            }
            Key::Message(position) => {
                let Queued { message, credited } = self.messages.take(position)?;
                let amount = Amount::of_message(message.payload.0.len());
                self.total = self.total.minus(amount);
                if let Some(opening) = credited {
                    let due = self.accounts.settle(Source::of(message.from), opening, amount);
                    return Some(Taken::Credited(message, due));
                }
                self.local = self.local.minus(amount);
                Some(Taken::Local(message))
            }
        }
    }

    /// Reserves room for the notice of a monitor; its target is not known yet if it is being
    /// spawned.
    ///
    /// # Errors
    ///
    /// [`TooManyMonitors`] if the process holds as many as it may.
    pub fn monitor(&mut self, id: MonitorId, target: Option<Pid>) -> Result<(), TooManyMonitors> {
        self.monitors.hold(id, target)
    }

    /// Names the target of a monitor whose spawn succeeded. `false` if the monitor has fired or is
    /// gone, and so watches nobody.
    pub fn bind(&mut self, id: MonitorId, target: Pid) -> bool {
        self.monitors.bind(id, target)
    }

    /// Takes a notice in. `false` if it answers no monitor on that process: it is dropped.
    pub fn notify(&mut self, notice: Notice) -> bool {
        let sequence = self.sequence + 1;
        if !self.monitors.fire(notice.id, notice.from, sequence) {
            return false;
        }
        self.sequence = sequence;
        self.notices.insert(sequence, notice);
        true
    }

    /// Takes the end of a linked process in. There is one for each link, so links bound them.
    pub fn exited(&mut self, from: Pid, reason: ExitReason) {
        self.sequence += 1;
        self.exits.insert(self.sequence, (from, reason));
    }

    /// Ends of linked processes that are queued.
    pub fn exits(&self) -> usize {
        self.exits.len()
    }

    /// Takes a monitor back, and its notice with it.
    pub fn demonitor(&mut self, id: MonitorId) -> Released {
        match self.monitors.release(id) {
            None => Released::Unknown,
            Some(held) => match (held.notice, held.target) {
                (Some(sequence), _) => {
                    self.notices.remove(&sequence);
                    Released::Notice
                }
                (None, Some(target)) => Released::Watching(target),
                (None, None) => Released::Unbound,
            },
        }
    }

    /// Forgets the credit of a node that is lost. What it sent stays.
    pub fn forget_node(&mut self, node: NodeId, incarnation: Incarnation) {
        self.accounts.forget_node(node, incarnation);
    }

    /// Ends the mailbox: the shards that still count on credit, and the monitors to take back.
    #[must_use]
    pub fn close(self) -> (Vec<Source>, Vec<(MonitorId, Pid)>) {
        (self.accounts.into_sources(), self.monitors.into_watched())
    }

    /// What lies in it, notices not counted.
    pub fn amount(&self) -> Amount {
        self.total
    }

    /// Monitors held, those with a queued notice among them.
    pub fn monitors(&self) -> usize {
        self.monitors.len()
    }

    fn push(&mut self, message: Message, credited: Option<Opening>) {
        self.sequence += 1;
        self.total = self.total.plus(Amount::of_message(message.payload.0.len()));
        self.messages.push(self.sequence, Queued { message, credited });
    }
}

/// Length of [`ExitReason::to_bytes`], without making the bytes.
fn reason_bytes(reason: &ExitReason) -> usize {
    match reason {
        ExitReason::Trap(_, text) => 2 + text.len(),
        ExitReason::Limit(_) => 2,
        ExitReason::Error(bytes) => 1 + bytes.len(),
        ExitReason::Normal
        | ExitReason::Shutdown
        | ExitReason::Killed
        | ExitReason::NoProcess
        | ExitReason::NoConnection => 1,
    }
}

#[cfg(test)]
mod tests;

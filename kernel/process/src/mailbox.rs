//! What a process receives from: messages within a bound, and notices within its monitors.
//!
//! Owns [`Mailbox`]. Messages from the same shard are bounded by the mailbox's own limits;
//! messages from elsewhere were paid for with the credit of their shard, so that the whole is
//! bounded by the mailbox plus the windows. Notices and answers need neither: their room is
//! reserved by the monitor, link, timer or request. Everything is taken in order of arrival.

mod values;

pub use values::{
    Answer, Closed, Message, MessageView, Notice, Paid, Refused, Released, Taken, Timeout,
};

use crate::alarms::Alarms;
use crate::credit::Accounts;
use crate::monitors::Monitors;
use crate::queue::{Make, Position, Queue};
use crate::series::Series;
use crate::{Amount, Overdrawn, Source, TooMany, TooManyMonitors, TooManyTimers};
use craton_abi::{
    ExitReason, Incarnation, Instant, MonitorId, NodeId, Pid, ProcessLimits, TimerId, limit,
};

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
    News(u64),
}

/// What comes beside messages, and needs no room of theirs.
#[derive(Debug)]
enum News {
    Notice(Notice),
    /// The end of a linked process.
    Exit(Pid, ExitReason),
    Answer(Answer),
    Timeout(Timeout),
}

impl News {
    fn len(&self) -> usize {
        match self {
            News::Notice(Notice { reason, .. }) | News::Exit(_, reason) => reason_bytes(reason),
            News::Answer(answer) => answer.payload.0.len(),
            News::Timeout(_) => 0,
        }
    }
}

/// Messages and notices of one process.
#[derive(Debug)]
pub struct Mailbox {
    messages: Queue,
    /// By sequence.
    news: Series<News>,
    /// Ends of linked processes among them.
    exits: usize,
    monitors: Monitors,
    alarms: Alarms,
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
            messages: limits.mailbox_messages.min(limit::MAILBOX_MESSAGES_MAX),
            bytes: limits.mailbox_bytes.min(limit::MAILBOX_BYTES_MAX),
        };
        Mailbox {
            messages: Queue::new(),
            news: Series::new(),
            exits: 0,
            monitors: Monitors::new(),
            alarms: Alarms::new(),
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
    #[inline]
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
        let sequence = self.arrival(amount);
        self.messages.push(sequence, message, None);
    }

    /// As [`Mailbox::push_local`], of a message that is copied if it is short: `make` makes what is
    /// kept of a longer one.
    #[inline]
    pub fn push_copy(&mut self, from: Pid, tag: u64, message: &[u8], make: Make<'_>) {
        let amount = Amount::of_message(message.len());
        self.local = self.local.plus(amount);
        let sequence = self.arrival(amount);
        self.messages.push_copy(sequence, (from, tag), message, None, make);
    }

    /// Takes a message from elsewhere in, if its shard holds credit for it.
    ///
    /// # Errors
    ///
    /// [`Overdrawn`] if it does not; the message is dropped.
    pub fn push_credited(&mut self, message: Message) -> Result<(), Overdrawn> {
        let amount = Amount::of_message(message.payload.0.len());
        let opening = self.accounts.accept(Source::of(message.from), amount)?;
        let sequence = self.arrival(amount);
        self.messages.push(sequence, message, Some(opening));
        Ok(())
    }

    /// As [`Mailbox::push_credited`], of a message that is copied if it is short.
    ///
    /// # Errors
    ///
    /// As it.
    pub fn push_credited_copy(
        &mut self,
        from: Pid,
        tag: u64,
        message: &[u8],
        make: Make<'_>,
    ) -> Result<(), Overdrawn> {
        let amount = Amount::of_message(message.len());
        let opening = self.accounts.accept(Source::of(from), amount)?;
        let sequence = self.arrival(amount);
        self.messages.push_copy(sequence, (from, tag), message, Some(opening), make);
        Ok(())
    }

    /// The next message or notice; with a tag, the next such message or the next notice,
    /// whichever came first.
    pub fn find(&mut self, tag: Option<u64>) -> Option<Found> {
        let message = self.messages.find(tag).map(|(position, sequence, len)| {
            (sequence, Found { key: Key::Message(position), len })
        });
        let news = self.news.first().map(|(sequence, news)| {
            (sequence, Found { key: Key::News(sequence), len: news.len() })
        });
        match (message, news) {
            (Some(message), Some(news)) if news.0 < message.0 => Some(news.1),
            (Some(message), _) => Some(message.1),
            (None, news) => news.map(|(_, found)| found),
        }
    }

    /// Lets `read` see the message that a receive takes, and takes it: how its room was paid for,
    /// and what `read` says. It is not moved before. `None`, with nothing taken, if the receive
    /// takes anything else, has no room for it, or finds nothing: for [`Mailbox::find`].
    #[inline]
    pub fn take_in_place<R>(
        &mut self,
        tag: Option<u64>,
        capacity: usize,
        read: impl FnOnce(MessageView<'_>) -> R,
    ) -> Option<(Paid, R)> {
        if !self.news.is_empty() {
            return None;
        }
        let (result, len, credited) = self.messages.take_in_place(tag, capacity, read)?;
        let amount = Amount::of_message(len);
        self.total = self.total.minus(amount);
        let paid = match credited {
            None => {
                self.local = self.local.minus(amount);
                Paid::Local
            }
            Some((from, opening)) => {
                Paid::Credited(self.accounts.settle(Source::of(from), opening, amount))
            }
        };
        Some((paid, result))
    }

    /// The notice, answer or time-out of this id alone. Ids of monitors, requests and timers are
    /// of one series.
    pub fn find_news(&self, id: u64) -> Option<Found> {
        let monitor = self.monitors.get(MonitorId::new(id)).and_then(|held| held.notice);
        let alarm = || self.alarms.get(TimerId::new(id)).and_then(|alarm| alarm.notice);
        let sequence = monitor.or_else(alarm)?;
        let len = self.news.get(sequence)?.len();
        Some(Found { key: Key::News(sequence), len })
    }

    /// Whether there is a monitor, request or timer of this id.
    pub fn expects_news(&self, id: u64) -> bool {
        self.monitors.get(MonitorId::new(id)).is_some()
            || self.alarms.get(TimerId::new(id)).is_some()
    }

    /// Whom a monitor or request of this id is on, if that is known.
    pub fn target(&self, id: u64) -> Option<Pid> {
        self.monitors.get(MonitorId::new(id))?.target
    }

    /// Takes what [`Mailbox::find`] found, with nothing done to the mailbox since.
    pub fn take(&mut self, found: Found) -> Option<Taken> {
        match found.key {
            Key::News(sequence) => Some(match self.news.remove(sequence)? {
                News::Notice(notice) => {
                    self.monitors.release(notice.id);
                    Taken::Notice(notice)
                }
                News::Exit(from, reason) => {
                    self.exits -= 1;
                    Taken::Exit(from, reason)
                }
                News::Answer(answer) => {
                    self.monitors.release(answer.id);
                    self.total = self.total.minus(answer.amount());
                    Taken::Answer(answer)
                }
                News::Timeout(timeout) => {
                    self.alarms.release(timeout.id);
                    Taken::Timeout(timeout)
                }
            }),
            Key::Message(position) => {
                let (message, credited) = self.messages.take(position)?;
                let amount = Amount::of_message(message.payload.0.len());
                self.total = self.total.minus(amount);
                if let Some((from, opening)) = credited {
                    let due = self.accounts.settle(Source::of(from), opening, amount);
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

    /// Reserves room for the answer to a request, or the notice that the asked has ended.
    ///
    /// # Errors
    ///
    /// [`TooMany`] of what the process holds.
    pub fn request(&mut self, id: MonitorId, target: Pid) -> Result<(), TooMany> {
        self.monitors.hold_request(id, target)
    }

    /// Takes an answer in: who was asked, and is watched no longer. `None` if no request waits for
    /// it (any more): it is dropped.
    pub fn answer(&mut self, answer: Answer) -> Option<Pid> {
        let sequence = self.sequence + 1;
        let asked = self.monitors.answer(answer.id, sequence)?;
        self.sequence = sequence;
        self.total = self.total.plus(answer.amount());
        self.news.insert(sequence, News::Answer(answer));
        Some(asked)
    }

    /// Reserves room for a time-out.
    ///
    /// # Errors
    ///
    /// [`TooManyTimers`] if the process has set as many as it may.
    pub fn set_timer(&mut self, id: TimerId, due: Instant, tag: u64) -> Result<(), TooManyTimers> {
        self.alarms.set(id, due, tag)
    }

    /// A timer is due. `false` if it was taken back.
    pub fn ring(&mut self, id: TimerId) -> bool {
        let sequence = self.sequence + 1;
        let Some(tag) = self.alarms.ring(id, sequence) else { return false };
        self.sequence = sequence;
        self.news.insert(sequence, News::Timeout(Timeout { id, tag }));
        true
    }

    /// A timer is due before its time: when it would have been due, if it was to come.
    pub fn ring_early(&mut self, id: TimerId) -> Option<Instant> {
        let due = self.alarms.get(id)?.due;
        self.ring(id).then_some(due)
    }

    /// Takes a timer back, and its notice with it: when it would have been due, if it was not yet.
    pub fn cancel_timer(&mut self, id: TimerId) -> Option<Instant> {
        let alarm = self.alarms.release(id)?;
        match alarm.notice {
            Some(sequence) => {
                self.news.remove(sequence);
                None
            }
            None => Some(alarm.due),
        }
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
        self.news.insert(sequence, News::Notice(notice));
        true
    }

    /// Takes the end of a linked process in. There is one for each link, so links bound them.
    pub fn exited(&mut self, from: Pid, reason: ExitReason) {
        self.sequence += 1;
        self.exits += 1;
        self.news.insert(self.sequence, News::Exit(from, reason));
    }

    /// Ends of linked processes that are queued.
    pub fn exits(&self) -> usize {
        self.exits
    }

    /// Takes a monitor back, and its notice with it.
    pub fn demonitor(&mut self, id: MonitorId) -> Released {
        match self.monitors.release(id) {
            None => Released::Unknown,
            Some(held) => match (held.notice, held.target) {
                (Some(sequence), _) => {
                    if let Some(News::Answer(answer)) = self.news.remove(sequence) {
                        self.total = self.total.minus(answer.amount());
                    }
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

    /// Ends the mailbox: what others must be told, and what must be taken back.
    pub fn close(&mut self) -> Closed {
        Closed {
            sources: self.accounts.take_sources(),
            watched: self.monitors.take_watched(),
            timers: self.alarms.take_pending(),
        }
    }

    /// Whether there is nothing to take.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.news.is_empty()
    }

    /// What lies in it: all messages, and the bytes of answers.
    pub fn amount(&self) -> Amount {
        self.total
    }

    /// Monitors held, those with a queued notice among them.
    pub fn monitors(&self) -> usize {
        self.monitors.len()
    }

    /// Counts a message that comes: its sequence.
    #[inline]
    fn arrival(&mut self, amount: Amount) -> u64 {
        self.sequence += 1;
        self.total = self.total.plus(amount);
        self.sequence
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

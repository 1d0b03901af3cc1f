//! The receiver's side of credit: what it holds of each sending shard, and what it owes back.
//!
//! Owns [`Source`], [`CreditDue`] and the accounts that every mailbox keeps, and the rule of both
//! sides: the sender's, [`crate::Windows`], asks [`window_admits`] before each message; the
//! receiver refuses what no sender that does so can have under way. The two differ because
//! messages of different processes may overtake one another: the receiver cannot tell in which
//! order they left, only that all of them together were within the bound.
//!
//! Credit is returned in batches: once a part of the window is owed, or nothing of that source is
//! queued any more. What is held back meanwhile is so little that it never decides whether a
//! message may be sent (asserted below).

use crate::Amount;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use craton_abi::limit::{MESSAGE_BYTES_MAX, WINDOW_BYTES, WINDOW_MESSAGES};
use craton_abi::{Incarnation, NodeId, Pid, ShardId};

/// A message of any length may follow while no more than this is under way; so a small message
/// that the receiver does not take yet never locks a large one out.
const LARGE_AFTER_BYTES_MAX: u32 = WINDOW_BYTES / 2;
/// Most bytes that can be under way by that rule: a longest message after so much.
const UNDER_WAY_BYTES_MAX: u32 = LARGE_AFTER_BYTES_MAX + MESSAGE_BYTES_MAX as u32;
/// Credit owed is returned from here on.
const OWED_BYTES_MAX: u32 = WINDOW_BYTES / 4;
/// Credit owed is returned from here on.
const OWED_MESSAGES_MAX: u32 = WINDOW_MESSAGES / 4;
/// Credit that a shard keeps back for another of its node ([`crate::Owed`]) is told from here on.
const KEPT_BYTES_MAX: u32 = WINDOW_BYTES / 8;
/// Credit that a shard keeps back for another of its node is told from here on.
const KEPT_MESSAGES_MAX: u32 = WINDOW_MESSAGES / 4;
/// Shards that may have messages under way to one mailbox. More than any cluster has; it keeps a
/// peer that invents shards from filling memory.
const SOURCES_PER_MAILBOX_MAX: usize = 1 << 14;

const _: () = assert!(
    UNDER_WAY_BYTES_MAX >= WINDOW_BYTES,
    "the receiver's bound must allow whatever the sender's does"
);
const _: () = assert!(OWED_MESSAGES_MAX > 0, "a window of messages must be worth batching");
const _: () = assert!(
    OWED_BYTES_MAX + KEPT_BYTES_MAX < LARGE_AFTER_BYTES_MAX,
    "credit that is only held back must not lock a large message out"
);
const _: () = assert!(
    OWED_MESSAGES_MAX + KEPT_MESSAGES_MAX < WINDOW_MESSAGES,
    "credit that is only held back must not use up a window"
);

/// The most that one source can have under way.
const UNDER_WAY_MAX: Amount = Amount { messages: WINDOW_MESSAGES, bytes: UNDER_WAY_BYTES_MAX };

/// A sending shard in one life of its node: who holds a window.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub struct Source {
    /// The node.
    pub node: NodeId,
    /// The life of that node.
    pub incarnation: Incarnation,
    /// The shard.
    pub shard: ShardId,
}

/// Credit to be returned.
#[must_use]
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct CreditDue {
    /// To whom.
    pub source: Source,
    /// How much.
    pub amount: Amount,
}

/// The sender held no credit for its message, which is refused.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Overdrawn;

/// One opening of an account. A source that was lost and comes back counts anew, and what it sent
/// before must not be credited to it: it would hold more credit than it gave away.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Opening(u64);

/// What a mailbox holds of each source.
#[derive(Debug)]
pub(crate) struct Accounts {
    /// Of one source: most mailboxes have no others at a time, and this one allocates nothing.
    first: Option<(Source, Account)>,
    /// Of the others.
    rest: BTreeMap<Source, Account>,
    opened_last: Opening,
}

#[derive(Debug)]
struct Account {
    opening: Opening,
    /// Accepted, and not yet credited: never less than `owed`.
    outstanding: Amount,
    /// Taken, and not yet credited.
    owed: Amount,
}

/// Whether so much credit is no more than what a mailbox holds back while messages are queued: too
/// little to decide whether one may be sent.
fn is_held_back(amount: Amount) -> bool {
    amount.messages < OWED_MESSAGES_MAX && amount.bytes < OWED_BYTES_MAX
}

/// Whether so much credit is no more than what a shard keeps back for another of its node: together
/// with what the mailbox holds back, too little to decide whether a message may be sent.
pub fn is_kept_back(amount: Amount) -> bool {
    amount.messages < KEPT_MESSAGES_MAX && amount.bytes < KEPT_BYTES_MAX
}

/// Whether a message may follow what is under way already.
pub(crate) fn window_admits(under_way: Amount, message: Amount) -> bool {
    under_way.messages < WINDOW_MESSAGES
        && (under_way.bytes <= LARGE_AFTER_BYTES_MAX
            || under_way.plus(message).bytes <= WINDOW_BYTES)
}

impl Source {
    /// The shard that a process lives on.
    pub fn of(pid: Pid) -> Self {
        Source { node: pid.node, incarnation: pid.incarnation, shard: pid.slot.shard() }
    }
}

impl Accounts {
    pub(crate) const fn new() -> Self {
        Accounts { first: None, rest: BTreeMap::new(), opened_last: Opening(0) }
    }

    #[inline]
    fn get_mut(&mut self, source: Source) -> Option<&mut Account> {
        match &mut self.first {
            Some((own, account)) if *own == source => Some(account),
            _ if self.rest.is_empty() => None,
            _ => self.rest.get_mut(&source),
        }
    }

    fn remove(&mut self, source: Source) {
        if self.first.take_if(|(own, _)| *own == source).is_none() {
            self.rest.remove(&source);
        }
    }

    /// Books a message that arrives, in the account that is named for [`Accounts::settle`].
    pub(crate) fn accept(&mut self, source: Source, message: Amount) -> Result<Opening, Overdrawn> {
        if let Some(account) = self.get_mut(source) {
            let outstanding = account.outstanding.plus(message);
            if !outstanding.within(UNDER_WAY_MAX) {
                return Err(Overdrawn);
            }
            account.outstanding = outstanding;
            return Ok(account.opening);
        }
        if self.rest.len() >= SOURCES_PER_MAILBOX_MAX {
            return Err(Overdrawn);
        }
        self.opened_last = Opening(self.opened_last.0 + 1);
        let opening = self.opened_last;
        let account = Account { opening, outstanding: message, owed: Amount::ZERO };
        match &mut self.first {
            None => self.first = Some((source, account)),
            Some(_) => drop(self.rest.insert(source, account)),
        }
        Ok(opening)
    }

    /// Books a message that the process takes.
    pub(crate) fn settle(
        &mut self,
        source: Source,
        opening: Opening,
        message: Amount,
    ) -> Option<CreditDue> {
        // There is no such account if the source's node was lost meanwhile.
        let account = self.get_mut(source).filter(|account| account.opening == opening)?;
        account.owed = account.owed.plus(message);
        let owed = account.owed;
        let nothing_queued = owed.messages >= account.outstanding.messages;
        if !nothing_queued && is_held_back(owed) {
            return None;
        }
        account.outstanding = account.outstanding.minus(owed);
        account.owed = Amount::ZERO;
        if nothing_queued {
            self.remove(source);
        }
        Some(CreditDue { source, amount: owed })
    }

    /// Forgets a node that is lost: nobody is there to take credit.
    pub(crate) fn forget_node(&mut self, node: NodeId, incarnation: Incarnation) {
        let is_lost = |source: &Source| (source.node, source.incarnation) == (node, incarnation);
        let _ = self.first.take_if(|(source, _)| is_lost(source));
        self.rest.retain(|source, _| !is_lost(source));
    }

    /// Everybody who still counts on credit from here, which is forgotten.
    pub(crate) fn take_sources(&mut self) -> Vec<Source> {
        // Most have none, and going through nothing costs more than looking.
        if self.first.is_none() && self.rest.is_empty() {
            return Vec::new();
        }
        let first = self.first.take().map(|(source, _)| source);
        first.into_iter().chain(core::mem::take(&mut self.rest).into_keys()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(node: u64) -> Source {
        Source { node: NodeId::new(node), incarnation: Incarnation::new(1), shard: ShardId::new(0) }
    }

    fn bytes(count: u32) -> Amount {
        Amount { messages: 1, bytes: count }
    }

    #[test]
    fn a_window_of_messages_and_not_one_more() {
        let mut accounts = Accounts::new();
        for _ in 0..WINDOW_MESSAGES {
            assert!(accounts.accept(source(1), bytes(1)).is_ok());
        }
        assert_eq!(accounts.accept(source(1), bytes(0)), Err(Overdrawn));
        assert!(accounts.accept(source(2), bytes(1)).is_ok(), "each source has its own");
    }

    #[test]
    fn a_large_message_follows_small_ones_only() {
        let large = bytes(MESSAGE_BYTES_MAX as u32);
        assert!(window_admits(bytes(LARGE_AFTER_BYTES_MAX), large));
        assert!(!window_admits(bytes(LARGE_AFTER_BYTES_MAX + 1), large));
        assert!(window_admits(bytes(LARGE_AFTER_BYTES_MAX + 1), bytes(1)));
        assert!(!window_admits(large, bytes(0)));
        assert!(window_admits(Amount::ZERO, large));
    }

    #[test]
    fn messages_that_overtook_one_another_are_still_within_credit() {
        let mut accounts = Accounts::new();
        let large = bytes(MESSAGE_BYTES_MAX as u32);
        assert!(window_admits(bytes(LARGE_AFTER_BYTES_MAX), large));
        assert!(accounts.accept(source(1), large).is_ok());
        assert!(accounts.accept(source(1), bytes(LARGE_AFTER_BYTES_MAX)).is_ok());
        assert_eq!(accounts.accept(source(1), bytes(1)), Err(Overdrawn), "nobody can have sent it");
    }

    #[test]
    fn credit_comes_in_batches_and_whole_at_the_end() {
        let mut accounts = Accounts::new();
        let mut opening = Opening::default();
        let count = 2 * OWED_MESSAGES_MAX + 2;
        for _ in 0..count {
            opening = accounts.accept(source(1), bytes(3)).expect("credit");
        }
        let mut returned = Vec::new();
        for _ in 0..count {
            returned.extend(accounts.settle(source(1), opening, bytes(3)).map(|due| due.amount));
        }
        let batch = |messages| Amount { messages, bytes: 3 * messages };
        assert_eq!(returned, [batch(OWED_MESSAGES_MAX), batch(OWED_MESSAGES_MAX), batch(2)]);
        assert!(accounts.take_sources().is_empty());
    }

    #[test]
    fn many_bytes_come_back_before_many_messages() {
        let mut accounts = Accounts::new();
        let opening = accounts.accept(source(1), bytes(OWED_BYTES_MAX)).expect("credit");
        accounts.accept(source(1), bytes(1)).expect("credit");
        let due = accounts.settle(source(1), opening, bytes(OWED_BYTES_MAX));
        let due = due.expect("enough is owed");
        assert_eq!(due.amount, bytes(OWED_BYTES_MAX));
    }

    #[test]
    fn a_lost_source_gets_nothing() {
        let mut accounts = Accounts::new();
        let opening = accounts.accept(source(1), bytes(1)).expect("credit");
        accounts.accept(source(2), bytes(1)).expect("credit");
        accounts.forget_node(NodeId::new(1), Incarnation::new(1));
        assert_eq!(accounts.settle(source(1), opening, bytes(1)), None);
        assert_eq!(accounts.take_sources(), [source(2)]);
    }

    #[test]
    fn what_came_before_a_loss_is_not_credited_after_it() {
        let mut accounts = Accounts::new();
        let before = accounts.accept(source(1), bytes(OWED_BYTES_MAX)).expect("credit");
        accounts.forget_node(NodeId::new(1), Incarnation::new(1));
        let after = accounts.accept(source(1), bytes(3)).expect("credit");
        let early = accounts.settle(source(1), before, bytes(OWED_BYTES_MAX));
        assert_eq!(early, None, "the source's new window does not count it");
        let due = accounts.settle(source(1), after, bytes(3)).expect("nothing else is queued");
        assert_eq!(due.amount, bytes(3));
    }
}

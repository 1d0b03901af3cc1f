//! The sender's side of credit: what a shard's processes have under way to mailboxes elsewhere.
//!
//! Owns [`Windows`]. The receiver's side is the mailbox's account (`credit.rs`). A window exists
//! while something is under way or somebody waits.

use crate::credit::window_admits;
use crate::watchers::node_range;
use crate::{Amount, Ticket, WaitQueue};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use craton_abi::{Incarnation, NodeId, Pid, Slot};

/// Mailboxes elsewhere to which one shard may have messages under way at once.
pub const WINDOWS_PER_SHARD_MAX: usize = 1 << 17;

/// Why a message may not be sent now.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum NoCredit {
    /// Until the receiver returns credit.
    Wait,
    /// Messages are under way to as many mailboxes as may be.
    TooManyWindows,
}

/// The windows of one shard, by mailbox.
#[derive(Debug, Default)]
pub struct Windows {
    windows: BTreeMap<Pid, Window>,
}

#[derive(Debug, Default)]
struct Window {
    under_way: Amount,
    waiting: WaitQueue,
}

impl Windows {
    /// No windows.
    pub const fn new() -> Self {
        Windows { windows: BTreeMap::new() }
    }

    /// Takes credit for a message to `mailbox`.
    ///
    /// # Errors
    ///
    /// [`NoCredit`], with nothing changed, if there is none or others wait for it already.
    pub fn draw(&mut self, mailbox: Pid, message: Amount) -> Result<(), NoCredit> {
        let count = self.windows.len();
        match self.windows.get_mut(&mailbox) {
            Some(window) if !window.waiting.is_empty() => Err(NoCredit::Wait),
            Some(window) if !window_admits(window.under_way, message) => Err(NoCredit::Wait),
            Some(window) => {
                window.under_way = window.under_way.plus(message);
                Ok(())
            }
            None if count >= WINDOWS_PER_SHARD_MAX => Err(NoCredit::TooManyWindows),
            None => {
                let window = Window { under_way: message, waiting: WaitQueue::new() };
                self.windows.insert(mailbox, window);
                Ok(())
            }
        }
    }

    /// Lets a process wait for credit that [`Windows::draw`] denied.
    pub fn wait(&mut self, mailbox: Pid, ticket: Ticket, slot: Slot, message: Amount) {
        self.windows.entry(mailbox).or_default().waiting.join(ticket, slot, message);
    }

    /// Takes a waiter out. Those behind it may have credit now: the caller calls
    /// [`Windows::pop_ready`].
    pub fn leave(&mut self, mailbox: Pid, ticket: Ticket) {
        if let Some(window) = self.windows.get_mut(&mailbox) {
            window.waiting.leave(ticket);
        }
    }

    /// Takes credit back. More than is under way counts as all of it.
    pub fn refund(&mut self, mailbox: Pid, amount: Amount) {
        if let Some(window) = self.windows.get_mut(&mailbox) {
            window.under_way = window.under_way.minus(amount);
            if window.under_way.messages == 0 {
                // Bytes without a message are a peer's slip of the pen.
                window.under_way = Amount::ZERO;
            }
        }
    }

    /// The next waiter that has credit now; the credit is drawn. `None` if there is none; a
    /// window that serves nobody is closed then.
    pub fn pop_ready(&mut self, mailbox: Pid) -> Option<Slot> {
        let window = self.windows.get_mut(&mailbox)?;
        match window.waiting.first() {
            Some((slot, message)) if window_admits(window.under_way, message) => {
                window.waiting.pop();
                window.under_way = window.under_way.plus(message);
                Some(slot)
            }
            Some(_) => None,
            None => {
                if window.under_way.is_zero() {
                    self.windows.remove(&mailbox);
                }
                None
            }
        }
    }

    /// Closes the window of a mailbox that is no more; these waited for it.
    #[must_use]
    pub fn close(&mut self, mailbox: Pid) -> Option<WaitQueue> {
        self.windows.remove(&mailbox).map(|window| window.waiting)
    }

    /// Closes every window to a node that is lost; these waited.
    #[must_use]
    pub fn close_node(&mut self, node: NodeId, incarnation: Incarnation) -> Vec<WaitQueue> {
        let [first, last] = node_range(node, incarnation);
        let lost: Vec<Pid> = self.windows.range(first..=last).map(|(&pid, _)| pid).collect();
        lost.into_iter().filter_map(|mailbox| self.close(mailbox)).collect()
    }

    /// Number of processes that wait.
    pub fn waiting(&self) -> usize {
        self.windows.values().map(|window| window.waiting.len()).sum()
    }

    /// Number of windows.
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Whether nothing is under way and nobody waits.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use craton_abi::ShardId;
    use craton_abi::limit::WINDOW_MESSAGES;

    fn pid(node: u64) -> Pid {
        let slot = slot(5);
        Pid { node: NodeId::new(node), incarnation: Incarnation::new(1), slot }
    }

    fn slot(index: u32) -> Slot {
        Slot::new(ShardId::new(0), index, 1).expect("in range")
    }

    fn filled() -> Windows {
        let mut windows = Windows::new();
        for _ in 0..WINDOW_MESSAGES {
            windows.draw(pid(1), Amount::of_message(10)).expect("credit");
        }
        windows
    }

    #[test]
    fn waiters_are_served_in_order_and_nobody_overtakes() {
        let mut windows = filled();
        let message = Amount::of_message(10);
        assert_eq!(windows.draw(pid(1), message), Err(NoCredit::Wait));
        for index in 1..=3 {
            windows.wait(pid(1), Ticket(u64::from(index)), slot(index), message);
        }
        assert_eq!(windows.pop_ready(pid(1)), None);
        windows.refund(pid(1), message);
        assert_eq!(windows.draw(pid(1), message), Err(NoCredit::Wait), "others wait");
        assert_eq!(windows.pop_ready(pid(1)), Some(slot(1)));
        assert_eq!(windows.pop_ready(pid(1)), None);
        windows.leave(pid(1), Ticket(2));
        windows.refund(pid(1), Amount { messages: 2, bytes: 20 });
        assert_eq!(windows.pop_ready(pid(1)), Some(slot(3)));
        assert_eq!(windows.draw(pid(1), message), Ok(()));
        assert_eq!(windows.draw(pid(1), message), Err(NoCredit::Wait), "the window is used up");
    }

    #[test]
    fn a_window_without_use_is_closed() {
        let mut windows = filled();
        let all = Amount { messages: WINDOW_MESSAGES, bytes: u32::MAX };
        windows.refund(pid(1), all);
        assert_eq!(windows.pop_ready(pid(1)), None);
        assert!(windows.is_empty());
        windows.refund(pid(1), all);
        assert!(windows.is_empty(), "credit from nowhere opens nothing");
    }

    #[test]
    fn a_lost_node_closes_its_windows_only() {
        let mut windows = filled();
        windows.draw(pid(2), Amount::of_message(1)).expect("credit");
        windows.wait(pid(1), Ticket(1), slot(1), Amount::of_message(1));
        assert!(windows.close_node(NodeId::new(1), Incarnation::new(2)).is_empty());
        let lost = windows.close_node(NodeId::new(1), Incarnation::new(1));
        assert_eq!(lost.len(), 1);
        assert_eq!(lost[0].first().map(|(slot, _)| slot), Some(slot(1)));
        assert_eq!(windows.len(), 1);
    }
}

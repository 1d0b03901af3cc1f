//! Credit that a shard owes to others of its node, and keeps back for a while.
//!
//! Owns [`Owed`]. A mailbox gives credit back as its messages are taken; told each time, it would
//! cost a letter for every message. What is kept back of one mailbox is too little to decide a send
//! ([`is_kept_back`]), so no sender waits for it; it is told once it is more, when another mailbox
//! needs its place, or before its CPU sleeps. That keeps few windows open for nothing.

use crate::{Amount, is_kept_back};
use alloc::boxed::Box;
use craton_abi::{ShardId, Slot};

/// Mailboxes of which credit is kept back, in places by their slots.
const PLACES: usize = 64;

/// Credit for a mailbox of this shard that another shard of the node is owed.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Due {
    /// Whose it is.
    pub to: ShardId,
    /// The mailbox.
    pub mailbox: Slot,
    /// How much.
    pub amount: Amount,
}

/// What one shard keeps back.
#[derive(Debug, Default)]
pub struct Owed {
    /// Made when it is first used.
    places: Option<Box<[Option<Due>; PLACES]>>,
    count: usize,
}

impl Owed {
    /// Nothing.
    pub const fn new() -> Self {
        Owed { places: None, count: 0 }
    }

    /// Adds credit: what is to be told now, be it this or that of another mailbox.
    #[inline]
    #[must_use]
    pub fn add(&mut self, due: Due) -> Option<Due> {
        let places = self.places.get_or_insert_with(|| Box::new([None; PLACES]));
        let place = &mut places[(due.mailbox.index() ^ due.to.index()) % PLACES];
        match place {
            Some(kept) if (kept.mailbox, kept.to) == (due.mailbox, due.to) => {
                kept.amount = kept.amount.plus(due.amount);
                if is_kept_back(kept.amount) {
                    return None;
                }
                self.count -= 1;
                place.take()
            }
            _ if !is_kept_back(due.amount) => Some(due),
            _ => {
                let other = place.replace(due);
                self.count += usize::from(other.is_none());
                other
            }
        }
    }

    /// All of it, which is to be told now.
    pub fn take_all(&mut self) -> impl Iterator<Item = Due> {
        let is_some = core::mem::take(&mut self.count) > 0;
        let places = self.places.as_mut().filter(|_| is_some);
        places.into_iter().flat_map(|places| places.iter_mut().filter_map(Option::take))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use craton_abi::limit::WINDOW_MESSAGES;

    fn due(index: u32, to: u8, messages: u32) -> Due {
        let mailbox = Slot::new(ShardId::new(7), index, 1).expect("in range");
        Due { to: ShardId::new(to), mailbox, amount: Amount { messages, bytes: 8 * messages } }
    }

    #[test]
    fn little_is_kept_back_until_together_it_decides_a_send() {
        let (mut owed, mut kept) = (Owed::new(), 0);
        let told = loop {
            match owed.add(due(1, 0, 1)) {
                None => kept += 1,
                Some(told) => break told,
            }
        };
        assert!((2..WINDOW_MESSAGES).contains(&kept));
        assert_eq!(told, due(1, 0, kept + 1));
        assert!(owed.is_empty());
        assert_eq!(owed.add(due(1, 0, WINDOW_MESSAGES)), Some(due(1, 0, WINDOW_MESSAGES)));
        assert_eq!(owed.take_all().count(), 0);
    }

    #[test]
    fn nothing_is_lost_whatever_shares_a_place() {
        let (mut owed, mut told) = (Owed::new(), Vec::new());
        for index in 0..4 * PLACES as u32 {
            told.extend(owed.add(due(index, 0, 1)));
            told.extend(owed.add(due(index, 1, 2)));
        }
        assert!(told.len() >= 7 * PLACES - PLACES, "few are kept: {}", told.len());
        told.extend(owed.take_all());
        assert!(owed.is_empty() && owed.take_all().next().is_none());
        let messages: u32 = told.iter().map(|due| due.amount.messages).sum();
        assert_eq!((told.len(), messages), (8 * PLACES, 12 * PLACES as u32));
    }
}

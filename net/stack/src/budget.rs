//! Whose buffers: memory of sockets, counted against who wanted them.
//!
//! Owns [`Owner`], an id that means nothing here, and `Budget`: bytes in use by each owner and by
//! all, with their limits. A socket's buffers are charged before they are allocated and refunded
//! when they are freed, also when the owner is done with the socket and its last bytes still wait.

use crate::limit;
use alloc::collections::BTreeMap;

/// One in so many bytes is kept for the node itself.
const NODE_SHARE: usize = 8;

/// Who wanted a socket. Meaningless to the stack; 0 is the node itself.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Owner(pub u64);

/// Why buffers are refused.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    /// The owner has as much as it may have.
    Owner,
    /// The stack has.
    All,
    /// The machine has no memory for them now.
    Machine,
}

#[derive(Copy, Clone, Default)]
struct Account {
    used: usize,
    limit: Option<usize>,
}

/// Bytes of buffers in use.
pub(crate) struct Budget {
    used: usize,
    limit: usize,
    has_room: fn(usize) -> bool,
    accounts: BTreeMap<Owner, Account>,
}

impl Budget {
    pub(crate) fn new(limit: usize, has_room: fn(usize) -> bool) -> Self {
        Budget { used: 0, limit, has_room, accounts: BTreeMap::new() }
    }

    /// Bytes that all owners may have.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes in use, of all owners or of one.
    pub(crate) fn used(&self, owner: Option<Owner>) -> usize {
        owner.map_or(self.used, |owner| self.accounts.get(&owner).map_or(0, |account| account.used))
    }

    /// Limits an owner; without a limit only that of all counts.
    pub(crate) fn set_limit(&mut self, owner: Owner, limit: Option<usize>) {
        self.accounts.entry(owner).or_default().limit = limit;
        self.forget_idle(owner);
    }

    /// Counts bytes that are about to be allocated.
    pub(crate) fn charge(&mut self, owner: Owner, bytes: usize) -> Result<(), Refused> {
        // What is refused here is asked for again; what fails when it is allocated ends the
        // machine, and by what strangers send.
        if (self.has_room)(bytes) { self.count(owner, bytes) } else { Err(Refused::Machine) }
    }

    fn count(&mut self, owner: Owner, bytes: usize) -> Result<(), Refused> {
        // Whoever else has sockets, the node can be talked to.
        let kept = if owner == Owner::default() { 0 } else { self.limit / NODE_SHARE };
        if bytes > (self.limit - kept).saturating_sub(self.used) {
            return Err(Refused::All);
        }
        if self.accounts.len() >= limit::OWNERS_MAX && !self.accounts.contains_key(&owner) {
            return Err(Refused::All);
        }
        let account = self.accounts.entry(owner).or_default();
        if account.limit.is_some_and(|limit| bytes > limit.saturating_sub(account.used)) {
            return Err(Refused::Owner);
        }
        account.used += bytes;
        self.used += bytes;
        Ok(())
    }

    /// Takes back what was charged.
    pub(crate) fn refund(&mut self, owner: Owner, bytes: usize) {
        if let Some(account) = self.accounts.get_mut(&owner) {
            account.used = account.used.saturating_sub(bytes);
            self.used = self.used.saturating_sub(bytes);
        }
        self.forget_idle(owner);
    }

    /// Counts what one owner has against another.
    pub(crate) fn pass(&mut self, from: Owner, to: Owner, bytes: usize) -> Result<(), Refused> {
        self.refund(from, bytes);
        self.count(to, bytes).inspect_err(|_| {
            // As it was: there was room for it a moment ago.
            let account = self.accounts.entry(from).or_default();
            account.used += bytes;
            self.used += bytes;
        })
    }

    fn forget_idle(&mut self, owner: Owner) {
        if let Some(Account { used: 0, limit: None }) = self.accounts.get(&owner) {
            self.accounts.remove(&owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_charged_is_limited_and_refunded() {
        let mut budget = Budget::new(100 + 100 / 7, |_| true);
        let (a, b) = (Owner(1), Owner(2));
        budget.set_limit(a, Some(40));
        assert_eq!(budget.charge(a, 41), Err(Refused::Owner));
        assert_eq!(budget.charge(a, 40), Ok(()));
        assert_eq!(budget.charge(a, 1), Err(Refused::Owner));
        assert_eq!(budget.charge(b, 61), Err(Refused::All));
        assert_eq!(budget.charge(b, 60), Ok(()));
        assert_eq!((budget.used(None), budget.used(Some(a)), budget.used(Some(b))), (100, 40, 60));
        assert_eq!(budget.pass(b, a, 60), Err(Refused::Owner));
        assert_eq!((budget.used(None), budget.used(Some(a)), budget.used(Some(b))), (100, 40, 60));
        assert_eq!(budget.pass(a, b, 40), Ok(()));
        assert_eq!((budget.used(None), budget.used(Some(a)), budget.used(Some(b))), (100, 0, 100));
        assert_eq!(budget.pass(b, a, 40), Ok(()));
        assert_eq!(budget.charge(b, 1), Err(Refused::All));
        assert_eq!(budget.charge(Owner::default(), 14), Ok(()), "the node's own share");
        budget.refund(Owner::default(), 14);
        budget.refund(a, 40);
        budget.refund(b, 60);
        assert_eq!((budget.used(None), budget.accounts.len()), (0, 1), "a's limit is kept");
        budget.set_limit(a, None);
        assert!(budget.accounts.is_empty());
    }

    #[test]
    fn nothing_is_counted_for_which_the_machine_has_no_room() {
        let mut budget = Budget::new(1000, |bytes| bytes <= 50);
        let (a, b) = (Owner(1), Owner(2));
        assert_eq!(budget.charge(a, 51), Err(Refused::Machine));
        assert_eq!(budget.charge(Owner::default(), 51), Err(Refused::Machine), "nor for the node");
        assert_eq!((budget.used(None), budget.accounts.len()), (0, 0));
        assert_eq!((budget.charge(a, 50), budget.charge(a, 50)), (Ok(()), Ok(())));
        assert_eq!(budget.pass(a, b, 100), Ok(()), "it is there already");
    }
}

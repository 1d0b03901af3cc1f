//! Which virtual addresses of the reservations' range are free.
//!
//! Owns [`Addresses`]: a free list for each size class in front of a line that only moves up.
//! Ranges are never joined: the space is so large that the peak of every class fits beside the
//! others, and so taking and giving are constant. Ranges that other CPUs may remember wait in two
//! lists until all have flushed, as frames do in [`super::quarantine`]. The list nodes come from
//! the caller, since the heap stands above this and must not be asked. Pure.

use super::classes::{class_of, units_of};
use super::layout::PAGE_BYTES;

/// Classes up to 4 TiB of pages.
const CLASSES: usize = class_of(1 << 30) + 1;

/// A range in a list, or a spare node.
#[derive(Default)]
pub(crate) struct Node {
    address: u64,
    class: usize,
    next: Link,
}

type Link = Option<&'static mut Node>;

/// Free virtual addresses.
pub(crate) struct Addresses {
    /// Everything from here to `end` was never given out.
    next: u64,
    end: u64,
    free: [Link; CLASSES],
    spare: Link,
    /// Ranges that wait to be closed at an epoch, and how many.
    open: Link,
    open_count: usize,
    /// Ranges that wait for every CPU to flush since `epoch`.
    closed: Link,
    epoch: u64,
}

impl Addresses {
    /// All addresses from `start` to `end` are free.
    pub(crate) const fn new(start: u64, end: u64) -> Self {
        Addresses {
            next: start,
            end,
            free: [const { None }; CLASSES],
            spare: None,
            open: None,
            open_count: 0,
            closed: None,
            epoch: 0,
        }
    }

    /// Takes a range of at least `pages` pages.
    pub(crate) fn take(&mut self, pages: usize) -> Option<u64> {
        let class = class_of(pages);
        let list = self.free.get_mut(class)?;
        if let Some(node) = list.take() {
            *list = node.next.take();
            let address = node.address;
            self.keep_spare(node);
            return Some(address);
        }
        let bytes = units_of(class) as u64 * PAGE_BYTES;
        let after = self.next.checked_add(bytes).filter(|&after| after <= self.end)?;
        Some(core::mem::replace(&mut self.next, after))
    }

    /// Whether [`Addresses::give`] needs [`Addresses::add_nodes`] first.
    pub(crate) fn needs_nodes(&self) -> bool {
        self.spare.is_none()
    }

    /// Takes list nodes over.
    pub(crate) fn add_nodes(&mut self, nodes: &'static mut [Node]) {
        for node in nodes {
            self.keep_spare(node);
        }
    }

    /// Gives a range back that [`Addresses::take`] gave for as many pages. Without a spare node the
    /// addresses, of which there are plenty, are lost.
    pub(crate) fn give(&mut self, address: u64, pages: usize) {
        if let Some(node) = self.node(address, pages) {
            self.list_free(node);
        }
    }

    /// Gives a range back that CPUs may remember: it waits until it is closed and they have
    /// flushed.
    pub(crate) fn give_later(&mut self, address: u64, pages: usize) {
        if let Some(node) = self.node(address, pages) {
            node.next = self.open.take();
            self.open = Some(node);
            self.open_count += 1;
        }
    }

    /// Ranges given since the last closing.
    pub(crate) fn open_count(&self) -> usize {
        self.open_count
    }

    /// Whether ranges wait for an epoch.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Closes: the ranges given later wait for `epoch`, raised since. Those closed before are free.
    pub(crate) fn close(&mut self, epoch: u64) {
        debug_assert!(self.closed.is_none(), "released first");
        (self.closed, self.open_count, self.epoch) = (self.open.take(), 0, epoch);
    }

    /// Frees what waits for no later epoch than `flushed`, up to which every CPU has flushed.
    pub(crate) fn release(&mut self, flushed: u64) {
        if flushed < self.epoch {
            return;
        }
        let mut rest = self.closed.take();
        while let Some(node) = rest {
            rest = node.next.take();
            self.list_free(node);
        }
    }

    fn node(&mut self, address: u64, pages: usize) -> Link {
        let node = self.spare.take()?;
        self.spare = node.next.take();
        (node.address, node.class) = (address, class_of(pages));
        Some(node)
    }

    fn list_free(&mut self, node: &'static mut Node) {
        if let Some(list) = self.free.get_mut(node.class) {
            node.next = list.take();
            *list = Some(node);
        }
    }

    fn keep_spare(&mut self, node: &'static mut Node) {
        node.next = self.spare.take();
        self.spare = Some(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::vec::Vec;

    fn nodes(count: usize) -> &'static mut [Node] {
        let nodes: Vec<Node> = (0..count).map(|_| Node::default()).collect();
        Box::leak(nodes.into_boxed_slice())
    }

    #[test]
    fn ranges_do_not_overlap_and_come_again() {
        let mut addresses = Addresses::new(0x1000, 0x1000 + (1 << 40));
        addresses.add_nodes(nodes(1000));
        let mut held: Vec<(u64, usize)> = Vec::new();
        let mut state = 7_u64;
        for _ in 0..5000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let dice = (state >> 33) as usize;
            if dice.is_multiple_of(2) && held.len() < 500 {
                let pages = dice / 2 % 300 + 1;
                let address = addresses.take(pages).expect("there is room");
                let end = address + pages as u64 * PAGE_BYTES;
                let apart = |&(other, pages): &(u64, usize)| {
                    end <= other || other + pages as u64 * PAGE_BYTES <= address
                };
                assert!(held.iter().all(apart), "seed 7");
                held.push((address, pages));
            } else if !held.is_empty() {
                let (address, pages) = held.swap_remove(dice % held.len());
                addresses.give(address, pages);
            }
        }
        let line = addresses.next;
        for (address, pages) in held.drain(..) {
            addresses.give(address, pages);
            assert_eq!(addresses.take(pages), Some(address), "the last given comes first");
        }
        assert_eq!(addresses.next, line);
    }

    #[test]
    fn ranges_given_later_wait_for_their_epoch() {
        let mut addresses = Addresses::new(0, 100 * PAGE_BYTES);
        addresses.add_nodes(nodes(10));
        let first = addresses.take(2).expect("there is room");
        let second = addresses.take(2).expect("there is room");
        addresses.give_later(first, 2);
        assert_eq!((addresses.open_count(), addresses.is_closed()), (1, false));
        addresses.release(u64::MAX);
        assert_ne!(addresses.take(2), Some(first), "not closed yet");
        addresses.close(7);
        addresses.give_later(second, 2);
        assert_eq!((addresses.open_count(), addresses.is_closed()), (1, true));
        addresses.release(6);
        assert_ne!(addresses.take(2), Some(first), "an epoch too early");
        addresses.release(7);
        assert_eq!(addresses.take(2), Some(first));
        assert_ne!(addresses.take(2), Some(second), "given after the closing");
        addresses.close(8);
        addresses.release(8);
        assert_eq!(addresses.take(2), Some(second));
    }

    #[test]
    fn the_end_is_the_end_and_lost_nodes_lose_only_addresses() {
        let mut addresses = Addresses::new(0, 3 * PAGE_BYTES);
        assert!(addresses.needs_nodes());
        let first = addresses.take(2).expect("fits");
        assert_eq!(addresses.take(2), None);
        assert_eq!(addresses.take(usize::MAX), None);
        addresses.give(first, 2);
        assert_eq!(addresses.take(2), None, "no node, no memory of it");
        assert_eq!(addresses.take(1), Some(2 * PAGE_BYTES));
    }
}

//! Which virtual addresses of the reservations' range are free.
//!
//! Owns [`Addresses`]: a free list for each size class in front of a line that only moves up.
//! Ranges are never joined: the space is so large that the peak of every class fits beside the
//! others, and so taking and giving are constant. The list nodes come from the caller, since the
//! heap stands above this and must not be asked. Pure.

use super::classes::{class_of, units_of};
use super::layout::PAGE_BYTES;

/// Classes up to 4 TiB of pages.
const CLASSES: usize = class_of(1 << 30) + 1;

/// A free range in a list, or a spare node.
#[derive(Default)]
pub(crate) struct Node {
    address: u64,
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
}

impl Addresses {
    /// All addresses from `start` to `end` are free.
    pub(crate) const fn new(start: u64, end: u64) -> Self {
        Addresses { next: start, end, free: [const { None }; CLASSES], spare: None }
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
        let Some(node) = self.spare.take() else { return };
        self.spare = node.next.take();
        node.address = address;
        if let Some(list) = self.free.get_mut(class_of(pages)) {
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

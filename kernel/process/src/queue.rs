//! Messages in order of arrival, taken from the front or by tag.
//!
//! Owns [`Queue`]: a doubly linked list in one vector, which allocates nothing while it does not
//! grow. The index by tag is built when a receive by tag does not find its message among the
//! first few, and lives until the queue is empty. Each message is indexed at most once, so the
//! cost of a receive by tag does not grow with the backlog, and a process that never selects pays
//! nothing.

use crate::credit::Opening;
use crate::mailbox::Message;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use craton_abi::{is_channel_tag, is_taken_by};

/// Under which items of all channels are indexed: whoever takes one of them takes any.
const CHANNEL_KEY: u64 = 1 << 62;
/// Messages that a receive by tag looks at before it builds the index.
const SCAN_MAX: usize = 8;
/// A vector of nodes longer than this is given back when the queue is empty.
const NODES_KEPT_MAX: usize = 64;

/// Where a message lies in a [`Queue`].
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Position(u32);

/// The end of a list.
const NIL: u32 = u32::MAX;

#[derive(Debug)]
struct Node {
    previous: u32,
    /// The next message, or the next free node.
    next: u32,
    sequence: u64,
    /// `None` in a free node.
    queued: Option<Queued>,
}

/// A message, and how its room was paid for.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) message: Message,
    /// By the sending shard's credit, in this account; otherwise by the mailbox's own bound.
    pub(crate) credited: Option<Opening>,
}

/// Under which a message with this tag is indexed.
fn key_of(tag: u64) -> u64 {
    if is_channel_tag(tag) { CHANNEL_KEY } else { tag }
}

impl Node {
    fn tag(&self) -> Option<u64> {
        self.queued.as_ref().map(|queued| queued.message.tag)
    }

    /// Whether a receive by this tag takes it.
    fn is_for(&self, wanted: u64) -> bool {
        self.tag().is_some_and(|tag| is_taken_by(tag, wanted))
    }
}

/// Messages in order of arrival.
#[derive(Debug)]
pub(crate) struct Queue {
    nodes: Vec<Node>,
    head: u32,
    tail: u32,
    free: u32,
    by_tag: Option<BTreeMap<(u64, u64), u32>>,
}

impl Queue {
    pub(crate) const fn new() -> Self {
        Queue { nodes: Vec::new(), head: NIL, tail: NIL, free: NIL, by_tag: None }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head == NIL
    }

    /// Appends a message. `sequence` is larger than that of every message before it.
    pub(crate) fn push(&mut self, sequence: u64, queued: Queued) {
        let tag = queued.message.tag;
        let node = Node { previous: self.tail, next: NIL, sequence, queued: Some(queued) };
        let at = self.place(node);
        match self.node_mut(self.tail) {
            Some(tail) => tail.next = at,
            None => self.head = at,
        }
        self.tail = at;
        if let Some(index) = &mut self.by_tag {
            index.insert((key_of(tag), sequence), at);
        }
    }

    /// The first message, with this tag or of a channel if a tag is given: where it lies, its
    /// sequence, itself.
    pub(crate) fn find(&mut self, tag: Option<u64>) -> Option<(Position, u64, &Message)> {
        let at = match tag {
            None => self.head,
            Some(tag) => self.find_tag(tag),
        };
        let node = self.nodes.get(at as usize)?;
        Some((Position(at), node.sequence, &node.queued.as_ref()?.message))
    }

    /// Takes the message at a position that [`Queue::find`] gave, with nothing changed since.
    pub(crate) fn take(&mut self, position: Position) -> Option<Queued> {
        let at = position.0;
        let node = self.node_mut(at)?;
        let queued = node.queued.take()?;
        let (previous, next, sequence) = (node.previous, node.next, node.sequence);
        match self.node_mut(previous) {
            Some(node) => node.next = next,
            None => self.head = next,
        }
        match self.node_mut(next) {
            Some(node) => node.previous = previous,
            None => self.tail = previous,
        }
        if let Some(index) = &mut self.by_tag {
            index.remove(&(key_of(queued.message.tag), sequence));
        }
        self.release(at);
        Some(queued)
    }

    /// Puts a node where one is free, or at the end.
    fn place(&mut self, node: Node) -> u32 {
        let at = self.free;
        match self.nodes.get_mut(at as usize) {
            Some(vacant) => {
                self.free = vacant.next;
                *vacant = node;
                at
            }
            None => {
                self.nodes.push(node);
                // The mailbox's bounds keep the length far below 2^32.
                (self.nodes.len() - 1) as u32
            }
        }
    }

    fn release(&mut self, at: u32) {
        if self.head == NIL {
            self.by_tag = None;
            if self.nodes.capacity() > NODES_KEPT_MAX {
                self.nodes = Vec::new();
                self.free = NIL;
                return;
            }
        }
        let free = self.free;
        if let Some(node) = self.node_mut(at) {
            node.next = free;
            self.free = at;
        }
    }

    fn find_tag(&mut self, tag: u64) -> u32 {
        if self.by_tag.is_none() {
            let mut at = self.head;
            for _ in 0..SCAN_MAX {
                match self.nodes.get(at as usize) {
                    None => return NIL,
                    Some(node) if node.is_for(tag) => return at,
                    Some(node) => at = node.next,
                }
            }
        }
        let index = self.index();
        let first = |key| index.range((key, 0)..=(key, u64::MAX)).next();
        let item = if is_taken_by(CHANNEL_KEY, tag) { first(CHANNEL_KEY) } else { None };
        let firsts = [first(key_of(tag)), item];
        let first = firsts.into_iter().flatten().min_by_key(|((_, sequence), _)| *sequence);
        first.map_or(NIL, |(_, &at)| at)
    }

    fn index(&mut self) -> &BTreeMap<(u64, u64), u32> {
        let nodes = &self.nodes;
        self.by_tag.get_or_insert_with(|| {
            let entry = |(at, node): (usize, &Node)| {
                Some(((key_of(node.tag()?), node.sequence), at as u32))
            };
            nodes.iter().enumerate().filter_map(entry).collect()
        })
    }

    fn node_mut(&mut self, at: u32) -> Option<&mut Node> {
        self.nodes.get_mut(at as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use craton_abi::{Payload, Pid};

    fn message(tag: u64) -> Queued {
        let message =
            Message { from: Pid::default(), tag, payload: Payload::default(), request: None };
        Queued { message, credited: None }
    }

    fn take(queue: &mut Queue, tag: Option<u64>) -> Option<u64> {
        let (position, sequence, _) = queue.find(tag)?;
        queue.take(position).map(|_| sequence)
    }

    /// One of some tags, of which some are channels'.
    fn some_tag(random: u64) -> u64 {
        match random % 16 {
            tag @ 0..12 => tag,
            channel @ 12..14 => 1 << 62 | channel,
            system => 1 << 63 | system,
        }
    }

    #[test]
    fn agrees_with_a_plain_list() {
        for seed in 0..50 {
            let mut random = seed;
            let mut next = || {
                random = u64::wrapping_mul(random ^ 0x9e37_79b9, 0xbf58_476d_1ce4_e5b9)
                    .rotate_left(23)
                    .wrapping_add(seed);
                random >> 8
            };
            let mut queue = Queue::new();
            let mut plain: Vec<(u64, u64)> = Vec::new();
            for sequence in 0..2_000 {
                // Phases of growth and of decline, so that the index comes and goes.
                if next() % 100 < if sequence % 400 < 200 { 70 } else { 30 } {
                    let tag = some_tag(next());
                    queue.push(sequence, message(tag));
                    plain.push((tag, sequence));
                } else {
                    let tag = (next() % 3 != 0).then(|| some_tag(next()));
                    let fits = |is: u64| tag.is_none_or(|tag| is_taken_by(is, tag));
                    let at = plain.iter().position(|&(is, _)| fits(is));
                    let expected = at.map(|at| plain.remove(at).1);
                    assert_eq!(take(&mut queue, tag), expected, "seed {seed}");
                }
            }
            while !plain.is_empty() {
                assert_eq!(take(&mut queue, None), Some(plain.remove(0).1), "seed {seed}");
            }
            assert_eq!(take(&mut queue, None), None);
        }
    }

    #[test]
    fn steady_traffic_reuses_its_nodes() {
        let mut queue = Queue::new();
        for sequence in 0..10_000 {
            queue.push(sequence, message(sequence));
            if sequence >= 3 {
                take(&mut queue, None);
            }
        }
        assert!(queue.nodes.len() <= 4, "{} nodes", queue.nodes.len());
    }

    #[test]
    fn a_burst_gives_its_memory_back() {
        let mut queue = Queue::new();
        for sequence in 0..10_000 {
            queue.push(sequence, message(sequence));
        }
        assert_eq!(take(&mut queue, Some(9_999)), Some(9_999));
        assert!(queue.by_tag.is_some());
        while take(&mut queue, None).is_some() {}
        assert_eq!(queue.nodes.capacity(), 0);
        assert!(queue.by_tag.is_none());
        queue.push(1, message(1));
        assert_eq!(take(&mut queue, Some(1)), Some(1));
    }
}

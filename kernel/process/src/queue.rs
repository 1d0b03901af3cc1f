//! Messages in order of arrival, taken from the front or by tag.
//!
//! Owns [`Queue`]: a doubly linked list in pieces of some nodes each, which moves nothing when it
//! grows and allocates nothing while it does not. A short message lies in its node. The index by
//! tag is built when a receive by tag does not find its message among the first few, and lives
//! until the queue is empty. Each message is indexed at most once, so the cost of a receive by tag
//! does not grow with the backlog, and a process that never selects pays nothing.

use crate::credit::Opening;
use crate::mailbox::{Message, MessageView};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use craton_abi::{MonitorId, Payload, Pid, is_channel_tag, is_taken_by};

/// Under which items of all channels are indexed: whoever takes one of them takes any.
const CHANNEL_KEY: u64 = 1 << 62;
/// Messages that a receive by tag looks at before it builds the index.
const SCAN_MAX: usize = 8;
/// Nodes of a piece.
const PIECE_NODES: usize = 32;
/// Pieces that are kept when the queue is empty.
const PIECES_KEPT: usize = 2;
/// Longest message that lies in its node.
const SHORT_BYTES_MAX: usize = 31;

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
    from: Pid,
    tag: u64,
    body: Body,
    request: Option<MonitorId>,
    /// By the sending shard's credit, in this account; otherwise by the mailbox's own bound.
    pub(crate) credited: Option<Opening>,
}

/// The bytes of a message.
#[derive(Debug)]
enum Body {
    Short { len: u8, bytes: [u8; SHORT_BYTES_MAX] },
    Long(Payload),
}

impl Body {
    /// What lies in a node of its own; `None` if it is too long for that.
    #[inline]
    fn short(message: &[u8]) -> Option<Body> {
        let mut bytes = [0; SHORT_BYTES_MAX];
        bytes.get_mut(..message.len())?.copy_from_slice(message);
        Some(Body::Short { len: message.len() as u8, bytes })
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Body::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or(bytes),
            Body::Long(payload) => &payload.0,
        }
    }
}

impl Queued {
    /// A message that is copied if it is short, and otherwise what `make` makes of it.
    #[inline]
    pub(crate) fn copy_of(
        from: Pid,
        tag: u64,
        message: &[u8],
        make: &mut dyn FnMut(&[u8]) -> Payload,
    ) -> Self {
        let body = Body::short(message).unwrap_or_else(|| Body::Long(make(message)));
        Queued { from, tag, body, request: None, credited: None }
    }

    pub(crate) fn new(message: Message, credited: Option<Opening>) -> Self {
        let Message { from, tag, payload, request } = message;
        Queued { from, tag, body: Body::Long(payload), request, credited }
    }

    #[inline]
    pub(crate) fn view(&self) -> MessageView<'_> {
        let Queued { from, tag, ref body, request, .. } = *self;
        MessageView { from, tag, bytes: body.bytes(), request }
    }

    pub(crate) fn into_message(self) -> Message {
        let Queued { from, tag, body, request, .. } = self;
        let payload = match body {
            Body::Long(payload) => payload,
            short => Payload(short.bytes().to_vec()),
        };
        Message { from, tag, payload, request }
    }
}

/// Under which a message with this tag is indexed.
fn key_of(tag: u64) -> u64 {
    if is_channel_tag(tag) { CHANNEL_KEY } else { tag }
}

impl Node {
    fn tag(&self) -> Option<u64> {
        self.queued.as_ref().map(|queued| queued.tag)
    }

    /// Whether a receive by this tag takes it.
    fn is_for(&self, wanted: u64) -> bool {
        self.tag().is_some_and(|tag| is_taken_by(tag, wanted))
    }
}

/// Nodes by number, in pieces that stay where they are.
#[derive(Debug)]
struct Nodes {
    pieces: Vec<Vec<Node>>,
}

impl Nodes {
    #[inline]
    fn get(&self, at: u32) -> Option<&Node> {
        self.pieces.get(at as usize / PIECE_NODES)?.get(at as usize % PIECE_NODES)
    }

    #[inline]
    fn get_mut(&mut self, at: u32) -> Option<&mut Node> {
        self.pieces.get_mut(at as usize / PIECE_NODES)?.get_mut(at as usize % PIECE_NODES)
    }

    /// Appends a node: its number.
    fn push(&mut self, node: Node) -> u32 {
        match self.pieces.last_mut() {
            Some(last) if last.len() < PIECE_NODES => last.push(node),
            // Most queues are short: the first piece grows.
            None => self.pieces.push(Vec::from([node])),
            Some(_) => {
                let mut piece = Vec::with_capacity(PIECE_NODES);
                piece.push(node);
                self.pieces.push(piece);
            }
        }
        let last = self.pieces.last().map_or(0, Vec::len);
        // The mailbox's bounds keep the number far below 2^32.
        ((self.pieces.len() - 1) * PIECE_NODES + last - 1) as u32
    }

    fn iter(&self) -> impl Iterator<Item = &Node> {
        self.pieces.iter().flatten()
    }
}

/// Messages in order of arrival.
#[derive(Debug)]
pub(crate) struct Queue {
    nodes: Nodes,
    head: u32,
    tail: u32,
    free: u32,
    by_tag: Option<BTreeMap<(u64, u64), u32>>,
}

impl Queue {
    pub(crate) const fn new() -> Self {
        let nodes = Nodes { pieces: Vec::new() };
        Queue { nodes, head: NIL, tail: NIL, free: NIL, by_tag: None }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head == NIL
    }

    /// Appends a message. `sequence` is larger than that of every message before it.
    #[inline]
    pub(crate) fn push(&mut self, sequence: u64, queued: Queued) {
        let tag = queued.tag;
        let at = self.place(self.tail, sequence, queued);
        match self.nodes.get_mut(self.tail) {
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
    #[inline]
    pub(crate) fn find(&mut self, tag: Option<u64>) -> Option<(Position, u64, &Queued)> {
        let at = match tag {
            None => self.head,
            Some(tag) => self.find_tag(tag),
        };
        let node = self.nodes.get(at)?;
        Some((Position(at), node.sequence, node.queued.as_ref()?))
    }

    /// Takes the message at a position that [`Queue::find`] gave, with nothing changed since.
    pub(crate) fn take(&mut self, position: Position) -> Option<Queued> {
        self.take_with(position, |queued| queued.take())?
    }

    /// As [`Queue::take`], and drops it where it lies once `read` has seen it.
    #[inline]
    pub(crate) fn take_with<R>(
        &mut self,
        position: Position,
        read: impl FnOnce(&mut Option<Queued>) -> R,
    ) -> Option<R> {
        let at = position.0;
        let node = self.nodes.get_mut(at)?;
        let tag = node.tag()?;
        let result = read(&mut node.queued);
        node.queued = None;
        let (previous, next, sequence) = (node.previous, node.next, node.sequence);
        match self.nodes.get_mut(previous) {
            Some(node) => node.next = next,
            None => self.head = next,
        }
        match self.nodes.get_mut(next) {
            Some(node) => node.previous = previous,
            None => self.tail = previous,
        }
        if let Some(index) = &mut self.by_tag {
            index.remove(&(key_of(tag), sequence));
        }
        self.release(at);
        Some(result)
    }

    /// Puts a node where one is free, or at the end.
    #[inline]
    fn place(&mut self, previous: u32, sequence: u64, queued: Queued) -> u32 {
        let at = self.free;
        match self.nodes.get_mut(at) {
            Some(vacant) => {
                self.free = vacant.next;
                (vacant.previous, vacant.next, vacant.sequence) = (previous, NIL, sequence);
                vacant.queued = Some(queued);
                at
            }
            None => self.nodes.push(Node { previous, next: NIL, sequence, queued: Some(queued) }),
        }
    }

    #[inline]
    fn release(&mut self, at: u32) {
        if self.head == NIL {
            self.by_tag = None;
            if self.nodes.pieces.len() > PIECES_KEPT {
                self.nodes.pieces.truncate(PIECES_KEPT);
                return self.free_all();
            }
        }
        let free = self.free;
        if let Some(node) = self.nodes.get_mut(at) {
            node.next = free;
            self.free = at;
        }
    }

    /// Nothing is queued, and the list of what is free has nodes in it that are no more.
    fn free_all(&mut self) {
        self.free = NIL;
        for (at, node) in self.nodes.pieces.iter_mut().flatten().enumerate() {
            node.next = self.free;
            self.free = at as u32;
        }
    }

    fn find_tag(&mut self, tag: u64) -> u32 {
        if self.by_tag.is_none() {
            let mut at = self.head;
            for _ in 0..SCAN_MAX {
                match self.nodes.get(at) {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u64) -> Queued {
        Queued::copy_of(Pid::default(), tag, &[], &mut |bytes| Payload(bytes.to_vec()))
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
        assert!(queue.nodes.iter().count() <= 4);
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
        assert!(queue.nodes.iter().count() <= PIECES_KEPT * PIECE_NODES);
        assert!(queue.by_tag.is_none());
        for sequence in 1..=100 {
            queue.push(sequence, message(sequence));
        }
        assert_eq!(take(&mut queue, Some(100)), Some(100));
        for sequence in 1..100 {
            assert_eq!(take(&mut queue, None), Some(sequence));
        }
    }
}

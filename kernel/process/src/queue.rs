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
const PIECE_NODES: usize = 16;
/// Pieces that are kept when the queue is empty.
const PIECES_KEPT: usize = 8;
/// Longest message that lies in its node.
const SHORT_BYTES_MAX: usize = 32;

/// Where a message lies in a [`Queue`].
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Position(u32);

/// The end of a list.
const NIL: u32 = u32::MAX;

/// A place for a message, and how its room was paid for.
#[derive(Debug)]
struct Node {
    previous: u32,
    /// The next message, or the next free node.
    next: u32,
    sequence: u64,
    from: Pid,
    tag: u64,
    request: Option<MonitorId>,
    /// By the sending shard's credit, in this account; otherwise by the mailbox's own bound.
    credited: Option<Opening>,
    body: Body,
    /// The bytes of [`Body::Short`]: as many as it says, the rest are an older one's. They lie here
    /// so that nothing but they are written.
    short: [u8; SHORT_BYTES_MAX],
}

/// Where a message stood.
struct Place {
    previous: u32,
    next: u32,
    sequence: u64,
    tag: u64,
}

/// Where the bytes of a message are.
#[derive(Debug)]
enum Body {
    /// There is no message.
    Free,
    /// In the node, so many.
    Short(u8),
    Long(Payload),
}

/// How the room of a message was paid for: by the credit of its sender's shard, or by none.
pub(crate) type Paid = Option<(Pid, Opening)>;

/// Makes of a message what is kept of it, if it is long.
pub(crate) type Make<'a> = &'a mut dyn FnMut(&[u8]) -> Payload;

/// Under which a message with this tag is indexed.
fn key_of(tag: u64) -> u64 {
    if is_channel_tag(tag) { CHANNEL_KEY } else { tag }
}

impl Node {
    fn free() -> Node {
        Node {
            previous: NIL,
            next: NIL,
            sequence: 0,
            from: Pid::default(),
            tag: 0,
            request: None,
            credited: None,
            body: Body::Free,
            short: [0; SHORT_BYTES_MAX],
        }
    }

    /// Writes a message: a copy of it if it is short, otherwise what `make` makes of it.
    #[inline]
    fn write(&mut self, message: &[u8], make: Make<'_>) {
        let len = message.len();
        if let (Ok(word), Some(to)) = (message.try_into(), self.short.first_chunk_mut::<8>()) {
            // Most are of a word, and a copy of any length is a call.
            let word: &[u8; 8] = word;
            *to = *word;
        } else if let Some(to) = self.short.get_mut(..len) {
            to.copy_from_slice(message);
        } else {
            self.body = Body::Long(make(message));
            return;
        }
        self.body = Body::Short(len as u8);
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match &self.body {
            Body::Free => &[],
            Body::Short(len) => self.short.get(..usize::from(*len)).unwrap_or(&self.short),
            Body::Long(payload) => &payload.0,
        }
    }

    fn take_payload(&mut self) -> Payload {
        match core::mem::replace(&mut self.body, Body::Free) {
            Body::Free => Payload::default(),
            Body::Short(len) => Payload(self.short[..usize::from(len)].to_vec()),
            Body::Long(payload) => payload,
        }
    }

    #[inline]
    fn view(&self) -> MessageView<'_> {
        let Node { from, tag, request, .. } = *self;
        MessageView { from, tag, bytes: self.bytes(), request }
    }

    /// Leaves the node without a message: where that stood, and how it was paid for.
    #[inline]
    fn clear(&mut self) -> (Place, Paid) {
        match &self.body {
            Body::Long(_) => self.body = Body::Free,
            // There is nothing to drop, and most are short.
            Body::Free | Body::Short(_) => {
                core::mem::forget(core::mem::replace(&mut self.body, Body::Free));
            }
        }
        let &mut Node { previous, next, sequence, tag, from, credited, .. } = self;
        (Place { previous, next, sequence, tag }, credited.map(|opening| (from, opening)))
    }

    fn tag(&self) -> Option<u64> {
        (!matches!(self.body, Body::Free)).then_some(self.tag)
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

    /// Appends a node without a message.
    fn push(&mut self) {
        match self.pieces.last_mut() {
            Some(last) if last.len() < PIECE_NODES => last.push(Node::free()),
            // Most queues are short: the first piece grows.
            None => self.pieces.push(Vec::from([Node::free()])),
            Some(_) => {
                let mut piece = Vec::with_capacity(PIECE_NODES);
                piece.push(Node::free());
                self.pieces.push(piece);
            }
        }
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
    /// Nodes that messages were in, the first of a list.
    free: u32,
    /// Behind them no node is in that list, nor has a message.
    used: u32,
    by_tag: Option<BTreeMap<(u64, u64), u32>>,
}

impl Queue {
    pub(crate) const fn new() -> Self {
        let nodes = Nodes { pieces: Vec::new() };
        Queue { nodes, head: NIL, tail: NIL, free: NIL, used: 0, by_tag: None }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head == NIL
    }

    /// Appends a message, of which a copy is made if it is short. `sequence` is larger than that of
    /// every message before it.
    #[inline]
    pub(crate) fn push_copy(
        &mut self,
        sequence: u64,
        (from, tag): (Pid, u64),
        message: &[u8],
        credited: Option<Opening>,
        make: Make<'_>,
    ) {
        if let Some(node) = self.append(sequence, tag) {
            (node.from, node.tag) = (from, tag);
            (node.request, node.credited) = (None, credited);
            node.write(message, make);
        }
    }

    /// As [`Queue::push_copy`], of a message that is there already.
    pub(crate) fn push(&mut self, sequence: u64, message: Message, credited: Option<Opening>) {
        let Message { from, tag, payload, request } = message;
        if let Some(node) = self.append(sequence, tag) {
            (node.from, node.tag) = (from, tag);
            (node.request, node.credited) = (request, credited);
            node.body = Body::Long(payload);
        }
    }

    /// The first message, with this tag or of a channel if a tag is given: where it lies, its
    /// sequence, its length.
    #[inline]
    pub(crate) fn find(&mut self, tag: Option<u64>) -> Option<(Position, u64, usize)> {
        let at = match tag {
            None => self.head,
            Some(tag) => self.find_tag(tag),
        };
        let node = self.nodes.get(at)?;
        Some((Position(at), node.sequence, node.bytes().len()))
    }

    /// Takes the message at a position that [`Queue::find`] gave, with nothing changed since.
    pub(crate) fn take(&mut self, position: Position) -> Option<(Message, Paid)> {
        let node = self.nodes.get_mut(position.0).filter(|node| node.tag().is_some())?;
        let Node { from, tag, request, .. } = *node;
        let payload = node.take_payload();
        let (place, paid) = node.clear();
        self.remove(position.0, place);
        Some((Message { from, tag, payload, request }, paid))
    }

    /// Takes the first message, with this tag if one is given, once `read` has seen it where it
    /// lies: what that says, and its length. `None` if there is none, or it is longer than
    /// `capacity`.
    #[inline]
    pub(crate) fn take_in_place<R>(
        &mut self,
        tag: Option<u64>,
        capacity: usize,
        read: impl FnOnce(MessageView<'_>) -> R,
    ) -> Option<(R, usize, Paid)> {
        let at = match tag {
            None => self.head,
            Some(tag) => self.find_tag(tag),
        };
        let node = self.nodes.get_mut(at)?;
        let view = node.view();
        let len = view.bytes.len();
        if len > capacity {
            return None;
        }
        let result = read(view);
        let (place, paid) = node.clear();
        self.remove(at, place);
        Some((result, len, paid))
    }

    /// Takes the node of a message that was taken out of the list.
    #[inline]
    fn remove(&mut self, at: u32, place: Place) {
        let Place { previous, next, sequence, tag } = place;
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
    }

    /// A node at the end of the list, where one is free or a new one. Its message is for the caller
    /// to write.
    #[inline]
    fn append(&mut self, sequence: u64, tag: u64) -> Option<&mut Node> {
        let previous = self.tail;
        let at = match self.nodes.get(self.free) {
            Some(vacant) => core::mem::replace(&mut self.free, vacant.next),
            None => self.take_unused(),
        };
        match self.nodes.get_mut(previous) {
            Some(tail) => tail.next = at,
            None => self.head = at,
        }
        self.tail = at;
        if let Some(index) = &mut self.by_tag {
            index.insert((key_of(tag), sequence), at);
        }
        let node = self.nodes.get_mut(at)?;
        (node.previous, node.next, node.sequence) = (previous, NIL, sequence);
        Some(node)
    }

    #[inline]
    fn release(&mut self, at: u32) {
        if self.head == NIL {
            self.by_tag = None;
            self.nodes.pieces.truncate(PIECES_KEPT);
            (self.free, self.used) = (NIL, 0);
            return;
        }
        let free = self.free;
        if let Some(node) = self.nodes.get_mut(at) {
            node.next = free;
            self.free = at;
        }
    }

    /// The first node that nothing has been in since the queue was empty, or a new one.
    #[inline]
    fn take_unused(&mut self) -> u32 {
        let at = self.used;
        if self.nodes.get(at).is_none() {
            self.nodes.push();
        }
        self.used = at + 1;
        at
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

    fn push(queue: &mut Queue, sequence: u64, tag: u64) {
        // Short ones, those that just are, and long ones, known by their bytes.
        let message = [sequence as u8; 40];
        let message = &message[..[0, 8, 20, 32, 33, 40][sequence as usize % 6]];
        let mut make = |bytes: &[u8]| Payload(bytes.to_vec());
        if sequence.is_multiple_of(7) {
            let (from, payload) = (Pid::default(), make(message));
            let message = Message { from, tag, payload, request: None };
            queue.push(sequence, message, Some(Opening::default()));
        } else {
            queue.push_copy(sequence, (Pid::default(), tag), message, None, &mut make);
        }
    }

    fn take(queue: &mut Queue, tag: Option<u64>) -> Option<u64> {
        let (position, sequence, len) = queue.find(tag)?;
        let check = |bytes: &[u8]| {
            assert_eq!(bytes.len(), len);
            assert!(bytes.iter().all(|byte| *byte == sequence as u8));
        };
        let paid = if sequence.is_multiple_of(2) {
            let (message, paid) = queue.take(position)?;
            check(&message.payload.0);
            paid
        } else {
            if let Some(less) = len.checked_sub(1) {
                assert!(queue.take_in_place(tag, less, |_| ()).is_none());
            }
            queue.take_in_place(tag, len, |message| check(message.bytes))?.2
        };
        assert_eq!(paid.is_some(), sequence.is_multiple_of(7));
        Some(sequence)
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
                    push(&mut queue, sequence, tag);
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
            push(&mut queue, sequence, sequence);
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
            push(&mut queue, sequence, sequence);
        }
        assert_eq!(take(&mut queue, Some(9_999)), Some(9_999));
        assert!(queue.by_tag.is_some());
        while take(&mut queue, None).is_some() {}
        assert!(queue.nodes.iter().count() <= PIECES_KEPT * PIECE_NODES);
        assert!(queue.by_tag.is_none());
        for sequence in 1..=100 {
            push(&mut queue, sequence, sequence);
        }
        assert_eq!(take(&mut queue, Some(100)), Some(100));
        for sequence in 1..100 {
            assert_eq!(take(&mut queue, None), Some(sequence));
        }
    }
}

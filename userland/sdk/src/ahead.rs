//! Messages that were taken from the queue together with one that was asked for.
//!
//! Owns [`Ahead`], of which a process has one whatever number of [`Mailbox`](crate::Mailbox)es it
//! reads its queue with. A call of the system costs more than a short message does, so a receive of
//! whatever is next takes what lies behind it too. All that is here came before all that is queued:
//! whoever receives looks here first.

use crate::mailbox::Select;
use crate::sys;
use crate::sys::ReceiveHeader;
use alloc::vec::Vec;
use craton_abi::{Pid, is_channel_tag, is_taken_by};

/// Bytes of a message's header, as the system writes it.
pub(crate) const HEADER_BYTES: usize = size_of::<ReceiveHeader>();
/// Messages begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;
/// What stands for the kind of one that was taken from the middle.
const KIND_TAKEN: u32 = u32::MAX;

/// What is next of that which was taken ahead.
pub(crate) enum Next {
    /// A message, which was taken.
    Message(Head),
    /// Something for [`Ahead::take`].
    Other,
    Nothing,
}

/// What the header of a message says.
#[derive(Copy, Clone)]
pub(crate) struct Head {
    kind: u32,
    pub(crate) len: usize,
    pub(crate) from: Pid,
    pub(crate) tag: u64,
    /// The request that it is, or 0.
    pub(crate) id: u64,
}

impl Head {
    #[inline(always)]
    fn read(bytes: &[u8; HEADER_BYTES]) -> Self {
        let word = |at: usize| {
            let word = bytes[at..].first_chunk().copied();
            word.map_or(0, u64::from_le_bytes)
        };
        let from = bytes[8..].first_chunk::<{ Pid::BYTES }>();
        Head {
            kind: word(0) as u32,
            len: (word(0) >> 32) as usize,
            from: from.map(Pid::from_bytes).unwrap_or_default(),
            tag: word(32),
            id: word(40),
        }
    }

    /// Where the message after the one with this header begins, if that begins here.
    #[inline(always)]
    fn end(&self, start: usize) -> usize {
        start + HEADER_BYTES + self.len.next_multiple_of(ALIGNMENT)
    }
}

/// Messages in order, each with its header before it.
#[derive(Debug)]
pub(crate) struct Ahead {
    bytes: Vec<u8>,
    /// Where the next one begins; there is none where the bytes end.
    at: usize,
}

/// Reads what was taken ahead, if that is what is wanted: as a receive, which need not follow.
#[inline]
pub(crate) fn read(select: Select, header: &mut ReceiveHeader, buffer: &mut Vec<u8>) -> bool {
    sys::with_ahead(|ahead| match select {
        Select::Any => ahead.take(header, buffer),
        Select::Tag(tag) => ahead.take_tagged(tag, header, buffer),
        Select::Id(_) => false,
    })
}

/// Keeps the messages that lie in the buffer behind the one of this header.
#[inline(never)]
pub(crate) fn keep_behind(header: &ReceiveHeader, buffer: &[u8], count: usize) {
    let first = (header.len as usize).next_multiple_of(ALIGNMENT);
    sys::with_ahead(|ahead| ahead.keep(buffer.get(first..).unwrap_or_default(), count));
}

impl Ahead {
    pub(crate) const fn new() -> Self {
        Ahead { bytes: Vec::new(), at: 0 }
    }

    /// Keeps `count` messages as the system has written them. There are none before.
    pub(crate) fn keep(&mut self, messages: &[u8], count: usize) {
        self.bytes.clear();
        self.bytes.extend_from_slice(messages);
        let mut end = 0;
        for _ in 0..count {
            end = self.head_at(end).map_or(end, |head| head.end(end));
        }
        self.bytes.truncate(end);
        self.at = 0;
    }

    /// Takes the next message if it is no item of a channel; its bytes go to the buffer.
    #[inline(always)]
    pub(crate) fn take_plain(&mut self, buffer: &mut Vec<u8>) -> Next {
        let Some(head) = self.head_at(self.at) else { return Next::Nothing };
        if head.kind == KIND_TAKEN || is_channel_tag(head.tag) {
            return Next::Other;
        }
        self.give(self.at, &head, buffer);
        self.at = head.end(self.at);
        Next::Message(head)
    }

    /// Takes the next message: its header and its bytes go where a receive would put them. False
    /// if there is none.
    pub(crate) fn take(&mut self, header: &mut ReceiveHeader, buffer: &mut Vec<u8>) -> bool {
        while let Some(head) = self.head_at(self.at) {
            let start = self.at;
            self.at = head.end(start);
            if head.kind != KIND_TAKEN {
                self.give(start, &head, buffer);
                *header = head.into();
                return true;
            }
        }
        false
    }

    /// As [`Ahead::take`], of the next one that a receive by this tag takes.
    pub(crate) fn take_tagged(
        &mut self,
        tag: u64,
        header: &mut ReceiveHeader,
        buffer: &mut Vec<u8>,
    ) -> bool {
        let mut at = self.at;
        while let Some(head) = self.head_at(at) {
            if head.kind != KIND_TAKEN && is_taken_by(head.tag, tag) {
                self.bytes[at..at + 4].copy_from_slice(&KIND_TAKEN.to_le_bytes());
                self.give(at, &head, buffer);
                *header = head.into();
                return true;
            }
            at = head.end(at);
        }
        false
    }

    /// Copies the bytes of the message that begins at `start`. The shortest with what fills them
    /// up, without the call that a copy of any length is.
    #[inline(always)]
    fn give(&self, start: usize, head: &Head, buffer: &mut Vec<u8>) {
        let bytes = self.bytes.get(start + HEADER_BYTES..).unwrap_or_default();
        if head.len <= ALIGNMENT
            && let Some(word) = bytes.first_chunk::<ALIGNMENT>()
            && let Some(to) = buffer.first_chunk_mut::<ALIGNMENT>()
        {
            *to = *word;
            return;
        }
        copy(bytes.get(..head.len).unwrap_or_default(), buffer);
    }

    #[inline(always)]
    fn head_at(&self, at: usize) -> Option<Head> {
        self.bytes.get(at..)?.first_chunk().map(Head::read)
    }
}

#[inline(never)]
fn copy(bytes: &[u8], buffer: &mut Vec<u8>) {
    if buffer.len() < bytes.len() {
        buffer.resize(bytes.len(), 0);
    }
    buffer[..bytes.len()].copy_from_slice(bytes);
}

impl From<Head> for ReceiveHeader {
    fn from(head: Head) -> Self {
        let Head { kind, len, from, tag, id } = head;
        ReceiveHeader { kind, len: len as u32, from: from.to_bytes(), tag, id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn written(messages: &[(u64, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (tag, payload) in messages {
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0xee);
            bytes.extend_from_slice(&0_u32.to_le_bytes());
            bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&[7; Pid::BYTES]);
            bytes.extend_from_slice(&tag.to_le_bytes());
            bytes.extend_from_slice(&9_u64.to_le_bytes());
            bytes.extend_from_slice(payload);
        }
        bytes.resize(bytes.len() + 60, 0xee);
        bytes
    }

    fn ahead() -> Ahead {
        let mut ahead = Ahead::new();
        ahead.keep(&written(&[(1, b"one"), (2, b""), (1, b"three of them")]), 3);
        ahead
    }

    fn take(ahead: &mut Ahead, tag: Option<u64>) -> Option<(u64, Vec<u8>)> {
        let (mut header, mut buffer) = (ReceiveHeader::default(), vec![0; 2]);
        let is_there = match tag {
            None => ahead.take(&mut header, &mut buffer),
            Some(tag) => ahead.take_tagged(tag, &mut header, &mut buffer),
        };
        is_there.then(|| {
            assert_eq!((header.kind, header.from, header.id), (0, [7; Pid::BYTES], 9));
            (header.tag, buffer[..header.len as usize].to_vec())
        })
    }

    #[test]
    fn messages_come_in_order() {
        let mut ahead = ahead();
        assert_eq!(take(&mut ahead, None), Some((1, b"one".to_vec())));
        assert_eq!(take(&mut ahead, None), Some((2, b"".to_vec())));
        assert_eq!(take(&mut ahead, None), Some((1, b"three of them".to_vec())));
        assert_eq!(take(&mut ahead, None), None);
    }

    #[test]
    fn a_tag_takes_the_first_of_its_own() {
        let mut ahead = ahead();
        assert_eq!(take(&mut ahead, Some(2)), Some((2, b"".to_vec())));
        assert_eq!(take(&mut ahead, Some(2)), None);
        assert_eq!(take(&mut ahead, Some(1)), Some((1, b"one".to_vec())));
        assert_eq!(take(&mut ahead, None), Some((1, b"three of them".to_vec())));
        assert_eq!(take(&mut ahead, Some(1)), None);
    }
}

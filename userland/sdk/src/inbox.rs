//! What came for a process's channels while it waited for something else.
//!
//! Owns [`Inboxes`], of which a process has one whatever number of [`Mailbox`](crate::Mailbox)es it
//! reads its queue with. Items move here whenever they come up, so that they hold up nothing; a
//! [`Receiver`](crate::Receiver) takes them from here. There are few of each: the sender waits
//! until they are taken by the program.

use crate::channel::refuse;
use crate::event::{Down, Envelope};
use crate::process::Monitor;
use crate::sys;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use craton_abi::Pid;

/// Channels that are over and whose late items are refused; of older ones they are only dropped.
const CLOSED_MAX: usize = 1024;

/// Something of a channel.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// What was sent under its tag.
    Message { from: Pid, request: u64, bytes: Vec<u8> },
    /// Its sender ended.
    End(Down),
}

/// The channels of a process, by their tags.
#[derive(Debug)]
pub(crate) struct Inboxes {
    open: BTreeMap<u64, VecDeque<Item>>,
    /// The monitors on senders, and whose channel it is.
    senders: BTreeMap<Monitor, u64>,
    closed: VecDeque<u64>,
}

/// Does something with those of the calling process.
pub(crate) fn with<R>(change: impl FnOnce(&mut Inboxes) -> R) -> R {
    sys::with_inboxes(change)
}

impl Inboxes {
    pub(crate) const fn new() -> Self {
        Inboxes { open: BTreeMap::new(), senders: BTreeMap::new(), closed: VecDeque::new() }
    }

    /// Keeps an item, or refuses it where its channel is over.
    pub(crate) fn keep(&mut self, message: &Envelope<'_>) {
        let Envelope { from, tag, payload, request } = *message;
        if let Some(inbox) = self.open.get_mut(&tag) {
            inbox.push_back(Item::Message { from, request, bytes: payload.to_vec() });
        } else if self.closed.contains(&tag) {
            refuse(&from, request);
        } else {
            let item = Item::Message { from, request, bytes: payload.to_vec() };
            self.open.insert(tag, VecDeque::from([item]));
        }
    }

    /// Keeps the end of a channel's sender, and says of which channel; gives back any other notice.
    pub(crate) fn keep_end(&mut self, down: Down) -> Result<u64, Down> {
        let Some(tag) = self.senders.remove(&down.monitor) else { return Err(down) };
        self.open.entry(tag).or_default().push_back(Item::End(down));
        Ok(tag)
    }

    /// What came next on a channel.
    pub(crate) fn next(&mut self, tag: u64) -> Option<Item> {
        self.open.get_mut(&tag)?.pop_front()
    }

    /// From now on the notice of this monitor is this channel's.
    pub(crate) fn watch(&mut self, sender: Monitor, tag: u64) {
        self.senders.insert(sender, tag);
    }

    /// From now on this channel's items are refused, and those that are here too.
    pub(crate) fn close(&mut self, tag: u64) {
        self.senders.retain(|_, of| *of != tag);
        for item in self.open.remove(&tag).into_iter().flatten() {
            if let Item::Message { from, request, .. } = item {
                refuse(&from, request);
            }
        }
        if self.closed.len() >= CLOSED_MAX {
            self.closed.pop_front();
        }
        self.closed.push_back(tag);
    }
}

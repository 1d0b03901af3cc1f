//! What came for a process's channels while it waited for something else.
//!
//! Owns [`Inboxes`], of which a process has one whatever number of [`Mailbox`](crate::Mailbox)es it
//! reads its queue with. Items move here whenever they come up, so that they hold up nothing; a
//! [`Receiver`](crate::Receiver) takes them from here. So do the answers to the items that its
//! [`Sender`](crate::Sender)s have under way. No peer is trusted with how much there is: of a
//! channel as much is kept as one sender may have under way, and of channels that no receiver is
//! open for, whose ends may still be on their way to this process, a few. The rest is refused.

use crate::channel::{CHANNEL_BYTES, CHANNEL_ITEMS, refuse};
use crate::error::Error;
use crate::event::{Down, Envelope};
use crate::process::Monitor;
use crate::sys;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use craton_abi::Pid;

/// Channels that are over and whose late items are refused; of older ones they are only dropped.
const CLOSED_MAX: usize = 1024;
/// Channels without a receiver that items are kept of.
const EARLY_MAX: usize = 64;
/// Messages of a channel that are kept: the items and the word that the sender has finished.
const MESSAGES_MAX: usize = CHANNEL_ITEMS + 1;

/// Something of a channel.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// What was sent under its tag.
    Message { from: Pid, request: u64, bytes: Vec<u8> },
    /// Its sender ended.
    End(Down),
}

/// What became of an item that this process sent: whether it was taken, or how its receiver ended.
pub(crate) type Outcome = Result<bool, Error>;

/// What came of a channel.
#[derive(Debug, Default)]
struct Inbox {
    /// Whether a receiver is open for it.
    opened: bool,
    /// Whoever sent first: nobody else may.
    sender: Option<Pid>,
    items: VecDeque<Item>,
    /// Messages among the items, and their bytes.
    messages: usize,
    bytes: usize,
}

/// The channels of a process, by their tags.
#[derive(Debug)]
pub(crate) struct Inboxes {
    open: BTreeMap<u64, Inbox>,
    /// Those of them that no receiver is open for.
    early: usize,
    /// The monitors on senders, and whose channel it is.
    senders: BTreeMap<Monitor, u64>,
    closed: VecDeque<u64>,
    /// Requests of the senders' items, and what became of them. A sender has few, and takes them
    /// out when it is dropped.
    sent: BTreeMap<Monitor, Option<Outcome>>,
}

/// Does something with those of the calling process.
pub(crate) fn with<R>(change: impl FnOnce(&mut Inboxes) -> R) -> R {
    sys::with_inboxes(change)
}

impl Inboxes {
    pub(crate) const fn new() -> Self {
        Inboxes {
            open: BTreeMap::new(),
            early: 0,
            senders: BTreeMap::new(),
            closed: VecDeque::new(),
            sent: BTreeMap::new(),
        }
    }

    /// From now on there is a receiver for this channel.
    pub(crate) fn open(&mut self, tag: u64) {
        match self.open.get_mut(&tag) {
            Some(inbox) if inbox.opened => {}
            Some(inbox) => {
                inbox.opened = true;
                self.early -= 1;
            }
            None => {
                self.open.insert(tag, Inbox { opened: true, ..Inbox::default() });
            }
        }
    }

    /// Keeps an item, or refuses it where its channel is over, is another's or holds too much.
    pub(crate) fn keep(&mut self, message: &Envelope<'_>) {
        let kept = match self.open.get_mut(&message.tag) {
            Some(inbox) => inbox.keep(message),
            None if self.early >= EARLY_MAX || self.closed.contains(&message.tag) => false,
            None => {
                self.early += 1;
                self.open.entry(message.tag).or_default().keep(message)
            }
        };
        if !kept {
            // What is no request has nobody who waits.
            refuse(&message.from, message.request);
        }
    }

    /// Keeps the end of a channel's sender, and says of which channel; gives back any other notice.
    pub(crate) fn keep_end(&mut self, down: Down) -> Result<u64, Down> {
        let Some(tag) = self.senders.remove(&down.monitor) else { return Err(down) };
        if let Some(inbox) = self.open.get_mut(&tag) {
            inbox.items.push_back(Item::End(down));
        }
        Ok(tag)
    }

    /// Whether the end of a process can be a channel's concern.
    #[inline]
    pub(crate) fn awaits_ends(&self) -> bool {
        !(self.senders.is_empty() && self.sent.is_empty())
    }

    /// What came next on a channel.
    pub(crate) fn next(&mut self, tag: u64) -> Option<Item> {
        self.open.get_mut(&tag)?.next()
    }

    /// Who sends on a channel, known from the first item on.
    pub(crate) fn sender(&self, tag: u64) -> Option<Pid> {
        self.open.get(&tag)?.sender
    }

    /// From now on the notice of this monitor is this channel's.
    pub(crate) fn watch(&mut self, sender: Monitor, tag: u64) {
        self.senders.insert(sender, tag);
    }

    /// From now on this channel's items are refused, and those that are here too.
    pub(crate) fn close(&mut self, tag: u64) {
        let Some(inbox) = self.open.remove(&tag) else { return };
        self.early -= usize::from(!inbox.opened);
        self.senders.retain(|_, of| *of != tag);
        for item in inbox.items {
            if let Item::Message { from, request, .. } = item {
                refuse(&from, request);
            }
        }
        if self.closed.len() >= CLOSED_MAX {
            self.closed.pop_front();
        }
        self.closed.push_back(tag);
    }

    /// From now on the answer to this request is a sender's, and no event.
    pub(crate) fn expect(&mut self, request: Monitor) {
        self.sent.insert(request, None);
    }

    /// Keeps what became of a sender's item; says whether it is one.
    pub(crate) fn settle(&mut self, request: Monitor, outcome: Outcome) -> bool {
        let Some(place) = self.sent.get_mut(&request) else { return false };
        *place = Some(outcome);
        true
    }

    /// Takes what became of an item, if it has come.
    pub(crate) fn outcome(&mut self, request: Monitor) -> Option<Outcome> {
        let outcome = self.sent.get_mut(&request)?.take()?;
        self.sent.remove(&request);
        Some(outcome)
    }

    /// Nobody asks any more what became of an item.
    pub(crate) fn forget(&mut self, request: Monitor) {
        self.sent.remove(&request);
    }
}

impl Inbox {
    /// Keeps an item if it is the one sender's and no more than that one may have under way.
    fn keep(&mut self, message: &Envelope<'_>) -> bool {
        let Envelope { from, payload, request, .. } = *message;
        // A word that is no item is short, and may come on top of a full channel.
        let fits =
            payload.len() <= 1 || self.messages == 0 || self.bytes + payload.len() <= CHANNEL_BYTES;
        if !fits || self.messages >= MESSAGES_MAX || *self.sender.get_or_insert(from) != from {
            return false;
        }
        self.messages += 1;
        self.bytes += payload.len();
        self.items.push_back(Item::Message { from, request, bytes: payload.to_vec() });
        true
    }

    fn next(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        if let Item::Message { bytes, .. } = &item {
            self.messages -= 1;
            self.bytes -= bytes.len();
        }
        Some(item)
    }
}

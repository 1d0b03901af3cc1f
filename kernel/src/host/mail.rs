//! The rings between the CPUs: how the parts of a node reach one another.
//!
//! Owns [`Rings`], a bounded inbox for each CPU, and [`Post`], one CPU's way to all of them. What
//! does not fit an inbox waits at its sender, in order; until it is gone the sender runs no
//! process, so what waits is bounded by what one turn of its loop can cause. It goes on taking its
//! own mail meanwhile, which is why two CPUs with full inboxes do not wait for each other for ever.
//!
//! Mail for which nobody can be waiting wakes nobody.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use craton_abi::ShardId;
use craton_hal::smp;
use craton_node::Mail;
use crossbeam_queue::ArrayQueue;

/// Letters that an inbox holds.
const INBOX_LETTERS: usize = 512;

/// The inboxes of all CPUs. Each is written by every CPU and read by its own.
pub(super) struct Rings {
    inboxes: Vec<ArrayQueue<Mail>>,
}

impl Rings {
    /// Empty inboxes for so many CPUs.
    pub(super) fn new(cpus: usize) -> Arc<Self> {
        let inboxes = (0..cpus).map(|_| ArrayQueue::new(INBOX_LETTERS)).collect();
        Arc::new(Rings { inboxes })
    }
}

/// One CPU's end of the rings.
pub(super) struct Post {
    own: usize,
    rings: Arc<Rings>,
    /// For each CPU what its inbox had no room for.
    waiting: Vec<VecDeque<Mail>>,
    /// Letters in `waiting`.
    waiting_count: usize,
    /// CPUs that got mail since the last [`Post::flush`].
    wake: Vec<bool>,
    /// Whether there is one.
    any_to_wake: bool,
}

impl Post {
    /// The end of the CPU `own`.
    pub(super) fn new(own: usize, rings: Arc<Rings>) -> Self {
        let cpus = rings.inboxes.len();
        Post {
            own,
            rings,
            waiting: (0..cpus).map(|_| VecDeque::new()).collect(),
            waiting_count: 0,
            wake: alloc::vec![false; cpus],
            any_to_wake: false,
        }
    }

    /// How many CPUs there are.
    pub(super) fn cpus(&self) -> usize {
        self.rings.inboxes.len()
    }

    /// Sends mail to the CPU of a shard; who is to be woken for it is with the next
    /// [`Post::flush`].
    pub(super) fn send(&mut self, to: ShardId, mail: Mail) {
        let to = to.index();
        if to >= self.wake.len() {
            return; // A shard that the node does not have: nobody to tell.
        }
        if !mail.can_wait() {
            (self.wake[to], self.any_to_wake) = (true, true);
        }
        self.put(to, mail);
    }

    /// Sends mail to the CPU of a shard that there is, and wakes it.
    #[inline]
    pub(super) fn send_at_once(&mut self, to: ShardId, mail: Mail) {
        self.put(to.index(), mail);
        smp::wake(to.index());
    }

    #[inline]
    fn put(&mut self, to: usize, mail: Mail) {
        let (waiting, inbox) = (&mut self.waiting[to], &self.rings.inboxes[to]);
        let unsent = if waiting.is_empty() { inbox.push(mail).err() } else { Some(mail) };
        if let Some(mail) = unsent {
            waiting.push_back(mail);
            self.waiting_count += 1;
        }
    }

    /// Passes on what waits, as far as there is room, and wakes whoever got something. True if
    /// nothing waits any more.
    pub(super) fn flush(&mut self) -> bool {
        if self.waiting_count == 0 && !core::mem::take(&mut self.any_to_wake) {
            return true;
        }
        for (to, waiting) in self.waiting.iter_mut().enumerate() {
            while let Some(mail) = waiting.pop_front() {
                if let Err(mail) = self.rings.inboxes[to].push(mail) {
                    waiting.push_front(mail);
                    break;
                }
                self.waiting_count -= 1;
            }
            if core::mem::take(&mut self.wake[to]) || !waiting.is_empty() {
                smp::wake(to);
            }
        }
        self.waiting_count == 0
    }

    /// Whether nothing waits for room in an inbox.
    pub(super) fn is_clear(&self) -> bool {
        self.waiting_count == 0
    }

    /// The next letter for this CPU.
    pub(super) fn take(&self) -> Option<Mail> {
        self.rings.inboxes[self.own].pop()
    }

    /// Whether there is mail for this CPU. Takes no lock, so that a CPU may ask before it halts.
    pub(super) fn has_mail(&self) -> bool {
        !self.rings.inboxes[self.own].is_empty()
    }
}

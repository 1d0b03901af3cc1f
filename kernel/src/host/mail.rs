//! The rings between the CPUs: how the parts of a node reach one another.
//!
//! Owns [`Rings`], a bounded inbox for each CPU, and [`Post`], one CPU's way to all of them. What
//! does not fit an inbox waits at its sender, in order; until it is gone the sender runs no
//! process, so what waits is bounded by what one turn of its loop can cause. It goes on taking its
//! own mail meanwhile, which is why two CPUs with full inboxes do not wait for each other for ever.
//!
//! Mail for which nobody can be waiting wakes nobody; nor does a message for the very process that
//! its CPU runs, which will look for it as soon as it wants one.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use craton_abi::{ShardId, Slot};
use craton_hal::smp;
use craton_node::Mail;
use crossbeam_queue::ArrayQueue;

/// Letters that an inbox holds.
const INBOX_LETTERS: usize = 512;

/// The inboxes of all CPUs. Each is written by every CPU and read by its own.
pub(super) struct Rings {
    inboxes: Vec<ArrayQueue<Mail>>,
    /// The process that each CPU runs.
    running: Vec<Running>,
}

/// The slot of a process as a number, or [`NOBODY`]; written by its own CPU alone, and often.
#[derive(Default)]
#[repr(align(64))]
struct Running(AtomicU64);

/// The number of no slot: generations begin with 1.
const NOBODY: u64 = 0;

fn number_of(slot: Slot) -> u64 {
    let place = (slot.shard().index() as u64) << 24 | slot.index() as u64;
    place << 32 | u64::from(slot.generation())
}

impl Rings {
    /// Empty inboxes for so many CPUs.
    pub(super) fn new(cpus: usize) -> Arc<Self> {
        let inboxes = (0..cpus).map(|_| ArrayQueue::new(INBOX_LETTERS)).collect();
        let running = (0..cpus).map(|_| Running::default()).collect();
        Arc::new(Rings { inboxes, running })
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

    /// Sends a message to a process of a shard that there is, and wakes its CPU, unless that runs
    /// the process.
    ///
    /// The letter is in the inbox before this looks who runs, and a CPU says that nobody does
    /// before it looks into its inbox, all in one order of all CPUs: either this sees that the
    /// process does not run any more, or its CPU sees the letter.
    #[inline]
    pub(super) fn send_at_once(&mut self, to: Slot, mail: Mail) {
        let cpu = to.shard().index();
        self.put(cpu, mail);
        if self.rings.running[cpu].0.load(Ordering::SeqCst) != number_of(to) {
            smp::wake(cpu);
        }
    }

    /// This CPU is about to run a process.
    #[inline]
    pub(super) fn begin_run(&self, slot: Slot) {
        // Nothing depends on when others see this.
        self.rings.running[self.own].0.store(number_of(slot), Ordering::Relaxed);
    }

    /// The process has given the CPU back; its host looks into the inbox before it runs another.
    #[inline]
    pub(super) fn end_run(&self) {
        self.rings.running[self.own].0.store(NOBODY, Ordering::SeqCst);
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
    #[inline]
    pub(super) fn flush(&mut self) -> bool {
        (self.waiting_count == 0 && !self.any_to_wake) || self.flush_some()
    }

    #[inline(never)]
    fn flush_some(&mut self) -> bool {
        self.any_to_wake = false;
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

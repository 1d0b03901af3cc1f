//! What a CPU's host does with its part of a node, whichever that is.
//!
//! Owns [`Part`], which [`Node`](crate::Node) and [`Worker`](crate::Worker) are.

use crate::api::PartEffect;
use crate::mail::Mail;
use alloc::vec::Vec;
use craton_abi::{Duration, Instant, Pid, ShardId, Slot, SocketEvent, SocketNote};
use craton_shard::port::{
    Effect, HostAnswer, HostCall, HostReply, Make, Outcome, ReceiveAtOnce, Resume, Sink, SpawnCall,
};
use craton_shard::{HandedOver, Shard};

/// One CPU's part of a node: a shard, and on the first CPU the control with it.
pub trait Part {
    /// What it asks of its host beyond what all parts do.
    type Own;

    /// Takes what another CPU has posted. Of a short message `make` makes what a process that waits
    /// for it is given.
    fn take_mail(
        &mut self,
        mail: Mail,
        now: Instant,
        make: Make<'_>,
        out: &mut Vec<PartEffect<Self::Own>>,
    );

    /// Lets time pass; asks for at most one process to be run.
    fn tick(&mut self, now: Instant, out: &mut Vec<PartEffect<Self::Own>>);

    /// Hears what the host of its processes says.
    fn hear(&mut self, answer: HostAnswer, now: Instant, out: &mut Vec<PartEffect<Self::Own>>);

    /// Hears what the network of its CPU has to tell a process of any CPU.
    fn hear_network(
        &mut self,
        event: SocketEvent,
        now: Instant,
        out: &mut Vec<PartEffect<Self::Own>>,
    );

    /// Passes on what the network of its CPU has to tell that of another.
    fn pass_note(
        &mut self,
        to: ShardId,
        note: SocketNote,
        now: Instant,
        out: &mut Vec<PartEffect<Self::Own>>,
    );

    /// As [`Part::hear`] of how a process came back; but one that came back as ended is its host's
    /// to drop where this answers so.
    #[must_use]
    fn come_back(
        &mut self,
        slot: Slot,
        outcome: &mut Outcome,
        used: Duration,
        now: Instant,
        out: &mut Vec<PartEffect<Self::Own>>,
    ) -> bool;

    /// The process that runs next, and how it goes on; as [`Part::tick`], if that has nothing else
    /// to do, but without its control's. So a host does not go on like this for long.
    fn next(
        &mut self,
        now: Instant,
        resume: &mut Resume,
        out: &mut Vec<PartEffect<Self::Own>>,
    ) -> Option<Slot>;

    /// Whether a tick has something to do for its processes.
    fn is_due(&self, now: Instant) -> bool;

    /// [`Part::come_back`] and, if that asks for nothing, [`Part::next`].
    #[inline]
    fn hand_over(
        &mut self,
        slot: Slot,
        outcome: &mut Outcome,
        used: Duration,
        now: Instant,
        resume: &mut Resume,
        out: &mut Vec<PartEffect<Self::Own>>,
    ) -> HandedOver {
        let before = out.len();
        let reclaim = self.come_back(slot, outcome, used, now, out);
        let next = if out.len() == before { self.next(now, resume, out) } else { None };
        HandedOver { next, reclaim }
    }

    /// Asks its shard something while a process keeps the CPU, and carries out what comes of it.
    fn at_once<R>(
        &mut self,
        now: Instant,
        out: &mut Vec<PartEffect<Self::Own>>,
        ask: impl FnOnce(&mut Shard, &mut Vec<Effect>) -> R,
    ) -> R;

    /// Brings a child of the process that runs to life, if it is of the same program and for this
    /// part to place. It is born when it first runs ([`Resume::Birth`]); its host has room for as
    /// many that are not born yet as `unborn_max`. `None` if nothing was done: the call is to come
    /// as a [`HostCall`].
    fn spawn_at_once(
        &mut self,
        slot: Slot,
        call: &mut SpawnCall,
        unborn_max: usize,
    ) -> Option<HostReply>;

    /// Answers a call of the process that runs, other than a send, a receive or a spawn, if that
    /// can be done at once.
    ///
    /// # Errors
    ///
    /// Gives the call back, with nothing done: it is to come by [`Part::hear`].
    fn answer_at_once(
        &mut self,
        slot: Slot,
        call: HostCall,
        now: Instant,
        out: &mut Vec<PartEffect<Self::Own>>,
    ) -> Result<HostReply, HostCall> {
        self.at_once(now, out, |shard, effects| shard.answer_at_once(slot, call, effects))
    }

    /// Sends a message of the process that runs to one of the same shard, if that can be done at
    /// once: for whom, and its tag; the message, and what makes of it what must be kept. False,
    /// with nothing done, if it is to come as a [`HostCall`].
    #[inline]
    fn send_at_once(
        &mut self,
        slot: Slot,
        (to, tag): (&Pid, u64),
        message: (&[u8], Make<'_>),
        now: Instant,
        out: &mut Vec<PartEffect<Self::Own>>,
    ) -> bool {
        self.at_once(now, out, |shard, effects| shard.send_at_once(slot, to, tag, message, effects))
    }

    /// As [`Part::send_at_once`], to a process of another shard of this node: the mail that its
    /// host is to post before it does anything else.
    fn send_across(
        &mut self,
        slot: Slot,
        to: (&Pid, u64),
        message: (&[u8], Make<'_>),
    ) -> Option<Mail>;

    /// Receives for the process that runs, with this tag and within this time, or lets it wait:
    /// then its host says nothing to this part before it has come back. Messages are shown
    /// to `sink` where they lie, one or as many as it has room for.
    #[inline]
    fn receive_at_once(
        &mut self,
        slot: Slot,
        want: (Option<u64>, Option<Duration>),
        (capacity, sink): (usize, Sink<'_>),
        now: Instant,
        out: &mut Vec<PartEffect<Self::Own>>,
    ) -> ReceiveAtOnce {
        self.at_once(now, out, |shard, effects| {
            shard.receive_at_once(slot, want, capacity, sink, effects)
        })
    }

    /// Lets the CPU that `idle` finds run some of the processes that wait too long for this one.
    /// Does not ask where none do.
    #[inline]
    fn share(
        &mut self,
        now: Instant,
        out: &mut Vec<PartEffect<Self::Own>>,
        idle: impl FnOnce() -> Option<ShardId>,
    ) {
        self.at_once(now, out, |shard, effects| {
            if shard.has_spare(now)
                && let Some(to) = idle()
            {
                shard.lend(to, effects);
            }
        });
    }

    /// Tells other shards of the credit that it owes them and has kept back. To be asked for before
    /// its CPU sleeps.
    #[inline]
    fn tell_owed(&mut self, now: Instant, out: &mut Vec<PartEffect<Self::Own>>) {
        self.at_once(now, out, |shard, effects| shard.tell_owed(effects));
    }

    /// Whether a tick would run a process, or let one hear of an end.
    fn runnable(&self) -> bool;
}

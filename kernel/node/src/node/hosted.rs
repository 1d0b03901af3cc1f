//! The node as its host has it: the part of the first CPU.
//!
//! Makes a [`Part`] of [`Node`]. What the host asks of shard 0 is done without a step of the node,
//! for shard 0 and the control have nothing left to pass on between two.

use super::Node;
use crate::api::{ControlEffect, NodeEffect, NodeInput};
use crate::mail::{CONTROL, Mail, MailBody};
use crate::part::Part;
use alloc::vec::Vec;
use craton_abi::{Duration, Instant, Pid, ShardId, Slot, SocketEvent, SocketNote, limit};
use craton_shard::Shard;
use craton_shard::port::{
    Effect, HostAnswer, HostEffect, HostReply, Make, Outcome, Resume, SpawnCall,
};

impl Part for Node {
    type Own = ControlEffect;

    #[inline]
    fn take_mail(&mut self, mail: Mail, now: Instant, make: Make<'_>, out: &mut Vec<NodeEffect>) {
        match mail.body {
            MailBody::Letter(letter) if mail.life == self.work.life => {
                self.shard.take_letter(letter, now, make, &mut self.effects);
                self.carry_out_all(now, out);
            }
            _ => self.step(NodeInput::Mail(mail), now, out),
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<NodeEffect>) {
        self.step(NodeInput::Tick, now, out);
    }

    /// As a step, for shard 0 and the control have nothing left to pass on between two.
    fn hear(&mut self, answer: HostAnswer, now: Instant, out: &mut Vec<NodeEffect>) {
        if let Some((to, body)) = self.lodger_holds(&answer) {
            let mail = Mail { life: self.work.life, from: CONTROL, body };
            out.push(NodeEffect::Post { to, mail });
        }
        if let Some(input) = self.host_said(answer) {
            self.shard.step(input, now, &mut self.effects);
            self.carry_out_all(now, out);
        }
    }

    fn hear_network(&mut self, event: SocketEvent, now: Instant, out: &mut Vec<NodeEffect>) {
        self.step(NodeInput::Socket(event), now, out);
    }

    fn pass_note(
        &mut self,
        to: ShardId,
        note: SocketNote,
        now: Instant,
        out: &mut Vec<NodeEffect>,
    ) {
        self.step(NodeInput::SocketNote { to, note }, now, out);
    }

    #[inline]
    fn come_back(
        &mut self,
        slot: Slot,
        outcome: &mut Outcome,
        used: Duration,
        now: Instant,
        out: &mut Vec<NodeEffect>,
    ) -> bool {
        if !self.runs(slot) {
            return false;
        }
        let reclaim = self.shard.come_back(slot, outcome, used, now, &mut self.effects);
        if reclaim {
            self.control.hosts.ended(slot);
        }
        self.carry_out_all(now, out);
        reclaim
    }

    #[inline]
    fn next(
        &mut self,
        now: Instant,
        resume: &mut Resume,
        out: &mut Vec<NodeEffect>,
    ) -> Option<Slot> {
        let mut next = self.shard.next(now, resume, &mut self.effects);
        if let Some(slot) = next.take_if(|slot| !self.control.hosts.is_engine(*slot)) {
            let resume = core::mem::replace(resume, Resume::Continue);
            let run = HostEffect::Run { slot, resume, slice: limit::SLICE };
            self.effects.push(Effect::Host(run));
        }
        let life = self.work.life;
        self.carry_out_all(now, out);
        // Who was to run in a life that is over runs no more.
        next.filter(|_| self.work.life == life)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.shard.is_due(now)
    }

    fn spawn_at_once(
        &mut self,
        slot: Slot,
        call: &mut SpawnCall,
        unborn_max: usize,
    ) -> Option<HostReply> {
        let control = &mut self.control;
        let program = control.spawns_here(slot, call)?;
        let reply = self.shard.spawn_at_once(slot, call, unborn_max)?;
        if let HostReply::Spawned { pid, .. } = &reply {
            control.placed_here();
            control.hosts.started(pid.slot, program);
        }
        Some(reply)
    }

    #[inline]
    fn at_once<R>(
        &mut self,
        now: Instant,
        out: &mut Vec<NodeEffect>,
        ask: impl FnOnce(&mut Shard, &mut Vec<Effect>) -> R,
    ) -> R {
        let answer = ask(&mut self.shard, &mut self.effects);
        self.carry_out_all(now, out);
        answer
    }

    fn send_across(
        &mut self,
        slot: Slot,
        (to, tag): (&Pid, u64),
        message: (&[u8], Make<'_>),
    ) -> Option<Mail> {
        if to.slot.shard().index() >= usize::from(self.control.shards) {
            return None;
        }
        let letter = self.shard.send_across(slot, to, tag, message)?;
        Some(Mail { life: self.work.life, from: CONTROL, body: MailBody::Letter(letter) })
    }

    fn runnable(&self) -> bool {
        self.shard.runnable()
    }
}

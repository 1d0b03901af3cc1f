//! One more CPU of a node, as a value: a shard that is stepped apart from the node.
//!
//! Owns [`Worker`]. It shares nothing with the [`Node`](crate::Node) or with other workers but
//! [`Mail`]. What its shard says to another shard of the node goes there; everything else goes to
//! the control, in the order in which it was said.

use crate::api::{WorkerEffect, WorkerInput};
use crate::hosts::Hosts;
use crate::mail::{CONTROL, Life, Mail, MailBody, Survey, SurveyId, Tally};
use crate::part::Part;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::convert::Infallible;
use craton_abi::{
    Duration, Incarnation, Instant, Pid, Place, ProgramId, ShardId, Slot, SocketEvent, SocketNote,
};
use craton_shard::port::{
    Effect, HostAnswer, HostEffect, HostReply, Input, Make, Outcome, Resume, Source, SpawnCall,
};
use craton_shard::{Shard, ShardConfig};

/// A change of as many processes is told to the control although others are about to run.
const TALLY_STEP: usize = 32;

/// A shard on a CPU of its own.
pub struct Worker {
    shard: Shard,
    /// Shards of the node.
    shards: u8,
    life: Life,
    hosts: Hosts,
    /// Orders that have come in this life.
    orders: u64,
    tally_told: Tally,
    /// Mail of a life that this worker has not been told of yet: another worker was told sooner.
    early: VecDeque<Mail>,
    /// Of this shard for itself.
    inputs: VecDeque<Input>,
    /// Used by each input of the shard; kept for its room.
    effects: Vec<Effect>,
}

impl Worker {
    pub(crate) fn new(config: ShardConfig, shards: u8, life: Life) -> Self {
        Worker {
            shard: Shard::new(config),
            shards,
            life,
            hosts: Hosts::default(),
            orders: 0,
            tally_told: Tally::default(),
            early: VecDeque::new(),
            inputs: VecDeque::new(),
            effects: Vec::new(),
        }
    }

    /// Takes one input and appends what is to be done about it, in order.
    pub fn step(&mut self, input: WorkerInput, now: Instant, out: &mut Vec<WorkerEffect>) {
        match input {
            WorkerInput::Tick => {
                let before = out.len();
                self.advance(Input::Tick, now, out);
                let ran = |effect: &WorkerEffect| {
                    matches!(effect, WorkerEffect::Host(HostEffect::Run { .. }))
                };
                self.say_tally(out[before..].iter().any(ran), out);
            }
            WorkerInput::Host(answer) => self.host_said(answer, now, out),
            WorkerInput::Socket(event) => self.network_said(event, now, out),
            WorkerInput::SocketNote { to, note } => {
                self.post(to, MailBody::Sockets(Box::new(note)), out);
            }
            WorkerInput::Mail(mail) => self.mail(mail, now, out),
        }
    }

    /// Carries out what its shard asked for since.
    #[inline]
    fn carry_out_all(&mut self, now: Instant, out: &mut Vec<WorkerEffect>) {
        if !self.effects.is_empty() {
            self.carry_out_some(now, out);
        }
    }

    #[inline(never)]
    fn carry_out_some(&mut self, now: Instant, out: &mut Vec<WorkerEffect>) {
        let mut effects = core::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            self.carry_out(effect, out);
        }
        self.effects = effects;
        while let Some(input) = self.inputs.pop_front() {
            self.advance(input, now, out);
        }
    }

    /// When it must be stepped with [`WorkerInput::Tick`] at the latest, if it is not runnable.
    pub fn deadline(&self) -> Option<Instant> {
        let tally_due = self.tally_told.processes != self.hosts.len();
        if tally_due { Some(Instant::ZERO) } else { self.shard.deadline() }
    }

    /// Which shard of its node it is.
    pub fn shard(&self) -> ShardId {
        self.shard.config().shard
    }

    /// Its processes.
    pub fn processes(&self) -> usize {
        self.shard.len()
    }

    /// The life of its node, as far as it knows.
    pub fn incarnation(&self) -> Incarnation {
        self.shard.config().incarnation
    }

    fn is_mine(&self, slot: Slot) -> bool {
        slot.shard() == self.shard()
    }

    /// Whether its host runs a process for it, or may have been asked to.
    #[inline]
    fn runs(&self, slot: Slot) -> bool {
        self.is_mine(slot) || self.shard.has_lodger(slot)
    }

    fn host_said(&mut self, answer: HostAnswer, now: Instant, out: &mut Vec<WorkerEffect>) {
        match answer {
            HostAnswer::Started { slot, result } if self.is_mine(slot) => {
                if result.is_err() {
                    self.host_ended(slot, out);
                }
                self.advance(Input::Started { slot, result }, now, out);
            }
            HostAnswer::Ran { slot, outcome, used } if self.runs(slot) => {
                self.advance(Input::Ran { slot, outcome, used }, now, out);
            }
            HostAnswer::NotThere { slot } => self.advance(Input::NotThere { slot }, now, out),
            HostAnswer::Memory { slot, bytes } if self.is_mine(slot) => {
                self.hosts.set_memory(slot, bytes);
            }
            HostAnswer::Memory { slot, bytes } => {
                if let Some(used) = self.shard.take_used(slot) {
                    self.post(slot.shard(), MailBody::Holds(slot, bytes, used), out);
                }
            }
            HostAnswer::Started { .. } | HostAnswer::Ran { .. } => {}
        }
    }

    /// What the network has to tell a process, of this life or of one before.
    fn network_said(&mut self, event: SocketEvent, now: Instant, out: &mut Vec<WorkerEffect>) {
        let to = event.to();
        if self.is_here(to) && self.is_mine(to.slot) {
            self.advance(Input::Socket(event), now, out);
        } else if self.is_here(to) {
            self.post(to.slot.shard(), MailBody::Input(Box::new(Input::Socket(event))), out);
        }
    }

    fn mail(&mut self, mail: Mail, now: Instant, out: &mut Vec<WorkerEffect>) {
        if let MailBody::Restart(incarnation) = mail.body {
            if mail.life > self.life {
                self.restart(mail.life, incarnation, now, out);
            }
        } else if mail.life == self.life {
            self.take(mail.from, mail.body, now, out);
        } else if mail.life > self.life {
            self.early.push_back(mail);
        }
    }

    fn take(&mut self, from: ShardId, body: MailBody, now: Instant, out: &mut Vec<WorkerEffect>) {
        match body {
            MailBody::Letter(letter) => self.advance(Input::Letter(letter), now, out),
            MailBody::Input(input) => self.input(*input, now, out),
            MailBody::Sockets(note) => {
                out.push(WorkerEffect::SocketNote { from, note: *note });
            }
            MailBody::Ask(id, survey) => self.answer(id, survey, out),
            MailBody::Holds(slot, bytes, used) => {
                self.hosts.set_memory(slot, bytes);
                self.shard.used_elsewhere(slot, used);
            }
            MailBody::Settle(claimer) => self.post(CONTROL, MailBody::Settled(claimer), out),
            // For the control only.
            MailBody::Effect(_)
            | MailBody::Restart(_)
            | MailBody::Restarted
            | MailBody::Settled(_)
            | MailBody::LostHeard(..)
            | MailBody::Tally(_)
            | MailBody::Unused(..)
            | MailBody::Listing(..)
            | MailBody::Largest(..) => {}
        }
    }

    fn input(&mut self, input: Input, now: Instant, out: &mut Vec<WorkerEffect>) {
        match input {
            Input::Spawn(order) => {
                let program = order.program;
                self.orders += 1;
                self.advance(Input::Spawn(order), now, out);
                // Refused: the control counted on it nevertheless.
                self.say_if_unused(program, out);
            }
            Input::NodeLost { node, incarnation } => {
                self.advance(Input::NodeLost { node, incarnation }, now, out);
                self.post(CONTROL, MailBody::LostHeard(node, incarnation), out);
            }
            other => self.advance(other, now, out),
        }
    }

    fn answer(&self, id: SurveyId, survey: Survey, out: &mut Vec<WorkerEffect>) {
        let body = match survey {
            Survey::Listing => MailBody::Listing(id, self.hosts.listing(&self.shard)),
            Survey::Largest => MailBody::Largest(id, self.hosts.largest(&self.shard)),
        };
        self.post(CONTROL, body, out);
    }

    /// The node begins a new life: nothing is left of this one.
    fn restart(
        &mut self,
        life: Life,
        incarnation: Incarnation,
        now: Instant,
        out: &mut Vec<WorkerEffect>,
    ) {
        // What the former life asked for is void, done or not.
        out.clear();
        out.push(WorkerEffect::Restart);
        let config = ShardConfig { incarnation, ..self.shard.config() };
        let early = core::mem::take(&mut self.early);
        *self = Worker::new(config, self.shards, life);
        self.post(CONTROL, MailBody::Restarted, out);
        for mail in early {
            self.mail(mail, now, out);
        }
    }

    /// Steps the shard, and with it whatever it says to itself.
    fn advance(&mut self, input: Input, now: Instant, out: &mut Vec<WorkerEffect>) {
        let mut next = Some(input);
        while let Some(input) = next {
            let mut effects = core::mem::take(&mut self.effects);
            self.shard.step(input, now, &mut effects);
            for effect in effects.drain(..) {
                self.carry_out(effect, out);
            }
            self.effects = effects;
            next = self.inputs.pop_front();
        }
    }

    fn carry_out(&mut self, effect: Effect, out: &mut Vec<WorkerEffect>) {
        match effect {
            Effect::Host(effect) => self.for_host(effect, out),
            Effect::Signal(signal) if self.is_here(signal.to) => {
                self.tell(signal.to.slot.shard(), Input::Signal(signal), out);
            }
            Effect::Credit { to, mailbox, messages, bytes } if self.is_shard(to) => {
                self.tell(to.shard, Input::Credit { mailbox, messages, bytes }, out);
            }
            Effect::Gone { to, pid } if self.is_shard(to) => {
                self.tell(to.shard, Input::Gone { pid }, out);
            }
            Effect::SpawnHeard { child } if self.is_here(child) => {
                self.tell(child.slot.shard(), Input::SpawnHeard { child }, out);
            }
            Effect::Lending { to, slot, word } => {
                self.tell(to, Input::Lending { slot, word }, out);
            }
            Effect::Socket(order) => out.push(WorkerEffect::Socket(order)),
            // An orderly end is news to nobody.
            Effect::Exited { reason, .. } if reason.is_orderly() => {}
            other => self.post(CONTROL, MailBody::Effect(Box::new(other)), out),
        }
    }

    fn for_host(&mut self, effect: HostEffect, out: &mut Vec<WorkerEffect>) {
        match &effect {
            HostEffect::Start(start) => {
                self.hosts.started(start.pid.slot, start.program);
            }
            HostEffect::Reclaim { slot } => self.host_ended(*slot, out),
            HostEffect::Run { .. } | HostEffect::Give { .. } | HostEffect::Take { .. } => {}
        }
        out.push(WorkerEffect::Host(effect));
    }

    fn host_ended(&mut self, slot: Slot, out: &mut Vec<WorkerEffect>) {
        if let Some(hosted) = self.hosts.ended(slot) {
            self.say_if_unused(hosted.program, out);
        }
    }

    // --- what the control must know ---

    fn say_if_unused(&mut self, program: ProgramId, out: &mut Vec<WorkerEffect>) {
        if !self.hosts.is_used(program) {
            let tally = self.tally();
            self.tally_told = tally;
            self.post(CONTROL, MailBody::Unused(program, tally), out);
        }
    }

    /// Says how many processes there are: at once if nothing else is to do, otherwise now and then.
    fn say_tally(&mut self, busy: bool, out: &mut Vec<WorkerEffect>) {
        let (tally, told) = (self.tally(), self.tally_told);
        let step = tally.processes.abs_diff(told.processes);
        if step >= if busy { TALLY_STEP } else { 1 } {
            self.tally_told = tally;
            self.post(CONTROL, MailBody::Tally(tally), out);
        }
    }

    fn tally(&self) -> Tally {
        Tally { processes: self.hosts.len(), orders: self.orders }
    }

    // --- where things go ---

    /// Whether a pid is of this life of this node, and of a shard that it has.
    fn is_here(&self, pid: Pid) -> bool {
        self.is_shard(Source::of(pid))
    }

    fn is_shard(&self, shard: Source) -> bool {
        let config = self.shard.config();
        let mine = (shard.node, shard.incarnation) == (config.node, config.incarnation);
        mine && shard.shard.index() < usize::from(self.shards)
    }

    fn tell(&mut self, shard: ShardId, input: Input, out: &mut Vec<WorkerEffect>) {
        if shard == self.shard() {
            self.inputs.push_back(input);
        } else {
            self.post(shard, MailBody::Input(Box::new(input)), out);
        }
    }

    fn post(&self, to: ShardId, body: MailBody, out: &mut Vec<WorkerEffect>) {
        let mail = Mail { life: self.life, from: self.shard(), body };
        out.push(WorkerEffect::Post { to, mail });
    }
}

impl Part for Worker {
    type Own = Infallible;

    #[inline]
    fn take_mail(&mut self, mail: Mail, now: Instant, make: Make<'_>, out: &mut Vec<WorkerEffect>) {
        match mail.body {
            MailBody::Letter(letter) if mail.life == self.life => {
                self.shard.take_letter(letter, now, make, &mut self.effects);
                self.carry_out_all(now, out);
            }
            _ => self.step(WorkerInput::Mail(mail), now, out),
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<WorkerEffect>) {
        self.step(WorkerInput::Tick, now, out);
    }

    fn hear(&mut self, answer: HostAnswer, now: Instant, out: &mut Vec<WorkerEffect>) {
        self.step(WorkerInput::Host(answer), now, out);
    }

    fn hear_network(&mut self, event: SocketEvent, now: Instant, out: &mut Vec<WorkerEffect>) {
        self.step(WorkerInput::Socket(event), now, out);
    }

    fn pass_note(
        &mut self,
        to: ShardId,
        note: SocketNote,
        now: Instant,
        out: &mut Vec<WorkerEffect>,
    ) {
        self.step(WorkerInput::SocketNote { to, note }, now, out);
    }

    #[inline]
    fn come_back(
        &mut self,
        slot: Slot,
        outcome: &mut Outcome,
        used: Duration,
        now: Instant,
        out: &mut Vec<WorkerEffect>,
    ) -> bool {
        if !self.runs(slot) {
            return false;
        }
        let reclaim = self.shard.come_back(slot, outcome, used, now, &mut self.effects);
        self.carry_out_all(now, out);
        if reclaim {
            self.host_ended(slot, out);
        }
        reclaim
    }

    #[inline]
    fn next(
        &mut self,
        now: Instant,
        resume: &mut Resume,
        out: &mut Vec<WorkerEffect>,
    ) -> Option<Slot> {
        let next = self.shard.next(now, resume, &mut self.effects);
        self.carry_out_all(now, out);
        next
    }

    fn is_due(&self, now: Instant) -> bool {
        self.shard.is_due(now)
    }

    /// Of what is to be near a process of this shard: all else is for the control to place.
    fn spawn_at_once(
        &mut self,
        slot: Slot,
        call: &mut SpawnCall,
        unborn_max: usize,
    ) -> Option<HostReply> {
        let near = match call.place {
            Place::Near(pid) => self.is_here(pid) && self.is_mine(pid.slot),
            _ => false,
        };
        let own = self.hosts.get(slot).map(|hosted| hosted.program).filter(|_| near);
        let same = |own: &ProgramId| call.program.is_none_or(|wanted| wanted == *own);
        let program = own.filter(same)?;
        let reply = self.shard.spawn_at_once(slot, call, unborn_max)?;
        if let HostReply::Spawned { pid, .. } = &reply {
            self.hosts.started(pid.slot, program);
        }
        Some(reply)
    }

    #[inline]
    fn at_once<R>(
        &mut self,
        now: Instant,
        out: &mut Vec<WorkerEffect>,
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
        if to.slot.shard().index() >= usize::from(self.shards) {
            return None;
        }
        let letter = self.shard.send_across(slot, to, tag, message)?;
        Some(Mail { life: self.life, from: self.shard(), body: MailBody::Letter(letter) })
    }

    fn runnable(&self) -> bool {
        self.shard.runnable()
    }
}

//! The loop of a CPU: what the boot CPU's host and the others' have in common.
//!
//! Owns [`Turns`]: poll the network, take mail, let time pass, run processes, pass mail on, sleep.
//! It hosts a [`Tenant`], the value that is the CPU's part of the node with what only that one
//! needs; `control` has the boot CPU's, `worker` everybody else's.

use super::board::Board;
use super::mail::Post;
use super::processes::Processes;
use super::served::Served;
use alloc::sync::Arc;
use alloc::vec::Vec;
use craton_abi::{Duration, Instant, Pid, ShardId, Slot, limit};
use craton_engine::Desk;
use craton_hal::{clock, memory, smp, timer};
use craton_node::{Part, PartEffect};
use craton_shard::port::{
    HostAnswer, HostCall, HostEffect, HostReply, Make, Outcome, ReceiveAtOnce, Resume, Sink,
    SpawnCall,
};

/// Processes that run before the network has its turn.
const RUNS_PER_TURN_MAX: usize = 64;
/// How long processes run before the network has its turn.
const TURN: Duration = Duration::from_micros(500);
/// Processes that run one after the other before it is looked whether there is anything else.
const RUNS_IN_TURN_MAX: usize = 64;
/// How long they do.
const IN_TURN: Duration = Duration::from_micros(50);
/// How long a CPU that had mail looks for more before it halts. To wake it costs an interrupt and,
/// on a virtual machine, the host a thread to wake: more than most answers take.
const LINGER: Duration = Duration::from_micros(50);
/// Letters taken before the processes have their turn.
const LETTERS_PER_TURN_MAX: usize = 256;
/// How often a tenant is told of memory.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// What a tenant asks for.
type Asked<T> = PartEffect<Own<T>>;
/// What it alone asks for.
type Own<T> = <<T as Tenant>::Part as Part>::Own;

/// A part of the node, and what it needs of its CPU beyond what all need.
pub(super) trait Tenant {
    /// The part.
    type Part: Part;

    /// The part itself.
    fn part(&mut self) -> &mut Self::Part;

    /// Polls its network. True if there is more to do at once.
    fn poll(&mut self, now: Instant, out: &mut Vec<Asked<Self>>) -> bool;

    /// The part, and its CPU's part of the network.
    fn ends(&mut self) -> (&mut Self::Part, &mut Served);

    /// Does what this part alone asks for.
    fn perform(&mut self, effect: Own<Self>, cpu: &mut Cpu, out: &mut Vec<Asked<Self>>);

    /// Forgets what the network does for the node, which starts a new life.
    fn reset(&mut self, now: Instant);

    /// Looks after what is its own; `full` once a second, otherwise only what is urgent.
    fn housekeep(&mut self, full: bool, now: Instant, out: &mut Vec<Asked<Self>>);

    /// When something is to do at the latest.
    fn deadline(&mut self, now: Instant) -> Option<Instant>;

    /// Whether something waits to be given to its network, or to be sent by it.
    fn is_dirty(&mut self) -> bool {
        self.ends().1.dirty
    }

    /// Asks for an interrupt at the next frame. True if one is there already.
    fn arm(&mut self) -> bool {
        self.ends().1.nic.arm()
    }
}

/// What every tenant needs of its CPU.
pub(super) struct Cpu {
    pub(super) processes: Processes,
    pub(super) post: Post,
    /// Its number.
    pub(super) own: usize,
    pub(super) board: Arc<Board>,
}

/// A tenant and its CPU.
pub(super) struct Turns<T: Tenant> {
    tenant: T,
    cpu: Cpu,
    /// What the tenant asked for and was not done yet.
    effects: Vec<Asked<T>>,
    /// Room for the effects that are being done.
    batch: Vec<Asked<T>>,
    housekeeping: Instant,
    /// Until then more mail is likely.
    linger_until: Instant,
    /// Until then a tick is not due for the control's sake.
    tick_at: Instant,
    /// How the process that runs goes on, and how it came back: what passes the engine.
    resume: Resume,
    outcome: Outcome,
}

impl<T: Tenant> Turns<T> {
    /// `effects` are what the tenant asked for already.
    pub(super) fn new(tenant: T, cpu: Cpu, effects: Vec<Asked<T>>) -> Self {
        let [housekeeping, linger_until, tick_at] = [Instant::ZERO; 3];
        let (batch, resume, outcome) = (Vec::new(), Resume::Continue, Outcome::Preempted);
        Turns { tenant, cpu, effects, batch, housekeeping, linger_until, tick_at, resume, outcome }
    }

    /// Hosts the tenant for as long as the machine is on.
    pub(super) fn run(mut self) -> ! {
        loop {
            smp::quiescent();
            // Before the network, which takes longer: another CPU waits for an answer, perhaps.
            let mut busy = self.cpu.post.has_mail() && self.run_processes();
            let now = clock::now();
            busy |= self.tenant.poll(now, &mut self.effects);
            self.take_mail(now);
            self.housekeep(now);
            self.share(now);
            self.tick_at = Instant::ZERO;
            // Who cannot pass on what it has said says no more: it runs nothing.
            busy |= self.pass_on() && (self.tick(now) | self.run_processes());
            let flushed = self.cpu.post.flush();
            busy |= self.cpu.processes.engine.tidy();
            if flushed && !busy && !self.serve_mail() {
                self.sleep();
            }
        }
    }

    /// Runs whom mail is for as long as more is likely and the network wants nothing: its turn
    /// costs more than most letters do. True if another turn is due, false if nothing is to be
    /// done.
    fn serve_mail(&mut self) -> bool {
        let end = clock::now() + TURN;
        loop {
            let now = clock::now();
            if now >= end || self.tenant.is_dirty() || self.tenant.arm() {
                return true;
            }
            if self.cpu.post.has_mail() {
                if self.run_processes() {
                    return true;
                }
            } else if now < self.linger_until {
                core::hint::spin_loop();
            } else {
                return false;
            }
        }
    }

    fn take_mail(&mut self, now: Instant) {
        for _ in 0..LETTERS_PER_TURN_MAX {
            let Some(mail) = self.cpu.post.take() else { break };
            self.linger_until = now + LINGER;
            let engine = &mut self.cpu.processes.engine;
            let mut make = |message: &[u8]| engine.copy_of(message);
            self.tenant.part().take_mail(mail, now, &mut make, &mut self.effects);
        }
    }

    /// Lets a CPU that has nothing to do run some of what waits too long for this one. That CPU
    /// sleeps until it has mail: nobody looks for work.
    fn share(&mut self, now: Instant) {
        let cpu = &self.cpu;
        self.tenant.part().share(now, &mut self.effects, || {
            let others = (0..cpu.post.cpus()).filter(|other| *other != cpu.own);
            let idle = others.into_iter().find(|other| smp::is_asleep(*other))?;
            Some(ShardId::new(u8::try_from(idle).ok()?))
        });
    }

    /// Takes mail and runs processes until none can, their time is over, or a frame came. True if
    /// more can run, or what was said cannot be passed on.
    fn run_processes(&mut self) -> bool {
        let end = clock::now() + TURN;
        for _ in 0..RUNS_PER_TURN_MAX {
            let now = clock::now();
            if self.cpu.post.has_mail() {
                // Whoever leaves some from here on wakes this CPU again.
                smp::quiescent();
                self.take_mail(now);
            }
            if !self.pass_on() {
                break;
            }
            if !self.run_next(now) && !self.tick(now) {
                // What was done may have woken a process after the tick had looked for one.
                return self.tenant.part().runnable();
            }
            // Others may wait for what the process said.
            if !self.pass_on() {
                break;
            }
            if !self.cpu.post.has_mail() && !self.tenant.part().runnable() {
                return false;
            }
            if now >= end || self.tenant.arm() {
                break;
            }
        }
        true
    }

    /// Does what is asked for, and passes on what is said. False if not all could be.
    fn pass_on(&mut self) -> bool {
        if !self.effects.is_empty() {
            self.perform();
        }
        self.cpu.post.flush()
    }

    /// Runs the next process, if there is one and nothing else is due: most of the time.
    fn run_next(&mut self, now: Instant) -> bool {
        let next = self.tenant.part().next(now, &mut self.resume, &mut self.effects);
        if let Some(slot) = next {
            self.run_in_turn(slot, limit::SLICE);
        }
        next.is_some()
    }

    /// Lets time pass, if that may be due: whether a process ran.
    fn tick(&mut self, now: Instant) -> bool {
        if now < self.tick_at && !self.tenant.part().is_due(now) {
            return false;
        }
        self.tick_at = now + TURN;
        self.tenant.part().tick(now, &mut self.effects);
        self.perform()
    }

    /// Does what the tenant asks for, and what it asks for thereupon. True if a process ran.
    fn perform(&mut self) -> bool {
        let mut ran = false;
        while !self.effects.is_empty() {
            let mut batch = core::mem::take(&mut self.batch);
            core::mem::swap(&mut batch, &mut self.effects);
            for effect in batch.drain(..) {
                ran |= matches!(effect, PartEffect::Host(HostEffect::Run { .. }));
                self.perform_one(effect);
            }
            self.batch = batch;
        }
        ran
    }

    fn perform_one(&mut self, effect: Asked<T>) {
        let Turns { tenant, cpu, effects: out, .. } = self;
        match effect {
            PartEffect::Host(effect) => self.perform_for_process(effect),
            PartEffect::Post { to, mail } => cpu.post.send(to, mail),
            PartEffect::Socket(order) => {
                let (part, network) = tenant.ends();
                network.socket(order, part, clock::now(), out);
            }
            PartEffect::SocketNote { from, note } => {
                let (part, network) = tenant.ends();
                network.note((from, note), part, clock::now(), out);
            }
            PartEffect::Restart => {
                cpu.processes.engine.reclaim_all();
                tenant.reset(clock::now());
            }
            PartEffect::Own(effect) => tenant.perform(effect, cpu, out),
        }
    }

    fn perform_for_process(&mut self, effect: HostEffect) {
        match effect {
            HostEffect::Start(start) => {
                let slot = start.pid.slot;
                let answer = self.cpu.processes.start(*start);
                let now = clock::now();
                let memory = self.cpu.processes.memory_of(slot);
                self.tenant.part().hear(memory, now, &mut self.effects);
                self.tenant.part().hear(answer, now, &mut self.effects);
            }
            HostEffect::Run { slot, resume, slice } => {
                self.resume.put(resume);
                self.run_in_turn(slot, slice);
            }
            HostEffect::Reclaim { slot } => self.cpu.processes.engine.reclaim(slot),
            HostEffect::Give { slot } => self.cpu.processes.engine.give(slot),
            HostEffect::Take { slot } => {
                if !self.cpu.processes.engine.take(slot) {
                    let answer = HostAnswer::NotThere { slot };
                    self.tenant.part().hear(answer, clock::now(), &mut self.effects);
                }
            }
        }
    }

    /// Runs a process, which goes on as `resume` says, and those that go on from what it said, as
    /// long as nothing else is to do.
    fn run_in_turn(&mut self, mut slot: Slot, slice: Duration) {
        let mut now = clock::now();
        let end = now + IN_TURN;
        for left in (0..RUNS_IN_TURN_MAX).rev() {
            self.cpu.post.begin_run(slot);
            let (part, effects) = (self.tenant.part(), &mut self.effects);
            let mut desk = PartDesk { part, effects, post: &mut self.cpu.post, slot, now };
            let engine = &mut self.cpu.processes.engine;
            let passage = (&mut self.resume, &mut self.outcome);
            let then = engine.run_at_desk(slot, passage, slice, now, &mut desk);
            self.cpu.post.end_run();
            let used = then - now;
            now = then;
            let (part, effects) = (self.tenant.part(), &mut self.effects);
            if part.come_back(slot, &mut self.outcome, used, now, effects) {
                engine.reclaim(slot);
            }
            if left == 0 || now >= end || !self.effects.is_empty() || self.cpu.post.has_mail() {
                return;
            }
            match self.tenant.part().next(now, &mut self.resume, &mut self.effects) {
                Some(next) => slot = next,
                None => return,
            }
        }
    }

    /// Tells the tenant what only the machine knows.
    fn housekeep(&mut self, now: Instant) {
        // The node ends the largest process; this helps before that.
        while memory::is_short() && self.cpu.processes.engine.give_back_some() {}
        let full = now >= self.housekeeping;
        self.tenant.housekeep(full, now, &mut self.effects);
        if full {
            self.housekeeping = now + HOUSEKEEPING;
            self.cpu.processes.engine.age();
            for answer in self.cpu.processes.memory() {
                self.tenant.part().hear(answer, now, &mut self.effects);
            }
        }
    }

    /// Halts until an interrupt or the next deadline, unless a frame or mail came meanwhile.
    fn sleep(&mut self) {
        let now = clock::now();
        self.tenant.part().tell_owed(now, &mut self.effects);
        if !self.pass_on() || self.tenant.part().runnable() {
            return;
        }
        let deadline = self.tenant.deadline(now).unwrap_or(self.housekeeping);
        let deadline = deadline.min(self.housekeeping);
        if deadline > now {
            let (post, tenant) = (&self.cpu.post, &mut self.tenant);
            timer::halt_at_most(deadline.since(now), || post.has_mail() || tenant.arm());
            self.cpu.board.slept(self.cpu.own, clock::now().since(now));
        }
    }
}

/// The desk of the process that runs: the part of the node that it is in.
struct PartDesk<'a, P: Part> {
    part: &'a mut P,
    effects: &'a mut Vec<PartEffect<P::Own>>,
    post: &'a mut Post,
    slot: Slot,
    now: Instant,
}

impl<P: Part> PartDesk<'_, P> {
    /// Sends to another shard. Who cannot pass on what it has said says no more, and what is to be
    /// done already comes first.
    #[inline(never)]
    fn send_across(&mut self, to: &Pid, tag: u64, message: (&[u8], Make<'_>)) -> bool {
        if !self.post.is_clear() || !self.effects.is_empty() {
            return false;
        }
        let mail = self.part.send_across(self.slot, (to, tag), message);
        let is_sent = mail.is_some();
        if let Some(mail) = mail {
            self.post.send_at_once(to.slot, mail);
        }
        is_sent
    }
}

impl<P: Part> Desk for PartDesk<'_, P> {
    fn ask(&mut self, call: HostCall) -> Result<HostReply, HostCall> {
        self.part.answer_at_once(self.slot, call, self.now, self.effects)
    }

    fn send(&mut self, to: &Pid, tag: u64, message: &[u8], make: Make<'_>) -> bool {
        let (slot, now) = (self.slot, self.now);
        if to.slot.shard() != slot.shard() {
            return self.send_across(to, tag, (message, make));
        }
        self.part.send_at_once(slot, (to, tag), (message, make), now, self.effects)
    }

    fn spawn(&mut self, call: &mut SpawnCall, unborn_max: usize) -> Option<HostReply> {
        self.part.spawn_at_once(self.slot, call, unborn_max)
    }

    fn receive(
        &mut self,
        want: (Option<u64>, Option<Duration>),
        capacity: usize,
        sink: Sink<'_>,
    ) -> ReceiveAtOnce {
        if want.1 == Some(Duration::ZERO) && self.post.has_mail() {
            // Who looks again and again has what came, which wakes nobody, the next time.
            return ReceiveAtOnce::Later;
        }
        let room = (capacity, sink);
        self.part.receive_at_once(self.slot, want, room, self.now, self.effects)
    }
}

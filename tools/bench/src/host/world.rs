//! One shard on the host, with native programs in the place of the engine.
//!
//! Owns [`World`], which does around a [`Shard`] what the kernel's loop does around it, and
//! [`Process`], by which a program asks for what a process can ask for. A program is a future that
//! is polled whenever its process has the CPU: what it costs is what the shard costs, for there is
//! no engine, no stack and no isolation.

use craton_abi::{
    AppId, Duration, ErrorCode, ExitReason, Incarnation, Instant, MonitorId, NodeId, Payload, Pid,
    Place, ProcessLimits, ProgramId, RequestId, ShardId, Slot, SpawnOrder, TraceId,
};
use craton_shard::port::{
    Effect, HostCall, HostEffect, HostReply, Input, Outcome, Received, Resume, SpawnCall, Start,
};
use craton_shard::{BySlot, Shard, ShardConfig};
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Why a benchmark has no figure.
pub type Failure = String;
/// A program under way.
pub type Running = Pin<Box<dyn Future<Output = Result<(), Failure>>>>;
/// An entry of the benchmarks: makes a program of a process and its argument.
pub type Entry = fn(Process, Vec<u8>) -> Running;

/// Processes that run one after the other before it is looked whether there is anything else.
const RUNS_IN_TURN_MAX: usize = 64;
/// A console that nobody listens to, the parent of the first process.
const NOBODY: NodeId = NodeId::new(2);

/// A process as its program sees it.
#[derive(Clone)]
pub struct Process(Rc<Seat>);

/// What passes between a program and the world.
struct Seat {
    pid: Pid,
    asked: Cell<Option<HostCall>>,
    reply: Cell<Option<HostReply>>,
    /// The figure of the benchmark: seconds for one.
    figure: Rc<Cell<Option<f64>>>,
}

/// The answer to a call.
struct Answer<'a>(&'a Seat);

impl Future for Answer<'_> {
    type Output = HostReply;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<HostReply> {
        self.0.reply.take().map_or(Poll::Pending, Poll::Ready)
    }
}

fn odd(what: &str, reply: &HostReply) -> Failure {
    format!("{what} was answered with {reply:?}")
}

impl Process {
    /// Which it is.
    pub fn pid(&self) -> Pid {
        self.0.pid
    }

    /// Says what the benchmark came to: so many took so long.
    pub fn tell(&self, count: u64, used: std::time::Duration) {
        self.0.figure.set(Some(used.as_secs_f64() / count as f64));
    }

    async fn call(&self, call: HostCall) -> HostReply {
        self.0.asked.set(Some(call));
        Answer(&self.0).await
    }

    /// Sends a message, waiting for as long as it takes.
    pub async fn send(&self, to: Pid, tag: u64, bytes: Vec<u8>) -> Result<(), Failure> {
        let (payload, timeout) = (Payload(bytes), Duration::MAX);
        match self.call(HostCall::Send { to, tag, payload, timeout }).await {
            HostReply::Done => Ok(()),
            other => Err(odd("a send", &other)),
        }
    }

    /// Waits for what comes next, or for the next message with a tag.
    pub async fn receive(&self, tag: Option<u64>) -> Result<Received, Failure> {
        let call = HostCall::Receive { tag, timeout: None, capacity: usize::MAX };
        match self.call(call).await {
            HostReply::Received(received) => Ok(received),
            other => Err(odd("a receive", &other)),
        }
    }

    /// Waits for the next message: who sent it, its tag and its first eight bytes as a number.
    pub async fn message(&self) -> Result<(Pid, u64, u64), Failure> {
        match self.receive(None).await? {
            Received::Message { from, tag, payload } => {
                let number = payload.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                Ok((from, tag, number))
            }
            other => Err(format!("not a message but {other:?}")),
        }
    }

    /// Starts a process beside this one.
    pub async fn spawn(
        &self,
        entry: &str,
        argument: Vec<u8>,
        monitor: bool,
    ) -> Result<(Pid, Option<MonitorId>), Failure> {
        let call = HostCall::Spawn(Box::new(SpawnCall {
            place: Place::Near(self.pid()),
            program: None,
            entry: entry.into(),
            argument: Payload(argument),
            monitor,
            link: false,
            limits: ProcessLimits::default(),
        }));
        match self.call(call).await {
            HostReply::Spawned { pid, monitor } => Ok((pid, monitor)),
            other => Err(odd("a spawn", &other)),
        }
    }

    /// Ends a process.
    pub async fn kill(&self, target: Pid) -> Result<(), Failure> {
        match self.call(HostCall::Kill { target }).await {
            HostReply::Done => Ok(()),
            other => Err(odd("a kill", &other)),
        }
    }
}

/// A shard, and the programs of its processes.
pub struct World {
    shard: Shard,
    entries: &'static [(&'static str, Entry)],
    seats: BySlot<(Process, RefCell<Running>)>,
    begun: std::time::Instant,
    /// What the shard asked for and was not done yet, and room for what is being done.
    effects: Vec<Effect>,
    batch: Vec<Effect>,
    figure: Rc<Cell<Option<f64>>>,
    failure: Option<Failure>,
}

impl World {
    /// One without processes, whose programs have these entries.
    pub fn new(entries: &'static [(&'static str, Entry)]) -> Self {
        let config = ShardConfig {
            node: NodeId::new(1),
            incarnation: Incarnation::new(1),
            shard: ShardId::new(0),
            processes_max: usize::MAX,
        };
        World {
            shard: Shard::new(config),
            entries,
            seats: BySlot::default(),
            begun: std::time::Instant::now(),
            effects: Vec::new(),
            batch: Vec::new(),
            figure: Rc::default(),
            failure: None,
        }
    }

    /// Runs an entry with a number until nobody has anything to do, and says the figure that it
    /// came to: seconds for one.
    ///
    /// # Errors
    ///
    /// What went wrong, or that it came to none.
    pub fn run(mut self, entry: &str, count: u64) -> Result<f64, Failure> {
        let nobody = Slot::new(ShardId::new(0), 0, 0).ok_or("the first slot")?;
        let order = SpawnOrder {
            request: RequestId::new(1),
            parent: Pid { node: NOBODY, incarnation: Incarnation::new(1), slot: nobody },
            monitor: None,
            link: false,
            app: AppId::new(1),
            trace: TraceId::new(1),
            program: ProgramId([0; 32]),
            entry: entry.into(),
            argument: Payload(count.to_le_bytes().to_vec()),
            limits: ProcessLimits::default(),
            shard: None,
        };
        self.step(Input::Spawn(Box::new(order)));
        self.perform();
        while self.shard.runnable() && self.failure.is_none() {
            self.step(Input::Tick);
            self.perform();
        }
        match (self.failure, self.figure.get()) {
            (Some(failure), _) => Err(failure),
            (None, None) => Err(format!("{entry} waits for what never comes")),
            (None, Some(figure)) => Ok(figure),
        }
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.begun.elapsed().as_nanos() as u64)
    }

    fn step(&mut self, input: Input) {
        self.shard.step(input, self.now(), &mut self.effects);
    }

    /// Does what the shard asks for, and what it asks for thereupon.
    fn perform(&mut self) {
        while !self.effects.is_empty() {
            let mut batch = core::mem::take(&mut self.batch);
            core::mem::swap(&mut batch, &mut self.effects);
            batch.drain(..).for_each(|effect| self.carry_out(effect));
            self.batch = batch;
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Host(HostEffect::Start(start)) => {
                let (slot, result) = (start.pid.slot, self.seat(*start));
                self.step(Input::Started { slot, result });
            }
            Effect::Host(HostEffect::Run { slot, resume, .. }) => self.run_in_turn(slot, resume),
            Effect::Host(HostEffect::Reclaim { slot }) => {
                self.seats.remove(slot);
            }
            // There is one place for all.
            Effect::Place { order, .. } => self.step(Input::Spawn(order)),
            Effect::SpawnReply { parent, result: Ok(child), .. } if parent.node == NOBODY => {
                self.step(Input::SpawnHeard { child });
            }
            Effect::SpawnReply { request, parent, result } => {
                self.step(Input::SpawnReply { request, parent, result });
            }
            Effect::SpawnHeard { child } => self.step(Input::SpawnHeard { child }),
            Effect::Exited { reason, .. } => match reason {
                ExitReason::Error(text) => {
                    let text = String::from_utf8_lossy(&text).into_owned();
                    self.failure.get_or_insert(text);
                }
                ExitReason::Normal | ExitReason::Killed => {}
                other => {
                    self.failure.get_or_insert(other.to_string());
                }
            },
            other => {
                self.failure.get_or_insert(format!("nobody here can do {other:?}"));
            }
        }
    }

    /// Makes the program of a process.
    fn seat(&mut self, start: Start) -> Result<(), ErrorCode> {
        let Start { pid, entry, argument, .. } = start;
        let found = self.entries.iter().find(|(name, _)| *name == &*entry);
        let (_, program) = found.ok_or(ErrorCode::NoEntry)?;
        let figure = self.figure.clone();
        let seat = Seat { pid, asked: Cell::new(None), reply: Cell::new(None), figure };
        let process = Process(Rc::new(seat));
        let running = RefCell::new(program(process.clone(), argument.0));
        self.seats.insert(pid.slot, (process, running));
        Ok(())
    }

    /// Runs a process, and those that go on from what it said, as long as nothing else is to do.
    fn run_in_turn(&mut self, mut slot: Slot, mut resume: Resume) {
        let mut now = self.now();
        for left in (0..RUNS_IN_TURN_MAX).rev() {
            let mut outcome = match core::mem::replace(&mut resume, Resume::Continue) {
                Resume::Birth(start) => match self.seat(*start) {
                    Ok(()) => self.play(slot, Resume::Start),
                    Err(error) => Outcome::Exited(ExitReason::Error(error.to_string().into())),
                },
                resume => self.play(slot, resume),
            };
            let then = self.now();
            let used = then.since(now);
            now = then;
            if left == 0 || !self.effects.is_empty() {
                return self.step(Input::Ran { slot, outcome, used });
            }
            let effects = &mut self.effects;
            let over = self.shard.hand_over(slot, &mut outcome, used, now, &mut resume, effects);
            if over.reclaim {
                self.seats.remove(slot);
            }
            match over.next {
                Some(next) => slot = next,
                None => return,
            }
        }
    }

    /// Runs a process until it asks for what cannot be answered at once.
    fn play(&mut self, slot: Slot, resume: Resume) -> Outcome {
        let Some((process, running)) = self.seats.get(slot) else {
            return Outcome::Exited(ExitReason::Killed);
        };
        let mut running = running.borrow_mut();
        if let Resume::Reply(reply) = resume {
            process.0.reply.set(Some(reply));
        }
        loop {
            match running.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(())) => return Outcome::Exited(ExitReason::Normal),
                Poll::Ready(Err(why)) => return Outcome::Exited(ExitReason::Error(why.into())),
                Poll::Pending => {}
            }
            let Some(call) = process.0.asked.take() else { return Outcome::Preempted };
            match self.shard.call_at_once(slot, call, usize::MAX, &mut self.effects) {
                Ok(reply) => process.0.reply.set(Some(reply)),
                Err(outcome) => return outcome,
            }
        }
    }
}

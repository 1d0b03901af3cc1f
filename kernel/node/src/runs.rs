//! A run: the two processes that stand for the operator or the log, and what they say to them.
//!
//! Owns [`Runs`]. The console spawns and watches the program's `main` and takes its output;
//! standard input hands out what the operator types. Both are processes like any other, hosted by
//! the node: while one waits for the operator, its run is simply not answered yet, and so its
//! mailbox fills and its senders wait.
//!
//! ```text
//!  asked ──(1) bundle here──▶ stdin spawned ──▶ console spawned ──▶ main spawned ──▶ running
//!                                                                                     │
//!            output ──▶ operator ──▶ output taken ──▶ next output      main ends ◀────┘
//!            read ────▶ operator ──▶ input ─────────▶ next read
//! ```

use crate::audience::Audience;
use crate::control::Control;
use crate::hosts::Host;
use crate::mail::CONTROL;
use crate::operators::failed;
use crate::programs::Source;
use crate::spawning::Waiter;
use crate::work::Work;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use craton_abi::run::{
    ARGUMENTS_MAX, CONSOLE, RunArgument, STDIN, TAG_ERR, TAG_INPUT, TAG_OUT, TAG_READ,
};
use craton_abi::{
    AppId, Duration, ErrorCode, ExitReason, Instant, Payload, Pid, Place, ProcessLimits, ProgramId,
    RequestId, Slot, SpawnOrder, TraceId, limit,
};
use craton_session::PeerKey;
use craton_shard::port::{HostCall, HostReply, Input, Outcome, Received, Resume, SpawnCall};
use craton_wire::{Answer, OutputStream, RunEvent};
use rand_core::Rng;

/// Most runs at once.
const RUNS_MAX: usize = 64;
/// Most bytes of standard input in one piece.
const INPUT_BYTES_MAX: u32 = 256 << 10;

/// One run of this node, in its present life.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) struct RunId(u64);

struct Run {
    audience: Audience,
    program: ProgramId,
    arguments: Vec<String>,
    place: Place,
    app: AppId,
    console: Part,
    stdin: Part,
    main: Option<Pid>,
    /// The operator has been told of the end, or is gone.
    over: bool,
}

/// One of the two processes of a run.
#[derive(Default)]
struct Part {
    /// Of the order that is to bring it to life; 0 before that.
    request: RequestId,
    /// The order is not answered yet.
    ordered: bool,
    pid: Option<Pid>,
    /// It is being run and waits for the operator.
    waits: Option<Waits>,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Waits {
    OutputTaken,
    Input { requester: Pid, bytes_max: u32 },
}

/// All runs that operators have on this node.
#[derive(Default)]
pub(crate) struct Runs {
    all: BTreeMap<RunId, Run>,
    next: u64,
    request_next: u64,
}

impl Runs {
    /// All processes of the node ended.
    pub(crate) fn restart(&mut self) {
        self.all.clear();
    }

    /// Whether a run that is not over is of this program.
    pub(crate) fn is_of(&self, program: ProgramId) -> bool {
        self.all.values().any(|run| run.program == program && !run.over)
    }

    /// The runs of an operator; of one program, those that still wait for it.
    pub(crate) fn of_operator(&self, operator: PeerKey, waiting: Option<ProgramId>) -> Vec<RunId> {
        let meant = |run: &&Run| {
            let waits = |program| run.program == program && run.stdin.request.get() == 0;
            run.audience.operator() == Some(operator) && waiting.is_none_or(waits)
        };
        let runs = self.all.iter().filter(|(_, run)| meant(run));
        runs.map(|(id, _)| *id).collect()
    }

    /// The request of an operator that waits for this program.
    pub(crate) fn waiting(&self, program: ProgramId, operator: PeerKey) -> Option<RequestId> {
        let run = self.all.get(self.of_operator(operator, Some(program)).first()?)?;
        match run.audience {
            Audience::Operator(_, request) => Some(request),
            Audience::Log => None,
        }
    }

    fn find(&self, operator: PeerKey, request: RequestId) -> Option<RunId> {
        let mut runs = self.all.iter();
        let meant = Audience::Operator(operator, request);
        runs.find(|(_, run)| run.audience == meant).map(|(id, _)| *id)
    }

    /// The run whose console or standard input is in `slot`.
    fn of(&self, slot: Slot) -> Option<RunId> {
        let is = |part: &Part| part.pid.is_some_and(|pid| pid.slot == slot);
        let mut runs = self.all.iter();
        runs.find(|(_, run)| is(&run.console) || is(&run.stdin)).map(|(id, _)| *id)
    }

    fn fresh_request(&mut self) -> RequestId {
        self.request_next += 1;
        RequestId::new(self.request_next)
    }
}

impl Control {
    /// An operator wants a program run.
    #[allow(clippy::too_many_arguments)] // The fields of the question, and the step's.
    pub(crate) fn run_asked(
        &mut self,
        operator: PeerKey,
        request: RequestId,
        program: ProgramId,
        arguments: Vec<String>,
        place: Place,
        now: Instant,
        work: &mut Work,
    ) {
        let bytes: usize = arguments.iter().map(|argument| argument.len() + 4).sum();
        let refusal = if self.runs.find(operator, request).is_some() {
            Some((ErrorCode::Invalid, "the request is in use"))
        } else if arguments.len() > ARGUMENTS_MAX || bytes + 64 > limit::ARGUMENT_BYTES_MAX {
            Some((ErrorCode::TooLong, "the arguments are too long"))
        } else if self.runs.all.len() >= RUNS_MAX {
            Some((ErrorCode::LimitRequests, "too many runs on this node"))
        } else {
            None
        };
        if let Some((error, text)) = refusal {
            return self.answer(operator, request, failed(error, text), now);
        }
        let id = self.add_run(Audience::Operator(operator, request), program, arguments, place);
        let source = Some(Source::Operator(operator));
        self.want(program, Waiter::Run(id, Some(operator)), source, now, work);
    }

    fn add_run(
        &mut self,
        audience: Audience,
        program: ProgramId,
        arguments: Vec<String>,
        place: Place,
    ) -> RunId {
        let id = RunId(self.runs.next);
        self.runs.next += 1;
        let app = AppId::new(self.rng.next_u64().max(1)); // 0 is the system's own.
        let run = Run {
            audience,
            program,
            arguments,
            place,
            app,
            console: Part::default(),
            stdin: Part::default(),
            main: None,
            over: false,
        };
        self.runs.all.insert(id, run);
        id
    }

    /// Runs the program that this node's image carries, if it does and the bundle is still held.
    pub(crate) fn run_carried(&mut self, now: Instant, work: &mut Work) {
        let Some(program) = self.carried.filter(|id| self.programs.bundle(*id).is_some()) else {
            return;
        };
        let id = self.add_run(Audience::Log, program, Vec::new(), Place::Here);
        self.want(program, Waiter::Run(id, None), None, now, work);
    }

    /// The bundle is here: standard input first, since the console must know it.
    pub(crate) fn run_ready(&mut self, id: RunId, _now: Instant, work: &mut Work) {
        let request = self.runs.fresh_request();
        if let Some(run) = self.runs.all.get_mut(&id) {
            run.stdin.request = request;
            run.stdin.ordered = true;
            self.order_part(id, request, STDIN, work);
        }
    }

    fn order_part(&self, id: RunId, request: RequestId, program: ProgramId, work: &mut Work) {
        let order = SpawnOrder {
            request,
            parent: self.pid(),
            monitor: None,
            link: false,
            app: self.runs.all.get(&id).map_or(AppId::new(0), |run| run.app),
            trace: TraceId::new(0),
            program,
            entry: String::from(if program == STDIN { "stdin" } else { "console" }),
            argument: Payload::default(),
            limits: ProcessLimits { memory_bytes: 0, ..ProcessLimits::default() },
            shard: Some(CONTROL),
        };
        work.input(CONTROL, Input::Spawn(order.into()));
    }

    /// Shard 0 answers an order of [`Control::order_part`].
    pub(crate) fn run_spawned(
        &mut self,
        request: RequestId,
        result: Result<Pid, ErrorCode>,
        now: Instant,
        work: &mut Work,
    ) {
        let mut runs = self.runs.all.iter_mut();
        let found = runs.find(|(_, r)| r.console.request == request || r.stdin.request == request);
        let Some((&id, run)) = found else { return };
        let is_console = run.console.request == request;
        let part = if is_console { &mut run.console } else { &mut run.stdin };
        part.ordered = false;
        part.pid = result.ok();
        let (app, over) = (run.app, run.over);
        let pid = match result {
            Ok(pid) => pid,
            Err(error) => return self.run_failed(id, error, "no room for a console", now, work),
        };
        work.input_for(pid.slot, Input::SpawnHeard { child: pid });
        if over {
            let _ = self.kill(pid, app, now, work);
            return;
        }
        if is_console {
            return;
        }
        let request = self.runs.fresh_request();
        if let Some(run) = self.runs.all.get_mut(&id) {
            run.console.request = request;
            run.console.ordered = true;
        }
        self.order_part(id, request, CONSOLE, work);
    }

    /// A run cannot begin.
    pub(crate) fn run_failed(
        &mut self,
        id: RunId,
        error: ErrorCode,
        why: &str,
        now: Instant,
        work: &mut Work,
    ) {
        let Some(run) = self.runs.all.get(&id) else { return };
        let audience = run.audience;
        let text = if why.is_empty() { "the program cannot be started" } else { why };
        self.answer_audience(audience, failed(error, text), now, work);
        self.run_over(id, now, work);
    }

    /// The operator will hear no more: what is left of the run ends.
    pub(crate) fn run_over(&mut self, id: RunId, now: Instant, work: &mut Work) {
        let Some(run) = self.runs.all.get_mut(&id) else { return };
        run.over = true;
        let app = run.app;
        let alive = [run.console.pid, run.stdin.pid, run.main.take()];
        if run.is_idle() {
            self.runs.all.remove(&id);
        }
        for pid in alive.into_iter().flatten() {
            // What has ended already is not there to be killed.
            let _ = self.kill(pid, app, now, work);
        }
    }

    /// Runs a console or a standard input. `None`: it waits for the operator.
    pub(crate) fn run_part(
        &mut self,
        slot: Slot,
        host: Host,
        resume: Resume,
        now: Instant,
        work: &mut Work,
    ) -> Option<Outcome> {
        let Some(id) = self.runs.of(slot) else {
            return Some(Outcome::Exited(ExitReason::Killed));
        };
        match host {
            Host::Console => self.run_console(id, resume, now, work),
            _ => self.run_stdin(id, resume, now, work),
        }
    }

    fn run_console(
        &mut self,
        id: RunId,
        resume: Resume,
        now: Instant,
        work: &mut Work,
    ) -> Option<Outcome> {
        let run = self.runs.all.get_mut(&id)?;
        let audience = run.audience;
        match resume {
            // Its end is told by the monitor; the link is for the other way round, so that no
            // `main` outlives the node of its console.
            Resume::Start => Some(Outcome::Call(HostCall::TrapExits { trap: true })),
            Resume::Reply(HostReply::Flag(_)) => Some(Outcome::Call(run.spawn_main())),
            Resume::Reply(HostReply::Spawned { pid, .. }) => {
                run.main = Some(pid);
                self.answer_audience(audience, Answer::Started(pid), now, work);
                Some(receive())
            }
            Resume::Reply(HostReply::Received(Received::Message { tag, payload, .. })) => {
                let stream = match tag {
                    TAG_OUT => OutputStream::Out,
                    TAG_ERR => OutputStream::Err,
                    _ => return Some(receive()),
                };
                let event = RunEvent::Output { stream, bytes: payload };
                if self.tell(audience, event, now, work) {
                    return Some(receive());
                }
                self.runs.all.get_mut(&id)?.console.waits = Some(Waits::OutputTaken);
                None
            }
            Resume::Reply(HostReply::Received(Received::Down { reason, .. })) => {
                self.run_ended(id, reason, now, work);
                Some(Outcome::Exited(ExitReason::Normal))
            }
            Resume::Reply(HostReply::Failed(error)) if run.main.is_none() => {
                self.run_failed(id, error, "main could not be spawned", now, work);
                Some(Outcome::Exited(ExitReason::Normal))
            }
            _ => Some(receive()),
        }
    }

    fn run_stdin(
        &mut self,
        id: RunId,
        resume: Resume,
        now: Instant,
        work: &mut Work,
    ) -> Option<Outcome> {
        let audience = self.runs.all.get(&id)?.audience;
        let Resume::Reply(HostReply::Received(Received::Message { from, tag, payload })) = resume
        else {
            return Some(receive());
        };
        let wanted = <[u8; 4]>::try_from(&payload.0[..]).map(u32::from_le_bytes);
        let (TAG_READ, Ok(wanted)) = (tag, wanted) else { return Some(receive()) };
        let bytes_max = wanted.clamp(1, INPUT_BYTES_MAX);
        if self.tell(audience, RunEvent::InputWanted { bytes_max }, now, work) {
            return Some(input(from, Payload::default()));
        }
        let waits = Waits::Input { requester: from, bytes_max };
        self.runs.all.get_mut(&id)?.stdin.waits = Some(waits);
        None
    }

    /// An operator talks to his run.
    pub(crate) fn run_heard(
        &mut self,
        operator: PeerKey,
        request: RequestId,
        event: RunEvent,
        now: Instant,
        work: &mut Work,
    ) {
        let Some(id) = self.runs.find(operator, request) else { return };
        let Some(run) = self.runs.all.get_mut(&id) else { return };
        match event {
            RunEvent::OutputTaken if run.console.waits.take().is_some() => {
                work.part_ran(run.console.pid, receive());
            }
            RunEvent::Input { bytes } => {
                let Some(Waits::Input { requester, bytes_max }) = run.stdin.waits else { return };
                if bytes.0.len() > bytes_max as usize {
                    let text = "more input than was asked for";
                    return self.run_failed(id, ErrorCode::TooLong, text, now, work);
                }
                run.stdin.waits = None;
                work.part_ran(run.stdin.pid, input(requester, bytes));
            }
            _ => {}
        }
    }

    /// The program's first process ended.
    fn run_ended(&mut self, id: RunId, reason: ExitReason, now: Instant, work: &mut Work) {
        let Some(run) = self.runs.all.get_mut(&id) else { return };
        run.main = None;
        let audience = run.audience;
        self.tell(audience, RunEvent::Ended { reason }, now, work);
        self.run_over(id, now, work);
    }

    /// A console or standard input has ended in its shard, perhaps while it waits for the operator:
    /// then its host lets go of it now.
    pub(crate) fn part_exited(&mut self, slot: Slot, now: Instant, work: &mut Work) {
        let Some(id) = self.runs.of(slot) else { return };
        let Some(run) = self.runs.all.get_mut(&id) else { return };
        let is = |part: &Part| part.pid.is_some_and(|pid| pid.slot == slot);
        let part = if is(&run.console) { &mut run.console } else { &mut run.stdin };
        if part.waits.take().is_some() {
            work.part_ran(part.pid, Outcome::Exited(ExitReason::Killed));
        }
        if !run.over {
            // Somebody else ended it.
            let audience = run.audience;
            self.tell(audience, RunEvent::Ended { reason: ExitReason::Killed }, now, work);
            self.run_over(id, now, work);
        }
    }

    /// The instance of a console or standard input is dropped.
    pub(crate) fn part_reclaimed(&mut self, slot: Slot) {
        let Some(id) = self.runs.of(slot) else { return };
        let Some(run) = self.runs.all.get_mut(&id) else { return };
        for part in [&mut run.console, &mut run.stdin] {
            if part.pid.is_some_and(|pid| pid.slot == slot) {
                part.pid = None;
            }
        }
        if run.over && run.is_idle() {
            self.runs.all.remove(&id);
        }
    }
}

impl Run {
    /// Whether neither of its two processes is there or under way.
    fn is_idle(&self) -> bool {
        [&self.console, &self.stdin].iter().all(|part| part.pid.is_none() && !part.ordered)
    }

    fn spawn_main(&self) -> HostCall {
        let argument = RunArgument {
            console: self.console.pid.unwrap_or_default(),
            stdin: self.stdin.pid.unwrap_or_default(),
            arguments: self.arguments.clone(),
        };
        let spawn = SpawnCall {
            place: self.place,
            program: Some(self.program),
            entry: "main".into(),
            argument: Payload(argument.to_bytes()),
            monitor: true,
            link: true,
            limits: ProcessLimits::default(),
        };
        HostCall::Spawn(spawn.into())
    }
}

/// Gives the process that asked what there is of standard input.
fn input(requester: Pid, payload: Payload) -> Outcome {
    let (to, tag, timeout) = (requester, TAG_INPUT, limit::SEND_TIMEOUT);
    Outcome::Call(HostCall::Send { to, tag, payload, timeout })
}

fn receive() -> Outcome {
    let (tag, timeout, capacity) = (None, None, limit::MESSAGE_BYTES_MAX);
    Outcome::Call(HostCall::Receive { tag, timeout, capacity })
}

impl Work {
    /// The answer of a console or standard input that was waiting.
    fn part_ran(&mut self, pid: Option<Pid>, outcome: Outcome) {
        if let Some(pid) = pid {
            let used = Duration::ZERO;
            self.input_for(pid.slot, Input::Ran { slot: pid.slot, outcome, used });
        }
    }
}

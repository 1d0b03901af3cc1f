//! Lending: a process is run by an idle shard, and stays with its home in everything else.
//!
//! A process belongs to the shard that brought it to life, its *home*. Its pid says so, and its
//! mailbox, credit, monitors, links and timers are there for as long as it lives. What can move is
//! the work: a shard with more to run than it gets to lends some of its processes to one that has
//! nothing. That one, `lodge`, runs them among its own, and brings what they ask for to their home,
//! which answers as always; Sprite and MOSIX migrate processes like that. So nobody but the two
//! shards knows, and every rule of the contract is kept where it was kept before.
//!
//! ```text
//!   home                                            the other
//!   runnable, waits for the CPU
//!     1 Give, Run(resume) ------------------------> Take; runs, is preempted, runs
//!   running                                         asks for something
//!   calling           <----------- Ran(call) 2 ---- waits
//!     3 Run(answer) ------------------------------> runs on
//!    or, if nothing else is runnable here
//!     4 Recall -----------------------------------> Give
//!     Take, runnable  <----------- Returned 5 -----
//! ```
//!
//! A process that is killed is recalled, wherever it is. One that comes to its end is given back
//! with the word of it.
//!
//! Lent are processes that wait for the CPU to begin, or to go on computing: whoever asks for
//! much is in the run queue with an answer, and does best where the answers come from. Whoever is
//! not born yet has nothing that could be taken, and is born where it first runs.

use crate::lodge::Lodger;
use crate::port::{Effect, HostEffect, HostReply, Lending, Outcome, Resume};
use crate::process::{Runs, State, Tenant};
use crate::run_queue::Turn;
use crate::shard::Shard;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use craton_abi::{Duration, ExitReason, Instant, Pid, ShardId, Slot, limit};
use craton_process::Table;

/// So long a process waits for the CPU before it is lent: to move it takes some microseconds.
const WAIT: Duration = Duration::from_micros(limit::SLICE.as_micros() / 2);
/// Most processes that are lent at once.
const LENT_AT_ONCE_MAX: usize = 32;
/// Below this length nobody looks for entries that stand no longer.
const SPARE_MIN: usize = 64;

/// What a shard knows of its processes that others may run.
#[derive(Debug, Default)]
pub(crate) struct Lender {
    /// Those in the run queue that could be lent or given back, the one that waits longest first.
    spare: VecDeque<Spare>,
    /// Lent ones that go on: told at the end of the step.
    pub(crate) answered: Vec<Slot>,
    /// Lent ones that are being told of their child. They count as told once they are heard of
    /// again: what they did until then nobody knows.
    told: BTreeMap<Slot, Pid>,
}

impl Lender {
    /// The child that a lent process may not have been told of.
    pub(crate) fn take_told(&mut self, parent: Slot) -> Option<Pid> {
        if self.told.is_empty() { None } else { self.told.remove(&parent) }
    }
}

/// It stands as long as the entry in the run queue does.
#[derive(Debug)]
struct Spare {
    slot: Slot,
    turn: Turn,
    since: Instant,
}

/// The entry of whoever has a slot in the run queue, if it stands there.
pub(crate) fn turn_of(
    processes: &Table<Tenant>,
    lodgers: &BTreeMap<Slot, Lodger>,
    slot: Slot,
) -> Option<Turn> {
    match processes.get(slot) {
        Some(tenant) => match tenant.live()?.state {
            State::Runnable { turn, .. } => Some(turn),
            _ => None,
        },
        None => lodgers.get(&slot)?.turn(),
    }
}

impl Shard {
    /// Notes that a process stands in the run queue that could as well be run elsewhere.
    pub(crate) fn offer(&mut self, slot: Slot, turn: Turn) {
        self.forget_stale();
        if self.lender.spare.len() > SPARE_MIN + 2 * self.runnable {
            let (processes, lodgers) = (&self.processes, &self.lodgers);
            let stands =
                |spare: &Spare| turn_of(processes, lodgers, spare.slot) == Some(spare.turn);
            self.lender.spare.retain(stands);
        }
        self.lender.spare.push_back(Spare { slot, turn, since: self.now });
    }

    /// Whether there is something for an idle shard to do.
    pub fn has_spare(&mut self, now: Instant) -> bool {
        self.forget_stale();
        if self.runnable < 2 {
            return false;
        }
        self.lender.spare.front().is_some_and(|spare| now.since(spare.since) >= WAIT)
    }

    fn forget_stale(&mut self) {
        while let Some(first) = self.lender.spare.front()
            && turn_of(&self.processes, &self.lodgers, first.slot) != Some(first.turn)
        {
            self.lender.spare.pop_front();
        }
        if self.lender.spare.is_empty() && self.lender.spare.capacity() > SPARE_MIN {
            self.lender.spare = VecDeque::new();
        }
    }

    /// Lets another shard run half of what waits here to be run, as far as that may be.
    pub fn lend(&mut self, to: ShardId, out: &mut Vec<Effect>) {
        if to == self.config.shard {
            return;
        }
        let mut left = (self.runnable / 2).min(LENT_AT_ONCE_MAX);
        for _ in 0..self.lender.spare.len() {
            if left == 0 {
                return;
            }
            let Some(spare) = self.lender.spare.pop_front() else { return };
            if turn_of(&self.processes, &self.lodgers, spare.slot) != Some(spare.turn) {
                continue;
            }
            let slot = spare.slot;
            if slot.shard() == self.config.shard {
                self.lend_one(slot, to, out);
            } else if slot.shard() == to {
                self.return_lodger(slot, out);
            } else {
                self.lender.spare.push_back(spare);
                continue;
            }
            left -= 1;
        }
    }

    /// Lends a process that stands in the run queue.
    fn lend_one(&mut self, slot: Slot, to: ShardId, out: &mut Vec<Effect>) {
        let Some(process) = self.live_mut(slot) else { return };
        let State::Runnable { resume, .. } = core::mem::replace(&mut process.state, State::Running)
        else {
            return;
        };
        process.runs = Runs::Lent(to);
        let cpu_share = process.cpu_share;
        self.unborn -= usize::from(resume.is_birth());
        let word = Lending::Run(resume, cpu_share);
        self.left_run_queue();
        out.push(Effect::Host(HostEffect::Give { slot }));
        out.push(Effect::Lending { to, slot, word });
    }

    /// Lets lent processes go on; or recalls them, where nobody else waits for this CPU: whoever
    /// asks for something may ask for more, and that is quicker here.
    pub(crate) fn pass_answers_on(&mut self, out: &mut Vec<Effect>) {
        let is_idle = self.runnable == 0;
        for slot in core::mem::take(&mut self.lender.answered) {
            let Some(process) = self.live_mut(slot) else { continue };
            let Runs::Lent(to) = process.runs else { continue };
            if is_idle {
                out.push(Effect::Lending { to, slot, word: Lending::Recall });
                continue;
            }
            let share = process.cpu_share;
            match core::mem::replace(&mut process.state, State::Running) {
                State::Runnable { resume, .. } => {
                    if let Resume::Reply(HostReply::Spawned { pid: child, .. }) = resume {
                        self.lender.told.insert(slot, child);
                    }
                    out.push(Effect::Lending { to, slot, word: Lending::Run(resume, share) });
                }
                other => process.state = other,
            }
        }
    }

    /// Another shard says something of a process of this one, or of one that it lends.
    pub(crate) fn lending(&mut self, slot: Slot, word: Lending, out: &mut Vec<Effect>) {
        match word {
            Lending::Run(resume, cpu_share) => self.lodge(slot, (resume, cpu_share), out),
            Lending::Recall => self.recalled(slot, out),
            Lending::Ran(outcome, used) => self.lent_ran(slot, outcome, used, out),
            Lending::Returned(resume, used) => self.returned(slot, resume, used, out),
        }
    }

    /// A lent process came back from running.
    fn lent_ran(&mut self, slot: Slot, outcome: Outcome, used: Duration, out: &mut Vec<Effect>) {
        let is_over = matches!(outcome, Outcome::Exited(_));
        match self.processes.get_mut(slot) {
            Some(Tenant::Live(process))
                if process.is_lent() && matches!(process.state, State::Running) =>
            {
                process.identity.cpu = process.identity.cpu + used;
                process.state = State::Calling;
                if is_over {
                    process.runs = Runs::Anywhere;
                }
                self.hears_of_child(slot, out);
                self.came_back(slot, outcome, out);
            }
            // Killed meanwhile: its instance is on its way.
            Some(Tenant::Ending(_)) if is_over => self.host_let_go(slot, out),
            Some(Tenant::Ending(_)) => {}
            _ => {
                let pid = self.pid(slot);
                self.refuse(pid, "an answer to no run elsewhere", pid, out);
            }
        }
    }

    /// A lent process is given back.
    fn returned(
        &mut self,
        slot: Slot,
        resume: Option<Resume>,
        used: Duration,
        out: &mut Vec<Effect>,
    ) {
        let process = match self.processes.get_mut(slot) {
            Some(Tenant::Ending(_)) => return self.host_let_go(slot, out),
            Some(Tenant::Live(process)) if process.is_lent() => process,
            _ => {
                let pid = self.pid(slot);
                return self.refuse(pid, "a process that was not lent", pid, out);
            }
        };
        process.identity.cpu = process.identity.cpu + used;
        let its_own = match core::mem::replace(&mut process.state, State::Calling) {
            State::Runnable { resume, .. } => Some(resume),
            _ => None,
        };
        process.runs = Runs::Anywhere;
        self.hears_of_child(slot, out);
        let resume = resume.or(its_own).unwrap_or(Resume::Continue);
        match resume.is_birth() {
            true => self.unborn += 1,
            false => out.push(Effect::Host(HostEffect::Take { slot })),
        }
        self.ready(slot, resume);
    }

    /// A lent process that was told of its child has run since.
    fn hears_of_child(&mut self, slot: Slot, out: &mut Vec<Effect>) {
        if let Some(child) = self.lender.take_told(slot) {
            out.push(Effect::SpawnHeard { child });
        }
    }

    /// What was to be taken is not there: its life is over.
    pub(crate) fn not_there(&mut self, slot: Slot, out: &mut Vec<Effect>) {
        if slot.shard() == self.config.shard {
            self.end(slot, ExitReason::Killed, out);
        } else {
            self.forget_lodger(slot);
        }
    }

    /// A process used CPU time elsewhere, as who runs it told.
    pub fn used_elsewhere(&mut self, slot: Slot, used: Duration) {
        if let Some(process) = self.live_mut(slot) {
            process.identity.cpu = process.identity.cpu + used;
        }
    }
}

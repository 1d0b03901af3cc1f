//! Lodgers: processes of other shards that this one runs, since they had to wait there.
//!
//! Owns [`Lodger`]. A lodger stands in the run queue among this shard's own and gets its share of
//! the CPU. That is all: what it asks for goes to its home, and it waits for the answer. The way of
//! one is drawn in `lend`.

use crate::call::cost;
use crate::port::{Effect, HostEffect, Lending, Outcome, Resume};
use crate::run_queue::Turn;
use crate::shard::Shard;
use alloc::vec::Vec;
use craton_abi::{Duration, Slot};

/// A process of another shard that this one runs.
#[derive(Debug)]
pub(crate) struct Lodger {
    state: State,
    /// CPU time charged, for the run queue.
    virtual_time: Duration,
    cpu_share: u32,
    /// CPU time used since its home was told.
    used: Duration,
}

#[derive(Debug)]
enum State {
    /// It stands in the run queue.
    Runnable { resume: Resume, turn: Turn },
    /// The host runs it. It may be wanted back.
    Running { is_recalled: bool },
    /// It waits for an answer of its home.
    Waiting,
}

impl Lodger {
    /// Its entry, if it stands in the run queue.
    pub(crate) fn turn(&self) -> Option<Turn> {
        match self.state {
            State::Runnable { turn, .. } => Some(turn),
            State::Running { .. } | State::Waiting => None,
        }
    }

    /// Whether it stands there and has no instance yet.
    pub(crate) fn is_unborn(&self) -> bool {
        matches!(&self.state, State::Runnable { resume, .. } if resume.is_birth())
    }
}

impl Shard {
    /// Whether it runs this process of another shard.
    pub fn has_lodger(&self, slot: Slot) -> bool {
        !self.lodgers.is_empty() && self.lodgers.contains_key(&slot)
    }

    /// How many processes of other shards it runs.
    pub fn lodgers(&self) -> usize {
        self.lodgers.len()
    }

    /// The CPU time that a lodger used and its home does not know of, which is to be told now.
    pub fn take_used(&mut self, slot: Slot) -> Option<Duration> {
        let lodger = self.lodgers.get_mut(&slot)?;
        Some(core::mem::take(&mut lodger.used))
    }

    /// Its home wants a process to be run.
    pub(crate) fn lodge(
        &mut self,
        slot: Slot,
        (resume, cpu_share): (Resume, u32),
        out: &mut Vec<Effect>,
    ) {
        let (is_spare, is_birth) = (!matches!(resume, Resume::Reply(_)), resume.is_birth());
        let floor = self.run_queue.floor();
        let lodger = self.lodgers.entry(slot).or_insert_with(|| {
            if !is_birth {
                out.push(Effect::Host(HostEffect::Take { slot }));
            }
            let (state, used) = (State::Waiting, Duration::ZERO);
            Lodger { state, virtual_time: floor, cpu_share, used }
        });
        if !matches!(lodger.state, State::Waiting) {
            let pid = self.pid(slot);
            return self.refuse(pid, "an answer to no call", pid, out);
        }
        let turn = self.run_queue.push(slot, &mut lodger.virtual_time);
        lodger.state = State::Runnable { resume, turn };
        self.runnable += 1;
        self.unborn += usize::from(is_birth);
        if is_spare {
            self.offer(slot, turn);
        }
    }

    /// Whether an entry of the run queue is a lodger's and stands: then it runs, as `resume` says.
    pub(crate) fn lodger_runs(&mut self, slot: Slot, turn: Turn, resume: &mut Resume) -> bool {
        let Some(lodger) = self.lodgers.get_mut(&slot) else { return false };
        if lodger.turn() != Some(turn) {
            return false;
        }
        let running = State::Running { is_recalled: false };
        if let State::Runnable { resume: its_own, .. } =
            core::mem::replace(&mut lodger.state, running)
        {
            resume.put(its_own);
        }
        self.runnable -= 1;
        self.unborn -= usize::from(resume.is_birth());
        true
    }

    /// The host ran a lodger.
    pub(crate) fn lodger_ran(
        &mut self,
        slot: Slot,
        outcome: Outcome,
        used: Duration,
        out: &mut Vec<Effect>,
    ) {
        let Some(lodger) = self.lodgers.get_mut(&slot) else { return };
        let State::Running { is_recalled } = lodger.state else {
            let pid = self.pid(slot);
            return self.refuse(pid, "an answer to no run", pid, out);
        };
        lodger.used = lodger.used + used;
        lodger.virtual_time = lodger.virtual_time + cost(used, lodger.cpu_share);
        let home = slot.shard();
        match outcome {
            // It has ended, and nobody wants to know what it asked.
            _ if is_recalled => self.give_back(slot, None, out),
            Outcome::Preempted => {
                let turn = self.run_queue.push(slot, &mut lodger.virtual_time);
                lodger.state = State::Runnable { resume: Resume::Continue, turn };
                self.runnable += 1;
                self.offer(slot, turn);
            }
            Outcome::Exited(_) => {
                let used = lodger.used;
                self.lodgers.remove(&slot);
                out.push(Effect::Host(HostEffect::Give { slot }));
                out.push(Effect::Lending { to: home, slot, word: Lending::Ran(outcome, used) });
            }
            Outcome::Call(_) | Outcome::Waiting => {
                lodger.state = State::Waiting;
                let used = core::mem::take(&mut lodger.used);
                out.push(Effect::Lending { to: home, slot, word: Lending::Ran(outcome, used) });
            }
        }
    }

    /// Its home wants a lodger back, which may be on its way already.
    pub(crate) fn recalled(&mut self, slot: Slot, out: &mut Vec<Effect>) {
        let Some(lodger) = self.lodgers.get_mut(&slot) else { return };
        match &mut lodger.state {
            State::Running { is_recalled } => *is_recalled = true,
            State::Waiting => self.give_back(slot, None, out),
            State::Runnable { .. } => self.return_lodger(slot, out),
        }
    }

    /// Gives a lodger back that stands in the run queue.
    pub(crate) fn return_lodger(&mut self, slot: Slot, out: &mut Vec<Effect>) {
        let Some(lodger) = self.lodgers.get_mut(&slot) else { return };
        if let State::Runnable { resume, .. } =
            core::mem::replace(&mut lodger.state, State::Waiting)
        {
            self.unborn -= usize::from(resume.is_birth());
            self.left_run_queue();
            self.give_back(slot, Some(resume), out);
        }
    }

    /// Gives a lodger back that neither runs nor stands in the run queue.
    fn give_back(&mut self, slot: Slot, resume: Option<Resume>, out: &mut Vec<Effect>) {
        let Some(lodger) = self.lodgers.remove(&slot) else { return };
        if !resume.as_ref().is_some_and(Resume::is_birth) {
            out.push(Effect::Host(HostEffect::Give { slot }));
        }
        let word = Lending::Returned(resume, lodger.used);
        out.push(Effect::Lending { to: slot.shard(), slot, word });
    }

    /// Forgets a lodger: its life is over.
    pub(crate) fn forget_lodger(&mut self, slot: Slot) {
        let Some(lodger) = self.lodgers.remove(&slot) else { return };
        self.unborn -= usize::from(lodger.is_unborn());
        if lodger.turn().is_some() {
            self.left_run_queue();
        }
    }
}

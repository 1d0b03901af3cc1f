//! Runs the jobs of a table at their times, each as a process somewhere in the cluster.
//!
//! `craton run cron.craton < table` runs until it is stopped; a number as argument ends it after so
//! many runs. A job that fails is tried again, three times in all; one that still runs when it is
//! due again is left alone. `table.rs` says what a line may be.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod calendar;
mod job;
mod table;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;
use craton::{
    ChildSpec, Duration, Event, Exit, Mailbox, Output, Pid, Restart, Run, Shutdown, SpawnOptions,
    Strategy, Supervisor, Timer, now, wall_time,
};
use table::{Job, What, When};

/// How often a run that fails is tried in all.
const TRIES: u32 = 3;
/// How long after a failure it is tried again; after the second one twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest that it sleeps: the time of day may be set meanwhile.
const NAP: Duration = Duration::from_secs(60);
/// Longest table.
const TABLE_BYTES_MAX: usize = 64 << 10;
const READ_BYTES: u32 = 16 << 10;
/// Bytes of memory that a job may have.
const JOB_MEMORY: u64 = 4 << 20;

craton::entries! {
    /// Where a run begins: reads the table and keeps it.
    pub MAIN: "main" = main_entry as fn(Run);
    /// One run of a job.
    pub JOB: "job" = job::run as fn(What);
}

/// A job and where it stands.
struct Planned {
    job: Job,
    /// When it is due: of a calendar by the time of day, else by the node's clock; in seconds.
    due: u64,
    /// Its process, if it runs.
    pid: Option<Pid>,
    /// How often this run failed.
    failures: u32,
}

struct Cron {
    jobs: Vec<Planned>,
    supervisor: Supervisor,
    output: Output,
    /// Runs that came to an end, well or not.
    runs: u64,
}

fn text(error: impl Display) -> String {
    format!("{error}")
}

fn main_entry(run: Run) -> Result<(), String> {
    let limit = match run.arguments() {
        [] => None,
        [runs] => Some(runs.parse().map_err(|_| format!("not a number of runs: {runs}"))?),
        _ => return Err("usage: cron [RUNS] < TABLE".into()),
    };
    let mut mailbox = Mailbox::new();
    let jobs = table::parse(&read_table(&run, &mut mailbox)?)?;
    let mut cron = Cron::new(jobs, run.stdout())?;
    cron.supervisor.start(&mut mailbox).map_err(text)?;
    for index in 0..cron.jobs.len() {
        cron.plan(index)?;
    }
    while limit.is_none_or(|limit| cron.runs < limit) {
        match mailbox.next_event().map_err(text)? {
            Event::Timer(timer) => cron.wake(timer.tag as usize)?,
            Event::Exit(exit) => cron.ended(&exit, &mut mailbox)?,
            Event::Message(message) if message.is::<Shutdown>() => break,
            _ => {}
        }
    }
    cron.supervisor.stop(&mut mailbox).map_err(text)
}

fn read_table(run: &Run, mailbox: &mut Mailbox) -> Result<String, String> {
    let (mut stdin, mut bytes) = (run.stdin(), Vec::new());
    loop {
        let part = stdin.read(mailbox, READ_BYTES).map_err(text)?;
        if part.is_empty() {
            return String::from_utf8(bytes).map_err(|_| "the table is no text".into());
        }
        bytes.extend_from_slice(part);
        if bytes.len() > TABLE_BYTES_MAX {
            return Err(format!("the table is longer than {TABLE_BYTES_MAX} bytes"));
        }
    }
}

impl Cron {
    fn new(jobs: Vec<Job>, output: Output) -> Result<Cron, String> {
        let needs_a_date = jobs.iter().find(|job| matches!(job.when, When::At(_)));
        if let (Some(job), None) = (needs_a_date, wall_time()) {
            return Err(format!("the node does not know the time of day for: {}", job.line));
        }
        let planned = |job| Planned { job, due: 0, pid: None, failures: 0 };
        let jobs = jobs.into_iter().map(planned).collect();
        // Jobs are not restarted by the supervisor: a failure of one is no reason to end the rest.
        Ok(Cron { jobs, supervisor: Supervisor::new(Strategy::OneForOne), output, runs: 0 })
    }

    /// The time by which a job is planned, in seconds.
    fn time(&self, index: usize) -> u64 {
        match self.jobs[index].job.when {
            When::At(_) => wall_time().unwrap_or(Duration::ZERO).as_nanos() / 1_000_000_000,
            When::Every(_) => now().as_nanos() / 1_000_000_000,
        }
    }

    /// Plans the next run of a job, and wakes for it.
    fn plan(&mut self, index: usize) -> Result<(), String> {
        let time = self.time(index);
        let planned = &mut self.jobs[index];
        let due = match &planned.job.when {
            When::At(calendar) => calendar.next_after(time.max(planned.due)),
            When::Every(seconds) => Some(time + seconds),
        };
        let never = || format!("never due: {}", planned.job.line);
        planned.due = due.ok_or_else(never)?;
        self.sleep(index)
    }

    /// Wakes when a job is due, or earlier.
    fn sleep(&self, index: usize) -> Result<(), String> {
        let left = self.jobs[index].due.saturating_sub(self.time(index));
        let nap = Duration::from_secs(left).min(NAP);
        Timer::after(nap, index as u64).map(drop).map_err(text)
    }

    /// A timer is due: of a job, or behind all of them of a job that failed.
    fn wake(&mut self, tag: usize) -> Result<(), String> {
        if let Some(again) = tag.checked_sub(self.jobs.len()) {
            return self.start(again);
        }
        if self.time(tag) < self.jobs[tag].due {
            return self.sleep(tag);
        }
        let planned = &self.jobs[tag];
        if planned.pid.is_some() || planned.failures > 0 {
            self.say(tag, "still running")?;
        } else {
            self.start(tag)?;
        }
        self.plan(tag)
    }

    fn start(&mut self, index: usize) -> Result<(), String> {
        let planned = &self.jobs[index];
        let options = SpawnOptions::anywhere().memory_max(JOB_MEMORY);
        let spec = ChildSpec::new(&planned.job.line, &JOB, &planned.job.what, options);
        let spec = spec.map_err(text)?.restart(Restart::Temporary);
        match self.supervisor.add(spec) {
            Ok(pid) => self.jobs[index].pid = Some(pid),
            Err(error) => self.failed(index, &error.to_string())?,
        }
        Ok(())
    }

    fn ended(&mut self, exit: &Exit, mailbox: &mut Mailbox) -> Result<(), String> {
        self.supervisor.exited(exit, mailbox).map_err(text)?;
        let is_it = |planned: &Planned| planned.pid == Some(exit.pid);
        let Some(index) = self.jobs.iter().position(is_it) else { return Ok(()) };
        self.jobs[index].pid = None;
        if !exit.reason.is_orderly() {
            return self.failed(index, &exit.reason.to_string());
        }
        self.done(index, "done")
    }

    /// A run failed: it is tried again, or given up.
    fn failed(&mut self, index: usize, why: &str) -> Result<(), String> {
        self.jobs[index].failures += 1;
        let failures = self.jobs[index].failures;
        if failures >= TRIES {
            return self.done(index, &format!("given up: {why}"));
        }
        self.say(index, &format!("failed, trying again: {why}"))?;
        let tag = (self.jobs.len() + index) as u64;
        let pause = Duration::from_nanos(PAUSE.as_nanos() * u64::from(failures));
        Timer::after(pause, tag).map(drop).map_err(text)
    }

    fn done(&mut self, index: usize, how: &str) -> Result<(), String> {
        self.jobs[index].failures = 0;
        self.runs += 1;
        self.say(index, how)
    }

    fn say(&mut self, index: usize, what: &str) -> Result<(), String> {
        let line = format!("{}: {what}", self.jobs[index].job.line);
        self.output.line(&line).map_err(text)
    }
}

#[cfg(test)]
mod tests;

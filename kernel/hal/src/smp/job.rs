//! What a CPU is to run: a place for one job.
//!
//! Owns [`JobSlot`]. It is filled from another CPU and emptied by its own; between being filled and
//! the end of the job it is busy.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, Ordering};
use spin::Mutex;

/// A job.
pub type Job = Box<dyn FnOnce() + Send>;

pub(crate) struct JobSlot {
    busy: AtomicBool,
    /// Whether there is a job to begin. Asked with interrupts off, where no lock may be taken.
    waits: AtomicBool,
    job: Mutex<Option<Job>>,
}

impl JobSlot {
    pub(crate) const fn new() -> Self {
        JobSlot {
            busy: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            job: Mutex::new(None),
        }
    }

    /// Gives a job; false, with the job dropped, if there is one already.
    #[must_use]
    pub(crate) fn fill(&self, job: Job) -> bool {
        if self.busy.swap(true, Ordering::Acquire) {
            return false;
        }
        *self.job.lock() = Some(job);
        self.waits.store(true, Ordering::Release);
        true
    }

    /// Whether a job waits to begin.
    pub(crate) fn waits(&self) -> bool {
        self.waits.load(Ordering::Acquire)
    }

    /// Whether there is no job, waiting or running.
    pub(crate) fn is_idle(&self) -> bool {
        !self.busy.load(Ordering::Acquire)
    }

    /// Runs the job that waits; false if none does.
    pub(crate) fn run(&self) -> bool {
        if !self.waits.swap(false, Ordering::Acquire) {
            return false;
        }
        let job = self.job.lock().take();
        if let Some(job) = job {
            job();
        }
        self.busy.store(false, Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;
    use core::sync::atomic::AtomicU32;

    #[test]
    fn a_job_runs_once_and_makes_room_for_the_next() {
        let slot = JobSlot::new();
        let runs = Arc::new(AtomicU32::new(0));
        assert!(slot.is_idle() && !slot.waits() && !slot.run());
        for round in 1..3 {
            let counter = runs.clone();
            let job = Box::new(move || {
                counter.fetch_add(1, Ordering::Relaxed);
            });
            assert!(slot.fill(job) && slot.waits() && !slot.is_idle());
            assert!(!slot.fill(Box::new(|| ())), "it has one");
            assert!(slot.run() && slot.is_idle() && !slot.run());
            assert_eq!(runs.load(Ordering::Relaxed), round);
        }
    }
}

//! Work that another CPU does meanwhile, where one is idle.
//!
//! Owns [`Task`]. Whoever comes first does the work, the other CPU or the one that needs what comes
//! of it, so that a machine of one CPU does the same, only later.

use super::job::Job;
use crate::{cpu, timer};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use spin::Mutex;

type Work<T> = Box<dyn FnOnce() -> T + Send>;

/// Work that was begun, or will be.
pub struct Task<T> {
    shared: Arc<Shared<T>>,
    /// The CPU that was given the work.
    helper: Option<usize>,
}

struct Shared<T> {
    work: Mutex<Option<Work<T>>>,
    result: Mutex<Option<T>>,
    done: AtomicBool,
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("helper", &self.helper).finish_non_exhaustive()
    }
}

impl<T> Shared<T> {
    /// Does the work, if nobody has begun it.
    fn work(&self) -> bool {
        let work = self.work.lock().take();
        let begun = work.is_some();
        if let Some(work) = work {
            *self.result.lock() = Some(work());
            self.done.store(true, Ordering::Release);
        }
        begun
    }
}

impl<T: Send + 'static> Task<T> {
    /// Gives the work to a CPU that is idle, if there is one. To be called on the boot CPU.
    #[must_use = "the work may be done only by the finish"]
    pub fn start(work: impl FnOnce() -> T + Send + 'static) -> Self {
        let shared = Arc::new(Shared {
            work: Mutex::new(Some(Box::new(work) as Work<T>)),
            result: Mutex::new(None),
            done: AtomicBool::new(false),
        });
        let helper = (1..cpu::count()).find(|&cpu| super::is_idle(cpu));
        if let Some(helper) = helper {
            let (shared, starter) = (shared.clone(), cpu::index());
            let job: Job = Box::new(move || {
                shared.work();
                super::wake(starter);
            });
            super::run_on(helper, job);
        }
        Task { shared, helper }
    }

    /// Waits for what comes of the work, and does it if it was not begun. The CPU that was given
    /// the work is idle then.
    pub fn finish(self) -> T {
        let Task { shared, helper } = self;
        shared.work();
        loop {
            if shared.done.load(Ordering::Acquire)
                && let Some(result) = shared.result.lock().take()
            {
                while helper.is_some_and(|helper| !super::is_idle(helper)) {
                    core::hint::spin_loop();
                }
                return result;
            }
            timer::halt_unless(|| shared.done.load(Ordering::Acquire));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_another_cpu_the_work_is_done_once_by_who_needs_it() {
        let runs = Arc::new(Mutex::new(0));
        let counter = runs.clone();
        let task = Task::start(move || {
            *counter.lock() += 1;
            "done"
        });
        assert_eq!(*runs.lock(), 0);
        assert_eq!(task.finish(), "done");
        assert_eq!(*runs.lock(), 1);
    }

    #[test]
    fn work_that_another_has_done_is_not_done_again() {
        let task = Task::start(|| 7);
        assert!(task.shared.work() && !task.shared.work());
        assert_eq!(task.finish(), 7);
    }
}

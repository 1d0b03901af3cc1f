//! What passes between an engine and the process that runs on its CPU.
//!
//! Owns, for each CPU, the place where the running fiber finds its [`Exchange`]: the one that
//! [`run`] was given, which waits below the fiber until it has left its stack. No lock and no
//! allocation: the two never touch it at once.

use crate::process::Exchange;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use craton_abi::{Duration, ExitReason};
use craton_hal::cpu::{self, CPUS_MAX};
use craton_hal::fiber::{self, Fiber, Left};
use craton_hal::memory::is_short_here;
use craton_shard::port::{HostCall, HostReply};

/// For each CPU, the exchange of the fiber that runs on it.
static RUNNING: [AtomicPtr<Exchange<'static>>; CPUS_MAX] =
    [const { AtomicPtr::new(ptr::null_mut()) }; CPUS_MAX];

fn running() -> &'static AtomicPtr<Exchange<'static>> {
    &RUNNING[cpu::index()]
}

/// Runs `fiber` until it leaves its stack, for `slice` at most. What it asks, or how it ended, is
/// in `exchange` then.
pub(crate) fn run(fiber: &mut Fiber, slice: Duration, exchange: &mut Exchange<'_>) -> Left {
    let place = running();
    // The place holds it for no longer than this call.
    place.store(ptr::from_mut(exchange).cast(), Ordering::Relaxed);
    let left = fiber.resume(slice);
    place.store(ptr::null_mut(), Ordering::Relaxed);
    left
}

/// Lets the running fiber at its exchange. `access` neither suspends nor comes here again; a
/// desk runs no process.
fn with_exchange<R>(access: impl FnOnce(&mut Exchange<'_>) -> R) -> R {
    let exchange = running().load(Ordering::Relaxed);
    assert!(!exchange.is_null(), "only a process has an exchange");
    // SAFETY: not null, so `run` waits on this CPU for the fiber that executes this, and does not
    // touch what it borrowed exclusively. No fiber is preempted outside module text, and `access`
    // does not suspend: it has returned before anybody else can look.
    access(unsafe { &mut *exchange })
}

/// Brings a request to the desk and, if that gives it back, leaves the fiber with it; returns when
/// there is an answer. `None` if the process was let go on without one.
pub(crate) fn ask(request: HostCall) -> Option<HostReply> {
    let answer = with_exchange(|exchange| {
        // Who has used memory that is the kernel's own goes no further.
        let answer = if is_short_here() { Err(request) } else { (exchange.desk)(request) };
        answer.map_err(|request| exchange.call = Some(request)).ok()
    });
    if answer.is_some() {
        return answer;
    }
    fiber::suspend();
    with_exchange(|exchange| exchange.reply.take())
}

/// Says how the running process ended: the last that its fiber does.
pub(crate) fn end(reason: ExitReason) {
    with_exchange(|exchange| exchange.ended = Some(reason));
}

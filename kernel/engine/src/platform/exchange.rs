//! What passes between an engine and the process that runs on its CPU.
//!
//! Owns, for each CPU, the place where the running fiber finds its [`Exchange`]: the one that
//! [`run`] was given, which waits below the fiber until it has left its stack. No lock and no
//! allocation: the two never touch it at once.

use super::warm::{births_max, has_room};
use crate::process::{Envelopes, Exchange};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use craton_abi::{Duration, ErrorCode, ExitReason, Payload, Pid};
use craton_hal::cpu::{self, CPUS_MAX};
use craton_hal::fiber::{self, Fiber, Left};
use craton_hal::memory::is_short_here;
use craton_shard::port::{
    HostCall, HostReply, Outcome, ReceiveAtOnce, Received, Resume, Sink, SpawnCall,
};
use rand_chacha::rand_core::Rng;

/// For each CPU, the exchange of the fiber that runs on it.
static RUNNING: [AtomicPtr<Exchange<'static>>; CPUS_MAX] =
    [const { AtomicPtr::new(ptr::null_mut()) }; CPUS_MAX];

#[inline]
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
#[inline]
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
        if is_short_here() { Err(request) } else { exchange.desk.ask(request) }
    });
    answer.map_or_else(leave_with, Some)
}

/// As [`ask`], of what the desk has given back already.
pub(crate) fn leave_with(request: HostCall) -> Option<HostReply> {
    with_exchange(|exchange| *exchange.outcome = Outcome::Call(request));
    fiber::suspend();
    with_exchange(|exchange| match core::mem::replace(exchange.resume, Resume::Continue) {
        Resume::Reply(reply) => Some(reply),
        _ => None,
    })
}

/// As [`ask`], of a spawn of a process that has so much memory in the beginning. `None` where it
/// cannot be done at once: it is for [`leave_with`] then.
pub(crate) fn spawn(call: &mut SpawnCall, memory_bytes: u64) -> Option<HostReply> {
    with_exchange(|exchange| {
        if is_short_here() { None } else { exchange.desk.spawn(call, births_max(memory_bytes)) }
    })
}

/// A seed for the generator of the running process.
pub(crate) fn draw_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    with_exchange(|exchange| exchange.seeds.fill_bytes(&mut seed));
    seed
}

/// Sends a copy of `message`, which is no longer than a message may be, if that can be done at
/// once.
///
/// # Errors
///
/// A copy where that cannot be: it is for [`leave_with`] then. `LimitMemory` if there is no memory
/// for it.
#[inline]
pub(crate) fn send(to: &Pid, tag: u64, message: &[u8]) -> Result<(), Result<Payload, ErrorCode>> {
    with_exchange(|exchange| {
        let Exchange { desk, envelopes, .. } = exchange;
        if !Envelopes::is_short(message) && !has_room(message.len()) {
            return Err(Err(ErrorCode::LimitMemory));
        }
        let mut make = |bytes: &[u8]| envelopes.copy(bytes);
        if !is_short_here() && desk.send(to, tag, message, &mut make) {
            return Ok(());
        }
        Err(Ok(make(message)))
    })
}

/// As [`ask`], of [`HostCall::Receive`]. True if it was messages, which `sink` has seen where they
/// lay; any other answer is for [`with_reply`].
#[inline]
pub(crate) fn receive(
    want: (Option<u64>, Option<Duration>),
    capacity: usize,
    sink: Sink<'_>,
) -> bool {
    let (is_here, is_taken) = with_exchange(|exchange| {
        let received = match is_short_here() {
            true => ReceiveAtOnce::Later,
            false => exchange.desk.receive(want, capacity, sink),
        };
        match received {
            ReceiveAtOnce::Taken => return (true, true),
            ReceiveAtOnce::Reply(reply) => {
                exchange.resume.put(Resume::Reply(reply));
                return (true, false);
            }
            ReceiveAtOnce::Waits => exchange.outcome.put(Outcome::Waiting),
            ReceiveAtOnce::Later => {
                let (tag, timeout) = want;
                let call = HostCall::Receive { tag, timeout, capacity };
                exchange.outcome.put(Outcome::Call(call));
            }
        }
        (false, false)
    });
    if !is_here {
        fiber::suspend();
    }
    is_taken
}

/// Reads the answer of the last [`receive`], if there is one, which is gone then. What a message
/// came in is kept for the next one.
#[inline]
pub(crate) fn with_reply<R>(read: impl FnOnce(Option<&HostReply>) -> R) -> R {
    with_exchange(|exchange| match exchange.resume {
        Resume::Reply(reply) => {
            let result = read(Some(reply));
            if let HostReply::Received(Received::Message { payload, .. }) = reply {
                exchange.envelopes.keep(core::mem::take(&mut payload.0));
                // Nothing is left in it.
                core::mem::forget(core::mem::replace(exchange.resume, Resume::Continue));
            } else {
                *exchange.resume = Resume::Continue;
            }
            result
        }
        _ => read(None),
    })
}

/// Says how the running process ended: the last that its fiber does.
pub(crate) fn end(reason: ExitReason) {
    with_exchange(|exchange| *exchange.outcome = Outcome::Exited(reason));
}

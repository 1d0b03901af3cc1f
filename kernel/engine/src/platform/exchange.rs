//! What passes between an engine and the process that runs on its CPU.
//!
//! Owns, for each CPU, the place where the running fiber finds its [`Exchange`]: the one that
//! [`run`] was given, which waits below the fiber until it has left its stack. No lock and no
//! allocation: the two never touch it at once.

use super::warm::has_room;
use crate::process::{Envelopes, Exchange, Leave};
use alloc::vec::Vec;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use craton_abi::{Duration, ErrorCode, ExitReason, Payload, Pid};
use craton_hal::cpu::{self, CPUS_MAX};
use craton_hal::fiber::{self, Fiber, Left};
use craton_hal::memory::is_short_here;
use craton_shard::port::{HostCall, HostReply, ReceiveAtOnce};

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
        let answer = if is_short_here() { Err(request) } else { exchange.desk.ask(request) };
        answer.map_err(|request| exchange.leave = Leave::Call(request)).ok()
    });
    answer.or_else(wait)
}

/// As [`ask`], of [`HostCall::Send`] with a copy of `message`, which is no longer than a message
/// may be. `Err` if there is no memory for it.
pub(crate) fn send(
    to: Pid,
    tag: u64,
    message: &[u8],
    timeout: Duration,
) -> Result<Option<HostReply>, ErrorCode> {
    let sent = with_exchange(|exchange| {
        let payload = match exchange.envelopes.take(message) {
            Some(copy) => copy,
            None if has_room(message.len()) => {
                let mut copy = Vec::with_capacity(Envelopes::room_for(message.len()));
                copy.extend_from_slice(message);
                copy
            }
            None => return Err(ErrorCode::LimitMemory),
        };
        let payload = Payload(payload);
        let sent =
            if is_short_here() { Err(payload) } else { exchange.desk.send(to, tag, payload) };
        let later = |payload| {
            exchange.leave = Leave::Call(HostCall::Send { to, tag, payload, timeout });
        };
        Ok(sent.map_err(later).is_ok())
    })?;
    Ok(if sent { Some(HostReply::Done) } else { wait() })
}

/// As [`ask`], of [`HostCall::Receive`].
pub(crate) fn receive(
    tag: Option<u64>,
    timeout: Option<Duration>,
    capacity: usize,
) -> Option<HostReply> {
    let reply = with_exchange(|exchange| {
        let received = match is_short_here() {
            true => ReceiveAtOnce::Later,
            false => exchange.desk.receive(tag, timeout, capacity),
        };
        match received {
            ReceiveAtOnce::Reply(reply) => return Some(reply),
            ReceiveAtOnce::Waits => exchange.leave = Leave::Wait,
            ReceiveAtOnce::Later => {
                exchange.leave = Leave::Call(HostCall::Receive { tag, timeout, capacity });
            }
        }
        None
    });
    reply.or_else(wait)
}

/// Leaves the fiber; the answer, once it goes on.
fn wait() -> Option<HostReply> {
    fiber::suspend();
    with_exchange(|exchange| exchange.reply.take())
}

/// Keeps what a message came in for the next one.
pub(crate) fn keep(message: Vec<u8>) {
    with_exchange(|exchange| exchange.envelopes.keep(message));
}

/// Says how the running process ended: the last that its fiber does.
pub(crate) fn end(reason: ExitReason) {
    with_exchange(|exchange| exchange.ended = Some(reason));
}

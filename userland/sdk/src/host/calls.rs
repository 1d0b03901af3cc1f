//! The host calls against threads: the same functions as `sys` has on wasm32.
//!
//! Owns their meaning here. A killed process unwinds at the next of its calls.

pub(crate) use super::net::{
    resolve, socket_close, socket_finish, socket_give, socket_read, socket_take, socket_watch,
    socket_write, tcp_accept, tcp_connect, tcp_listen, udp_bind, udp_receive, udp_send,
};
use super::world::{Current, Ended, Item, Tie, World, current, spawn as spawn_thread};
use crate::ahead::{ALIGNMENT, Ahead, HEADER_BYTES};
use crate::inbox::Inboxes;
use crate::mailbox::Select;
use crate::process::SpawnCall;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::vec::Vec;
use craton_abi::{ErrorCode, ExitReason, MonitorId, Pid, ProcessLimits, limit};
use std::cell::RefCell;
use std::time::{Duration, Instant};

std::thread_local! {
    static INBOXES: RefCell<Inboxes> = const { RefCell::new(Inboxes::new()) };
    static AHEAD: RefCell<Ahead> = const { RefCell::new(Ahead::new()) };
}

/// Does something with the messages that were taken ahead.
pub(crate) fn with_ahead<R>(change: impl FnOnce(&mut Ahead) -> R) -> R {
    AHEAD.with(|ahead| change(&mut ahead.borrow_mut()))
}

/// Does something with what came for the process's channels. A process is a thread here.
pub(crate) fn with_inboxes<R>(change: impl FnOnce(&mut Inboxes) -> R) -> R {
    INBOXES.with(|inboxes| change(&mut inboxes.borrow_mut()))
}

/// As on wasm32.
#[derive(Debug, Default)]
pub(crate) struct ReceiveHeader {
    pub(crate) kind: u32,
    pub(crate) len: u32,
    pub(crate) from: [u8; Pid::BYTES],
    pub(crate) tag: u64,
    pub(crate) id: u64,
}

/// The calling process, which ends here if another's deed ended it.
pub(super) fn living() -> Current {
    let current = current();
    if let Some(reason) = current.shared.with(|world| world.doom_of(current.pid)) {
        end(reason);
    }
    current
}

fn end(reason: ExitReason) -> ! {
    std::panic::resume_unwind(alloc::boxed::Box::new(Ended(reason)))
}

pub(super) fn deadline(timeout_nanos: i64, default: Option<u64>) -> Option<Instant> {
    let nanos = u64::try_from(timeout_nanos).ok().or(default)?;
    Instant::now().checked_add(Duration::from_nanos(nanos))
}

/// Waits as `Shared::wait`, and ends the process if another's deed does meanwhile.
pub(super) fn wait<R>(
    current: &Current,
    deadline: Option<Instant>,
    mut attempt: impl FnMut(&mut World) -> Option<R>,
) -> Option<R> {
    let pid = current.pid;
    let found = current.shared.wait(deadline, |world| match world.doom_of(pid) {
        Some(reason) => Some(Err(reason)),
        None => attempt(world).map(Ok),
    });
    match found {
        Some(Err(reason)) => end(reason),
        Some(Ok(found)) => Some(found),
        None => None,
    }
}

/// Whether the calling process was ended: on wasm32 no destructor would run then.
pub(crate) fn is_unwinding() -> bool {
    std::thread::panicking()
}

pub(crate) fn self_pid() -> Pid {
    living().pid
}

pub(crate) fn with_argument<R>(read: impl FnOnce(&[u8]) -> R) -> R {
    let argument = living().argument;
    read(&argument)
}

pub(crate) fn clock_monotonic() -> u64 {
    u64::try_from(living().shared.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn clock_wall() -> u64 {
    0
}

pub(crate) fn random(to: &mut [u8]) {
    living().shared.with(|world| {
        for byte in to {
            // SplitMix64 (Steele, Lea, Flood 2014): good enough for tests, and seeded.
            world.seed = world.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = world.seed;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = (mixed >> 56) as u8;
        }
    });
}

pub(crate) fn log(level: i32, text: &str) {
    let current = living();
    current.shared.with(|world| world.log.push(format!("{level} {} {text}", current.pid)));
}

pub(crate) fn yield_now() {
    let _ = living();
    std::thread::yield_now();
}

pub(crate) fn exit(reason: &[u8]) -> ! {
    end(ExitReason::from_bytes(reason).expect("the SDK writes reasons"))
}

pub(crate) fn spawn(call: &SpawnCall<'_>) -> Result<(Pid, MonitorId), i32> {
    let current = living();
    if call.argument.len() > limit::ARGUMENT_BYTES_MAX {
        return Err(ErrorCode::TooLong.code());
    }
    let limits = ProcessLimits::from_bytes(&call.limits.to_bytes());
    let limits = limits.ok_or(ErrorCode::Invalid.code())?;
    // There is one program here: the caller's own.
    if call.program.is_some() {
        return Err(ErrorCode::NoProgram.code());
    }
    let random = call.place_kind == 1;
    let node = current.shared.with(|world| {
        let wanted = match call.place_kind {
            2 | 3 => call.place.first_chunk().map_or(0, |node| u64::from_le_bytes(*node)),
            _ => current.pid.node.get(),
        };
        let index = wanted.wrapping_sub(super::node_id(0).get());
        let alive = world.living_nodes().count() as u64;
        world.seed = world.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let at = ((world.seed >> 33) % alive.max(1)) as usize;
        if random { world.living_nodes().nth(at).unwrap_or(index) } else { index }
    });
    let tie = Tie {
        watcher: call.monitor.then_some(current.pid),
        linked: call.link.then_some(current.pid),
    };
    spawn_thread(&current.shared, call.entry, call.argument.to_owned(), node, tie, limits)
        .map_err(ErrorCode::code)
}

pub(crate) fn send(to: &Pid, tag: u64, payload: &[u8], timeout_nanos: i64) -> i32 {
    let current = living();
    if payload.len() > limit::MESSAGE_BYTES_MAX {
        return ErrorCode::TooLong.code();
    }
    let deadline = deadline(timeout_nanos, Some(limit::SEND_TIMEOUT.as_nanos()));
    let offer = |world: &mut World| world.offer(current.pid, *to, (tag, 0), payload);
    match wait(&current, deadline, offer) {
        Some(Ok(())) => 0,
        Some(Err(code)) => code.code(),
        None => ErrorCode::Full.code(),
    }
}

pub(crate) fn request(to: &Pid, tag: u64, payload: &[u8], timeout_nanos: i64) -> i64 {
    let current = living();
    if payload.len() > limit::MESSAGE_BYTES_MAX {
        return ErrorCode::TooLong.code().into();
    }
    if current.shared.with(|world| world.requests(current.pid)) >= limit::REQUESTS_PER_PROCESS_MAX {
        return ErrorCode::LimitRequests.code().into();
    }
    let deadline = deadline(timeout_nanos, Some(limit::SEND_TIMEOUT.as_nanos()));
    let offer = |world: &mut World| world.offer_request(current.pid, *to, tag, payload);
    match wait(&current, deadline, offer) {
        Some(Ok(id)) => i64::try_from(id.get()).unwrap_or(i64::MAX),
        Some(Err(code)) => code.code().into(),
        None => ErrorCode::Full.code().into(),
    }
}

pub(crate) fn answer(to: &Pid, id: u64, payload: &[u8]) -> i32 {
    let current = living();
    if payload.len() > limit::MESSAGE_BYTES_MAX {
        return ErrorCode::TooLong.code();
    }
    let id = MonitorId::new(id);
    current.shared.with(|world| world.answer(current.pid, *to, id, payload));
    0
}

pub(crate) fn set_timer(after_nanos: i64, tag: u64) -> i64 {
    let current = living();
    let due = deadline(after_nanos, Some(0)).unwrap_or_else(Instant::now);
    let id = current.shared.with(|world| world.set_timer(current.pid, due, tag));
    id.map_or(ErrorCode::LimitTimers.code().into(), |id| i64::try_from(id).unwrap_or(i64::MAX))
}

pub(crate) fn cancel_timer(id: u64) -> i32 {
    let current = living();
    i32::from(current.shared.with(|world| world.cancel_timer(current.pid, id)))
}

pub(crate) fn receive(
    to: &mut [u8],
    select: Select,
    timeout_nanos: i64,
    header: &mut ReceiveHeader,
) -> i32 {
    let current = living();
    if let Select::Id(id) = select
        && !current.shared.with(|world| world.expects(current.pid, id))
    {
        return ErrorCode::Invalid.code();
    }
    let take = |world: &mut World| world.take(current.pid, select, to.len());
    let item = match wait(&current, deadline(timeout_nanos, None), take) {
        None => return ErrorCode::TimedOut.code(),
        Some(Err(len)) => {
            header.len = u32::try_from(len).unwrap_or(u32::MAX);
            return ErrorCode::TooLong.code();
        }
        Some(Ok(item)) => item,
    };
    let (kind, from, tag, id, payload) = match item {
        Item::Message { from, tag, request, payload } => (0, from, tag, request, payload),
        Item::Down { pid, monitor, reason } => (1, pid, monitor.get(), 0, reason.to_bytes()),
        Item::Exit { pid, reason } => (2, pid, 0, 0, reason.to_bytes()),
        Item::Answer { from, id, payload } => (3, from, id.get(), 0, payload),
        Item::Timer { id, tag } => (4, Pid::default(), tag, id, Vec::new()),
    };
    to[..payload.len()].copy_from_slice(&payload);
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    *header = ReceiveHeader { kind, len, from: from.to_bytes(), tag, id };
    0
}

/// As on wasm32: what follows the first in `to` is in the form in which the system writes it.
pub(crate) fn receive_several(
    to: &mut [u8],
    timeout_nanos: i64,
    header: &mut ReceiveHeader,
) -> i32 {
    let first = receive(to, Select::Any, timeout_nanos, header);
    if first != 0 || header.kind != 0 {
        return first;
    }
    let current = living();
    let (mut at, mut more) = ((header.len as usize).next_multiple_of(ALIGNMENT), 0);
    while let Some(room) = to.get_mut(at..).filter(|room| room.len() >= HEADER_BYTES) {
        let capacity = room.len() - HEADER_BYTES;
        let next = current.shared.with(|world| world.take_message(current.pid, capacity));
        let Some((from, tag, request, payload)) = next else { break };
        room[..4].fill(0);
        room[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        room[8..32].copy_from_slice(&from.to_bytes());
        room[32..40].copy_from_slice(&tag.to_le_bytes());
        room[40..48].copy_from_slice(&request.to_le_bytes());
        room[48..48 + payload.len()].copy_from_slice(&payload);
        at += HEADER_BYTES + payload.len().next_multiple_of(ALIGNMENT);
        more += 1;
    }
    more
}

pub(crate) fn monitor(target: &Pid) -> i64 {
    let current = living();
    let id = current.shared.with(|world| world.watch(current.pid, *target));
    i64::try_from(id.get()).unwrap_or(i64::MAX)
}

pub(crate) fn demonitor(id: u64) -> i32 {
    let current = living();
    i32::from(current.shared.with(|world| world.unwatch(current.pid, MonitorId::new(id))))
}

pub(crate) fn link(target: &Pid) -> i32 {
    let current = living();
    current.shared.with(|world| world.link(current.pid, *target));
    0
}

pub(crate) fn unlink(target: &Pid) -> i32 {
    let current = living();
    current.shared.with(|world| world.unlink(current.pid, *target));
    0
}

pub(crate) fn trap_exits(trap: i32) -> i32 {
    let current = living();
    i32::from(current.shared.with(|world| world.trap_exits(current.pid, trap != 0)))
}

pub(crate) fn kill(target: &Pid) -> i32 {
    let current = living();
    current.shared.with(|world| world.kill(*target));
    // A process that kills itself ends here.
    let _ = living();
    0
}

pub(crate) fn shards(node: u64) -> i32 {
    living().shared.with(|world| {
        let alive = world.living_nodes().any(|index| super::node_id(index).get() == node);
        if alive { world.shards.into() } else { ErrorCode::NoConnection.code() }
    })
}

pub(crate) fn nodes(to: &mut [u64]) -> i32 {
    let current = living();
    let mut ids = current.shared.with(|world| {
        world.living_nodes().map(|node| super::node_id(node).get()).collect::<Vec<_>>()
    });
    let own = current.pid.node.get();
    ids.sort_by_key(|id| *id != own);
    for (to, id) in to.iter_mut().zip(&ids) {
        *to = *id;
    }
    i32::try_from(ids.len()).unwrap_or(i32::MAX)
}

/// A name that the world takes, or why it does not.
fn with_name(name: &str, ask: impl FnOnce(&mut World, Pid, &str) -> Result<i32, ErrorCode>) -> i32 {
    let current = living();
    if !(1..=limit::NAME_BYTES_MAX).contains(&name.len()) {
        return ErrorCode::Invalid.code();
    }
    let answer = current.shared.with(|world| ask(world, current.pid, name));
    answer.unwrap_or_else(ErrorCode::code)
}

pub(crate) fn name_register(name: &str) -> i32 {
    with_name(name, |world, pid, name| world.register(pid, name).map(|()| 0))
}

pub(crate) fn name_unregister(name: &str) -> i32 {
    with_name(name, |world, pid, name| Ok(i32::from(world.unregister(pid, name))))
}

pub(crate) fn name_find(name: &str, out: &mut [u8; Pid::BYTES]) -> i32 {
    with_name(name, |world, pid, name| {
        *out = world.owner(pid, name).ok_or(ErrorCode::NoProcess)?.to_bytes();
        Ok(0)
    })
}

pub(crate) fn group_join(name: &str) -> i32 {
    with_name(name, |world, pid, name| world.join(pid, name).map(|()| 0))
}

pub(crate) fn group_leave(name: &str) -> i32 {
    with_name(name, |world, pid, name| Ok(i32::from(world.leave(pid, name))))
}

pub(crate) fn group_members(name: &str, out: &mut [[u8; Pid::BYTES]]) -> i32 {
    with_name(name, |world, pid, name| {
        let members = world.members(pid, name);
        for (out, member) in out.iter_mut().zip(&members) {
            *out = member.to_bytes();
        }
        Ok(i32::try_from(members.len()).unwrap_or(i32::MAX))
    })
}

//! The host calls: what happens when a guest calls a function of module `craton`.
//!
//! Owns the linking of `docs/abi.md`. What can be answered at once is (`self_pid`, `argument_*`,
//! `clock_*`, `random`); everything else leaves the fiber as a [`HostCall`] with its bytes copied
//! out of the guest, and comes back as a [`HostReply`].
//!
//! The rule of this file: **across [`ask`] a function owns nothing.** Its process may be dropped
//! there, and then its frames are never returned to. Regions, numbers and the caller are plain
//! values; a payload is moved into the call before and out of the reply after.

mod message;
mod names;
mod request;

use crate::guest::{BadPointer, Region};
use crate::imports::MODULE;
use crate::platform;
use crate::process::Guest;
use crate::programs::Program;
use crate::sockets;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use craton_abi::{
    Duration, ErrorCode, ExitReason, MonitorId, NodeId, Payload, Pid, Place, ProcessLimits,
    ProgramId, SocketId, limit,
};
use craton_shard::port::{HostCall, HostReply, LogLevel, SpawnCall};
use wasmtime::{Caller, Error, Linker, Result};

/// What a monitor takes on both of its sides, roughly.
const MONITOR_BYTES: usize = 256;
/// `random` lets others run after this many bytes.
const RANDOM_CHUNK_BYTES: usize = 64 << 10;

pub(crate) type Call<'a> = Caller<'a, Guest>;

/// Gives `linker` every function of [`IMPORTS`](crate::IMPORTS). That none is missing and each has
/// its type is shown by the guest of the kernel's self-test, which imports them all.
pub(crate) fn link(linker: &mut Linker<Guest>) -> Result<()> {
    link_own(linker)?;
    link_signals(linker)?;
    message::link(linker)?;
    request::link(linker)?;
    sockets::link(linker)?;
    names::link(linker)
}

/// What concerns the caller alone.
fn link_own(linker: &mut Linker<Guest>) -> Result<()> {
    linker.func_wrap(MODULE, "self_pid", self_pid)?;
    linker
        .func_wrap(MODULE, "argument_len", |call: Call<'_>| call.data().argument.0.len() as i32)?;
    linker.func_wrap(MODULE, "argument_read", argument_read)?;
    linker.func_wrap(MODULE, "clock_monotonic", |call: Call<'_>| {
        (call.data().clocks.monotonic)().as_nanos() as i64
    })?;
    linker.func_wrap(MODULE, "clock_wall", |call: Call<'_>| {
        (call.data().clocks.wall_nanos)() as i64
    })?;
    linker.func_wrap(MODULE, "random", random)?;
    linker.func_wrap(MODULE, "log", log)?;
    linker.func_wrap(MODULE, "yield_now", || {
        ask(HostCall::Yield);
    })?;
    linker.func_wrap(MODULE, "exit", exit)?;
    Ok(())
}

/// What concerns other processes.
fn link_signals(linker: &mut Linker<Guest>) -> Result<()> {
    linker.func_wrap(MODULE, "spawn", spawn)?;
    linker.func_wrap(MODULE, "monitor", monitor)?;
    linker.func_wrap(MODULE, "demonitor", demonitor)?;
    linker.func_wrap(MODULE, "link", link_to)?;
    linker.func_wrap(MODULE, "unlink", unlink)?;
    linker.func_wrap(MODULE, "trap_exits", trap_exits)?;
    linker.func_wrap(MODULE, "kill", kill)?;
    linker.func_wrap(MODULE, "nodes", nodes)?;
    linker.func_wrap(MODULE, "shards", shards)?;
    Ok(())
}

/// Leaves the fiber with a request; returns when the shard has answered. See the rule above.
pub(crate) fn ask(request: HostCall) -> HostReply {
    // `Engine::run` resumes a waiting process with a reply only.
    platform::ask(request).unwrap_or(HostReply::Failed(ErrorCode::Invalid))
}

pub(crate) fn memory<'a>(call: &'a Call<'_>) -> &'a [u8] {
    call.data().memory.map_or(&[], |memory| memory.data(call))
}

pub(crate) fn memory_mut<'a>(call: &'a mut Call<'_>) -> &'a mut [u8] {
    match call.data().memory {
        Some(memory) => memory.data_mut(call),
        None => &mut [],
    }
}

/// A fixed number of bytes at `pointer`.
pub(crate) fn read<const N: usize>(call: &Call<'_>, pointer: i32) -> Result<[u8; N], BadPointer> {
    read_in(memory(call), pointer)
}

/// As [`read`], of a memory at hand.
fn read_in<const N: usize>(memory: &[u8], pointer: i32) -> Result<[u8; N], BadPointer> {
    let region = Region::prove(memory, pointer, N as i32)?;
    region.of(memory).try_into().map_err(|_| BadPointer)
}

pub(crate) fn read_pid(call: &Call<'_>, pointer: i32) -> Result<Pid, BadPointer> {
    read_pid_in(memory(call), pointer)
}

#[inline]
fn read_pid_in(memory: &[u8], pointer: i32) -> Result<Pid, BadPointer> {
    read_in(memory, pointer).map(|bytes| Pid::from_bytes(&bytes))
}

fn self_pid(mut call: Call<'_>, out: i32) -> Result<()> {
    let pid = call.data().pid.to_bytes();
    let memory = memory_mut(&mut call);
    Region::prove(memory, out, Pid::BYTES as i32)?.write(memory, &pid);
    Ok(())
}

fn argument_read(mut call: Call<'_>, pointer: i32, len: i32) -> Result<i32> {
    let region = Region::prove(memory(&call), pointer, len)?;
    let Some(memory) = call.data().memory else { return Ok(0) };
    let (memory, guest) = memory.data_and_store_mut(&mut call);
    let argument = &guest.argument.0;
    region.write(memory, argument);
    Ok(region.first(argument.len()).len() as i32)
}

pub(crate) fn random(mut call: Call<'_>, pointer: i32, len: i32) -> Result<()> {
    let mut rest = Region::prove(memory(&call), pointer, len)?;
    loop {
        let chunk = rest.first(RANDOM_CHUNK_BYTES);
        let Some(memory) = call.data().memory else { return Ok(()) };
        let (memory, guest) = memory.data_and_store_mut(&mut call);
        guest.random.fill(chunk.of_mut(memory));
        rest = rest.after(RANDOM_CHUNK_BYTES);
        if rest.len() == 0 {
            return Ok(());
        }
        ask(HostCall::Yield);
    }
}

fn log(call: Call<'_>, level: i32, pointer: i32, len: i32) -> Result<()> {
    let memory = memory(&call);
    let line = Region::prove(memory, pointer, len)?.first(limit::LOG_LINE_BYTES_MAX).of(memory);
    let level = match level {
        0 => LogLevel::Error,
        1 => LogLevel::Warn,
        2 => LogLevel::Info,
        _ => LogLevel::Debug,
    };
    let text = String::from_utf8_lossy(line).into_owned();
    ask(HostCall::Log { level, text });
    Ok(())
}

/// Does not return: the shard ends the process while it waits.
fn exit(call: Call<'_>, pointer: i32, len: i32) -> Result<()> {
    let memory = memory(&call);
    let bytes = Region::prove(memory, pointer, len)?.first(2 + limit::EXIT_REASON_BYTES_MAX);
    let bytes = bytes.of(memory);
    // A process may not claim that it was killed or lost.
    let reason = match ExitReason::from_bytes(bytes) {
        Ok(reason @ (ExitReason::Normal | ExitReason::Shutdown | ExitReason::Error(_))) => reason,
        _ => return Err(Error::msg("exit was given bytes that are no reason to give")),
    };
    ask(HostCall::Exit { reason: reason.bounded() });
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "the guest ABI has as many")]
fn spawn(
    mut call: Call<'_>,
    place_kind: i32,
    place: i32,
    program: i32,
    entry: i32,
    entry_len: i32,
    argument: i32,
    argument_len: i32,
    flags: i32,
    limits: i32,
    limits_len: i32,
    out_pid: i32,
    out_monitor: i32,
) -> Result<i32> {
    let memory = memory(&call);
    let out_pid = Region::prove(memory, out_pid, Pid::BYTES as i32)?;
    let out_monitor = Region::prove(memory, out_monitor, 8)?;
    let entry = Region::prove(memory, entry, entry_len)?;
    let argument = Region::prove(memory, argument, argument_len)?;
    let limits = Region::prove(memory, limits, limits_len)?;
    let place = match place_kind {
        0 => Place::Here,
        1 => Place::Anywhere,
        2 => Place::Node(NodeId::new(u64::from_le_bytes(read(&call, place)?))),
        3 => Place::Near(read_pid(&call, place)?),
        4 => Place::Socket(SocketId::new(u32::from_le_bytes(read(&call, place)?))),
        _ => return Ok(ErrorCode::Invalid.code()),
    };
    let program = if program == 0 { None } else { Some(ProgramId(read(&call, program)?)) };
    if !(0..=3).contains(&flags) {
        return Ok(ErrorCode::Invalid.code());
    }
    let (monitor, link) = (flags & 1 != 0, flags & 2 != 0);
    let (mut order, is_own) = match prepare(&mut call, entry, argument, limits) {
        Ok((entry, argument, limits, is_own)) => {
            (SpawnCall { place, program, entry, argument, monitor, link, limits }, is_own)
        }
        Err(error) => return Ok(error.code()),
    };
    let reply = match spawn_at_once(&call.data().program, &mut order, is_own) {
        Some(reply) => reply,
        None => ask_to_spawn(order),
    };
    let (pid, id) = match reply {
        HostReply::Spawned { pid, monitor } => (pid, monitor.unwrap_or_default()),
        other => return Ok(failure(&other)),
    };
    let memory = memory_mut(&mut call);
    out_pid.write(memory, &pid.to_bytes());
    out_monitor.write(memory, &id.get().to_le_bytes());
    Ok(0)
}

/// What is of the caller's own program, and has an entry, may be done at once, unless it asks for
/// so much or so little that it takes making an instance to know whether there is room.
#[inline]
fn spawn_at_once(own: &Program, order: &mut SpawnCall, is_own: bool) -> Option<HostReply> {
    let limits = &order.limits;
    let is_usual = is_own
        && limits.stack_bytes <= limit::PROCESS_STACK_BYTES
        && limits.memory_bytes >= own.memory_bytes
        && order.program.is_none();
    if is_usual { platform::spawn(order, own.memory_bytes) } else { None }
}

/// As [`ask`], of what could not be done at once.
#[inline(never)]
fn ask_to_spawn(order: SpawnCall) -> HostReply {
    let reply = platform::leave_with(HostCall::Spawn(Box::new(order)));
    reply.unwrap_or(HostReply::Failed(ErrorCode::Invalid))
}

/// What a spawn says about its child, checked against the system's bounds, and whether the caller's
/// program has the entry.
fn prepare(
    call: &mut Call<'_>,
    entry: Region,
    argument: Region,
    limits: Region,
) -> Result<(Arc<str>, Payload, ProcessLimits, bool), ErrorCode> {
    if !(1..=limit::ENTRY_BYTES_MAX).contains(&entry.len()) {
        return Err(ErrorCode::NoEntry);
    }
    if argument.len() > limit::ARGUMENT_BYTES_MAX {
        return Err(ErrorCode::TooLong);
    }
    if !platform::has_room(argument.len()) {
        return Err(ErrorCode::LimitMemory);
    }
    let memory = memory(call);
    let limits = ProcessLimits::from_bytes(limits.of(memory)).ok_or(ErrorCode::Invalid)?;
    let argument = Payload(argument.of(memory).to_vec());
    let entry = entry.of(memory);
    let guest = call.data();
    if let Some(last) = guest.spawned.as_ref().filter(|last| last.as_bytes() == entry) {
        return Ok((last.clone(), argument, limits, true));
    }
    let entry = core::str::from_utf8(entry).map_err(|_| ErrorCode::NoEntry)?;
    let own = guest.program.entry(entry);
    // The program's own text, if it has one.
    let Some(same) = own.filter(|own| &***own == entry).cloned() else {
        return Ok((Arc::from(entry), argument, limits, own.is_some()));
    };
    call.data_mut().spawned = Some(same.clone());
    Ok((same, argument, limits, true))
}

/// How long a guest will wait: so many nanoseconds, or, where it says -1, as is usual.
pub(crate) fn patience(timeout: i64) -> Result<Option<Duration>, ErrorCode> {
    match u64::try_from(timeout) {
        Ok(nanos) => Ok(Some(Duration::from_nanos(nanos))),
        Err(_) if timeout == -1 => Ok(None),
        Err(_) => Err(ErrorCode::Invalid),
    }
}

/// What `request` is given: to whom, what, and how long to wait for room.
fn parcel(
    call: &Call<'_>,
    to: i32,
    pointer: i32,
    len: i32,
    timeout: i64,
) -> Result<Result<(Pid, Payload, Duration), ErrorCode>> {
    let to = read_pid(call, to)?;
    let message = Region::prove(memory(call), pointer, len)?;
    let timeout = match patience(timeout) {
        Ok(timeout) => timeout.unwrap_or(limit::SEND_TIMEOUT),
        Err(error) => return Ok(Err(error)),
    };
    Ok(copy_out(call, message).map(|payload| (to, payload, timeout)))
}

/// A message or answer, if it is short enough and the node has memory for it.
fn copy_out(call: &Call<'_>, message: Region) -> Result<Payload, ErrorCode> {
    if message.len() > limit::MESSAGE_BYTES_MAX {
        return Err(ErrorCode::TooLong);
    }
    if !platform::has_room(message.len()) {
        return Err(ErrorCode::LimitMemory);
    }
    Ok(Payload(message.of(memory(call)).to_vec()))
}

fn monitor(call: Call<'_>, target: i32) -> Result<i64> {
    let target = read_pid(&call, target)?;
    if !platform::has_room(MONITOR_BYTES) {
        return Ok(i64::from(ErrorCode::LimitMemory.code()));
    }
    Ok(monitoring(&ask(HostCall::Monitor { target })))
}

fn demonitor(id: i64) -> i32 {
    flag(&ask(HostCall::Demonitor { id: MonitorId::new(id as u64) }))
}

fn link_to(call: Call<'_>, target: i32) -> Result<i32> {
    let target = read_pid(&call, target)?;
    Ok(done(&ask(HostCall::Link { target })))
}

fn unlink(call: Call<'_>, target: i32) -> Result<i32> {
    let target = read_pid(&call, target)?;
    Ok(done(&ask(HostCall::Unlink { target })))
}

fn trap_exits(trap: i32) -> i32 {
    flag(&ask(HostCall::TrapExits { trap: trap != 0 }))
}

fn kill(call: Call<'_>, target: i32) -> Result<i32> {
    let target = read_pid(&call, target)?;
    Ok(done(&ask(HostCall::Kill { target })))
}

fn nodes(mut call: Call<'_>, pointer: i32, capacity: i32) -> Result<i32> {
    let room = Region::prove_items(memory(&call), pointer, capacity, 8)?;
    let nodes = match ask(HostCall::Nodes) {
        HostReply::Nodes(nodes) => nodes,
        other => return Ok(failure(&other)),
    };
    let bytes: Vec<u8> = nodes.iter().flat_map(|alive| alive.node.get().to_le_bytes()).collect();
    room.write(memory_mut(&mut call), &bytes);
    Ok(nodes.len() as i32)
}

fn shards(node: i64) -> i32 {
    let node = NodeId::new(node as u64);
    match ask(HostCall::Nodes) {
        HostReply::Nodes(nodes) => nodes
            .iter()
            .find(|alive| alive.node == node)
            .map_or(ErrorCode::NoConnection.code(), |alive| alive.shards.into()),
        other => failure(&other),
    }
}

/// The id of a monitor or request, or why there is none.
fn monitoring(reply: &HostReply) -> i64 {
    match reply {
        HostReply::Monitoring(id) => id.get() as i64,
        other => i64::from(failure(other)),
    }
}

/// 1 or 0, or why it could not be done.
fn flag(reply: &HostReply) -> i32 {
    match reply {
        HostReply::Flag(set) => i32::from(*set),
        other => failure(other),
    }
}

/// Zero, or why it could not be done.
fn done(reply: &HostReply) -> i32 {
    match reply {
        HostReply::Done => 0,
        other => failure(other),
    }
}

/// The code of a reply that is none of those that the call expects.
fn failure(reply: &HostReply) -> i32 {
    match reply {
        HostReply::Failed(error) => error.code(),
        // The shard's fault; the guest is told something true.
        _ => ErrorCode::Invalid.code(),
    }
}

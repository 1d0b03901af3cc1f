//! The part of `wasi_snapshot_preview1` that a node has: what ordinary command-line programs need.
//!
//! Owns the linking of the section "WASI" of `docs/abi.md`: arguments, environment, clocks,
//! randomness, sleeping, ending. The standard streams are in `wasi/streams.rs`. Everything is done
//! by the calls that programs of module `craton` have too; a program reaches nothing more this way.
//! The rule of `calls.rs` holds here as well: across `ask` a function owns nothing.

mod streams;

pub(crate) use streams::flush;

use crate::calls::{Call, ask, memory, memory_mut, random};
use crate::guest::Region;
use crate::imports::WASI_MODULE;
use crate::platform;
use crate::process::Guest;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use craton_abi::run::RunArgument;
use craton_abi::{Duration, ExitReason, Pid};
use craton_shard::port::{HostCall, HostReply};
use streams::Line;
use wasmtime::{Linker, Result};

/// The errors that are answered, by the numbers of the specification.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Errno {
    Again = 6,
    Badf = 8,
    Inval = 28,
    Io = 29,
    Nomem = 48,
    Pipe = 64,
    Spipe = 70,
}

type Answer = Result<(), Errno>;

/// What a process that calls WASI is to it.
pub(crate) struct Wasi {
    /// Who takes its output and who hands out its input, if an operator runs it.
    run: Option<Operator>,
    /// The beginnings of lines for the log, of standard output and of standard error.
    lines: [Line; 2],
    /// How it ended, while the rest of its output goes out.
    pub(crate) ended: Option<ExitReason>,
}

#[derive(Copy, Clone)]
struct Operator {
    console: Pid,
    stdin: Pid,
}

/// Clocks of the specification.
const CLOCK_REALTIME: i32 = 0;
const CLOCK_MONOTONIC: i32 = 1;
/// What the clocks count in.
const RESOLUTION_NANOS: u64 = 1;
/// What a timer takes, roughly.
const TIMER_BYTES: usize = 256;

/// Gives `linker` every function of [`WASI_IMPORTS`](crate::WASI_IMPORTS).
pub(crate) fn link(linker: &mut Linker<Guest>) -> Result<()> {
    let module = WASI_MODULE;
    linker.func_wrap(module, "args_get", |call: Call<'_>, at: i32, texts: i32| {
        write_texts(call, at, texts, arguments)
    })?;
    linker.func_wrap(module, "args_sizes_get", |call: Call<'_>, count: i32, bytes: i32| {
        write_sizes(call, count, bytes, arguments)
    })?;
    linker.func_wrap(module, "environ_get", |call: Call<'_>, at: i32, texts: i32| {
        write_texts(call, at, texts, environment)
    })?;
    linker.func_wrap(module, "environ_sizes_get", |call: Call<'_>, count: i32, bytes: i32| {
        write_sizes(call, count, bytes, environment)
    })?;
    linker.func_wrap(module, "clock_res_get", clock_res_get)?;
    linker.func_wrap(module, "clock_time_get", clock_time_get)?;
    linker.func_wrap(module, "random_get", |call: Call<'_>, at: i32, len: i32| {
        random(call, at, len).map(|()| 0)
    })?;
    linker.func_wrap(module, "sched_yield", || {
        ask(HostCall::Yield);
        0
    })?;
    linker.func_wrap(module, "poll_oneoff", poll_oneoff)?;
    linker.func_wrap(module, "proc_exit", proc_exit)?;
    streams::link(linker)
}

/// The number that a call answers.
fn errno(answer: Answer) -> i32 {
    answer.map_or_else(|error| error as i32, |()| 0)
}

impl Guest {
    fn wasi(&mut self) -> &mut Wasi {
        let Guest { wasi, argument, .. } = self;
        wasi.get_or_insert_with(|| {
            let run = RunArgument::from_bytes(&argument.0).ok();
            let run = run.map(|run| Operator { console: run.console, stdin: run.stdin });
            Box::new(Wasi { run, lines: Default::default(), ended: None })
        })
    }
}

/// The program's name and the arguments of its run.
fn arguments(guest: &Guest) -> Vec<String> {
    let mut texts = Vec::from([String::from(guest.program.name())]);
    if let Ok(run) = RunArgument::from_bytes(&guest.argument.0) {
        texts.extend(run.arguments);
    }
    texts
}

fn environment(guest: &Guest) -> Vec<String> {
    Vec::from([
        format!("CRATON_PROGRAM={}", guest.program.name()),
        format!("CRATON_NODE={}", guest.pid.node),
    ])
}

type Texts = fn(&Guest) -> Vec<String>;

/// What the texts take, a zero after each.
fn bytes_of(texts: &[String]) -> u32 {
    texts.iter().map(|text| text.len() as u32 + 1).sum()
}

fn write_sizes(mut call: Call<'_>, count: i32, bytes: i32, texts: Texts) -> Result<i32> {
    let texts = texts(call.data());
    let memory = memory_mut(&mut call);
    let count = Region::prove(memory, count, 4)?;
    let bytes = Region::prove(memory, bytes, 4)?;
    count.write(memory, &(texts.len() as u32).to_le_bytes());
    bytes.write(memory, &bytes_of(&texts).to_le_bytes());
    Ok(0)
}

/// Writes the texts one after another to `at`, and where each begins to `pointers`.
fn write_texts(mut call: Call<'_>, pointers: i32, at: i32, texts: Texts) -> Result<i32> {
    let texts = texts(call.data());
    let memory = memory_mut(&mut call);
    let mut pointers = Region::prove_items(memory, pointers, texts.len() as i32, 4)?;
    let mut room = Region::prove(memory, at, bytes_of(&texts) as i32)?;
    let mut address = at as u32;
    for text in &texts {
        pointers.write(memory, &address.to_le_bytes());
        pointers = pointers.after(4);
        room.write(memory, text.as_bytes());
        room = room.after(text.len());
        room.write(memory, &[0]);
        room = room.after(1);
        address += text.len() as u32 + 1;
    }
    Ok(0)
}

fn clock(call: &Call<'_>, id: i32) -> Result<u64, Errno> {
    let clocks = &call.data().clocks;
    match id {
        CLOCK_REALTIME => Ok((clocks.wall_nanos)()),
        CLOCK_MONOTONIC => Ok((clocks.monotonic)().as_nanos()),
        _ => Err(Errno::Inval),
    }
}

fn clock_res_get(mut call: Call<'_>, id: i32, out: i32) -> Result<i32> {
    let known = clock(&call, id);
    let memory = memory_mut(&mut call);
    Region::prove(memory, out, 8)?.write(memory, &RESOLUTION_NANOS.to_le_bytes());
    Ok(errno(known.map(drop)))
}

fn clock_time_get(mut call: Call<'_>, id: i32, _precision: i64, out: i32) -> Result<i32> {
    let time = clock(&call, id);
    let memory = memory_mut(&mut call);
    let out = Region::prove(memory, out, 8)?;
    if let Ok(time) = time {
        out.write(memory, &time.to_le_bytes());
    }
    Ok(errno(time.map(drop)))
}

/// Ends the process after what is left of its output went out.
fn proc_exit(mut call: Call<'_>, status: i32) {
    streams::flush(&mut call);
    let reason = match status {
        0 => ExitReason::Normal,
        status => ExitReason::Error(format!("exit status {}", status as u32).into_bytes()),
    };
    ask(HostCall::Exit { reason });
}

/// Bytes of what is waited for, and of what is told of it.
const SUBSCRIPTION_BYTES: u32 = 48;
const EVENT_BYTES: u32 = 32;
/// Most that one call waits for.
const SUBSCRIPTIONS_MAX: usize = 64;

/// What a program waits for. The standard streams are ready at all times, as files are.
#[derive(Copy, Clone)]
struct Subscription {
    userdata: [u8; 8],
    /// 0 a clock, 1 reading, 2 writing.
    kind: u8,
    /// When it is due by the monotonic clock; or why that will never be.
    due: Result<u64, Errno>,
}

impl Subscription {
    fn read(call: &Call<'_>, region: Region) -> Option<Subscription> {
        let bytes = region.of(memory(call));
        let number = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let kind = bytes.get(8).copied()?;
        let due = match kind {
            0 => clock_due(call, number(16)? as u32 as i32, number(24)?, number(40)? & 1 != 0),
            1 | 2 if number(16)? as u32 <= 2 => Ok(0),
            1 | 2 => Err(Errno::Badf),
            _ => Err(Errno::Inval),
        };
        Some(Subscription { userdata: *bytes.first_chunk()?, kind, due })
    }

    fn is_due(&self, now: u64) -> bool {
        self.due.is_err() || self.due.is_ok_and(|due| due <= now)
    }

    fn event(&self) -> [u8; EVENT_BYTES as usize] {
        let mut event = [0; EVENT_BYTES as usize];
        event[..8].copy_from_slice(&self.userdata);
        event[8] = errno(self.due.map(drop)) as u8;
        event[10] = self.kind;
        if self.kind != 0 {
            event[16] = 1;
        }
        event
    }
}

/// When a clock will have reached `time`, by the monotonic one.
fn clock_due(call: &Call<'_>, id: i32, time: u64, absolute: bool) -> Result<u64, Errno> {
    let now = clock(call, CLOCK_MONOTONIC)?;
    let missing = if absolute { time.saturating_sub(clock(call, id)?) } else { time };
    clock(call, id).map(|_| now.saturating_add(missing))
}

/// Waits until the first of what is given is due, and tells which are.
fn poll_oneoff(mut call: Call<'_>, from: i32, to: i32, count: i32, told: i32) -> Result<i32> {
    let memory = memory(&call);
    let wanted = Region::prove_items(memory, from, count, SUBSCRIPTION_BYTES)?;
    let mut events = Region::prove_items(memory, to, count, EVENT_BYTES)?;
    let told = Region::prove(memory, told, 4)?;
    let count = wanted.len() / SUBSCRIPTION_BYTES as usize;
    if !(1..=SUBSCRIPTIONS_MAX).contains(&count) {
        return Ok(errno(Err(Errno::Inval)));
    }
    let mut subscriptions = [None; SUBSCRIPTIONS_MAX];
    let mut rest = wanted;
    for subscription in &mut subscriptions[..count] {
        *subscription = Subscription::read(&call, rest.first(SUBSCRIPTION_BYTES as usize));
        rest = rest.after(SUBSCRIPTION_BYTES as usize);
    }
    let wanted = subscriptions.iter().flatten();
    let first = wanted.clone().map(|one| one.due.unwrap_or(0)).min().unwrap_or(0);
    if let Err(error) = sleep_until(&call, first) {
        return Ok(errno(Err(error)));
    }
    let now = clock(&call, CLOCK_MONOTONIC).unwrap_or(u64::MAX);
    let memory = memory_mut(&mut call);
    let mut count = 0u32;
    for due in wanted.filter(|one| one.is_due(now)) {
        events.write(memory, &due.event());
        events = events.after(EVENT_BYTES as usize);
        count += 1;
    }
    told.write(memory, &count.to_le_bytes());
    Ok(0)
}

/// Waits for a timer of its own alone: whatever else comes meanwhile stays in the mailbox.
fn sleep_until(call: &Call<'_>, due: u64) -> Answer {
    loop {
        let now = clock(call, CLOCK_MONOTONIC)?;
        if now >= due {
            return Ok(());
        }
        if !platform::has_room(TIMER_BYTES) {
            return Err(Errno::Nomem);
        }
        let after = Duration::from_nanos(due - now);
        let HostReply::Timer(id) = ask(HostCall::SetTimer { after, tag: 0 }) else {
            return Err(Errno::Again);
        };
        ask(HostCall::Await { id: id.get(), timeout: None, capacity: 0 });
    }
}

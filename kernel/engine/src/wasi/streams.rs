//! The standard streams of a program for WASI.
//!
//! Owns [`Line`] and the calls `fd_*`. Where an operator runs the program, output goes to his
//! console and input comes from him, as messages. Else output goes to the node's log by lines, of
//! standard output as information and of standard error as warnings, and there is no input.

use super::{Answer, Errno, Operator, errno};
use crate::calls::{Call, ask, memory, memory_mut};
use crate::guest::{BadPointer, Region};
use crate::imports::WASI_MODULE;
use crate::platform;
use crate::process::Guest;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;
use craton_abi::run::{TAG_ERR, TAG_INPUT, TAG_OUT, TAG_READ};
use craton_abi::{Duration, ErrorCode, Payload, limit};
use craton_shard::port::{HostCall, HostReply, LogLevel, Received};
use wasmtime::{AsContextMut, Linker, Result};

/// Standard input, output and error.
const STDIN: i32 = 0;
const STDOUT: i32 = 1;
const STDERR: i32 = 2;
/// Bytes of one buffer's description: where it is, how long it is.
const BUFFER_BYTES: u32 = 8;
/// Most buffers of one call.
const BUFFERS_MAX: usize = 1024;
/// Most bytes that one call writes or reads; it says that it was fewer than it was given.
const TRANSFER_BYTES_MAX: usize = 64 << 10;
/// The console takes what the operator takes: a write waits for as long as he does.
const TIMEOUT_NEVER: Duration = Duration::MAX;

pub(super) fn link(linker: &mut Linker<Guest>) -> Result<()> {
    let module = WASI_MODULE;
    linker.func_wrap(module, "fd_write", fd_write)?;
    linker.func_wrap(module, "fd_read", fd_read)?;
    linker.func_wrap(module, "fd_close", |fd: i32| errno(known(fd)))?;
    linker.func_wrap(module, "fd_fdstat_get", fd_fdstat_get)?;
    // There are no folders, and no stream has a place to go to.
    linker.func_wrap(module, "fd_prestat_get", |_fd: i32, _out: i32| errno(Err(Errno::Badf)))?;
    linker.func_wrap(module, "fd_prestat_dir_name", |_fd: i32, _out: i32, _len: i32| {
        errno(Err(Errno::Badf))
    })?;
    linker.func_wrap(module, "fd_seek", |fd: i32, _to: i64, _whence: i32, _out: i32| {
        errno(known(fd).and(Err(Errno::Spipe)))
    })?;
    linker.func_wrap(module, "fd_tell", |fd: i32, _out: i32| {
        errno(known(fd).and(Err(Errno::Spipe)))
    })?;
    Ok(())
}

fn known(fd: i32) -> Answer {
    if (STDIN..=STDERR).contains(&fd) { Ok(()) } else { Err(Errno::Badf) }
}

/// A terminal, to the libraries of guests: they send a line when it is whole.
fn fd_fdstat_get(mut call: Call<'_>, fd: i32, out: i32) -> Result<i32> {
    const CHARACTER_DEVICE: u8 = 2;
    const RIGHT_READ: u8 = 1 << 1;
    const RIGHT_WRITE: u8 = 1 << 6;
    let memory = memory_mut(&mut call);
    let out = Region::prove(memory, out, 24)?;
    if let Err(error) = known(fd) {
        return Ok(errno(Err(error)));
    }
    let mut status = [0; 24];
    status[0] = CHARACTER_DEVICE;
    status[8] = if fd == STDIN { RIGHT_READ } else { RIGHT_WRITE };
    out.write(memory, &status);
    Ok(0)
}

/// The buffers of a call, each of them proven.
#[derive(Copy, Clone)]
struct Buffers(Region);

impl Buffers {
    fn prove(memory: &[u8], at: i32, count: i32) -> Result<Buffers, BadPointer> {
        let all = Buffers(Region::prove_items(memory, at, count, BUFFER_BYTES)?);
        let listed = all.0.of(memory).chunks_exact(BUFFER_BYTES as usize).take(BUFFERS_MAX);
        for buffer in listed {
            let (at, len) = parts(buffer);
            Region::prove(memory, at, len)?;
        }
        Ok(all)
    }

    /// The first that has room or bytes in it, and the rest.
    fn next(mut self, memory: &[u8]) -> Result<Option<(Region, Buffers)>, BadPointer> {
        while self.0.len() > 0 {
            let (at, len) = parts(self.0.first(BUFFER_BYTES as usize).of(memory));
            self.0 = self.0.after(BUFFER_BYTES as usize);
            // Proven again: a read may have written over the list.
            let buffer = Region::prove(memory, at, len)?;
            if buffer.len() > 0 {
                return Ok(Some((buffer, self)));
            }
        }
        Ok(None)
    }

    fn are_too_many(self) -> bool {
        self.0.len() > BUFFERS_MAX * BUFFER_BYTES as usize
    }
}

fn parts(buffer: &[u8]) -> (i32, i32) {
    let number = |at: usize| buffer.get(at..).and_then(<[u8]>::first_chunk).copied();
    let number = |at| i32::from_le_bytes(number(at).unwrap_or([0xff; 4]));
    (number(0), number(4))
}

fn fd_write(mut call: Call<'_>, fd: i32, buffers: i32, count: i32, out: i32) -> Result<i32> {
    let buffers = Buffers::prove(memory(&call), buffers, count)?;
    let out = Region::prove(memory(&call), out, 4)?;
    if fd != STDOUT && fd != STDERR {
        return Ok(errno(Err(Errno::Badf)));
    }
    if buffers.are_too_many() {
        return Ok(errno(Err(Errno::Inval)));
    }
    let run = call.data_mut().wasi().run;
    let written = match run {
        Some(operator) => write_to(&call, operator, fd, buffers)?,
        None => Ok(write_log(&mut call, fd, buffers)?),
    };
    if let Ok(written) = written {
        out.write(memory_mut(&mut call), &(written as u32).to_le_bytes());
    }
    Ok(errno(written.map(drop)))
}

/// Sends what one message holds to the operator.
fn write_to(
    call: &Call<'_>,
    operator: Operator,
    fd: i32,
    mut buffers: Buffers,
) -> Result<Result<usize, Errno>, BadPointer> {
    let memory = memory(call);
    if !platform::has_room(TRANSFER_BYTES_MAX) {
        return Ok(Err(Errno::Nomem));
    }
    let mut bytes = Vec::new();
    while let Some((buffer, rest)) = buffers.next(memory)? {
        bytes.extend_from_slice(buffer.first(TRANSFER_BYTES_MAX - bytes.len()).of(memory));
        buffers = rest;
    }
    let (len, tag) = (bytes.len(), if fd == STDOUT { TAG_OUT } else { TAG_ERR });
    if len == 0 {
        return Ok(Ok(0));
    }
    let (to, payload) = (operator.console, Payload(bytes));
    let sent = ask(HostCall::Send { to, tag, payload, timeout: TIMEOUT_NEVER });
    Ok(done(&sent).map(|()| len))
}

fn done(reply: &HostReply) -> Answer {
    match reply {
        HostReply::Done => Ok(()),
        HostReply::Failed(ErrorCode::NoProcess | ErrorCode::NoConnection) => Err(Errno::Pipe),
        HostReply::Failed(ErrorCode::LimitMemory) => Err(Errno::Nomem),
        _ => Err(Errno::Io),
    }
}

/// A line of the log that is not whole.
#[derive(Default)]
pub(super) struct Line(Vec<u8>);

impl Line {
    /// Takes of `bytes` what belongs to the line; says how many that were and whether it is whole,
    /// by its end or because no more fits.
    fn add(&mut self, bytes: &[u8]) -> (usize, bool) {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let wanted = end.unwrap_or(bytes.len());
        let taken = wanted.min(limit::LOG_LINE_BYTES_MAX.saturating_sub(self.0.len()));
        self.0.extend_from_slice(&bytes[..taken]);
        match end {
            Some(end) if end == taken => (taken + 1, true),
            _ => (taken, self.0.len() >= limit::LOG_LINE_BYTES_MAX),
        }
    }

    /// The line as text. A character that was cut in two at its end begins the next.
    fn take(&mut self) -> String {
        let cut = match core::str::from_utf8(&self.0) {
            Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => {
                self.0.split_off(error.valid_up_to())
            }
            _ => Vec::new(),
        };
        String::from_utf8_lossy(&mem::replace(&mut self.0, cut)).into_owned()
    }
}

fn level(stream: usize) -> LogLevel {
    if stream == 0 { LogLevel::Info } else { LogLevel::Warn }
}

/// Logs the lines that are whole, and keeps the rest.
fn write_log(call: &mut Call<'_>, fd: i32, mut buffers: Buffers) -> Result<usize, BadPointer> {
    let stream = usize::from(fd == STDERR);
    let mut written = 0;
    while let Some((buffer, rest)) = buffers.next(memory(call))? {
        let mut bytes = buffer.first(TRANSFER_BYTES_MAX - written);
        written += bytes.len();
        while bytes.len() > 0 {
            let Some(memory) = call.data().memory else { return Ok(0) };
            let (memory, guest) = memory.data_and_store_mut(&mut *call);
            let line = &mut guest.wasi().lines[stream];
            let (taken, whole) = line.add(bytes.of(memory));
            bytes = bytes.after(taken);
            if whole {
                let text = line.take();
                ask(HostCall::Log { level: level(stream), text });
            }
        }
        buffers = rest;
    }
    Ok(written)
}

/// Logs what the process wrote last without ending the line.
pub(crate) fn flush(mut store: impl AsContextMut<Data = Guest>) {
    for stream in 0..2 {
        let mut context = store.as_context_mut();
        let Some(wasi) = &mut context.data_mut().wasi else { return };
        if !wasi.lines[stream].0.is_empty() {
            let text = String::from_utf8_lossy(&mem::take(&mut wasi.lines[stream].0)).into_owned();
            ask(HostCall::Log { level: level(stream), text });
        }
    }
}

/// Asks the operator for input and waits for it. Without one, input is at its end.
fn fd_read(mut call: Call<'_>, fd: i32, buffers: i32, count: i32, out: i32) -> Result<i32> {
    let buffers = Buffers::prove(memory(&call), buffers, count)?;
    let out = Region::prove(memory(&call), out, 4)?;
    if fd != STDIN {
        return Ok(errno(Err(Errno::Badf)));
    }
    let run = call.data_mut().wasi().run;
    let room = buffers.next(memory(&call))?;
    let read = match (run, room) {
        (Some(operator), Some((room, _))) => {
            read_from(&mut call, operator, room.first(TRANSFER_BYTES_MAX))
        }
        _ => Ok(0),
    };
    if let Ok(read) = read {
        out.write(memory_mut(&mut call), &(read as u32).to_le_bytes());
    }
    Ok(errno(read.map(drop)))
}

fn read_from(call: &mut Call<'_>, operator: Operator, room: Region) -> Result<usize, Errno> {
    let wanted = Payload((room.len() as u32).to_le_bytes().to_vec());
    let (to, tag, timeout) = (operator.stdin, TAG_READ, TIMEOUT_NEVER);
    done(&ask(HostCall::Send { to, tag, payload: wanted, timeout }))?;
    loop {
        let capacity = room.len();
        let input = ask(HostCall::Receive { tag: Some(TAG_INPUT), timeout: None, capacity });
        match input {
            HostReply::Received(Received::Message { from, payload, .. }) if from == to => {
                room.write(memory_mut(call), &payload.0);
                return Ok(payload.0.len().min(room.len()));
            }
            // What others send, and notices, which only programs that read by messages ask for.
            HostReply::Received(_) => {}
            _ => return Err(Errno::Io),
        }
    }
}

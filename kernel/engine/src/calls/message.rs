//! The host calls that move messages: `send` and `receive`.
//!
//! They are what processes call most. Between two of one shard nothing is made for a short message,
//! and its bytes are copied twice: out of the sender's memory and into the receiver's. What goes
//! the usual way does as every other call ([`ask`]).

use super::{Call, ask, done, failure, memory, memory_mut, patience, read_pid_in};
use crate::guest::Region;
use crate::imports::MODULE;
use crate::platform;
use crate::process::Guest;
use craton_abi::{ErrorCode, ExitReason, MonitorId, Pid, limit};
use craton_shard::port::{HostCall, HostReply, MessageView, Received};
use wasmtime::{Linker, Result};

/// Length of the header that `receive` writes.
const HEADER_BYTES: i32 = 48;
/// What `receive` selects by where it is for one notice alone.
const BY_ID: i32 = 2;
/// Where it is for whatever is next, and the messages after it that lie there.
const SEVERAL: i32 = 3;
/// Bytes of all messages that one call takes, but for the first: then others may run.
const SEVERAL_BYTES_MAX: usize = 16 << 10;
/// Messages begin at multiples of this, counted from the beginning of the room.
const ALIGNMENT: usize = 8;

pub(super) fn link(linker: &mut Linker<Guest>) -> Result<()> {
    linker.func_wrap(MODULE, "send", send)?;
    linker.func_wrap(MODULE, "receive", receive)?;
    Ok(())
}

#[inline(always)]
fn send(call: Call<'_>, to: i32, tag: i64, pointer: i32, len: i32, timeout: i64) -> Result<i32> {
    let memory = memory(&call);
    let to = read_pid_in(memory, to)?;
    let message = Region::prove(memory, pointer, len)?;
    let timeout = match patience(timeout) {
        Ok(timeout) => timeout.unwrap_or(limit::SEND_TIMEOUT),
        Err(error) => return Ok(error.code()),
    };
    if message.len() > limit::MESSAGE_BYTES_MAX {
        return Ok(ErrorCode::TooLong.code());
    }
    let tag = tag as u64;
    Ok(match platform::send(&to, tag, message.of(memory)) {
        Ok(()) => 0,
        Err(Ok(payload)) => {
            let reply = platform::leave_with(HostCall::Send { to, tag, payload, timeout });
            reply.map_or(ErrorCode::Invalid.code(), |reply| done(&reply))
        }
        Err(Err(error)) => error.code(),
    })
}

#[inline(always)]
fn receive(
    mut call: Call<'_>,
    pointer: i32,
    capacity: i32,
    use_tag: i32,
    tag: i64,
    timeout: i64,
    out: i32,
) -> Result<i32> {
    // Nobody else can touch it while this process waits below.
    let memory = memory_mut(&mut call);
    let room = Region::prove(memory, pointer, capacity)?;
    let header = Region::prove(memory, out, HEADER_BYTES)?;
    let timeout = match patience(timeout) {
        Ok(timeout) => timeout,
        Err(error) => return Ok(error.code()),
    };
    let capacity = room.len();
    if use_tag == BY_ID {
        let reply = ask(HostCall::Await { id: tag as u64, timeout, capacity });
        return Ok(write_news(memory, header, room, &reply));
    }
    let several = use_tag == SEVERAL;
    let want = ((use_tag != 0 && !several).then_some(tag as u64), timeout);
    let (mut place, mut more) = ((header, room), -1);
    let is_taken = platform::receive(want, capacity, &mut |message| {
        let MessageView { from, tag, bytes, request } = message;
        let head = (0, from, tag, request.map_or(0, MonitorId::get));
        write(memory, place, head, bytes);
        more += 1;
        if !several {
            return None;
        }
        let rest = place.1.after(bytes.len().next_multiple_of(ALIGNMENT));
        place = (rest.first(HEADER_BYTES as usize), rest.after(HEADER_BYTES as usize));
        let is_enough = room.len() - rest.len() > SEVERAL_BYTES_MAX;
        (rest.len() >= HEADER_BYTES as usize && !is_enough).then_some(place.1.len())
    });
    if is_taken {
        return Ok(more);
    }
    Ok(platform::with_reply(|reply| match reply {
        Some(HostReply::Received(Received::Message { from, tag, payload })) => {
            write(memory, (header, room), (0, *from, *tag, 0), &payload.0)
        }
        Some(reply) => write_news(memory, header, room, reply),
        None => ErrorCode::Invalid.code(),
    }))
}

/// Kind, sender, tag and id, as the header has them.
type Head = (u32, Pid, u64, u64);

/// Writes what came, and how long it is. Always 0.
#[inline(always)]
fn write(memory: &mut [u8], (header, room): (Region, Region), head: Head, bytes: &[u8]) -> i32 {
    let header = header.of_mut(memory).first_chunk_mut();
    if let Some(header) = header {
        *header = header_of(head, bytes.len().min(room.len()));
    }
    match (<&[u8; 8]>::try_from(bytes), room.of_mut(memory).first_chunk_mut()) {
        // Most are of a word, and a copy of any length is a call.
        (Ok(word), Some(to)) => *to = *word,
        _ => room.write(memory, bytes),
    }
    0
}

/// Writes what came, whatever it is: 0, or the error that it is.
#[inline(never)]
fn write_news(memory: &mut [u8], header: Region, room: Region, reply: &HostReply) -> i32 {
    let received = match reply {
        HostReply::Received(received) => received,
        HostReply::Longer { bytes } => {
            header.write(memory, &header_of((0, Pid::default(), 0, 0), *bytes));
            return ErrorCode::TooLong.code();
        }
        other => return failure(other),
    };
    let (head, bytes): (Head, &[u8]) = match received {
        Received::Message { from, tag, payload } => ((0, *from, *tag, 0), &payload.0),
        Received::Request { from, tag, payload, id } => ((0, *from, *tag, id.get()), &payload.0),
        Received::Answer { from, id, payload } => ((3, *from, id.get(), 0), &payload.0),
        Received::Timer { id, tag } => ((4, Pid::default(), *tag, id.get()), &[]),
        Received::Down { from, id, reason } => {
            return write_reason(memory, (header, room), (1, *from, id.get(), 0), reason);
        }
        Received::Exit { from, reason } => {
            return write_reason(memory, (header, room), (2, *from, 0, 0), reason);
        }
    };
    write(memory, (header, room), head, bytes)
}

fn write_reason(
    memory: &mut [u8],
    regions: (Region, Region),
    head: Head,
    reason: &ExitReason,
) -> i32 {
    match reason.to_byte() {
        Some(byte) => write(memory, regions, head, &[byte]),
        None => write(memory, regions, head, &reason.to_bytes()),
    }
}

/// kind u32, length u32, sender, tag or id u64, id u64.
#[inline(always)]
fn header_of((kind, from, tag, id): Head, len: usize) -> [u8; HEADER_BYTES as usize] {
    let mut header = [0; HEADER_BYTES as usize];
    header[0..4].copy_from_slice(&kind.to_le_bytes());
    header[4..8].copy_from_slice(&(len as u32).to_le_bytes());
    header[8..32].copy_from_slice(&from.to_bytes());
    header[32..40].copy_from_slice(&tag.to_le_bytes());
    header[40..48].copy_from_slice(&id.to_le_bytes());
    header
}

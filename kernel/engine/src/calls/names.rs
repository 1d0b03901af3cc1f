//! The host calls for registered names and groups of the node.
//!
//! Owns the linking of these; the rule of `calls.rs` holds here too.

use super::{Call, ask, done, failure, flag, memory, memory_mut};
use crate::guest::{BadPointer, Region};
use crate::imports::MODULE;
use crate::process::Guest;
use alloc::string::String;
use craton_abi::{ErrorCode, Pid, limit};
use craton_shard::port::{HostCall, HostReply, NameCall};
use wasmtime::{Linker, Result};

pub(super) fn link(linker: &mut Linker<Guest>) -> Result<()> {
    linker.func_wrap(MODULE, "name_register", name_register)?;
    linker.func_wrap(MODULE, "name_unregister", name_unregister)?;
    linker.func_wrap(MODULE, "name_find", name_find)?;
    linker.func_wrap(MODULE, "group_join", group_join)?;
    linker.func_wrap(MODULE, "group_leave", group_leave)?;
    linker.func_wrap(MODULE, "group_members", group_members)?;
    Ok(())
}

/// A name as the guest gave it; `invalid` if it is too long, empty or no text.
fn name_at(call: &Call<'_>, pointer: i32, len: i32) -> Result<Result<String, i32>, BadPointer> {
    let memory = memory(call);
    let bytes = Region::prove(memory, pointer, len)?.first(limit::NAME_BYTES_MAX + 1).of(memory);
    let fits = (1..=limit::NAME_BYTES_MAX).contains(&bytes.len());
    Ok(match core::str::from_utf8(bytes) {
        Ok(name) if fits => Ok(String::from(name)),
        _ => Err(ErrorCode::Invalid.code()),
    })
}

/// Asks something of a name, or of a group, of which `told` makes a number.
fn on_name(
    call: &Call<'_>,
    pointer: i32,
    len: i32,
    what: NameCall,
    told: fn(&HostReply) -> i32,
) -> Result<i32> {
    Ok(match name_at(call, pointer, len)? {
        Ok(name) => told(&ask(HostCall::Names { call: what, name })),
        Err(code) => code,
    })
}

fn name_register(call: Call<'_>, pointer: i32, len: i32) -> Result<i32> {
    on_name(&call, pointer, len, NameCall::Register, done)
}

fn name_unregister(call: Call<'_>, pointer: i32, len: i32) -> Result<i32> {
    on_name(&call, pointer, len, NameCall::Unregister, flag)
}

fn group_join(call: Call<'_>, pointer: i32, len: i32) -> Result<i32> {
    on_name(&call, pointer, len, NameCall::Join, done)
}

fn group_leave(call: Call<'_>, pointer: i32, len: i32) -> Result<i32> {
    on_name(&call, pointer, len, NameCall::Leave, flag)
}

fn name_find(mut call: Call<'_>, pointer: i32, len: i32, out: i32) -> Result<i32> {
    let out = Region::prove(memory(&call), out, Pid::BYTES as i32)?;
    let name = match name_at(&call, pointer, len)? {
        Ok(name) => name,
        Err(code) => return Ok(code),
    };
    match ask(HostCall::Names { call: NameCall::Find, name }) {
        HostReply::Pids(pids) => match pids.first() {
            Some(pid) => {
                out.write(memory_mut(&mut call), &pid.to_bytes());
                Ok(0)
            }
            None => Ok(ErrorCode::NoProcess.code()),
        },
        other => Ok(failure(&other)),
    }
}

fn group_members(
    mut call: Call<'_>,
    pointer: i32,
    len: i32,
    out: i32,
    capacity: i32,
) -> Result<i32> {
    let room = Region::prove_items(memory(&call), out, capacity, Pid::BYTES as u32)?;
    let name = match name_at(&call, pointer, len)? {
        Ok(name) => name,
        Err(code) => return Ok(code),
    };
    match ask(HostCall::Names { call: NameCall::Members, name }) {
        HostReply::Pids(pids) => {
            let memory = memory_mut(&mut call);
            for (index, pid) in pids.iter().enumerate() {
                room.after(index * Pid::BYTES).write(memory, &pid.to_bytes());
            }
            Ok(pids.len() as i32)
        }
        other => Ok(failure(&other)),
    }
}

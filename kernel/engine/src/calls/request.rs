//! The host calls for requests and their answers, and for timers.
//!
//! Owns the linking of these; the rule of `calls.rs` holds here too.

use super::read_pid;
use super::{Call, MONITOR_BYTES, ask, copy_out, done, failure, flag, memory, monitoring, parcel};
use crate::guest::Region;
use crate::imports::MODULE;
use crate::platform;
use crate::process::Guest;
use craton_abi::{Duration, ErrorCode, MonitorId, TimerId};
use craton_shard::port::{HostCall, HostReply};
use wasmtime::{Linker, Result};

pub(super) fn link(linker: &mut Linker<Guest>) -> Result<()> {
    linker.func_wrap(MODULE, "request", request)?;
    linker.func_wrap(MODULE, "answer", answer)?;
    linker.func_wrap(MODULE, "set_timer", set_timer)?;
    linker.func_wrap(MODULE, "cancel_timer", cancel_timer)?;
    Ok(())
}

fn request(call: Call<'_>, to: i32, tag: i64, pointer: i32, len: i32, timeout: i64) -> Result<i64> {
    Ok(match parcel(&call, to, pointer, len, timeout)? {
        Ok((to, payload, timeout)) => {
            monitoring(&ask(HostCall::Request { to, tag: tag as u64, payload, timeout }))
        }
        Err(error) => i64::from(error.code()),
    })
}

fn answer(call: Call<'_>, to: i32, id: i64, pointer: i32, len: i32) -> Result<i32> {
    let to = read_pid(&call, to)?;
    let message = Region::prove(memory(&call), pointer, len)?;
    Ok(match copy_out(&call, message) {
        Ok(payload) => done(&ask(HostCall::Answer { to, id: MonitorId::new(id as u64), payload })),
        Err(error) => error.code(),
    })
}

fn set_timer(after: i64, tag: i64) -> i64 {
    let code = |error: ErrorCode| i64::from(error.code());
    let Ok(after) = u64::try_from(after).map(Duration::from_nanos) else {
        return code(ErrorCode::Invalid);
    };
    if !platform::has_room(MONITOR_BYTES) {
        return code(ErrorCode::LimitMemory);
    }
    match ask(HostCall::SetTimer { after, tag: tag as u64 }) {
        HostReply::Timer(id) => id.get() as i64,
        other => i64::from(failure(&other)),
    }
}

fn cancel_timer(id: i64) -> i32 {
    flag(&ask(HostCall::CancelTimer { id: TimerId::new(id as u64) }))
}

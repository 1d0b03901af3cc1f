//! Craton's time in smoltcp's and back.
//!
//! smoltcp counts signed microseconds, we count unsigned nanoseconds: to smoltcp round down, from
//! it there is nothing to round, so a deadline given by smoltcp has passed when we reach it.

use craton_abi::{Duration, Instant};

pub(crate) fn to_smoltcp(now: Instant) -> smoltcp::time::Instant {
    let micros = i64::try_from(now.as_nanos() / 1_000).unwrap_or(i64::MAX);
    smoltcp::time::Instant::from_micros(micros)
}

pub(crate) fn from_smoltcp(at: smoltcp::time::Instant) -> Instant {
    let micros = u64::try_from(at.total_micros()).unwrap_or(0);
    Instant::from_nanos(micros.saturating_mul(1_000))
}

pub(crate) fn span(duration: Duration) -> smoltcp::time::Duration {
    smoltcp::time::Duration::from_micros(duration.as_micros())
}

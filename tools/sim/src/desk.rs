//! What a host does with a process that comes back, as the kernel does it.
//!
//! Owns [`hear`], for whichever part of a node the host has. Neighbour: `hosting`, which runs the
//! processes.

use craton_abi::{Instant, Payload, Pid, Slot, limit};
use craton_node::{Part, PartEffect};
use craton_shard::port::{HostAnswer, HostCall, HostEffect, HostReply, Outcome, Resume, SpawnCall};

/// Processes that run one after the other before anything else has its turn.
pub(crate) const HANDED_OVER_MAX: u32 = 16;
/// Processes of a CPU that may wait to be born.
const UNBORN_MAX: usize = 4;

/// Tells a part of a node what its host has to say, as the kernel does: what can be answered at
/// once is, and the process goes on before anything else is done; else how it came back is handed
/// over, and the next may run at once. A process that was spawned at once is the answer.
pub(crate) fn hear<P: Part>(
    part: &mut P,
    answer: HostAnswer,
    left: &mut u32,
    now: Instant,
    out: &mut Vec<PartEffect<P::Own>>,
) -> Option<Unborn> {
    let (slot, outcome, used) = match answer {
        HostAnswer::Ran { slot, outcome, used } if *left > 0 => (slot, outcome, used),
        other => {
            part.hear(other, now, out);
            return None;
        }
    };
    *left -= 1;
    let slice = limit::SLICE;
    let call = match &outcome {
        Outcome::Call(HostCall::Spawn(call)) => Some(call.clone()),
        _ => None,
    };
    match at_desk(part, slot, outcome, now, out) {
        Ok(reply) => {
            let child = match (&reply, call) {
                (HostReply::Spawned { pid, .. }, Some(call)) => Some((*pid, call)),
                _ => None,
            };
            let resume = Resume::Reply(reply);
            out.insert(0, PartEffect::Host(HostEffect::Run { slot, resume, slice }));
            child
        }
        Err(mut outcome) => {
            let mut resume = Resume::Continue;
            let over = part.hand_over(slot, &mut outcome, used, now, &mut resume, out);
            if over.reclaim {
                // First, since its slot may be somebody's already.
                out.insert(0, PartEffect::Host(HostEffect::Reclaim { slot }));
            }
            let run = |slot| PartEffect::Host(HostEffect::Run { slot, resume, slice });
            out.extend(over.next.map(run));
            None
        }
    }
}

/// A process that stands in the run queue and has not run, and what asked for it.
pub(crate) type Unborn = (Pid, Box<SpawnCall>);

/// Brings what a process asks to where that may be done at once: the answer, or how the process
/// comes back.
fn at_desk<P: Part>(
    part: &mut P,
    slot: Slot,
    outcome: Outcome,
    now: Instant,
    out: &mut Vec<PartEffect<P::Own>>,
) -> Result<HostReply, Outcome> {
    if let Outcome::Call(HostCall::Send { to, tag, payload, .. }) = &outcome {
        let message: (&[u8], _) = (&payload.0, &mut copy as _);
        if let Some(mail) = part.send_across(slot, (to, *tag), message) {
            out.push(PartEffect::Post { to: to.slot.shard(), mail });
            return Ok(HostReply::Done);
        }
    }
    match outcome {
        // It is the part that knows which programs it may place.
        Outcome::Call(HostCall::Spawn(mut call)) => {
            let spawned = part.spawn_at_once(slot, &mut call, UNBORN_MAX);
            spawned.ok_or(Outcome::Call(HostCall::Spawn(call)))
        }
        Outcome::Call(call) => part.at_once(now, out, |shard, effects| {
            shard.call_at_once(slot, call, UNBORN_MAX, effects)
        }),
        other => Err(other),
    }
}

/// What is kept of a message.
pub(crate) fn copy(message: &[u8]) -> Payload {
    Payload(message.to_vec())
}

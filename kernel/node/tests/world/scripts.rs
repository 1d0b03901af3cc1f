//! What most scripts do, and how a run of them is started and ends.

use super::World;
use craton_abi::{Duration, ExitReason, Payload, Pid, Place, ProcessLimits, RequestId};
use craton_shard::port::{HostCall, Outcome, SpawnCall};
use craton_wire::{Answer, Body, Question, RunEvent};

/// Of the operator who wants the run.
pub(crate) const REQUEST: RequestId = RequestId::new(77);

pub(crate) fn call(call: HostCall) -> Outcome {
    Outcome::Call(call)
}

pub(crate) fn send(to: Pid, tag: u64, bytes: &[u8]) -> Outcome {
    let (payload, timeout) = (Payload(bytes.to_vec()), Duration::from_secs(5));
    call(HostCall::Send { to, tag, payload, timeout })
}

pub(crate) fn receive(timeout: Option<Duration>) -> Outcome {
    call(HostCall::Receive { tag: None, timeout, capacity: 1 << 20 })
}

pub(crate) fn spawn(place: Place, entry: &str, argument: &[u8]) -> Outcome {
    call(HostCall::Spawn(Box::new(SpawnCall {
        place,
        program: None,
        entry: entry.into(),
        argument: Payload(argument.to_vec()),
        monitor: true,
        link: false,
        limits: ProcessLimits::default(),
    })))
}

pub(crate) fn told(text: String) -> Outcome {
    Outcome::Exited(ExitReason::Error(text.into_bytes()))
}

/// Starts a run of a sample bundle.
pub(crate) fn start(world: &mut World, guest: usize) {
    let bytes = vec![7; 1_000];
    let program = craton_bundle::program_id(&bytes);
    let question = Question::Run { program, arguments: vec![], place: Place::Here };
    world.say(guest, Body::Ask { request: REQUEST, question });
    let wanted = Body::Answer { request: REQUEST, answer: Answer::ProgramWanted };
    if world.heard(guest).contains(&wanted) {
        world.hand_over(guest, program, &bytes);
    }
}

/// What the first process of the run ended with.
pub(crate) fn end_of_run(world: &mut World, guest: usize) -> Option<String> {
    world.heard(guest).into_iter().find_map(|body| match body {
        Body::Run { event: RunEvent::Ended { reason: ExitReason::Error(text) }, .. } => {
            Some(String::from_utf8_lossy(&text).into_owned())
        }
        Body::Run { event: RunEvent::Ended { reason }, .. } => Some(reason.to_string()),
        _ => None,
    })
}

//! Who hears of a run: the operator who asked for it, or the log of a node whose image carries it.
//!
//! Owns [`Audience`] and how each of the two is told. An operator paces the run's output and gives
//! it input; the log takes all output at once, line by line, and has no input to give.

use crate::control::Control;
use crate::links::{Dest, Stamp};
use crate::work::Work;
use alloc::format;
use alloc::string::String;
use craton_abi::{Instant, RequestId};
use craton_session::PeerKey;
use craton_shard::port::LogLevel;
use craton_wire::{Answer, Body, OutputStream, RunEvent};

/// The module that the log names for what a carried program does.
const MODULE: &str = "program";

/// Who hears of a run.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Audience {
    /// An operator, by his request.
    Operator(PeerKey, RequestId),
    /// The node's own log.
    Log,
}

impl Audience {
    /// The operator, if it is one.
    pub(crate) fn operator(&self) -> Option<PeerKey> {
        match self {
            Audience::Operator(key, _) => Some(*key),
            Audience::Log => None,
        }
    }
}

impl Control {
    /// Answers whoever asked for a run.
    pub(crate) fn answer_audience(
        &mut self,
        audience: Audience,
        answer: Answer,
        now: Instant,
        work: &mut Work,
    ) {
        match (audience, answer) {
            (Audience::Operator(key, request), answer) => self.answer(key, request, answer, now),
            (Audience::Log, Answer::Started(pid)) => {
                self.say(LogLevel::Info, MODULE, format!("started as {pid}"), now, work);
            }
            (Audience::Log, Answer::Failed { error, text }) => {
                let text = format!("cannot be started: {text} ({error})");
                self.say(LogLevel::Error, MODULE, text, now, work);
            }
            // Nothing else is answered to a run.
            (Audience::Log, _) => {}
        }
    }

    /// Tells an audience what happened in its run. True if that is all: an operator says himself
    /// when he has taken output or has input.
    pub(crate) fn tell(
        &mut self,
        audience: Audience,
        event: RunEvent,
        now: Instant,
        work: &mut Work,
    ) -> bool {
        match audience {
            Audience::Operator(key, request) => {
                let body = Body::Run { request, event };
                // An operator who is gone is noticed when his session ends.
                let _ = self.links.send(Dest::Peer(key), Stamp::CONTROL, body, now);
                false
            }
            Audience::Log => {
                self.log_event(event, now, work);
                true
            }
        }
    }

    fn log_event(&mut self, event: RunEvent, now: Instant, work: &mut Work) {
        match event {
            RunEvent::Output { stream, bytes } => {
                let level = match stream {
                    OutputStream::Out => LogLevel::Info,
                    OutputStream::Err => LogLevel::Warn,
                };
                let text = String::from_utf8_lossy(&bytes.0);
                for line in text.lines() {
                    self.say(level, MODULE, line.into(), now, work);
                }
            }
            RunEvent::Ended { reason } => {
                self.say(LogLevel::Info, MODULE, format!("ended: {reason}"), now, work);
            }
            RunEvent::InputWanted { .. } | RunEvent::OutputTaken | RunEvent::Input { .. } => {}
        }
    }
}

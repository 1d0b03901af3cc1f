//! What an actor does beside sending and watching: timers, names, groups, answers, its end.
//!
//! Adds to [`Actor`] the asking and the hearing of these; what it hears goes to the checker.

use crate::actor::{Actor, Asked, Scene};
use crate::checker::Violation;
use crate::named::{Key, NameQuestion};
use craton_abi::{Duration, ErrorCode, ExitReason, Payload, limit};
use craton_shard::port::{HostCall, HostReply, NameCall, Outcome, Received};

/// Timers that an actor has at once.
const TIMERS_MAX: usize = 4;
/// Few, so that many want the same.
const NAMES: [&str; 3] = ["anna", "berta", "clara"];
const GROUPS: [&str; 2] = ["all", "some"];

impl Actor {
    /// Sets a timer, takes one back, or waits for one alone.
    pub(super) fn ask_timer(&mut self, scene: &mut Scene<'_>) -> Outcome {
        let id = self.random.one(&self.timers);
        match (self.random.below(4), id) {
            (0, Some(id)) => {
                self.asked = Asked::CancelTimer { id };
                Outcome::Call(HostCall::CancelTimer { id })
            }
            (1, Some(id)) => {
                self.asked = Asked::AwaitTimer { id };
                let (timeout, capacity) = (Some(self.random.millis(0, 300)), 0);
                Outcome::Call(HostCall::Await { id: id.get(), timeout, capacity })
            }
            _ if self.timers.len() < TIMERS_MAX => {
                let after = match self.random.below(4) {
                    0 => self.random.between(Duration::ZERO, Duration::from_micros(200)),
                    _ => self.random.millis(0, 800),
                };
                let tag = self.random.number();
                self.asked = Asked::SetTimer { due: scene.now + after, tag };
                Outcome::Call(HostCall::SetTimer { after, tag })
            }
            _ => {
                let wait = self.random.millis(0, 300);
                self.asked = Asked::Receive;
                let (tag, timeout) = (None, Some(wait));
                let capacity = limit::MESSAGE_BYTES_MAX;
                Outcome::Call(HostCall::Receive { tag, timeout, capacity })
            }
        }
    }

    /// Asks something of a name or a group of its app, on its node.
    pub(super) fn ask_name(&mut self, scene: &mut Scene<'_>) -> Outcome {
        let (calls, names): (_, &[&str]) = if self.random.chance(60) {
            ([NameCall::Register, NameCall::Unregister, NameCall::Find], &NAMES)
        } else {
            ([NameCall::Join, NameCall::Leave, NameCall::Members], &GROUPS)
        };
        let call = match self.random.below(5) {
            0..=1 => calls[0],
            2 => calls[1],
            _ => calls[2],
        };
        let name = names[self.random.below(names.len())];
        let key = Key::of(self.pid, self.app, name);
        let question = NameQuestion { by: self.pid, call, key, at: scene.now };
        scene.checker.name_asked(&question);
        self.asked = Asked::Name(Box::new(question));
        Outcome::Call(HostCall::Names { call, name: name.into() })
    }

    /// Ends by itself.
    pub(super) fn end(&mut self) -> Outcome {
        match self.random.below(3) {
            0 => Outcome::Exited(ExitReason::Normal),
            1 => Outcome::Exited(ExitReason::Error(b"had enough".to_vec())),
            _ => Outcome::Call(HostCall::Exit { reason: ExitReason::Shutdown }),
        }
    }

    /// Answers one of the requests that it had.
    pub(super) fn answer(&mut self, scene: &mut Scene<'_>) -> Outcome {
        let (to, id) = self.requests.swap_remove(self.random.below(self.requests.len()));
        scene.checker.answers(self.pid, to, id);
        let payload = Payload(id.get().to_le_bytes().to_vec());
        Outcome::Call(HostCall::Answer { to, id, payload })
    }

    /// To the console that stands for the operator; he takes it at his own pace.
    pub(super) fn ask_print(&mut self, scene: &mut Scene<'_>) -> Outcome {
        let to = self.console.unwrap_or(self.pid);
        let text = format!("hello from {} at {}\n", self.pid, scene.now).into_bytes();
        let (tag, timeout) = (craton_abi::run::TAG_OUT, Duration::from_millis(50));
        Outcome::Call(HostCall::Send { to, tag, payload: Payload(text), timeout })
    }

    /// Hears the answer about a timer or a name.
    pub(super) fn hear_errand(
        &mut self,
        asked: Asked,
        reply: HostReply,
        scene: &mut Scene<'_>,
    ) -> Result<(), Violation> {
        let (me, now, checker) = (self.pid, scene.now, &mut *scene.checker);
        match (asked, reply) {
            (Asked::SetTimer { due, tag }, HostReply::Timer(id)) => {
                self.timers.push(id);
                checker.timer_set(me, id, tag, due)
            }
            (Asked::CancelTimer { id }, HostReply::Flag(was_pending)) => {
                self.timers.retain(|timer| *timer != id);
                checker.timer_taken_back(me, id, was_pending, now)
            }
            (Asked::AwaitTimer { id }, HostReply::Received(Received::Timer { id: rang, tag }))
                if id == rang =>
            {
                self.timers.retain(|timer| *timer != id);
                checker.timer_rang(me, id, tag, now)
            }
            (Asked::AwaitTimer { .. }, HostReply::Failed(ErrorCode::TimedOut)) => Ok(()),
            (Asked::AwaitTimer { id }, HostReply::Failed(ErrorCode::Invalid)) => {
                Err(Violation(format!("{me}: timer {id} never rang and is not there")))
            }
            (Asked::Name(question), reply) => checker.name_answered(&question, &reply, now),
            (asked, reply) => Err(Violation(format!("{me}: {asked:?} got {reply:?}"))),
        }
    }
}

//! Questions that every shard must answer before the node can.
//!
//! Owns [`Surveys`] and adds to [`Node`] the asking: an operator's listing, and the choice of whom
//! to end when memory is short. A worker always answers, so a survey ends with its life at the
//! latest.

use crate::control::Control;
use crate::mail::{MailBody, Survey, SurveyId};
use crate::node::Node;
use crate::operators::failed;
use crate::work::Work;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use craton_abi::{ErrorCode, ExitReason, Instant, Pid, RequestId, Resource, ShardId, limit};
use craton_session::PeerKey;
use craton_shard::port::{Input, LogLevel};
use craton_wire::{Answer, ProcessInfo};

/// Most listings that are being made at once.
const LISTINGS_MAX: usize = 16;

/// The questions that are not answered yet.
#[derive(Default)]
pub(crate) struct Surveys {
    last: SurveyId,
    open: BTreeMap<SurveyId, Open>,
}

struct Open {
    /// Workers that have not answered.
    waits: u8,
    result: Found,
}

/// What is known so far.
enum Found {
    Listing { to: PeerKey, request: RequestId, list: Vec<ProcessInfo> },
    Largest(Option<(Pid, u64)>),
}

impl Surveys {
    pub(crate) fn clear(&mut self) {
        self.open.clear();
    }

    fn is_relieving(&self) -> bool {
        self.open.values().any(|open| matches!(open.result, Found::Largest(_)))
    }

    /// The open question `id`; a worker is about to add to it.
    fn answered(&mut self, id: SurveyId) -> Option<&mut Found> {
        let open = self.open.get_mut(&id)?;
        open.waits = open.waits.saturating_sub(1);
        Some(&mut open.result)
    }

    fn take_if_done(&mut self, id: SurveyId) -> Option<Found> {
        let done = self.open.get(&id).is_some_and(|open| open.waits == 0);
        done.then(|| self.open.remove(&id)).flatten().map(|open| open.result)
    }
}

impl Node {
    /// Lists the processes of all shards for an operator.
    pub(crate) fn list(&mut self, to: PeerKey, request: RequestId, now: Instant, work: &mut Work) {
        if self.control.surveys.open.len() >= LISTINGS_MAX {
            let text = "too many listings are being made at once";
            let answer = failed(ErrorCode::LimitRequests, text);
            return self.control.answer(to, request, answer, now);
        }
        let list = self.control.hosts.listing(&self.shard);
        let found = Found::Listing { to, request, list };
        self.control.ask_workers(Survey::Listing, found, now, work);
    }

    /// Ends the process that holds the most memory of all the shards'.
    pub(crate) fn relieve(&mut self, now: Instant, work: &mut Work) {
        if !self.control.surveys.is_relieving() {
            let found = Found::Largest(self.control.hosts.largest(&self.shard));
            self.control.ask_workers(Survey::Largest, found, now, work);
        }
    }
}

impl Control {
    fn ask_workers(&mut self, survey: Survey, result: Found, now: Instant, work: &mut Work) {
        let id = SurveyId(self.surveys.last.0 + 1);
        self.surveys.last = id;
        let waits = self.shards.saturating_sub(1);
        self.surveys.open.insert(id, Open { waits, result });
        for shard in 1..self.shards {
            work.post(ShardId::new(shard), MailBody::Ask(id, survey));
        }
        self.surveyed(id, now, work);
    }

    /// A worker listed its processes.
    pub(crate) fn listed(
        &mut self,
        id: SurveyId,
        part: Vec<ProcessInfo>,
        now: Instant,
        work: &mut Work,
    ) {
        if let Some(Found::Listing { list, .. }) = self.surveys.answered(id) {
            let room = limit::PROCESSES_LISTED_MAX.saturating_sub(list.len());
            list.extend(part.into_iter().take(room));
        }
        self.surveyed(id, now, work);
    }

    /// A worker named its largest process.
    pub(crate) fn sized(
        &mut self,
        id: SurveyId,
        part: Option<(Pid, u64)>,
        now: Instant,
        work: &mut Work,
    ) {
        if let Some(Found::Largest(largest)) = self.surveys.answered(id) {
            let bytes = |found: &Option<(Pid, u64)>| found.map(|(_, bytes)| bytes);
            if bytes(&part) > bytes(largest) {
                *largest = part;
            }
        }
        self.surveyed(id, now, work);
    }

    fn surveyed(&mut self, id: SurveyId, now: Instant, work: &mut Work) {
        match self.surveys.take_if_done(id) {
            Some(Found::Listing { to, request, mut list }) => {
                list.sort_by_key(|info| info.pid.slot);
                self.answer(to, request, Answer::Processes(list), now);
            }
            Some(Found::Largest(Some((pid, bytes)))) => {
                let text = format!("memory is short: {pid}, which held {bytes} bytes, must end");
                self.say(LogLevel::Warn, "memory", text, now, work);
                let reason = ExitReason::Limit(Resource::Memory);
                work.input_for(pid.slot, Input::End { slot: pid.slot, reason });
            }
            Some(Found::Largest(None)) | None => {}
        }
    }
}

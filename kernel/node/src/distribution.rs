//! Bundles on their way: asked for, sent in parts, put together, loaded.
//!
//! Owns [`Upload`] and adds to [`Control`] both ends of a transfer. A bundle is sent once to each
//! node that needs it, at the pace at which the session takes it.

use crate::api::ControlEffect;
use crate::control::Control;
use crate::links::{Dest, Stamp};
use crate::programs::{PART_BYTES_MAX, Part, Source};
use crate::spawning::Waiter;
use crate::work::Work;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use craton_abi::{Duration, ErrorCode, Instant, NodeId, Payload, ProgramId};
use craton_session::SendError;
use craton_shard::port::LogLevel;
use craton_wire::{Answer, Body};

/// Most bundles that are being sent at once.
const UPLOADS_MAX: usize = 256;
/// How long a source may send nothing before others that have the program are asked.
const STALL_TIME: Duration = Duration::from_secs(10);

/// A bundle that is being sent to a node.
pub(crate) struct Upload {
    pub(crate) to: NodeId,
    program: ProgramId,
    bundle: Arc<Vec<u8>>,
    sent: usize,
}

impl Control {
    /// Forgets idle programs until there is room for another, or none is idle.
    pub(crate) fn make_room(&mut self, work: &mut Work) {
        while self.programs.is_crowded() {
            let (hosts, crew, runs) = (&self.hosts, &self.crew, &self.runs);
            let is_used = |id| hosts.is_used(id) || crew.is_used(id) || runs.is_of(id);
            let Some(program) = self.programs.evict(is_used) else { break };
            work.ask(ControlEffect::Unload { program });
        }
    }

    /// Asks a source for a bundle.
    pub(crate) fn fetch(
        &mut self,
        program: ProgramId,
        source: Source,
        now: Instant,
        work: &mut Work,
    ) {
        match source {
            Source::Node(node) => {
                let body = Body::ProgramWanted { program };
                self.send(node, Stamp::CONTROL, body, now, work);
            }
            Source::Operator(peer) => {
                if let Some(request) = self.runs.waiting(program, peer) {
                    self.answer(peer, request, Answer::ProgramWanted, now);
                }
            }
        }
    }

    /// A node does not have the program that it ordered: its own orders fail, and the others look
    /// elsewhere. It is not asked again, so this ends.
    pub(crate) fn source_failed(
        &mut self,
        program: ProgramId,
        source: NodeId,
        now: Instant,
        work: &mut Work,
    ) {
        for waiter in self.programs.take_waiters(program, |waiter| waiter.is_of(source)) {
            self.give_up(waiter, ErrorCode::NoProgram, "", now, work);
        }
        self.fetch_elsewhere(program, now, work);
    }

    /// Gives up sources that send nothing: who else wants the program must not wait for them.
    pub(crate) fn give_up_stalled(&mut self, now: Instant, work: &mut Work) {
        let nanos = now.as_nanos().saturating_sub(STALL_TIME.as_nanos());
        for (program, source) in self.programs.stalled(Instant::from_nanos(nanos)) {
            let text = format!("fetching program {program} stalled");
            self.say(LogLevel::Warn, "programs", text, now, work);
            match source {
                Source::Node(node) => self.source_failed(program, node, now, work),
                Source::Operator(key) => self.bundle_missing(program, key, now, work),
            }
        }
    }

    /// A source failed: another of those that ordered the program is asked, if there is one.
    pub(crate) fn fetch_elsewhere(&mut self, program: ProgramId, now: Instant, work: &mut Work) {
        let next = self.programs.waiters(program).iter().find_map(|waiter| match waiter {
            Waiter::Spawn(_, node) if *node != self.me.node => {
                let from = Source::Node(*node);
                let asked = self.programs.is_fetching_from(program, from);
                (!asked && self.member(*node).is_some()).then_some(from)
            }
            Waiter::Run(_, Some(peer)) => {
                let from = Source::Operator(*peer);
                (!self.programs.is_fetching_from(program, from)).then_some(from)
            }
            Waiter::Spawn(..) | Waiter::Run(_, None) => None,
        });
        match next {
            Some(source) if self.programs.refetch(program, source, now) => {
                self.fetch(program, source, now, work);
            }
            _ => self.program_failed(program, ErrorCode::NoProgram, "", now, work),
        }
    }

    /// A node wants a bundle.
    pub(crate) fn program_wanted(
        &mut self,
        by: NodeId,
        program: ProgramId,
        now: Instant,
        work: &mut Work,
    ) {
        if self.uploads.iter().any(|upload| upload.to == by && upload.program == program) {
            return;
        }
        match self.programs.bundle(program) {
            Some(bundle) if self.uploads.len() < UPLOADS_MAX => {
                let bundle = Arc::clone(bundle);
                self.uploads.push_back(Upload { to: by, program, bundle, sent: 0 });
                self.upload(now, work);
            }
            _ => {
                let body = Body::ProgramMissing { program };
                self.send(by, Stamp::CONTROL, body, now, work);
            }
        }
    }

    /// Sends of every bundle as much as the sessions take.
    pub(crate) fn upload(&mut self, now: Instant, work: &mut Work) {
        for _ in 0..self.uploads.len() {
            let Some(mut upload) = self.uploads.pop_front() else { return };
            match self.upload_one(&mut upload, now) {
                Err(SendError::Full) => self.uploads.push_back(upload),
                Ok(()) => {
                    let Upload { program, to, ref bundle, .. } = upload;
                    let text = format!("sent program {program} to {to}: {} bytes", bundle.len());
                    self.say(LogLevel::Debug, "programs", text, now, work);
                }
                // The session is gone, and with it whoever asked.
                Err(_) => {}
            }
        }
    }

    fn upload_one(&mut self, upload: &mut Upload, now: Instant) -> Result<(), SendError> {
        let dest = Dest::Node(upload.to);
        while let Some(rest) = upload.bundle.get(upload.sent..).filter(|rest| !rest.is_empty()) {
            if !self.links.is_clear(dest) {
                return Err(SendError::Full);
            }
            let part = &rest[..rest.len().min(PART_BYTES_MAX)];
            // A bundle's length is bounded far below 2^32.
            let body = Body::ProgramPart {
                program: upload.program,
                offset: upload.sent as u32,
                total: upload.bundle.len() as u32,
                part: Payload(part.to_vec()),
            };
            self.links.try_send(dest, Stamp::CONTROL, body, now)?;
            upload.sent += part.len();
        }
        Ok(())
    }

    /// A part of a bundle came.
    pub(crate) fn part_came(
        &mut self,
        from: Source,
        program: ProgramId,
        (offset, total): (u32, u32),
        part: &[u8],
        now: Instant,
        work: &mut Work,
    ) {
        let (offset, total) = (offset as usize, total as usize);
        match self.programs.part(program, from, offset, total, part, now) {
            Part::Unasked | Part::Taken => {}
            Part::Whole(bundle) => {
                let text = format!("fetched program {program}: {total} bytes");
                self.say(LogLevel::Debug, "programs", text, now, work);
                work.ask(ControlEffect::Load { program, bundle });
            }
            Part::Failed(error) => match from {
                // What one node sends must not fail what others ordered.
                Source::Node(node) if error == ErrorCode::NoProgram => {
                    self.source_failed(program, node, now, work);
                }
                _ => self.program_failed(program, error, "the bundle came damaged", now, work),
            },
        }
    }

    /// The image of this node carries a bundle.
    pub(crate) fn carried(&mut self, bundle: Vec<u8>, now: Instant, work: &mut Work) {
        let program = craton_bundle::program_id(&bundle);
        match self.programs.carry(program, bundle, now) {
            Ok(bundle) => {
                self.carried = Some(program);
                work.ask(ControlEffect::Load { program, bundle });
                self.run_carried(now, work);
            }
            Err(error) => {
                let text = format!("the program of the image is refused: {error}");
                self.say(LogLevel::Error, "programs", text, now, work);
            }
        }
    }

    /// The engine's word on a bundle.
    pub(crate) fn loaded(
        &mut self,
        program: ProgramId,
        result: Result<(), (ErrorCode, String)>,
        now: Instant,
        work: &mut Work,
    ) {
        match result {
            Ok(()) => {
                let waiters = self.programs.loaded(program);
                let text = format!("loaded program {program}");
                self.say(LogLevel::Info, "programs", text, now, work);
                for waiter in waiters {
                    self.go_on(waiter, now, work);
                }
            }
            Err((error, why)) => {
                let text = format!("program {program} refused: {why}");
                self.say(LogLevel::Warn, "programs", text, now, work);
                self.program_failed(program, error, &why, now, work);
            }
        }
    }

    fn program_failed(
        &mut self,
        program: ProgramId,
        error: ErrorCode,
        why: &str,
        now: Instant,
        work: &mut Work,
    ) {
        for waiter in self.programs.fail(program) {
            self.give_up(waiter, error, why, now, work);
        }
    }
}

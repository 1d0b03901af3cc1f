//! What operators ask, and what they are answered.
//!
//! Adds to [`Control`] the questions. Roles were looked at before: what comes here may be asked.

use crate::control::Control;
use crate::links::{Dest, Stamp};
use crate::programs::Source;
use crate::spawning::Waiter;
use crate::work::Work;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;
use craton_abi::{
    AppId, ErrorCode, Instant, Pid, ProgramId, RequestId, Signal, SignalBody, TraceId, limit,
};
use craton_session::{Peer, PeerKey};
use craton_wire::{Answer, Body, NodeInfo, Question};

impl Control {
    /// An operator says something.
    pub(crate) fn heard_operator(
        &mut self,
        peer: &Peer,
        body: Body,
        now: Instant,
        work: &mut Work,
    ) {
        let key = peer.key();
        match body {
            Body::Ask { request, question } => self.asked(key, request, question, now, work),
            Body::Run { request, event } => self.run_heard(key, request, event, now, work),
            Body::ProgramPart { program, offset, total, part } => {
                let from = Source::Operator(key);
                self.part_came(from, program, (offset, total), &part.0, now, work);
            }
            Body::ProgramMissing { program }
                if self.programs.is_fetching_from(program, Source::Operator(key)) =>
            {
                self.bundle_missing(program, key, now, work);
            }
            // Refused by role before.
            _ => {}
        }
    }

    fn asked(
        &mut self,
        by: PeerKey,
        request: RequestId,
        question: Question,
        now: Instant,
        work: &mut Work,
    ) {
        match question {
            Question::Nodes => {
                let nodes = self.node_infos(now);
                self.answer(by, request, Answer::Nodes(nodes), now);
            }
            Question::Processes => work.listings.push((by, request)),
            Question::Logs { from } => {
                let (first, lines) = self.log.read(from);
                self.answer(by, request, Answer::Logs { first, lines }, now);
            }
            Question::Kill { pid } => {
                let answer = match self.kill(pid, AppId::new(0), now, work) {
                    Ok(()) => Answer::Killed,
                    Err(error) => failed(error, "no such node is alive"),
                };
                self.answer(by, request, answer, now);
            }
            Question::Run { program, arguments, place } => {
                self.run_asked(by, request, program, arguments, place, now, work);
            }
        }
    }

    /// Ends a process in the name of the node.
    pub(crate) fn kill(
        &mut self,
        to: Pid,
        app: AppId,
        now: Instant,
        work: &mut Work,
    ) -> Result<(), ErrorCode> {
        if !self.is_mine(to) && !self.is_alive(to.node, to.incarnation) {
            return Err(ErrorCode::NoConnection);
        }
        let trace = TraceId::new(0);
        let signal = Signal { from: self.pid(), to, app, trace, body: SignalBody::Kill };
        self.carry(signal, now, work);
        Ok(())
    }

    /// Answers an operator; if he is gone, nobody wants to know.
    pub(crate) fn answer(&mut self, to: PeerKey, request: RequestId, answer: Answer, now: Instant) {
        let body = Body::Answer { request, answer };
        let _ = self.links.send(Dest::Peer(to), Stamp::CONTROL, body, now);
    }

    /// An operator is gone for good: so are his runs.
    pub(crate) fn operator_lost(&mut self, operator: PeerKey, now: Instant, work: &mut Work) {
        for id in self.runs.of_operator(operator, None) {
            self.run_over(id, now, work);
        }
        self.drop_operator_waits(operator, None, now, work);
    }

    /// An operator does not have the bundle that he wants run.
    pub(crate) fn bundle_missing(
        &mut self,
        program: ProgramId,
        operator: PeerKey,
        now: Instant,
        work: &mut Work,
    ) {
        for id in self.runs.of_operator(operator, Some(program)) {
            self.run_failed(id, ErrorCode::NoProgram, "the bundle is missing", now, work);
        }
        self.drop_operator_waits(operator, Some(program), now, work);
    }

    /// Programs that this operator was to send come from elsewhere or not at all.
    fn drop_operator_waits(
        &mut self,
        operator: PeerKey,
        only: Option<ProgramId>,
        now: Instant,
        work: &mut Work,
    ) {
        let meant = |program: ProgramId| only.is_none_or(|only| only == program);
        self.programs.forget_waiters(|program, waiter| {
            meant(program) && matches!(waiter, Waiter::Run(_, by) if *by == Some(operator))
        });
        for program in self.programs.orphans(Source::Operator(operator)) {
            if meant(program) {
                self.fetch_elsewhere(program, now, work);
            }
        }
    }

    fn node_infos(&self, now: Instant) -> Vec<NodeInfo> {
        let load = self.load();
        let address = self.address.map(|ip| SocketAddr::new(ip, limit::SESSION_PORT).to_string());
        let me = NodeInfo {
            id: self.me.node,
            incarnation: self.me.incarnation,
            name: String::from(&*self.identity.certificate().name),
            address: address.unwrap_or_default(),
            shards: self.shards,
            processes: Some(load.processes),
            memory_free: Some(load.memory_free),
            uptime_nanos: Some(now.since(self.started_at).as_nanos()),
        };
        let others = self.membership.iter().flat_map(|m| m.up()).map(|member| {
            let load = self.loads.get(member.node);
            NodeInfo {
                id: member.node,
                incarnation: member.incarnation,
                name: member.name.clone(),
                address: member.address.to_string(),
                shards: member.shards,
                processes: load.map(|load| load.processes),
                memory_free: load.map(|load| load.memory_free),
                uptime_nanos: None,
            }
        });
        core::iter::once(me).chain(others).collect()
    }
}

/// An answer that says why not.
pub(crate) fn failed(error: ErrorCode, text: &str) -> Answer {
    Answer::Failed { error, text: String::from(text) }
}

//! The operator: starts runs, hands over the bundle, takes output, now and then disappears.
//!
//! Owns [`Operator`], which speaks the real session protocol from a place of its own.

use crate::random::Random;
use craton_abi::{
    AppId, Duration, Incarnation, Instant, Payload, Place, ProgramId, RequestId, TraceId,
};
use craton_session::{AuthorityKey, ConnId, Event, Identity, PeerKey, Sessions};
use craton_wire::{Answer, Body, Lane, Question, RunEvent};
use std::net::SocketAddr;

const PART_BYTES: usize = 32 << 10;
/// How long he waits for an answer before he tries another node.
const PATIENCE: Duration = Duration::from_secs(8);

/// What he wants of the world.
pub(crate) enum Want {
    Dial(ConnId, SocketAddr),
    Close(ConnId),
    Ready(ConnId),
}

/// How far he has come.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum State {
    Idle,
    Dialling(ConnId),
    Asked(PeerKey),
    Running(PeerKey),
}

pub(crate) struct Operator {
    identity: Identity,
    authority: AuthorityKey,
    pub(crate) sessions: Sessions,
    pub(crate) boot: u32,
    state: State,
    request: RequestId,
    changed_at: Instant,
    program: ProgramId,
    bundle: Vec<u8>,
    pub(crate) runs_started: u64,
    pub(crate) output_bytes: u64,
}

impl Operator {
    pub(crate) fn new(
        identity: Identity,
        authority: AuthorityKey,
        bundle: Vec<u8>,
        random: &mut Random,
    ) -> Self {
        let sessions = fresh_sessions(&identity, authority, random);
        Operator {
            identity,
            authority,
            sessions,
            boot: 0,
            state: State::Idle,
            request: RequestId::new(0),
            changed_at: Instant::ZERO,
            program: craton_bundle::program_id(&bundle),
            bundle,
            runs_started: 0,
            output_bytes: 0,
        }
    }

    /// His tool was killed, and is started again.
    pub(crate) fn restart(&mut self, random: &mut Random) {
        self.sessions = fresh_sessions(&self.identity, self.authority, random);
        self.boot += 1;
        self.state = State::Idle;
    }

    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        let waits = matches!(self.state, State::Dialling(_) | State::Asked(_));
        self.state == State::Idle || (waits && now.since(self.changed_at) > PATIENCE)
    }

    /// Whether he believes that a run of his goes on.
    pub(crate) fn runs_on(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    /// Begins a run on the node at this address.
    pub(crate) fn begin(&mut self, at: SocketAddr, now: Instant) {
        self.changed_at = now;
        self.state = State::Dialling(self.sessions.dial_any(at, now));
    }

    /// What he does next; `None` if there is nothing.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Want> {
        while let Some(event) = self.sessions.poll() {
            match event {
                Event::Dial { conn, to } => return Some(Want::Dial(conn, to)),
                Event::Close { conn } => return Some(Want::Close(conn)),
                Event::Ready { conn } => return Some(Want::Ready(conn)),
                Event::Up { peer } if matches!(self.state, State::Dialling(_)) => {
                    self.ask(peer.key(), now);
                }
                Event::Body { peer, body, .. } => self.hear(peer.key(), body, now),
                Event::Lost { node, .. } | Event::Unreachable { node } => self.lost(node),
                Event::Refused { conn, .. } if self.state == State::Dialling(conn) => {
                    self.state = State::Idle;
                }
                _ => {}
            }
        }
        None
    }

    fn lost(&mut self, node: craton_abi::NodeId) {
        if let State::Asked(peer) | State::Running(peer) = self.state
            && peer.node == node
        {
            self.state = State::Idle;
        }
    }

    fn ask(&mut self, peer: PeerKey, now: Instant) {
        self.request = self.request.next();
        self.changed_at = now;
        self.state = State::Asked(peer);
        let question = Question::Run {
            program: self.program,
            arguments: vec!["--simulated".to_string()],
            place: Place::Anywhere,
        };
        self.say(peer, Body::Ask { request: self.request, question }, now);
    }

    fn hear(&mut self, peer: PeerKey, body: Body, now: Instant) {
        match body {
            Body::Answer { request, answer } if request == self.request => match answer {
                Answer::ProgramWanted => self.hand_over(peer, now),
                Answer::Started(_) => {
                    self.runs_started += 1;
                    self.state = State::Running(peer);
                }
                _ => self.state = State::Idle,
            },
            Body::Run { request, event } if request == self.request => match event {
                RunEvent::Output { bytes, .. } => {
                    self.output_bytes += bytes.0.len() as u64;
                    self.say(peer, Body::Run { request, event: RunEvent::OutputTaken }, now);
                }
                RunEvent::Ended { .. } => self.state = State::Idle,
                _ => {}
            },
            _ => {}
        }
    }

    fn hand_over(&mut self, peer: PeerKey, now: Instant) {
        let total = self.bundle.len() as u32;
        let parts: Vec<Vec<u8>> = self.bundle.chunks(PART_BYTES).map(<[u8]>::to_vec).collect();
        for (index, part) in parts.into_iter().enumerate() {
            let offset = (index * PART_BYTES) as u32;
            let part = Payload(part);
            self.say(peer, Body::ProgramPart { program: self.program, offset, total, part }, now);
        }
    }

    fn say(&mut self, peer: PeerKey, body: Body, now: Instant) {
        let (app, trace) = (AppId::new(0), TraceId::new(0));
        // A session that is gone says so by an event.
        let _ = self.sessions.send(peer.node, Lane::CONTROL, app, trace, body, now);
    }
}

fn fresh_sessions(identity: &Identity, authority: AuthorityKey, random: &mut Random) -> Sessions {
    Sessions::new(craton_session::Config {
        identity: identity.clone(),
        authorities: vec![authority],
        incarnation: Incarnation::new(random.number()),
        seed: random.bytes32(),
        wall_clock_secs: None,
    })
}

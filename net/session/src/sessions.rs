//! All peer links of one node, or of the operator's tool.
//!
//! Owns [`Sessions`].

use crate::cert::Identity;
use crate::event::{ConnId, Event, PeerKey, SendError};
use crate::key::AuthorityKey;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;
use craton_abi::{AppId, Incarnation, Instant, NodeId, TraceId};
use craton_wire::{Body, Lane};

/// What sessions are made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who we are.
    pub identity: Identity,
    /// Whom we believe; at most [`crate::cert::AUTHORITIES_MAX`] are used.
    pub authorities: Vec<AuthorityKey>,
    /// Our life.
    pub incarnation: Incarnation,
    /// Randomness for everything that is drawn.
    pub seed: [u8; 32],
    /// Seconds since 1970 at `Instant::ZERO`, if known.
    pub wall_clock_secs: Option<u64>,
}

/// All peer links of one node, or of the operator's tool.
pub struct Sessions {
    config: Config,
    events: VecDeque<Event>,
}

#[allow(missing_docs, unused_variables)]
impl Sessions {
    pub fn new(config: Config) -> Self {
        Sessions { config, events: VecDeque::new() }
    }
    pub fn identity(&self) -> &Identity {
        &self.config.identity
    }
    pub fn set_wall_clock(&mut self, secs_at_zero: u64) {
        self.config.wall_clock_secs = Some(secs_at_zero);
    }
    pub fn accepted(&mut self, conn: ConnId, now: Instant) {}
    pub fn connected(&mut self, conn: ConnId, now: Instant) {}
    pub fn received(&mut self, conn: ConnId, bytes: &[u8], now: Instant) {}
    pub fn closed(&mut self, conn: ConnId, now: Instant) {}
    pub fn transmit(&mut self, conn: ConnId, bytes_max: usize, out: &mut Vec<u8>, now: Instant) {}
    pub fn tick(&mut self, now: Instant) {}
    pub fn deadline(&self) -> Option<Instant> {
        None
    }
    pub fn dial_at(&mut self, node: NodeId, to: SocketAddr) {}
    /// Dials somebody whose id is not known yet; one attempt, answered by `Up` or `Refused`.
    pub fn dial_any(&mut self, to: SocketAddr, now: Instant) -> ConnId {
        ConnId(ConnId::DIALLED)
    }
    #[allow(clippy::too_many_arguments)]
    pub fn send(
        &mut self,
        to: NodeId,
        lane: Lane,
        app: AppId,
        trace: TraceId,
        body: Body,
        now: Instant,
    ) -> Result<(), SendError> {
        Err(SendError::Unknown)
    }
    /// To one life of a peer: how an operator is answered.
    #[allow(clippy::too_many_arguments)]
    pub fn send_to(
        &mut self,
        to: PeerKey,
        lane: Lane,
        app: AppId,
        trace: TraceId,
        body: Body,
        now: Instant,
    ) -> Result<(), SendError> {
        Err(SendError::Unknown)
    }
    pub fn lose(&mut self, node: NodeId, now: Instant) {}
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

//! The node's control: what is there once for a node and not for each shard.
//!
//! Owns [`Control`]: sessions, membership, placement, programs, runs, the log. Its verbs are spread
//! over the files beside it by whom they serve: `signals` (shards), `peers` (other nodes),
//! `spawning`, `distribution` (bundles), `operators`, `runs`.

use crate::api::{ControlEffect, NodeEffect};
use crate::config::{ConfigError, NodeConfig, level_name};
use crate::crew::Crew;
use crate::distribution::Upload;
use crate::error::NodeError;
use crate::hosts::Hosts;
use crate::links::{Dest, Links, Stamp};
use crate::log_ring::{LogRing, one_line};
use crate::mail::MailBody;
use crate::names::Registry;
use crate::placement::{Load, Loads};
use crate::programs::{Programs, Source};
use crate::runs::Runs;
use crate::sealing::NodeSeal;
use crate::spawning::{Spawns, Waiter};
use crate::surveys::Surveys;
use crate::work::Work;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use craton_abi::{Duration, ErrorCode, Incarnation, Instant, NodeId, ProgramId, ShardId, limit};
use craton_cluster::{self as cluster, Membership};
use craton_session::seal::DiscoveryKey;
use craton_session::{
    self as session, AuthorityKey, Certificate, Event, Identity, LostWhy, NoiseSecret, PeerKey,
    Refusal, Role, SendError, Sessions,
};
use craton_shard::port::{Input, LivingNode, LogLevel};
use craton_wire::Body;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Shortest time between two looks at the control's timers: a tick for each process that runs must
/// not cost a walk over all sessions.
const TICK_MIN: Duration = Duration::from_millis(1);
/// How often a node tells the others of its load, if that changed.
const LOAD_PERIOD: Duration = Duration::from_secs(1);
/// How often a node says that it refused connections.
const REFUSED_PERIOD: Duration = Duration::from_secs(1);

pub(crate) struct Control {
    pub(crate) config: NodeConfig,
    pub(crate) identity: Identity,
    authorities: Vec<AuthorityKey>,
    discovery: DiscoveryKey,
    /// This node in its present life.
    pub(crate) me: PeerKey,
    pub(crate) shards: u8,
    birth: u64,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) address: Option<IpAddr>,
    wall_clock_secs: Option<u64>,
    pub(crate) started_at: Instant,
    pub(crate) links: Links,
    pub(crate) membership: Option<Membership<NodeSeal>>,
    pub(crate) programs: Programs<Waiter>,
    /// The program that the image of this node carries and runs.
    pub(crate) carried: Option<ProgramId>,
    pub(crate) uploads: VecDeque<Upload>,
    pub(crate) loads: Loads,
    pub(crate) spawns: Spawns,
    pub(crate) runs: Runs,
    /// Of the processes of shard 0.
    pub(crate) hosts: Hosts,
    pub(crate) crew: Crew,
    pub(crate) surveys: Surveys,
    pub(crate) names: Registry,
    pub(crate) log: LogRing,
    pub(crate) memory_free: u64,
    tick_at: Instant,
    load_at: Instant,
    pub(crate) load_said: Option<Load>,
    /// Shards whose senders wait until less is under way to a node.
    pub(crate) wants_room: Vec<(NodeId, ShardId)>,
    /// Connections refused since that was last said.
    refused: u64,
    /// When it may be said again.
    refused_at: Instant,
}

impl Control {
    pub(crate) fn new(
        config: NodeConfig,
        incarnation: Incarnation,
        shards: u8,
        seed: [u8; 32],
        now: Instant,
    ) -> Result<Self, NodeError> {
        config.check().map_err(NodeError::Config)?;
        let missing = |key| NodeError::Config(ConfigError::Missing { key });
        let noise = config.noise_key.ok_or(missing("noise-key"))?;
        let discovery = DiscoveryKey(config.discovery.ok_or(missing("discovery"))?);
        let certificate =
            Certificate::from_bytes(&config.certificate).map_err(NodeError::Certificate)?;
        if certificate.role != Role::Node {
            return Err(NodeError::Role);
        }
        let authorities: Result<Vec<_>, _> =
            config.authorities.iter().map(AuthorityKey::from_bytes).collect();
        let authorities = authorities.map_err(|_| NodeError::Authority)?;
        certificate.verify(&authorities, None).map_err(NodeError::Certificate)?;
        let identity = Identity::new(certificate, NoiseSecret::from_bytes(&noise))
            .map_err(|_| NodeError::KeyMismatch)?;
        let mut rng = ChaCha8Rng::from_seed(seed);
        let sessions = Sessions::new(session::Config {
            identity: identity.clone(),
            authorities: authorities.clone(),
            incarnation,
            seed: fresh_seed(&mut rng),
            wall_clock_secs: None,
        });
        Ok(Control {
            me: PeerKey { node: identity.node(), incarnation },
            config,
            identity,
            authorities,
            discovery,
            shards,
            birth: 0,
            rng,
            address: None,
            wall_clock_secs: None,
            started_at: now,
            links: Links::new(sessions),
            membership: None,
            programs: Programs::new(),
            carried: None,
            uploads: VecDeque::new(),
            loads: Loads::default(),
            spawns: Spawns::default(),
            runs: Runs::default(),
            hosts: Hosts::default(),
            crew: Crew::new(shards),
            surveys: Surveys::default(),
            names: Registry::default(),
            log: LogRing::default(),
            memory_free: 0,
            tick_at: now,
            load_at: now,
            load_said: None,
            wants_room: Vec::new(),
            refused: 0,
            refused_at: now,
        })
    }

    /// The node was declared dead: everything of this life ends, and another begins.
    pub(crate) fn restart(&mut self, now: Instant, work: &mut Work) {
        let former = self.me.incarnation;
        let born = self.membership.as_ref().map_or(self.birth, |m| m.me().birth);
        self.birth = born.saturating_add(1);
        self.me.incarnation = Incarnation::new(self.rng.next_u64());
        let sessions = Sessions::new(session::Config {
            identity: self.identity.clone(),
            authorities: self.authorities.clone(),
            incarnation: self.me.incarnation,
            seed: fresh_seed(&mut self.rng),
            wall_clock_secs: self.wall_clock_secs,
        });
        for conn in self.links.restart(sessions) {
            work.ask(ControlEffect::Close { conn });
        }
        self.membership = None;
        self.programs.restart();
        self.uploads.clear();
        self.loads = Loads::default();
        self.spawns = Spawns::default();
        self.runs.restart();
        self.hosts.clear();
        self.crew.restart();
        self.surveys.clear();
        self.names = Registry::default();
        self.load_said = None;
        self.wants_room.clear();
        work.inputs.clear();
        work.listings.clear();
        // What was asked for processes of the former life is void, done or not.
        work.effects.retain(|effect| !effect.is_of_life());
        work.effect(NodeEffect::Restart);
        work.life = work.life.next();
        for shard in 1..self.shards {
            work.post(ShardId::new(shard), MailBody::Restart(self.me.incarnation));
        }
        let life = self.me.incarnation;
        let text = format!("declared dead as {former}: all processes ended, now {life}");
        self.say(LogLevel::Warn, "cluster", text, now, work);
        self.join(now);
        self.run_carried(now, work);
    }

    /// The network gave this address.
    pub(crate) fn addressed(&mut self, address: IpAddr, now: Instant, work: &mut Work) {
        if self.address == Some(address) {
            return;
        }
        let moved = self.address.replace(address).is_some();
        self.say(LogLevel::Info, "node", format!("address {address}"), now, work);
        if moved {
            // Others know this life at the old address; it begins anew at this one.
            work.fenced = true;
        } else {
            self.join(now);
        }
    }

    /// Seconds since 1970 at `Instant::ZERO`, from now on used to check certificates.
    pub(crate) fn wall_clock(&mut self, secs_at_zero: u64) {
        self.wall_clock_secs = Some(secs_at_zero);
        self.links.sessions().set_wall_clock(secs_at_zero);
    }

    fn join(&mut self, now: Instant) {
        let Some(address) = self.address else { return };
        let seal = NodeSeal::new(
            self.identity.clone(),
            self.authorities.clone(),
            self.discovery.clone(),
            self.me.incarnation,
            self.wall_clock_secs,
        );
        let config = cluster::Config {
            node: self.me.node,
            incarnation: self.me.incarnation,
            birth: self.birth,
            address: SocketAddr::new(address, limit::SESSION_PORT),
            name: String::from(&*self.identity.certificate().name),
            shards: self.shards,
            seeds: self.config.seeds.clone(),
            seed: fresh_seed(&mut self.rng),
        };
        self.membership = Some(Membership::new(config, seal, now));
    }

    pub(crate) fn tick(&mut self, now: Instant, work: &mut Work) {
        if now < self.tick_at {
            return;
        }
        self.tick_at = now + TICK_MIN;
        self.links.tick(now);
        if let Some(membership) = &mut self.membership {
            membership.tick(now);
        }
        if now >= self.load_at {
            self.load_at = now + LOAD_PERIOD;
            self.say_load(now);
            self.give_up_stalled(now, work);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let membership = self.membership.as_ref().and_then(Membership::deadline);
        let all = [Some(self.load_at), membership, self.links.deadline()];
        let first = all.into_iter().flatten().min().map(|at| at.max(self.tick_at));
        // What sessions have said already does not wait for a tick.
        if self.links.has_said() || self.roomy().is_some() { Some(Instant::ZERO) } else { first }
    }

    /// Takes what sessions and membership have to say. `false` if nothing was there.
    pub(crate) fn pump(&mut self, now: Instant, work: &mut Work) -> bool {
        if let Some(event) = self.links.poll() {
            self.session_event(event, now, work);
            return true;
        }
        if let Some(event) = self.membership.as_mut().and_then(Membership::poll) {
            self.cluster_event(event, now, work);
            return true;
        }
        if let Some(index) = self.roomy() {
            let (node, shard) = self.wants_room.swap_remove(index);
            work.input(shard, Input::Room { node });
            return true;
        }
        false
    }

    /// A shard that waits for room at a node to which little is under way now.
    fn roomy(&self) -> Option<usize> {
        let has_room =
            |&(node, _): &(NodeId, _)| self.links.backlog_bytes(node) < limit::NODE_BACKLOG_BYTES;
        self.wants_room.iter().position(has_room)
    }

    fn session_event(&mut self, event: Event, now: Instant, work: &mut Work) {
        match event {
            Event::Dial { conn, to } => work.ask(ControlEffect::Dial { conn, to }),
            Event::Close { conn } => work.ask(ControlEffect::Close { conn }),
            Event::Ready { conn } => work.ask(ControlEffect::Ready { conn }),
            Event::Up { peer } => {
                let text = format!("session with {} '{}'", peer.role, peer.name);
                self.say(LogLevel::Debug, "session", text, now, work);
            }
            Event::Body { peer, body, .. } => self.heard(&peer, body, now, work),
            Event::Room { node } => {
                self.links.room(node, now);
                self.upload(now, work);
            }
            Event::Lost { node, incarnation, why } => {
                self.session_lost(PeerKey { node, incarnation }, why, now, work);
            }
            Event::Unreachable { node } => {
                self.say(LogLevel::Warn, "session", format!("{node} is out of reach"), now, work);
                self.node_lost(node, None, now, work);
            }
            // Peers that dial each other at once close one of the two connections.
            Event::Refused { why: Refusal::Closed, .. } => {}
            Event::Refused { why, .. } => self.connection_refused(why, now, work),
        }
    }

    /// Says that a connection was refused, now and then: anybody can make such connections.
    fn connection_refused(&mut self, why: Refusal, now: Instant, work: &mut Work) {
        self.refused = self.refused.saturating_add(1);
        if now < self.refused_at {
            return;
        }
        self.refused_at = now + REFUSED_PERIOD;
        let mut text = format!("connection refused: {why}");
        let before = core::mem::take(&mut self.refused) - 1;
        if before > 0 {
            text.push_str(&format!(", and {before} more before"));
        }
        self.say(LogLevel::Warn, "session", text, now, work);
    }

    fn session_lost(&mut self, peer: PeerKey, why: LostWhy, now: Instant, work: &mut Work) {
        self.links.peer_lost(peer);
        self.operator_lost(peer, now, work);
        let alive = self.member(peer.node).is_some();
        if alive {
            let text = format!("session with {} lost: {why}", peer.node);
            self.say(LogLevel::Warn, "session", text, now, work);
        }
        self.node_lost(peer.node, Some(peer.incarnation), now, work);
    }

    fn cluster_event(&mut self, event: cluster::Event, now: Instant, work: &mut Work) {
        match event {
            cluster::Event::Datagram { to, bytes } => {
                work.ask(ControlEffect::Datagram { to, bytes });
            }
            cluster::Event::NodeUp(member) => {
                let (name, address) = (&member.name, member.address);
                let text = format!("{name} ({}) is up at {address}", member.node);
                self.say(LogLevel::Info, "cluster", text, now, work);
                self.links.sessions().dial_at(member.node, member.address);
                self.load_said = None;
            }
            cluster::Event::NodeDown { node, incarnation } => {
                let text = format!("{node} is down ({incarnation})");
                self.say(LogLevel::Warn, "cluster", text, now, work);
                self.loads.forget(node);
                self.links.sessions().lose(node, incarnation, now);
                if self.links.is_up(node) && !self.links.is_up_with(node, incarnation) {
                    // A later life opened its session before membership heard of it.
                    self.tell_lost(node, incarnation, work);
                } else {
                    self.node_lost(node, None, now, work);
                }
            }
            cluster::Event::Fenced => work.fenced = true,
        }
    }

    /// What was under way to and from a node, in this life of it or in any, is lost: everybody who
    /// has to do with it is told.
    pub(crate) fn node_lost(
        &mut self,
        node: NodeId,
        life: Option<Incarnation>,
        now: Instant,
        work: &mut Work,
    ) {
        let lives = life.map_or_else(|| self.links.lives(node), |life| alloc::vec![life]);
        for life in lives {
            self.tell_lost(node, life, work);
        }
        self.links.unpark(node);
        self.uploads.retain(|upload| upload.to != node);
        self.programs.forget_waiters(|_, waiter| waiter.is_of(node));
        for program in self.programs.orphans(Source::Node(node)) {
            self.fetch_elsewhere(program, now, work);
        }
        for (parent, request) in self.spawns.ordered_from(node) {
            let error = Err(ErrorCode::NoConnection);
            self.spawn_answered(node, parent, request, error, now, work);
        }
    }

    fn tell_lost(&mut self, node: NodeId, incarnation: Incarnation, work: &mut Work) {
        if self.links.lost_life(node, incarnation) {
            for shard in (0..self.shards).map(ShardId::new) {
                self.crew.tell_lost(shard, node, incarnation);
                work.input(shard, Input::NodeLost { node, incarnation });
            }
        }
    }

    /// A node that is alive, other than this.
    pub(crate) fn member(&self, node: NodeId) -> Option<&cluster::Member> {
        self.membership.as_ref()?.get(node)
    }

    /// Whether this life of a node is alive, as far as this node knows. A session may be up before
    /// membership has heard of its node.
    pub(crate) fn is_alive(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.member(node).is_some_and(|member| member.incarnation == incarnation)
            || self.links.is_up_with(node, incarnation)
    }

    /// The nodes alive, this one first.
    pub(crate) fn nodes_alive(&self) -> impl Iterator<Item = LivingNode> {
        let others = self.membership.iter().flat_map(Membership::up);
        let others = others.map(|member| LivingNode { node: member.node, shards: member.shards });
        core::iter::once(LivingNode { node: self.me.node, shards: self.shards }).chain(others)
    }

    /// Sends to a node. One that takes nothing for so long that its queue overflows is given up.
    pub(crate) fn send(
        &mut self,
        to: NodeId,
        stamp: Stamp,
        body: Body,
        now: Instant,
        work: &mut Work,
    ) {
        let Err(error) = self.links.send(Dest::Node(to), stamp, body, now) else { return };
        let text = format!("cannot send to {to}: {error}");
        self.say(LogLevel::Warn, "session", text, now, work);
        match &mut self.membership {
            Some(membership) if error == SendError::Full && membership.get(to).is_some() => {
                membership.declare_dead(to, now);
            }
            _ => {
                // Nobody else knows it, so there is nobody to declare it dead to.
                if let Some(life) = self.links.up_with(to) {
                    self.links.sessions().lose(to, life, now);
                }
                self.node_lost(to, None, now, work);
            }
        }
    }

    /// Writes a line to the log.
    pub(crate) fn say(
        &mut self,
        level: LogLevel,
        module: &str,
        text: String,
        now: Instant,
        work: &mut Work,
    ) {
        if level > self.config.log {
            return;
        }
        // As the console shows it, so that both read alike.
        let (grave, name) = (level_name(level).to_uppercase(), &self.config.name);
        let text = one_line(text);
        self.log.push(format!("{now} {grave:<5} {name} {module}: {text}"));
        work.ask(ControlEffect::Log { level, module: module.to_string(), text });
    }
}

fn fresh_seed(rng: &mut ChaCha8Rng) -> [u8; 32] {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    seed
}

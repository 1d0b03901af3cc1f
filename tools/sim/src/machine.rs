//! One simulated machine: the node's value, the processes it hosts, and whether it runs at all.
//!
//! Owns [`Machine`]. Time on a machine begins at its boot, as on metal.

use crate::actor::Actor;
use crate::net::{Place, address};
use crate::random::Random;
use craton_abi::{Incarnation, Instant, Pid, Slot};
use craton_node::{Node, NodeConfig};
use std::collections::BTreeMap;

/// Shards of every machine.
const SHARDS: u8 = 2;

pub(crate) struct Machine {
    pub(crate) place: Place,
    config: NodeConfig,
    pub(crate) node: Node,
    pub(crate) incarnation: Incarnation,
    /// All its lives so far.
    pub(crate) lives: Vec<Incarnation>,
    /// Counts boots, so that what was meant for a former one finds nobody.
    pub(crate) boot: u32,
    booted_at: Instant,
    pub(crate) alive: bool,
    pub(crate) paused_until: Instant,
    /// Its CPU is taken until then.
    pub(crate) busy_until: Instant,
    /// The tick that counts; earlier ones are void.
    pub(crate) tick_token: u64,
    pub(crate) conn_next: u64,
    pub(crate) actors: BTreeMap<Slot, (Pid, Actor)>,
}

impl Machine {
    /// A machine that is switched off.
    pub(crate) fn new(place: Place, config: NodeConfig, random: &mut Random) -> Self {
        let incarnation = Incarnation::new(random.number());
        let seed = random.bytes32();
        let node = Node::new(config.clone(), incarnation, SHARDS, seed, Instant::ZERO)
            .expect("the configuration was made for it");
        Machine {
            place,
            config,
            node,
            incarnation,
            lives: vec![incarnation],
            boot: 0,
            booted_at: Instant::ZERO,
            alive: false,
            paused_until: Instant::ZERO,
            busy_until: Instant::ZERO,
            tick_token: 0,
            conn_next: 0,
            actors: BTreeMap::new(),
        }
    }

    /// Switches it on, with nothing left of before.
    pub(crate) fn boot(&mut self, now: Instant, random: &mut Random) {
        let (boot, tick_token) = (self.boot + 1, self.tick_token + 1);
        let fresh = Machine::new(self.place, self.config.clone(), random);
        let mut lives = core::mem::take(&mut self.lives);
        lives.extend(&fresh.lives);
        *self = Machine { boot, tick_token, booted_at: now, alive: true, lives, ..fresh };
    }

    /// The node has begun a new life by itself.
    pub(crate) fn now_lives_as(&mut self, incarnation: Incarnation) {
        self.incarnation = incarnation;
        self.lives.push(incarnation);
    }

    /// The machine's own time.
    pub(crate) fn local(&self, now: Instant) -> Instant {
        Instant::from_nanos(now.since(self.booted_at).as_nanos())
    }

    /// When the machine's own time means, for the world.
    pub(crate) fn global(&self, local: Instant) -> Instant {
        self.booted_at + local.since(Instant::ZERO)
    }

    pub(crate) fn address(&self) -> std::net::IpAddr {
        address(self.place)
    }
}

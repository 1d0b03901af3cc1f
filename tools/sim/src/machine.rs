//! One simulated machine: the values of node and workers, their processes, and whether it runs.
//!
//! Owns [`Machine`] and [`Cpu`]. Time on a machine begins at its boot, as on metal.

use crate::actor::Actor;
use crate::net::{Place, address};
use crate::random::Random;
use craton_abi::{Duration, Incarnation, Instant, Pid, Slot};
use craton_node::{Node, NodeConfig, Worker};
use std::collections::BTreeMap;

/// Most shards of a machine.
const SHARDS_MAX: usize = 4;
/// Longest time that mail takes from one CPU to another.
pub(crate) const MAIL_MAX: Duration = Duration::from_millis(3);

/// One CPU of a machine.
#[derive(Default)]
pub(crate) struct Cpu {
    /// What it steps; the first CPU steps the node.
    pub(crate) worker: Option<Worker>,
    /// A process has it until then.
    pub(crate) busy_until: Instant,
    /// The tick that counts; earlier ones are void.
    pub(crate) tick_token: u64,
    /// When the last mail from here arrives at each of the others.
    pub(crate) mail_until: [Instant; SHARDS_MAX],
}

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
    pub(crate) cpus: Vec<Cpu>,
    pub(crate) conn_next: u64,
    /// By the CPU that runs them.
    pub(crate) actors: BTreeMap<(usize, Slot), (Pid, Actor)>,
    /// Those that one CPU gave and another is to take: who gave them.
    pub(crate) transit: BTreeMap<Slot, (usize, (Pid, Actor))>,
}

impl Machine {
    /// A machine that is switched off.
    pub(crate) fn new(place: Place, config: NodeConfig, random: &mut Random) -> Self {
        let incarnation = Incarnation::new(random.number());
        let seed = random.bytes32();
        let shards = 1 + random.below(SHARDS_MAX) as u8;
        let mut node = Node::new(config.clone(), incarnation, shards, seed, Instant::ZERO)
            .expect("the configuration was made for it");
        let workers = node.workers().into_iter().map(Some);
        let cpus = core::iter::once(None).chain(workers);
        let cpus = cpus.map(|worker| Cpu { worker, ..Cpu::default() }).collect();
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
            cpus,
            conn_next: 0,
            actors: BTreeMap::new(),
            transit: BTreeMap::new(),
        }
    }

    /// Switches it on, with nothing left of before.
    pub(crate) fn boot(&mut self, now: Instant, random: &mut Random) {
        let boot = self.boot + 1;
        let mut fresh = Machine::new(self.place, self.config.clone(), random);
        // No tick of a former boot counts: they rise over all of them.
        let token = self.cpus.iter().map(|cpu| cpu.tick_token).max().unwrap_or(0) + 1;
        for cpu in &mut fresh.cpus {
            cpu.tick_token = token;
        }
        let mut lives = core::mem::take(&mut self.lives);
        lives.extend(&fresh.lives);
        *self = Machine { boot, booted_at: now, alive: true, lives, ..fresh };
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

    /// Instances of processes, wherever they are.
    pub(crate) fn instances(&self) -> impl Iterator<Item = &(Pid, Actor)> {
        self.actors.values().chain(self.transit.values().map(|(_, instance)| instance))
    }

    /// Processes of the node and its workers, as each counts its own.
    pub(crate) fn processes(&self) -> usize {
        let workers = self.cpus.iter().filter_map(|cpu| cpu.worker.as_ref());
        workers.map(Worker::processes).sum::<usize>() + self.node.processes()
    }

    pub(crate) fn address(&self) -> std::net::IpAddr {
        address(self.place)
    }
}

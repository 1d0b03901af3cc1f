//! Membership on a virtual network: joining, dying, pausing, parting and healing under seeds.
//!
//! The seal is a fake that keeps what the real one promises: a cluster key, certificates, one
//! receiver in one life. The real one is tested where it lives.

use crate::{Certified, Config, Event, Membership, Sealing};
use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use craton_abi::{Duration, Incarnation, Instant, NodeId};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

struct FakeSeal {
    cluster: u8,
    node: NodeId,
    incarnation: Incarnation,
}

impl Sealing for FakeSeal {
    fn seal_hello(&mut self, plain: &[u8]) -> Vec<u8> {
        [&[self.cluster][..], &self.node.get().to_le_bytes(), plain].concat()
    }

    fn open_hello(&mut self, sealed: &[u8]) -> Option<(Certified, Vec<u8>)> {
        let (cluster, rest) = sealed.split_first()?;
        let (node, plain) = rest.split_first_chunk()?;
        let node = NodeId::new(u64::from_le_bytes(*node));
        (*cluster == self.cluster)
            .then(|| (Certified { node, name: node.to_string() }, plain.to_vec()))
    }

    fn seal(&mut self, to: NodeId, life: Incarnation, plain: &[u8]) -> Option<Vec<u8>> {
        let ids = [self.node.get(), self.incarnation.get(), to.get(), life.get()];
        let mut sealed = vec![self.cluster];
        sealed.extend(ids.into_iter().flat_map(u64::to_le_bytes));
        sealed.extend_from_slice(plain);
        Some(sealed)
    }

    fn open(&mut self, sealed: &[u8]) -> Option<(NodeId, Incarnation, Vec<u8>)> {
        let (cluster, mut rest) = sealed.split_first()?;
        let mut ids = [0; 4];
        for id in &mut ids {
            let (bytes, after) = rest.split_first_chunk()?;
            *id = u64::from_le_bytes(*bytes);
            rest = after;
        }
        let ours = *cluster == self.cluster
            && (ids[2], ids[3]) == (self.node.get(), self.incarnation.get());
        ours.then(|| (NodeId::new(ids[0]), Incarnation::new(ids[1]), rest.to_vec()))
    }
}

/// Up and down, as one node was told, with the time.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Told {
    Up(usize, Incarnation),
    Down(usize, Incarnation),
    Fenced,
}

struct Machine {
    membership: Membership<FakeSeal>,
    told: Vec<(Instant, Told)>,
    paused_until: Instant,
    alive: bool,
}

struct World {
    seed: u64,
    rng: ChaCha8Rng,
    now: Instant,
    machines: Vec<Machine>,
    flights: BTreeMap<(Instant, u64), (usize, usize, Vec<u8>)>,
    flight_next: u64,
    loss_percent: u64,
    delay_max: Duration,
    side: Vec<u8>,
    cluster: Vec<u8>,
}

const STEP: Duration = Duration::from_millis(5);

fn address(index: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, index as u8 + 1)), 7700)
}

fn node(index: usize) -> NodeId {
    NodeId::new(index as u64 + 1)
}

impl World {
    fn new(seed: u64, count: usize) -> Self {
        let mut world = World {
            seed,
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: Instant::ZERO,
            machines: Vec::new(),
            flights: BTreeMap::new(),
            flight_next: 0,
            loss_percent: 0,
            delay_max: Duration::from_millis(2),
            side: vec![0; count],
            cluster: vec![1; count],
        };
        for index in 0..count {
            let machine = world.boot(index, 0);
            world.machines.push(machine);
        }
        world
    }

    fn boot(&mut self, index: usize, birth: u64) -> Machine {
        let incarnation = Incarnation::new(self.rng.next_u64());
        let config = Config {
            node: node(index),
            incarnation,
            birth,
            address: address(index),
            name: format!("m{index}"),
            shards: 1,
            seeds: vec![],
            seed: [self.rng.next_u32() as u8; 32],
        };
        let seal = FakeSeal { cluster: self.cluster[index], node: node(index), incarnation };
        Machine {
            membership: Membership::new(config, seal, self.now),
            told: Vec::new(),
            paused_until: Instant::ZERO,
            alive: true,
        }
    }

    fn reboot(&mut self, index: usize, birth: u64) {
        let told = core::mem::take(&mut self.machines[index].told);
        self.machines[index] = self.boot(index, birth);
        self.machines[index].told = told;
    }

    fn life(&self, index: usize) -> Incarnation {
        self.machines[index].membership.me().incarnation
    }

    fn send(&mut self, from: usize, to: SocketAddr, bytes: &[u8]) {
        for index in 0..self.machines.len() {
            let meant = to == address(index) || to.ip() == IpAddr::V4(Ipv4Addr::BROADCAST);
            let lost = self.rng.next_u64() % 100 < self.loss_percent;
            if index == from || !meant || lost || self.side[index] != self.side[from] {
                continue;
            }
            let delay = self.rng.next_u64() % self.delay_max.as_nanos();
            let at = self.now + Duration::from_nanos(delay);
            self.flights.insert((at, self.flight_next), (from, index, bytes.to_vec()));
            self.flight_next += 1;
        }
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now += STEP;
            while let Some(flight) = self.flights.first_entry() {
                if flight.key().0 > self.now {
                    break;
                }
                let ((_, number), (from, to, bytes)) = flight.remove_entry();
                let machine = &mut self.machines[to];
                if self.now < machine.paused_until {
                    self.flights.insert((machine.paused_until, number), (from, to, bytes));
                } else if machine.alive {
                    machine.membership.datagram(address(from), &bytes, self.now);
                    self.drain(to);
                }
            }
            for index in 0..self.machines.len() {
                let machine = &mut self.machines[index];
                if machine.alive && self.now >= machine.paused_until {
                    machine.membership.tick(self.now);
                    self.drain(index);
                }
            }
        }
    }

    fn drain(&mut self, index: usize) {
        while let Some(event) = self.machines[index].membership.poll() {
            let told = match event {
                Event::Datagram { to, bytes } => {
                    self.send(index, to, &bytes);
                    continue;
                }
                Event::NodeUp(member) => {
                    Told::Up(member.node.get() as usize - 1, member.incarnation)
                }
                Event::NodeDown { node, incarnation } => {
                    Told::Down(node.get() as usize - 1, incarnation)
                }
                Event::Fenced => Told::Fenced,
            };
            let fenced = told == Told::Fenced;
            self.machines[index].told.push((self.now, told));
            if fenced {
                let birth = self.machines[index].membership.me().birth + 1;
                self.reboot(index, birth);
            }
        }
    }

    fn joined(&self) -> bool {
        let alive: Vec<usize> =
            (0..self.machines.len()).filter(|i| self.machines[*i].alive).collect();
        alive.iter().all(|me| {
            let membership = &self.machines[*me].membership;
            membership.up().count() == alive.len() - 1
                && alive.iter().filter(|other| *other != me).all(|other| {
                    membership.get(node(*other)).map(|m| m.incarnation) == Some(self.life(*other))
                })
        })
    }

    fn run_until_joined(&mut self, most: Duration) {
        let start = self.now;
        while !self.joined() {
            assert!(self.now.since(start) < most, "seed {}: not joined within {most}", self.seed);
            self.run(STEP);
        }
    }

    fn downs(&self, index: usize) -> Vec<&(Instant, Told)> {
        let told = self.machines[index].told.iter();
        told.filter(|(_, told)| !matches!(told, Told::Up(..))).collect()
    }
}

#[test]
fn three_nodes_join_within_a_second_even_with_loss() {
    for seed in 0..100 {
        let mut world = World::new(seed, 3);
        world.loss_percent = seed % 20;
        world.run_until_joined(Duration::from_secs(if seed % 20 == 0 { 1 } else { 3 }));
    }
}

#[test]
fn a_killed_node_is_told_down_within_five_seconds_once() {
    for seed in 0..60 {
        let mut world = World::new(seed, 3);
        world.loss_percent = seed % 5;
        world.run_until_joined(Duration::from_secs(3));
        let wait = Duration::from_millis(world.rng.next_u64() % 3_000);
        world.run(wait);
        let (killed, at) = (world.life(2), world.now);
        world.machines[2].alive = false;
        world.run(Duration::from_secs(8));
        for survivor in 0..2 {
            let downs = world.downs(survivor);
            let [(when, Told::Down(2, life))] = downs[..] else {
                panic!("seed {seed}: node {survivor} was told {downs:?}");
            };
            assert_eq!(*life, killed, "seed {seed}");
            let took = when.since(at);
            assert!(took <= Duration::from_secs(5), "seed {seed}: detection took {took}");
        }
    }
}

#[test]
fn loss_and_short_pauses_raise_no_false_alarm() {
    for seed in 0..20 {
        let mut world = World::new(seed, 3);
        world.loss_percent = 3;
        world.delay_max = Duration::from_millis(80);
        world.run_until_joined(Duration::from_secs(3));
        for _ in 0..12 {
            let victim = (world.rng.next_u64() % 3) as usize;
            let pause = Duration::from_millis(world.rng.next_u64() % 2_000);
            world.machines[victim].paused_until = world.now + pause;
            world.run(Duration::from_secs(5));
        }
        for index in 0..3 {
            assert!(world.downs(index).is_empty(), "seed {seed}: {:?}", world.downs(index));
        }
    }
}

#[test]
fn a_node_paused_for_long_fences_itself_and_comes_back_as_another() {
    for seed in 0..30 {
        let mut world = World::new(seed, 3);
        world.run_until_joined(Duration::from_secs(2));
        let before = world.life(1);
        world.machines[1].paused_until = world.now + Duration::from_secs(8);
        world.run(Duration::from_secs(8));
        assert!(world.downs(0).iter().any(|(_, t)| *t == Told::Down(1, before)), "seed {seed}");
        world.run_until_joined(Duration::from_secs(4));
        assert_ne!(world.life(1), before, "seed {seed}: a dead life came back");
        assert!(world.machines[1].told.iter().any(|(_, t)| *t == Told::Fenced));
        for index in [0, 2] {
            let all = world.downs(index);
            assert_eq!(all.len(), 1, "seed {seed}: node {index} was told {all:?}");
        }
    }
}

#[test]
fn after_a_partition_only_the_smaller_side_gives_way() {
    for seed in 0..30 {
        let mut world = World::new(seed, 3);
        world.run_until_joined(Duration::from_secs(2));
        let lives = [world.life(0), world.life(1), world.life(2)];
        world.side[0] = 1;
        world.run(Duration::from_secs(10));
        world.side[0] = 0;
        world.run_until_joined(Duration::from_secs(8));
        assert_ne!(world.life(0), lives[0], "seed {seed}");
        assert_eq!([world.life(1), world.life(2)], lives[1..], "seed {seed}");
        world.run(Duration::from_secs(10));
        assert!(world.joined(), "seed {seed}: it did not last");
        for index in [1, 2] {
            let all = world.downs(index);
            assert_eq!(all.len(), 1, "seed {seed}: node {index} was told {all:?}");
        }
    }
}

#[test]
fn of_two_equal_sides_exactly_one_gives_way() {
    for seed in 0..30 {
        let mut world = World::new(seed, 2);
        world.run_until_joined(Duration::from_secs(2));
        let lives = [world.life(0), world.life(1)];
        world.side[0] = 1;
        world.run(Duration::from_secs(10));
        world.side[0] = 0;
        world.run_until_joined(Duration::from_secs(8));
        assert_eq!(world.life(0), lives[0], "seed {seed}");
        assert_ne!(world.life(1), lives[1], "seed {seed}");
    }
}

#[test]
fn a_node_that_reboots_at_once_replaces_its_former_life() {
    for seed in 0..40 {
        let mut world = World::new(seed, 3);
        world.run_until_joined(Duration::from_secs(2));
        for _ in 0..3 {
            let before = world.life(2);
            world.reboot(2, 0);
            world.run_until_joined(Duration::from_secs(2));
            for index in 0..2 {
                let downs = world.downs(index);
                let last = downs.last().map(|(_, told)| told.clone());
                assert_eq!(last, Some(Told::Down(2, before)), "seed {seed}");
            }
        }
        assert_eq!(world.downs(0).len(), 3, "seed {seed}");
    }
}

#[test]
fn a_node_that_another_gives_up_fences_itself() {
    for seed in 0..20 {
        let mut world = World::new(seed, 3);
        world.run_until_joined(Duration::from_secs(2));
        let before = world.life(2);
        let now = world.now;
        world.machines[0].membership.declare_dead(node(2), now);
        world.drain(0);
        world.run(Duration::from_secs(1));
        world.run_until_joined(Duration::from_secs(4));
        assert_ne!(world.life(2), before, "seed {seed}");
        for index in 0..2 {
            let all = world.downs(index);
            assert!(matches!(all[..], [(_, Told::Down(2, life))] if *life == before), "{all:?}");
        }
    }
}

#[test]
fn another_cluster_on_the_same_network_is_not_seen() {
    let mut world = World::new(7, 3);
    world.cluster[2] = 9;
    world.reboot(2, 0);
    world.run(Duration::from_secs(10));
    assert_eq!(world.machines[0].membership.up().count(), 1);
    assert_eq!(world.machines[2].membership.up().count(), 0);
}

#[test]
fn hostile_datagrams_change_nothing() {
    for seed in 0..5 {
        let mut world = World::new(seed, 3);
        world.run_until_joined(Duration::from_secs(2));
        for _ in 0..2_000 {
            let mut bytes = match world.flights.values().next() {
                Some((_, _, real)) => real.clone(),
                None => vec![0; (world.rng.next_u64() % 1_500) as usize],
            };
            if world.rng.next_u64().is_multiple_of(2) || bytes.is_empty() {
                bytes = vec![0; (world.rng.next_u64() % 1_500) as usize];
                world.rng.fill_bytes(&mut bytes);
                if let Some(first) = bytes.first_mut() {
                    *first %= 4;
                }
            } else {
                let at = world.rng.next_u64() as usize % bytes.len();
                // Not within the ids that the real seal authenticates.
                let at = if bytes[0] == 2 { at.max(34) } else { at.max(10) };
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (world.rng.next_u64() % 8);
                }
            }
            let victim = (world.rng.next_u64() % 2) as usize;
            world.machines[victim].membership.datagram(address(2), &bytes, world.now);
            world.drain(victim);
            if world.rng.next_u64().is_multiple_of(8) {
                world.run(STEP);
            }
        }
        // Mutated letters may have told lies, but the cluster finds together again.
        world.run_until_joined(Duration::from_secs(15));
    }
}

#[test]
fn a_node_is_called_what_its_certificate_says() {
    // Each says of itself that it is `m` and its number; its certificate says otherwise.
    let mut world = World::new(31, 3);
    world.run(Duration::from_secs(3));
    for machine in &world.machines {
        let up: Vec<_> = machine.membership.up().collect();
        assert_eq!(up.len(), 2);
        for member in up {
            assert_eq!(member.name, member.node.to_string());
        }
    }
}

#[test]
fn a_node_that_was_cut_off_buries_nobody_whom_the_others_see() {
    let mut hurt = Vec::new();
    for seed in 0..120 {
        let count = 3 + (seed % 3) as usize;
        let mut world = World::new(seed, count);
        world.run_until_joined(Duration::from_secs(3));
        let lives: Vec<_> = (1..count).map(|index| world.life(index)).collect();
        world.side[0] = 1;
        // Not so long that the others have declared it dead.
        world.run(Duration::from_millis(1_000 + seed * 29));
        world.side[0] = 0;
        world.run(Duration::from_secs(10));
        let after: Vec<_> = (1..count).map(|index| world.life(index)).collect();
        if after != lives {
            hurt.push(seed);
        }
    }
    assert!(hurt.is_empty(), "seeds {hurt:?}: a healthy node had to begin anew");
}

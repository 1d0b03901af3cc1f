//! The switch as a value: a frame comes in at a port, and out come the ports it leaves by.
//!
//! Owns the table of learned addresses, the faults of each port and direction, and the cuts
//! between ports. No socket, no thread, no clock: time is an argument and chance comes from the
//! seed, so the same frames meet the same fate. Neighbour: `lan` hosts it.

use super::frame::{Mac, addresses};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Ports of one switch.
pub const PORTS_MAX: usize = 256;
/// Addresses learned; beyond that, frames for new ones are flooded.
const MACS_MAX: usize = 4096;

/// Names a port of its LAN; never given to another port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub(crate) u64);

/// A direction of travel, as seen from the machine at the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the machine into the LAN.
    FromMachine,
    /// From the LAN to the machine.
    ToMachine,
}

/// Which way a cut between two ports works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Only frames from the first to the second are lost.
    OneWay,
    /// Frames both ways are lost.
    Both,
}

/// What goes wrong with frames in one direction of one port. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// The chance, from 0 to 1, that a frame is lost.
    pub loss: f64,
    /// The chance, from 0 to 1, that a frame comes twice.
    pub duplication: f64,
    /// How much later each frame comes.
    pub delay: Duration,
    /// Up to how much later still, by chance: frames overtake one another.
    pub jitter: Duration,
    /// What the link carries at most, in bits per second; frames wait for their turn.
    pub bits_per_second: Option<u64>,
}

pub(super) struct Switch {
    seed: u64,
    next: u64,
    ports: Vec<PortState>,
    learned: HashMap<Mac, PortId>,
    cuts: HashSet<(PortId, PortId)>,
}

struct PortState {
    id: PortId,
    from_machine: Link,
    to_machine: Link,
}

impl Switch {
    pub(super) fn new(seed: u64) -> Switch {
        Switch { seed, next: 0, ports: Vec::new(), learned: HashMap::new(), cuts: HashSet::new() }
    }

    /// A new port, or `None` when there are [`PORTS_MAX`].
    pub(super) fn attach(&mut self) -> Option<PortId> {
        if self.ports.len() == PORTS_MAX {
            return None;
        }
        let id = PortId(self.next);
        self.next += 1;
        self.ports.push(PortState {
            id,
            from_machine: Link::new(self.seed, id.0 * 2),
            to_machine: Link::new(self.seed, id.0 * 2 + 1),
        });
        Some(id)
    }

    /// Forgets the port and what was learned at it.
    pub(super) fn detach(&mut self, port: PortId) {
        self.ports.retain(|state| state.id != port);
        self.learned.retain(|_, at| *at != port);
        self.cuts.retain(|(from, to)| *from != port && *to != port);
    }

    pub(super) fn set_faults(&mut self, port: PortId, direction: Direction, faults: Faults) {
        if let Some(state) = self.ports.iter_mut().find(|state| state.id == port) {
            match direction {
                Direction::FromMachine => state.from_machine.faults = faults,
                Direction::ToMachine => state.to_machine.faults = faults,
            }
        }
    }

    pub(super) fn cut(&mut self, from: PortId, to: PortId, cut: Cut) {
        self.cuts.insert((from, to));
        if cut == Cut::Both {
            self.cuts.insert((to, from));
        }
    }

    pub(super) fn heal(&mut self) {
        self.cuts.clear();
    }

    /// Decides about one frame. `deliver` is called for each copy that leaves, with its port and
    /// the time it arrives there.
    pub(super) fn forward(
        &mut self,
        from: PortId,
        frame: &[u8],
        now: Instant,
        mut deliver: impl FnMut(PortId, Instant),
    ) {
        let Some((destination, source)) = addresses(frame) else { return };
        self.learn(source, from);
        let known = self.learned.get(&destination).copied();
        if known == Some(from) {
            return;
        }
        let Some(ingress) = self.ports.iter_mut().find(|state| state.id == from) else { return };
        let arrivals = ingress.from_machine.carry(frame.len(), now);
        for state in &mut self.ports {
            let chosen = known.is_none_or(|known| known == state.id);
            if state.id == from || !chosen || self.cuts.contains(&(from, state.id)) {
                continue;
            }
            for arrival in arrivals.into_iter().flatten() {
                for due in state.to_machine.carry(frame.len(), arrival).into_iter().flatten() {
                    deliver(state.id, due);
                }
            }
        }
    }

    fn learn(&mut self, source: Mac, port: PortId) {
        let room = self.learned.len() < MACS_MAX || self.learned.contains_key(&source);
        if room && !source.is_group() {
            self.learned.insert(source, port);
        }
    }
}

/// One direction of one port.
struct Link {
    faults: Faults,
    chance: Chance,
    /// When a link of limited rate has sent what it took so far.
    free_at: Option<Instant>,
}

impl Link {
    fn new(seed: u64, stream: u64) -> Link {
        Link { faults: Faults::default(), chance: Chance::new(seed, stream), free_at: None }
    }

    /// When the frame and its duplicate come out at the far end.
    fn carry(&mut self, bytes: usize, now: Instant) -> [Option<Instant>; 2] {
        if self.faults == Faults::default() {
            return [Some(now), None];
        }
        if self.chance.happens(self.faults.loss) {
            return [None, None];
        }
        let twice = self.chance.happens(self.faults.duplication);
        let first = self.arrival(bytes, now);
        [Some(first), twice.then(|| self.arrival(bytes, now))]
    }

    fn arrival(&mut self, bytes: usize, now: Instant) -> Instant {
        let mut due = now;
        if let Some(rate) = self.faults.bits_per_second {
            let nanos = (bytes as u64 * 8).saturating_mul(1_000_000_000) / rate.max(1);
            due = self.free_at.unwrap_or(now).max(now) + Duration::from_nanos(nanos);
            self.free_at = Some(due);
        }
        due + self.faults.delay + self.faults.jitter.mul_f64(self.chance.fraction())
    }
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
struct Chance(u64);

impl Chance {
    fn new(seed: u64, stream: u64) -> Chance {
        let mut mixed = Chance(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        Chance(mixed.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// At least 0 and less than 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn happens(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 2]);
    const ALL: Mac = Mac([0xff; 6]);

    fn frame(to: Mac, from: Mac) -> Vec<u8> {
        [&to.0[..], &from.0[..], &[0x08, 0x00], &[0; 46]].concat()
    }

    fn sent(
        switch: &mut Switch,
        from: PortId,
        frame: &[u8],
        now: Instant,
    ) -> Vec<(PortId, Instant)> {
        let mut out = Vec::new();
        switch.forward(from, frame, now, |port, due| out.push((port, due)));
        out
    }

    fn switch_of_three() -> (Switch, [PortId; 3]) {
        let mut switch = Switch::new(1);
        let ports = [(); 3].map(|()| switch.attach().unwrap());
        (switch, ports)
    }

    #[test]
    fn it_floods_until_it_has_learned() {
        let (mut switch, [a, b, c]) = switch_of_three();
        let now = Instant::now();
        assert_eq!(sent(&mut switch, a, &frame(B, A), now), [(b, now), (c, now)]);
        assert_eq!(sent(&mut switch, b, &frame(A, B), now), [(a, now)]);
        assert_eq!(sent(&mut switch, a, &frame(B, A), now), [(b, now)]);
        assert_eq!(sent(&mut switch, a, &frame(ALL, A), now), [(b, now), (c, now)]);
        // A frame for someone at the port it came from goes nowhere.
        assert_eq!(sent(&mut switch, a, &frame(A, A), now), []);
        // A machine that moves is found at its new port.
        assert_eq!(sent(&mut switch, c, &frame(A, B), now), [(a, now)]);
        assert_eq!(sent(&mut switch, a, &frame(B, A), now), [(c, now)]);
        switch.detach(c);
        assert_eq!(sent(&mut switch, a, &frame(B, A), now), [(b, now)]);
    }

    #[test]
    fn nonsense_is_dropped_and_not_learned() {
        let (mut switch, [a, b, c]) = switch_of_three();
        let now = Instant::now();
        assert_eq!(sent(&mut switch, a, &[], now), []);
        assert_eq!(sent(&mut switch, a, &[0xff; 13], now), []);
        assert_eq!(sent(&mut switch, a, &frame(B, ALL), now), [(b, now), (c, now)]);
        assert!(switch.learned.is_empty());
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut switch, [a, ..]) = switch_of_three();
        let now = Instant::now();
        for number in 0..MACS_MAX as u32 + 10 {
            let [p, q, r, s] = number.to_be_bytes();
            sent(&mut switch, a, &frame(B, Mac([2, 1, p, q, r, s])), now);
        }
        assert_eq!(switch.learned.len(), MACS_MAX);
    }

    #[test]
    fn ports_are_bounded_and_their_names_not_used_again() {
        let mut switch = Switch::new(1);
        let ports: Vec<_> = (0..PORTS_MAX).map(|_| switch.attach().unwrap()).collect();
        assert_eq!(switch.attach(), None);
        switch.detach(ports[3]);
        let next = switch.attach().unwrap();
        assert!(!ports.contains(&next));
    }

    #[test]
    fn cuts_work_one_way_or_both_and_heal() {
        let (mut switch, [a, b, c]) = switch_of_three();
        let now = Instant::now();
        sent(&mut switch, a, &frame(ALL, A), now);
        sent(&mut switch, b, &frame(ALL, B), now);
        switch.cut(a, b, Cut::OneWay);
        assert_eq!(sent(&mut switch, a, &frame(B, A), now), []);
        assert_eq!(sent(&mut switch, a, &frame(ALL, A), now), [(c, now)]);
        assert_eq!(sent(&mut switch, b, &frame(A, B), now), [(a, now)]);
        switch.cut(a, b, Cut::Both);
        assert_eq!(sent(&mut switch, b, &frame(A, B), now), []);
        switch.heal();
        assert_eq!(sent(&mut switch, a, &frame(B, A), now), [(b, now)]);
    }

    #[test]
    fn loss_and_duplication_come_at_their_rate_and_from_the_seed() {
        let run = |seed| {
            let mut switch = Switch::new(seed);
            let (a, b) = (switch.attach().unwrap(), switch.attach().unwrap());
            let faults = Faults { loss: 0.25, duplication: 0.5, ..Faults::default() };
            switch.set_faults(b, Direction::ToMachine, faults);
            let now = Instant::now();
            let copies = |switch: &mut Switch| sent(switch, a, &frame(B, A), now).len();
            (0..4000).map(|_| copies(&mut switch)).collect::<Vec<_>>()
        };
        let copies = run(5);
        let count = |wanted| copies.iter().filter(|&&copies| copies == wanted).count();
        assert!((850..1150).contains(&count(0)), "{} of 4000 lost, 1000 expected", count(0));
        assert!((1350..1650).contains(&count(2)), "{} of 4000 doubled, 1500 expected", count(2));
        assert_eq!(copies, run(5), "the same seed");
        assert_ne!(copies, run(6), "another seed");
    }

    #[test]
    fn faults_hold_for_their_port_and_direction_only() {
        let (mut switch, [a, b, c]) = switch_of_three();
        let now = Instant::now();
        let all_lost = Faults { loss: 1.0, ..Faults::default() };
        switch.set_faults(a, Direction::FromMachine, all_lost);
        assert_eq!(sent(&mut switch, a, &frame(ALL, A), now), []);
        assert_eq!(sent(&mut switch, b, &frame(A, B), now), [(a, now)]);
        assert_eq!(sent(&mut switch, b, &frame(ALL, B), now), [(a, now), (c, now)]);
    }

    #[test]
    fn delay_adds_up_and_rate_makes_a_queue() {
        let (mut switch, [a, b, c]) = switch_of_three();
        let now = Instant::now();
        let ms = Duration::from_millis;
        let late = |delay| Faults { delay: ms(delay), ..Faults::default() };
        switch.set_faults(a, Direction::FromMachine, late(10));
        switch.set_faults(b, Direction::ToMachine, late(5));
        let out = sent(&mut switch, a, &frame(ALL, A), now);
        assert_eq!(out, [(b, now + ms(15)), (c, now + ms(10))]);
        // 60 bytes at 48,000 bits per second take 10 ms each.
        let slow = Faults { bits_per_second: Some(48_000), ..Faults::default() };
        switch.set_faults(a, Direction::FromMachine, slow);
        switch.set_faults(b, Direction::ToMachine, Faults::default());
        for turn in 1..4 {
            let out = sent(&mut switch, a, &frame(ALL, A), now);
            assert_eq!(out[0], (b, now + ms(10 * turn)));
        }
    }

    #[test]
    fn jitter_reorders_within_its_bound() {
        let (mut switch, [a, b, _]) = switch_of_three();
        let now = Instant::now();
        let jitter = Duration::from_millis(50);
        switch.set_faults(b, Direction::ToMachine, Faults { jitter, ..Faults::default() });
        let dues: Vec<_> =
            (0..100).map(|_| sent(&mut switch, a, &frame(ALL, A), now)[0].1).collect();
        assert!(dues.iter().all(|due| (now..=now + jitter).contains(due)));
        assert!(!dues.is_sorted());
    }
}

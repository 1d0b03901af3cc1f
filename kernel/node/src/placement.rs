//! Where a process goes: how loaded each node is, and the choice between two.
//!
//! Owns [`Loads`], and adds to [`Control`] what this node says of itself. Placement `anywhere`
//! draws two candidates at random and takes the less loaded, counting what this node placed there
//! since the last it heard: two random choices keep the load even without everybody knowing
//! everything (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).

use crate::control::Control;
use crate::links::{Dest, Stamp};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use craton_abi::{Instant, NodeId};
use craton_wire::Body;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

/// What a node said of its load.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Load {
    pub(crate) processes: u32,
    pub(crate) memory_free: u64,
}

/// A node that may take a process.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) node: NodeId,
    pub(crate) shards: u8,
}

/// The loads of the other nodes, and what was placed where.
#[derive(Default)]
pub(crate) struct Loads {
    heard: BTreeMap<NodeId, Load>,
    placed: BTreeMap<NodeId, u32>,
}

impl Loads {
    /// A node said how loaded it is.
    pub(crate) fn heard(&mut self, node: NodeId, load: Load) {
        self.heard.insert(node, load);
        self.placed.remove(&node);
    }

    /// A process was sent to a node.
    pub(crate) fn placed(&mut self, node: NodeId) {
        let count = self.placed.entry(node).or_default();
        *count = count.saturating_add(1);
    }

    /// A node is gone.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.heard.remove(&node);
        self.placed.remove(&node);
    }

    pub(crate) fn get(&self, node: NodeId) -> Option<Load> {
        self.heard.get(&node).copied()
    }

    /// Of two of the candidates, drawn at random, the one with fewer processes for each shard.
    /// Those in `refused` are drawn only if there are no others.
    pub(crate) fn choose(
        &self,
        candidates: &[Candidate],
        refused: &[NodeId],
        rng: &mut ChaCha8Rng,
    ) -> Option<NodeId> {
        let fresh: Vec<Candidate> =
            candidates.iter().filter(|c| !refused.contains(&c.node)).copied().collect();
        let pool = if fresh.is_empty() { candidates } else { &fresh };
        let first = draw(pool.len(), rng)?;
        let Some(second) = draw(pool.len() - 1, rng) else { return Some(pool[first].node) };
        let second = if second >= first { second + 1 } else { second };
        let (a, b) = (pool[first], pool[second]);
        // a.processes / a.shards <= b.processes / b.shards, without dividing.
        let a_weight = self.processes(a.node) * u64::from(b.shards.max(1));
        let b_weight = self.processes(b.node) * u64::from(a.shards.max(1));
        Some(if a_weight <= b_weight { a.node } else { b.node })
    }

    fn processes(&self, node: NodeId) -> u64 {
        let heard = self.heard.get(&node).map_or(0, |load| load.processes);
        u64::from(heard) + u64::from(self.placed.get(&node).copied().unwrap_or(0))
    }
}

impl Control {
    /// Tells the other nodes how loaded this one is, if that changed.
    pub(crate) fn say_load(&mut self, now: Instant) {
        let load = self.load();
        if self.load_said == Some(load) {
            return;
        }
        let Some(membership) = &self.membership else { return };
        let nodes: Vec<NodeId> = membership.up().map(|member| member.node).collect();
        for node in nodes {
            let body = Body::Load { processes: load.processes, memory_free: load.memory_free };
            // A peer that cannot be told has other troubles; the next second tells it again.
            let _ = self.links.try_send(Dest::Node(node), Stamp::CONTROL, body, now);
        }
        self.load_said = Some(load);
    }

    /// How loaded this node is.
    pub(crate) fn load(&self) -> Load {
        let processes = u32::try_from(self.processes()).unwrap_or(u32::MAX);
        Load { processes, memory_free: self.memory_free }
    }

    /// Processes on this node, those that are ordered from its workers among them.
    pub(crate) fn processes(&self) -> usize {
        self.hosts.len() + self.crew.processes()
    }
}

fn draw(count: usize, rng: &mut ChaCha8Rng) -> Option<usize> {
    let count = u64::try_from(count).ok().filter(|count| *count > 0)?;
    usize::try_from(rng.next_u64() % count).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng;

    fn spread(loads: &mut Loads, shards: [u8; 3], count: usize) -> [u32; 3] {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let candidates: Vec<_> = (0..3u64)
            .map(|i| Candidate { node: NodeId::new(i), shards: shards[i as usize] })
            .collect();
        let mut taken = [0; 3];
        for _ in 0..count {
            let node = loads.choose(&candidates, &[], &mut rng).expect("there are candidates");
            loads.placed(node);
            taken[node.get() as usize] += 1;
        }
        taken
    }

    #[test]
    fn processes_spread_evenly_even_without_gossip() {
        let taken = spread(&mut Loads::default(), [1, 1, 1], 300);
        assert!(taken.iter().all(|count| (95..=105).contains(count)), "{taken:?}");
    }

    #[test]
    fn more_shards_take_more() {
        let taken = spread(&mut Loads::default(), [2, 1, 1], 400);
        assert!(taken[0] > 180, "{taken:?}");
    }

    #[test]
    fn what_was_heard_counts() {
        let mut loads = Loads::default();
        loads.heard(NodeId::new(0), Load { processes: 1_000, memory_free: 0 });
        assert!(spread(&mut loads, [1, 1, 1], 100)[0] < 5);
    }

    #[test]
    fn who_refused_is_asked_last() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let loads = Loads::default();
        let [a, b] = [1, 2].map(|id| Candidate { node: NodeId::new(id), shards: 1 });
        for _ in 0..50 {
            assert_eq!(loads.choose(&[a, b], &[a.node], &mut rng), Some(b.node));
        }
        assert_eq!(loads.choose(&[a], &[a.node], &mut rng), Some(a.node));
        assert_eq!(loads.choose(&[], &[], &mut rng), None);
    }
}

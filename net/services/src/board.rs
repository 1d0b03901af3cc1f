//! What the CPUs tell one another of themselves, for status pages and for each stack's addresses.
//!
//! Owns [`Board`]. Each CPU writes what is its own and any may read all. The locks are held for a
//! copy, never two at once, and by no interrupt handler. What is told is its user's business: the
//! kernel hosts it, and so does the test.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use craton_abi::Duration;
use craton_net::{Address, Announced};
use spin::Mutex;

/// What is told, by all CPUs to all: of the card, of the node, of each CPU.
pub struct Board<Card, Node, Cpu> {
    /// What does not change.
    pub card: Card,
    node: Mutex<Option<Node>>,
    addresses: Mutex<(Option<Address>, Announced)>,
    /// Rises whenever the addresses change.
    version: AtomicU64,
    cpus: Vec<CpuBoard<Cpu>>,
}

#[derive(Default)]
struct CpuBoard<Cpu> {
    facts: Mutex<Cpu>,
    /// How long it slept.
    idle_nanos: AtomicU64,
}

impl<Card, Node: Clone, Cpu: Copy + Default> Board<Card, Node, Cpu> {
    /// An empty one for so many CPUs.
    pub fn new(cpus: usize, card: Card) -> Arc<Self> {
        Arc::new(Board {
            card,
            node: Mutex::new(None),
            addresses: Mutex::new((None, Announced::default())),
            version: AtomicU64::new(0),
            cpus: (0..cpus).map(|_| CpuBoard::default()).collect(),
        })
    }

    /// The node says of itself.
    pub fn tell_node(&self, facts: Node) {
        *self.node.lock() = Some(facts);
    }

    /// What the node said last, if it has yet.
    pub fn node(&self) -> Option<Node> {
        self.node.lock().clone()
    }

    /// The node's addresses are these from now on.
    pub fn tell_addresses(&self, address: Option<Address>, announced: Announced) {
        *self.addresses.lock() = (address, announced);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The node's addresses, if they are not those of the version `seen`, which is renewed.
    pub fn addresses(&self, seen: &mut u64) -> Option<(Option<Address>, Announced)> {
        let version = self.version.load(Ordering::Acquire);
        if version == *seen {
            return None;
        }
        // Those of a later version are right too; they will be taken twice.
        *seen = version;
        Some(self.addresses.lock().clone())
    }

    /// A CPU says of itself.
    pub fn tell(&self, cpu: usize, facts: Cpu) {
        *self.cpus[cpu].facts.lock() = facts;
    }

    /// A CPU slept.
    pub fn slept(&self, cpu: usize, span: Duration) {
        self.cpus[cpu].idle_nanos.fetch_add(span.as_nanos(), Ordering::Relaxed);
    }

    /// What each CPU said last, and how long it slept.
    pub fn cpus(&self) -> impl Iterator<Item = (Cpu, Duration)> {
        self.cpus.iter().map(|cpu| {
            let idle = Duration::from_nanos(cpu.idle_nanos.load(Ordering::Relaxed));
            (*cpu.facts.lock(), idle)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    extern crate std;

    /// Two numbers that are always told together.
    type Pair = (u64, u64);

    const ROUNDS: u64 = 1000;

    fn address(last: u64) -> Option<Address> {
        let address = Ipv4Addr::new(10, 0, 0, last as u8);
        Some(Address { address, prefix: 24, gateway: None, name_servers: Vec::new() })
    }

    #[test]
    fn addresses_are_taken_once_and_are_the_latest() {
        let board = Board::<(), (), Pair>::new(1, ());
        let mut seen = 0;
        assert!(board.addresses(&mut seen).is_none(), "nothing was told");
        board.tell_addresses(address(1), Announced::default());
        board.tell_addresses(address(2), Announced::default());
        let mut other = 0;
        for seen in [&mut seen, &mut other] {
            let (found, _) = board.addresses(seen).expect("they are new");
            assert_eq!(found, address(2));
            assert!(board.addresses(seen).is_none(), "twice");
        }
        board.tell_addresses(None, Announced::default());
        assert_eq!(board.addresses(&mut seen).expect("they are gone").0, None);
    }

    #[test]
    fn each_cpu_has_a_place_of_its_own_and_the_node_another() {
        let board = Board::<u32, Pair, Pair>::new(3, 7);
        assert_eq!((board.card, board.node()), (7, None));
        board.tell_node((5, 6));
        board.tell(1, (1, 2));
        board.slept(2, Duration::from_micros(3));
        board.slept(2, Duration::from_micros(4));
        assert_eq!(board.node(), Some((5, 6)));
        let nothing = Duration::ZERO;
        let told = [((0, 0), nothing), ((1, 2), nothing), ((0, 0), Duration::from_micros(7))];
        assert_eq!(board.cpus().collect::<Vec<_>>(), told);
    }

    #[test]
    fn who_reads_while_others_write_finds_what_was_told_at_once() {
        let board = Board::<(), Pair, Pair>::new(2, ());
        std::thread::scope(|scope| {
            for cpu in 0..2 {
                let board = &board;
                scope.spawn(move || {
                    for round in 1..=ROUNDS {
                        board.tell(cpu, (round, round));
                        board.tell_node((round, round));
                        board.tell_addresses(address(round % 200), Announced::default());
                    }
                });
            }
            let mut before = 0;
            while before < 2 * ROUNDS {
                let cpus: Vec<Pair> = board.cpus().map(|(pair, _)| pair).collect();
                let node = board.node().unwrap_or_default();
                for (first, second) in cpus.iter().chain([&node]) {
                    assert_eq!(first, second, "half of one and half of another");
                }
                let now = cpus.iter().map(|(first, _)| first).sum();
                assert!(now >= before, "an earlier one came back");
                before = now;
            }
        });
        let mut seen = 0;
        assert_eq!(board.addresses(&mut seen).expect("they were told").0, address(ROUNDS % 200));
        assert_eq!(seen, 2 * ROUNDS);
    }
}

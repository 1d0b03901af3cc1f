//! Which of the machines that have connections are alive.
//!
//! Owns the decision to reset the connections of a dead machine. It rests on any frame of the
//! machine, not on TCP's own timeout: smoltcp's probes of a closed window come ever more seldom,
//! so that timeout would end a connection whose reader only takes its time. A silent machine is
//! asked by ARP, which every stack answers. Neighbour: `router` asks and hears.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// A machine is asked so many times within the silence that makes it dead.
const QUESTIONS: u32 = 4;

pub(super) struct Guests {
    silence_max: Duration,
    known: HashMap<Ipv4Addr, Guest>,
}

struct Guest {
    connections: usize,
    heard: Instant,
    asked: Instant,
}

impl Guests {
    pub(super) fn new(silence_max: Duration) -> Guests {
        Guests { silence_max, known: HashMap::new() }
    }

    /// A connection to the machine begins; its silence counts from the first one.
    pub(super) fn add(&mut self, address: Ipv4Addr, now: Instant) {
        let guest =
            self.known.entry(address).or_insert(Guest { connections: 0, heard: now, asked: now });
        guest.connections += 1;
    }

    /// A connection to the machine has ended.
    pub(super) fn remove(&mut self, address: Ipv4Addr) {
        if let Some(guest) = self.known.get_mut(&address) {
            guest.connections -= 1;
            if guest.connections == 0 {
                self.known.remove(&address);
            }
        }
    }

    /// A frame came from the machine.
    pub(super) fn hear(&mut self, address: Ipv4Addr, now: Instant) {
        if let Some(guest) = self.known.get_mut(&address) {
            guest.heard = now;
        }
    }

    /// The machines to ask now whether they are there.
    #[must_use]
    pub(super) fn ask(&mut self, now: Instant) -> Vec<Ipv4Addr> {
        let pause = self.silence_max / QUESTIONS;
        let silent = self.known.iter_mut().filter(|(_, guest)| now >= guest.quiet_since() + pause);
        silent
            .map(|(address, guest)| {
                guest.asked = now;
                *address
            })
            .collect()
    }

    pub(super) fn is_dead(&self, address: Ipv4Addr, now: Instant) -> bool {
        self.known.get(&address).is_some_and(|guest| now >= guest.heard + self.silence_max)
    }

    /// When the next question or death is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let pause = self.silence_max / QUESTIONS;
        let times =
            |guest: &Guest| (guest.quiet_since() + pause).min(guest.heard + self.silence_max);
        self.known.values().map(times).min()
    }
}

impl Guest {
    fn quiet_since(&self) -> Instant {
        self.heard.max(self.asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);

    #[test]
    fn a_silent_machine_is_asked_and_then_dead() {
        let mut guests = Guests::new(Duration::from_secs(8));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        guests.add(A, start);
        assert_eq!(guests.deadline(), Some(at(2)));
        assert!(guests.ask(at(1)).is_empty());
        assert_eq!(guests.ask(at(2)), [A]);
        assert!(guests.ask(at(3)).is_empty());
        guests.hear(A, at(3));
        assert_eq!(guests.ask(at(5)), [A]);
        assert_eq!(guests.ask(at(7)), [A]);
        assert_eq!(guests.ask(at(9)), [A]);
        assert!(!guests.is_dead(A, at(10)));
        assert_eq!(guests.deadline(), Some(at(11)));
        assert!(guests.is_dead(A, at(11)));
    }

    #[test]
    fn a_machine_without_connections_is_nobody_to_ask() {
        let mut guests = Guests::new(Duration::from_secs(8));
        let start = Instant::now();
        guests.add(A, start);
        guests.add(A, start);
        guests.remove(A);
        assert!(guests.deadline().is_some());
        guests.remove(A);
        guests.remove(A);
        guests.hear(A, start);
        assert_eq!(guests.deadline(), None);
        assert!(!guests.is_dead(A, start + Duration::from_secs(100)));
    }
}

//! Who is on the link: address resolution with each neighbour on its own.
//!
//! Owns [`Neighbours`], a bounded table. It learns by the rules by which smoltcp learns, forgets
//! sooner and holds fewer, so that whoever is known here can be sent to by smoltcp at once.
//!
//! ```text
//!            want (1)              answer (2)
//!  (absent) ─────────▶ Asking ───────────────▶ Known ──┐ any packet: lives on (3)
//!     ▲                  │ ▲                     │  ▲  │
//!     └──────────────────┘ └─────────────────────┘  └──┘
//!       tries used up (4)     lifetime over, wanted (5)
//! ```

use crate::limit;
use crate::sight;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use craton_abi::Instant;
use smoltcp::wire::EthernetAddress;

/// The neighbours of one interface.
#[derive(Default)]
pub(crate) struct Neighbours {
    entries: Vec<Entry>,
}

struct Entry {
    address: Ipv4Addr,
    state: State,
}

enum State {
    Asking { asked: u8, next_at: Instant },
    Known { mac: EthernetAddress, until: Instant },
}

/// Whether a neighbour can be sent to.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// Now.
    Known,
    /// Not yet: it is being asked for.
    Asking,
    /// No: it does not answer, or there is no room to ask.
    Silent,
}

impl Neighbours {
    /// Forgets everybody, as smoltcp does when the address changes.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Whether `address` can be sent to; starts to ask for it if it is unknown.
    pub(crate) fn want(&mut self, address: Ipv4Addr, now: Instant) -> Answer {
        let asking = State::Asking { asked: 0, next_at: now };
        match self.find(address) {
            Some(Entry { state: State::Known { until, .. }, .. }) if *until > now => Answer::Known,
            Some(Entry { state: State::Asking { .. }, .. }) => Answer::Asking,
            Some(entry) => {
                entry.state = asking;
                Answer::Asking
            }
            None => self.enter(address, asking),
        }
    }

    /// What is known of `address` after a [`want`](Self::want).
    pub(crate) fn answer(&self, address: Ipv4Addr, now: Instant) -> Answer {
        match self.entries.iter().find(|entry| entry.address == address) {
            Some(Entry { state: State::Known { until, .. }, .. }) if *until > now => Answer::Known,
            Some(Entry { state: State::Asking { .. }, .. }) => Answer::Asking,
            _ => Answer::Silent,
        }
    }

    /// Takes note of who sent a frame.
    pub(crate) fn heard(&mut self, heard: sight::Neighbour, now: Instant) {
        let fresh = now + limit::NEIGHBOUR_LIFETIME;
        match self.find(heard.address) {
            Some(Entry { state: State::Known { mac, until }, .. })
                if !heard.by_arp && *mac == heard.mac =>
            {
                *until = fresh;
            }
            Some(entry) if heard.by_arp => {
                entry.state = State::Known { mac: heard.mac, until: fresh };
            }
            None if heard.by_arp => {
                self.enter(heard.address, State::Known { mac: heard.mac, until: fresh });
            }
            _ => {}
        }
    }

    /// The next address to ask for now, if any; the question counts as asked. Those that never
    /// answered are forgotten.
    pub(crate) fn question(&mut self, now: Instant) -> Option<Ipv4Addr> {
        self.entries.retain(|entry| match entry.state {
            State::Asking { asked, next_at } => asked < limit::NEIGHBOUR_TRIES || next_at > now,
            State::Known { .. } => true,
        });
        for entry in &mut self.entries {
            if let State::Asking { asked, next_at } = &mut entry.state
                && *next_at <= now
            {
                *asked += 1;
                *next_at = now + limit::NEIGHBOUR_RETRY;
                return Some(entry.address);
            }
        }
        None
    }

    /// When the next question is due, or a silent neighbour is to be given up.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let due = self.entries.iter().filter_map(|entry| match entry.state {
            State::Asking { next_at, .. } => Some(next_at),
            State::Known { .. } => None,
        });
        due.min()
    }

    fn find(&mut self, address: Ipv4Addr) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.address == address)
    }

    /// Adds an entry. In a full table the known neighbour heard of longest ago makes room; one that
    /// is being asked for never does, so strangers cannot stop a question.
    fn enter(&mut self, address: Ipv4Addr, state: State) -> Answer {
        if self.entries.len() == limit::NEIGHBOURS_MAX {
            let all = self.entries.iter().enumerate();
            let known = all.filter_map(|(index, entry)| match entry.state {
                State::Known { until, .. } => Some((until, index)),
                State::Asking { .. } => None,
            });
            let Some((_, oldest)) = known.min() else { return Answer::Silent };
            self.entries.swap_remove(oldest);
        }
        self.entries.push(Entry { address, state });
        Answer::Asking
    }
}

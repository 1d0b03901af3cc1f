//! Who is on the link: address resolution with each neighbour on its own.
//!
//! Owns [`Neighbours`], a bounded table for IPv4 (ARP) and IPv6 (neighbour discovery). smoltcp has
//! no part in it: it deals in packets, and what a packet waits for is known here.
//!
//! ```text
//!            want (1)              answer (2)
//!  (absent) ─────────▶ Asking ───────────────▶ Known ──┐ any packet of its own: lives on (3)
//!     ▲                  │ ▲                     │  ▲  │ wanted near its end: asked again (4)
//!     └──────────────────┘ └─────────────────────┘  └──┘
//!       tries used up (5)     lifetime over, wanted (6)
//! ```

use crate::limit;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;
use craton_abi::Instant;
use smoltcp::wire::EthernetAddress;

/// The neighbours of one interface.
#[derive(Default)]
pub(crate) struct Neighbours {
    known: BTreeMap<IpAddr, Known>,
    asking: Vec<Asking>,
    /// Those asked for that answered or were given up since this was last taken.
    settled: Vec<IpAddr>,
}

struct Known {
    mac: EthernetAddress,
    until: Instant,
}

struct Asking {
    address: IpAddr,
    asked: u8,
    next_at: Instant,
}

/// Whether a neighbour can be sent to.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// Now, there.
    Known(EthernetAddress),
    /// Not yet: it is being asked for.
    Asking,
    /// No: it does not answer, or there is no room to ask.
    Silent,
}

impl Neighbours {
    /// Forgets everybody; who is being asked for still is.
    pub(crate) fn clear(&mut self) {
        self.known.clear();
    }

    /// Whether anybody wants to know where a neighbour is.
    pub(crate) fn expects(&self, address: IpAddr) -> bool {
        self.known.contains_key(&address)
            || self.asking.iter().any(|asking| asking.address == address)
    }

    /// Whether `address` can be sent to; starts to ask for it if it is unknown or soon will be.
    pub(crate) fn want(&mut self, address: IpAddr, now: Instant) -> Answer {
        let known = self.known.get(&address).map(|known| (known.mac, known.until));
        match known {
            Some((mac, until)) if until > now => {
                if until.since(now) < limit::NEIGHBOUR_REFRESH {
                    self.ask(address, now);
                }
                Answer::Known(mac)
            }
            _ if self.ask(address, now) => Answer::Asking,
            _ => Answer::Silent,
        }
    }

    /// What is known of `address` after a [`want`](Self::want).
    pub(crate) fn answer(&self, address: IpAddr, now: Instant) -> Answer {
        match self.known.get(&address) {
            Some(known) if known.until > now => Answer::Known(known.mac),
            _ if self.asking.iter().any(|asking| asking.address == address) => Answer::Asking,
            _ => Answer::Silent,
        }
    }

    fn ask(&mut self, address: IpAddr, now: Instant) -> bool {
        if self.asking.iter().any(|asking| asking.address == address) {
            return true;
        }
        if self.asking.len() == limit::NEIGHBOURS_MAX {
            return false;
        }
        self.asking.push(Asking { address, asked: 0, next_at: now });
        true
    }

    /// A neighbour said where it is.
    pub(crate) fn learn(&mut self, address: IpAddr, mac: EthernetAddress, now: Instant) {
        if self.known.len() >= limit::NEIGHBOURS_MAX && !self.known.contains_key(&address) {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.until);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                self.known.remove(&oldest);
            }
        }
        self.known.insert(address, Known { mac, until: now + limit::NEIGHBOUR_LIFETIME });
        if let Some(index) = self.asking.iter().position(|asking| asking.address == address) {
            self.asking.swap_remove(index);
            self.settled.push(address);
        }
    }

    /// A packet came from there: a neighbour that is known lives on.
    pub(crate) fn heard(&mut self, address: IpAddr, mac: EthernetAddress, now: Instant) {
        if let Some(known) = self.known.get_mut(&address)
            && known.mac == mac
        {
            known.until = now + limit::NEIGHBOUR_LIFETIME;
        }
    }

    /// The next address to ask for now, if any; the question counts as asked. Those that never
    /// answered are forgotten.
    pub(crate) fn question(&mut self, now: Instant) -> Option<IpAddr> {
        let settled = &mut self.settled;
        self.asking.retain(|asking| {
            let keep = asking.asked < limit::NEIGHBOUR_TRIES || asking.next_at > now;
            if !keep {
                settled.push(asking.address);
            }
            keep
        });
        let due = self.asking.iter_mut().find(|asking| asking.next_at <= now)?;
        due.asked += 1;
        due.next_at = now + limit::NEIGHBOUR_RETRY;
        Some(due.address)
    }

    /// Those whose question ended, one way or the other.
    pub(crate) fn take_settled(&mut self) -> Vec<IpAddr> {
        core::mem::take(&mut self.settled)
    }

    /// When the next question is due, or a silent neighbour is to be given up.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.asking.iter().map(|asking| asking.next_at).min()
    }
}

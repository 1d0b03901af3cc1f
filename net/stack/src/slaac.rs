//! An IPv6 address of one's own making (RFC 4862), from what routers announce (RFC 4861, RFC 8106).
//!
//! Owns [`Slaac`]: when routers are asked, and what they said, for as long as it holds. Addresses
//! are made from the hardware's (RFC 4291), which the network keeps unique; that one is taken
//! already is not looked for.

use crate::config::Announced;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use craton_abi::{Duration, Instant};

/// Times that routers are asked, and how far apart (RFC 4861, 10).
const SOLICITATIONS: u8 = 3;
const SOLICITATION_INTERVAL: Duration = Duration::from_secs(4);
/// The length of a prefix that leaves room for a hardware address.
const PREFIX_BITS: u8 = 64;
/// Name servers that are believed.
const NAME_SERVERS_MAX: usize = 3;
/// Where the options of an announcement begin.
const OPTIONS_AT: usize = 16;
const OPTION_PREFIX: u8 = 3;
const OPTION_NAME_SERVERS: u8 = 25;
/// Of a prefix: hosts make addresses in it.
const FLAG_AUTONOMOUS: u8 = 0x40;
/// A life shorter than two hours cannot be announced for an address that has longer to live: a
/// forged announcement would take it away (RFC 4862, 5.5.3).
const SHORTENED_TO: Duration = Duration::from_secs(2 * 3_600);

/// What the routers of a link said.
pub(crate) struct Slaac {
    mac: [u8; 6],
    asked: u8,
    next_at: Option<Instant>,
    prefix: Option<(Ipv6Addr, Instant)>,
    gateway: Option<(Ipv6Addr, Instant)>,
    name_servers: Vec<(Ipv6Addr, Instant)>,
    told: Announced,
}

impl Slaac {
    pub(crate) fn new(mac: [u8; 6], now: Instant) -> Self {
        Slaac {
            mac,
            asked: 0,
            next_at: Some(now),
            prefix: None,
            gateway: None,
            name_servers: Vec::new(),
            told: Announced::default(),
        }
    }

    /// Whether routers are to be asked now; it counts as asked.
    pub(crate) fn solicits(&mut self, now: Instant) -> bool {
        if self.next_at.is_none_or(|at| at > now) {
            return false;
        }
        self.asked += 1;
        self.next_at = (self.asked < SOLICITATIONS).then(|| now + SOLICITATION_INTERVAL);
        true
    }

    /// A router announced something: the message from its first byte.
    pub(crate) fn announced(&mut self, router: Ipv6Addr, message: &[u8], now: Instant) {
        let Some((head, mut options)) = message.split_at_checked(OPTIONS_AT) else { return };
        if !well_formed(options) {
            return;
        }
        self.next_at = None;
        let secs = u16::from_be_bytes([head[6], head[7]]);
        match self.gateway {
            Some((known, until)) if known != router && until > now => {}
            _ => self.gateway = until(secs.into(), now).map(|until| (router, until)),
        }
        while let [kind, units, ..] = *options {
            let (option, rest) = options.split_at(usize::from(units) * 8);
            options = rest;
            match kind {
                OPTION_PREFIX => self.take_prefix(option, now),
                OPTION_NAME_SERVERS => self.take_name_servers(option, now),
                _ => {}
            }
        }
    }

    fn take_prefix(&mut self, option: &[u8], now: Instant) {
        let Some(option) = option.first_chunk::<32>() else { return };
        let valid = u32::from_be_bytes([option[4], option[5], option[6], option[7]]);
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&option[16..24]);
        let prefix = Ipv6Addr::from(octets);
        let autonomous = option[3] & FLAG_AUTONOMOUS != 0 && option[2] == PREFIX_BITS;
        let global =
            !prefix.is_unicast_link_local() && !prefix.is_multicast() && octets[..8] != [0; 8];
        if !autonomous || !global {
            return;
        }
        match self.prefix {
            Some((known, has)) if known == prefix => {
                let offered = until(valid, now).unwrap_or(now);
                let least = has.min(now + SHORTENED_TO);
                self.prefix = Some((prefix, offered.max(least)));
            }
            Some((_, has)) if has > now => {}
            _ => self.prefix = until(valid, now).map(|until| (prefix, until)),
        }
    }

    fn take_name_servers(&mut self, option: &[u8], now: Instant) {
        let Some((head, addresses)) = option.split_first_chunk::<8>() else { return };
        let secs = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let (addresses, _) = addresses.as_chunks::<16>();
        for address in addresses {
            let address = Ipv6Addr::from(*address);
            if address.is_unspecified() || address.is_multicast() {
                continue;
            }
            self.name_servers.retain(|(known, until)| *known != address && *until > now);
            if let Some(until) = until(secs, now)
                && self.name_servers.len() < NAME_SERVERS_MAX
            {
                self.name_servers.push((address, until));
            }
        }
    }

    /// What holds now, if that is not what was told last.
    pub(crate) fn news(&mut self, now: Instant) -> Option<Announced> {
        let holds = |until: &Instant| *until > now;
        self.prefix = self.prefix.filter(|(_, until)| holds(until));
        self.gateway = self.gateway.filter(|(_, until)| holds(until));
        self.name_servers.retain(|(_, until)| holds(until));
        let announced = Announced {
            address: self.prefix.map(|(prefix, _)| address(prefix, self.mac)),
            gateway: self.gateway.map(|(gateway, _)| gateway),
            name_servers: self.name_servers.iter().map(|(address, _)| *address).collect(),
        };
        if announced == self.told {
            return None;
        }
        self.told = announced.clone();
        Some(announced)
    }

    /// When routers are to be asked, or something ceases to hold.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let ends = [self.prefix, self.gateway].into_iter().flatten().map(|(_, until)| until);
        let servers = self.name_servers.iter().map(|(_, until)| *until);
        ends.chain(servers).chain(self.next_at).min()
    }
}

/// When something announced for so many seconds ends; all ones is for ever, none is not at all.
fn until(secs: u32, now: Instant) -> Option<Instant> {
    (secs > 0).then(|| now + Duration::from_secs(secs.into()))
}

/// Whether options fill what there is exactly.
fn well_formed(mut options: &[u8]) -> bool {
    while let [_, units, ..] = *options {
        let Some((_, rest)) = options.split_at_checked(usize::from(units) * 8) else {
            return false;
        };
        if units == 0 {
            return false;
        }
        options = rest;
    }
    options.is_empty()
}

/// The address of this hardware in a network (RFC 4291, appendix A).
pub(crate) fn address(prefix: Ipv6Addr, mac: [u8; 6]) -> Ipv6Addr {
    let mut octets = prefix.octets();
    let [a, b, c, d, e, f] = mac;
    octets[8..].copy_from_slice(&[a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Addr::from(octets)
}

/// The network that every link has.
pub(crate) const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);

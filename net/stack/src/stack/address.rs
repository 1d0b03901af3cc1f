//! The interface's addresses: where they come from, what depends on them, the way to others.
//!
//! Owns what changes with the addresses and the choice of the next hop; `dhcp.rs` and `slaac.rs`
//! have the protocols.

use super::Stack;
use crate::config::{Address, Announced};
use crate::device::FrameTransmitter;
use core::net::{IpAddr, Ipv4Addr};
use craton_abi::Instant;
use smoltcp::wire::{IpCidr, Ipv4Cidr, Ipv6Cidr};

/// The length of the networks that IPv6 addresses are made in.
const IPV6_PREFIX_BITS: u8 = 64;

/// How to reach an address.
pub(super) enum Way {
    /// Everybody on the link at once.
    Everybody,
    /// Through this neighbour, which may be the destination itself.
    Through(IpAddr),
    /// Not at all.
    None,
}

impl Stack {
    /// Lets DHCP and the asking for routers go on.
    pub(super) fn poll_addresses<T: FrameTransmitter>(
        &mut self,
        transmitter: &mut T,
        now: Instant,
    ) {
        let lease = self.dhcp.as_mut().and_then(|dhcp| dhcp.poll(transmitter, now));
        if let Some(lease) = lease {
            self.set_address(lease);
        }
        let Some(slaac) = &mut self.slaac else { return };
        if let Some(from) = self.link_local
            && transmitter.ready()
            && slaac.solicits(now)
        {
            self.outlet(transmitter).solicit_routers(from);
        }
        if let Some(announced) = self.slaac.as_mut().and_then(|slaac| slaac.news(now)) {
            self.set_announced(announced);
        }
    }

    /// Takes the addresses that shard 0 of this node was told by its events.
    pub fn set_addresses(&mut self, address: Option<Address>, announced: Announced) {
        self.set_address(address);
        self.set_announced(announced);
    }

    pub(super) fn set_address(&mut self, address: Option<Address>) {
        // smoltcp panics on an address that is none; a lease is checked there, a static one here.
        let address = address
            .filter(|address| usable(address.address.into()) && address.prefix <= 32)
            .map(|address| Address { gateway: usable_gateway(&address), ..address });
        if self.address == address {
            return;
        }
        let old = core::mem::replace(&mut self.address, address);
        self.address_told = false;
        let own = self.address.as_ref().map(|own| own.address);
        if let Some(dhcp) = &mut self.dhcp {
            dhcp.set_address(self.address.as_ref());
        }
        self.move_from(old.map(|old| old.address.into()), own.map(IpAddr::V4));
    }

    fn set_announced(&mut self, announced: Announced) {
        if self.announced == announced || self.link_local.is_none() {
            return;
        }
        let old = core::mem::replace(&mut self.announced, announced);
        self.announced_told = false;
        self.move_from(old.address.map(IpAddr::V6), self.announced.address.map(IpAddr::V6));
    }

    /// What belongs to an address ends with it.
    fn move_from(&mut self, old: Option<IpAddr>, new: Option<IpAddr>) {
        self.apply_addresses();
        self.resolver.forget();
        // A gateway may be another under the same address of ours.
        self.neighbours.clear();
        if old == new || old.is_none() {
            return;
        }
        self.handshakes.clear();
        self.time_waits.clear();
        self.datagrams.drop_waiting();
        for id in self.streams.ids() {
            let local = self.streams.get(id).map(|stream| stream.tuple.local.ip());
            if local == old {
                self.streams.lose_address(id);
            }
        }
    }

    /// Tells smoltcp our addresses.
    pub(super) fn apply_addresses(&mut self) {
        let ipv4 = self.address.as_ref().map(|own| {
            // The prefix tells it which address is a broadcast.
            IpCidr::Ipv4(Ipv4Cidr::new(own.address, own.prefix))
        });
        let ipv6 = self.link_local.into_iter().chain(self.announced.address);
        let ipv6 = ipv6.map(|own| IpCidr::Ipv6(Ipv6Cidr::new(own, IPV6_PREFIX_BITS)));
        let all = ipv4.into_iter().chain(ipv6);
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            // The list holds more than the three that there are.
            addresses.extend(all);
        });
    }

    /// Whether an address is ours.
    pub(super) fn ours(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.address.as_ref().is_some_and(|own| own.address == address),
            IpAddr::V6(address) => {
                self.link_local == Some(address) || self.announced.address == Some(address)
            }
        }
    }

    /// The address that we speak from to another.
    pub(super) fn source(&self, to: IpAddr) -> Option<IpAddr> {
        match to {
            IpAddr::V4(_) => self.address.as_ref().map(|own| own.address.into()),
            IpAddr::V6(to) if to.is_unicast_link_local() => self.link_local.map(IpAddr::V6),
            IpAddr::V6(_) => self.announced.address.map(IpAddr::V6),
        }
    }

    /// The way to an address.
    pub(super) fn way(&self, to: IpAddr) -> Way {
        if let IpAddr::V4(to) = to
            && self.is_broadcast(to)
        {
            return Way::Everybody;
        }
        if !usable(to) {
            return Way::None;
        }
        if self.on_link(to) {
            return Way::Through(to);
        }
        let gateway = match to {
            IpAddr::V4(_) => self.address.as_ref().and_then(|own| own.gateway).map(IpAddr::V4),
            IpAddr::V6(_) => self.announced.gateway.map(IpAddr::V6),
        };
        gateway.map_or(Way::None, Way::Through)
    }

    pub(super) fn is_broadcast(&self, to: Ipv4Addr) -> bool {
        let own = self.address.as_ref();
        to.is_broadcast()
            || own.is_some_and(|own| Ipv4Cidr::new(own.address, own.prefix).broadcast() == Some(to))
    }

    /// Whether an address is a neighbour's.
    pub(super) fn on_link(&self, to: IpAddr) -> bool {
        match to {
            IpAddr::V4(to) => self
                .address
                .as_ref()
                .is_some_and(|own| Ipv4Cidr::new(own.address, own.prefix).contains_addr(&to)),
            IpAddr::V6(to) if to.is_unicast_link_local() => self.link_local.is_some(),
            IpAddr::V6(to) => self
                .announced
                .address
                .is_some_and(|own| Ipv6Cidr::new(own, IPV6_PREFIX_BITS).contains_addr(&to)),
        }
    }

    /// The servers that resolve names.
    pub(super) fn name_servers(&self) -> alloc::vec::Vec<IpAddr> {
        let ipv4 = self.address.iter().flat_map(|own| &own.name_servers).copied().map(IpAddr::V4);
        let ipv6 = self.announced.name_servers.iter().copied().map(IpAddr::V6);
        ipv4.chain(ipv6).filter(|server| usable(*server)).collect()
    }
}

/// Whether an address can be a host's.
pub(super) fn usable(address: IpAddr) -> bool {
    let none = address.is_unspecified() || address.is_multicast() || address.is_loopback();
    !none && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// The gateway, if it is on the link: smoltcp asserts that it can be asked for.
fn usable_gateway(own: &Address) -> Option<Ipv4Addr> {
    let cidr = Ipv4Cidr::new(own.address, own.prefix);
    own.gateway.filter(|gateway| {
        usable((*gateway).into())
            && *gateway != own.address
            && cidr.contains_addr(gateway)
            && cidr.broadcast() != Some(*gateway)
    })
}

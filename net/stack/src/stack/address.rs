//! The interface's address: where it comes from, what depends on it, the way to others.
//!
//! Owns what changes with the address and the choice of the next hop; `stack.rs` has the rest of
//! the stack, smoltcp's DHCP socket the protocol.

use super::{Address, Stack};
use crate::stream::StreamId;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use smoltcp::socket::dhcpv4;
use smoltcp::wire::{IpCidr, Ipv4Cidr};

/// How to reach an address.
pub(super) enum Way {
    /// Everybody on the link at once.
    Broadcast,
    /// Through this neighbour, which may be the destination itself.
    Through(Ipv4Addr),
    /// Not at all.
    None,
}

impl Stack {
    pub(super) fn poll_dhcp(&mut self) {
        let Some(handle) = self.dhcp else { return };
        let lease = match self.sockets.get_mut::<dhcpv4::Socket>(handle).poll() {
            None => return,
            Some(dhcpv4::Event::Deconfigured) => None,
            Some(dhcpv4::Event::Configured(lease)) => Some(Address {
                address: lease.address.address(),
                prefix: lease.address.prefix_len(),
                gateway: lease.router,
                name_servers: lease.dns_servers.iter().copied().collect(),
            }),
        };
        self.set_address(lease);
    }

    pub(super) fn set_address(&mut self, address: Option<Address>) {
        if self.address == address {
            return;
        }
        // smoltcp panics on an address that is none; a lease is checked there, a static one here.
        let address = address.filter(|address| usable(address.address) && address.prefix <= 32);
        self.neighbours.clear();
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            if let Some(Address { address, prefix, .. }) = &address {
                let cidr = IpCidr::Ipv4(Ipv4Cidr::new(*address, *prefix));
                // The list holds several and was cleared.
                let _: Result<(), IpCidr> = addresses.push(cidr);
            }
        });
        self.interface.routes_mut().remove_default_ipv4_route();
        if let Some(gateway) = address.as_ref().and_then(usable_gateway) {
            // The table holds several and the default route was removed.
            let _ = self.interface.routes_mut().add_default_ipv4_route(gateway);
        }
        let moved =
            self.address.as_ref().map(|own| own.address) != address.as_ref().map(|own| own.address);
        self.address = address;
        self.address_told = false;
        if moved {
            self.lose_streams();
        }
    }

    /// Streams belong to an address: they end with it.
    fn lose_streams(&mut self) {
        let all: Vec<StreamId> = self.streams.iter().map(|(id, _)| id).collect();
        for id in all {
            self.streams.lose_address(id, &mut self.sockets);
        }
    }

    /// The way to an address.
    pub(super) fn way(&self, to: Ipv4Addr) -> Way {
        let Some(own) = &self.address else { return Way::None };
        let cidr = Ipv4Cidr::new(own.address, own.prefix);
        if to.is_broadcast() || cidr.broadcast() == Some(to) {
            Way::Broadcast
        } else if !usable(to) {
            Way::None
        } else if cidr.contains_addr(&to) {
            Way::Through(to)
        } else {
            usable_gateway(own).map_or(Way::None, Way::Through)
        }
    }
}

pub(super) fn dhcp_socket() -> dhcpv4::Socket<'static> {
    let mut socket = dhcpv4::Socket::new();
    let mut retry = socket.get_retry_config();
    // On a virtual network the server answers within milliseconds or not at all; ten seconds,
    // smoltcp's default, would be the whole boot if the first question is lost.
    retry.discover_timeout = smoltcp::time::Duration::from_secs(1);
    retry.initial_request_timeout = smoltcp::time::Duration::from_secs(1);
    socket.set_retry_config(retry);
    socket
}

/// Whether an address can be a host's.
fn usable(address: Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_broadcast() || address.is_multicast())
}

/// The gateway, if it is on the link: smoltcp asserts that it can be asked for.
fn usable_gateway(own: &Address) -> Option<Ipv4Addr> {
    let cidr = Ipv4Cidr::new(own.address, own.prefix);
    own.gateway.filter(|gateway| {
        usable(*gateway)
            && *gateway != own.address
            && cidr.contains_addr(gateway)
            && cidr.broadcast() != Some(*gateway)
    })
}

//! What processes may not reach.
//!
//! Owns the lists: addresses at which a cloud tells a machine who it is and what its secrets are,
//! the node itself, and the ports by which a node is a node. Everything else is the network's
//! business.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use craton_abi::{ErrorCode, limit};
use craton_net::Stack;

/// Where clouds answer their machines: the common address, AWS's for containers, Azure's, Alibaba's
/// and Oracle's.
const METADATA_IPV4: [Ipv4Addr; 5] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];
/// AWS's over IPv6, and Google's.
const METADATA_IPV6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254),
];
/// The prefix under which a network carries IPv4 addresses in IPv6 ones (RFC 6052).
const IPV4_IN_IPV6: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];
/// Ports of DHCP: who has one can give a network its addresses.
const DHCP_PORTS: [u16; 4] = [67, 68, 546, 547];

/// Whether a process may open a connection to, or send to, this address.
pub(crate) fn may_send(to: IpAddr, stack: &Stack) -> Result<(), ErrorCode> {
    let to = plain(to);
    if to.is_unspecified() {
        return Err(ErrorCode::Invalid);
    }
    let is_metadata = match to {
        IpAddr::V4(to) => METADATA_IPV4.contains(&to),
        IpAddr::V6(to) => METADATA_IPV6.contains(&to),
    };
    if is_metadata || to.is_loopback() || stack.is_ours(to) {
        return Err(ErrorCode::Denied);
    }
    Ok(())
}

/// Whether a process may listen on this port.
pub(crate) fn may_listen(port: u16) -> Result<(), ErrorCode> {
    match port {
        0 => Err(ErrorCode::Invalid),
        limit::SESSION_PORT => Err(ErrorCode::Denied),
        _ => Ok(()),
    }
}

/// Whether a process may have this port for datagrams.
pub(crate) fn may_bind(port: u16) -> Result<(), ErrorCode> {
    if port == limit::MEMBERSHIP_PORT || DHCP_PORTS.contains(&port) {
        return Err(ErrorCode::Denied);
    }
    Ok(())
}

/// The IPv4 address that an IPv6 one carries, if it does.
fn plain(address: IpAddr) -> IpAddr {
    let address = address.to_canonical();
    if let IpAddr::V6(ipv6) = address {
        let [prefix @ .., high, low] = ipv6.segments();
        if prefix == IPV4_IN_IPV6 {
            let bits = (u32::from(high) << 16) | u32::from(low);
            return Ipv4Addr::from_bits(bits).into();
        }
    }
    address
}

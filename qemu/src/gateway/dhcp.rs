//! Which address a card gets, and the DHCP server (RFC 2131) that tells it.
//!
//! Owns the numbering of the LAN: node `i` has a card address and an IPv4 address that follow from
//! `i`, so that everyone knows where a node is before it has booted. Other cards get addresses
//! from a small pool. Neighbour: `router` carries the datagrams.

use crate::lan::Mac;
use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr};
use std::net::Ipv4Addr;

/// The gateway's own address on its LAN.
pub const GATEWAY_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The LAN's network is `10.77.0.0` with this many bits.
pub const NETWORK_PREFIX_BITS: u8 = 24;
/// Nodes have the numbers from 0 to this.
pub const NODES_MAX: u8 = 200;

const NETWORK_MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
/// Locally administered, and its own: `52:54:00` is QEMU's habit, `4d` no more than a mark.
const NODE_MAC_PREFIX: [u8; 5] = [0x52, 0x54, 0x00, 0x4d, 0x00];
/// Node 0 is at .10.
const NODE_HOST_OFFSET: u8 = 10;
/// The addresses after the last node's are for cards that are no node's.
const POOL_HOST_FIRST: u8 = NODES_MAX + NODE_HOST_OFFSET + 1;
const POOL_LEASES_MAX: usize = 40;
/// A lease lasts longer than a LAN that lives in a process is likely to.
const LEASE_SECONDS: u32 = 24 * 3600;

const _: () = assert!(POOL_HOST_FIRST as usize + POOL_LEASES_MAX < 255, "255 is the broadcast");

/// The card address of node `number`, from 0 to [`NODES_MAX`].
///
/// # Panics
/// When there is no such node.
pub fn node_mac(number: u8) -> Mac {
    assert!(number <= NODES_MAX, "a LAN has nodes 0 to {NODES_MAX}");
    let [a, b, c, d, e] = NODE_MAC_PREFIX;
    Mac([a, b, c, d, e, number])
}

/// The IPv4 address that node `number`, from 0 to [`NODES_MAX`], gets by DHCP.
///
/// # Panics
/// When there is no such node.
pub fn node_address(number: u8) -> Ipv4Addr {
    assert!(number <= NODES_MAX, "a LAN has nodes 0 to {NODES_MAX}");
    host_address(NODE_HOST_OFFSET + number)
}

fn host_address(host: u8) -> Ipv4Addr {
    let [a, b, c, _] = GATEWAY_ADDRESS.octets();
    Ipv4Addr::new(a, b, c, host)
}

/// The server's memory: who has which address of the pool.
#[derive(Default)]
pub(crate) struct DhcpServer {
    /// The card at index `i` has the pool's address `i`; kept for good.
    pool: Vec<Mac>,
}

impl DhcpServer {
    /// The datagram that answers this one, which came to port 67; `None` for silence.
    pub(crate) fn answer(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let packet = DhcpPacket::new_checked(datagram).ok()?;
        let request = DhcpRepr::parse(&packet).ok()?;
        let for_other = request.server_identifier.is_some_and(|server| server != GATEWAY_ADDRESS);
        if for_other {
            return None;
        }
        let address = self.address_of(Mac(request.client_hardware_address.0))?;
        let answer = match request.message_type {
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            DhcpMessageType::Request => {
                let wanted = request.requested_ip.unwrap_or(request.client_ip);
                if wanted == address { DhcpMessageType::Ack } else { DhcpMessageType::Nak }
            }
            _ => return None,
        };
        let repr = reply(&request, answer, address);
        let mut bytes = vec![0; repr.buffer_len()];
        repr.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).ok()?;
        Some(bytes)
    }

    fn address_of(&mut self, mac: Mac) -> Option<Ipv4Addr> {
        let number = mac.0[5];
        if mac.0.starts_with(&NODE_MAC_PREFIX) && number <= NODES_MAX {
            return Some(node_address(number));
        }
        let known = self.pool.iter().position(|known| *known == mac);
        let index = match known {
            Some(index) => index,
            None if self.pool.len() < POOL_LEASES_MAX && !mac.is_group() => {
                self.pool.push(mac);
                self.pool.len() - 1
            }
            None => return None,
        };
        Some(host_address(POOL_HOST_FIRST + u8::try_from(index).ok()?))
    }
}

fn reply(
    request: &DhcpRepr<'_>,
    message_type: DhcpMessageType,
    address: Ipv4Addr,
) -> DhcpRepr<'static> {
    let granted = message_type != DhcpMessageType::Nak;
    DhcpRepr {
        message_type,
        transaction_id: request.transaction_id,
        secs: 0,
        client_hardware_address: request.client_hardware_address,
        client_ip: Ipv4Addr::UNSPECIFIED,
        your_ip: if granted { address } else { Ipv4Addr::UNSPECIFIED },
        server_ip: GATEWAY_ADDRESS,
        router: granted.then_some(GATEWAY_ADDRESS),
        subnet_mask: granted.then_some(NETWORK_MASK),
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: true,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(GATEWAY_ADDRESS),
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        lease_duration: granted.then_some(LEASE_SECONDS),
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::wire::EthernetAddress;

    fn ask(
        server: &mut DhcpServer,
        mac: Mac,
        kind: DhcpMessageType,
        ip: Option<Ipv4Addr>,
    ) -> Reply {
        let mut request = reply(&blank(mac), kind, Ipv4Addr::UNSPECIFIED);
        request.requested_ip = ip;
        request.server_identifier = None;
        send(server, &request)
    }

    type Reply = Option<(DhcpMessageType, Ipv4Addr)>;

    fn blank(mac: Mac) -> DhcpRepr<'static> {
        DhcpRepr {
            message_type: DhcpMessageType::Discover,
            transaction_id: 0x1234_5678,
            secs: 0,
            client_hardware_address: EthernetAddress(mac.0),
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: true,
            requested_ip: None,
            client_identifier: None,
            server_identifier: None,
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        }
    }

    fn send(server: &mut DhcpServer, request: &DhcpRepr<'_>) -> Reply {
        let mut bytes = vec![0; request.buffer_len()];
        request.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).unwrap();
        let answer = server.answer(&bytes)?;
        let packet = DhcpPacket::new_checked(&answer[..]).unwrap();
        let repr = DhcpRepr::parse(&packet).unwrap();
        assert_eq!(repr.transaction_id, request.transaction_id);
        assert_eq!(repr.server_identifier, Some(GATEWAY_ADDRESS));
        Some((repr.message_type, repr.your_ip))
    }

    #[test]
    fn a_node_gets_its_own_address_every_time() {
        let mut server = DhcpServer::default();
        for number in [0, 1, 2, 3, NODES_MAX] {
            let (mac, address) = (node_mac(number), node_address(number));
            for _ in 0..2 {
                let offer = ask(&mut server, mac, DhcpMessageType::Discover, None);
                assert_eq!(offer, Some((DhcpMessageType::Offer, address)));
                let ack = ask(&mut server, mac, DhcpMessageType::Request, Some(address));
                assert_eq!(ack, Some((DhcpMessageType::Ack, address)));
            }
        }
        assert_eq!(node_address(1), Ipv4Addr::new(10, 77, 0, 11));
    }

    #[test]
    fn a_wrong_wish_is_refused() {
        let mut server = DhcpServer::default();
        let wish = Some(node_address(2));
        let answer = ask(&mut server, node_mac(1), DhcpMessageType::Request, wish);
        assert_eq!(answer, Some((DhcpMessageType::Nak, Ipv4Addr::UNSPECIFIED)));
    }

    #[test]
    fn strangers_share_a_bounded_pool() {
        let mut server = DhcpServer::default();
        let mut seen = Vec::new();
        for number in 0..POOL_LEASES_MAX as u8 {
            let mac = Mac([2, 0, 0, 0, 0, number]);
            let (_, address) = ask(&mut server, mac, DhcpMessageType::Discover, None).unwrap();
            assert!(
                !seen.contains(&address) && (0..=NODES_MAX).all(|n| node_address(n) != address)
            );
            seen.push(address);
            let again = ask(&mut server, mac, DhcpMessageType::Discover, None).unwrap();
            assert_eq!(again.1, address);
        }
        assert_eq!(ask(&mut server, Mac([2; 6]), DhcpMessageType::Discover, None), None);
    }

    #[test]
    fn other_messages_other_servers_and_nonsense_get_silence() {
        let mut server = DhcpServer::default();
        assert_eq!(ask(&mut server, node_mac(1), DhcpMessageType::Release, None), None);
        let mut request = blank(node_mac(1));
        request.message_type = DhcpMessageType::Request;
        request.requested_ip = Some(node_address(1));
        request.server_identifier = Some(Ipv4Addr::new(10, 77, 0, 2));
        assert_eq!(send(&mut server, &request), None);
        let mut bytes = vec![0; request.buffer_len()];
        request.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).unwrap();
        for length in 0..bytes.len() {
            let _ = server.answer(&bytes[..length]);
            let mut flipped = bytes.clone();
            flipped[length] ^= 0xff;
            let _ = server.answer(&flipped);
        }
    }
}

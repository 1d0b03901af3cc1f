//! The DHCP client: smoltcp's, on an interface of its own.
//!
//! Owns [`Dhcp`]. smoltcp's client wants Ethernet, where the streams' interface deals in packets,
//! so it has an interface to itself, which sees nothing but DHCP and the ARP that renewing needs.

use crate::adapter::{self, Port, Void};
use crate::clock;
use crate::config::Address;
use crate::device::{FrameTransmitter, Link};
use alloc::vec::Vec;
use craton_abi::Instant;
use smoltcp::iface::{
    Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet,
};
use smoltcp::phy::DeviceCapabilities;
use smoltcp::socket::dhcpv4;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Cidr};

/// The DHCP client of one stack.
pub(crate) struct Dhcp {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    capabilities: DeviceCapabilities,
}

impl Dhcp {
    pub(crate) fn new(link: &Link, mac: EthernetAddress, seed: u64, now: Instant) -> Dhcp {
        let capabilities = adapter::frame_capabilities(link);
        let mut config = Config::new(HardwareAddress::Ethernet(mac));
        config.random_seed = seed;
        let mut void = Void::default();
        let mut port = port(None, &mut void, &capabilities);
        let interface = Interface::new(config, &mut port, clock::to_smoltcp(now));
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket());
        Dhcp { interface, sockets, handle, capabilities }
    }

    /// A frame that may be for the client.
    pub(crate) fn receive<T: FrameTransmitter>(
        &mut self,
        frame: &[u8],
        transmitter: &mut T,
        now: Instant,
    ) {
        let mut port = port(Some(frame), transmitter, &self.capabilities);
        let now = clock::to_smoltcp(now);
        let _: PollIngressSingleResult =
            self.interface.poll_ingress_single(now, &mut port, &mut self.sockets);
    }

    /// Lets the client speak; what it has to tell: a lease, or that it is lost.
    pub(crate) fn poll<T: FrameTransmitter>(
        &mut self,
        transmitter: &mut T,
        now: Instant,
    ) -> Option<Option<Address>> {
        let mut port = port(None, transmitter, &self.capabilities);
        let now = clock::to_smoltcp(now);
        if self.interface.poll_at(now, &self.sockets).is_some_and(|at| at <= now) {
            let _: PollResult = self.interface.poll_egress(now, &mut port, &mut self.sockets);
        }
        match self.sockets.get_mut::<dhcpv4::Socket<'_>>(self.handle).poll()? {
            dhcpv4::Event::Deconfigured => Some(None),
            dhcpv4::Event::Configured(lease) => Some(Some(Address {
                address: lease.address.address(),
                prefix: lease.address.prefix_len(),
                gateway: lease.router,
                name_servers: lease.dns_servers.iter().copied().collect(),
            })),
        }
    }

    /// The address that the stack took, from which leases are renewed, and a gateway that is one.
    pub(crate) fn set_address(&mut self, address: Option<&Address>) {
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            if let Some(Address { address, prefix, .. }) = address {
                let cidr = IpCidr::Ipv4(Ipv4Cidr::new(*address, *prefix));
                // The list holds several and was cleared.
                let _: Result<(), IpCidr> = addresses.push(cidr);
            }
        });
        self.interface.routes_mut().remove_default_ipv4_route();
        if let Some(gateway) = address.and_then(|address| address.gateway) {
            // The table holds several and the default route was removed.
            let _ = self.interface.routes_mut().add_default_ipv4_route(gateway);
        }
    }

    /// When the client has something to do.
    pub(crate) fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let now = clock::to_smoltcp(now);
        self.interface.poll_at(now, &self.sockets).map(clock::from_smoltcp)
    }
}

fn port<'a, T>(
    received: Option<&'a [u8]>,
    transmitter: &'a mut T,
    capabilities: &'a DeviceCapabilities,
) -> Port<'a, T> {
    Port { received, header: None, transmitter, capabilities, by_device: false, highest: None }
}

fn socket() -> dhcpv4::Socket<'static> {
    let mut socket = dhcpv4::Socket::new();
    let mut retry = socket.get_retry_config();
    // On a virtual network the server answers within milliseconds or not at all; ten seconds,
    // smoltcp's default, would be the whole boot if the first question is lost.
    retry.discover_timeout = smoltcp::time::Duration::from_secs(1);
    retry.initial_request_timeout = smoltcp::time::Duration::from_secs(1);
    socket.set_retry_config(retry);
    socket
}

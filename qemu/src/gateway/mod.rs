//! The LAN's router: an address for every machine, and a way in from the host.
//!
//! Owns the gateway's thread and its public face. On the LAN it is `10.77.0.1`: it answers ARP and
//! ping, hands out addresses by DHCP, and carries connections from ports of the host to machines.
//! It does not lead out of the LAN. Neighbours: `router` is the thread's work; `Lan` is the switch
//! it is plugged into.

mod connection;
mod dhcp;
mod guests;
mod router;
mod wire;

pub(crate) use dhcp::DhcpServer;
pub use dhcp::{GATEWAY_ADDRESS, NETWORK_PREFIX_BITS, NODES_MAX, node_address, node_mac};

use crate::lan::{Lan, PortId};
use router::{Forward, Router};
use std::io::{self, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A machine that answers nothing for so long has its connections reset: the time a session
/// survives, twice.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A running gateway. Dropping it closes its ports and connections.
pub struct Gateway {
    port: PortId,
    link: Mutex<Link>,
    thread: Option<JoinHandle<()>>,
}

struct Link {
    orders: Option<Sender<Forward>>,
    wake: Option<UnixStream>,
}

impl Gateway {
    /// Plugs a gateway into the LAN.
    pub fn start(lan: &Lan) -> io::Result<Gateway> {
        Gateway::start_with(lan, SILENCE_MAX)
    }

    fn start_with(lan: &Lan, silence_max: Duration) -> io::Result<Gateway> {
        let port = lan.attach()?;
        let id = port.id();
        let (wake, woken) = UnixStream::pair()?;
        let (orders, inbox) = channel();
        let router = Router::new(port.into_socket(), inbox, woken, silence_max)?;
        let thread =
            std::thread::Builder::new().name("gateway".into()).spawn(move || router.run())?;
        let link = Mutex::new(Link { orders: Some(orders), wake: Some(wake) });
        Ok(Gateway { port: id, link, thread: Some(thread) })
    }

    /// The port of the LAN that the gateway is plugged into.
    pub fn port(&self) -> PortId {
        self.port
    }

    /// Forwards TCP connections to the host's address (port 0: any free port) to a machine, and
    /// returns the host's address. Works before the machine is up; clients that come too early, or
    /// whose machine is dead, are reset.
    pub fn forward(&self, host: SocketAddrV4, guest: SocketAddrV4) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(host)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let gone = || io::Error::other("the gateway's LAN is gone");
        let link = self.link.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (Some(orders), Some(mut wake)) = (link.orders.as_ref(), link.wake.as_ref()) else {
            return Err(gone());
        };
        orders.send(Forward { listener, guest }).map_err(|_| gone())?;
        wake.write_all(&[1]).map_err(|_| gone())?;
        Ok(address)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let link = self.link.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        (link.orders, link.wake) = (None, None);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;

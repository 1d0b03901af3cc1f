//! The gateway's thread: everything it serves, in one loop around `poll`.
//!
//! Owns the smoltcp interface, the listeners and the connections. It sleeps until a frame, a
//! client, an order or a timer of TCP comes, and never spins: a stream with nothing to wait for is
//! not polled. Neighbours: `wire` is its cable, `connection` joins two streams, `dhcp` answers,
//! `guests` knows the living.

use super::connection::Connection;
use super::dhcp::{DhcpServer, GATEWAY_ADDRESS, NETWORK_PREFIX_BITS};
use super::guests::Guests;
use super::wire::Wire;
use crate::lan::Mac;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::{EthernetAddress, IpCidr, IpEndpoint};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// The gateway's card.
const GATEWAY_MAC: Mac = Mac([0x52, 0x54, 0x00, 0x4d, 0x01, 0x01]);
/// Connections at once; clients beyond wait in the listeners' backlogs.
const CONNECTIONS_MAX: usize = 1024;
/// Buffer of a connection in each direction; also the largest window. Pages are real when used.
const BUFFER_BYTES: usize = 512 * 1024;
/// Local ports of the gateway's connections (RFC 6335, dynamic ports).
const PORT_FIRST: u16 = 49_152;
const PORT_LAST: u16 = 65_535;
/// A host without files to give is asked again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const DHCP_DATAGRAM_BYTES: usize = 1500;
const DHCP_DATAGRAMS: usize = 64;
const DHCP_SERVER_PORT: u16 = 67;
const DHCP_CLIENT_PORT: u16 = 68;

const _: () = assert!((PORT_LAST - PORT_FIRST) as usize > CONNECTIONS_MAX, "a port for each");

/// A port of the host, and the place in the LAN where its clients go.
pub(super) struct Forward {
    pub(super) listener: TcpListener,
    pub(super) guest: SocketAddrV4,
}

pub(super) struct Router {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    dhcp: DhcpServer,
    dhcp_socket: SocketHandle,
    forwards: Vec<Forward>,
    connections: Vec<Connection>,
    orders: Receiver<Forward>,
    /// A byte here means an order, the end of the stream means stop.
    wake: UnixStream,
    started: Instant,
    guests: Guests,
    /// A machine that answers nothing for so long is dead.
    silence_max: Duration,
    port_next: u16,
    accept_again: Option<Instant>,
}

impl Router {
    pub(super) fn new(
        port: UnixStream,
        orders: Receiver<Forward>,
        wake: UnixStream,
        silence_max: Duration,
    ) -> io::Result<Router> {
        wake.set_nonblocking(true)?;
        let mut wire = Wire::new(port)?;
        let mut config = Config::new(EthernetAddress(GATEWAY_MAC.0).into());
        config.random_seed = RandomState::new().hash_one(0);
        let zero = smoltcp::time::Instant::ZERO;
        let mut interface = Interface::new(config, &mut wire, zero);
        interface.update_ip_addrs(|addresses| {
            let own = IpCidr::new(GATEWAY_ADDRESS.into(), NETWORK_PREFIX_BITS);
            // There is room for at least one address in any build of smoltcp.
            let _ = addresses.push(own);
        });
        let mut sockets = SocketSet::new(Vec::new());
        let dhcp_socket = sockets.add(dhcp_socket()?);
        Ok(Router {
            wire,
            interface,
            sockets,
            dhcp: DhcpServer::default(),
            dhcp_socket,
            forwards: Vec::new(),
            connections: Vec::new(),
            orders,
            wake,
            started: Instant::now(),
            guests: Guests::new(silence_max),
            silence_max,
            port_next: PORT_FIRST,
            accept_again: None,
        })
    }

    /// Serves until the LAN goes away or the `Gateway` is dropped.
    pub(super) fn run(mut self) {
        while self.turn().is_ok() {}
    }

    /// One turn: take what came, move it on, send what results, sleep.
    fn turn(&mut self) -> io::Result<()> {
        self.take_orders()?;
        self.wire.fill()?;
        self.poll_interface();
        self.serve_dhcp();
        self.accept_clients();
        self.step_connections();
        self.poll_interface();
        self.wire.flush()?;
        self.forget_closed();
        self.sleep()
    }

    fn take_orders(&mut self) -> io::Result<()> {
        match self.wake.read(&mut [0; 64]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
        self.forwards.extend(self.orders.try_iter());
        Ok(())
    }

    fn poll_interface(&mut self) {
        let now = self.now();
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        let now = Instant::now();
        self.wire.senders().for_each(|address| self.guests.hear(address, now));
    }

    fn serve_dhcp(&mut self) {
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.dhcp_socket);
        while let Ok((datagram, _)) = socket.recv() {
            if let Some(answer) = self.dhcp.answer(datagram) {
                let to: IpEndpoint = (Ipv4Addr::BROADCAST, DHCP_CLIENT_PORT).into();
                // Without room the answer is lost, and the client asks again.
                let _ = socket.send_slice(&answer, to);
            }
        }
    }

    fn accept_clients(&mut self) {
        if self.accept_again.is_some_and(|again| Instant::now() < again) {
            return;
        }
        self.accept_again = None;
        for index in 0..self.forwards.len() {
            while self.connections.len() < CONNECTIONS_MAX {
                let forward = &self.forwards[index];
                let guest = forward.guest;
                match forward.listener.accept() {
                    // A client that cannot be served sees its connection close.
                    Ok((host, _)) => drop(self.connect(host, guest)),
                    Err(error) if is_passing(&error) => break,
                    Err(_) => {
                        self.accept_again = Some(Instant::now() + ACCEPT_PAUSE);
                        break;
                    }
                }
            }
        }
    }

    fn connect(&mut self, host: std::net::TcpStream, guest: SocketAddrV4) -> io::Result<()> {
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER_BYTES]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        let silence: smoltcp::time::Duration = self.silence_max.into();
        socket.set_timeout(Some(silence));
        socket.set_keep_alive(Some(silence / 3));
        let port = self.free_port();
        let to = (*guest.ip(), guest.port());
        socket.connect(self.interface.context(), to, port).map_err(io::Error::other)?;
        let handle = self.sockets.add(socket);
        let connection = Connection::new(host, handle, *guest.ip());
        let connection = connection.inspect_err(|_| drop(self.sockets.remove(handle)))?;
        self.connections.push(connection);
        self.guests.add(*guest.ip(), Instant::now());
        Ok(())
    }

    /// The next local port that no connection uses; there are more ports than connections.
    fn free_port(&mut self) -> u16 {
        loop {
            let port = self.port_next;
            self.port_next = if port == PORT_LAST { PORT_FIRST } else { port + 1 };
            let used = self.connections.iter().any(|connection| {
                let socket = self.sockets.get::<tcp::Socket<'_>>(connection.handle);
                socket.local_endpoint().is_some_and(|local| local.port == port)
            });
            if !used {
                return port;
            }
        }
    }

    fn step_connections(&mut self) {
        let now = Instant::now();
        for connection in &mut self.connections {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(connection.handle);
            if self.guests.is_dead(connection.guest, now) {
                connection.abort(socket);
            } else {
                connection.step(socket);
            }
        }
        for address in self.guests.ask(now) {
            self.wire.ask(GATEWAY_MAC, GATEWAY_ADDRESS, address);
        }
    }

    /// Drops the connections that are over. After the interface was polled, so that the reset of
    /// an aborted one is on its way.
    fn forget_closed(&mut self) {
        let (sockets, guests) = (&mut self.sockets, &mut self.guests);
        self.connections.retain(|connection| {
            if connection.is_over() {
                sockets.remove(connection.handle);
                guests.remove(connection.guest);
            }
            !connection.is_over()
        });
    }

    fn sleep(&mut self) -> io::Result<()> {
        let timeout = self.timeout();
        let mut list = vec![
            PollFd::new(self.wire.socket(), self.wire.interest()),
            PollFd::new(&self.wake, PollFlags::IN),
        ];
        if self.connections.len() < CONNECTIONS_MAX && self.accept_again.is_none() {
            list.extend(
                self.forwards.iter().map(|forward| PollFd::new(&forward.listener, PollFlags::IN)),
            );
        }
        let waiting = self.connections.iter().filter(|one| !one.interest().is_empty());
        list.extend(waiting.map(|one| PollFd::new(one.host(), one.interest())));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(&mut list, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn timeout(&mut self) -> Option<Duration> {
        let now = self.now();
        // A cable that takes nothing is waited for by `poll`, whatever smoltcp would send.
        let stack = if self.wire.is_pending() {
            None
        } else {
            self.interface.poll_delay(now, &self.sockets).map(Duration::from)
        };
        let ours = [self.accept_again, self.guests.deadline()].into_iter().flatten().min();
        let ours = ours.map(|due| due.saturating_duration_since(Instant::now()));
        stack.into_iter().chain(ours).min()
    }

    fn now(&self) -> smoltcp::time::Instant {
        let micros = i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX);
        smoltcp::time::Instant::from_micros(micros)
    }
}

fn dhcp_socket() -> io::Result<udp::Socket<'static>> {
    let buffer = || {
        udp::PacketBuffer::new(
            vec![udp::PacketMetadata::EMPTY; DHCP_DATAGRAMS],
            vec![0; DHCP_DATAGRAMS * DHCP_DATAGRAM_BYTES],
        )
    };
    let mut socket = udp::Socket::new(buffer(), buffer());
    socket.bind(DHCP_SERVER_PORT).map_err(io::Error::other)?;
    Ok(socket)
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

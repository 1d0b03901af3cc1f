//! The gateway between real clients on the host and a smoltcp guest on the LAN.
//!
//! Covers addresses, forwarding byte for byte both ways, and every way a connection can end.

use super::wire::Wire;
use super::*;
use crate::lan::Mac;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::socket::{dhcpv4, icmp};
use smoltcp::time::Instant;
use smoltcp::wire::{
    EthernetAddress, Icmpv4Packet, Icmpv4Repr, IpAddress, IpCidr, Ipv4Address, Ipv4Cidr,
};
use std::io::Read;
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const LONG: Duration = Duration::from_secs(60);
const PORT: u16 = 7;
/// Sockets on which a guest listens at once.
const BACKLOG: usize = 8;

/// A guest's stack on the LAN.
struct Stack {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    started: std::time::Instant,
}

impl Stack {
    fn new(lan: &Lan, number: u8) -> Stack {
        let mut wire = Wire::new(lan.attach().unwrap().into_socket()).unwrap();
        let Mac(mac) = node_mac(number);
        let config = Config::new(EthernetAddress(mac).into());
        let interface = Interface::new(config, &mut wire, Instant::ZERO);
        let sockets = SocketSet::new(Vec::new());
        Stack { wire, interface, sockets, started: std::time::Instant::now() }
    }

    fn set_address(&mut self, address: Ipv4Cidr) {
        self.interface.update_ip_addrs(|list| list.push(IpCidr::Ipv4(address)).unwrap());
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.started.elapsed().as_micros() as i64)
    }

    /// Moves frames, lets `serve` work on the sockets, and sleeps until more can happen.
    /// An error when the LAN is gone.
    fn turn(&mut self, serve: impl FnOnce(&mut SocketSet<'static>)) -> io::Result<()> {
        self.wire.fill()?;
        self.interface.poll(self.now(), &mut self.wire, &mut self.sockets);
        serve(&mut self.sockets);
        self.interface.poll(self.now(), &mut self.wire, &mut self.sockets);
        self.wire.flush()?;
        let delay = self.interface.poll_delay(self.now(), &self.sockets);
        // Short enough to see a flag that a test sets meanwhile.
        let delay = delay.map_or(Duration::from_millis(20), Into::into);
        let delay = Timespec::try_from(delay.min(Duration::from_millis(20))).unwrap();
        poll(&mut [PollFd::new(self.wire.socket(), self.wire.interest())], Some(&delay)).unwrap();
        Ok(())
    }
}

/// A guest that serves TCP on a thread of its own until its LAN ends.
struct Guest(Option<JoinHandle<()>>, Arc<AtomicBool>);

impl Guest {
    /// `serve` is called whenever the socket of a connection may have moved; a closed one listens
    /// again.
    fn start(
        lan: &Lan,
        number: u8,
        mut serve: impl FnMut(&mut Socket<'_>) + Send + 'static,
    ) -> Guest {
        let mut stack = Stack::new(lan, number);
        stack.set_address(Ipv4Cidr::new(node_address(number), NETWORK_PREFIX_BITS));
        let handles: Vec<SocketHandle> = (0..BACKLOG)
            .map(|_| {
                let buffer = || SocketBuffer::new(vec![0; 64 * 1024]);
                let mut socket = Socket::new(buffer(), buffer());
                // Before the first frame is taken, else an early client is refused.
                socket.listen(PORT).unwrap();
                stack.sockets.add(socket)
            })
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let serve_all = &mut |sockets: &mut SocketSet<'static>| {
                for handle in &handles {
                    let socket = sockets.get_mut::<Socket<'_>>(*handle);
                    match socket.state() {
                        State::Closed | State::TimeWait => {
                            socket.abort();
                            socket.listen(PORT).unwrap();
                        }
                        State::Listen | State::SynReceived => {}
                        _ => serve(socket),
                    }
                }
            };
            while !stopped.load(Ordering::Relaxed) && stack.turn(&mut *serve_all).is_ok() {}
        });
        Guest(Some(thread), stop)
    }

    /// As a machine that is killed: its port is gone, its connections never end.
    fn kill(mut self) {
        self.1.store(true, Ordering::Relaxed);
        self.0.take().unwrap().join().unwrap();
    }
}

/// Sends back what comes, and closes after the client has.
fn echo(socket: &mut Socket<'_>) {
    let mut buffer = [0; 16 * 1024];
    while socket.can_recv() && socket.can_send() {
        let room = (socket.send_capacity() - socket.send_queue()).min(buffer.len());
        let count = socket.recv_slice(&mut buffer[..room]).unwrap();
        assert_eq!(socket.send_slice(&buffer[..count]).unwrap(), count);
    }
    if !socket.may_recv() {
        socket.close();
    }
}

struct House {
    lan: Lan,
    gateway: Gateway,
}

impl House {
    fn new() -> House {
        House::with_silence(SILENCE_MAX)
    }

    fn with_silence(silence_max: Duration) -> House {
        let lan = Lan::new(1);
        let gateway = Gateway::start_with(&lan, silence_max).unwrap();
        House { lan, gateway }
    }

    fn forward(&self, number: u8, port: u16) -> SocketAddr {
        let host = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        self.gateway.forward(host, SocketAddrV4::new(node_address(number), port)).unwrap()
    }

    fn client(&self, number: u8) -> TcpStream {
        connect(self.forward(number, PORT))
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    client.set_write_timeout(Some(LONG)).unwrap();
    client
}

fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(length).collect()
}

#[test]
fn a_machine_is_told_its_address_and_its_router() {
    let house = House::new();
    let mut stack = Stack::new(&house.lan, 3);
    let handle = stack.sockets.add(dhcpv4::Socket::new());
    let mut lease = None;
    while lease.is_none() {
        assert!(stack.started.elapsed() < LONG);
        stack
            .turn(|sockets| {
                if let Some(dhcpv4::Event::Configured(config)) =
                    sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll()
                {
                    lease = Some((config.address, config.router, config.dns_servers.len()));
                }
            })
            .unwrap();
    }
    let address = Ipv4Cidr::new(Ipv4Address::new(10, 77, 0, 13), 24);
    assert_eq!(lease, Some((address, Some(GATEWAY_ADDRESS), 0)));
}

#[test]
fn the_gateway_answers_ping() {
    let house = House::new();
    let mut stack = Stack::new(&house.lan, 1);
    stack.set_address(Ipv4Cidr::new(node_address(1), NETWORK_PREFIX_BITS));
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 1024]);
    let mut socket = icmp::Socket::new(buffer(), buffer());
    socket.bind(icmp::Endpoint::Ident(9)).unwrap();
    let request = Icmpv4Repr::EchoRequest { ident: 9, seq_no: 1, data: b"ping" };
    let room = socket.send(request.buffer_len(), IpAddress::Ipv4(GATEWAY_ADDRESS)).unwrap();
    request.emit(&mut Icmpv4Packet::new_unchecked(room), &Default::default());
    let handle = stack.sockets.add(socket);
    let mut answered = false;
    while !answered {
        assert!(stack.started.elapsed() < LONG);
        stack
            .turn(|sockets| {
                let socket = sockets.get_mut::<icmp::Socket<'_>>(handle);
                let Ok((packet, from)) = socket.recv() else { return };
                assert_eq!(from, IpAddress::Ipv4(GATEWAY_ADDRESS));
                let packet = Icmpv4Packet::new_checked(packet).unwrap();
                let reply = Icmpv4Repr::parse(&packet, &Default::default()).unwrap();
                let expected = Icmpv4Repr::EchoReply { ident: 9, seq_no: 1, data: b"ping" };
                assert_eq!(reply, expected);
                answered = true;
            })
            .unwrap();
    }
}

#[test]
fn bulk_goes_both_ways_at_once_byte_for_byte_and_ends_in_order() {
    let house = House::new();
    let _guest = Guest::start(&house.lan, 1, echo);
    let mut client = house.client(1);
    let sent = pattern(8 << 20, 7);
    let mut received = Vec::new();
    std::thread::scope(|scope| {
        let mut writer = client.try_clone().unwrap();
        let sent = &sent;
        scope.spawn(move || {
            writer.write_all(sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        client.read_to_end(&mut received).unwrap();
    });
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
}

#[test]
fn many_connections_are_kept_apart() {
    let house = House::new();
    let _guest = Guest::start(&house.lan, 1, echo);
    let address = house.forward(1, PORT);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            scope.spawn(move || {
                for round in 0..12 {
                    let sent = pattern(20_000, 1 + worker * 100 + round);
                    let mut client = connect(address);
                    let mut received = vec![0; sent.len()];
                    client.write_all(&sent).unwrap();
                    client.read_exact(&mut received).unwrap();
                    assert!(received == sent, "worker {worker}, round {round}");
                }
            });
        }
    });
}

#[test]
fn the_guest_may_answer_after_the_client_has_ended() {
    let house = House::new();
    let mut total = 0;
    let _guest = Guest::start(&house.lan, 1, move |socket| {
        while socket.can_recv() {
            total += socket.recv(|bytes| (bytes.len(), bytes.len())).unwrap();
        }
        if !socket.may_recv() && socket.may_send() {
            socket.send_slice(format!("{total} bytes").as_bytes()).unwrap();
            socket.close();
        }
    });
    let mut client = house.client(1);
    client.write_all(&pattern(300_000, 3)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "300000 bytes");
}

#[test]
fn the_client_may_go_on_after_the_guest_has_ended() {
    let house = House::new();
    let (sender, result) = channel();
    let mut received = Vec::new();
    let _guest = Guest::start(&house.lan, 1, move |socket| {
        if socket.state() == State::Established {
            socket.send_slice(b"done").unwrap();
            socket.close();
        }
        while socket.can_recv() {
            socket.recv(|bytes| (bytes.len(), received.extend_from_slice(bytes))).unwrap();
        }
        if received.len() == 100_000 {
            let _ = sender.send(std::mem::take(&mut received));
        }
    });
    let mut client = house.client(1);
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "done");
    let sent = pattern(100_000, 5);
    client.write_all(&sent).unwrap();
    assert!(result.recv_timeout(LONG).unwrap() == sent);
}

#[test]
fn a_port_where_nobody_listens_resets_the_client() {
    let house = House::new();
    let _guest = Guest::start(&house.lan, 1, echo);
    let mut client = connect(house.forward(1, PORT + 1));
    let error = client.read(&mut [0; 16]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_reset_by_the_guest_reaches_the_client() {
    let house = House::new();
    let _guest = Guest::start(&house.lan, 1, |socket| {
        if socket.can_recv() {
            socket.abort();
        }
    });
    let mut client = house.client(1);
    client.write_all(b"x").unwrap();
    let error = client.read(&mut [0; 16]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_reset_by_the_client_reaches_the_guest() {
    let house = House::new();
    let (sender, resets) = channel();
    let mut was_open = false;
    // An orderly end would give the guest a FIN, and so a state other than Closed.
    let _guest = Guest::start(&house.lan, 1, move |socket| {
        was_open |= socket.can_recv();
        if was_open && socket.state() == State::CloseWait {
            sender.send(false).unwrap();
        }
        if was_open && socket.can_recv() {
            echo(socket);
            socket.set_timeout(None);
            sender.send(true).unwrap();
        }
    });
    let mut client = house.client(1);
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    assert_eq!(resets.recv_timeout(LONG), Ok(true));
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    // The guest's socket listens again, which a new connection shows; it saw no FIN before.
    let mut client = house.client(1);
    client.write_all(b"y").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    assert_eq!(resets.recv_timeout(LONG), Ok(true));
}

#[test]
fn a_machine_that_never_answers_resets_the_client() {
    let house = House::with_silence(Duration::from_millis(300));
    let _silent = house.lan.attach().unwrap();
    let mut client = house.client(1);
    let error = client.read(&mut [0; 16]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_machine_that_dies_resets_its_clients_and_its_successor_serves() {
    // A lost SYN is sent again after 1 s; the successor's may be, while the switch forgets the
    // dead.
    let house = House::with_silence(Duration::from_secs(3));
    let guest = Guest::start(&house.lan, 1, echo);
    let address = house.forward(1, PORT);
    let mut client = connect(address);
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    guest.kill();
    let error = client.read(&mut [0; 16]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let _guest = Guest::start(&house.lan, 1, echo);
    let mut client = connect(address);
    client.write_all(b"y").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
}

#[test]
fn a_guest_that_does_not_read_stops_the_client_and_is_waited_for() {
    // Longer than smoltcp's first probe of a closed window, 1 s.
    let silence = Duration::from_millis(2_500);
    let house = House::with_silence(silence);
    let reading = Arc::new(AtomicBool::new(false));
    let may_read = reading.clone();
    let _guest = Guest::start(&house.lan, 1, move |socket| {
        if may_read.load(Ordering::Relaxed) {
            echo(socket);
        }
    });
    let mut client = house.client(1);
    client.set_nonblocking(true).unwrap();
    let sent = pattern(64 << 20, 9);
    let mut taken = 0;
    let stopped = loop {
        match client.write(&sent[taken..]) {
            Ok(count) => taken += count,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                // Full for good, or only for a moment?
                let second = Timespec { tv_sec: 1, tv_nsec: 0 };
                let fd = &mut [PollFd::new(&client, PollFlags::OUT)];
                if poll(fd, Some(&second)).unwrap() == 0 {
                    break taken;
                }
            }
        }
    };
    assert!(stopped < 32 << 20, "{stopped} bytes wait somewhere");
    client.set_nonblocking(false).unwrap();
    client.set_read_timeout(Some(silence * 2)).unwrap();
    let error = client.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "alive, though its window is closed");
    client.set_read_timeout(Some(LONG)).unwrap();
    reading.store(true, Ordering::Relaxed);
    let mut received = vec![0; stopped];
    client.read_exact(&mut received).unwrap();
    assert!(received == sent[..stopped]);
}

#[test]
fn a_gateway_outlives_its_lan_and_says_so() {
    let House { lan, gateway } = House::new();
    drop(lan);
    let host = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let guest = SocketAddrV4::new(node_address(1), PORT);
    // The thread has ended, or ends before it serves; either way nothing hangs.
    if let Ok(address) = gateway.forward(host, guest) {
        let client = TcpStream::connect(address);
        drop(gateway);
        if let Ok(mut client) = client {
            client.set_read_timeout(Some(LONG)).unwrap();
            assert!(!matches!(client.read(&mut [0; 1]), Ok(1..)));
        }
    }
}

#[test]
fn a_port_in_use_is_an_error() {
    let house = House::new();
    let SocketAddr::V4(taken) = house.forward(1, PORT) else { panic!("asked for IPv4") };
    let guest = SocketAddrV4::new(node_address(1), PORT);
    let error = house.gateway.forward(taken, guest).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

//! One forwarded connection: a TCP stream of the host joined to one of the gateway's interface.
//!
//! Owns the copying between the two and the meaning of their ends. Bytes go straight from one
//! side's buffer to the other's, and a side that does not take them stops the other. An end of
//! stream passes on as an end, a reset as a reset. Neighbour: `router` calls [`Connection::step`]
//! whenever either side may have moved.
//!
//! ```text
//!            guest answers              both ends seen, all bytes delivered
//! Connecting ------------> Open ------------------------------------------> finished
//!     |                      |  reset or silence of the guest, or of the host
//!     '----------------------'--------------------------------------------> aborted
//! ```

use rustix::event::PollFlags;
use rustix::net::sockopt::set_socket_linger;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{Socket, State};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Duration;

pub(super) struct Connection {
    pub(super) handle: SocketHandle,
    /// The machine at the other end.
    pub(super) guest: Ipv4Addr,
    host: TcpStream,
    /// The host has sent its last byte, and the guest's side was closed behind it.
    host_ended: bool,
    /// The guest's FIN was seen.
    guest_fin: bool,
    /// The guest's last byte was delivered, and the host's side was closed behind it.
    guest_ended: bool,
    over: bool,
    interest: PollFlags,
}

/// Why copying stopped for now.
enum Pause {
    /// The reader has no byte, or the writer no room.
    NotReady,
    /// The source has come to its end.
    End,
    /// The host's side is broken.
    Broken,
}

impl Connection {
    /// Joins the host's stream to a socket that is connecting to the guest.
    pub(super) fn new(
        host: TcpStream,
        handle: SocketHandle,
        guest: Ipv4Addr,
    ) -> io::Result<Connection> {
        host.set_nonblocking(true)?;
        host.set_nodelay(true)?;
        Ok(Connection {
            handle,
            guest,
            host,
            host_ended: false,
            guest_fin: false,
            guest_ended: false,
            over: false,
            interest: PollFlags::empty(),
        })
    }

    pub(super) fn host(&self) -> &TcpStream {
        &self.host
    }

    /// What to wait for on the host's stream; empty when only the guest can move things on.
    pub(super) fn interest(&self) -> PollFlags {
        self.interest
    }

    /// Nothing is left to do: drop it, once the interface has sent what an abort leaves to send.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Moves what can be moved.
    pub(super) fn step(&mut self, guest: &mut Socket<'_>) {
        self.interest = PollFlags::empty();
        match guest.state() {
            State::SynSent => return,
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait => {
                self.guest_fin = true;
            }
            State::Closed if !self.closed_in_order(guest) => {
                return self.reset_host();
            }
            // From here on it is the machine's silence that counts, not this connection's.
            _ => guest.set_timeout(None),
        }
        let broken = self.guest_to_host(guest).is_err() || self.host_to_guest(guest).is_err();
        if broken {
            return self.abort(guest);
        }
        let settled = matches!(guest.state(), State::Closed | State::TimeWait);
        self.over = settled && self.guest_ended && self.host_ended;
    }

    /// Gives the connection up, because its machine is dead.
    pub(super) fn abort(&mut self, guest: &mut Socket<'_>) {
        guest.abort();
        self.reset_host();
    }

    fn closed_in_order(&self, guest: &Socket<'_>) -> bool {
        self.guest_fin && self.host_ended && guest.send_queue() == 0
    }

    fn guest_to_host(&mut self, guest: &mut Socket<'_>) -> Result<(), ()> {
        while guest.can_recv() {
            match guest.recv(|bytes| write_some(&mut self.host, bytes)) {
                Ok(None) => {}
                Ok(Some(Pause::NotReady)) => {
                    self.interest |= PollFlags::OUT;
                    return Ok(());
                }
                Ok(Some(_)) | Err(_) => return Err(()),
            }
        }
        if self.guest_fin && !self.guest_ended {
            self.guest_ended = true;
            // Fails only if the host has gone, which its next read or write shows.
            let _ = self.host.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    fn host_to_guest(&mut self, guest: &mut Socket<'_>) -> Result<(), ()> {
        while !self.host_ended && guest.can_send() {
            match guest.send(|room| read_some(&mut self.host, room)) {
                Ok(None) => {}
                Ok(Some(Pause::NotReady)) => {
                    self.interest |= PollFlags::IN;
                    return Ok(());
                }
                Ok(Some(Pause::End)) => {
                    self.host_ended = true;
                    guest.close();
                }
                Ok(Some(Pause::Broken)) | Err(_) => return Err(()),
            }
        }
        Ok(())
    }

    /// Makes the close that follows a reset: the client must not take it for an orderly end.
    fn reset_host(&mut self) {
        self.over = true;
        let _ = set_socket_linger(&self.host, Some(Duration::ZERO));
    }
}

/// Bytes taken from the guest's buffer, and why no more.
fn write_some(host: &mut TcpStream, bytes: &[u8]) -> (usize, Option<Pause>) {
    match host.write(bytes) {
        Ok(count) => (count, None),
        Err(error) => (0, pause(&error)),
    }
}

/// Bytes put into the guest's buffer, and why no more.
fn read_some(host: &mut TcpStream, room: &mut [u8]) -> (usize, Option<Pause>) {
    match host.read(room) {
        Ok(0) => (0, Some(Pause::End)),
        Ok(count) => (count, None),
        Err(error) => (0, pause(&error)),
    }
}

fn pause(error: &io::Error) -> Option<Pause> {
    match error.kind() {
        io::ErrorKind::Interrupted => None,
        io::ErrorKind::WouldBlock => Some(Pause::NotReady),
        _ => Some(Pause::Broken),
    }
}

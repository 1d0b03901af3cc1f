//! A cable to the host's own kernel: a tap, with a DHCP server at its end.
//!
//! Owns [`Tap`]. It needs root and is made in the network namespace of this process, which had
//! better be one of its own (`unshare --net`, see `testing::in_network_namespace`). What a LAN in
//! user space has not is here: a TCP that nobody of ours wrote, and checksums and segments that are
//! left to the card. Neighbour: `gateway` numbers the guests; here they get the same addresses.

use crate::gateway::{DhcpServer, GATEWAY_ADDRESS, NETWORK_PREFIX_BITS};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// Longest datagram that the server reads.
const DATAGRAM_BYTES_MAX: usize = 2048;
/// Where a process sees the counters of its own namespace.
const COUNTERS: &str = "/proc/self/net/dev";

/// What went one way through a tap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames, one that is to be cut into segments counted once.
    pub frames: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// A tap whose host end has the gateway's address. Dropping it stops the DHCP server; the tap goes
/// with its namespace.
pub struct Tap {
    name: String,
    queues: u8,
    stop: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Tap {
    /// Makes a tap of this name and answers DHCP on it.
    ///
    /// # Errors
    /// When `ip` (Debian: iproute2) fails or is not there, or port 67 is taken.
    pub fn start(name: &str) -> io::Result<Tap> {
        Tap::start_with_queues(name, 1)
    }

    /// As [`Tap::start`], with so many pairs of queues for the guest.
    ///
    /// # Errors
    /// As there.
    pub fn start_with_queues(name: &str, queues: u8) -> io::Result<Tap> {
        let host = format!("{GATEWAY_ADDRESS}/{NETWORK_PREFIX_BITS}");
        ip(&["link", "set", "lo", "up"])?;
        let several: &[&str] = if queues > 1 { &["multi_queue"] } else { &[] };
        ip(&[&["tuntap", "add", "dev", name, "mode", "tap"], several].concat())?;
        ip(&["addr", "add", &host, "dev", name])?;
        ip(&["link", "set", name, "up"])?;
        // Answers to a guest without an address go to everybody.
        ip(&["route", "add", "255.255.255.255/32", "dev", name])?;
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, SERVER_PORT))?;
        socket.set_broadcast(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let server = std::thread::Builder::new()
            .name("dhcp".into())
            .spawn(move || serve(&socket, &stopped))?;
        Ok(Tap { name: name.into(), queues, stop, server: Some(server) })
    }

    /// Its name in this namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pairs of queues that it has for the guest.
    pub fn queues(&self) -> u8 {
        self.queues
    }

    /// What went to the guest, and what came from it.
    ///
    /// # Errors
    /// When the host does not say.
    pub fn traffic(&self) -> io::Result<[Traffic; 2]> {
        let text = std::fs::read_to_string(COUNTERS)?;
        traffic_of(&text, &self.name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Any datagram wakes it. If none can be sent it ends with the process.
        let woken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|socket| socket.send_to(&[0], (Ipv4Addr::LOCALHOST, SERVER_PORT)));
        if let (Ok(_), Some(server)) = (woken, self.server.take()) {
            let _ = server.join();
        }
    }
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    let output = Command::new("ip").args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ip {}: {}", arguments.join(" "), complaint.trim())))
}

fn serve(socket: &UdpSocket, stop: &AtomicBool) {
    let mut server = DhcpServer::default();
    let mut datagram = [0; DATAGRAM_BYTES_MAX];
    while let Ok((length, _)) = socket.recv_from(&mut datagram) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        if let Some(answer) = server.answer(&datagram[..length]) {
            // A guest that hears nothing asks again.
            let _ = socket.send_to(&answer, (Ipv4Addr::BROADCAST, CLIENT_PORT));
        }
    }
}

/// The line of a card: eight numbers of what it received, then eight of what it sent. What a tap
/// sends goes to the guest.
fn traffic_of(text: &str, name: &str) -> Option<[Traffic; 2]> {
    let numbers = text.lines().find_map(|line| {
        let (card, numbers) = line.split_once(':')?;
        (card.trim() == name).then_some(numbers)
    })?;
    let numbers: Vec<u64> = numbers.split_whitespace().map_while(|n| n.parse().ok()).collect();
    let at =
        |index| Some(Traffic { bytes: *numbers.get(index)?, frames: *numbers.get(index + 1)? });
    Some([at(8)?, at(0)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_of_a_card_are_found() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets errs|bytes\n    \
                    lo:  10 1 0 0 0 0 0 0 10 1 0 0 0 0 0 0\n  \
                    tap0: 500 5 0 0 0 0 0 0 900 3 0 0 0 0 0 0\n";
        let traffic = |frames, bytes| Traffic { frames, bytes };
        assert_eq!(traffic_of(text, "tap0"), Some([traffic(3, 900), traffic(5, 500)]));
        assert_eq!(traffic_of(text, "tap"), None);
        assert_eq!(traffic_of("tap0: 1 2 x", "tap0"), None);
    }
}

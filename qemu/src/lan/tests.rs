//! The switch at work between real sockets.
//!
//! Its decisions are tested in `switch`; here it is the threads: frames arrive whole, ports come
//! and go, and one that does not read harms nobody else.

use super::frame::append;
use super::*;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
const ALL: Mac = Mac([0xff; 6]);

struct Client {
    mac: Mac,
    id: PortId,
    socket: UnixStream,
    frames: FrameReader,
}

impl Client {
    fn new(lan: &Lan, number: u8) -> Client {
        let port = lan.attach().unwrap();
        let id = port.id();
        let socket = port.into_socket();
        socket.set_read_timeout(Some(LONG)).unwrap();
        let mac = Mac([2, 0, 0, 0, 0, number]);
        Client { mac, id, socket, frames: FrameReader::new() }
    }

    fn send(&mut self, to: Mac, payload: &[u8]) {
        let frame = [&to.0[..], &self.mac.0[..], &[0x88, 0xb5], payload].concat();
        let mut bytes = Vec::new();
        append(&frame, &mut bytes);
        self.socket.write_all(&bytes).unwrap();
    }

    /// The payload of the next frame.
    fn receive(&mut self) -> Vec<u8> {
        loop {
            if let Some(frame) = self.frames.next().unwrap() {
                return frame[14..].to_vec();
            }
            assert_ne!(self.frames.fill(&mut self.socket).unwrap(), 0, "the switch hung up");
        }
    }
}

#[test]
fn frames_are_flooded_then_switched() {
    let lan = Lan::new(1);
    let [mut a, mut b, mut c] = [1, 2, 3].map(|number| Client::new(&lan, number));
    a.send(ALL, b"who is there");
    assert_eq!(b.receive(), b"who is there");
    assert_eq!(c.receive(), b"who is there");
    b.send(a.mac, b"I");
    assert_eq!(a.receive(), b"I");
    // Of these, C sees only the last.
    a.send(b.mac, b"private");
    a.send(ALL, b"public");
    assert_eq!(b.receive(), b"private");
    assert_eq!(c.receive(), b"public");
    let counters = lan.counters(a.id).unwrap();
    assert_eq!((counters.frames_from_machine, counters.frames_to_machine), (3, 1));
}

#[test]
fn a_stream_of_frames_arrives_whole_and_in_order() {
    let lan = Lan::new(1);
    let [mut a, mut b] = [1, 2].map(|number| Client::new(&lan, number));
    b.send(ALL, b"");
    a.receive();
    let to = b.mac;
    let payload = |number: u32| vec![number as u8; 1 + (number as usize * 7919) % 1500];
    std::thread::scope(|scope| {
        scope.spawn(|| (0..5_000).for_each(|number| a.send(to, &payload(number))));
        for number in 0..5_000 {
            assert!(b.receive() == payload(number), "frame {number}");
        }
    });
}

#[test]
fn a_machine_that_takes_nothing_harms_nobody_else() {
    let lan = Lan::new(1);
    let [mut a, mut b, mut asleep] = [1, 2, 3].map(|number| Client::new(&lan, number));
    asleep.send(ALL, b"");
    a.receive();
    b.receive();
    let payload = vec![0; 60_000];
    for _ in 0..400 {
        a.send(asleep.mac, &payload);
    }
    a.send(ALL, b"still here");
    assert_eq!(b.receive(), b"still here");
    let counters = lan.counters(asleep.id).unwrap();
    // One queue full is on its way to the socket, another waits; the rest is dropped.
    assert!(counters.frames_dropped > 100, "{counters:?}");
    assert_eq!(counters.frames_to_machine, 401);
}

#[test]
fn a_delayed_frame_comes_late_and_a_lost_one_never() {
    let lan = Lan::new(1);
    let [mut a, mut b] = [1, 2].map(|number| Client::new(&lan, number));
    let delay = Duration::from_millis(80);
    lan.set_faults(b.id, Direction::ToMachine, Faults { delay, ..Faults::default() });
    let before = Instant::now();
    a.send(ALL, b"late");
    assert_eq!(b.receive(), b"late");
    assert!(before.elapsed() >= delay);
    lan.set_faults(b.id, Direction::ToMachine, Faults { loss: 1.0, ..Faults::default() });
    a.send(ALL, b"lost");
    // The answer shows that the switch has dealt with the lost one.
    b.send(ALL, b"?");
    assert_eq!(a.receive(), b"?");
    wait_until(|| lan.counters(a.id).unwrap().frames_from_machine == 2);
    lan.set_faults(b.id, Direction::ToMachine, Faults::default());
    a.send(ALL, b"next");
    assert_eq!(b.receive(), b"next");
}

#[test]
fn a_cut_lan_is_two_until_it_heals() {
    let lan = Lan::new(1);
    let [mut a, mut b, mut c] = [1, 2, 3].map(|number| Client::new(&lan, number));
    lan.cut(a.id, b.id, Cut::Both);
    a.send(ALL, b"one");
    assert_eq!(c.receive(), b"one");
    lan.heal();
    a.send(ALL, b"two");
    assert_eq!(b.receive(), b"two");
}

#[test]
fn a_machine_that_ends_or_talks_nonsense_loses_its_port() {
    let lan = Lan::new(1);
    let [a, mut b] = [1, 2].map(|number| Client::new(&lan, number));
    let ids = [a.id, b.id];
    drop(a);
    b.socket.write_all(&[0xff; 4]).unwrap();
    assert_eq!(b.frames.fill(&mut b.socket).unwrap(), 0, "hung up on");
    wait_until(|| ids.iter().all(|id| lan.counters(*id).is_none()));
}

#[test]
fn a_lan_that_ends_hangs_up() {
    let lan = Lan::new(1);
    let mut a = Client::new(&lan, 1);
    drop(lan);
    assert_eq!(a.frames.fill(&mut a.socket).unwrap(), 0);
}

/// For the few facts that no event announces.
fn wait_until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "it never came to hold");
        std::thread::yield_now();
    }
}

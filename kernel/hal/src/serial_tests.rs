//! Tests of the serial line with a transmitter as slow as a test wants it.

use super::*;
use std::format;
use std::string::String;
use std::vec::Vec;

/// Takes a few bytes, now and then.
struct Slow {
    /// Bytes that it takes in each of the next calls, over and over.
    rooms: Vec<usize>,
    calls: usize,
    seen: Vec<u8>,
}

impl Slow {
    fn port(rooms: &[usize]) -> Port<Slow> {
        Port::new(Slow { rooms: rooms.to_vec(), calls: 0, seen: Vec::new() })
    }
}

impl Transmitter for Slow {
    fn send(&mut self, bytes: &[u8]) -> usize {
        let room = self.rooms[self.calls % self.rooms.len()].min(bytes.len());
        self.calls += 1;
        self.seen.extend_from_slice(&bytes[..room]);
        room
    }

    fn is_idle(&mut self) -> bool {
        true
    }

    fn interrupt_on_room(&mut self, _wanted: bool) {}
}

fn line(text: &str) -> Line {
    let mut line = Line::new();
    line.write_str(text).expect("it is short");
    line
}

fn text(port: &Port<Slow>) -> String {
    String::from_utf8(port.transmitter.seen.clone()).expect("text")
}

#[test]
fn lines_come_whole_and_in_order_however_slow_the_port() {
    for rooms in [&[1][..], &[0, 0, 3], &[16], &[0, 1, 0, 5, 0, 0]] {
        let ring = Lines::<8>::new();
        let mut port = Slow::port(rooms);
        let mut expected = String::new();
        for i in 0..200 {
            let next = format!("line {i} of many");
            while !ring.push(&line(&next)) {
                ring.take_dropped();
                port.pump(&ring);
            }
            expected.push_str(&next);
            expected.push_str("\r\n");
        }
        while !port.pump(&ring) {}
        assert_eq!(text(&port), expected, "{rooms:?}");
        assert!(port.pump(&ring), "nothing is left");
    }
}

#[test]
fn a_port_without_room_is_asked_once_and_left() {
    let ring = Lines::<4>::new();
    let mut port = Slow::port(&[0]);
    ring.push(&line("waits"));
    assert!(!port.pump(&ring));
    assert_eq!(port.transmitter.calls, 1);
    port.transmitter.rooms = std::vec![4];
    assert!(port.pump(&ring));
    assert_eq!(text(&port), "waits\r\n");
}

#[test]
fn what_was_dropped_is_told_where_it_is_missing() {
    let ring = Lines::<2>::new();
    let mut port = Slow::port(&[0]);
    for text in ["a", "b", "lost", "lost", "lost"] {
        ring.push(&line(text));
    }
    port.transmitter.rooms = std::vec![16];
    assert!(port.pump(&ring));
    assert_eq!(text(&port), "a\r\nb\r\n3 lines dropped\r\n");
    for text in ["c", "d", "lost"] {
        ring.push(&line(text));
    }
    ring.peek(|_, _| ()).expect("there is a line");
    port.transmitter.seen.clear();
    assert!(port.next(&ring));
    ring.push(&line("e"));
    assert!(port.pump(&ring));
    assert_eq!(text(&port), "c\r\nd\r\n1 line dropped before: e\r\n");
}

#[test]
fn a_dead_port_is_waited_for_once() {
    let ring = Lines::<4>::new();
    let mut port = Slow::port(&[0]);
    ring.push(&line("never seen"));
    port.flush(&ring);
    let waited = port.transmitter.calls;
    assert!(waited > 1000);
    port.write_str("a report\n").expect("it never fails");
    port.flush(&ring);
    port.wait_idle();
    assert!(port.transmitter.calls < waited + 10, "it waited again");
    port.transmitter.rooms = std::vec![0, 16];
    assert!(!port.pump(&ring) && port.pump(&ring), "it came to life");
    assert!(!port.stuck);
    port.write_str("a report\n").expect("it never fails");
    assert_eq!(text(&port), "never seen\r\na report\r\n");
}

#[test]
fn a_report_comes_behind_what_is_queued() {
    let ring = Lines::<4>::new();
    let mut port = Slow::port(&[0, 2]);
    ring.push(&line("queued"));
    port.pump(&ring);
    port.flush(&ring);
    port.write_str("first\nsecond").expect("it never fails");
    assert_eq!(text(&port), "queued\r\nfirst\r\nsecond");
}

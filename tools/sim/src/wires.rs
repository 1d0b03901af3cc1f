//! The world as a network: datagrams and bytes are put under way, and arrive.
//!
//! Adds to [`World`] what its machines and the operator say to one another.

use crate::actor::Phase;
use crate::net::{End, FLIGHT_BYTES_MAX, NODES, OPERATOR, Place, address, place_of};
use crate::operator::Want;
use crate::world::{Event, World};
use craton_abi::{Duration, limit};
use craton_node::NodeInput;
use craton_session::ConnId;
use std::net::{Ipv4Addr, SocketAddr};

impl World {
    pub(crate) fn send_datagram(&mut self, from: Place, to: SocketAddr, bytes: &[u8]) {
        self.trace.bytes(bytes);
        let all = to.ip() == Ipv4Addr::BROADCAST;
        for place in 0..NODES {
            if place == from || !(all || place_of(to) == Some(place)) {
                continue;
            }
            let boot = self.machines[place].boot;
            for at in self.net.datagram(from, place, self.now, &mut self.random) {
                let bytes = bytes.to_vec();
                self.at(at, Event::Datagram { to: place, boot, from, bytes });
            }
        }
    }

    pub(crate) fn dial(&mut self, from: End, to: SocketAddr) {
        let Some(place) = place_of(to).filter(|place| *place < NODES) else { return };
        self.trace.note(self.now, format_args!("{} dials {place}: {:x?}", from.place, from.conn));
        if let Some(at) = self.net.control(from.place, place, self.now, &mut self.random) {
            self.at(at, Event::Dialled { from, to: place });
        }
    }

    pub(crate) fn accept(&mut self, place: Place, from: End) {
        if self.net.given_up.remove(&from) {
            return;
        }
        let machine = &mut self.machines[place];
        machine.conn_next += 1;
        let conn = ConnId(machine.conn_next);
        let end = self.end(place, conn);
        let Some(at) = self.net.control(place, from.place, self.now, &mut self.random) else {
            return;
        };
        let id = self.net.connect([from, end], at);
        self.trace.note(self.now, format_args!("{place} accepts {} as stream {id}", from.place));
        let address = SocketAddr::new(address(from.place), 40_000);
        self.at(at, Event::Connected { to: from });
        self.step(place, NodeInput::Accepted { conn, from: address });
    }

    /// Takes from one end of a connection as much as there is and fits.
    pub(crate) fn pump(&mut self, end: End) {
        let Some((id, side)) = self.net.find(end.place, end.boot, end.conn) else { return };
        let to = match self.net.streams.get(&id) {
            Some(stream) => stream.ends[1 - side],
            None => return,
        };
        loop {
            let open = self.net.is_open(end.place, to.place);
            let Some(stream) = self.net.streams.get_mut(&id) else { return };
            let room = FLIGHT_BYTES_MAX.saturating_sub(stream.flight[side]).min(64 << 10);
            stream.stalled[side] = room == 0 || !open;
            if stream.stalled[side] {
                return;
            }
            let mut bytes = Vec::new();
            if end.place == OPERATOR {
                self.operator.sessions.transmit(end.conn, room, &mut bytes, self.now);
            } else {
                let machine = &mut self.machines[end.place];
                let local = machine.local(self.now);
                machine.node.transmit(end.conn, room, &mut bytes, local);
            }
            if bytes.is_empty() {
                return;
            }
            self.trace.bytes(&bytes);
            let full = bytes.len() == room;
            let at = self.net.send(id, side, bytes.len(), self.now, &mut self.random);
            if let Some(at) = at {
                self.at(at, Event::Chunk { stream: id, side, to, bytes });
            }
            if !full {
                return;
            }
        }
    }

    pub(crate) fn arrive(&mut self, id: u64, side: usize, to: End, bytes: Vec<u8>) {
        if self.broken.contains(&id) {
            return;
        }
        let mut stalled = None;
        if let Some(stream) = self.net.streams.get_mut(&id) {
            stream.flight[side] = stream.flight[side].saturating_sub(bytes.len());
            stalled = stream.stalled[side].then_some(stream.ends[side]);
        }
        if to.place == OPERATOR {
            self.operator.sessions.received(to.conn, &bytes, self.now);
            self.pump_operator();
        } else {
            self.step(to.place, NodeInput::Received { conn: to.conn, bytes });
        }
        if let Some(end) = stalled {
            self.pump_end(end);
        }
    }

    /// Goes on with an end that had found no room; its machine may be gone or paused meanwhile.
    pub(crate) fn pump_end(&mut self, end: End) {
        let paused = end.place != OPERATOR && self.machines[end.place].paused_until > self.now;
        let now_end = self.end(end.place, end.conn);
        if now_end != end || paused {
            return;
        }
        self.pump(end);
        if end.place != OPERATOR {
            self.schedule_tick(end.place, 0);
        }
    }

    pub(crate) fn close(&mut self, end: End) {
        let Some((id, side)) = self.net.find(end.place, end.boot, end.conn) else {
            // It was still being dialled, or the other end was faster.
            self.net.given_up.insert(end);
            return;
        };
        let Some(stream) = self.net.streams.remove(&id) else { return };
        let to = stream.ends[1 - side];
        self.trace.note(self.now, format_args!("{} closes stream {id}", end.place));
        if let Some(at) = self.net.control(end.place, to.place, self.now, &mut self.random) {
            self.at(at.max(stream.arrives[side]), Event::Closed { to });
        }
    }

    /// Breaks connections. If `told`, both ends hear of it.
    pub(crate) fn break_streams(&mut self, told: bool, which: impl Fn(&[Place; 2]) -> bool) {
        let ids: Vec<u64> = self
            .net
            .streams
            .iter()
            .filter(|(_, stream)| which(&stream.ends.map(|end| end.place)))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.broken.insert(id);
            let Some(stream) = self.net.streams.remove(&id) else { continue };
            for to in stream.ends.into_iter().filter(|_| told) {
                let at = self.now + self.random.millis(0, 30);
                self.at(at, Event::Closed { to });
            }
        }
    }

    pub(crate) fn operate(&mut self) {
        self.operator.sessions.tick(self.now);
        if self.phase == Phase::Work && self.operator.is_idle(self.now) {
            let place = self.random.below(NODES);
            if self.machines[place].alive {
                let at = SocketAddr::new(address(place), limit::SESSION_PORT);
                self.operator.begin(at, self.now);
            }
        }
        self.pump_operator();
        let place = self.random.below(NODES);
        let machine = &self.machines[place];
        let runs = machine.alive && machine.paused_until <= self.now;
        if self.phase == Phase::Work && runs && self.random.chance(2) {
            self.trace.note(self.now, format_args!("{place} is short of memory"));
            self.step(place, NodeInput::MemoryShort);
        }
        self.at(self.now + Duration::from_millis(250), Event::Operator);
    }

    pub(crate) fn pump_operator(&mut self) {
        while let Some(want) = self.operator.poll(self.now) {
            match want {
                Want::Dial(conn, to) => self.dial(self.end(OPERATOR, conn), to),
                Want::Close(conn) => self.close(self.end(OPERATOR, conn)),
                Want::Ready(conn) => self.pump(self.end(OPERATOR, conn)),
            }
        }
    }
}

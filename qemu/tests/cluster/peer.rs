//! A peer whose bytes a test can change on their way to a node.
//!
//! Owns [`Peer`]: a session without the client around it, over a socket that it reads and writes
//! itself. Everything goes as a real operator's does, but for [`Tamper`].

use craton_abi::{AppId, Incarnation, Instant, NodeId, RequestId, TraceId};
use craton_qemu::testing::LONG;
use craton_session::{Config, ConnId, Event, Sessions};
use craton_tool::keys::Keys;
use craton_wire::{Answer, Body, Lane, Question};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Each peer is a life of its own.
static LIVES: AtomicU64 = AtomicU64::new(1);
/// How long to wait for the node at once.
const TURN: Duration = Duration::from_millis(20);
const BLOCK_BYTES: usize = 64 << 10;

/// Changes the bytes that the peer sends; `false` closes the connection.
pub type Tamper = Box<dyn FnMut(&mut Vec<u8>) -> bool>;

/// An operator's side of a session.
pub struct Peer {
    sessions: Sessions,
    conn: ConnId,
    stream: TcpStream,
    started: std::time::Instant,
    node: Option<NodeId>,
    answers: Vec<Answer>,
    tamper: Tamper,
    closed: bool,
}

impl Peer {
    /// An honest peer with a session.
    #[track_caller]
    pub fn connect(address: SocketAddr, keys: &Keys) -> Peer {
        let mut peer = Peer::begin(address, keys, Box::new(|_| true));
        assert!(peer.try_up(LONG), "no session");
        peer
    }

    /// A peer that has only a connection yet.
    pub fn begin(address: SocketAddr, keys: &Keys, tamper: Tamper) -> Peer {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TURN)).unwrap();
        let mut sessions = Sessions::new(Config {
            identity: keys.operator().clone(),
            authorities: vec![keys.authority_key()],
            incarnation: Incarnation::new(LIVES.fetch_add(1, Ordering::Relaxed)),
            seed: [7; 32],
            wall_clock_secs: None,
        });
        let conn = sessions.dial_any(address, Instant::ZERO);
        let started = std::time::Instant::now();
        let (node, answers, closed) = (None, Vec::new(), false);
        Peer { sessions, conn, stream, started, node, answers, tamper, closed }
    }

    /// Whether a session comes up before the node closes the connection or time is up.
    pub fn try_up(&mut self, within: Duration) -> bool {
        let limit = std::time::Instant::now() + within;
        while self.node.is_none() && !self.closed && std::time::Instant::now() < limit {
            self.turn();
        }
        self.node.is_some()
    }

    /// Whether the node answers a question, if it comes to that.
    pub fn is_answered(&mut self, within: Duration) -> bool {
        if !self.try_up(within) {
            return false;
        }
        self.say(Body::Ask { request: RequestId::new(1), question: Question::Nodes });
        let limit = std::time::Instant::now() + within;
        while self.answers.is_empty() && !self.closed && std::time::Instant::now() < limit {
            self.turn();
        }
        !self.answers.is_empty()
    }

    /// Says something to the node.
    pub fn say(&mut self, body: Body) {
        let (node, now) = (self.node.expect("a session is up"), self.now());
        let (app, trace) = (AppId::default(), TraceId::default());
        self.sessions.send(node, Lane::CONTROL, app, trace, body, now).unwrap();
        self.transmit();
    }

    /// The node's next answer.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        let limit = std::time::Instant::now() + LONG;
        while self.answers.is_empty() {
            assert!(!self.closed && std::time::Instant::now() < limit, "no answer");
            self.turn();
        }
        self.answers.remove(0)
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.started.elapsed().as_nanos() as u64)
    }

    fn turn(&mut self) {
        self.poll();
        self.transmit();
        let mut block = vec![0; BLOCK_BYTES];
        let now = self.now();
        match self.stream.read(&mut block) {
            Ok(0) => self.closed = true,
            Ok(count) => self.sessions.received(self.conn, &block[..count], now),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => self.closed = true,
        }
        let now = self.now();
        self.sessions.tick(now);
        self.poll();
    }

    fn poll(&mut self) {
        while let Some(event) = self.sessions.poll() {
            match event {
                Event::Dial { conn, .. } => {
                    self.conn = conn;
                    let now = self.now();
                    self.sessions.connected(conn, now);
                }
                Event::Up { peer } => self.node = Some(peer.node),
                Event::Body { body: Body::Answer { answer, .. }, .. } => self.answers.push(answer),
                Event::Close { .. } | Event::Lost { .. } | Event::Refused { .. } => {
                    self.closed = true;
                }
                _ => {}
            }
        }
    }

    fn transmit(&mut self) {
        loop {
            let (mut block, now) = (Vec::new(), self.now());
            self.sessions.transmit(self.conn, BLOCK_BYTES, &mut block, now);
            if block.is_empty() || self.closed {
                return;
            }
            let goes_on = (self.tamper)(&mut block);
            if self.stream.write_all(&block).is_err() || !goes_on {
                self.closed = true;
            }
        }
    }
}

//! Services for measuring a node: echo, discard, chargen and HTTP.
//!
//! Owns [`Services`], a value over the network stack: it is given the stack's events and the time,
//! and does all that it does through the stack's verbs. Off unless the command line turns them on
//! ([`Enabled`]), since they answer everybody. What may be asked of them is bounded: connections,
//! the size of a request, and how long a client may be slow. And the [`Board`], by which the CPUs
//! of a node know what the others have to say on the pages.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod board;
mod chargen;
mod enabled;
mod http;
pub mod limit;
mod pages;

#[cfg(test)]
mod tests;

pub use board::Board;
pub use enabled::{Enabled, UnknownService};

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::ops::AddAssign;
use craton_abi::{Duration, Instant};
use craton_net::{
    BindError, Counters, Event, ListenError, ListenOptions, Owner, Stack, StreamId, UdpId, Usage,
};
use enabled::Service;
use http::{Conversation, Stage, Step};
use pages::Seen;

/// What a stack and the services over it count, or several of each.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// What the stacks counted.
    pub counters: Counters,
    /// What they hold.
    pub usage: Usage,
    /// Connections to the services.
    pub clients: usize,
    /// Requests answered.
    pub requests: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Totals) {
        self.counters += other.counters;
        self.usage += other.usage;
        self.clients += other.clients;
        self.requests += other.requests;
    }
}

/// What the node has to say of itself beside what the stack knows.
pub trait Report {
    /// What the node's other stacks and their services count.
    fn others(&self) -> Totals {
        Totals::default()
    }

    /// Lines for a person, each ended.
    fn status(&self, out: &mut String);
    /// Metrics in Prometheus' text format, each line ended; `own` is what this stack counts.
    fn metrics(&self, own: &Totals, out: &mut String);
}

/// Why a service cannot begin.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum OpenError {
    /// Its port cannot be listened on.
    Listen(ListenError),
    /// Its port cannot be bound.
    Bind(BindError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Listen(error) => error.fmt(f),
            OpenError::Bind(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for OpenError {}

/// One connection.
struct Client {
    service: Service,
    /// What was said, if it is HTTP.
    conversation: Conversation,
    /// Where in its pattern chargen is.
    place: usize,
    /// The peer sends no more, and all that it sent was read.
    finished: bool,
    /// When it is given up, unless it gets on.
    patience: Instant,
}

/// The services of one stack.
pub struct Services {
    enabled: Enabled,
    owner: Owner,
    clients: BTreeMap<StreamId, Client>,
    timers: BTreeSet<(Instant, StreamId)>,
    sockets: Vec<(UdpId, Service)>,
    /// Requests answered.
    requests: u64,
    block: Vec<u8>,
}

impl Services {
    /// Services whose buffers count against `owner`.
    pub fn new(enabled: Enabled, owner: Owner) -> Self {
        Services {
            enabled,
            owner,
            clients: BTreeMap::new(),
            timers: BTreeSet::new(),
            sockets: Vec::new(),
            requests: 0,
            block: Vec::new(),
        }
    }

    /// Whether any is on.
    pub fn any(&self) -> bool {
        self.enabled.any()
    }

    /// Listens on their ports.
    ///
    /// # Errors
    ///
    /// If a port is taken or a limit of the stack is reached; those before it are open then.
    pub fn open(&mut self, stack: &mut Stack) -> Result<(), OpenError> {
        stack.limit_buffers(self.owner, Some(limit::BUFFER_BYTES_MAX));
        for service in self.enabled.iter() {
            let options = ListenOptions {
                owner: self.owner,
                buffers: service.buffers(),
                ..ListenOptions::default()
            };
            stack.listen_with(service.port(), options).map_err(OpenError::Listen)?;
            if service != Service::Http {
                let socket = stack.bind_for(service.port(), self.owner).map_err(OpenError::Bind)?;
                self.sockets.push((socket, service));
            }
        }
        Ok(())
    }

    /// What they and their stack count.
    pub fn totals(&self, stack: &Stack) -> Totals {
        Totals {
            counters: stack.counters(),
            usage: stack.usage(),
            clients: self.clients.len(),
            requests: self.requests,
        }
    }

    /// Deals with an event, if it is about a connection of theirs; says whether it was.
    pub fn take(
        &mut self,
        event: &Event,
        stack: &mut Stack,
        report: &impl Report,
        now: Instant,
    ) -> bool {
        let stream = match *event {
            Event::Accepted { port, stream, .. } => {
                let Some(service) = self.enabled.at(port) else { return false };
                self.clients.insert(stream, Client::new(service, now));
                stream
            }
            Event::Closed { stream, .. } => return self.forget(stream),
            Event::Readable { stream }
            | Event::Writable { stream }
            | Event::Finished { stream } => stream,
            _ => return false,
        };
        let Some(client) = self.clients.get_mut(&stream) else { return false };
        client.finished |= matches!(event, Event::Finished { .. });
        let before = client.conversation.stage();
        self.serve(stream, stack, report, now);
        // A client that sends the head of a request byte by byte does not buy time with each.
        let progress = self.clients.get(&stream).is_some_and(|client| {
            client.service != Service::Http
                || client.conversation.stage() != before
                || matches!(event, Event::Accepted { .. } | Event::Writable { .. })
        });
        if progress {
            self.wait_from(stream, now);
        }
        true
    }

    /// Answers datagrams and gives up clients that are too slow; to be called after each poll of
    /// the stack.
    pub fn poll(&mut self, stack: &mut Stack, now: Instant) {
        for (socket, service) in &self.sockets {
            for _ in 0..limit::DATAGRAMS_PER_POLL {
                let Some(from) = stack.receive_from(*socket, &mut self.block) else { break };
                // Two such services would talk to each other for ever.
                if from.port() >= limit::CLIENT_PORT_MIN {
                    answer(*socket, *service, from, &self.block, stack, now);
                }
            }
        }
        while let Some((at, stream)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, stream));
            stack.abort(stream, now);
            self.clients.remove(&stream);
        }
    }

    /// When the next client is given up.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Patience begins anew: the client got on.
    fn wait_from(&mut self, stream: StreamId, now: Instant) {
        let Some(client) = self.clients.get_mut(&stream) else { return };
        self.timers.remove(&(client.patience, stream));
        client.patience = now + client.patience_from_now();
        self.timers.insert((client.patience, stream));
    }

    fn forget(&mut self, stream: StreamId) -> bool {
        let Some(client) = self.clients.remove(&stream) else { return false };
        self.timers.remove(&(client.patience, stream));
        true
    }

    /// Lets a connection go on as far as it can.
    fn serve(&mut self, stream: StreamId, stack: &mut Stack, report: &impl Report, now: Instant) {
        let clients = self.clients.len();
        let Some(client) = self.clients.get_mut(&stream) else { return };
        let block = &mut self.block;
        let over = match client.service {
            Service::Echo => {
                echo(stream, stack, block);
                client.finished
            }
            Service::Discard => {
                discard(stream, stack, block);
                client.finished
            }
            Service::Chargen => {
                discard(stream, stack, block);
                chargen::fill(stream, stack, &mut client.place);
                client.finished
            }
            Service::Http => loop {
                match client.conversation.step(stream, client.finished, stack) {
                    Step::Wait => break false,
                    Step::Over => break true,
                    Step::Asked(path) => {
                        self.requests += 1;
                        let (requests, stack) = (self.requests, &*stack);
                        let seen = || {
                            let (counters, usage) = (stack.counters(), stack.usage());
                            let own = Totals { counters, usage, clients, requests };
                            Seen::new(stack, own, report.others())
                        };
                        client.conversation.answer(&pages::page(&path, seen, report));
                    }
                }
            },
        };
        if over {
            stack.close(stream, now);
            self.forget(stream);
        }
    }
}

impl Client {
    fn new(service: Service, now: Instant) -> Client {
        let conversation = Conversation::default();
        Client { service, conversation, place: 0, finished: false, patience: now }
    }

    fn patience_from_now(&self) -> Duration {
        match (self.service, self.conversation.stage().0) {
            (Service::Http, Stage::Asking) => limit::HEAD_PATIENCE,
            (Service::Http, Stage::Answering) => limit::ANSWER_PATIENCE,
            _ => limit::IDLE_PATIENCE,
        }
    }
}

/// Sends back what came, as far as there is room; the rest waits in the stack, and the peer with
/// it.
fn echo(stream: StreamId, stack: &mut Stack, block: &mut Vec<u8>) {
    loop {
        let room = stack.room(stream).unwrap_or(0).min(limit::BLOCK_BYTES);
        block.clear();
        if room == 0 || stack.read(stream, block, room).unwrap_or(0) == 0 {
            return;
        }
        // A stream takes what it has room for.
        let _ = stack.write(stream, block);
    }
}

fn discard(stream: StreamId, stack: &mut Stack, block: &mut Vec<u8>) {
    block.clear();
    while stack.read(stream, block, limit::BLOCK_BYTES).unwrap_or(0) > 0 {
        block.clear();
    }
}

fn answer(
    socket: UdpId,
    service: Service,
    from: SocketAddr,
    question: &[u8],
    stack: &mut Stack,
    now: Instant,
) {
    // A datagram that cannot be sent is lost, as datagrams are.
    let _ = match service {
        Service::Echo => stack.send_to(socket, from, question, now),
        Service::Chargen => stack.send_to(socket, from, &chargen::line(question.len()), now),
        Service::Discard | Service::Http => Ok(()),
    };
}

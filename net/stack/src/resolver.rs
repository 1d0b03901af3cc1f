//! Names to addresses: a stub resolver with a cache, as a value.
//!
//! Owns [`Resolver`]. The stack gives it the time, the name servers and what they answer, and sends
//! what it asks. Each question goes out under a random port and id, and only the server that was
//! asked may answer, with our question in the answer: a stranger has to guess 30 bits. Questions go
//! round the servers until one knows; what it says is kept for as long as it says, within bounds.

mod message;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use craton_abi::{Duration, Instant};
use message::Reply;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// The port of name servers.
const DNS_PORT: u16 = 53;
const PORT_FIRST: u16 = 32_768;
const PORTS: u16 = 16_384;
/// Questions under way.
const QUESTIONS_MAX: usize = 256;
/// Names kept.
const CACHE_MAX: usize = 512;
/// Times that a question is asked, of all servers together.
const TRIES: u8 = 5;
/// How long a server may take, before the next is asked.
const RETRY: Duration = Duration::from_millis(1_500);
/// How long an answer is kept: as long as it says, but within these.
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(3_600);
/// How long it is kept that there is no such name.
const TTL_NONE: Duration = Duration::from_secs(10);
/// Addresses of one name.
const ADDRESSES_MAX: usize = 16;

/// A question to the resolver; never used again for another.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct ResolveId(u64);

/// Why a name has no address.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum ResolveError {
    /// It is not a name.
    BadName,
    /// No name server is known.
    NoServer,
    /// There is no such name, or it has no address.
    NoSuchName,
    /// The servers do not answer.
    TimedOut,
    /// The servers cannot tell.
    ServerFailed,
    /// Too many questions are under way.
    LimitQuestions,
}

type Outcome = Result<Vec<IpAddr>, ResolveError>;

/// A datagram for a name server.
pub(crate) struct Query {
    pub(crate) server: SocketAddr,
    pub(crate) port: u16,
    pub(crate) bytes: Vec<u8>,
}

/// A name that is being asked for.
struct Question {
    name: String,
    waiting: Vec<ResolveId>,
    asks: Vec<Ask>,
    addresses: Vec<IpAddr>,
    ttl: Duration,
    failure: ResolveError,
}

/// One kind of its addresses.
struct Ask {
    ipv6: bool,
    port: u16,
    id: u16,
    asked: u8,
    next_at: Instant,
    server: Option<IpAddr>,
}

/// The resolver of one stack.
#[derive(Default)]
pub(crate) struct Resolver {
    questions: Vec<Question>,
    cache: BTreeMap<String, (Instant, Outcome)>,
    done: VecDeque<(ResolveId, Outcome)>,
    last_id: u64,
}

impl Resolver {
    /// Asks for the addresses of a name; the answer is told by [`next`](Self::next).
    pub(crate) fn ask(&mut self, name: &str, kinds: Kinds, now: Instant) -> ResolveId {
        self.last_id += 1;
        let id = ResolveId(self.last_id);
        if let Ok(address) = name.parse::<IpAddr>() {
            self.done.push_back((id, Ok(alloc::vec![address])));
            return id;
        }
        let Some(name) = message::normal(name) else {
            self.done.push_back((id, Err(ResolveError::BadName)));
            return id;
        };
        if let Some((until, outcome)) = self.cache.get(&name)
            && *until > now
        {
            self.done.push_back((id, outcome.clone()));
        } else if let Some(same) = self.questions.iter_mut().find(|asked| asked.name == name) {
            same.waiting.push(id);
        } else if self.questions.len() == QUESTIONS_MAX {
            self.done.push_back((id, Err(ResolveError::LimitQuestions)));
        } else {
            let ask = |ipv6| Ask { ipv6, port: 0, id: 0, asked: 0, next_at: now, server: None };
            self.questions.push(Question {
                name,
                waiting: alloc::vec![id],
                asks: kinds.iter().map(ask).collect(),
                addresses: Vec::new(),
                ttl: TTL_MAX,
                failure: ResolveError::TimedOut,
            });
        }
        id
    }

    /// The next datagram that is to be sent, if any is due.
    pub(crate) fn query(
        &mut self,
        servers: &[IpAddr],
        random: &mut ChaCha8Rng,
        now: Instant,
    ) -> Option<Query> {
        self.give_up(servers, now);
        let mut due = self.questions.iter_mut().filter_map(|question| {
            let ask = question.asks.iter_mut().find(|ask| ask.next_at <= now)?;
            Some((&question.name, ask))
        });
        let (name, ask) = due.next()?;
        let server = *servers.get(usize::from(ask.asked) % servers.len())?;
        ask.asked += 1;
        ask.next_at = now + RETRY;
        ask.server = Some(server);
        ask.port = PORT_FIRST + (random.next_u32() % u32::from(PORTS)) as u16;
        ask.id = random.next_u32() as u16;
        let bytes = message::query(name, ask.ipv6, ask.id);
        Some(Query { server: SocketAddr::new(server, DNS_PORT), port: ask.port, bytes })
    }

    /// Ends what nobody answers.
    fn give_up(&mut self, servers: &[IpAddr], now: Instant) {
        for question in &mut self.questions {
            question.asks.retain(|ask| ask.asked < TRIES || ask.next_at > now);
            if servers.is_empty() {
                question.asks.clear();
                question.failure = ResolveError::NoServer;
            }
        }
        self.finish(now);
    }

    /// A datagram came to this port; says whether it was an answer.
    pub(crate) fn answer(
        &mut self,
        port: u16,
        from: SocketAddr,
        bytes: &[u8],
        now: Instant,
    ) -> bool {
        let asked_there = |ask: &Ask| {
            ask.port == port && ask.server == Some(from.ip()) && from.port() == DNS_PORT
        };
        for question in &mut self.questions {
            let Some(index) = question.asks.iter().position(asked_there) else { continue };
            let ask = &mut question.asks[index];
            match message::reply(bytes, ask.id, &question.name, ask.ipv6) {
                None => return false,
                Some(Reply::Failed) => {
                    // Another server may know, at once.
                    question.failure = ResolveError::ServerFailed;
                    ask.next_at = now;
                    ask.server = None;
                }
                Some(Reply::Addresses(addresses, ttl)) => {
                    let room = ADDRESSES_MAX.saturating_sub(question.addresses.len());
                    question.addresses.extend(addresses.into_iter().take(room));
                    question.ttl = question.ttl.min(Duration::from_secs(ttl.into()));
                    question.asks.swap_remove(index);
                    question.failure = ResolveError::NoSuchName;
                }
                Some(Reply::NoSuchName) => {
                    question.asks.swap_remove(index);
                    question.failure = ResolveError::NoSuchName;
                }
            }
            self.finish(now);
            return true;
        }
        false
    }

    /// Tells the outcome of questions that have nothing left to ask.
    fn finish(&mut self, now: Instant) {
        while let Some(index) = self.questions.iter().position(|asked| asked.asks.is_empty()) {
            let Question { name, waiting, addresses, ttl, failure, .. } =
                self.questions.swap_remove(index);
            let outcome = if addresses.is_empty() { Err(failure) } else { Ok(addresses) };
            let kept = match &outcome {
                Ok(_) => Some(ttl.clamp(TTL_MIN, TTL_MAX)),
                Err(ResolveError::NoSuchName) => Some(TTL_NONE),
                Err(_) => None,
            };
            if let Some(kept) = kept {
                self.keep(name, now + kept, outcome.clone(), now);
            }
            self.done.extend(waiting.into_iter().map(|id| (id, outcome.clone())));
        }
    }

    fn keep(&mut self, name: String, until: Instant, outcome: Outcome, now: Instant) {
        if self.cache.len() >= CACHE_MAX {
            self.cache.retain(|_, (until, _)| *until > now);
        }
        while self.cache.len() >= CACHE_MAX {
            let soonest = self.cache.iter().min_by_key(|(_, (until, _))| *until);
            let Some(name) = soonest.map(|(name, _)| name.clone()) else { break };
            self.cache.remove(&name);
        }
        self.cache.insert(name, (until, outcome));
    }

    /// Forgets what was learnt: the network is another.
    pub(crate) fn forget(&mut self) {
        self.cache.clear();
    }

    /// The next question that is answered.
    pub(crate) fn next(&mut self) -> Option<(ResolveId, Outcome)> {
        self.done.pop_front()
    }

    /// Whether [`next`](Self::next) has something to tell.
    pub(crate) fn has_outcome(&self) -> bool {
        !self.done.is_empty()
    }

    /// When a server is to be asked, or given up.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.questions.iter().flat_map(|question| &question.asks).map(|ask| ask.next_at).min()
    }
}

/// Which kinds of addresses are asked for.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Kinds {
    pub(crate) ipv4: bool,
    pub(crate) ipv6: bool,
}

impl Kinds {
    /// Whether each kind that is asked for is IPv6.
    fn iter(self) -> impl Iterator<Item = bool> {
        [(self.ipv4, false), (self.ipv6, true)]
            .into_iter()
            .filter_map(|(wanted, ipv6)| wanted.then_some(ipv6))
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResolveError::BadName => "not a name",
            ResolveError::NoServer => "no name server is known",
            ResolveError::NoSuchName => "no such name, or it has no address",
            ResolveError::TimedOut => "the name servers do not answer",
            ResolveError::ServerFailed => "the name servers cannot tell",
            ResolveError::LimitQuestions => "limit: questions under way",
        })
    }
}

impl core::error::Error for ResolveError {}

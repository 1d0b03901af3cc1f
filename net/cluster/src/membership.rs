//! Membership as a value: hellos, letters, verdicts, and who is alive.
//!
//! Owns [`Membership`]. Below it is [`Swim`]; beside it, injected, [`Sealing`].
//!
//! ```text
//!            (1) hello heard, certificate proven
//!  unknown ───────────────────────────────────▶ contact
//!                                                 │ (2) a letter of foca's names it alive
//!                  (4) a later birth              ▼
//!        ┌─────────────────────────────────────▶ up ──▶ NodeUp
//!        │                                        │ (3) suspected in vain, reported dead,
//!        │                                        ▼     or replaced by a later birth
//!   this incarnation never comes back ◀───────── dead ──▶ NodeDown
//! ```
//!
//! A dead life that still speaks is answered with a verdict. It gives way and fences itself, unless
//! it has declared the other side dead too: then the larger side lives on.

use crate::event::{Config, Event};
use crate::member::Member;
use crate::packet::{
    Certified, Hello, Kind, KnownLife, Letter, Sealing, Verdict, decode, framed, unframed,
};
use crate::swim::Swim;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use craton_abi::{Duration, Incarnation, Instant, NodeId, Payload, limit};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Most nodes that are remembered at once.
const CONTACTS_MAX: usize = 1024;
/// Most dead lives that are remembered; the oldest are forgotten first.
const DEAD_MAX: usize = 4096;
/// Hellos of a node that is alone: this often at first, then ever less often.
const HELLO_FIRST: Duration = Duration::from_millis(60);
/// How many come at the first pace.
const HELLO_FIRST_COUNT: u32 = 25;
/// The slowest pace of a node that is alone, and the pace towards nodes that were lost.
const HELLO_ALONE: Duration = Duration::from_secs(2);
/// The pace of a node that has company.
const HELLO_JOINED: Duration = Duration::from_secs(10);
/// Lost nodes that are asked for at one time.
const HELLO_LOST_MAX: usize = 16;
/// Shortest time between two answers or verdicts to one node.
const ANSWER_PACE: Duration = Duration::from_millis(40);
/// Events that wait to be polled; a packet makes a few, and they are taken after each.
const EVENTS_MAX: usize = 16 << 10;

/// A node whose certificate was seen.
struct Contact {
    name: String,
    address: SocketAddr,
    answered_at: Option<Instant>,
}

/// What a hello is to bring.
#[derive(Copy, Clone, Eq, PartialEq)]
enum Wanted {
    /// It is an answer.
    Nothing,
    /// An answer of whoever does not know the sender.
    News,
    /// An answer in any case.
    Answer,
}

/// Who is alive, as this node sees it.
pub struct Membership<S> {
    sealing: S,
    swim: Swim,
    rng: ChaCha8Rng,
    seeds: Vec<SocketAddr>,
    contacts: BTreeMap<NodeId, Contact>,
    up: BTreeMap<NodeId, Member>,
    dead: VecDeque<(NodeId, Incarnation)>,
    hello_at: Instant,
    hellos_alone: u32,
    lost_next: usize,
    /// Something happened outside foca that may change who is alive.
    compare_due: bool,
    fenced: bool,
    events: VecDeque<Event>,
}

impl<S: Sealing> Membership<S> {
    /// A node that knows nobody yet. Its first hello is due at once.
    pub fn new(config: Config, sealing: S, now: Instant) -> Self {
        let mut rng = ChaCha8Rng::from_seed(config.seed);
        let me = Member {
            node: config.node,
            incarnation: config.incarnation,
            birth: config.birth,
            address: config.address,
            name: config.name,
            shards: config.shards,
        };
        let swim = Swim::new(me, fork(&mut rng));
        Membership {
            sealing,
            swim,
            rng,
            seeds: config.seeds,
            contacts: BTreeMap::new(),
            up: BTreeMap::new(),
            dead: VecDeque::new(),
            hello_at: now,
            hellos_alone: 0,
            lost_next: 0,
            compare_due: false,
            fenced: false,
            events: VecDeque::new(),
        }
    }

    /// A datagram came.
    pub fn datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        if self.fenced {
            return;
        }
        match unframed(bytes) {
            Some((Kind::Hello, sealed)) => self.hello_heard(from, sealed, now),
            Some((Kind::Letter, sealed)) => self.letter_came(sealed, now),
            None => {}
        }
        self.settle(now);
    }

    /// Time passed.
    pub fn tick(&mut self, now: Instant) {
        if self.fenced {
            return;
        }
        self.swim.tick(now);
        if now >= self.hello_at {
            self.say_hello(now);
        }
        self.settle(now);
    }

    /// When it must be ticked at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        if self.fenced {
            return None;
        }
        let swim = self.swim.deadline().unwrap_or(Instant::FAR_FUTURE);
        Some(swim.min(self.hello_at))
    }

    /// The next thing to do or to know.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// This node, as it presents itself.
    pub fn me(&self) -> &Member {
        self.swim.me()
    }

    /// The other nodes that are alive, by id.
    pub fn up(&self) -> impl Iterator<Item = &Member> {
        self.up.values()
    }

    /// A node that is alive.
    pub fn get(&self, node: NodeId) -> Option<&Member> {
        self.up.get(&node)
    }

    /// Whether this life of a node was declared dead.
    pub fn is_dead(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.dead.contains(&(node, incarnation))
    }

    /// This node gives another up, for a reason of its own: the cluster holds that life dead from
    /// now on, and [`Event::NodeDown`] follows.
    pub fn declare_dead(&mut self, node: NodeId, now: Instant) {
        let member = self.up.get(&node).filter(|_| !self.fenced).cloned();
        if let Some(member) = member {
            self.swim.declare_dead(member, now);
            self.settle(now);
        }
    }

    fn hello_heard(&mut self, from: SocketAddr, sealed: &[u8], now: Instant) {
        let Some((certified, plain)) = self.sealing.open_hello(sealed) else { return };
        let Some(hello) = decode::<Hello>(&plain) else { return };
        if certified.node == self.me().node {
            return;
        }
        let node = certified.node;
        if !self.meet(certified, hello.address) {
            return;
        }
        if let Some(known) = hello.known {
            self.outlive(known, now);
        }
        let up = self.up.get(&node).is_some_and(|member| member.incarnation == hello.incarnation);
        if self.is_dead(node, hello.incarnation) {
            self.send_verdict(node, hello.incarnation, hello.address, now);
        } else if hello.ask && (hello.urgent || !up) {
            self.answer(node, hello.incarnation, from, now);
        } else if !hello.ask && !up {
            let member = self.member_of(node, &hello);
            self.swim.announce(member, now);
        }
    }

    /// Remembers a node. `false` if there is no room for it.
    fn meet(&mut self, certified: Certified, address: SocketAddr) -> bool {
        let Certified { node, name } = certified;
        if let Some(contact) = self.contacts.get_mut(&node) {
            // A replayed hello may name an old address, so that of a living member stands.
            if !self.up.contains_key(&node) {
                contact.address = address;
            }
            contact.name = name;
            return true;
        }
        if self.contacts.len() >= CONTACTS_MAX {
            let gone = self.contacts.keys().find(|known| !self.up.contains_key(known)).copied();
            let Some(gone) = gone else { return false };
            self.contacts.remove(&gone);
        }
        self.contacts.insert(node, Contact { name, address, answered_at: None });
        self.compare_due = true;
        true
    }

    fn member_of(&self, node: NodeId, hello: &Hello) -> Member {
        Member {
            node,
            incarnation: hello.incarnation,
            birth: hello.birth,
            address: hello.address,
            name: self.contacts.get(&node).map(|c| c.name.clone()).unwrap_or_default(),
            shards: hello.shards,
        }
    }

    /// Somebody knows another life of this node: this one must be born later than that.
    fn outlive(&mut self, known: KnownLife, now: Instant) {
        let me = self.me();
        if known.incarnation == me.incarnation || known.birth < me.birth {
            return;
        }
        let mut me = me.clone();
        me.birth = known.birth.saturating_add(1);
        let alive: Vec<Member> = self.swim.alive().cloned().collect();
        self.swim = Swim::new(me, fork(&mut self.rng));
        self.swim.adopt(alive.clone(), now);
        for member in alive {
            self.swim.announce(member, now);
        }
    }

    fn answer(&mut self, node: NodeId, incarnation: Incarnation, to: SocketAddr, now: Instant) {
        if !self.may_answer(node, now) {
            return;
        }
        let known = self.swim.known(node).map(|(member, _)| member);
        let known = known.filter(|member| member.incarnation != incarnation);
        let known = known.map(|m| KnownLife { incarnation: m.incarnation, birth: m.birth });
        self.send_hello(to, Wanted::Nothing, known);
    }

    fn may_answer(&mut self, node: NodeId, now: Instant) -> bool {
        let Some(contact) = self.contacts.get_mut(&node) else { return false };
        let early = contact.answered_at.is_some_and(|at| now.since(at) < ANSWER_PACE);
        if !early {
            contact.answered_at = Some(now);
        }
        !early
    }

    fn letter_came(&mut self, sealed: &[u8], now: Instant) {
        let Some((node, incarnation, plain)) = self.sealing.open(sealed) else { return };
        let Some(letter) = decode::<Letter>(&plain) else { return };
        match letter {
            Letter::Verdict(verdict) => self.judged(node, incarnation, verdict, now),
            Letter::Swim(_) if self.speaks_from_the_grave(node, incarnation) => {
                if let Some(address) = self.contacts.get(&node).map(|contact| contact.address) {
                    self.send_verdict(node, incarnation, address, now);
                }
            }
            Letter::Swim(packet) => self.swim.packet(node, incarnation.get(), &packet.0, now),
        }
    }

    /// Whether a life is dead, for us or for foca, which also hears of the death of strangers.
    fn speaks_from_the_grave(&self, node: NodeId, incarnation: Incarnation) -> bool {
        let dead_to_foca = self
            .swim
            .known(node)
            .is_some_and(|(member, alive)| member.incarnation == incarnation && !alive);
        dead_to_foca || self.is_dead(node, incarnation)
    }

    fn weight(&self) -> Verdict {
        let least = self.up.keys().next().map_or(self.me().node, |id| (*id).min(self.me().node));
        let alive = u32::try_from(self.up.len() + 1).unwrap_or(u32::MAX);
        Verdict { incarnation: self.me().incarnation, alive, least }
    }

    fn judged(&mut self, by: NodeId, life: Incarnation, verdict: Verdict, now: Instant) {
        if verdict.incarnation != self.me().incarnation {
            return;
        }
        if self.is_dead(by, life) && !self.weight().gives_way_to(&verdict, self.me().node < by) {
            if let Some(address) = self.contacts.get(&by).map(|contact| contact.address) {
                self.send_verdict(by, life, address, now);
            }
            return;
        }
        self.fence();
    }

    fn send_verdict(&mut self, to: NodeId, life: Incarnation, address: SocketAddr, now: Instant) {
        if self.may_answer(to, now) {
            let verdict = Verdict { incarnation: life, ..self.weight() };
            self.send_letter(to, life, address, &Letter::Verdict(verdict));
        }
    }

    fn send_letter(&mut self, to: NodeId, life: Incarnation, at: SocketAddr, letter: &Letter) {
        let Ok(plain) = postcard::to_allocvec(letter) else { return };
        let Some(sealed) = self.sealing.seal(to, life, &plain) else { return };
        if let Some(bytes) = framed(Kind::Letter, &sealed) {
            self.push(Event::Datagram { to: at, bytes });
        }
    }

    fn send_hello(&mut self, to: SocketAddr, wanted: Wanted, known: Option<KnownLife>) {
        let me = self.me();
        let hello = Hello {
            ask: wanted != Wanted::Nothing,
            urgent: wanted == Wanted::Answer,
            incarnation: me.incarnation,
            birth: me.birth,
            address: me.address,
            shards: me.shards,
            known,
        };
        let Ok(plain) = postcard::to_allocvec(&hello) else { return };
        if let Some(bytes) = framed(Kind::Hello, &self.sealing.seal_hello(&plain)) {
            self.push(Event::Datagram { to, bytes });
        }
    }

    /// Looks for others: on the local network, at the seeds, and where lost nodes were.
    fn say_hello(&mut self, now: Instant) {
        let anybody = IpAddr::V4(Ipv4Addr::BROADCAST);
        let wanted = if self.up.is_empty() { Wanted::Answer } else { Wanted::News };
        self.send_hello(SocketAddr::new(anybody, limit::MEMBERSHIP_PORT), wanted, None);
        for seed in self.seeds.clone() {
            if !self.up.values().any(|member| member.address == seed) {
                self.send_hello(seed, Wanted::Answer, None);
            }
        }
        let lost = self.contacts.iter().filter(|(node, _)| !self.up.contains_key(node));
        let lost: Vec<SocketAddr> = lost.map(|(_, contact)| contact.address).collect();
        let asked = lost.iter().cycle().skip(self.lost_next).take(lost.len().min(HELLO_LOST_MAX));
        for address in asked {
            self.send_hello(*address, Wanted::Answer, None);
        }
        self.lost_next = (self.lost_next + HELLO_LOST_MAX) % lost.len().max(1);
        self.hello_at = now + self.hello_pause(!lost.is_empty());
    }

    fn hello_pause(&mut self, lost: bool) -> Duration {
        let pause = if !self.up.is_empty() {
            self.hellos_alone = 0;
            if lost { HELLO_ALONE } else { HELLO_JOINED }
        } else {
            self.hellos_alone = self.hellos_alone.saturating_add(1);
            let doublings = self.hellos_alone.saturating_sub(HELLO_FIRST_COUNT).min(16);
            HELLO_FIRST.saturating_mul(1 << doublings).min(HELLO_ALONE)
        };
        // Spread, so that nodes that boot together do not speak together.
        let nanos = pause.as_nanos();
        Duration::from_nanos(nanos - nanos / 8 + self.rng.next_u64() % (nanos / 4).max(1))
    }

    /// Draws the consequences of what foca said.
    fn settle(&mut self, now: Instant) {
        if self.swim.defunct() {
            self.fence();
        }
        if self.fenced {
            return;
        }
        if self.swim.take_changed() || core::mem::take(&mut self.compare_due) {
            self.bury_again(now);
            self.compare(now);
        }
        for (to, packet) in self.swim.take_sends() {
            if self.contacts.contains_key(&to.node) {
                let letter = Letter::Swim(Payload(packet));
                self.send_letter(to.node, to.incarnation, to.address, &letter);
            } else {
                // Known by hearsay only: its hello brings the certificate.
                self.send_hello(to.address, Wanted::Answer, None);
            }
        }
    }

    /// Lives that are dead stay dead, whatever foca has forgotten.
    fn bury_again(&mut self, now: Instant) {
        let risen = self.swim.alive().filter(|m| self.is_dead(m.node, m.incarnation));
        for member in risen.cloned().collect::<Vec<_>>() {
            self.swim.declare_dead(member, now);
        }
        self.swim.take_changed();
    }

    /// Reports the difference between who was and who is alive.
    fn compare(&mut self, now: Instant) {
        let contacts = &self.contacts;
        // The name is the certificate's: what foca spreads, any node may have made up.
        let certified = |member: &Member| {
            let name = contacts.get(&member.node)?.name.clone();
            Some((member.node, Member { name, ..member.clone() }))
        };
        let alive: BTreeMap<NodeId, Member> = self.swim.alive().filter_map(certified).collect();
        let ended: Vec<_> = self
            .up
            .values()
            .filter(|old| alive.get(&old.node).is_none_or(|new| new.incarnation != old.incarnation))
            .map(|old| (old.node, old.incarnation))
            .collect();
        for (node, incarnation) in ended {
            self.up.remove(&node);
            if self.dead.len() >= DEAD_MAX {
                self.dead.pop_front();
            }
            self.dead.push_back((node, incarnation));
            self.push(Event::NodeDown { node, incarnation });
            self.hello_at = self.hello_at.min(now + HELLO_FIRST);
        }
        for (node, member) in alive {
            if let Some(contact) = self.contacts.get_mut(&node) {
                contact.address = member.address;
            }
            if self.up.insert(node, member.clone()).is_none() {
                self.push(Event::NodeUp(member));
            }
        }
    }

    fn fence(&mut self) {
        if !self.fenced {
            self.fenced = true;
            self.push(Event::Fenced);
        }
    }

    fn push(&mut self, event: Event) {
        let spare = !matches!(event, Event::Datagram { .. }) || self.events.len() < EVENTS_MAX;
        if spare {
            self.events.push_back(event);
        }
    }
}

/// A generator of its own for a part, drawn from the node's.
fn fork(rng: &mut ChaCha8Rng) -> ChaCha8Rng {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    ChaCha8Rng::from_seed(seed)
}

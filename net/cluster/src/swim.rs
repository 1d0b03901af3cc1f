//! foca, with its timers and its packets held until the caller takes them.
//!
//! Owns [`Swim`]. Membership above it decides what foca hears and what becomes of what it says.

use crate::member::Member;
use crate::packet::FOCA_BYTES_MAX;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::num::{NonZeroU8, NonZeroUsize};
use craton_abi::{Duration, Instant, NodeId};
use foca::{Foca, NoCustomBroadcast, Notification, PostcardCodec, Timer};
use rand_chacha::ChaCha8Rng;

/// How often a node probes another.
const PROBE_PERIOD: Duration = Duration::from_millis(600);
/// How long it waits before it asks others to probe for it.
const PROBE_WAIT: Duration = Duration::from_millis(250);
/// How long a suspect has to say that it lives.
const SUSPICION: Duration = Duration::from_millis(2_700);
/// How long a node that hears nobody at all, of several, holds its verdicts back: it is likelier
/// that it is cut off than that all others died at once, and by then they have declared it dead.
/// Otherwise its verdicts, spread when it is back, would end nodes that all others see alive.
const CUT_OFF: Duration = Duration::from_millis(4_600);
/// Hearing nobody for this long, where several speak many times a second, is having been cut off.
const SILENCE: Duration = Duration::from_millis(1_000);
/// How long a suspect has to answer the last call before it is declared dead.
const LAST_CALL: Duration = Duration::from_millis(300);
/// Most nodes whose last sign of life is remembered.
const HEARD_MAX: usize = 1 << 10;
/// How often news is spread on its own, besides with probes.
const GOSSIP_PERIOD: Duration = Duration::from_millis(200);
/// How often a node asks another for all members.
const ANNOUNCE_PERIOD: Duration = Duration::from_secs(10);
/// How long foca remembers a dead node that does not come back.
const FORGET_AFTER: Duration = Duration::from_secs(3_600);
/// Lateness of a timer from which this node must have stood still itself: what it did not hear
/// meanwhile counts against nobody.
const LATE: Duration = Duration::from_millis(300);
/// Most timers at once; foca needs a few for each member.
const TIMERS_MAX: usize = 1 << 16;

const _: () = assert!(
    PROBE_PERIOD.as_nanos() * 3 + SUSPICION.as_nanos() + LAST_CALL.as_nanos() < 5_000_000_000,
    "in a cluster of three a silent node is probed within two periods, suspected within a third, \
     and must be declared dead within five seconds"
);
const _: () = assert!(
    CUT_OFF.as_nanos() > PROBE_PERIOD.as_nanos() * 2 + SUSPICION.as_nanos()
        && CUT_OFF.as_nanos() + LAST_CALL.as_nanos() < 5_000_000_000,
    "later than the verdict of the others, and still within five seconds"
);
const _: () = assert!(PROBE_WAIT.as_nanos() * 2 < PROBE_PERIOD.as_nanos(), "indirect probes fit");

/// foca and its surroundings.
pub(crate) struct Swim {
    foca: Foca<Member, PostcardCodec, ChaCha8Rng, NoCustomBroadcast>,
    world: World,
    /// When each node last said anything, and in which life.
    heard: BTreeMap<NodeId, (u64, Instant)>,
    /// When anybody last did.
    heard_any: Instant,
    /// Suspects that were called for the last time, in which life, and when.
    called: BTreeMap<NodeId, (u64, Instant)>,
}

/// What foca asked for and nobody has done yet.
struct World {
    now: Instant,
    sends: Vec<(Member, Vec<u8>)>,
    timers: BTreeMap<(Instant, u64), Timer<Member>>,
    timer_next: u64,
    changed: bool,
    defunct: bool,
}

impl Swim {
    pub(crate) fn new(me: Member, rng: ChaCha8Rng) -> Self {
        let world = World {
            now: Instant::ZERO,
            sends: Vec::new(),
            timers: BTreeMap::new(),
            timer_next: 0,
            changed: false,
            defunct: false,
        };
        let foca = Foca::new(me, config(), rng, PostcardCodec);
        Swim {
            foca,
            world,
            heard: BTreeMap::new(),
            heard_any: Instant::ZERO,
            called: BTreeMap::new(),
        }
    }

    pub(crate) fn me(&self) -> &Member {
        self.foca.identity()
    }

    /// A packet from `sender`. One that names another sender is dropped.
    pub(crate) fn packet(&mut self, sender: NodeId, life: u64, bytes: &[u8], now: Instant) {
        self.world.now = now;
        let header = postcard::take_from_bytes::<foca::Header<Member>>(bytes);
        let Ok((header, _)) = header else { return };
        if (header.src.node, header.src.incarnation.get()) != (sender, life) {
            return;
        }
        if self.heard.len() >= HEARD_MAX && !self.heard.contains_key(&sender) {
            self.heard.clear();
        }
        self.heard.insert(sender, (life, now));
        self.heard_any = now;
        // What foca calls an error is a peer's malformed or belated packet: dropped like any.
        let _ = self.foca.handle_data(bytes, &mut self.world);
    }

    /// Asks `to` to let this node into its cluster.
    pub(crate) fn announce(&mut self, to: Member, now: Instant) {
        self.world.now = now;
        let _ = self.foca.announce(to, &mut self.world);
    }

    /// Declares a member dead.
    pub(crate) fn declare_dead(&mut self, member: Member, now: Instant) {
        self.world.now = now;
        let dead = foca::Member::down(member);
        let _ = self.foca.apply_many(core::iter::once(dead), true, &mut self.world);
    }

    /// Takes over what another life of foca knew, without spreading it again.
    pub(crate) fn adopt(&mut self, members: Vec<Member>, now: Instant) {
        self.world.now = now;
        let alive = members.into_iter().map(foca::Member::alive);
        let _ = self.foca.apply_many(alive, false, &mut self.world);
    }

    /// Runs the timers that are due.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.world.now = now;
        self.world.forgive_own_absence(now);
        while let Some(entry) = self.world.timers.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let timer = entry.remove();
            match self.sentence(&timer, now) {
                Sentence::Carry => {
                    let _ = self.foca.handle_timer(timer, &mut self.world);
                }
                Sentence::Drop => {}
                Sentence::Defer(at) => self.world.set_timer(at, timer),
            }
        }
    }

    /// What to do with a timer, which may be a suspect's sentence of death. A suspicion is spread
    /// a few times only, and if that was into the void the suspect never hears of it and cannot
    /// refute it. So what it says to us counts too, and it is called once more: if it speaks, it
    /// lives, and the next probe that fails raises a new suspicion.
    fn sentence(&mut self, timer: &Timer<Member>, now: Instant) -> Sentence {
        let Timer::ChangeSuspectToDown { member_id, .. } = timer else { return Sentence::Carry };
        let (node, life) = (member_id.node, member_id.incarnation.get());
        let lately = |at: &(u64, Instant)| at.0 == life && now.since(at.1) < SUSPICION;
        if self.heard.get(&node).is_some_and(lately) {
            return Sentence::Drop;
        }
        let is_cut_off = now.since(self.heard_any) >= SILENCE && self.foca.num_members() > 1;
        let verdicts_at = self.heard_any + CUT_OFF;
        if is_cut_off && now < verdicts_at {
            return Sentence::Defer(verdicts_at);
        }
        if let Some((_, at)) = self.called.get(&node).filter(|call| lately(call)) {
            let answer_at = *at + LAST_CALL;
            return if now < answer_at { Sentence::Defer(answer_at) } else { Sentence::Carry };
        }
        self.called.retain(|_, (_, at)| now.since(*at) < SUSPICION);
        self.called.insert(node, (life, now));
        let _ = self.foca.announce(member_id.clone(), &mut self.world);
        Sentence::Defer(now + LAST_CALL)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.world.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Who is alive, this node not among them.
    pub(crate) fn alive(&self) -> impl Iterator<Item = &Member> {
        self.foca.iter_members().map(foca::Member::id)
    }

    /// What is known of a node, dead or alive, and whether it is alive.
    pub(crate) fn known(&self, node: NodeId) -> Option<(&Member, bool)> {
        let mut all = self.foca.iter_membership_state();
        all.find(|member| member.id().node == node)
            .map(|member| (member.id(), member.state() != foca::State::Down))
    }

    /// Whether who is alive may have changed since the last call.
    pub(crate) fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.world.changed)
    }

    /// Whether this node has heard that it is dead.
    pub(crate) fn defunct(&self) -> bool {
        self.world.defunct
    }

    /// The packets to send.
    pub(crate) fn take_sends(&mut self) -> Vec<(Member, Vec<u8>)> {
        core::mem::take(&mut self.world.sends)
    }
}

/// What becomes of a timer that is due.
enum Sentence {
    Carry,
    Drop,
    Defer(Instant),
}

impl World {
    fn set_timer(&mut self, at: Instant, timer: Timer<Member>) {
        if self.timers.len() < TIMERS_MAX {
            self.timers.insert((at, self.timer_next), timer);
            self.timer_next += 1;
        }
    }

    /// Moves all timers by the lateness of the first, if that is large.
    fn forgive_own_absence(&mut self, now: Instant) {
        let Some(((first, _), _)) = self.timers.first_key_value() else { return };
        let lateness = now.since(*first);
        if lateness <= LATE {
            return;
        }
        let timers = core::mem::take(&mut self.timers);
        self.timers =
            timers.into_iter().map(|((at, seq), timer)| ((at + lateness, seq), timer)).collect();
    }
}

impl foca::Runtime<Member> for World {
    fn notify(&mut self, notification: Notification<'_, Member>) {
        match notification {
            Notification::MemberUp(_) | Notification::MemberDown(_) | Notification::Rename(..) => {
                self.changed = true;
            }
            Notification::Defunct => self.defunct = true,
            _ => {}
        }
    }

    fn send_to(&mut self, to: Member, data: &[u8]) {
        self.sends.push((to, data.to_vec()));
    }

    fn submit_after(&mut self, timer: Timer<Member>, after: core::time::Duration) {
        let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        self.set_timer(self.now + Duration::from_nanos(after), timer);
    }
}

fn config() -> foca::Config {
    let core = |duration: Duration| core::time::Duration::from_nanos(duration.as_nanos());
    let every = |period, members| {
        Some(foca::PeriodicParams { frequency: core(period), num_members: size(members) })
    };
    foca::Config {
        probe_period: core(PROBE_PERIOD),
        probe_rtt: core(PROBE_WAIT),
        num_indirect_probes: size(3),
        max_transmissions: NonZeroU8::MIN.saturating_add(9),
        suspect_to_down_after: core(SUSPICION),
        remove_down_after: Some(core(FORGET_AFTER)),
        max_packet_size: size(FOCA_BYTES_MAX),
        // Verdicts do this instead: after a partition both sides think so of one another, and
        // one of them must not give way.
        notify_down_members: false,
        periodic_announce: every(ANNOUNCE_PERIOD, 1),
        periodic_announce_to_down_members: None,
        periodic_gossip: every(GOSSIP_PERIOD, 3),
    }
}

fn size(value: usize) -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(value - 1)
}

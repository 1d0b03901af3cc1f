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
    PROBE_PERIOD.as_nanos() * 3 + SUSPICION.as_nanos() < 5_000_000_000,
    "in a cluster of three a silent node is probed within two periods, suspected within a third, \
     and must be declared dead within five seconds"
);
const _: () = assert!(PROBE_WAIT.as_nanos() * 2 < PROBE_PERIOD.as_nanos(), "indirect probes fit");

/// foca and its surroundings.
pub(crate) struct Swim {
    foca: Foca<Member, PostcardCodec, ChaCha8Rng, NoCustomBroadcast>,
    world: World,
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
        Swim { foca: Foca::new(me, config(), rng, PostcardCodec), world }
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
            let _ = self.foca.handle_timer(timer, &mut self.world);
        }
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

impl World {
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
        if self.timers.len() < TIMERS_MAX {
            let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
            let at = self.now + Duration::from_nanos(after);
            self.timers.insert((at, self.timer_next), timer);
            self.timer_next += 1;
        }
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

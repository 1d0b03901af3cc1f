//! The bundles that a node holds, and who waits for one.
//!
//! Owns [`Programs`]: bundle bytes, how far each has come, and the spawns and runs that wait for
//! it. The engine owns what is loaded; its word on the signature is what makes a program ready.
//!
//! ```text
//!  absent ──(1) wanted──▶ fetching ──(2) whole, hash right──▶ loading ──(3) engine agrees──▶ ready
//!    ▲                        │                                  │                            │
//!    └────(4) source lost, missing, wrong bytes; refused by the engine; evicted ──────────────┘
//! ```

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use craton_abi::{ErrorCode, Instant, NodeId, ProgramId, limit};
use craton_session::PeerKey;

/// Most programs.
pub(crate) const PROGRAMS_MAX: usize = 64;
/// Most bytes of bundles, whole and half fetched.
pub(crate) const STORE_BYTES_MAX: usize = 24 << 20;
/// Most spawns and runs that wait for one program.
pub(crate) const WAITERS_MAX: usize = 4096;
/// Bytes of one part of a bundle.
pub(crate) const PART_BYTES_MAX: usize = 32 << 10;

const _: () = assert!(limit::BUNDLE_BYTES_MAX <= STORE_BYTES_MAX, "the largest bundle must fit");

/// Who sends a bundle.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    Node(NodeId),
    Operator(PeerKey),
}

/// What became of a want.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Wanted<W> {
    /// It can be started now.
    Ready(W),
    /// It is under way; the waiter comes back from [`Programs::loaded`] or [`Programs::fail`].
    Waiting,
    /// The same, and the source must be asked for it.
    Fetch,
    /// It cannot be had.
    Refused(W, ErrorCode),
}

/// What became of a part.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// Nobody asked this source for it.
    Unasked,
    /// More is to come.
    Taken,
    /// The bundle is whole and its hash right: the engine is to load it. Those programs had to
    /// make room.
    Whole(Arc<Vec<u8>>),
    /// The bytes are wrong, or there is no room for them.
    Failed(ErrorCode),
}

struct Program<W> {
    state: State,
    waiters: Vec<W>,
    used_at: Instant,
}

enum State {
    Fetching { source: Source, bytes: Vec<u8>, heard_at: Instant },
    Loading(Arc<Vec<u8>>),
    Ready(Arc<Vec<u8>>),
}

/// All programs of a node; `W` is what waits for them.
pub(crate) struct Programs<W> {
    all: BTreeMap<ProgramId, Program<W>>,
}

impl<W> Programs<W> {
    pub(crate) fn new() -> Self {
        Programs { all: BTreeMap::new() }
    }

    /// Somebody wants a program. What is absent comes from `source`, if there is one.
    pub(crate) fn want(
        &mut self,
        id: ProgramId,
        waiter: W,
        source: Option<Source>,
        now: Instant,
    ) -> Wanted<W> {
        if let Some(program) = self.all.get_mut(&id) {
            program.used_at = now;
            if matches!(program.state, State::Ready(_)) {
                return Wanted::Ready(waiter);
            }
            if program.waiters.len() >= WAITERS_MAX {
                return Wanted::Refused(waiter, ErrorCode::LimitRequests);
            }
            program.waiters.push(waiter);
            return Wanted::Waiting;
        }
        let Some(source) = source else {
            return Wanted::Refused(waiter, ErrorCode::NoProgram);
        };
        if self.all.len() >= PROGRAMS_MAX {
            return Wanted::Refused(waiter, ErrorCode::LimitPrograms);
        }
        let state = State::Fetching { source, bytes: Vec::new(), heard_at: now };
        self.all.insert(id, Program { state, waiters: alloc::vec![waiter], used_at: now });
        Wanted::Fetch
    }

    /// A whole bundle that nobody has to send, and that is not here yet. The engine is to load it.
    pub(crate) fn carry(
        &mut self,
        id: ProgramId,
        bundle: Vec<u8>,
        now: Instant,
    ) -> Result<Arc<Vec<u8>>, ErrorCode> {
        if bundle.len() > limit::BUNDLE_BYTES_MAX || self.is_crowded() {
            return Err(ErrorCode::LimitPrograms);
        }
        let bundle = Arc::new(bundle);
        let state = State::Loading(Arc::clone(&bundle));
        self.all.insert(id, Program { state, waiters: Vec::new(), used_at: now });
        Ok(bundle)
    }

    /// A part came.
    pub(crate) fn part(
        &mut self,
        id: ProgramId,
        from: Source,
        offset: usize,
        total: usize,
        part: &[u8],
        now: Instant,
    ) -> Part {
        let held = self.bytes_held();
        let Some(program) = self.all.get_mut(&id) else { return Part::Unasked };
        let State::Fetching { source, bytes, heard_at } = &mut program.state else {
            return Part::Unasked;
        };
        if *source != from {
            return Part::Unasked;
        }
        *heard_at = now;
        let in_order = offset == bytes.len() && !part.is_empty() && part.len() <= PART_BYTES_MAX;
        let within = bytes.len() + part.len() <= total && total <= limit::BUNDLE_BYTES_MAX;
        if !in_order || !within {
            return Part::Failed(ErrorCode::NoProgram);
        }
        if held + part.len() > STORE_BYTES_MAX {
            return Part::Failed(ErrorCode::LimitPrograms);
        }
        // All of the room at once: it is there, or the program is refused and nothing grows in
        // steps.
        if bytes.try_reserve_exact(total - bytes.len()).is_err() {
            return Part::Failed(ErrorCode::LimitMemory);
        }
        bytes.extend_from_slice(part);
        if bytes.len() < total {
            return Part::Taken;
        }
        if craton_bundle::program_id(bytes) != id {
            return Part::Failed(ErrorCode::NoProgram);
        }
        let bundle = Arc::new(core::mem::take(bytes));
        program.state = State::Loading(Arc::clone(&bundle));
        Part::Whole(bundle)
    }

    /// The engine loaded a program: who waited for it.
    pub(crate) fn loaded(&mut self, id: ProgramId) -> Vec<W> {
        let Some(program) = self.all.get_mut(&id) else { return Vec::new() };
        if let State::Loading(bundle) = &program.state {
            program.state = State::Ready(Arc::clone(bundle));
        }
        core::mem::take(&mut program.waiters)
    }

    /// A program cannot be had; it is forgotten. Who waited for it.
    pub(crate) fn fail(&mut self, id: ProgramId) -> Vec<W> {
        self.all.remove(&id).map(|program| program.waiters).unwrap_or_default()
    }

    /// Whether `id` is being fetched from `source`.
    pub(crate) fn is_fetching_from(&self, id: ProgramId, from: Source) -> bool {
        self.all.get(&id).is_some_and(
            |program| matches!(&program.state, State::Fetching { source, .. } if *source == from),
        )
    }

    /// The programs that were being fetched from a source that is gone.
    pub(crate) fn orphans(&self, gone: Source) -> Vec<ProgramId> {
        self.all.keys().filter(|id| self.is_fetching_from(**id, gone)).copied().collect()
    }

    /// The programs whose source has said nothing since `before`, and that source.
    pub(crate) fn stalled(&self, before: Instant) -> Vec<(ProgramId, Source)> {
        let stalled = |(id, program): (&ProgramId, &Program<W>)| match &program.state {
            State::Fetching { source, heard_at, .. } if *heard_at < before => Some((*id, *source)),
            _ => None,
        };
        self.all.iter().filter_map(stalled).collect()
    }

    /// Forgets waiters that nobody waits for any more.
    pub(crate) fn forget_waiters(&mut self, gone: impl Fn(ProgramId, &W) -> bool) {
        for (id, program) in &mut self.all {
            program.waiters.retain(|waiter| !gone(*id, waiter));
        }
    }

    /// Takes out those who wait for a program and are meant.
    pub(crate) fn take_waiters(&mut self, id: ProgramId, meant: impl Fn(&W) -> bool) -> Vec<W> {
        let Some(program) = self.all.get_mut(&id) else { return Vec::new() };
        let all = core::mem::take(&mut program.waiters);
        let (taken, left) = all.into_iter().partition(meant);
        program.waiters = left;
        taken
    }

    /// Fetches from another source, from the start. `false` if it is not being fetched.
    pub(crate) fn refetch(&mut self, id: ProgramId, from: Source, now: Instant) -> bool {
        let Some(program) = self.all.get_mut(&id) else { return false };
        let State::Fetching { source, bytes, heard_at } = &mut program.state else { return false };
        *source = from;
        *heard_at = now;
        bytes.clear();
        true
    }

    /// Who waits for a program.
    pub(crate) fn waiters(&self, id: ProgramId) -> &[W] {
        self.all.get(&id).map_or(&[], |program| &program.waiters)
    }

    /// Everybody who waits for anything, taken out: the node begins a new life. What was half
    /// fetched is forgotten.
    pub(crate) fn restart(&mut self) {
        self.all.retain(|_, program| !matches!(program.state, State::Fetching { .. }));
        for program in self.all.values_mut() {
            program.waiters.clear();
        }
    }

    /// The bytes of a bundle that this node has whole.
    pub(crate) fn bundle(&self, id: ProgramId) -> Option<&Arc<Vec<u8>>> {
        match &self.all.get(&id)?.state {
            State::Fetching { .. } => None,
            State::Loading(bundle) | State::Ready(bundle) => Some(bundle),
        }
    }

    /// Whether there is room for one more program of any size.
    pub(crate) fn is_crowded(&self) -> bool {
        self.all.len() >= PROGRAMS_MAX
            || self.bytes_held() + limit::BUNDLE_BYTES_MAX > STORE_BYTES_MAX
    }

    /// Forgets the program that is ready, is not `in_use`, and was used the longest ago.
    pub(crate) fn evict(&mut self, in_use: impl Fn(ProgramId) -> bool) -> Option<ProgramId> {
        let idle = self
            .all
            .iter()
            .filter(|(id, program)| matches!(program.state, State::Ready(_)) && !in_use(**id));
        let (id, _) = idle.min_by_key(|(_, program)| program.used_at)?;
        let id = *id;
        self.all.remove(&id);
        Some(id)
    }

    fn bytes_held(&self) -> usize {
        let each = self.all.values().map(|program| match &program.state {
            State::Fetching { bytes, .. } => bytes.len(),
            State::Loading(bundle) | State::Ready(bundle) => bundle.len(),
        });
        each.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const A: Source = Source::Node(NodeId::new(1));
    const B: Source = Source::Node(NodeId::new(2));

    fn feed(programs: &mut Programs<u8>, id: ProgramId, from: Source, bundle: &[u8]) -> Part {
        let mut last = Part::Taken;
        for (index, part) in bundle.chunks(PART_BYTES_MAX).enumerate() {
            last =
                programs.part(id, from, index * PART_BYTES_MAX, bundle.len(), part, Instant::ZERO);
        }
        last
    }

    fn sample() -> (ProgramId, Vec<u8>) {
        let bundle: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        (craton_bundle::program_id(&bundle), bundle)
    }

    #[test]
    fn a_program_is_fetched_once_and_all_who_wait_go_on() {
        let (id, bundle) = sample();
        let mut programs = Programs::new();
        assert_eq!(programs.want(id, 1, Some(A), Instant::ZERO), Wanted::Fetch);
        assert_eq!(programs.want(id, 2, Some(B), Instant::ZERO), Wanted::Waiting);
        assert!(matches!(feed(&mut programs, id, A, &bundle), Part::Whole(_)));
        assert_eq!(programs.want(id, 3, Some(B), Instant::ZERO), Wanted::Waiting);
        assert_eq!(programs.loaded(id), [1, 2, 3]);
        assert_eq!(programs.want(id, 4, None, Instant::ZERO), Wanted::Ready(4));
        assert_eq!(feed(&mut programs, id, A, &bundle), Part::Unasked);
    }

    #[test]
    fn wrong_bytes_and_strange_parts_are_refused() {
        let (id, mut bundle) = sample();
        let mut programs = Programs::<u8>::new();
        assert_eq!(programs.part(id, A, 0, 10, &[1], Instant::ZERO), Part::Unasked);
        assert_eq!(programs.want(id, 1, Some(A), Instant::ZERO), Wanted::Fetch);
        assert_eq!(programs.part(id, B, 0, 10, &[1], Instant::ZERO), Part::Unasked);
        let failed = Part::Failed(ErrorCode::NoProgram);
        assert_eq!(programs.part(id, A, 1, 10, &[1], Instant::ZERO), failed);
        assert_eq!(programs.part(id, A, 0, 10, &[], Instant::ZERO), failed);
        assert_eq!(programs.part(id, A, 0, 1, &[1, 2], Instant::ZERO), failed);
        assert_eq!(programs.part(id, A, 0, usize::MAX, &[1], Instant::ZERO), failed);
        bundle[70_000] ^= 1;
        assert_eq!(feed(&mut programs, id, A, &bundle), failed);
        assert_eq!(programs.fail(id), [1]);
        let refused = Wanted::Refused(2, ErrorCode::NoProgram);
        assert_eq!(programs.want(id, 2, None, Instant::ZERO), refused);
    }

    #[test]
    fn the_store_is_bounded_and_idle_programs_make_room() {
        let mut programs = Programs::new();
        let mut ids = Vec::new();
        for number in 0..PROGRAMS_MAX {
            let bundle = vec![number as u8; 10];
            let id = craton_bundle::program_id(&bundle);
            let now = Instant::from_nanos(number as u64);
            assert_eq!(programs.want(id, 0u8, Some(A), now), Wanted::Fetch);
            assert!(matches!(feed(&mut programs, id, A, &bundle), Part::Whole(_)));
            programs.loaded(id);
            ids.push(id);
        }
        let (id, _) = sample();
        let full = Wanted::Refused(0, ErrorCode::LimitPrograms);
        assert_eq!(programs.want(id, 0, Some(A), Instant::ZERO), full);
        assert!(programs.is_crowded());
        assert_eq!(programs.evict(|id| id == ids[0]), Some(ids[1]));
        assert_eq!(programs.want(id, 0, Some(A), Instant::ZERO), Wanted::Fetch);
    }

    #[test]
    fn bytes_beyond_the_store_are_refused() {
        let mut programs = Programs::<u8>::new();
        let part = vec![0; PART_BYTES_MAX];
        let mut failed = 0;
        for number in 0..2u8 {
            let id = ProgramId([number; 32]);
            assert_eq!(programs.want(id, 0, Some(A), Instant::ZERO), Wanted::Fetch);
            for index in 0..limit::BUNDLE_BYTES_MAX / PART_BYTES_MAX - 1 {
                let offset = index * PART_BYTES_MAX;
                let part =
                    programs.part(id, A, offset, limit::BUNDLE_BYTES_MAX, &part, Instant::ZERO);
                failed += usize::from(part == Part::Failed(ErrorCode::LimitPrograms));
            }
        }
        assert!(failed > 0);
        assert!(programs.bytes_held() <= STORE_BYTES_MAX);
    }

    #[test]
    fn who_waited_on_a_lost_source_is_found() {
        let (id, _) = sample();
        let mut programs = Programs::new();
        assert_eq!(programs.want(id, 7, Some(A), Instant::ZERO), Wanted::Fetch);
        assert_eq!(programs.orphans(B), []);
        assert_eq!(programs.orphans(A), [id]);
        assert_eq!(programs.fail(id), [7]);
    }
}

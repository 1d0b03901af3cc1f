//! Kills processes in random states and hears of each end.
//!
//! Owns the states and the storm. Children come in rounds; of each round some are killed as soon as
//! they are spawned and some when they say that they have got into their state.

use crate::{Result, SINK, VICTIM, failed, hostile};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};
use craton::{
    Duration, Error, ErrorCode, Event, ExitReason, Mailbox, Message, NodeId, Pid, SpawnOptions,
    kill, me, nodes, random_u64, send_within,
};
use serde::{Deserialize, Serialize};

/// Children of one round.
const ROUND: u64 = 8;
/// Most memory that a child grows by.
const GROWTH_BYTES_MAX: u64 = 1 << 20;
/// How long a child may take to get into its state, and its end to be told.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a victim is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VictimArgument {
    parent: Pid,
    sink: Pid,
    state: State,
}

/// What a victim does when it is killed.
#[derive(Copy, Clone, Debug, Serialize, Deserialize)]
enum State {
    Computing,
    Yielding,
    Receiving,
    Sending,
    Grown(u64),
}

/// Victim to parent: in the state.
#[derive(Serialize, Deserialize)]
struct Ready;

/// Victim to sink, to fill it.
#[derive(Serialize, Deserialize)]
struct Load(u64);

craton::message!(Ready = "stress.ready", Load = "stress.load");

impl VictimArgument {
    /// A victim of the caller's that never makes a host call once it has begun.
    pub fn computing() -> Self {
        VictimArgument { parent: me(), sink: me(), state: State::Computing }
    }
}

/// Waits until a victim of the caller's is in its state.
pub fn await_ready(mailbox: &mut Mailbox) -> core::result::Result<(), Error> {
    mailbox.receive::<Ready>()?.message().map(|_| ())
}

/// The entry `victim`.
pub fn victim(argument: VictimArgument) -> core::result::Result<(), Error> {
    let mut grown = Vec::new();
    if let State::Grown(bytes) = argument.state {
        grown = vec![1_u8; usize::try_from(bytes).unwrap_or(0)];
    }
    // Who is told later than usual is told: a victim that gave up would end by itself.
    send_within(&argument.parent, &Ready, Duration::MAX)?;
    match argument.state {
        State::Computing => hostile::spin(),
        State::Yielding => loop {
            craton::yield_now();
        },
        State::Sending => loop {
            send_within(&argument.sink, &Load(0), Duration::MAX)?;
        },
        State::Receiving | State::Grown(_) => {
            let unexpected = Mailbox::new().receive::<Load>()?;
            // Uses the memory, so that it is not optimised away.
            let sum = grown.iter().map(|byte| u64::from(*byte)).sum::<u64>();
            unexpected.message().map(|(_, Load(extra))| {
                craton::log(craton::Level::Error, &format!("{}", sum + extra))
            })
        }
    }
}

/// The entry `sink`: its mailbox fills up and stays full.
pub fn sink((): ()) -> core::result::Result<(), Error> {
    Mailbox::new().receive::<Ready>().map(|_| ())
}

/// Kills so many.
pub fn run(count: u64, everywhere: bool) -> Result<String> {
    let mut places = nodes().map_err(|error| failed(&error))?;
    if !everywhere {
        places.truncate(1);
    }
    let sink = SINK.spawn(&(), SpawnOptions::here()).map_err(|error| failed(&error))?.pid;
    let filled = loop {
        if let Err(error) = send_within(&sink, &Load(0), Duration::ZERO) {
            break error;
        }
    };
    if filled != Error::Refused(ErrorCode::Full) {
        return Err(format!("the sink was to fill up, but: {filled}"));
    }
    let mut storm = Storm { mailbox: Mailbox::new(), sink, places, killed: 0 };
    while storm.killed < count {
        storm.round(ROUND.min(count - storm.killed))?;
    }
    kill(&sink).map_err(|error| failed(&error))?;
    Ok(format!("killed {} of {count}", storm.killed))
}

struct Storm {
    mailbox: Mailbox,
    sink: Pid,
    places: Vec<NodeId>,
    killed: u64,
}

impl Storm {
    fn round(&mut self, count: u64) -> Result {
        let mut alive = BTreeMap::new();
        let mut awaited = Vec::new();
        for _ in 0..count {
            let state = random_state();
            let argument = VictimArgument { parent: me(), sink: self.sink, state };
            let place = self.places[random_below(self.places.len() as u64) as usize];
            let child = VICTIM
                .spawn(&argument, SpawnOptions::on(place).monitored())
                .map_err(|error| format!("cannot spawn number {}: {error}", self.killed))?;
            alive.insert(child.pid, (child.monitor, state));
            if random_below(2) == 0 {
                awaited.push(child.pid);
            }
        }
        while !awaited.is_empty() {
            match self.next()? {
                Event::Message(message) if message.tag == Ready::TAG => {
                    awaited.retain(|pid| *pid != message.from);
                }
                Event::Message(message) => return Err(format!("a strange tag {}", message.tag)),
                Event::Down(down) => {
                    return Err(format!("{} ended by itself: {}", down.pid, down.reason));
                }
                other => return Err(format!("unexpected: {other:?}")),
            }
        }
        let mut doomed: Vec<Pid> = alive.keys().copied().collect();
        while !doomed.is_empty() {
            let at = random_below(doomed.len() as u64) as usize;
            kill(&doomed.swap_remove(at)).map_err(|error| failed(&error))?;
        }
        while !alive.is_empty() {
            self.bury(&mut alive)?;
        }
        Ok(())
    }

    /// Waits for the next end, which must be the first of one of `alive`.
    fn bury(&mut self, alive: &mut BTreeMap<Pid, (Option<craton::Monitor>, State)>) -> Result {
        // Late words of who was killed are read and forgotten.
        let Event::Down(down) = self.next()? else { return Ok(()) };
        let Some((monitor, state)) = alive.remove(&down.pid) else {
            return Err(format!("{} ended twice, or is no child", down.pid));
        };
        if monitor != Some(down.monitor) || down.reason != ExitReason::Killed {
            return Err(format!("{} ({state:?}) was killed, but: {}", down.pid, down.reason));
        }
        self.killed += 1;
        Ok(())
    }

    fn next(&mut self) -> Result<Event<'_>> {
        let killed = self.killed;
        self.mailbox
            .next_event_within(PATIENCE)
            .map_err(|error| format!("no word of a child after {killed} kills: {error}"))
    }
}

fn random_state() -> State {
    match random_below(5) {
        0 => State::Computing,
        1 => State::Yielding,
        2 => State::Receiving,
        3 => State::Sending,
        _ => State::Grown(random_below(GROWTH_BYTES_MAX)),
    }
}

fn random_below(bound: u64) -> u64 {
    random_u64() % bound
}

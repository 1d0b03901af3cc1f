//! Waiting for several things at once: messages, channels, sockets, timers, answers.
//!
//! Owns [`select!`](crate::select!) and what it is made of: a [`Source`] is something to wait for,
//! [`wait`] waits for the first of several. All of them come to the process's one queue in the end,
//! sockets by a watch, so a wait is one `receive`. What the sources are is in `sources`.

mod sources;

use crate::error::Error;
use crate::event::Event;
use crate::mailbox::{Mailbox, Taken};
use crate::sys;
use crate::system::now;
use crate::timer::Timer;
use alloc::vec::Vec;
use craton_abi::{ErrorCode, Instant};
pub use sources::{Accepting, Answered, Reading, Ready, Receiving, Until, after, until};

/// Waits for whichever of several things comes first, and says what to do with each.
///
/// The first arm takes the events of a mailbox: every message and notice that is no other arm's.
/// Each further arm is `pattern = source => expression`, where a source is
///
/// | source | what it gives |
/// |---|---|
/// | `&mut receiver` | the next item of a channel, as [`Receiver::receive`] |
/// | `sender.ready()` | that a channel takes another item, or why it never will |
/// | `stream.reading(&mut buffer)` | bytes of a connection, as [`TcpStream::read`] |
/// | `listener.accepting()` | a connection |
/// | `socket.receiving(&mut buffer)` | a datagram |
/// | [`after(duration)`](after), [`until(instant)`](until) | that it is time |
/// | `timer`, `monitor` | its notice; it is no event then |
/// | `pending.answered::<A>()` | the answer to a request, as [`Mailbox::call`] gives it |
///
/// It is an expression of type `Result<_, Error>`; its error is that nothing could be waited for
/// (`limit: timers`). What fails at one source is what that source gives. In the arms a `?`,
/// `return`, `break` or `continue` is that of the function around.
///
/// *Fair*: where several have something, each has its turn; none can starve another. *Cancel-safe*:
/// exactly one thing is taken, and what was not taken stays where it is for the next time, or for a
/// plain `receive` or `read`. Items of channels that are in no arm wait in the mailbox for theirs.
///
/// ```no_run
/// use craton::net::TcpStream;
/// use craton::{Duration, Error, Event, Mailbox, Receiver, select};
///
/// fn relay(stream: &mut TcpStream, lines: &mut Receiver<String>) -> Result<(), Error> {
///     let (mut mailbox, mut block) = (Mailbox::new(), [0; 512]);
///     loop {
///         select! {
///             event = &mut mailbox => if let Event::Down(_) = event { return Ok(()) },
///             line = &mut *lines => match line? {
///                 Some(line) => stream.write_all(line.as_bytes())?,
///                 None => return Ok(()),
///             },
///             read = stream.reading(&mut block) => if read? == 0 { return Ok(()) },
///             () = craton::select::after(Duration::from_secs(60)) => return Ok(()),
///         }?;
///     }
/// }
/// ```
///
/// [`Receiver::receive`]: crate::Receiver::receive
/// [`TcpStream::read`]: crate::net::TcpStream::read
#[macro_export]
macro_rules! select {
    (
        $event:pat = $mailbox:expr => $body:expr
        $(, $pattern:pat = $source:expr => $arm:expr)+ $(,)?
    ) => {{
        let chosen = $crate::select::wait($mailbox, $crate::select!(@sources $($source,)+));
        // An arm may go elsewhere for good.
        #[allow(unreachable_code)]
        let done = match chosen {
            ::core::result::Result::Err(error) => ::core::result::Result::Err(error),
            ::core::result::Result::Ok($crate::select::Chosen::First($event)) => {
                ::core::result::Result::Ok($body)
            }
            ::core::result::Result::Ok($crate::select::Chosen::Later(chosen)) => {
                ::core::result::Result::Ok($crate::select!(@arms chosen $($pattern => $arm,)+))
            }
        };
        done
    }};
    (@sources) => { () };
    (@sources $source:expr, $($rest:expr,)*) => { ($source, $crate::select!(@sources $($rest,)*)) };
    (@arms $chosen:ident) => { match $chosen {} };
    (@arms $chosen:ident $pattern:pat => $arm:expr, $($rest:tt)*) => {
        match $chosen {
            $crate::select::Chosen::First($pattern) => $arm,
            $crate::select::Chosen::Later(chosen) => $crate::select!(@arms chosen $($rest)*),
        }
    };
}

/// Something that [`select!`](crate::select!) can wait for. The SDK's own are all there are.
pub trait Source {
    /// What it gives.
    type Output;

    /// Takes what is there, without waiting.
    #[doc(hidden)]
    fn take(&mut self, mailbox: &mut Mailbox) -> Option<Self::Output>;

    /// Says what has to come before it is worth another try.
    #[doc(hidden)]
    fn arm(&self, wishes: &mut Wishes);
}

/// A list of sources: pairs, of which the second is a list, ended by `()`.
#[doc(hidden)]
pub trait Sources {
    type Output;
    const COUNT: usize;

    fn take(&mut self, at: usize, mailbox: &mut Mailbox) -> Option<Self::Output>;
    fn arm(&self, wishes: &mut Wishes);
}

/// The first of a list, or one of the rest.
#[doc(hidden)]
#[derive(Debug)]
pub enum Chosen<F, L> {
    First(F),
    Later(L),
}

/// What an empty list gives.
#[doc(hidden)]
#[derive(Debug)]
pub enum Never {}

impl Sources for () {
    type Output = Never;
    const COUNT: usize = 0;

    fn take(&mut self, _at: usize, _mailbox: &mut Mailbox) -> Option<Never> {
        None
    }

    fn arm(&self, _wishes: &mut Wishes) {}
}

impl<F: Source, L: Sources> Sources for (F, L) {
    type Output = Chosen<F::Output, L::Output>;
    const COUNT: usize = 1 + L::COUNT;

    fn take(&mut self, at: usize, mailbox: &mut Mailbox) -> Option<Self::Output> {
        match at.checked_sub(1) {
            None => self.0.take(mailbox).map(Chosen::First),
            Some(at) => self.1.take(at, mailbox).map(Chosen::Later),
        }
    }

    fn arm(&self, wishes: &mut Wishes) {
        self.0.arm(wishes);
        wishes.source += 1;
        self.1.arm(wishes);
    }
}

/// What the sources of a wait are waiting for.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Wishes {
    /// The source that is being asked.
    source: usize,
    /// Things of the queue, and whose they are.
    keys: Vec<(Key, usize)>,
    sockets: Vec<(u32, usize)>,
    /// Watches that are set, for which socket of the list.
    watches: Vec<(Timer, usize)>,
    deadline: Option<Instant>,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Key {
    /// A notice.
    Id(u64),
    /// A channel's tag.
    Channel(u64),
}

impl Wishes {
    pub(crate) fn id(&mut self, id: u64) {
        self.keys.push((Key::Id(id), self.source));
    }

    pub(crate) fn channel(&mut self, tag: u64) {
        self.keys.push((Key::Channel(tag), self.source));
    }

    pub(crate) fn socket(&mut self, socket: u32) {
        self.sockets.push((socket, self.source));
    }

    pub(crate) fn until(&mut self, at: Instant) {
        self.deadline = Some(self.deadline.map_or(at, |other| other.min(at)));
    }

    fn sources_of(&self, key: Key) -> impl Iterator<Item = usize> {
        self.keys.iter().filter(move |(of, _)| *of == key).map(|(_, source)| *source)
    }

    /// Has all sockets tell when there is something to take.
    fn watch_all(&mut self) -> Result<(), Error> {
        (0..self.sockets.len()).try_for_each(|at| self.watch(at))
    }

    fn watch(&mut self, at: usize) -> Result<(), Error> {
        let id = crate::error::check_id(sys::socket_watch(self.sockets[at].0, -1, 0))?;
        self.watches.push((Timer::from_id(id, 0), at));
        Ok(())
    }

    /// The socket of the list whose watch this is; the watch is over.
    fn watched(&mut self, id: u64) -> Option<usize> {
        let at = self.watches.iter().position(|(timer, _)| timer.id() == id)?;
        Some(self.watches.swap_remove(at).1)
    }
}

impl Drop for Wishes {
    /// A watch that is left would come to a later receive as an event that nobody knows.
    fn drop(&mut self) {
        if sys::is_unwinding() {
            return;
        }
        for (timer, _) in self.watches.drain(..) {
            timer.cancel();
        }
    }
}

/// Waits for an event of the mailbox, or for the first of the sources that has something.
#[doc(hidden)]
pub fn wait<'m, S: Sources>(
    mailbox: &'m mut Mailbox,
    mut sources: S,
) -> Result<Chosen<Event<'m>, S::Output>, Error> {
    match choose(mailbox, &mut sources)? {
        Chosen::First(taken) => mailbox.event(taken).map(Chosen::First),
        Chosen::Later(output) => Ok(Chosen::Later(output)),
    }
}

type Choice<S> = Chosen<Taken, <S as Sources>::Output>;

fn choose<S: Sources>(mailbox: &mut Mailbox, sources: &mut S) -> Result<Choice<S>, Error> {
    let mut wishes = Wishes::default();
    sources.arm(&mut wishes);
    // Whoever has something already is asked first in turn, so that none starves another.
    mailbox.turn = mailbox.turn.wrapping_add(1);
    for at in order(mailbox.turn, S::COUNT + 1) {
        let found = match at {
            at if at == S::COUNT => look(mailbox, sources, &mut wishes)?,
            at => sources.take(at, mailbox).map(Chosen::Later),
        };
        if let Some(found) = found {
            return Ok(found);
        }
    }
    wishes.watch_all()?;
    loop {
        match mailbox.next_taken(wishes.deadline) {
            Ok(taken) => {
                if let Some(found) = route(taken, mailbox, sources, &mut wishes)? {
                    return Ok(found);
                }
            }
            Err(Error::Refused(ErrorCode::TimedOut)) => {
                if let Some(found) = (0..S::COUNT).find_map(|at| sources.take(at, mailbox)) {
                    return Ok(Chosen::Later(found));
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// The order of so many places at this turn: from any one on, up or down. Of two places either is
/// first in half of the turns whatever lies between them, since what one gains on the way up it
/// loses on the way down. The turn is mixed, so that waits of several shapes that share a mailbox
/// in a fixed rhythm meet all orders too.
fn order(turn: u64, places: usize) -> impl Iterator<Item = usize> {
    let mixed = mix(turn);
    let first = usize::try_from((mixed >> 1) % places as u64).unwrap_or(0);
    let is_up = mixed & 1 == 0;
    (0..places).map(move |step| (first + if is_up { step } else { places - step }) % places)
}

/// The last steps of SplitMix64 (Steele, Lea and Flood, 2014).
fn mix(turn: u64) -> u64 {
    let mixed = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Takes what is in the queue already, up to the first thing that this wait is for.
fn look<S: Sources>(
    mailbox: &mut Mailbox,
    sources: &mut S,
    wishes: &mut Wishes,
) -> Result<Option<Choice<S>>, Error> {
    loop {
        match mailbox.next_taken(Some(now())) {
            Ok(taken) => {
                if let Some(found) = route(taken, mailbox, sources, wishes)? {
                    return Ok(Some(found));
                }
            }
            Err(Error::Refused(ErrorCode::TimedOut)) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// Gives what was taken from the queue to the source that waits for it, which has something then;
/// or else to the mailbox's arm.
fn route<S: Sources>(
    taken: Taken,
    mailbox: &mut Mailbox,
    sources: &mut S,
    wishes: &mut Wishes,
) -> Result<Option<Choice<S>>, Error> {
    let key = match &taken {
        Taken::Channel(tag) => Key::Channel(*tag),
        other => match other.id() {
            Some(id) => Key::Id(id),
            None => return Ok(Some(Chosen::First(taken))),
        },
    };
    if let Key::Id(id) = key
        && let Some(at) = wishes.watched(id)
    {
        let found = sources.take(wishes.sockets[at].1, mailbox);
        if found.is_none() {
            // Somebody was faster, or the peer's bytes were none.
            wishes.watch(at)?;
        }
        return Ok(found.map(Chosen::Later));
    }
    let is_channels = matches!(taken, Taken::Channel(_) | Taken::Sent(_));
    if wishes.sources_of(key).next().is_none() {
        return Ok(Some(Chosen::First(taken)).filter(|_| !is_channels));
    }
    mailbox.keep(&taken)?;
    if let Some(found) = wishes.sources_of(key).find_map(|source| sources.take(source, mailbox)) {
        return Ok(Some(Chosen::Later(found)));
    }
    // A monitor that is a request's has no use for the answer.
    let unwanted = taken.id().filter(|_| !is_channels).and_then(|id| mailbox.take_kept(id));
    Ok(unwanted.map(|notice| Chosen::First(Taken::Notice(notice))))
}

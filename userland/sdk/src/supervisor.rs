//! Supervisors: processes that keep others running.
//!
//! Owns [`Supervisor`], [`ChildSpec`] and their words, after Erlang/OTP's. A supervisor is linked
//! to its children and traps exits: the end of a child comes to it as a notice, and its own end
//! takes the children with it. [`Supervisor::run`] is a process's whole work; a process that has
//! other work too calls [`Supervisor::exited`] with the notices that it receives.

use crate::entry::Entry;
use crate::error::Error;
use crate::event::{Event, Exit};
use crate::mailbox::Mailbox;
use crate::message::{encode, send_within};
use crate::process::{SpawnOptions, kill, trap_exits};
use crate::system::{Level, log, now};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use craton_abi::{Duration, ErrorCode, ExitReason, Instant, Pid};
use serde::{Deserialize, Serialize};

/// How long a child may take to stop unless its [`ChildSpec`] says otherwise.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How many restarts within which time are too many unless the program says otherwise.
const RESTARTS_MAX: usize = 3;
const RESTARTS_WITHIN: Duration = Duration::from_secs(5);

/// Asks a process to stop in good order: a supervisor sends it to a child before it kills it. A
/// process that has something to put away receives it as any message, and returns then.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Shutdown;
crate::message!(Shutdown = "craton.shutdown");

/// Who is started again when a child has ended.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Strategy {
    /// That child.
    OneForOne,
    /// All of them: the others are stopped first.
    OneForAll,
    /// That child and those that were declared after it, which are stopped first.
    RestForOne,
}

/// Whether a child that has ended is started again.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Restart {
    /// However it ended.
    Permanent,
    /// Unless it ended in good order: `normal` or `shutdown`.
    Transient,
    /// Never, and it is forgotten.
    Temporary,
}

/// What a supervisor needs to know to start a child, and to stop it.
#[must_use]
#[derive(Clone, Debug)]
pub struct ChildSpec {
    name: String,
    entry: &'static str,
    argument: Vec<u8>,
    options: SpawnOptions,
    restart: Restart,
    stop_timeout: Duration,
}

/// Keeps children running.
#[must_use]
#[derive(Debug)]
pub struct Supervisor {
    strategy: Strategy,
    restarts_max: usize,
    within: Duration,
    /// When children were restarted, within the time that counts.
    restarts: VecDeque<Instant>,
    /// In the order in which they are started.
    children: Vec<Supervised>,
}

#[derive(Debug)]
struct Supervised {
    spec: ChildSpec,
    /// `None` when it has ended and is not started again.
    pid: Option<Pid>,
}

/// Why a supervisor ended without having been asked to. Its children are stopped.
#[derive(Clone, Debug)]
pub enum SupervisorError {
    /// A child ended more often than is allowed.
    GaveUp {
        /// The child that ended last.
        child: String,
        /// How.
        reason: ExitReason,
    },
    /// A process that is linked and no child ended: the supervisor's own parent, most likely.
    Left(Exit),
    /// A child could not be started, or the system refused to let it receive.
    System(Error),
}

impl ChildSpec {
    /// A child that runs `entry` with `argument`; `name` is what logs call it. It is
    /// [permanent](Restart::Permanent).
    ///
    /// # Errors
    ///
    /// [`Error::Unencodable`].
    pub fn new<A: Serialize>(
        name: &str,
        entry: &Entry<A>,
        argument: &A,
        options: SpawnOptions,
    ) -> Result<Self, Error> {
        Ok(ChildSpec {
            name: name.into(),
            entry: entry.name(),
            argument: encode(argument)?,
            options: options.linked(),
            restart: Restart::Permanent,
            stop_timeout: STOP_TIMEOUT,
        })
    }

    /// Whether it is started again.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How long it may take to stop after a [`Shutdown`]; then it is killed. Zero kills it at once.
    pub fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.stop_timeout = timeout;
        self
    }
}

impl Supervised {
    fn start(&mut self) -> Result<Pid, Error> {
        let child = self.spec.options.spawn(self.spec.entry, &self.spec.argument)?;
        self.pid = Some(child.pid);
        Ok(child.pid)
    }

    /// Stops it: asks, waits, kills.
    fn stop(&mut self, mailbox: &mut Mailbox) -> Result<(), Error> {
        let Some(pid) = self.pid.take() else { return Ok(()) };
        let timeout = self.spec.stop_timeout;
        // One whose mailbox is full will not read it in time either.
        let asked = timeout > Duration::ZERO && send_within(&pid, &Shutdown, timeout).is_ok();
        let stopped = if asked {
            mailbox.exit_of(&pid, Some(now() + timeout))
        } else {
            Err(ErrorCode::TimedOut.into())
        };
        match stopped {
            Ok(_) => Ok(()),
            Err(Error::Refused(ErrorCode::TimedOut)) => {
                kill(&pid)?;
                mailbox.exit_of(&pid, None).map(drop)
            }
            Err(error) => Err(error),
        }
    }
}

impl Supervisor {
    /// A supervisor without children, which gives up at more than 3 restarts within 5 s.
    pub fn new(strategy: Strategy) -> Self {
        Supervisor {
            strategy,
            restarts_max: RESTARTS_MAX,
            within: RESTARTS_WITHIN,
            restarts: VecDeque::new(),
            children: Vec::new(),
        }
    }

    /// Give up at more than `restarts` within `time`.
    pub fn intensity(mut self, restarts: usize, time: Duration) -> Self {
        self.restarts_max = restarts;
        self.within = time;
        self
    }

    /// Declares a child, which is started behind those that are there.
    pub fn child(mut self, spec: ChildSpec) -> Self {
        self.children.push(Supervised { spec, pid: None });
        self
    }

    /// Starts the children and keeps them running until this process receives a [`Shutdown`];
    /// stops them in reverse order then. Other messages are dropped.
    ///
    /// # Errors
    ///
    /// [`SupervisorError`]; the children are stopped.
    pub fn run(mut self, mailbox: &mut Mailbox) -> Result<(), SupervisorError> {
        self.start(mailbox)?;
        loop {
            let event = mailbox.next_event().map_err(SupervisorError::System)?;
            let exit = match event {
                Event::Message(message) if message.is::<Shutdown>() => {
                    return self.stop(mailbox).map_err(SupervisorError::System);
                }
                Event::Exit(exit) => exit,
                _ => continue,
            };
            if !self.exited(&exit, mailbox)? {
                self.stop(mailbox).map_err(SupervisorError::System)?;
                return Err(SupervisorError::Left(exit));
            }
        }
    }

    /// Starts the children that were declared, in order.
    ///
    /// # Errors
    ///
    /// [`SupervisorError::System`] if one of them cannot be; those before it are stopped.
    pub fn start(&mut self, mailbox: &mut Mailbox) -> Result<(), SupervisorError> {
        trap_exits(true);
        for index in 0..self.children.len() {
            if let Err(error) = self.children[index].start() {
                self.stop(mailbox).map_err(SupervisorError::System)?;
                return Err(SupervisorError::System(error));
            }
        }
        Ok(())
    }

    /// Adds a child and starts it; the supervisor has been [started](Supervisor::start).
    ///
    /// # Errors
    ///
    /// Why it cannot be started; it is not added then.
    pub fn add(&mut self, spec: ChildSpec) -> Result<Pid, Error> {
        let mut child = Supervised { spec, pid: None };
        let pid = child.start()?;
        self.children.push(child);
        Ok(pid)
    }

    /// The children that live, by name.
    pub fn children(&self) -> impl Iterator<Item = (&str, Pid)> {
        self.children.iter().filter_map(|child| Some((child.spec.name.as_str(), child.pid?)))
    }

    /// Does what the end of a linked process calls for. False if it was no child.
    ///
    /// # Errors
    ///
    /// [`SupervisorError`] if it was one end too many; all children are stopped then.
    pub fn exited(&mut self, exit: &Exit, mailbox: &mut Mailbox) -> Result<bool, SupervisorError> {
        let is_it = |child: &Supervised| child.pid == Some(exit.pid);
        let Some(index) = self.children.iter().position(is_it) else { return Ok(false) };
        let child = &mut self.children[index];
        child.pid = None;
        let again = match child.spec.restart {
            Restart::Permanent => true,
            Restart::Transient => !exit.reason.is_orderly(),
            Restart::Temporary => {
                self.children.remove(index);
                return Ok(true);
            }
        };
        if again {
            log(Level::Warn, &format!("{} ended: {}; restarting", child.spec.name, exit.reason));
            self.restart(index, exit.reason.clone(), mailbox)?;
        }
        Ok(true)
    }

    /// Stops all children, the last one first.
    ///
    /// # Errors
    ///
    /// As the system refuses to let it receive.
    pub fn stop(&mut self, mailbox: &mut Mailbox) -> Result<(), Error> {
        self.stop_from(0, mailbox)
    }

    fn stop_from(&mut self, first: usize, mailbox: &mut Mailbox) -> Result<(), Error> {
        self.children[first..].iter_mut().rev().try_for_each(|child| child.stop(mailbox))
    }

    /// Restarts those that the strategy says, until they run or it was too often.
    fn restart(
        &mut self,
        index: usize,
        mut reason: ExitReason,
        mailbox: &mut Mailbox,
    ) -> Result<(), SupervisorError> {
        let name = self.children[index].spec.name.clone();
        loop {
            if self.is_too_often() {
                self.stop(mailbox).map_err(SupervisorError::System)?;
                return Err(SupervisorError::GaveUp { child: name, reason });
            }
            match self.restart_once(index, mailbox) {
                Ok(()) => return Ok(()),
                Err(error) => reason = ExitReason::Error(format!("{error}").into_bytes()),
            }
        }
    }

    /// Counts a restart.
    fn is_too_often(&mut self) -> bool {
        let now = now();
        self.restarts.push_back(now);
        while self.restarts.front().is_some_and(|first| *first + self.within < now) {
            self.restarts.pop_front();
        }
        self.restarts.len() > self.restarts_max
    }

    fn restart_once(&mut self, index: usize, mailbox: &mut Mailbox) -> Result<(), Error> {
        let first = match self.strategy {
            Strategy::OneForOne => return self.children[index].start().map(drop),
            Strategy::OneForAll => 0,
            Strategy::RestForOne => index,
        };
        self.stop_from(first, mailbox)?;
        let mut at = first;
        while at < self.children.len() {
            if self.children[at].spec.restart == Restart::Temporary {
                self.children.remove(at);
            } else {
                self.children[at].start()?;
                at += 1;
            }
        }
        Ok(())
    }
}

impl fmt::Display for SupervisorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SupervisorError::GaveUp { child, reason } => {
                write!(f, "{child} ended too often, at last: {reason}")
            }
            SupervisorError::Left(exit) => write!(f, "{} ended: {}", exit.pid, exit.reason),
            SupervisorError::System(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for SupervisorError {}

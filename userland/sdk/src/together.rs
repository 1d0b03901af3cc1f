//! Processes that are spawned together: all of them, or none.
//!
//! Owns [`SpawnSet`], [`Seat`], which is a member's place in one, and [`Member`], what such a
//! process takes as its argument. Who is to have which end of which channel can be said only when
//! all pids are known: so members wait at their beginning, and are given their arguments when the
//! last of them is there. None does anything of its own before that.

use crate::entry::Entry;
use crate::error::Error;
use crate::mailbox::Mailbox;
use crate::message::{decode, encode, send_bytes, tag_of_name};
use crate::process::{Child, Monitor, SpawnOptions, kill, me, unlink};
use crate::sys;
use alloc::vec::Vec;
use core::marker::PhantomData;
use craton_abi::{ErrorCode, Pid};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Of the message that gives a member its argument.
const ARGUMENT_TAG: u64 = tag_of_name("craton.member");

/// Processes that are spawned together. If one of them cannot be, or the set is dropped before
/// [`SpawnSet::start`], those that were are killed, and have ended when the error is given.
///
/// ```
/// # use craton::{Error, Mailbox, Member, ReceiverEnd, SenderEnd, SpawnOptions, SpawnSet};
/// type Ends = (SenderEnd<u64>, ReceiverEnd<u64>);
/// # craton::entries! {
/// #     LEFT: "left" = left as fn(Member<Ends>);
/// #     RIGHT: "right" = right as fn(Member<Ends>);
/// # }
///
/// /// Two processes with a channel each way between them.
/// fn join_two() -> Result<(), Error> {
///     let mut set = SpawnSet::new();
///     let left = set.join(&LEFT, SpawnOptions::anywhere())?;
///     let right = set.join(&RIGHT, SpawnOptions::anywhere())?;
///     let (there, back) = (ReceiverEnd::new(), ReceiverEnd::new());
///     set.give(&left, &(there.sender(&right.pid()), back.clone()))?;
///     set.give(&right, &(back.sender(&left.pid()), there))?;
///     set.start()?;
///     Ok(())
/// }
///
/// fn left(member: Member<Ends>) -> Result<(), Error> {
///     let mut mailbox = Mailbox::new();
///     let (there, back) = member.begin(&mut mailbox)?;
///     there.open().send(&7)?;
///     assert_eq!(back.open().receive(&mut mailbox)?, Some(8));
///     Ok(())
/// }
/// # fn right(_: Member<Ends>) {}
/// ```
#[must_use]
#[derive(Debug, Default)]
pub struct SpawnSet {
    members: Vec<Joined>,
    /// Why there is no such set.
    failed: Option<Error>,
}

/// A process of a set.
#[derive(Debug)]
struct Joined {
    child: Child,
    linked: bool,
    waits: Waits,
}

/// What a process of a set waits for before it begins.
#[derive(Debug)]
enum Waits {
    Nothing,
    Argument,
    /// It is there, and not sent.
    Start(Vec<u8>),
}

/// A member's place in a set, for [`SpawnSet::give`].
#[derive(Debug)]
pub struct Seat<A> {
    pid: Pid,
    argument: PhantomData<fn(A)>,
}

/// What an entry takes whose processes are members of a set: the argument comes when all are there.
#[must_use]
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Member<A> {
    parent: Pid,
    #[serde(skip)]
    argument: PhantomData<fn() -> A>,
}

impl<A> Seat<A> {
    /// The member.
    pub fn pid(&self) -> Pid {
        self.pid
    }
}

impl<A: DeserializeOwned> Member<A> {
    /// Waits until the whole set is there, and takes the argument. What else comes stays queued.
    ///
    /// # Errors
    ///
    /// [`Error::Down`] if the process that spawns the set ended before, [`Error::Malformed`] if
    /// the argument is no `A`, `limit: monitors`.
    pub fn begin(self, mailbox: &mut Mailbox) -> Result<A, Error> {
        let monitor = Monitor::new(&self.parent)?;
        let argument = decode(mailbox.tagged_from(ARGUMENT_TAG, &self.parent, monitor)?);
        monitor.cancel();
        argument
    }
}

impl SpawnSet {
    /// No process yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a process with an argument that is known already; it begins at once. It cannot be
    /// given the sending end of a channel whose receiver comes later: see [`SpawnSet::join`].
    ///
    /// # Errors
    ///
    /// As [`Entry::spawn`]; the set is no more then.
    pub fn spawn<A: Serialize>(
        &mut self,
        entry: &Entry<A>,
        argument: &A,
        options: SpawnOptions,
    ) -> Result<Child, Error> {
        self.add(entry, argument, options, Waits::Nothing)
    }

    /// Spawns a member, which waits for what [`SpawnSet::give`] has for it.
    ///
    /// # Errors
    ///
    /// As [`SpawnSet::spawn`].
    pub fn join<A>(
        &mut self,
        entry: &Entry<Member<A>>,
        options: SpawnOptions,
    ) -> Result<Seat<A>, Error> {
        let member = Member { parent: me(), argument: PhantomData };
        let child = self.add(entry, &member, options, Waits::Argument)?;
        Ok(Seat { pid: child.pid, argument: PhantomData })
    }

    /// Says what a member is to be given. The last word counts.
    ///
    /// # Errors
    ///
    /// [`Error::Unencodable`], and [`ErrorCode::Invalid`] if the member is none of this set, which
    /// is no more then.
    pub fn give<A: Serialize>(&mut self, seat: &Seat<A>, argument: &A) -> Result<(), Error> {
        let given = encode(argument).and_then(|bytes| {
            let member = self.members.iter_mut().find(|member| member.child.pid == seat.pid);
            member.ok_or(ErrorCode::Invalid)?.waits = Waits::Start(bytes);
            Ok(())
        });
        self.or_undo(given)
    }

    /// Lets all of them begin. Gives them in the order in which they were spawned.
    ///
    /// # Errors
    ///
    /// What went wrong before, [`ErrorCode::Invalid`] if a member was given nothing, and as
    /// [`send`](crate::send) if one has ended meanwhile or its argument is too long.
    pub fn start(mut self) -> Result<Vec<Child>, Error> {
        let started = self.send_arguments();
        self.or_undo(started)?;
        Ok(self.members.drain(..).map(|member| member.child).collect())
    }

    fn add<A: Serialize>(
        &mut self,
        entry: &Entry<A>,
        argument: &A,
        options: SpawnOptions,
        waits: Waits,
    ) -> Result<Child, Error> {
        let spawned = match &self.failed {
            Some(error) => Err(error.clone()),
            None => entry.spawn(argument, options),
        };
        let child = self.or_undo(spawned)?;
        self.members.push(Joined { child, linked: options.is_linked(), waits });
        Ok(child)
    }

    fn send_arguments(&self) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.members.iter().any(|member| matches!(member.waits, Waits::Argument)) {
            return Err(ErrorCode::Invalid.into());
        }
        for Joined { child, waits, .. } in &self.members {
            if let Waits::Start(bytes) = waits {
                send_bytes(&child.pid, ARGUMENT_TAG, bytes, None)?;
            }
        }
        Ok(())
    }

    /// All or none.
    fn or_undo<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        result.inspect_err(|error| {
            self.failed.get_or_insert_with(|| error.clone());
            self.undo();
        })
    }

    /// Ends all of them. Their monitors and links tell the caller nothing of it.
    fn undo(&mut self) {
        if self.members.is_empty() {
            return;
        }
        let ended: Vec<Joined> = self.members.drain(..).rev().collect();
        for Joined { child, linked, .. } in &ended {
            if *linked {
                let _ = unlink(&child.pid);
            }
            let _ = kill(&child.pid);
        }
        let mut mailbox = Mailbox::new();
        for Joined { child, .. } in ended {
            if let Some(monitor) = child.monitor {
                monitor.cancel();
            }
            // The kill went the same way before it. Who may hold no monitor more does not wait.
            if let Ok(monitor) = Monitor::new(&child.pid) {
                let _ = mailbox.outcome(monitor, None);
            }
        }
    }
}

impl Drop for SpawnSet {
    fn drop(&mut self) {
        if !sys::is_unwinding() {
            self.undo();
        }
    }
}

//! Processes seen from outside: spawning, watching, linking and ending them.
//!
//! Owns [`SpawnOptions`], [`Child`] and [`Monitor`]. Which entry a child runs is said by
//! [`Entry`](crate::Entry); what it is told later, by [`send`](crate::send).

use crate::error::{Error, check, check_id};
use crate::net::TcpStream;
use crate::sys;
use craton_abi::{ErrorCode, ExitReason, MonitorId, NodeId, Pid, Place, ProgramId, SocketId};

/// Where a child is to run, and within which bounds.
#[must_use]
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct SpawnOptions {
    place: Place,
    program: Option<ProgramId>,
    monitor: bool,
    link: bool,
    limits: Limits,
}

/// What a child may have; 0 is as usual. It lies as the host call takes it, where numbers are
/// little-endian.
#[repr(C)]
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) struct Limits {
    pub(crate) memory: u64,
    pub(crate) mailbox_messages: u32,
    pub(crate) mailbox_bytes: u32,
    stack: u32,
    cpu_share: u32,
}

/// A process that was spawned.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Child {
    /// The process.
    pub pid: Pid,
    /// The monitor on it, if [`SpawnOptions::monitored`] asked for one.
    pub monitor: Option<Monitor>,
}

/// A wish to be told, once, how a process ends: [`Event::Down`](crate::Event::Down).
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Monitor(MonitorId);

/// A spawn as the host call takes it.
pub(crate) struct SpawnCall<'a> {
    pub(crate) place_kind: i32,
    pub(crate) place: [u8; Pid::BYTES],
    pub(crate) program: Option<&'a ProgramId>,
    pub(crate) entry: &'a str,
    pub(crate) argument: &'a [u8],
    pub(crate) monitor: bool,
    pub(crate) link: bool,
    pub(crate) limits: &'a Limits,
}

impl Limits {
    const USUAL: Limits =
        Limits { memory: 0, mailbox_messages: 0, mailbox_bytes: 0, stack: 0, cpu_share: 0 };

    /// The form that the host call takes.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn to_bytes(self) -> [u8; craton_abi::ProcessLimits::BYTES] {
        let mut bytes = [0; craton_abi::ProcessLimits::BYTES];
        bytes[..8].copy_from_slice(&self.memory.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.mailbox_messages.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.mailbox_bytes.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.stack.to_le_bytes());
        bytes[20..].copy_from_slice(&self.cpu_share.to_le_bytes());
        bytes
    }
}

impl SpawnOptions {
    const fn at(place: Place) -> Self {
        SpawnOptions { place, program: None, monitor: false, link: false, limits: Limits::USUAL }
    }

    /// On the spawner's own node.
    pub const fn here() -> Self {
        Self::at(Place::Here)
    }

    /// On whichever node has room.
    pub const fn anywhere() -> Self {
        Self::at(Place::Anywhere)
    }

    /// On this node.
    pub const fn on(node: NodeId) -> Self {
        Self::at(Place::Node(node))
    }

    /// On the node of this process.
    pub const fn near(pid: Pid) -> Self {
        Self::at(Place::Near(pid))
    }

    /// On the spawner's own node, and on the CPU that this connection is on: there it costs its
    /// process least.
    pub const fn beside(stream: &TcpStream) -> Self {
        Self::at(Place::Socket(SocketId::new(stream.number())))
    }

    /// The same, beside a connection that is to be given to the child, unless another node or
    /// process was asked for.
    pub(crate) const fn for_connection(mut self, stream: &TcpStream) -> Self {
        if matches!(self.place, Place::Here) {
            self.place = Self::beside(stream).place;
        }
        self
    }

    /// Watch the child from its first instant.
    pub const fn monitored(mut self) -> Self {
        self.monitor = true;
        self
    }

    /// Link the caller and the child from the child's first instant: see [`link`].
    pub const fn linked(mut self) -> Self {
        self.link = true;
        self
    }

    /// Bound the child's memory to this many bytes in place of the system's default.
    pub const fn memory_max(mut self, bytes: u64) -> Self {
        self.limits.memory = bytes;
        self
    }

    /// Bound the child's mailbox to so many messages and bytes in place of the system's default
    /// (256 and 2 MiB); 0 leaves one of them as it is. At most 1,048,576 messages and 256 MiB: more
    /// is [`ErrorCode::Invalid`].
    pub const fn mailbox_max(mut self, messages: u32, bytes: u32) -> Self {
        self.limits.mailbox_messages = messages;
        self.limits.mailbox_bytes = bytes;
        self
    }

    /// Give the child so much stack for its calls in place of the usual 40 KiB: more for deep
    /// recursion. From 4 KiB to 1 MiB; other than that is [`ErrorCode::Invalid`]. A child that
    /// needs more ends with [`TrapKind::StackOverflow`](craton_abi::TrapKind). What Rust keeps in
    /// memory, since something points to it, is not in this stack but in one whose size the linker
    /// sets.
    pub const fn stack_max(mut self, bytes: u32) -> Self {
        self.limits.stack = bytes;
        self
    }

    /// Give the child this share of its CPU in place of the usual 100. Processes that compute on
    /// one CPU have its time as their shares are to one another: 50 beside 100 has a third. Who
    /// waits uses nothing up, and whoever has the CPU alone has all of it. From 1 to 1,000; more is
    /// [`ErrorCode::Invalid`].
    pub const fn cpu_share(mut self, share: u32) -> Self {
        self.limits.cpu_share = share;
        self
    }

    /// Run an entry of this program in place of the caller's own.
    pub const fn program(mut self, program: ProgramId) -> Self {
        self.program = Some(program);
        self
    }

    pub(crate) const fn is_linked(&self) -> bool {
        self.link
    }

    /// Spawns; [`Entry::spawn`](crate::Entry::spawn) is the typed way.
    pub(crate) fn spawn(&self, entry: &str, argument: &[u8]) -> Result<Child, Error> {
        let (place_kind, place) = encode_place(self.place);
        let call = SpawnCall {
            place_kind,
            place,
            program: self.program.as_ref(),
            entry,
            argument,
            monitor: self.monitor,
            link: self.link,
            limits: &self.limits,
        };
        match sys::spawn(&call) {
            Ok((pid, id)) => Ok(Child { pid, monitor: self.monitor.then_some(Monitor(id)) }),
            Err(code) => Err(ErrorCode::from_code(code).unwrap_or(ErrorCode::Invalid).into()),
        }
    }
}

impl Monitor {
    pub(crate) const fn from_id(id: u64) -> Self {
        Monitor(MonitorId::new(id))
    }

    /// Watches `target`. If there is no such process, the notice says so at once.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::LimitMonitors`] if the caller holds as many as it may.
    pub fn new(target: &Pid) -> Result<Self, Error> {
        check_id(sys::monitor(target)).map(Self::from_id)
    }

    pub(crate) const fn id(self) -> u64 {
        self.0.get()
    }

    /// Takes the monitor back; says whether its notice was already queued, which is taken back
    /// too. A notice that a [`Mailbox`](crate::Mailbox) keeps for its owner stays there.
    pub fn cancel(self) -> bool {
        sys::demonitor(self.0.get()) > 0
    }
}

/// The number and the bytes of a place in the ABI.
fn encode_place(place: Place) -> (i32, [u8; Pid::BYTES]) {
    let mut bytes = [0; Pid::BYTES];
    match place {
        Place::Here => (0, bytes),
        Place::Anywhere => (1, bytes),
        Place::Node(node) => {
            bytes[..8].copy_from_slice(&node.get().to_le_bytes());
            (2, bytes)
        }
        Place::Near(pid) => (3, pid.to_bytes()),
        Place::Socket(socket) => {
            bytes[..4].copy_from_slice(&socket.get().to_le_bytes());
            (4, bytes)
        }
    }
}

/// The calling process.
pub fn me() -> Pid {
    sys::self_pid()
}

/// Ends the calling process with this reason. Destructors of values on its stack do not run.
pub fn exit(reason: &ExitReason) -> ! {
    sys::exit(&reason.to_bytes())
}

/// Ends another process, or the caller, with [`ExitReason::Killed`]. Says nothing about whether
/// there was such a process: a monitor does.
///
/// # Errors
///
/// [`ErrorCode::Denied`] if the process belongs to another app.
pub fn kill(target: &Pid) -> Result<(), Error> {
    check(sys::kill(target))
}

/// Shares the end of another process, and it the caller's: when one ends, the other ends with the
/// same reason, unless that is `normal`. There is at most one link between two processes, whoever
/// made it. That there is no such process is told as its end.
///
/// # Errors
///
/// [`ErrorCode::LimitLinks`] if the caller has as many as it may, [`ErrorCode::Denied`] if the
/// process belongs to another app.
pub fn link(target: &Pid) -> Result<(), Error> {
    check(sys::link(target))
}

/// Takes a link back. From now on the end of one has no effect on the other, but for what is in the
/// mailbox already.
///
/// # Errors
///
/// None that the ABI names.
pub fn unlink(target: &Pid) -> Result<(), Error> {
    check(sys::unlink(target))
}

/// Whether the ends of linked processes, `normal` too, come to the mailbox as
/// [`Event::Exit`](crate::Event::Exit) from now on, and do not end the caller. Says what was set
/// before. A [`kill`] cannot be trapped.
pub fn trap_exits(trap: bool) -> bool {
    sys::trap_exits(i32::from(trap)) > 0
}

/// Lets other processes of the same CPU run.
pub fn yield_now() {
    sys::yield_now();
}

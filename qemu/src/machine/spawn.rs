//! Starting a child that cannot outlive this process.
//!
//! Owns the one thread that starts children. The kernel ties a child's parent-death signal to the
//! *thread* that forked it, so children are started by a thread that lives as long as the process.
//! `setpriv` asks for the signal, then a shell checks that the parent is still there (it might
//! have been killed between the fork and the request) and becomes the program. Neighbour:
//! `machine`, which owns the child that comes back.

use command_fds::{CommandFdExt, FdMapping};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};

/// `$0` is the parent's process id, the rest the program and its arguments.
const EXEC_UNLESS_ORPHANED: &str = r#"[ "$PPID" = "$0" ] && exec "$@""#;

/// A program to start, with pipes on its standard output and error.
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) descriptors: Vec<FdMapping>,
    /// A pipe on its standard input too.
    pub(super) typed: bool,
}

struct Order {
    program: Program,
    answer: Sender<io::Result<Child>>,
}

/// Starts the program; it gets SIGKILL when this process ends, however that comes about.
pub(super) fn spawn(program: Program) -> io::Result<Child> {
    static SPAWNER: OnceLock<Sender<Order>> = OnceLock::new();
    let gone = || io::Error::other("the thread that starts machines has ended");
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = channel();
        // Where no thread can be started the inbox is dropped, and the send below reports it.
        let _ = std::thread::Builder::new().name("spawner".into()).spawn(move || serve(inbox));
        orders
    });
    let (answer, result) = channel();
    spawner.send(Order { program, answer }).map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?
}

/// Ends only with the process, since the sender is a static.
fn serve(inbox: Receiver<Order>) {
    for order in inbox {
        // Nobody waits for the answer any more only if the caller's thread has panicked.
        let _ = order.answer.send(start(order.program));
    }
}

fn start(program: Program) -> io::Result<Child> {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", "/bin/sh", "-c", EXEC_UNLESS_ORPHANED])
        .arg(std::process::id().to_string())
        .arg(program.path)
        .args(program.arguments)
        .stdin(if program.typed { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A Ctrl-C on the terminal is for the tool, which then decides about its machines.
        .process_group(0);
    command.fd_mappings(program.descriptors).map_err(io::Error::other)?;
    command.spawn()
}

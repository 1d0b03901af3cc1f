//! One virtual machine in one QEMU process.
//!
//! Owns the QEMU child: its start, its serial log, its end. A machine is killed when it is
//! dropped, and by the host's kernel when this process ends in any other way (`spawn`).
//! Neighbours: `command` says what the machine is made of, `log` keeps what it printed.

mod accelerator;
mod command;
mod log;
mod spawn;

pub use accelerator::Accelerator;
pub use command::{Board, MachineConfig};
pub use log::WaitError;

use command_fds::FdMapping;
use log::SerialLog;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{env, fmt};

/// QEMU's exit status when the kernel wrote 0x10 to the debug-exit port: all went well.
pub const EXIT_SUCCESS: i32 = 33;
/// QEMU's exit status when the kernel wrote 0x11 to the debug-exit port: something failed.
pub const EXIT_FAILURE: i32 = 35;
/// QEMU's exit status when the kernel panicked.
pub const EXIT_PANIC: i32 = 37;
/// QEMU's exit status when the kernel met an exception that it did not expect.
pub const EXIT_EXCEPTION: i32 = 39;

const QEMU: &str = "qemu-system-x86_64";
/// What distinguishes, in the log, QEMU's own complaints from the guest's lines.
const COMPLAINT_PREFIX: &str = "qemu: ";

/// Why a machine could not be started.
#[derive(Debug)]
pub enum LaunchError {
    /// A program that must be installed is not; the text names it and the command that helps.
    Missing(&'static str),
    /// The kernel or initial RAM disk cannot be read.
    File(PathBuf, io::Error),
    /// The operating system refused.
    System(&'static str, io::Error),
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LaunchError::Missing(text) => f.write_str(text),
            LaunchError::File(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            LaunchError::System(what, error) => write!(f, "cannot {what}: {error}"),
        }
    }
}

impl std::error::Error for LaunchError {}

/// A running virtual machine. Dropping it kills it.
pub struct Machine {
    child: Mutex<Child>,
    /// Readable when the process has ended; a signal through it never reaches a stranger.
    process: OwnedFd,
    process_id: u32,
    log: Arc<SerialLog>,
    /// The serial console's keyboard, where it has one.
    keyboard: Option<Mutex<ChildStdin>>,
    readers: Vec<JoinHandle<()>>,
}

impl Machine {
    /// Starts the machine and returns at once; wait for a line of its log to know it is up.
    pub fn launch(mut config: MachineConfig) -> Result<Machine, LaunchError> {
        let path = find_program(QEMU).ok_or(LaunchError::Missing(
            "qemu-system-x86_64 is not installed; run: sudo apt-get install -y qemu-system-x86",
        ))?;
        find_program("setpriv").ok_or(LaunchError::Missing(
            "setpriv is not installed; run: sudo apt-get install -y util-linux",
        ))?;
        check_readable(&config.kernel)?;
        config.initrd.as_deref().map_or(Ok(()), check_readable)?;
        let arguments = command::arguments(&config);
        let descriptors = descriptors(&mut config)
            .map_err(|error| LaunchError::System("set up the machine's files", error))?;
        let typed = config.typed;
        let child = spawn::spawn(spawn::Program { path, arguments, descriptors, typed })
            .map_err(|error| LaunchError::System("start QEMU", error))?;
        Machine::adopt(child, config).map_err(|error| LaunchError::System("watch QEMU", error))
    }

    fn adopt(mut child: Child, config: MachineConfig) -> io::Result<Machine> {
        let process_id = child.id();
        let log = Arc::new(SerialLog::new(2));
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let process = i32::try_from(process_id)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(io::ErrorKind::InvalidData.into())
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from));
        let process = process.inspect_err(|_| {
            let _ = child.kill().and_then(|()| child.wait());
        })?;
        let keyboard = child.stdin.take().map(Mutex::new);
        let readers = Vec::new();
        let mut machine =
            Machine { child: Mutex::new(child), process, process_id, log, keyboard, readers };
        if let Some(output) = output {
            let log = machine.log.clone();
            machine.read_on_thread("serial", move || log.fill(output, "", config.on_line))?;
        }
        if let Some(errors) = errors {
            let log = machine.log.clone();
            machine.read_on_thread("qemu", move || log.fill(errors, COMPLAINT_PREFIX, None))?;
        }
        Ok(machine)
    }

    fn read_on_thread(
        &mut self,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        self.readers.push(std::thread::Builder::new().name(name.into()).spawn(work)?);
        Ok(())
    }

    /// The process id of QEMU.
    pub fn process_id(&self) -> u32 {
        self.process_id
    }

    /// The first line of serial output that matches, printed before this call or within `timeout`
    /// after it.
    pub fn wait_for(
        &self,
        matches: impl FnMut(&str) -> bool,
        timeout: Duration,
    ) -> Result<String, WaitError> {
        self.log.wait_for(matches, timeout)
    }

    /// The serial output so far, the newest 20,000 lines of it. Lines that begin with `qemu: ` are
    /// QEMU's own complaints.
    pub fn lines(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Types a line on the serial console of a machine that was configured to be typed at.
    pub fn type_line(&self, line: &str) -> io::Result<()> {
        let keyboard = self.keyboard.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let mut keyboard = keyboard.lock().unwrap_or_else(PoisonError::into_inner);
        keyboard.write_all(format!("{line}\n").as_bytes())
    }

    /// Waits until QEMU has ended and its serial output is complete.
    pub fn wait_exit(&mut self, timeout: Duration) -> Result<ExitStatus, WaitError> {
        wait_readable(&self.process, timeout)?;
        for reader in self.readers.drain(..) {
            // A reader that panicked did so in the caller's own line sink.
            let _ = reader.join();
        }
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.wait().map_err(|_| WaitError::Ended)
    }

    /// Kills the machine as a power cut would: nothing in it runs any more.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Stops the QEMU process, as a host does that is out of breath; [`Machine::resume`] goes on.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a paused machine run again.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Memory of the host that the QEMU process has in use, or `None` once it has ended.
    pub fn resident_bytes(&self) -> Option<u64> {
        let mut status = String::new();
        let path = format!("/proc/{}/status", self.process_id);
        File::open(path).and_then(|mut file| file.read_to_string(&mut status)).ok()?;
        resident_bytes(&status)
    }

    /// The only error is that the process has ended, and then there is nothing left to signal.
    fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.process, signal);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.get_mut().unwrap_or_else(PoisonError::into_inner).wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

/// The open files that QEMU gets under fixed numbers. Takes the LAN port out of the configuration.
fn descriptors(config: &mut MachineConfig) -> io::Result<Vec<FdMapping>> {
    let mut mappings = Vec::new();
    if let Some((command::Cable::Lan(port), _)) = config.network.take() {
        mappings.push(FdMapping {
            parent_fd: port.into_socket().into(),
            child_fd: command::NETWORK_FD,
        });
    }
    if let Some(bytes) = config.node_config.take() {
        mappings.push(memory_file("craton-node-config", &bytes, command::CONFIG_FD)?);
    }
    if let Some(bytes) = config.module.take() {
        mappings.push(memory_file("craton-module", &bytes, command::MODULE_FD)?);
    }
    Ok(mappings)
}

/// A file that is nowhere on disk, under a fixed number.
fn memory_file(name: &str, bytes: &[u8], child_fd: i32) -> io::Result<FdMapping> {
    let memory = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(memory);
    file.write_all(bytes)?;
    Ok(FdMapping { parent_fd: file.into(), child_fd })
}

fn wait_readable(process: &OwnedFd, timeout: Duration) -> Result<(), WaitError> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| WaitError::TimedOut)?;
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err(WaitError::TimedOut),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Err(WaitError::Ended),
        }
    }
}

fn check_readable(path: &Path) -> Result<(), LaunchError> {
    File::open(path).map(drop).map_err(|error| LaunchError::File(path.to_path_buf(), error))
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

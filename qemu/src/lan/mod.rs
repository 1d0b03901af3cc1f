//! An Ethernet switch in this process, between machines that reach it by Unix sockets.
//!
//! Owns the threads of the switch: each port has one that reads frames and forwards them, and one
//! that writes what waits for the port. What happens to a frame is decided by the value in
//! `switch`; `queue` holds what waits; `frame` is how frames travel on a stream. Neighbours:
//! `Machine` and `Gateway` plug into its ports.

mod frame;
mod queue;
mod switch;

pub use frame::Mac;
pub(crate) use frame::{FrameReader, HEADER_BYTES, read_uninterrupted};
pub use switch::{Cut, Direction, Faults, PORTS_MAX, PortId};

use queue::Queue;
use std::collections::HashMap;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;
use switch::Switch;

/// A virtual Ethernet. Dropping it pulls every plug.
pub struct Lan {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The machine's end of a port. Dropping it detaches the port.
#[derive(Debug)]
pub struct Port {
    id: PortId,
    socket: UnixStream,
}

/// What one port has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that came from the machine.
    pub frames_from_machine: u64,
    /// Frames handed to the port for the machine, duplicates included.
    pub frames_to_machine: u64,
    /// Frames for the machine dropped because it did not take them fast enough.
    pub frames_dropped: u64,
}

struct Shared {
    core: Mutex<Core>,
}

struct Core {
    switch: Switch,
    plugs: HashMap<PortId, Plug>,
}

/// The switch's end of a port.
struct Plug {
    queue: Arc<Queue>,
    socket: UnixStream,
    counters: Counters,
}

impl Lan {
    /// An empty LAN. All its chance comes from the seed.
    pub fn new(seed: u64) -> Lan {
        let core = Core { switch: Switch::new(seed), plugs: HashMap::new() };
        let shared = Arc::new(Shared { core: Mutex::new(core) });
        Lan { shared, threads: Mutex::default() }
    }

    /// A new port. It is detached when the machine's end is closed.
    pub fn attach(&self) -> io::Result<Port> {
        let (inside, outside) = UnixStream::pair()?;
        let (reader, writer) = (inside.try_clone()?, inside.try_clone()?);
        let queue = Arc::new(Queue::new());
        let mut core = self.shared.lock();
        let full = || io::Error::other(format!("a LAN has at most {PORTS_MAX} ports"));
        let id = core.switch.attach().ok_or_else(full)?;
        let plug = Plug { queue: queue.clone(), socket: inside, counters: Counters::default() };
        core.plugs.insert(id, plug);
        drop(core);
        let started = self.start_threads(id, reader, writer, queue);
        started.inspect_err(|_| self.shared.detach(id))?;
        Ok(Port { id, socket: outside })
    }

    /// Sets what goes wrong in one direction of a port, in place of what was set before.
    pub fn set_faults(&self, port: PortId, direction: Direction, faults: Faults) {
        self.shared.lock().switch.set_faults(port, direction, faults);
    }

    /// Loses every frame from one port to another, and back if told so, until
    /// [`Lan::heal`]. Other traffic of both goes on.
    pub fn cut(&self, from: PortId, to: PortId, cut: Cut) {
        self.shared.lock().switch.cut(from, to, cut);
    }

    /// Undoes all cuts.
    pub fn heal(&self) {
        self.shared.lock().switch.heal();
    }

    /// What the port has carried, or `None` when it is detached.
    pub fn counters(&self, port: PortId) -> Option<Counters> {
        self.shared.lock().plugs.get(&port).map(|plug| plug.counters)
    }

    fn start_threads(
        &self,
        id: PortId,
        reader: UnixStream,
        writer: UnixStream,
        queue: Arc<Queue>,
    ) -> io::Result<()> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.is_finished());
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name("lan-read".into());
        threads.push(thread.spawn(move || read_port(&shared, id, reader))?);
        let thread = std::thread::Builder::new().name("lan-write".into());
        threads.push(thread.spawn(move || write_port(&queue, writer))?);
        Ok(())
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let ports: Vec<PortId> = self.shared.lock().plugs.keys().copied().collect();
        ports.into_iter().for_each(|port| self.shared.detach(port));
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Port {
    /// The port's name in its LAN.
    pub fn id(&self) -> PortId {
        self.id
    }

    /// The stream on which frames travel, each after its length as a big-endian `u32`.
    pub fn into_socket(self) -> UnixStream {
        self.socket
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn detach(&self, port: PortId) {
        let mut core = self.lock();
        core.switch.detach(port);
        if let Some(plug) = core.plugs.remove(&port) {
            plug.queue.close();
            // Wakes the port's reader and writer; fails only if the peer has closed already.
            let _ = plug.socket.shutdown(Shutdown::Both);
        }
    }
}

impl Core {
    /// Forwards every whole frame that the reader holds.
    fn forward(&mut self, from: PortId, frames: &mut FrameReader) -> io::Result<()> {
        let now = Instant::now();
        let mut count = 0;
        while let Some(frame) = frames.next()? {
            count += 1;
            let plugs = &mut self.plugs;
            self.switch.forward(from, frame, now, |to, due| {
                if let Some(plug) = plugs.get_mut(&to) {
                    plug.counters.frames_to_machine += 1;
                    let dropped = !plug.queue.push(frame, due, now);
                    plug.counters.frames_dropped += u64::from(dropped);
                }
            });
        }
        if let Some(plug) = self.plugs.get_mut(&from) {
            plug.counters.frames_from_machine += count;
        }
        Ok(())
    }
}

fn read_port(shared: &Shared, id: PortId, mut socket: UnixStream) {
    let mut frames = FrameReader::new();
    while let Ok(1..) = frames.fill(&mut socket) {
        if shared.lock().forward(id, &mut frames).is_err() {
            break;
        }
    }
    shared.detach(id);
}

fn write_port(queue: &Queue, mut socket: UnixStream) {
    let mut batch = Vec::new();
    // A failed write means that the peer has closed, which the reader sees and acts on.
    while queue.take(&mut batch) && socket.write_all(&batch).is_ok() {}
}

#[cfg(test)]
mod tests;

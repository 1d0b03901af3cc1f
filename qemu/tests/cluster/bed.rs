//! Machines on a LAN, an operator, and programs that their keys sign.
//!
//! Owns [`Bed`] and [`Ran`]. The bed is put together from the crate's own parts, so that a test can
//! pull cables and plug in strangers. When a test fails the end of every machine's log is printed.

use craton_abi::{ExitReason, Place, limit};
use craton_bundle::{Bundle, CompilerKey};
use craton_qemu::testing::{LONG, keep_log, kernel};
use craton_qemu::{Gateway, Lan, Machine, MachineConfig, PortId, node_address, node_mac};
use craton_tool::client::{Client, RunIo};
use craton_tool::error::Result;
use craton_tool::keys::Keys;
use craton_wire::{Answer, NodeInfo, OutputStream, ProcessInfo, Question};
use std::io::{Cursor, Read};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a node's log says when it found another.
pub const UP: &str = " is up at ";
/// What a node's log says when it lost another.
pub const DOWN: &str = " is down (";
/// Between two looks at something that no event tells of.
const PERIOD: Duration = Duration::from_millis(50);
/// Log lines that are printed of each machine when a test fails.
const LINES_SHOWN: usize = 60;
/// Free memory may differ so much from what it was: buffers that are full or empty just then.
pub const MEMORY_SLACK_BYTES: u64 = 64 << 10;
/// Four nanoseconds for each instruction where these are counted: about what emulating one takes,
/// so that the machine's seconds are no longer than those of who talks to it.
pub const COUNTED_SHIFT: u8 = 2;
/// Memory of a machine, in MiB.
const MEMORY_MIB: u32 = 64;

/// A machine of the bed.
pub struct Node {
    pub name: String,
    pub machine: Machine,
    pub port: PortId,
    /// Where an operator reaches it.
    pub session: SocketAddr,
}

/// Machines on a LAN. The gateway is `port 0` of it.
pub struct Bed {
    pub keys: Keys,
    pub nodes: Vec<Node>,
    pub lan: Lan,
    gateway: Gateway,
    cpus: u8,
    memory_mib: u32,
    command_line: String,
    counted: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Ran {
    pub reason: ExitReason,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Bed {
    /// Boots machines and waits until they have joined.
    pub fn boot(nodes: u8) -> Bed {
        Bed::boot_with(nodes, 1, "log=debug")
    }

    pub fn boot_with(nodes: u8, cpus: u8, command_line: &str) -> Bed {
        Bed::boot_sized(nodes, cpus, MEMORY_MIB, command_line, false)
    }

    /// Boots one machine with so much memory.
    pub fn boot_large(memory_mib: u32) -> Bed {
        Bed::boot_sized(1, 1, memory_mib, "log=warn", false)
    }

    /// Boots one whose clock counts its instructions: what it measures is the same on a busy host.
    pub fn boot_counted(memory_mib: u32) -> Bed {
        Bed::boot_sized(1, 1, memory_mib, "log=warn", true)
    }

    fn boot_sized(nodes: u8, cpus: u8, memory_mib: u32, command_line: &str, counted: bool) -> Bed {
        let lan = Lan::new(1);
        let gateway = Gateway::start(&lan).unwrap();
        let keys = Keys::generate("tester").unwrap();
        let command_line = command_line.into();
        let none = Vec::new();
        let mut bed =
            Bed { keys, nodes: none, lan, gateway, cpus, memory_mib, command_line, counted };
        for number in 0..nodes {
            let config = bed.keys.node_config(&format!("n{}", number + 1)).unwrap().render();
            let node = bed.launch(number, config);
            bed.nodes.push(node);
        }
        bed.wait_joined();
        bed
    }

    /// Plugs one more machine in, of whatever cluster its configuration makes it.
    pub fn launch(&self, number: u8, config: String) -> Node {
        let port = self.lan.attach().unwrap();
        let id = port.id();
        let name = config.lines().find_map(|line| line.strip_prefix("name=")).unwrap().into();
        let local = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let guest = SocketAddrV4::new(node_address(number), limit::SESSION_PORT);
        let session = self.gateway.forward(local, guest).unwrap();
        let config = MachineConfig::new(kernel())
            .cpus(self.cpus)
            .memory_mib(self.memory_mib)
            .command_line(self.command_line.as_str())
            .node_config(config)
            .network(port, node_mac(number));
        let config = if self.counted { config.counted(COUNTED_SHIFT) } else { config };
        Node { name, machine: Machine::launch(config).unwrap(), port: id, session }
    }

    /// The configuration of a node of some cluster.
    pub fn config(name: &str) -> String {
        Keys::generate("tester").unwrap().node_config(name).unwrap().render()
    }

    /// An address of this host that leads to a port of a node.
    pub fn forward(&self, at: usize, port: u16) -> SocketAddr {
        let local = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let guest = SocketAddrV4::new(node_address(at as u8), port);
        self.gateway.forward(local, guest).unwrap()
    }

    fn wait_joined(&self) {
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        self.wait_until_all_see(&all);
    }

    /// Waits until each of these nodes sees just these.
    #[track_caller]
    pub fn wait_until_all_see(&self, which: &[usize]) {
        let mut wanted: Vec<&str> = which.iter().map(|at| self.nodes[*at].name.as_str()).collect();
        wanted.sort_unstable();
        for at in which {
            self.eventually(&format!("{} sees {wanted:?}", self.nodes[*at].name), || {
                let mut seen = self.try_see(*at)?;
                seen.sort_unstable_by(|a, b| a.name.cmp(&b.name));
                seen.iter().map(|node| &node.name).eq(wanted.iter()).then_some(())
            });
        }
    }

    fn try_see(&self, at: usize) -> Option<Vec<NodeInfo>> {
        let mut client = Client::connect(self.nodes[at].session, &self.keys).ok()?;
        ask_nodes(&mut client).ok()
    }

    /// Looks again and again until there is something to see.
    #[track_caller]
    pub fn eventually<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let limit = Instant::now() + LONG;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < limit, "it never came that {what}");
            // Sleeps: what a node answers changes without a word, so it is asked now and then.
            std::thread::sleep(PERIOD);
        }
    }

    /// An operator's link to a node. A node that is in a crowd, or full of tools that were here a
    /// moment ago, may have no room at first.
    #[track_caller]
    pub fn client(&self, at: usize) -> Client {
        let what = format!("{} lets an operator in", self.nodes[at].name);
        let connect = || Client::connect(self.nodes[at].session, &self.keys).ok();
        let mut client = self.eventually(&what, connect);
        if self.counted {
            // A second of its clock, after which it says that it lives, is many of a busy host's.
            client.bear_silence(LONG);
        }
        client
    }

    /// The bundle of a program of `userland/programs`, signed by this bed's compiler.
    pub fn program(&self, name: &str) -> Vec<u8> {
        program_for(name, &self.keys)
    }

    /// The bundle of a module of `guests`.
    pub fn guest(&self, name: &str) -> Vec<u8> {
        guest_for(name, &self.keys)
    }

    /// Waits for a line of a node's log.
    #[track_caller]
    pub fn expect_line(&self, at: usize, text: &str) -> String {
        let node = &self.nodes[at];
        let found = node.machine.wait_for(|line| line.contains(text), LONG);
        found.unwrap_or_else(|error| panic!("{}: no line with {text:?}: {error}", node.name))
    }

    /// How many lines of a node's log have the text in them.
    pub fn count_lines(&self, at: usize, text: &str) -> usize {
        let lines = self.nodes[at].machine.lines();
        lines.iter().filter(|line| line.contains(text)).count()
    }

    /// What a node says of itself, once it has looked at its memory anew and nothing runs.
    #[track_caller]
    pub fn settled(&self, at: usize) -> NodeInfo {
        let mut client = self.client(at);
        let mut own = || ask_nodes(&mut client).unwrap_or_else(|e| panic!("{e}")).swap_remove(0);
        let idle = |info: &NodeInfo| info.processes == Some(0);
        let since = self.eventually("nothing runs", || Some(own()).filter(idle));
        // It looks every second; two lie between for certain after these.
        let after = since.uptime_nanos.unwrap() + 2_100_000_000;
        let fresh = |info: &NodeInfo| info.uptime_nanos > Some(after);
        let info = self.eventually("time passes", || Some(own()).filter(fresh));
        assert!(idle(&info), "{info:?}");
        info
    }

    /// Asserts that a node has as much free memory as it had.
    #[track_caller]
    pub fn expect_memory_back(&self, at: usize, before: &NodeInfo) {
        let wanted = before.memory_free.unwrap() - MEMORY_SLACK_BYTES;
        let enough = |info: &NodeInfo| info.memory_free >= Some(wanted);
        let mut last = None;
        let limit = Instant::now() + LONG;
        while Instant::now() < limit {
            let info = self.settled(at);
            if enough(&info) {
                return;
            }
            last = info.memory_free;
        }
        panic!("{last:?} bytes are free, {:?} were", before.memory_free);
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for node in &self.nodes {
            eprintln!("--- the end of the log of {}:", node.name);
            let lines = node.machine.lines();
            let skipped = lines.len().saturating_sub(LINES_SHOWN);
            lines.iter().skip(skipped).for_each(|line| eprintln!("{line}"));
            keep_log(&node.machine);
        }
    }
}

/// What a node sees, itself first.
pub fn ask_nodes(client: &mut Client) -> Result<Vec<NodeInfo>> {
    match client.ask(Question::Nodes)? {
        Answer::Nodes(nodes) => Ok(nodes),
        other => panic!("the answer to `nodes` is {other:?}"),
    }
}

/// The processes on a node.
pub fn ask_processes(client: &mut Client) -> Result<Vec<ProcessInfo>> {
    match client.ask(Question::Processes)? {
        Answer::Processes(processes) => Ok(processes),
        other => panic!("the answer to `ps` is {other:?}"),
    }
}

/// Runs a program to its end.
pub fn run(
    client: &mut Client,
    bundle: &[u8],
    arguments: &[&str],
    input: impl Read + Send + 'static,
    mut progress: impl FnMut(u64),
) -> Result<Ran> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let io = RunIo {
        input: Box::new(input),
        output: &mut |stream, bytes| {
            let to = if stream == OutputStream::Out { &mut stdout } else { &mut stderr };
            to.extend_from_slice(bytes);
            Ok(())
        },
        progress: &mut progress,
        stop: None,
    };
    let arguments = arguments.iter().map(|&text| text.into()).collect();
    let end = client.run(bundle, arguments, Place::Here, io)?;
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    Ok(Ran { reason: end.reason, stdout, stderr })
}

/// Runs a program that takes no input.
pub fn run_quiet(client: &mut Client, bundle: &[u8], arguments: &[&str]) -> Result<Ran> {
    run(client, bundle, arguments, std::io::empty(), |_| {})
}

/// Runs a program that must end well, and returns what it printed.
#[track_caller]
pub fn run_well(client: &mut Client, bundle: &[u8], arguments: &[&str]) -> String {
    let ran = run_quiet(client, bundle, arguments).unwrap_or_else(|error| panic!("{error}"));
    assert!(ran.reason.is_orderly(), "{arguments:?} ended with {}: {}", ran.reason, ran.stderr);
    String::from_utf8(ran.stdout).unwrap()
}

/// Counts the words of a text on the cluster; the answer must be the plain count's.
#[track_caller]
pub fn count_words(client: &mut Client, wordcount: &[u8], text: Vec<u8>) {
    count_words_watched(client, wordcount, text, |_| {});
}

/// The same, calling `watch` while it counts.
#[track_caller]
pub fn count_words_watched(
    client: &mut Client,
    wordcount: &[u8],
    text: Vec<u8>,
    watch: impl FnMut(u64),
) {
    let counts = wordcount_reference::count(&text[..]).unwrap();
    let expected = wordcount_reference::render(&counts);
    let ran = run(client, wordcount, &[], Cursor::new(text), watch);
    let ran = ran.unwrap_or_else(|error| panic!("{error}"));
    assert!(ran.reason.is_orderly(), "{}: {}", ran.reason, ran.stderr);
    let [got, expected] = [ran.stdout, expected].map(|b| String::from_utf8_lossy(&b).into_owned());
    assert_eq!(got, expected);
}

/// The top of the repository.
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A program that `make build` left, signed anew.
pub fn program_for(name: &str, keys: &Keys) -> Vec<u8> {
    let path = top().join("build/programs").join(name).with_extension("craton");
    let built = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run: make build", path.display()));
    // It names its signer, whoever that was; what matters here is the module in it.
    let signer = CompilerKey::from_bytes(built[8..40].try_into().unwrap());
    let module = Bundle::parse(&built).unwrap().verify(&[signer]).unwrap();
    craton_compile::bundle(name, module.wasm(), keys.compiler()).unwrap()
}

/// A module of `guests`, compiled and signed.
pub fn guest_for(name: &str, keys: &Keys) -> Vec<u8> {
    let text = std::fs::read_to_string(guest_path(name)).unwrap();
    compile_for(name, &text, keys)
}

/// The bundle of a module in text.
pub fn compile_for(name: &str, text: &str, keys: &Keys) -> Vec<u8> {
    let module = wat::parse_str(text).unwrap();
    craton_compile::bundle(name, &module, keys.compiler()).unwrap()
}

/// Where the text of a module of `guests` lies.
pub fn guest_path(name: &str) -> PathBuf {
    top().join("qemu/tests/cluster/guests").join(name).with_extension("wat")
}

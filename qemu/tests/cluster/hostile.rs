//! Tools of others that press a node: wrk, slowhttptest, packets that scapy made wrong.
//!
//! On a tap in a network namespace of its own, as in `linux.rs`. What is not installed is skipped,
//! with a word; `make setup-test` installs it.

use crate::bed::MEMORY_SLACK_BYTES;
use crate::linux::{ECHO, HTTP, Node, PATIENCE, echo, open_many_files, to};
use craton_qemu::testing::{in_network_namespace, skipped};
use craton_qemu::{node_address, node_mac};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The layers of `malformed.py`, for two of it at once: to make a packet takes longer than to take
/// it.
const LAYERS: [&[&str]; 2] = [
    &["ethernet", "arp", "ipv4", "fragment", "udp", "segments"],
    &["icmp", "tcp", "ipv6", "icmpv6"],
];
/// Packets at each of them in the test that runs always, and in the one that takes long.
const FEW: usize = 200;
const MANY: usize = 100_000;
const SEED: u64 = 1;
/// The interpreter that Debian's packages are for, whatever others there are.
const PYTHON: &str = "/usr/bin/python3";
/// Between two looks at a connection beside them: they need the CPU.
const MOMENT: Duration = Duration::from_millis(5);

/// What a program says, if it is there.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn wrk_meets_no_error_on_few_connections_nor_on_many() {
    in_network_namespace("hostile::wrk_meets_no_error_on_few_connections_nor_on_many", || {
        open_many_files();
        let node = Node::boot_with(128, 2, 1);
        let url = format!("http://{}/hello", to(HTTP));
        let mut requests = 0;
        for connections in ["64", "1000"] {
            // A host that is slow answers late; what is asserted is that it does.
            let arguments =
                ["-t", "1", "-c", connections, "-d", "2s", "--timeout", "60s", url.as_str()];
            let Some(said) = output("wrk", &arguments) else {
                return skipped("wrk", "there is no wrk; install wrk");
            };
            let counted = said.lines().find_map(|line| line.trim().split_once(" requests in "));
            requests += counted.and_then(|(count, _)| count.parse::<u64>().ok()).unwrap_or(0);
            assert!(said.contains("Requests/sec:"), "{said}");
            assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
        }
        assert!(requests > 0 && node.metric("craton_net_http_requests_total") > requests);
    });
}

/// Scapy at its work.
struct Malformed {
    child: Child,
    said: JoinHandle<String>,
    complained: JoinHandle<String>,
    layers: usize,
    seed: u64,
}

/// All that comes of a pipe, which is read lest it be full. Lets go of `at_work` at its end.
fn drain(mut from: impl Read + Send + 'static, at_work: Sender<()>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        drop(at_work);
        text
    })
}

impl Malformed {
    /// Nothing where there is no scapy. What is received from hangs up when all have ended.
    fn start(count: usize, seed: u64) -> (Vec<Malformed>, Receiver<()>) {
        let (at_work, ended) = channel();
        let import = Command::new(PYTHON).args(["-c", "import scapy"]).output();
        if !import.is_ok_and(|output| output.status.success()) {
            skipped("malformed packets", "there is no scapy; install python3-scapy");
            return (Vec::new(), ended);
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/malformed.py");
        let start = |layers: &[&str]| {
            let mut child = Command::new(PYTHON)
                .args(["-B", script, "tap0", &node_mac(0).to_string()])
                .args([node_address(0).to_string(), seed.to_string(), count.to_string()])
                .args(layers)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let said = drain(child.stdout.take().unwrap(), at_work.clone());
            let complained = drain(child.stderr.take().unwrap(), at_work.clone());
            Malformed { child, said, complained, layers: layers.len(), seed }
        };
        (LAYERS.map(start).into(), ended)
    }

    /// So many packets of each layer were sent, and the node answered to the last.
    fn expect_sent(mut self, count: usize) {
        let ended = self.child.wait().unwrap();
        let [said, complained] = [self.said, self.complained].map(|text| text.join().unwrap());
        assert!(ended.success(), "seed {}: {said}{complained}", self.seed);
        let sent = |line: &&str| {
            line.split([' ', ',']).nth(1).and_then(|n| n.parse::<usize>().ok()) >= Some(count)
        };
        assert_eq!(said.lines().filter(sent).count(), self.layers, "{said}");
        print!("{said}");
    }
}

/// Sends malformed packets beside a connection that is used all the time. False without scapy.
fn press(node: &Node, count: usize, seed: u64) -> bool {
    let mut stream = node.connect(ECHO);
    let refused = node.metric("craton_net_frames_refused_total");
    let (malformed, ended) = Malformed::start(count, seed);
    if malformed.is_empty() {
        return false;
    }
    while ended.recv_timeout(MOMENT) == Err(RecvTimeoutError::Timeout) {
        echo(&mut stream, b'm');
    }
    malformed.into_iter().for_each(|one| one.expect_sent(count));
    // Most are refused at sight; others are right enough to be answered, as by a reset.
    let now_refused = node.metric("craton_net_frames_refused_total") - refused;
    assert!(now_refused as usize > count, "{now_refused} frames are refused");
    echo(&mut node.connect(ECHO), b'n');
    true
}

#[test]
fn packets_that_scapy_made_wrong_do_nothing() {
    in_network_namespace("hostile::packets_that_scapy_made_wrong_do_nothing", || {
        press(&Node::boot_with(64, 2, 1), FEW, SEED);
    });
}

#[test]
#[ignore = "sends a hundred thousand packets at each of ten layers, for minutes"]
fn a_hundred_thousand_packets_of_scapy_at_each_layer_do_nothing() {
    let test = "hostile::a_hundred_thousand_packets_of_scapy_at_each_layer_do_nothing";
    in_network_namespace(test, || {
        let node = Node::boot_with(64, 2, 1);
        // What the node keeps for later is there after the first of them.
        if !press(&node, MANY / 50, SEED + 1) {
            return;
        }
        let held = || {
            ["streams", "handshakes", "fragmented", "service_clients", "buffer_bytes"]
                .map(|name| node.metric(&format!("craton_net_{name}")))
        };
        let start = Instant::now();
        let settled = |wanted: &dyn Fn() -> bool, what: &str| {
            while !wanted() {
                assert!(start.elapsed() < 20 * PATIENCE, "{what}: {:?}", held());
            }
        };
        let empty = || held()[..4] == [1, 0, 0, 1];
        settled(&empty, "the first are not forgotten");
        let (before, free) = (held(), node.metric("craton_memory_free_bytes"));
        press(&node, MANY, SEED);
        settled(&|| empty() && held()[4] <= before[4], "they are not forgotten");
        let wanted = free - MEMORY_SLACK_BYTES;
        settled(&|| node.metric("craton_memory_free_bytes") >= wanted, "memory is not back");
    });
}

/// A line without what colours it on a terminal.
fn without_colours(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let plain = parts.next().unwrap_or_default().to_owned();
    let text = parts.map(|part| part.split_once('m').map_or(part, |(_, text)| text));
    (plain + &text.collect::<String>()).trim_end().to_owned()
}

#[test]
#[ignore = "presses a node with slow clients for twenty seconds"]
fn slowhttptest_finds_the_service_available() {
    in_network_namespace("hostile::slowhttptest_finds_the_service_available", || {
        open_many_files();
        let node = Node::boot_with(64, 2, 1);
        let url = format!("http://{}/hello", to(HTTP));
        // Slow heads (slowloris), slow bodies (R-U-Dead-Yet), slow reading.
        for way in ["-H", "-B", "-X"] {
            let arguments =
                ["-c", "400", way, "-i", "1", "-r", "200", "-p", "30", "-l", "8", "-u", &url];
            let Some(said) = output("slowhttptest", &arguments) else {
                return skipped("slowhttptest", "it is not there; install slowhttptest");
            };
            let reports: Vec<String> = said
                .lines()
                .map(without_colours)
                .filter(|line| line.starts_with("service available:"))
                .collect();
            let available = |line: &String| line.ends_with("YES");
            assert!(!reports.is_empty() && reports.iter().all(available), "{said}");
            assert!(node.metric("craton_uptime_seconds") > 0);
        }
        let start = Instant::now();
        while node.metric("craton_net_service_clients") > 1 {
            assert!(start.elapsed() < PATIENCE, "slow clients are not given up");
        }
    });
}

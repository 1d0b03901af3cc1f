//! Programs that serve the network, asked by clients that nobody here wrote.

use crate::bed::{Bed, program_for, run_well};
use crate::clients::{connect, curl, echo_much};
use crate::linux::{open_many_files, to};
use craton_abi::{Place, limit};
use craton_qemu::testing::{in_network_namespace, kernel, launch};
use craton_qemu::{MachineConfig, Tap, node_mac};
use craton_tool::client::{Client, RunIo};
use craton_tool::keys::Keys;
use craton_wire::OutputStream;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

const HTTP: u16 = 8080;
const ECHO: u16 = 7;
const HELD: u16 = 9000;
/// Connections that one process holds.
const CONNECTIONS: usize = 200;
/// Connections that are spread over CPUs.
const SPREAD: usize = 96;

/// Runs a program with the arguments, calls `serve` at each line that it prints, and stops it when
/// `serve` says so. Gives what it printed.
pub fn run_and_serve(
    (bed, at): (&Bed, usize),
    program: &str,
    arguments: &[&str],
    mut serve: impl FnMut(&str) -> bool,
) -> (String, bool) {
    let (stop, stopped) = channel();
    let mut said = String::new();
    let io = RunIo {
        input: Box::new(std::io::empty()),
        output: &mut |stream, bytes| {
            let text = std::str::from_utf8(bytes).expect("text");
            assert_eq!(stream, OutputStream::Out, "{text}");
            said.push_str(text);
            if serve(text) {
                stop.send(()).expect("the run goes on until then");
            }
            Ok(())
        },
        progress: &mut |_| {},
        stop: Some(stopped),
    };
    let arguments = arguments.iter().map(|&text| text.into()).collect();
    let bundle = bed.program(program);
    let end = bed.client(at).run(&bundle, arguments, Place::Here, io);
    let end = end.unwrap_or_else(|error| panic!("{error}"));
    assert!(end.stopped || end.reason.is_orderly(), "{}: {said}", end.reason);
    (said, end.stopped)
}

fn read_pages(http: SocketAddr) {
    let page = |path: &str| format!("http://{http}{path}");
    let front = curl(&[&page("/")]);
    assert!(front.contains("Hello from a process of your own"), "{front}");
    // Over one connection after another, and over many at once.
    assert_eq!(curl(&vec![&*page("/hello"); 50]), "hello\n".repeat(50));
    let many = page("/hello?[1-100]");
    let at_once = curl(&["--parallel", "--parallel-immediate", "--parallel-max", "25", &many]);
    assert_eq!(at_once, "hello\n".repeat(100));
    let code = curl(&["--output", "/dev/null", "--write-out", "%{http_code}", &page("/nothing")]);
    assert_eq!(code, "404");
}

#[test]
fn programs_serve_each_connection_from_a_process() {
    let bed = Bed::boot_with(1, 2, "log=debug");
    let (http, echo) = (bed.forward(0, HTTP), bed.forward(0, ECHO));
    let (_, stopped) = run_and_serve((&bed, 0), "http", &[], |said| {
        assert_eq!(said, "http: listening on port 8080\n");
        read_pages(http);
        true
    });
    assert!(stopped);
    let (_, stopped) = run_and_serve((&bed, 0), "echo", &[], |said| {
        assert_eq!(said, "echo: listening on port 7\n");
        echo_much(echo, 200_000);
        true
    });
    assert!(stopped);
    // A process that outlives its server ends with its connection, which curl has closed.
    bed.settled(0);
    assert_eq!(bed.count_lines(0, "PANIC"), 0);
}

/// What `/metrics` says of each CPU under a name.
fn of_each_cpu(metrics: SocketAddr, name: &str) -> Vec<usize> {
    let text = curl(&[&format!("http://{metrics}/metrics")]);
    let lines = text.lines().filter_map(|line| line.strip_prefix(&format!("craton_cpu_{name}{{")));
    lines.map(|line| line.split_once("} ").unwrap().1.parse().unwrap()).collect()
}

/// Asks on a connection, and says what the program answers.
fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let (mut heard, mut block) = (String::new(), [0; 512]);
    while !heard.ends_with("hello\n") {
        let count = stream.read(&mut block).unwrap();
        assert!(count > 0, "{heard}");
        heard.push_str(std::str::from_utf8(&block[..count]).unwrap());
    }
    heard
}

#[test]
fn connections_of_processes_are_spread_over_the_cpus() {
    for cpus in [2, 4] {
        let bed = Bed::boot_with(1, cpus, "services=http");
        let (http, metrics) = (bed.forward(0, HTTP), bed.forward(0, 80));
        let (_, stopped) = run_and_serve((&bed, 0), "http", &[], |_| {
            let mut clients: Vec<TcpStream> = (0..SPREAD).map(|_| connect(http)).collect();
            for _ in 0..3 {
                for client in &mut clients {
                    let heard = ask(client);
                    assert!(heard.starts_with("HTTP/1.1 200 OK"), "{heard}");
                }
            }
            let sockets = of_each_cpu(metrics, "sockets");
            assert_eq!(sockets.len(), usize::from(cpus));
            // By the hash of their ends: a quarter of what is even is far from what chance does.
            let few = SPREAD / usize::from(cpus) / 4;
            assert!(sockets.iter().all(|count| *count >= few), "{sockets:?}");
            true
        });
        assert!(stopped);
        // Processes that outlive their server end with their connections.
        bed.settled(0);
        let left: usize = of_each_cpu(metrics, "sockets").iter().sum();
        assert!(left < SPREAD / 4, "{left} sockets");
    }
}

#[test]
fn a_program_calls_another_node_and_nobody_that_it_must_not() {
    let bed = Bed::boot(2);
    let stress = bed.program("stress");
    let to = [&*craton_qemu::node_address(1).to_string(), &*ECHO.to_string()].map(String::from);
    let (_, stopped) = run_and_serve((&bed, 1), "echo", &[], |_| {
        let said = run_well(&mut bed.client(0), &stress, &["connect", &to[0], &to[1]]);
        assert_eq!(said, "100000 bytes came back\n");
        true
    });
    assert!(stopped);
}

#[test]
fn a_killed_process_gives_its_sockets_back() {
    let bed = Bed::boot_with(1, 2, "log=debug");
    let held = bed.forward(0, HELD);
    let round = || {
        let mut clients: Vec<TcpStream> = Vec::new();
        let arguments = [&*HELD.to_string(), &*CONNECTIONS.to_string()];
        let arguments = ["sockets", arguments[0], arguments[1]];
        let (said, _) = run_and_serve((&bed, 0), "stress", &arguments, |said| {
            if said == "listening\n" {
                let connect = |_| TcpStream::connect(held).unwrap();
                clients.extend((0..CONNECTIONS).map(connect));
            }
            false
        });
        assert!(said.ends_with(&format!("held {CONNECTIONS} connections twice\n")), "{said}");
        // Nobody is left waiting for a process that is no more.
        for mut client in clients {
            client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let heard = client.read(&mut [0]);
            let silent = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
            assert!(heard.as_ref().map_or_else(|e| !silent(e), |bytes| *bytes == 0), "{heard:?}");
        }
    };
    round();
    let before = bed.settled(0);
    for _ in 0..2 {
        round();
        bed.expect_memory_back(0, &before);
    }
}

/// Connections that one process holds where there is the memory for their buffers: 80 MiB, of half
/// of half of what is free.
const MANY_CONNECTIONS: usize = 10_000;
const MANY_MIB: u32 = 512;

#[test]
#[ignore = "opens twenty thousand connections, for a minute; `make test-all` runs it"]
fn one_process_holds_ten_thousand_connections() {
    in_network_namespace("sockets::one_process_holds_ten_thousand_connections", || {
        open_many_files();
        let (tap, keys) = (Tap::start("tap0").unwrap(), Keys::generate("tester").unwrap());
        let config = keys.node_config("n1").unwrap().render();
        let machine = MachineConfig::new(kernel()).memory_mib(MANY_MIB).node_config(config);
        let machine = launch(machine.tap(&tap, node_mac(0)));
        machine.expect_line(" node: address ");
        let mut said = String::new();
        // The operator must be able to answer meanwhile.
        let mut clients: Option<JoinHandle<Vec<TcpStream>>> = None;
        let io = RunIo {
            input: Box::new(std::io::empty()),
            output: &mut |_, bytes| {
                let text = std::str::from_utf8(bytes).expect("text");
                said.push_str(text);
                if text == "listening\n" {
                    drop(clients.take().map(JoinHandle::join));
                    let all = || (0..MANY_CONNECTIONS).map(|_| connect(to(HELD))).collect();
                    clients = Some(std::thread::spawn(all));
                }
                Ok(())
            },
            progress: &mut |_| {},
            stop: None,
        };
        let mut client = Client::connect(to(limit::SESSION_PORT), &keys).unwrap();
        let arguments = ["sockets".into(), HELD.to_string(), MANY_CONNECTIONS.to_string()];
        let bundle = program_for("stress", &keys);
        let end = client.run(&bundle, arguments.into(), Place::Here, io).unwrap();
        assert!(end.reason.is_orderly(), "{}: {said}", end.reason);
        assert!(said.ends_with(&format!("held {MANY_CONNECTIONS} connections twice\n")), "{said}");
    });
}

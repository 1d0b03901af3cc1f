//! The services of a node, asked by clients that nobody here wrote.

use crate::bed::Bed;
use crate::clients::{connect, curl, echo_much, value_in};
use craton_qemu::testing::{kernel, launch};
use craton_qemu::{EXIT_FAILURE, MachineConfig};
use std::io::Read;

const SERVICES: &str = "log=debug services=echo,discard,chargen,http";
const ECHO: u16 = 7;
const CHARGEN: u16 = 19;
const HTTP: u16 = 80;
const HELLO: &str = "hello, world\n";

#[test]
fn pages_are_read_with_curl() {
    let bed = Bed::boot_with(1, 2, SERVICES);
    let http = bed.forward(0, HTTP);
    let page = |path: &str| format!("http://{http}{path}");
    assert_eq!(curl(&[&page("/hello")]), HELLO);
    let status = curl(&[&page("/")]);
    assert!(status.contains("node        n1 ("), "{status}");
    // Over one connection after another, and over many at once.
    assert_eq!(curl(&vec![&*page("/hello"); 100]), HELLO.repeat(100));
    let many = page("/hello?[1-200]");
    let at_once = curl(&["--parallel", "--parallel-immediate", "--parallel-max", "50", &many]);
    assert_eq!(at_once, HELLO.repeat(200));
    let metrics = curl(&[&page("/metrics")]);
    let value = |name: &str| value_in(&metrics, name);
    assert_eq!(value("craton_net_http_requests_total"), Some(303));
    // Connections are spread over both CPUs, whoever of them answers this one.
    let of_cpu = |cpu| value(&format!("craton_cpu_http_requests_total{{cpu=\"{cpu}\"}}"));
    let each = [of_cpu(0), of_cpu(1)];
    assert!(each.iter().all(|count| *count > Some(10)), "requests of each CPU: {each:?}");
    assert_eq!(each[0].zip(each[1]).map(|(one, other)| one + other), Some(303));
    assert_eq!(value("craton_nodes_alive"), Some(1));
    assert_eq!(value("craton_card_link_up"), Some(1));
    assert!(value("craton_card_sent_frames_total") > Some(303));
    assert!(value("craton_card_interrupts_total") > Some(0));
    let code = curl(&["--output", "/dev/null", "--write-out", "%{http_code}", &page("/nothing")]);
    assert_eq!(code, "404");
}

#[test]
fn echo_and_chargen_carry_much() {
    let bed = Bed::boot_with(1, 2, SERVICES);
    echo_much(bed.forward(0, ECHO), 1_000_000);
    let mut lines = vec![0; 1_000_000];
    connect(bed.forward(0, CHARGEN)).read_exact(&mut lines).unwrap();
    assert!(
        lines.starts_with(b" !\"#$%&'()") && lines.chunks_exact(74).all(|line| line[72] == b'\r')
    );
}

#[test]
fn a_service_that_does_not_exist_is_named() {
    let config = MachineConfig::new(kernel()).memory_mib(64).command_line("services=echo,ftp");
    let config = config.node_config(Bed::config("n1"));
    let mut machine = launch(config);
    assert_eq!(machine.expect_exit().code(), Some(EXIT_FAILURE));
    let lines = machine.lines();
    assert!(lines.iter().any(|line| line.contains("no service \"ftp\"")), "{lines:?}");
}

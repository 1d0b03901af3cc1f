//! A Linux machine beside a node, over a line of which netem loses every twentieth frame.
//!
//! Its TCP is one that nobody here wrote, and so is its bad line: qdiscs of its own on what leaves
//! and on what comes, 50 ms each. The machine is what `tools/setup/linux-guest.sh` leaves, and
//! tries what `guests/linux/init` says; it is on the LAN in user space, so nobody needs to be root
//! nor the host's kernel to have netem.

use crate::bed::{Bed, top};
use crate::clients::metric;
use craton_qemu::testing::{Watched, launch, skipped};
use craton_qemu::{MachineConfig, NETWORK_PREFIX_BITS, node_address, node_mac};
use std::path::PathBuf;
use std::time::Duration;

/// The node's number on the LAN is 0.
const LINUX: u8 = 9;
const HTTP: u16 = 80;
const NETEM: &str = "loss,5%,delay,50ms";
/// Bytes that go each way. A lost last segment costs a second, so this takes half a minute.
const BYTES: usize = 300_000;
/// Hosts are slow and busy, and chance is not ours.
const PATIENCE: Duration = Duration::from_secs(480);

/// What has to come of it, in this order.
const TRIED: [&str; 9] = [
    "plain-fetch",
    "plain-echo",
    "fetch",
    "echo",
    "discard",
    "pages",
    "crowd",
    "loss-to-the-node",
    "loss-from-the-node",
];

/// The Linux machine's kernel and RAM disk, where they were made.
fn linux() -> Option<[PathBuf; 2]> {
    let files = ["kernel", "initrd"].map(|name| top().join("build/linux").join(name));
    files.iter().all(|file| file.exists()).then_some(files)
}

fn boot(bed: &Bed, [kernel, initrd]: [PathBuf; 2]) -> Watched {
    let (own, node) = (node_address(LINUX), node_address(0));
    let line = format!(
        "console=ttyS0 quiet no_timer_check nokaslr mitigations=off panic=-1 \
         address={own}/{NETWORK_PREFIX_BITS} node={node} netem={NETEM} bytes={BYTES}"
    );
    let port = bed.lan.attach().unwrap();
    let machine = MachineConfig::new(kernel).initrd(initrd).memory_mib(256).command_line(line);
    launch(machine.network(port, node_mac(LINUX)))
}

#[test]
#[ignore = "needs a Linux machine of 50 MB of Debian's packages, and two minutes"]
fn a_linux_machine_behind_netem_gets_and_gives_all_bytes() {
    let Some(files) = linux() else {
        let why = "no Linux machine in build/linux; run: tools/setup/linux-guest.sh";
        return skipped("a_linux_machine_behind_netem_gets_and_gives_all_bytes", why);
    };
    let bed = Bed::boot_with(1, 2, "log=debug services=echo,discard,chargen,http");
    let http = bed.forward(0, HTTP);
    bed.eventually("nobody is connected", || {
        (metric(http, "craton_net_streams") == 1).then_some(())
    });
    let before = metric(http, "craton_net_buffer_bytes");
    let machine = boot(&bed, files);
    let ended = machine.wait_for(|line| line.trim_end() == "end", PATIENCE);
    let lines = machine.lines();
    let verdicts: Vec<&String> = lines
        .iter()
        .filter(|line| line.starts_with("OK ") || line.starts_with("FAILED "))
        .collect();
    for line in &verdicts {
        println!("{line}");
    }
    assert!(ended.is_ok(), "it did not come to its end");
    let tried: Vec<&str> =
        verdicts.iter().filter_map(|line| line.strip_prefix("OK ")?.split(' ').next()).collect();
    assert_eq!(tried, TRIED);
    drop(machine);
    // It died with its last words unsaid, or lost; what it had is given back all the same. Who
    // asks is one of those that are there, and who asked before may be still.
    bed.eventually("what it had is given back", || {
        let held = ["service_clients", "streams", "buffer_bytes"]
            .map(|name| metric(http, &format!("craton_net_{name}")));
        (held[0] == 1 && held[1] == 1 && held[2] <= before).then_some(())
    });
}

//! Who has no certificate of this cluster's authority learns nothing and moves nothing.

use crate::bed::{Bed, UP, ask_nodes, run_quiet};
use craton_qemu::testing::LONG;
use craton_tool::client::Client;
use craton_tool::keys::Keys;
use craton_wire::NodeInfo;

/// How long a stranger looks for others, by its own clock: several of its broadcasts.
const LOOKED_NANOS: u64 = 7_000_000_000;

#[test]
fn an_operator_of_another_cluster_is_refused() {
    let bed = Bed::boot(1);
    let others = Keys::generate("stranger").unwrap();
    for _ in 0..20 {
        let refused = Client::connect(bed.nodes[0].session, &others);
        let error = refused.err().expect("a stranger is no operator").to_string();
        assert!(error.contains("keys must be of the same cluster"), "{error}");
    }
    assert_eq!(bed.count_lines(0, "session with operator 'stranger'"), 0);
    assert_eq!(ask_nodes(&mut bed.client(0)).unwrap().len(), 1);
}

#[test]
fn a_node_of_another_cluster_does_not_join() {
    let bed = Bed::boot(2);
    let others = Keys::generate("stranger").unwrap();
    // One knows nothing of this cluster; the other has its discovery key and the addresses too,
    // and lacks only a certificate.
    let blind = others.node_config("blind").unwrap();
    let mut thief = others.node_config("thief").unwrap();
    thief.discovery = bed.keys.node_config("any").unwrap().discovery;
    thief.authorities.push(bed.keys.authority_key().to_bytes());
    thief.seeds = vec![(craton_qemu::node_address(0), craton_abi::limit::SESSION_PORT).into()];
    let strangers = [(7, blind), (8, thief)].map(|(n, config)| bed.launch(n, config.render()));
    for stranger in &strangers {
        let mut client = bed
            .eventually("the stranger boots", || Client::connect(stranger.session, &others).ok());
        let mut own = || -> NodeInfo {
            let mut seen = ask_nodes(&mut client).unwrap();
            assert!(seen.iter().all(|node| !["n1", "n2"].contains(&&*node.name)), "{seen:?}");
            seen.swap_remove(0)
        };
        let looked = |info: &NodeInfo| info.uptime_nanos > Some(LOOKED_NANOS);
        bed.eventually("the stranger has looked around", || Some(own()).filter(looked));
        for name in ["n1", "n2"] {
            let found = format!("{name} (");
            assert!(!stranger.machine.lines().iter().any(|line| line.contains(&found)));
        }
    }
    for at in [0, 1] {
        assert_eq!(bed.count_lines(at, UP), 1, "only the other of us");
        assert_eq!(ask_nodes(&mut bed.client(at)).unwrap().len(), 2);
    }
}

#[test]
fn a_node_is_no_operator_and_an_operator_no_node() {
    let bed = Bed::boot(1);
    // A machine that shows an operator's certificate is no node, even to itself.
    let mut config = bed.keys.node_config("n2").unwrap();
    config.certificate = bed.keys.operator().certificate().to_bytes();
    config.noise_key = Some(bed.keys.operator().secret().to_bytes());
    let mut pretender = bed.launch(9, config.render());
    let ended = pretender.machine.wait_exit(LONG);
    assert!(ended.is_ok(), "{:?}", pretender.machine.lines());
    assert_eq!(bed.count_lines(0, UP), 0);
    let ran = run_quiet(&mut bed.client(0), &bed.guest("nothing"), &[]).unwrap();
    assert!(ran.reason.is_orderly());
}

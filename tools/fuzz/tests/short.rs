//! A short run against every parser, the same each time.

use craton_fuzz::{Campaign, TARGETS, Target};
use std::collections::BTreeSet;

/// Inputs for each parser; fewer where each takes long.
const INPUTS: usize = 2_000;
const SEED: u64 = 4;

#[test]
fn every_parser_survives_a_short_run() {
    for target in TARGETS {
        let replay = format!("make fuzz TARGET={} SEED={SEED}", target.name);
        let campaign = Campaign::new(target, SEED, Vec::new());
        let mut campaign = campaign.unwrap_or_else(|failure| panic!("{replay}: {failure:02x?}"));
        if let Err(failure) = campaign.run(INPUTS / target.cost) {
            panic!("{replay}: {failure:02x?}");
        }
        let (outcomes, seeds) = (campaign.outcomes(), (target.seeds)().len());
        println!("{}: {outcomes} outcomes, {} kept", target.name, campaign.corpus().len());
        assert!(outcomes >= 3, "{}: all inputs come to the same", target.name);
        assert!(campaign.corpus().len() > seeds, "{}: nothing was found", target.name);
    }
}

/// What the seeds of the answers come to is what an honest server brings about.
#[test]
fn honest_answers_are_understood() {
    let reach = |name: &str| -> BTreeSet<u64> {
        let target = craton_fuzz::target(name).expect("it exists");
        (target.seeds)().iter().map(|seed| (target.fuzz)(seed)).collect()
    };
    assert!(reach("dhcp").contains(&(16 + 2 + 8)), "a lease: {:?}", reach("dhcp"));
    assert!(reach("dns").contains(&17), "an address: {:?}", reach("dns"));
    assert!(reach("routers").iter().all(|came| came & 3 == 3), "{:?}", reach("routers"));
    assert!(reach("certificate").contains(&1), "{:?}", reach("certificate"));
    assert!(reach("bundle").contains(&2), "{:?}", reach("bundle"));
    assert!(reach("configuration").contains(&3), "{:?}", reach("configuration"));
    assert!(reach("datagram").contains(&2), "{:?}", reach("datagram"));
    // It has power, devices and CPUs.
    assert!(reach("acpi").iter().all(|came| *came > 1 << 32 && came & 0xff_ffff > 0x2_0000));
    let status = |came: u64| came >> 8;
    let ok = u64::from(b'2' + b'0');
    assert!(reach("http").iter().any(|came| status(*came) == ok), "{:?}", reach("http"));
}

#[test]
fn names_are_told_apart() {
    let names: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names.len(), TARGETS.len());
}

/// A parser that dies of three right bytes, one after the other of which it notices.
#[test]
fn a_fault_behind_several_steps_is_found_again_by_its_seed() {
    let target = Target {
        name: "planted",
        about: "",
        fuzz: |bytes| {
            let right = bytes.iter().zip(b"xyz").take_while(|(byte, right)| byte == right).count();
            assert!(right < 3, "planted");
            right as u64
        },
        seeds: || vec![vec![0; 4]],
        words: &[],
        cost: 1,
    };
    let find = || {
        let mut campaign = Campaign::new(target, SEED, Vec::new()).expect("the seed is harmless");
        campaign.run(1_000_000).expect_err("it is there").input
    };
    let input = find();
    assert!(input.starts_with(b"xyz"));
    assert_eq!(find(), input, "the same seed finds the same");
}

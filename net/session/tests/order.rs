//! Order and delivery under faults: what a node relies on.

mod world;

use craton_abi::Duration;
use craton_session::LostWhy;
use world::World;

#[test]
fn the_first_send_opens_the_session() {
    let mut world = World::nodes(1, 2);
    world.send(0, 1, 3, World::numbered(0, 3, 10)).expect("an address is known");
    world.run_for(Duration::from_millis(10));
    assert_eq!((world.check_order(1), world.ups(0), world.ups(1), world.dials), (1, 1, 1, 1));
    // And back over the same connection.
    world.send(1, 0, 3, World::numbered(0, 3, 1 << 20)).expect("connected");
    world.run_for(Duration::from_millis(100));
    assert_eq!((world.check_order(0), world.dials), (1, 1));
}

/// Random traffic between `hosts` nodes for a while; every body sent while no epoch is lost must
/// arrive.
fn traffic(world: &mut World, sends: u32, seed: u64) -> Vec<Vec<u32>> {
    let hosts = world.hosts.len();
    let mut sent = vec![vec![0; 16]; hosts * hosts];
    for _ in 0..sends {
        let from = world.below(hosts as u32) as usize;
        let to = (from + 1 + world.below(hosts as u32 - 1) as usize) % hosts;
        let lane = world.below(16) as usize;
        let length = match world.below(20) {
            0 => world.below(300_000) as usize,
            1..4 => world.below(20_000) as usize,
            _ => world.below(200) as usize,
        };
        let counter = &mut sent[from * hosts + to][lane];
        let body = World::numbered(*counter, lane, length);
        match world.send(from, to, lane, body) {
            Ok(()) => *counter += 1,
            Err(error) => panic!("seed {seed}: {error}"),
        }
        let pause = Duration::from_micros(u64::from(world.below(3_000)));
        world.run_for(pause);
    }
    sent
}

fn total(sent: &[Vec<u32>], hosts: usize, to: usize) -> usize {
    (0..hosts).flat_map(|from| sent[from * hosts + to].iter()).map(|n| *n as usize).sum()
}

#[test]
fn everything_arrives_once_in_order_under_cuts_and_flips() {
    let mut faults = 0;
    for seed in 0..300 {
        let mut world = World::nodes(seed, 2 + (seed % 2) as u8);
        world.cuts = 30_000;
        world.flips = 10_000;
        let sent = traffic(&mut world, 60, seed);
        (world.cuts, world.flips) = (0, 0);
        world.run_for(Duration::from_secs(3));
        faults += world.dials;
        for host in 0..world.hosts.len() {
            let received = world.check_order(host);
            let expected = total(&sent, world.hosts.len(), host);
            assert_eq!(received, expected, "seed {seed} host {host} {:?}", world.losts(host));
            assert!(world.losts(host).is_empty(), "seed {seed}: lost within the time for replay");
        }
    }
    assert!(faults > 2_000, "the test cuts too little: {faults} dials");
}

#[test]
fn silent_connections_are_noticed_and_replayed() {
    for seed in 0..100 {
        let mut world = World::nodes(seed, 2);
        world.silences = 20_000;
        let sent = traffic(&mut world, 40, seed);
        world.silences = 0;
        world.run_for(Duration::from_secs(12));
        for host in 0..2 {
            // A silence may last up to 4 s unnoticed and 3 s more in a handshake: then the epoch
            // may be lost, but never silently.
            let received = world.check_order(host);
            let lost = world.losts(0).len() + world.losts(1).len() > 0;
            let expected = total(&sent, 2, host);
            assert!(received == expected || lost, "seed {seed} host {host}");
        }
    }
}

#[test]
fn who_bears_with_silence_gives_nobody_up_for_it() {
    for (borne, dials) in [(60, 0), (3, 1)] {
        let mut world = World::nodes(1, 2);
        world.send(0, 1, 1, World::numbered(0, 1, 10)).expect("sent");
        world.run_for(Duration::from_secs(1));
        for host in &mut world.hosts {
            host.sessions.bear_silence(Duration::from_secs(borne));
        }
        let before = world.dials;
        world.pipes.values_mut().for_each(|pipe| pipe.silent = true);
        world.dials_fail = true;
        world.run_for(Duration::from_secs(4));
        let dialled = (world.dials - before).min(1);
        assert_eq!(dialled, dials, "{borne} s");
    }
}

#[test]
fn a_gap_is_never_silent() {
    for seed in 0..100 {
        let mut world = World::nodes(seed, 2);
        world.cuts = 50_000;
        for _ in 0..4 {
            for lane in 0..4 {
                let from = world.below(2) as usize;
                let counter = world.count(from, lane);
                let _ = world.send(from, 1 - from, lane, World::numbered(counter, lane, 5_000));
            }
            world.run_for(Duration::from_millis(20));
            if world.below(2) == 0 {
                world.dials_fail = true;
                world.cut_all();
                let out = u64::from(world.below(9_000));
                world.run_for(Duration::from_millis(out));
                world.dials_fail = false;
            }
            world.run_for(Duration::from_secs(2));
        }
        world.check_order(0);
        world.check_order(1);
        // Both sides agree in the end on how many epochs there were.
        world.run_for(Duration::from_secs(10));
        let open = |host: usize| world.ups(host) - world.losts(host).len();
        assert!(open(0) <= 1 && open(1) <= 1, "seed {seed}");
    }
}

#[test]
fn five_seconds_without_a_connection_lose_the_epoch_once_on_each_side() {
    let mut world = World::nodes(7, 2);
    for counter in 0..10 {
        world.send(0, 1, 1, World::numbered(counter, 1, 1_000)).expect("sent");
    }
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.check_order(1), 10);
    world.dials_fail = true;
    world.cut_all();
    world.run_for(Duration::from_millis(4_900));
    assert!(world.losts(0).is_empty() && world.losts(1).is_empty(), "too early");
    world.send(0, 1, 1, World::numbered(10, 1, 1_000)).expect("still replayable");
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.losts(0), [LostWhy::TimedOut]);
    assert_eq!(world.losts(1), [LostWhy::TimedOut]);
    world.dials_fail = false;
    world.run_for(Duration::from_secs(20));
    assert_eq!((world.ups(0), world.ups(1)), (1, 1), "nobody dials without need");
    world.send(0, 1, 1, World::numbered(11, 1, 1_000)).expect("a new epoch");
    world.run_for(Duration::from_secs(1));
    assert_eq!((world.ups(0), world.ups(1)), (2, 2));
    assert_eq!(world.check_order(1), 11, "what was lost stays lost");
}

#[test]
fn just_within_five_seconds_nothing_is_lost() {
    let mut world = World::nodes(8, 2);
    world.send(0, 1, 1, World::numbered(0, 1, 1_000)).expect("sent");
    world.run_for(Duration::from_millis(100));
    world.dials_fail = true;
    world.cut_all();
    world.run_for(Duration::from_millis(10));
    for counter in 1..50 {
        world.send(0, 1, 1, World::numbered(counter, 1, 10_000)).expect("queued");
    }
    world.run_for(Duration::from_millis(3_900));
    world.dials_fail = false;
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.check_order(1), 50);
    assert!(world.losts(0).is_empty() && world.losts(1).is_empty());
}

#[test]
fn an_unreachable_node_is_said_so_once() {
    let mut world = World::nodes(9, 2);
    world.dials_fail = true;
    world.send(0, 1, 1, World::numbered(0, 1, 10)).expect("queued");
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.unreachables(0), 1);
    assert!(world.dials > 5 && world.dials < 20, "{} dials", world.dials);
    assert_eq!(world.hosts[0].sessions.deadline(), None, "at rest afterwards");
}

#[test]
fn nodes_that_call_each_other_at_once_end_with_one_connection() {
    for seed in 0..50 {
        let mut world = World::nodes(seed, 2);
        world.delay = Duration::from_micros(100 + seed * 37);
        for round in 0..5 {
            world.send(0, 1, 1, World::numbered(round, 1, 100)).expect("sent");
            world.send(1, 0, 1, World::numbered(round, 1, 100)).expect("sent");
            world.run_for(Duration::from_millis(300));
            assert_eq!(world.pipes.len(), 1, "seed {seed}");
            world.cut_all();
        }
        world.run_for(Duration::from_millis(300));
        assert_eq!((world.check_order(0), world.check_order(1)), (5, 5), "seed {seed}");
        assert_eq!((world.ups(0), world.ups(1)), (1, 1), "seed {seed}");
        assert!(world.dials <= 20, "seed {seed}: {} dials", world.dials);
    }
}

#[test]
fn a_declared_death_ends_the_epoch_at_once_and_for_good() {
    let mut world = World::nodes(10, 2);
    world.send(0, 1, 1, World::numbered(0, 1, 10)).expect("sent");
    world.run_for(Duration::from_millis(50));
    let (node, life, now) = (world.hosts[1].node, world.life(1), world.now);
    world.hosts[0].sessions.lose(node, life, now);
    world.pump(0);
    assert_eq!(world.losts(0), [LostWhy::Declared]);
    // The dead life comes back and is refused until it gives up.
    world.send(1, 0, 1, World::numbered(0, 1, 10)).expect("queued");
    world.run_for(Duration::from_secs(10));
    assert_eq!((world.ups(0), world.bodies(0)), (1, 0));
    assert_eq!(world.losts(1), [LostWhy::TimedOut]);
    // Its next life is welcome.
    world.begin_new_life(1);
    world.send(1, 0, 1, World::numbered(0, 1, 10)).expect("queued");
    world.run_for(Duration::from_secs(1));
    assert_eq!((world.ups(0), world.bodies(0)), (2, 1));
}

#[test]
fn a_peer_in_a_new_life_ends_the_old_epoch() {
    for first in 0..2 {
        let mut world = World::nodes(11, 2);
        world.send(0, 1, 1, World::numbered(0, 1, 10)).expect("sent");
        world.run_for(Duration::from_millis(50));
        world.cut_all();
        world.begin_new_life(1);
        if first == 1 {
            world.send(1, 0, 1, World::numbered(0, 1, 10)).expect("queued");
        }
        world.run_for(Duration::from_secs(2));
        assert_eq!(world.losts(0), [LostWhy::Restarted], "first {first}");
        assert_eq!((world.ups(0), world.ups(1)), (2, 1), "first {first}");
    }
}

#[test]
fn an_idle_connection_closes_without_a_gap() {
    let mut world = World::nodes(12, 2);
    world.send(0, 1, 1, World::numbered(0, 1, 10)).expect("sent");
    world.run_for(Duration::from_secs(170));
    assert_eq!(world.pipes.len(), 1, "heartbeats keep it");
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.pipes.len(), 0, "nothing was said for minutes");
    assert_eq!(world.hosts[0].sessions.deadline(), None);
    world.run_for(Duration::from_secs(1_000));
    world.send(1, 0, 1, World::numbered(0, 1, 10)).expect("sent");
    world.send(0, 1, 1, World::numbered(1, 1, 10)).expect("sent");
    world.run_for(Duration::from_secs(1));
    assert_eq!((world.check_order(0), world.check_order(1)), (1, 2));
    assert_eq!((world.ups(0), world.ups(1)), (1, 1), "the same epoch");
    assert!(world.losts(0).is_empty() && world.losts(1).is_empty());
}

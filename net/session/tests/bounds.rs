//! What a session holds at most, how lanes share it, and how tools use it.

mod world;

use craton_abi::{AppId, Duration, Incarnation, Payload, RequestId, TraceId};
use craton_session::limit::{FRAGMENT_BYTES_MAX, QUEUE_BYTES_MAX, REPLAY_BYTES_MAX, WINDOW_BYTES};
use craton_session::{AuthoritySecret, Refusal, Role, SendError, Sessions};
use craton_wire::{Answer, Body, Lane, Question};
use world::{Logged, World};

#[test]
fn a_peer_that_does_not_read_is_sent_no_more_than_its_window() {
    let mut world = World::nodes(1, 2);
    world.send(0, 1, 1, World::numbered(0, 1, 10)).expect("sent");
    world.run_for(Duration::from_millis(50));
    world.hosts[1].reads = false;
    let before = world.bytes_carried;
    let mut counter = 1;
    let mut refused = false;
    for _ in 0..2_000 {
        match world.send(0, 1, 1, World::numbered(counter, 1, 100_000)) {
            Ok(()) => counter += 1,
            Err(SendError::Full) => refused = true,
            Err(error) => panic!("{error}"),
        }
        world.run_for(Duration::from_millis(1));
    }
    world.run_for(Duration::from_secs(2));
    let carried = world.bytes_carried - before;
    assert!(refused, "the queue has no end");
    let slack = FRAGMENT_BYTES_MAX as u64 + 100_000;
    assert!(carried <= WINDOW_BYTES + slack, "{carried} bytes sent to who does not read");
    let node = world.hosts[1].node;
    let backlog = world.hosts[0].sessions.backlog_bytes(node);
    assert!(backlog as u64 <= QUEUE_BYTES_MAX as u64 + REPLAY_BYTES_MAX, "{backlog}");
    // It reads again: all that was accepted arrives, and the sender hears of the room, once.
    world.hosts[1].reads = true;
    world.pump(1);
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.check_order(1), counter as usize);
    let rooms = world.hosts[0].log.iter().filter(|entry| matches!(entry, Logged::Room(_))).count();
    assert_eq!(rooms, 1);
    assert!(world.losts(0).is_empty());
}

#[test]
fn long_bodies_in_every_lane_at_once_all_become_whole() {
    let mut world = World::nodes(2, 2);
    for round in 0..3 {
        for lane in 0..7 {
            world.send(0, 1, lane, World::numbered(round, lane, 1 << 20)).expect("sent");
        }
        world.run_for(Duration::from_secs(1));
    }
    assert_eq!(world.check_order(1), 21);
}

#[test]
fn a_long_stream_delays_no_short_word() {
    let mut world = World::nodes(3, 2);
    world.send(0, 1, 1, World::numbered(0, 1, 10)).expect("sent");
    world.run_for(Duration::from_millis(50));
    for counter in 0..6 {
        world.send(0, 1, 2, World::numbered(counter, 2, 1 << 20)).expect("sent");
    }
    // 6 MiB wait, a few records are under way; the short word passes all but those.
    world.send(0, 1, 1, World::numbered(1, 1, 10)).expect("sent");
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.check_order(1), 8);
    let place = |wanted: u32, lane: u32| {
        world.hosts[1].log.iter().position(|entry| {
            matches!(entry, Logged::Body(_, Body::ProgramPart { offset, total, .. })
                if (*offset, *total) == (wanted, lane))
        })
    };
    assert!(place(1, 1) < place(0, 2), "the short word came after a whole MiB");
}

#[test]
fn a_body_too_long_is_refused_and_changes_nothing() {
    let mut world = World::nodes(4, 2);
    let long = World::numbered(0, 1, (1 << 20) + (64 << 10));
    assert_eq!(world.send(0, 1, 1, long), Err(SendError::TooLong));
    world.run_for(Duration::from_secs(1));
    assert_eq!((world.dials, world.hosts[0].sessions.deadline()), (0, None));
    let (node, life, now) = (world.hosts[1].node, world.life(1), world.now);
    world.hosts[0].sessions.lose(node, life, now);
    assert_eq!(world.send(0, 1, 1, World::numbered(0, 1, 1)), Err(SendError::Unknown));
}

fn tool(world: &mut World, index: u8, incarnation: u64) -> usize {
    let mut config = world::config(index, Role::Operator, incarnation);
    config.incarnation = Incarnation::new(incarnation);
    world.add(config)
}

fn ask(world: &mut World, from: usize, to: usize, request: u64) {
    let body = Body::Ask { request: RequestId::new(request), question: Question::Nodes };
    world.send(from, to, 0, body).expect("connected");
}

#[test]
fn tools_that_share_a_certificate_do_not_meet() {
    for index in 1..9 {
        let mut world = World::nodes(5, 1);
        let tools = [tool(&mut world, index, 100), tool(&mut world, index, 200)];
        for tool in tools {
            let now = world.now;
            world.hosts[tool].sessions.dial_any(world::address(0), now);
            world.pump(tool);
            world.run_for(Duration::from_millis(50));
            assert_eq!((world.ups(tool), world.losts(0).len()), (1, 0));
        }
        ask(&mut world, tools[0], 0, 1);
        ask(&mut world, tools[1], 0, 2);
        world.run_for(Duration::from_millis(50));
        let asked: Vec<_> = world.hosts[0]
            .log
            .iter()
            .filter_map(|entry| match entry {
                Logged::Body(peer, Body::Ask { request, .. }) => Some((peer.key(), *request)),
                _ => None,
            })
            .collect();
        assert_eq!(asked.len(), 2);
        for (peer, request) in asked {
            let answer = Body::Answer { request, answer: Answer::Nodes(vec![]) };
            let (app, trace) = (AppId::new(1), TraceId::new(2));
            let now = world.now;
            let sessions = &mut world.hosts[0].sessions;
            sessions.send_to(peer, Lane::CONTROL, app, trace, answer, now).expect("connected");
            assert_eq!(peer.incarnation.get(), request.get() * 100);
        }
        world.pump(0);
        world.run_for(Duration::from_millis(50));
        for (tool, expected) in tools.into_iter().zip([1, 2]) {
            let answered = world.hosts[tool].log.iter().any(|entry| {
                matches!(entry, Logged::Body(_, Body::Answer { request, .. })
                    if request.get() == expected)
            });
            assert!(answered && world.bodies(tool) == 1, "index {index}");
        }
        // A tool that goes away without a word is lost after five seconds.
        world.hosts[tools[0]].sessions = Sessions::new(world::config(index, Role::Operator, 1));
        world.cut_all();
        world.run_for(Duration::from_secs(6));
        assert_eq!(world.losts(0).len(), 1, "index {index}: only the one that is gone");
    }
}

#[test]
fn a_tool_hears_why_it_was_refused() {
    let mut world = World::nodes(6, 1);
    let tool = tool(&mut world, 1, 100);
    let now = world.now;
    // Nobody listens.
    world.hosts[tool].sessions.dial_any(world::address(200), now);
    world.pump(tool);
    assert_eq!(world.refusals(tool), [Refusal::Closed]);
    // The node believes another authority: it says nothing and closes.
    let mut config = world::config(0, Role::Node, 7);
    config.authorities = vec![AuthoritySecret::from_bytes(&[9; 32]).public()];
    world.hosts[0].sessions = Sessions::new(config);
    world.hosts[tool].sessions.dial_any(world::address(0), now);
    world.pump(tool);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.refusals(tool), [Refusal::Closed, Refusal::Closed]);
    assert_eq!((world.ups(tool), world.ups(0)), (0, 0));
    assert_eq!(world.hosts[tool].sessions.deadline(), None);
}

#[test]
fn strangers_on_the_port_neither_disturb_nor_linger() {
    let mut world = World::nodes(7, 2);
    world.send(0, 1, 1, World::numbered(0, 1, 10)).expect("sent");
    world.run_for(Duration::from_millis(50));
    let mut pipes = Vec::new();
    for round in 0..500u32 {
        let pipe = world.intrude(1);
        let length = world.below(400) as usize;
        let bytes: Vec<u8> = (0..length).map(|_| world.below(256) as u8).collect();
        let at = world.now;
        if let Some(state) = world.pipes.get_mut(&pipe) {
            state.flows[1].push_back((at, bytes));
        }
        pipes.push(pipe);
        let sent = World::numbered(round + 1, 1, 100);
        world.send(0, 1, 1, sent).expect("sent");
        world.run_for(Duration::from_millis(2));
    }
    world.run_for(Duration::from_secs(4));
    assert_eq!(world.check_order(1), 501);
    assert_eq!(world.pipes.len(), 1, "strangers linger");
    assert!(world.losts(0).is_empty() && world.losts(1).is_empty());
}

#[test]
fn a_payload_crosses_unchanged_at_every_interesting_length() {
    let mut world = World::nodes(8, 2);
    let mut expected = Vec::new();
    for length in [0, 1, 63, FRAGMENT_BYTES_MAX - 50, FRAGMENT_BYTES_MAX - 40, 200_000, 1 << 20] {
        for step in 0..3 {
            let part = Payload((0..length + step).map(|n| (n * 7) as u8).collect());
            if part.0.len() > 1 << 20 {
                continue;
            }
            let body = Body::ProgramPart {
                program: craton_abi::ProgramId([1; 32]),
                offset: 0,
                total: 1,
                part,
            };
            expected.push(body.clone());
            world.send(0, 1, 1, body).expect("sent");
            world.run_for(Duration::from_millis(100));
        }
    }
    let got: Vec<Body> = world.hosts[1]
        .log
        .iter()
        .filter_map(|entry| match entry {
            Logged::Body(_, body) => Some(body.clone()),
            _ => None,
        })
        .collect();
    assert!(got == expected, "a body was changed");
}

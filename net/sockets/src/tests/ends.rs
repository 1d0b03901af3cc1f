//! Giving connections away, limits, and ends at every point.

use super::*;

#[test]
fn a_connection_can_be_given_to_a_process_of_the_same_node() {
    each(|mut world| {
        let Pair { client, server, near, far, .. } = world.pair();
        let child = world.process(1);
        assert_eq!(world.call(client, write(near, b"early", FOREVER)), SocketReply::Count(5));
        world.run(Duration::from_millis(10));
        world.ask(child, SocketCall::Take { timeout: FOREVER });
        let give = |socket, to| SocketCall::Give { socket, to };
        assert_eq!(world.call(server, give(far, child)), SocketReply::Done);
        let Some(SocketReply::Opened { socket, peer }) = world.answer(child) else {
            panic!("nothing was taken");
        };
        assert_eq!(peer.map(|peer| peer.ip()), Some(ADDRESSES[0].into()));
        world.fails(server, read(far, FOREVER), ErrorCode::NoSocket);
        assert_eq!(world.call(child, read(socket, FOREVER)), bytes(b"early"));
        // It goes with its new owner, and not with the old one.
        world.end(server, true);
        assert_eq!(world.call(child, write(socket, b"late", FOREVER)), SocketReply::Count(4));
        assert_eq!(world.call(client, read(near, FOREVER)), bytes(b"late"));
        world.end(child, false);
        world.fails(client, read(near, FOREVER), ErrorCode::Reset);
        world.fails(client, write(near, b"x", FOREVER), ErrorCode::Reset);
        world.end(client, true);
        world.expect_empty();
    });
}

#[test]
fn a_connection_given_to_nobody_closes() {
    each(|mut world| {
        let Pair { client, server, near, far, .. } = world.pair();
        let (dead, elsewhere) = (world.process(1), world.process(0));
        world.end(dead, true);
        let give = |to| SocketCall::Give { socket: far, to };
        world.fails(server, give(elsewhere), ErrorCode::Invalid);
        world.fails(server, give(server), ErrorCode::Invalid);
        let stale = Pid { incarnation: Incarnation::new(6), ..dead };
        world.fails(server, give(stale), ErrorCode::Invalid);
        assert_eq!(world.call(server, give(dead)), SocketReply::Done);
        world.fails(client, read(near, FOREVER), ErrorCode::Reset);
        world.end(client, true);
        world.end(server, true);
        world.expect_empty();
    });
}

#[test]
fn a_connection_that_may_not_be_given_is_refused_before_it_is_used() {
    let mut world = World::new();
    let Pair { client, server, near, far, .. } = world.pair();
    let child = world.process(1);
    assert_eq!(world.call(server, SocketCall::Give { socket: far, to: child }), SocketReply::Done);
    let now = world.now;
    let refuse = SocketOrder::Refuse { owner: child, socket: SocketId::new(1) };
    world.machine(child).order(child, refuse, now);
    world.fails(child, SocketCall::Take { timeout: Some(MS) }, ErrorCode::TimedOut);
    world.fails(client, read(near, FOREVER), ErrorCode::Reset);
}

#[test]
fn sockets_are_limited_and_closing_makes_room() {
    let mut world = World::new();
    let (client, server) = (world.process(0), world.process(1));
    let socket = world.open(server, SocketCall::Listen { port: 80, bulk: false });
    let mut first = None;
    for count in 0.. {
        match world.call(client, connect(80)) {
            SocketReply::Opened { socket, .. } => _ = first.get_or_insert(socket),
            SocketReply::Failed(ErrorCode::LimitSockets) => {
                assert_eq!(count, limit::SOCKETS_PER_PROCESS_MAX);
                break;
            }
            other => panic!("{count}: {other:?}"),
        }
        // The listener itself is one of the server's.
        if count < limit::SOCKETS_PER_PROCESS_MAX - 1 {
            let _ = world.open(server, SocketCall::Accept { socket, timeout: FOREVER });
        }
    }
    let accept = SocketCall::Accept { socket, timeout: FOREVER };
    world.fails(server, accept.clone(), ErrorCode::LimitSockets);
    world.fails(server, SocketCall::Bind { port: 9 }, ErrorCode::LimitSockets);
    let close = SocketCall::Close { socket: first.expect("there was one") };
    assert_eq!(world.call(client, close), SocketReply::Done);
    // Its buffers are free once both sides have closed.
    let accepted = SocketCall::Close { socket: SocketId::new(2) };
    assert_eq!(world.call(server, accepted), SocketReply::Done);
    world.run(Duration::from_millis(50));
    let _ = world.open(client, connect(80));
    let _ = world.open(server, accept);
    world.end(client, false);
    world.end(server, false);
    world.expect_empty();
}

#[test]
fn one_that_ends_with_thousands_of_sockets_holds_up_nobody() {
    let mut world = World::new();
    let (pid, listen) = (world.process(1), SocketCall::Listen { port: 80, bulk: false });
    let _ = world.open(pid, listen.clone());
    for _ in 1..limit::SOCKETS_PER_PROCESS_MAX {
        let _ = world.open(pid, SocketCall::Bind { port: 0 });
    }
    world.fails(pid, SocketCall::Bind { port: 0 }, ErrorCode::LimitSockets);
    let count = |world: &World| world.machines[1].cpus[0].stack.usage().sockets;
    // One that holds nothing takes no room to speak of.
    assert!(world.machines[1].cpus[0].stack.usage().buffer_bytes < 6 << 20);
    let mut left = count(&world);
    world.end(pid, false);
    // The next one has the port that it listened on, and all sockets, at once.
    let heir = world.process(1);
    let _ = world.open(heir, listen);
    let mut steps = 0;
    while count(&world) > 0 {
        assert_eq!(world.machines[1].cpus[0].sockets.deadline(), Some(Instant::ZERO));
        world.step();
        let now_left = count(&world);
        assert!((1..=2 * 64).contains(&(left - now_left)), "{left}, then {now_left}");
        (left, steps) = (now_left, steps + 1);
    }
    assert!(steps > 100, "{steps} steps");
    world.end(heir, false);
    world.expect_empty();
}

#[test]
fn buffers_are_counted_against_their_process_alone() {
    let mut world = World::new();
    let (client, server) = (world.process(0), world.process(1));
    let _ = world.open(server, SocketCall::Listen { port: 80, bulk: true });
    let bulk = SocketCall::Connect { to: at(80), bulk: true, timeout: FOREVER };
    let mut count = 0;
    let error = loop {
        match world.call(client, bulk.clone()) {
            SocketReply::Opened { .. } => count += 1,
            SocketReply::Failed(error) => break error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(error, ErrorCode::LimitMemory);
    assert_eq!(count, limit::SOCKET_BUFFER_BYTES_MAX / (128 << 10));
    let other = world.process(0);
    let _ = world.open(other, SocketCall::Bind { port: 0 });
    for pid in [client, server, other] {
        world.end(pid, false);
    }
    world.expect_empty();
}

#[test]
fn a_backlog_is_bounded_and_goes_with_its_listener() {
    let mut world = World::new();
    let server = world.process(1);
    let socket = world.open(server, SocketCall::Listen { port: 80, bulk: false });
    let client = world.process(0);
    let more = 20;
    for _ in 0..limit::SOCKET_BACKLOG + more {
        let _ = world.open(client, connect(80));
    }
    let held = world.machines[1].cpus[0].stack.usage().streams;
    assert!(held <= limit::SOCKET_BACKLOG + 1, "{held}");
    // Who found no room is not turned away, but waits for it.
    for _ in 0..limit::SOCKET_BACKLOG + more {
        let _ = world.open(server, SocketCall::Accept { socket, timeout: FOREVER });
    }
    for _ in 0..limit::SOCKET_BACKLOG / 2 {
        let _ = world.open(client, connect(80));
    }
    world.end(server, true);
    world.run(Duration::from_millis(50));
    world.fails(client, connect(80), ErrorCode::Refused);
    world.end(client, false);
    world.expect_empty();
}

#[test]
fn a_full_backlog_whose_peers_leave_takes_others() {
    let mut world = World::new();
    let server = world.process(1);
    let socket = world.open(server, SocketCall::Listen { port: 80, bulk: false });
    let client = world.process(0);
    for _ in 0..limit::SOCKET_BACKLOG {
        let _ = world.open(client, connect(80));
    }
    world.end(client, false);
    world.run(Duration::from_millis(50));
    let client = world.process(0);
    let _ = world.open(client, connect(80));
    let _ = world.open(server, SocketCall::Accept { socket, timeout: Some(MS) });
    let accept = SocketCall::Accept { socket, timeout: Some(MS) };
    world.fails(server, accept, ErrorCode::TimedOut);
}

#[test]
fn a_process_can_be_killed_whatever_it_waits_for() {
    let silent = SocketAddr::new(Ipv4Addr::new(10, 0, 0, 77).into(), 80);
    for (which, cpus) in (0..7).flat_map(|which| [(which, 1), (which, 3)]) {
        let mut world = World::with(cpus, which);
        let Pair { client, server, listener, near, far } = world.pair();
        let datagrams = world.open(server, SocketCall::Bind { port: 5 });
        let call = match which {
            0 => SocketCall::Accept { socket: listener, timeout: FOREVER },
            1 => SocketCall::Connect { to: silent, bulk: true, timeout: FOREVER },
            2 => read(far, Some(Duration::from_secs(9))),
            3 => write(far, &[1; 60_000], FOREVER),
            4 => SocketCall::ReceiveFrom { socket: datagrams, bytes_max: 1, timeout: FOREVER },
            5 => SocketCall::Resolve { name: String::from("a.b"), timeout: FOREVER },
            _ => SocketCall::Take { timeout: Some(Duration::from_secs(9)) },
        };
        world.ask(server, call);
        world.end(server, false);
        // Bytes that had come are read first.
        while world.call(client, read(near, FOREVER)) != SocketReply::Failed(ErrorCode::Reset) {}
        world.end(client, false);
        world.expect_empty();
    }
}

#[test]
fn a_new_life_of_the_node_has_no_sockets() {
    each(|mut world| {
        let Pair { client, server, near, far, .. } = world.pair();
        world.ask(server, read(far, Some(Duration::from_secs(5))));
        let now = world.now;
        let Machine { cpus, asking, .. } = &mut world.machines[1];
        for Cpu { sockets, stack, .. } in cpus {
            sockets.reset(stack, now);
        }
        asking.clear();
        world.fails(client, read(near, FOREVER), ErrorCode::Reset);
        world.end(client, true);
        world.expect_empty();
    });
}

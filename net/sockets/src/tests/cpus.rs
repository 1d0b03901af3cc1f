//! Sockets of processes on several CPUs.

use super::*;

const CPUS: u8 = 4;
const LISTEN: SocketCall = SocketCall::Listen { port: 80, bulk: false };
const A_WHILE: Duration = Duration::from_millis(100);

fn accept(socket: SocketId) -> SocketCall {
    SocketCall::Accept { socket, timeout: FOREVER }
}

fn take() -> SocketCall {
    SocketCall::Take { timeout: FOREVER }
}

/// Sockets of one machine on each CPU, listeners not counted.
fn streams(world: &World, at: usize) -> Vec<usize> {
    world.machines[at].cpus.iter().map(|cpu| cpu.sockets.streams.len()).collect()
}

#[test]
fn connections_are_where_their_processes_are() {
    let mut world = World::with(CPUS, 1);
    let server = world.process_on(1, 2);
    let listener = world.open(server, LISTEN);
    let clients: Vec<Pid> = (0..100).map(|n| world.process_on(0, n % CPUS)).collect();
    let mut children = Vec::new();
    for client in &clients {
        let near = world.open(*client, connect(80));
        assert_eq!(near.shard(CPUS), client.slot.shard(), "it is on its own CPU");
        let far = world.open(server, accept(listener));
        // Whoever serves it is spawned where it is.
        let child = world.process_on(1, far.shard(CPUS).index() as u8);
        let give = SocketCall::Give { socket: far, to: child };
        assert_eq!(world.call(server, give), SocketReply::Done);
        let taken = world.open(child, take());
        assert_eq!(taken.shard(CPUS), child.slot.shard(), "it stays where it is");
        children.push((*client, near, child, taken));
    }
    assert_eq!(streams(&world, 0), [25; 4]);
    // By the hash of their ends, which is fair.
    assert!(streams(&world, 1).iter().all(|count| (10..45).contains(count)));
    world.run(A_WHILE);
    for (client, near, child, taken) in children {
        assert_eq!(world.call(client, write(near, b"question", FOREVER)), SocketReply::Count(8));
        assert_eq!(world.call(child, read(taken, FOREVER)), bytes(b"question"));
        assert_eq!(world.call(child, write(taken, b"answer", FOREVER)), SocketReply::Count(6));
        assert_eq!(world.call(client, read(near, FOREVER)), bytes(b"answer"));
        assert!(world.machines[1].mail.is_empty(), "none of it went by another CPU");
        assert!(world.machines[0].mail.is_empty(), "none of it went by another CPU");
        world.end(child, true);
        assert_eq!(world.call(client, read(near, FOREVER)), bytes(b""));
        world.end(client, true);
        world.run(MS);
    }
    world.end(server, true);
    world.expect_empty();
}

#[test]
fn a_port_is_one_listeners_on_all_cpus() {
    for seed in 0..20 {
        let mut world = World::with(CPUS, seed);
        let servers: Vec<Pid> = (0..CPUS).map(|cpu| world.process_on(1, cpu)).collect();
        for server in &servers {
            world.ask(*server, LISTEN);
        }
        world.run(A_WHILE);
        let answers = servers.iter().map(|server| world.answer(*server).expect("it is answered"));
        let (opened, refused): (Vec<_>, Vec<_>) =
            answers.partition(|answer| matches!(answer, SocketReply::Opened { .. }));
        assert_eq!(opened.len(), 1, "one of them has it");
        assert!(refused.iter().all(|one| *one == SocketReply::Failed(ErrorCode::InUse)));
        for server in servers {
            world.end(server, true);
        }
        world.expect_empty();
    }
}

/// The port of a listener that has gone is free at once, on whichever CPU, and who connects then is
/// the next listener's.
#[test]
fn a_listener_can_follow_another_at_once() {
    for seed in 0..20 {
        let mut world = World::with(CPUS, seed);
        let client = world.process_on(0, 0);
        for turn in 0..10 {
            let server = world.process_on(1, (turn * 3 % 4) as u8);
            let listener = world.open(server, LISTEN);
            let near = world.open(client, connect(80));
            let far = world.open(server, accept(listener));
            assert_eq!(world.call(client, write(near, b"hello", FOREVER)), SocketReply::Count(5));
            assert_eq!(world.call(server, read(far, FOREVER)), bytes(b"hello"));
            world.end(server, turn % 2 == 0);
        }
        world.run(A_WHILE);
        world.fails(client, connect(80), ErrorCode::Refused);
        world.end(client, true);
        world.expect_empty();
    }
}

/// Somebody ends at any point of accepting, giving and taking: nothing is left, and the peer of the
/// connection is told.
#[test]
fn whoever_ends_while_a_connection_changes_hands_it_ends_too() {
    for (seed, delay, who) in (0..CPUS as u64)
        .flat_map(|seed| (0..12).flat_map(move |delay| (0..3).map(move |who| (seed, delay, who))))
    {
        let mut world = World::with(CPUS, seed);
        let (server, child) = (world.process_on(1, 1), world.process_on(1, 3));
        let listener = world.open(server, LISTEN);
        let client = world.process_on(0, seed as u8);
        let near = world.open(client, connect(80));
        world.ask(child, take());
        let far = world.open(server, accept(listener));
        world.ask(server, SocketCall::Give { socket: far, to: child });
        world.run(Duration::from_millis(delay));
        match who {
            0 => world.end(server, false),
            1 => world.end(child, false),
            _ => {
                world.end(server, false);
                world.end(child, false);
            }
        }
        world.run(A_WHILE);
        // A child that lives may have it, and finds it over if its giver was too quick to go.
        if who == 0
            && let Some(SocketReply::Opened { socket, .. }) = world.answer(child)
        {
            let ask = world.call(client, write(near, b"hello", FOREVER));
            let got = world.call(child, read(socket, FOREVER));
            let whole = ask == SocketReply::Count(5) && got == bytes(b"hello");
            let over = got == SocketReply::Failed(ErrorCode::Reset);
            assert!(whole || over, "{ask:?} {got:?}");
        }
        world.end(child, false);
        world.end(server, false);
        world.fails(client, read(near, FOREVER), ErrorCode::Reset);
        world.end(client, true);
        world.expect_empty();
    }
}

#[test]
fn what_the_receiver_may_not_have_stays_with_the_giver() {
    let mut world = World::with(CPUS, 5);
    let (server, child) = (world.process_on(1, 1), world.process_on(1, 2));
    let listener = world.open(server, LISTEN);
    let client = world.process_on(0, 0);
    let mut pairs = Vec::new();
    for _ in 0..=limit::SOCKETS_GIVEN_MAX {
        let near = world.open(client, connect(80));
        pairs.push((near, world.open(server, accept(listener))));
    }
    let give = |socket| SocketCall::Give { socket, to: child };
    let (near, far) = pairs.pop().expect("there are some");
    for (_, far) in pairs {
        assert_eq!(world.call(server, give(far)), SocketReply::Done);
    }
    world.fails(server, give(far), ErrorCode::Full);
    assert_eq!(world.call(client, write(near, b"still", FOREVER)), SocketReply::Count(5));
    assert_eq!(world.call(server, read(far, FOREVER)), bytes(b"still"));
    let _ = world.open(child, take());
    assert_eq!(world.call(server, give(far)), SocketReply::Done);
    for pid in [client, server, child] {
        world.end(pid, true);
    }
    world.run(Duration::from_secs(31));
    world.expect_empty();
}

#[test]
fn limits_count_over_all_cpus() {
    let mut world = World::with(CPUS, 6);
    let server = world.process_on(1, 3);
    let listener = world.open(server, LISTEN);
    // Each CPU has its share of the ports that lead to one peer's.
    let clients: Vec<Pid> = (0..CPUS).map(|cpu| world.process_on(0, cpu)).collect();
    let mut held = Vec::new();
    let refused = loop {
        let _ = world.open(clients[held.len() % clients.len()], connect(80));
        match world.call(server, accept(listener)) {
            SocketReply::Opened { socket, .. } => held.push(socket),
            SocketReply::Failed(error) => break error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused, ErrorCode::LimitSockets);
    assert_eq!(held.len(), limit::SOCKETS_PER_PROCESS_MAX - 1);
    assert!(streams(&world, 1).iter().all(|count| *count > 500), "they are on all CPUs");
    // Wherever one is closed, there is room for another.
    for socket in held.drain(..usize::from(CPUS)) {
        assert_eq!(world.call(server, SocketCall::Close { socket }), SocketReply::Done);
        let _ = world.open(server, accept(listener));
        let _ = world.open(clients[0], connect(80));
    }
    for pid in clients.into_iter().chain([server]) {
        world.end(pid, false);
    }
    world.expect_empty();
}

#[test]
fn a_backlog_is_bounded_on_all_cpus_together() {
    let mut world = World::with(CPUS, 7);
    let server = world.process_on(1, 0);
    let listener = world.open(server, LISTEN);
    let client = world.process_on(0, 1);
    let tries = limit::SOCKET_BACKLOG + 200;
    for _ in 0..tries {
        let _ = world.open(client, connect(80));
    }
    world.run(A_WHILE);
    let held: usize = world.machines[1].cpus.iter().map(|cpu| cpu.stack.usage().streams).sum();
    // One more than its share may have been on its way on each.
    assert!(held <= limit::SOCKET_BACKLOG + usize::from(CPUS), "{held}");
    // Who found no room is not turned away, but waits for it.
    for _ in 0..tries {
        let _ = world.open(server, accept(listener));
    }
    world.end(server, false);
    world.end(client, false);
    world.expect_empty();
}

#[test]
fn a_watch_is_fulfilled_wherever_the_socket_is() {
    let mut world = World::with(CPUS, 8);
    let server = world.process_on(1, 0);
    let listener = world.open(server, LISTEN);
    let client = world.process_on(0, 0);
    for timer in 0..20 {
        world.watch(server, listener, 2 * timer);
        world.run(A_WHILE);
        assert_eq!(world.fulfilled(server), []);
        let near = world.open(client, connect(80));
        world.run(A_WHILE);
        assert_eq!(world.fulfilled(server), [2 * timer]);
        let far = world.open(server, accept(listener));
        world.watch(server, far, 2 * timer + 1);
        world.run(A_WHILE);
        assert_eq!(world.fulfilled(server), []);
        assert_eq!(world.call(client, write(near, b"x", FOREVER)), SocketReply::Count(1));
        world.run(A_WHILE);
        assert_eq!(world.fulfilled(server), [2 * timer + 1]);
    }
    world.end(server, true);
    world.end(client, true);
    world.expect_empty();
}

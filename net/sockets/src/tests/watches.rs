//! Sockets that are watched.

use super::*;

#[test]
fn a_watch_is_fulfilled_once_when_there_is_something_to_take() {
    let mut world = World::new();
    let Pair { client, server, listener, near, far } = world.pair();
    let datagrams = world.open(server, SocketCall::Bind { port: 53 });
    for (socket, timer) in [(listener, 1), (far, 2), (datagrams, 3)] {
        world.watch(server, socket, timer);
    }
    world.run(Duration::from_millis(20));
    assert_eq!(world.fulfilled(server), []);
    let _ = world.open(client, connect(80));
    world.run(Duration::from_millis(20));
    assert_eq!(world.fulfilled(server), [1]);
    assert_eq!(world.call(client, write(near, b"two", FOREVER)), SocketReply::Count(3));
    world.run(Duration::from_millis(20));
    assert_eq!(world.fulfilled(server), [2]);
    let socket = world.open(client, SocketCall::Bind { port: 0 });
    let send = SocketCall::SendTo { socket, to: at(53), bytes: Payload(vec![3]) };
    assert_eq!(world.call(client, send), SocketReply::Done);
    world.run(Duration::from_millis(20));
    assert_eq!(world.fulfilled(server), [3]);
    // What has something already, and what is no socket, is ready at once; a newer watch counts.
    world.watch(server, far, 4);
    assert_eq!(world.fulfilled(server), [4]);
    world.watch(server, SocketId::new(77), 5);
    assert_eq!(world.fulfilled(server), [5]);
    assert_eq!(world.call(server, read(far, FOREVER)), bytes(b"two"));
    world.watch(server, far, 6);
    world.watch(server, far, 7);
    assert_eq!(world.fulfilled(server), []);
    world.end(client, false);
    world.run(Duration::from_millis(20));
    assert_eq!(world.fulfilled(server), [7], "its end is something too");
    world.watch(server, datagrams, 8);
    world.end(server, true);
    world.expect_empty();
}

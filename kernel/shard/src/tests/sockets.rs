//! Calls to the network: passed on, answered, and closed with their process.

use super::*;
use craton_abi::{SocketCall, SocketEvent, SocketId, SocketOrder, SocketReply};

fn listen() -> SocketCall {
    SocketCall::Listen { port: 80, bulk: false }
}

fn opened() -> SocketReply {
    SocketReply::Opened { socket: SocketId::new(1), peer: None }
}

fn release(owner: Pid, orderly: bool) -> Effect {
    Effect::Socket(SocketOrder::Release { owner, orderly })
}

impl Rig {
    /// A process that has asked the network and waits.
    fn asking(&mut self) -> Pid {
        let pid = self.process();
        assert_eq!(self.call(pid, HostCall::Socket(Box::new(listen()))), None);
        let order = SocketOrder::Call { from: pid, app: APP, call: listen() };
        assert_eq!(self.effects(), [Effect::Socket(order)]);
        pid
    }

    fn done(&mut self, to: Pid) {
        self.step(Input::Socket(SocketEvent::Done { to, reply: opened() }));
    }
}

#[test]
fn a_call_is_passed_on_and_answered_once() {
    let mut rig = Rig::new();
    let pid = rig.asking();
    assert_eq!(rig.state(pid), "waiting for the network");
    rig.done(pid);
    assert_eq!(rig.answer(pid), Some(HostReply::Socket(Box::new(opened()))));
    rig.done(pid);
    assert!(matches!(&rig.effects()[..], [Effect::Log { .. }]), "nobody asked");
}

#[test]
fn a_listing_says_what_a_process_waits_for() {
    let mut rig = Rig::new();
    let pid = rig.process();
    let (socket, timeout) = (SocketId::new(3), None);
    for (call, state) in [
        (SocketCall::Read { socket, bytes_max: 1, timeout }, "reading from s3"),
        (SocketCall::Take { timeout }, "waiting to be given a connection"),
    ] {
        assert_eq!(rig.call(pid, HostCall::Socket(Box::new(call))), None);
        assert_eq!(rig.state(pid), state);
        rig.done(pid);
    }
}

#[test]
fn sockets_are_released_with_their_process_however_it_ends() {
    let mut rig = Rig::new();
    // While it waits.
    let pid = rig.asking();
    rig.signal(away(9, 0), pid, SignalBody::Kill);
    assert!(rig.effects().contains(&release(pid, false)));
    rig.done(pid);
    assert_eq!(rig.effects(), [], "an answer that comes late is for nobody");
    // While it runs, in order and not.
    for (reason, orderly) in
        [(ExitReason::Normal, true), (ExitReason::Shutdown, true), (ExitReason::Killed, false)]
    {
        let pid = rig.asking();
        rig.done(pid);
        rig.ran(pid, Outcome::Exited(reason));
        assert!(rig.effects().contains(&release(pid, orderly)));
    }
    // One that never asked has none.
    let pid = rig.process();
    rig.ran(pid, Outcome::Exited(ExitReason::Normal));
    assert!(!rig.effects().iter().any(|effect| matches!(effect, Effect::Socket(_))));
}

#[test]
fn a_connection_that_is_given_goes_with_its_new_owner() {
    let mut rig = Rig::new();
    let (pid, socket) = (rig.process(), SocketId::new(1));
    let given = |to, app| Input::Socket(SocketEvent::Given { to, app, socket });
    rig.step(given(pid, AppId::new(99)));
    let refuse = SocketOrder::Refuse { owner: pid, socket };
    assert_eq!(rig.effects(), [Effect::Socket(refuse)], "another app's");
    rig.step(given(pid, APP));
    assert_eq!(rig.effects(), []);
    rig.ran(pid, Outcome::Exited(ExitReason::Normal));
    assert!(rig.effects().contains(&release(pid, true)));
    rig.step(given(pid, APP));
    assert_eq!(rig.effects(), [release(pid, false)], "it has ended");
}

#[test]
fn a_socket_hastens_a_timer() {
    let mut rig = Rig::new();
    let (pid, socket) = (rig.process(), SocketId::new(1));
    let watch = |tag| HostCall::Watch { socket, after: Duration::from_secs(5), tag };
    let Some(HostReply::Timer(timer)) = rig.call(pid, watch(7)) else { panic!("no timer") };
    let order = SocketOrder::Watch { owner: pid, socket, timer };
    assert_eq!(rig.effects(), [Effect::Socket(order)]);
    assert_eq!(rig.receive(pid), None, "it waits for both");
    let ready = |timer| Input::Socket(SocketEvent::Ready { to: pid, timer });
    rig.step(ready(timer));
    let due = HostReply::Received(Received::Timer { id: timer, tag: 7 });
    assert_eq!(rig.answer(pid), Some(due));
    assert_eq!(rig.shard.deadline(), None, "its time does not come again");
    rig.step(ready(timer));
    // Without the socket it is a timer like any other.
    let Some(HostReply::Timer(timer)) = rig.call(pid, watch(8)) else { panic!("no timer") };
    assert_eq!(rig.receive(pid), None);
    rig.advance(Duration::from_secs(6));
    let due = HostReply::Received(Received::Timer { id: timer, tag: 8 });
    assert_eq!(rig.answer(pid), Some(due));
    rig.step(ready(timer));
    assert_eq!(rig.receive(pid), None, "it is due once");
    rig.signal(away(9, 0), pid, SignalBody::Kill);
    assert!(rig.effects().contains(&release(pid, false)));
}

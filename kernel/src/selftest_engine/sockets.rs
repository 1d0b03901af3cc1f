//! Tests of the host calls of the network: what leaves the fiber, and what the guest finds.
//!
//! Which numbers the guest's calls are made with stands in the guest.

use super::calls::{Talk, converse, pid_a};
use super::{Bench, Outcomes};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use craton_abi::{Duration, ErrorCode, Payload, SocketCall, SocketId, SocketReply, TimerId};
use craton_shard::port::{HostCall, HostReply};

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 2, 2)), 80);

fn talk<const N: usize>(calls: [(SocketCall, SocketReply); N]) -> Talk {
    let of = |(call, reply)| (HostCall::Socket(Box::new(call)), HostReply::Socket(Box::new(reply)));
    calls.into_iter().map(of).collect()
}

fn opened(socket: u32, peer: Option<SocketAddr>) -> SocketReply {
    SocketReply::Opened { socket: SocketId::new(socket), peer }
}

fn nanos(nanos: u64) -> Option<Duration> {
    Some(Duration::from_nanos(nanos))
}

fn hello() -> Payload {
    Payload(b"hello".to_vec())
}

pub(super) fn streams(bench: &mut Bench) -> Outcomes {
    let (listener, socket) = (SocketId::new(5), SocketId::new(6));
    let bytes = Payload(b"a message".to_vec());
    let mut talk = talk([
        (SocketCall::Listen { port: 80, bulk: true }, opened(5, None)),
        (SocketCall::Accept { socket: listener, timeout: None }, opened(6, Some(PEER))),
        (
            SocketCall::Connect { to: PEER, bulk: false, timeout: nanos(7) },
            SocketReply::Failed(ErrorCode::Refused),
        ),
        (
            SocketCall::Read { socket, bytes_max: 16, timeout: nanos(0) },
            SocketReply::Bytes(hello()),
        ),
        (SocketCall::Write { socket, bytes, timeout: None }, SocketReply::Count(8)),
        (SocketCall::Finish { socket }, SocketReply::Done),
        (SocketCall::Give { socket, to: pid_a() }, SocketReply::Done),
        (SocketCall::Take { timeout: nanos(0) }, SocketReply::Failed(ErrorCode::TimedOut)),
        (SocketCall::Close { socket }, SocketReply::Failed(ErrorCode::NoSocket)),
    ]);
    let watch = |after, tag| HostCall::Watch { socket: listener, after, tag };
    let never = Duration::from_nanos(i64::MAX as u64);
    talk.push((watch(Duration::from_nanos(9), u64::MAX), HostReply::Timer(TimerId::new(0x77))));
    talk.push((watch(never, 3), HostReply::Failed(ErrorCode::LimitTimers)));
    converse(bench, "sockets", b"", talk)
}

pub(super) fn datagrams_and_names(bench: &mut Bench) -> Outcomes {
    let socket = SocketId::new(7);
    let bytes = Payload(b"a message".to_vec());
    let ips = [PEER.ip(), IpAddr::V4(Ipv4Addr::new(10, 0, 2, 3))];
    let talk = talk([
        (SocketCall::Bind { port: 0 }, opened(7, None)),
        (SocketCall::SendTo { socket, to: PEER, bytes }, SocketReply::Done),
        (
            SocketCall::ReceiveFrom { socket, bytes_max: 4, timeout: None },
            // More than was asked for: the guest's room is not left.
            SocketReply::Datagram { from: PEER, bytes: hello() },
        ),
        (
            SocketCall::Resolve { name: "child".into(), timeout: nanos(9) },
            SocketReply::Addresses(Vec::from(ips)),
        ),
    ]);
    converse(bench, "datagrams_names", b"", talk)
}

//! The host calls of the network: `tcp_*`, `udp_*`, `socket_*` and `resolve`.
//!
//! Owns what happens when a guest calls one of them. All of them leave the fiber with a
//! [`SocketCall`]; the rule of `calls.rs` holds here too: across [`ask`] a function owns nothing.

use crate::calls::{Call, ask, memory, memory_mut, patience, read, read_pid};
use crate::guest::{BadPointer, Region};
use crate::imports::MODULE;
use crate::platform;
use crate::process::Guest;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use craton_abi::{Duration, ErrorCode, Payload, SocketCall, SocketId, SocketReply, limit};
use craton_shard::port::{HostCall, HostReply};
use wasmtime::{Linker, Result};

/// An address in a guest's memory: kind (4 or 6) and port, 2 bytes each, then 16 bytes of which
/// IPv4 uses the first 4.
const ADDRESS_BYTES: usize = 20;
/// What a watch takes at all its places, roughly.
const WATCH_BYTES: usize = 512;
/// Longer than any machine lives.
const NEVER: Duration = Duration::from_nanos(i64::MAX as u64);
/// Of `flags`: large buffers.
const BULK: i32 = 1;

pub(crate) fn link(linker: &mut Linker<Guest>) -> Result<()> {
    linker.func_wrap(MODULE, "tcp_listen", tcp_listen)?;
    linker.func_wrap(MODULE, "tcp_accept", tcp_accept)?;
    linker.func_wrap(MODULE, "tcp_connect", tcp_connect)?;
    linker.func_wrap(MODULE, "socket_read", socket_read)?;
    linker.func_wrap(MODULE, "socket_write", socket_write)?;
    linker.func_wrap(MODULE, "socket_finish", socket_finish)?;
    linker.func_wrap(MODULE, "socket_close", socket_close)?;
    linker.func_wrap(MODULE, "socket_give", socket_give)?;
    linker.func_wrap(MODULE, "socket_take", socket_take)?;
    linker.func_wrap(MODULE, "socket_watch", socket_watch)?;
    linker.func_wrap(MODULE, "udp_bind", udp_bind)?;
    linker.func_wrap(MODULE, "udp_send", udp_send)?;
    linker.func_wrap(MODULE, "udp_receive", udp_receive)?;
    linker.func_wrap(MODULE, "resolve", resolve)?;
    Ok(())
}

/// Asks the network.
fn ask_network(call: SocketCall) -> Result<SocketReply, ErrorCode> {
    match ask(HostCall::Socket(Box::new(call))) {
        HostReply::Socket(reply) => match *reply {
            SocketReply::Failed(error) => Err(error),
            reply => Ok(reply),
        },
        HostReply::Failed(error) => Err(error),
        _ => Err(ErrorCode::Invalid),
    }
}

/// What a guest is told of a call whose answer is no number.
fn done(answer: Result<SocketReply, ErrorCode>) -> i32 {
    match answer {
        Ok(SocketReply::Opened { socket, .. }) => socket.get() as i32,
        Ok(SocketReply::Count(count)) => count as i32,
        Ok(_) => 0,
        Err(error) => error.code(),
    }
}

fn port_of(port: i32) -> Result<u16, ErrorCode> {
    u16::try_from(port).map_err(|_| ErrorCode::Invalid)
}

fn bulk_of(flags: i32) -> Result<bool, ErrorCode> {
    if flags & !BULK == 0 { Ok(flags & BULK != 0) } else { Err(ErrorCode::Invalid) }
}

fn socket_of(number: i32) -> SocketId {
    SocketId::new(number as u32)
}

/// The address at `pointer`; no address of that kind is `Ok(None)`.
fn read_address(call: &Call<'_>, pointer: i32) -> Result<Option<SocketAddr>, BadPointer> {
    let [kind_low, kind_high, port_low, port_high, ip @ ..]: [u8; ADDRESS_BYTES] =
        read(call, pointer)?;
    let ip = match u16::from_le_bytes([kind_low, kind_high]) {
        4 => {
            let [a, b, c, d, ..] = ip;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        6 => IpAddr::V6(Ipv6Addr::from(ip)),
        _ => return Ok(None),
    };
    Ok(Some(SocketAddr::new(ip, u16::from_le_bytes([port_low, port_high]))))
}

fn address_bytes(address: SocketAddr) -> [u8; ADDRESS_BYTES] {
    let mut bytes = [0; ADDRESS_BYTES];
    let kind: u16 = if address.is_ipv4() { 4 } else { 6 };
    bytes[..2].copy_from_slice(&kind.to_le_bytes());
    bytes[2..4].copy_from_slice(&address.port().to_le_bytes());
    match address.ip() {
        IpAddr::V4(ip) => bytes[4..8].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes[4..].copy_from_slice(&ip.octets()),
    }
    bytes
}

fn tcp_listen(port: i32, flags: i32) -> i32 {
    let call = port_of(port).and_then(|port| {
        let bulk = bulk_of(flags)?;
        Ok(SocketCall::Listen { port, bulk })
    });
    done(call.and_then(ask_network))
}

fn tcp_accept(call: Call<'_>, socket: i32, timeout: i64, out: i32) -> Result<i32> {
    let socket = socket_of(socket);
    opened(call, timeout, out, |timeout| SocketCall::Accept { socket, timeout })
}

fn socket_take(call: Call<'_>, timeout: i64, out: i32) -> Result<i32> {
    opened(call, timeout, out, |timeout| SocketCall::Take { timeout })
}

/// Asks for a connection, and writes where it comes from.
fn opened(
    mut call: Call<'_>,
    timeout: i64,
    out: i32,
    request: impl FnOnce(Option<Duration>) -> SocketCall,
) -> Result<i32> {
    let out = Region::prove(memory(&call), out, ADDRESS_BYTES as i32)?;
    let timeout = match patience(timeout) {
        Ok(timeout) => timeout,
        Err(error) => return Ok(error.code()),
    };
    let answer = ask_network(request(timeout));
    if let Ok(SocketReply::Opened { peer: Some(peer), .. }) = &answer {
        out.write(memory_mut(&mut call), &address_bytes(*peer));
    }
    Ok(done(answer))
}

fn tcp_connect(call: Call<'_>, address: i32, flags: i32, timeout: i64) -> Result<i32> {
    let Some(to) = read_address(&call, address)? else { return Ok(ErrorCode::Invalid.code()) };
    let call = bulk_of(flags).and_then(|bulk| {
        let timeout = patience(timeout)?;
        Ok(SocketCall::Connect { to, bulk, timeout })
    });
    Ok(done(call.and_then(ask_network)))
}

fn socket_read(
    mut call: Call<'_>,
    socket: i32,
    pointer: i32,
    capacity: i32,
    timeout: i64,
) -> Result<i32> {
    let room = Region::prove(memory(&call), pointer, capacity)?;
    let timeout = match patience(timeout) {
        Ok(timeout) => timeout,
        Err(error) => return Ok(error.code()),
    };
    let bytes_max = room.len().min(limit::SOCKET_CALL_BYTES_MAX);
    if !platform::has_room(bytes_max) {
        return Ok(ErrorCode::LimitMemory.code());
    }
    let socket = socket_of(socket);
    match ask_network(SocketCall::Read { socket, bytes_max, timeout }) {
        Ok(SocketReply::Bytes(bytes)) => {
            room.write(memory_mut(&mut call), &bytes.0);
            Ok(bytes.0.len().min(room.len()) as i32)
        }
        other => Ok(done(other)),
    }
}

fn socket_write(call: Call<'_>, socket: i32, pointer: i32, len: i32, timeout: i64) -> Result<i32> {
    let memory = memory(&call);
    let bytes = Region::prove(memory, pointer, len)?.first(limit::SOCKET_CALL_BYTES_MAX);
    let timeout = match patience(timeout) {
        Ok(timeout) => timeout,
        Err(error) => return Ok(error.code()),
    };
    if !platform::has_room(bytes.len()) {
        return Ok(ErrorCode::LimitMemory.code());
    }
    let (socket, bytes) = (socket_of(socket), Payload(bytes.of(memory).to_vec()));
    Ok(done(ask_network(SocketCall::Write { socket, bytes, timeout })))
}

fn socket_finish(socket: i32) -> i32 {
    done(ask_network(SocketCall::Finish { socket: socket_of(socket) }))
}

fn socket_close(socket: i32) -> i32 {
    done(ask_network(SocketCall::Close { socket: socket_of(socket) }))
}

fn socket_give(call: Call<'_>, socket: i32, to: i32) -> Result<i32> {
    let to = read_pid(&call, to)?;
    Ok(done(ask_network(SocketCall::Give { socket: socket_of(socket), to })))
}

fn socket_watch(socket: i32, after: i64, tag: i64) -> i64 {
    let after = match patience(after) {
        Ok(after) => after.unwrap_or(NEVER),
        Err(error) => return i64::from(error.code()),
    };
    if !platform::has_room(WATCH_BYTES) {
        return i64::from(ErrorCode::LimitMemory.code());
    }
    match ask(HostCall::Watch { socket: socket_of(socket), after, tag: tag as u64 }) {
        HostReply::Timer(id) => id.get() as i64,
        HostReply::Failed(error) => i64::from(error.code()),
        _ => i64::from(ErrorCode::Invalid.code()),
    }
}

fn udp_bind(port: i32) -> i32 {
    done(port_of(port).and_then(|port| ask_network(SocketCall::Bind { port })))
}

fn udp_send(call: Call<'_>, socket: i32, to: i32, pointer: i32, len: i32) -> Result<i32> {
    let to = read_address(&call, to)?;
    let memory = memory(&call);
    let bytes = Region::prove(memory, pointer, len)?;
    let Some(to) = to else { return Ok(ErrorCode::Invalid.code()) };
    if bytes.len() > limit::SOCKET_CALL_BYTES_MAX {
        return Ok(ErrorCode::TooLong.code());
    }
    if !platform::has_room(bytes.len()) {
        return Ok(ErrorCode::LimitMemory.code());
    }
    let (socket, bytes) = (socket_of(socket), Payload(bytes.of(memory).to_vec()));
    Ok(done(ask_network(SocketCall::SendTo { socket, to, bytes })))
}

fn udp_receive(
    mut call: Call<'_>,
    socket: i32,
    pointer: i32,
    capacity: i32,
    timeout: i64,
    out: i32,
) -> Result<i32> {
    let room = Region::prove(memory(&call), pointer, capacity)?;
    let out = Region::prove(memory(&call), out, ADDRESS_BYTES as i32)?;
    let timeout = match patience(timeout) {
        Ok(timeout) => timeout,
        Err(error) => return Ok(error.code()),
    };
    let (socket, bytes_max) = (socket_of(socket), room.len());
    match ask_network(SocketCall::ReceiveFrom { socket, bytes_max, timeout }) {
        Ok(SocketReply::Datagram { from, bytes }) => {
            let memory = memory_mut(&mut call);
            out.write(memory, &address_bytes(from));
            room.write(memory, &bytes.0);
            Ok(bytes.0.len().min(room.len()) as i32)
        }
        other => Ok(done(other)),
    }
}

fn resolve(
    mut call: Call<'_>,
    name: i32,
    name_len: i32,
    pointer: i32,
    capacity: i32,
    timeout: i64,
) -> Result<i32> {
    let room = Region::prove_items(memory(&call), pointer, capacity, ADDRESS_BYTES as u32)?;
    let memory = memory(&call);
    let name = Region::prove(memory, name, name_len)?;
    let request = patience(timeout).and_then(|timeout| {
        if name.len() > limit::HOST_NAME_BYTES_MAX {
            return Err(ErrorCode::Invalid);
        }
        let name = core::str::from_utf8(name.of(memory)).map_err(|_| ErrorCode::Invalid)?;
        Ok(SocketCall::Resolve { name: String::from(name), timeout })
    });
    match request.and_then(ask_network) {
        Ok(SocketReply::Addresses(addresses)) => {
            let of = |ip: &IpAddr| address_bytes(SocketAddr::new(*ip, 0));
            let bytes: Vec<u8> = addresses.iter().flat_map(of).collect();
            room.write(memory_mut(&mut call), &bytes);
            Ok(addresses.len() as i32)
        }
        other => Ok(done(other)),
    }
}

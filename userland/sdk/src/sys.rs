//! The host calls on wasm32: the only unsafe code of a program.
//!
//! Owns the imports of module `craton` (`docs/abi.md`) and a safe function for each. On other
//! targets `host::calls` has the same functions. The proofs all lean on the ABI's promise: the
//! host reads and writes only the ranges that it is given, during the call, and keeps no pointer.
//! See docs/decisions/0005-unsafe-in-the-sdk.md.

use crate::ahead::Ahead;
use crate::inbox::Inboxes;
use crate::mailbox::Select;
use crate::message::SHORT_BYTES;
use crate::net::RawAddress;
use crate::process::{Limits, SpawnCall};
use alloc::vec::Vec;
use core::cell::RefCell;
use craton_abi::{MonitorId, Pid, ProcessLimits};

/// What `receive` says about what it found; the layout is part of the ABI.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct ReceiveHeader {
    /// 0 for a message, 1 for the notice of a monitor, 2 for the end of a linked process, 3 for the
    /// answer to a request, 4 for a timer.
    pub(crate) kind: u32,
    /// Length in bytes of the payload, also where it did not fit.
    pub(crate) len: u32,
    /// The sender, or the watched process.
    pub(crate) from: [u8; Pid::BYTES],
    /// The tag of a message or timer, or the id of a monitor or request.
    pub(crate) tag: u64,
    /// Of a message, the request that it is, or 0; of a timer, which.
    pub(crate) id: u64,
}

/// Something of which a process has one.
struct OneThread<T>(T);

// SAFETY: a process is one thread: modules with threads or shared memory are no programs for a
// node, and an instance's statics are in its own memory. So nobody shares it.
unsafe impl<T> Sync for OneThread<T> {}

static INBOXES: OneThread<RefCell<Inboxes>> = OneThread(RefCell::new(Inboxes::new()));

static AHEAD: OneThread<RefCell<Ahead>> = OneThread(RefCell::new(Ahead::new()));

/// Does something with the messages that were taken ahead.
#[inline]
pub(crate) fn with_ahead<R>(change: impl FnOnce(&mut Ahead) -> R) -> R {
    change(&mut AHEAD.0.borrow_mut())
}

/// Does something with what came for the process's channels.
pub(crate) fn with_inboxes<R>(change: impl FnOnce(&mut Inboxes) -> R) -> R {
    change(&mut INBOXES.0.borrow_mut())
}

/// The bytes of a pid where it lies: wasm32 is little-endian.
fn in_bytes(pid: &Pid) -> *const [u8; Pid::BYTES] {
    core::ptr::from_ref(pid).cast()
}

const _: () = assert!(size_of::<Pid>() == Pid::BYTES, "a pid is its bytes, with none between");
const _: () = assert!(size_of::<Limits>() == ProcessLimits::BYTES, "limits are their bytes");
const _: () = assert!(size_of::<ReceiveHeader>() == 48, "the ABI says 48 bytes");
const _: () = assert!(core::mem::offset_of!(ReceiveHeader, tag) == 32, "the ABI says 32");

mod import {
    use super::ReceiveHeader;
    use crate::net::RawAddress;
    use craton_abi::Pid;

    #[link(wasm_import_module = "craton")]
    unsafe extern "C" {
        pub(crate) unsafe fn self_pid(out: *mut [u8; Pid::BYTES]);
        pub(crate) safe fn argument_len() -> u32;
        pub(crate) unsafe fn argument_read(to: *mut u8, len: usize) -> u32;
        pub(crate) safe fn clock_monotonic() -> u64;
        pub(crate) safe fn clock_wall() -> u64;
        pub(crate) unsafe fn random(to: *mut u8, len: usize);
        pub(crate) unsafe fn log(level: i32, text: *const u8, len: usize);
        pub(crate) safe fn yield_now();
        pub(crate) unsafe fn exit(reason: *const u8, len: usize) -> !;
        pub(crate) unsafe fn spawn(
            place_kind: i32,
            place: *const u8,
            program: *const u8,
            entry: *const u8,
            entry_len: usize,
            argument: *const u8,
            argument_len: usize,
            flags: i32,
            limits: *const u8,
            limits_len: usize,
            out_pid: *mut [u8; Pid::BYTES],
            out_monitor: *mut u64,
        ) -> i32;
        pub(crate) unsafe fn send(
            to: *const [u8; Pid::BYTES],
            tag: u64,
            payload: *const u8,
            len: usize,
            timeout_nanos: i64,
        ) -> i32;
        pub(crate) unsafe fn receive(
            to: *mut u8,
            capacity: usize,
            use_tag: i32,
            tag: u64,
            timeout_nanos: i64,
            out: *mut ReceiveHeader,
        ) -> i32;
        pub(crate) unsafe fn request(
            to: *const [u8; Pid::BYTES],
            tag: u64,
            payload: *const u8,
            len: usize,
            timeout_nanos: i64,
        ) -> i64;
        pub(crate) unsafe fn answer(
            to: *const [u8; Pid::BYTES],
            id: u64,
            payload: *const u8,
            len: usize,
        ) -> i32;
        pub(crate) safe fn set_timer(after_nanos: i64, tag: u64) -> i64;
        pub(crate) safe fn cancel_timer(id: u64) -> i32;
        pub(crate) unsafe fn monitor(target: *const [u8; Pid::BYTES]) -> i64;
        pub(crate) safe fn demonitor(id: u64) -> i32;
        pub(crate) unsafe fn link(target: *const [u8; Pid::BYTES]) -> i32;
        pub(crate) unsafe fn unlink(target: *const [u8; Pid::BYTES]) -> i32;
        pub(crate) safe fn trap_exits(trap: i32) -> i32;
        pub(crate) unsafe fn kill(target: *const [u8; Pid::BYTES]) -> i32;
        pub(crate) unsafe fn nodes(to: *mut u64, capacity: usize) -> i32;
        pub(crate) safe fn shards(node: u64) -> i32;
        pub(crate) unsafe fn name_register(name: *const u8, len: usize) -> i32;
        pub(crate) unsafe fn name_unregister(name: *const u8, len: usize) -> i32;
        pub(crate) unsafe fn name_find(
            name: *const u8,
            len: usize,
            out: *mut [u8; Pid::BYTES],
        ) -> i32;
        pub(crate) unsafe fn group_join(name: *const u8, len: usize) -> i32;
        pub(crate) unsafe fn group_leave(name: *const u8, len: usize) -> i32;
        pub(crate) unsafe fn group_members(
            name: *const u8,
            len: usize,
            out: *mut [u8; Pid::BYTES],
            capacity: usize,
        ) -> i32;
        pub(crate) safe fn tcp_listen(port: i32, flags: i32) -> i32;
        pub(crate) unsafe fn tcp_accept(socket: u32, timeout: i64, from: *mut RawAddress) -> i32;
        pub(crate) unsafe fn tcp_connect(to: *const RawAddress, flags: i32, timeout: i64) -> i32;
        pub(crate) unsafe fn socket_read(
            socket: u32,
            to: *mut u8,
            capacity: usize,
            timeout: i64,
        ) -> i32;
        pub(crate) unsafe fn socket_write(
            socket: u32,
            bytes: *const u8,
            len: usize,
            timeout: i64,
        ) -> i32;
        pub(crate) safe fn socket_finish(socket: u32) -> i32;
        pub(crate) safe fn socket_close(socket: u32) -> i32;
        pub(crate) unsafe fn socket_give(socket: u32, to: *const [u8; Pid::BYTES]) -> i32;
        pub(crate) unsafe fn socket_take(timeout: i64, from: *mut RawAddress) -> i32;
        pub(crate) safe fn socket_watch(socket: u32, after_nanos: i64, tag: u64) -> i64;
        pub(crate) safe fn udp_bind(port: i32) -> i32;
        pub(crate) unsafe fn udp_send(
            socket: u32,
            to: *const RawAddress,
            bytes: *const u8,
            len: usize,
        ) -> i32;
        pub(crate) unsafe fn udp_receive(
            socket: u32,
            to: *mut u8,
            capacity: usize,
            timeout: i64,
            from: *mut RawAddress,
        ) -> i32;
        pub(crate) unsafe fn resolve(
            name: *const u8,
            name_len: usize,
            to: *mut RawAddress,
            capacity: usize,
            timeout: i64,
        ) -> i32;
    }
}

pub(crate) use import::{
    cancel_timer, clock_monotonic, clock_wall, demonitor, set_timer, shards, socket_close,
    socket_finish, socket_watch, trap_exits, yield_now,
};

/// Destructors do not run in a process that was ended.
pub(crate) const fn is_unwinding() -> bool {
    false
}

pub(crate) fn self_pid() -> Pid {
    let mut out = [0; Pid::BYTES];
    // SAFETY: `out` is a live array of the length that the call writes.
    unsafe { import::self_pid(&mut out) };
    Pid::from_bytes(&out)
}

/// Gives `read` the argument. Nothing is allocated for one that is short.
#[inline]
pub(crate) fn with_argument<R>(read: impl FnOnce(&[u8]) -> R) -> R {
    let len = import::argument_len() as usize;
    let (mut short, mut long) = ([0; SHORT_BYTES], Vec::new());
    let place = if let Some(short) = short.get_mut(..len) {
        short
    } else {
        long.resize(len, 0);
        &mut long[..]
    };
    if len > 0 {
        // SAFETY: the pointer and length are those of one live buffer.
        unsafe { import::argument_read(place.as_mut_ptr(), place.len()) };
    }
    read(place)
}

pub(crate) fn random(to: &mut [u8]) {
    // SAFETY: the pointer and length are those of one live buffer.
    unsafe { import::random(to.as_mut_ptr(), to.len()) }
}

pub(crate) fn log(level: i32, text: &str) {
    // SAFETY: the pointer and length are those of one live text.
    unsafe { import::log(level, text.as_ptr(), text.len()) }
}

pub(crate) fn exit(reason: &[u8]) -> ! {
    // SAFETY: the pointer and length are those of one live slice.
    unsafe { import::exit(reason.as_ptr(), reason.len()) }
}

#[inline]
pub(crate) fn spawn(call: &SpawnCall<'_>) -> Result<(Pid, MonitorId), i32> {
    let mut pid = [0; Pid::BYTES];
    let mut monitor = 0;
    let program = call.program.map_or(core::ptr::null(), |program| program.0.as_ptr());
    // SAFETY: every pointer with a length is that of one live slice; `place` is 24 bytes, enough
    // for each kind of place; `program` is null or 32 live bytes; the limits are bytes without gaps
    // (asserted above) of the length that is given; the outputs are live and of the lengths that
    // the call writes.
    let answer = unsafe {
        import::spawn(
            call.place_kind,
            call.place.as_ptr(),
            program,
            call.entry.as_ptr(),
            call.entry.len(),
            call.argument.as_ptr(),
            call.argument.len(),
            i32::from(call.monitor) | i32::from(call.link) << 1,
            core::ptr::from_ref(call.limits).cast(),
            size_of::<Limits>(),
            &mut pid,
            &mut monitor,
        )
    };
    if answer < 0 { Err(answer) } else { Ok((Pid::from_bytes(&pid), MonitorId::new(monitor))) }
}

#[inline]
pub(crate) fn send(to: &Pid, tag: u64, payload: &[u8], timeout_nanos: i64) -> i32 {
    // SAFETY: `to` is a live pid; the pointer and length are those of one live slice.
    unsafe { import::send(in_bytes(to), tag, payload.as_ptr(), payload.len(), timeout_nanos) }
}

pub(crate) fn request(to: &Pid, tag: u64, payload: &[u8], timeout_nanos: i64) -> i64 {
    let to = to.to_bytes();
    // SAFETY: `to` is a live pid; the pointer and length are those of one live slice.
    unsafe { import::request(&to, tag, payload.as_ptr(), payload.len(), timeout_nanos) }
}

pub(crate) fn answer(to: &Pid, id: u64, payload: &[u8]) -> i32 {
    let to = to.to_bytes();
    // SAFETY: `to` is a live pid; the pointer and length are those of one live slice.
    unsafe { import::answer(&to, id, payload.as_ptr(), payload.len()) }
}

pub(crate) fn receive(
    to: &mut [u8],
    select: Select,
    timeout_nanos: i64,
    header: &mut ReceiveHeader,
) -> i32 {
    let (use_tag, tag) = match select {
        Select::Any => (0, 0),
        Select::Tag(tag) => (1, tag),
        Select::Id(id) => (2, id),
    };
    // SAFETY: the pointer and length are those of one live buffer; `header` is a live header with
    // the layout of the ABI, in which every bit pattern is valid.
    unsafe { import::receive(to.as_mut_ptr(), to.len(), use_tag, tag, timeout_nanos, header) }
}

/// As [`receive`] of whatever is next; how many messages follow it in `to`.
#[inline]
pub(crate) fn receive_several(
    to: &mut [u8],
    timeout_nanos: i64,
    header: &mut ReceiveHeader,
) -> i32 {
    // SAFETY: as in `receive`.
    unsafe { import::receive(to.as_mut_ptr(), to.len(), 3, 0, timeout_nanos, header) }
}

pub(crate) fn monitor(target: &Pid) -> i64 {
    let target = target.to_bytes();
    // SAFETY: `target` is a live pid.
    unsafe { import::monitor(&target) }
}

pub(crate) fn link(target: &Pid) -> i32 {
    let target = target.to_bytes();
    // SAFETY: `target` is a live pid.
    unsafe { import::link(&target) }
}

pub(crate) fn unlink(target: &Pid) -> i32 {
    let target = target.to_bytes();
    // SAFETY: `target` is a live pid.
    unsafe { import::unlink(&target) }
}

pub(crate) fn kill(target: &Pid) -> i32 {
    let target = target.to_bytes();
    // SAFETY: `target` is a live pid.
    unsafe { import::kill(&target) }
}

pub(crate) fn nodes(to: &mut [u64]) -> i32 {
    // SAFETY: the pointer and length are those of one live buffer.
    unsafe { import::nodes(to.as_mut_ptr(), to.len()) }
}

pub(crate) fn tcp_listen(port: u16, flags: i32) -> i32 {
    import::tcp_listen(port.into(), flags)
}

pub(crate) fn tcp_accept(socket: u32, timeout: i64, from: &mut RawAddress) -> i32 {
    // SAFETY: `from` is a live array of the length that the call writes.
    unsafe { import::tcp_accept(socket, timeout, from) }
}

pub(crate) fn tcp_connect(to: &RawAddress, flags: i32, timeout: i64) -> i32 {
    // SAFETY: `to` is a live address.
    unsafe { import::tcp_connect(to, flags, timeout) }
}

pub(crate) fn socket_read(socket: u32, to: &mut [u8], timeout: i64) -> i32 {
    // SAFETY: the pointer and length are those of one live buffer.
    unsafe { import::socket_read(socket, to.as_mut_ptr(), to.len(), timeout) }
}

pub(crate) fn socket_write(socket: u32, bytes: &[u8], timeout: i64) -> i32 {
    // SAFETY: the pointer and length are those of one live slice.
    unsafe { import::socket_write(socket, bytes.as_ptr(), bytes.len(), timeout) }
}

pub(crate) fn socket_give(socket: u32, to: &Pid) -> i32 {
    let to = to.to_bytes();
    // SAFETY: `to` is a live pid.
    unsafe { import::socket_give(socket, &to) }
}

pub(crate) fn socket_take(timeout: i64, from: &mut RawAddress) -> i32 {
    // SAFETY: `from` is a live array of the length that the call writes.
    unsafe { import::socket_take(timeout, from) }
}

pub(crate) fn udp_bind(port: u16) -> i32 {
    import::udp_bind(port.into())
}

pub(crate) fn udp_send(socket: u32, to: &RawAddress, bytes: &[u8]) -> i32 {
    // SAFETY: `to` is a live address; the pointer and length are those of one live slice.
    unsafe { import::udp_send(socket, to, bytes.as_ptr(), bytes.len()) }
}

pub(crate) fn udp_receive(socket: u32, to: &mut [u8], timeout: i64, from: &mut RawAddress) -> i32 {
    // SAFETY: the pointer and length are those of one live buffer; `from` is a live array of the
    // length that the call writes.
    unsafe { import::udp_receive(socket, to.as_mut_ptr(), to.len(), timeout, from) }
}

pub(crate) fn resolve(name: &str, to: &mut [RawAddress], timeout: i64) -> i32 {
    let (name, len) = (name.as_ptr(), name.len());
    // SAFETY: `name` and `len` are those of one live text; the other pointer and length are those
    // of one live buffer, in items of 20 bytes as the ABI has them.
    unsafe { import::resolve(name, len, to.as_mut_ptr(), to.len(), timeout) }
}

pub(crate) fn name_register(name: &str) -> i32 {
    // SAFETY: the pointer and length are those of one live text.
    unsafe { import::name_register(name.as_ptr(), name.len()) }
}

pub(crate) fn name_unregister(name: &str) -> i32 {
    // SAFETY: the pointer and length are those of one live text.
    unsafe { import::name_unregister(name.as_ptr(), name.len()) }
}

pub(crate) fn name_find(name: &str, out: &mut [u8; Pid::BYTES]) -> i32 {
    // SAFETY: the pointer and length are those of one live text; `out` is a live array of the
    // length that the call writes.
    unsafe { import::name_find(name.as_ptr(), name.len(), out) }
}

pub(crate) fn group_join(name: &str) -> i32 {
    // SAFETY: the pointer and length are those of one live text.
    unsafe { import::group_join(name.as_ptr(), name.len()) }
}

pub(crate) fn group_leave(name: &str) -> i32 {
    // SAFETY: the pointer and length are those of one live text.
    unsafe { import::group_leave(name.as_ptr(), name.len()) }
}

pub(crate) fn group_members(name: &str, out: &mut [[u8; Pid::BYTES]]) -> i32 {
    // SAFETY: the pointers and lengths are those of one live text and of one live buffer, whose
    // length is counted in pids as the call counts it.
    unsafe { import::group_members(name.as_ptr(), name.len(), out.as_mut_ptr(), out.len()) }
}

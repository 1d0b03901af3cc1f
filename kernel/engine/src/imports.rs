//! The functions that a guest may import: names and types of the guest ABI.
//!
//! Owns [`IMPORTS`] and [`WASI_IMPORTS`], the lists that the compiler checks a program against and
//! that the engine links. What each function does is written in `docs/abi.md`; `calls.rs` and
//! `wasi.rs` do it.

/// The module that a guest imports from.
pub const MODULE: &str = "craton";

/// The other one: what programs of ordinary toolchains import, of which nodes have a part.
pub const WASI_MODULE: &str = "wasi_snapshot_preview1";

/// The functions that a node has of `module`; `None` where it has no such module.
pub fn imports_of(module: &str) -> Option<&'static [Import]> {
    match module {
        MODULE => Some(&IMPORTS),
        WASI_MODULE => Some(&WASI_IMPORTS),
        _ => None,
    }
}

/// Name under which a guest exports its memory.
pub const MEMORY: &str = "memory";

/// Name under which a compiled program says that each of its entries sets up memory, data and
/// globals anew, and that it changes nothing else for good. No program may export it itself.
pub const BEGINS_ANEW: &str = "craton: begins anew";

/// Name under which a compiled program says that its active data are in none of its code: memories
/// that its processes get hold them from the beginning ([`crate::data_of`]). No program may export
/// it itself.
pub const DATA_IN_PAGES: &str = "craton: data in pages";

/// The type of a parameter or result.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Scalar {
    /// 32-bit integer; pointers and lengths are of this type.
    I32,
    /// 64-bit integer.
    I64,
}

/// One function of the guest ABI.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Import {
    /// Its name in its module.
    pub name: &'static str,
    /// What it takes.
    pub parameters: &'static [Scalar],
    /// What it returns, if anything.
    pub result: Option<Scalar>,
}

use Scalar::{I32, I64};

const fn import(
    name: &'static str,
    parameters: &'static [Scalar],
    result: Option<Scalar>,
) -> Import {
    Import { name, parameters, result }
}

/// Every function of the guest ABI.
pub const IMPORTS: [Import; 44] = [
    import("self_pid", &[I32], None),
    import("argument_len", &[], Some(I32)),
    import("argument_read", &[I32, I32], Some(I32)),
    import("clock_monotonic", &[], Some(I64)),
    import("clock_wall", &[], Some(I64)),
    import("random", &[I32, I32], None),
    import("log", &[I32, I32, I32], None),
    import("yield_now", &[], None),
    import("exit", &[I32, I32], None),
    import("spawn", &[I32, I32, I32, I32, I32, I32, I32, I32, I32, I32, I32, I32], Some(I32)),
    import("send", &[I32, I64, I32, I32, I64], Some(I32)),
    import("receive", &[I32, I32, I32, I64, I64, I32], Some(I32)),
    import("request", &[I32, I64, I32, I32, I64], Some(I64)),
    import("answer", &[I32, I64, I32, I32], Some(I32)),
    import("set_timer", &[I64, I64], Some(I64)),
    import("cancel_timer", &[I64], Some(I32)),
    import("monitor", &[I32], Some(I64)),
    import("demonitor", &[I64], Some(I32)),
    import("link", &[I32], Some(I32)),
    import("unlink", &[I32], Some(I32)),
    import("trap_exits", &[I32], Some(I32)),
    import("kill", &[I32], Some(I32)),
    import("nodes", &[I32, I32], Some(I32)),
    import("shards", &[I64], Some(I32)),
    import("tcp_listen", &[I32, I32], Some(I32)),
    import("tcp_accept", &[I32, I64, I32], Some(I32)),
    import("tcp_connect", &[I32, I32, I64], Some(I32)),
    import("socket_read", &[I32, I32, I32, I64], Some(I32)),
    import("socket_write", &[I32, I32, I32, I64], Some(I32)),
    import("socket_finish", &[I32], Some(I32)),
    import("socket_close", &[I32], Some(I32)),
    import("socket_give", &[I32, I32], Some(I32)),
    import("socket_take", &[I64, I32], Some(I32)),
    import("socket_watch", &[I32, I64, I64], Some(I64)),
    import("udp_bind", &[I32], Some(I32)),
    import("udp_send", &[I32, I32, I32, I32], Some(I32)),
    import("udp_receive", &[I32, I32, I32, I64, I32], Some(I32)),
    import("resolve", &[I32, I32, I32, I32, I64], Some(I32)),
    import("name_register", &[I32, I32], Some(I32)),
    import("name_unregister", &[I32, I32], Some(I32)),
    import("name_find", &[I32, I32, I32], Some(I32)),
    import("group_join", &[I32, I32], Some(I32)),
    import("group_leave", &[I32, I32], Some(I32)),
    import("group_members", &[I32, I32, I32, I32], Some(I32)),
];

/// Every function of [`WASI_MODULE`] that a node has: what a command-line program needs that uses
/// neither files nor sockets.
pub const WASI_IMPORTS: [Import; 18] = [
    import("args_get", &[I32, I32], Some(I32)),
    import("args_sizes_get", &[I32, I32], Some(I32)),
    import("clock_res_get", &[I32, I32], Some(I32)),
    import("clock_time_get", &[I32, I64, I32], Some(I32)),
    import("environ_get", &[I32, I32], Some(I32)),
    import("environ_sizes_get", &[I32, I32], Some(I32)),
    import("fd_close", &[I32], Some(I32)),
    import("fd_fdstat_get", &[I32, I32], Some(I32)),
    import("fd_prestat_dir_name", &[I32, I32, I32], Some(I32)),
    import("fd_prestat_get", &[I32, I32], Some(I32)),
    import("fd_read", &[I32, I32, I32, I32], Some(I32)),
    import("fd_seek", &[I32, I64, I32, I32], Some(I32)),
    import("fd_tell", &[I32, I32], Some(I32)),
    import("fd_write", &[I32, I32, I32, I32], Some(I32)),
    import("poll_oneoff", &[I32, I32, I32, I32], Some(I32)),
    import("proc_exit", &[I32], None),
    import("random_get", &[I32, I32], Some(I32)),
    import("sched_yield", &[], Some(I32)),
];

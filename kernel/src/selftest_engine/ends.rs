//! Tests of how processes end, and of what never becomes one.

use super::{Bench, Outcomes, Random, check};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use craton_abi::{ErrorCode, ExitReason, ProcessLimits, Resource, TrapKind, limit};
use craton_bundle::{CompilerKey, program_id};
use craton_engine::LoadError;
use craton_shard::port::{HostCall, HostReply, Outcome, Resume};

const MUTATIONS: usize = 300;

pub(super) fn bad_bundles_are_refused(bench: &mut Bench) -> Outcomes {
    let good = bench.bundle;
    let stranger = CompilerKey::from_bytes([1; 32]);
    for (keys, who) in [(&[][..], "no key"), (&[stranger][..], "a stranger's key")] {
        let refused = bench.engine.programs().load(program_id(b"x"), good, keys);
        check(matches!(refused, Err(LoadError::Bundle(_))), || format!("accepted with {who}"))?;
    }
    let mut unsigned = good.to_vec();
    unsigned[40..104].fill(0);
    let refused = bench.engine.programs().load(program_id(&unsigned), &unsigned, &[bench.key]);
    check(refused.is_err(), || String::from("an unsigned bundle was accepted"))?;
    let mut random = Random(1);
    for seed in 0..MUTATIONS {
        let mut bad = good.to_vec();
        let at = random.below(if seed % 2 == 0 { 300 } else { bad.len() });
        bad[at] ^= 1 << random.below(8);
        let refused = bench.engine.programs().load(program_id(&bad), &bad, &[bench.key]);
        check(refused.is_err(), || format!("accepted with byte {at} changed"))?;
    }
    Ok(())
}

pub(super) fn normal_ends(bench: &mut Bench) -> Outcomes {
    for _ in 0..100 {
        let end = bench.run("nothing", b"")?;
        check(end == ExitReason::Normal, || format!("nothing ended with {end}"))?;
    }
    Ok(())
}

pub(super) fn every_trap_ends_its_process_alone(bench: &mut Bench) -> Outcomes {
    let bystander = bench.start("spin", b"")?;
    let traps = [
        ("trap_unreachable", TrapKind::Unreachable),
        ("trap_memory", TrapKind::MemoryOutOfBounds),
        ("trap_memory_far", TrapKind::MemoryOutOfBounds),
        ("trap_memory_behind", TrapKind::MemoryOutOfBounds),
        ("trap_memory_write", TrapKind::MemoryOutOfBounds),
        ("trap_fill", TrapKind::MemoryOutOfBounds),
        ("trap_table", TrapKind::TableOutOfBounds),
        ("trap_null", TrapKind::IndirectCall),
        ("trap_type", TrapKind::IndirectCall),
        ("trap_divide", TrapKind::Arithmetic),
        ("trap_overflow", TrapKind::Arithmetic),
        ("trap_convert", TrapKind::Arithmetic),
        ("trap_stack", TrapKind::StackOverflow),
    ];
    let mut resume = Resume::Start;
    for (entry, kind) in traps {
        match bench.run(entry, b"")? {
            ExitReason::Trap(found, text) if found == kind => {
                let named = entry == "trap_stack" || text.contains(entry);
                check(named, || format!("{entry}: its backtrace does not name it: {text:?}"))?;
            }
            other => return Err(format!("{entry} ended with {other}")),
        }
        let outcome = bench.resume(bystander, resume);
        resume = Resume::Continue;
        check(outcome == Outcome::Preempted, || {
            format!("after {entry} another process came back with {outcome:?}")
        })?;
    }
    bench.engine.reclaim(bystander);
    hostile_names(bench)
}

/// A program chooses the names in its backtraces: they are shown as they are.
fn hostile_names(bench: &mut Bench) -> Outcomes {
    let end = bench.run("trap_names", b"")?;
    let shown = match &end {
        ExitReason::Trap(TrapKind::Unreachable, text) => text.as_str(),
        _ => "",
    };
    let expected = "  at _RINvB_1aE\n  at _RYB_B_\n  at trap_names";
    check(shown == expected, || format!("hostile names ended with {end}"))
}

/// Each has the stack that its spawn gives it, and those after it have theirs. A frame has 16 bytes
/// at least, and far fewer than 100.
pub(super) fn stacks(bench: &mut Bench) -> Outcomes {
    let (least, most) = (limit::PROCESS_STACK_BYTES_MIN, limit::PROCESS_STACK_BYTES_MAX);
    let usual = limit::PROCESS_STACK_BYTES;
    let dives = [
        (least, 10, true),
        (least, 400, false),
        (usual, 400, true),
        (usual, 4_000, false),
        (most, 4_000, true),
        (usual, 4_000, false),
        (least, 400, false),
        (3 * usual, 4_000, false),
        (most, 100_000, false),
        (usual, 400, true),
        // Another node's word: as much as there can be, and no more.
        (0, 400, false),
        (u32::MAX, 100_000, false),
    ];
    for (stack_bytes, depth, fits) in dives {
        let limits = ProcessLimits { stack_bytes, ..ProcessLimits::default() };
        let slot = bench.start_limited("dive", &u32::to_le_bytes(depth), limits);
        let end = bench.finish(slot.map_err(|e| format!("{e}"))?, Resume::Start)?;
        let as_expected = match end {
            ExitReason::Normal => fits,
            ExitReason::Trap(TrapKind::StackOverflow, _) => !fits,
            _ => false,
        };
        let what = || format!("{depth} calls on a stack of {stack_bytes} ended with {end}");
        check(as_expected, what)?;
    }
    [least, usual, most].into_iter().try_for_each(|bytes| deep_host_calls(bench, bytes))
}

/// Host calls made with ever less wasm stack left, until it is used up: each must have the host's
/// part of the stack, and the last ends the process.
fn deep_host_calls(bench: &mut Bench, stack_bytes: u32) -> Outcomes {
    let limits = ProcessLimits { stack_bytes, ..ProcessLimits::default() };
    let slot = bench.start_limited("trap_stack_in_call", b"", limits);
    let slot = slot.map_err(|e| format!("{e}"))?;
    let mut outcome = bench.advance(slot, Resume::Start);
    while outcome == Outcome::Call(HostCall::Yield) {
        outcome = bench.advance(slot, Resume::Reply(HostReply::Done));
    }
    bench.engine.reclaim(slot);
    let overflowed =
        matches!(outcome, Outcome::Exited(ExitReason::Trap(TrapKind::StackOverflow, _)));
    check(overflowed, || format!("a stack used up by calls ended with {outcome:?}"))
}

pub(super) fn memory_limits(bench: &mut Bench) -> Outcomes {
    let page = 64 << 10;
    let limits = |bytes| ProcessLimits { memory_bytes: bytes, ..ProcessLimits::default() };
    // More than the machine has: the frames run out, not the limit.
    for bytes in [2 * page, 5 * page, 4 << 30] {
        let slot = bench.start_limited("grow", b"", limits(bytes)).map_err(|e| format!("{e}"))?;
        let end = bench.finish(slot, Resume::Start)?;
        let expected = ExitReason::Limit(Resource::Memory);
        check(end == expected, || format!("growing to {bytes} bytes ended with {end}"))?;
    }
    let slot = bench.start_limited("grow_refused", b"", limits(3 * page));
    let slot = slot.map_err(|e| format!("{e}"))?;
    let end = bench.finish(slot, Resume::Start)?;
    check(end == ExitReason::Normal, || format!("a refused growth ended with {end}"))?;
    let end = bench.run("grow_tables", b"")?;
    check(end == ExitReason::Normal, || format!("growing tables ended with {end}"))?;
    full_machine(bench)?;
    let started = bench.start_limited("nothing", b"", limits(2 * page - 1));
    check(started == Err(ErrorCode::LimitMemory), || {
        format!("a memory above its limit started: {started:?}")
    })
}

/// More processes than slots that are kept warm.
const DIRTY: usize = 40;

/// No process finds what another left in the memory that was its own.
pub(super) fn slots_are_clean(bench: &mut Bench) -> Outcomes {
    for entry in ["dirty", "clean", "dirty", "clean"] {
        let mut live = Vec::new();
        for _ in 0..DIRTY {
            live.push(bench.start(entry, b"")?);
        }
        for slot in live {
            let end = bench.finish(slot, Resume::Start)?;
            check(end == ExitReason::Normal, || format!("{entry} ended with {end}"))?;
        }
    }
    slots_end_where_they_did(bench)
}

/// What the last process had grown by, much or little, is no part of the next one's memory.
fn slots_end_where_they_did(bench: &mut Bench) -> Outcomes {
    for grows in ["dirty", "grow_refused"] {
        for behind in ["trap_memory_behind", "trap_memory_write"] {
            bench.run(grows, b"")?;
            let end = bench.run(behind, b"")?;
            let trapped = matches!(end, ExitReason::Trap(TrapKind::MemoryOutOfBounds, _));
            check(trapped, || format!("after {grows} {behind} ended with {end}"))?;
        }
    }
    Ok(())
}

/// More small processes than fit where a longest message does not.
const STARTS_IN_A_MESSAGE_MAX: usize = 32;

/// Messages that nobody takes fill the machine: in the end sends and starts are refused, and the
/// kernel keeps its reserve.
fn full_machine(bench: &mut Bench) -> Outcomes {
    let slot = bench.start("send_until_refused", b"")?;
    let mut held = Vec::new();
    let mut resume = Resume::Start;
    let end = loop {
        match bench.advance(slot, resume) {
            Outcome::Call(HostCall::Send { payload, .. }) => held.push(payload),
            other => break other,
        }
        resume = Resume::Reply(HostReply::Done);
    };
    bench.engine.reclaim(slot);
    check(end == Outcome::Exited(ExitReason::Normal), || format!("sending ended with {end:?}"))?;
    check(held.len() > 100, || format!("only {} messages fit", held.len()))?;
    let free = craton_hal::memory::physical::free_frames();
    let reserve = craton_hal::memory::physical::kernel_reserve_frames();
    check(free >= reserve, || format!("{free} frames are left of a reserve of {reserve}"))?;
    // What is left is less than a message: a few small processes fit it, and then none does.
    let mut started = Vec::new();
    let refusal = loop {
        match bench.start_limited("nothing", b"", ProcessLimits::default()) {
            Ok(slot) if started.len() < STARTS_IN_A_MESSAGE_MAX => started.push(slot),
            other => break other,
        }
    };
    for slot in started {
        bench.engine.reclaim(slot);
    }
    check(refusal == Err(ErrorCode::LimitMemory), || format!("a full machine: {refusal:?}"))?;
    drop(held);
    bench.run("nothing", b"").map(drop)
}

/// Each gives one host call one bad pointer.
const BAD_POINTERS: [&str; 65] = [
    "bad_self_pid",
    "bad_argument_read",
    "bad_argument_read_empty",
    "bad_random",
    "bad_log",
    "bad_exit",
    "bad_spawn_node",
    "bad_spawn_near",
    "bad_spawn_program",
    "bad_spawn_entry",
    "bad_spawn_argument",
    "bad_spawn_out_pid",
    "bad_spawn_out_monitor",
    "bad_send_to",
    "bad_send_message",
    "bad_receive_room",
    "bad_receive_header",
    "bad_request_to",
    "bad_request_message",
    "bad_answer_to",
    "bad_answer_message",
    "bad_monitor",
    "bad_link",
    "bad_unlink",
    "bad_name_register",
    "bad_name_unregister",
    "bad_name_find",
    "bad_name_find_out",
    "bad_group_join",
    "bad_group_leave",
    "bad_group_members",
    "bad_group_members_out",
    "bad_kill",
    "bad_nodes",
    "bad_nodes_overflow",
    "bad_wasi_args",
    "bad_wasi_args_texts",
    "bad_wasi_args_sizes",
    "bad_wasi_environ",
    "bad_wasi_environ_sizes",
    "bad_wasi_clock_res",
    "bad_wasi_clock",
    "bad_wasi_fdstat",
    "bad_wasi_random",
    "bad_wasi_write_list",
    "bad_wasi_write_count",
    "bad_wasi_write_buffer",
    "bad_wasi_write_out",
    "bad_wasi_read_buffer",
    "bad_wasi_read_out",
    "bad_wasi_poll_from",
    "bad_wasi_poll_to",
    "bad_wasi_poll_told",
    "bad_tcp_accept",
    "bad_tcp_connect",
    "bad_socket_read",
    "bad_socket_write",
    "bad_socket_give",
    "bad_socket_take",
    "bad_udp_send_to",
    "bad_udp_send_bytes",
    "bad_udp_receive_room",
    "bad_udp_receive_from",
    "bad_resolve_name",
    "bad_resolve_room",
];

pub(super) fn bad_pointers(bench: &mut Bench) -> Outcomes {
    for entry in BAD_POINTERS {
        match bench.run(entry, b"")? {
            ExitReason::Trap(TrapKind::BadPointer, _) => {}
            other => return Err(format!("{entry} ended with {other}")),
        }
    }
    Ok(())
}

pub(super) fn start_errors(bench: &mut Bench) -> Outcomes {
    for entry in ["absent", "", "memory", "takes_one"] {
        let started = bench.start_limited(entry, b"", ProcessLimits::default());
        check(started == Err(ErrorCode::NoEntry), || format!("{entry:?}: {started:?}"))?;
    }
    let program = core::mem::replace(&mut bench.program, program_id(b"absent"));
    let started = bench.start_limited("nothing", b"", ProcessLimits::default());
    bench.program = program;
    check(started == Err(ErrorCode::NoProgram), || format!("{started:?}"))
}

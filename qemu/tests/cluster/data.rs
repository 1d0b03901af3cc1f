//! What a program's data cost each time that a process of it begins.
//!
//! A process that begins in a warm slot finds its memory zeroed, and its data are copied anew. The
//! machine counts instructions, so that the figure is of the code and not of the host.

use crate::bed::{Bed, COUNTED_SHIFT, compile_for, run_quiet};
use craton_abi::ExitReason;
use craton_tool::error::Result;

const SPAWNS: u64 = 100;
/// Of the longer program's data.
const DATA_BYTES: u64 = 256 << 10;
/// Most instructions that a KiB of data may add to a spawn; docs/promises.md says how many it does.
const INSTRUCTIONS_PER_KIB_MAX: u64 = 600;

/// Spawns and awaits so many one after another, and ends with an error of the nanoseconds that the
/// second half took.
fn program(data_bytes: u64) -> String {
    let data = "a".repeat(data_bytes as usize);
    format!(
        r#"(module
  (import "craton" "spawn" (func $spawn
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "craton" "receive" (func $receive (param i32 i32 i32 i64 i64 i32) (result i32)))
  (import "craton" "clock_monotonic" (func $now (result i64)))
  (import "craton" "exit" (func $exit (param i32 i32)))
  (memory (export "memory") {pages})
  (data (i32.const 0) "nothing")
  (data (i32.const 65536) "{data}")
  (func (export "nothing"))
  (func $some (param $left i32)
    (loop $next
      (if (call $spawn (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 7)
            (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0)
            (i32.const 512) (i32.const 544))
        (then (unreachable)))
      (if (call $receive (i32.const 1024) (i32.const 4200) (i32.const 0) (i64.const 0)
            (i64.const -1) (i32.const 256))
        (then (unreachable)))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $next (local.get $left))))
  (func (export "main") (local $since i64)
    (call $some (i32.const {half}))
    (local.set $since (call $now))
    (call $some (i32.const {half}))
    (i32.store8 (i32.const 64) (i32.const 5))
    (i64.store (i32.const 65) (i64.sub (call $now) (local.get $since)))
    (call $exit (i32.const 64) (i32.const 9))))"#,
        pages = 1 + data_bytes.div_ceil(65_536),
        half = SPAWNS / 2,
    )
}

/// Instructions of one spawn, exit and notice of a program with so much data.
fn instructions(bed: &Bed, data_bytes: u64) -> Result<u64> {
    let bundle = compile_for("data", &program(data_bytes), &bed.keys);
    match run_quiet(&mut bed.client(0), &bundle, &[])?.reason {
        ExitReason::Error(bytes) => {
            let nanos = u64::from_le_bytes(bytes.try_into().unwrap());
            Ok((nanos >> COUNTED_SHIFT) / (SPAWNS / 2))
        }
        reason => panic!("{reason}"),
    }
}

#[test]
fn data_cost_a_spawn_what_is_promised() {
    let bed = Bed::boot_counted(64);
    let without = instructions(&bed, 0).unwrap();
    let with = instructions(&bed, DATA_BYTES).unwrap();
    let of_data = with.checked_sub(without).expect("the data were not copied");
    let per_kib = of_data / (DATA_BYTES >> 10);
    println!("{without} instructions without data, {with} with, {per_kib} for each KiB");
    assert!(of_data > 0, "the data were not copied");
    assert!(per_kib <= INSTRUCTIONS_PER_KIB_MAX, "{per_kib} instructions for each KiB");
}

//! What a program's data cost each time that a process of it begins.
//!
//! A process that begins in a warm slot finds the pages of data that the last one wrote to copied
//! anew, and those alone. The machine counts instructions, so that the figure is of the code and
//! not of the host.

use crate::bed::{Bed, COUNTED_SHIFT, compile_for, run_quiet};
use craton_abi::ExitReason;
use craton_tool::error::Result;

const SPAWNS: u64 = 100;
/// Of the longer program's data.
const DATA_BYTES: u64 = 256 << 10;
/// Most instructions that a KiB of data that is written to may add to a spawn; docs/promises.md
/// says how many it does.
const INSTRUCTIONS_PER_KIB_MAX: u64 = 600;
/// Most that a KiB that nobody touches may.
const UNTOUCHED_PER_KIB_MAX: u64 = 5;

/// Spawns and awaits so many one after another, and ends with an error of the nanoseconds that the
/// second half took. Each writes to every page of so much of its data.
fn program(data_bytes: u64, touched_bytes: u64) -> String {
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
  (func (export "nothing") (local $left i32)
    (local.set $left (i32.const {touched_bytes}))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $left)))
        (local.set $left (i32.sub (local.get $left) (i32.const 4096)))
        (if (i32.ne (i32.load8_u offset=65536 (local.get $left)) (i32.const 97))
          (then (unreachable)))
        (i32.store8 offset=65536 (local.get $left) (i32.const 98))
        (br $next))))
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

/// Instructions of one spawn, exit and notice of a program with so much data, and so much of it
/// touched.
fn instructions(bed: &Bed, data_bytes: u64, touched_bytes: u64) -> Result<u64> {
    let bundle = compile_for("data", &program(data_bytes, touched_bytes), &bed.keys);
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
    let without = instructions(&bed, 0, 0).unwrap();
    let per_kib = |touched_bytes| {
        let with = instructions(&bed, DATA_BYTES, touched_bytes).unwrap();
        let per_kib = with.saturating_sub(without) / (DATA_BYTES >> 10);
        println!("{without} instructions without data, {with} with, {per_kib} for each KiB");
        per_kib
    };
    let (untouched, touched) = (per_kib(0), per_kib(DATA_BYTES));
    assert!(untouched <= UNTOUCHED_PER_KIB_MAX, "{untouched} instructions for each KiB");
    assert!(touched > 0, "the data were not made what they are in the beginning");
    assert!(touched <= INSTRUCTIONS_PER_KIB_MAX, "{touched} instructions for each KiB");
}

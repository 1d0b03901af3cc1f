;; Watches a process on every other node, and ends with the first that it hears: an error whose
;; bytes are the watched pid (24) and the exit reason. Who is watched ends with its watcher.
(module
  (import "craton" "nodes" (func $nodes (param i32 i32) (result i32)))
  (import "craton" "spawn" (func $spawn
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "craton" "self_pid" (func $self_pid (param i32)))
  (import "craton" "argument_read" (func $argument_read (param i32 i32) (result i32)))
  (import "craton" "monitor" (func $monitor (param i32) (result i64)))
  (import "craton" "receive" (func $receive (param i32 i32 i32 i64 i64 i32) (result i32)))
  (import "craton" "log" (func $log (param i32 i32 i32)))
  (import "craton" "exit" (func $exit (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "wait")
  (data (i32.const 16) "watching")
  (data (i32.const 32) "\05cannot spawn")
  (func (export "wait")
    (drop (call $argument_read (i32.const 600) (i32.const 24)))
    (drop (call $monitor (i32.const 600)))
    (drop (call $receive (i32.const 2048) (i32.const 4096) (i32.const 0) (i64.const 0)
      (i64.const -1) (i32.const 256))))
  (func (export "main") (local $count i32) (local $at i32)
    (call $self_pid (i32.const 600))
    (local.set $count (call $nodes (i32.const 1024) (i32.const 16)))
    (local.set $at (i32.const 1))
    (block $all
      (loop $next
        (br_if $all (i32.ge_u (local.get $at) (local.get $count)))
        (if (call $spawn
              (i32.const 2) (i32.add (i32.const 1024) (i32.mul (local.get $at) (i32.const 8)))
              (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 600) (i32.const 24)
              (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 512) (i32.const 544))
          (then (call $exit (i32.const 32) (i32.const 13))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (call $log (i32.const 2) (i32.const 16) (i32.const 8))
    (loop $again
      (drop (call $receive (i32.const 2073) (i32.const 8192) (i32.const 0) (i64.const 0)
        (i64.const -1) (i32.const 256)))
      (br_if $again (i32.ne (i32.load (i32.const 256)) (i32.const 1))))
    (i32.store8 (i32.const 2048) (i32.const 5))
    (memory.copy (i32.const 2049) (i32.const 264) (i32.const 24))
    (call $exit (i32.const 2048) (i32.add (i32.const 25) (i32.load (i32.const 260))))))

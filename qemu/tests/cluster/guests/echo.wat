;; Sends its standard input to its standard output.
(module
  (import "craton" "argument_read" (func $argument_read (param i32 i32) (result i32)))
  (import "craton" "send" (func $send (param i32 i64 i32 i32 i64) (result i32)))
  (import "craton" "receive" (func $receive (param i32 i32 i32 i64 i64 i32) (result i32)))
  (memory (export "memory") 4)
  (func (export "main") (local $length i32)
    ;; The console's pid at 0, that of standard input at 24.
    (drop (call $argument_read (i32.const 0) (i32.const 48)))
    (i32.store (i32.const 64) (i32.const 65536))
    (loop $again
      (if (call $send (i32.const 24) (i64.const 0x8000000000000003)
            (i32.const 64) (i32.const 4) (i64.const -1))
        (then (unreachable)))
      (if (call $receive (i32.const 4096) (i32.const 65536) (i32.const 1)
            (i64.const 0x8000000000000004) (i64.const -1) (i32.const 128))
        (then (unreachable)))
      (local.set $length (i32.load (i32.const 132)))
      (if (local.get $length)
        (then
          (if (call $send (i32.const 0) (i64.const 0x8000000000000001)
                (i32.const 4096) (local.get $length) (i64.const 60000000000))
            (then (unreachable)))
          (br $again))))))

# Traps in WebAssembly's own instructions, for hostile.rs.

.tabletype __indirect_function_table, funcref

.section .text.hostile_divide,"",@
.globl hostile_divide
.type hostile_divide,@function
hostile_divide:
    .functype hostile_divide (i32, i32) -> (i32)
    local.get 0
    local.get 1
    i32.div_s
    end_function

.section .text.hostile_load,"",@
.globl hostile_load
.type hostile_load,@function
hostile_load:
    .functype hostile_load () -> (i32)
    i32.const -256
    i32.load 0
    end_function

.section .text.hostile_store,"",@
.globl hostile_store
.type hostile_store,@function
hostile_store:
    .functype hostile_store () -> ()
    i32.const -256
    i32.const 1
    i32.store 0
    end_function

.section .text.hostile_trap,"",@
.globl hostile_trap
.type hostile_trap,@function
hostile_trap:
    .functype hostile_trap () -> ()
    unreachable
    end_function

.section .text.hostile_recurse,"",@
.globl hostile_recurse
.type hostile_recurse,@function
hostile_recurse:
    .functype hostile_recurse (i32) -> (i32)
    local.get 0
    i32.const 1
    i32.add
    call hostile_recurse
    i32.const 1
    i32.add
    end_function

.section .text.hostile_call,"",@
.globl hostile_call
.type hostile_call,@function
hostile_call:
    .functype hostile_call (i32) -> ()
    local.get 0
    call_indirect __indirect_function_table, () -> ()
    end_function

.section .text.hostile_spin,"",@
.globl hostile_spin
.type hostile_spin,@function
hostile_spin:
    .functype hostile_spin () -> ()
    loop
    br 0
    end_loop
    end_function

.section .text.hostile_fill,"",@
.globl hostile_fill
.type hostile_fill,@function
hostile_fill:
    .functype hostile_fill (i32) -> ()
    loop
    local.get 0
    i32.const 1
    i32.const 1073741824
    memory.fill 0
    br 0
    end_loop
    end_function

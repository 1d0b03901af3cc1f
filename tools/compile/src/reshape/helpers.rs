//! The functions that are added to a program.
//!
//! Owns [`chunked`], which does a bulk instruction in chunks. All of its operands are `(to, second,
//! length)`, and `second` is where to copy from or what to fill with. Its outcome is that of the
//! one instruction: if any of it is out of bounds nothing is written, and where source and target
//! overlap the copy begins at the end that is not overwritten first.

use super::Bulk;
use wasm_encoder::{BlockType, Function, Instruction as I};

const TO: u32 = 0;
const SECOND: u32 = 1;
const LEN: u32 = 2;
const PAGE_BITS: i64 = 16;

/// The function that does `bulk` in chunks; `segment_len` is the length of the segment it copies
/// from.
pub(super) fn chunked(bulk: Bulk, segment_len: Option<u32>) -> Function {
    let mut function = Function::new([]);
    let unit = bulk.unit() as i32;
    let mut emit = |instructions: &[I<'_>]| {
        for instruction in instructions {
            function.instruction(instruction);
        }
    };
    // Short, or out of bounds, where the instruction traps: as it is.
    emit(&[I::LocalGet(LEN), I::I32Const(unit), I::I32LeU]);
    emit(&beyond(TO, &size_of_target(bulk)));
    emit(&[I::I32Or]);
    if let Some(size) = size_of_source(bulk, segment_len) {
        emit(&beyond(SECOND, &size));
        emit(&[I::I32Or]);
    }
    emit(&[I::If(BlockType::Empty)]);
    emit(&all_operands());
    emit(&[operation(bulk), I::Return, I::End]);
    if let Bulk::MemoryCopy | Bulk::TableCopy { .. } = bulk {
        emit(&[I::LocalGet(TO), I::LocalGet(SECOND), I::I32GtU, I::If(BlockType::Empty)]);
        emit(&downwards(bulk, unit));
        emit(&[I::Return, I::End]);
    }
    emit(&upwards(bulk, unit));
    emit(&[I::End]);
    function
}

/// Chunks from the first to the last.
fn upwards(bulk: Bulk, unit: i32) -> Vec<I<'static>> {
    let mut code = vec![I::Loop(BlockType::Empty)];
    code.extend([I::LocalGet(TO), I::LocalGet(SECOND), I::I32Const(unit), operation(bulk)]);
    code.extend(step(TO, unit, I::I32Add));
    if !is_fill(bulk) {
        code.extend(step(SECOND, unit, I::I32Add));
    }
    code.extend(step(LEN, unit, I::I32Sub));
    code.extend([I::LocalGet(LEN), I::I32Const(unit), I::I32GtU, I::BrIf(0), I::End]);
    code.extend(all_operands());
    code.push(operation(bulk));
    code
}

/// Chunks from the last to the first.
fn downwards(bulk: Bulk, unit: i32) -> Vec<I<'static>> {
    let mut code = vec![I::Loop(BlockType::Empty)];
    code.extend(step(LEN, unit, I::I32Sub));
    code.extend([I::LocalGet(TO), I::LocalGet(LEN), I::I32Add]);
    code.extend([I::LocalGet(SECOND), I::LocalGet(LEN), I::I32Add]);
    code.extend([I::I32Const(unit), operation(bulk)]);
    code.extend([I::LocalGet(LEN), I::I32Const(unit), I::I32GtU, I::BrIf(0), I::End]);
    code.extend(all_operands());
    code.push(operation(bulk));
    code
}

fn step(local: u32, unit: i32, how: I<'static>) -> [I<'static>; 4] {
    [I::LocalGet(local), I::I32Const(unit), how, I::LocalSet(local)]
}

fn all_operands() -> [I<'static>; 3] {
    [I::LocalGet(TO), I::LocalGet(SECOND), I::LocalGet(LEN)]
}

fn is_fill(bulk: Bulk) -> bool {
    matches!(bulk, Bulk::MemoryFill | Bulk::TableFill(_))
}

/// Whether `local` plus the length is more than `size`, which is 64 bits wide, as the sum is.
fn beyond(local: u32, size: &[I<'static>]) -> Vec<I<'static>> {
    let mut code = vec![I::LocalGet(local), I::I64ExtendI32U];
    code.extend([I::LocalGet(LEN), I::I64ExtendI32U, I::I64Add]);
    code.extend_from_slice(size);
    code.push(I::I64GtU);
    code
}

fn memory_bytes() -> Vec<I<'static>> {
    vec![I::MemorySize(0), I::I64ExtendI32U, I::I64Const(PAGE_BITS), I::I64Shl]
}

fn table_elements(table: u32) -> Vec<I<'static>> {
    vec![I::TableSize(table), I::I64ExtendI32U]
}

fn size_of_target(bulk: Bulk) -> Vec<I<'static>> {
    match bulk {
        Bulk::MemoryFill | Bulk::MemoryCopy | Bulk::MemoryInit(_) => memory_bytes(),
        Bulk::TableFill(table)
        | Bulk::TableCopy { to: table, .. }
        | Bulk::TableInit { table, .. } => table_elements(table),
    }
}

/// A segment that was dropped is shorter than it was: then the first chunk traps, as all would.
fn size_of_source(bulk: Bulk, segment_len: Option<u32>) -> Option<Vec<I<'static>>> {
    match bulk {
        Bulk::MemoryFill | Bulk::TableFill(_) => None,
        Bulk::MemoryCopy => Some(memory_bytes()),
        Bulk::TableCopy { from, .. } => Some(table_elements(from)),
        Bulk::MemoryInit(_) | Bulk::TableInit { .. } => {
            segment_len.map(|len| vec![I::I64Const(i64::from(len))])
        }
    }
}

fn operation(bulk: Bulk) -> I<'static> {
    match bulk {
        Bulk::MemoryFill => I::MemoryFill(0),
        Bulk::MemoryCopy => I::MemoryCopy { src_mem: 0, dst_mem: 0 },
        Bulk::MemoryInit(data_index) => I::MemoryInit { mem: 0, data_index },
        Bulk::TableFill(table) => I::TableFill(table),
        Bulk::TableCopy { to, from } => I::TableCopy { src_table: from, dst_table: to },
        Bulk::TableInit { table, segment } => I::TableInit { elem_index: segment, table },
    }
}

/// Grows the memory by `pages`. Refused, it traps, which after a refusal means out of memory.
pub(super) fn grow_or_trap(function: &mut Function, pages: u32) {
    function.instruction(&I::I32Const(pages as i32));
    function.instruction(&I::MemoryGrow(0));
    function.instruction(&I::I32Const(-1));
    function.instruction(&I::I32Eq);
    function.instruction(&I::If(BlockType::Empty));
    function.instruction(&I::Unreachable);
    function.instruction(&I::End);
}

/// Calls some functions, then another in its own place, so that backtraces do not show it.
pub(super) fn in_turn(first: impl Iterator<Item = u32>, last: u32) -> Function {
    let mut function = Function::new([]);
    for called in first {
        function.instruction(&I::Call(called));
    }
    function.instruction(&I::ReturnCall(last));
    function.instruction(&I::End);
    function
}

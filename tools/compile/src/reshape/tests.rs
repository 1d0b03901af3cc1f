//! A reshaped program does what the program does: on random operands, and where it starts late.

use super::*;
use crate::tests::wasm;
use craton_engine::data_of;
use wasmtime::{
    Engine, Instance, Module, Store, StoreLimits, StoreLimitsBuilder, Trap, WasmParams,
};

/// Every bulk instruction, over all of a memory of 1 MiB and of two tables.
const BULK: &str = r#"(module
    (memory (export "memory") 16)
    (table $a 20000 funcref) (table $b 20000 funcref)
    (data $short "0123456789") (data $long "LONG")
    (elem declare func $f0 $f1 $f2)
    (elem $items func ELEMENTS)
    (type $id (func (result i32)))
    (func $f0 (result i32) (i32.const 10))
    (func $f1 (result i32) (i32.const 11))
    (func $f2 (result i32) (i32.const 12))
    (func $f (param i32) (result funcref)
        (select (result funcref) (ref.func $f1) (ref.func $f2) (local.get 0)))
    (func (export "start")
        (table.fill $a (i32.const 0) (ref.func $f0) (i32.const 20000))
        (table.fill $b (i32.const 0) (ref.func $f0) (i32.const 20000)))
    (func (export "0") (param i32 i32 i32)
        (memory.fill (local.get 0) (local.get 1) (local.get 2)))
    (func (export "1") (param i32 i32 i32)
        (memory.copy (local.get 0) (local.get 1) (local.get 2)))
    (func (export "2") (param i32 i32 i32)
        (memory.init $long (local.get 0) (local.get 1) (local.get 2)))
    (func (export "3") (param i32 i32 i32)
        (memory.init $short (local.get 0) (local.get 1) (local.get 2)))
    (func (export "4") (param i32 i32 i32)
        (table.fill $a (local.get 0) (call $f (local.get 1)) (local.get 2)))
    (func (export "5") (param i32 i32 i32)
        (table.copy $a $a (local.get 0) (local.get 1) (local.get 2)))
    (func (export "6") (param i32 i32 i32)
        (table.copy $b $a (local.get 0) (local.get 1) (local.get 2)))
    (func (export "7") (param i32 i32 i32)
        (table.init $a $items (local.get 0) (local.get 1) (local.get 2)))
    (func (export "8") (param i32 i32 i32)
        (memory.copy (local.get 0) (local.get 1) (i32.const 100)))
    (func (export "drop") (data.drop $long) (elem.drop $items))
    (func (export "sum") (result i64) (local $i i32) (local $sum i64)
        (loop $next
            (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 31)) (i64.add
                (i64.extend_i32_u (call_indirect $a (type $id) (local.get $i)))
                (i64.mul (i64.const 7)
                    (i64.extend_i32_u (call_indirect $b (type $id) (local.get $i)))))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $i) (i32.const 20000))))
        (local.get $sum)))"#;

const MEMORY_BYTES: u32 = 1 << 20;
const LONG_BYTES: u32 = 200_000;
const LONG_ELEMENTS: u32 = 15_000;
const TABLE_ELEMENTS: u32 = 20_000;
const OPERATIONS: usize = 9;

/// One of the two that must not differ.
struct Machine {
    store: Store<StoreLimits>,
    instance: Instance,
}

impl Machine {
    fn new(wasm: &[u8], limits: StoreLimits) -> Self {
        let engine = Engine::new(&crate::compiler_config().expect("known")).expect("valid");
        let module = Module::new(&engine, wasm).expect("valid");
        let mut store = Store::new(&engine, limits);
        store.limiter(|limits| limits);
        let instance = Instance::new(&mut store, &module, &[]).expect("no imports");
        Machine { store, instance }
    }

    /// As a node has it: with the data that lie in pages.
    fn shaped(wasm: &[u8], limits: StoreLimits) -> Self {
        let reshaped = reshape(wasm).expect("it is valid");
        let mut machine = Machine::new(&reshaped, limits);
        machine.restore(wasm);
        machine
    }

    /// Makes the memory what a node makes it for the next process.
    fn restore(&mut self, wasm: &[u8]) {
        let mark = self.instance.get_func(&mut self.store, DATA_IN_PAGES);
        let data = data_of(wasm).filter(|_| mark.is_some()).unwrap_or_default();
        let memory = self.instance.get_memory(&mut self.store, "memory").expect("exported");
        let bytes = memory.data_mut(&mut self.store);
        bytes.fill(0);
        for (start, data) in data {
            bytes[start as usize..start as usize + data.len()].copy_from_slice(data);
        }
    }

    fn call<P: WasmParams>(&mut self, name: &str, operands: P) -> std::result::Result<(), String> {
        let function = self.instance.get_typed_func::<P, ()>(&mut self.store, name);
        let outcome = function.expect("exported").call(&mut self.store, operands);
        outcome.map_err(|error| match error.downcast_ref::<Trap>() {
            Some(trap) => trap.to_string(),
            None => error.to_string(),
        })
    }

    fn memory(&mut self) -> &[u8] {
        let memory = self.instance.get_memory(&mut self.store, "memory").expect("exported");
        memory.data(&self.store)
    }

    fn tables(&mut self) -> i64 {
        let sum = self.instance.get_typed_func::<(), i64>(&mut self.store, "sum");
        sum.expect("exported").call(&mut self.store, ()).expect("no null among them")
    }
}

/// SplitMix64 (Steele and others 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as u32
    }

    /// Near an edge, or anywhere: rarely beyond `end`.
    fn near(&mut self, unit: u32, end: u32) -> u32 {
        let jitter = self.next() % 5;
        match self.next() % 16 {
            0 => self.next(),
            1 => end.saturating_sub(jitter),
            2 => end + jitter,
            3..=6 => (unit * (self.next() % 4) + jitter).saturating_sub(2),
            7..=9 => jitter,
            _ => self.next() % end,
        }
    }
}

fn bulk() -> Vec<u8> {
    let long: String = (0..LONG_BYTES).map(|i| char::from(b'a' + (i % 23) as u8)).collect();
    let elements: String =
        (0..LONG_ELEMENTS as usize).map(|i| ["$f0 ", "$f1 ", "$f2 "][i * i % 3]).collect();
    wasm(&BULK.replace("LONG", &long).replace("ELEMENTS", &elements))
}

fn compare(seed: u64, steps: usize) {
    let original = bulk();
    let reshaped = reshape(&original).expect("it is valid");
    assert_ne!(reshaped, original);
    let [mut plain, mut chunked] =
        [&original[..], &reshaped].map(|wasm| Machine::new(wasm, StoreLimits::default()));
    let mut random = Random(seed);
    plain.call("start", ()).expect("within bounds");
    chunked.call("start", ()).expect("within bounds");
    let mut done = [0; OPERATIONS];
    for step in 0..steps {
        let which = random.next() as usize % OPERATIONS;
        let name = which.to_string();
        let (to, from) = match which {
            2 => (MEMORY_BYTES, LONG_BYTES),
            3 => (MEMORY_BYTES, 10),
            7 => (TABLE_ELEMENTS, LONG_ELEMENTS),
            4..7 => (TABLE_ELEMENTS, TABLE_ELEMENTS),
            _ => (MEMORY_BYTES, MEMORY_BYTES),
        };
        let unit = if to == TABLE_ELEMENTS { 8192 } else { 65536 };
        let mut operand = |end| random.near(unit.min(end), end) as i32;
        let operands = (operand(to), operand(from), operand(from));
        let (expected, found) = (plain.call(&name, operands), chunked.call(&name, operands));
        let what = format!("seed {seed} step {step}: {name} {operands:?}");
        assert_eq!(found, expected, "{what}");
        assert!(chunked.memory() == plain.memory(), "{what}: memories differ");
        if (4..8).contains(&which) {
            assert_eq!(chunked.tables(), plain.tables(), "{what}: tables differ");
        }
        done[which] += usize::from(found.is_ok());
        if step == steps * 3 / 4 {
            plain.call("drop", ()).expect("nothing to fail");
            chunked.call("drop", ()).expect("nothing to fail");
        }
    }
    assert!(done.iter().all(|&count| count > 0), "an operation never succeeded: {done:?}");
}

#[test]
fn chunked_instructions_do_what_whole_ones_do() {
    for seed in 0..4 {
        compare(seed, 400);
    }
}

#[test]
fn a_small_program_that_changes_tables_stays_as_it_is() {
    let plain = wasm(
        r#"(module (memory (export "memory") 1) (table 1 funcref) (func (export "main")
            (memory.copy (i32.const 0) (i32.const 64) (i32.const 64))
            (table.set (i32.const 0) (ref.null func))))"#,
    );
    assert!(matches!(reshape(&plain), Ok(Cow::Borrowed(_))));
}

/// An entry that changes all that it can, and tells what it found.
const CHANGES: &str = r#"(module
    (memory (export "memory") 1)
    (global $a (mut i64) (i64.const 5)) (global $b (mut i32) (i32.const 6))
    (global i32 (i32.const 1))
    (global $c (mut funcref) (ref.null func))
    (table 2 funcref) (elem (i32.const 0) $main)
    (data (i32.const 64) "first") (data $later "later")
    (func $main (export "main")
        (i64.store (i32.const 0) (global.get $a)) (i32.store (i32.const 8) (global.get $b))
        (i32.store (i32.const 12) (ref.is_null (global.get $c)))
        (memory.copy (i32.const 16) (i32.const 64) (i32.const 8))
        (global.set $a (i64.const -1)) (global.set $b (i32.const -1))
        (global.set $c (ref.func $main))
        (memory.init $later (i32.const 64) (i32.const 0) (i32.const 5))
        (drop (memory.grow (i32.const 1)))))"#;

#[test]
fn an_entry_begins_anew_in_a_wiped_memory() {
    let original = wasm(CHANGES);
    let mut machine = Machine::shaped(&original, StoreLimits::default());
    let mark = machine.instance.get_func(&mut machine.store, BEGINS_ANEW);
    assert!(mark.is_some(), "nobody is told");
    let mut found = Vec::new();
    for _ in 0..3 {
        machine.call("main", ()).expect("nothing to fail");
        found.push(machine.memory()[..128].to_vec());
        machine.restore(&original);
    }
    assert_eq!(&found[0][..24], b"\x05\0\0\0\0\0\0\0\x06\0\0\0\x01\0\0\0first\0\0\0");
    assert!(found[1] == found[0] && found[2] == found[0], "{found:?}");
}

#[test]
fn what_no_entry_can_set_anew_is_not_promised() {
    for lasting in [
        "(table.set (i32.const 0) (ref.null func))",
        "(data.drop $passive)",
        "(elem.drop $elements)",
        "(memory.init $active (i32.const 0) (i32.const 0) (i32.const 1))",
        "(table.init $elements (i32.const 0) (i32.const 0) (i32.const 1))",
    ] {
        let text = format!(
            r#"(module (memory (export "memory") 40) (table 2 funcref)
                (data $active (i32.const 0) "x") (data $passive "y") (elem $elements func $main)
                (func $main (export "main") {lasting}))"#
        );
        let reshaped = reshape(&wasm(&text)).expect("it is valid").into_owned();
        let mut machine = Machine::new(&reshaped, StoreLimits::default());
        let mark = machine.instance.get_func(&mut machine.store, BEGINS_ANEW);
        assert!(mark.is_none(), "{lasting}");
    }
}

/// A program whose memory and data are set up by its entries.
const LATE: &str = r#"(module
    (memory (export "memory") 40 50)
    (data $first (i32.add (i32.const 2) (i32.const 3)) "five") (data $passive "passive")
    (data (i32.const 2000000) "LONG")
    (data (i32.const 6) "IV")
    (func (export "main") (local i32)
        (i32.store (i32.const 1000) (memory.size))
        (memory.init $passive (i32.const 100) (i32.const 0) (i32.const 7))
        (i32.store (i32.const 1004) (memory.grow (i32.const 11)))
        (i32.store (i32.const 1008) (memory.grow (i32.const 10))))
    (func (export "again") (memory.init $first (i32.const 0) (i32.const 0) (i32.const 1)))
    (func (export "takes") (param i32)))"#;

fn late() -> Vec<u8> {
    wasm(&LATE.replace("LONG", &"long".repeat(50_000)))
}

#[test]
fn an_entry_finds_what_a_late_start_has_set_up() {
    let original = late();
    let reshaped = reshape(&original).expect("it is valid");
    let [mut plain, mut late] =
        [&original[..], &reshaped].map(|wasm| Machine::new(wasm, StoreLimits::default()));
    assert_eq!(late.memory().len(), 16 << 16, "most of the memory comes later");
    assert!(late.memory().iter().all(|byte| *byte == 0), "all of the data comes later");
    plain.call("main", ()).expect("nothing to fail");
    late.call("main", ()).expect("nothing to fail");
    assert!(late.memory() == plain.memory());
    assert_eq!(&late.memory()[5..9], b"fIVe", "segments in another order");
    let [mut plain, mut late] =
        [&original[..], &reshaped].map(|wasm| Machine::new(wasm, StoreLimits::default()));
    let dropped = plain.call("again", ());
    assert!(dropped.is_err(), "an active segment is used up");
    assert_eq!(late.call("again", ()), dropped);
}

/// The same with data that are simple, and lie in pages.
#[test]
fn an_entry_finds_data_that_no_code_has_copied() {
    let original = wasm(
        &LATE
            .replace("LONG", &"long".repeat(50_000))
            .replace("(i32.add (i32.const 2) (i32.const 3))", "(i32.const 5)"),
    );
    let reshaped = reshape(&original).expect("it is valid");
    assert!(reshaped.len() + 190_000 < original.len(), "the data are left out");
    let [mut plain, mut paged] = [
        Machine::new(&original, StoreLimits::default()),
        Machine::shaped(&original, StoreLimits::default()),
    ];
    assert!(paged.instance.get_func(&mut paged.store, DATA_IN_PAGES).is_some());
    for name in ["main", "again"] {
        assert_eq!(paged.call(name, ()), plain.call(name, ()));
        assert!(paged.memory() == plain.memory());
    }
    assert_eq!(&paged.memory()[5..9], b"fIVe", "segments in another order");
}

#[test]
fn a_late_start_without_memory_ends_as_a_refused_growth_does() {
    let reshaped = reshape(&late()).expect("it is valid").into_owned();
    let limits = StoreLimitsBuilder::new().memory_size(39 << 16).build();
    let mut late = Machine::new(&reshaped, limits);
    assert_eq!(late.call("main", ()), Err(Trap::UnreachableCodeReached.to_string()));
}

#[test]
fn added_functions_have_names() {
    let reshaped = reshape(&bulk()).expect("it is valid").into_owned();
    let mut machine = Machine::new(&reshaped, StoreLimits::default());
    let function = machine.instance.get_typed_func::<(i32, i32, i32), ()>(&mut machine.store, "0");
    let error = function.expect("exported").call(&mut machine.store, (0, 0, -1));
    let backtrace = format!("{:?}", error.expect_err("out of bounds"));
    assert!(backtrace.contains("memory.fill"), "{backtrace}");
}

#[test]
fn a_library_is_initialized_before_each_of_its_entries() {
    let text = |tables: &str| {
        format!(
            r#"(module (memory (export "memory") 1) (table 1 funcref)
            (global $n (mut i32) (i32.const 1))
            (data (i32.const 0) "\07")
            (func (export "_initialize")
                (if (i32.ne (global.get $n) (i32.const 1)) (then unreachable))
                (global.set $n (i32.add (global.get $n) (i32.load8_u (i32.const 0)))) {tables})
            (func (export "main")
                (if (i32.ne (global.get $n) (i32.const 8)) (then unreachable))))"#
        )
    };
    // With and without what no start takes back.
    for tables in ["", "(table.set (i32.const 0) (ref.null func))"] {
        let plain = wasm(&text(tables));
        let mut machine = Machine::new(&plain, StoreLimits::default());
        assert!(machine.call("main", ()).is_err(), "as it is nothing initializes it");
        let mut machine = Machine::shaped(&plain, StoreLimits::default());
        assert_eq!(machine.call("main", ()), Ok(()));
        let mut machine = Machine::shaped(&plain, StoreLimits::default());
        assert_eq!(machine.call("_initialize", ()), Ok(()));
    }
}

//! Every kind of bad pointer to every host call, and absurd numbers to those that take none.
//!
//! Owns a program that is made of the tables in which the calls are written: docs/abi.md's, and one
//! of the calls of WASI. So a call that is added is tried as soon as it is documented, and one that
//! is not documented fails `every_call_is_in_the_tables`. Each deed is done by a process of its
//! own; the first of the program's processes starts them one after another and judges their ends.

use crate::bed::{Bed, compile_for, run_quiet};
use craton_abi::{ExitReason, TrapKind};
use craton_compile::imports::{IMPORTS, Import, MODULE, Scalar, WASI_IMPORTS, WASI_MODULE};
use std::fmt::Write;

const ABI: &str = include_str!("../../../docs/abi.md");

/// What the specification of WASI says of the parameters. `unread` is a pointer that a node never
/// follows: there are no folders, and no stream has a place to go to.
const WASI: &[(&str, &str)] = &[
    ("args_get", "at: ptr, texts: ptr"),
    ("args_sizes_get", "count: ptr, bytes: ptr"),
    ("clock_res_get", "clock: i32, out: ptr"),
    ("clock_time_get", "clock: i32, precision: i64, out: ptr"),
    ("environ_get", "at: ptr, texts: ptr"),
    ("environ_sizes_get", "count: ptr, bytes: ptr"),
    ("fd_close", "fd: i32"),
    ("fd_fdstat_get", "fd: i32, out: ptr"),
    ("fd_prestat_dir_name", "fd: i32, unread: i32, unread_len"),
    ("fd_prestat_get", "fd: i32, unread: i32"),
    ("fd_read", "fd: i32, buffers: ptr, buffers_len, out: ptr"),
    ("fd_seek", "fd: i32, to: i64, whence: i32, unread: i32"),
    ("fd_tell", "fd: i32, unread: i32"),
    ("fd_write", "fd: i32, buffers: ptr, buffers_len, out: ptr"),
    ("poll_oneoff", "from: ptr, to: ptr, capacity: i32, told: ptr"),
    ("proc_exit", "status: i32"),
    ("random_get", "ptr, len"),
    ("sched_yield", "–"),
];

/// Rounds after which the memory must be back.
const ROUNDS: usize = 3;

/// Bytes of the program's memory.
const MEMORY_BYTES: u32 = 65_536;
/// Zeros that all good pointers point to, 1 KiB of them.
const GOOD: u32 = 1024;
/// A list of one buffer, which lies outside the memory.
const LIST: u32 = 2048;
/// What is far outside any memory that this program can have.
const FAR: u32 = 0xffff_ff00;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Pointer,
    /// Of the pointer before it.
    Length,
    Int,
    Long,
}

/// A call as its table has it.
struct Call {
    module: &'static str,
    name: &'static str,
    parameters: Vec<(&'static str, Kind)>,
}

impl Call {
    fn new(module: &'static str, name: &'static str, parameters: &'static str) -> Call {
        let words = parameters.split(", ").map(|word| word.trim_matches('`'));
        let parameters = words.filter(|word| *word != "–").map(|word| {
            let (name, kind) = word.split_once(": ").unwrap_or((word, word));
            match kind {
                _ if name.ends_with("len") || name == "capacity" => (name, Kind::Length),
                "ptr" => (name, Kind::Pointer),
                "i32" => (name, Kind::Int),
                "i64" => (name, Kind::Long),
                other => panic!("{other} is no type"),
            }
        });
        Call { module, name, parameters: parameters.collect() }
    }

    /// The result, which the node's own list knows; the rest is compared with it.
    fn import(&self) -> &'static Import {
        let imports = if self.module == MODULE { &IMPORTS[..] } else { &WASI_IMPORTS[..] };
        let found = imports.iter().find(|import| import.name == self.name);
        found.unwrap_or_else(|| panic!("{} is in a table and in no node", self.name))
    }

    fn symbol(&self) -> String {
        format!("${}.{}", self.module, self.name)
    }
}

/// The calls of both tables.
fn calls() -> Vec<Call> {
    let rows = ABI.lines().skip_while(|line| *line != "| import | parameters | result |").skip(2);
    let own = rows.map_while(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some(Call::new(MODULE, cells.next()?.strip_suffix('`')?, cells.next()?))
    });
    own.chain(WASI.iter().map(|(name, parameters)| Call::new(WASI_MODULE, name, parameters)))
        .collect()
}

/// How a process must end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    BadPointer,
    Normal,
    /// With an error of its own.
    Error,
}

/// One call with one set of arguments.
struct Deed {
    what: String,
    call: usize,
    arguments: Vec<u64>,
    end: End,
}

fn deeds(calls: &[Call]) -> Vec<Deed> {
    let each = calls.iter().enumerate();
    each.flat_map(|(at, call)| {
        let pointers = call.parameters.iter().any(|(_, kind)| *kind == Kind::Pointer);
        if pointers { bad_pointers(at, call) } else { odd_numbers(at, call) }
    })
    .collect()
}

/// Arguments with which the call would go well, or be refused with a code.
fn good(call: &Call) -> Vec<u64> {
    let parameters = call.parameters.iter().map(|(name, kind)| match kind {
        Kind::Pointer => GOOD.into(),
        Kind::Length => 1,
        // So that the place is read.
        Kind::Int if *name == "place_kind" => 2,
        Kind::Int | Kind::Long => 0,
    });
    parameters.collect()
}

fn bad_pointers(at: usize, call: &Call) -> Vec<Deed> {
    let mut deeds = Vec::new();
    for (index, (name, kind)) in call.parameters.iter().enumerate() {
        if *kind != Kind::Pointer {
            continue;
        }
        let mut push = |how: &str, changes: &[u32]| {
            let mut arguments = good(call);
            for (argument, change) in arguments[index..].iter_mut().zip(changes) {
                *argument = (*change).into();
            }
            let what = format!("{} with {name} {how}", call.name);
            deeds.push(Deed { what, call: at, arguments, end: End::BadPointer });
        };
        let has_length = call.parameters.get(index + 1).is_some_and(|next| next.1 == Kind::Length);
        if has_length {
            push("outside", &[FAR, 16]);
            push("that ends outside", &[MEMORY_BYTES - 3, 16]);
            push("of more than there is", &[GOOD, u32::MAX]);
            push("that wraps around", &[FAR, 0x200]);
            push("outside, of nothing", &[MEMORY_BYTES + 1, 0]);
        } else {
            push("outside", &[FAR]);
            push("that ends outside", &[MEMORY_BYTES - 3]);
        }
        if *name == "buffers" {
            push("of which one is outside", &[LIST, 1]);
        }
    }
    deeds
}

fn odd_numbers(at: usize, call: &Call) -> Vec<Deed> {
    let extremes = [0, u64::MAX, 1 << 63, (1 << 63) - 1, 1 << 31, (1 << 31) - 1];
    let deed = |number: u64| {
        let what = format!("{} of {number:#x}", call.name);
        let end =
            if call.name == "proc_exit" && number as u32 != 0 { End::Error } else { End::Normal };
        Deed { what, call: at, arguments: vec![number; call.parameters.len()], end }
    };
    extremes.into_iter().map(deed).collect()
}

fn scalars(call: &Call) -> Vec<Scalar> {
    let scalar =
        |(_, kind): &(_, Kind)| if *kind == Kind::Long { Scalar::I64 } else { Scalar::I32 };
    call.parameters.iter().map(scalar).collect()
}

fn type_name(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::I32 => "i32",
        Scalar::I64 => "i64",
    }
}

/// The program: a function for each deed, `deed` that does the one whose number is its argument,
/// and `main` that has all of them done. It ends with an error of the deed's number (four bytes)
/// and the reason that the process had, if that is not the one that was due.
fn program(calls: &[Call], deeds: &[Deed]) -> String {
    let mut wat = String::from("(module\n");
    for call in calls {
        let Import { parameters, result, .. } = call.import();
        let parameters: String =
            parameters.iter().map(|it| format!(" {}", type_name(*it))).collect();
        let result = result.map_or(String::new(), |it| format!("(result {})", type_name(it)));
        let (module, name, symbol) = (call.module, call.name, call.symbol());
        writeln!(
            wat,
            "(import \"{module}\" \"{name}\" (func {symbol} (param{parameters}) {result}))"
        )
        .unwrap();
    }
    for (number, deed) in deeds.iter().enumerate() {
        let call = &calls[deed.call];
        let arguments = deed.arguments.iter().zip(scalars(call)).map(|(argument, scalar)| {
            let argument = if scalar == Scalar::I32 { *argument as u32 as u64 } else { *argument };
            format!(" ({}.const {argument})", type_name(scalar))
        });
        let done = format!("(call {}{})", call.symbol(), arguments.collect::<String>());
        let done = if call.import().result.is_some() { format!("(drop {done})") } else { done };
        writeln!(wat, "(func $deed{number} {done})").unwrap();
    }
    let all: String = (0..deeds.len()).map(|number| format!(" $deed{number}")).collect();
    let due: String = deeds
        .iter()
        .map(|deed| match deed.end {
            End::BadPointer => {
                format!("\\{:02x}\\{:02x}", TRAP, bad_pointer_code())
            }
            End::Normal => "\\00\\00".into(),
            End::Error => "\\05\\00".into(),
        })
        .collect();
    writeln!(wat, "(table funcref (elem{all}))\n(data (i32.const 8192) \"{due}\")").unwrap();
    writeln!(wat, "(global $count i32 (i32.const {}))", deeds.len()).unwrap();
    wat + REST
}

/// The first byte of a trap's reason.
const TRAP: u8 = 3;

fn bad_pointer_code() -> u8 {
    ExitReason::Trap(TrapKind::BadPointer, String::new()).to_bytes()[1]
}

/// What does not depend on the tables. The expected ends lie at 8192, two bytes each; what comes is
/// written to 16389, behind an error's code and number.
const REST: &str = r#"
  (type $deed (func))
  (memory (export "memory") 1 1)
  (data (i32.const 0) "deed")
  (data (i32.const 2048) "\00\ff\ff\ff\10\00\00\00")
  (func (export "deed")
    (drop (call $craton.argument_read (i32.const 64) (i32.const 4)))
    (call_indirect (type $deed) (i32.load (i32.const 64))))
  (func $wrong (param $len i32)
    (i32.store8 (i32.const 16384) (i32.const 5))
    (call $craton.exit (i32.const 16384) (i32.add (i32.const 5) (local.get $len))))
  (func $judge (param $due i32)
    (local $code i32)
    (local.set $code (i32.load8_u (i32.const 16389)))
    (if (i32.ne (local.get $code) (i32.load8_u (local.get $due)))
      (then (call $wrong (i32.load (i32.const 260)))))
    (if (i32.and (i32.eq (local.get $code) (i32.const 3))
          (i32.ne (i32.load8_u (i32.const 16390)) (i32.load8_u offset=1 (local.get $due))))
      (then (call $wrong (i32.load (i32.const 260))))))
  (func (export "main") (local $at i32)
    (loop $next
      (i32.store (i32.const 16385) (local.get $at))
      (i32.store (i32.const 64) (local.get $at))
      (if (call $craton.spawn (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 4)
            (i32.const 64) (i32.const 4) (i32.const 1) (i32.const 0) (i32.const 0)
            (i32.const 512) (i32.const 544))
        (then (call $wrong (i32.const 0))))
      (if (call $craton.receive (i32.const 16389) (i32.const 4200) (i32.const 0) (i64.const 0)
            (i64.const 30000000000) (i32.const 256))
        (then (call $wrong (i32.const 0))))
      (call $judge (i32.add (i32.const 8192) (i32.mul (i32.const 2) (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (global.get $count))))))
"#;

#[test]
fn every_call_is_in_the_tables() {
    let calls = calls();
    let nodes = [(MODULE, &IMPORTS[..]), (WASI_MODULE, &WASI_IMPORTS[..])];
    for (module, imports) in nodes {
        for import in imports {
            let found = calls.iter().find(|call| (call.module, call.name) == (module, import.name));
            let call = found.unwrap_or_else(|| panic!("{} is in no table", import.name));
            assert_eq!(scalars(call), import.parameters, "{}", import.name);
        }
    }
    assert_eq!(calls.len(), IMPORTS.len() + WASI_IMPORTS.len());
}

#[test]
fn every_bad_pointer_ends_its_process_with_its_reason_alone() {
    let bed = Bed::boot_with(1, 1, "log=error");
    let calls = calls();
    let deeds = deeds(&calls);
    let bad = deeds.iter().filter(|deed| deed.end == End::BadPointer).count();
    assert!(bad > 200, "{bad} bad pointers of {} deeds", deeds.len());
    let bundle = compile_for("pointers", &program(&calls, &deeds), &bed.keys);
    let mut before = None;
    for _ in 0..ROUNDS {
        let ran = run_quiet(&mut bed.client(0), &bundle, &[]).unwrap();
        if let ExitReason::Error(bytes) = &ran.reason
            && let Some((number, reason)) = bytes.split_first_chunk()
        {
            let deed = &deeds[u32::from_le_bytes(*number) as usize];
            let reason = ExitReason::from_bytes(reason);
            panic!("{} ended with {reason:?}, not {:?}", deed.what, deed.end);
        }
        assert_eq!(ran.reason, ExitReason::Normal);
        // What the first round leaves is there for good: tables have their size then.
        before.get_or_insert_with(|| bed.settled(0));
    }
    bed.expect_memory_back(0, &before.unwrap());
}

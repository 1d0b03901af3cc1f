//! Programs that compile, programs that do not and what their authors are told.

use super::*;
use craton_bundle::{Bundle, CpuLevel};
use craton_engine::{LoadError, config, load_module};
use wasmtime::{Caller, Config, Extern, Instance, Linker, Module, Store};

const GOOD: &str = r#"(module
    (import "craton" "yield_now" (func))
    (memory (export "memory") 1)
    (func (export "main") (call 0))
    (func (export "sum") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))"#;

pub(crate) fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the test's own text")
}

fn flaw(text: &str) -> String {
    compile(&wasm(text)).expect_err("it has a flaw").to_string()
}

/// The module of `text`, as a node with `config` loads it.
fn load(text: &str, mut config: Config) -> Result<(Engine, Module), LoadError> {
    let secret = CompilerSecret::from_bytes([3; 32]);
    let bundle = bundle("loaded", &wasm(text), &secret).expect("it compiles");
    let bundle = Bundle::parse(&bundle).and_then(|b| b.verify(&[secret.key()])).expect("signed");
    config.enable_compiler(false);
    let engine = Engine::new(&config).expect("the configuration is valid");
    let module = load_module(&engine, &bundle)?;
    Ok((engine, module))
}

#[test]
fn an_artifact_loads_and_runs_under_the_shared_configuration() {
    let text = r#"(module (memory (export "memory") 1) (func (export "main"))
        (func (export "sum") (param i32 i32) (result i32)
            (i32.add (i32.popcnt (local.get 0)) (local.get 1))))"#;
    let (engine, module) = load(text, config()).expect("it loads");
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).expect("no imports");
    let sum = instance.get_typed_func::<(i32, i32), i32>(&mut store, "sum").expect("exported");
    assert_eq!(sum.call(&mut store, (0xff, 4)).ok(), Some(12));
}

#[test]
fn an_engine_of_another_configuration_refuses_the_artifact() {
    let mut other = config();
    other.signals_based_traps(false).memory_guard_size(0);
    assert!(matches!(load(GOOD, other), Err(LoadError::Engine(_))));
}

/// Conditional moves in the code of a program that does `what`.
fn conditional_moves(what: &str) -> usize {
    let text = format!(
        r#"(module (memory (export "memory") 1 2) (global $at (mut i32) (i32.const 0))
            (func (export "main") (global.set $at {what})))"#
    );
    let artifact = compile(&wasm(&text)).expect("it compiles");
    // `cmovcc r64, r/m64`: a prefix with W, two bytes of opcode (Intel SDM vol. 2).
    let is_move = |code: &&[u8]| code[0] >> 3 == 9 && code[1] == 0x0f && code[2] >> 4 == 4;
    artifact.windows(3).filter(is_move).count()
}

#[test]
fn an_address_out_of_bounds_becomes_zero_without_a_branch_that_could_be_guessed() {
    let without = conditional_moves("(i32.add (global.get $at) (i32.const 8))");
    assert_eq!(conditional_moves("(i32.load offset=8 (global.get $at))"), without + 1);
}

#[test]
fn a_bundle_verifies_and_is_the_same_each_time() {
    let secret = CompilerSecret::from_bytes([3; 32]);
    let first = bundle("good", &wasm(GOOD), &secret).expect("it compiles");
    let second = bundle("good", &wasm(GOOD), &secret).expect("it compiles");
    assert!(first == second, "compiling is not deterministic");
    let bundle = Bundle::parse(&first).and_then(|b| b.verify(&[secret.key()])).expect("signed");
    assert_eq!(bundle.name(), "good");
    assert_eq!(bundle.wasm(), wasm(GOOD));
    assert!(bundle.artifact(ENGINE_VERSION, CpuLevel::V2).is_ok());
}

/// The hash covers every setting that wasmtime compares. If this fails, artifacts made before the
/// change are refused by nodes after it: raise the revision in `ENGINE_VERSION`, then take the new
/// value here.
#[test]
fn the_configuration_has_not_changed_without_its_revision() {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let engine = Engine::new(&compiler_config().expect("known target")).expect("valid");
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    assert_eq!((ENGINE_VERSION, hasher.finish()), ("wasmtime-48.0.8/3", CONFIGURATION_HASH));
}

const CONFIGURATION_HASH: u64 = 1616612517177777300;

#[test]
fn flaws_are_named() {
    let memory = r#"(memory (export "memory") 1)"#;
    let main = r#"(func (export "main"))"#;
    let cases = [
        (format!("(module {main})"), "no memory"),
        (format!("(module {memory} (func (export \"f\") (param i32)))"), "no entry"),
        (
            format!("(module (import \"craton\" \"teleport\" (func)) {memory} {main})"),
            "craton.teleport, which no node has",
        ),
        (
            format!("(module (import \"env\" \"puts\" (func)) {memory} {main})"),
            "env.puts; a node only has the modules \"craton\"",
        ),
        (
            format!("(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func)) {memory})"),
            "wasi_snapshot_preview1.fd_write with a wrong type; it is (i32, i32, i32, i32) -> i32",
        ),
        (
            format!("(module (import \"wasi_snapshot_preview1\" \"path_open\" (func)) {memory})"),
            "wasi_snapshot_preview1.path_open, which no node has; of WASI there are args_get, ",
        ),
        (
            format!("(module (import \"craton\" \"kill\" (func (param i64))) {memory} {main})"),
            "craton.kill with a wrong type; it is (i32) -> i32",
        ),
        (
            format!("(module (import \"craton\" \"kill\" (global i32)) {memory} {main})"),
            "craton.kill, which no node has",
        ),
        (format!("(module {memory} (func $s (export \"main\")) (start $s))"), "start function"),
        (format!("(module {memory} {main} (func (export \"craton: begins anew\")))"), "gives"),
        // Pages come when they are touched, so that a small memory needs no small pages.
        (
            format!("(module (memory (export \"memory\") 1 (pagesize 1)) {main})"),
            "custom page sizes proposal",
        ),
    ];
    for (text, part) in cases {
        let message = flaw(&text);
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

#[test]
fn the_header_for_c_declares_every_call() {
    let header = include_str!("../../../userland/c/craton.h");
    for import in craton_engine::IMPORTS {
        let declared = format!("CRATON_IMPORT({})", import.name);
        assert!(header.contains(&declared), "userland/c/craton.h: {}", import.name);
    }
}

#[test]
fn what_is_no_module_is_refused_without_a_panic() {
    let good = wasm(GOOD);
    for end in 0..good.len() {
        assert!(compile(&good[..end]).is_err(), "cut at {end}");
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0xff;
        // Some single bytes may change and leave a program; none may panic.
        let _ = compile(&bad);
    }
    let relaxed = r#"(module (memory (export "memory") 1) (func (export "main")
        (drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0)))))"#;
    assert!(flaw(relaxed).contains("cannot compile"));
}

/// The kernel's self-test expects this of the same guest when it is preempted all the time
/// (`kernel/src/selftest_engine/preemption.rs`): here it runs in one go, on another host.
#[test]
fn the_self_test_computes_the_same_on_a_host() {
    const ROUNDS: u32 = 300_000;
    const RESULT: u64 = 0x40c6_4dc3_7335_b44d;
    let text = include_str!("../../../kernel/engine/guests/selftest.wat");
    let (engine, module) = load(text, config()).expect("it loads");
    let mut linker: Linker<Option<u64>> = Linker::new(&engine);
    linker
        .func_wrap("craton", "argument_read", |mut call: Caller<'_, _>, at: i32, len: i32| {
            let memory = call.get_export("memory").and_then(Extern::into_memory);
            let memory = memory.expect("exported").data_mut(&mut call);
            memory[at as usize..][..4].copy_from_slice(&ROUNDS.to_le_bytes());
            len
        })
        .expect("defined once");
    linker
        .func_wrap("craton", "exit", |mut call: Caller<'_, Option<u64>>, at: i32, _len: i32| {
            let memory = call.get_export("memory").and_then(Extern::into_memory);
            let bytes = memory.expect("exported").data(&call)[at as usize + 1..][..8].try_into();
            *call.data_mut() = Some(u64::from_le_bytes(bytes.expect("eight bytes")));
        })
        .expect("defined once");
    linker.define_unknown_imports_as_traps(&module).expect("the rest is not called");
    let mut store = Store::new(&engine, None);
    let instance = linker.instantiate(&mut store, &module).expect("it links");
    let compute = instance.get_typed_func::<(), ()>(&mut store, "compute").expect("exported");
    // It ends with `unreachable`, since this `exit` returns.
    assert!(compute.call(&mut store, ()).is_err());
    assert_eq!(*store.data(), Some(RESULT));
}

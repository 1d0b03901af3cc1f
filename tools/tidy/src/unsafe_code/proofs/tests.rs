//! Proofs where they are looked for, and each place where one is missing.

use super::*;
use crate::Repo;

const NONE: [usize; 0] = [];

fn lines(text: &str) -> Vec<usize> {
    let sources = Repo::of(&[("kernel/hal/src/a.rs", text)]).sources().unwrap();
    check(&sources[0]).into_iter().map(|offence| offence.line).collect()
}

#[test]
fn a_proof_stands_above_the_block_or_its_statement() {
    let good = [
        "fn a() {\n // SAFETY: it holds,\n // since it does.\n unsafe { b() }\n}",
        "fn a() {\n // SAFETY: it holds.\n let c =\n  unsafe { b() };\n}",
        "fn a() {\n let c =\n // SAFETY: it holds.\n  unsafe { b() };\n}",
        "fn a() {\n // SAFETY: it holds.\n #[allow(x)]\n unsafe { b() }\n}",
        "fn a() {\n unsafe { b() } // SAFETY: it holds.\n}",
        "fn a() {\n match c {\n // SAFETY: it holds.\n _ => drop(\n  unsafe { b() }),\n }\n}",
        "fn a() -> S {\n S {\n // SAFETY: it holds.\n b: unsafe { b() } }\n}",
        "// SAFETY: it holds.\nstatic A: B =\n unsafe { b() };",
    ];
    for text in good {
        assert_eq!(lines(text), NONE, "{text}");
    }
}

#[test]
fn a_block_without_a_proof_is_an_offence() {
    let bad = [
        ("fn a() {\n unsafe { b() }\n}", 2),
        ("fn a() {\n // It is safe.\n unsafe { b() }\n}", 3),
        ("fn a() {\n // SAFETY: TODO\n unsafe { b() }\n}", 3),
        ("fn a() {\n // SAFETY:\n unsafe { b() }\n}", 3),
        ("fn a() {\n // SAFETY: of another.\n\n unsafe { b() }\n}", 4),
        ("fn a() {\n // SAFETY: of the first.\n unsafe { b() };\n unsafe { b() };\n}", 4),
        ("// SAFETY: of the function.\nfn a() {\n unsafe { b() }\n}", 3),
        ("fn a() {\n // SAFETY: of the loop.\n loop {\n  unsafe { b() };\n }\n}", 4),
    ];
    for (text, line) in bad {
        assert_eq!(lines(text), [line], "{text}");
    }
}

#[test]
fn one_proof_speaks_for_many_if_it_says_so() {
    let arms = "match c {\n 0 => unsafe { b() },\n _ => unsafe { d() },\n }\n}";
    assert_eq!(lines(&format!("fn a() {{\n // SAFETY (each arm): it holds.\n {arms}")), NONE);
    assert_eq!(lines(&format!("fn a() {{\n // SAFETY: it holds.\n {arms}")), [4, 5]);
}

#[test]
fn a_macro_hides_no_block() {
    let body = |comment: &str| {
        format!("macro_rules! a {{\n () => {{\n {comment}\n unsafe {{ b() }} }}\n}}")
    };
    assert_eq!(lines(&body("// SAFETY: it holds.")), NONE);
    assert_eq!(lines(&body("")), [4]);
    assert_eq!(lines("fn a() {\n assert!(unsafe { b() });\n}"), [2]);
}

#[test]
fn an_impl_needs_a_proof() {
    assert_eq!(lines("// SAFETY: one CPU.\nunsafe impl Send for A {}"), NONE);
    assert_eq!(lines("// SAFETY: one CPU.\n#[cfg(b)]\nunsafe impl Send for A {}"), NONE);
    assert_eq!(lines("unsafe impl Send for A {}"), [1]);
    assert_eq!(lines("impl A {}"), NONE);
}

#[test]
fn a_function_tells_its_caller() {
    assert_eq!(lines("/// Does.\n///\n/// # Safety\n///\n/// A page.\npub unsafe fn a() {}"), NONE);
    assert_eq!(lines("// SAFETY: called by the entry code alone.\n#[b]\nunsafe fn a() {}"), NONE);
    assert_eq!(lines("/// Does.\npub unsafe fn a() {}"), [2]);
    assert_eq!(lines("impl A {\n unsafe fn a() {}\n}"), [2]);
    assert_eq!(lines("trait A {\n unsafe fn a();\n}"), [2]);
    let method = "// SAFETY: it keeps the contract.\nunsafe impl A for B {\n unsafe fn a() {}\n}";
    assert_eq!(lines(method), NONE);
}

#[test]
fn a_trait_tells_its_implementations() {
    assert_eq!(lines("/// # Safety\n/// A page.\npub unsafe trait A {}"), NONE);
    assert_eq!(lines("// SAFETY: a page.\nunsafe trait A {}"), [2]);
}

//! The packages that Craton was asked to be built on are really what it is built on.
//!
//! Owns the rule `fixed-package` and the list [`FIXED`]. A line in a `Cargo.toml` is not use: the
//! kernel's or the network's own code must name the crate in a path.

use crate::{Kind, Offence, Source};

const RULE: &str = "fixed-package";

/// The packages, by the names that code has for them.
pub const FIXED: &[&str] = &[
    "bootloader_api",
    "linked_list_allocator",
    "smoltcp",
    "spin",
    "uart_16550",
    "volatile",
    "x86_64",
];

/// Looks for each package in the kernel and the network.
pub fn check(sources: &[Source]) -> Vec<Offence> {
    let unused = FIXED.iter().filter(|package| !sources.iter().any(|s| names(s, package)));
    let offend = |package: &&str| {
        Offence::new("Cargo.toml", 1, RULE, format!("no code of kernel/ or net/ uses {package}"))
    };
    unused.map(offend).collect()
}

fn names(source: &Source, package: &str) -> bool {
    let in_node = source.path.starts_with("kernel/") || source.path.starts_with("net/");
    in_node && source.kind == Kind::Product && paths(source, package).any(|l| !source.is_test(l))
}

/// The lines where a path begins with this crate's name.
fn paths(source: &Source, package: &str) -> impl Iterator<Item = usize> {
    source.tokens.windows(4).filter_map(move |window| {
        let [before, name, first, second] = window else { return None };
        let is_path = first.text == ":" && second.text == ":";
        // After a colon it is a module of another crate that has the same name.
        (name.text == package && is_path && before.text != ":").then_some(name.line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Repo;

    fn missing(path: &str, text: &str) -> Vec<String> {
        let found = check(&Repo::of(&[(path, text)]).sources().unwrap());
        found.into_iter().map(|offence| offence.advice).collect()
    }

    fn all() -> String {
        FIXED.iter().map(|package| format!("use {package}::A;\n")).collect()
    }

    #[test]
    fn each_must_be_named_in_code() {
        assert!(missing("kernel/a/src/lib.rs", &all()).is_empty());
        for package in FIXED {
            let fakes = [
                format!("// use {package}::A;"),
                format!("/// {package}::A\nfn a() {{}}"),
                format!("const A: &str = \"{package}::A\";"),
                format!("#[cfg(test)]\nuse {package}::A;"),
                format!("use crate::{package}::A;"),
                format!("mod {package} {{}}"),
            ];
            for fake in fakes {
                let text = all().replace(&format!("use {package}::A;"), &fake);
                let found = missing("kernel/a/src/lib.rs", &text);
                assert_eq!(found, [format!("no code of kernel/ or net/ uses {package}")], "{fake}");
            }
        }
    }

    #[test]
    fn neither_tests_nor_tools_count() {
        for path in ["tools/a/src/lib.rs", "kernel/a/tests/b.rs", "kernel/a/examples/b.rs"] {
            assert_eq!(missing(path, &all()).len(), FIXED.len(), "{path}");
        }
    }
}

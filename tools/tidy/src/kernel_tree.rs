//! What the kernel is linked from: nothing that wants an operating system beneath it.
//!
//! Owns the list [`HOSTED`]. `target_os = "linux"` is true in the kernel's build
//! (`docs/decisions/0001-prebuilt-core.md`), so a dependency may well take it for a Linux.

use crate::{Offence, Repo};

const RULE: &str = "kernel-tree";

/// Crates that call the host's kernel or C library, or are nothing without `std`.
pub const HOSTED: &[&str] = &[
    "errno",
    "getrandom",
    "libc",
    "linux-raw-sys",
    "mach2",
    "memmap2",
    "mio",
    "nix",
    "num_cpus",
    "parking_lot",
    "parking_lot_core",
    "rayon",
    "rayon-core",
    "region",
    "rustix",
    "signal-hook",
    "socket2",
    "tempfile",
    "thread_local",
    "tokio",
    "wasi",
    "windows-sys",
];

/// Edges to a hosted crate that are harmless: user, crate, reason.
const HARMLESS: &[(&str, &str, &str)] =
    &[("wasmtime", "libc", "named without condition; no_std itself, and its types alone are used")];

/// Where the empty stand-in for `memfd` lies (`docs/decisions/0002-two-workspaces.md`).
const MEMFD: (&str, &str) = ("v0.6.6", "kernel/engine/memfd)");

/// Looks through the tree that cargo resolves for the kernel.
///
/// # Errors
///
/// If cargo fails: most often since `Cargo.lock` is not up to date.
pub fn check(repo: &Repo) -> Result<Vec<Offence>, String> {
    let tree = ["tree", "-p", "craton-kernel", "-e", "normal", "--locked"];
    let form = ["--prefix", "depth", "--no-dedupe", "--format", "{p} [{f}]"];
    let printed = repo.cargo("", &[tree.as_slice(), &form].concat())?;
    Ok(check_tree(&printed))
}

/// Looks through a tree in the form `DEPTH NAME vVERSION (…) [FEATURES]`.
pub fn check_tree(tree: &str) -> Vec<Offence> {
    let mut offences = Vec::new();
    let mut way: Vec<&str> = Vec::new();
    // Procedural macros and what they use run in the compiler: skipped while deeper than this.
    let mut host_depth = usize::MAX;
    for line in tree.lines() {
        let digits = line.find(|c: char| !c.is_ascii_digit()).unwrap_or(line.len());
        let Ok(depth) = line[..digits].parse::<usize>() else { continue };
        if depth > host_depth {
            continue;
        }
        host_depth = if line.contains("(proc-macro)") { depth } else { usize::MAX };
        let package = &line[digits..];
        let name = package.split(' ').next().unwrap_or_default();
        way.truncate(depth);
        let user = way.last().copied().unwrap_or_default();
        way.push(name);
        let is_linked = host_depth == usize::MAX;
        if let Some(wrong) = flaw(user, name, package).filter(|_| is_linked) {
            let advice = format!("{}: {wrong}", way.join(" > "));
            offences.push(Offence::new("kernel/Cargo.toml", 1, RULE, advice));
        }
    }
    offences.sort();
    offences.dedup();
    offences
}

/// What is wrong with a package that the kernel links, if anything.
fn flaw(user: &str, name: &str, package: &str) -> Option<&'static str> {
    if HARMLESS.iter().any(|(from, to, _)| *from == user && *to == name) {
        return None;
    }
    if HOSTED.contains(&name) {
        return Some("needs an operating system: turn off the feature that pulls it");
    }
    if name == "memfd" && !(package.contains(MEMFD.0) && package.contains(MEMFD.1)) {
        return Some("the real memfd needs std: keep the [patch] to kernel/engine/memfd at 0.6.6");
    }
    let features = package.rsplit_once('[').map_or("", |(_, list)| list.trim_end_matches(']'));
    if features.split(',').any(|feature| feature == "std") {
        return Some("its feature std is on: use default-features = false");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
0craton-kernel v0.1.0 (/r/kernel) []
1log v0.4.35 []
1wasmtime v48.0.8 [runtime]
2libc v0.2.191 [default,std]
2memfd v0.6.6 (/r/kernel/engine/memfd) []
2async-trait v0.1.92 (proc-macro) []
3getrandom v0.3.0 [std]
1serde v1.0.229 [alloc]
";

    fn with(line: &str) -> Vec<String> {
        let found = check_tree(&format!("{GOOD}{line}\n"));
        found.into_iter().map(|offence| offence.advice).collect()
    }

    #[test]
    fn a_tree_without_a_host_passes_whatever_the_macros_use() {
        assert_eq!(check_tree(GOOD), []);
    }

    #[test]
    fn whatever_wants_a_host_is_named_with_the_way_to_it() {
        for name in ["getrandom", "rustix", "libc"] {
            let found = with(&format!("2{name} v1.0.0 []"));
            assert_eq!(found.len(), 1, "{name}");
            assert!(
                found[0].starts_with(&format!("craton-kernel > serde > {name}: ")),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_std_feature_is_named() {
        assert_eq!(with("1hashbrown v0.17.0 [default,std]").len(), 1);
        assert_eq!(with("1hashbrown v0.17.0 [alloc,std_like]").len(), 0);
    }

    #[test]
    fn memfd_must_be_the_stand_in() {
        assert_eq!(with("2memfd v0.6.6 []").len(), 1);
        assert_eq!(with("2memfd v0.6.7 (/r/kernel/engine/memfd) []").len(), 1);
    }
}

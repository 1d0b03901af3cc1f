//! Unsafe code is where it may be, and each piece of it carries its proof.
//!
//! Owns the rules `unsafe-place` (a table of paths), `unsafe-lint` (every other crate forbids it)
//! and `safety-proof`, whose walk over the syntax tree is in `proofs`.

mod proofs;

use crate::tokens::{has_inner_lint, lines_of};
use crate::{Offence, Repo, Source};

/// Where the word may stand: beginning of a path, reason.
const PLACES: &[(&str, &str)] = &[
    ("kernel/hal/src/", "the hardware, and all the unsafe code that it takes"),
    ("kernel/engine/src/platform", "what wasmtime needs of a kernel"),
    ("userland/sdk/src/sys.rs", "docs/decisions/0005-unsafe-in-the-sdk.md"),
    ("userland/sdk/src/entry.rs", "the exports of entries, by the same decision"),
    ("userland/programs/stress/src/hostile.rs", "the one exception of the same decision"),
];

/// What a crate with unsafe code says instead of `forbid`: its folder, the lint's level.
const CRATES: &[(&str, Option<&str>)] = &[
    ("kernel", None), // the macro of `bootloader_api` exports the entry point
    ("kernel/hal", None),
    ("kernel/engine", Some("deny")),
    ("userland/sdk", Some("deny")),
    ("userland/programs/stress", Some("deny")),
];

/// Holds the repository against the three rules.
pub fn check(repo: &Repo, sources: &[Source]) -> Vec<Offence> {
    let mut offences = check_lints(repo, sources);
    for source in sources {
        offences.extend(check_place(source));
        offences.extend(proofs::check(source));
    }
    offences
}

fn check_place(source: &Source) -> Vec<Offence> {
    if PLACES.iter().any(|(start, _)| source.path.starts_with(start)) {
        return Vec::new();
    }
    let lines = lines_of(&source.tokens, &["unsafe"]).into_iter();
    let advice = "unsafe code lives in kernel/hal and the engine's platform layer: move it there";
    lines.map(|line| Offence::new(&source.path, line, "unsafe-place", advice)).collect()
}

/// Every root of every crate must have the level that its place asks for.
fn check_lints(repo: &Repo, sources: &[Source]) -> Vec<Offence> {
    let mut offences = Vec::new();
    for folder in packages(repo) {
        let exception = CRATES.iter().find(|(name, _)| *name == folder);
        let Some(level) = exception.map_or(Some("forbid"), |(_, level)| *level) else { continue };
        if manifest_level(repo, folder).is_some_and(|found| found == level) {
            continue;
        }
        for root in sources.iter().filter(|source| is_root(&source.path, folder)) {
            if !has_inner_lint(&root.tokens, level, "unsafe_code") {
                let advice = format!("say #![{level}(unsafe_code)]");
                offences.push(Offence::new(&root.path, 1, "unsafe-lint", advice));
            }
        }
    }
    offences
}

/// The folders of all packages: of both workspaces, and the programs that are in neither.
fn packages(repo: &Repo) -> impl Iterator<Item = &str> {
    let manifests = repo.files.iter().filter(|(_, text)| text.lines().any(|l| l == "[package]"));
    manifests.filter_map(|(path, _)| path.strip_suffix("/Cargo.toml"))
}

fn is_root(path: &str, folder: &str) -> bool {
    let Some(file) = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix("/src/")) else {
        return false;
    };
    let binary = file.strip_prefix("bin/").is_some_and(|name| !name.contains('/'));
    matches!(file, "lib.rs" | "main.rs") || binary
}

/// The level of `unsafe_code` in a manifest: its own, or that of its workspace.
fn manifest_level<'a>(repo: &'a Repo, folder: &str) -> Option<&'a str> {
    let manifest = repo.text(&format!("{folder}/Cargo.toml"))?;
    if section(manifest, "[lints]").any(|line| line == "workspace = true") {
        // A package says which workspace it is of where that is not a folder above it.
        let workspace = if section(manifest, "[package]").any(|line| line.starts_with("workspace"))
            || folder.starts_with("tools/")
        {
            "tools/Cargo.toml"
        } else {
            "Cargo.toml"
        };
        return level_in(repo.text(workspace)?, "[workspace.lints.rust]");
    }
    level_in(manifest, "[lints.rust]")
}

fn level_in<'a>(manifest: &'a str, header: &str) -> Option<&'a str> {
    let mut lines = section(manifest, header);
    let value = lines.find_map(|line| line.strip_prefix("unsafe_code = "))?;
    Some(value.trim_matches('"'))
}

/// The lines of one section of a manifest.
fn section<'a>(manifest: &'a str, header: &str) -> impl Iterator<Item = &'a str> {
    let lines = manifest.lines().map(str::trim);
    lines.skip_while(move |line| *line != header).skip(1).take_while(|line| !line.starts_with('['))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: (&str, &str) = ("Cargo.toml", "[workspace.lints.rust]\nmissing_docs = \"warn\"\n");
    const TOOLS: (&str, &str) =
        ("tools/Cargo.toml", "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n");
    const MEMBER: &str = "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n";

    fn rules(files: &[(&str, &str)]) -> Vec<String> {
        let repo = Repo::of(&[files, &[ROOT, TOOLS]].concat());
        let found = check(&repo, &repo.sources().unwrap());
        found.iter().map(|offence| format!("{} {}", offence.path, offence.rule)).collect()
    }

    #[test]
    fn a_crate_must_forbid_in_its_root() {
        let manifest = ("net/a/Cargo.toml", MEMBER);
        let good = "#![no_std]\n#![forbid(unsafe_code)]\n";
        assert!(rules(&[manifest, ("net/a/src/lib.rs", good)]).is_empty());
        for bad in ["", "#![deny(unsafe_code)]", "// #![forbid(unsafe_code)]"] {
            assert_eq!(
                rules(&[manifest, ("net/a/src/lib.rs", bad)]),
                ["net/a/src/lib.rs unsafe-lint"]
            );
        }
        let binary = rules(&[manifest, ("net/a/src/bin/b.rs", ""), ("net/a/src/module.rs", "")]);
        assert_eq!(binary, ["net/a/src/bin/b.rs unsafe-lint"]);
    }

    #[test]
    fn a_lint_in_the_manifest_is_as_good() {
        assert!(rules(&[("tools/a/Cargo.toml", MEMBER), ("tools/a/src/lib.rs", "")]).is_empty());
        let own = "[package]\nname = \"a\"\n[lints.rust]\nunsafe_code = \"forbid\"\n";
        let program = ("userland/programs/a/src/lib.rs", "");
        assert!(rules(&[("userland/programs/a/Cargo.toml", own), program]).is_empty());
        let weak = own.replace("forbid", "deny");
        assert_eq!(rules(&[("userland/programs/a/Cargo.toml", &weak), program]).len(), 1);
        let none = "[package]\nname = \"a\"\n";
        assert_eq!(rules(&[("tools/a/Cargo.toml", none), ("tools/a/src/main.rs", "")]).len(), 1);
    }

    #[test]
    fn a_crate_with_an_exception_must_still_deny() {
        let manifest = ("kernel/engine/Cargo.toml", MEMBER);
        let root = |text| [manifest, ("kernel/engine/src/lib.rs", text)];
        assert!(rules(&root("#![deny(unsafe_code)]")).is_empty());
        assert_eq!(rules(&root("")), ["kernel/engine/src/lib.rs unsafe-lint"]);
        assert!(
            rules(&[("kernel/hal/Cargo.toml", MEMBER), ("kernel/hal/src/lib.rs", "")]).is_empty()
        );
    }

    #[test]
    fn the_word_stands_only_where_it_may() {
        let text = "fn a() {\n // SAFETY: the proof.\n unsafe { b() }\n}\n";
        for good in ["kernel/hal/src/a.rs", "kernel/engine/src/platform/a.rs"] {
            assert!(rules(&[(good, text)]).is_empty(), "{good}");
        }
        let bad = ["kernel/engine/src/a.rs", "kernel/src/main.rs", "net/a/examples/b.rs"];
        for path in bad {
            assert_eq!(rules(&[(path, text)]), [format!("{path} unsafe-place")]);
        }
        assert!(
            rules(&[("net/a/src/b.rs", "//! No unsafe here.\nconst A: &str = \"unsafe\";")])
                .is_empty()
        );
    }
}

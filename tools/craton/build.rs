//! Puts the SDK's sources into the tool, so that `craton new` needs nothing but the tool.
//!
//! Writes `sdk.rs` for `src/sdk.rs`: the path and the text of every file of the packages `craton`
//! and `craton-abi`, whose manifests are made to stand by themselves.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// What a package is called in an app's folder, and where it is here.
const PACKAGES: [(&str, &str); 2] = [("sdk", "userland/sdk"), ("abi", "kernel/abi")];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let top = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../..").canonicalize()?;
    let manifest = top.join("Cargo.toml");
    note(&manifest)?;
    let workspace = fs::read_to_string(&manifest)?;
    let mut out = String::from("pub(crate) const FILES: &[(&str, &str)] = &[\n");
    for (name, folder) in PACKAGES {
        let folder = top.join(folder);
        let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
        let manifest = standing_alone(&manifest, &workspace)?;
        writeln!(out, "    ({:?}, {manifest:?}),", format!("{name}/Cargo.toml"))?;
        note(&folder)?;
        let mut files = Vec::new();
        collect(&folder.join("src"), &mut files)?;
        for file in files {
            let inside = Path::new(name).join(file.strip_prefix(&folder)?);
            writeln!(out, "    ({inside:?}, include_str!({file:?})),")?;
        }
    }
    out.push_str("];\n");
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("sdk.rs"), out)?;
    Ok(())
}

/// Has cargo come again when this changes.
fn note(path: &Path) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "cargo::rerun-if-changed={}", path.display())?)
}

/// Every file below `folder`, in the same order everywhere.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries: std::io::Result<Vec<_>> = fs::read_dir(folder)?.collect();
    let mut paths: Vec<PathBuf> = entries?.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// A package's manifest with what it takes from its workspace written out.
fn standing_alone(manifest: &str, workspace: &str) -> Result<String> {
    let mut out = String::new();
    for line in manifest.lines() {
        match line.strip_suffix(".workspace = true") {
            Some("craton-abi") => out.push_str("craton-abi = { path = \"../abi\" }"),
            Some(key) => out.push_str(inherited(key, workspace)?),
            // Whose code this is lints it.
            None if line == "[lints]" => break,
            None => out.push_str(line),
        }
        out.push('\n');
    }
    Ok(out)
}

/// The line of the workspace's manifest for `key`.
fn inherited<'a>(key: &str, workspace: &'a str) -> Result<&'a str> {
    let mut lines = workspace.lines();
    let is_it = |line: &&str| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(" = "));
    lines.find(is_it).ok_or_else(|| format!("no {key} in the workspace's Cargo.toml").into())
}

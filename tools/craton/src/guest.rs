//! From a program's source to its signed bundle.
//!
//! Owns the choice of compiler for guests: rustup's wasm32 target where it is installed, else
//! Debian's own Rust with the standard library's source. Neighbours: `craton-compile` makes native
//! artifacts and signs them.

use crate::error::{Context, Error, Result};
use crate::keys::Keys;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";
/// Stack in front of the data, so that an overflow traps; small, since each process has its own.
const RUSTFLAGS: &str = "-Clink-arg=-zstack-size=65536 -Clink-arg=--stack-first";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";

/// Makes the signed bundle of `program`: a `.craton` bundle as it is, a `.wasm` or `.wat` module, or
/// the folder of a cargo package.
///
/// # Errors
///
/// Where the program is none of these, or does not build, or does not fit a node.
pub fn bundle(program: &Path, keys: &Keys) -> Result<Vec<u8>> {
    let shown = program.display();
    if !program.exists() {
        return Err(Error::new(format!("find the program {shown}"), "no such file or folder")
            .advise("a folder with a Cargo.toml, a .wasm or .wat file, or a .craton bundle"));
    }
    let extension = program.extension().and_then(|extension| extension.to_str());
    let wasm = match extension {
        Some("craton") => return read(program),
        Some("wasm" | "wat") => program.to_path_buf(),
        _ if program.join("Cargo.toml").exists() => build_package(program)?,
        _ => {
            return Err(Error::new(format!("build {shown}"), "neither a package nor a module")
                .advise("a folder with a Cargo.toml, a .wasm or .wat file, or a .craton bundle"));
        }
    };
    craton_compile::bundle(&read(&wasm)?, keys.compiler())
        .tried(|| format!("compile {}", wasm.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).tried(|| format!("read {}", path.display()))
}

/// A way to compile Rust for wasm32 on this machine.
enum Compiler {
    /// A toolchain that has the target's standard library.
    WithTarget,
    /// Debian's cargo, which builds `core` and `alloc` from the source beside it.
    FromSource,
}

fn compiler() -> Result<Compiler> {
    let libdir = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    if let Ok(output) = libdir
        && output.status.success()
        && Path::new(String::from_utf8_lossy(&output.stdout).trim()).exists()
    {
        return Ok(Compiler::WithTarget);
    }
    let source = std::fs::read_dir("/usr/src").into_iter().flatten().flatten().any(|entry| {
        entry.file_name().to_string_lossy().starts_with("rustc-")
            && entry.path().join("library").exists()
    });
    if source && Path::new(DEBIAN_CARGO).exists() {
        return Ok(Compiler::FromSource);
    }
    let error = Error::new("compile Rust for wasm32", format!("no {TARGET} on this machine"));
    Err(error.advise(if Path::new("/etc/debian_version").exists() {
        "apt-get install rustc-web cargo-web rust-web-src rust-web-llvm lld"
    } else {
        "rustup target add wasm32-unknown-unknown"
    }))
}

fn cargo(compiler: &Compiler) -> Command {
    match compiler {
        Compiler::WithTarget => Command::new("cargo"),
        Compiler::FromSource => {
            let mut command = Command::new(DEBIAN_CARGO);
            command
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTC", "/usr/bin/rustc")
                .env_remove("RUSTUP_TOOLCHAIN");
            command
        }
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Builds the package in `folder` and says where its module lies.
fn build_package(folder: &Path) -> Result<PathBuf> {
    let compiler = compiler()?;
    let manifest = folder.join("Cargo.toml");
    let shown = folder.display();
    let output = cargo(&compiler)
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(&manifest)
        .output()
        .tried(|| "start cargo".into())?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).trim().to_string();
        return Err(Error::new(format!("read the package {shown}"), text));
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).tried(|| "understand cargo".into())?;
    let wanted = manifest.canonicalize().tried(|| format!("find {}", manifest.display()))?;
    let library = metadata
        .packages
        .iter()
        .filter(|package| package.manifest_path == wanted)
        .flat_map(|package| &package.targets)
        .find(|target| target.kind.iter().any(|kind| kind == "cdylib"))
        .ok_or_else(|| {
            Error::new(format!("build {shown}"), "the package has no cdylib")
                .advise("[lib] crate-type = [\"cdylib\"] in its Cargo.toml")
        })?;
    let mut build = cargo(&compiler);
    build.env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.replace(' ', "\u{1f}"));
    build.args(["build", "--release", "--quiet", "--target", TARGET, "--manifest-path"]);
    build.arg(&manifest);
    if matches!(compiler, Compiler::FromSource) {
        build.arg("-Zbuild-std=core,alloc");
    }
    let status = build.status().tried(|| "start cargo".into())?;
    if !status.success() {
        return Err(Error::new(format!("build {shown}"), "the compiler refused it (see above)"));
    }
    let module = format!("{}.wasm", library.name.replace('-', "_"));
    Ok(metadata.target_directory.join(TARGET).join("release").join(module))
}

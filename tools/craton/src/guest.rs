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
/// 64 KiB of stack, below the data so that an overflow traps; names readable in backtraces.
const FLAGS: &[&str] = &["-Clink-arg=-zstack-size=65536", "-Clink-arg=--demangle"];
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_PACKAGES: &str = "rustc-web cargo-web rust-web-src lld";
/// Settings of a cargo or a person that must not leak into the build of a guest.
const LEAKS: &[&str] = &[
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER",
    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

/// Makes the signed bundle of `program`: a `.craton` bundle as it is, a `.wasm` or `.wat` module,
/// or the folder of a cargo package.
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
    let name = wasm.file_stem().and_then(|stem| stem.to_str()).unwrap_or("program");
    let tried = || format!("understand {}", wasm.display());
    let module = wat::parse_bytes(&read(&wasm)?).tried(tried)?.into_owned();
    craton_compile::bundle(name, &module, keys.compiler())
        .tried(|| format!("compile {}", wasm.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).tried(|| format!("read {}", path.display()))
}

/// A way to compile Rust for wasm32 on this machine.
enum Compiler {
    /// A toolchain that has the target's libraries.
    WithTarget,
    /// Debian's cargo, which builds `core` and `alloc` from the source beside it.
    FromSource {
        /// Debian's own `rust-lld` is a dangling link where its exact version is not installed.
        linker: PathBuf,
    },
}

fn sysroot(rustc: &str) -> Option<PathBuf> {
    let output = Command::new(rustc).args(["--print", "sysroot"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(text.trim()).join("lib").join("rustlib"))
}

fn wasm_linker() -> Option<PathBuf> {
    let plain = PathBuf::from("/usr/bin/wasm-ld");
    let versions =
        (14..40).rev().map(|version| PathBuf::from(format!("/usr/bin/wasm-ld-{version}")));
    std::iter::once(plain).chain(versions).find(|path| path.exists())
}

fn compiler() -> Result<Compiler> {
    if sysroot("rustc").is_some_and(|rustlib| rustlib.join(TARGET).join("lib").exists()) {
        return Ok(Compiler::WithTarget);
    }
    let sources = sysroot(DEBIAN_RUSTC).map(|rustlib| rustlib.join("src/rust/library"));
    if Path::new(DEBIAN_CARGO).exists()
        && sources.is_some_and(|library| library.exists())
        && let Some(linker) = wasm_linker()
    {
        return Ok(Compiler::FromSource { linker });
    }
    let error = Error::new("compile Rust for wasm32", format!("no {TARGET} on this machine"));
    Err(error.advise(if Path::new("/etc/debian_version").exists() {
        format!("apt-get install {DEBIAN_PACKAGES}")
    } else {
        format!("rustup target add {TARGET}")
    }))
}

fn cargo(compiler: &Compiler) -> Command {
    let mut flags = FLAGS.to_vec();
    let mut command = match compiler {
        Compiler::WithTarget => Command::new("cargo"),
        Compiler::FromSource { .. } => Command::new(DEBIAN_CARGO),
    };
    for leak in LEAKS {
        command.env_remove(leak);
    }
    if let Compiler::FromSource { linker } = compiler {
        flags.push("-Clinker-flavor=wasm-ld");
        command
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTC", DEBIAN_RUSTC)
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    command
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
    build.args(["build", "--release", "--quiet", "--lib", "--target", TARGET, "--manifest-path"]);
    build.arg(&manifest);
    if matches!(compiler, Compiler::FromSource { .. }) {
        build.arg("-Zbuild-std=core,alloc");
    }
    let status = build.status().tried(|| "start cargo".into())?;
    if !status.success() {
        return Err(Error::new(format!("build {shown}"), "the compiler refused it (see above)"));
    }
    let module = format!("{}.wasm", library.name.replace('-', "_"));
    Ok(metadata.target_directory.join(TARGET).join("release").join(module))
}

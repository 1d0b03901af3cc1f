//! From a program's source to its signed bundle.
//!
//! Owns the choice of target for a cargo package (a library is built for wasm32-unknown-unknown, an
//! ordinary program with a `main` for wasm32-wasip1) and of compiler: rustup's target where it is
//! installed, else, for libraries, Debian's own Rust with the standard library's source.
//! Neighbours: `craton-compile` makes native artifacts and signs them.

use crate::error::{Context, Error, Result};
use crate::keys::Keys;
use serde::Deserialize;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// For libraries, which have the SDK alone.
const TARGET: &str = "wasm32-unknown-unknown";
/// For programs of their own `main`, which have the standard library.
const WASI_TARGET: &str = "wasm32-wasip1";
/// For libraries: 64 KiB of stack, below the data so that an overflow traps; names readable in
/// backtraces. For all: vectors of 128 bits, which every node has (`wasm_simd`).
const FLAGS: &[&str] =
    &["-Clink-arg=-zstack-size=65536", "-Clink-arg=--demangle", "-Ctarget-feature=+simd128"];
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_PACKAGES: &str = "rustc-web cargo-web rust-web-src lld";
const RUSTUP_URL: &str = "https://sh.rustup.rs";
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

fn compiler(target: &str) -> Result<Compiler> {
    if sysroot("rustc").is_some_and(|rustlib| rustlib.join(target).join("lib").exists()) {
        return Ok(Compiler::WithTarget);
    }
    let sources = sysroot(DEBIAN_RUSTC).map(|rustlib| rustlib.join("src/rust/library"));
    if target == TARGET
        && Path::new(DEBIAN_CARGO).exists()
        && sources.is_some_and(|library| library.exists())
        && let Some(linker) = wasm_linker()
    {
        return Ok(Compiler::FromSource { linker });
    }
    let has_rustup = Command::new("rustup").arg("--version").output().is_ok();
    let is_debian = Path::new("/etc/debian_version").exists();
    let error = Error::new("compile Rust for wasm32", format!("no {target} on this machine"));
    Err(error.advise(remedy(target, has_rustup, is_debian)))
}

/// The one command that brings a target to this machine.
fn remedy(target: &str, has_rustup: bool, is_debian: bool) -> String {
    if has_rustup {
        format!("rustup target add {target}")
    } else if is_debian && target == TARGET {
        format!("apt-get install {DEBIAN_PACKAGES}")
    } else {
        format!("curl --proto '=https' -sSf {RUSTUP_URL} | sh -s -- --target {target}")
    }
}

fn cargo(compiler: &Compiler, target: &str) -> Command {
    let mut flags = FLAGS.to_vec();
    if target == WASI_TARGET {
        // Its stack is in front of its data already, and of the size that `std` counts on.
        flags.retain(|flag| !flag.contains("stack-size"));
    }
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

/// What of a package becomes the program.
struct Product {
    /// `--lib` or `--bin NAME`.
    what: Vec<String>,
    target: &'static str,
    /// Where its module lies when it is built.
    module: PathBuf,
}

/// Builds the package in `folder` and says where its module lies.
fn build_package(folder: &Path) -> Result<PathBuf> {
    let manifest = folder.join("Cargo.toml");
    let shown = folder.display();
    let product = product(folder, &manifest)?;
    let compiler = compiler(product.target)?;
    let mut build = cargo(&compiler, product.target);
    build.args(["build", "--release", "--quiet", "--target", product.target]);
    build.args(&product.what).arg("--manifest-path").arg(&manifest);
    if matches!(compiler, Compiler::FromSource { .. }) {
        build.arg("-Zbuild-std=core,alloc");
    }
    let status = build.status().tried(|| "start cargo".into())?;
    if !status.success() {
        return Err(Error::new(format!("build {shown}"), "the compiler refused it (see above)"));
    }
    Ok(product.module)
}

/// Asks cargo what the package in `folder` has, and chooses.
fn product(folder: &Path, manifest: &Path) -> Result<Product> {
    let shown = folder.display();
    // The one that can build can tell; where none can, the error is of what it cannot.
    let mut asked = match compiler(TARGET) {
        Ok(compiler) => cargo(&compiler, TARGET),
        Err(_) => Command::new("cargo"),
    };
    asked.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]).arg(manifest);
    let output = match asked.output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            compiler(TARGET)?;
            return Err(Error::new("start cargo", error));
        }
        output => output.tried(|| "start cargo".into())?,
    };
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).trim().to_string();
        return Err(Error::new(format!("read the package {shown}"), text));
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).tried(|| "understand cargo".into())?;
    let wanted = manifest.canonicalize().tried(|| format!("find {}", manifest.display()))?;
    let package = metadata.packages.iter().find(|package| package.manifest_path == wanted);
    let targets = package.map_or(&[][..], |package| &package.targets);
    let of_kind = |wanted| {
        let is_wanted = |target: &&Target| target.kind.iter().any(|kind| kind == wanted);
        targets.iter().filter(is_wanted).collect::<Vec<_>>()
    };
    let module = |target: &str, file: &str| {
        let folder = metadata.target_directory.join(target).join("release");
        folder.join(format!("{file}.wasm"))
    };
    if let [library, ..] = of_kind("cdylib")[..] {
        let module = module(TARGET, &library.name.replace('-', "_"));
        return Ok(Product { what: vec!["--lib".into()], target: TARGET, module });
    }
    match of_kind("bin")[..] {
        [program] => Ok(Product {
            what: vec!["--bin".into(), program.name.clone()],
            target: WASI_TARGET,
            module: module(WASI_TARGET, &program.name),
        }),
        [] => Err(Error::new(format!("build {shown}"), "the package has no program")
            .advise("a src/main.rs, or [lib] crate-type = [\"cdylib\"] in its Cargo.toml")),
        _ => Err(Error::new(format!("build {shown}"), "the package has several programs")
            .advise("a package for each of them")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_target_comes_with_the_command_that_brings_it() {
        assert_eq!(remedy(TARGET, true, true), "rustup target add wasm32-unknown-unknown");
        assert_eq!(remedy(WASI_TARGET, true, false), "rustup target add wasm32-wasip1");
        assert!(remedy(TARGET, false, true).starts_with("apt-get install rustc-web "));
        // Debian has no standard library for it.
        let from_the_net = "curl --proto '=https' -sSf https://sh.rustup.rs | sh -s -- --target ";
        assert_eq!(remedy(WASI_TARGET, false, true), format!("{from_the_net}wasm32-wasip1"));
        assert_eq!(remedy(TARGET, false, false), format!("{from_the_net}wasm32-unknown-unknown"));
    }
}

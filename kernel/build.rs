//! Link arguments that turn this crate's binary into a freestanding kernel.
//!
//! They apply to the binary alone, so cargo works as usual for everything else
//! (docs/decisions/0001-prebuilt-core.md).

use std::env;

const LINK_ARGS: [&str; 10] = [
    "-nostartfiles",
    "-nostdlib",
    "-static",
    "-no-pie",
    "-Wl,--build-id=none",
    "-Wl,-n",
    "-Wl,--gc-sections",
    "-Wl,-z,noexecstack",
    "-Wl,--no-eh-frame-hdr",
    "-Wl,-z,max-page-size=4096",
];

fn main() {
    let here = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    for arg in LINK_ARGS {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{here}/kernel.ld");
    println!("cargo:rerun-if-changed={here}/kernel.ld");
    println!("cargo:rerun-if-changed=build.rs");
}

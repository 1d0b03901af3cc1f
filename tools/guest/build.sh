#!/bin/sh
# Compiles a Rust package to a WebAssembly program: build.sh PACKAGE-FOLDER OUT.wasm [TARGET-FOLDER]
#
# Uses the toolchain on the PATH where that has the target wasm32-unknown-unknown, else Debian's
# /usr/bin/cargo (packages rustc-web, cargo-web, rust-web-src, lld), which compiles `core` and
# `alloc` from source. `craton build` and the Makefile both come here.
set -eu

target=wasm32-unknown-unknown

fail() {
    echo "craton: $1" >&2
    exit 1
}

[ $# -ge 2 ] || fail "usage: build.sh PACKAGE-FOLDER OUT.wasm [TARGET-FOLDER]"
[ -f "$1/Cargo.toml" ] || fail "$1 holds no Cargo.toml"
mkdir -p "$(dirname "$2")"
out=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
case "${3:-}" in
    "") CARGO_TARGET_DIR=$(cd "$1" && pwd)/target ;;
    /*) CARGO_TARGET_DIR=$3 ;;
    *) CARGO_TARGET_DIR=$PWD/$3 ;;
esac
export CARGO_TARGET_DIR
cd "$1"

# 64 KiB of stack, below the data so that an overflow traps; names readable in backtraces.
flags="-Clink-arg=-zstack-size=65536 -Clink-arg=--demangle"

# One cargo may call another here (`cargo run` of the tool): none of its settings may leak.
unset RUSTC RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER RUSTDOC CARGO CARGO_ENCODED_RUSTFLAGS \
    CARGO_BUILD_TARGET RUSTC_BOOTSTRAP
unset "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER" "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS"

by_path() {
    sysroot=$(rustc --print sysroot 2>/dev/null) && [ -d "$sysroot/lib/rustlib/$target/lib" ]
}

# The package's own name, as cargo sees it: the file is called so, with underscores.
name=$(sed -n 's/^name *= *"\([^"]*\)".*/\1/p' Cargo.toml | head -n 1)
[ -n "$name" ] || fail "$1/Cargo.toml names no package"
file=$(printf %s "$name" | tr - _)

if by_path; then
    # The test guest `stress` has hand-written instructions in it; stable does not offer assembly
    # for this target yet. No other package gets this.
    [ "$name" != stress ] || export RUSTC_BOOTSTRAP=stress
    RUSTFLAGS=$flags cargo build --quiet --release --lib --target $target
else
    [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] ||
        fail "no compiler for $target: run 'rustup target add $target', or on Debian install rustc-web cargo-web rust-web-src lld"
    library=$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library
    [ -d "$library" ] || fail "no sources of core at $library: install rust-web-src"
    # Debian's rust-lld is a dangling link unless the matching lld is installed: any wasm-ld will do.
    linker=$(command -v wasm-ld || ls /usr/bin/wasm-ld-* 2>/dev/null | tail -n 1) ||
        fail "no wasm-ld: install lld"
    [ -n "$linker" ] || fail "no wasm-ld: install lld"
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$linker \
        RUSTFLAGS="$flags -Clinker-flavor=wasm-ld" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
        /usr/bin/cargo build --quiet --release --lib --target $target -Zbuild-std=core,alloc
fi

built=$CARGO_TARGET_DIR/$target/release/$file.wasm
[ -f "$built" ] || fail "$1 built no $file.wasm: does Cargo.toml say crate-type = [\"cdylib\"]?"
cp "$built" "$out.new"
mv "$out.new" "$out"

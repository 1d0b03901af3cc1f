#!/bin/sh
# Brings what building and running Craton needs and this machine lacks: a C linker, QEMU, a Rust
# compiler, and a way to build wasm32 guests. Does nothing where all of it is there.
set -eu

say() { printf '  %-7s %s\n' "$1" "$2"; }
have() { command -v "$1" >/dev/null 2>&1; }

wasm_by_rustup() {
    have rustup && rustup target list --installed 2>/dev/null | grep -qx wasm32-unknown-unknown
}

wasm_by_debian() {
    [ -x /usr/bin/cargo ] && [ -d /usr/src/rustc-1.96.0/library ] ||
        { [ -x /usr/bin/cargo ] && ls -d /usr/src/rustc-*/library >/dev/null 2>&1 && have wasm-ld; }
}

missing=""
need() { missing="$missing $*"; }

have cc || need gcc libc6-dev
have qemu-system-x86_64 || need qemu-system-x86
have setpriv || need util-linux

if ! wasm_by_rustup && ! wasm_by_debian; then
    # With a network of its own, rustup is the smaller download.
    if have rustup && rustup target add wasm32-unknown-unknown >/dev/null 2>&1; then
        say added "rustup target wasm32-unknown-unknown"
    else
        need rustc-web cargo-web rust-web-src rust-web-llvm lld
    fi
fi
have cargo || case "$missing" in *cargo-web*) ;; *) need rustc-web cargo-web ;; esac

[ -n "$missing" ] || exit 0

if ! have apt-get; then
    echo "craton: this machine lacks:$missing" >&2
    echo "craton: no apt-get here; install them by your system's own means, then run make again." >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    sudo=""
elif have sudo; then
    sudo="sudo"
else
    echo "craton: these Debian packages are missing:$missing" >&2
    echo "craton: neither root nor sudo here. As root: apt-get install$missing" >&2
    exit 1
fi

say apt "installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
install() { $sudo apt-get install -y --no-install-recommends $missing >"$log" 2>&1; }
# The lists may be absent or stale: refresh them once, and only where the first try fails.
if ! install; then
    $sudo apt-get update >"$log" 2>&1 && install || {
        tail -n 20 "$log" >&2
        echo "craton: apt-get could not install:$missing" >&2
        exit 1
    }
fi
say done "machine is set up"

#!/bin/bash
# rustfmt and clippy over both workspaces, warnings denied. Prints one line a check. With the word
# `root` or `tools` over that workspace alone.
set -uo pipefail
cd "$(dirname "$0")/../.."
failed=0
check() {
    local name=$1
    shift
    local log
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then
        echo "ok $name"
    else
        echo "FAILED $name"
        cat "$log"
        failed=1
    fi
    rm -f "$log"
}
# Each compiler has lints of its own: warnings are denied with the one that is pinned.
pinned=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
deny=()
[[ $(rustc --version) != "rustc $pinned "* ]] || deny=(-D warnings)
in_tools() { (cd tools && "$@"); }
root() {
    check rustfmt cargo fmt --check
    # The engine as the kernel has it: wasmtime is looked through once.
    check clippy-kernel cargo clippy -p craton-kernel -p craton-engine --all-targets -- "${deny[@]}"
    check clippy cargo clippy --workspace --exclude craton-kernel --exclude craton-engine \
        --all-targets -- "${deny[@]}"
}
tools() {
    check rustfmt-tools in_tools cargo fmt --check
    check clippy-tools in_tools cargo clippy --release --workspace --all-targets -- "${deny[@]}"
}
case ${1:-all} in
    root) root ;;
    tools) tools ;;
    all)
        # Beside one another: each has crates for which all others of its own wait.
        (tools; exit "$failed") &
        root
        wait $! || failed=1
        ;;
    *)
        echo "usage: $0 [root|tools]" >&2
        exit 2
        ;;
esac
exit "$failed"

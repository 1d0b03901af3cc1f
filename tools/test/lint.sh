#!/bin/bash
# rustfmt and clippy over both workspaces, warnings denied. Prints one line a check.
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
check rustfmt cargo fmt --check
check rustfmt-tools in_tools cargo fmt --check
# Beside the others: each has crates for which all others of its own wait.
(check clippy-tools in_tools cargo clippy --release --workspace --all-targets -- "${deny[@]}"
    exit "$failed") &
check clippy-kernel cargo clippy -p craton-kernel -- "${deny[@]}"
check clippy cargo clippy --workspace --exclude craton-kernel --all-targets -- "${deny[@]}"
wait $! || failed=1
exit "$failed"

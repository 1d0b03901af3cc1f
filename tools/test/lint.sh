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
in_tools() { (cd tools && "$@"); }
check rustfmt cargo fmt --check
check rustfmt-tools in_tools cargo fmt --check
check clippy-kernel cargo clippy --release -p craton-kernel -- -D warnings
check clippy cargo clippy --workspace --exclude craton-kernel --all-targets -- -D warnings
check clippy-tools in_tools cargo clippy --release --workspace --all-targets -- -D warnings
exit "$failed"

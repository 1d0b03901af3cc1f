#!/bin/bash
# The part of `make test` that takes neither the tool nor a machine: style, and the tests of logic
# and programs on the host. run.sh has it go on beside the build, which leaves much of a CPU idle.
#
# Leaves its counts in build/test/host.sum.
set -uo pipefail
cd "$(dirname "$0")/../.."
. tools/test/step.sh

step "style" tools/test/lint.sh root
step "logic on the host" $cargo_test --workspace --exclude craton-kernel --exclude craton-engine
# Without what they have by default: the cryptography of one of them, which a node tests.
for program in wordcount hello echo http primes cron chat stress bench; do
    step "program $program on the host" $cargo_test --workspace --no-default-features \
        --target-dir target/programs \
        --manifest-path "userland/programs/$program/Cargo.toml"
done
# Waits for the tool, which is built in the same folder.
step "style of the tools" tools/test/lint.sh tools

echo "$passed $failed" >"$log/host.sum"

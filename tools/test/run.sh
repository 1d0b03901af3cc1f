#!/bin/bash
# Every test, and the sum of them on the last line: "N passed, N failed". With the word `all` also
# those that take long: every kind of machine, not only some that represent them.
#
# Builds what the QEMU tests boot, so it works from a clean clone. Each step's full output is shown
# as it comes; the counts are read from the lines that cargo's test runner and the checks print.
# Killed, it takes its tests with it, and they their machines; nothing is left outside `build/`.
set -uo pipefail
cd "$(dirname "$0")/../.."
log=$PWD/build/test
export TMPDIR=$PWD/build/tmp
mkdir -p "$log" "$TMPDIR"
rm -f "$log"/*.log
tied="setpriv --pdeathsig KILL --"
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$tied

passed=0
failed=0

# step NAME COMMAND...: runs it, adds its tests to the sum; a step that ran no test counts as one.
step() {
    local name=$1 started=$SECONDS
    shift
    echo
    echo "== $name"
    local status=0
    $tied "$@" 2>&1 | tee "$log/out" || status=$?
    local good bad
    good=$(awk '/^test result:/ { n += $4 } /^ok / { n += 1 } END { print n + 0 }' "$log/out")
    bad=$(awk '/^test result:/ { n += $6 } /^FAILED / { n += 1 } END { print n + 0 }' "$log/out")
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1
        echo "FAILED $name (exit status $status)"
    elif [ "$status" -eq 0 ] && [ "$good" -eq 0 ]; then
        good=1
    fi
    passed=$((passed + good))
    failed=$((failed + bad))
    echo "== $name: $good passed, $bad failed, $((SECONDS - started)) s"
}

in_tools="env -C tools"
cargo_test="cargo test --no-fail-fast"

# Two at once: where one compiles its last crate, the other has many.
step "build" make -j2 build
step "style" tools/test/lint.sh
step "logic on the host" $cargo_test --workspace --exclude craton-kernel --exclude craton-engine
# Without what they have by default: the cryptography of one of them, which a node tests.
for program in wordcount hello echo http primes cron chat stress bench; do
    step "program $program on the host" $cargo_test --workspace --no-default-features \
        --target-dir target/programs \
        --manifest-path "userland/programs/$program/Cargo.toml"
done
step "tools and simulator" $in_tools $cargo_test --release --workspace --exclude craton-qemu
long=()
if [ "${1:-}" = all ]; then
    long=(--include-ignored)
    # Two tests, for which wasmtime is compiled once more; the kernel's self-test has the same in it.
    step "engine on the host" $cargo_test --release -p craton-engine --features metal
fi
# Four at a time on two cores: most of a test is waiting for time-outs of the network.
step "machines in QEMU" $in_tools $cargo_test --release -p craton-qemu -- --test-threads=4 \
    "${long[@]}"

echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

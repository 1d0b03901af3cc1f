#!/bin/bash
# Every test, and the sum of them on the last line: "N passed, N failed". With the word `all` also
# those that take long: every kind of machine, not only some that represent them.
#
# Builds what the QEMU tests boot, so it works from a clean clone. Each step's full output is shown
# as it comes, that of host.sh, which goes on beside, when it is done; the counts are read from the
# lines that cargo's test runner and the checks print. Killed, it takes its tests with it, and they
# their machines; nothing is left outside `build/`.
set -uo pipefail
cd "$(dirname "$0")/../.."
. tools/test/step.sh
rm -f "$log"/*.log "$log"/host.*

in_tools="env -C tools"

$tied tools/test/host.sh >"$log/host.out" 2>&1 &
host=$!
# Two at once: where one compiles its last crate, the other has many.
step "build" make -j2 build
step "tools and simulator" $in_tools $cargo_test --release --workspace --exclude craton-qemu
long=()
if [ "${1:-}" = all ]; then
    long=(--include-ignored)
    # Two tests, for which wasmtime is compiled once more; the kernel's self-test has the same in it.
    step "engine on the host" $cargo_test --release -p craton-engine --features metal
fi
wait "$host"
cat "$log/host.out"
if read -r good bad 2>/dev/null <"$log/host.sum"; then
    passed=$((passed + good))
    failed=$((failed + bad))
else
    echo "FAILED style and tests on the host: they did not come to their end"
    failed=$((failed + 1))
fi
# Alone, since machines have their time-outs. Four at a time on two cores: most of a test is waiting
# for those of the network.
step "machines in QEMU" $in_tools $cargo_test --release -p craton-qemu -- --test-threads=4 \
    "${long[@]}"

echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

# What the parts of `make test` share: sourced by run.sh and host.sh.
#
# Owns `step` and the counts; whoever sources this has left the top folder's path in $PWD.
log=$PWD/build/test
export TMPDIR=$PWD/build/tmp
mkdir -p "$log" "$TMPDIR"
# Nobody edits and compiles again: what that takes is not written down.
export CARGO_INCREMENTAL=0
# Killed, a part takes its tests with it, and they their machines.
tied="setpriv --pdeathsig KILL --"
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$tied
cargo_test="cargo test --no-fail-fast"

passed=0
failed=0

# step NAME COMMAND...: runs it, adds its tests to the sum; a step that ran no test counts as one.
step() {
    local name=$1 started=$SECONDS out
    shift
    echo
    echo "== $name"
    local status=0
    out=$(mktemp)
    $tied "$@" 2>&1 | tee "$out" || status=$?
    local good bad
    good=$(awk '/^test result:/ { n += $4 } /^ok / { n += 1 } END { print n + 0 }' "$out")
    bad=$(awk '/^test result:/ { n += $6 } /^FAILED / { n += 1 } END { print n + 0 }' "$out")
    rm -f "$out"
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

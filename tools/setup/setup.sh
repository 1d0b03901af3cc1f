#!/bin/sh
# Brings what building and running Craton needs and this machine lacks: a C linker, QEMU, Rust, and
# a way to build wasm32 guests; with the word `lint`, rustfmt and clippy too; with the word `test`,
# also clients for tests of the network. Does nothing where all of it is there. Leaves no file of its
# own but `build/setup-tried`, whatever ends it.
set -eu

# The oldest Rust that builds Craton: 1.N (rust-version in Cargo.toml).
RUST_MINOR_MIN=95
# Seconds to wait for another apt, such as the upgrade that a new machine starts by itself.
APT_LOCK_SECS=600

say() { printf '  %-7s %s\n' "$1" "$2"; }
have() { command -v "$1" >/dev/null 2>&1; }
fail() {
    printf 'craton: ' >&2
    printf '%s\n' "$@" >&2
    exit 1
}

new_enough() {
    minor=$("$1" --version 2>/dev/null | sed -n 's/^[a-z]* 1\.\([0-9]*\)\..*/\1/p')
    [ "${minor:-0}" -ge "$RUST_MINOR_MIN" ]
}

rust_works() { new_enough cargo && new_enough rustc; }
lint_works() { cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1; }
rustup_rules() { have rustup && [ "$(command -v cargo)" != /usr/bin/cargo ]; }

# The same two ways in the same order as tools/craton/src/guest.rs.
wasm_works() {
    [ -d "$(rustc --print sysroot 2>/dev/null)/lib/rustlib/wasm32-unknown-unknown/lib" ] && return
    new_enough /usr/bin/cargo && new_enough /usr/bin/rustc &&
        [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library" ] &&
        ls /usr/bin/wasm-ld* >/dev/null 2>&1
}

# Sets `missing` to the Debian packages that would bring what is not here, and `wanted` to those that
# would bring what some tests use.
look() {
    missing=""
    have cc && have strip || missing="$missing gcc libc6-dev"
    have qemu-system-x86_64 || missing="$missing qemu-system-x86"
    have setpriv || missing="$missing util-linux"
    # Cargo fetches by TLS.
    [ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"
    rust_works || missing="$missing rustc-web cargo-web"
    wasm_works || missing="$missing rustc-web cargo-web rust-web-src lld"
    if [ "$for_tests" = yes ] && ! lint_works; then
        missing="$missing rustfmt-web rust-web-clippy"
    fi
    # Clients that nobody here wrote, for the services of a node. Without some the tests that use
    # them say that they are skipped.
    wanted=""
    if [ "${for_tests}" = yes ] && [ "$for_lint" = no ]; then
        have curl || missing="$missing curl"
        have openssl || missing="$missing openssl"
        have ip || wanted="$wanted iproute2"
        have ping || wanted="$wanted iputils-ping"
        have wrk || wanted="$wanted wrk"
        have slowhttptest || wanted="$wanted slowhttptest"
        /usr/bin/python3 -c "import scapy" >/dev/null 2>&1 || wanted="$wanted python3-scapy"
    fi
    missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
    missing=${missing% }
}

# Tries to bring what tests can do without: once, and asks nobody for a password for it. Each by
# itself, since some systems do not have all of them.
bring_wanted() {
    [ -n "$wanted" ] || return 0
    tried=build/setup-tried
    if [ "$(cat "$tried" 2>/dev/null)" != "$wanted" ] && have apt-get &&
        { [ "$(id -u)" = 0 ] || sudo -n true >/dev/null 2>&1; }; then
        [ "$(id -u)" = 0 ] && sudo="" || sudo="sudo -n"
        say apt "installing for tests:$wanted"
        apt_get -o Acquire::http::Timeout=30 update >/dev/null 2>&1 || true
        for package in $wanted; do
            apt_get -o Acquire::http::Timeout=30 install "$package" >/dev/null 2>&1 || true
        done
        look
        mkdir -p build
        printf '%s\n' "$wanted" >"$tried"
    fi
    [ -z "$wanted" ] || say tests "some are skipped for want of:$wanted"
}

# Shows what apt is at: one line that changes, off a terminal one for every tenth package. Where it
# failed, its last lines. Returns its exit status. No process a line: apt would have to wait for it.
show() {
    status=1 total="?" fetched=0 unpacked=0 set_up=0
    set --
    while IFS= read -r line; do
        case $line in
        "exit status "*) status=${line#exit status } && continue ;;
        *" newly installed, "*) total=${line#*upgraded, } && total=${total%% *} ;;
        Get:*) fetched=$((fetched + 1)) && step fetch "$fetched" "${line#* * * * }" ;;
        Unpacking*) unpacked=$((unpacked + 1)) && step unpack "$unpacked" "${line#* }" ;;
        "Setting up"*) set_up=$((set_up + 1)) && step "set up" "$set_up" "${line#* * }" ;;
        esac
        set -- "$@" "$line"
        [ $# -le 12 ] || shift
    done
    [ ! -t 1 ] || printf '\r%79s\r' ""
    [ "$status" = 0 ] || printf '%s\n' "$@" >&2
    return "$status"
}

step() {
    if [ -t 1 ]; then
        printf '\r  %-7s %s of %s  %-50.50s' "$1" "$2" "$total" "${3%% *}"
    elif [ $(($2 % 10)) = 0 ]; then
        say "$1" "$2 of $total"
    fi
}

apt_get() {
    {
        status=0
        $sudo env LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -y --no-install-recommends \
            -o DPkg::Lock::Timeout="$APT_LOCK_SECS" "$@" 2>&1 </dev/null || status=$?
        echo "exit status $status"
    } | show
}

# apt works as a user of its own too, which may not see a folder of this one.
unset TMPDIR
for_tests=no
for_lint=no
case ${1:-} in
test) for_tests=yes ;;
lint) for_tests=yes for_lint=yes ;;
esac
cd "$(dirname "$0")/../.."
[ "$(uname -s) $(uname -m)" = "Linux x86_64" ] ||
    fail "the host is $(uname -s) $(uname -m); Craton is built and emulated on Linux x86_64"

look
if [ -z "$missing" ]; then
    bring_wanted
    exit 0
fi

# With a network of its own, rustup is the smaller download.
if rustup_rules && rust_works && ! wasm_works; then
    if rustup target add wasm32-unknown-unknown >/dev/null 2>&1; then
        say added "rustup target wasm32-unknown-unknown"
    fi
    look
fi
if [ "$for_tests" = yes ] && rustup_rules && rust_works && ! lint_works; then
    rustup component add rustfmt clippy || fail "rustup could not add rustfmt and clippy"
    look
fi
if rustup_rules && ! rust_works; then
    # Debian's Rust beside it would not help: rustup's comes first in PATH.
    rustup toolchain install 1.95.0 --profile minimal -c rustfmt -c clippy ||
        fail "rustup could not install Rust 1.95.0, which rust-toolchain.toml asks for"
    look
fi
if [ -z "$missing" ]; then
    bring_wanted
    exit 0
fi

by_hand="apt-get update && apt-get install -y --no-install-recommends $missing"
have apt-get || fail "this machine lacks what these Debian packages bring: $missing" \
    "There is no apt-get here: install the like of them by your system's means (Rust: rustup.rs," \
    "with the target wasm32-unknown-unknown), then run make again."
if [ "$(id -u)" = 0 ]; then
    sudo=""
elif have sudo; then
    sudo="sudo"
    sudo -v || fail "sudo does not let this user install packages. As root, run" "  $by_hand" \
        "and then make again."
else
    fail "these Debian packages are missing: $missing" \
        "This is not root, and there is no sudo. As root, run" "  $by_hand" "and then make again."
fi

say apt "installing $missing"
# Lists may be absent or stale; where they cannot be had now, those that are here may do.
apt_get update >/dev/null 2>&1 || say apt "could not refresh the package lists; using those here"
case $missing in *rustc-web*)
    minor=$(LC_ALL=C apt-cache policy rustc-web | sed -n 's/^ *Candidate: 1\.\([0-9]*\)\..*/\1/p')
    [ "${minor:-0}" -ge "$RUST_MINOR_MIN" ] || fail \
        "the package lists have no rustc-web of 1.$RUST_MINOR_MIN or newer." \
        "On Debian 12, /etc/apt/sources.list needs the line" \
        "  deb http://deb.debian.org/debian-security bookworm-security main" \
        "Elsewhere, install Rust by https://rustup.rs with the target wasm32-unknown-unknown." \
        "Then run make again."
    ;;
esac
if [ -n "$(ls /var/lib/dpkg/updates 2>/dev/null)" ]; then
    say dpkg "ending an installation that was interrupted"
    $sudo env DEBIAN_FRONTEND=noninteractive dpkg --configure -a >/dev/null 2>&1 </dev/null || true
fi
apt_get --fix-broken install $missing ||
    fail "apt-get could not install all of it. As root, run" "  $by_hand" "and then make again."

look
[ -z "$missing" ] || fail "still missing after apt-get had installed it: $missing"
bring_wanted
say done "machine is set up"

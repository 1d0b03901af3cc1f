#!/bin/sh
# Brings what building and running Craton needs and this machine lacks: a C linker, QEMU, Rust, and
# a way to build wasm32 guests; with the word `test`, rustfmt and clippy too. Does nothing where all
# of it is there. Leaves no file of its own, whatever ends it.
set -eu

# The oldest Rust that builds Craton: 1.N (rust-version in Cargo.toml).
RUST_MINOR_MIN=95
# Seconds to wait for another apt, such as the upgrade that a new machine starts by itself.
APT_LOCK_SECS=600

say() { printf '  %-7s %s\n' "$1" "$2"; }
have() { command -v "$1" >/dev/null 2>&1; }
fail() {
    for line in "$@"; do echo "craton: $line" >&2; done
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

# Sets `missing` to the Debian packages that would bring what is not here.
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
    missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
    missing=${missing% }
}

# Passes apt's progress on as one line that changes, off a terminal as a line for every tenth; what
# apt said last, if it failed. Returns apt's exit status.
show() {
    tail="" shown=-1 status=1 colon=:
    while IFS= read -r line; do
        case $line in
        dlstatus:* | pmstatus:*)
            text=${line#*:*:}
            percent=${text%%[!0-9]*}
            text=${text#*:}
            case $line in dlstatus:*) doing="fetch" ;; *) doing="install" ;; esac
            if [ -t 1 ]; then
                printf '\r  %-7s %3d %%  %-60.60s' "$doing" "${percent:-0}" "$text"
            elif [ "$doing$((${percent:-0} / 10))" != "$shown" ]; then
                shown="$doing$((${percent:-0} / 10))"
                say "$doing" "$percent %"
            fi
            ;;
        "exit status "*) status=${line#exit status } ;;
        *) tail=$(printf '%s\n%s' "$tail" "$line" | tail -n 12) ;;
        esac
    done
    [ ! -t 1 ] || printf '\r%79s\r' ""
    [ "$status" = 0 ] || printf '%s\n' "$tail" >&2
    return "$status"
}

apt_get() {
    {
        status=0
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get -y --no-install-recommends \
            -o DPkg::Lock::Timeout="$APT_LOCK_SECS" -o APT::Status-Fd=1 -o Dpkg::Use-Pty=0 \
            "$@" 2>&1 </dev/null || status=$?
        echo "exit status $status"
    } | show
}

for_tests=no
[ "${1:-}" != test ] || for_tests=yes
cd "$(dirname "$0")/../.."
[ "$(uname -s) $(uname -m)" = "Linux x86_64" ] ||
    fail "the host is $(uname -s) $(uname -m); Craton is built and emulated on Linux x86_64"

look
[ -n "$missing" ] || exit 0

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
[ -n "$missing" ] || exit 0

by_hand="apt-get update && apt-get install -y --no-install-recommends $missing"
have apt-get || fail "this machine lacks what these Debian packages bring: $missing" \
    "There is no apt-get here: install the like of them by your system's means (Rust: rustup.rs," \
    "with the target wasm32-unknown-unknown), then run make again."
if [ "$(id -u)" = 0 ]; then
    sudo=""
elif have sudo; then
    sudo="sudo"
else
    fail "these Debian packages are missing: $missing" \
        "This is not root, and there is no sudo. As root, run" "  $by_hand" "then make again."
fi

say apt "installing $missing"
# Lists may be absent or stale; where they cannot be had now, those that are here may do.
apt_get update >/dev/null 2>&1 || say apt "could not refresh the package lists; trying with those here"
apt_get install $missing || fail "apt-get could not install all of it. As root, run" "  $by_hand" \
    "then make again."

look
case $missing in
"") say done "machine is set up" ;;
*rustc-web*)
    fail "no Rust 1.$RUST_MINOR_MIN or newer is in these package lists. On Debian 12, have the line" \
        "  deb http://deb.debian.org/debian-security bookworm-security main" \
        "in /etc/apt/sources.list; elsewhere install Rust by rustup.rs, with the target" \
        "wasm32-unknown-unknown. Then run make again."
    ;;
*) fail "still missing after apt-get had installed it: $missing" ;;
esac

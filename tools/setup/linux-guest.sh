#!/bin/sh
# Makes the Linux machine of qemu/tests/cluster/netem.rs in build/linux, of Debian's packages: its
# kernel with netem in it, busybox, and this machine's own tc. Downloads some 50 MB, installs
# nothing and needs no root. Does nothing where the machine is there and newer than what makes it.
set -eu

cd "$(dirname "$0")/../.."
top=$PWD
done=$top/build/linux
out=$done.new
init=qemu/tests/cluster/guests/linux/init

fail() {
    printf 'craton: no Linux guest: %s\n' "$@" >&2
    exit 1
}

if [ -e "$done/initrd" ] && [ "$done/initrd" -nt "$init" ] && [ "$done/initrd" -nt "$0" ]; then
    exit 0
fi
[ -n "$(command -v apt-get)" ] || fail "it is made of Debian's packages, and there is no apt-get"
PATH=$PATH:/sbin:/usr/sbin
tc=$(command -v tc) || fail "there is no tc; install iproute2"
for tool in dpkg-deb gzip xz; do
    [ -n "$(command -v "$tool")" ] || fail "there is no $tool; install dpkg, gzip and xz-utils"
done

# What was made before stays until all of the new one is there.
rm -rf "$out"
mkdir -p "$out/deb" "$out/root"
trap 'rm -rf "$out"' EXIT

# apt works as a user of its own where it is root, which may not see a folder of this one.
unset TMPDIR
kernel=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null |
    sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
[ -n "$kernel" ] ||
    fail "the package lists have no linux-image-cloud-amd64; on Debian, run: apt-get update"
echo "  fetch   $kernel, busybox-static"
(cd "$out/deb" && apt-get -q download "$kernel" busybox-static >log 2>&1) ||
    fail "apt-get download failed" "$(tail -n 3 "$out/deb/log")"
for package in "$out"/deb/*.deb; do
    dpkg-deb -x "$package" "$out/deb/all"
done
cp "$out"/deb/all/boot/vmlinuz-* "$out/kernel"

# A module that this kernel has built in is no file.
cd "$out/root"
mkdir -p bin lib64 proc sys dev tmp
busybox=$out/deb/all/bin/busybox
[ -e "$busybox" ] || busybox=$out/deb/all/usr/bin/busybox
cp "$busybox" bin/busybox
modules=$(echo "$out"/deb/all/lib/modules/* "$out"/deb/all/usr/lib/modules/*)
for folder in $modules; do
    [ -d "$folder" ] || continue
    version=${folder##*/}
    mkdir -p "lib/modules/$version"
    cp "$folder"/modules.builtin "$folder"/modules.order "lib/modules/$version"
    for part in drivers/virtio drivers/net/virtio_net drivers/net/net_failover drivers/net/ifb \
        net/core/failover net/sched; do
        for file in "$folder/kernel/$part"*; do
            [ -e "$file" ] && cp -r "$file" "lib/modules/$version"
        done
    done
done
find lib/modules -name '*.ko.xz' -exec xz -d {} +
[ -n "$(find lib/modules -name sch_netem.ko)" ] || fail "$kernel has no netem"
bin/busybox depmod -b "$out/root" "$version"

cp "$tc" bin/tc
ldd "$tc" | sed -n 's/^.*=> \(\/[^ ]*\).*$/\1/p; s/^[^=]*\(\/lib64\/[^ ]*\).*$/\1/p' |
    while read -r library; do
        mkdir -p ".${library%/*}"
        cp -L "$library" ".$library"
    done
cp "$top/$init" init
chmod 755 init
find . | bin/busybox cpio -o -H newc >"$out/initrd.cpio" 2>/dev/null ||
    fail "busybox could not pack its files"
cd "$done/.."
gzip -1 "$out/initrd.cpio"
mv "$out/initrd.cpio.gz" "$out/initrd"
rm -rf "$out/deb" "$out/root" "$done"
mv "$out" "$done"
echo "  done    $(du -sh "$done" | cut -f 1) in build/linux"

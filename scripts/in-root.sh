#!/bin/sh
# A command in another root:  scripts/in-root.sh ROOT FOLDER COMMAND...
# It has mounts and processes of its own, which end with it. FOLDER is /opt there, /tmp is empty, and ROOT is only read.
# Who is not root here is root of a user namespace. So is everybody where ROOT is for aarch64 and this machine is not:
# programs run by qemu-aarch64-static, which the kernel is told about for that namespace alone (Linux 6.7). The network
# is that of the caller. Where there are no such namespaces, the reason is on standard error and the status is 3.
set -eu
[ $# -ge 3 ] || { echo "usage: scripts/in-root.sh ROOT FOLDER COMMAND..." >&2; exit 2; }
EMULATOR=""
user=""
[ "$(id -u)" = 0 ] || user="--user --map-root-user"
is_aarch64() { [ -e "$1/lib/ld-linux-aarch64.so.1" ] || [ -e "$1/lib/ld-musl-aarch64.so.1" ]; }
if is_aarch64 "$1" && [ "$(uname -m)" != aarch64 ]; then
    user="--user --map-root-user"
    EMULATOR=$(command -v qemu-aarch64-static) || { echo "no qemu-aarch64-static here" >&2; exit 3; }
fi
export EMULATOR
# shellcheck disable=SC2086
unshare $user --mount --pid --fork true 2>/dev/null || {
    echo "no namespaces of mounts and processes here" >&2
    exit 3
}
# shellcheck disable=SC2016,SC2086
exec unshare $user --mount --propagation private --pid --fork --kill-child sh -c '
set -eu
root=$1 folder=$2
shift 2
mount --bind "$root" "$root"
mount --bind "$folder" "$root/opt"
mount -t tmpfs tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
if [ -n "$EMULATOR" ]; then
    kinds=$root/proc/sys/fs/binfmt_misc
    mount -t binfmt_misc none "$kinds" || { echo "no kinds of programs of a namespace of its own here" >&2; exit 3; }
    # the first 20 bytes of a program; the emulator is opened now, so the root needs none
    head="\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    mask="\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
    printf "%s" ":uvale-aarch64:M::$head:$mask:$EMULATOR:PF" >"$kinds/register"
fi
mount -o remount,bind,ro "$root"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp "$(command -v chroot)" "$root" "$@"
' in-root "$@"

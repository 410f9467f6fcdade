#!/bin/sh
# A command in another root:  scripts/in-root.sh ROOT FOLDER COMMAND...
# It is root of a user namespace, with mounts and processes of its own, which end with it. FOLDER is /opt there, /tmp is
# empty, and ROOT is only read. Programs for aarch64 run by qemu-aarch64-static, which the kernel is told about for this
# namespace alone (Linux 6.7). The network is the machine's unless it is called in a namespace with another.
# Where there are no such namespaces, the reason is on standard error and the status is 3.
set -eu
[ $# -ge 3 ] || { echo "usage: scripts/in-root.sh ROOT FOLDER COMMAND..." >&2; exit 2; }
unshare --user --map-root-user --mount --pid --fork true 2>/dev/null || {
    echo "no namespaces of users, mounts and processes here" >&2
    exit 3
}
emulator=$(command -v qemu-aarch64-static || true)
chroot=$(command -v chroot)
export EMULATOR="$emulator" CHROOT="$chroot"
# shellcheck disable=SC2016
exec unshare --user --map-root-user --mount --propagation private --pid --fork --kill-child sh -c '
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
    # the first 20 bytes of a program; the emulator is opened now, so the root needs none
    if mount -t binfmt_misc none "$kinds" 2>/dev/null; then
        head="\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
        mask="\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
        printf "%s" ":uvale-aarch64:M::$head:$mask:$EMULATOR:PF" >"$kinds/register"
    fi
fi
mount -o remount,bind,ro "$root"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp "$(command -v chroot)" "$root" "$@"
' in-root "$@"

#!/bin/sh
# A command in a fresh Debian:  scripts/try-in-debian.sh SUITE [COMMAND...]
# Makes a minimal root of SUITE (bookworm, trixie, ...) with debootstrap, puts a fresh clone of the
# last commit into it and runs COMMAND there, scripts/demo.sh if none is given, as root, in mount and
# process namespaces of its own, with this machine's network and, read-only, its Rust toolchain.
# scripts/root.sh makes the root, and says how to name another archive.
# BUSY=seconds keeps apt's and dpkg's locks taken that long in the root, as an upgrade at boot does.
#
# The minimal root stays in debian/ under the target directory and is used again; what a run writes
# lies beside it and is removed when the next run begins.
set -eu
[ $# -ge 1 ] || { echo "usage: scripts/try-in-debian.sh SUITE [COMMAND...]" >&2; exit 2; }
suite=$1
shift
[ $# -gt 0 ] || set -- scripts/demo.sh
cd "$(dirname "$0")/.."
top=$PWD
[ "$(id -u)" = 0 ] || { echo "try-in-debian: needs root" >&2; exit 1; }
for tool in debootstrap unshare git rustc python3; do
    command -v $tool >/dev/null || { echo "try-in-debian: $tool is not installed" >&2; exit 1; }
done
target=${CARGO_TARGET_DIR:-$top/target}
mkdir -p "$target/debian"
base=$(cd "$target/debian" && pwd)/$suite
run=$base.run
toolchain=$(rustc --print sysroot)

scripts/root.sh "$suite" >/dev/null

rm -rf "$run"
mkdir -p "$run/upper" "$run/work" "$run/root"
git clone -q "$top" "$run/clone"
# what tells the network's way, and a certificate authority of this machine's own
cp /etc/resolv.conf "$run/resolv.conf"
cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$run/authorities.crt"
export BUSY="${BUSY:-0}"

# In the namespaces: the root is the minimal one with a writable layer on it.
# shellcheck disable=SC2016
enter='
set -eu
base=$1 run=$2 toolchain=$3
shift 3
root=$run/root
mount -t overlay overlay -o "lowerdir=$base,upperdir=$run/upper,workdir=$run/work" "$root"
mkdir -p "$root/opt/rust" "$root/root/uvale"
cp "$run/resolv.conf" "$root/etc/resolv.conf"
cp "$run/authorities.crt" "$root/opt/authorities.crt"
mount --bind "$toolchain" "$root/opt/rust"
mount -o remount,bind,ro "$root/opt/rust"
mount --bind "$run/clone" "$root/root/uvale"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t sysfs -o ro sysfs "$root/sys"
if [ "$BUSY" -gt 0 ]; then
    python3 -c "
import fcntl, sys, time
held = [open(path, \"w\") for path in sys.argv[2:]]
for file in held: fcntl.lockf(file, fcntl.LOCK_EX)
time.sleep(int(sys.argv[1]))
" "$BUSY" "$root/var/lib/apt/lists/lock" "$root/var/lib/dpkg/lock-frontend" "$root/var/lib/dpkg/lock" &
    sleep 1
fi
exec chroot "$root" /usr/bin/env -i HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 CI="${CI:-}" \
    PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    SSL_CERT_FILE=/opt/authorities.crt CARGO_HTTP_CAINFO=/opt/authorities.crt \
    sh -c "cd /root/uvale && exec \"\$@\"" sh "$@"
'
echo "try-in-debian: $suite: $*"
unshare --mount --propagation private --pid --fork --kill-child \
    sh -c "$enter" enter "$base" "$run" "$toolchain" "$@"

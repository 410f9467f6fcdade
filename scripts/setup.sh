#!/bin/sh
# Installs what building and testing need on Debian and Ubuntu:  scripts/setup.sh build|demo|test
# As root it installs by itself, unless COMPAT_NO_INSTALL=1 forbids it; otherwise it says what is missing and how to
# install it. Only the demonstration cannot go on without; checks that need a missing package say that they are skipped.
set -eu
build="gcc libc6-dev"
demo="$build make flex bison dpkg-dev libclang-dev ca-certificates"
test="$build g++ make flex bison pkg-config dpkg-dev libclang-dev strace valgrind iproute2 tcpdump \
 wireshark-common tshark python3 python3-yaml libjemalloc2 eatmydata faketime autoconf automake libtool procps \
 util-linux musl-tools ca-certificates podman runc uidmap fuse-overlayfs passwd python3-pip debootstrap busybox-static \
 golang-go gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static lintian rpm"
case ${1:-build} in
build) want=$build ;;
demo) want=$demo ;;
test) want=$test ;;
*) echo "usage: scripts/setup.sh build|demo|test" >&2; exit 2 ;;
esac
if ! command -v dpkg-query >/dev/null; then
    echo "setup: not a Debian system; please see that these are installed: $want"
    exit 0
fi
missing=""
for package in $want; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && [ "${COMPAT_NO_INSTALL:-0}" = 0 ]; then
    echo "setup: installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt_get=$(dirname "$0")/apt-get.sh
    "$apt_get" update -qq
    # shellcheck disable=SC2086
    "$apt_get" install -y -qq --no-install-recommends $missing >/dev/null
elif [ "$want" = "$demo" ]; then
    echo "setup: missing packages; install them with: sudo apt-get install -y$missing" >&2
    exit 1
else
    echo "setup: missing packages, some checks will be skipped; install them with: sudo apt-get install$missing"
fi

#!/bin/sh
# build-libpcap.sh INCLUDE_DIR CACHE_DIR : Debian's libpcap with its netmap module, built against
# the headers in INCLUDE_DIR, installed in CACHE_DIR/pcap (lib/libpcap.so.0.8, include/pcap.h).
. "$(dirname "$0")/common.sh"

include=$1
cache=$2
scripts=$(cd "$(dirname "$0")" && pwd)
prefix=$cache/pcap
build=$cache/build/libpcap
stamp=$(headers_stamp "$include" "$0")

up_to_date "$prefix/.stamp" "$stamp" && exit 0
need_packages gcc make flex bison
"$scripts/debian-source.sh" libpcap "$cache"

rm -rf "$build" "$prefix"
mkdir -p "$cache/build" "$prefix"
cp -a "$cache/src/libpcap/tree" "$build"
cd "$build"
# The modules for other capture devices only add dependencies.
run_logged build.log ./configure --prefix="$prefix" --enable-netmap \
    --disable-usb --disable-bluetooth --disable-dbus --disable-rdma --without-libnl \
    --without-dag --without-snf --without-turbocap --without-dpdk \
    CFLAGS="-g -O2 -I$include"
grep -q '^#define PCAP_SUPPORT_NETMAP 1' config.h || {
    grep -A 25 'whether we can compile the netmap support' config.log | head -n 40 >&2
    fail "libpcap's configure does not accept the netmap headers in $include"
}
run_logged build.log make -j"$(jobs)"
run_logged build.log make install
[ -e "$prefix/lib/libpcap.so.0.8" ] || fail "the build left no libpcap.so.0.8"
echo "$stamp" >"$prefix/.stamp"

#!/bin/sh
# build-tcpreplay.sh INCLUDE_DIR CACHE_DIR : Debian's tcpreplay with its netmap output, built against
# the headers in INCLUDE_DIR, as CACHE_DIR/tcpreplay/bin/tcpreplay.
. "$(dirname "$0")/common.sh"

include=$(cd "$1" && pwd)
cache=$2
scripts=$(cd "$(dirname "$0")" && pwd)
prefix=$cache/tcpreplay
build=$cache/build/tcpreplay
stamp=$(headers_stamp "$include" "$0")

up_to_date "$prefix/.stamp" "$stamp" && exit 0
"$scripts/build-libpcap.sh" "$include" "$cache"
need_packages gcc make
"$scripts/debian-source.sh" tcpreplay "$cache"

rm -rf "$build" "$prefix"
mkdir -p "$cache/build" "$prefix/bin"
cp -a "$cache/src/tcpreplay/tree" "$build"
# its configure looks for DIR/sys/net/netmap.h, as in netmap's own source tree
mkdir -p "$build/netmap-tree"
ln -s "$include" "$build/netmap-tree/sys"
cd "$build"
run_logged build.log ./configure --prefix="$prefix" --with-netmap="$build/netmap-tree" \
    --with-libpcap="$cache/pcap" --enable-dynamic-link --disable-libopts-install
run_logged build.log make -j"$(jobs)"

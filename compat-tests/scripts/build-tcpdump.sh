#!/bin/sh
# build-tcpdump.sh INCLUDE_DIR CACHE_DIR : Debian's tcpdump on the libpcap of build-libpcap.sh,
# installed as CACHE_DIR/tcpdump/bin/tcpdump (run it with LD_LIBRARY_PATH=CACHE_DIR/pcap/lib).
. "$(dirname "$0")/common.sh"

include=$1
cache=$2
scripts=$(cd "$(dirname "$0")" && pwd)
prefix=$cache/tcpdump
build=$cache/build/tcpdump

"$scripts/build-libpcap.sh" "$include" "$cache"
# It sees only libpcap's interface, so new netmap headers are no reason to build it again.
stamp=$(sha256sum <"$0")
up_to_date "$prefix/.stamp" "$stamp" && exit 0
need_packages gcc make
"$scripts/debian-source.sh" tcpdump "$cache"

rm -rf "$build" "$prefix"
mkdir -p "$cache/build" "$prefix/bin"
cp -a "$cache/src/tcpdump/tree" "$build"
cd "$build"
# Debian's patches count on a user to change to; it must exist wherever this runs. `-Z` names others.
run_logged build.log env PCAP_CONFIG="$cache/pcap/bin/pcap-config" \
    ./configure --prefix="$prefix" --without-crypto --without-cap-ng --disable-local-libpcap --with-user=root \
    CFLAGS="-g -O1 -I$cache/pcap/include" LDFLAGS="-L$cache/pcap/lib"
run_logged build.log make -j"$(jobs)" tcpdump
cp tcpdump "$prefix/bin/tcpdump"
LD_LIBRARY_PATH=$cache/pcap/lib "$prefix/bin/tcpdump" --version >"$prefix/version" 2>&1 ||
    fail "the built tcpdump does not start: $(cat "$prefix/version")"
echo "$stamp" >"$prefix/.stamp"

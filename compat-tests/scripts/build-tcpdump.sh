#!/bin/sh
# build-tcpdump.sh INCLUDE_DIR CACHE_DIR : Debian's tcpdump on the libpcap of build-libpcap.sh,
# installed as CACHE_DIR/tcpdump/bin/tcpdump (run it with LD_LIBRARY_PATH=CACHE_DIR/pcap/lib).
# Where its source can't be had, Debian's own binary takes its place: libpcap's interface is stable.
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

check_and_stamp() {
    LD_LIBRARY_PATH=$cache/pcap/lib "$prefix/bin/tcpdump" --version >"$prefix/version" 2>&1 ||
        fail "tcpdump does not start on our libpcap: $(cat "$prefix/version")"
    echo "$stamp" >"$prefix/.stamp"
}

rm -rf "$build" "$prefix"
mkdir -p "$cache/build" "$prefix/bin"
if ! "$scripts/debian-source.sh" tcpdump "$cache" >"$cache/build/tcpdump-source.log"; then
    cat "$cache/build/tcpdump-source.log" >&2
    need_packages tcpdump
    cp "$(command -v tcpdump || echo /usr/bin/tcpdump)" "$prefix/bin/tcpdump"
    check_and_stamp
    exit 0
fi

cp -a "$cache/src/tcpdump/tree" "$build"
cd "$build"
# Debian's patches count on a user to change to; it must exist wherever this runs. `-Z` names others.
run_logged build.log env PCAP_CONFIG="$cache/pcap/bin/pcap-config" \
    ./configure --prefix="$prefix" --without-crypto --without-cap-ng --disable-local-libpcap --with-user=root \
    CFLAGS="-g -O1 -I$cache/pcap/include" LDFLAGS="-L$cache/pcap/lib"
run_logged build.log make -j"$(jobs)" tcpdump
cp tcpdump "$prefix/bin/tcpdump"
check_and_stamp

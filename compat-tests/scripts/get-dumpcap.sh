#!/bin/sh
# get-dumpcap.sh INCLUDE_DIR CACHE_DIR : Debian's own dumpcap binary, to be run on the libpcap of
# build-libpcap.sh with LD_LIBRARY_PATH. A copy in CACHE_DIR/dumpcap, so that file capabilities or a
# restrictive mode that an administrator gave the installed one do not matter.
. "$(dirname "$0")/common.sh"

include=$1
cache=$2
scripts=$(cd "$(dirname "$0")" && pwd)

"$scripts/build-libpcap.sh" "$include" "$cache"
[ -x "$cache/dumpcap/dumpcap" ] || {
    need_packages wireshark-common
    mkdir -p "$cache/dumpcap"
    installed=$(command -v dumpcap || echo /usr/bin/dumpcap)
    cp "$installed" "$cache/dumpcap/dumpcap.new" || skip "the installed dumpcap can't be read by this user"
    chmod 755 "$cache/dumpcap/dumpcap.new"
    mv "$cache/dumpcap/dumpcap.new" "$cache/dumpcap/dumpcap"
}
LD_LIBRARY_PATH=$cache/pcap/lib "$cache/dumpcap/dumpcap" --version >"$cache/dumpcap/version" 2>&1 ||
    fail "dumpcap does not start on our libpcap: $(cat "$cache/dumpcap/version")"

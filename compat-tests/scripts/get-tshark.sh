#!/bin/sh
# get-tshark.sh INCLUDE_DIR CACHE_DIR : Debian's own tshark, to be run on the libpcap of
# build-libpcap.sh. It starts dumpcap and reads from it what it decodes.
. "$(dirname "$0")/common.sh"

scripts=$(cd "$(dirname "$0")" && pwd)

"$scripts/get-dumpcap.sh" "$1" "$2"
need_packages tshark
mkdir -p "$2/tshark"
ln -sf "$(command -v tshark || echo /usr/bin/tshark)" "$2/tshark/tshark"

#!/bin/sh
# What people do first, in another root. /opt has uvale and the shim, sent.pcap with COUNT frames, and tcpdump with its
# libpcap if there is one. The daemon starts by itself.  first.sh COUNT
set -eu
count=$1
mkdir -m 700 /tmp/first
export UVALE_DIR=/tmp/first/world
trap '/opt/uvale stop' EXIT
/opt/uvale gen -i vale0:out -f rx -n "$count" --pcap /opt/arrived.pcap &
/opt/uvale wait vale0:out
[ -e "$UVALE_DIR/uvale.sock" ]
/opt/uvale gen -i vale0:in -f tx --pcap /opt/sent.pcap
wait $!
if [ -e /opt/tcpdump ]; then
    export LD_LIBRARY_PATH=/opt
    /opt/uvale run -- /opt/tcpdump -i vale1:out -U -c "$count" -w /opt/dumped.pcap &
    /opt/uvale wait vale1:out
    /opt/uvale gen -i vale1:in -f tx --pcap /opt/sent.pcap
    wait $!
fi
/opt/uvale stats

#!/bin/sh
# record.sh [OUT] : records http.pcap, real traffic between two network namespaces of our own.
#
# Two hosts on a veth pair (192.0.2.1 and 192.0.2.2, addresses kept for documentation) resolve each
# other by ARP, ping, ask a small UDP service for names, and fetch files of many sizes over HTTP.
# During one request the server is out of reach for a moment, so that TCP retransmits. Offloads are
# off: what is captured are the frames as they would be on a wire.
#
# Needs root, and Debian's iproute2, iputils-ping, ethtool, curl, python3 and tcpdump. The recording
# is committed, so this runs only when somebody wants a new one.
set -eu

out=$(realpath "${1:-$(dirname "$0")/http.pcap}")
client=nmrec-client
server=nmrec-server
work=$(mktemp -d)
pids=

cleanup() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    ip netns del $client 2>/dev/null || true
    ip netns del $server 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

in_client() { ip netns exec $client "$@"; }
in_server() { ip netns exec $server "$@"; }

# background COMMAND... : starts it and remembers its process id (the command's own: exec, no subshell between)
background() {
    (exec "$@") &
    pids="$pids $!"
}

make_hosts() {
    ip netns add $client
    ip netns add $server
    ip -n $client link add eth0 address 02:00:00:00:00:01 type veth \
        peer name eth0 address 02:00:00:00:00:02 netns $server
    ip -n $client addr add 192.0.2.1/24 dev eth0
    ip -n $server addr add 192.0.2.2/24 dev eth0
    for host in $client $server; do
        ip netns exec $host ethtool -K eth0 tx off rx off sg off tso off gso off gro off >/dev/null 2>&1 || true
        ip -n $host link set lo up
        ip -n $host link set eth0 up
    done
}

# Files of sizes around the edges: nothing, one byte, one segment, one more than a segment, many.
make_files() {
    python3 - "$work/www" <<'PY'
import os, random, sys
os.makedirs(sys.argv[1])
generator = random.Random(20)
for size in (0, 1, 64, 1200, 1448, 1449, 4000, 9000, 40000):
    with open(os.path.join(sys.argv[1], f"{size}.bin"), "wb") as f:
        f.write(bytes(generator.randrange(256) for _ in range(size)))
PY
    echo '<html><body>hello over a switch</body></html>' >"$work/www/index.html"
}

# Answers every query with one A record for 192.0.2.80, in DNS's format.
start_names() {
    cat >"$work/names.py" <<'PY'
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("192.0.2.2", 53))
while True:
    query, peer = s.recvfrom(512)
    answer = query[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + query[12:]
    s.sendto(answer + b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x50", peer)
PY
    background ip netns exec $server python3 "$work/names.py"
    until in_server ss -Hlun 'sport = :53' | grep -q 53; do sleep 0.1; done
}

ask_names() {
    in_client python3 - <<'PY'
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
for number in range(12):
    label = b"host%d" % number * (number % 3 + 1)
    name = bytes([len(label)]) + label + b"\x07example\x00"
    s.sendto(struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + name + b"\x00\x01\x00\x01", ("192.0.2.2", 53))
    s.recv(512)
PY
}

start_http() {
    background ip netns exec $server python3 -m http.server --bind 192.0.2.2 -d "$work/www" 80 \
        >"$work/http.log" 2>&1
    until in_server ss -Hltn 'sport = :80' | grep -q LISTEN; do sleep 0.1; done
}

start_capture() {
    background ip netns exec $client tcpdump -i eth0 --immediate-mode -U -w "$work/all.pcap" 2>"$work/tcpdump.log"
    capture=$!
    until grep -q 'listening on' "$work/tcpdump.log"; do sleep 0.1; done
}

fetch() { in_client curl -sS -o /dev/null --max-time 60 "$@"; }

traffic() {
    in_client ping -q -c 4 -i 0.2 192.0.2.2 >/dev/null
    in_client ping -q -c 2 -i 0.2 -s 1472 192.0.2.2 >/dev/null
    ask_names
    fetch http://192.0.2.2/index.html
    for size in 0 1 64 1200 1448 1449 4000 9000 40000; do
        fetch "http://192.0.2.2/$size.bin"
    done
    fetch -X POST --data-binary "@$work/www/4000.bin" http://192.0.2.2/ || true
    fetch http://192.0.2.2/missing
    retransmission
    in_client curl -sS --max-time 2 http://192.0.2.2:81/ 2>/dev/null || true
}

# The server loses its address for half a second in the middle of a request, so its half of the
# connection hears nothing and the client sends the same segment again.
retransmission() {
    cat >"$work/slow.py" <<'PY'
import os, socket
s = socket.create_connection(("192.0.2.2", 80), timeout=60)
s.sendall(b"GET /9000.bin HTTP/1.0\r\n")
os.write(1, b"half\n")
os.read(3, 3)  # the script says when: a background command has no standard input
s.sendall(b"Host: 192.0.2.2\r\n\r\n")
os.write(1, b"sent\n")
while s.recv(65536):
    pass
PY
    mkfifo "$work/go"
    exec 3<>"$work/go"
    background ip netns exec $client python3 "$work/slow.py" >"$work/slow.log"
    slow=$!
    until grep -q half "$work/slow.log"; do sleep 0.05; done
    ip -n $server addr del 192.0.2.2/24 dev eth0
    echo go >&3
    until grep -q sent "$work/slow.log"; do sleep 0.05; done
    sleep 0.5
    ip -n $server addr add 192.0.2.2/24 dev eth0
    exec 3>&-
    wait $slow
}

make_hosts
make_files
start_names
start_http
start_capture
traffic
sleep 1 # the last frames are on their way to the file
kill "$capture"
wait "$capture" || true
cp "$work/all.pcap" "$out"
tcpdump -r "$out" 2>/dev/null | wc -l

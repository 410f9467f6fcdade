#!/bin/sh
# The main job, from nothing:  scripts/demo.sh
# Sets up, builds uvale, its shim and two programs from outside against the headers in include/,
# and sends a recorded TCP/HTTP conversation through them over VALE switches, each host's frames in
# turn:
#
#   uvale gen --vale0--> bridge (netmap-rs) --vale1--> tcpdump (libpcap's netmap module)
#
# Ends with a table, and with status 0 only if every frame arrived, byte for byte. The programs meet
# in a runtime directory of their own, so a world that is in use stays undisturbed. Logs and captures
# are in demo/ under the target directory.
set -u
LC_ALL=C
export LC_ALL
cd "$(dirname "$0")/.." || exit 1
root=$PWD
target=${CARGO_TARGET_DIR:-$root/target}
mkdir -p "$target/demo" "$target/compat-apps" || exit 1
target=$(cd "$target" && pwd)
work=$target/demo
cache=$target/compat-apps
log=$work/demo.log
ticked=$work/ticked # exists once a step has said that it still goes on
uvale=$target/release/uvale
bridge=$cache/netmap-rs/bin/bridge
tcpdump=$cache/tcpdump/bin/tcpdump
capture=$root/compat-tests/data/http.pcap
patience=120 # seconds; far more than any step of the exchange takes

running=""
ticker=""
UVALE_DIR=""

# Programs that we started and that still run, then the daemon and its directory.
clean_up() {
    stop_ticker
    for pid in $running; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; done
    running=""
    if [ -n "$UVALE_DIR" ]; then
        [ ! -e "$UVALE_DIR/uvale.sock" ] || "$uvale" stop >>"$log" 2>&1
        cp "$UVALE_DIR/uvale.log" "$work/" 2>/dev/null
        rm -rf "$UVALE_DIR"
        UVALE_DIR=""
    fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# give_up ADVICE : the end of the log and what to do.
give_up() {
    printf '\n-- end of %s\n' "$log" >&2
    tail -n 20 "$log" >&2
    printf -- '--\nwhat to do: %s\n' "$1" >&2
    exit 1
}

# tick WHAT : says every so often that it still goes on, for how long, and the log's last line. A
# terminal has one moving line, anything else a line every 20 s.
moves=no
[ ! -t 1 ] || [ "${TERM:-dumb}" = dumb ] || moves=yes
width=$(stty size 2>/dev/null <&1 | cut -d' ' -f2)
width=$((${width:-80} - 1))
[ $width -gt 0 ] || width=79
tick() {
    seconds=0
    while sleep 1 && kill -0 $$ 2>/dev/null; do
        seconds=$((seconds + 1))
        now=$(tail -n 1 "$log" | grep -v '^==' | tr -cd '[:print:]' | cut -c 1-50)
        if [ $moves = yes ]; then
            printf '\r\033[K%s' "$(printf '%-66s%s s  %s' "$1" $seconds "$now" | cut -c "1-$width")"
        elif [ $((seconds % 20)) = 0 ]; then
            [ -e "$ticked" ] || echo
            : >"$ticked"
            printf '    still at it, %s s: %s\n' $seconds "$now"
        fi
    done
}
stop_ticker() {
    [ -z "$ticker" ] || { kill "$ticker" && wait "$ticker"; } 2>/dev/null
    ticker=""
}

# watched WHAT COMMAND... : one line for a command whose output goes to the log.
watched() {
    what=$1
    shift
    rm -f "$ticked"
    printf '%-66s' "$what"
    printf '\n== %s\n' "$what" >>"$log"
    began=$(date +%s)
    tick "$what" &
    ticker=$!
    "$@" >>"$log" 2>&1
    status=$?
    stop_ticker
    if [ $moves = yes ]; then printf '\r\033[K%-66s' "$what"; fi
    if [ -e "$ticked" ]; then printf '%-66s' "$what"; fi
    if [ $status = 0 ]; then echo "ok ($(($(date +%s) - began)) s)"; else echo failed; fi
    return $status
}

# step WHAT ADVICE COMMAND... : the same; a failure is the end, with advice.
step() {
    what=$1
    advice=$2
    shift 2
    watched "$what" "$@" || give_up "$advice"
}

# build_app SCRIPT [PROGRAM] : a program from outside, in the cache that the tests use too.
build_app() {
    script=$root/compat-tests/scripts/$1
    shift
    env -u CARGO_TARGET_DIR -u RUSTFLAGS -u LD_LIBRARY_PATH \
        flock "$cache/lock" "$script" "$root/include" "$cache" "$@"
}

build_uvale() { env -u CARGO_BUILD_TARGET cargo build --release -p uvale -p nmshim --target-dir "$target"; }

# on_libpcap COMMAND... : with the libpcap that was built here.
on_libpcap() { LD_LIBRARY_PATH=$cache/pcap/lib "$@"; }

# Packets and bytes of a pcap file: a header of 24 bytes, and one of 16 before each packet.
packets_of() { on_libpcap "$tcpdump" -r "$1" -t -n -q 2>/dev/null | wc -l; }
size_of() { stat -c %s "$1" 2>/dev/null || echo 0; }
bytes_of() { echo $(($(size_of "$1") - 24 - 16 * $2)); }

# split HOST ADDRESS : what one host sent. A learning switch never gives a frame back to the port
# that it came from, so the two hosts need a port each.
split() { on_libpcap "$tcpdump" -r "$capture" -w "$work/$1.pcap" ether src "$2"; }
split_all() {
    split client 02:00:00:00:00:01 && split server 02:00:00:00:00:02 || return 1
    in_all=$(packets_of "$capture")
    from_client=$(packets_of "$work/client.pcap")
    from_server=$(packets_of "$work/server.pcap")
    echo "$in_all packets: $from_client and $from_server"
    [ "$in_all" -gt 0 ] && [ $((from_client + from_server)) = "$in_all" ]
}

# start LOG COMMAND... : in the background, under the shim; `uvale run` becomes the command.
start() {
    output=$1
    shift
    LD_LIBRARY_PATH=$cache/pcap/lib "$uvale" run -- "$@" >"$output" 2>&1 &
    started=$!
    running="$running $started"
}

# has_ended PID : a child that nobody waited for yet is a zombie.
has_ended() {
    case $(sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null) in
    "" | Z*) return 0 ;;
    *) return 1 ;;
    esac
}

# until_true PID COMMAND... : waits for it; fails if process PID ends first, or patience does.
until_true() {
    watched=$1
    shift
    end=$(($(date +%s) + patience))
    until "$@"; do
        if has_ended "$watched" && ! "$@"; then echo "the program ended before: $*"; return 1; fi
        [ "$(date +%s)" -lt "$end" ] || { echo "waited $patience s in vain: $*"; return 1; }
        sleep 0.05
    done
}
says() { grep -q "$2" "$1"; }
is_complete() { [ "$(size_of "$2")" -ge "$(size_of "$1")" ]; }

# finish PID SIGNAL : ends a program of ours and gives its status.
finish() {
    kill -"$2" "$1" && { until_true "$1" has_ended "$1" || kill -KILL "$1"; }
    wait "$1"
    status=$?
    running=$(echo " $running " | sed "s/ $1 / /")
    return $status
}

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# Frames that a switch dropped at any port there is, by uvale's own counters.
dropped() {
    "$uvale" stats | tee -a "$log" |
        awk 'NR > 1 { sum += $6 } END { print sum + 0 }'
}

# Every byte of every frame in hexadecimal, without its time.
frames() { on_libpcap "$tcpdump" -r "$1" -t -n -e -S -xx 2>/dev/null; }
is_identical() {
    frames "$1" >"$1.txt" && frames "$2" >"$2.txt" && [ -s "$1.txt" ] && cmp "$1.txt" "$2.txt"
}

# cross HOST FROM TO : the frames of HOST over both switches; a row of the table.
cross() {
    sent=$work/$1.pcap
    arrived=$work/$1-arrived.pcap
    rm -f "$arrived"
    start "$work/$1-bridge.log" "$bridge" -a "$2:b" -b "$3:b"
    forwarder=$started
    until_true "$forwarder" says "$work/$1-bridge.log" bridging || return 1
    start "$work/$1-tcpdump.log" "$tcpdump" -i "$3:out" -U -w "$arrived"
    receiver=$started
    until_true "$receiver" says "$work/$1-tcpdump.log" 'listening on' || return 1
    began_ms=$(now_ms)
    "$uvale" run -- "$uvale" gen -i "$2:in" -f tx --pcap "$sent" || return 1
    until_true "$receiver" is_complete "$sent" "$arrived"
    took=$(($(now_ms) - began_ms))
    drops=$(dropped)
    finish "$receiver" INT || { echo "tcpdump ended with status $?"; return 1; }
    finish "$forwarder" TERM
    [ $? = 143 ] || { echo "bridge ended by itself"; return 1; }
    cat "$work/$1-bridge.log" "$work/$1-tcpdump.log"
    count=$(packets_of "$arrived")
    same=no
    is_identical "$sent" "$arrived" && same=yes
    printf '%-8s %-14s %6s %9s %9s %8s  %-9s %s.%03d s\n' "$1" "$2 -> $3" "$(packets_of "$sent")" "$count" \
        "$(bytes_of "$arrived" "$count")" "$drops" "$same" $((took / 1000)) $((took % 1000)) >>"$work/table"
    [ "$same" = yes ] && [ "$drops" = 0 ]
}

# Both directions; the daemon is there because the first program needed it.
exchange() {
    : >"$work/table"
    result=0
    cross client vale0 vale1 || { result=1; cat "$work"/client-*.log; }
    cross server vale1 vale0 || { result=1; cat "$work"/server-*.log; }
    daemon="the daemon came up by itself"
    [ -e "$UVALE_DIR/uvale.sock" ] || { daemon="no daemon came up"; result=1; }
    return $result
}

print_table() {
    pcap_version=$(on_libpcap "$tcpdump" --version 2>&1 | sed -n 's/^libpcap version \([0-9.]*\).*/\1/p')
    version=$(on_libpcap "$tcpdump" --version 2>&1 | sed -n 's/^tcpdump version \([0-9.]*\).*/\1/p')
    kernel=no
    [ ! -d /sys/module/netmap ] || kernel=yes
    printf '\nsent by       uvale gen, replaying compat-tests/data/http.pcap\n'
    printf 'forwarded by  bridge of the crate netmap-rs, unchanged, built against include/\n'
    printf 'received by   tcpdump %s; the netmap module of its libpcap %s, unchanged, built against include/\n' \
        "${version:-of an unknown version}" "${pcap_version:-of an unknown version}"
    printf 'netmap in the kernel: %s; %s\n\n' "$kernel" "$daemon"
    printf '%-8s %-14s %6s %9s %9s %8s  %-9s %s\n' host way sent received bytes dropped identical time
    cat "$work/table"
}

: >"$log" || exit 1
command -v cargo >/dev/null 2>&1 || {
    echo "demo: cargo is not in PATH; install a Rust toolchain (1.88 or later) with rustup, and call this again" >&2
    exit 1
}
if [ "$(id -u)" = 0 ]; then
    step "Debian packages" "see why apt-get refuses, above, and call this again" scripts/setup.sh demo
else
    scripts/setup.sh demo || exit 1
fi
read_log="see the last lines above (Debian's archive and the crates' registry must be in reach), then call this
again: what has been built is kept"
step "uvale and its shim (cargo build --release)" "$read_log" build_uvale
step "libpcap with its netmap module, from Debian's source, and tcpdump" "$read_log" build_app build-tcpdump.sh
step "bridge, from the crate netmap-rs" "$read_log" build_app build-netmap-rs.sh bridge
step "the capture, split into what each host sent" "see that compat-tests/data/http.pcap is the committed one" split_all
UVALE_DIR=$(mktemp -d -t uvale-demo.XXXXXX) || exit 1
export UVALE_DIR
unset UVALE_AUTOSTART
watched "the exchange, both directions" exchange
result=$?
"$uvale" stop >>"$log" 2>&1 || { echo "the daemon did not stop" >>"$log"; result=1; }
print_table
[ $result = 0 ] || give_up "logs and captures of both sides are in $work; scripts/test.sh shows which part is broken"
printf '\nall %s frames arrived, byte for byte; captures and log: %s\n' "$in_all" "$work"

#!/bin/sh
# Two programs exchange packets, both ways:  exchange.sh N A B
# Needs `uvale` and its shims beside it, and a shell; it runs in roots that have little else. A and B are programs like
# compat-tests/programs/robust/traffic.c. First A sends N packets to B, then B to A, over a pipe, which loses none; both
# ends count them. The daemon starts by itself. Ends with "ok", or "failed: why" and status 1.
set -u
here=$(dirname "$0")
n=$1 a=$2 b=$3
patience=240 # seconds; far more than an exchange takes
work=/tmp/exchange-$$
mkdir -m 700 "$work"
export UVALE_DIR="$work/world"
rx="" tx=""
# shellcheck disable=SC2086
trap 'kill $rx $tx 2>/dev/null; "$here/uvale" stop >/dev/null 2>&1; rm -rf "$work"' EXIT

fail() {
    echo "failed: $*"
    for file in "$work"/*.log "$UVALE_DIR/uvale.log"; do
        [ ! -s "$file" ] || { echo "-- $file"; tail -n 5 "$file"; }
    done
    exit 1
}

# until_true PID WHAT COMMAND... : waits for it, and fails if the process ends before, or patience does.
until_true() {
    pid=$1 what=$2
    shift 2
    end=$(($(date +%s) + patience))
    until "$@"; do
        if ! kill -0 "$pid" 2>/dev/null && ! "$@"; then fail "a program ended: $what"; fi
        [ "$(date +%s)" -lt "$end" ] || fail "waited $patience s: $what"
        sleep 0.1
    done
}
says() { grep -qs "$2" "$1"; }

has_come_or_stands() {
    says "$work/rx.log" '^end ' && return
    kill -0 "$1" 2>/dev/null || fail "$2 ended before $n packets had come"
    return 1
}

# cross HOW SENDER RECEIVER
cross() {
    "$here/uvale" run -- "$3" rx 'vale0:p}1' gapless=1 "n=$n" "how=$1" >"$work/rx.log" 2>&1 &
    rx=$!
    until_true $rx "$3 opens a port" says "$work/rx.log" '^ready'
    "$here/uvale" run -- "$2" tx 'vale0:p{1' "n=$n" "how=$1" then=hold >"$work/tx.log" 2>&1 &
    tx=$!
    until_true $rx "$3 receives $n packets" has_come_or_stands $tx "$2"
    wait $rx || fail "$3 ended with status $?"
    last=$(grep '^end ' "$work/rx.log")
    [ "$last" = "end n=$n lost=0" ] || fail "$3 received: $last"
    # it has no more to send, and waits for a receiver that has closed to give the last slots back
    kill $tx
    wait $tx || fail "$2 ended with status $?"
    last=$(grep '^end ' "$work/tx.log" | tail -n 1) # some say it once more when they are ended
    [ "$last" = "end n=$n lost=0" ] || fail "$2 sent: $last"
    rx="" tx=""
}
cross sync "$a" "$b"
cross poll "$b" "$a"
echo ok

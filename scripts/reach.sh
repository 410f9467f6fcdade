#!/bin/sh
# Who is reached where:  scripts/reach.sh [short|debug]
# A matrix of roots (glibc 2.28, Debian's 2.31, 2.36 and 2.41, musl), architectures (x86_64; aarch64 by qemu-user) and
# ways to link (dynamic, static, Go, Go with C code). In each cell a program linked so and a dynamic one in C exchange
# packets both ways, 10^6 each, 10^4 under qemu-user, and the counts have to be exact; or a line says why not. Programs
# are compiled here and run there with the files of scripts/build-for.sh. Status 1: a cell that should work has failed.
# `debug` builds without optimisation; `short` does, too, and leaves out what is younger than the oldest root.
set -u
cd "$(dirname "$0")/.." || exit 1
. scripts/zig.sh
target=${tools%/tools}
case ${1:-} in
"") profile=release suites="bullseye bookworm trixie" ;;
debug) profile=debug suites="bullseye bookworm trixie" ;;
short) profile=debug suites="bullseye" ;;
*) echo "usage: scripts/reach.sh [short|debug]" >&2; exit 2 ;;
esac
work=$target/reach
rm -rf "$work"
mkdir -p "$work"
traffic=compat-tests/programs/robust/traffic.c
exchange=compat-tests/programs/reach/exchange.go
with_c=compat-tests/programs/trap/cgo.go
failed=no
notes=0

# because REASON : the number of that note.
because() {
    number=$(grep -nxF "$*" "$work/notes" 2>/dev/null | cut -d: -f1)
    if [ -z "$number" ]; then
        echo "$*" >>"$work/notes"
        number=$(wc -l <"$work/notes")
    fi
    cell="no [$number]"
}

# compile TRIPLE KIND INTO : the program that runs in a cell; else the reason is in INTO.why.
compile() {
    triple=$1 into=$3
    as=$(go_architecture "$triple")
    log=$into.why
    case $2 in
    dynamic) scripts/cc-for.sh "$triple" -O1 -pthread -Iinclude -o "$into" "$traffic" >"$log" 2>&1 ;;
    static) scripts/cc-for.sh "$triple" -static -O1 -pthread -Iinclude -o "$into" "$traffic" >"$log" 2>&1 ;;
    go) CGO_ENABLED=0 GOARCH=$as go_build "$exchange" ;;
    # Both files have to be in one folder. A program that can be loaded anywhere would have relocations in code here,
    # which musl's loader does not know.
    cgo)
        cp "$exchange" "$with_c" "$work"
        CGO_ENABLED=1 GOARCH=$as CC="$PWD/scripts/cc-for.sh $triple" \
            go_build -ldflags=-extldflags=-no-pie "$work/${exchange##*/}" "$work/${with_c##*/}"
        ;;
    esac && rm -f "$log"
}
go_architecture() { case $1 in x86_64*) echo amd64 ;; *) echo arm64 ;; esac; }
go_build() {
    command -v go >/dev/null || { echo "skipped: Go is not installed" >"$log"; return 3; }
    # cgo's own commands are run in another folder, so the way to the compiler is absolute
    GO111MODULE=off GOCACHE=$target/reach-go go build -o "$into" "$@" >"$log" 2>&1
}

# can_reach KIND ARCHITECTURE : is there a way to such programs at all? The reason if not.
can_reach() {
    case $1 in
    static | go)
        [ "$2" = x86_64 ] ||
            { echo "qemu-user has no seccomp, whose notifications are the way to programs without a loader"; return 1; }
        ;;
    cgo)
        [ "$2" = x86_64 ] ||
            { echo "qemu-user has no seccomp, whose traps are the way to Go's own system calls"; return 1; }
        ;;
    esac
}

# cell ROOT STAGE KIND ARCHITECTURE : runs it; what is printed of it is in `cell` afterwards.
cell() {
    root=$1 stage=$2 kind=$3 arch=$4
    # what this machine cannot run cannot say what it can do
    if ! obstacle=$(can_reach "$kind" "$arch"); then
        because "$obstacle"
        return
    fi
    if [ -e "$stage/$kind.why" ]; then
        # a compiler that is not there is a reason, one that refuses the program is not
        obstacle=$(sed -n 's/^.*skipped: //p' "$stage/$kind.why" | head -n 1)
        if [ -n "$obstacle" ]; then because "$obstacle"; else has_failed "$stage/$kind.why"; fi
        return
    fi
    n=1000000
    [ "$arch" = x86_64 ] || n=10000
    log=$stage/$kind.log
    scripts/in-root.sh "$root" "$stage" /opt/busybox sh /opt/exchange.sh $n "/opt/$kind" /opt/dynamic >"$log" 2>&1
    status=$?
    if [ $status = 0 ] && [ "$(tail -n 1 "$log")" = ok ]; then
        cell=ok
    elif [ $status = 3 ]; then
        because "$(tail -n 1 "$log")"
    else
        has_failed "$log"
    fi
}

# has_failed LOG
has_failed() {
    cell=FAILED
    failed=yes
    { echo "-- $1"; cat "$1"; } >&2
}

row_of() { printf '%-12s %-8s %-9s %-9s %-9s %-9s\n' "$@"; }

# row NAME ARCHITECTURE SUITE TRIPLE : one root, all kinds.
row() {
    name=$1 arch=$2 suite=$3 triple=$4
    debian=amd64
    [ "$arch" = x86_64 ] || debian=arm64
    set --
    built=$target/$profile-for/$triple
    stage=$work/$suite-$arch
    if [ "$suite" = none ]; then
        why="no archive of packages has a root with it any more; the test \`symbols\` forbids newer symbols"
    elif [ ! -d "$built" ]; then
        why=$(sed -n "s/^skipped: $triple: //p" "$work/built")
        why="the files for $triple are not built: ${why:-scripts/build-for.sh says why}"
    elif ! root=$(scripts/root.sh "$suite" $debian 2>"$work/root.why"); then
        why=$(tail -n 1 "$work/root.why")
    elif [ "$arch" != "$(uname -m)" ] && ! command -v qemu-aarch64-static >/dev/null; then
        why="qemu-user-static is not installed"
    elif ! busybox=$(command -v busybox); then
        why="busybox-static is not installed"
    else
        why=""
        mkdir -p "$stage"
        cp "$built"/uvale "$built"/lib*.so scripts/exchange.sh "$busybox" "$stage"
    fi
    for kind in dynamic static go cgo; do
        if [ -n "$why" ]; then
            because "$why"
        else
            compile "$triple" $kind "$stage/$kind"
            cell "$root" "$stage" $kind "$arch"
        fi
        set -- "$@" "$cell"
    done
    row_of "$name" "$arch" "$@" >>"$work/table"
    row_of "$name" "$arch" "$@"
}

# COMPAT_BUILT=1: whoever calls this has just built them
: >"$work/built"
[ "${COMPAT_BUILT:-0}" = 1 ] || scripts/build-for.sh all $profile >"$work/built" 2>&1
# 3: something could not be tried, and says why
case $? in 0 | 3) ;; *) has_failed "$work/built" ;; esac
row_of root machine dynamic static Go "Go with C" | tee "$work/table"
row "glibc 2.28" x86_64 none x86_64-unknown-linux-gnu
for suite in $suites; do
    case $suite in bullseye) name=2.31 ;; bookworm) name=2.36 ;; trixie) name=2.41 ;; esac
    row "glibc $name" x86_64 $suite x86_64-unknown-linux-gnu
done
row musl x86_64 musl x86_64-unknown-linux-musl
for suite in $suites; do
    case $suite in bullseye) name=2.31 ;; bookworm) name=2.36 ;; trixie) name=2.41 ;; esac
    row "glibc $name" aarch64 $suite aarch64-unknown-linux-gnu
done
row musl aarch64 musl aarch64-unknown-linux-musl
sed 's/^/ /' "$work/notes" | grep -n . | sed 's/^\([0-9]*\):/[\1]/'
[ $failed = no ]

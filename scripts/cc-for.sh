#!/bin/sh
# The C compiler for a target:  scripts/cc-for.sh TRIPLE ARGUMENTS...
# For glibc it is zig cc, so that programs run from glibc 2.28 on, with -static or -static-pie GCC; for musl musl-gcc,
# or zig cc if the target is another machine.
# Where there is none, the reason is on standard output and the status is 3.
set -u
[ $# -ge 2 ] || { echo "usage: scripts/cc-for.sh TRIPLE ARGUMENTS..." >&2; exit 2; }
. "$(dirname "$0")/zig.sh"
triple=$1
shift
is_static=no
for argument in "$@"; do
    case $argument in -static | -static-pie) is_static=yes ;; esac
done
case $triple-$is_static in
"$(uname -m)"-unknown-linux-musl-*) compiler=musl-gcc ;;
*-linux-musl-*)
    find_zig || exit
    zig_cc_musl "${triple%%-*}" "$@"
    exit
    ;;
*-linux-gnu-yes) compiler=$(gcc_for "$triple") ;;
*-linux-gnu-no)
    find_zig || exit
    zig_cc "${triple%%-*}" "$@"
    exit
    ;;
*) echo "skipped: no compiler for $triple"; exit 3 ;;
esac
command -v "$compiler" >/dev/null || { echo "skipped: $compiler is not installed"; exit 3; }
exec "$compiler" "$@"

#!/bin/sh
# The files of a release for a target:  scripts/build-for.sh TRIPLE|all [release|debug]
# They are put into release-for/TRIPLE (debug-for/TRIPLE) under the target directory:
#
#   uvale                   for musl static: one file for every Linux
#   libnmshim.so            for programs on glibc, from 2.28 on
#   libnmshim-musl.so       for programs on musl
#   libnetmap.so, .so.*, .a on the target's C library
#   compat-bundle.tar.gz    the scenarios of compat-tests, unless COMPAT_BUNDLE=0 says that nobody wants them
#
# TRIPLE is x86_64 or aarch64, then -unknown-linux-gnu or -unknown-linux-musl. What is missing is installed:
# cargo-zigbuild and ziglang below the target directory, the compiler's standard library by rustup; COMPAT_NO_INSTALL=1
# says what would be. Without them a target is "skipped: why", and the status 3.
set -u
cd "$(dirname "$0")/.."
. scripts/zig.sh
target=${tools%/tools}
usage() { echo "usage: scripts/build-for.sh TRIPLE|all [release|debug]" >&2; exit 2; }
[ $# -ge 1 ] || usage
profile=${2:-release}
case $profile in
release) how="--release" ;;
debug) how="" ;;
*) usage ;;
esac
gnu="x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu"
musl="x86_64-unknown-linux-musl aarch64-unknown-linux-musl"
case $1 in
all) triples="$gnu $musl" ;;
x86_64-unknown-linux-gnu | aarch64-unknown-linux-gnu | x86_64-unknown-linux-musl | aarch64-unknown-linux-musl)
    triples=$1
    ;;
*) usage ;;
esac

# Each target's compiler flags are its own, and here they are all.
unset RUSTFLAGS CARGO_BUILD_TARGET CARGO_ENCODED_RUSTFLAGS
unset LD_LIBRARY_PATH
export CARGO_TARGET_DIR="$target"
# The runner of this machine is built as whoever calls this builds it; files for others are without debug information.
own_debug=${CARGO_PROFILE_DEV_DEBUG-}
export CARGO_PROFILE_DEV_DEBUG=0

skip() { echo "skipped: $triple: $*"; return 3; }

# standard_library TRIPLE
standard_library() {
    [ ! -d "$(rustc --print target-libdir --target "$1")" ] || return 0
    command -v rustup >/dev/null || { skip "no standard library of the compiler's for $1, and no rustup"; return; }
    may_install || { skip "needs: rustup target add $1"; return; }
    rustup --quiet target add "$1" >/dev/null 2>&1 || skip "rustup cannot install $1"
}

# put MODE FILE... : into the folder that is being filled.
put() {
    mode=$1
    shift
    install -m "$mode" "$@" "$new"
}

# The unwinder of GCC, as in files that are linked by GCC: who cancels a thread unwinds it by the system's, which asks
# the frames of a library of ours, and they ask the unwinder within; zig's knows nothing of the other's state. GCC's
# asks for a function of glibc 2.35, which comes along.
unwinder() {
    gcc=$(gcc_for "$1")
    archive=$("$gcc" -print-file-name=libgcc_eh.a 2>/dev/null)
    [ -e "$archive" ] || { skip "no $gcc, whose unwinder is linked in"; return; }
    object=$tools/find_object-$1.o
    zig_cc "${1%%-*}" -O2 -fPIC -Wall -Wextra -Werror -c nm-abi/unwinder/find_object.c -o "$object" &&
        flags="-C link-arg=$archive"
}

# on_glibc TRIPLE : against the oldest glibc that is served.
on_glibc() {
    standard_library "$1" || return
    unwinder "$1" || return
    # shellcheck disable=SC2086
    LINK_FOR=$1 LINK_OBJECT=$object LINK_WRAPPER=${RUSTC_WRAPPER:-} RUSTC_WRAPPER=$PWD/scripts/linked.sh \
        RUSTFLAGS=$flags cargo zigbuild --quiet $how -p uvale -p nmshim -p libnetmap --target "$1.$oldest_glibc"
}

for_glibc() {
    find_zig || return
    on_glibc "$triple" || return
    built=$target/$triple/$profile
    put 755 "$built/uvale" || return
    put 644 "$built/libnmshim.so" "$built/libnetmap.so" "$built/libnetmap.a" || return
    # it goes without, where the machine has no musl
    shim_for_musl || [ $? = 3 ]
}

# The shim, and libnetmap, on musl: by musl-gcc of this machine, by zig for another one.
shim_for_musl() {
    on=${triple%%-*}-unknown-linux-musl
    if [ "${triple%%-*}" = "$(uname -m)" ]; then
        said=$(scripts/musl.sh "$profile") || return
        echo "$said"
        case $said in built*) ;; *) return 3 ;; esac
    else
        standard_library "$on" && find_zig || return
        # shellcheck disable=SC2086
        RUSTFLAGS=$shared_on_musl cargo zigbuild --quiet $how --lib -p nmshim -p libnetmap --target "$on" || return
    fi
    install -m 644 "$target/$on/$profile/libnmshim.so" "$new/libnmshim-musl.so"
}

for_musl() {
    shim_for_musl || return
    find_zig || return
    glibc=${triple%%-*}-unknown-linux-gnu
    # as in its own folder, features of crates included: built once, and the same bytes
    on_glibc "$glibc" || return
    build=build
    [ "${triple%%-*}" = "$(uname -m)" ] || build=zigbuild
    # shellcheck disable=SC2086
    cargo $build --quiet $how -p uvale --target "$triple" || return
    put 755 "$target/$triple/$profile/uvale" || return
    put 644 "$target/$glibc/$profile/libnmshim.so" || return
    put 644 "$target/$triple/$profile/libnetmap.so" "$target/$triple/$profile/libnetmap.a"
}

# Programs that were linked with libnetmap.so look for it by the name within.
name_library() {
    soname=$(LC_ALL=C readelf -d "$new/libnetmap.so" | sed -n 's/.*(SONAME).*\[\(.*\)\]$/\1/p')
    [ -n "$soname" ] || { echo "$triple: libnetmap.so has no name within" >&2; return 1; }
    [ "$soname" = libnetmap.so ] || ln -s libnetmap.so "$new/$soname"
}

# By the runner of this machine.
bundle() (
    [ "${COMPAT_BUNDLE:-1}" != 0 ] || exit 0
    if [ -n "$own_debug" ]; then CARGO_PROFILE_DEV_DEBUG=$own_debug; else unset CARGO_PROFILE_DEV_DEBUG; fi
    set -- bundle --target "$triple" --files "$new" "$new/compat-bundle.tar.gz"
    if [ "${COMPAT_BUILT:-0}" = 1 ]; then
        "$target/debug/compat-tests" "$@"
    else
        cargo run --quiet -p compat-tests -- "$@"
    fi >/dev/null
)

# What is not finished does not get the name of what is; what had it before keeps it until then.
build() {
    place=$target/$profile-for/$triple
    new=$place.new
    rm -rf "$new"
    mkdir -p "$new"
    case $triple in
    *-gnu) for_glibc && name_library && bundle ;;
    *) for_musl && name_library && bundle ;;
    esac
    status=$?
    if [ $status = 0 ]; then
        rm -rf "$place"
        mv "$new" "$place"
        echo "built $place"
    else
        rm -rf "$new"
    fi
    return $status
}

# One at a time: they would fill the same folders.
mkdir -p "$target/$profile-for"
exec 9>"$target/$profile-for/.lock"
flock 9

result=0
for triple in $triples; do
    standard_library "$triple" && build && continue
    status=$?
    # an error counts more than what could not be tried
    [ $status = 3 ] && [ $result != 1 ] && result=3 || result=1
done
exit $result

#!/bin/sh
# build-netmap-rs.sh INCLUDE_DIR CACHE_DIR [PROGRAM] : the crate netmap-rs 0.3, unchanged, built
# against the headers in INCLUDE_DIR. Leaves the executables in CACHE_DIR/netmap-rs/bin:
#   integration   the crate's own integration tests (VALE, pipes, Tokio)
#   its programs  by their own names: pkt-gen, ping, bridge, vale-ctl
# With PROGRAM only that one, which spares most of the packages that the crate needs.
. "$(dirname "$0")/common.sh"

include=$1
cache=$2
only=${3:-}
prefix=$cache/netmap-rs
build=$cache/build/netmap-rs
version=0.3.1
features=sys,tokio-async
stamp=$(headers_stamp "$include" "$0")

up_to_date "$prefix/.stamp" "$stamp" && exit 0
[ -z "$only" ] || ! up_to_date "$prefix/.stamp-$only" "$stamp" || exit 0
command -v cargo >/dev/null 2>&1 || skip "no cargo here to build netmap-rs with"
need_packages gcc binutils libclang-dev

# A scratch crate that depends on it makes cargo fetch the package; `cargo metadata` says where it
# lies. The build works on a copy: the registry's own directory stays untouched.
fetch_crate() {
    # what cargo built before stays: most of it does not depend on the headers
    progress "fetching the crate netmap-rs"
    rm -rf "$build/scratch" "$build/tree"
    mkdir -p "$build/scratch/src"
    cd "$build/scratch"
    : >src/lib.rs
    cat >Cargo.toml <<TOML
[package]
name = "scratch"
version = "0.0.0"
edition = "2021"

[dependencies]
netmap-rs = "=$version"

[workspace]
TOML
    cargo metadata --format-version 1 >"$build/metadata.json" 2>"$build/fetch.log" ||
        skip "cargo can't fetch netmap-rs $version: $(tail -n 1 "$build/fetch.log")"
    manifest=$(grep -o "\"manifest_path\":\"[^\"]*/netmap-rs-$version/Cargo.toml\"" "$build/metadata.json" |
        head -n 1 | cut -d'"' -f4)
    [ -n "$manifest" ] || fail "cargo metadata names no netmap-rs-$version"
    cp -a "$(dirname "$manifest")" "$build/tree"
    rm -f "$build/tree/.cargo-ok"
    # keep it out of any workspace above the cache directory
    printf '\n[workspace]\n' >>"$build/tree/Cargo.toml"
}

# Its build script looks for include/net/*.h below NETMAP_LOCATION and asks the linker for
# lib/libnetmap.a, of which the crate uses no symbol: an archive without members will do.
make_location() {
    rm -rf "$build/location"
    mkdir -p "$build/location/lib"
    ln -s "$include" "$build/location/include"
    ar rc "$build/location/lib/libnetmap.a"
}

# Asks cargo where it put the executables of one build, and copies them.
copy_executables() {
    grep -o '"executable":"[^"]*"' "$1" | cut -d'"' -f4 | sort -u | while read -r file; do
        name=$(basename "$file" | sed -E 's/-[0-9a-f]{16}$//')
        cp "$file" "$prefix/bin/$name"
    done
}

build_crate() {
    cd "$build/tree"
    NETMAP_LOCATION=$build/location
    export NETMAP_LOCATION
    # cargo builds a package's programs for its integration tests as well
    what="test --no-run --test integration --features $features"
    [ -z "$only" ] || what="build --bin $only --features sys"
    progress "netmap-rs: cargo $what"
    # shellcheck disable=SC2086
    cargo $what --target-dir "$build/target" \
        --message-format json >"$build/messages.json" 2>"$build/build.log" || {
        tail -n 40 "$build/build.log" >&2
        fail "netmap-rs does not build against the headers in $include"
    }
    copy_executables "$build/messages.json"
}

include=$(cd "$include" && pwd)
fetch_crate
make_location
rm -rf "$prefix"
mkdir -p "$prefix/bin"
build_crate
[ -x "$prefix/bin/${only:-integration}" ] || fail "the build left no ${only:-integration}"
echo "$stamp" >"$prefix/.stamp${only:+-$only}"

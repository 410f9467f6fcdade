#!/bin/sh
# Builds the shim for programs on musl, as those of Alpine:  scripts/musl.sh [release]
# It is put where `uvale run` finds it, beside libnmshim.so, as libnmshim-musl.so. Needs musl-gcc (Debian's musl-tools)
# and the compiler's standard library for musl, which rustup installs; COMPAT_NO_INSTALL=1 says that it is missing.
# Without them it says "skipped: why" and ends with 0.
set -eu
cd "$(dirname "$0")/.."
profile=${1:-debug}
triple=$(uname -m)-unknown-linux-musl
. scripts/zig.sh
target=${tools%/tools}
skip() { echo "skipped: the shim for musl: $*"; exit 0; }

command -v musl-gcc >/dev/null || skip "no musl-gcc (package musl-tools)"
if [ ! -e "$(rustc --print target-libdir --target "$triple")/self-contained/libunwind.a" ]; then
    command -v rustup >/dev/null || skip "this toolchain has no standard library for $triple, and there is no rustup"
    may_install || skip "needs: rustup target add $triple"
    rustup --quiet target add "$triple" >/dev/null 2>&1 || skip "rustup cannot install $triple"
fi
case $profile in
debug) how="" ;;
release) how=--release ;;
*) echo "usage: scripts/musl.sh [release]" >&2; exit 2 ;;
esac
linker=CARGO_TARGET_$(echo "$triple" | tr a-z- A-Z_)_LINKER
export "$linker=musl-gcc" RUSTFLAGS="$shared_on_musl"
# shellcheck disable=SC2086
CARGO_TARGET_DIR=$target cargo build --quiet --lib -p nmshim -p libnetmap --target "$triple" $how
mkdir -p "$target/$profile"
cp "$target/$triple/$profile/libnmshim.so" "$target/$profile/libnmshim-musl.so"
echo "built $target/$profile/libnmshim-musl.so"

# What builds for an older glibc. Sourced, not run, in the root of the tree.
# find_zig puts cargo-zigbuild (from crates.io) and zig (PyPI's ziglang) within reach. Missing ones are installed in
# tools/ under the target directory; COMPAT_NO_INSTALL=1 prevents that. Gives 3 where one cannot be had, and says why.

oldest_glibc=2.28
# A shared library is on the musl of the machine where it is loaded, not on a copy within.
shared_on_musl="-C target-feature=-crt-static -C link-self-contained=no"
tools=${CARGO_TARGET_DIR:-$PWD/target}/tools
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)

may_install() { [ "${COMPAT_NO_INSTALL:-0}" = 0 ]; }
no_zig() { echo "skipped: $*"; return 3; }

find_zig() {
    PATH=$PATH:$tools/bin
    export PATH
    if ! command -v cargo-zigbuild >/dev/null; then
        may_install || { no_zig "needs: cargo install cargo-zigbuild"; return; }
        cargo install --quiet --locked --root "$tools" cargo-zigbuild >&2 ||
            { no_zig "cargo cannot install cargo-zigbuild"; return; }
    fi
    [ -z "${CARGO_ZIGBUILD_ZIG_PATH:-}" ] || return 0
    ! command -v zig >/dev/null || return 0
    # named, or each call of the compiler would look for it
    CARGO_ZIGBUILD_ZIG_PATH=$(python3 -c 'import os, ziglang
print(os.path.join(os.path.dirname(ziglang.__file__), "zig"))' 2>/dev/null)
    export CARGO_ZIGBUILD_ZIG_PATH
    [ ! -x "$CARGO_ZIGBUILD_ZIG_PATH" ] || return 0
    if [ ! -x "$tools/zig/ziglang/zig" ]; then
        may_install || { no_zig "needs: pip install ziglang"; return; }
        python3 -m pip install --quiet --target "$tools/zig" ziglang >&2 ||
            { no_zig "pip cannot install ziglang"; return; }
    fi
    export CARGO_ZIGBUILD_ZIG_PATH="$tools/zig/ziglang/zig"
}

# zig_cc ARCHITECTURE ARGUMENTS... : a C compiler for that architecture and the oldest glibc.
zig_cc() {
    of=$1
    shift
    cargo-zigbuild zig cc -- -target "$of-linux-gnu.$oldest_glibc" "$@"
}

# zig_cc_musl ARCHITECTURE ARGUMENTS... : the same for musl; what is not told -static is linked dynamically.
zig_cc_musl() {
    of=$1 way=-dynamic
    shift
    for argument in "$@"; do [ "$argument" != -static ] || way=""; done
    # shellcheck disable=SC2086
    cargo-zigbuild zig cc -- -target "$of-linux-musl" $way "$@"
}

# gcc_for TRIPLE : the name of GCC for it.
gcc_for() {
    case $1 in
    "$(rustc -vV | sed -n 's/^host: //p')") echo gcc ;;
    *) echo "$1" | sed 's/-unknown//; s/$/-gcc/' ;;
    esac
}

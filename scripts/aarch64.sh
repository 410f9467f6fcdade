#!/bin/sh
# aarch64 on another machine, by qemu-user:  scripts/aarch64.sh
# The engine's tests, and programs that exchange 10^4 packets each way with the files of scripts/build-for.sh, whose
# daemon starts by itself. What this shows are system calls, layouts and arithmetic. Not shown: the order of memory,
# which is that of the machine underneath (loom explores it), seccomp and process_vm_readv, which qemu-user lacks, and
# speed.
# Says "skipped: why" where something is missing.
set -u
cd "$(dirname "$0")/.." || exit 1
. scripts/zig.sh
target=${tools%/tools}
triple=aarch64-unknown-linux-gnu
skip() { echo "skipped: aarch64: $*"; exit 0; }

emulator=$(command -v qemu-aarch64-static) || skip "qemu-user-static is not installed"
command -v aarch64-linux-gnu-gcc >/dev/null || skip "gcc-aarch64-linux-gnu is not installed"
if [ ! -d "$(rustc --print target-libdir --target $triple)" ]; then
    command -v rustup >/dev/null || skip "this toolchain has no standard library for $triple, and there is no rustup"
    rustup --quiet target add $triple >/dev/null 2>&1 || skip "rustup cannot install $triple"
fi

engine() {
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$emulator -L /usr/aarch64-linux-gnu" \
        CARGO_PROFILE_DEV_DEBUG=0 PROPTEST_CASES=32 CARGO_TARGET_DIR="$target/aarch64" \
        cargo test --quiet --target $triple --no-fail-fast --lib \
        -p uvale-engine -p uvale-shared -p uvale-request -p nm-abi -- --skip bad_addresses_of_the_program
}

exchange() {
    for profile in release debug; do
        files=$target/$profile-for/$triple
        [ ! -d "$files" ] || break
    done
    [ -d "$files" ] || { echo "skipped: aarch64: not built: scripts/build-for.sh $triple"; return 0; }
    root=$(scripts/root.sh bookworm arm64 2>&1) || { echo "skipped: aarch64: $root"; return 0; }
    busybox=$(command -v busybox) || { echo "skipped: aarch64: busybox-static is not installed"; return 0; }
    stage=$target/aarch64/stage
    rm -rf "$stage"
    mkdir -p "$stage"
    cp "$files/uvale" "$files/libnmshim.so" "$busybox" scripts/exchange.sh "$stage"
    for program in robust/traffic start/cancel; do
        scripts/cc-for.sh $triple -O1 -pthread -Iinclude -o "$stage/${program#*/}" \
            "compat-tests/programs/$program.c" || return
    done
    scripts/in-root.sh "$root" "$stage" /opt/busybox sh /opt/exchange.sh 10000 /opt/traffic /opt/traffic &&
        scripts/in-root.sh "$root" "$stage" /opt/uvale run --private -- /opt/cancel
}

result=0
engine || result=1
exchange || result=1
exit $result

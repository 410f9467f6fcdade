#!/bin/sh
# aarch64 on another machine, by qemu-user:  scripts/aarch64.sh
# The engine's tests, and programs that exchange 10^4 packets each way with the files of scripts/build-for.sh, whose
# daemon starts by itself. What this shows are system calls, layouts and arithmetic. Not shown: the order of memory,
# which is that of the machine underneath (loom explores it), seccomp and process_vm_readv, which qemu-user lacks, and
# speed.
# Says "skipped: why" where something is missing. COMPAT_NO_INSTALL=1: nothing is installed.
set -u
cd "$(dirname "$0")/.." || exit 1
. scripts/zig.sh
target=${tools%/tools}
triple=aarch64-unknown-linux-gnu
skip() { echo "skipped: aarch64: $*"; exit 0; }
# what a command says that could not be tried (status 3) is a reason to skip, and no more
unless_skipped() {
    said=$("$@" 2>&1)
    status=$?
    [ $status != 3 ] || { echo "skipped: aarch64: ${said#skipped: }"; return 3; }
    [ $status = 0 ] || echo "$said"
    return $status
}

emulator=$(command -v qemu-aarch64-static) || skip "qemu-user-static is not installed"
command -v aarch64-linux-gnu-gcc >/dev/null || skip "gcc-aarch64-linux-gnu is not installed"
if [ ! -d "$(rustc --print target-libdir --target $triple)" ]; then
    command -v rustup >/dev/null || skip "this toolchain has no standard library for $triple, and there is no rustup"
    may_install || skip "needs: rustup target add $triple"
    rustup --quiet target add $triple >/dev/null 2>&1 || skip "rustup cannot install $triple"
fi

engine() {
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$emulator -L /usr/aarch64-linux-gnu" \
        CARGO_PROFILE_DEV_DEBUG=0 PROPTEST_CASES=32 CARGO_TARGET_DIR="$target" \
        cargo test --quiet --target $triple --no-fail-fast --lib \
        -p uvale-engine -p uvale-shared -p uvale-request -p nm-abi -- --skip bad_addresses_of_the_program
}

inside() { unless_skipped scripts/in-root.sh "$root" "$stage" "$@" && echo "$said" | tail -n 1; }

exchange() {
    # as they were built last
    files=$(ls -td "$target/release-for/$triple" "$target/debug-for/$triple" 2>/dev/null | head -n 1)
    [ -n "$files" ] || { echo "skipped: aarch64: not built: scripts/build-for.sh $triple"; return 3; }
    unless_skipped scripts/root.sh bookworm arm64 || return
    root=$said
    busybox=$(command -v busybox) || { echo "skipped: aarch64: busybox-static is not installed"; return 3; }
    echo "exchanges, with $files"
    stage=$target/aarch64-stage
    rm -rf "$stage"
    mkdir -p "$stage"
    cp "$files/uvale" "$files/libnmshim.so" "$busybox" scripts/exchange.sh "$stage"
    for program in robust/traffic start/cancel; do
        unless_skipped scripts/cc-for.sh $triple -O1 -pthread -Iinclude -o "$stage/${program#*/}" \
            "compat-tests/programs/$program.c" || return
    done
    # both say no more than how it went
    inside /opt/busybox sh /opt/exchange.sh 10000 /opt/traffic /opt/traffic &&
        inside /opt/uvale run --private -- /opt/cancel
}

result=0
engine || result=1
# 3: it has said why it could not be tried
exchange || [ $? = 3 ] || result=1
exit $result

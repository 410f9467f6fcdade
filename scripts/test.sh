#!/bin/sh
# Everything that CI checks, in one command:  scripts/test.sh
# Installs what it needs (Debian packages by name, crates). A check that cannot run says
# "skipped: why". Closing lines are those of cargo's test runner.
set -u
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
failed=""

step() { printf '\n== %s\n' "$*"; }
check() {
    name=$1
    shift
    step "$name"
    started=$(date +%s)
    "$@" || { failed="$failed [$name]"; echo "FAILED: $name"; }
    echo "($name: $(($(date +%s) - started)) s)"
}
has() { command -v "$1" >/dev/null 2>&1; }

format() {
    if ! cargo fmt --version >/dev/null 2>&1; then echo "skipped: rustfmt is not installed"; return 0; fi
    cargo fmt --all --check
}
lint() {
    if cargo clippy --version >/dev/null 2>&1; then
        cargo clippy --workspace --all-targets --quiet -- -D warnings
    else
        echo "skipped: clippy is not installed"
    fi
}
docs() { RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet; }

# With all that tests are built with, so that nothing is built for them again: nor are the targets' files, after
# `targets`.
programs() { cargo build --workspace --all-targets --quiet && export COMPAT_BUILT=1; }

# The protocols of the data path: every order, every value that the memory model allows.
loom() {
    RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="$target/loom" cargo test --quiet --release \
        -p uvale-shared --test protocols -p uvale-control --test loom
}

# The crate with `unsafe` and the engine above it.
asan() (
    host=$(rustc -vV | sed -n 's/^host: //p')
    export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" CARGO_TARGET_DIR="$target/asan" PROPTEST_CASES=32
    cargo test --quiet -p uvale-shared -p uvale-engine --lib --target "$host" &&
        cargo test --quiet -p uvale-control --test traffic --target "$host"
)
memcheck() {
    if ! has valgrind; then echo "skipped: valgrind is not installed"; return 0; fi
    # with the features of the whole workspace it is there already
    binary=$(cargo test --workspace --lib --no-run --message-format=json 2>/dev/null |
        sed -n 's/.*"executable":"\([^"]*uvale_shared-[^"]*\)".*/\1/p' | tail -n 1)
    valgrind --quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
        "$binary" --test-threads=1 shm::
}
miri() {
    if cargo miri --version >/dev/null 2>&1; then
        cargo miri test -p uvale-shared --lib -- shm::room::
    else
        echo "skipped: miri is not installed in this toolchain"
    fi
}
fuzz() {
    if has g++; then scripts/fuzz.sh "${FUZZ_SECONDS:-20}"; else echo "skipped: libFuzzer needs g++"; fi
}

# Also where they were started in the background, by a shell that has such programs ignore Ctrl-C: some send it.
tests() {
    if env --default-signal=INT true 2>/dev/null; then
        env --default-signal=HUP,INT,QUIT scripts/tests.sh
    else
        scripts/tests.sh
    fi
}

# The README's first command. What it builds from outside, the tests use too.
demonstration() {
    if has apt-get; then scripts/demo.sh; else echo "skipped: the demonstration needs Debian packages"; fi
}

# Files for other Linuxes, without optimisation; the tests `symbols`, `bundle`, `musl` and `roots` take them. What
# cannot be built here has said so.
targets() {
    scripts/build-for.sh all debug
    [ $? != 1 ]
}

# Everything is built once: what helps to build again costs time here. Lines in backtraces are kept.
export CARGO_INCREMENTAL="${CARGO_INCREMENTAL:-0}"
export CARGO_PROFILE_DEV_DEBUG="${CARGO_PROFILE_DEV_DEBUG:-line-tables-only}"

scripts/setup.sh test || exit 1
check "format" format
check "clippy" lint
check "documentation" docs
check "programs" programs
check "targets" targets
check "aarch64" scripts/aarch64.sh
check "demonstration" demonstration
check "reach" scripts/reach.sh short
check "tests" tests
check "loom" loom
check "address sanitizer" asan
check "valgrind" memcheck
check "miri" miri
check "fuzzing" fuzz

if [ -n "$failed" ]; then
    printf '\nfailed:%s\n' "$failed"
    exit 1
fi
printf '\nall checks passed\n'

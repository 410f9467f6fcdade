#!/bin/sh
# Fuzzes what peers write, with libFuzzer and AddressSanitizer:  scripts/fuzz.sh [SECONDS [TARGET...]]
# As many targets at a time as there are processors. Corpora and findings stay under the target directory.
set -eu
cd "$(dirname "$0")/../uvale/fuzz"
seconds=${1:-30}
[ $# -gt 0 ] && shift
targets=${*:-messages ptnet requests rings trace vhost}
host=$(rustc -vV | sed -n 's/^host: //p')
dir=${CARGO_TARGET_DIR:-$PWD/../../target}/fuzz
# The flags of cargo-fuzz; the stable compiler takes them with RUSTC_BOOTSTRAP.
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$dir"
export RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module \
 -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
 -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
# The versions of the workspace; what is only here is added.
[ Cargo.lock -nt ../../Cargo.lock ] || cp ../../Cargo.lock Cargo.lock
# The host's triple is named so that build scripts are built without the flags.
cargo build --release --target "$host"
# shellcheck disable=SC2016,SC2086
printf '%s\n' $targets | xargs -n 1 -P "$(nproc)" sh -c '
dir=$1 programs=$2 seconds=$3 target=$4
mkdir -p "$dir/corpus/$target" "$dir/artifacts/$target"
echo "fuzz: $target for $seconds s"
# A life of a guest takes long inputs from the start.
case $target in vhost) lengths=-len_control=0 ;; *) lengths=-len_control=100 ;; esac
"$programs/$target" "$lengths" -max_total_time="$seconds" -max_len=4096 -rss_limit_mb=4096 \
    -artifact_prefix="$dir/artifacts/$target/" "$dir/corpus/$target" >"$dir/$target.log" 2>&1 || {
    tail -n 40 "$dir/$target.log"
    exit 1
}
tail -n 2 "$dir/$target.log"
' fuzz "$dir" "$dir/$host/release" "$seconds"

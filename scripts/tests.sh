#!/bin/sh
# All tests of the workspace, several programs of them at a time:  scripts/tests.sh
# Most of them wait for processes that they have started, and cargo runs one after the other. So cargo builds them and
# hands each to scripts/later.sh, and this runs what that one has left, TESTS_AT_A_TIME of them (as many as there are
# processors). A line says that one begins; what it says comes out whole when it has ended, with the seconds that it
# took. Status 1: some failed.
set -u
cd "$(dirname "$0")/.." || exit 1
target=${CARGO_TARGET_DIR:-$PWD/target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
queue=$target/tests/queue
said=$target/tests/said
rm -rf "$target/tests"
mkdir -p "$queue" "$said"
result=0
TESTS_QUEUE=$queue cargo test --workspace --tests --quiet --no-fail-fast \
    --config "target.'cfg(all())'.runner = 'scripts/later.sh'" || exit 1

# shellcheck disable=SC2016
find "$queue" -type f -printf '%f\0' | sort -z | xargs -0 -n 1 -P "${TESTS_AT_A_TIME:-$(nproc)}" sh -c '
queue=$1 said=$2 name=$3
echo "-- ${name#*-} begins"
began=$(date +%s)
sh "$queue/$name" >"$said/$name" 2>&1 </dev/null
status=$?
took=$(($(date +%s) - began))
exec 9>"$said/.lock"
flock 9
printf "\n-- %s: %s s\n" "${name#*-}" $took
cat "$said/$name"
[ $status = 0 ] || { echo "FAILED: ${name#*-} (status $status)"; false; }
' tests "$queue" "$said" || result=1
printf '\n-- examples in documentation\n'
cargo test --workspace --doc --quiet --no-fail-fast || result=1
exit $result

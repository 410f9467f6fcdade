#!/bin/sh
# apt-get that waits its turn:  scripts/apt-get.sh ARGUMENTS...
# While another program holds a lock of the package manager (dpkg's, that of the lists, that of the
# archives) this waits and says for whom, APT_PATIENCE seconds at most. apt-get's own option for that
# knows dpkg's lock alone. Any other failure is apt-get's own.
set -u
patience=${APT_PATIENCE:-900}
LC_ALL=C
export LC_ALL
errors=$(mktemp) || exit 1
trap 'rm -f "$errors"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
began=$(date +%s)
next_word=0
while :; do
    apt-get "$@" 2>"$errors"
    status=$?
    if [ $status = 0 ] || ! grep -q 'Could not get lock' "$errors"; then
        cat "$errors" >&2
        exit $status
    fi
    waited=$(($(date +%s) - began))
    # for example: /var/lib/apt/lists/lock. It is held by process 4711 (apt-get)
    holder=$(sed -n 's/.*Could not get lock \(.*\)/\1/p' "$errors" | head -n 1)
    if [ "$waited" -ge "$patience" ]; then
        echo "apt-get: the package manager was busy for $waited s, gave up: $holder" >&2
        exit $status
    fi
    if [ "$waited" -ge "$next_word" ]; then
        echo "apt-get: the package manager is busy, waiting (${waited} of at most $patience s): $holder" >&2
        next_word=$((waited + 20))
    fi
    sleep 1
done

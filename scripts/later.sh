#!/bin/sh
# What cargo would run is run later:  scripts/later.sh PROGRAM ARGUMENTS...
# A runner of cargo's for scripts/tests.sh. In the folder TESTS_QUEUE it leaves a script that runs PROGRAM in the folder
# and with the environment that cargo gave it.
set -eu
queue=$TESTS_QUEUE
unset TESTS_QUEUE
quote() { printf " '%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }
# deps/vm-0123456789abcdef in compat-tests: compat-tests-vm, after those that came before it
name=${PWD##*/}-${1##*/}
name=$(printf %03d "$(find "$queue" -type f | wc -l)")-${name%-*}
{
    export -p
    printf cd
    quote "$PWD"
    printf '\nexec'
    # cargo hands its own on
    for word in "$@"; do [ "$word" = --quiet ] || quote "$word"; done
    echo
} >"$queue/$name"

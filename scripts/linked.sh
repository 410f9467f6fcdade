#!/bin/sh
# rustc that links an object into what is for one target:  RUSTC_WRAPPER of scripts/build-for.sh
# LINK_FOR is the target, LINK_OBJECT the object, LINK_WRAPPER the wrapper that there is otherwise. RUSTFLAGS would do
# the same, but cargo makes the names of files of them, folders included, and libnetmap.a keeps the names of its parts.
case " $* " in *" --target $LINK_FOR "*) set -- "$@" -C "link-arg=$LINK_OBJECT" ;; esac
if [ -n "$LINK_WRAPPER" ]; then exec "$LINK_WRAPPER" "$@"; fi
exec "$@"

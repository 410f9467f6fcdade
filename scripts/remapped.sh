#!/bin/sh
# rustc with other names for the folders of this machine:  RUSTC_WRAPPER of scripts/release.sh
# The later of two prefixes that both fit counts, so the folders within others come last.
exec "$@" --remap-path-prefix="$REMAP_RUST=/rust" --remap-path-prefix="$REMAP_CARGO=/cargo" \
    --remap-path-prefix="$REMAP_TOP=/uvale" --remap-path-prefix="$REMAP_TARGET=/target"

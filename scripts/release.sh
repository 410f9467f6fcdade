#!/bin/sh
# Everything that a release has, from a clean commit:  scripts/release.sh [OUT [TRIPLE...]]
# Checks that Cargo.toml, the top of CHANGELOG.md and the commit's tag name one version; builds for each TRIPLE with
# scripts/build-for.sh (`all`: for all of them), or for this machine if none is given; packs what was built
# (scripts/package.sh); and writes OUT/SHA256SUMS. OUT is release/ under the target directory if it is not given.
# `scripts/release.sh --check` only checks the versions.
#
# The same commit and the same compilers give the same bytes, wherever the tree and the target directory are: paths are
# left out of what is built (scripts/remapped.sh), and all files get the time of the commit.
set -eu
export LC_ALL=C
umask 022
here=$PWD
cd "$(dirname "$0")/.."
top=$PWD
fail() { echo "release: $*" >&2; exit 1; }

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
entry=$(sed -n 's/^## //p' CHANGELOG.md | head -n 1)
[ "${entry%% *}" = "$version" ] ||
    fail "CHANGELOG.md begins with ${entry%% *}, Cargo.toml says $version: let them agree"
commit=$(git rev-parse --verify -q HEAD) || fail "this is no git repository with a commit: releases are made of one"
tags=$(git tag --list 'v[0-9]*' --points-at HEAD)
for tag in $tags; do
    [ "$tag" = "v$version" ] || fail "this commit has the tag $tag, Cargo.toml says $version: let them agree"
    case $entry in
    *"(unreleased)") fail "this commit has the tag $tag, CHANGELOG.md says '$entry': give it its date" ;;
    esac
done
if [ "${1:-}" = --check ]; then
    echo "version $version${tags:+, tag $tags}"
    exit 0
fi
[ -n "$tags" ] || echo "release: commit $commit has no tag v$version: this is a rehearsal" >&2
changed=$(git status --porcelain)
[ -z "$changed" ] || fail "the tree is not as it was committed: commit these, or put them aside:
$changed"

target=${CARGO_TARGET_DIR:-$top/target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
out=${1:-$target/release-packages}
case $out in /*) ;; *) out=$here/$out ;; esac
[ $# = 0 ] || shift
mkdir -p "$out"
[ -z "$(ls -A "$out")" ] || fail "there is something in $out already: empty it, or name another folder"

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
# A directory of its own: what was built there with paths in it would be taken as it is.
target=$target/release-build
REMAP_TOP=$top REMAP_TARGET=$target REMAP_CARGO=${CARGO_HOME:-$HOME/.cargo} REMAP_RUST=$(rustc --print sysroot)
export REMAP_TOP REMAP_TARGET REMAP_CARGO REMAP_RUST
export CARGO_TARGET_DIR="$target" CARGO_INCREMENTAL=0 RUSTC_WRAPPER="$top/scripts/remapped.sh"

pack() { UVALE=${host:-} scripts/package.sh "$1" "$out"; }
if [ $# = 0 ]; then
    cargo build --release --locked -p uvale -p nmshim -p libnetmap
    scripts/musl.sh release
    pack "$target/release"
else
    [ -x scripts/build-for.sh ] || fail "there is no scripts/build-for.sh: name no target, to build for this machine"
    for triple in "$@"; do scripts/build-for.sh "$triple"; done
    # pages and completions of files for other machines come from a program that runs here
    host=$(for file in "$target"/release-for/*/uvale; do
        if [ "$("$file" --version 2>/dev/null)" = "uvale $version" ]; then echo "$file"; break; fi
    done)
    for folder in "$target"/release-for/*/; do
        case " $* " in *" all "* | *" $(basename "$folder") "*) pack "${folder%/}" ;; esac
    done
fi

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
[ -n "$version" ] || fail "Cargo.toml has no version below [workspace.package]"
entry=$(sed -n 's/^## //p' CHANGELOG.md | head -n 1)
[ "${entry%% *}" = "$version" ] ||
    fail "CHANGELOG.md begins with '${entry%% *}', Cargo.toml says $version: let them agree"
[ "$(grep -c "^## $version\( \|\$\)" CHANGELOG.md)" = 1 ] ||
    fail "CHANGELOG.md has more than one section $version: make them one, or give the newer one the next version"
day=$(echo "$entry" | sed -nE 's/^[^ ]+ \(([0-9]{4}-[0-9]{2}-[0-9]{2})\)$/\1/p')
if [ "$entry" != "$version (unreleased)" ] && ! { [ -n "$day" ] && date -d "$day" >/dev/null 2>&1; }; then
    fail "CHANGELOG.md begins with '$entry': write '$version (unreleased)', or its date, as '$version (2026-01-31)'"
fi
commit=$(git rev-parse --verify -q HEAD) || fail "this is no git repository with a commit: releases are made of one"
# whatever looks like the tag of a version
tags=$(git tag --points-at HEAD | grep -E '^[vV]?[0-9]|[0-9]\.[0-9]' || true)
for tag in $tags; do
    case $tag in
    "v$version") ;;
    v[0-9]*) fail "this commit has the tag $tag, Cargo.toml says $version: let them agree" ;;
    *) fail "this commit has the tag $tag, but a release of it has the tag v$version: let no other name a version" ;;
    esac
    [ -n "$day" ] || fail "this commit has the tag $tag, CHANGELOG.md says '$entry': give it its date"
done
if [ -z "$tags" ] && git merge-base --is-ancestor "refs/tags/v$version" HEAD 2>/dev/null; then
    fail "v$version is the tag of an older commit, which has been released: give Cargo.toml and CHANGELOG.md the next \
version"
fi
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
# What is there may only be an earlier release, whole: each file is in its list, as it was.
old=$(ls -A "$out")
if [ -n "$old" ]; then
    strange=$(
        cd "$out" || exit
        [ -f SHA256SUMS ] || { echo "$old" | head -n 1; exit; }
        sha256sum --check --quiet SHA256SUMS 2>/dev/null | sed -n '1s/: .*//p'
        echo "$old" | while read -r name; do
            [ "$name" = SHA256SUMS ] || cut -c 67- SHA256SUMS | grep -qxF -e "$name" || echo "$name"
        done
    )
    [ -z "$strange" ] || fail "there is something in $out that is of no release, $(echo "$strange" | head -n 1): empty \
it, or name another folder"
fi

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
# A directory of its own: what was built there with paths in it would be taken as it is.
target=$target/release-build
REMAP_TOP=$top REMAP_TARGET=$target REMAP_CARGO=${CARGO_HOME:-$HOME/.cargo} REMAP_RUST=$(rustc --print sysroot)
export REMAP_TOP REMAP_TARGET REMAP_CARGO REMAP_RUST
export CARGO_TARGET_DIR="$target" CARGO_INCREMENTAL=0 RUSTC_WRAPPER="$top/scripts/remapped.sh"
# The profile is that of Cargo.toml, whatever a person's shell says.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS
# shellcheck disable=SC2046
unset $(env | sed -n 's/^\(CARGO_PROFILE_[A-Z0-9_]*\)=.*/\1/p') CARGO_BUILD_TARGET

# Packed beside, and moved when all is there.
packed=$target/packed
rm -rf "$packed"
mkdir -p "$packed"
pack() { UVALE=${host:-} scripts/package.sh "$1" "$packed"; }
if [ $# = 0 ]; then
    cargo build --release --locked -p uvale -p nmshim -p libnetmap
    scripts/musl.sh release
    pack "$target/release"
else
    [ -x scripts/build-for.sh ] || fail "there is no scripts/build-for.sh: name no target, to build for this machine"
    for triple in "$@"; do COMPAT_BUNDLE=0 scripts/build-for.sh "$triple"; done
    # pages and completions of files for other machines come from a program that runs here
    host=$(for file in "$target"/release-for/*/uvale; do
        if [ "$("$file" --version 2>/dev/null)" = "uvale $version" ]; then echo "$file"; break; fi
    done)
    for folder in "$target"/release-for/*/; do
        case " $* " in *" all "* | *" $(basename "$folder") "*) pack "${folder%/}" ;; esac
    done
fi
[ -z "$old" ] || (cd "$out" && echo "$old" | xargs -d '\n' rm -f --)
mv "$packed/SHA256SUMS" "$target/SHA256SUMS.new"
mv "$packed"/* "$out"
# the last: who finds it finds all that it lists
mv "$target/SHA256SUMS.new" "$out/SHA256SUMS"
echo "release: $version is in $out"

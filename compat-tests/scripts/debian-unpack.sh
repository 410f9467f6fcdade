#!/bin/sh
# debian-unpack.sh CACHE_DIR ROOT RELEASE ONLY PACKAGE... : unpacks Debian packages of RELEASE, trixie or
# trixie-backports, with what they depend on below ROOT; of all these the ones whose name matches the extended regular
# expression ONLY. Nothing is installed and no root is needed; what the machine has, and of which release it is, does
# not matter.
#
# A private apt configuration names the archive that the machine's own configuration names, with two
# suites of ours, Debian's key, and the status of a machine without packages. It is removed at the end.
. "$(dirname "$0")/common.sh"

cache=$1
root=$2
release=$3
only=$4
shift 4
apt=$cache/apt-trixie
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

[ "$(uname -m)" = x86_64 ] || skip "guests are x86_64 machines, this is $(uname -m)"
command -v apt-get >/dev/null 2>&1 || skip "no apt-get here to fetch Debian packages: $*"
[ -r "$keyring" ] || skip "no $keyring here (package debian-archive-keyring), and packages are fetched: $*"

# Debian's archive as the machine's configuration names it, one address a line.
archives() {
    apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v here="$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)" \
            '($2 == here || $2 ~ /^((old)*stable|testing|unstable|sid)$/) && $3 == "main" && !seen[$1]++ { print $1 }'
}

apt_private() {
    apt_get -qq \
        -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$apt/sources" \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
        -o Dir::State="$apt" -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status" \
        -o Dir::Cache="$apt/cache" -o Acquire::Languages=none -o APT::Sandbox::User=root "$@"
}

# use_archive URI : true if it has both suites, signed by Debian.
use_archive() {
    rm -rf "$apt"
    mkdir -p "$apt/sources" "$apt/lists/partial" "$apt/cache/archives/partial"
    : >"$apt/status"
    cat >"$apt/sources/trixie.sources" <<END
Types: deb
Targets: Packages
URIs: $1
Suites: trixie trixie-backports
Components: main
Architectures: amd64
Signed-By: $keyring
END
    apt_private -o APT::Update::Error-Mode=any update >"$apt/update.log" 2>&1
}

rm -rf "$root"
trap 'rm -rf "$apt"' EXIT
found=
for uri in $(archives); do
    if use_archive "$uri"; then
        found=$uri
        break
    fi
    why=$(tail -n 1 "$apt/update.log")
done
[ -n "$found" ] || skip "no Debian archive of this machine has trixie and trixie-backports${why:+: $why}"

progress "fetching from Debian: $*"
cd "$apt/cache/archives"
# 'ADDRESS' NAME_VERSION_ARCHITECTURE.deb SIZE CHECKSUM, a package a line
apt_private -t "$release" --no-install-recommends --print-uris install "$@" >"$apt/closure" 2>"$apt/fetch.log" ||
    skip "not to be had from $found: $*: $(tail -n 1 "$apt/fetch.log")"
names=$(sed -n "s/^'[^']*' \([^_ ]*\)_.*/\1/p" "$apt/closure" | grep -E "$only") || fail "no package is $only"
# shellcheck disable=SC2086
apt_private -t "$release" download $names >"$apt/fetch.log" 2>&1 ||
    skip "not to be fetched from $found: $*: $(tail -n 1 "$apt/fetch.log")"

mkdir -p "$root"
for package in ./*.deb; do
    dpkg-deb -x "$package" "$root" || fail "dpkg-deb could not unpack $package"
    rm -f "$package"
done

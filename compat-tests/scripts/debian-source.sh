#!/bin/sh
# debian-source.sh PACKAGE CACHE_DIR : unpacks the Debian (or Ubuntu) source package PACKAGE,
# patched, into CACHE_DIR/src/PACKAGE.
#
# Source packages need a deb-src entry, which few machines have. A private apt configuration is
# derived from the machine's own: the same archives, keys and suites with "deb" turned into
# "deb-src", and lists and cache of its own below CACHE_DIR. The machine's configuration stays
# as it is.
. "$(dirname "$0")/common.sh"

package=$1
cache=$2
apt=$cache/apt

command -v apt-get >/dev/null 2>&1 || skip "no apt-get here to fetch the source of $package"
[ -f "$cache/src/$package/.complete" ] && exit 0
need_packages dpkg-dev

# One deb822 file or one-line file in, the same with its binary entries turned into source entries out.
derive_deb822() {
    sed -E 's/^Types:.*/Types: deb-src/' "$1"
}

derive_oneline() {
    sed -nE 's/^deb[[:space:]]/deb-src /p' "$1"
}

derive_sources() {
    rm -rf "$apt/sources"
    mkdir -p "$apt/sources" "$apt/lists/partial" "$apt/cache/archives/partial"
    found=0
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        [ -s "$file" ] || continue
        target=$apt/sources/$(basename "$file")
        case $file in
        *.sources) derive_deb822 "$file" >"$target" ;;
        *) derive_oneline "$file" >"${target%.list}.list" ;;
        esac
        if [ -s "$target" ]; then found=1; else rm -f "$target"; fi
    done
    [ "$found" = 1 ] || skip "no apt sources here to derive deb-src from"
}

apt_private() {
    apt_get -qq \
        -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$apt/sources" \
        -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache" \
        -o APT::Sandbox::User=root "$@"
}

progress "fetching the source of $package"
if [ ! -f "$apt/.updated" ]; then
    derive_sources
    # a third-party archive without sources makes update complain; the fetch below decides
    apt_private update >"$apt/update.log" 2>&1 || true
    touch "$apt/.updated"
fi

rm -rf "$cache/src/$package"
mkdir -p "$cache/src/$package"
cd "$cache/src/$package"
if ! apt_private source --download-only "$package" >fetch.log 2>&1; then
    rm -f "$apt/.updated"
    skip "no deb-src archive here has the source of $package: $(tail -n 1 fetch.log)"
fi
dpkg-source --no-check -x ./*.dsc tree >unpack.log 2>&1 || {
    tail -n 5 unpack.log >&2
    fail "dpkg-source could not unpack $package"
}
touch .complete

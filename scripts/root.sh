#!/bin/sh
# A minimal root:  scripts/root.sh SUITE|musl [ARCHITECTURE]
# Prints its path. It is made once, in debian/ under the target directory, and after that only read:
# - of a Debian suite, by debootstrap. ARCHITECTURE is of Debian's names (amd64, arm64); for another than this
#   machine's only the C library is unpacked, which is all that an emulator of programs needs.
# - musl: like Alpine's, Debian's musl and busybox and nothing else; for another machine musl alone.
# DEBIAN_MIRROR names the archive; the default is this machine's. Where a root cannot be made, the reason is on
# standard error and the status is 3.
set -eu
[ $# -ge 1 ] || { echo "usage: scripts/root.sh SUITE|musl [ARCHITECTURE]" >&2; exit 2; }
cd "$(dirname "$0")/.."
suite=$1
why() { echo "no root of $suite: $*" >&2; exit 3; }
command -v dpkg >/dev/null || why "not a Debian system"
own=$(dpkg --print-architecture)
arch=${2:-$own}
target=${CARGO_TARGET_DIR:-$PWD/target}
mkdir -p "$target/debian"
root=$(cd "$target/debian" && pwd)/$suite
[ "$arch" = "$own" ] || root=$root-$arch
exec 9>"$root.lock"
flock 9

archive() {
    sed -nE 's|^URIs: *(https?://[^ ]*/debian/?) *$|\1|p; s|^deb +(\[[^]]*\] +)?(https?://[^ ]*/debian/?) .*|\2|p' \
        /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1
}
mirror=${DEBIAN_MIRROR:-$(archive)}
mirror=${mirror:-http://deb.debian.org/debian}

whole() {
    [ "$(id -u)" = 0 ] || why "needs root"
    command -v debootstrap >/dev/null || why "debootstrap is not installed"
    debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror" >"$root.log" 2>&1 ||
        why "debootstrap: $(tail -n 1 "$root.log")"
    rm -f "$root"/var/cache/apt/archives/*.deb
}

musl() {
    if [ "$arch" != "$own" ]; then
        packages bookworm musl
        return
    fi
    loader=/lib/ld-musl-$(uname -m).so.1
    [ -e "$loader" ] || why "musl is not installed"
    busybox=$(command -v busybox) || why "busybox-static is not installed"
    mkdir -p "$root/bin" "$root/lib"
    cp -L "$loader" "$root/lib/"
    cp "$busybox" "$root/bin/busybox"
    # what it is: Debian's other package of it would need glibc
    chroot "$root" /bin/busybox --install -s /bin 2>/dev/null || why "busybox is not static, or this is not root"
}

# packages SUITE NAME... : unpacked, by an apt of their own: nothing of this machine's lists is touched.
packages() {
    from=$1
    shift
    apt=$root.apt
    rm -rf "$apt"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/etc" "$root"
    : >"$apt/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $from main" >"$apt/sources.list"
    cat >"$apt/config" <<END
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "$apt/etc";
APT::Sandbox::User "";
END
    (
        export APT_CONFIG="$apt/config"
        cd "$apt" && apt-get -qq update && apt-get -qq download "$@"
    ) >"$root.log" 2>&1 || why "apt-get: $(tail -n 1 "$root.log")"
    for package in "$apt"/*.deb; do dpkg-deb -x "$package" "$root"; done
    rm -rf "$apt"
    # a package of trixie counts on base-files for it
    [ -e "$root/lib" ] || ln -s usr/lib "$root/lib"
}

if [ ! -e "$root/.complete" ]; then
    rm -rf "$root"
    case $suite in
    musl) musl ;;
    *) if [ "$arch" = "$own" ]; then whole; else packages "$suite" libc6 libgcc-s1; fi ;;
    esac
    for folder in dev opt proc tmp; do mkdir -p "$root/$folder"; done
    touch "$root/.complete"
fi
echo "$root"

#!/bin/sh
# Packs built files:  scripts/package.sh FOLDER [OUT]
# FOLDER has uvale, libnmshim.so, maybe libnmshim-musl.so, libnetmap.so and libnetmap.a, built for any machine, by
# cargo (target/release) or scripts/build-for.sh. Into OUT (packages/ under the target directory) it puts an archive
# that may be unpacked anywhere; for files on glibc a Debian package, and an rpm where rpmbuild is; a list of all that
# is linked in (CycloneDX); and SHA256SUMS, which lists these, and those of earlier calls for the same version. The
# same files and the same commit give the same packages.
#
# SOURCE_DATE_EPOCH is the time that everything gets; the default is that of the last commit. MAINTAINER
# ("NAME <ADDRESS>") is who packs; the default is the author of the last commit. UVALE is the program that lays out the
# files, if those in FOLDER do not run here.
set -eu
export LC_ALL=C
umask 022
[ $# -ge 1 ] || { echo "usage: scripts/package.sh FOLDER [OUT]" >&2; exit 2; }
fail() { echo "package: $*" >&2; exit 1; }
[ -d "$1" ] || fail "there is no folder $1"
from=$(cd "$1" && pwd)
out=${2:-}
case $out in "" | /*) ;; *) out=$PWD/$out ;; esac
cd "$(dirname "$0")/.."
top=$PWD
target=${CARGO_TARGET_DIR:-$top/target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
out=${out:-$target/packages}
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
maintainer=${MAINTAINER:-$(git log -1 --format='%an <%ae>')}
for tool in readelf tar gzip sha256sum python3 cargo; do
    command -v $tool >/dev/null || fail "$tool is not installed (scripts/setup.sh test)"
done

# What these files are for.
elf() { readelf -hW "$1" 2>/dev/null || fail "$1 is no program or library"; }
case $(elf "$from/uvale" | sed -n 's/^ *Machine: *//p') in
*X86-64*) machine=x86_64 deb_machine=amd64 ;;
AArch64*) machine=aarch64 deb_machine=arm64 ;;
*) fail "$from/uvale is for a machine that no package is made for" ;;
esac
libc=gnu
if ! readelf -lW "$from/uvale" | grep -q 'interpreter: .*/ld-linux'; then libc=musl; fi
triple=$machine-unknown-linux-$libc
name=uvale-$version-$machine-linux-$libc

# The program that lays them out: from the same source.
runs() { [ "$("$1" --version 2>/dev/null)" = "uvale $version" ] && "$1" install --help >/dev/null 2>&1; }
installer=""
for candidate in "$from/uvale" ${UVALE:+"$UVALE"} "$target/release/uvale" "$target/debug/uvale"; do
    if runs "$candidate"; then installer=$candidate; break; fi
done
[ -n "$installer" ] || fail "no uvale $version runs here: build it, or name one in UVALE"

# rpmbuild takes names without blanks
case ${TMPDIR:-/tmp} in *[!A-Za-z0-9/._+-]*) TMPDIR=/tmp ;; esac
export TMPDIR="${TMPDIR:-/tmp}"
work=$(mktemp -d -t uvale-package.XXXXXX)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir -p "$out"

# Without symbols; archives keep those that the linker needs.
stage=$work/stage
mkdir "$stage"
strip=strip
[ "$machine" = "$(uname -m)" ] || strip=$machine-linux-gnu-strip
command -v "$strip" >/dev/null || fail "$strip is not installed (Debian's binutils-$machine-linux-gnu)"
for file in "$from/uvale" "$from"/libnmshim*.so "$from"/libnetmap.*; do
    [ -f "$file" ] || continue
    case $file in
    *.a) $strip -D --strip-debug -o "$stage/$(basename "$file")" "$file" ;;
    *.so | *.so.[0-9]* | */uvale)
        # a link stays one
        if [ -L "$file" ]; then cp -P "$file" "$stage/"; else
            $strip --strip-unneeded -o "$stage/$(basename "$file")" "$file"
        fi
        ;;
    esac
done
# the program's target, then those of shims for programs on another C library
triples=$triple
[ $libc = musl ] || [ ! -f "$stage/libnmshim-musl.so" ] || triples="$triples $machine-unknown-linux-musl"
[ $libc = gnu ] || [ ! -f "$stage/libnmshim.so" ] || triples="$triples $machine-unknown-linux-gnu"
# shellcheck disable=SC2086
scripts/sbom.py "$work/made-of" $triples

# lay_out LAYOUT PREFIX DESTDIR
lay_out() {
    "$installer" install --from "$stage" --layout "$1" --prefix "$2" --destdir "$3" >/dev/null
    install -m 644 "$work/made-of/third-party-licences.txt" "$3/${2#/}/share/doc/uvale/"
}

# In one order, with one time and one owner.
lay_out archive / "$work/archive/$name"
tar -C "$work/archive" --sort=name --format=gnu --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
    -cf - "$name" | gzip -9n >"$out/$name.tar.gz"
made=$name.tar.gz
cp "$work/made-of/uvale.cdx.json" "$out/$name.cdx.json"
made="$made $name.cdx.json"

# What the loader has to find on the machine, for a package's dependencies.
glibc=$(for file in "$stage/uvale" "$stage/libnmshim.so" "$stage/libnetmap.so"; do
    if [ -f "$file" ]; then readelf -VW "$file"; fi
done | grep -o 'Name: GLIBC_[0-9.]*' | sed 's/.*_//' | sort -V | tail -n 1)
needed=$(for file in "$stage/uvale" "$stage/libnmshim.so" "$stage/libnetmap.so"; do
    if [ -f "$file" ]; then readelf -dW "$file"; fi
done | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort -u)
. scripts/package-deb.sh
. scripts/package-rpm.sh
if [ $libc = gnu ]; then
    if command -v dpkg-deb >/dev/null; then make_deb; else echo "skipped: .deb: no dpkg-deb"; fi
    if command -v rpmbuild >/dev/null; then make_rpm; else echo "skipped: .rpm: no rpmbuild (package rpm)"; fi
fi

cd "$out"
# Lines of what lies here from earlier calls stay, as long as they are true.
{
    for file in $made; do sha256sum -- "$file"; done
    [ ! -f SHA256SUMS ] || while read -r sum file; do
        case " $made " in *" $file "*) continue ;; esac
        case $file in */*) continue ;; "uvale-$version-"* | "uvale_$version-"*) ;; *) continue ;; esac
        ! echo "$sum  $file" | sha256sum --check --status 2>/dev/null || echo "$sum  $file"
    done <SHA256SUMS
} | sort -k 2 >SHA256SUMS.new
mv SHA256SUMS.new SHA256SUMS
for file in $made; do echo "$out/$file"; done
echo "$out/SHA256SUMS"

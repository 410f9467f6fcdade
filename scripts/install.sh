#!/bin/sh
# Installs what `cargo build --release` made:  scripts/install.sh [PREFIX]
# Programs, libraries, headers and pkg-config files, below PREFIX (/usr/local); DESTDIR in front of it
# for packages. Nothing else is needed to run, compile and link netmap programs.
set -eu
cd "$(dirname "$0")/.."
built=${CARGO_TARGET_DIR:-target}/release
prefix=${1:-/usr/local}
case $prefix in
/*) ;;
*) prefix=$PWD/$prefix ;;
esac
root=${DESTDIR:-}$prefix
for file in uvale libnmshim.so libnetmap.so libnetmap.a; do
    [ -e "$built/$file" ] || { echo "install: no $built/$file; first: cargo build --release" >&2; exit 1; }
done

put() { # MODE FOLDER FILE...
    mode=$1 folder=$root/$2
    shift 2
    install -d "$folder"
    install -m "$mode" "$@" "$folder"
}
put 755 bin "$built/uvale"
put 644 lib "$built/libnmshim.so" "$built/libnetmap.so" "$built/libnetmap.a"
if [ -e "$built/libnmshim-musl.so" ]; then put 644 lib "$built/libnmshim-musl.so"; fi
put 644 include include/libnetmap.h
put 644 include/net include/net/*.h
install -d "$root/lib/pkgconfig"
version=$("$built/uvale" --version | cut -d' ' -f2)
for name in libnetmap uvale-netmap; do
    sed -e '1d' -e "s|@prefix@|$prefix|; s|@libdir@|$prefix/lib|; s|@version@|$version|" \
        "include/$name.pc.in" >"$root/lib/pkgconfig/$name.pc"
done
echo "installed uvale $version below $root"

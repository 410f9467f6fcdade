# shellcheck shell=sh disable=SC2154
# The Debian package; part of scripts/package.sh.

# Packages that have the libraries which the loader has to find.
deb_depends() {
    depends="libc6 (>= $glibc)"
    for library in $needed; do
        case $library in
        libc.so.6 | libm.so.6 | libpthread.so.0 | libdl.so.2 | librt.so.1 | ld-linux-*) ;;
        libgcc_s.so.1) depends="$depends, libgcc-s1" ;;
        *) fail "no Debian package is known for $library" ;;
        esac
    done
    echo "$depends"
}

make_deb() {
    root=$work/deb
    documents=$root/usr/share/doc/uvale
    lay_out debian /usr "$root"
    find "$root/usr/share/man" -name '*.1' -exec gzip -9n {} +
    # Debian has its own places for these.
    rm "$documents/LICENSE"
    cp dist/debian/copyright "$documents/copyright"
    gzip -9n <"$documents/CHANGELOG.md" >"$documents/changelog.gz"
    rm "$documents/CHANGELOG.md"
    gzip -9n "$documents/third-party-licences.txt"
    sed -e "s|@version@|$version|; s|@maintainer@|$maintainer|" \
        -e "s|@date@|$(date -u -R -d "@$SOURCE_DATE_EPOCH")|" dist/debian/changelog.in |
        gzip -9n >"$documents/changelog.Debian.gz"
    mkdir -p "$root/usr/share/lintian/overrides"
    without=""
    [ -f "$stage/libnmshim-musl.so" ] || without='/^# For programs on musl/,/libnmshim-musl/d'
    sed -e "$without" dist/debian/lintian-overrides >"$root/usr/share/lintian/overrides/uvale"

    mkdir "$root/DEBIAN"
    size=$(du -k --apparent-size -s "$root/usr" | cut -f1)
    depends=$(deb_depends)
    sed -e "s|@version@|$version|; s|@machine@|$deb_machine|; s|@maintainer@|$maintainer|" \
        -e "s|@size@|$size|; s|@depends@|$depends|" dist/debian/control.in >"$root/DEBIAN/control"
    sed "s|@version@|$version|" dist/debian/shlibs.in >"$root/DEBIAN/shlibs"
    cp dist/debian/triggers "$root/DEBIAN/triggers"
    for script in postinst prerm postrm; do
        install -m 755 "dist/debian/$script" "$root/DEBIAN/$script"
    done
    (cd "$root" && find usr -type f | sort | xargs -d '\n' md5sum >DEBIAN/md5sums)
    chmod 644 "$root/DEBIAN/md5sums"
    find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    file=uvale_$version-1_$deb_machine.deb
    dpkg-deb --root-owner-group --build "$root" "$out/$file" >/dev/null
    made="$made $file"
}

#!/bin/sh
# get-qemu.sh INCLUDE_DIR CACHE_DIR : a qemu-system-x86_64 that has the device vfio-user-pci, which is QEMU 10.1 or
# newer, as CACHE_DIR/qemu/qemu-system-x86_64. It is the installed one if that is new enough, else the one of Debian's
# backports with all its libraries and its own dynamic linker, unpacked below CACHE_DIR/qemu-root.
. "$(dirname "$0")/common.sh"

cache=$2
scripts=$(cd "$(dirname "$0")" && pwd)
qemu=$cache/qemu/qemu-system-x86_64
root=$cache/qemu-root
stamp=$(cat "$0" "$scripts/debian-unpack.sh" | sha256sum | cut -d' ' -f1)

has_vfio_user() {
    [ -x "$1" ] && "$1" -device help 2>/dev/null | grep -q '"vfio-user-pci"'
}

up_to_date "$cache/qemu/.complete" "$stamp" && has_vfio_user "$qemu" && exit 0
rm -rf "$cache/qemu"
mkdir -p "$cache/qemu"

installed=$(command -v qemu-system-x86_64 || true)
if has_vfio_user "$installed"; then
    printf '#!/bin/sh\nexec %s "$@"\n' "$installed" >"$qemu"
else
    "$scripts/debian-unpack.sh" "$cache" "$root" trixie-backports . qemu-system-x86
    # Only what a guest with virtio-net, vfio-user and a serial line needs stays.
    (
        cd "$root/usr"
        rm -rf share/doc share/man share/locale share/info share/perl* share/qemu/openbios-* share/qemu/keymaps \
            share/qemu/skiboot.lid share/qemu/hppa-* share/qemu/u-boot* share/qemu/trace-events-all \
            lib/x86_64-linux-gnu/gconv lib/x86_64-linux-gnu/perl* lib/systemd sbin ../etc ../var
        find bin -type f ! -name qemu-system-x86_64 -delete
        find share/qemu \( -name 'pxe-*' -o -name 'efi-*' \) ! -name '*virtio*' -delete
    )
    cat >"$qemu" <<'END'
#!/bin/sh
root=$(cd "$(dirname "$0")/../qemu-root" && pwd)/usr
QEMU_MODULE_DIR=$root/lib/x86_64-linux-gnu/qemu
export QEMU_MODULE_DIR
exec "$root/lib64/ld-linux-x86-64.so.2" --library-path "$root/lib/x86_64-linux-gnu" \
    "$root/bin/qemu-system-x86_64" -L "$root/share/qemu" -L "$root/share/seabios" "$@"
END
fi
chmod 755 "$qemu"
has_vfio_user "$qemu" || fail "$qemu does not start, or has no vfio-user-pci: $("$qemu" --version 2>&1 | tail -n 1)"
echo "$stamp" >"$cache/qemu/.complete"

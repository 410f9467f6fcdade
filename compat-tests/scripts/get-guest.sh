#!/bin/sh
# get-guest.sh INCLUDE_DIR CACHE_DIR : what guests are made of, from Debian. CACHE_DIR/guest has the kernel of Debian's
# cloud images as vmlinuz with its version in the file version, modules for network devices in the folder modules, and
# a static busybox.
. "$(dirname "$0")/common.sh"

cache=$2
scripts=$(cd "$(dirname "$0")" && pwd)
guest=$cache/guest
root=$cache/guest-root
stamp=$(cat "$0" "$scripts/debian-unpack.sh" | sha256sum | cut -d' ' -f1)
modules="failover net_failover virtio_net llc stp bridge tun tap veth"

up_to_date "$guest/.complete" "$stamp" && exit 0
rm -rf "$guest"
mkdir -p "$guest/modules"
"$scripts/debian-unpack.sh" "$cache" "$root" trixie '^(linux-image-[0-9].*|busybox-static)$' \
    linux-image-cloud-amd64 busybox-static

version=$(basename "$root"/usr/lib/modules/*)
cp "$root/usr/bin/busybox" "$guest/busybox"
cp "$root/boot/vmlinuz-$version" "$guest/vmlinuz"
for module in $modules; do
    packed=$(find "$root/usr/lib/modules/$version/kernel" -name "$module.ko*")
    case $packed in
    *.xz) "$guest/busybox" unxz -c "$packed" >"$guest/modules/$module.ko" ;;
    *.ko) cp "$packed" "$guest/modules/$module.ko" ;;
    *) fail "the kernel $version of Debian has no module $module as expected: $packed" ;;
    esac
done
echo "$version" >"$guest/version"
rm -rf "$root"
echo "$stamp" >"$guest/.complete"

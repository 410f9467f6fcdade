# shellcheck shell=sh disable=SC2154
# The rpm; part of scripts/package.sh.

make_rpm() {
    root=$work/rpm
    lay_out fedora /usr "$root/tree"
    find "$root/tree/usr/share/man" -name '*.1' -exec gzip -9n {} +
    (cd "$root/tree" && find . -type d \( -path '*/uvale' -o -path '*/uvale/examples' \) | sed 's|^\.|%dir "|; s|$|"|
        ' && find . ! -type d | sed 's|^\.|"|; s|$|"|') | sort -u >"$root/files"
    find "$root/tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    rpmbuild -bb --quiet --target "$machine-linux" --define "_topdir $root" --define "_rpmdir $root/made" \
        --define "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm" \
        --define "version_of $version" --define "packer $maintainer" --define "glibc $glibc" \
        --define "tree $root/tree" --define "list $root/files" \
        --define "_buildhost localhost" --define "use_source_date_epoch_as_buildtime 1" \
        --define "clamp_mtime_to_source_date_epoch 1" dist/rpm/uvale.spec
    file=uvale-$version-1.$machine.rpm
    cp "$root/made/$file" "$out/$file"
    made="$made $file"
}

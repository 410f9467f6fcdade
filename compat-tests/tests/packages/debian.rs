//! The Debian package in a fresh Debian: installed, used, removed.

use compat_tests::{Skip, or_skip, report_skip};

use super::install::EXCHANGE;
use super::packed::Packages;
use super::root::Root;

/// The suites, Debian 12 and 13 unless this names others.
const SUITES: &str = "COMPAT_DEBIAN_SUITES";

#[test]
fn it_installs_works_and_leaves_nothing() {
    let packages = or_skip!("Debian package", Packages::new());
    let package = or_skip!("Debian package", packages.file(".deb"));
    let suites = std::env::var(SUITES).unwrap_or_else(|_| "bookworm trixie".into());
    for suite in suites.split_whitespace() {
        let root = match Root::new(suite) {
            Ok(root) => root,
            Err(skip) => {
                report_skip(&format!("Debian package in {suite}"), &skip);
                continue;
            }
        };
        root.put(&package, "srv/uvale.deb");
        let before = root.files();
        let said = root.run("dpkg -i /srv/uvale.deb");
        if said.err.contains("depends on libc6") {
            let why = format!("built on a newer glibc than that of {suite}");
            report_skip("Debian package", &Skip::optional(why));
            continue;
        }
        said.assert_code(0);
        for (what, script) in CHECKS {
            let said = root.run(&format!("set -e\n{script}"));
            assert_eq!(
                said.code,
                Some(0),
                "{suite}: {what}: {}{}",
                said.out,
                said.err
            );
        }
        let said = root
            .run(&format!("uvale run --private -- sh -c '{EXCHANGE}'"))
            .assert_code(0);
        assert!(
            said.out.contains("Received 1000 packets"),
            "{suite}: {}",
            said.out
        );

        // installed once more, enabled, removed
        root.run("dpkg -i /srv/uvale.deb").assert_code(0);
        root.run("systemctl enable uvale.socket uvale-nic-helper.socket")
            .assert_code(0);
        root.run("systemctl --global enable uvale.socket uvale.service")
            .assert_code(0);
        root.run("dpkg --purge uvale").assert_code(0);
        let after = root.files();
        let left: Vec<&String> = after.iter().filter(|path| !before.contains(path)).collect();
        assert!(left.is_empty(), "{suite}: left behind: {left:#?}");
        let gone: Vec<&String> = before.iter().filter(|path| !after.contains(path)).collect();
        assert!(
            gone.is_empty(),
            "{suite}: others' files are gone: {gone:#?}"
        );
    }
}

/// Shell scripts, each of which ends with a status that is not 0 if the thing is broken.
const CHECKS: [(&str, &str); 9] = [
    (
        "every page of the manual renders, and shows examples",
        r#"test "$(man -w uvale)" = /usr/share/man/man1/uvale.1.gz
           for page in /usr/share/man/man1/uvale*.1.gz; do
               name=$(basename "$page" .1.gz)
               text=$(MANWIDTH=100 MAN_KEEP_FORMATTING= man --warnings "$name" 2>/tmp/warnings)
               if test -s /tmp/warnings; then echo "$name:"; cat /tmp/warnings; exit 1; fi
               case $text in *EXAMPLES*uvale*) ;; *) echo "$name shows no examples"; exit 1 ;; esac
           done"#,
    ),
    (
        "bash completes commands and options",
        r#"set +e
           . /usr/share/bash-completion/bash_completion
           for load in _comp_load __load_completion _completion_loader; do
               if declare -F $load >/dev/null; then $load uvale; break; fi
           done
           complete -p uvale || exit 1
           function=$(complete -p uvale | sed 's/.*-F \([^ ]*\) .*/\1/')
           COMP_WORDS=(uvale capt) COMP_CWORD=1
           $function uvale capt uvale
           test "${COMPREPLY[*]}" = capture || { echo "${COMPREPLY[@]}"; exit 1; }
           COMP_WORDS=(uvale run --priv) COMP_CWORD=2
           $function uvale --priv run
           test "${COMPREPLY[*]}" = --private || { echo "${COMPREPLY[@]}"; exit 1; }"#,
    ),
    (
        "the README's demonstration, as nobody",
        r#"cd /tmp && cc $(pkg-config --cflags uvale-netmap) -o bridge /usr/share/doc/uvale/examples/bridge.c
           cat >demo.sh <<'END'
set -e
./bridge vale0:x vale1:y &
uvale wait vale1:y --timeout 60
uvale gen -i vale1:out -f rx -n 1000 &
receiver=$!
uvale wait vale1:out --timeout 60
uvale gen -i vale0:in -f tx -n 1000 -S 02:00:00:00:00:01
wait $receiver
uvale fdb vale1 | grep -q '02:00:00:00:00:01.*vale1:y'
END
           chmod a+rx bridge demo.sh
           setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/nonexistent \
               uvale run --private -- sh demo.sh | grep 'Received 1000 packets'"#,
    ),
    (
        "a C program is linked with libnetmap, which the loader finds",
        r#"cd /tmp && cat >open.c <<'END'
#include <libnetmap.h>
int main(void)
{
	struct nmport_d *port = nmport_open("vale0:a");
	if (port == NULL)
		return 1;
	nmport_close(port);
	return 0;
}
END
           flags=$(pkg-config --cflags --libs libnetmap)
           case $flags in *-lnetmap*) ;; *) echo "$flags"; exit 1 ;; esac
           ldconfig -p | grep -q libnetmap.so.0
           cc -o open open.c $flags
           uvale run --private -- ./open
           cc -o open-static open.c /usr/lib/*/libnetmap.a -lpthread -lm
           uvale run --private -- ./open-static
           # the shim linked in, with no `uvale run` around
           cc -o open-linked open.c -Wl,--no-as-needed $(pkg-config --libs libnetmap uvale-netmap)
           mkdir -m 700 world && UVALE_DIR=/tmp/world ./open-linked && UVALE_DIR=/tmp/world uvale stop"#,
    ),
    (
        "units",
        r#"systemd-analyze verify /usr/lib/systemd/system/uvale*.service /usr/lib/systemd/system/uvale*.socket 2>&1 |
               tee /tmp/said
           grep -i uvale /tmp/said && exit 1
           for unit in /usr/lib/systemd/system/uvale*.service /usr/lib/systemd/user/uvale*.service; do
               program=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$unit")
               test -x "$program" || { echo "$unit: $program"; exit 1; }
           done
           # each page that a unit names
           for page in $(sed -n 's/^Documentation=man:\(.*\)(1)$/\1/p' /usr/lib/systemd/*/uvale*); do
               man -w "$page" >/dev/null
           done"#,
    ),
    (
        "Wireshark's program",
        r#"extcap=$(echo /usr/lib/*/wireshark/extcap/uvale)
           test "$(readlink -e "$extcap")" = /usr/bin/uvale
           $extcap --extcap-interfaces --extcap-version=4.0 | grep '^extcap {version='"#,
    ),
    (
        "it is not uvale install's to remove",
        r#"if uvale install --uninstall --prefix /usr; then exit 1; fi
           test -x /usr/bin/uvale"#,
    ),
    (
        "lintian of this suite, as nobody",
        r#"cd /tmp && setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/tmp \
               lintian --fail-on error,warning /srv/uvale.deb"#,
    ),
    (
        "dpkg's own checks",
        r#"dpkg --verify uvale
           test -z "$(dpkg --audit)"
           test "$(dpkg-query -W -f '${Version}' uvale | cut -d- -f1)" = "$(uvale --version | cut -d' ' -f2)"
           zcat /usr/share/doc/uvale/changelog.Debian.gz /usr/share/doc/uvale/third-party-licences.txt.gz >/dev/null
           grep -q BSD-2-Clause /usr/share/doc/uvale/copyright"#,
    ),
];

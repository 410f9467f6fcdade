//! The device and the parameters as files: what start scripts, `ls`, globs, `find`, `cp` and Python do with them.

use compat_tests::place::Place;
use compat_tests::world::Program;
use compat_tests::{Skip, report_skip};

/// Runs a script of bash's, or of another interpreter's, that must succeed and be silent on stderr.
fn script(interpreter: &[&str], text: &str) -> String {
    let place = Place::new();
    let mut command = place.command(std::path::Path::new(interpreter[0]));
    command.args(&interpreter[1..]).arg("-c").arg(text);
    command.env("SAVED", place.file("saved"));
    let program = Program::start(interpreter[0], command);
    let stdout = program.wait_success();
    place.assert_nothing_left();
    stdout
}

const BASH: &[&str] = &["bash", "-eu", "-o", "pipefail"];

#[test]
fn scripts_make_the_device_accessible() {
    let said = script(
        BASH,
        r#"exec 2>&1
        chmod 666 /dev/netmap; chmod -R a+r /sys/module/netmap; chown root:root /dev/netmap; chgrp root /dev/netmap
        touch /dev/netmap; test -c /dev/netmap; test -r /dev/netmap -a -w /dev/netmap
        readlink -f /dev/netmap; realpath /dev/netmap; stat -c %F /dev/netmap; ls -l /dev/netmap | cut -c1
        ! mknod /dev/netmap c 10 60 || exit 1"#,
    );
    let expected = "/dev/netmap\n/dev/netmap\ncharacter special file\nc\n";
    assert!(said.starts_with(expected), "{said}");
    let rest = &said[expected.len()..];
    assert!(
        rest.contains("File exists") && rest.lines().count() == 1,
        "{said}"
    );
    assert!(!std::path::Path::new("/dev/netmap").exists());
}

#[test]
fn shells_list_and_copy_parameters() {
    let said = script(
        BASH,
        r#"exec 2>&1
        d=/sys/module/netmap/parameters
        n=$(ls $d | wc -l); set -- $d/*
        test $n -gt 20 -a $# = $n && test $(ls $d/buf_* | wc -l) -gt 3
        test $(find /sys/module/netmap -type f | wc -l) = $n && test $(find $d | wc -l) = $((n + 1))
        test $(grep -c . $d/* | wc -l) = $n && grep -r . /sys/module/netmap | grep parameters/buf_num:163840
        ls -ld /sys/module/netmap $d | cut -c1-10; ls -A /sys/module/netmap
        cp $d/buf_num $SAVED; cmp $SAVED <(echo 163840)
        cp -r $d $SAVED.all; test $(ls $SAVED.all | wc -l) = $n; cat $d/* > $SAVED.cat
        echo 100 > $d/bridge_batch; cat $d/bridge_batch; rm -r $SAVED*"#,
    );
    let expected =
        "/sys/module/netmap/parameters/buf_num:163840\ndrwxr-xr-x\ndrwxr-xr-x\nparameters\n100\n";
    assert_eq!(said, expected);
}

#[test]
fn python_lists_parameters() {
    if std::process::Command::new("python3")
        .arg("--version")
        .output()
        .is_err()
    {
        return report_skip("python", &Skip::optional("there is no python3"));
    }
    let said = script(
        &["python3"],
        r#"
import glob, os
d = "/sys/module/netmap/parameters"
names = os.listdir(d)
assert len(names) > 20 and len(set(names)) == len(names) and "buf_num" in names, names
assert sorted(glob.glob(d + "/*")) == sorted(d + "/" + n for n in names)
assert sorted(e.name for e in os.scandir(d) if e.is_file()) == sorted(names)
fd = os.open(d, os.O_RDONLY)
assert sorted(os.listdir(fd)) == sorted(names)
at = os.stat("buf_num", dir_fd=fd)
assert at.st_ino == os.stat(d + "/buf_num").st_ino and os.path.isdir(d)
assert os.read(os.open("buf_num", os.O_RDONLY, dir_fd=fd), 100) == b"163840\n"
assert [(p, len(f)) for p, _, f in os.walk("/sys/module/netmap")] == [("/sys/module/netmap", 0), (d, len(names))]
for name in names:
    with open(d + "/" + name) as f:
        assert f.read().endswith("\n")
print("ok")"#,
    );
    assert_eq!(said, "ok\n");
}

#[test]
fn c_programs_list_parameters() {
    let path = compat_tests::or_skip!("listing", compat_tests::programs::program("listing"));
    let place = Place::new();
    assert_eq!(place.run(&path, &[]), "ok\n");
    place.assert_nothing_left();
}

//! `uvale vm run`: what it prints is what it runs.

use std::os::unix::net::UnixStream;

use compat_tests::place::{Place, set_mode};
use compat_tests::target::binaries;
use compat_tests::wait::wait_for;
use compat_tests::world::Program;
use compat_tests::{apps, or_skip};
use rustix::process::Signal;

use crate::ground::{refused, text, vm};

/// A guest with a device of each kind.
const ALL_KINDS: [&str; 7] = [
    "run",
    "--vhost",
    "vale0:a",
    "--ptnet",
    "netmap:x{1",
    "--dgram",
    "vale0:b",
];

#[test]
fn commands_are_printed_for_a_set_of_ports() {
    let place = Place::new();
    let image = place.file("disk, with a comma.qcow2");
    std::fs::write(&image, b"QFI\xfb and more").expect("write");
    let more = [text(&image), "--", "-nographic"];
    let said = vm(&place, &[&ALL_KINDS[..], &more].concat()).wait_success();
    for part in [
        "uvale vm vhost --port vale0:a --socket /",
        "uvale vm ptnet --port 'netmap:x{1' --socket /",
        "uvale vm dgram --port vale0:b --socket /",
        "memory-backend-memfd,id=ram,size=1G,share=on",
        "disk, with a comma.qcow2,format=qcow2",
        r#"'{"driver":"vfio-user-pci","socket":"#,
        "-nographic",
    ] {
        assert!(said.replace(",,", ",").contains(part), "{part}: {said}");
    }
    assert!(place.ports().is_empty(), "nothing is started");
}

#[test]
fn queue_pairs_are_told_to_both_sides() {
    let place = Place::new();
    let said = vm(&place, &[&ALL_KINDS[..], &["--queues", "4"]].concat()).wait_success();
    let line = |part: &str| {
        let line = said.lines().find(|line| line.contains(part));
        line.unwrap_or_else(|| panic!("no {part}: {said}"))
    };
    assert!(line("vm vhost").contains("--queues 4"), "{said}");
    assert!(line("vm ptnet").contains("--queues 4"), "{said}");
    assert!(!line("vm dgram").contains("--queues"), "{said}");
    assert!(line("vhost-user").contains(",queues=4"), "{said}");
    assert!(line("netdev=n0").contains("mq=on,vectors=10"), "{said}");
    assert!(!line("netdev=n2").contains("mq=on"), "{said}");
    // The port has what it has, and whoever asks for more is told.
    let rings = ["vhost", "--port", "netmap:p{1", "--queues", "2"];
    let socket = place.file("s");
    let vhost = vm(&place, &[&rings[..], &["--socket", text(&socket)]].concat());
    vhost.wait_text("the queue pairs share them");
    vhost.wait_text("queues=2");
}

#[test]
fn what_cannot_be_run_is_said() {
    let place = Place::new();
    let none = ["run", "--exec", "--dgram", "vale0:a"];
    let old = place.file("qemu-of-old");
    std::fs::write(&old, "#!/bin/sh\necho QEMU emulator version 6.2.0\n").expect("write");
    set_mode(&old, 0o755);
    let cases: [(&[&str], &str); 10] = [
        (&["run"], "no port"),
        (&["run", "--dgram", "eth 9"], "is not the name of a port"),
        (
            &["run", "--dgram", "vale0:a", "--vhost", "vale0:a"],
            "vale0:a is named twice",
        ),
        (
            &["run", "--dgram", "vale0:a", "--qemu", text(&old)],
            "version 6.2",
        ),
        (
            &["run", "--dgram", "vale0:a", "/nonexistent.img"],
            "/nonexistent.img",
        ),
        (
            &["run", "--dgram", "vale0:a", "--memory", "much"],
            "a number followed by M or G",
        ),
        (
            &[&none[..], &["--qemu", "/nonexistent"]].concat(),
            "does not answer --version",
        ),
        (&["run", "--dgram", "vale0:a", "/tmp"], "is a directory"),
        (
            &["run", "--dgram", "vale0:a", "--queues", "2"],
            "has one queue pair",
        ),
        (
            &["run", "--ptnet", "vale0:a", "--queues", "17"],
            "16 queue pairs at most",
        ),
    ];
    for (args, sentence) in cases {
        let said = refused(&place, args);
        assert!(said.contains(sentence), "{args:?}: {said}");
    }
}

/// `uvale vm ARGS...` whose directories for temporary files are below `place`.
fn run_in(place: &Place, args: &[&str]) -> Program {
    let tmp = place.file("tmp");
    let _ = std::fs::create_dir(&tmp);
    let mut command = place.command(&binaries().uvale);
    command.env("TMPDIR", tmp).env_remove("LD_PRELOAD");
    command.arg("vm").args(args);
    Program::start(&format!("uvale vm {}", args.join(" ")), command)
}

#[test]
fn a_guest_is_run_and_nothing_is_left() {
    let qemu = or_skip!("uvale vm run", apps::qemu());
    let place = Place::new();
    let qemu = text(&qemu.path);
    let args = [
        "run", "--exec", "--memory", "64M", "--qemu", qemu, "--dgram",
    ];
    let monitor = format!("unix:{},server=on,wait=off", text(&place.file("monitor")));
    let idle = [
        "--",
        "-S",
        "-nodefaults",
        "-display",
        "none",
        "-monitor",
        &monitor,
    ];
    // A signal, and the death of the process that started it all.
    for signal in [Signal::TERM, Signal::KILL] {
        let mut run = run_in(&place, &[&args[..], &["vale0:a"], &idle].concat());
        wait_for("the port", || place.port("vale0:a").is_some());
        wait_for("QEMU", || {
            UnixStream::connect(place.file("monitor")).is_ok()
        });
        run.signal(signal);
        run.wait();
        wait_for("its end", || place.port("vale0:a").is_none());
        let monitor = place.file("monitor");
        wait_for("QEMU's end", || UnixStream::connect(&monitor).is_err());
    }
    // A port that cannot be had, however the guest is to get it.
    for kind in ["--dgram", "--vhost", "--ptnet"] {
        let args = [&args[..args.len() - 1], &[kind, "netmap:nosuch0"], &idle].concat();
        let mut run = run_in(&place, &args);
        assert!(!run.wait().success(), "{kind}: {}", run.said());
        assert!(
            run.said().contains("there is no such interface"),
            "{}",
            run.said()
        );
    }
    let left = || {
        std::fs::read_dir(place.file("tmp"))
            .expect("it is there")
            .count()
    };
    wait_for("directories of sockets to go", || left() == 0);
    place.assert_left_clean();
}

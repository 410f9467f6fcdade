//! Files for other targets, in the roots that they are for: an old glibc, and musl with programs of both C libraries.

use std::path::Path;

use compat_tests::roots::{Stage, built_for, root};
use compat_tests::{Skip, capture, containers, or_skip, report_skip, target};

const GNU: &str = "x86_64-unknown-linux-gnu";
const MUSL: &str = "x86_64-unknown-linux-musl";

/// Debian 11, glibc 2.31: the oldest root that Debian's archive has.
#[test]
fn what_people_do_first_works_on_an_old_glibc() {
    let files = or_skip!("glibc 2.31", built_for(GNU));
    let root = or_skip!("glibc 2.31", root("bullseye", "amd64"));
    let stage = Stage::new("old-glibc");
    stage.put_uvale(&files);
    stage.put(&target::workspace().join("compat-tests/programs/roots/first.sh"));
    let sent = capture::recorded_from(capture::CLIENT);
    capture::write(&stage.dir().join("sent.pcap"), &sent);
    let has_tcpdump = put_tcpdump(&stage);
    let count = sent.len().to_string();
    let ran = stage.run(&root, &["/bin/sh", "/opt/first.sh", &count]);
    let (is_well, text) = or_skip!("glibc 2.31", ran);
    assert!(is_well, "{text}");
    let arrived = |name: &str| {
        let frames = capture::read(&stage.dir().join(name)).expect("a capture");
        capture::assert_same(name, &frames, &sent);
    };
    arrived("arrived.pcap");
    if has_tcpdump {
        arrived("dumped.pcap");
    }
}

/// tcpdump and libpcap with its netmap module, built for an old glibc. They take minutes to build, so they are taken
/// where somebody has: `CC="scripts/cc-for.sh TRIPLE" compat-tests/scripts/build-tcpdump.sh include CACHE`.
fn put_tcpdump(stage: &Stage) -> bool {
    let cache = target::target_dir().join("compat-apps-for").join(GNU);
    let files = [
        cache.join("tcpdump/bin/tcpdump"),
        cache.join("pcap/lib/libpcap.so.0.8"),
    ];
    let is_there = files.iter().all(|file| file.is_file());
    if !is_there {
        let why = format!("not built in {}", cache.display());
        report_skip("tcpdump on glibc 2.31", &Skip::optional(why));
        return false;
    }
    files.iter().for_each(|file| stage.put(file));
    true
}

/// Threads that are cancelled in calls of the shim are unwound by the system's library, through ours.
#[test]
fn threads_are_cancelled_on_an_old_glibc() {
    let files = or_skip!("glibc 2.31", built_for(GNU));
    let root = or_skip!("glibc 2.31", root("bullseye", "amd64"));
    let stage = Stage::new("old-cancel");
    stage.put_uvale(&files);
    or_skip!("glibc 2.31", stage.compile(GNU, "start/cancel.c", "cancel"));
    let command = ["/opt/uvale", "run", "--private", "--", "/opt/cancel"];
    let (is_well, text) = or_skip!("glibc 2.31", stage.run(&root, &command));
    assert!(is_well, "{text}");
}

/// A root like Alpine's, with the C library of a program on glibc beside musl: `uvale` is static, and each program gets
/// its shim.
#[test]
fn programs_of_two_c_libraries_meet_in_a_root_on_musl() {
    let files = or_skip!("musl", built_for(MUSL));
    let base = or_skip!("musl", root("musl", "amd64"));
    let stage = Stage::new("both");
    stage.put_uvale(&files);
    stage.put(&target::workspace().join("scripts/exchange.sh"));
    for (triple, name) in [(MUSL, "on-musl"), (GNU, "on-glibc")] {
        let compiled = stage.compile(triple, "robust/traffic.c", name);
        or_skip!("musl", compiled);
    }
    let both = Stage::new("both-root");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(base.join("."))
        .arg(both.dir())
        .status();
    assert!(copied.is_ok_and(|s| s.success()), "a root can be copied");
    for file in ["on-glibc", "libnmshim.so"] {
        let needed = containers::libraries(&stage.dir().join(file));
        for library in or_skip!("musl", needed) {
            let to = both
                .dir()
                .join(library.strip_prefix("/").unwrap_or(&library));
            let folder = to.parent().unwrap_or(Path::new("/"));
            std::fs::create_dir_all(folder).expect("a folder of ours");
            std::fs::copy(&library, &to).expect("a library can be copied");
        }
    }
    let exchange = [
        "/bin/sh",
        "/opt/exchange.sh",
        "100000",
        "/opt/on-musl",
        "/opt/on-glibc",
    ];
    let (is_well, text) = or_skip!("musl", stage.run(both.dir(), &exchange));
    assert!(is_well && text.ends_with("ok\n"), "{text}");
    let alone = [
        "/bin/sh",
        "/opt/exchange.sh",
        "100000",
        "/opt/on-musl",
        "/opt/on-musl",
    ];
    let (is_well, text) = or_skip!("musl", stage.run(&base, &alone));
    assert!(is_well && text.ends_with("ok\n"), "{text}");
}

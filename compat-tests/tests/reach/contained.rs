//! Without rights: as nobody, and in containers.

use std::process::Command;

use compat_tests::containers::{Engine, Who};
use compat_tests::said::Said;
use compat_tests::{or_skip, report_skip, target};

use super::{exchange, on_musl, statically};

/// Sends packets to nobody and waits for room.
const SEND: [&str; 4] = ["tx", "vale0:x", "n=1000", "how=netpoller"];

#[test]
fn as_nobody() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root to become somebody else");
        return;
    }
    let go = or_skip!("Go program", exchange());
    let across = or_skip!("static program", statically("namespaces/across"));
    let dir = std::env::temp_dir().join(format!("uvale-nobody-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("the temporary folder can be written");
    compat_tests::place::set_mode(&dir, 0o777);
    for (name, from) in [
        ("uvale", &*target::binaries().uvale),
        ("libnmshim.so", &*target::binaries().shim),
        ("go", &*go),
        ("across", &*across),
    ] {
        compat_tests::apps::copy_program(from, &dir.join(name));
    }
    let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let run = |program: &str, args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            &at("uvale"),
        ]);
        command
            .args(["run", "--private", "--", &at(program)])
            .args(args);
        command.env_remove("XDG_RUNTIME_DIR").current_dir(&dir);
        Said::of(&mut command).assert_code(0)
    };
    assert!(run("go", &SEND).out.contains("end n=1000 "));
    assert!(run("across", &["meet"]).out.ends_with("done\n"));
    let _ = std::fs::remove_dir_all(&dir);
}

#[test]
fn in_containers() {
    let go = or_skip!("Go program", exchange());
    let glibc = or_skip!("static program", statically("namespaces/across"));
    let musl = or_skip!("musl program", on_musl("namespaces/across"));
    let programs = [("go", &*go), ("glibc", &*glibc), ("musl", &*musl)];
    for who in [Who::Root, Who::User1000, Who::Rootless] {
        let engine = match Engine::new(who, &programs) {
            Ok(engine) => engine,
            Err(skip) => {
                report_skip(&format!("containers as {who:?}"), &skip);
                continue;
            }
        };
        let hardened = [
            "--read-only",
            "--cap-drop=all",
            "--security-opt=no-new-privileges",
        ];
        for options in [&[][..], &hardened] {
            let run = |words: &[&str]| {
                let uvale = ["/bin/uvale", "run", "--private", "--"];
                Said::of(&mut engine.run(options, &[&uvale, words].concat())).assert_code(0)
            };
            let sent = run(&[&["/bin/go"], &SEND[..]].concat());
            assert!(sent.out.contains("end n=1000 "), "{who:?}: {}", sent.out);
            for program in ["/bin/glibc", "/bin/musl"] {
                let met = run(&[program, "meet"]);
                assert!(met.out.ends_with("done\n"), "{who:?}: {}", met.out);
            }
        }
    }
}

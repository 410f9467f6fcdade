//! Real containers: podman, images of nothing but our two files, a test program and the C library.
//!
//! | | root | user 1000 | rootless |
//! |---|---|---|---|
//! | daemon on the host | | | |
//! | in the container | | | |
//! | in a sibling | | | |
//! | of another user | | | |
//!
//! Each cell is tried in an ordinary container, and in one with a read-only root, no capability and no new
//! privileges. Packets pass in the first three rows; the last says in one line why not. Network namespaces are each
//! container's own all the time.

use std::path::{Path, PathBuf};
use std::process::Command;

use compat_tests::containers::{Engine, Who};
use compat_tests::place::set_mode;
use compat_tests::programs::{fact, program};
use compat_tests::world::Program;
use compat_tests::{or_skip, report_skip};

/// Where the daemon is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Daemon {
    OnHost,
    InContainer,
    InSibling,
    OfAnotherUser,
}

const HARDENED: [&str; 4] = [
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
];

/// One cell: packets pass, or the line that says why not.
fn cell(engine: &Engine, daemon: Daemon, options: &[&str]) -> Result<(), String> {
    let name = format!("w{daemon:?}{}", options.len());
    let volume = match (daemon, engine.who()) {
        // As Kubernetes makes an emptyDir: everybody can write to it.
        (Daemon::InSibling, Who::User1000) => {
            let path = engine.path(&name);
            std::fs::create_dir(&path).map_err(|e| e.to_string())?;
            set_mode(&path, 0o777);
            path
        }
        (Daemon::InSibling, _) => PathBuf::from(&name),
        _ => {
            engine.make_dir(&name, 0o700);
            engine.path(&name)
        }
    };
    let volume = format!("--volume={}:/shared", volume.display());
    let dir = "--env=UVALE_DIR=/shared/world";
    let shared = [options, &[&volume, dir]].concat();
    let under = ["/bin/uvale", "run", "--", "/bin/across"];
    let ready = |command: Command, line: &str| {
        let program = Program::start(line, command);
        program.wait_text(line);
        program
    };
    let host_world = engine.path(&name).join("world");
    let host_world = host_world.to_string_lossy();
    match daemon {
        Daemon::InContainer => {
            let words = [
                "/bin/uvale",
                "run",
                "--private",
                "--",
                "/bin/across",
                "meet",
            ];
            finish(Program::start("meet", engine.run(options, &words)))?;
            // Without --private the first program's daemon lives in the container.
            finish(Program::start(
                "meet",
                engine.run(&shared, &[&under[..], &["meet"]].concat()),
            ))
        }
        Daemon::OnHost => {
            let user = engine.host_user();
            let uvale = engine.path("image/bin/uvale");
            let uvale = uvale.to_string_lossy();
            let serve = [&*uvale, "daemon", "--dir", &host_world];
            let _daemon = ready(engine.on_host(user.as_deref(), &serve), "listening at");
            let waiter = ready(
                engine.run(&shared, &[&under[..], &["wait", "vale0:w"]].concat()),
                "ready",
            );
            let across = engine.path("image/bin/across");
            let across = across.to_string_lossy();
            let send = [
                &*uvale,
                "run",
                "--dir",
                &host_world,
                "--",
                &across,
                "send",
                "vale0:s",
            ];
            let _sender = ready(engine.on_host(user.as_deref(), &send), "ready");
            finish(waiter)
        }
        Daemon::InSibling => {
            let _daemon = ready(
                engine.run(&shared, &["/bin/uvale", "daemon"]),
                "listening at",
            );
            let waiter = ready(
                engine.run(&shared, &[&under[..], &["wait", "vale0:w"]].concat()),
                "ready",
            );
            let send = engine.run(&shared, &[&under[..], &["send", "vale0:s"]].concat());
            let _sender = ready(send, "ready");
            finish(waiter)
        }
        Daemon::OfAnotherUser => {
            // The directory is open to all, so that it is the daemon that says no.
            let other = match engine.who() {
                Who::Root => Some("1000"),
                _ => None,
            };
            set_mode(&engine.path(&name), 0o777);
            let uvale = engine.path("image/bin/uvale");
            let serve = [&*uvale.to_string_lossy(), "daemon", "--dir", &host_world];
            let _daemon = ready(engine.on_host(other, &serve), "listening at");
            set_mode(Path::new(&*host_world), 0o755);
            set_mode(&engine.path(&name).join("world/uvale.sock"), 0o666);
            finish(Program::start(
                "meet",
                engine.run(&shared, &[&under[..], &["meet"]].concat()),
            ))
        }
    }
}

/// Did it do what it was started for? Else the line that says why not.
fn finish(mut program: Program) -> Result<(), String> {
    let status = program.wait();
    let said = program.said();
    if status.success() && program.stdout().ends_with("done\n") {
        return Ok(());
    }
    let why = said
        .lines()
        .find(|l| l.contains("nmshim:") || l.contains("uvale:"));
    Err(why.map_or(said.clone(), str::to_owned))
}

#[test]
fn the_matrix() {
    let across = or_skip!("containers", program("namespaces/across"));
    let mut wrong = Vec::new();
    for who in [Who::Root, Who::User1000, Who::Rootless] {
        let engine = match Engine::new(who, &[("across", &across)]) {
            Ok(engine) => engine,
            Err(skip) => {
                report_skip(&format!("containers as {who:?}"), &skip);
                continue;
            }
        };
        for (kind, options) in [("plain", &[][..]), ("hardened", &HARDENED[..])] {
            for daemon in [
                Daemon::OnHost,
                Daemon::InContainer,
                Daemon::InSibling,
                Daemon::OfAnotherUser,
            ] {
                if daemon == Daemon::OfAnotherUser
                    && engine.who() == Who::Rootless
                    && engine.user().is_none()
                {
                    continue; // only root can be two users
                }
                let outcome = cell(&engine, daemon, options);
                let is_right = match (daemon, &outcome) {
                    (Daemon::OfAnotherUser, Err(why)) => why.contains("user"),
                    (Daemon::OfAnotherUser, Ok(())) => false,
                    (_, outcome) => outcome.is_ok(),
                };
                let text = outcome.map_or_else(|why| why, |()| "works".into());
                fact(&format!("{who:?}, {kind}, daemon {daemon:?}: {text}"));
                if !is_right {
                    wrong.push(format!("{who:?}, {kind}, daemon {daemon:?}: {text}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

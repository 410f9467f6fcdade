//! Where a world may live: under names of any length, in directories that are gone, and in none at all where nothing
//! can be written.

use std::path::Path;
use std::process::{Command, Stdio};

use compat_tests::place::Place;
use compat_tests::programs::{assert_goes_on, end, kill, program};
use compat_tests::wait::wait_for;
use compat_tests::world::Program;
use compat_tests::{Skip, or_skip, target};

fn uvale(args: &[&str]) -> Command {
    let mut command = Command::new(&target::binaries().uvale);
    command
        .args(args)
        .stdin(Stdio::null())
        .env_remove("UVALE_DIR")
        .env_remove("UVALE_AUTOSTART")
        .env_remove("XDG_RUNTIME_DIR");
    command
}

fn start(args: &[&str]) -> Program {
    Program::start(&args.join(" "), uvale(args))
}

/// In a mount namespace of its own, where `prepare` has been done.
fn contained(prepare: &str, words: &[&str]) -> Result<Command, Skip> {
    let own = [
        "--mount",
        "--",
        "sh",
        "-ec",
        &format!("{prepare}\nexec \"$@\""),
        "sh",
    ];
    let tried = Command::new("unshare").args(own).arg("true").output();
    if !tried.as_ref().is_ok_and(|o| o.status.success()) {
        return Err(Skip::optional(format!("no mounts of our own: {tried:?}")));
    }
    let mut command = Command::new("unshare");
    command.args(own).args(words).stdin(Stdio::null());
    for name in ["UVALE_DIR", "UVALE_AUTOSTART", "XDG_RUNTIME_DIR"] {
        command.env_remove(name);
    }
    Ok(command)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

#[test]
fn long_names() {
    let across = or_skip!("long names", program("namespaces/across"));
    let place = Place::empty();
    let long = place.file(&"x".repeat(200)).join("y".repeat(200));
    std::fs::create_dir_all(&long).expect("the directory is ours");
    let mut private = uvale(&["run", "--private", "--", text(&across), "meet"]);
    private.env("TMPDIR", &long);
    Program::start("a long TMPDIR", private).wait_success();
    let world = long.join("world");
    let world = text(&world);
    start(&["run", "--dir", world, "--", text(&across), "meet"]).wait_success();
    for command in ["ports", "status", "stop"] {
        start(&[command, "--dir", world]).wait_success();
    }
    // Nobody answers there now, which is not the name's fault.
    let mut ports = start(&["ports", "--dir", world]);
    assert!(!ports.wait().success());
    assert!(
        ports.said().contains("no uvale daemon answers"),
        "{}",
        ports.said()
    );
}

/// A long name goes through /proc; without that it is said. A short one needs no /proc.
#[test]
fn names_without_proc() {
    let across = or_skip!("no /proc", program("namespaces/across"));
    let program = text(&target::binaries().uvale);
    let place = Place::empty();
    let meet = |dir: &Path| {
        let words = [
            program,
            "run",
            "--dir",
            text(dir),
            "--",
            text(&across),
            "meet",
        ];
        contained("umount -l /proc", &words).map(|command| Program::start("no /proc", command))
    };
    let short = place.file("w");
    or_skip!("no /proc", meet(&short)).wait_success();
    start(&["stop", "--dir", text(&short)]).wait_success();
    let long = place.file(&"x".repeat(200));
    std::fs::create_dir(&long).expect("the directory is ours");
    let mut refused = or_skip!("no /proc", meet(&long));
    assert!(!refused.wait().success());
    assert!(
        refused.said().contains("/proc is not mounted"),
        "{}",
        refused.said()
    );
    let words = [program, "run", "--private", "--", text(&across), "meet"];
    let private = or_skip!("no /proc", contained("umount -l /proc", &words));
    Program::start("private, no /proc", private).wait_success();
}

#[test]
fn relative_names() {
    let across = or_skip!("relative names", program("namespaces/across"));
    let place = Place::empty();
    let here = |mut command: Command| {
        command.current_dir(place.dir());
        Program::start("relative", command).wait_success()
    };
    // The daemon is elsewhere from its beginning.
    here(uvale(&["daemon", "--detach", "--dir", "rel"]));
    assert!(place.file("rel/uvale.sock").exists());
    here(uvale(&["run", "--dir", "rel", "--", text(&across), "meet"]));
    let mut by_name = uvale(&["run", "--", text(&across), "meet"]);
    by_name.env("UVALE_DIR", "rel");
    here(by_name);
    here(uvale(&["stop", "--dir", "rel"]));
}

/// Nothing can be written anywhere: a private world has a name alone. The others are told what to do.
#[test]
fn a_read_only_root() {
    let across = or_skip!("read-only root", program("namespaces/across"));
    let program = text(&target::binaries().uvale);
    let read_only = "for m in $(cut -d' ' -f2 /proc/mounts); do case $m in /proc*) ;; \
                     *) mount -o remount,bind,ro $m 2>/dev/null || : ;; esac; done\n\
                     ! touch /tmp/x 2>/dev/null; ! touch /dev/shm/x 2>/dev/null";
    let words = [program, "run", "--private", "--", text(&across), "meet"];
    let private = or_skip!("read-only root", contained(read_only, &words));
    Program::start("private", private).wait_success();
    // Its programs find it, also by other commands.
    let script = "echo $UVALE_DIR; $0 ports --json; exec $1 meet";
    let words = [
        program,
        "run",
        "--private",
        "--",
        "sh",
        "-c",
        script,
        program,
        text(&across),
    ];
    let said = or_skip!("read-only root", contained(read_only, &words));
    let said = Program::start("private", said).wait_success();
    assert!(said.starts_with("@uvale-"), "{said}");
    assert!(said.contains("[]\n") && said.ends_with("done\n"), "{said}");
    for words in [
        &[program, "daemon", "--dir", "/run/nowhere"][..],
        &[program, "daemon", "--detach", "--dir", "/run/nowhere"],
    ] {
        let refused = or_skip!("read-only root", contained(read_only, words));
        let mut refused = Program::start("not private", refused);
        assert!(!refused.wait().success());
        for part in ["/run/nowhere", "Read-only file system", "--private"] {
            assert!(refused.said().contains(part), "{}", refused.said());
        }
    }
}

/// A world that has a name and no directory: one daemon, found by all that know the name.
#[test]
fn a_name_without_a_directory() {
    let across = or_skip!("a name alone", program("namespaces/across"));
    let name = format!("@uvale-test-{}", std::process::id());
    start(&["daemon", "--detach", "--dir", &name]).wait_success();
    let mut second = start(&["daemon", "--dir", &name]);
    assert_eq!(second.wait().code(), Some(75), "{}", second.said());
    start(&["run", "--dir", &name, "--", text(&across), "meet"]).wait_success();
    start(&["ports", "--dir", &name]).wait_success();
    start(&["stop", "--dir", &name]).wait_success();
    assert!(!Path::new(&name).exists(), "that was no name of a file");
}

/// The directory is removed while the daemon lives: its programs go on, others begin a new world, and when the
/// last of the old ones has left the old daemon goes, and leaves the new one's socket alone.
#[test]
fn a_removed_directory() {
    let traffic = or_skip!("a removed directory", program("traffic"));
    let across = or_skip!("a removed directory", program("namespaces/across"));
    let place = Place::empty();
    let world = place.file("world");
    let log = place.file("log");
    let mut daemon = uvale(&["daemon", "--dir", text(&world)]);
    daemon.stderr(std::fs::File::create(&log).expect("the directory is ours"));
    let mut daemon = daemon.spawn().expect("it starts");
    wait_for("the daemon to listen", || world.join("uvale.sock").exists());
    let spawn = |words: &[&str]| {
        let mut command = place.command(&traffic);
        command.args(words).env("UVALE_DIR", &world);
        let program = Program::start("traffic", command);
        program.wait_line("ready", |l| l.starts_with("ready"));
        program
    };
    let mut rx = spawn(&["rx", "vale0:rx", "how=poll"]);
    let tx = spawn(&["tx", "vale0:tx"]);
    std::fs::remove_dir_all(&world).expect("it is ours");
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_for("the daemon to say so", || {
        said().contains("socket was removed")
    });
    assert_goes_on(&mut rx, "after its world's directory was removed");
    start(&["run", "--dir", text(&world), "--", text(&across), "meet"]).wait_success();
    assert_goes_on(&mut rx, "beside the new world");
    kill(tx);
    end(rx);
    assert!(
        daemon.wait().expect("a child of ours").success(),
        "{}",
        said()
    );
    start(&["stop", "--dir", text(&world)]).wait_success();
}

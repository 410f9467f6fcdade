//! No daemon, a daemon that leaves, a daemon that is not to be trusted.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use compat_tests::world::Program;
use compat_tests::{Skip, or_skip, target};

use super::Said;

/// A directory for a daemon that is no private world's.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let dir = std::env::temp_dir().join(format!("uvale-cli-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Place(dir)
    }

    fn uvale(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&target::binaries().uvale);
        command.args(args).arg("--dir").arg(&self.0);
        command.env_remove("UVALE_DIR");
        command
    }

    fn say(&self, args: &[&str]) -> Said {
        Said::of(self.uvale(args))
    }

    fn daemon(&self) -> Program {
        let daemon = Program::start("uvale daemon", self.uvale(&["daemon"]));
        daemon.wait_text("listening at");
        daemon
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const REPORTS: [&[&str]; 6] = [
    &["ports"],
    &["switches"],
    &["fdb", "vale0"],
    &["stats"],
    &["status"],
    &["stop"],
];

#[test]
fn reports_start_no_daemon() {
    let place = Place::new("none");
    for command in REPORTS {
        place.say(command).failed("no uvale daemon answers in");
        assert!(!place.0.exists(), "{command:?} made {}", place.0.display());
    }
    // what a killed daemon leaves behind is no daemon either
    let daemon = place.daemon();
    drop(daemon);
    assert!(place.0.join("uvale.sock").exists(), "it was killed");
    for command in REPORTS {
        place.say(command).failed("no uvale daemon answers in");
    }
}

#[test]
fn a_directory_that_others_can_write_to_is_not_trusted() {
    let place = Place::new("open");
    let _daemon = place.daemon();
    place.say(&["ports"]).ok();
    std::fs::set_permissions(&place.0, std::fs::Permissions::from_mode(0o777)).expect("it is ours");
    for command in REPORTS {
        place.say(command).failed("can be written by others");
    }
}

#[test]
fn stop_ends_the_daemon_of_the_directory() {
    let place = Place::new("stop");
    let other = Place::new("stop-other");
    let (mut daemon, mut bystander) = (place.daemon(), other.daemon());
    let watch = Program::start(
        "uvale stats --watch",
        place.uvale(&["stats", "--watch", "0.1"]),
    );
    watch.wait_text("per second");
    let said = place.say(&["stop"]).ok();
    assert!(said.contains("has left"), "{said}");
    assert!(daemon.has_ended());
    assert!(daemon.wait().success(), "{}", daemon.said());
    assert!(!place.0.join("uvale.sock").exists());
    place.say(&["stop"]).failed("no uvale daemon answers in");

    let mut watch = watch;
    assert_eq!(watch.wait().code(), Some(1), "{}", watch.said());
    watch.wait_text("the uvale daemon is gone");
    assert!(!bystander.has_ended());
    other.say(&["stop"]).ok();
}

/// A daemon that serves a socket which another process made, as systemd does: the process at the
/// other end of the connection is not the daemon, and must not get its signal.
#[test]
fn stop_leaves_the_maker_of_a_passed_socket_alone() {
    let place = Place::new("activated");
    std::fs::create_dir_all(&place.0).expect("the temporary folder can be written");
    std::fs::set_permissions(&place.0, std::fs::Permissions::from_mode(0o700)).expect("it is ours");
    let socket = or_skip!("passed socket", listener(&place.0.join("uvale.sock")));

    let mut command = Command::new("sh");
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
    command.args(["-c", script, "sh"]);
    command
        .arg(&target::binaries().uvale)
        .args(["daemon", "--dir"])
        .arg(&place.0);
    let mut daemon = Program::start("uvale daemon", {
        command.stdin(socket);
        command
    });
    daemon.wait_text("listening at");
    place.say(&["ports"]).ok();
    // were a signal sent to the maker, this test would be gone here
    let said = place.say(&["stop"]).ok();
    assert!(said.contains("its socket was passed to it"), "{said}");
    assert!(daemon.wait().success(), "{}", daemon.said());
}

fn listener(path: &Path) -> Result<OwnedFd, Skip> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let make = || -> rustix::io::Result<OwnedFd> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&socket, 16)?;
        Ok(socket)
    };
    make().map_err(|e| Skip::required(format!("{}: {e}", path.display())))
}

/// The loader ends a name at a space: better said than found out.
#[test]
fn a_shim_that_cannot_be_preloaded_is_refused() {
    let place = Place::new("space");
    let folder = place.0.join("with space");
    std::fs::create_dir_all(&folder).expect("a folder");
    let shim = folder.join("libnmshim.so");
    std::fs::copy(&target::binaries().shim, &shim).expect("a copy");
    let mut command = Command::new(&target::binaries().uvale);
    command.args(["run", "--", "true"]).env("NMSHIM", &shim);
    Said::of(command).failed("cannot be preloaded");
}

/// A shim takes the environment as it was when it was loaded, and commands that it finds loaded mean what they were
/// given: another world, and the reason for a refusal.
#[test]
fn commands_under_a_shim_mean_their_own_options() {
    let place = Place::new("under");
    assert_eq!(place.say(&["daemon", "--detach"]).code, Some(0));
    let under = |args: &[&str]| {
        let mut command = Command::new(&target::binaries().uvale);
        command.args(["run", "--private", "--"]);
        command.arg(&target::binaries().uvale).args(args);
        for variable in ["CI", "NMSHIM_VERBOSE", "UVALE_DIR"] {
            command.env_remove(variable);
        }
        command
    };
    let mut create = under(&["ctl", "-n", "vi0", "--dir"]);
    create.arg(&place.0);
    Said::of(create).ok();
    let ports = place.say(&["ports"]);
    assert!(ports.out.contains("vi0"), "{}{}", ports.out, ports.err);
    Said::of(under(&["gen", "-i", "vale0:a/rt", "-f", "rx"])).failed("nobody has it open");
    place.say(&["stop"]).ok();
}

#[test]
fn a_daemon_that_could_not_take_a_connection_does_not_start() {
    let place = Place::new("few");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 10; exec \"$0\" daemon --dir \"$1\""]);
    command.arg(&target::binaries().uvale).arg(&place.0);
    let said = Said::of(command);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(
        said.err.contains("it may have 10 (ulimit -n"),
        "{}",
        said.err
    );
}

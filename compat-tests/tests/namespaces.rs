//! Programs in sibling PID namespaces with mounts of their own, as containers are, and the daemon outside, in
//! one of them, or in a third: ports are opened across, and a descriptor that is handed over works at once, in the
//! child of a fork and after exec, whatever lies at the world's path over there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use compat_tests::place::{Place, set_mode};
use compat_tests::programs::{program, value};
use compat_tests::world::Program;
use compat_tests::{Skip, or_skip, target};

/// `unshare` with what it takes here to get namespaces of one's own.
fn unshare() -> Result<Vec<&'static str>, Skip> {
    let own = ["--pid", "--fork", "--mount", "--mount-proc", "--kill-child"];
    let mut errors = String::new();
    for user in [&[][..], &["--user", "--map-root-user"][..]] {
        let words = [user, &own].concat();
        let tried = Command::new("unshare").args(&words).arg("true").output();
        match tried {
            Ok(output) if output.status.success() => return Ok(words),
            Ok(output) => errors.push_str(&String::from_utf8_lossy(&output.stderr)),
            Err(e) => return Err(Skip::optional(format!("no unshare: {e}"))),
        }
    }
    Err(Skip::optional(format!(
        "no namespaces for us: {}",
        errors.trim()
    )))
}

/// What the tests need, or why it cannot be had.
struct Ground {
    place: Place,
    unshare: Vec<&'static str>,
    across: PathBuf,
}

impl Ground {
    fn new() -> Result<Ground, Skip> {
        let place = Place::empty();
        for dir in ["world", "elsewhere", "pass"] {
            std::fs::create_dir(place.file(dir)).expect("the directory is ours");
            set_mode(&place.file(dir), 0o700);
        }
        Ok(Ground {
            place,
            unshare: unshare()?,
            across: program("namespaces/across")?,
        })
    }

    fn path(&self, name: &str) -> String {
        self.place.file(name).to_string_lossy().into_owned()
    }

    /// A shell in namespaces of its own, whose world is in `dir`; `script` may say `run PROGRAM`.
    fn contain(&self, name: &str, dir: &Path, script: &str) -> Program {
        let mut command = Command::new("unshare");
        let script = format!(
            "set -e; run() {{ LD_PRELOAD={} exec \"$@\"; }}; {script}",
            target::binaries().shim.display()
        );
        command
            .args(&self.unshare)
            .args(["sh", "-c", &script])
            .env("UVALE_DIR", dir)
            .env("UVALE_PROGRAM", &target::binaries().uvale)
            .env_remove("UVALE_AUTOSTART")
            .stdin(Stdio::null());
        Program::start(name, command)
    }

    /// One daemon, in namespaces of its own.
    fn sibling_daemon(&self) -> Program {
        let uvale = target::binaries().uvale.display();
        let script = format!("exec {uvale} daemon --dir {}", self.path("world"));
        let daemon = self.contain("daemon", &self.place.file("world"), &script);
        daemon.wait_text("listening at");
        daemon
    }

    /// A daemon where the test runs.
    fn daemon_outside(&self) -> Program {
        let mut command = Command::new(&target::binaries().uvale);
        command
            .args(["daemon", "--dir", &self.path("world")])
            .stdin(Stdio::null());
        let daemon = Program::start("daemon", command);
        daemon.wait_text("listening at");
        daemon
    }

    /// Hands a descriptor from one container to another, in which the world's directory is what
    /// `prepare` makes of it; `meet`: the second one opens a port of its own too, in `dir`.
    fn hand_over(&self, case: &str, prepare: &str, dir: &str, meet: bool) {
        let (across, socket) = (self.across.display(), self.path("pass/socket"));
        let give = format!("run {across} give {socket}");
        let giver = self.contain(&format!("{case}: give"), &self.place.file("world"), &give);
        giver.wait_line("ready", |l| l == "ready");
        let how = if meet { "meet" } else { "" };
        let take = format!("{prepare}; run {across} take {socket} {how}");
        let taker = self.contain(&format!("{case}: take"), &self.place.file(dir), &take);
        let said = taker.wait_success();
        assert!(said.ends_with("done\n"), "{case}: {said}");
        let said = giver.wait_success();
        for way in ["own", "fork", "exec"] {
            assert_eq!(value(&said, way), Some(1), "{case}: {said}");
        }
        assert_eq!(
            value(&said, "port"),
            Some(u64::from(meet)),
            "{case}: {said}"
        );
        std::fs::remove_file(&socket).expect("the giver has made it");
    }

    /// All that can lie at the path of the giver's world in the taker's container.
    fn hand_over_all(&self) {
        let (world, elsewhere) = (self.path("world"), self.path("elsewhere"));
        self.hand_over("same path", ":", "world", true);
        let moved = format!("mount --bind {world} {elsewhere}; mount -t tmpfs none {world}");
        self.hand_over("another path", &moved, "elsewhere", true);
        let nothing = format!("mount -t tmpfs none {world}; export UVALE_AUTOSTART=0");
        self.hand_over("nothing there", &nothing, "world", false);
        let daemon = target::binaries().uvale.display();
        let other = format!(
            "mount -t tmpfs -o mode=700 none {world}; {daemon} daemon --detach --dir {world}; \
             LD_PRELOAD={} {} meet",
            target::binaries().shim.display(),
            self.across.display()
        );
        self.hand_over("another world there", &other, "world", false);
    }
}

#[test]
fn the_daemon_is_outside() {
    let ground = or_skip!("daemon outside", Ground::new());
    let _daemon = ground.daemon_outside();
    ground.hand_over_all();
}

#[test]
fn the_daemon_is_in_a_third_container() {
    let ground = or_skip!("daemon in a third container", Ground::new());
    let _daemon = ground.sibling_daemon();
    ground.hand_over_all();
}

/// The giver's first open starts it, so it lives and dies in the giver's container.
#[test]
fn the_daemon_is_in_the_givers_container() {
    let ground = or_skip!("daemon with the giver", Ground::new());
    ground.hand_over_all();
}

/// Commands and the generator, from outside and from a sibling.
#[test]
fn commands_reach_a_daemon_in_a_container() {
    let ground = or_skip!("commands", Ground::new());
    let mut daemon = ground.sibling_daemon();
    let (uvale, world) = (target::binaries().uvale.display(), ground.path("world"));
    let commands = [
        format!("{uvale} ports --dir {world}"),
        format!("{uvale} status --dir {world}"),
        format!(
            "{uvale} run --dir {world} -- {} meet",
            ground.across.display()
        ),
        format!("{uvale} run --dir {world} -- {uvale} gen -i vale0:g -f tx -n 10"),
    ];
    for command in commands {
        let inside = ground.contain(&command, &ground.place.file("world"), &command);
        inside.wait_success();
        let mut outside = Command::new("sh");
        outside.args(["-c", &command]).stdin(Stdio::null());
        Program::start(&command, outside).wait_success();
    }
    let stop = format!("{uvale} stop --dir {world}");
    ground
        .contain("stop", &ground.place.file("world"), &stop)
        .wait_success();
    let status = daemon.wait();
    assert!(status.success(), "{}", daemon.said());
}

/// A descriptor leads home also from where the world has no path and nothing is mounted on /proc.
#[test]
fn a_descriptor_leads_home_without_proc() {
    let ground = or_skip!("without /proc", Ground::new());
    let _daemon = ground.daemon_outside();
    let script = format!(
        "mount -t tmpfs none {world}; umount -l /proc; run {across} take {socket}",
        world = ground.path("world"),
        across = ground.across.display(),
        socket = ground.path("pass/socket"),
    );
    let give = format!(
        "run {} give {}",
        ground.across.display(),
        ground.path("pass/socket")
    );
    let giver = ground.contain("give", &ground.place.file("world"), &give);
    giver.wait_line("ready", |l| l == "ready");
    let taker = ground.contain("take", &ground.place.file("world"), &script);
    taker.wait_success();
    giver.wait_success();
}

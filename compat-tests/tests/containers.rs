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
use std::process::{Command, Output, Stdio};

use compat_tests::place::set_mode;
use compat_tests::programs::{fact, program};
use compat_tests::world::Program;
use compat_tests::{Skip, or_skip, report_skip, target};

const IMAGE: &str = "localhost/uvale-test";

/// Who runs containers, and as whom they run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Root,
    User1000,
    Rootless,
}

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

/// Podman with storage of its own, and programs on the host under the same user.
struct Engine {
    who: Who,
    dir: PathBuf,
    /// a user made for this test
    user: Option<String>,
}

impl Engine {
    fn new(who: Who) -> Result<Engine, Skip> {
        let is_root = rustix::process::geteuid().is_root();
        if who != Who::Rootless && !is_root {
            return Err(Skip::optional("needs root"));
        }
        // Short: podman and its helpers have sockets in it.
        let dir = PathBuf::from(format!("/tmp/uv-{}-{}", std::process::id(), who as u8));
        std::fs::create_dir_all(&dir).expect("/tmp can be written");
        set_mode(&dir, 0o755);
        let user = (who == Who::Rootless && is_root).then(|| format!("uvt{}", std::process::id()));
        if let Some(user) = &user {
            let made = Command::new("useradd").args(["-M", user]).output();
            if !made.as_ref().is_ok_and(|o| o.status.success()) {
                return Err(Skip::optional(format!("cannot make a user: {made:?}")));
            }
        }
        let engine = Engine { who, dir, user };
        for name in ["home", "run"] {
            engine.make_dir(name, 0o700);
        }
        engine.load_image()?;
        Ok(engine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A directory of the user that programs on the host run as.
    fn make_dir(&self, name: &str, mode: u32) {
        let path = self.path(name);
        std::fs::create_dir(&path).expect("the directory is ours");
        set_mode(&path, mode);
        if let Some(owner) = self.host_user() {
            let status = Command::new("chown").arg(owner).arg(&path).status();
            assert!(status.is_ok_and(|s| s.success()), "chown");
        }
    }

    /// Whom a daemon on the host belongs to; `None`: to whoever runs the test.
    fn host_user(&self) -> Option<String> {
        match self.who {
            Who::Root => None,
            Who::User1000 => Some("1000".into()),
            Who::Rootless => self.user.clone(),
        }
    }

    /// `words` on the host as `user`.
    fn on_host(&self, user: Option<&str>, words: &[&str]) -> Command {
        let mut command = match user {
            None => Command::new("env"),
            Some(user) => {
                let mut command = Command::new("setpriv");
                let group = if user == "1000" { "1000" } else { user };
                command.args(["--reuid", user, "--regid", group, "--clear-groups", "env"]);
                command
            }
        };
        command
            .arg(format!("HOME={}", self.path("home").display()))
            .arg(format!("XDG_RUNTIME_DIR={}", self.path("run").display()))
            .args(words)
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        command
    }

    fn podman(&self, words: &[&str]) -> Command {
        self.on_host(
            self.user.as_deref(),
            &[
                &["podman", "--runtime", "runc"][..],
                &self.storage()[..]
                    .iter()
                    .map(String::as_str)
                    .collect::<Vec<_>>(),
                words,
            ]
            .concat(),
        )
    }

    fn storage(&self) -> Vec<String> {
        let dir = self.path("home");
        vec![
            format!("--root={}", dir.join("storage").display()),
            format!("--runroot={}", self.path("run").join("c").display()),
        ]
    }

    fn must(&self, mut command: Command) -> Result<Output, Skip> {
        let output = command
            .output()
            .map_err(|e| Skip::optional(format!("no podman: {e}")))?;
        if output.status.success() {
            return Ok(output);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().next_back().unwrap_or("no reason given");
        Err(Skip::optional(format!("podman does not work here: {last}")))
    }

    /// The image: uvale's two files, the test program and what the loader needs for them.
    fn load_image(&self) -> Result<(), Skip> {
        let across = program("namespaces/across")?;
        let binaries = target::binaries();
        let root = self.path("image");
        for dir in ["bin", "proc", "dev", "sys", "tmp", "etc"] {
            std::fs::create_dir_all(root.join(dir)).expect("the directory is ours");
        }
        for (from, name) in [
            (&binaries.uvale, "uvale"),
            (&binaries.shim, "libnmshim.so"),
            (&across, "across"),
        ] {
            std::fs::copy(from, root.join("bin").join(name)).expect("files can be copied");
            let ldd = Command::new("ldd").arg(from).output();
            let libraries = ldd.map_err(|e| Skip::optional(format!("no ldd: {e}")))?;
            for library in libraries_of(&String::from_utf8_lossy(&libraries.stdout)) {
                let to = root.join(library.strip_prefix("/").unwrap_or(&library));
                std::fs::create_dir_all(to.parent().unwrap_or(&root)).expect("ours");
                std::fs::copy(&library, to).expect("libraries can be copied");
            }
        }
        let tar = self.path("image.tar");
        let mut command = Command::new("tar");
        command.arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".");
        self.must(command)?;
        set_mode(&tar, 0o644);
        self.must(self.podman(&["import", "-q", &tar.to_string_lossy(), IMAGE]))?;
        // Can it run containers at all?
        self.must(self.run(&[], &["/bin/uvale", "--version"]))
            .map(drop)
    }

    /// `podman run`.
    fn run(&self, options: &[&str], words: &[&str]) -> Command {
        let user: &[&str] = match self.who {
            Who::User1000 => &["--user", "1000:1000"],
            _ => &[],
        };
        let fixed = [
            "run",
            "--rm",
            "--network=none",
            "--ulimit=nofile=1024:1024",
            "--ulimit=nproc=1000:1000",
        ];
        self.podman(&[&fixed, user, options, &[IMAGE], words].concat())
    }

    /// One cell: packets pass, or the line that says why not.
    fn cell(&self, daemon: Daemon, options: &[&str]) -> Result<(), String> {
        let name = format!("w{daemon:?}{}", options.len());
        let volume = match (daemon, self.who) {
            // As Kubernetes makes an emptyDir: everybody can write to it.
            (Daemon::InSibling, Who::User1000) => {
                let path = self.path(&name);
                std::fs::create_dir(&path).map_err(|e| e.to_string())?;
                set_mode(&path, 0o777);
                path
            }
            (Daemon::InSibling, _) => PathBuf::from(&name),
            _ => {
                self.make_dir(&name, 0o700);
                self.path(&name)
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
        let host_world = self.path(&name).join("world");
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
                finish(Program::start("meet", self.run(options, &words)))?;
                // Without --private the first program's daemon lives in the container.
                finish(Program::start(
                    "meet",
                    self.run(&shared, &[&under[..], &["meet"]].concat()),
                ))
            }
            Daemon::OnHost => {
                let user = self.host_user();
                let uvale = self.path("image/bin/uvale");
                let uvale = uvale.to_string_lossy();
                let serve = [&*uvale, "daemon", "--dir", &host_world];
                let _daemon = ready(self.on_host(user.as_deref(), &serve), "listening at");
                let waiter = ready(
                    self.run(&shared, &[&under[..], &["wait", "vale0:w"]].concat()),
                    "ready",
                );
                let across = self.path("image/bin/across");
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
                let _sender = ready(self.on_host(user.as_deref(), &send), "ready");
                finish(waiter)
            }
            Daemon::InSibling => {
                let _daemon = ready(self.run(&shared, &["/bin/uvale", "daemon"]), "listening at");
                let waiter = ready(
                    self.run(&shared, &[&under[..], &["wait", "vale0:w"]].concat()),
                    "ready",
                );
                let send = self.run(&shared, &[&under[..], &["send", "vale0:s"]].concat());
                let _sender = ready(send, "ready");
                finish(waiter)
            }
            Daemon::OfAnotherUser => {
                // The directory is open to all, so that it is the daemon that says no.
                let other = match self.who {
                    Who::Root => Some("1000"),
                    _ => None,
                };
                set_mode(&self.path(&name), 0o777);
                let uvale = self.path("image/bin/uvale");
                let serve = [&*uvale.to_string_lossy(), "daemon", "--dir", &host_world];
                let _daemon = ready(self.on_host(other, &serve), "listening at");
                set_mode(Path::new(&*host_world), 0o755);
                set_mode(&self.path(&name).join("world/uvale.sock"), 0o666);
                finish(Program::start(
                    "meet",
                    self.run(&shared, &[&under[..], &["meet"]].concat()),
                ))
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let quiet = |mut command: Command| {
            let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        };
        quiet(self.podman(&["rm", "--force", "--all", "--time=0"]));
        quiet(self.podman(&["volume", "rm", "--force", "--all"]));
        quiet(self.podman(&["rmi", "--force", "--all"]));
        if self.who == Who::Rootless {
            // Its files belong to users that only exist in its namespace.
            let storage = self.path("home/storage");
            quiet(self.on_host(
                self.user.as_deref(),
                &["podman", "unshare", "rm", "-rf", &storage.to_string_lossy()],
            ));
            // ends the process that keeps the namespace
            quiet(self.podman(&["system", "migrate"]));
        }
        if let Some(user) = &self.user {
            let mut command = Command::new("userdel");
            command.arg(user);
            quiet(command);
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Did it do what it was started for? Else the line that says why not.
fn finish(mut program: Program) -> Result<(), String> {
    let status = program.wait();
    let said = program.said();
    if status.success() && said.ends_with("done\n") {
        return Ok(());
    }
    let why = said
        .lines()
        .find(|l| l.contains("nmshim:") || l.contains("uvale:"));
    Err(why.map_or(said.clone(), str::to_owned))
}

/// The files behind the names in ldd's answer.
fn libraries_of(ldd: &str) -> Vec<PathBuf> {
    let words = ldd.lines().filter_map(|line| {
        let line = line.split_once("=> ").map_or(line, |(_, path)| path);
        line.split_whitespace().next()
    });
    words
        .filter(|w| w.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

#[test]
fn the_matrix() {
    let first = Command::new("podman").arg("--version").output();
    or_skip!(
        "containers",
        first.map_err(|e| Skip::optional(format!("no podman: {e}")))
    );
    let mut wrong = Vec::new();
    for who in [Who::Root, Who::User1000, Who::Rootless] {
        let engine = match Engine::new(who) {
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
                    && engine.who == Who::Rootless
                    && engine.user.is_none()
                {
                    continue; // only root can be two users
                }
                let outcome = engine.cell(daemon, options);
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

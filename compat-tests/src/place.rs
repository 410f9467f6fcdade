//! A world whose daemon a test may stop and kill, programs in it, and questions to the daemon.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use uvale_link::proto::Report;
use uvale_link::report::{Daemon, Port};
use uvale_link::session::Session;
use uvale_system::refusal::Refusal;

use crate::target;
use crate::wait::{deadline, until, wait_for};
use crate::world::Program;

/// A runtime directory, and the daemon in it if there is one.
pub struct Place {
    dir: PathBuf,
    daemon: Option<Child>,
}

impl Place {
    /// A fresh directory without a daemon.
    pub fn empty() -> Place {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("uvale-robust-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).expect("the temporary folder can be written");
        set_mode(&dir, 0o700);
        Place { dir, daemon: None }
    }

    /// That directory, made fresh, without a daemon.
    pub fn at(dir: &Path) -> Place {
        std::fs::create_dir_all(dir).expect("the temporary folder can be written");
        set_mode(dir, 0o700);
        Place {
            dir: dir.to_owned(),
            daemon: None,
        }
    }

    /// A fresh directory with a daemon.
    pub fn new() -> Place {
        Place::with(&[])
    }

    /// A fresh directory with a daemon that is given `args`.
    pub fn with(args: &[&str]) -> Place {
        let mut place = Place::empty();
        place.start_daemon(args);
        place
    }

    /// Starts the directory's daemon.
    pub fn start_daemon(&mut self, args: &[&str]) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the log can be written");
        let mut command = Command::new(&target::binaries().uvale);
        command.args(["daemon", "--dir"]).arg(&self.dir).args(args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.daemon = Some(command.spawn().expect("the daemon starts"));
        wait_for("the daemon to listen", || self.attach().is_ok());
    }

    /// The daemon that this test started.
    pub fn daemon_pid(&self) -> u32 {
        self.daemon.as_ref().expect("a daemon was started").id()
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("uvale.sock")
    }

    /// A path for a file of the test.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("test-daemon.log")
    }

    /// What the daemon that this test started has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Signals the daemon.
    pub fn signal_daemon(&mut self, signal: Signal) {
        let daemon = self.daemon.as_mut().expect("a daemon was started");
        kill_process(Pid::from_child(daemon), signal).expect("a child of ours can be signalled");
        if signal == Signal::KILL {
            daemon.wait().expect("a child of ours can be waited for");
            self.daemon = None;
        }
    }

    /// Has the daemon that this test started ended by itself? Its status then.
    pub fn daemon_ended(&mut self) -> Option<std::process::ExitStatus> {
        let daemon = self.daemon.as_mut()?;
        daemon
            .try_wait()
            .expect("a child of ours can be waited for")
    }

    /// A session of this process.
    ///
    /// # Errors
    /// What a program is told that cannot attach.
    pub fn attach(&self) -> Result<Session, Refusal> {
        Session::attach(&self.dir)
    }

    fn ask(&self, what: Report) -> Vec<u8> {
        let session = self
            .attach()
            .unwrap_or_else(|e| panic!("the daemon does not answer: {e}\n{}", self.log()));
        session.report(what).expect("the daemon reports")
    }

    /// All ports.
    pub fn ports(&self) -> Vec<Port> {
        serde_json::from_slice(&self.ask(Report::Ports)).expect("ports as documented")
    }

    /// The port of that name.
    pub fn port(&self, name: &str) -> Option<Port> {
        self.ports().into_iter().find(|p| p.name == name)
    }

    /// Buffers in use in the memory of the port `name`.
    ///
    /// # Panics
    /// If there is no such port, or its memory is not reported.
    pub fn buffers_in_use(&self, name: &str) -> u32 {
        let port = self.port(name).expect("the port is open");
        let status = self.status();
        let memory = status.memories.iter().find(|m| m.mem_id == port.mem_id);
        memory.expect("its memory exists").used[2]
    }

    /// What the daemon says of itself.
    pub fn status(&self) -> Daemon {
        serde_json::from_slice(&self.ask(Report::Daemon)).expect("a status as documented")
    }

    /// `program ARGS...` under the shim in this world, not started yet.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("LD_PRELOAD", &target::binaries().shim)
            .env("UVALE_DIR", &self.dir)
            .env("UVALE_PROGRAM", &target::binaries().uvale)
            .env_remove("UVALE_AUTOSTART")
            .env_remove("XDG_RUNTIME_DIR")
            .stdin(Stdio::null());
        command
    }

    /// Starts `program ARGS...` under the shim in this world.
    pub fn spawn(&self, program: &Path, args: &[&str]) -> Program {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let mut command = self.command(program);
        command.args(args);
        Program::start(&format!("{name} {}", args.join(" ")), command)
    }

    /// Starts `program ARGS...` and waits until it has said "ready".
    pub fn spawn_ready(&self, program: &Path, args: &[&str]) -> Program {
        let program = self.spawn(program, args);
        program.wait_line("ready", |l| l.starts_with("ready"));
        program
    }

    /// Runs `program ARGS...` to its successful end and gives what it printed.
    pub fn run(&self, program: &Path, args: &[&str]) -> String {
        self.spawn(program, args).wait_success()
    }

    /// Waits until nothing is left of any program: no port, no descriptor, all memory free.
    pub fn assert_left_clean(&self) {
        self.assert_nothing_left();
        let log = self.log();
        for trace in ["is in two slots", "free as well", "in no slot"] {
            assert!(!log.contains(trace), "the daemon logged {trace}:\n{log}");
        }
    }

    /// The same where programs wrote nonsense, of which the daemon may speak.
    pub fn assert_nothing_left(&self) {
        let clean = || {
            let status = self.status();
            let memory_free = status.memories.iter().all(|m| m.users == 0);
            let alone = status.memories.len() == 1 && status.descriptors == 0;
            (self.ports().is_empty() && memory_free && alone).then_some(())
        };
        if until(deadline(), clean).is_none() {
            panic!(
                "something is left: {:#?} {:#?}\n{}",
                self.ports(),
                self.status(),
                self.log()
            );
        }
        let log = self.log();
        assert!(!log.contains("panicked"), "the daemon panicked:\n{log}");
    }
}

impl Default for Place {
    fn default() -> Self {
        Place::new()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        } else if let Some(pid) = self.pid_of_started_daemon() {
            let _ = kill_process(pid, Signal::KILL);
        }
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Place {
    /// The daemon that a program has started.
    pub fn pid_of_started_daemon(&self) -> Option<Pid> {
        let session = self.attach().ok()?;
        let text = session.report(Report::Daemon).ok()?;
        let daemon: Daemon = serde_json::from_slice(&text).ok()?;
        Pid::from_raw(daemon.pid)
    }
}

/// Sets the mode of a file of the test.
pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .expect("the mode of a file of ours can be set");
}

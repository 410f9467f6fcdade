//! A private world, and programs started in it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::apps::App;
use crate::target;
use crate::wait;

/// Names the runtime directory of a world to programs started with `uvale run`.
const ENV_DIR: &str = "UVALE_DIR";

/// What the end of a killed process may take.
const KILL_TAKES: std::time::Duration = std::time::Duration::from_secs(10);

/// Lines of output that a failure shows of the beginning and of the end.
const SHOWN: usize = 40;

/// A world of its own, made by `uvale run --private`: gone when this value is dropped.
///
/// A command that only waits for the end of its standard input keeps it alive; programs join it by
/// the runtime directory that this command sees.
pub struct World {
    keeper: Program,
    runtime: PathBuf,
    files: PathBuf,
}

impl World {
    /// Makes a world.
    ///
    /// # Panics
    /// If `uvale run --private` does not work.
    pub fn new() -> World {
        let files = scratch_dir();
        let mut command = Command::new(&target::binaries().uvale);
        let script = format!("echo \"${ENV_DIR}\"; exec cat");
        command.args(["run", "--private", "--", "sh", "-c", &script]);
        command.env_remove(ENV_DIR).stdin(Stdio::piped());
        let keeper = Program::start("uvale run --private", command);
        let runtime = keeper.wait_line("the private world's directory", |line| !line.is_empty());
        World {
            keeper,
            runtime: runtime.into(),
            files,
        }
    }

    /// A path for a file of this world's tests.
    pub fn file(&self, name: &str) -> PathBuf {
        self.files.join(name)
    }

    /// The world's runtime directory.
    pub fn runtime_dir(&self) -> &Path {
        &self.runtime
    }

    /// `uvale ARGS...` in this world, not started yet.
    pub fn uvale(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&target::binaries().uvale);
        command
            .args(args)
            .env(ENV_DIR, &self.runtime)
            .stdin(Stdio::null());
        command
    }

    /// Starts `uvale run -- app ARGS...`.
    pub fn spawn(&self, app: &App, args: &[&str]) -> Program {
        self.spawn_in(&self.files, app, args)
    }

    /// [`World::spawn`] in the folder `dir`.
    pub fn spawn_in(&self, dir: &Path, app: &App, args: &[&str]) -> Program {
        let mut command = self.uvale(&["run", "--"]);
        command.arg(&app.path).args(args).current_dir(dir);
        match &app.libraries {
            Some(dir) => command.env("LD_LIBRARY_PATH", dir),
            None => command.env_remove("LD_LIBRARY_PATH"),
        };
        let name = app
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Program::start(&format!("{name} {}", args.join(" ")), command)
    }

    /// Starts the generator, `uvale gen ARGS...`, under the shim like any program.
    pub fn generator(&self, args: &[&str]) -> Program {
        let app = App {
            path: target::binaries().uvale.clone(),
            libraries: None,
        };
        self.spawn(&app, &[&["gen"], args].concat())
    }

    /// Sends `frames` to `port` and waits until the generator is done.
    ///
    /// # Panics
    /// If the generator fails.
    pub fn send(&self, port: &str, frames: &[crate::capture::Frame]) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let path = self.file(&format!(
            "send-{}.pcap",
            NUMBER.fetch_add(1, Ordering::Relaxed)
        ));
        crate::capture::write(&path, frames);
        self.generator(&["-i", port, "-f", "tx", "--pcap", &path.to_string_lossy()])
            .wait_success();
    }
}

impl Default for World {
    fn default() -> Self {
        World::new()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // end of input: the keeper leaves, and `uvale run --private` takes the world down
        self.keeper.close_input();
        let status = self.keeper.try_wait();
        let _ = std::fs::remove_dir_all(&self.files);
        if !std::thread::panicking() {
            assert!(
                status.is_some_and(|s| s.success()),
                "the private world did not end well: {}",
                self.keeper.said()
            );
            assert!(
                !self.runtime.exists(),
                "{} outlived its private world",
                self.runtime.display()
            );
        }
    }
}

/// A folder of our own, with a short name: sockets may lie in it.
fn scratch_dir() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("uvale-compat-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("the temporary folder can be written");
    dir
}

/// A started program. Its output is collected; dropped while it runs, it is killed.
pub struct Program {
    name: String,
    child: Child,
    output: Arc<Mutex<Output>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Output {
    /// Standard output and error in whole lines, as they were read: which of the two came first is not certain.
    lines: Vec<String>,
    /// Standard output alone.
    out: Vec<u8>,
}

impl Program {
    /// Starts `command` in a process group of its own.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn start(name: &str, mut command: Command) -> Program {
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        let output = Arc::<Mutex<Output>>::default();
        let stdout = child.stdout.take().expect("it was asked for");
        let stderr = child.stderr.take().expect("it was asked for");
        let readers = vec![
            collect(stdout, output.clone(), true),
            collect(stderr, output.clone(), false),
        ];
        Program {
            name: name.into(),
            child,
            output,
            readers,
        }
    }

    /// What it has printed so far, for a failure's message: the beginning and the end if it is long. What it said last
    /// may be followed by a line of the other output; [`Program::stdout`] has an order.
    pub fn said(&self) -> String {
        let output = self.lock();
        let lines = &output.lines;
        let (head, tail) = (
            lines.len().min(SHOWN),
            lines.len().saturating_sub(SHOWN).max(SHOWN),
        );
        let left_out = match tail.saturating_sub(head).min(lines.len() - head) {
            0 => String::new(),
            n => format!("... {n} lines ...\n"),
        };
        let end = lines.get(tail..).unwrap_or_default().concat();
        format!("{}:\n{}{left_out}{end}", self.name, lines[..head].concat())
    }

    /// Everything it has printed but for the first `lines` lines, in the order of [`Program::said`].
    pub fn said_since(&self, lines: usize) -> String {
        self.lock().lines.get(lines..).unwrap_or_default().concat()
    }

    /// How many lines it has printed.
    pub fn lines(&self) -> usize {
        self.lock().lines.len()
    }

    /// Standard output so far.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.lock().out).into_owned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Output> {
        self.output
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Has it closed its output? What it printed is there then.
    pub fn has_closed(&self) -> bool {
        self.readers.iter().all(|r| r.is_finished())
    }

    /// Waits for a line of output that `accept`s, and gives it without its end.
    ///
    /// # Panics
    /// If the program ends first, or it never comes.
    pub fn wait_line(&self, what: &str, accept: impl Fn(&str) -> bool) -> String {
        let find = || {
            self.lock()
                .lines
                .iter()
                .map(|l| l.trim_end())
                .find(|l| accept(l))
                .map(String::from)
        };
        let line = wait::until(wait::deadline(), || {
            // ended: what was printed before is collected, look once more
            let ended = self.has_closed();
            find().map(Ok).or(ended.then_some(Err(())))
        });
        match line {
            Some(Ok(line)) => line,
            Some(Err(())) => panic!("ended before it said: {what}\n{}", self.said()),
            None => panic!(
                "did not say in {:?}: {what}\n{}",
                wait::deadline(),
                self.said()
            ),
        }
    }

    /// Waits for output that contains `text`.
    ///
    /// # Panics
    /// As [`Program::wait_line`].
    pub fn wait_text(&self, text: &str) {
        self.wait_line(text, |line| line.contains(text));
    }

    /// Sends a signal to `uvale run`, which is to pass it on.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap_or_else(|e| panic!("{}: {e}", self.said()));
    }

    /// Its process number.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Writes a line to its standard input, which is to be a pipe.
    ///
    /// # Panics
    /// If it does not read any more.
    pub fn tell(&mut self, line: &str) {
        self.write(&format!("{line}\n"));
    }

    /// Writes to its standard input, which is to be a pipe.
    ///
    /// # Panics
    /// If it does not read any more.
    pub fn write(&mut self, text: &str) {
        let input = self.child.stdin.as_mut().expect("its input is a pipe");
        let told = input.write_all(text.as_bytes());
        told.unwrap_or_else(|e| panic!("{e}: {}", self.said()));
    }

    /// Ends its standard input.
    pub fn close_input(&mut self) {
        drop(self.child.stdin.take());
    }

    fn try_wait(&mut self) -> Option<ExitStatus> {
        self.finish(wait::deadline())
    }

    /// Waits for its end; `None` if it is still there after `deadline`.
    pub fn finish(&mut self, deadline: std::time::Duration) -> Option<ExitStatus> {
        let child = &mut self.child;
        let status = wait::until(deadline, || {
            child.try_wait().expect("a child of ours can be waited for")
        })?;
        wait::until(wait::deadline(), || {
            self.readers.iter().all(|r| r.is_finished()).then_some(())
        });
        Some(status)
    }

    /// Waits for its end; `None` if it prints nothing for as long as `patience`.
    pub fn finish_while_it_prints(&mut self, patience: std::time::Duration) -> Option<ExitStatus> {
        loop {
            let lines = self.lines();
            let ended = wait::until(patience, || {
                let ended = self.has_ended();
                (ended || self.lines() != lines).then_some(ended)
            })?;
            if ended {
                return self.finish(patience);
            }
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end.
    pub fn wait(&mut self) -> ExitStatus {
        let status = self.try_wait();
        status.unwrap_or_else(|| panic!("did not end in {:?}: {}", wait::deadline(), self.said()))
    }

    /// Waits for its end, and gives its standard output.
    ///
    /// # Panics
    /// If it does not end, or with another status than 0.
    pub fn wait_success(mut self) -> String {
        let status = self.wait();
        let how = status
            .signal()
            .map_or_else(|| format!("{:?}", status.code()), |s| format!("signal {s}"));
        assert!(status.success(), "ended with {how}: {}", self.said());
        self.stdout()
    }

    /// Has it ended?
    pub fn has_ended(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("a child of ours can be waited for")
            .is_some()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.has_ended() {
            // its whole group: `uvale run` may have children
            let _ = kill_process_group(self.pid(), Signal::KILL);
            // One that is stuck in the kernel does not even end so; whoever waited for it would be stuck too.
            wait::until(KILL_TAKES, || self.has_ended().then_some(()));
        }
    }
}

fn collect(
    from: impl Read + Send + 'static,
    into: Arc<Mutex<Output>>,
    is_stdout: bool,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let mut output = into.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            output
                .lines
                .push(String::from_utf8_lossy(&line).into_owned());
            if is_stdout {
                output.out.append(&mut line);
            }
            line.clear();
        }
    })
}

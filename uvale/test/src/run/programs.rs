//! The programs of a run.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use uvale_tools::reach::Reach;

use super::output::{self, plain, tail};
use super::why::{Done, error, failed};

/// Makes a command ready: it will find the device in that way, and end with this process. Else a sentence says why it
/// cannot.
pub type Prepare<'a> = dyn Fn(&mut Command, Reach) -> Result<Prepared, String> + 'a;

/// A command that is ready.
#[derive(Default)]
pub struct Prepared {
    /// what may keep the program from the device
    pub obstacle: Option<String>,
    /// to be called when it has been started, or could not be
    pub started: Option<Box<dyn FnOnce()>>,
}

/// The pause between two looks at how much a program has printed.
const LOOK: Duration = Duration::from_millis(10);
/// What a shell says of SIGTERM.
const OF_SIGTERM: i32 = 128 + Signal::TERM.as_raw();

/// The pause between two looks at a program that is to end.
const PAUSE: Duration = Duration::from_millis(2);

/// A program to be started.
pub struct Launch<'l> {
    /// what people call it: `program bridge`
    pub shown: String,
    /// what its files are called
    pub file: &'l str,
    pub command: Command,
    /// how it must end by itself; none: it has to run until it is stopped
    pub status: Option<i32>,
    /// how it finds the device
    pub reach: Reach,
    /// it opens ports, so people want to know what keeps it from the device
    pub opens_ports: bool,
}

/// A program that was started.
pub struct Program {
    /// what people call it
    pub shown: String,
    /// how it must end by itself; none: it has to run until it is stopped
    status: Option<i32>,
    child: Child,
    ended: Option<ExitStatus>,
    /// when it was seen how much it has printed
    seen: Instant,
    files: [PathBuf; 2],
    /// what may keep it from the device
    obstacle: Option<String>,
}

impl Program {
    /// Starts it in a process group of its own, with its output in `FILE.stdout` and `FILE.stderr` of `keep`.
    pub fn start(launch: Launch<'_>, keep: &Path, prepare: &Prepare<'_>) -> Done<Self> {
        let Launch {
            shown,
            file,
            mut command,
            status,
            reach,
            opens_ports,
        } = launch;
        let files = ["stdout", "stderr"].map(|kind| keep.join(format!("{}.{kind}", plain(file))));
        let open = |path: &Path| {
            File::create(path).map_err(|e| {
                error(format!(
                    "cannot write {}: {}",
                    path.display(),
                    uvale_tools::output::plain(&e)
                ))
            })
        };
        command
            .stdin(Stdio::null())
            .stdout(open(&files[0])?)
            .stderr(open(&files[1])?)
            .process_group(0);
        let prepared = prepare(&mut command, reach);
        let Prepared { obstacle, started } =
            prepared.map_err(|why| error(format!("{shown}: {why}")))?;
        let obstacle = obstacle.filter(|_| opens_ports);
        if let Some(why) = &obstacle {
            uvale_tools::output::line(format_args!("uvale: {shown}: {why}"));
        }
        let child = command.spawn();
        if let Some(started) = started {
            started();
        }
        let child = child.map_err(|e| {
            let program = command.get_program().to_string_lossy().into_owned();
            let why = uvale_tools::output::plain(&e);
            error(format!("cannot run {program}: {why}"))
        })?;
        Ok(Self {
            shown,
            status,
            child,
            ended: None,
            seen: Instant::now(),
            files,
            obstacle,
        })
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// How many descriptors it and the processes of its group have of `device`. Each one of `/dev/netmap` is a port,
    /// once it is bound; that is all that a kernel shows.
    pub fn devices(&self, device: &str) -> usize {
        let group = self.child.id() as i32;
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        // rustix panics at the group of kernel threads, which is 0.
        let own = pids.filter(|pid| {
            let of = nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(*pid)));
            of.is_ok_and(|of| of.as_raw() == group)
        });
        let count = |pid: i32| {
            let fds = std::fs::read_dir(format!("/proc/{pid}/fd"));
            let links = fds
                .into_iter()
                .flatten()
                .flatten()
                .map(|fd| std::fs::read_link(fd.path()));
            links
                .filter(|to| to.as_ref().is_ok_and(|to| to == Path::new(device)))
                .count()
        };
        own.map(count).sum()
    }

    /// Has it ended as it must?
    pub fn is_done(&mut self) -> bool {
        let status = self.status;
        self.ended()
            .is_some_and(|ended| status.is_some() && ended.code() == status)
    }

    /// Must it end by itself, and has not?
    pub fn is_to_end(&mut self) -> bool {
        self.status.is_some() && self.ended().is_none()
    }

    /// Complains if it has ended in another way than it must.
    pub fn check(&mut self, line: Option<usize>) -> Done {
        let Some(ended) = self.ended() else {
            return match self.prints_too_much() {
                false => Ok(()),
                true => Err(failed(
                    line,
                    format!("{} {}{}", self.shown, output::too_much(), self.said()),
                )),
            };
        };
        let expected = match self.status {
            Some(status) if ended.code() == Some(status) => return Ok(()),
            Some(status) => format!(", not with exit status {status}"),
            None => " before the case did".to_owned(),
        };
        let shown = &self.shown;
        let said = self.said();
        Err(failed(
            line,
            format!("{shown} ended with {}{expected}{said}", how(ended)),
        ))
    }

    /// What it said last, for the end of a failure's message.
    pub fn said(&self) -> String {
        let obstacle = self.obstacle.as_ref();
        let mut text = obstacle.map_or(String::new(), |why| format!("\n{why}"));
        let [out, err] = &self.files;
        for (path, kind) in [(err, "stderr"), (out, "stdout")] {
            if let Some(lines) = tail(path) {
                text += &format!("\nthe end of its {kind}:\n{lines}");
                break;
            }
        }
        text
    }

    /// Where it prints.
    pub fn files(&self) -> &[PathBuf; 2] {
        &self.files
    }

    /// Has it printed more than is kept? That is seen now and then.
    fn prints_too_much(&mut self) -> bool {
        if self.seen.elapsed() < LOOK {
            return false;
        }
        self.seen = Instant::now();
        self.files.iter().any(|path| output::is_too_much(path))
    }

    /// Has it ended by SIGTERM, as shells say that, or with status 0?
    fn has_obeyed(&self) -> Done {
        const TERM: i32 = Signal::TERM.as_raw();
        match self.ended {
            Some(ended) if matches!(ended.code(), Some(0 | OF_SIGTERM)) => Ok(()),
            Some(ended) if ended.signal().is_none_or(|signal| signal != TERM) => {
                let (shown, said) = (&self.shown, self.said());
                let how = how(ended);
                let why = format!("{shown}, told to end by SIGTERM, ended with {how}{said}");
                Err(failed(None, why))
            }
            _ => Ok(()),
        }
    }

    fn signal(&self, signal: Signal) {
        // While it is not waited for, its number is its own.
        if self.ended.is_none() {
            let _ = kill_process_group(Pid::from_child(&self.child), signal);
        }
    }
}

/// Ends those that run, the last one first: SIGTERM, and SIGKILL for those that have not ended after `patience`.
///
/// # Errors
/// One has ended before, has to be killed, or ends in another way than by SIGTERM or with status 0.
pub fn stop(programs: &mut [Program], patience: Duration) -> Done {
    let had_ended: Vec<bool> = programs.iter_mut().map(|p| p.ended().is_some()).collect();
    // The ports of a program may be watched by one that was started after it, which is to end before they are gone.
    let mut last = programs.len();
    let is_in_time = loop {
        let Some(next) = last.checked_sub(1) else {
            break true;
        };
        programs[next].signal(Signal::TERM);
        if !wait_for(&mut programs[next..], patience) {
            break false;
        }
        last = next;
    };
    if !is_in_time {
        programs.iter().for_each(|p| p.signal(Signal::TERM));
        wait_for(&mut programs[..last - 1], patience);
    }
    let has_ended: Vec<bool> = programs.iter_mut().map(|p| p.ended().is_some()).collect();
    programs.iter().for_each(|p| p.signal(Signal::KILL));
    let mut done = Ok(());
    for (i, program) in programs.iter_mut().enumerate() {
        if program.ended.is_none() {
            program.ended = program.child.wait().ok();
        }
        done = done.and(match (had_ended[i], has_ended[i]) {
            (true, _) => program.check(None),
            (false, true) => program.has_obeyed(),
            (false, false) => Err(failed(
                None,
                format!(
                    "{} has not ended within {patience:?} after SIGTERM, and was killed{}",
                    program.shown,
                    program.said()
                ),
            )),
        });
        program.files.iter().for_each(|path| output::cut(path));
    }
    done
}

/// Waits until these have ended; false if they have not within `patience`, or print more than they may.
fn wait_for(programs: &mut [Program], patience: Duration) -> bool {
    let end = Instant::now() + patience;
    while programs.iter_mut().any(|p| p.ended().is_none()) {
        if Instant::now() >= end || programs.iter_mut().any(Program::prints_too_much) {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
    true
}

/// How a program ended, in words.
fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => {
            let name = nix::sys::signal::Signal::try_from(signal);
            name.map_or(format!("signal {signal}"), |name| name.to_string())
        }
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Verdict;

    /// A folder that is gone afterwards.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("uvale-programs-{}-{name}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        fn start(&self, script: &str, status: Option<i32>) -> Program {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            let launch = Launch {
                shown: script.into(),
                file: script,
                command,
                status,
                reach: Reach::Auto,
                opens_ports: false,
            };
            Program::start(launch, &self.0, &|_, _| Ok(Prepared::default())).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn end(program: &mut Program) -> Done {
        program.ended = program.child.wait().ok();
        program.check(Some(7))
    }

    #[test]
    fn how_programs_must_end() {
        let scratch = Scratch::new("end");
        let start = |script, status| scratch.start(script, status);
        assert!(end(&mut start("exit 3", Some(3))).is_ok());
        let why = |end: Done| match end {
            Err(Verdict::Failed { why, .. }) => why,
            other => panic!("{other:?}"),
        };
        let said = why(end(&mut start("echo a >&2; echo b >&2; exit 3", None)));
        assert!(said.contains("exit status 3 before the case did"), "{said}");
        assert!(said.ends_with("stderr:\n  a\n  b"), "{said}");
        let said = why(end(&mut start("kill -9 $$", Some(0))));
        assert!(said.contains("SIGKILL, not with exit status 0"), "{said}");
    }

    #[test]
    fn what_runs_is_stopped() {
        let scratch = Scratch::new("stop");
        let start = |script, status| scratch.start(script, status);
        let deaf = "trap '' TERM; echo x; while :; do sleep 60; done";
        let mut all = [start("exec sleep 60", None), start(deaf, None)];
        let pids = all.each_ref().map(|p| Pid::from_child(&p.child));
        while tail(&all[1].files[0]).is_none() {
            std::thread::sleep(PAUSE);
        }
        assert!(stop(&mut all, Duration::from_millis(200)).is_err());
        for pid in pids {
            // Those that were killed wait for their new parent, which is this process if another test has made it so.
            while rustix::process::test_kill_process_group(pid).is_ok() {
                let _ = rustix::process::waitpgid(pid, rustix::process::WaitOptions::NOHANG);
                std::thread::sleep(PAUSE);
            }
        }
        let mut crash = [start(
            "trap 'kill -SEGV $$' TERM; echo x; sleep 60 & wait",
            None,
        )];
        while tail(&crash[0].files[0]).is_none() {
            std::thread::sleep(PAUSE);
        }
        assert!(stop(&mut crash, Duration::from_secs(60)).is_err());
    }

    #[test]
    fn the_last_to_start_is_the_first_to_be_stopped() {
        let scratch = Scratch::new("order");
        let told = scratch.0.join("told");
        let told = told.display();
        let first = format!("trap 'touch {told}; exit 0' TERM; echo x; sleep 60 & wait");
        // What it watches is there until it has ended.
        let second =
            format!("trap 'sleep 0.3; test ! -e {told}; exit' TERM; echo x; sleep 60 & wait");
        let mut both = [("first", first), ("second", second)].map(|(file, script)| {
            let mut command = Command::new("sh");
            command.args(["-c", &script]);
            let launch = Launch {
                shown: file.into(),
                file,
                command,
                status: None,
                reach: Reach::Auto,
                opens_ports: false,
            };
            Program::start(launch, &scratch.0, &|_, _| Ok(Prepared::default())).unwrap()
        });
        while both.iter().any(|p| tail(&p.files[0]).is_none()) {
            std::thread::sleep(PAUSE);
        }
        stop(&mut both, Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn descriptors_of_a_device() {
        let scratch = Scratch::new("devices");
        let mut program = [scratch.start("exec sleep 60 </dev/full 5</dev/full 6</dev/zero", None)];
        while program[0].devices("/dev/full") != 2 {
            std::thread::sleep(PAUSE);
        }
        stop(&mut program, Duration::from_secs(60)).unwrap();
    }
}

//! One child: given its input, read, waited for, stopped if it takes too long or is not wanted any more.

use std::io::{ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::stop::{Halt, Stop};
use uvale_tools::output::plain;

/// What is run.
pub struct Job {
    pub command: Command,
    /// written to its standard input
    pub input: Vec<u8>,
    /// how long it may take; without one, as long as it likes
    pub limit: Option<Duration>,
}

/// How it went.
pub struct Ended {
    pub how: How,
    /// its standard output
    pub out: Vec<u8>,
    /// the last of its standard error
    pub err: String,
    pub took: Duration,
}

impl Ended {
    /// It could not be started.
    pub fn not_started(why: String) -> Self {
        Ended {
            how: How::NotStarted(why),
            out: Vec::new(),
            err: String::new(),
            took: Duration::ZERO,
        }
    }
}

/// How a child ended.
pub enum How {
    /// by itself
    Exited(ExitStatus),
    /// it could not be started: why
    NotStarted(String),
    /// it was ended because it took longer than this
    TooLong(Duration),
    /// it was ended because a person wants that
    Stopped,
}

/// Output that is kept: more is no answer of ours.
const MOST_OUT: usize = 16 << 20;
/// Of what it says, the last so many bytes are kept.
const MOST_ERR: usize = 64 << 10;
/// What a child may take to clean up when it is asked to end.
const GRACE: Duration = Duration::from_secs(10);

/// Runs the job to its end.
pub fn run(mut job: Job, stop: &Stop) -> Ended {
    let began = Instant::now();
    let ended = |how, out, err: Vec<u8>| Ended {
        how,
        out,
        err: String::from_utf8_lossy(&err).into_owned(),
        took: began.elapsed(),
    };
    let program = job.command.get_program().to_string_lossy().into_owned();
    let not =
        |error: &std::io::Error| How::NotStarted(format!("cannot run {program}: {}", plain(error)));
    // a ^C at the terminal is for this process, which then ends them
    job.command.process_group(0);
    job.command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = match stop.children.start(&mut job.command) {
        Ok(child) => child,
        Err(error) => return ended(not(&error), Vec::new(), Vec::new()),
    };
    let mut watched = match Watched::new(child, job.input) {
        Ok(watched) => watched,
        Err((mut child, error)) => {
            let _ = child.kill();
            let _ = child.wait();
            stop.children.ended(child.id());
            return ended(not(&error), Vec::new(), Vec::new());
        }
    };
    let limit = job.limit.map(|limit| began + limit);
    let mut how = None;
    if !watched.wait(limit, Some(stop.first())) {
        how = Some(match (stop.has_come(), job.limit) {
            (false, Some(limit)) => How::TooLong(limit),
            _ => How::Stopped,
        });
        watched.signal(Signal::TERM);
        if !watched.wait(Some(Instant::now() + GRACE), Some(stop.second())) {
            watched.signal(Signal::KILL);
            watched.wait(None, None);
        }
    }
    // what it has left behind in its group, whose number is nobody else's before it is waited for
    watched.signal(Signal::KILL);
    let status = watched.child.wait();
    stop.children.ended(watched.child.id());
    let how = how.unwrap_or_else(|| match status {
        Ok(status) => How::Exited(status),
        Err(error) => How::NotStarted(plain(&error)),
    });
    ended(how, watched.out.kept, watched.err.kept)
}

struct Watched {
    child: Child,
    is_over: OwnedFd,
    input: Vec<u8>,
    written: usize,
    out: Heard,
    err: Heard,
}

/// A pipe that is read, until its end.
struct Heard {
    pipe: Option<OwnedFd>,
    kept: Vec<u8>,
}

impl Watched {
    fn new(mut child: Child, input: Vec<u8>) -> Result<Self, (Child, std::io::Error)> {
        match Self::prepare(&mut child) {
            Ok((is_over, out, err)) => Ok(Watched {
                child,
                is_over,
                input,
                written: 0,
                out,
                err,
            }),
            Err(error) => Err((child, error)),
        }
    }

    fn prepare(child: &mut Child) -> std::io::Result<(OwnedFd, Heard, Heard)> {
        let pid = Pid::from_child(child);
        let is_over = pidfd_open(pid, PidfdFlags::empty())?;
        if let Some(input) = &child.stdin {
            fcntl_setfl(input, OFlags::NONBLOCK)?;
        }
        let heard = |pipe: Option<OwnedFd>| -> std::io::Result<Heard> {
            if let Some(pipe) = &pipe {
                fcntl_setfl(pipe, OFlags::NONBLOCK)?;
            }
            Ok(Heard {
                pipe,
                kept: Vec::new(),
            })
        };
        let out = heard(child.stdout.take().map(OwnedFd::from))?;
        let err = heard(child.stderr.take().map(OwnedFd::from))?;
        Ok((is_over, out, err))
    }

    /// Feeds and hears it until it has ended: true. False when it is late, or a person wants it to end.
    fn wait(&mut self, until: Option<Instant>, halt: Option<&Halt>) -> bool {
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let Ready { is_over, is_halted } = self.poll(left, halt);
            // what it said before it ended is in the pipes
            self.feed();
            self.out.hear(MOST_OUT, false);
            self.err.hear(MOST_ERR, true);
            if is_over {
                return true;
            }
            if is_halted || left.is_some_and(|left| left.is_zero()) {
                return false;
            }
        }
    }

    fn poll(&self, left: Option<Duration>, halt: Option<&Halt>) -> Ready {
        let mut fds = vec![PollFd::new(&self.is_over, PollFlags::IN)];
        let halt = halt.map(AsFd::as_fd);
        if let Some(halt) = &halt {
            fds.push(PollFd::new(halt, PollFlags::IN));
        }
        if let Some(input) = &self.child.stdin {
            fds.push(PollFd::new(input, PollFlags::OUT));
        }
        let pipes: Vec<BorrowedFd<'_>> = [&self.out, &self.err]
            .into_iter()
            .filter_map(|h| h.pipe.as_ref())
            .map(AsFd::as_fd)
            .collect();
        fds.extend(pipes.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        if poll(&mut fds, left.as_ref()).is_err() {
            // interrupted: asked again
            return Ready {
                is_over: false,
                is_halted: false,
            };
        }
        Ready {
            is_over: !fds[0].revents().is_empty(),
            is_halted: halt.is_some() && !fds[1].revents().is_empty(),
        }
    }

    /// Writes what is left of its input, as much as it takes now.
    fn feed(&mut self) {
        let Some(pipe) = &mut self.child.stdin else {
            return;
        };
        while self.written < self.input.len() {
            match pipe.write(&self.input[self.written..]) {
                Ok(n) if n > 0 => self.written += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // it does not want the rest
                _ => break,
            }
        }
        self.child.stdin = None;
        self.input = Vec::new();
        self.written = 0;
    }

    /// To the whole group that it leads.
    fn signal(&self, signal: Signal) {
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }
}

struct Ready {
    is_over: bool,
    is_halted: bool,
}

impl Heard {
    fn hear(&mut self, most: usize, is_tail: bool) {
        let Some(pipe) = &self.pipe else { return };
        let mut piece = [0; 16 << 10];
        // no more at a time than fits into a pipe: one that never stops is not listened to for ever
        for _ in 0..64 {
            match rustix::io::read(pipe, &mut piece) {
                Ok(n) if n > 0 => self.kept.extend_from_slice(&piece[..n]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                _ => {
                    self.pipe = None;
                    return;
                }
            }
            if self.kept.len() > most {
                match is_tail {
                    true => drop(self.kept.drain(..self.kept.len() - most)),
                    false => self.kept.truncate(most),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(script: &str, input: &[u8], limit: Option<Duration>) -> Ended {
        let stop = Stop::new().expect("signals can be noted");
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let input = input.to_vec();
        run(
            Job {
                command,
                input,
                limit,
            },
            &stop,
        )
    }

    #[test]
    fn a_child_is_fed_and_heard() {
        let long = vec![b'x'; 1 << 20];
        let fed = ended("tee /dev/stderr; exit 3", &long, None);
        assert!(matches!(fed.how, How::Exited(status) if status.code() == Some(3)));
        assert!(fed.out == long && fed.err.len() == MOST_ERR);
        // one that does not want its input
        let deaf = ended("exec <&-; echo deaf", &long, None);
        assert_eq!(
            (String::from_utf8_lossy(&deaf.out), deaf.err.as_str()),
            ("deaf\n".into(), "")
        );
        let mute = Job {
            command: Command::new("/nosuch/program"),
            input: Vec::new(),
            limit: None,
        };
        let ended = run(mute, &Stop::new().expect("signals can be noted"));
        assert!(
            matches!(ended.how, How::NotStarted(why) if why.starts_with("cannot run /nosuch/program: No such"))
        );
    }

    #[test]
    fn a_child_that_takes_too_long_is_ended_with_its_group() {
        let limit = Duration::from_millis(200);
        let script = "sleep 1000 & echo $!; trap 'echo asked; exit' TERM; while :; do wait; done";
        let hung = ended(script, b"", Some(limit));
        assert!(matches!(hung.how, How::TooLong(after) if after == limit));
        let said = String::from_utf8_lossy(&hung.out).into_owned();
        let mut lines = said.lines();
        let sleep = lines.next().expect("a number").to_owned();
        // a machine that is slow lets it not come to its trap
        assert!(matches!(lines.next(), None | Some("asked")), "{said}");
        // killed, it has no more than its end before it
        let end = Instant::now() + Duration::from_secs(60);
        let is_there = || {
            let stat = std::fs::read_to_string(format!("/proc/{sleep}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        while is_there() {
            assert!(Instant::now() < end, "{sleep} goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

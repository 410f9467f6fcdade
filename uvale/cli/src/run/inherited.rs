//! What this process was started with, for the program: Rust's runtime and this process's own work change some of it.

use std::io::Error;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::getpid;

use super::signals::Arrived;

/// SIGPIPE was ignored. The runtime ignores it, and has it do its default in whatever is executed.
static PIPE_IS_IGNORED: AtomicBool = AtomicBool::new(false);
/// Which of the descriptors 0, 1 and 2 were closed, a bit each. The runtime opens `/dev/null` there.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// How many descriptors it might have, and how many at most.
static FILES: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// The loader calls it before the runtime has begun.
#[used]
#[allow(unsafe_code)]
// SAFETY: the loader calls what stands in this section once, as a C function; arguments are nothing to it.
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = look;

extern "C" fn look() {
    PIPE_IS_IGNORED.store(is_ignored(libc::SIGPIPE), Relaxed);
    let closed = (0..3).filter(|fd| flags_of(*fd).is_none());
    CLOSED.store(closed.fold(0, |all, fd| all | 1 << fd), Relaxed);
    let files = files();
    FILES[0].store(files.rlim_cur, Relaxed);
    FILES[1].store(files.rlim_max, Relaxed);
}

#[allow(unsafe_code)]
fn files() -> libc::rlimit {
    // SAFETY: integers, for which zero is valid.
    let mut files: libc::rlimit = unsafe { zeroed() };
    // SAFETY: the kernel fills it in.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut files) };
    files
}

#[allow(unsafe_code)]
fn set_files(files: &libc::rlimit) {
    // SAFETY: the kernel reads it.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, files) };
}

/// This process may have as many descriptors as it can: it has several for each of a program's.
pub fn raise_files() {
    let mut files = files();
    files.rlim_cur = files.rlim_max;
    set_files(&files);
}

/// The program may have as many as this process might. To be given last: what comes before may need some itself.
#[allow(unsafe_code)]
pub fn give_files(command: &mut Command) {
    let files = libc::rlimit {
        rlim_cur: FILES[0].load(Relaxed),
        rlim_max: FILES[1].load(Relaxed),
    };
    let give = move || {
        set_files(&files);
        Ok(())
    };
    // SAFETY: a system call only.
    unsafe { command.pre_exec(give) };
}

#[allow(unsafe_code)]
fn is_ignored(signal: i32) -> bool {
    // SAFETY: integers and a pointer, for which zero is valid; the kernel fills it in.
    let mut action: libc::sigaction = unsafe { zeroed() };
    // SAFETY: nothing is set.
    let asked = unsafe { libc::sigaction(signal, null(), &mut action) };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// A descriptor's own flags; `None` if it is closed.
#[allow(unsafe_code)]
fn flags_of(fd: i32) -> Option<i32> {
    // SAFETY: it only asks.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    (flags != -1).then_some(flags)
}

/// The program finds SIGPIPE, and descriptors that were closed, as this process did.
#[allow(unsafe_code)]
pub fn give_start(command: &mut Command) {
    let (is_ignored, closed) = (PIPE_IS_IGNORED.load(Relaxed), CLOSED.load(Relaxed));
    let give = move || {
        if is_ignored {
            // SAFETY: no function becomes a handler; it is async-signal-safe.
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
        }
        for fd in (0..3).filter(|fd| closed >> fd & 1 != 0) {
            // SAFETY: what the runtime has opened, in a process that is about to be another program.
            unsafe { libc::close(fd) };
        }
        Ok(())
    };
    // SAFETY: system calls only.
    unsafe { command.pre_exec(give) };
}

/// The signal mask, what waits behind it, and what SIGCHLD did.
pub struct Signals {
    mask: SigSet,
    waiting: Vec<Arrived>,
    of_child: libc::sighandler_t,
}

impl Signals {
    /// From now on those of `set` wait to be taken from the queue, and children can be waited for: with SIGCHLD
    /// ignored, as inherited from some parents, they could not.
    ///
    /// # Errors
    /// A sentence.
    #[allow(unsafe_code)]
    pub fn take(set: SigSet) -> Result<Self, String> {
        // SAFETY: no function becomes a handler.
        let of_child = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
        let mask = set
            .thread_swap_mask(SigmaskHow::SIG_BLOCK)
            .map_err(|e| format!("cannot take signals: {e}"))?;
        let waiting = std::iter::from_fn(|| Arrived::waiting(&mask)).collect();
        Ok(Self {
            mask,
            waiting,
            of_child,
        })
    }

    /// The program gets them as this process did.
    #[allow(unsafe_code)]
    pub fn give(self, command: &mut Command) {
        let give = move || {
            // SAFETY: what it was before, and no handler: this process has none for it.
            unsafe { libc::signal(libc::SIGCHLD, self.of_child) };
            let program = getpid();
            self.waiting.iter().for_each(|signal| signal.send(program));
            self.mask.thread_set_mask().map_err(Error::from)
        };
        // SAFETY: system calls only.
        unsafe { command.pre_exec(give) };
    }
}

/// Gives the program the timers that were set before an exec (alarm(2), setitimer(2)): they ran on in this process.
#[allow(unsafe_code)]
pub fn give_timers(command: &mut Command) {
    let kinds = [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF];
    let timers = kinds.map(|kind| {
        // SAFETY: integers, for which zero is valid.
        let (none, mut timer): (libc::itimerval, libc::itimerval) = unsafe { (zeroed(), zeroed()) };
        // SAFETY: the kernel reads one, and fills the other in.
        unsafe { libc::setitimer(kind, &none, &mut timer) };
        (kind, timer)
    });
    let give = move || {
        for (kind, timer) in &timers {
            // SAFETY: the kernel reads it.
            unsafe { libc::setitimer(*kind, timer, null_mut()) };
        }
        Ok(())
    };
    // SAFETY: system calls only.
    unsafe { command.pre_exec(give) };
}

/// The program has been started: whoever waits for the end of what it reads or writes does not wait for this process.
/// Standard error stays.
#[allow(unsafe_code)]
pub fn let_go() {
    let fds = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    let numbers: Vec<i32> = fds
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    // What this process has opened itself is closed at an exec, and nothing is that was there after one.
    let is_inherited = |fd: &i32| flags_of(*fd).is_some_and(|flags| flags & libc::FD_CLOEXEC == 0);
    for fd in numbers.into_iter().filter(|fd| *fd > 2 && is_inherited(fd)) {
        // SAFETY: nobody here uses it.
        unsafe { libc::close(fd) };
    }
    leave(&[libc::STDIN_FILENO, libc::STDOUT_FILENO]);
}

/// The program has ended, and what it has left behind is served on: who reads what is said here waits no longer.
pub fn let_error_go() {
    use rustix::fs::FileType;
    let stat = rustix::fs::fstat(std::io::stderr());
    let kind = stat.map(|stat| FileType::from_raw_mode(stat.st_mode));
    if let Ok(FileType::Fifo | FileType::Socket) = kind {
        leave(&[libc::STDERR_FILENO]);
    }
}

/// `/dev/null` takes their places.
#[allow(unsafe_code)]
fn leave(fds: &[i32]) {
    let nothing = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null");
    if let Ok(nothing) = nothing {
        for fd in fds {
            // SAFETY: standard descriptors, which nobody takes for their own.
            unsafe { libc::dup2(nothing.as_raw_fd(), *fd) };
        }
    }
}

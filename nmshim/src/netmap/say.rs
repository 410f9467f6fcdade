//! Lines for the person, on the program's stderr.
//!
//! | `NMSHIM_VERBOSE` | what is said |
//! |---|---|
//! | not set | trouble; where stderr is a terminal or `CI` is set refusals too: each reason once, ten at most |
//! | -1 | nothing (`uvale run -q`) |
//! | 0 | trouble: nothing works, or the daemon does not answer |
//! | 1 | each refusal |
//! | 2 | more |
//!
//! Descriptor 2 is stderr only as long as it is what it was when the library was loaded: a program may
//! close it and get a socket of the same number. Nothing is written that could block, or raise SIGPIPE.

use core::fmt::Arguments;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::env;
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
pub use uvale_link::manner::Level;
use uvale_link::manner::{MAX_REASONS, Manner};
use uvale_link::silence::Listener;
use uvale_link::waiting::{self, ENV_PATIENCE};
use uvale_system::sys::borrow;

/// What the person wants to hear, and how long to wait.
struct Wishes {
    manner: Manner,
    /// seconds to wait for a daemon that does not answer; `None`: as long as it takes
    patience: Option<u64>,
}

static WISHES: OnceLock<Wishes> = OnceLock::new();

fn wishes() -> &'static Wishes {
    WISHES.get_or_init(|| {
        let is_terminal = STDERR.get().is_some_and(|stderr| stderr.is_terminal);
        let patience = env::var(ENV_PATIENCE).ok();
        let patience = patience.and_then(|text| text.trim().parse::<i8>().ok());
        Wishes {
            manner: Manner::new(None, is_terminal),
            patience: patience.and_then(|seconds| seconds.try_into().ok()),
        }
    })
}

/// What descriptor 2 was when the library was loaded.
struct Stderr {
    dev: u64,
    ino: u64,
    is_terminal: bool,
}

static STDERR: OnceLock<Stderr> = OnceLock::new();

/// When the library is loaded: what is stderr, and what does the person want to hear?
pub fn loaded() {
    if let Ok(stat) = fstat(borrow(&2)) {
        let is_ours = match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice | FileType::Fifo | FileType::RegularFile => true,
            FileType::Socket => is_stream_for_text(stat.st_dev, stat.st_ino),
            _ => false,
        };
        if is_ours {
            let _ = STDERR.set(Stderr {
                dev: stat.st_dev,
                ino: stat.st_ino,
                is_terminal: rustix::termios::isatty(borrow(&2)),
            });
        }
    }
    let _ = wishes();
    waiting::set_waiter(wait);
}

/// A socket as stderr: systemd's journal, or one of a pair that a program has made for its child.
/// Not the connection that inetd and the like hand over.
fn is_stream_for_text(dev: u64, ino: u64) -> bool {
    use rustix::net::{SocketAddrUnix, SocketType, getpeername, sockopt};
    let announced = env::var("JOURNAL_STREAM").is_ok_and(|v| v == format!("{dev}:{ino}"));
    let unnamed = |socket| {
        let peer = getpeername(socket).ok().flatten();
        peer.is_some_and(|peer| SocketAddrUnix::try_from(peer).is_ok_and(|peer| peer.is_unnamed()))
    };
    let own_name = rustix::net::getsockname(borrow(&2)).ok();
    let own_is_unnamed =
        own_name.is_some_and(|own| SocketAddrUnix::try_from(own).is_ok_and(|own| own.is_unnamed()));
    let is_stream = sockopt::socket_type(borrow(&2)) == Ok(SocketType::STREAM);
    announced || is_stream && own_is_unnamed && unnamed(borrow(&2))
}

/// Is descriptor 2 still stderr, and will it take a line at once?
fn can_be_written() -> bool {
    let Some(stderr) = STDERR.get() else {
        return false;
    };
    let same = fstat(borrow(&2)).is_ok_and(|s| (s.st_dev, s.st_ino) == (stderr.dev, stderr.ino));
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let fd = 2;
    let fd = borrow(&fd);
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    let broken = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
    same && poll(&mut fds, Some(&now)) == Ok(1) && !fds[0].revents().intersects(broken)
}

/// One write, straight to the kernel: stdio belongs to the program.
fn write(line: &str) {
    if can_be_written() {
        let _ = rustix::io::write(borrow(&2), format!("nmshim: {line}\n").as_bytes());
    }
}

/// Was a reason given before?
enum Told {
    Never,
    Before,
    /// it is one more than is shown
    TooMany,
}

/// Lock-free, since a fork may come at any time.
fn told(line: &str) -> Told {
    static REASONS: [AtomicU64; MAX_REASONS] = [const { AtomicU64::new(0) }; MAX_REASONS];
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let hash = line.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step) | 1;
    for reason in &REASONS {
        match reason.compare_exchange(0, hash, Relaxed, Relaxed) {
            Ok(_) => return Told::Never,
            Err(seen) if seen == hash => return Told::Before,
            Err(_) => {}
        }
    }
    Told::TooMany
}

/// Prints a line if the person wants to hear it.
pub fn say(level: Level, line: Arguments<'_>) {
    let manner = &wishes().manner;
    if !manner.says(level) {
        return;
    }
    let line = line.to_string();
    if !manner.once {
        return write(&line);
    }
    static CLOSED: AtomicBool = AtomicBool::new(false);
    match told(&line) {
        Told::Never => write(&line),
        Told::TooMany if !CLOSED.swap(true, Relaxed) => write(
            "further reasons are not shown; NMSHIM_VERBOSE=1 shows all of them, `uvale run -q` none",
        ),
        Told::Before | Told::TooMany => {}
    }
}

/// Seconds after which a daemon that does not seem to be stopped is no longer merely slow.
const SLOW: u64 = 10;

/// The daemon has not answered for some seconds. A program waits for it as it would for the
/// kernel, unless the person has said how long; but the person is told.
fn wait(listener: Option<Listener>, seconds: u64) -> Result<(), rustix::io::Errno> {
    let wishes = wishes();
    let is_stopped = listener.is_some_and(|l| l.is_stopped());
    let why = || match &listener {
        Some(listener) => listener.why(),
        None => {
            "the uvale daemon accepts no connection: it is stopped, or the machine is overloaded"
                .into()
        }
    };
    if seconds == 1 && is_stopped || seconds == SLOW {
        say(Level::Trouble, format_args!("waiting: {}", why()));
    } else if seconds == 1 {
        say(Level::Refusal, format_args!("waiting: {}", why()));
    }
    match wishes.patience {
        Some(patience) if seconds >= patience => Err(rustix::io::Errno::TIMEDOUT),
        _ => Ok(()),
    }
}

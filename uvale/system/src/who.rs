//! Who a process is, for people: what it says of itself, and what the daemon knows.

use core::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::clock;

/// Longest name of a program that is kept, in bytes.
const MAX_NAME: usize = 64;

/// What only a process itself can know; part of a connection's first message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// its number in its own PID namespace
    pub pid: i32,
    /// the name of its program
    pub program: String,
}

impl Who {
    /// This process.
    pub fn own() -> Self {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Self {
            pid,
            program: own_program().unwrap_or_default(),
        }
    }
}

/// The name that ps(1) shows. The kernel cuts it after 15 bytes; the file's name may be longer.
fn own_program() -> Option<String> {
    let mut short = read_start("/proc/self/comm").or_else(|| Some(file_name()?.into_bytes()))?;
    while short.last().is_some_and(u8::is_ascii_whitespace) {
        short.pop();
    }
    let short = String::from_utf8_lossy(&short).into_owned();
    let whole = file_name().filter(|name| name.starts_with(&short));
    Some(whole.unwrap_or(short))
}

fn file_name() -> Option<String> {
    let exe = rustix::fs::readlink("/proc/self/exe", Vec::new()).ok()?;
    let exe = String::from_utf8_lossy(exe.as_bytes()).into_owned();
    let path = exe.strip_suffix(" (deleted)").unwrap_or(&exe);
    Some(path.rsplit('/').next()?.to_owned())
}

/// The start of a small file, read without the C library, whose functions may be the program's own.
pub fn read_start(path: &str) -> Option<Vec<u8>> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let file = crate::sys::Fd::from(file);
    let mut bytes = vec![0; 1024];
    let n = rustix::io::read(&file, &mut bytes[..]).ok()?;
    bytes.truncate(n);
    Some(bytes)
}

/// Who has something open, as far as the daemon can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// its number, as the daemon sees it; if `claimed`, as the process itself says
    pub pid: i32,
    /// the process is in a PID namespace that the daemon cannot see
    pub claimed: bool,
    /// its user
    pub uid: u32,
    /// the name it gives its program, printable and short; empty if it gave none
    pub program: String,
    /// since when
    pub since: SystemTime,
}

impl Holder {
    /// A process that says it is `who`, and of which the kernel says `pid` (0: not visible from
    /// here) and `uid`.
    pub fn new(who: &Who, pid: i32, uid: u32) -> Self {
        let visible = pid > 0;
        Self {
            pid: if visible { pid } else { who.pid.max(0) },
            claimed: !visible,
            uid,
            program: tidy(&who.program),
            since: SystemTime::now(),
        }
    }
}

/// `pkt-gen (pid 12, uid 0)`.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = match self.program.as_str() {
            "" => "a program",
            program => program,
        };
        let place = if self.claimed {
            " in its own PID namespace"
        } else {
            ""
        };
        write!(f, "{program} (pid {}{place}, uid {})", self.pid, self.uid)
    }
}

impl Holder {
    /// Has the process ended, so that another one has inherited what it had open? False if it cannot be seen.
    pub fn has_ended(&self) -> bool {
        use rustix::process::{Pid, test_kill_process};
        let pid = Pid::from_raw(self.pid).filter(|_| !self.claimed);
        pid.is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
    }

    /// `pkt-gen (pid 12, uid 0) since 14:03`.
    pub fn since(&self) -> String {
        let heir = match self.has_ended() {
            true => " (it has ended, and another process has inherited it)",
            false => "",
        };
        format!("{self} since {}{heir}", clock::short(self.since))
    }
}

/// `name` without control characters, cut to the longest length of a name.
fn tidy(name: &str) -> String {
    let mut tidy = String::new();
    for c in name.chars().filter(|c| !c.is_control()) {
        if tidy.len() + c.len_utf8() > MAX_NAME {
            break;
        }
        tidy.push(c);
    }
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_itself() {
        let own = Who::own();
        assert_eq!(own.pid as u32, std::process::id());
        let exe = std::env::current_exe().unwrap();
        let file = exe.file_name().unwrap().to_str().unwrap();
        assert_eq!(own.program, file, "the whole name, not its first 15 bytes");
    }

    #[test]
    fn a_name_is_printable_and_short() {
        assert_eq!(tidy("a\u{1b}[2Jb\nc"), "a[2Jbc");
        assert_eq!(tidy(&"é".repeat(100)), "é".repeat(32));
    }

    #[test]
    fn a_number_that_is_not_visible_is_the_one_it_says() {
        let who = Who {
            pid: 7,
            program: "x".into(),
        };
        let seen = Holder::new(&who, 4711, 1000);
        assert_eq!(seen.to_string(), "x (pid 4711, uid 1000)");
        let unseen = Holder::new(&who, 0, 1000);
        assert_eq!(
            unseen.to_string(),
            "x (pid 7 in its own PID namespace, uid 1000)"
        );
    }
}

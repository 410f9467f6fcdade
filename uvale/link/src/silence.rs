//! What can be seen of a daemon that does not answer.

use rustix::fd::AsFd;

use uvale_system::peer::{Credentials, credentials};
use uvale_system::who::read_start;

/// The process that listens at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener(Credentials);

impl Listener {
    /// Of a connection.
    pub fn of(connection: impl AsFd) -> Self {
        Self(credentials(connection).unwrap_or(Credentials {
            pid: 0,
            uid: u32::MAX,
            gid: u32::MAX,
        }))
    }

    /// Is it stopped, by a signal or by a debugger? False if that cannot be seen.
    pub fn is_stopped(&self) -> bool {
        if self.0.pid <= 0 {
            return false;
        }
        let stat = read_start(&format!("/proc/{}/stat", self.0.pid)).unwrap_or_default();
        // Behind the name, which may have anything in it: ") T ".
        let behind = stat.iter().rposition(|b| *b == b')').unwrap_or(0);
        matches!(stat.get(behind + 2), Some(b'T' | b't'))
    }

    /// `the uvale daemon (pid 12)`.
    pub fn name(&self) -> String {
        match self.0.pid {
            pid if pid > 0 => format!("the uvale daemon (pid {pid})"),
            _ => "the uvale daemon (in another PID namespace)".to_owned(),
        }
    }

    /// Why it does not answer, and what to do.
    pub fn why(&self) -> String {
        let (name, pid) = (self.name(), self.0.pid);
        if self.is_stopped() {
            format!("{name} is stopped (^Z, SIGSTOP or a debugger); resume it: kill -CONT {pid}")
        } else {
            format!("{name} does not answer: it is stopped, or the machine is overloaded")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_is_not_stopped() {
        let (a, _b) = crate::channel::pair().unwrap();
        let listener = Listener::of(&a);
        assert!(!listener.is_stopped());
        assert_eq!(
            listener.name(),
            format!("the uvale daemon (pid {})", std::process::id())
        );
        assert!(listener.why().contains("does not answer"));
    }
}

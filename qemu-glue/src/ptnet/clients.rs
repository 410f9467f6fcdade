//! Who is connected to the devices of a guest, and when nobody is for long enough to end.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use uvale_tools::output::line;

use crate::vfio::{About, Clients};

/// What the servers of both devices tell the main thread.
pub struct Connected {
    now: Mutex<Now>,
    news: OwnedFd,
}

#[derive(Default)]
struct Now {
    count: usize,
    /// who came last, as long as somebody is there
    pid: Option<i32>,
    /// when the last one went
    left: Option<Instant>,
    said: [Said; About::COUNT],
}

impl Connected {
    /// Nobody is.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self {
            now: Mutex::default(),
            news: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        let _ = rustix::io::write(&self.news, &1u64.to_ne_bytes());
    }

    /// Is somebody connected?
    pub fn is_somebody(&self) -> bool {
        self.now().count > 0
    }

    /// The process that is.
    pub fn pid(&self) -> Option<i32> {
        self.now().pid
    }

    /// How long it is to be waited yet until nobody has been there for `linger`. `None`: somebody is, or nobody has
    /// been yet. Takes the news away.
    pub fn rest(&self, linger: Duration) -> Option<Duration> {
        let _ = rustix::io::read(&self.news, &mut [0u8; 8]);
        let now = self.now();
        let left = now.left.filter(|_| now.count == 0)?;
        Some(linger.saturating_sub(left.elapsed()))
    }
}

/// Readable when somebody has come or gone.
impl AsFd for Connected {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

impl Clients for Connected {
    fn came(&self, pid: Option<i32>) {
        let mut now = self.now();
        now.count += 1;
        now.pid = pid;
        drop(now);
        self.tell();
    }

    fn went(&self, was_qemu: bool) {
        let mut now = self.now();
        now.count -= 1;
        now.pid = now.pid.filter(|_| now.count > 0);
        if was_qemu {
            now.left = Some(Instant::now());
        }
        drop(now);
        self.tell();
    }

    fn say(&self, about: About, what: &str) {
        let Some(left_out) = self.now().said[about as usize].another(Instant::now()) else {
            return;
        };
        match left_out {
            0 => line(format_args!("uvale vm: {what}")),
            n => line(format_args!(
                "uvale vm: {what} ({n} similar lines were left out)"
            )),
        }
    }
}

/// Lines in a row about one thing, and how long it takes until there may be as many again.
const LINES: u32 = 5;
const MINUTE: Duration = Duration::from_secs(60);

/// Lines that a client has caused: it decides how often there is a reason for one.
#[derive(Default)]
struct Said {
    since: Option<Instant>,
    lines: u32,
    left_out: u32,
}

impl Said {
    /// May there be another line? Then, how many have been left out since the last one.
    fn another(&mut self, now: Instant) -> Option<u32> {
        if self
            .since
            .is_none_or(|since| now.duration_since(since) >= MINUTE)
        {
            (self.since, self.lines) = (Some(now), 0);
        }
        if self.lines == LINES {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_few() {
        let (mut said, now) = (Said::default(), Instant::now());
        let some: Vec<_> = (0..7).map(|_| said.another(now)).collect();
        assert_eq!(
            some,
            [Some(0), Some(0), Some(0), Some(0), Some(0), None, None]
        );
        assert_eq!(said.another(now + MINUTE), Some(2));
        assert_eq!(said.another(now + MINUTE), Some(0));
    }

    #[test]
    fn the_last_to_go_starts_the_clock() {
        let connected = Connected::new().unwrap();
        assert_eq!(connected.rest(Duration::ZERO), None);
        // Somebody who only looks is nobody.
        connected.came(Some(7));
        connected.went(false);
        assert_eq!(connected.rest(Duration::ZERO), None);
        connected.came(Some(7));
        connected.came(Some(7));
        connected.went(true);
        assert_eq!(connected.rest(Duration::ZERO), None);
        assert_eq!(connected.pid(), Some(7));
        connected.went(true);
        assert_eq!(connected.pid(), None);
        assert_eq!(connected.rest(Duration::ZERO), Some(Duration::ZERO));
        let rest = connected.rest(Duration::from_secs(1000)).unwrap();
        assert!(rest > Duration::from_secs(500) && rest <= Duration::from_secs(1000));
        connected.came(Some(7));
        assert_eq!(connected.rest(Duration::ZERO), None);
    }
}

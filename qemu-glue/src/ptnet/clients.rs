//! Who is connected to the devices of a guest, and when nobody is for long enough to end.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use uvale_tools::output::line;

use crate::vfio::Clients;

/// What the servers of both devices tell the main thread.
pub struct Connected {
    now: Mutex<Now>,
    news: OwnedFd,
}

#[derive(Default)]
struct Now {
    count: usize,
    /// when the last one went
    left: Option<Instant>,
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
    fn came(&self) {
        self.now().count += 1;
        self.tell();
    }

    fn went(&self, was_qemu: bool, why: Option<String>) {
        if let Some(why) = why {
            line(format_args!(
                "uvale vm: the connection to QEMU has ended: {why}"
            ));
        }
        let mut now = self.now();
        now.count -= 1;
        if was_qemu {
            now.left = Some(Instant::now());
        }
        drop(now);
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_to_go_starts_the_clock() {
        let connected = Connected::new().unwrap();
        assert_eq!(connected.rest(Duration::ZERO), None);
        // Somebody who only looks is nobody.
        connected.came();
        connected.went(false, None);
        assert_eq!(connected.rest(Duration::ZERO), None);
        connected.came();
        connected.came();
        connected.went(true, None);
        assert_eq!(connected.rest(Duration::ZERO), None);
        connected.went(true, None);
        assert_eq!(connected.rest(Duration::ZERO), Some(Duration::ZERO));
        let rest = connected.rest(Duration::from_secs(1000)).unwrap();
        assert!(rest > Duration::from_secs(500) && rest <= Duration::from_secs(1000));
        connected.came();
        assert_eq!(connected.rest(Duration::ZERO), None);
    }
}

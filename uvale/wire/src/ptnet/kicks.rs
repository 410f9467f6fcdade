//! The eventfds by which programs ask for kicks. All of them share an eventfd's file description, so whether it blocks
//! is anybody's to change, and what it has counted anybody's to take: nothing here waits because of that.

use std::io::IoSliceMut;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use uvale_system::sys::Fd;

/// Is it such an eventfd? The kernel's own words about it are read, and only an eventfd has these.
pub(super) fn is_one(fd: &Fd) -> bool {
    let said = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.raw()));
    said.is_ok_and(|said| said.lines().any(|line| line.starts_with("eventfd-count:")))
        && fcntl_getfl(fd).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK))
}

/// Asks for a kick.
///
/// # Errors
/// What the system says.
pub fn ask(fd: impl AsFd) -> Result<(), Errno> {
    let mut out = [PollFd::new(&fd, PollFlags::OUT)];
    let now = Timespec::default();
    if poll(&mut out, Some(&now))? == 0 {
        // It is full: there will be a kick.
        return Ok(());
    }
    // Whoever fills it just now makes this wait for whoever passes on kicks, and that one waits for nobody.
    match rustix::io::write(&fd, &1u64.to_ne_bytes()) {
        Ok(_) | Err(Errno::AGAIN) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Takes what has been asked for: how often, which is 0 if another process has taken it.
///
/// # Errors
/// What the system says; `EOPNOTSUPP` of a kernel before 5.8.
pub fn take(fd: &Fd) -> Result<u64, Errno> {
    let mut count = [0; 8];
    let mut into = [IoSliceMut::new(&mut count)];
    // u64::MAX: from where it is.
    match preadv2(fd, &mut into, u64::MAX, ReadWriteFlags::NOWAIT) {
        Ok(_) => Ok(u64::from_ne_bytes(count)),
        Err(Errno::AGAIN) => Ok(0),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    #[test]
    fn nobody_waits_for_an_eventfd_that_another_has_made_blocking() {
        let fd = Fd::from(eventfd(0, EventfdFlags::NONBLOCK).expect("an eventfd"));
        assert!(is_one(&fd));
        rustix::fs::fcntl_setfl(&fd, OFlags::empty()).expect("a flag");
        assert!(!is_one(&fd));
        assert_eq!(take(&fd), Ok(0));
        ask(&fd).and_then(|()| ask(&fd)).expect("asked");
        assert_eq!(take(&fd), Ok(2));
        // full
        rustix::io::write(&fd, &(u64::MAX - 1).to_ne_bytes()).expect("there is room");
        assert_eq!(ask(&fd), Ok(()));
        assert_eq!(take(&fd), Ok(u64::MAX - 1));
    }
}

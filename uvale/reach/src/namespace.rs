//! Network namespaces: an interface is that of the program which asks for it.

use std::fs::File;

use rustix::fs::readlink;
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd;

/// Where this thread was before.
#[derive(Debug)]
pub struct Visit(Option<File>);

impl Visit {
    /// This thread enters the network namespace of thread `tid`, if that is in another one which it may enter, and
    /// leaves again.
    pub fn to(tid: i32) -> Self {
        Self(enter(tid).ok().flatten())
    }
}

fn enter(tid: i32) -> Result<Option<File>, Errno> {
    const OWN: &str = "/proc/thread-self/ns/net";
    let theirs = format!("/proc/{tid}/ns/net");
    if readlink(OWN, Vec::new())? == readlink(&*theirs, Vec::new())? {
        return Ok(None);
    }
    let open =
        |path: &str| File::open(path).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO));
    let (own, theirs) = (open(OWN)?, open(&theirs)?);
    // Whoever may not come back does not go.
    go(&own)?;
    go(&theirs)?;
    Ok(Some(own))
}

fn go(to: &File) -> Result<(), Errno> {
    move_into_link_name_space(to.as_fd(), Some(LinkNameSpaceType::Network))
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(own) = &self.0 {
            // It was possible a moment ago, with the same rights.
            let _ = go(own);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_the_same_is_not_visited() {
        let tid = rustix::thread::gettid().as_raw_nonzero().get();
        assert!(Visit::to(tid).0.is_none());
        assert!(Visit::to(-1).0.is_none());
    }
}

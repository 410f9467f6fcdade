//! The daemon's own descriptors: a few are kept free, so that every connected client can be served.

use rustix::fd::AsFd;
use rustix::process::{Resource, getrlimit};

use uvale_shared::shm::MOST_PARTS;
use uvale_system::limits::FileSize;
use uvale_system::sys::Fd;

/// What the daemon's own calls need at a time: the descriptors of a message, a memory, a report.
const RESERVE: u64 = 16;

/// Why `fd`, which is new, is one too many. The system gives the lowest free number: all below it are in use.
pub fn lacking(fd: &Fd) -> Option<String> {
    let most = getrlimit(Resource::Nofile).current?;
    let number = u64::try_from(fd.raw()).ok()?;
    (number + RESERVE.min(most / 4) >= most).then(|| sentence(most))
}

/// The same for a memory that a request would need, which may use half of what is kept free. `any` is any descriptor.
pub fn lacking_for_memory(any: impl AsFd) -> Option<String> {
    let most = getrlimit(Resource::Nofile).current?;
    match rustix::io::fcntl_dupfd_cloexec(any, 0) {
        Ok(next) => {
            let number = u64::try_from(Fd::from(next).raw()).ok()?;
            // Under a limit on the length of files it may have as many parts.
            let parts = if FileSize::most() < usize::MAX {
                MOST_PARTS as u64
            } else {
                0
            };
            (number + parts + RESERVE.min(most / 4) / 2 >= most).then(|| sentence(most))
        }
        Err(_) => Some(sentence(most)),
    }
}

fn sentence(most: u64) -> String {
    format!(
        "the uvale daemon has no descriptor left: it may have {most} (ulimit -n where it was started, \
         LimitNOFILE= of its unit)"
    )
}

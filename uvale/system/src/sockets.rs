//! Sockets that poll as broken.

use rustix::event::{PollFd, PollFlags};
use rustix::net::sockopt::socket_error;

/// After a poll: takes the errors of those of `fds` that are shown as broken, which would let nobody sleep until
/// somebody has: a packet socket's interface has gone down, for example. True if there are any; one that stays broken
/// has no error that could be taken, so that the next poll is not to follow at once.
pub fn take_errors(fds: &[PollFd<'_>]) -> bool {
    let bad = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
    let broken = fds.iter().filter(|fd| fd.revents().intersects(bad));
    broken.map(socket_error).count() > 0
}

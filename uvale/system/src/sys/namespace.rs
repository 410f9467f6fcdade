//! Network namespaces, by what belongs to them.

use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;

use super::Fd;
use crate::raw::{call, check};

/// `linux/sockios.h`
const SIOCGSKNS: usize = 0x894c;

/// The network namespace that a socket is of, as a descriptor for setns(2). `ENOTSOCK` if it is no socket; `EPERM`
/// without CAP_NET_ADMIN there.
pub fn network_of(socket: impl AsFd) -> Result<Fd, Errno> {
    // A request to anything but a socket is for its driver to understand, which may be a process that never answers.
    rustix::net::sockopt::socket_type(&socket)?;
    let fd = socket.as_fd().as_raw_fd() as usize;
    // SAFETY: a request without an argument.
    let namespace = check(unsafe { call(libc::SYS_ioctl, [fd, SIOCGSKNS, 0, 0, 0, 0]) })?;
    Ok(Fd::from_raw(namespace as i32))
}

/// Moves this thread into a new, empty network namespace.
pub fn leave_network() -> Result<(), Errno> {
    // SAFETY: nothing but the namespace of later sockets changes.
    let left = unsafe {
        call(
            libc::SYS_unshare,
            [libc::CLONE_NEWNET as usize, 0, 0, 0, 0, 0],
        )
    };
    check(left).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_socket_has_no_namespace() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(network_of(&file).err(), Some(Errno::NOTSOCK));
    }

    /// Where the system lets us ask.
    #[test]
    fn a_socket_leads_to_the_namespace_it_was_made_in() {
        let (a, _b) = std::os::unix::net::UnixStream::pair().unwrap();
        match network_of(&a) {
            Ok(namespace) => {
                let own = rustix::fs::stat("/proc/thread-self/ns/net").unwrap();
                let found = rustix::fs::fstat(&namespace).unwrap();
                assert_eq!((found.st_dev, found.st_ino), (own.st_dev, own.st_ino));
            }
            Err(why) => assert_eq!(why, Errno::PERM),
        }
    }
}

//! Who is at the other end of a socket.

use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;

use crate::raw::{call, check};

/// The process that made the other end of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// its number here; 0 if it has none, in a PID namespace that cannot be seen from here
    pub pid: i32,
    /// its effective user, as this user namespace numbers it
    pub uid: u32,
}

/// Who connected, listened, or made the pair, according to the kernel.
///
/// Read with the plain system call: libraries' types allow no process id of 0, which is what it is
/// between containers.
pub fn credentials(socket: impl AsFd) -> Result<Credentials, Errno> {
    let mut found = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    let args = [
        socket.as_fd().as_raw_fd() as usize,
        libc::SOL_SOCKET as usize,
        libc::SO_PEERCRED as usize,
        &raw mut found as usize,
        &raw mut len as usize,
        0,
    ];
    // SAFETY: the kernel writes at most `len` bytes to `found`, which is ours and all integers.
    check(unsafe { call(libc::SYS_getsockopt, args) })?;
    Ok(Credentials {
        pid: found.pid,
        uid: found.uid,
    })
}

/// Does the process at the other end belong to this process' user?
pub fn is_own_user(socket: impl AsFd) -> Result<bool, Errno> {
    Ok(credentials(socket)?.uid == rustix::process::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_names_who_made_a_pair() {
        let (a, _b) = std::os::unix::net::UnixStream::pair().unwrap();
        let peer = credentials(&a).unwrap();
        assert_eq!(peer.pid as u32, std::process::id());
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(is_own_user(&a), Ok(true));
    }

    #[test]
    fn what_is_no_socket_has_nobody_at_its_end() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(credentials(&file), Err(Errno::NOTSOCK));
    }
}

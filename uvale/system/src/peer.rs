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
    /// its effective group
    pub gid: u32,
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
        gid: found.gid,
    })
}

/// The supplementary groups of the same process, then (Linux 4.13).
pub fn groups(socket: impl AsFd) -> Result<Vec<u32>, Errno> {
    // As many as Linux lets a process have.
    let mut found = vec![0u32; 1 << 16];
    let mut len = size_of_val(found.as_slice()) as libc::socklen_t;
    let args = [
        socket.as_fd().as_raw_fd() as usize,
        libc::SOL_SOCKET as usize,
        libc::SO_PEERGROUPS as usize,
        found.as_mut_ptr() as usize,
        &raw mut len as usize,
        0,
    ];
    // SAFETY: the kernel writes at most `len` bytes to `found`, which is ours and all integers.
    check(unsafe { call(libc::SYS_getsockopt, args) })?;
    found.truncate(len as usize / size_of::<u32>());
    Ok(found)
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
        assert_eq!(peer.gid, rustix::process::getegid().as_raw());
        assert_eq!(is_own_user(&a), Ok(true));
        let mut groups = groups(&a).unwrap();
        let own = rustix::process::getgroups().unwrap();
        let mut own: Vec<u32> = own.into_iter().map(|g| g.as_raw()).collect();
        own.sort_unstable();
        groups.sort_unstable();
        assert_eq!(groups, own);
    }

    #[test]
    fn what_is_no_socket_has_nobody_at_its_end() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(credentials(&file), Err(Errno::NOTSOCK));
    }
}

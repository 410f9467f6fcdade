//! The kernel's part: notifications of seccomp, descriptors and memory of another process. All `unsafe` of this crate
//! but what a child does before its exec is here.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use uvale_request::UserMemory;
use uvale_system::raw::{call, check};

/// A system call of a program, which waits for an answer (`seccomp_notif`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Notification {
    /// its number; no other one has it
    pub id: u64,
    /// the thread, 0 if it cannot be seen from here
    pub pid: u32,
    /// none are defined
    pub flags: u32,
    /// number of the system call
    pub nr: i32,
    /// `AUDIT_ARCH_*`
    pub arch: u32,
    /// where the program is
    pub ip: u64,
    /// its arguments
    pub args: [u64; 6],
}

/// `seccomp_notif_resp`.
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `seccomp_notif_addfd`.
#[repr(C)]
struct AddFd {
    id: u64,
    flags: u32,
    from: u32,
    to: u32,
    to_flags: u32,
}

const fn ioctl(direction: usize, number: usize, size: usize) -> usize {
    direction << 30 | size << 16 | (b'!' as usize) << 8 | number
}

const RECEIVE: usize = ioctl(3, 0, size_of::<Notification>());
const SEND: usize = ioctl(3, 1, size_of::<Response>());
const IS_VALID: usize = ioctl(1, 2, size_of::<u64>());
const ADD_FD: usize = ioctl(1, 3, size_of::<AddFd>());
const SET_FLAGS: usize = ioctl(1, 4, size_of::<u64>());
const _: () = assert!(RECEIVE == 0xc050_2100 && SEND == 0xc018_2101);

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// the kernel carries it out
    Continue,
    /// it returns this
    Value(i64),
    /// it fails
    Error(Errno),
    /// it has been answered
    Given,
}

/// Where a new descriptor goes in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// the lowest number that is free
    Lowest,
    /// the same, which the call returns: it is answered
    Returned,
    /// in place of this one
    Number(i32),
}

/// Where notifications arrive.
pub struct Listener {
    fd: OwnedFd,
    is_patient: bool,
}

impl Listener {
    /// Takes it over. `is_patient`: signals wait until a call that was received is answered. A caller is woken on the
    /// processor that answers it, where the kernel can do that (Linux 6.6).
    pub fn new(fd: OwnedFd, is_patient: bool) -> Self {
        const SYNC_WAKE_UP: usize = 1;
        let _ = ioctl_of(&fd, SET_FLAGS, SYNC_WAKE_UP);
        Self { fd, is_patient }
    }

    /// Does nothing but a kill end a call that was received before it is answered?
    pub fn is_patient(&self) -> bool {
        self.is_patient
    }

    /// Waits for the next one. `ENOENT`: its caller was interrupted meanwhile.
    pub fn receive(&self) -> Result<Notification, Errno> {
        let mut got = Notification::default();
        ioctl_of(&self.fd, RECEIVE, &raw mut got as usize)?;
        Ok(got)
    }

    /// Answers; `ENOENT`: its caller waits no longer.
    pub fn answer(&self, id: u64, answer: Answer) -> Result<(), Errno> {
        const CONTINUE: u32 = 1;
        let (value, error, flags) = match answer {
            Answer::Continue => (0, 0, CONTINUE),
            Answer::Value(value) => (value, 0, 0),
            Answer::Error(errno) => (0, -errno.raw_os_error(), 0),
            Answer::Given => return Ok(()),
        };
        let mut response = Response {
            id,
            value,
            error,
            flags,
        };
        ioctl_of(&self.fd, SEND, &raw mut response as usize).map(drop)
    }

    /// Does its caller still wait? What was read of its memory before this was its own.
    pub fn is_waiting(&self, id: u64) -> bool {
        let mut id = id;
        ioctl_of(&self.fd, IS_VALID, &raw mut id as usize).is_ok()
    }

    /// Gives the program a descriptor for the file behind `fd`; its number.
    pub fn give(
        &self,
        id: u64,
        fd: BorrowedFd<'_>,
        to: To,
        close_on_exec: bool,
    ) -> Result<i32, Errno> {
        const SET: u32 = 1;
        const AND_SEND: u32 = 2;
        let (flags, to) = match to {
            To::Lowest => (0, 0),
            To::Returned => (AND_SEND, 0),
            To::Number(to) => (SET, to.cast_unsigned()),
        };
        let mut add = AddFd {
            id,
            flags,
            from: fd.as_raw_fd().cast_unsigned(),
            to,
            to_flags: match close_on_exec {
                true => libc::O_CLOEXEC.cast_unsigned(),
                false => 0,
            },
        };
        ioctl_of(&self.fd, ADD_FD, &raw mut add as usize).map(|number| number as i32)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn ioctl_of(fd: &OwnedFd, request: usize, argument: usize) -> Result<isize, Errno> {
    let args = [fd.as_raw_fd() as usize, request, argument, 0, 0, 0];
    // SAFETY: every caller passes the address of a struct of its own that is as long as its request says, all integers,
    // which nobody else knows of; or, to set flags, a number.
    check(unsafe { call(libc::SYS_ioctl, args) })
}

/// The file behind descriptor `fd` of another process.
pub fn fetch(process: BorrowedFd<'_>, fd: i32) -> Result<OwnedFd, Errno> {
    pidfd_getfd(process, fd, PidfdGetfdFlags::empty())
}

/// A structure as programs get it.
pub fn bytes_of_stat(stat: &rustix::fs::Stat) -> &[u8] {
    bytes_of(stat)
}

/// The same.
pub fn bytes_of_statx(stat: &rustix::fs::Statx) -> &[u8] {
    bytes_of(stat)
}

fn bytes_of<T>(value: &T) -> &[u8] {
    // SAFETY: both types are the kernel's own structs, integers without padding between them, and lent for as long.
    unsafe { core::slice::from_raw_parts(core::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// A number that no other socket has.
pub fn cookie(socket: impl AsFd) -> Result<u64, Errno> {
    let mut value = [0; 8];
    uvale_system::sys::option(socket, libc::SOL_SOCKET, libc::SO_COOKIE, &mut value)?;
    Ok(u64::from_ne_bytes(value))
}

/// The memory of another process, by the number of one of its threads.
#[derive(Clone, Copy, Debug)]
pub struct RemoteMemory(pub i32);

impl RemoteMemory {
    /// Reads as many bytes as there are from `addr` on; how many. `EPERM`: it cannot be read at all.
    pub fn read_some(&self, addr: u64, to: &mut [u8]) -> Result<usize, Errno> {
        self.copy(
            libc::SYS_process_vm_readv,
            addr,
            to.as_mut_ptr().cast(),
            to.len(),
        )
    }

    fn copy(
        &self,
        nr: core::ffi::c_long,
        addr: u64,
        here: *mut core::ffi::c_void,
        len: usize,
    ) -> Result<usize, Errno> {
        let local = libc::iovec {
            iov_base: here,
            iov_len: len,
        };
        let remote = libc::iovec {
            iov_base: addr as usize as *mut _,
            iov_len: len,
        };
        let (local, remote) = (&raw const local as usize, &raw const remote as usize);
        let args = [self.0 as usize, local, 1, remote, 1, 0];
        // SAFETY: `here` has `len` bytes: those of an exclusive slice where the call writes to them, of a shared one
        // where it reads; the other address is not this process's.
        check(unsafe { call(nr, args) }).map(isize::cast_unsigned)
    }
}

impl UserMemory for RemoteMemory {
    fn read(&self, addr: u64, to: &mut [u8]) -> bool {
        to.is_empty() || self.read_some(addr, to) == Ok(to.len())
    }

    fn write(&self, addr: u64, from: &[u8]) -> bool {
        let here = from.as_ptr().cast_mut().cast();
        from.is_empty()
            || self.copy(libc::SYS_process_vm_writev, addr, here, from.len()) == Ok(from.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_process() {
        let memory = RemoteMemory(std::process::id() as i32);
        let here = [1u8, 2, 3];
        let mut copy = [0; 3];
        assert!(memory.read(here.as_ptr() as u64, &mut copy));
        assert_eq!(copy, here);
        let mut there = [0u8; 3];
        assert!(memory.write(there.as_mut_ptr() as u64, &here));
        assert_eq!(std::hint::black_box(there), here);
        assert!(!memory.read(16, &mut copy) && !memory.write(16, &here));
    }

    #[test]
    fn sockets_are_told_apart() {
        let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_ne!(cookie(&a), cookie(&b));
        assert_eq!(cookie(&a), cookie(a.try_clone().unwrap()));
    }
}

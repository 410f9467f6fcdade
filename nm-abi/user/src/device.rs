//! `/dev/netmap`: the system calls.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nm_abi::{NETMAP_DEVICE_NAME, NIOCCTRL, nmreq_header, nmreq_port_info_get, nmreq_register};

pub fn open() -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(NETMAP_DEVICE_NAME)
}

/// The body of a request that this crate makes. Neither has addresses in it.
pub trait Body {}
impl Body for nmreq_register {}
impl Body for nmreq_port_info_get {}

/// NIOCCTRL with that body; the header has no options.
pub fn control<B: Body>(device: &File, header: &nmreq_header, body: &mut B) -> io::Result<()> {
    let mut header = nmreq_header {
        nr_options: 0,
        nr_body: &raw mut *body as u64,
        ..*header
    };
    // SAFETY: netmap reads and writes a header, and the body that belongs to its request type; both live here, and
    // whoever writes the type gives its body.
    let status = unsafe { libc::ioctl(device.as_raw_fd(), NIOCCTRL as _, &raw mut header) };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// NIOCTXSYNC or NIOCRXSYNC.
pub fn sync(device: &File, request: u32) -> io::Result<()> {
    // SAFETY: neither has an argument. What they write lies in the mapping, which is only accessed as memory that
    // others write.
    let status = unsafe { libc::ioctl(device.as_raw_fd(), request as _, 0) };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// ppoll(2), with the signals that the thread takes anyway.
pub fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<()> {
    let time = timeout.map(|time| libc::timespec {
        tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX as _),
        tv_nsec: time.subsec_nanos().into(),
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the array is valid, and of that length; the time is null or valid.
    let status = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as _, time, std::ptr::null()) };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A shared mapping of the first `len` bytes.
pub fn map(device: BorrowedFd<'_>, len: usize) -> io::Result<*mut u8> {
    // SAFETY: a new mapping, where the system wants it.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            device.as_raw_fd(),
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(base.cast())
}

/// # Safety
/// A mapping of [`map`], which nobody uses any more.
pub unsafe fn unmap(base: *mut u8, len: usize) {
    // SAFETY: as the caller says.
    unsafe { libc::munmap(base.cast(), len) };
}

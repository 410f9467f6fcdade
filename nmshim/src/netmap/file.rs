//! The file operations of `/dev/netmap`: what the kernel module has in its `file_operations`.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::os::fd::RawFd;

use libc::{c_int, c_short, c_ulong};
use rustix::fd::AsRawFd;
use rustix::net::RecvFlags;
use uvale_engine::{Attachment, Host};
use uvale_link::session::Session;
use uvale_system::refusal::Refusal;
use uvale_system::sys::borrow;

use super::description::Description;
use super::request::Requests;
use super::result::explained;
use super::spin::{Naps, Spin};
use crate::device::{Errno, File, Result};

/// How long a sleep may last when another process may take our wake-up token, in nanoseconds.
const SHARED_NAP: u64 = 100_000_000;

/// An open description, as interposition has it.
pub struct NetmapFile {
    description: Description,
    spin: Spin,
    naps: Naps,
    /// threads between `arm` and `disarm`: they share one bit in the rings' masks
    armed: AtomicU32,
}

impl NetmapFile {
    pub fn new(description: Description) -> Self {
        Self {
            description,
            spin: Spin::new(),
            naps: Naps::default(),
            armed: AtomicU32::new(0),
        }
    }

    /// The daemon's number for it.
    pub fn client(&self) -> u32 {
        self.description.client()
    }

    #[inline(never)]
    fn txsync(&self, fd: RawFd) -> Result<c_int> {
        self.sync(fd, |attachment, session| attachment.try_txsync(session))
    }

    #[inline(never)]
    fn rxsync(&self, fd: RawFd) -> Result<c_int> {
        self.sync(fd, |attachment, session| attachment.try_rxsync(session))
    }

    /// By `sync`, which answers false, as netmap does with EIO, if the port's interface has gone.
    #[inline(always)]
    fn sync(&self, fd: RawFd, sync: impl FnOnce(&Attachment, &Session) -> bool) -> Result<c_int> {
        let (session, bind) = self.description.ready(fd)?;
        if !sync(&bind.attachment, session) {
            return Err(Errno(libc::EIO));
        }
        self.description.look_after_daemon(session)?;
        Ok(0)
    }

    #[cold]
    #[inline(never)]
    fn control(&self, fd: RawFd, arg: *mut c_void) -> Result<c_int> {
        self.requests(fd).control(arg as u64)
    }

    #[cold]
    #[inline(never)]
    fn legacy(&self, fd: RawFd, request: u32, arg: *mut c_void) -> Result<c_int> {
        self.requests(fd).legacy(request, arg as u64)
    }

    fn requests(&self, fd: RawFd) -> Requests<'_> {
        Requests {
            to: &self.description,
            fd,
        }
    }
}

impl File for NetmapFile {
    #[inline]
    fn ioctl(&self, fd: RawFd, request: c_ulong, arg: *mut c_void) -> Result<c_int> {
        match request as u32 {
            nm_abi::NIOCTXSYNC => self.txsync(fd),
            nm_abi::NIOCRXSYNC => self.rxsync(fd),
            nm_abi::NIOCCTRL => self.control(fd, arg),
            request => self.legacy(fd, request, arg),
        }
    }

    fn mmap(
        &self,
        fd: RawFd,
        addr: *mut c_void,
        len: usize,
        prot: c_int,
        flags: c_int,
        offset: i64,
    ) -> Result<*mut c_void> {
        let bind = self.description.bound(fd).ok_or(Errno(libc::EINVAL))?;
        let binding = bind.attachment.binding();
        let size = binding.mem_size.next_multiple_of(4096);
        let end = (offset as u64)
            .checked_add(len as u64)
            .ok_or(Errno(libc::EINVAL))?;
        if end.next_multiple_of(4096) > size {
            let why = format!("bytes up to {end} were asked for and the region has {size}");
            let refusal = Refusal::new(rustix::io::Errno::INVAL, why);
            return Err(explained("mmap", &refusal));
        }
        let failed = |refusal: Refusal| explained("mmap", &refusal);
        let session = self.description.session(fd).map_err(failed)?;
        let (memfd, _) = session.region_memfd(binding.region).map_err(failed)?;
        if !memfd.can_map(offset as usize, len) {
            let why = "the memory has huge pages (hugetlb), of which a program maps whole ones only: map all of it";
            return Err(explained(
                "mmap",
                &Refusal::new(rustix::io::Errno::INVAL, why),
            ));
        }
        let at = map_pieces(&memfd, addr, len, prot, flags, offset)?;
        memfd.advise(at, len);
        Ok(at)
    }

    fn poll(&self, fd: RawFd, events: c_short) -> c_short {
        let Ok((session, bind)) = self.description.ready(fd) else {
            let hup = if self.description.is_gone() {
                libc::POLLHUP
            } else {
                0
            };
            return libc::POLLERR | hup;
        };
        if self.description.look_after_daemon(session).is_err() {
            return libc::POLLERR | libc::POLLHUP;
        }
        bind.attachment.poll(session, events)
    }

    fn spin(&self, fd: RawFd, events: c_short) -> c_short {
        let Ok((session, bind)) = self.description.ready(fd) else {
            return 0;
        };
        let attachment = &bind.attachment;
        if self.spin.look(|| attachment.glance(session, events)) {
            attachment.poll(session, events)
        } else {
            0
        }
    }

    fn drain(&self, fd: RawFd) {
        let mut tokens = [0u8; 64];
        while rustix::net::recv(borrow(&fd), &mut tokens[..], RecvFlags::DONTWAIT)
            .is_ok_and(|(_, n)| n > 0)
        {}
    }

    fn arm(&self, fd: RawFd, events: c_short) {
        self.spin.sleeps();
        self.armed.fetch_add(1, SeqCst);
        if let Ok((_, bind)) = self.description.ready(fd) {
            bind.attachment.announce(events);
        }
    }

    fn disarm(&self, fd: RawFd, events: c_short) {
        self.spin.slept();
        // The announcement is that of all threads armed on this description.
        let last = self
            .armed
            .fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1))
            == Ok(1);
        if last && let Ok((session, bind)) = self.description.ready(fd) {
            bind.attachment.withdraw(events);
            // SYNC POINT: whoever announced before our withdrawal had been counted before that: it
            // looks, and announces, once more.
            if self.armed.load(SeqCst) != 0 {
                session.wake(self.description.client());
            }
        }
    }

    fn edges(&self) -> u64 {
        self.description
            .known_bind()
            .map_or(0, |bind| bind.attachment.edges())
    }

    fn liveness(&self) -> RawFd {
        self.description
            .current()
            .map_or(-1, |s| s.connection().as_raw_fd())
    }

    fn lost(&self, own: bool) {
        // Several worlds may be in one set: each asks after its own daemon.
        if own || self.description.current().is_some_and(|s| !s.is_alive()) {
            self.description.is_lost();
        }
    }

    fn open_flags(&self) -> c_int {
        self.description.open_flags()
    }

    fn closed(&self) {
        // As in the kernel, a close is done when it returns: the name is free, nothing more arrives.
        if let Some(session) = self.description.current() {
            session.settle(self.description.client());
        }
        self.description.give_up_wire();
    }

    fn longest_nap(&self, events: c_short) -> u64 {
        let (session, bind) = (self.description.current(), self.description.known_bind());
        if let (Some(session), Some(bind)) = (session, bind)
            && bind.attachment.is_restless(session, events)
        {
            return self.naps.next(bind.attachment.edges());
        }
        if self.description.shared() {
            SHARED_NAP
        } else {
            u64::MAX
        }
    }

    fn sources(&self, events: c_short, each: &mut dyn FnMut(RawFd)) {
        let (session, bind) = (self.description.current(), self.description.known_bind());
        if let (Some(session), Some(bind)) = (session, bind) {
            bind.attachment.readable(session, events, each);
        }
    }

    fn describe(&self) -> String {
        self.description.describe()
    }
}

/// mmap of a memory that may have several parts.
fn map_pieces(
    memfd: &uvale_shared::shm::Memfd,
    addr: *mut c_void,
    len: usize,
    prot: c_int,
    flags: c_int,
    offset: i64,
) -> Result<*mut c_void> {
    use crate::ground::raw::{map, unmap};
    if let [one] = memfd.parts() {
        return map(addr, len, prot, flags, one.raw(), offset);
    }
    let from = usize::try_from(offset).unwrap_or(usize::MAX);
    if !from.is_multiple_of(4096) {
        return Err(Errno(libc::EINVAL));
    }
    // Reserve the whole range first, so that nothing else is where the parts go.
    let exact = flags & (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE);
    let nothing = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let place = match memfd.is_reserved() && exact == 0 {
        true => uvale_shared::shm::Memfd::place(len)?,
        false => map(addr, len, libc::PROT_NONE, nothing | exact, -1, 0)?,
    };
    let there = flags & !libc::MAP_FIXED_NOREPLACE | libc::MAP_FIXED;
    for piece in memfd.pieces(from, len) {
        let at = place.wrapping_byte_add(piece.at);
        let ofs = piece.ofs as i64;
        if let Err(errno) = map(at, piece.len, prot, there, piece.fd.raw(), ofs) {
            unmap(place, len);
            return Err(errno);
        }
    }
    Ok(place)
}

//! NIOCCTRL and the legacy requests: from the program's memory to the daemon and back, and the parts
//! that only this process can do: its own memory as a region, its CSB, its sync loops.

use std::os::fd::RawFd;
use std::sync::atomic::Ordering::Relaxed;

use libc::c_int;
use nm_abi::*;
use rustix::fd::AsFd;
use rustix::io::Errno as Why;
use rustix::net::SendFlags;
use uvale_engine::Host;
use uvale_link::channel::{call, call_with, send};
use uvale_link::proto::{Call, Facts, Memory, Reply, decode};
use uvale_link::session::{Failure, refused, whole};
use uvale_request::legacy;
use uvale_request::{FileRange, Interface};
use uvale_request::{OwnMemory, Request, name_of};
use uvale_shared::binding::Binding;
use uvale_shared::extra::Extra;
use uvale_system::sys::borrow;

use super::csb::ProgramCsb;
use super::file::NetmapFile;
use super::say::{Level, say};
use super::{extmem, kloop};
use crate::device::{Errno, Result};

/// Why a request fails, and how the program hears of it.
pub enum Failed {
    /// as errno
    Errno(Why),
    /// as the value of ioctl, as netmap returns errors of descriptors for a sync loop
    Value(Why),
}

impl From<Why> for Failed {
    fn from(errno: Why) -> Self {
        Self::Errno(errno)
    }
}

type Served = core::result::Result<(), Failed>;

/// What the daemon has made of a request.
struct Answer {
    served: core::result::Result<(), Failure>,
    /// what the descriptor is bound to since then
    bound: Option<Box<Binding>>,
    /// extra buffers to chain
    extra: Extra,
    /// entries of a CSB to set up
    csb_entries: u32,
}

/// Attempts to register memory that another process registers at the same time.
const ATTEMPTS: u32 = 8;

impl NetmapFile {
    /// NIOCCTRL.
    pub fn control(&self, fd: RawFd, arg: u64) -> Result<c_int> {
        let mut request = match Request::copy_in(&OwnMemory, arg) {
            Ok(request) => request,
            Err(e) => return Err(self.explain("NIOCCTRL", e, "the request cannot be read")),
        };
        let (result, value) = match self.carry_out(fd, &mut request) {
            Ok(()) => (Ok(()), None),
            Err(Failed::Errno(e)) => (Err(e), None),
            Err(Failed::Value(e)) => (Err(e), Some(e.raw_os_error())),
        };
        match (request.copy_out(&OwnMemory, arg, result), value) {
            (Ok(()), _) => Ok(0),
            (Err(e), Some(value)) if e.raw_os_error() == value => Ok(value),
            (Err(e), _) => Err(Errno(e.raw_os_error())),
        }
    }

    /// The ioctls from before NIOCCTRL, and those that are not netmap's.
    pub fn legacy(&self, fd: RawFd, command: u32, arg: u64) -> Result<c_int> {
        let mut serve = |request: &mut Request| match self.carry_out(fd, request) {
            Ok(()) => Ok(()),
            Err(Failed::Errno(e) | Failed::Value(e)) => Err(e),
        };
        legacy::ioctl(command, &OwnMemory, arg, &mut serve)
            .map(|()| 0)
            .map_err(|e| Errno(e.raw_os_error()))
    }

    /// Serves a request: the daemon's part, then ours.
    fn carry_out(&self, fd: RawFd, request: &mut Request) -> Served {
        let Answer {
            served,
            bound,
            extra,
            csb_entries,
        } = self.ask(fd, request)?;
        let is_new = bound.is_some();
        let served = match csb_entries {
            0 => self.take_over(fd, bound).and(served),
            n => self.set_up_csb(fd, request, n as usize, bound, served),
        };
        if let Err(refusal) = served {
            // If this process cannot use the binding, undo it.
            if is_new {
                let _ = call(borrow(&fd), &Call::Unbind);
            }
            self.explain_refusal(request, &refusal);
            return Err(refusal.errno.into());
        }
        if !extra.is_empty() {
            self.chain(fd, &extra);
        }
        match request.header.nr_reqtype {
            NETMAP_REQ_SYNC_KLOOP_START => kloop::run(self, fd, request),
            NETMAP_REQ_SYNC_KLOOP_STOP => Ok(kloop::wait_until_over(self, fd)?),
            _ => Ok(()),
        }
    }

    /// The daemon's part; prepares the program's own memory for it.
    fn ask(&self, fd: RawFd, request: &mut Request) -> core::result::Result<Answer, Why> {
        let gives_memory = request.header.nr_reqtype == NETMAP_REQ_REGISTER
            && request.option(NETMAP_REQ_OPT_EXTMEM).is_some();
        if !gives_memory {
            return self.ask_once(fd, request, &mut Vec::new());
        }
        let _alone = extmem::ONE_AT_A_TIME.lock();
        let (original, mut known_as) = (request.clone(), Vec::new());
        for _ in 0..ATTEMPTS {
            let answer = self.ask_once(fd, request, &mut known_as)?;
            match &answer.served {
                // Another process has given the same memory just before us.
                Err(refusal) if refusal.errno == Why::AGAIN => request.clone_from(&original),
                _ => return Ok(answer),
            }
        }
        Err(Why::NOMEM)
    }

    fn ask_once(
        &self,
        fd: RawFd,
        request: &mut Request,
        known_as: &mut Vec<FileRange>,
    ) -> core::result::Result<Answer, Why> {
        let failed = |failure: Failure| {
            self.explain("request", failure.errno, &failure.why);
            failure.errno
        };
        let (facts, memfd) = self.facts(fd, request, known_as).map_err(failed)?;
        let message = Call::Request {
            request: request.encode(),
            facts,
        };
        let memfd = memfd.as_ref().map(|m| m.as_fd());
        let (reply, fds) = call_with(borrow(&fd), &message, memfd).map_err(|e| failed(e.into()))?;
        let Reply::Done {
            errno,
            why,
            request: done,
            bound,
            mut extra,
            csb_entries,
        } = reply
        else {
            return Err(failed(refused(reply)));
        };
        if let Some(long) = fds.first() {
            extra = decode(&whole(long)?).ok_or(Why::PROTO)?;
        }
        *request = Request::decode(&done).ok_or(Why::PROTO)?;
        let served = match errno {
            0 => Ok(()),
            errno => Err(Failure::new(uvale_system::peer::errno(errno), why)),
        };
        Ok(Answer {
            served,
            bound,
            extra,
            csb_entries,
        })
    }

    /// What the daemon has to know besides the request.
    fn facts(
        &self,
        fd: RawFd,
        request: &mut Request,
        known_as: &mut Vec<FileRange>,
    ) -> core::result::Result<(Facts, Option<uvale_shared::shm::Memfd>), Failure> {
        let mut facts = Facts {
            session: 0,
            memory: None,
            interface: interface(request),
        };
        let reqtype = request.header.nr_reqtype;
        if reqtype == NETMAP_REQ_SYNC_KLOOP_START {
            facts.session = self.session(fd)?.session();
        }
        if reqtype != NETMAP_REQ_REGISTER {
            return Ok((facts, None));
        }
        let Some(option) = request.option(NETMAP_REQ_OPT_EXTMEM) else {
            return Ok((facts, None));
        };
        if self.is_bound() {
            return Ok((facts, None));
        }
        let (memory, memfd) = match extmem::offer(self.session(fd)?, option, known_as) {
            Ok(offer) => offer,
            Err(errno) => (Memory::Refused(errno.raw_os_error()), None),
        };
        facts.memory = Some(memory);
        Ok((facts, memfd))
    }

    /// Chains extra buffers, and says so.
    fn chain(&self, fd: RawFd, extra: &Extra) {
        if let Some(bind) = self.bound(fd) {
            extra.chain(bind.attachment.region());
            // If this is lost, the daemon keeps counting them as unchained.
            let _ = send(borrow(&fd), &Call::Chained, &[], SendFlags::empty());
        }
    }

    fn take_over(
        &self,
        fd: RawFd,
        bound: Option<Box<Binding>>,
    ) -> core::result::Result<(), Failure> {
        match bound {
            Some(bound) => self.publish(self.make_bind(fd, *bound)?),
            None => Ok(()),
        }
    }

    /// netmap_csb_validate's part in the program's memory, after REGISTER or CSB_ENABLE has been served
    /// or refused for an option.
    fn set_up_csb(
        &self,
        fd: RawFd,
        request: &mut Request,
        entries: usize,
        bound: Option<Box<Binding>>,
        served: core::result::Result<(), Failure>,
    ) -> core::result::Result<(), Failure> {
        let option = request.option(NETMAP_REQ_OPT_CSB);
        let Some((option, csb)) = option
            .and_then(|o| Some((ProgramCsb::of(o)?, o)))
            .map(|(c, o)| (o, c))
        else {
            return served;
        };
        if !csb.is_accessible(entries) {
            option.header.nro_status = Why::FAULT.raw_os_error() as u32;
            return Err(Failure::new(Why::FAULT, "the CSB is not in usable memory"));
        }
        served?;
        let session = self.session(fd)?;
        let new = bound.map(|bound| self.make_bind(fd, *bound)).transpose()?;
        let known = self.bound(fd);
        let Some(bind) = new.as_ref().or(known) else {
            return Ok(());
        };
        bind.attachment.csb_init(session, &csb);
        bind.csb.store(true, Relaxed);
        let (atok, ktoa) = csb.addresses();
        call(borrow(&fd), &Call::SetCsb { atok, ktoa })?;
        match new {
            Some(bind) => self.publish(bind),
            None => Ok(()),
        }
    }

    fn explain_refusal(&self, request: &mut Request, refusal: &Failure) {
        // The end of a VALE_LIST walk is not a failure.
        let end_of_walk =
            refusal.errno == Why::NOENT && request.header.nr_reqtype == NETMAP_REQ_VALE_LIST;
        if !end_of_walk {
            self.explain(&what(request), refusal.errno, &refusal.why);
        }
    }

    /// One line that explains a refusal, at verbosity 1.
    pub fn explain(&self, what: &str, errno: Why, why: &str) -> Errno {
        let errno_text = errno.to_string();
        let errno_text = errno_text.split(" (os error").next().unwrap_or_default();
        say(Level::Refusal, format_args!("{what}: {errno_text}: {why}"));
        Errno(errno.raw_os_error())
    }
}

/// The interface of the system that a request may mean: netmap answers some questions about it.
fn interface(request: &mut Request) -> Option<Interface> {
    match request.header.nr_reqtype {
        NETMAP_REQ_REGISTER
        | NETMAP_REQ_PORT_INFO_GET
        | NETMAP_REQ_POOLS_INFO_GET
        | NETMAP_REQ_PORT_HDR_GET
        | NETMAP_REQ_VALE_ATTACH
        | NETMAP_REQ_VALE_NEWIF
        | NETMAP_REQ_VALE_DELIF => {
            let name = name_of(&mut request.header);
            super::interface::look_up(uvale_request::interface_part(&name))
        }
        _ => None,
    }
}

/// Request and port, for messages.
fn what(request: &mut Request) -> String {
    let name = name_of(&mut request.header);
    let kind = uvale_request::type_name(request.header.nr_reqtype);
    format!("{kind} {}", String::from_utf8_lossy(&name))
}

//! NIOCCTRL and the legacy requests: from the program's memory to the daemon and back, and the parts
//! that only this process can do: its own memory as a region, its CSB, its sync loops.

use std::os::fd::RawFd;

use libc::c_int;
use nm_abi::*;
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::SendFlags;
use uvale_engine::Host;
use uvale_link::channel::{call, send};
use uvale_link::proto::{AttachedNic, Call, Facts, Memory};
use uvale_port::request::{self as port, Answer};
use uvale_request::legacy;
use uvale_request::{FileRange, OwnMemory, Request};
use uvale_shared::binding::Binding;
use uvale_shared::extra::Extra;
use uvale_system::refusal::Refusal;
use uvale_system::sys::borrow;

use super::csb::ProgramCsb;
use super::description::Description;
use super::result::{Failed, explained};
use super::{extmem, kloop};
use crate::device;

type Served = Result<(), Failed>;

/// Attempts to register memory that another process registers at the same time.
const ATTEMPTS: u32 = 8;

/// Requests to a description, by the number that the program used.
pub struct Requests<'a> {
    pub to: &'a Description,
    pub fd: RawFd,
}

impl Requests<'_> {
    /// NIOCCTRL.
    pub fn control(&self, arg: u64) -> device::Result<c_int> {
        let mut request = match Request::copy_in(&OwnMemory, arg) {
            Ok(request) => request,
            Err(e) => {
                let refusal = Refusal::new(e, "the request cannot be read");
                return Err(explained("NIOCCTRL", &refusal));
            }
        };
        let (result, value) = match self.carry_out(&mut request) {
            Ok(()) => (Ok(()), None),
            Err(Failed::Errno(e)) => (Err(e), None),
            Err(Failed::Value(e)) => (Err(e), Some(e.raw_os_error())),
        };
        match (request.copy_out(&OwnMemory, arg, result), value) {
            (Ok(()), _) => Ok(0),
            (Err(e), Some(value)) if e.raw_os_error() == value => Ok(value),
            (Err(e), _) => Err(e.into()),
        }
    }

    /// The ioctls from before NIOCCTRL, and those that are not netmap's.
    pub fn legacy(&self, command: u32, arg: u64) -> device::Result<c_int> {
        let mut serve = |request: &mut Request| match self.carry_out(request) {
            Ok(()) => Ok(()),
            Err(Failed::Errno(e) | Failed::Value(e)) => Err(e),
        };
        legacy::ioctl(command, &OwnMemory, arg, &mut serve)?;
        Ok(0)
    }

    /// Serves a request: the daemon's part, then ours.
    fn carry_out(&self, request: &mut Request) -> Served {
        let Answer {
            served,
            bound,
            extra,
            csb_entries,
            attached,
        } = self.ask(request)?;
        let is_new = bound.is_some();
        let served = match csb_entries {
            0 => self.take_over(bound).and(served),
            n => self.set_up_csb(request, n as usize, bound, served),
        };
        if let Err(refusal) = served {
            // If this process cannot use the binding, undo it.
            if is_new {
                let _ = call(borrow(&self.fd), &Call::Unbind);
            }
            explain_refusal(request, &refusal);
            return Err(refusal.errno.into());
        }
        if let Some(nic) = attached {
            self.open_attached(request, &nic)?;
        }
        if !extra.is_empty() {
            self.chain(&extra);
        }
        match request.header.nr_reqtype {
            NETMAP_REQ_SYNC_KLOOP_START => kloop::run(self.to, self.fd, request),
            NETMAP_REQ_SYNC_KLOOP_STOP => Ok(kloop::wait_until_over(self.to, self.fd)?),
            _ => Ok(()),
        }
    }

    /// The daemon's part; prepares the program's own memory for it.
    fn ask(&self, request: &mut Request) -> Result<Answer, Errno> {
        let gives_memory = request.header.nr_reqtype == NETMAP_REQ_REGISTER
            && request.option(NETMAP_REQ_OPT_EXTMEM).is_some();
        if !gives_memory {
            return self.ask_once(request, &mut Vec::new());
        }
        let _alone = extmem::ONE_AT_A_TIME.lock();
        let (original, mut known_as) = (request.clone(), Vec::new());
        for _ in 0..ATTEMPTS {
            let answer = self.ask_once(request, &mut known_as)?;
            match &answer.served {
                // Another process has given the same memory just before us.
                Err(refusal) if refusal.errno == Errno::AGAIN => request.clone_from(&original),
                _ => return Ok(answer),
            }
        }
        Err(Errno::NOMEM)
    }

    fn ask_once(
        &self,
        request: &mut Request,
        known_as: &mut Vec<FileRange>,
    ) -> Result<Answer, Errno> {
        let failed = |refusal: Refusal| {
            explained("request", &refusal);
            refusal.errno
        };
        let (facts, memfd) = self.facts(request, known_as).map_err(failed)?;
        let memfd = memfd.as_ref().map(|m| m.as_fd());
        port::ask(borrow(&self.fd), request, facts, memfd).map_err(failed)
    }

    /// What the daemon has to know besides the request.
    fn facts(
        &self,
        request: &mut Request,
        known_as: &mut Vec<FileRange>,
    ) -> Result<(Facts, Option<uvale_shared::shm::Memfd>), Refusal> {
        let mut facts = port::facts(request);
        let reqtype = request.header.nr_reqtype;
        if reqtype == NETMAP_REQ_SYNC_KLOOP_START {
            facts.session = self.to.session(self.fd)?.session();
        }
        if reqtype != NETMAP_REQ_REGISTER {
            return Ok((facts, None));
        }
        let Some(option) = request.option(NETMAP_REQ_OPT_EXTMEM) else {
            return Ok((facts, None));
        };
        if self.to.is_bound() {
            return Ok((facts, None));
        }
        let (memory, memfd) = match extmem::offer(self.to.session(self.fd)?, option, known_as) {
            Ok(offer) => offer,
            Err(errno) => (Memory::Refused(errno), None),
        };
        facts.memory = Some(memory);
        Ok((facts, memfd))
    }

    /// A NIC on a switch needs its wire: whoever attaches it stands in its network namespace. Without one it is
    /// detached again.
    fn open_attached(&self, request: &mut Request, nic: &AttachedNic) -> Served {
        let session = self.to.session(self.fd);
        let Err(refusal) = session.and_then(|session| super::nic::attached(self.fd, session, nic))
        else {
            return Ok(());
        };
        let _ = self.ask_once(&mut port::detach(request), &mut Vec::new());
        explain_refusal(request, &refusal);
        Err(refusal.errno.into())
    }

    /// Chains extra buffers, and says so.
    fn chain(&self, extra: &Extra) {
        if let Some(bind) = self.to.bound(self.fd) {
            extra.chain(bind.attachment.region());
            // If this is lost, the daemon keeps counting them as unchained.
            let _ = send(borrow(&self.fd), &Call::Chained, &[], SendFlags::empty());
        }
    }

    fn take_over(&self, bound: Option<Box<Binding>>) -> Result<(), Refusal> {
        match bound {
            Some(bound) => self.to.publish(self.to.make_bind(self.fd, *bound)?),
            None => Ok(()),
        }
    }

    /// netmap_csb_validate's part in the program's memory, after REGISTER or CSB_ENABLE has been served
    /// or refused for an option.
    fn set_up_csb(
        &self,
        request: &mut Request,
        entries: usize,
        bound: Option<Box<Binding>>,
        served: Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let option = request.option(NETMAP_REQ_OPT_CSB);
        let Some((option, csb)) = option
            .and_then(|o| Some((ProgramCsb::of(o)?, o)))
            .map(|(c, o)| (o, c))
        else {
            return served;
        };
        if !csb.is_accessible(entries) {
            option.header.nro_status = Errno::FAULT.raw_os_error() as u32;
            return Err(Refusal::new(
                Errno::FAULT,
                "the CSB is not in usable memory",
            ));
        }
        served?;
        let new = bound
            .map(|bound| self.to.make_bind(self.fd, *bound))
            .transpose()?;
        let known = self.to.bound(self.fd);
        let Some(bind) = new.as_ref().or(known) else {
            return Ok(());
        };
        bind.attachment.csb_init(&csb);
        if new.is_none() {
            self.to.enter_csb_mode();
        }
        let (atok, ktoa) = csb.addresses();
        call(borrow(&self.fd), &Call::SetCsb { atok, ktoa })?;
        let Some(bind) = new else { return Ok(()) };
        self.to.enter_csb_mode();
        self.to.publish(bind)
    }
}

/// Says why.
fn explain_refusal(request: &mut Request, refusal: &Refusal) {
    if !port::is_end_of_walk(request, refusal) {
        explained(&port::what(request), refusal);
    }
}

//! NIOCCTRL and the legacy requests of a program, from its memory to the daemon and back.

use nm_abi::*;
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::SendFlags;
use uvale_engine::Host;
use uvale_link::channel::{call, send};
use uvale_link::proto::{AttachedNic, Call, Memory};
use uvale_port::request::{self as port, Answer};
use uvale_request::{Request, UserMemory, legacy};
use uvale_system::limits::{descriptors, reached};
use uvale_system::refusal::Refusal;

use crate::description::Description;
use crate::say::{Level, say};

/// What a program needs its own process for: there is none of ours in it.
const NOT_FROM_BESIDE: &str = "a program that is served from beside it (uvale run --reach=notify) cannot give its own \
                               memory to netmap: link it dynamically";

/// NIOCCTRL with the argument `arg`.
pub fn control(to: &Description, memory: &dyn UserMemory, arg: u64) -> Result<(), Errno> {
    let mut request = Request::copy_in(memory, arg).inspect_err(|errno| {
        explain(
            "NIOCCTRL",
            &Refusal::new(*errno, "the request cannot be read"),
        );
    })?;
    let served = serve(to, &mut request);
    request.copy_out(memory, arg, served)
}

/// The ioctls from before NIOCCTRL.
pub fn old(to: &Description, memory: &dyn UserMemory, command: u32, arg: u64) -> Result<(), Errno> {
    legacy::ioctl(command, memory, arg, &mut |request| serve(to, request))
}

fn serve(to: &Description, request: &mut Request) -> Result<(), Errno> {
    carry_out(to, request).map_err(|refusal| {
        if !port::is_end_of_walk(request, &refusal) {
            explain(&port::what(request), &refusal);
        }
        refusal.errno
    })
}

/// The daemon's part, then ours.
fn carry_out(to: &Description, request: &mut Request) -> Result<(), Refusal> {
    refuse_own_memory(request)?;
    let Answer {
        served,
        bound,
        extra,
        attached,
        ..
    } = ask(to, request)?;
    let is_new = bound.is_some();
    let taken = match bound {
        Some(bound) => to.bind(*bound),
        None => Ok(()),
    };
    if let Err(refusal) = taken.and(served) {
        // If it cannot be used, undo it.
        if is_new {
            let _ = call(to.device().as_fd(), &Call::Unbind);
        }
        return Err(refusal);
    }
    if let Some(nic) = attached {
        open_attached(to, request, &nic)?;
    }
    if !extra.is_empty()
        && let Some(bound) = to.bound()
    {
        extra.chain(bound.attachment.region());
        // If this is lost, the daemon keeps counting them as unchained.
        let _ = send(to.device().as_fd(), &Call::Chained, &[], SendFlags::empty());
    }
    Ok(())
}

fn ask(to: &Description, request: &mut Request) -> Result<Answer, Refusal> {
    let mut facts = port::facts(request);
    facts.session = to.session.session();
    let is_register = request.header.nr_reqtype == NETMAP_REQ_REGISTER;
    if is_register && request.option(NETMAP_REQ_OPT_EXTMEM).is_some() && to.bound().is_none() {
        say(Level::Refusal, NOT_FROM_BESIDE);
        facts.memory = Some(Memory::Refused(Errno::OPNOTSUPP));
    }
    port::ask(to.device().as_fd(), request, facts, None)
}

/// CSB mode is set up in the program's memory, and a sync loop runs there.
fn refuse_own_memory(request: &mut Request) -> Result<(), Refusal> {
    let reqtype = request.header.nr_reqtype;
    if ![NETMAP_REQ_REGISTER, NETMAP_REQ_CSB_ENABLE].contains(&reqtype) {
        return Ok(());
    }
    match request.option(NETMAP_REQ_OPT_CSB) {
        Some(option) => {
            option.header.nro_status = Errno::OPNOTSUPP.raw_os_error() as u32;
            Err(Refusal::new(Errno::OPNOTSUPP, NOT_FROM_BESIDE))
        }
        None => Ok(()),
    }
}

/// A NIC on a switch needs its wire; without one it is detached again.
fn open_attached(
    to: &Description,
    request: &mut Request,
    nic: &AttachedNic,
) -> Result<(), Refusal> {
    to.opener().attached(nic).inspect_err(|_| {
        let _ = ask(to, &mut port::detach(request));
    })
}

/// Why the program gets an error.
pub fn explain(what: &str, refusal: &Refusal) {
    let errno = refusal.named();
    let why = of_who_serves(refusal);
    say(Level::Refusal, &format!("{what}: {errno}: {why}"));
}

/// Its sentence. Limits of this process are not the program's.
pub fn of_who_serves(refusal: &Refusal) -> String {
    match refusal.errno {
        Errno::MFILE if reached(Errno::MFILE).as_ref() == Some(&refusal.why) => format!(
            "uvale run, which serves the program, has as many descriptors open as it may: {}",
            descriptors()
        ),
        _ => refusal.why.clone(),
    }
}

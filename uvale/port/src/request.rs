//! A program's request on its way to the daemon, and what comes back: of ports of ours, in the shim, and of programs
//! that are served from beside them.

use nm_abi::*;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use uvale_link::channel::call_with;
use uvale_link::proto::{AttachedNic, Call, Facts, Reply, decode, refused};
use uvale_link::session::whole;
use uvale_request::{Interface, Request, interface_part, name_of, type_name};
use uvale_shared::binding::Binding;
use uvale_shared::extra::Extra;
use uvale_system::refusal::Refusal;

/// What the daemon has made of a request.
pub struct Answer {
    /// served, or why not
    pub served: Result<(), Refusal>,
    /// what the descriptor is bound to since then
    pub bound: Option<Box<Binding>>,
    /// extra buffers to chain
    pub extra: Extra,
    /// entries of a CSB to set up
    pub csb_entries: u32,
    /// a NIC that is on a switch since then
    pub attached: Option<AttachedNic>,
}

/// Asks the daemon behind `device`, an open description of the device; `request` becomes what came of it. With
/// `facts` goes the memory that they speak of.
///
/// # Errors
/// The daemon could not be asked.
pub fn ask(
    device: BorrowedFd<'_>,
    request: &mut Request,
    facts: Facts,
    memory: Option<BorrowedFd<'_>>,
) -> Result<Answer, Refusal> {
    let message = Call::Request {
        request: request.encode(),
        facts,
    };
    let (reply, fds) = call_with(device, &message, memory)?;
    let Reply::Done {
        served,
        request: done,
        bound,
        mut extra,
        csb_entries,
        attached,
    } = reply
    else {
        return Err(refused(reply));
    };
    if let Some(long) = fds.first() {
        extra = decode(&whole(long)?).ok_or(Errno::PROTO)?;
    }
    *request = Request::decode(&done).ok_or(Errno::PROTO)?;
    Ok(Answer {
        served,
        bound,
        extra,
        csb_entries,
        attached,
    })
}

/// What the daemon has to know besides the request of a process that stands where this one does.
pub fn facts(request: &mut Request) -> Facts {
    let interface = interface(request);
    let is_of_a_switch = matches!(
        request.header.nr_reqtype,
        NETMAP_REQ_VALE_DETACH | NETMAP_REQ_VALE_POLLING_ENABLE | NETMAP_REQ_VALE_POLLING_DISABLE
    );
    Facts {
        netns: match is_of_a_switch && interface.is_none() {
            true => uvale_wire::interface::own_namespace(),
            false => 0,
        },
        interface,
        ..Facts::default()
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
            uvale_wire::interface::look_up(interface_part(&name))
        }
        _ => None,
    }
}

/// The request that takes a VALE_ATTACH back.
pub fn detach(request: &Request) -> Request {
    let mut undo = request.clone();
    undo.header.nr_reqtype = NETMAP_REQ_VALE_DETACH;
    undo.body = nmreq_vale_detach::default().as_bytes().to_vec();
    undo
}

/// Request and port, for messages.
pub fn what(request: &mut Request) -> String {
    let name = name_of(&mut request.header);
    let kind = type_name(request.header.nr_reqtype);
    format!("{kind} {}", String::from_utf8_lossy(&name))
}

/// Is it the end of a walk by VALE_LIST, which is no failure?
pub fn is_end_of_walk(request: &Request, refusal: &Refusal) -> bool {
    refusal.errno == Errno::NOENT && request.header.nr_reqtype == NETMAP_REQ_VALE_LIST
}

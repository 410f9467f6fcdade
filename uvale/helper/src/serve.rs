//! One request, in a process of its own.

use std::time::Duration;

use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use uvale_link::nic_helper::{Question, hear};
use uvale_request::Interface;
use uvale_system::refusal::Refusal;
use uvale_system::sys::{Fd, network_of};
use uvale_wire::interface::look_up;
use uvale_wire::netlink::{DUMP, Message, Socket, Subject};
use uvale_wire::{Kind, Opened, Wanted};

use crate::allow::{Caller, Place, Rules};
use crate::{Options, cable, log};

/// How long a caller may take for its question.
const QUESTION: Duration = Duration::from_secs(2);

/// Hears the question on `connection`, and opens what it asks for if the caller may have it.
pub(crate) fn serve(
    connection: &Fd,
    caller: &Caller,
    options: &Options,
) -> Result<Opened, Refusal> {
    let allow = options.allow.display();
    let rules = Rules::read(&options.allow).map_err(|why| {
        log(format_args!("nobody is allowed anything: {why}"));
        Refusal::new(
            Errno::ACCESS,
            format!("nobody is allowed anything, because of a fault in {allow}"),
        )
    })?;
    let uid = caller.uid;
    if !rules.know(caller) {
        // What it has sent stays unread.
        let why = format!("no line of {allow} is about user {uid}");
        return Err(Refusal::new(Errno::ACCESS, why));
    }
    let (question, socket) = hear(connection.as_fd(), QUESTION)?;
    let opened = open(&question, &socket, caller, &rules, options);
    let outcome = match &opened {
        Ok(opened) => format!("{:?}, {} descriptors", opened.shape.kind, opened.fds.len()),
        Err(refusal) => format!("refused: {refusal}"),
    };
    log(format_args!(
        "user {uid} (pid {}): {}: {outcome}",
        caller.pid, question.name
    ));
    opened
}

fn open(
    question: &Question,
    socket: &Fd,
    caller: &Caller,
    rules: &Rules,
    options: &Options,
) -> Result<Opened, Refusal> {
    let name = question.name.as_str();
    let place = enter(socket)?;
    let links = links()?;
    let is_it = |link: &&(u32, String)| link.0 == question.index && link.1 == name;
    let Some((index, _)) = links.iter().find(is_it) else {
        let why = format!(
            "{name}: no interface of this name and number is in the caller's network namespace"
        );
        return Err(Refusal::new(Errno::NXIO, why));
    };
    if !rules.allow(caller, place, name) {
        let allow = options.allow.display();
        let other = if place == Place::Own { "" } else { "*/" };
        let why = format!(
            "{other}{name} is not allowed for user {} in {allow}",
            caller.uid
        );
        return Err(Refusal::new(Errno::ACCESS, why));
    }
    let gone = || Refusal::new(Errno::NXIO, format!("{name}: the interface has gone"));
    let interface: Interface = look_up(name.as_bytes())
        .filter(|found| found.index == *index)
        .ok_or_else(gone)?;
    let wanted = Wanted {
        name,
        interface: &interface,
        rings: question.rings,
        host: true,
        steal: true,
        programs: caller.uid == 0,
        carrier: question.carrier,
    };
    // Linux lets a packet socket go to any interface of its namespace, those too that appear later. Where a caller may
    // not use them all they are left out of his reach.
    let opened = match rules.allow_all(caller, place) {
        true => uvale_wire::open(&wanted)?,
        false => cable::open(&wanted)?,
    };
    match opened.shape.kind {
        Kind::Nothing => Err(Refusal::new(Errno::PERM, opened.shape.lacks.join("; "))),
        _ => Ok(opened),
    }
}

/// Goes to the network namespace that `socket` is of.
fn enter(socket: &Fd) -> Result<Place, Refusal> {
    let lacks = |e, what: &str| Refusal::new(e, format!("the nic-helper lacks {what}"));
    let namespace = |socket: &Fd| match network_of(socket) {
        Ok(namespace) => {
            rustix::fs::fstat(&namespace).map(|stat| (namespace, (stat.st_dev, stat.st_ino)))
        }
        Err(e) => Err(e),
    };
    let (wanted, id) = namespace(socket).map_err(|e| match e {
        Errno::NOTSOCK => Refusal::new(
            e,
            "what came with the question is no socket of a network namespace",
        ),
        Errno::PERM => lacks(e, "CAP_NET_ADMIN"),
        other => Refusal::new(other, format!("the caller's network namespace: {other}")),
    })?;
    let (kind, flags) = (SocketType::DGRAM, SocketFlags::CLOEXEC);
    let own = socket_with(AddressFamily::UNIX, kind, flags, None).map(Fd::from);
    let own = own.and_then(|own| namespace(&own));
    if own.map_err(|e| lacks(e, "CAP_NET_ADMIN"))?.1 == id {
        return Ok(Place::Own);
    }
    move_into_link_name_space(wanted.as_fd(), Some(LinkNameSpaceType::Network)).map_err(
        |e| match e {
            Errno::PERM => lacks(
                e,
                "CAP_SYS_ADMIN, without which it cannot go to other network namespaces",
            ),
            other => Refusal::new(other, format!("the caller's network namespace: {other}")),
        },
    )?;
    Ok(Place::Other)
}

/// `linux/rtnetlink.h`, `linux/if_link.h`: `struct ifinfomsg` has 16 bytes, the number at 4.
const RTM_GETLINK: u16 = 18;
const RTM_NEWLINK: u16 = 16;
const IFINFO: usize = 16;
const IFNAME: u16 = 3;

/// Numbers and names of all interfaces of this namespace.
fn links() -> Result<Vec<(u32, String)>, Refusal> {
    let fail = |why: String| {
        Refusal::new(
            Errno::PROTO,
            format!("the interfaces cannot be listed: {why}"),
        )
    };
    let socket = Socket::open(Subject::Route).map_err(|e| fail(e.to_string()))?;
    let answers = socket.ask(Message::new(RTM_GETLINK, DUMP, &[0; IFINFO]));
    let answers = answers.map_err(|e| fail(e.to_string()))?;
    let link = |answer: &uvale_wire::netlink::Answer| {
        let index = answer.family(IFINFO)?.get(4..8)?;
        let name = answer.attributes(IFINFO).find(IFNAME)?.text();
        let index = u32::from_ne_bytes(index.try_into().ok()?);
        Some((index, String::from_utf8_lossy(name).into_owned()))
    };
    let links = answers.iter().filter(|answer| answer.kind == RTM_NEWLINK);
    // One that is not understood could be one that the caller may not use.
    let links: Option<Vec<_>> = links.map(link).collect();
    links.ok_or_else(|| fail("an answer is cut".into()))
}

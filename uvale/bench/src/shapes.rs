//! Columns that several suites have.

use std::os::fd::OwnedFd;

use super::addresses::{RECEIVER, SENDER};
use super::contest::{Bench, Part};
use super::limit::part::Part as Limit;
use super::port::Opening;
use super::traffic::{Receiving, Sending, Taking};
use super::worker::Role;

/// A sender of small or large packets from one address to another one.
pub fn sending(port: Opening, batch: u32, len: u16) -> Sending {
    Sending {
        port,
        batch,
        len: len.into(),
        flows: vec![(RECEIVER, SENDER)],
        touch: false,
        blocking: false,
    }
}

/// A receiver that has one port.
pub fn receiving(port: Opening, blocking: bool) -> Receiving {
    Receiving {
        ports: vec![taking(port, &[RECEIVER])],
        blocking,
        touch: false,
        chains: false,
    }
}

/// A port that is drained, and what it tells.
pub fn taking(port: Opening, macs: &[u64]) -> Taking {
    Taking {
        port,
        macs: macs.to_vec(),
        counts: true,
    }
}

/// A receiver on the second processor, and a sender on the first one.
pub fn pair(bench: &Bench, receiver: Role, sender: Role) -> Vec<Part> {
    vec![
        Part::new(bench.cpus[1], receiver),
        Part::new(bench.cpus[0], sender),
    ]
}

/// The limit of one sender and one receiver on a switch.
pub fn limit_vale(
    bench: &Bench,
    lane: usize,
    (len, batch): (u16, u32),
    dmacs: &[u64],
) -> Vec<Part> {
    let sender = Limit::Vale {
        lanes: vec![lane],
        batch,
        len,
        dmacs: dmacs.to_vec(),
    };
    limit_pair(bench, lane, sender)
}

/// A sender of the limit, and a receiver.
pub fn limit_pair(bench: &Bench, lane: usize, sender: Limit) -> Vec<Part> {
    let receiver = Limit::Receive {
        lanes: vec![lane],
        chains: matches!(sender, Limit::Memcpy { .. }),
    };
    pair(bench, Role::Limit(receiver), Role::Limit(sender))
}

/// The same two, and what each of their syncs owes.
pub fn synced(parts: Vec<Part>) -> Vec<Part> {
    let pipe = |part: &Part| matches!(part.role, Role::Limit(Limit::Pipe { .. }));
    let pipe = parts.iter().any(pipe);
    let synced = |part: Part| match part.role {
        Role::Limit(limit) => {
            let limit = Box::new(limit);
            let synced = Limit::Synced { part: limit, pipe };
            Part::new(part.cpu, Role::Limit(synced))
        }
        _ => part,
    };
    parts.into_iter().map(synced).collect()
}

/// One sender and one receiver on a switch of that name.
pub fn on_switch(
    bench: &Bench,
    switch: &str,
    (len, batch): (u16, u32),
    blocking: bool,
) -> Vec<Part> {
    let port = |name: &str| Opening::of(format!("{switch}:{name}"));
    let receiver = Role::Receive(receiving(port("rx"), blocking));
    pair(bench, receiver, Role::Send(sending(port("tx"), batch, len)))
}

/// One sender and one receiver on a pipe of that name.
pub fn on_pipe(bench: &Bench, pipe: &str, (len, batch): (u16, u32), blocking: bool) -> Vec<Part> {
    let port = |end: &str| Opening::of(format!("{pipe}{end}1"));
    let receiver = Role::Receive(receiving(port("}"), blocking));
    pair(bench, receiver, Role::Send(sending(port("{"), batch, len)))
}

/// A remark for tables in which up to so many processes share processors.
pub fn shared(bench: &Bench, processes: usize) -> String {
    match bench.cpus.len() {
        n if processes <= n => String::new(),
        n => format!(" (up to {processes} processes on {n} processors)"),
    }
}

/// Two ends for messages.
pub fn socketpair() -> Result<(OwnedFd, OwnedFd), String> {
    rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|e| format!("socketpair: {e}"))
}

//! epoll: which descriptions are in a set is known from what epoll_ctl was told, or read from the kernel.

use std::sync::Arc;

use uvale_engine::Events;

use super::Call;
use super::waiting::sleeps;
use crate::description::Description;
use crate::kernel::Answer;
use crate::process::Member;
use crate::waits::Wait;

const EDGES: u32 = libc::EPOLLET as u32;

/// epoll_ctl(2).
pub fn control(call: &Call<'_>) -> Answer {
    let (set, operation, fd) = (call.number(0), call.number(1), call.number(2));
    let Some(of) = call.find(fd) else {
        return Answer::Continue;
    };
    let events = match operation {
        libc::EPOLL_CTL_ADD | libc::EPOLL_CTL_MOD => {
            call.read::<4>(call.args[3]).map(u32::from_ne_bytes)
        }
        _ => None,
    };
    let mut members = members(call, set).to_vec();
    members.retain(|m| m.fd != fd || !Arc::ptr_eq(&m.of, &of));
    if let Some(events) = events {
        members.push(Member {
            fd,
            of: of.clone(),
            events,
        });
    }
    // Others may know the same set, by other numbers.
    call.supervisor.processes.forget_sets();
    call.process.learn_set(set, members);
    if let Some(events) = events {
        look(call, fd, &of, events, true);
    }
    call.uses(|swapped| swapped.fd == fd)
}

/// epoll_wait(2), epoll_pwait(2).
pub fn wait(call: &Call<'_>) -> Answer {
    waits(call, || call.number(3) != 0)
}

/// epoll_pwait2(2).
pub fn wait_until(call: &Call<'_>) -> Answer {
    waits(call, || sleeps(call, call.args[3]))
}

fn waits(call: &Call<'_>, sleeps: impl Fn() -> bool) -> Answer {
    let members = members(call, call.number(0));
    if members.is_empty() {
        call.supervisor.refresh();
        return Answer::Continue;
    }
    let sleeps = sleeps();
    let mut is_overstated = false;
    for member in members.iter() {
        is_overstated |= look(call, member.fd, &member.of, member.events, sleeps);
    }
    if is_overstated {
        call.supervisor.hold();
    }
    Answer::Continue
}

/// True if the kernel believes that more is there than is.
fn look(call: &Call<'_>, fd: i32, of: &Arc<Description>, events: u32, sleeps: bool) -> bool {
    let wait = Wait {
        events: events as Events,
        edges: events & EDGES != 0,
        sleeps,
    };
    // The number may have been closed, or be another one's by now; then the last one that was seen stands.
    if call.find(fd).is_some_and(|found| Arc::ptr_eq(&found, of)) {
        of.is_at(call.process.place(fd));
    }
    if wait.edges {
        of.wait_on(wait.events);
    }
    call.look(of, wait).is_overstated
}

fn members(call: &Call<'_>, set: i32) -> Arc<[Member]> {
    if let Some(known) = call.process.known_set(set) {
        return known;
    }
    let info = format!("/proc/{}/fdinfo/{set}", call.process.tgid);
    let lines = std::fs::read_to_string(info).unwrap_or_default();
    let found = lines.lines().filter_map(parse);
    let found = found.filter_map(|(fd, events, inode)| {
        let of = call.supervisor.description(inode)?;
        Some(Member { fd, of, events })
    });
    call.process.learn_set(set, found.collect())
}

/// A line of a set: `tfd: 5 events: 80002005 data: 0 pos:0 ino:1a2b sdev:9`.
fn parse(line: &str) -> Option<(i32, u32, u64)> {
    let rest = line.strip_prefix("tfd:")?;
    let (fd, rest) = rest.split_once("events:")?;
    let (events, _) = rest.trim_start().split_once(' ')?;
    let (_, inode) = rest.split_once("ino:")?;
    let inode = inode.split_ascii_whitespace().next()?;
    Some((
        fd.trim().parse().ok()?,
        u32::from_str_radix(events, 16).ok()?,
        u64::from_str_radix(inode, 16).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_set() {
        let line = "tfd:        5 events: 80002005 data:                0  pos:0 ino:1a2b sdev:9";
        assert_eq!(parse(line), Some((5, 0x8000_2005, 0x1a2b)));
        assert_eq!(parse("pos:\t0"), None);
    }
}

//! epoll_ctl: who is registered where.

use super::cookie;
use super::set::{ET, Epoll, Interest, KICK};
use crate::device::{Errno, Result};
use crate::ground::guarded::guarded;
use crate::ground::raw::{self, libc_call};
use crate::ground::vfork::borrowed_memory;
use crate::ground::{memory, next, section};
use crate::interpose::slot::Ref;
use crate::interpose::{entries, handlers, lookup, table};
use libc::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLIN, c_int, c_short, epoll_event};
use std::os::fd::RawFd;

pub unsafe fn ctl(epfd: c_int, op: c_int, fd: c_int, event: *mut epoll_event) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        if table::word(fd) == 0 && !table::ours(table::word(epfd)) {
            return next::epoll_ctl(epfd, op, fd, event);
        }
        let event = match read_event(op, event) {
            Ok(event) => event,
            Err(e) => return raw::fail(e.0),
        };
        match section::run(|| change(epfd, op, fd, event)) {
            Some(r) => raw::answer(r.map(|()| 0)),
            None => {
                let mut event = event;
                let p = event
                    .as_mut()
                    .map_or(core::ptr::null_mut(), |e| e as *mut epoll_event);
                next::epoll_ctl(epfd, op, fd, p)
            }
        }
    }
}

/// The program's event, for operations that have one.
unsafe fn read_event(op: c_int, event: *const epoll_event) -> Result<Option<epoll_event>> {
    if op == EPOLL_CTL_DEL || event.is_null() {
        return Ok(None);
    }
    if !handlers::taken_over() {
        // The kernel says of the pointer first whether it is bad, then of the descriptors.
        let args = [
            usize::MAX,
            EPOLL_CTL_ADD as usize,
            usize::MAX,
            event as usize,
            0,
            0,
        ];
        // SAFETY: there is no descriptor -1.
        if unsafe { raw::call(libc::SYS_epoll_ctl, args) } == -libc::EFAULT as isize {
            return Err(Errno(libc::EFAULT));
        }
    }
    // SAFETY: two integers.
    unsafe { memory::read_if(event) }
}

/// `None`: for the kernel alone.
#[inline(never)]
fn change(epfd: RawFd, op: c_int, fd: RawFd, event: Option<epoll_event>) -> Option<Result<()>> {
    if borrowed_memory() {
        return None;
    }
    let is_mark = matches!(table::word(fd), table::EPOLL | table::EPOLL_WAITED);
    let target = if is_mark {
        // Plain waits are no longer noted once there is an object instead of a mark.
        lookup::epoll_slot(fd).inspect(|r| {
            r.epoll().inspect(|e| e.suspect());
        })
    } else {
        lookup::slot(fd).filter(|r| r.device().is_some() || r.epoll().is_some())
    };
    let Some(target) = target else {
        if op == EPOLL_CTL_ADD
            && let Some(e) = lookup::slot(epfd).as_ref().and_then(Ref::epoll)
        {
            e.state.lock().ordinary = true;
        }
        return None;
    };
    if event.is_none() && op != EPOLL_CTL_DEL {
        return Some(Err(Errno(libc::EFAULT)));
    }
    let event = event.unwrap_or(epoll_event { events: 0, u64: 0 });
    match op {
        EPOLL_CTL_ADD if target.device().is_some() => {
            let added = add_device(epfd, fd, target.clone(), event);
            Some(added.inspect(|()| ask(&target, fd, event.events)))
        }
        EPOLL_CTL_ADD => Some(add_nested(epfd, fd, target, event)),
        EPOLL_CTL_MOD | EPOLL_CTL_DEL => {
            let set = lookup::slot(epfd)?;
            let e = set.epoll()?;
            if op == EPOLL_CTL_MOD {
                let modified = modify(e, epfd, fd, &target, event);
                modified.map(|r| r.inspect(|()| ask(&target, fd, event.events)))
            } else {
                delete(e, epfd, fd, &target)
            }
        }
        _ => None,
    }
}

/// The kernel polls what is added or changed, and a poll on a netmap port is a sync: what waits in
/// its tx rings is sent. What it answers is asked again by the wait.
fn ask(target: &Ref, fd: RawFd, events: u32) {
    if let Some(device) = target.device() {
        device.poll(fd, events as c_short);
    }
}

fn new_interest(fd: RawFd, target: Ref, event: epoll_event) -> Interest {
    let liveness = target
        .device()
        .map_or(-1, |d| guarded(-1, || d.file.liveness()));
    Interest {
        id: cookie::new_id(),
        fd,
        target,
        liveness,
        events: event.events,
        data: event.u64,
        seen: 0,
        fresh: true,
        off: false,
        kicked: false,
        failed: false,
        emulated: false,
    }
}

fn add_device(epfd: RawFd, fd: RawFd, target: Ref, event: epoll_event) -> Result<()> {
    let mut new = new_interest(fd, target, event);
    new.emulated = true;
    let mark = cookie::interest(new.id);
    // Silent at first: the set must be active before the kernel reports a cookie to anybody. All
    // that can be wrong with the call is found here, by the kernel.
    raw::epoll_ctl(epfd, EPOLL_CTL_ADD, fd, 0, mark)?;
    let Some(set) = lookup::epoll_slot(epfd) else {
        return Err(Errno(libc::ENOMEM));
    };
    let Some(e) = set.epoll() else {
        return Err(Errno(libc::EINVAL));
    };
    activate(&set, e, epfd);
    let mut state = e.state.lock();
    state
        .interests
        .retain(|i| i.alive() && !(i.fd == fd && i.target == new.target));
    if new.liveness >= 0 {
        // Already there for another device of the same daemon: fine.
        let _ = raw::epoll_ctl(
            epfd,
            EPOLL_CTL_ADD,
            new.liveness,
            EPOLLIN as u32,
            cookie::liveness(new.liveness),
        );
    }
    new.kicked = e.must_kick();
    let _ = raw::epoll_ctl(
        epfd,
        EPOLL_CTL_MOD,
        fd,
        if new.kicked { KICK } else { EPOLLIN as u32 },
        mark,
    );
    state.interests.push(new);
    Ok(())
}

/// A set without devices stays the kernel's business; it is noted, because it may get some later.
fn add_nested(epfd: RawFd, fd: RawFd, target: Ref, event: epoll_event) -> Result<()> {
    raw::epoll_ctl(epfd, EPOLL_CTL_ADD, fd, event.events, event.u64)?;
    let Some(set) = lookup::epoll_slot(epfd) else {
        return Ok(());
    };
    let (Some(e), Some(child)) = (set.epoll(), target.epoll()) else {
        return Ok(());
    };
    // Neither set's plain waits are noted any more.
    child.suspect();
    e.suspect();
    {
        let mut state = e.state.lock();
        state.ordinary = true;
        state
            .interests
            .retain(|i| i.alive() && !(i.fd == fd && i.target == target));
        state
            .interests
            .push(new_interest(fd, target.clone(), event));
    }
    if child.active() {
        emulate(&set, e, epfd, &target);
    }
    Ok(())
}

/// Nested set `target` has devices now: from here on its readiness in `set` is ours to tell.
fn emulate(set: &Ref, e: &Epoll, epfd: RawFd, target: &Ref) {
    activate(set, e, epfd);
    for i in e
        .state
        .lock()
        .interests
        .iter_mut()
        .filter(|i| i.target == *target && !i.emulated)
    {
        i.emulated = true;
        // The kernel keeps track of a nested set's edges.
        let events = EPOLLIN as u32 | i.events & ET;
        let _ = raw::epoll_ctl(epfd, EPOLL_CTL_MOD, i.fd, events, cookie::interest(i.id));
    }
}

/// The first device came: dormant -> active, and the same for sets around this one.
fn activate(set: &Ref, e: &Epoll, epfd: RawFd) {
    {
        let mut state = e.state.lock();
        if e.active() {
            return;
        }
        state.ordinary |= has_ordinary(epfd);
        e.activate();
    }
    entries::retag(set);
    for (fd, outer) in lookup::epoll_sets() {
        let Some(around) = outer.epoll() else {
            continue;
        };
        let holds = outer != *set
            && around
                .state
                .lock()
                .interests
                .iter()
                .any(|i| i.target == *set && !i.emulated);
        if holds {
            emulate(&outer, around, fd, set);
        }
    }
}

fn modify(
    e: &Epoll,
    epfd: RawFd,
    fd: RawFd,
    target: &Ref,
    event: epoll_event,
) -> Option<Result<()>> {
    let mut state = e.state.lock();
    let i = state
        .interests
        .iter_mut()
        .find(|i| i.fd == fd && i.target == *target)?;
    if event.events & libc::EPOLLEXCLUSIVE as u32 != 0 {
        return Some(Err(Errno(libc::EINVAL)));
    }
    (i.events, i.data, i.fresh, i.off) = (event.events, event.u64, true, false);
    if !i.emulated {
        return Some(raw::epoll_ctl(
            epfd,
            EPOLL_CTL_MOD,
            fd,
            event.events,
            event.u64,
        ));
    }
    let mark = cookie::interest(i.id);
    if i.target.epoll().is_some() {
        let _ = raw::epoll_ctl(
            epfd,
            EPOLL_CTL_MOD,
            fd,
            EPOLLIN as u32 | i.events & ET,
            mark,
        );
    } else if !i.failed && e.must_kick() {
        i.kicked = true;
        let _ = raw::epoll_ctl(epfd, EPOLL_CTL_MOD, fd, KICK, mark);
    }
    Some(Ok(()))
}

fn delete(e: &Epoll, epfd: RawFd, fd: RawFd, target: &Ref) -> Option<Result<()>> {
    let mut state = e.state.lock();
    let at = state
        .interests
        .iter()
        .position(|i| i.fd == fd && i.target == *target)?;
    let gone = state.interests.swap_remove(at);
    let answer = raw::epoll_ctl(epfd, EPOLL_CTL_DEL, fd, 0, 0);
    if gone.liveness >= 0 && !state.interests.iter().any(|i| i.liveness == gone.liveness) {
        let _ = raw::epoll_ctl(epfd, EPOLL_CTL_DEL, gone.liveness, 0, 0);
    }
    Some(if gone.failed { Ok(()) } else { answer })
}

/// Has the kernel anything in this set that is not ours? When in doubt, yes.
fn has_ordinary(epfd: RawFd) -> bool {
    let mut path = *b"/proc/self/fdinfo/\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut digits = [0u8; 10];
    let mut n = epfd as u32;
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    path[18..18 + digits.len() - at].copy_from_slice(&digits[at..]);
    let mut text = [0u8; 4096];
    // SAFETY: `path` ends in zero bytes; the buffer outlives the read and its length is given.
    let len = unsafe {
        let fd = libc_call!(
            libc::SYS_openat,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::O_RDONLY | libc::O_CLOEXEC
        ) as RawFd;
        if fd < 0 {
            return true;
        }
        let len = libc_call!(libc::SYS_read, fd, text.as_mut_ptr(), text.len());
        raw::close(fd);
        len
    };
    match core::str::from_utf8(&text[..len.max(0) as usize]) {
        Ok(t) if len > 0 && (len as usize) < text.len() => t
            .lines()
            .filter(|l| l.starts_with("tfd:"))
            .any(|l| !ours(l)),
        _ => true,
    }
}

/// A line of fdinfo: `tfd: 5 events: 19 data: 5b... pos:...`, data in hexadecimal.
fn ours(line: &str) -> bool {
    let data = line
        .split_once("data:")
        .and_then(|(_, rest)| rest.split_whitespace().next());
    data.and_then(|d| u64::from_str_radix(d, 16).ok())
        .is_some_and(|d| cookie::read(d).is_some())
}

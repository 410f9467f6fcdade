//! From a descriptor's number to what is behind it.

use super::epoll::set::Epoll;
use super::slot::{Device, Object, Ref, in_word};
use super::table::{self, CANDIDATE, EPOLL, ours, word};
use crate::device::File;
use crate::driver;
use crate::ground::guarded::guarded;
use crate::ground::vfork::borrowed_memory;
use libc::c_int;
use std::sync::Arc;

/// A reference to the slot behind `fd`, device or epoll, dormant ones included.
#[inline(always)]
pub fn slot(fd: c_int) -> Option<Ref> {
    slot_in(fd, word(fd))
}

/// The same, of which the table has just said `w`.
#[inline(always)]
pub fn slot_in(fd: c_int, w: usize) -> Option<Ref> {
    // A candidate has no slot.
    if let Some(r) = in_word(w).and_then(Ref::try_take)
        && word(fd) == w
    {
        return Some(r);
    }
    slot_slow(fd)
}

/// A candidate, or a slot that was closed between the two looks.
#[cold]
fn slot_slow(fd: c_int) -> Option<Ref> {
    loop {
        let w = word(fd);
        if w == CANDIDATE {
            if !adopt(fd) {
                return None;
            }
            continue;
        }
        let r = Ref::try_take(in_word(w)?);
        // The slot may have been closed, and even reused for another descriptor, between the two reads:
        // the reference counts only if the table still says so.
        if word(fd) == w
            && let Some(r) = r
        {
            return Some(r);
        }
    }
}

/// Asks the driver about a candidate and enters the answer. False: not in a vfork child.
fn adopt(fd: c_int) -> bool {
    if borrowed_memory() {
        return false;
    }
    let file = guarded(None, || driver().adopt(fd));
    let found =
        file.map(|f| same_file(&f).unwrap_or_else(|| Ref::new(Object::Device(Device::new(f)))));
    match found {
        None => {
            table::change(fd, CANDIDATE, 0);
        }
        Some(r) => {
            r.add_fd();
            if table::change(fd, CANDIDATE, r.word()) {
                let _ = r.into_raw();
            } else {
                r.drop_fd();
                table::change(fd, CANDIDATE, 0);
            }
        }
    }
    true
}

/// Another description already known for this file object.
fn same_file(file: &Arc<dyn File>) -> Option<Ref> {
    let mut found = None;
    table::for_each(0, c_int::MAX, |fd, w| {
        if found.is_none() && in_word(w).is_some() {
            found = slot(fd).filter(|r| r.device().is_some_and(|d| d.file.is(file)));
        }
    });
    found
}

/// The device behind `fd`, if it is one.
#[inline(always)]
pub fn device(fd: c_int) -> Option<DeviceRef> {
    let w = word(fd);
    if ours(w) { device_in(fd, w) } else { None }
}

/// The same, of which the table has just said `w`, a word of ours.
#[inline(always)]
fn device_in(fd: c_int, w: usize) -> Option<DeviceRef> {
    slot_in(fd, w)
        .filter(|r| r.device().is_some())
        .map(DeviceRef)
}

/// A reference that is known to hold a device.
pub struct DeviceRef(Ref);

impl DeviceRef {
    pub fn slot(&self) -> &Ref {
        &self.0
    }
}

impl core::ops::Deref for DeviceRef {
    type Target = Device;
    #[inline(always)]
    fn deref(&self) -> &Device {
        match self.0.object() {
            Object::Device(d) => d,
            // SAFETY: `device_in` checked it, and a live slot's object never changes.
            _ => unsafe { core::hint::unreachable_unchecked() },
        }
    }
}

/// The epoll object of `fd`, which is made if only a mark (or nothing) stands there.
pub fn epoll_slot(fd: c_int) -> Option<Ref> {
    loop {
        let w = word(fd);
        if in_word(w).is_some() || w == CANDIDATE {
            return slot(fd).filter(|r| r.epoll().is_some());
        }
        let r = Ref::new(Object::Epoll(Epoll::new(w != EPOLL)));
        r.add_fd();
        if table::change(fd, w, r.word()) {
            let _ = r.clone().into_raw();
            return Some(r);
        }
        if !table::has_room(fd) {
            return None;
        }
    }
}

/// The epoll sets that are known, each under a number of its own.
pub fn epoll_sets() -> Vec<(c_int, Ref)> {
    let mut sets = Vec::new();
    table::for_each(0, c_int::MAX, |fd, w| {
        if in_word(w).is_some()
            && let Some(r) = slot(fd)
            && r.epoll().is_some()
        {
            sets.push((fd, r));
        }
    });
    sets
}

//! The mappings of this module, for those who must tell them from the program's own: they are no
//! part of what the program has asked for, and so not of what it locks into memory.

use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MremapFlags, ProtFlags};

use super::Memfd;
use super::pages::{HUGE_PAGE, Pages};

/// Mappings that are noted. More are possible: they are then locked with all others.
const NOTED: usize = 1024;
const PAGE: usize = 4096;

/// A mapping; start 0: none.
struct Note {
    start: AtomicUsize,
    len: AtomicUsize,
}

static NOTES: [Note; NOTED] = [const {
    Note {
        start: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
    }
}; NOTED];

/// Takes note of a mapping, or of its new length.
fn note(start: usize, len: usize) {
    let known = |n: &&Note| n.start.load(Ordering::Relaxed) == start;
    let take = |n: &&Note| {
        let empty = n.start.load(Ordering::Relaxed) == 0;
        let taken = || {
            n.start
                .compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed)
        };
        empty && taken().is_ok()
    };
    if let Some(note) = NOTES.iter().find(known).or_else(|| NOTES.iter().find(take)) {
        note.len.store(len, Ordering::Release);
    }
}

fn forget(start: usize) {
    if let Some(note) = NOTES
        .iter()
        .find(|n| n.start.load(Ordering::Relaxed) == start)
    {
        note.len.store(0, Ordering::Release);
        note.start.store(0, Ordering::Release);
    }
}

/// Address and length of each mapping.
pub fn own_mappings() -> impl Iterator<Item = (usize, usize)> {
    let all = NOTES.iter().map(|n| {
        let start = n.start.load(Ordering::Acquire);
        (start, n.len.load(Ordering::Acquire))
    });
    all.filter(|(start, len)| *start != 0 && *len != 0)
}

/// Unlocks all mappings, which somebody has locked together with the program's.
pub fn unlock_own_mappings() {
    for (start, len) in own_mappings() {
        // SAFETY: changes nothing but whether the pages may be written to swap; a range that
        // is unmapped meanwhile is an error and no more.
        let _ = unsafe { rustix::mm::munlock(core::ptr::with_exposed_provenance_mut(start), len) };
    }
}

/// Maps the first `len` bytes of `file` from `ofs` on, to be read, written and shared. At `at`, if that is
/// given: `EEXIST` if something is there.
///
/// A program may have said that what is mapped from now on is locked into memory. So that this is not,
/// one page is mapped and unlocked, and then grows.
pub(super) fn map(
    file: impl AsFd,
    ofs: u64,
    len: usize,
    at: Option<usize>,
) -> Result<NonNull<u8>, Errno> {
    let first = len.min(PAGE);
    let (address, fixed) = match at {
        Some(at) => (at, MapFlags::FIXED_NOREPLACE),
        None => (0, MapFlags::empty()),
    };
    // SAFETY: a new mapping where nothing is overlaps nothing.
    let page = unsafe {
        rustix::mm::mmap(
            core::ptr::without_provenance_mut(address),
            first,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED | MapFlags::NORESERVE | fixed,
            file,
            ofs,
        )?
    };
    let base = grown(page, first, len, at).inspect_err(|_| unmap(page.cast(), first))?;
    note(base.as_ptr().expose_provenance(), len);
    Ok(base)
}

/// Maps the first `len` bytes of `memfd`, its parts one behind the other.
pub(super) fn map_whole(memfd: &Memfd, len: usize) -> Result<NonNull<u8>, Errno> {
    let is_small = matches!(memfd.pages(), Pages::Any | Pages::Small);
    let base = match memfd.parts() {
        [one] if is_small => map(one, 0, len, None)?,
        _ => map_parts(memfd, len)?,
    };
    memfd.pages().advise(base.as_ptr(), len);
    Ok(base)
}

/// A place for `len` bytes, which begins where a huge page may. Nothing else comes there until it is unmapped.
pub(super) fn reserve(len: usize) -> Result<NonNull<u8>, Errno> {
    let room = len.checked_add(HUGE_PAGE).ok_or(Errno::NOMEM)?;
    // SAFETY: a new mapping where nothing is overlaps nothing. It only keeps the place.
    let page = unsafe {
        rustix::mm::mmap_anonymous(
            core::ptr::null_mut(),
            PAGE,
            ProtFlags::empty(),
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )?
    };
    let start = grown(page, PAGE, room, None).inspect_err(|_| unmap(page.cast(), PAGE))?;
    let before = start.align_offset(HUGE_PAGE);
    // SAFETY: `before` is less than a unit, and there is room for one more than is needed.
    let base = unsafe { start.add(before) };
    let behind = len.next_multiple_of(PAGE);
    for (from, bytes) in [(0, before), (before + behind, room - before - behind)] {
        if bytes > 0 {
            unmap(start.as_ptr().wrapping_add(from), bytes);
        }
    }
    Ok(base)
}

fn map_parts(memfd: &Memfd, len: usize) -> Result<NonNull<u8>, Errno> {
    let base = reserve(len)?;
    let placed = memfd.pieces(0, len).try_for_each(|piece| {
        if memfd.is_reserved() && piece.at == 0 {
            return map_reserved(piece.fd, piece.len, base);
        }
        let part = map(piece.fd, piece.ofs as u64, piece.len, None)?.as_ptr();
        forget(part.addr());
        // SAFETY: both mappings are new and ours, and nothing refers to them yet.
        let moved = unsafe {
            let to = base.as_ptr().add(piece.at);
            let may_move = MremapFlags::MAYMOVE;
            rustix::mm::mremap_fixed(part.cast(), piece.len, piece.len, may_move, to.cast())
        };
        moved.map(drop).inspect_err(|_| unmap(part, piece.len))
    });
    placed.inspect_err(|_| unmap(base.as_ptr(), len))?;
    note(base.as_ptr().expose_provenance(), len);
    Ok(base)
}

/// Maps the first `len` bytes of `file`, whole huge pages, at `base`. Such a mapping does not grow.
fn map_reserved(file: impl AsFd, len: usize, base: NonNull<u8>) -> Result<(), Errno> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::SHARED | MapFlags::NORESERVE | MapFlags::FIXED;
    // SAFETY: the place is ours, and nothing refers to it yet.
    unsafe { rustix::mm::mmap(base.as_ptr().cast(), len, access, flags, file, 0) }.map(drop)
}

/// Maps the first `len` bytes of `file` as they are: the memory of a device, which does not grow.
pub(super) fn map_at_once(file: impl AsFd, len: usize) -> Result<NonNull<u8>, Errno> {
    // SAFETY: a new mapping where nothing is overlaps nothing.
    let base = unsafe {
        rustix::mm::mmap(
            core::ptr::null_mut(),
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            file,
            0,
        )?
    };
    note(base.expose_provenance(), len);
    NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)
}

fn grown(
    page: *mut c_void,
    first: usize,
    len: usize,
    at: Option<usize>,
) -> Result<NonNull<u8>, Errno> {
    // An old kernel takes the address for a hint.
    if at.is_some_and(|at| at != page.addr()) {
        return Err(Errno::EXIST);
    }
    let may_move = match at {
        Some(_) => MremapFlags::empty(),
        None => MremapFlags::MAYMOVE,
    };
    // SAFETY: the mapping is new and ours, and nothing refers to it yet.
    let base = unsafe {
        let _ = rustix::mm::munlock(page, first);
        rustix::mm::mremap(page, first, len, may_move)?
    };
    NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)
}

/// Makes a mapping of [`map`] longer where it is, from `from` to `to` bytes. Fine too if it is that long.
pub(super) fn grow(base: NonNull<u8>, from: usize, to: usize) -> Result<(), Errno> {
    let start = base.as_ptr().cast::<c_void>();
    // SAFETY: a mapping that grows in place keeps what refers to it valid, and fails if something
    // is behind it.
    let longer = unsafe { rustix::mm::mremap(start, from, to, MremapFlags::empty()) };
    // Another thread may have done it, or have been about to note it when the process forked. Nobody
    // else has anything here.
    // SAFETY: changes nothing; an error if some of it is not mapped.
    let is_longer =
        || unsafe { rustix::mm::madvise(start.byte_add(from), to - from, Advice::Normal) };
    longer.map(drop).or_else(|_| is_longer())?;
    note(start.expose_provenance(), to);
    Ok(())
}

/// Undoes [`map`].
pub(super) fn unmap(base: *mut u8, len: usize) {
    forget(base.addr());
    // SAFETY: the caller has mapped it, and no reference into it is left.
    let _ = unsafe { rustix::mm::munmap(base.cast(), len) };
}

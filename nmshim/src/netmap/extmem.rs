//! EXTMEM: makes the program's memory reachable for other processes.
//!
//! A memfd takes its place at the same addresses: the content is copied, then the memfd is mapped over
//! it, in one step for other threads. Memory that is a region already is recognised by its file range,
//! also in other processes: those then see the region where they had mapped that file.

use nm_abi::{AbiBytes, nmreq_opt_extmem};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use uvale_link::channel::call;
use uvale_link::proto::{Call, Memory, Reply};
use uvale_link::session::Session;
use uvale_request::FileRange;
use uvale_request::OptionCopy;
use uvale_shared::shm::{Mapping, Memfd, copy_in};
use uvale_system::sys::read_bytes;

use super::maps::{Area, areas};
use super::say::{Level, say};
use crate::ground::lock::Lock;

/// Held while memory is replaced and announced: a thread that gives the same memory next finds it known.
pub static ONE_AT_A_TIME: Lock<()> = Lock::new(());

/// In the child of a fork: the thread that held the lock is not here.
pub fn forked() {
    // SAFETY: the child has one thread, and it forked outside of this module.
    unsafe { ONE_AT_A_TIME.reset() };
}

const PAGE: u64 = 4096;
/// Bytes copied at a time.
const CHUNK: usize = 1 << 18;

/// The memory that an EXTMEM option names, in the form that the daemon gets. `known_as` has the file
/// ranges that it was mapped from, and gets new ones.
pub fn offer(
    session: &Session,
    option: &OptionCopy,
    known_as: &mut Vec<FileRange>,
) -> Result<(Memory, Option<Memfd>), Errno> {
    let (start, pages) = range(option)?;
    let areas = areas(start, start + pages * PAGE)?;
    if !areas.iter().all(|a| a.is_readable && a.is_writable) {
        return Err(Errno::FAULT);
    }
    let here = core::ptr::from_ref(&areas) as u64;
    if (start..start + pages * PAGE).contains(&here) {
        // The stack that this runs on cannot be replaced while it is in use.
        return Err(Errno::NOMEM);
    }
    let file = shared_file(&areas, start, pages);
    known_as.extend(file.clone());
    if let Some(number) = known_as.iter().find_map(|range| find(session, range)) {
        show_region(session, number, file.as_ref(), start, pages, &areas)?;
        return Ok((Memory::Region(number), None));
    }
    let memfd = replace(start, pages, &areas)?;
    if let Some(file) = &file {
        show_elsewhere(&memfd, file, start);
    }
    known_as.push(identity(&memfd, pages)?);
    let known_as = known_as.clone();
    Ok((Memory::Pages { pages, known_as }, Some(memfd)))
}

/// First address and number of the pages, as netmap takes them.
fn range(option: &OptionCopy) -> Result<(u64, u64), Errno> {
    let mut bytes = option.header.as_bytes().to_vec();
    bytes.extend_from_slice(&option.body);
    let asked = nmreq_opt_extmem::from_bytes(&bytes).ok_or(Errno::INVAL)?;
    let (from, len) = (asked.nro_usrptr, asked.nro_info.nr_memsize);
    let end = from
        .checked_add(len)
        .and_then(|end| end.checked_next_multiple_of(PAGE))
        .ok_or(Errno::NOMEM)?;
    let start = from / PAGE * PAGE;
    let pages = (end - start) / PAGE;
    if pages == 0 || pages > i32::MAX as u64 {
        return Err(Errno::NOMEM);
    }
    Ok((start, pages))
}

/// The part of a file that is mapped there, if others can map it too.
fn shared_file(areas: &[Area], start: u64, pages: u64) -> Option<FileRange> {
    let first = areas.first()?;
    let one_file = areas.windows(2).all(|pair| {
        let (a, b) = (&pair[0], &pair[1]);
        (a.dev, a.ino) == (b.dev, b.ino) && a.offset + (a.end - a.start) == b.offset
    });
    let shared = areas.iter().all(|a| a.is_shared) && first.ino != 0;
    (one_file && shared).then(|| FileRange {
        dev: first.dev,
        ino: first.ino,
        offset: first.offset + (start - first.start),
        pages,
    })
}

fn find(session: &Session, range: &FileRange) -> Option<u32> {
    let found = call(
        session.connection().as_fd(),
        &Call::FindMemory(range.clone()),
    );
    match found {
        Ok((Reply::Found(number), _)) => number,
        _ => None,
    }
}

fn identity(memfd: &Memfd, pages: u64) -> Result<FileRange, Errno> {
    let stat = rustix::fs::fstat(memfd)?;
    Ok(FileRange {
        dev: stat.st_dev,
        ino: stat.st_ino,
        offset: 0,
        pages,
    })
}

/// Maps an existing region where the program has mapped the `file` that it was made from.
fn show_region(
    session: &Session,
    number: u32,
    file: Option<&FileRange>,
    start: u64,
    pages: u64,
    areas: &[Area],
) -> Result<(), Errno> {
    let (memfd, _) = session.region_memfd(number).map_err(|f| f.errno)?;
    if file == Some(&identity(&memfd, pages)?) {
        return Ok(());
    }
    map_over(start, pages * PAGE, areas, &memfd)?;
    if let Some(file) = file {
        show_elsewhere(&memfd, file, start);
    }
    Ok(())
}

/// Where else this process has mapped the same part of the `file`, it sees the memfd too.
fn show_elsewhere(memfd: &Memfd, file: &FileRange, start: u64) {
    let len = file.pages * PAGE;
    let Ok(areas) = super::maps::all() else {
        return;
    };
    for area in areas {
        let same = area.is_shared && (area.dev, area.ino) == (file.dev, file.ino);
        let (from, to) = (area.offset, area.offset + (area.end - area.start));
        let (first, last) = (from.max(file.offset), to.min(file.offset + len));
        if !same || first >= last || area.start == start {
            continue;
        }
        let mut prot = ProtFlags::empty();
        prot.set(ProtFlags::READ, area.is_readable);
        prot.set(ProtFlags::WRITE, area.is_writable);
        prot.set(ProtFlags::EXEC, area.is_executable);
        let (at, n) = (area.start + (first - from), last - first);
        // What cannot be shown stays a view of the file.
        let _ = map(at, n, prot, memfd, first - file.offset);
    }
}

/// Replaces the pages by a memfd with the same content.
fn replace(start: u64, pages: u64, areas: &[Area]) -> Result<Memfd, Errno> {
    let len = usize::try_from(pages * PAGE).map_err(|_| Errno::NOMEM)?;
    let memfd = Memfd::create("netmap-extmem", len).map_err(|errno| {
        let why = uvale_system::limits::why_no_memory(errno, len as u64);
        say(
            Level::Refusal,
            format_args!("cannot make a memory of {len} bytes: {why}"),
        );
        Errno::NOMEM
    })?;
    let map = Mapping::new(&memfd).map_err(|_| Errno::NOMEM)?;
    let mut chunk = vec![0; CHUNK.min(len)];
    let mut done = 0;
    while done < len {
        let n = chunk.len().min(len - done);
        if !read_bytes(start + done as u64, &mut chunk[..n]) {
            return Err(Errno::FAULT);
        }
        for (i, page) in chunk[..n].chunks(PAGE as usize).enumerate() {
            // What is zero stays a hole.
            let at = done + i * PAGE as usize;
            if page.iter().any(|b| *b != 0) && !copy_in(page, &map, at) {
                return Err(Errno::NOMEM);
            }
        }
        done += n;
    }
    map_over(start, pages * PAGE, areas, &memfd)?;
    Ok(memfd)
}

fn map_over(start: u64, len: u64, areas: &[Area], memfd: &Memfd) -> Result<(), Errno> {
    let executable = areas.iter().all(|a| a.is_executable);
    let mut prot = ProtFlags::READ | ProtFlags::WRITE;
    if executable {
        prot |= ProtFlags::EXEC;
    }
    map(start, len, prot, memfd, 0).map_err(|_| Errno::NOMEM)
}

/// Maps `len` bytes of the memfd at `start`, over what is there.
fn map(start: u64, len: u64, prot: ProtFlags, memfd: &Memfd, offset: u64) -> Result<(), Errno> {
    // SAFETY: the pages belong to the program, which has asked for this; they are mapped and stay so,
    // with the same content and protection. Nothing of ours lies there: it is memory that the program
    // named, not the stack, or another mapping of the file that it named.
    let mapped = unsafe {
        rustix::mm::mmap(
            start as usize as *mut core::ffi::c_void,
            len as usize,
            prot,
            MapFlags::SHARED | MapFlags::FIXED,
            memfd.as_fd(),
            offset,
        )
    };
    mapped.map(drop)
}

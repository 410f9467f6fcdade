//! Pages of which the guest-physical address is known, and stays.

use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};
use std::path::{Path, PathBuf};

use landlock::{AccessFs, Ruleset, RulesetAttr};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::io_uring::{
    IoringRegisterOp, io_uring_params, io_uring_register, io_uring_setup, iovec,
};
use uvale_shared::shm::Mapping;
use uvale_wire::ptnet::ring::PAGE;

/// Of an entry of `/proc/self/pagemap`: the page is there; the number of its frame.
const PRESENT: u64 = 1 << 63;
const FRAME: u64 = (1 << 55) - 1;

/// Pages that the kernel neither writes to swap nor moves, as long as this lives: they are registered with an io_uring
/// that does nothing else, which takes hold of them as of the target of a DMA. A page that is only locked may move.
///
/// They are a file in memory that has a name. So if this process is killed they are not freed, while the host, which
/// was not told, writes to them until the device is taken again. But nothing pins them then: where memory is
/// compacted, or `/run` swapped, the kernel may move the file to other pages and give these to somebody else.
pub struct Pinned {
    path: PathBuf,
    /// cannot be truncated
    file: OwnedFd,
    map: Mapping,
    addresses: Vec<u64>,
    _ring: OwnedFd,
}

impl Pinned {
    /// `pages` pages of zeroes in the file `path`, which is to be on a file system in memory. A file that is there is
    /// used again.
    ///
    /// # Errors
    /// A sentence with what to do.
    pub fn new(path: &Path, pages: usize) -> Result<Self, String> {
        let made = Self::make(path, pages);
        if made.is_err() {
            let _ = std::fs::remove_file(path);
        }
        made
    }

    fn make(path: &Path, pages: usize) -> Result<Self, String> {
        let no_memory = |e| format!("no memory for the CSB in {}: {e}", path.display());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(no_memory)?;
        rustix::fs::ftruncate(&file, (pages * PAGE) as u64).map_err(no_memory)?;
        let map = Mapping::of_device(&file, pages * PAGE).map_err(no_memory)?;
        let words = map.slice_at::<AtomicU64>(0, pages * PAGE / 8);
        for word in words.expect("the mapping has these pages") {
            word.store(0, Ordering::Relaxed);
        }
        let ring = hold(&map).map_err(|e| {
            let remedy = "as root, with io_uring (sysctl kernel.io_uring_disabled=0)";
            format!("the pages of the CSB cannot be pinned: {e}: run this {remedy}")
        })?;
        let addresses = addresses(&map, pages)?;
        Ok(Self {
            path: path.to_owned(),
            file: open_uncut(path).map_err(no_memory)?,
            map,
            addresses,
            _ring: ring,
        })
    }

    /// Nobody writes to them any more: the file goes with them.
    pub fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }

    /// The pages.
    #[must_use]
    pub fn map(&self) -> &Mapping {
        &self.map
    }

    /// Their file, for programs to map. Where the kernel has Landlock (6.2) nobody can truncate it by this descriptor,
    /// which would end everybody else that has mapped it.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The guest-physical address of page `page`.
    #[must_use]
    pub fn address(&self, page: usize) -> u64 {
        self.addresses[page]
    }
}

/// Opens a file so that nobody can truncate it by the descriptor, whoever has it: a right to do that is the
/// descriptor's from when it is opened. The thread that has none ends with this.
fn open_uncut(path: &Path) -> Result<OwnedFd, Errno> {
    let open = || {
        // Best effort: a kernel without it restricts nothing.
        let restricted = Ruleset::default()
            .handle_access(AccessFs::Truncate)
            .and_then(|ruleset| ruleset.create()?.restrict_self());
        restricted.map_err(|_| Errno::PERM)?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::open(path, flags, Mode::empty())
    };
    std::thread::scope(|scope| scope.spawn(open).join().unwrap_or(Err(Errno::AGAIN)))
}

fn hold(map: &Mapping) -> Result<OwnedFd, Errno> {
    let mut params = io_uring_params::default();
    // SAFETY: `params` is a valid structure of ours, and nothing of the ring is mapped.
    let ring = unsafe { io_uring_setup(1, &mut params) }?;
    let base = map.range(0, map.len()).ok_or(Errno::INVAL)?;
    let buffer = iovec {
        iov_base: base.cast(),
        iov_len: map.len(),
    };
    // SAFETY: one buffer, the whole mapping. The ring is never told to read or write it; the pages are shared memory
    // that is only accessed by atomics.
    unsafe {
        io_uring_register(
            &ring,
            IoringRegisterOp::RegisterBuffers,
            ptr::from_ref(&buffer).cast(),
            1,
        )
    }?;
    Ok(ring)
}

fn addresses(map: &Mapping, pages: usize) -> Result<Vec<u64>, String> {
    let unknown = |e: Errno| format!("/proc/self/pagemap: {e}: mount /proc");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open("/proc/self/pagemap", flags, Mode::empty()).map_err(unknown)?;
    let start = map
        .range(0, map.len())
        .map_or(0, |at| at.expose_provenance());
    let mut addresses = Vec::new();
    for page in 0..pages {
        let mut entry = [0; 8];
        let at = (start / PAGE + page) * 8;
        rustix::io::pread(&file, &mut entry, at as u64).map_err(unknown)?;
        let entry = u64::from_ne_bytes(entry);
        if entry & PRESENT == 0 || entry & FRAME == 0 {
            return Err(
                "the kernel does not tell where in memory the CSB is: run this as root (it takes CAP_SYS_ADMIN)"
                    .into(),
            );
        }
        addresses.push((entry & FRAME) * PAGE as u64);
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::fs::ftruncate;

    use super::*;

    #[test]
    fn what_programs_get_is_mapped_and_not_truncated() {
        let path = std::env::temp_dir().join(format!("uncut-{}", std::process::id()));
        std::fs::write(&path, [0; PAGE]).expect("a file");
        let file = open_uncut(&path);
        let own = File::options()
            .write(true)
            .open(&path)
            .expect("it is there");
        std::fs::remove_file(&path).expect("it is there");
        let file = file.expect("opened");
        Mapping::of_device(&file, PAGE).expect("mapped");
        let cut = ftruncate(&file, 0);
        // This thread is as free as before.
        ftruncate(&own, PAGE as u64).expect("truncated");
        match cut {
            Ok(()) => println!("skipped: this kernel has no Landlock, or one before 6.2"),
            Err(errno) => assert_eq!(errno, Errno::ACCESS),
        }
    }
}

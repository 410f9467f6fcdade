//! The memory of a daemon's regions: on small pages, or on huge ones of either kind, and of which NUMA node.
//!
//! Memory with the system's reserved huge pages (hugetlb) lies in two files: whole huge pages, and the rest. A mapping
//! of a file of huge pages cannot be cut within one, and so a program could not unmap a length that is no multiple of
//! theirs. All of these pages are taken at once: where one is missing later, whoever touches it gets SIGBUS.

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate};
use rustix::io::Errno;
use uvale_system::sys::prefer_node;

use super::pages::{HUGE_PAGE, Huge, Pages, Wanted};
use super::{Mapping, Memfd};

/// A memory of a daemon's, mapped.
#[derive(Debug)]
pub struct Made {
    /// its files
    pub memfd: Memfd,
    /// all of it
    pub map: Mapping,
    /// why it has not what was wanted: a sentence for each
    pub less: Vec<String>,
}

/// Makes a zero-filled memory on the pages that are wanted, or on others if there are none such.
pub fn make(name: &str, len: usize, wanted: Wanted) -> Result<Made, Errno> {
    let mut less = Vec::new();
    if matches!(wanted.huge, Huge::Auto | Huge::Hugetlb) {
        match reserved(name, len, wanted.node, &mut less) {
            Ok((memfd, map)) => return Ok(Made { memfd, map, less }),
            Err(errno) if wanted.huge == Huge::Hugetlb => less.push(no_reserved(len, errno)),
            Err(_) => {}
        }
    }
    let is_transparent = matches!(wanted.huge, Huge::Auto | Huge::Thp);
    let pages = match is_transparent && are_transparent_allowed() {
        true => Pages::Transparent,
        false => Pages::Small,
    };
    if wanted.huge == Huge::Thp && pages == Pages::Small {
        less.push(NO_TRANSPARENT.to_owned());
    }
    let memfd = Memfd::in_parts(name, len)?.on(pages);
    let map = Mapping::new(&memfd)?;
    place(&map, wanted.node, &mut less);
    Ok(Made { memfd, map, less })
}

/// A memory on reserved pages, all of them taken.
fn reserved(
    name: &str,
    len: usize,
    node: Option<u32>,
    less: &mut Vec<String>,
) -> Result<(Memfd, Mapping), Errno> {
    let flags = MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
    let memfd = Memfd::in_two(name, len, flags)?.on(Pages::Reserved);
    let map = Mapping::new(&memfd)?;
    place(&map, node, less);
    let first = memfd.parts().first().ok_or(Errno::INVAL)?;
    let whole = (len / HUGE_PAGE * HUGE_PAGE) as u64;
    fallocate(first, FallocateFlags::empty(), 0, whole)?;
    Ok((memfd, map))
}

/// Has pages come from a node.
fn place(map: &Mapping, node: Option<u32>, less: &mut Vec<String>) {
    let Some(node) = node else { return };
    let Some(start) = map.range(0, map.len()) else {
        return;
    };
    // SAFETY: changes nothing but where pages come from; the mapping lives.
    if let Err(errno) = unsafe { prefer_node(start, map.len(), node) } {
        let why = match errno {
            Errno::INVAL => format!("nodes with memory are {}", nodes()),
            Errno::NOSYS => "this kernel has none".to_owned(),
            other => other.to_string(),
        };
        let line = format!("memory comes from any NUMA node, and not from number {node}: {why}");
        less.push(line);
    }
}

/// The system's NUMA nodes that have memory, as it writes them: `0-1`; `0` where it knows of none.
pub fn nodes() -> String {
    let nodes = std::fs::read_to_string("/sys/devices/system/node/has_memory");
    nodes.map_or("0".to_owned(), |text| text.trim().to_owned())
}

fn no_reserved(len: usize, errno: Errno) -> String {
    let why = match errno {
        Errno::NOMEM | Errno::NOSPC => format!(
            "not enough are free for {} of 2 MB: reserve some, for example sysctl vm.nr_hugepages=512",
            len / HUGE_PAGE
        ),
        Errno::INVAL => "the memory is smaller than one".to_owned(),
        other => other.to_string(),
    };
    format!("memory has ordinary pages, and no huge ones of hugetlb: {why}")
}

const TRANSPARENT: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
const NO_TRANSPARENT: &str = "memory has ordinary pages, and no transparent huge ones: the system gives shared memory \
     none; allow it: echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled";

fn are_transparent_allowed() -> bool {
    let allowed = std::fs::read_to_string(TRANSPARENT).unwrap_or_default();
    ["[always]", "[within_size]", "[advise]", "[force]"]
        .iter()
        .any(|word| allowed.contains(word))
}

//! Programs on tcx, by bpf(2).

use rustix::fd::AsRawFd;
use rustix::thread::{CapabilitySet, capabilities};
use uvale_system::raw::{call, check};
use uvale_system::sys::Fd;

const PROG_LOAD: usize = 5;
const PROG_QUERY: usize = 16;
const LINK_CREATE: usize = 28;
const SCHED_CLS: u32 = 3;
const TCX_INGRESS: u32 = 46;
const BEFORE: u32 = 1 << 3;

/// How many there are on interface `index` of this namespace; `None` if this process could not add one.
pub fn classifiers(index: u32) -> Option<u32> {
    let rights = capabilities(None).ok()?.effective;
    // target_ifindex, attach_type, query_flags, attach_flags, prog_ids, count, and more that the kernel writes
    let mut query = attributes(&[index, TCX_INGRESS]);
    let asked = bpf(PROG_QUERY, &mut query);
    let may = rights.intersects(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN);
    match asked {
        Ok(_) if may => Some(query[6]),
        // Nothing was ever there.
        Err(rustix::io::Errno::NOENT) if may => Some(0),
        _ => None,
    }
}

/// Binds a program to it that answers TCX_PASS.
pub fn pass(index: u32) -> Fd {
    let program: [u64; 2] = [0xb7, 0x95];
    let halves = |address: usize| [address as u32, (address as u64 >> 32) as u32];
    let [a, b] = halves(program.as_ptr().expose_provenance());
    let [c, d] = halves(c"GPL".as_ptr().expose_provenance());
    let loaded = bpf(PROG_LOAD, &mut attributes(&[SCHED_CLS, 2, a, b, c, d]));
    let program = Fd::from_raw(loaded.expect("a program") as i32);
    // prog_fd, target_ifindex, attach_type, flags: before whatever is there
    let mut first = attributes(&[program.as_raw_fd() as u32, index, TCX_INGRESS, BEFORE]);
    let link = bpf(LINK_CREATE, &mut first).expect("a link");
    Fd::from_raw(link as i32)
}

/// All that the kernel knows for these commands.
type Attributes = [u32; 16];

fn attributes(first: &[u32]) -> Attributes {
    let mut all = [0; 16];
    all[..first.len()].copy_from_slice(first);
    all
}

fn bpf(command: usize, attributes: &mut Attributes) -> Result<isize, rustix::io::Errno> {
    let address = attributes.as_mut_ptr().expose_provenance();
    let words = [command, address, size_of_val(attributes), 0, 0, 0];
    // SAFETY: the kernel reads the attributes, and a program and a licence that the caller holds; it writes attributes,
    // of which the last for a query ends with them.
    check(unsafe { call(libc::SYS_bpf, words) })
}

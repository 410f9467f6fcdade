//! getifaddrs, if_nameindex and their kin, which glibc answers from netlink sockets past us.
//!
//! A list with nodes of ours is known by its head until the program gives it back. All other lists are libc's alone,
//! those too that the program got before this library was loaded.

use super::{all, find, named};
use crate::device::Interface;
use crate::ground::lock::Lock;
use crate::ground::next;
use crate::ground::raw::{errno, set_errno};
use crate::ground::types::{IfAddrs, NameIndex};
use core::ffi::CStr;
use core::mem::zeroed;
use core::ptr::{copy_nonoverlapping, null_mut};
use core::sync::atomic::{AtomicUsize, Ordering::*};
use libc::{c_char, c_int, c_uint, sockaddr, sockaddr_in, sockaddr_ll};

/// A name with its final zero.
type Name = [c_char; libc::IF_NAMESIZE];

/// What belongs to a list that the program has: slices that were boxes, and are again when it is given back.
enum Given {
    /// the nodes that were put behind libc's
    Addresses(*mut [Node]),
    /// the whole of an array, and the names in it
    Names(*mut [NameIndex], *mut [Name]),
}

// SAFETY: they belong to whoever has the value; what the program does with them meanwhile is its own business.
unsafe impl Send for Given {}

impl Drop for Given {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw`, and the program has given them back.
        unsafe {
            match *self {
                Self::Addresses(nodes) => drop(Box::from_raw(nodes)),
                Self::Names(array, names) => {
                    drop(Box::from_raw(array));
                    drop(Box::from_raw(names));
                }
            }
        }
    }
}

/// By the address that the program will give back.
static GIVEN: Lock<Vec<(usize, Given)>> = Lock::new(Vec::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn give(head: usize, given: Given) {
    GIVEN.lock().push((head, given));
    COUNT.fetch_add(1, Release);
}

fn take_back(head: usize) -> Option<Given> {
    if COUNT.load(Acquire) == 0 {
        return None;
    }
    let mut all = GIVEN.lock();
    let at = all.iter().position(|(known, _)| *known == head)?;
    COUNT.fetch_sub(1, Release);
    Some(all.swap_remove(at).1)
}

/// Before a fork: nobody is in the middle of giving or taking back.
pub fn before_fork() {
    GIVEN.hold();
}

/// After it, in both processes.
///
/// # Safety
/// Held since `before_fork` by this thread, or by the one it is the copy of.
pub unsafe fn after_fork() {
    // SAFETY: by contract.
    unsafe { GIVEN.release() };
}

fn terminated(name: &[u8]) -> Name {
    let mut to = [0; libc::IF_NAMESIZE];
    let room = to.len() - 1;
    for (to, byte) in to[..room].iter_mut().zip(name) {
        *to = *byte as c_char;
    }
    to
}

/// A node of getifaddrs' list, with what it points to.
#[repr(C)]
struct Node {
    head: IfAddrs,
    name: Name,
    link: [sockaddr_ll; 2],
    inet: [sockaddr_in; 3],
    /// `rtnl_link_stats`
    counters: [u32; 24],
}

fn link_address(index: u32, bytes: [u8; 6]) -> sockaddr_ll {
    // SAFETY: integers and bytes, for which zero will do.
    let mut address: sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = index as c_int;
    address.sll_hatype = libc::ARPHRD_ETHER;
    address.sll_halen = 6;
    address.sll_addr[..6].copy_from_slice(&bytes);
    address
}

fn inet_address(bytes: [u8; 4]) -> sockaddr_in {
    // SAFETY: as above.
    let mut address: sockaddr_in = unsafe { zeroed() };
    address.sin_family = libc::AF_INET as u16;
    address.sin_addr.s_addr = u32::from_ne_bytes(bytes);
    address
}

/// The nodes of an interface: its link, and its IPv4 address if it has one. Nothing points anywhere yet.
fn nodes(interface: &Interface) -> impl Iterator<Item = Node> {
    let node = || Node {
        // SAFETY: null pointers and integers.
        head: unsafe { zeroed() },
        name: terminated(&interface.name),
        link: [
            link_address(interface.index, interface.address),
            link_address(interface.index, [0xff; 6]),
        ],
        inet: [inet_address([0; 4]); 3],
        counters: [0; 24],
    };
    let with_flags = |mut node: Node| {
        node.head.ifa_flags = interface.flags;
        node
    };
    let inet = interface.inet.map(|inet| Node {
        inet: [inet.address, inet.netmask, inet.broadcast].map(inet_address),
        ..node()
    });
    [Some(node()), inet].into_iter().flatten().map(with_flags)
}

/// Makes a node point to what it has, and to the next one.
fn join(node: &mut Node, next: *mut IfAddrs) {
    let any = |at: *mut sockaddr_in| at.cast::<sockaddr>();
    node.head.ifa_next = next;
    node.head.ifa_name = node.name.as_mut_ptr();
    let [address, netmask, broadcast] = &mut node.inet;
    if address.sin_addr.s_addr != 0 {
        node.head.ifa_addr = any(address);
        node.head.ifa_netmask = any(netmask);
        node.head.ifa_ifu = any(broadcast);
    } else {
        let [address, broadcast] = &mut node.link;
        node.head.ifa_addr = core::ptr::from_mut(address).cast();
        node.head.ifa_ifu = core::ptr::from_mut(broadcast).cast();
        node.head.ifa_data = node.counters.as_mut_ptr().cast();
    }
}

/// Where the list ends, and the interfaces that are not in it.
///
/// # Safety
/// `list` is where getifaddrs has put its list.
unsafe fn missing(list: *mut *mut IfAddrs) -> (*mut *mut IfAddrs, Vec<Interface>) {
    let (mut end, mut own) = (list, all());
    // SAFETY: by contract; the list ends with null.
    unsafe {
        while let Some(node) = (*end).as_mut() {
            let known = CStr::from_ptr(node.ifa_name).to_bytes();
            own.retain(|i| i.name != known);
            end = &raw mut node.ifa_next;
        }
    }
    (end, own)
}

pub unsafe fn getifaddrs(list: *mut *mut IfAddrs) -> c_int {
    // SAFETY: the program's own argument, where libc has put a list if it says so.
    unsafe {
        let answer = next::getifaddrs(list);
        if answer != 0 {
            return answer;
        }
        let (end, own) = missing(list);
        if own.is_empty() {
            return 0;
        }
        let nodes: Box<[Node]> = own.iter().flat_map(nodes).collect();
        let nodes = Box::into_raw(nodes);
        let mut first = null_mut();
        for node in (*nodes).iter_mut().rev() {
            join(node, first);
            first = &raw mut node.head;
        }
        *end = first;
        give(*list as usize, Given::Addresses(nodes));
        0
    }
}

pub unsafe fn freeifaddrs(list: *mut IfAddrs) {
    // SAFETY: the program's own argument, a list of `getifaddrs`.
    unsafe {
        let Some(given) = take_back(list as usize) else {
            return next::freeifaddrs(list);
        };
        let Given::Addresses(nodes) = given else {
            return;
        };
        // The node is what its slice begins with.
        let first = nodes.cast::<IfAddrs>();
        // Nothing of libc's: the list is ours from its head.
        if list == first {
            return;
        }
        let mut end = &raw mut (*list).ifa_next;
        while *end != first && !(*end).is_null() {
            end = &raw mut (**end).ifa_next;
        }
        *end = null_mut();
        next::freeifaddrs(list);
    }
}

pub unsafe fn if_nametoindex(name: *const c_char) -> c_uint {
    // SAFETY: the program's own argument, which libc has read.
    unsafe {
        let index = next::if_nametoindex(name);
        let error = errno();
        if index != 0 || error != libc::ENODEV {
            return index;
        }
        let found = named(CStr::from_ptr(name).to_bytes());
        set_errno(error);
        found.map_or(0, |i| i.index)
    }
}

pub unsafe fn if_indextoname(index: c_uint, to: *mut c_char) -> *mut c_char {
    // SAFETY: the program's own arguments: there is room for a name.
    unsafe {
        let name = next::if_indextoname(index, to);
        let error = errno();
        if !name.is_null() || error != libc::ENXIO {
            return name;
        }
        let found = find(|i| i.index == index);
        set_errno(error);
        let Some(interface) = found else { return name };
        let name = terminated(&interface.name);
        copy_nonoverlapping(name.as_ptr(), to, name.len());
        to
    }
}

pub unsafe fn if_nameindex() -> *mut NameIndex {
    // SAFETY: an array of libc's, which ends with an entry without a name.
    unsafe {
        let libcs = next::if_nameindex();
        let mut own = all();
        if libcs.is_null() || own.is_empty() {
            return libcs;
        }
        let mut entries = Vec::new();
        let mut at = libcs;
        while !(*at).if_name.is_null() {
            let known = CStr::from_ptr((*at).if_name).to_bytes();
            own.retain(|i| i.name != known);
            entries.push(((*at).if_index, terminated(known)));
            at = at.add(1);
        }
        if own.is_empty() {
            return libcs;
        }
        next::if_freenameindex(libcs);
        entries.extend(own.iter().map(|i| (i.index, terminated(&i.name))));
        let (indices, names): (Vec<c_uint>, Vec<Name>) = entries.into_iter().unzip();
        let names = Box::into_raw(names.into_boxed_slice());
        let entry = |(if_index, name): (&c_uint, &mut Name)| NameIndex {
            if_index: *if_index,
            if_name: name.as_mut_ptr(),
        };
        let mut array: Vec<NameIndex> = indices.iter().zip(&mut *names).map(entry).collect();
        array.push(zeroed());
        let array = Box::into_raw(array.into_boxed_slice());
        let head = array.cast::<NameIndex>();
        give(head as usize, Given::Names(array, names));
        head
    }
}

pub unsafe fn if_freenameindex(array: *mut NameIndex) {
    if take_back(array as usize).is_none() {
        // SAFETY: the program's own argument.
        unsafe { next::if_freenameindex(array) };
    }
}

//! `/sys/class/net`: an interface's directory, with the files that the kernel has for an Ethernet interface without
//! hardware.

use super::{all, named};
use crate::device::{Interface, Parameter};
use crate::ground::raw;
use crate::interpose::name::{Dir, File, Name};
use core::ffi::CStr;
use libc::c_char;
use std::ffi::CString;

/// The directory of all interfaces.
pub const CLASS: &CStr = c"/sys/class/net";
/// That of those without hardware, to which the links in the other one lead.
pub const VIRTUAL: &CStr = c"/sys/devices/virtual/net";

/// A file and what it reads.
type Entry = (&'static str, fn(&Interface) -> String);

fn zero(_: &Interface) -> String {
    "0".into()
}

fn hex(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

fn is_up(interface: &Interface) -> bool {
    interface.flags & libc::IFF_UP as u32 != 0
}

const FILES: &[Entry] = &[
    ("addr_assign_type", |_| "1".into()),
    ("addr_len", |_| "6".into()),
    ("address", |i| hex(&i.address)),
    ("broadcast", |_| hex(&[0xff; 6])),
    ("carrier", |i| u8::from(is_up(i)).to_string()),
    ("carrier_changes", zero),
    ("carrier_down_count", zero),
    ("carrier_up_count", zero),
    ("dev_id", |_| "0x0".into()),
    ("dev_port", zero),
    ("dormant", zero),
    ("flags", |i| {
        format!("{:#x}", i.flags & 0xffff & !(libc::IFF_RUNNING as u32))
    }),
    ("gro_flush_timeout", zero),
    ("ifalias", |_| String::new()),
    ("ifindex", |i| i.index.to_string()),
    ("iflink", |i| i.index.to_string()),
    ("link_mode", zero),
    ("mtu", |i| i.mtu.to_string()),
    ("netdev_group", zero),
    ("operstate", |i| {
        if is_up(i) { "unknown" } else { "down" }.into()
    }),
    ("proto_down", zero),
    ("queues/rx-0/rps_cpus", zero),
    ("queues/rx-0/rps_flow_cnt", zero),
    ("queues/tx-0/tx_maxrate", zero),
    ("queues/tx-0/tx_timeout", zero),
    ("statistics/collisions", zero),
    ("statistics/multicast", zero),
    ("statistics/rx_bytes", zero),
    ("statistics/rx_compressed", zero),
    ("statistics/rx_crc_errors", zero),
    ("statistics/rx_dropped", zero),
    ("statistics/rx_errors", zero),
    ("statistics/rx_fifo_errors", zero),
    ("statistics/rx_frame_errors", zero),
    ("statistics/rx_length_errors", zero),
    ("statistics/rx_missed_errors", zero),
    ("statistics/rx_nohandler", zero),
    ("statistics/rx_over_errors", zero),
    ("statistics/rx_packets", zero),
    ("statistics/tx_aborted_errors", zero),
    ("statistics/tx_bytes", zero),
    ("statistics/tx_carrier_errors", zero),
    ("statistics/tx_compressed", zero),
    ("statistics/tx_dropped", zero),
    ("statistics/tx_errors", zero),
    ("statistics/tx_fifo_errors", zero),
    ("statistics/tx_heartbeat_errors", zero),
    ("statistics/tx_packets", zero),
    ("statistics/tx_window_errors", zero),
    ("tx_queue_len", zero),
    ("type", |_| libc::ARPHRD_ETHER.to_string()),
    ("uevent", |i| {
        let name = String::from_utf8_lossy(&i.name);
        format!("INTERFACE={name}\nIFINDEX={}", i.index)
    }),
];

/// Does the kernel have an interface of this name?
fn is_real(name: &str) -> bool {
    let Ok(path) = CString::new(format!("/sys/class/net/{name}")) else {
        return false;
    };
    let args = [
        libc::AT_FDCWD as usize,
        path.as_ptr() as usize,
        libc::F_OK as usize,
        0,
        0,
        0,
    ];
    // SAFETY: a C string and plain numbers.
    unsafe { raw::call(libc::SYS_faccessat, args) >= 0 }
}

/// What is at `parts`, counted from the directory of all interfaces.
pub fn find(parts: &[&str]) -> Option<Name> {
    let (name, rest) = parts.split_first()?;
    if is_real(name) {
        return None;
    }
    let interface = named(name.as_bytes())?;
    let (path, whole) = (rest.join("/"), parts.join("/"));
    match FILES.iter().find(|(file, _)| *file == path) {
        Some((_, text)) => Some(Name::Parameter(File {
            name: whole,
            parameter: Parameter {
                text: text(&interface),
                writable: false,
            },
        })),
        None => (below(&path).next().is_some()).then_some(Name::Directory(Dir::Interface(whole))),
    }
}

/// The files in the directory `path` of an interface and further down, counted from there.
fn below(path: &str) -> impl Iterator<Item = &'static str> {
    FILES.iter().filter_map(move |(file, _)| match path {
        "" => Some(*file),
        path => file.strip_prefix(path)?.strip_prefix('/'),
    })
}

/// What is in the directory `whole`, which begins with an interface's name: names, and whether they are directories.
pub fn entries(whole: &str) -> Vec<(&'static str, bool)> {
    let (_, path) = whole.split_once('/').unwrap_or((whole, ""));
    let mut entries: Vec<(&str, bool)> = Vec::new();
    for file in below(path) {
        let entry = match file.split_once('/') {
            Some((directory, _)) => (directory, true),
            None => (file, false),
        };
        if entries.last() != Some(&entry) {
            entries.push(entry);
        }
    }
    entries
}

/// Is `path` the directory of all interfaces?
///
/// # Safety
/// A C string.
pub unsafe fn is_class(path: *const c_char) -> bool {
    // SAFETY: by contract, read up to its first difference or its end.
    unsafe {
        for (i, byte) in CLASS.to_bytes().iter().enumerate() {
            if *path.add(i) != *byte as c_char {
                return false;
            }
        }
        let rest = CStr::from_ptr(path.add(CLASS.count_bytes()));
        rest.to_bytes().iter().all(|byte| *byte == b'/')
    }
}

/// The names of interfaces that are not the kernel's.
pub fn names() -> Vec<String> {
    let name = |i: Interface| String::from_utf8(i.name).ok();
    all()
        .into_iter()
        .filter_map(name)
        .filter(|name| !is_real(name))
        .collect()
}

//! A descriptor of a TAP device. The device goes with its last one.

use rustix::fd::{AsFd, AsRawFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use uvale_system::raw::{call, check};
use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;

const DEVICE: &str = "/dev/net/tun";
/// `linux/if_tun.h`
const TUNSETIFF: usize = 0x4004_54ca;
const TUNATTACHFILTER: usize = 0x4000_54d5 | size_of::<libc::sock_fprog>() << 16;
const TUNSETCARRIER: usize = 0x4004_54e2;
const IFF_TAP: u16 = 2;
const IFF_NO_PI: u16 = 0x1000;
/// It has several queues, one for each descriptor.
pub(crate) const SEVERAL: u16 = 0x100;
/// It must not exist yet.
pub(crate) const NEW: u16 = 0x8000;
/// The largest MTU of a TAP device in bytes.
pub(crate) const MTU: u32 = 65521;
/// Queues of one at most, here: as many descriptors have to fit into a message.
pub const MOST_QUEUES: u16 = 64;
/// Packets that wait in a device at most: twice its usual queue (`tx_queue_len`).
const WAITING: usize = 2000;

/// `struct ifreq`, as TUNSETIFF takes it.
#[repr(C)]
struct Request {
    name: [u8; nm_abi::IFNAMSIZ],
    flags: u16,
    rest: [u8; 22],
}

/// Why there is no device.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// none can be had at all
    NoDevice(Refusal),
    /// not with these properties, or not by this process
    Refused(Errno),
}

/// Opens a device `name`, in which the kernel puts a number for `%d`. Its name then.
pub(crate) fn open(name: &str, flags: u16) -> Result<(Fd, String), Trouble> {
    let fd = open_driver().map_err(Trouble::NoDevice)?;
    let mut request = Request {
        name: [0; nm_abi::IFNAMSIZ],
        flags: IFF_TAP | IFF_NO_PI | flags,
        rest: [0; 22],
    };
    let room = request.name.len() - 1;
    let name = name
        .as_bytes()
        .get(..room.min(name.len()))
        .unwrap_or_default();
    request.name[..name.len()].copy_from_slice(name);
    // SAFETY: the kernel reads and writes a `struct ifreq`, which `Request` is as large as and which is ours alone.
    unsafe { ioctl(&fd, TUNSETIFF, &raw mut request as usize) }.map_err(Trouble::Refused)?;
    let name = request.name.split(|b| *b == 0).next().unwrap_or_default();
    Ok((fd, String::from_utf8_lossy(name).into_owned()))
}

fn open_driver() -> Result<Fd, Refusal> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::open(DEVICE, flags, Mode::empty());
    opened.map(Fd::from).map_err(|errno| {
        let why = match errno {
            Errno::ACCESS => format!(
                "{DEVICE} is closed to this user: `chmod 666 {DEVICE}` opens it, which grants no one any privilege"
            ),
            Errno::NOENT | Errno::PERM => format!(
                "{DEVICE} is not to be had here ({errno}): docker and podman give it with --device {DEVICE}"
            ),
            Errno::NODEV | Errno::NXIO => "this kernel has no TUN/TAP (CONFIG_TUN; module tun)".to_owned(),
            other => format!("{DEVICE}: {other}"),
        };
        Refusal::new(errno, why)
    })
}

/// Nothing gets into the queue of the device.
pub(crate) fn drop_all(fd: &Fd) -> Result<(), Errno> {
    let mut nothing = [libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: 0,
    }];
    let program = libc::sock_fprog {
        len: 1,
        filter: nothing.as_mut_ptr(),
    };
    // SAFETY: the kernel reads a `struct sock_fprog` and its one instruction, which outlive the call.
    unsafe { ioctl(fd, TUNATTACHFILTER, &raw const program as usize) }
}

/// Whether the host finds its end connected: without that it sends nothing. Takes no rights. Linux 5.0; before that
/// it is always connected.
pub fn set_carrier(fd: &Fd, is_on: bool) -> Result<(), Errno> {
    let is_on = libc::c_int::from(is_on);
    // SAFETY: the kernel reads an int, which is ours.
    unsafe { ioctl(fd, TUNSETCARRIER, &raw const is_on as usize) }
}

/// Throws away what waits in a queue of the device.
pub fn empty(fd: &Fd) {
    let mut byte = [0; 1];
    for _ in 0..WAITING {
        // What is longer is cut off.
        if rustix::io::read(fd, &mut byte[..]).is_err() {
            return;
        }
    }
}

/// Is that a descriptor of the TAP device `name`? Waits for nobody, whatever it is: the kernel's own words about it
/// are read, and only a TUN/TAP descriptor has these.
pub fn is_device_of(fd: &Fd, name: &str) -> bool {
    let said = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.raw()));
    let is_it = |line: &str| line.strip_prefix("iff:\t") == Some(name);
    said.is_ok_and(|said| said.lines().any(is_it))
}

/// # Safety
/// `value` is what request `request` takes.
unsafe fn ioctl(fd: &Fd, request: usize, value: usize) -> Result<(), Errno> {
    let fd = fd.as_fd().as_raw_fd() as usize;
    // SAFETY: the caller vouches for the value.
    check(unsafe { call(libc::SYS_ioctl, [fd, request, value, 0, 0, 0]) }).map(drop)
}

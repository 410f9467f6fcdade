//! Socket ioctls about interfaces.
//!
//! The kernel's answer stands, unless it does not know the interface (`ENODEV`), or does not look for it because the
//! program may not set anything (`EPERM`): whoever uses the device may set what is its own.

use super::{all, change, find, named};
use crate::device::{Errno, Inet, Interface, InterfaceChange, Result};
use crate::ground::raw::{answer, errno, fail, set_errno};
use crate::ground::{memory, next};
use crate::interpose::handlers;
use libc::{c_int, c_ulong, c_void};

/// `struct ifreq`: a name, and what is asked for.
#[derive(Clone, Copy)]
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    value: Value,
}

/// The union in it, of which requests use the beginning.
type Value = [u8; 24];

const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());

/// `struct ifconf`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Configuration {
    bytes: c_int,
    requests: *mut Request,
}

/// Names that interfaces are known by otherwise; libc has no number for these.
const SIOCGIWNAME: c_ulong = 0x8b01;

/// May `request` be about an interface?
#[inline(always)]
pub fn is_one(request: c_ulong) -> bool {
    request & !0xff == 0x8900 || request == SIOCGIWNAME
}

/// # Safety
/// As the C function, for a request that is one.
#[inline(never)]
pub unsafe fn ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        if request == libc::SIOCGIFCONF {
            return configuration(fd, arg.cast());
        }
        let said = next::ioctl(fd, request, arg);
        let error = errno();
        let is_ours = said < 0
            && match error {
                libc::ENODEV => gets(request) || sets(request),
                libc::EPERM => sets(request),
                _ => false,
            };
        if !is_ours {
            return said;
        }
        // Refused for its rights alone, it has not been looked for.
        if error == libc::EPERM && is_known(fd, arg.cast()) {
            return fail(error);
        }
        match serve(request, arg.cast()) {
            None => fail(error),
            Some(served) => answer(served.map(|()| 0)),
        }
    }
}

/// Does the kernel know the interface that a request names?
///
/// # Safety
/// The kernel has read the request.
unsafe fn is_known(fd: c_int, arg: *const Request) -> bool {
    handlers::take_over();
    // SAFETY: bytes, and a copy of them for the kernel to write to.
    unsafe {
        let Ok(mut copy) = memory::read(arg) else {
            return true;
        };
        next::ioctl(fd, libc::SIOCGIFFLAGS, (&raw mut copy).cast()) == 0
    }
}

/// Requests that ask, whose argument begins with a name (one of them: is to get one).
fn gets(request: c_ulong) -> bool {
    matches!(
        request,
        libc::SIOCGIFNAME
            | libc::SIOCGIFFLAGS
            | libc::SIOCGIFADDR
            | libc::SIOCGIFDSTADDR
            | libc::SIOCGIFBRDADDR
            | libc::SIOCGIFNETMASK
            | libc::SIOCGIFMETRIC
            | libc::SIOCGIFMTU
            | libc::SIOCGIFHWADDR
            | libc::SIOCGIFINDEX
            | libc::SIOCGIFTXQLEN
            | libc::SIOCGIFMAP
            | libc::SIOCETHTOOL
            | libc::SIOCGMIIPHY
            | libc::SIOCGMIIREG
            | SIOCGIWNAME
    )
}

/// Requests that set something, whose argument begins with a name.
fn sets(request: c_ulong) -> bool {
    matches!(
        request,
        libc::SIOCSIFFLAGS
            | libc::SIOCSIFADDR
            | libc::SIOCSIFDSTADDR
            | libc::SIOCSIFBRDADDR
            | libc::SIOCSIFNETMASK
            | libc::SIOCSIFMETRIC
            | libc::SIOCSIFMTU
            | libc::SIOCSIFHWADDR
            | libc::SIOCSIFNAME
            | libc::SIOCSIFTXQLEN
            | libc::SIOCADDMULTI
            | libc::SIOCDELMULTI
    )
}

/// `None`: not an interface of ours.
///
/// # Safety
/// The kernel has read the request.
unsafe fn serve(request: c_ulong, arg: *mut Request) -> Option<Result<()>> {
    handlers::take_over();
    // SAFETY: bytes; a bad pointer is an answer.
    let mut asked = match unsafe { memory::read(arg) } {
        Ok(asked) => asked,
        Err(e) => return Some(Err(e)),
    };
    let interface = if request == libc::SIOCGIFNAME {
        let index = number(asked.value);
        find(|i| i.index == index)?
    } else {
        let end = asked.name.iter().position(|byte| *byte == 0);
        named(&asked.name[..end.unwrap_or(libc::IFNAMSIZ - 1)])?
    };
    if sets(request) {
        return Some(set(&interface, request, asked.value));
    }
    let value = match get(&interface, request) {
        Ok(value) => value,
        Err(e) => return Some(Err(e)),
    };
    if request == libc::SIOCGIFNAME {
        asked.name = name(&interface);
    }
    for (to, byte) in asked.value.iter_mut().zip(value) {
        *to = byte;
    }
    // SAFETY: the program's own argument.
    Some(unsafe { memory::write(arg, asked) })
}

/// The number at the beginning.
fn number([a, b, c, d, ..]: Value) -> u32 {
    u32::from_ne_bytes([a, b, c, d])
}

/// The name as a request has it.
fn name(interface: &Interface) -> [u8; libc::IFNAMSIZ] {
    let mut name = [0; libc::IFNAMSIZ];
    for (to, byte) in name[..libc::IFNAMSIZ - 1].iter_mut().zip(&interface.name) {
        *to = *byte;
    }
    name
}

/// What is asked for: the bytes that the kernel would write.
fn get(interface: &Interface, request: c_ulong) -> Result<Vec<u8>> {
    let inet = || interface.inet.ok_or(Errno(libc::EADDRNOTAVAIL));
    Ok(match request {
        libc::SIOCGIFNAME | libc::SIOCGIFINDEX => interface.index.to_ne_bytes().to_vec(),
        libc::SIOCGIFFLAGS => (interface.flags as u16).to_ne_bytes().to_vec(),
        libc::SIOCGIFMTU => interface.mtu.to_ne_bytes().to_vec(),
        libc::SIOCGIFMETRIC | libc::SIOCGIFTXQLEN => vec![0; 4],
        libc::SIOCGIFMAP => vec![0; size_of::<Value>()],
        libc::SIOCGIFHWADDR => {
            let mut address = libc::ARPHRD_ETHER.to_ne_bytes().to_vec();
            address.extend(interface.address);
            address.resize(16, 0);
            address
        }
        libc::SIOCGIFADDR | libc::SIOCGIFDSTADDR => socket_address(inet()?.address),
        libc::SIOCGIFBRDADDR => socket_address(inet()?.broadcast),
        libc::SIOCGIFNETMASK => socket_address(inet()?.netmask),
        // ethtool, MII, wireless: as a driver without them
        _ => return Err(Errno(libc::EOPNOTSUPP)),
    })
}

/// A `sockaddr_in`.
fn socket_address(address: [u8; 4]) -> Vec<u8> {
    let mut bytes = (libc::AF_INET as u16).to_ne_bytes().to_vec();
    bytes.extend([0; 2]);
    bytes.extend(address);
    bytes.resize(16, 0);
    bytes
}

/// The address in a `sockaddr_in`.
fn inet_address(value: Value) -> Result<[u8; 4]> {
    let [f, g, _, _, a, b, c, d, ..] = value;
    if i32::from(u16::from_ne_bytes([f, g])) != libc::AF_INET {
        return Err(Errno(libc::EINVAL));
    }
    Ok([a, b, c, d])
}

fn set(interface: &Interface, request: c_ulong, value: Value) -> Result<()> {
    let to = match request {
        libc::SIOCSIFFLAGS => InterfaceChange::Flags(number(value) & 0xffff),
        libc::SIOCSIFMTU => InterfaceChange::Mtu(number(value)),
        libc::SIOCSIFHWADDR => {
            let [f, g, address @ .., _, _, _, _, _, _, _, _] = value;
            if u16::from_ne_bytes([f, g]) != libc::ARPHRD_ETHER {
                return Err(Errno(libc::EINVAL));
            }
            let [a, b, c, d, e, f, ..] = address;
            InterfaceChange::Address([a, b, c, d, e, f])
        }
        libc::SIOCSIFADDR | libc::SIOCSIFBRDADDR | libc::SIOCSIFNETMASK => {
            InterfaceChange::Inet(with(interface.inet, request, inet_address(value)?)?)
        }
        libc::SIOCADDMULTI | libc::SIOCDELMULTI => return Err(Errno(libc::EINVAL)),
        _ => return Err(Errno(libc::EOPNOTSUPP)),
    };
    change(interface.index, to)
}

/// What the IPv4 address becomes by one of the three requests.
fn with(before: Option<Inet>, request: c_ulong, address: [u8; 4]) -> Result<Option<Inet>> {
    let bits = u32::from_be_bytes;
    if request == libc::SIOCSIFADDR {
        // The kernel takes the mask from the address' old class.
        let netmask: u32 = match address[0] {
            0 => return Ok(None),
            1..128 => 0xff00_0000,
            128..192 => 0xffff_0000,
            192..224 => 0xffff_ff00,
            _ => return Err(Errno(libc::EINVAL)),
        };
        return Ok(Some(Inet {
            address,
            netmask: netmask.to_be_bytes(),
            broadcast: (bits(address) | !netmask).to_be_bytes(),
        }));
    }
    let mut inet = before.ok_or(Errno(libc::EADDRNOTAVAIL))?;
    if request == libc::SIOCSIFBRDADDR {
        inet.broadcast = address;
        return Ok(Some(inet));
    }
    let netmask = bits(address);
    if netmask.leading_ones() != netmask.count_ones() {
        return Err(Errno(libc::EINVAL));
    }
    // One that was derived from the mask is derived again.
    let derived = |mask: u32| (bits(inet.address) | !mask).to_be_bytes();
    if inet.broadcast == derived(bits(inet.netmask)) {
        inet.broadcast = derived(netmask);
    }
    inet.netmask = address;
    Ok(Some(inet))
}

/// SIOCGIFCONF: the interfaces that have an IPv4 address.
///
/// # Safety
/// As the C function.
unsafe fn configuration(fd: c_int, arg: *mut Configuration) -> c_int {
    handlers::take_over();
    // SAFETY: the program's own argument; any bytes are a `Configuration`.
    unsafe {
        let room = memory::read(arg).map_or(0, |asked| asked.bytes);
        let said = next::ioctl(fd, libc::SIOCGIFCONF, arg.cast());
        let with_address = |i: &Interface| i.inet.map(|inet| (name(i), inet.address));
        if said < 0 {
            return said;
        }
        let error = errno();
        let own: Vec<_> = all().iter().filter_map(with_address).collect();
        let Ok(mut given) = memory::read(arg) else {
            return fail(libc::EFAULT);
        };
        for (name, address) in own {
            let bytes = size_of::<Request>() as c_int;
            if !given.requests.is_null() {
                if given.bytes > room - bytes {
                    break;
                }
                let mut value = [0; 24];
                value[..16].copy_from_slice(&socket_address(address));
                let to = given.requests.wrapping_byte_add(given.bytes as usize);
                if let Err(e) = memory::write(to, Request { name, value }) {
                    return fail(e.0);
                }
            }
            given.bytes += bytes;
        }
        set_errno(error);
        answer(memory::write(arg, given).map(|()| 0))
    }
}

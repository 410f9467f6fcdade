//! ioctl numbers of `/dev/netmap`, as x86_64 and aarch64 Linux encode them.
//!
//! The kernel looks at the low 32 bits of the `request` argument only, hence `u32`.

use crate::{nm_ifreq, nmreq, nmreq_header};
use core::mem::size_of;

const NRSHIFT: u32 = 0;
const TYPESHIFT: u32 = 8;
const SIZESHIFT: u32 = 16;
const DIRSHIFT: u32 = 30;
const DIR_NONE: u32 = 0;
const DIR_READ_WRITE: u32 = 3;

const fn ioc(dir: u32, kind: u8, number: u8, size: usize) -> u32 {
    assert!(
        size < 1 << 14,
        "the size field of an ioctl number has 14 bits"
    );
    dir << DIRSHIFT
        | (size as u32) << SIZESHIFT
        | (kind as u32) << TYPESHIFT
        | (number as u32) << NRSHIFT
}

/// `_IO(kind, number)`: no argument.
#[must_use]
pub const fn io(kind: u8, number: u8) -> u32 {
    ioc(DIR_NONE, kind, number, 0)
}

/// `_IOWR(kind, number, T)`: the argument is a `T` that is read and written.
#[must_use]
pub const fn iowr<T>(kind: u8, number: u8) -> u32 {
    ioc(DIR_READ_WRITE, kind, number, size_of::<T>())
}

/// Legacy: information about a port, `struct nmreq` in and out.
pub const NIOCGINFO: u32 = iowr::<nmreq>(b'i', 145);
/// Legacy: bind a port, or the command in `nr_cmd`; `struct nmreq` in and out.
pub const NIOCREGIF: u32 = iowr::<nmreq>(b'i', 146);
/// Synchronize the tx rings of the bound port; no argument.
pub const NIOCTXSYNC: u32 = io(b'i', 148);
/// Synchronize the rx rings of the bound port; no argument.
pub const NIOCRXSYNC: u32 = io(b'i', 149);
/// Configuration of a bridge port by an external kernel module; `struct nm_ifreq`.
pub const NIOCCONFIG: u32 = iowr::<nm_ifreq>(b'i', 150);
/// Every request of the current API; `struct nmreq_header` in and out.
pub const NIOCCTRL: u32 = iowr::<nmreq_header>(b'i', 151);

const _: () = {
    assert!(NIOCGINFO == 0xc03c_6991);
    assert!(NIOCREGIF == 0xc03c_6992);
    assert!(NIOCTXSYNC == 0x0000_6994);
    assert!(NIOCRXSYNC == 0x0000_6995);
    assert!(NIOCCONFIG == 0xc110_6996);
    assert!(NIOCCTRL == 0xc058_6997);
};

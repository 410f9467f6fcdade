//! What `/sys` shows: the interfaces of the namespace that it was mounted in, which is nearly always this one.

use rustix::fs::{Dir, Mode, OFlags, openat};
use uvale_request::Interface;
use uvale_system::sys::Fd;

use super::{ARPHRD_ETHER, ARPHRD_LOOPBACK, IFF_UP};

/// Looks an interface up, in the namespace with cookie `netns`.
pub(super) fn look_up(name: &[u8], netns: u64) -> Option<Interface> {
    let path = [b"/sys/class/net/", name].concat();
    let dir = open(rustix::fs::CWD, &path, OFlags::DIRECTORY)?;
    let number = |file| read_number(&dir, file);
    let (tx_queues, rx_queues) = queues(&dir).unwrap_or((1, 1));
    let hardware = [ARPHRD_ETHER, ARPHRD_LOOPBACK].map(u32::from);
    Some(Interface {
        netns,
        index: number(b"ifindex")?,
        mtu: number(b"mtu")?,
        tx_queues,
        rx_queues,
        address: address(&dir).unwrap_or_default(),
        is_up: number(b"flags")? & IFF_UP != 0,
        is_ethernet: hardware.contains(&number(b"type")?),
        has_master: open(&dir, b"master", OFlags::DIRECTORY).is_some(),
        ..Interface::default()
    })
}

/// Number of a file.
pub(super) fn inode(path: &str) -> Option<u64> {
    Some(rustix::fs::stat(path).ok()?.st_ino)
}

fn open(at: impl rustix::fd::AsFd, path: &[u8], flags: OFlags) -> Option<Fd> {
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
    openat(at, path, flags, Mode::empty()).ok().map(Fd::from)
}

fn read<'a>(dir: &Fd, file: &[u8], text: &'a mut [u8]) -> Option<&'a str> {
    let fd = open(dir, file, OFlags::empty())?;
    let n = rustix::io::read(&fd, &mut *text).ok()?;
    core::str::from_utf8(&text[..n]).ok().map(str::trim)
}

/// A number, decimal or, as flags are, hexadecimal.
fn read_number(dir: &Fd, file: &[u8]) -> Option<u32> {
    let mut text = [0u8; 16];
    let text = read(dir, file, &mut text)?;
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn address(dir: &Fd) -> Option<[u8; 6]> {
    let mut text = [0u8; 32];
    let text = read(dir, b"address", &mut text)?;
    let bytes = text.split(':').map(|b| u8::from_str_radix(b, 16));
    let bytes: Vec<u8> = bytes.collect::<Result<_, _>>().ok()?;
    bytes.try_into().ok()
}

/// Numbers of tx and rx queues.
fn queues(dir: &Fd) -> Option<(u16, u16)> {
    let fd = open(dir, b"queues", OFlags::DIRECTORY)?;
    let (mut tx, mut rx) = (0, 0);
    for entry in Dir::read_from(&fd).ok()? {
        let entry = entry.ok()?;
        let name = entry.file_name().to_bytes();
        tx += u16::from(name.starts_with(b"tx-"));
        rx += u16::from(name.starts_with(b"rx-"));
    }
    Some((tx.max(1), rx.max(1)))
}

//! What the system says about its own network interfaces.

use rustix::fs::{Dir, Mode, OFlags, openat};
use uvale::model::Interface;
use uvale::sys::Fd;

/// Looks an interface up; `None` if there is none of that name.
pub fn look_up(name: &[u8]) -> Option<Interface> {
    let plausible = !name.is_empty()
        && name.len() < nm_abi::IFNAMSIZ
        && name != b"."
        && name != b".."
        && !name.iter().any(|c| b"/:{}".contains(c));
    if !plausible {
        return None;
    }
    let directory = [b"/sys/class/net/", name].concat();
    let dir = Fd::from(open(rustix::fs::CWD, &directory, OFlags::DIRECTORY)?);
    let mtu = read_number(&dir, b"mtu")?;
    let (tx_queues, rx_queues) = queues(&dir).unwrap_or((1, 1));
    Some(Interface {
        mtu,
        tx_queues,
        rx_queues,
    })
}

fn open(at: impl rustix::fd::AsFd, path: &[u8], flags: OFlags) -> Option<rustix::fd::OwnedFd> {
    openat(
        at,
        path,
        flags | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()
}

fn read_number(dir: &Fd, file: &[u8]) -> Option<u32> {
    let fd = Fd::from(open(dir, file, OFlags::empty())?);
    let mut text = [0u8; 16];
    let n = rustix::io::read(&fd, &mut text[..]).ok()?;
    core::str::from_utf8(&text[..n]).ok()?.trim().parse().ok()
}

/// Numbers of tx and rx queues.
fn queues(dir: &Fd) -> Option<(u16, u16)> {
    let fd = Fd::from(open(dir, b"queues", OFlags::DIRECTORY)?);
    let (mut tx, mut rx) = (0, 0);
    for entry in Dir::read_from(&fd).ok()? {
        let entry = entry.ok()?;
        let name = entry.file_name().to_bytes();
        tx += u16::from(name.starts_with(b"tx-"));
        rx += u16::from(name.starts_with(b"rx-"));
    }
    Some((tx.max(1), rx.max(1)))
}

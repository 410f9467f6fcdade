//! A port of a guest: the process here, the options of QEMU there.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::address::made_of;
use crate::qemu_options::{dgram, vfio_user, vhost_user};

/// By which device the guest has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// virtio-net over vhost-user
    Vhost,
    /// netmap's own
    Ptnet,
    /// virtio-net, frames in a socket
    Dgram,
}

/// What all networks of a guest have in common.
pub struct Ground<'a> {
    /// where sockets are made
    pub sockets: &'a Path,
    /// runtime directory of the world, if it is not the usual one
    pub world: Option<&'a Path>,
    /// how this QEMU spells that a socket is to be connected again
    pub reconnect: &'a str,
    /// queue pairs, where a device can have several
    pub queues: Option<u16>,
}

/// A port of a guest.
pub struct Network {
    pub kind: Kind,
    /// `uvale COMMAND`: the process that serves it
    pub command: Vec<String>,
    /// options of QEMU
    pub qemu: Vec<String>,
    /// sockets that it makes
    pub sockets: Vec<PathBuf>,
}

impl Network {
    /// Of `port`, the `i`th of its guest.
    pub fn new(kind: Kind, port: &str, i: usize, ground: &Ground<'_>) -> Self {
        let socket = ground.sockets.join(file_name(port, ground.world));
        let shown = socket.display().to_string();
        let name = match kind {
            Kind::Vhost => "vhost",
            Kind::Ptnet => "ptnet",
            Kind::Dgram => "dgram",
        };
        let mut command: Vec<String> = ["vm", name, "--port", port, "--socket", &shown]
            .map(str::to_owned)
            .into();
        if let Some(dir) = ground.world {
            command.extend(["--dir".to_owned(), dir.display().to_string()]);
        }
        if let Some(queues) = ground.queues.filter(|_| kind != Kind::Dgram) {
            command.extend(["--queues".to_owned(), queues.to_string()]);
        }
        let beside = |end: &str| PathBuf::from(format!("{shown}{end}"));
        let mac = address(port, ground.world);
        let (qemu, sockets) = match kind {
            Kind::Vhost => {
                let queues = ground.queues.unwrap_or(1);
                let options = vhost_user(i, &socket, ground.reconnect, queues, Some(&mac));
                (options, vec![socket])
            }
            Kind::Dgram => (dgram(i, &socket, Some(&mac)), vec![socket]),
            Kind::Ptnet => {
                let sockets = vec![beside("-mem.sock"), beside("-net.sock")];
                let devices = sockets.iter().flat_map(|path| vfio_user(path));
                (devices.collect(), sockets)
            }
        };
        let qemu = qemu
            .into_iter()
            .flat_map(|(option, value)| [option.to_owned(), value])
            .collect();
        Self {
            kind,
            command,
            qemu,
            sockets,
        }
    }
}

/// Bytes that no other port has, in this world or another, here or on another machine.
fn own_bytes(port: &str, world: Option<&Path>) -> [u8; 8] {
    let host = std::fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
    let world = world.map_or(&[][..], |world| world.as_os_str().as_bytes());
    let parts = [port.as_bytes(), &host, world];
    made_of(
        parts
            .into_iter()
            .flat_map(|part| part.iter().copied().chain([0])),
    )
}

/// Names of ports have characters that are none of files and shells: what is left of them, and a number instead.
fn file_name(port: &str, world: Option<&Path>) -> String {
    let [.., a, b] = own_bytes(port, world);
    let name = port.trim_start_matches("netmap:");
    let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    format!("uvale-{name}-{a:02x}{b:02x}")
}

/// An address that is this port's and changes never: QEMU gives all guests the same. Locally administered.
fn address(port: &str, world: Option<&Path>) -> String {
    let [a, b, c, ..] = own_bytes(port, world);
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}

//! A port of a guest: the process here, the options of QEMU there.

use std::path::{Path, PathBuf};

use crate::address::made_of;

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
    /// Of `port`, the `i`th of its guest. `reconnect` is how this QEMU spells that a socket is to be connected again.
    pub fn new(
        kind: Kind,
        port: &str,
        i: usize,
        sockets: &Path,
        dir: Option<&Path>,
        reconnect: &str,
    ) -> Self {
        let socket = sockets.join(file_name(port));
        let shown = socket.display().to_string();
        let name = match kind {
            Kind::Vhost => "vhost",
            Kind::Ptnet => "ptnet",
            Kind::Dgram => "dgram",
        };
        let mut command: Vec<String> = ["vm", name, "--port", port, "--socket", &shown]
            .map(str::to_owned)
            .into();
        if let Some(dir) = dir {
            command.extend(["--dir".to_owned(), dir.display().to_string()]);
        }
        let place = commas(&shown);
        let beside = |end: &str| PathBuf::from(format!("{shown}{end}"));
        let mac = address(port);
        let virtio = format!("virtio-net-pci,netdev=n{i},mac={mac}");
        let (qemu, sockets) = match kind {
            Kind::Vhost => (
                vec![
                    (
                        "-chardev",
                        format!("socket,id=c{i},path={place},{reconnect}"),
                    ),
                    ("-netdev", format!("vhost-user,id=n{i},chardev=c{i}")),
                    ("-device", virtio),
                ],
                vec![socket],
            ),
            Kind::Dgram => (
                vec![
                    (
                        "-netdev",
                        format!(
                            "dgram,id=n{i},local.type=unix,local.path={place}.qemu,remote.type=unix,remote.path={place}"
                        ),
                    ),
                    ("-device", virtio),
                ],
                vec![socket],
            ),
            Kind::Ptnet => {
                let sockets = vec![beside("-mem.sock"), beside("-net.sock")];
                let device = |path: &PathBuf| ("-device", crate::vfio::qemu_device(path));
                (sockets.iter().map(device).collect(), sockets)
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

/// Names of ports have characters that are none of files and shells: what is left of them, and a number instead.
fn file_name(port: &str) -> String {
    let [a, b, ..] = made_of(port.bytes());
    let name = port.trim_start_matches("netmap:");
    let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    format!("uvale-{name}-{a:02x}{b:02x}")
}

/// A value inside an option of QEMU's, in which a comma ends one.
fn commas(value: &str) -> String {
    value.replace(',', ",,")
}

/// An address that is this port's and changes never: QEMU gives all guests the same. Locally administered.
fn address(port: &str) -> String {
    let [a, b, c, ..] = made_of(port.bytes());
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}

//! Which QEMU, what it can do, and the options that are not of networks.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Args;
use super::network::{Kind, Network};
use crate::qemu_options::value;

/// First version with vfio-user-pci.
const VFIO_USER: (u32, u32) = (10, 1);
/// First version with `-netdev dgram`, and the oldest that has been tried.
const OLDEST: (u32, u32) = (7, 2);
/// First version in which sockets are connected again after milliseconds; later ones have no other way.
const RECONNECT_MS: (u32, u32) = (9, 2);
/// How a qcow2 image begins.
const QCOW2: [u8; 4] = *b"QFI\xfb";

/// A QEMU.
pub struct Qemu {
    program: PathBuf,
    /// `None`: there is none here, and the commands are for another machine
    version: Option<(u32, u32)>,
}

/// An amount of memory as QEMU writes it.
pub fn size(text: &str) -> Result<String, String> {
    let digits = text.trim_end_matches(['M', 'G', 'm', 'g']);
    let is_one = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match is_one && text.len() <= digits.len() + 1 {
        true => Ok(text.to_owned()),
        false => Err("must be a number followed by M or G, such as 512M or 2G".into()),
    }
}

impl Qemu {
    /// The one that is named, or that of this machine.
    pub fn find(named: Option<&Path>) -> Result<Self, String> {
        let own = || format!("qemu-system-{}", std::env::consts::ARCH).into();
        let program = named.map_or_else(own, Path::to_owned);
        let version = Command::new(&program)
            .arg("--version")
            .stderr(Stdio::null())
            .output()
            .ok()
            .and_then(|out| version_in(&String::from_utf8_lossy(&out.stdout)));
        if version.is_none() && named.is_some() {
            return Err(format!(
                "{} does not answer --version as QEMU does",
                program.display()
            ));
        }
        Ok(Self { program, version })
    }

    /// The option of a socket that is to be connected again after a second.
    pub fn reconnect(&self) -> &'static str {
        match self.version {
            Some(version) if version < RECONNECT_MS => "reconnect=1",
            _ => "reconnect-ms=1000",
        }
    }

    /// Its whole command line.
    pub fn command(&self, args: &Args, networks: &[Network]) -> Result<Vec<String>, String> {
        let shown = self.program.display().to_string();
        let has = |kind| networks.iter().any(|network| network.kind == kind);
        match self.version {
            Some((major, minor)) if has(Kind::Ptnet) && (major, minor) < VFIO_USER => {
                return Err(format!(
                    "{shown} is version {major}.{minor}, but --ptnet needs vfio-user-pci, which QEMU has since \
                     {}.{}: name another QEMU with --qemu, or use --vhost",
                    VFIO_USER.0, VFIO_USER.1
                ));
            }
            Some((major, minor)) if (major, minor) < OLDEST => {
                return Err(format!(
                    "{shown} is version {major}.{minor}, but uvale vm needs {}.{} or later: name another QEMU with \
                     --qemu",
                    OLDEST.0, OLDEST.1
                ));
            }
            None if args.exec => {
                return Err(format!(
                    "{shown} cannot be run: install it (Debian: qemu-system-x86), or name one with --qemu"
                ));
            }
            _ => {}
        }
        let machine = match std::env::consts::ARCH {
            "aarch64" => "virt",
            _ => "q35",
        };
        let mut words = vec![shown];
        let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
        let chosen = |word: &String| ["-accel", "--accel", "-enable-kvm"].contains(&word.as_str());
        if !args.more.iter().any(chosen) {
            for accelerator in ["kvm", "tcg"] {
                add("-accel", accelerator.into());
            }
        }
        if !has(Kind::Vhost) && !has(Kind::Dgram) {
            // Without a network device that it knows of, QEMU adds one.
            add("-nic", "none".into());
        }
        // Both vhost-user and ptnet read and write the guest's memory, which has to be shared for that.
        add("-machine", format!("{machine},memory-backend=ram"));
        add(
            "-object",
            format!("memory-backend-memfd,id=ram,size={},share=on", args.memory),
        );
        add("-m", args.memory.clone());
        add("-smp", args.cpus.to_string());
        for image in &args.images {
            let format = format_of(image)?;
            let file = value(image);
            add("-drive", format!("file={file},format={format},if=virtio"));
        }
        words.extend(networks.iter().flat_map(|network| network.qemu.clone()));
        words.extend(args.more.iter().cloned());
        Ok(words)
    }
}

/// The number in the first line of `qemu --version`.
fn version_in(text: &str) -> Option<(u32, u32)> {
    let number = text.split("version ").nth(1)?;
    let mut parts = number.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn format_of(image: &Path) -> Result<&'static str, String> {
    let fail =
        |e: std::io::Error| format!("{}: {}", image.display(), uvale_tools::output::plain(&e));
    let mut begin = [0; 4];
    let mut file = std::fs::File::open(image).map_err(fail)?;
    let is_directory = file.metadata().map_err(fail)?.is_dir();
    if is_directory {
        return Err(format!(
            "{} is a directory, not a disk image",
            image.display()
        ));
    }
    match file.read_exact(&mut begin) {
        Ok(()) if begin == QCOW2 => Ok("qcow2"),
        _ => Ok("raw"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let debian = "QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)\nCopyright";
        assert_eq!(version_in(debian), Some((11, 1)));
        assert_eq!(version_in("something else"), None);
    }

    #[test]
    fn sizes_are_checked() {
        for good in ["512", "512M", "2G", "1g"] {
            assert_eq!(size(good).as_deref(), Ok(good));
        }
        for bad in ["", "G", "1GG", "-1G", "1 G", "1T,x"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}

//! What all guests of a test share: QEMU, a kernel, and the archive with their first file system.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::archive::Archive;
use crate::{Skip, apps, linked};

const INIT: &str = include_str!("init.sh");

/// The makings of a guest.
pub struct Kit {
    /// QEMU with the device `vfio-user-pci`.
    pub qemu: PathBuf,
    /// A Linux kernel.
    pub kernel: PathBuf,
    archive: Vec<u8>,
}

/// Our guest driver of ptnet devices, and the program that uses it: `ptnet-guest`.
///
/// # Errors
/// If it does not build static here.
pub fn ptnet_guest() -> Result<PathBuf, Skip> {
    let built = linked::whole("uvale-ptnet-guest", "ptnet-guest", &[]);
    built
        .map(|program| program.path)
        .map_err(|why| Skip::required(format!("ptnet-guest does not build static: {why}")))
}

impl Kit {
    /// A kit with the programs `programs` in the guest's `/bin`.
    pub fn new(programs: &[&Path]) -> Result<Kit, Skip> {
        let qemu = apps::qemu()?.path;
        let files = apps::guest_files()?;
        let mut archive = Archive::default();
        for directory in ["proc", "sys", "dev", "run", "tmp", "root", "bin"] {
            archive.directory(directory);
        }
        archive.file("init", 0o755, INIT.as_bytes());
        add_busybox(&mut archive, &files.join("busybox"))?;
        archive.tree("modules", &files.join("modules"));
        for program in programs {
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            archive.copy(&format!("bin/{name}"), program);
        }
        Ok(Kit {
            qemu,
            kernel: files.join("vmlinuz"),
            archive: archive.finish(),
        })
    }

    /// The archive of the first file system, with another one for this guest alone behind it.
    pub(super) fn archive_with(&self, own: Archive) -> Vec<u8> {
        [&self.archive[..], &own.finish()].concat()
    }
}

fn add_busybox(archive: &mut Archive, busybox: &Path) -> Result<(), Skip> {
    let list = Command::new(busybox).arg("--list").output();
    let list = list.map_err(|e| Skip::required(format!("{}: {e}", busybox.display())))?;
    archive.copy("bin/busybox", busybox);
    for applet in String::from_utf8_lossy(&list.stdout).lines() {
        if applet != "busybox" {
            archive.symlink(&format!("bin/{applet}"), "busybox");
        }
    }
    Ok(())
}

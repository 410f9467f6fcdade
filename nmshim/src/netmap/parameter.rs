//! A module parameter's file, open for writing.

use core::sync::atomic::AtomicI64;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libc::{POLLIN, POLLOUT, c_int, c_short, c_ulong, c_void};
use rustix::fd::AsFd;
use uvale_link::channel::call;
use uvale_link::proto::{Call, PROTOCOL, Reply, refused};
use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;

use super::say::{Level, say};
use super::worlds;
use crate::device::{Errno, File, Result, Text};

/// An open description.
pub struct ParameterFile {
    /// of the world
    dir: PathBuf,
    name: String,
    flags: c_int,
    position: AtomicI64,
}

/// Opens the file of `name`: a connection through which bytes reach the parameter too.
pub fn open(
    dir: PathBuf,
    name: &str,
    flags: c_int,
) -> core::result::Result<(Fd, Arc<ParameterFile>), Refusal> {
    worlds::enter(&dir)?;
    let fd = uvale_link::place::connect(&dir)?;
    let opening = Call::OpenParameter {
        protocol: PROTOCOL,
        name: name.to_owned(),
    };
    match call(fd.as_fd(), &opening)? {
        (Reply::Ok, _) => {}
        (other, _) => return Err(refused(other)),
    }
    let file = Arc::new(ParameterFile {
        dir,
        name: name.to_owned(),
        flags,
        position: AtomicI64::new(0),
    });
    Ok((fd, file))
}

/// One write.
pub fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    // As in the kernel: what counts is a C string.
    let text = String::from_utf8_lossy(nm_abi::name::until_nul(bytes));
    let written = worlds::enter(dir).and_then(|(_, session)| session.set_parameter(name, &text));
    match written {
        Ok(None) => Ok(()),
        Ok(Some(warning)) => {
            say(
                Level::Refusal,
                format_args!("{name} is stored, but no port can be opened with it: {warning}"),
            );
            Ok(())
        }
        Err(refusal) => {
            say(Level::Refusal, format_args!("{refusal}"));
            Err(refusal.errno.into())
        }
    }
}

impl Text for ParameterFile {
    fn load(&self) -> Result<String> {
        let entered = worlds::enter(&self.dir);
        let (_, session) = entered.map_err(|refusal| refusal.errno)?;
        let found = session.parameter(&self.name);
        found.map(|p| p.value).ok_or(Errno(libc::EIO))
    }

    fn store(&self, bytes: &[u8]) -> Result<()> {
        write(&self.dir, &self.name, bytes)
    }

    fn position(&self) -> &AtomicI64 {
        &self.position
    }
}

/// A regular file: always ready, and nothing for a driver to do.
impl File for ParameterFile {
    fn ioctl(&self, _: RawFd, _: c_ulong, _: *mut c_void) -> Result<c_int> {
        Err(Errno(libc::ENOTTY))
    }

    fn mmap(
        &self,
        _: RawFd,
        _: *mut c_void,
        _: usize,
        _: c_int,
        _: c_int,
        _: i64,
    ) -> Result<*mut c_void> {
        Err(Errno(libc::ENODEV))
    }

    fn poll(&self, _: RawFd, events: c_short) -> c_short {
        events & (POLLIN | POLLOUT)
    }

    fn drain(&self, _: RawFd) {}

    fn arm(&self, _: RawFd, _: c_short) {}

    fn disarm(&self, _: RawFd, _: c_short) {}

    fn edges(&self) -> u64 {
        0
    }

    fn liveness(&self) -> RawFd {
        -1
    }

    fn open_flags(&self) -> c_int {
        self.flags
    }

    fn describe(&self) -> String {
        format!("parameter {}", self.name)
    }

    fn text(&self) -> Option<&dyn Text> {
        Some(self)
    }
}

//! What a program's file says, as far as it matters at an exec. Nothing is allocated and no lock is taken: it is read
//! in children of vfork, too.

use crate::ground::raw::{call, check};
use core::ffi::CStr;
use libc::{c_char, c_int};

/// What a program has in it that opens the device.
pub const DEVICE: &[u8] = b"/dev/netmap";
/// Bytes that are looked at, of one file.
const MOST: u64 = 256 << 20;
/// Program headers, entries of the dynamic section: more than any program has.
const HEADERS: usize = 32;

/// What the kernel reads of a script's first line.
pub const LINE: usize = 256;
/// Scripts whose interpreter is a script are followed so far, as the kernel does.
const SCRIPTS: usize = 5;

const HEADER: usize = 64;
const SEGMENT: usize = 56;
const ENTRY: usize = 16;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

/// Which file it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity(u64, u64);

/// Is it a regular file? Wherever `path` leads: only the kernel reads there.
fn is_regular(path: *const c_char) -> bool {
    // SAFETY: integers, for which zero is valid.
    let mut stat: libc::stat = unsafe { core::mem::zeroed() };
    let place = &raw mut stat as usize;
    let args = [libc::AT_FDCWD as usize, path as usize, place, 0, 0, 0];
    // SAFETY: the kernel looks whether the path is readable, and fills `stat` in.
    let is_there = unsafe { call(libc::SYS_newfstatat, args) } == 0;
    is_there && stat.st_mode & libc::S_IFMT == libc::S_IFREG
}

/// An open file.
struct File(c_int);

impl File {
    /// A regular file: others may notice that they are opened. Wherever `path` leads, only the kernel reads there.
    fn open(path: *const c_char) -> Option<Self> {
        if !is_regular(path) {
            return None;
        }
        let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK;
        let args = [
            libc::AT_FDCWD as usize,
            path as usize,
            flags as usize,
            0,
            0,
            0,
        ];
        // SAFETY: the kernel looks whether the path is readable.
        check(unsafe { call(libc::SYS_openat, args) })
            .ok()
            .map(|fd| Self(fd as c_int))
    }

    /// The bytes from `at` on, as many as there are and as there is room for.
    fn read<'b>(&self, at: u64, to: &'b mut [u8]) -> &'b [u8] {
        let args = [
            self.0 as usize,
            to.as_mut_ptr() as usize,
            to.len(),
            at as usize,
            0,
            0,
        ];
        // SAFETY: the kernel writes into `to`, no more than its length.
        let n = check(unsafe { call(libc::SYS_pread64, args) }).unwrap_or(0);
        &to[..(n as usize).min(to.len())]
    }

    fn identity(&self) -> Option<Identity> {
        // SAFETY: integers, for which zero is valid.
        let mut stat: libc::stat = unsafe { core::mem::zeroed() };
        let args = [self.0 as usize, &raw mut stat as usize, 0, 0, 0, 0];
        // SAFETY: the kernel fills it in; its layout is the kernel's on 64-bit machines.
        check(unsafe { call(libc::SYS_fstat, args) }).ok()?;
        Some(Identity(stat.st_dev, stat.st_ino))
    }

    /// Is that among `len` bytes from `at` on?
    #[inline(never)]
    fn has(&self, what: &[u8], mut at: u64, len: u64) -> bool {
        let mut room = [0u8; 4096];
        let end = at.saturating_add(len);
        while at < end {
            let wanted = (end - at).min(room.len() as u64) as usize;
            let got = self.read(at, &mut room[..wanted]);
            if finds(got, what) {
                return true;
            }
            // What begins in the last bytes may go on in the next ones.
            match got.len().saturating_sub(what.len() - 1) {
                0 => return false,
                step => at += step as u64,
            }
        }
        false
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: a descriptor of ours.
        unsafe { call(libc::SYS_close, [self.0 as usize, 0, 0, 0, 0, 0]) };
    }
}

/// Is one within the other?
pub fn finds(bytes: &[u8], what: &[u8]) -> bool {
    // SAFETY: both are slices, which the function only reads.
    let at = unsafe {
        libc::memmem(
            bytes.as_ptr().cast(),
            bytes.len(),
            what.as_ptr().cast(),
            what.len(),
        )
    };
    !at.is_null()
}

/// A number in bytes that were read; `None` if they end before.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    number(bytes, at).map(u16::from_ne_bytes)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    number(bytes, at).map(u32::from_ne_bytes)
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    number(bytes, at).map(u64::from_ne_bytes)
}

/// Which file that is.
pub fn identity(path: &CStr) -> Option<Identity> {
    File::open(path.as_ptr())?.identity()
}

/// Is it a file that this process may execute?
pub fn is_program(path: &CStr) -> bool {
    let args = [
        libc::AT_FDCWD as usize,
        path.as_ptr() as usize,
        libc::X_OK as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the path lives.
    let may = unsafe { call(libc::SYS_faccessat, args) } == 0;
    may && is_regular(path.as_ptr())
}

/// Does a program that is not reached find something of that name?
pub fn is_there(path: &CStr) -> bool {
    let args = [libc::AT_FDCWD as usize, path.as_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: the path lives.
    unsafe { call(libc::SYS_faccessat, args) == 0 }
}

/// The file that runs where `path` is executed: that, or the interpreter that a script names. `path` is its name then,
/// in `room`.
fn that_runs(path: &mut *const c_char, room: &mut [u8; LINE]) -> Option<File> {
    for _ in 0..=SCRIPTS {
        let file = File::open(*path)?;
        let mut line = [0u8; LINE];
        let Some(line) = file.read(0, &mut line).strip_prefix(b"#!") else {
            return Some(file);
        };
        let is_space = |byte: &u8| b" \t".contains(byte);
        let start = line.iter().position(|byte| !is_space(byte))?;
        let name = line[start..]
            .split(|byte| is_space(byte) || b"\n\0".contains(byte))
            .next()?;
        room[..name.len()].copy_from_slice(name);
        room[name.len()] = 0;
        *path = room.as_ptr().cast();
    }
    None
}

/// Which file that is, if it is a program of this machine that no loader loads, and that names the device; of a script,
/// that of its interpreter, whose name `path` is then, in `room`. There is none where `path` is no string.
pub fn unreached(path: &mut *const c_char, room: &mut [u8; LINE]) -> Option<Identity> {
    let file = that_runs(path, room)?;
    let mut room = [0u8; HEADER];
    let header = file.read(0, &mut room);
    // 64 bits, low byte first: those that are served here.
    if !header.starts_with(b"\x7fELF\x02\x01")
        || cfg!(target_endian = "big")
        || short(header, 18)? != MACHINE
    {
        return None;
    }
    let (at, size, count) = (
        long(header, 32)?,
        short(header, 54)?,
        usize::from(short(header, 56)?),
    );
    if usize::from(size) != SEGMENT || count > HEADERS {
        return None;
    }
    let mut room = [0u8; HEADERS * SEGMENT];
    let segments = file.read(at, &mut room[..count * SEGMENT]);
    let mut has = false;
    let mut left = MOST;
    for segment in segments.chunks_exact(SEGMENT) {
        match word(segment, 0)? {
            libc::PT_INTERP => return None,
            // A loader itself.
            libc::PT_DYNAMIC if is_library(&file, long(segment, 8)?) => return None,
            _ => {}
        }
    }
    for segment in segments.chunks_exact(SEGMENT) {
        if word(segment, 0)? == libc::PT_LOAD && !has {
            let len = long(segment, 32)?.min(left);
            left -= len;
            has = file.has(DEVICE, long(segment, 8)?, len);
        }
    }
    has.then(|| file.identity()).flatten()
}

/// Has the dynamic section at `at` a name of a library?
fn is_library(file: &File, at: u64) -> bool {
    const SONAME: u64 = 14;
    let mut room = [0u8; HEADERS * ENTRY];
    let entries = file.read(at, &mut room);
    entries
        .chunks_exact(ENTRY)
        .map_while(|entry| long(entry, 0).filter(|tag| *tag != 0))
        .any(|tag| tag == SONAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_across_two_reads_is_found() {
        let path = std::env::temp_dir().join(format!("nmshim-image-{}", std::process::id()));
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        for before in [0, 1, 4086, 4090, 4095, 4096, 9000] {
            let mut bytes = vec![b'/'; before];
            bytes.extend_from_slice(DEVICE);
            std::fs::write(&path, &bytes).unwrap();
            let file = File::open(name.as_ptr()).unwrap();
            assert!(file.has(DEVICE, 0, bytes.len() as u64), "{before}");
            assert!(!file.has(DEVICE, 0, bytes.len() as u64 - 1), "{before}");
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn interpreters_of_scripts() {
        let folder = std::env::temp_dir().join(format!("nmshim-script-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let long = "x".repeat(LINE);
        for (line, name) in [
            ("#!/bin/sh\n", Some("/bin/sh")),
            ("#! \t/bin/sh -e\n", Some("/bin/sh")),
            ("#!/bin/sh", Some("/bin/sh")),
            ("#!", None),
            ("#!\n", None),
            (&*format!("#!{long}\n"), None),
        ] {
            let path = folder.join("script");
            std::fs::write(&path, line).unwrap();
            let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
            let (mut at, mut room) = (path.as_ptr(), [0; LINE]);
            let file = that_runs(&mut at, &mut room);
            assert_eq!(file.is_some(), name.is_some(), "{line}");
            if let Some(name) = name {
                let found = CStr::from_bytes_until_nul(&room).unwrap();
                assert_eq!(found.to_str(), Ok(name), "{line}");
            }
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn loaded_programs_and_loaders_are_none() {
        let unreached = |mut path: *const c_char| unreached(&mut path, &mut [0; LINE]);
        for path in [c"/proc/self/exe", c"/bin/sh", c"/dev/null", c"/nonexistent"] {
            assert!(unreached(path.as_ptr()).is_none(), "{path:?}");
        }
        for path in [0, 8, usize::MAX] {
            assert!(unreached(path as *const c_char).is_none());
        }
    }
}

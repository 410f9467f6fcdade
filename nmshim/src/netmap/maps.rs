//! The memory map of this process.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use uvale_system::sys::Fd;

/// Addresses that are mapped in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Area {
    pub start: u64,
    pub end: u64,
    pub is_readable: bool,
    pub is_writable: bool,
    pub is_executable: bool,
    pub is_shared: bool,
    /// byte of the file at `start`
    pub offset: u64,
    pub dev: u64,
    /// 0: no file
    pub ino: u64,
}

/// What is mapped in `start..end`; `EFAULT` if some of it is not.
pub fn areas(start: u64, end: u64) -> Result<Vec<Area>, Errno> {
    let overlapping = |a: &Area| a.start < end && a.end > start;
    let areas: Vec<Area> = all()?.into_iter().filter(overlapping).collect();
    let mut at = start;
    for area in &areas {
        if area.start > at {
            return Err(Errno::FAULT);
        }
        at = area.end;
    }
    if at < end {
        return Err(Errno::FAULT);
    }
    Ok(areas)
}

/// Everything that is mapped.
pub fn all() -> Result<Vec<Area>, Errno> {
    let text = read_all(c"/proc/self/maps").map_err(|_| Errno::NOMEM)?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().filter_map(parse).collect())
}

/// A line: `start-end perms offset major:minor inode path`.
fn parse(line: &str) -> Option<Area> {
    let mut words = line.split_ascii_whitespace();
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = words.next()?.split_once('-')?;
    let perms = words.next()?.as_bytes();
    let offset = hex(words.next()?)?;
    let (major, minor) = words.next()?.split_once(':')?;
    let dev = rustix::fs::makedev(hex(major)? as u32, hex(minor)? as u32);
    let ino = words.next()?.parse().ok()?;
    Some(Area {
        start: hex(start)?,
        end: hex(end)?,
        is_readable: perms.first() == Some(&b'r'),
        is_writable: perms.get(1) == Some(&b'w'),
        is_executable: perms.get(2) == Some(&b'x'),
        is_shared: perms.get(3) == Some(&b's'),
        offset,
        dev,
        ino,
    })
}

fn read_all(path: &core::ffi::CStr) -> Result<Vec<u8>, Errno> {
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let fd = Fd::from(fd);
    let mut text = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match rustix::io::read(&fd, &mut chunk[..]) {
            Ok(0) => return Ok(text),
            Ok(n) => text.extend_from_slice(&chunk[..n]),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_map() {
        let line = "7f1c2a000000-7f1c2a021000 rw-s 00001000 00:01 2057      /memfd:x (deleted)";
        let area = parse(line).unwrap();
        assert_eq!((area.start, area.end), (0x7f1c_2a00_0000, 0x7f1c_2a02_1000));
        assert!(area.is_readable && area.is_writable && !area.is_executable && area.is_shared);
        assert_eq!((area.offset, area.dev, area.ino), (4096, 1, 2057));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn our_own_memory_is_there_and_page_zero_is_not() {
        let here = 0u8;
        let at = core::ptr::from_ref(&here) as u64;
        let found = areas(at, at + 1).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].is_writable && !found[0].is_shared);
        assert_eq!(areas(0, 4096), Err(Errno::FAULT));
    }
}

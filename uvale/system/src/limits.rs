//! Limits of the system that a call ran into: which one, how much it is, and how to raise it.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::who::read_start;

/// The limit of this process or of the system that `errno` is about; `None`: it is about none.
pub fn reached(errno: Errno) -> Option<String> {
    match errno {
        Errno::MFILE => Some(format!(
            "this process has as many descriptors open as it may: {}",
            descriptors()
        )),
        Errno::NFILE => Some(format!(
            "the system has as many files open as it may{}: raise it with sysctl fs.file-max",
            number("/proc/sys/fs/file-max")
        )),
        Errno::TOOMANYREFS => Some(format!(
            "too many descriptors of this user are on their way between processes: {}",
            descriptors()
        )),
        Errno::NOMEM => Some(format!(
            "no memory or address space left: {}, mappings are limited by sysctl vm.max_map_count{}, \
             and a container or cgroup may have a memory limit",
            address_space(),
            number("/proc/sys/vm/max_map_count")
        )),
        _ => None,
    }
}

/// `its limit is 256 (ulimit -n), and can be raised to 4096`.
pub fn descriptors() -> String {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    let raise = match limit.maximum {
        Some(most) if most <= current => {
            "which is as high as it goes without root: ulimit -Hn, or LimitNOFILE= of a unit"
                .to_owned()
        }
        Some(most) => format!("and can be raised to {most}: ulimit -n {most}"),
        None => "and can be raised without end: ulimit -n".to_owned(),
    };
    format!("its limit is {current} (ulimit -n), {raise}")
}

fn address_space() -> String {
    match getrlimit(Resource::As).current {
        Some(bytes) => format!("its limit is {} KiB (ulimit -v)", bytes / 1024),
        None => "its address space is not limited (ulimit -v)".to_owned(),
    }
}

fn number(path: &str) -> String {
    let text = read_start(path).unwrap_or_default();
    match String::from_utf8_lossy(&text).trim() {
        "" => String::new(),
        number => format!(" ({number})"),
    }
}

/// Limits that memory shared with others may run into, and their names.
pub const OF_MEMORY: [(Resource, &str); 3] = [
    (Resource::Fsize, "RLIMIT_FSIZE (ulimit -f)"),
    (Resource::As, "RLIMIT_AS (ulimit -v)"),
    (Resource::Data, "RLIMIT_DATA (ulimit -d)"),
];

/// Why there is no memory of `len` bytes: the limit that is too low for it, or the error itself.
pub fn why_no_memory(errno: Errno, len: u64) -> String {
    let too_low = OF_MEMORY.into_iter().find_map(|(resource, name)| {
        // A memory may have parts.
        if resource == Resource::Fsize && errno != Errno::FBIG {
            return None;
        }
        let most = getrlimit(resource).current.filter(|most| *most < len)?;
        Some(format!("{name} is {most} bytes"))
    });
    too_low
        .or_else(|| reached(errno))
        .unwrap_or_else(|| errno.to_string())
}

/// Room for a file of some length under `RLIMIT_FSIZE`, until it is dropped.
pub struct FileSize(Option<Rlimit>);

impl FileSize {
    /// Bytes that a file may have.
    pub fn most() -> usize {
        let most = getrlimit(Resource::Fsize).maximum;
        most.and_then(|most| usize::try_from(most).ok())
            .unwrap_or(usize::MAX)
    }

    /// Raises the soft limit if that is what is in the way; `EFBIG` if the hard one is. Nothing is tried that would
    /// raise SIGXFSZ. Until it is dropped other threads may write longer files, too.
    pub fn allow(len: usize) -> Result<Self, Errno> {
        let limit = getrlimit(Resource::Fsize);
        let is_enough = |most: Option<u64>| most.is_none_or(|most| len as u64 <= most);
        if is_enough(limit.current) {
            return Ok(Self(None));
        }
        if !is_enough(limit.maximum) {
            return Err(Errno::FBIG);
        }
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        setrlimit(Resource::Fsize, raised)?;
        Ok(Self(Some(limit)))
    }
}

impl Drop for FileSize {
    fn drop(&mut self) {
        if let Some(limit) = self.0.take() {
            let _ = setrlimit(Resource::Fsize, limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_named_with_their_values() {
        let now = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let why = reached(Errno::MFILE).unwrap();
        assert!(
            why.contains(&format!("its limit is {now} (ulimit -n)")),
            "{why}"
        );
        assert!(reached(Errno::NFILE).unwrap().contains("fs.file-max"));
        assert!(reached(Errno::NOMEM).unwrap().contains("vm.max_map_count"));
        assert_eq!(reached(Errno::INVAL), None);
    }
}

//! What machine the figures come from.

use serde::{Deserialize, Serialize};

/// Facts about the machine and this program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// the processor's name for itself
    pub processor: String,
    /// processors that this process may use
    pub processors: usize,
    /// a hypervisor is below: the absolute figures depend on what else it does
    pub is_virtual: bool,
    /// bytes of memory
    pub memory: u64,
    /// name and release of the kernel
    pub kernel: String,
    pub architecture: String,
    /// version of this program
    pub uvale: String,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = value(&memory, "MemTotal").and_then(|v| v.split(' ').next()?.parse().ok());
        let flags = value(&cpus, "flags").unwrap_or_default();
        Self {
            processor: value(&cpus, "model name").unwrap_or("unknown").to_owned(),
            processors: std::thread::available_parallelism().map_or(1, Into::into),
            is_virtual: flags.split(' ').any(|flag| flag == "hypervisor"),
            memory: kib.map_or(0, |kib: u64| kib * 1024),
            kernel: format!("Linux {}", kernel.trim()),
            architecture: std::env::consts::ARCH.to_owned(),
            uvale: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Are its figures comparable with those of `other`?
    pub fn is_like(&self, other: &Self) -> bool {
        let hardware = |m: &Self| (m.processor.clone(), m.processors, m.architecture.clone());
        hardware(self) == hardware(other)
    }
}

impl core::fmt::Display for Machine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (n, name) = (self.processors, &self.processor);
        let s = if n == 1 { "" } else { "s" };
        let machine = if self.is_virtual { ", virtual" } else { "" };
        write!(
            f,
            "{n} processor{s} ({name}{machine}), {}, uvale {}",
            self.kernel, self.uvale
        )
    }
}

/// The first value of that name in lines of `name : value`.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// Load average of the last minute; 0 if nobody knows.
pub fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|l| l.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: a hypervisor b\n";
        assert_eq!(value(text, "model name"), Some("Some CPU @ 2 GHz"));
        assert_eq!(value(text, "none"), None);
    }

    #[test]
    fn a_machine_is_like_itself() {
        let this = Machine::this();
        assert!(this.processors > 0 && this.memory > 0);
        let newer = Machine {
            kernel: "Linux 99".into(),
            ..this.clone()
        };
        assert!(this.is_like(&newer));
        let other = Machine {
            processor: "another".into(),
            ..this.clone()
        };
        assert!(!this.is_like(&other));
    }
}

//! What a daemon inherits from the program that starts it, and how it gets rid of that.
//!
//! A daemon that the first program of a world starts also serves others, so that program's limits, priority,
//! processors, terminal and the like must not apply to it. What only a privileged process could reset is reported in
//! the log ([`findings`]).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use uvale_system::limits::OF_MEMORY;

/// What follows from the limits of [`OF_MEMORY`].
const THEN: &str = "memory that does not fit is refused";

/// Raises soft limits to the hard ones. If the limits are those of a program that happened to come first
/// (`inherited`), the hard ones go too where the system permits it.
pub fn raise_limits(inherited: bool) {
    for resource in OF_MEMORY
        .map(|(resource, _)| resource)
        .into_iter()
        .chain([Resource::Cpu])
    {
        let none = Rlimit {
            current: None,
            maximum: None,
        };
        if !inherited || setrlimit(resource, none).is_err() {
            raise(resource);
        }
    }
    // The number of descriptors that the system's owner allows is respected: what reaches it is refused.
    for resource in [Resource::Nofile, Resource::Nproc, Resource::Stack] {
        raise(resource);
    }
}

fn raise(resource: Resource) {
    let limit = getrlimit(resource);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let _ = setrlimit(resource, raised);
}

/// Resets what a daemon in the background must not keep of the program that started it: priority, processors, umask,
/// signals, and whatever else a child inherits. Each by itself, as far as permitted.
pub fn leave() {
    use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    rustix::process::umask(rustix::fs::Mode::from(0o077));
    let mut every = rustix::thread::CpuSet::new();
    (0..rustix::thread::CpuSet::MAX_CPU).for_each(|cpu| every.set(cpu));
    let _ = rustix::thread::sched_setaffinity(None, &every);
    kernel::default_schedule();
    let _ = rustix::process::setpriority_process(None, 0);
    kernel::default_dispositions();
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
}

/// What could not be reset, in sentences for the log. A daemon that `may_move` continues in another process.
pub fn findings(may_move: bool) -> Vec<String> {
    let memory = OF_MEMORY.into_iter().filter_map(|(resource, name)| {
        let most = getrlimit(resource).current?;
        Some(format!(
            "{name} holds for this daemon, {most} bytes: {THEN}"
        ))
    });
    let cpu = getrlimit(Resource::Cpu).current.map(|most| {
        let then = if may_move {
            format!("before {most} s of work it continues in another process")
        } else {
            format!("after {most} s of work the system ends it")
        };
        format!("RLIMIT_CPU (ulimit -t) holds for this daemon: {then}")
    });
    let nice = rustix::process::getpriority_process(None).unwrap_or(0);
    let nice = (nice > 0).then(|| format!("this daemon runs at nice {nice}"));
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let filtered = status
        .lines()
        .any(|l| l.strip_prefix("Seccomp:").is_some_and(|v| v.trim() == "2"));
    let filter = filtered.then(|| {
        "a seccomp filter holds for this daemon: that of its container, or of the program that \
         started it"
            .to_owned()
    });
    memory.chain(cpu).chain(nice).chain(filter).collect()
}

/// System calls that rustix does not have.
#[allow(unsafe_code)]
mod kernel {
    /// No real-time or idle class, the default priority of I/O, memory from any node.
    pub fn default_schedule() {
        let _ = uvale_system::sys::schedule(libc::SCHED_OTHER, 0);
        // SAFETY: of numbers alone, but for a null that means 'no mask'.
        unsafe {
            const IOPRIO_WHO_PROCESS: libc::c_int = 1;
            libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, 0);
            libc::syscall(
                libc::SYS_set_mempolicy,
                libc::MPOL_DEFAULT,
                core::ptr::null::<u8>(),
                0,
            );
        }
    }

    /// Signals do what they do by default, and addresses are chosen at random.
    pub fn default_dispositions() {
        for signal in 1..=libc::SIGRTMAX() {
            // Rust's runtime wants SIGPIPE ignored; the two that cannot be changed are refused.
            if signal != libc::SIGPIPE {
                // SAFETY: the default is no function of ours; this process has set no handlers.
                unsafe { libc::signal(signal, libc::SIG_DFL) };
            }
        }
        const PER_LINUX: libc::c_ulong = 0;
        // SAFETY: a number.
        unsafe { libc::personality(PER_LINUX) };
    }
}

//! Guests: a real QEMU with a real kernel, which does what a test says.
//!
//! - [`kit`]: QEMU, the kernel and the first file system; [`archive`]: how that is packed
//! - [`device`]: QEMU's arguments for devices; [`mod@dynamic`]: programs of this machine's, with their libraries
//!
//! ```no_run
//! use compat_tests::guest::{Guest, Plan, device, kit::Kit};
//! # fn main() -> Result<(), compat_tests::Skip> {
//! # let dir = std::path::Path::new("/tmp");
//! let kit = Kit::new(&[])?;
//! let mut guest = Guest::boot(&kit, dir, Plan {
//!     name: "a",
//!     devices: device::vfio_user(&dir.join("a.sock")),
//!     ..Plan::default()
//! });
//! assert!(guest.run("ls /sys/bus/pci/devices").contains("0000:00:03.0"));
//! # Ok(())
//! # }
//! ```
//!
//! A guest is emulated, as not every machine that tests run on has KVM: what it takes says nothing of speed.

pub mod archive;
pub mod device;
#[cfg(feature = "daemon")]
pub mod dynamic;
pub mod kit;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use archive::Archive;
use kit::Kit;

use crate::facts::{self, Facts};
use crate::wait;
use crate::world::Program;

/// Memory of a guest, in MiB, unless a plan says otherwise.
const MEMORY: u32 = 256;

/// What virtio-net devices need, for [`Plan::modules`].
pub const VIRTIO_NET: &[&str] = &["failover", "net_failover", "virtio_net"];

/// The kernel's command line: where it speaks, that it ends rather than reboots, and leaving out what takes an emulated
/// machine long and guests of a test do not need.
const KERNEL: &str = "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr no_timer_check \
                      cryptomgr.notests initcall_blacklist=jent_mod_init";

/// What a guest is to be.
pub struct Plan<'a> {
    /// Its name, for messages; files of it begin with it.
    pub name: &'a str,
    /// QEMU's arguments for its devices.
    pub devices: Vec<String>,
    /// Files that only this guest has.
    pub files: Archive,
    /// Megabytes of memory.
    pub memory: u32,
    /// Modules that its kernel loads, in that order.
    pub modules: &'a [&'a str],
    /// Words for its kernel's command line.
    pub kernel: &'a str,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Plan {
            name: "guest",
            devices: Vec::new(),
            files: Archive::default(),
            memory: MEMORY,
            modules: &[],
            kernel: "",
        }
    }
}

/// A guest that runs; killed when it is dropped.
pub struct Guest {
    program: Program,
    console: PathBuf,
    commands: u32,
    /// lines of output that have been looked at
    seen: usize,
}

/// A command that runs in the guest beside others.
#[derive(Debug)]
pub struct Job {
    number: u32,
}

impl Guest {
    /// Boots a guest with files in `dir`, and waits until it is ready.
    ///
    /// # Panics
    /// If it does not get there.
    pub fn boot(kit: &Kit, dir: &Path, plan: Plan<'_>) -> Guest {
        let guest = Guest::start(kit, dir, plan);
        guest.wait_ready();
        guest
    }

    /// Starts a guest with files in `dir`. It is killed when the thread that called this ends.
    ///
    /// # Panics
    /// If the files cannot be written or QEMU does not start.
    pub fn start(kit: &Kit, dir: &Path, plan: Plan<'_>) -> Guest {
        let file = |what: &str| dir.join(format!("{}.{what}", plan.name));
        let (initrd, console) = (file("initrd"), file("console"));
        std::fs::write(&initrd, kit.archive_with(plan.files)).expect("a file of the test");
        let memory = plan.memory;
        let ram = format!("memory-backend-memfd,id=ram,size={memory}M,share=on");
        let kernel = format!("{KERNEL} load={} {}", plan.modules.join(","), plan.kernel);
        // It does not outlive whoever started it, however that ends.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&kit.qemu)
            .args([
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-no-reboot",
            ])
            .args(["-machine", "q35,accel=tcg,hpet=off,memory-backend=ram"])
            .args(["-m", &format!("{memory}M"), "-object", &ram])
            .arg("-kernel")
            .arg(&kit.kernel)
            .arg("-initrd")
            .arg(&initrd)
            .args(["-append", &kernel])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .args(["-serial", "stdio"])
            .args(&plan.devices)
            .stdin(Stdio::piped());
        Guest {
            program: Program::start(&format!("guest {}", plan.name), command),
            console,
            commands: 0,
            seen: 0,
        }
    }

    /// Waits until it takes commands; gives what it says of itself.
    ///
    /// # Panics
    /// If it does not get there.
    pub fn wait_ready(&self) -> String {
        self.program
            .wait_line("that it is ready", |l| l.starts_with("guest ready"))
    }

    /// Runs a shell command to its end, which is to be a good one; gives what it printed.
    ///
    /// # Panics
    /// If it fails or does not end.
    pub fn run(&mut self, command: &str) -> String {
        let (status, said) = self.try_run(command);
        assert_eq!(status, 0, "{command}: {said}");
        said
    }

    /// [`Guest::run`], with the `key=value` lines of what it printed.
    ///
    /// # Panics
    /// As [`Guest::run`].
    pub fn facts(&mut self, command: &str) -> Facts {
        let said = self.run(command);
        facts::parse(&said)
    }

    /// Runs a shell command to its end; gives its exit status and what it printed.
    ///
    /// # Panics
    /// If it does not end.
    pub fn try_run(&mut self, command: &str) -> (i32, String) {
        let number = self.tell(command);
        self.answer(number)
    }

    /// Runs a shell command that may hang, or bring the guest down: gives what it printed, and its exit status; none if
    /// the guest has said nothing for as long as `patience` or is gone.
    ///
    /// # Panics
    /// If the guest does not take the command.
    pub fn run_while_it_prints(
        &mut self,
        command: &str,
        patience: Duration,
    ) -> (String, Option<i32>) {
        let number = self.tell(command);
        let mark = format!("=== {number} ");
        let has_ended = || {
            let said = self.program.said_since(self.seen);
            said.lines().any(|l| l.starts_with(&mark))
        };
        loop {
            let lines = self.program.lines();
            let ended = wait::until(patience, || {
                let ended = has_ended() || self.program.has_closed();
                (ended || self.program.lines() != lines).then_some(ended)
            });
            match ended {
                Some(false) => {}
                Some(true) if has_ended() => break,
                _ => return (self.program.said_since(self.seen), None),
            }
        }
        let (status, said) = self.answer(number);
        (said, Some(status))
    }

    /// Starts a shell command beside others.
    ///
    /// # Panics
    /// If the guest does not take it.
    pub fn begin(&mut self, command: &str) -> Job {
        let number = self.commands + 1;
        let job = format!("/run/{number}");
        self.run(&format!(
            "((({command}) >{job} 2>&1 </dev/null & echo $! >{job}.pid; wait $!; echo $? >{job}.status) &); \
             until [ -s {job}.pid ]; do usleep 1000; done"
        ));
        Job { number }
    }

    /// What a command has printed so far.
    ///
    /// # Panics
    /// If the guest does not answer.
    pub fn said_by(&mut self, job: &Job) -> String {
        self.run(&format!("cat /run/{}", job.number))
    }

    /// Waits for the end of a command: its exit status, and what it printed.
    ///
    /// # Panics
    /// If it does not end.
    pub fn finish(&mut self, job: Job) -> (i32, String) {
        let job = format!("/run/{}", job.number);
        self.try_run(&format!(
            "until [ -s {job}.status ]; do usleep 10000; done; cat {job}; (exit $(cat {job}.status))"
        ))
    }

    /// Signals a command: its whole shell, if it is one.
    ///
    /// # Panics
    /// If the guest does not answer.
    pub fn kill(&mut self, job: &Job, signal: &str) {
        self.run(&format!("kill -{signal} $(cat /run/{}.pid)", job.number));
    }

    /// QEMU, to be signalled.
    pub fn qemu(&mut self) -> &mut Program {
        &mut self.program
    }

    /// Switches the guest off and waits for QEMU's end.
    ///
    /// # Panics
    /// If QEMU does not end well.
    pub fn power_off(mut self) {
        self.tell("poweroff -f");
        let status = self.program.wait();
        assert!(status.success(), "{}", self.program.said());
    }

    /// What its kernel has said.
    pub fn console(&self) -> String {
        let bytes = std::fs::read(&self.console).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn tell(&mut self, command: &str) -> u32 {
        assert!(!command.contains('\n'), "a command is one line: {command}");
        self.commands += 1;
        self.program.tell(&format!("{} {command}", self.commands));
        self.commands
    }

    fn answer(&mut self, number: u32) -> (i32, String) {
        let mark = format!("=== {number} ");
        let end = self.program.wait_line(&mark, |l| l.starts_with(&mark));
        let lines = self.program.said_since(self.seen);
        let said: Vec<_> = lines
            .split_inclusive('\n')
            .take_while(|l| !l.starts_with(&mark))
            .collect();
        self.seen += said.len() + 1;
        let said = said.concat();
        let status = end[mark.len()..].trim().parse();
        (status.expect("a shell's status is a number"), said)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the guest's console:\n{}", self.console());
        }
    }
}

//! Network namespaces of one's own, with a veth pair between them.
#![allow(dead_code)]

use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use uvale_system::sys::OwnFd;
use uvale_wire::{Carrier, Opened, Wanted, Wire};

const MARK: &str = "UVALE_WIRE_GROUND";

/// Runs `test`, whose name is `name`, in a process with a network namespace of its own. Says so if it cannot.
pub fn apart(name: &str, test: impl FnOnce()) {
    if std::env::var_os(MARK).is_some() {
        stay_here();
        quiet();
        return test();
    }
    let own = [&["--net"][..], &["--user", "--map-root-user", "--net"]];
    let works = |words: &&&[&str]| {
        let mut command = Command::new("unshare");
        let tried = command.args(**words).args(["ip", "link"]).output();
        tried.is_ok_and(|output| output.status.success())
    };
    let Some(words) = own.iter().find(works) else {
        println!(
            "{name}: skipped: no `unshare --net` for us, or no `ip` (Debian: util-linux, iproute2)"
        );
        return;
    };
    let program = std::env::current_exe().expect("a test has a program");
    let status = Command::new("unshare")
        .args(*words)
        .arg(program)
        .args(["--exact", name, "--nocapture", "--include-ignored"])
        .env(MARK, "1")
        .status()
        .expect("it was there a moment ago");
    assert!(status.success(), "{name}: {status}");
}

/// Keeps this process on one processor: packets over a veth pair stay in order then.
fn stay_here() {
    use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
    let mut here = CpuSet::new();
    here.set(sched_getcpu());
    sched_setaffinity(None, &here).expect("it is where we are");
}

/// Interfaces made in this namespace send nothing by themselves.
fn quiet() {
    // Without IPv6 there is nothing to be quiet about.
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
}

/// `ip` with these words, in the namespace of this thread.
pub fn ip(words: &str) {
    run("ip", words);
}

/// Many of them, one on each line.
pub fn ip_batch(lines: &str) {
    let path = std::env::temp_dir().join(format!("uvale-wire-{}", std::process::id()));
    std::fs::write(&path, lines).expect("there is room");
    ip(&format!("-batch {}", path.display()));
    std::fs::remove_file(&path).expect("it is ours");
}

/// Runs a command that not every system can do. Did it?
pub fn tries(command: &str) -> bool {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a command");
    let output = Command::new(program).args(words).output();
    output.is_ok_and(|o| o.status.success())
}

fn run(program: &str, words: &str) {
    let output = Command::new(program)
        .args(words.split_whitespace())
        .output();
    let output = output.expect("the program is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words}: {said}");
}

type Task = Box<dyn FnOnce() + Send>;

/// A thread that stands in another network namespace.
pub struct Other {
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
    /// what `ip link set ... netns` calls it
    pub id: i32,
}

impl Other {
    pub fn new() -> Self {
        let (tasks, todo) = channel::<Task>();
        let (say, heard) = channel();
        let thread = std::thread::spawn(move || {
            let flags = rustix::thread::UnshareFlags::NEWNET;
            // SAFETY: only this thread's network namespace changes, which no memory depends on.
            unsafe { rustix::thread::unshare_unsafe(flags) }.expect("the first one was allowed");
            ip("link set lo up");
            quiet();
            say.send(rustix::thread::gettid().as_raw_nonzero().get())
                .expect("somebody waits");
            todo.into_iter().for_each(|task| task());
        });
        Self {
            tasks: Some(tasks),
            thread: Some(thread),
            id: heard.recv().expect("the thread says it"),
        }
    }

    /// Runs `task` over there and waits for its end.
    pub fn run<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> T {
        let (say, heard) = channel();
        let task = Box::new(move || drop(say.send(task())));
        let tasks = self.tasks.as_ref().expect("it runs until it is dropped");
        tasks.send(task).expect("the thread runs");
        heard.recv().expect("the task did not panic")
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.tasks.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

/// A veth pair, `va` here and `vb` there, both up.
pub fn pair(options: &str) -> Other {
    let other = Other::new();
    ip("link set lo up");
    ip(&format!(
        "link add va {options} type veth peer name vb {options}"
    ));
    ip(&format!("link set vb netns {}", other.id));
    ip("link set va up");
    other.run(|| ip("link set vb up"));
    other
}

/// Opens the wire of interface `name`, with so many rx and tx rings.
pub fn open(name: &str, rings: [u32; 2]) -> Opened {
    open_by(name, rings, Carrier::Best)
}

/// The same with a certain carrier.
pub fn open_by(name: &str, rings: [u32; 2], carrier: Carrier) -> Opened {
    let interface = uvale_wire::interface::look_up(name.as_bytes()).expect("it is there");
    let wanted = Wanted {
        name,
        interface: &interface,
        rings,
        host: false,
        steal: false,
        programs: true,
        carrier,
    };
    uvale_wire::open(&wanted).expect("packet sockets never fail but with a reason")
}

pub fn wire(name: &str) -> Wire {
    wire_of(open(name, [1, 1]))
}

pub fn wire_of(opened: Opened) -> Wire {
    assert_eq!(opened.shape.lacks, [""; 0]);
    Wire::new(opened.shape, opened.fds).expect("the descriptors are those of the shape")
}

/// Waits until `fd` is readable; false after five seconds.
pub fn readable(fd: &OwnFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let limit = Timespec {
        tv_sec: 5,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&limit)) == Ok(1)
}

/// Packet `number` of `len` bytes: nobody's EtherType, then the number.
pub fn numbered(number: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![number as u8; len];
    bytes[..14].copy_from_slice(&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5]);
    bytes[14..18].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// A length for packet `number`.
pub fn some_len(number: u32) -> usize {
    60 + (number as usize * 7) % 1455
}

/// Of the packets made by `numbered` (others, of the kernel's own, there may be), the number.
pub fn number_of(packet: &[u8]) -> Option<u32> {
    let is_ours = packet.get(12..14) == Some(&[0x88, 0xb5]);
    let number = packet.get(14..18).filter(|_| is_ours)?;
    Some(u32::from_be_bytes(number.try_into().expect("four bytes")))
}

//! The private network of a run: namespaces, and veth pairs between them.
//!
//! Programs are in the namespace that the run's process has entered first, the tester's ends of veth pairs in another
//! one, in which nothing else happens. IPv6 sends nothing by itself in either.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, setns, unshare};

use super::names::Names;
use super::why::{Done, error, plain, skipped};
use crate::plan::{Kind, Run, Target};

/// Enters a network namespace of its own, if the run needs one; where that is not allowed, inside of a user namespace,
/// in which this process is root. To be called by a process with one thread.
pub fn enter(run: &Run) -> Done {
    if !is_needed(run) {
        return Ok(());
    }
    if unshare(CloneFlags::CLONE_NEWNET).is_ok() {
        return Ok(());
    }
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .map_err(|e| not_allowed(&e.to_string()))?;
    // setgroups(2) has to be given up before a user without rights may map a group.
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {user} 1")),
        ("gid_map", format!("0 {group} 1")),
    ] {
        std::fs::write(format!("/proc/self/{file}"), text)
            .map_err(|e| not_allowed(&format!("{file}: {}", plain(&e))))?;
    }
    Ok(())
}

fn not_allowed(why: &str) -> crate::plan::Verdict {
    skipped(format!(
        "this user may not have a network namespace of its own, which interfaces and namespaces of a test need \
         ({why}): allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, \
         kernel.apparmor_restrict_unprivileged_userns), or run it as root"
    ))
}

fn is_needed(run: &Run) -> bool {
    let has_nic = run
        .ports
        .iter()
        .any(|port| matches!(port.kind, Kind::Nic { .. }));
    match run.target {
        Target::Nic(_) => false,
        Target::Uvale | Target::Kernel => has_nic || !run.namespaces.is_empty(),
    }
}

/// A namespace.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// where programs are, unless they say where
    Home,
    /// where the tester's ends are
    Tester,
    /// one that the file names
    Named(&'a str),
}

impl<'a> Place<'a> {
    /// That of a program or a command.
    pub fn of(name: Option<&'a String>) -> Self {
        name.map_or(Place::Home, |name| Place::Named(name))
    }
}

/// The namespaces of a run.
pub struct Network {
    home: File,
    tester: Option<File>,
    named: BTreeMap<String, File>,
}

impl Network {
    /// Makes namespaces and veth pairs.
    pub fn new(run: &Run, names: &Names) -> Done<Self> {
        let mut network = Self {
            home: current()?,
            tester: None,
            named: BTreeMap::new(),
        };
        let is_private = is_needed(run);
        let has_end = |port: &crate::plan::Port| matches!(port.kind, Kind::Nic { peer: None });
        if is_private && run.ports.iter().any(has_end) {
            network.tester = Some(network.make("disable_ipv6")?);
        }
        for namespace in &run.namespaces {
            // Kernel programs may want addresses there; without one of the link nothing is sent unasked.
            let made = network.make("addr_gen_mode")?;
            network.named.insert(namespace.name.clone(), made);
        }
        if is_private {
            set("disable_ipv6");
            network.cable(run, names)?;
        }
        Ok(network)
    }

    /// A new namespace, in which that setting of IPv6 is 1.
    fn make(&self, setting: &str) -> Done<File> {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|e| not_allowed(&e.to_string()))?;
        let made = current();
        set(setting);
        let said = ip("link set lo up\n");
        self.back()?;
        said.and(made)
    }

    /// The veth pairs, which are up.
    fn cable(&self, run: &Run, names: &Names) -> Done {
        let mut lines = String::from("link set lo up\n");
        let mut others = Vec::new();
        for port in &run.ports {
            let Kind::Nic { peer } = &port.kind else {
                continue;
            };
            let place = peer.as_deref().map_or(Place::Tester, Place::Named);
            let Some(interface) = &names.get(&port.name)?.interface else {
                continue;
            };
            let rings = port.rings.unwrap_or(1);
            let queues = format!("numtxqueues {rings} numrxqueues {rings}");
            let (pid, fd) = (std::process::id(), self.file(place)?.as_raw_fd());
            lines += &format!(
                "link add name {interface} {queues} type veth \
                 peer name {interface} {queues} netns /proc/{pid}/fd/{fd}\n\
                 link set dev {interface} up\n"
            );
            others.push((place, format!("link set dev {interface} up\n")));
        }
        ip(&lines)?;
        for (place, lines) in others {
            self.inside(place, || ip(&lines))??;
        }
        Ok(())
    }

    /// Does it in that namespace. The process has one thread, and what it starts meanwhile is there.
    pub fn inside<T>(&self, place: Place<'_>, what: impl FnOnce() -> T) -> Done<T> {
        if matches!(place, Place::Home) {
            return Ok(what());
        }
        enter_one(self.file(place)?)?;
        let done = what();
        self.back()?;
        Ok(done)
    }

    fn back(&self) -> Done {
        enter_one(&self.home)
    }

    fn file(&self, place: Place<'_>) -> Done<&File> {
        match place {
            Place::Home => Ok(&self.home),
            // Of interfaces of this machine both ends are here.
            Place::Tester => Ok(self.tester.as_ref().unwrap_or(&self.home)),
            Place::Named(name) => {
                let names = self.named.keys().map(String::as_str);
                let hint = || uvale_tools::nearest::hint(name, names);
                let found = self.named.get(name);
                found.ok_or_else(|| error(format!("there is no namespace {name}{}", hint())))
            }
        }
    }

    /// Number of the programs' namespace.
    pub fn home(&self) -> Option<u64> {
        self.home.metadata().ok().map(|meta| meta.ino())
    }
}

/// The namespace of this thread, to come back to.
fn current() -> Done<File> {
    let path = "/proc/thread-self/ns/net";
    File::open(path).map_err(|e| error(format!("cannot open {path}: {}", plain(&e))))
}

fn enter_one(namespace: &File) -> Done {
    setns(namespace, CloneFlags::CLONE_NEWNET)
        .map_err(|e| error(format!("cannot enter a network namespace: {e}")))
}

/// Sets it to 1 for interfaces to come. A kernel without IPv6 has no such setting, and sends nothing either.
fn set(setting: &str) {
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/default/{setting}"), "1");
}

/// Does what the lines say: those of `ip -batch`.
fn ip(lines: &str) -> Done {
    let mut command = Command::new("ip");
    // No shim in it: it opens no ports.
    command.args(["-batch", "-"]).env_remove("LD_PRELOAD");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let no_ip = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => {
            skipped("interfaces and namespaces of a test need the program ip: install iproute2")
        }
        _ => error(format!("cannot run ip: {}", plain(&e))),
    };
    let mut child = command.spawn().map_err(no_ip)?;
    if let Some(mut input) = child.stdin.take() {
        // If it has ended, its status says why.
        let _ = input.write_all(lines.as_bytes());
    }
    let output = child.wait_with_output().map_err(no_ip)?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false if said.contains("not permitted") => Err(not_allowed(said.trim())),
        false => Err(error(format!("ip: {}", said.trim()))),
    }
}

//! Unchanged netmap programs in a guest without a module: `uvale nic add --ptnet` makes the guest's ptnet device a port
//! of a world there, which they open through the shim.

mod examples;

use std::collections::BTreeSet;
use std::path::Path;

use compat_tests::guest::archive::Archive;
use compat_tests::guest::kit::Kit;
use compat_tests::guest::{Guest, Job, Plan, dynamic};
use compat_tests::place::Place;
use compat_tests::programs::program;
use compat_tests::target::binaries;
use compat_tests::wait::wait_for;
use compat_tests::world::Program;
use compat_tests::{Skip, or_skip};

use crate::ptnet_guests::{devices, end, serve};

/// Packets that go each way, unless a command says otherwise.
const PACKETS: u32 = 100_000;
/// A program of the guest that receives until it is told to end, and what its command line is when it has read it.
const RECEIVER: &str = "traffic rx ptnet0 how=poll";
const RECEIVES: &str = "traffic rx ptnet0";
/// Waits until the host has been told to stop.
const UNTIL_STOPPED: &str = "until ! ls /run | grep -q ptnet-csb; do usleep 1000; done";
/// A user without rights, in the guest.
const USER: &str = "setpriv --reuid 1000 --regid 1000 --clear-groups";

/// What the guest has: the daemon, the shim, a program, what starts it as another user, and `others`.
fn files(place: &Place, others: &[(&str, &Path)]) -> Result<Archive, Skip> {
    let (binaries, traffic) = (binaries(), program("robust/traffic")?);
    let mut files = Archive::default();
    let all = [
        ("bin/uvale", &*binaries.uvale),
        ("bin/libnmshim.so", &*binaries.shim),
        ("bin/traffic", &*traffic),
        // busybox has one, which changes no user
        ("root/setpriv", "/usr/bin/setpriv".as_ref()),
    ];
    let above = |(name, _): &(&str, &Path)| {
        let folders = Path::new(*name).ancestors().skip(1);
        let folders = folders.map(|folder| folder.to_string_lossy().into_owned());
        folders
            .filter(|folder| !folder.is_empty())
            .collect::<Vec<_>>()
    };
    // Those that are above others come first.
    let folders: BTreeSet<_> = others.iter().flat_map(above).collect();
    for folder in &folders {
        files.directory(folder);
    }
    dynamic::add(&mut files, place.dir(), &[&all, others].concat())?;
    Ok(files)
}

/// The guest, and a program of the host at the other end of the pipe that its device is an end of.
struct Ends {
    place: Place,
    guest: Guest,
}

impl Ends {
    /// Boots the guest with `files`; with the process that serves its device.
    fn boot(kit: &Kit, place: Place, files: Archive) -> (Self, Program) {
        let server = serve(&place, "netmap:p{1", "a", &[]);
        let plan = Plan {
            name: "a",
            devices: devices(&place, "a"),
            files,
            ..Plan::default()
        };
        let guest = Guest::start(kit, place.dir(), plan);
        println!("{}", guest.wait_ready());
        (Self { place, guest }, server)
    }

    /// Packets from the guest's port to the host.
    fn out(&mut self, run: &str, port: &str, options: &str) {
        let host = self.host(&format!("rx p}}1 gapless=1 {options}"));
        host.wait_text("ready");
        let sent = self.guest.run(&format!("{run} tx {port} {options}"));
        let got = host.wait_success();
        nothing_lost([&sent, &got]);
    }

    /// Packets from the host to the guest's port.
    fn back(&mut self, run: &str, port: &str, options: &str) {
        let job = self.begin(&format!("{run} rx {port} gapless=1 {options}"));
        let sent = self.host(&format!("tx p}}1 {options}")).wait_success();
        let (status, got) = self.guest.finish(job);
        assert_eq!(status, 0, "{got}");
        nothing_lost([&sent, &got]);
    }

    /// A program of the guest that has its port.
    fn begin(&mut self, command: &str) -> Job {
        let job = self.guest.begin(&format!("exec {command}"));
        wait_for("a program in the guest", || {
            self.guest.said_by(&job).contains("ready pid=")
        });
        job
    }

    fn host(&self, args: &str) -> Program {
        let traffic = program("robust/traffic").expect("compiled before");
        let args: Vec<_> = args.split(' ').collect();
        self.place.spawn(&traffic, &args)
    }

    /// A program of the guest that receives, and what happens to it in the middle: it says that the device is gone.
    fn gone_by(&mut self, what: &str) {
        let job = self.begin(&format!("uvale run -- {RECEIVER}"));
        self.guest.run(what);
        let (status, said) = self.guest.finish(job);
        assert_eq!(status, 3, "{what}: {said}");
        assert!(said.contains("gone what="), "{what}: {said}");
    }
}

/// A command for each process of the guest whose command line has `words`, its number being `$pid`.
fn each(words: &str, command: &str) -> String {
    format!(
        "for pid in $(cd /proc && ls -d [0-9]*); do case \"$(cat /proc/$pid/cmdline 2>/dev/null | tr '\\0' ' ')\" in \
         *'{words} '*) {command};; esac; done"
    )
}

fn nothing_lost(said: [&str; 2]) {
    for said in said {
        let end = said.lines().find(|line| line.starts_with("end n="));
        assert!(end.is_some_and(|end| end.ends_with(" lost=0")), "{said}");
    }
}

#[test]
fn programs_of_a_guest_open_its_device() {
    let kit = or_skip!("guest", Kit::new(&[]));
    let place = Place::new();
    let files = or_skip!("guest with uvale", files(&place, &[]));
    let (mut ends, server) = Ends::boot(&kit, place, files);

    refusals(&mut ends.guest);
    ends.guest.run("uvale nic add ptnet0 --ptnet 0");
    let run = "uvale run -- traffic";
    let all = format!("n={PACKETS} how=poll");
    ends.out(run, "ptnet0", &all);
    ends.back(run, "ptnet0", &all);
    ends.out(run, "ptnet0", "n=3000 how=et");
    ends.back(run, "ptnet0", "n=3000 how=et");
    ends.back(run, "ptnet0", "n=3000 how=select");
    // packets of several slots
    ends.out(run, "ptnet0", "n=2000 how=epoll frags=3 len=5000");
    ends.back(run, "ptnet0", "n=2000 how=epoll frags=3 len=5000");
    // It is a leg of a switch, too.
    ends.guest.run("uvale ctl -a vale0:ptnet0");
    ends.out(run, "vale0:x", "n=200 how=poll");
    ends.back(run, "vale0:x", "n=200 how=poll");
    ends.guest.run("uvale ctl -d vale0:ptnet0");

    lives(&mut ends);
    another_user(&mut ends);
    let Ends { place, guest } = ends;
    end(guest, vec![server]);
    place.assert_left_clean();
}

/// What is wrong is said.
fn refusals(guest: &mut Guest) {
    for (command, sentence) in [
        (
            "uvale nic add ptnet7 --ptnet 7",
            "there is no ptnet device 7: this machine has 1",
        ),
        (
            "uvale nic add lo --ptnet 0",
            "an interface of that name already",
        ),
        ("uvale nic add vale0 --ptnet 0", "a port of a VALE switch"),
        ("uvale nic del ptnet0", "no such interface"),
        (
            "/root/setpriv --reuid 1000 --clear-groups uvale nic add ptnet0 --ptnet 0 --dir /tmp/none",
            "as root",
        ),
    ] {
        let (status, said) = guest.try_run(command);
        assert_ne!(status, 0, "{command}: {said}");
        assert!(said.contains(sentence), "{command}: {said}");
    }
    assert_eq!(guest.try_run("ls /run | grep -c ptnet-csb").1, "0\n");
}

/// Whoever of those that a device's port depends on ends, programs hear of it, the host is told to stop unless the
/// driver was killed, and the device can be had again.
fn lives(ends: &mut Ends) {
    ends.gone_by("uvale nic del ptnet0");
    ends.guest.run(UNTIL_STOPPED);

    ends.guest.run("uvale nic add ptnet0 --ptnet 0");
    let (status, said) = ends.guest.try_run("uvale nic add ptnet1 --ptnet 0");
    assert_ne!(status, 0);
    assert!(said.contains("in use by another process"), "{said}");
    ends.gone_by(&each("uvale daemon", "kill -KILL $pid"));
    ends.guest.run(UNTIL_STOPPED);

    ends.guest.run("uvale nic add ptnet0 --ptnet 0");
    ends.back("uvale run -- traffic", "ptnet0", "n=3000 how=poll");
    ends.gone_by(&each("uvale ptnet-driver", "kill -KILL $pid"));
    assert_eq!(ends.guest.run("ls /run | grep -c ptnet-csb"), "1\n");

    ends.guest.run("uvale nic add ptnet0 --ptnet 0");
    ends.out("uvale run -- traffic", "ptnet0", "n=3000 how=poll");
    ends.guest.run("uvale stop");
    ends.guest.run(UNTIL_STOPPED);
}

/// A user without rights gets the device from an administrator, and nothing by which the host could be told to write to
/// any place of the guest's memory.
fn another_user(ends: &mut Ends) {
    let user = format!("UVALE_DIR=/tmp/user/world /root/{USER}");
    ends.guest
        .run("mkdir -m 700 /tmp/user && chown 1000:1000 /tmp/user");
    let rights = "+dac_override,+sys_admin";
    ends.guest.run(&format!(
        "{user} --inh-caps {rights} --ambient-caps {rights} uvale nic add ptnet0 --ptnet 0"
    ));
    ends.out(
        &format!("env {user} uvale run -- traffic"),
        "ptnet0",
        "n=20000 how=poll",
    );
    ends.back(
        &format!("env {user} uvale run -- traffic"),
        "ptnet0",
        "n=20000 how=poll",
    );

    let job = ends.begin(&format!("env {user} uvale run -- {RECEIVER}"));
    let said = ends.guest.run(&format!("{user} uvale ports"));
    assert!(said.contains("over a ptnet device"), "{said}");
    let shown = ends.guest.run(&each(RECEIVES, "cat /proc/$pid/maps"));
    assert!(shown.contains("/resource1"), "{shown}");
    assert!(!shown.contains("/resource0"), "{shown}");
    for process in [RECEIVES, "uvale daemon"] {
        let rights = ends
            .guest
            .run(&each(process, "grep CapEff /proc/$pid/status"));
        assert_eq!(rights, "CapEff:\t0000000000000000\n", "{process}");
    }
    ends.guest.run(&each(RECEIVES, "kill -TERM $pid"));
    ends.guest.finish(job);
    ends.guest.run(&format!("{user} uvale stop"));
    ends.guest.run(UNTIL_STOPPED);
}

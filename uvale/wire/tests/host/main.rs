//! The host's side of a wire, with a real host at both ends: stealing, host rings, rights, and that nothing stays.

mod classifiers;
mod forward;
mod ground;
mod traffic;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use forward::Forwarder;
use ground::{Ground, HERE, HERE6, THERE, THERE6, skipped};
use rustix::thread::{CapabilitySet, CapabilitySets};
use traffic::{echo_frame, echoes_seen, ping, tcp};
use uvale_wire::host::Control;
use uvale_wire::{Carrier, Kind, Opened};

/// For an answer that is to come.
const LONG: Duration = Duration::from_secs(10);
/// For one that is not.
const SHORT: Duration = Duration::from_millis(300);

fn control(opened: &mut Opened) -> Control {
    let plan = opened.shape.plan.expect("rights are there");
    Control::from_fds(plan, std::mem::take(&mut opened.kept)).expect("they belong together")
}

#[test]
fn a_program_between_interface_and_host_carries_pings_and_tcp() {
    let Some(ground) = Ground::new() else { return };
    let Some(opened) = ground.open_all(Carrier::Packet) else {
        return;
    };
    while_forwarding(opened, || {
        pings(&ground);
        tcp(&ground, HERE, true);
        tcp(&ground, THERE, false);
        tcp(&ground, HERE6, true);
    });
}

/// AF_XDP hands over what the peer has left for a card to finish, which a program would have to do: no TCP.
#[test]
fn a_program_does_so_by_af_xdp() {
    let Some(ground) = Ground::new() else { return };
    let Some(opened) = ground.open_all(Carrier::Xdp) else {
        return;
    };
    assert!(matches!(opened.shape.kind, Kind::Xdp(_)));
    while_forwarding(opened, || pings(&ground));
}

fn pings(ground: &Ground) {
    for to in [HERE, HERE6] {
        assert_eq!(ground.there(|| ping(to, 100, LONG)), 100, "{to}");
    }
    for to in [THERE, THERE6] {
        assert_eq!(ground.here(|| ping(to, 100, LONG)), 100, "{to}");
    }
}

fn while_forwarding(mut opened: Opened, work: impl FnOnce()) {
    assert!(opened.shape.is_stolen);
    let kept = std::mem::take(&mut opened.kept);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let forwarder = Forwarder::new(&mut opened);
        scope.spawn(|| {
            let forwarder = forwarder;
            forwarder.run(&stop);
        });
        let _stop = Stop(&stop);
        work();
    });
    drop(kept);
}

/// Stops the forwarder, also when a test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn what_is_stolen_comes_to_the_program_alone_and_what_the_host_sends_too() {
    let Some(ground) = Ground::new() else { return };
    assert_eq!(ground.there(|| ping(HERE, 1, LONG)), 1, "before");
    let Some(mut opened) = ground.open_all(Carrier::Packet) else {
        return;
    };
    let control = control(&mut opened);
    let forwarder = Forwarder::new(&mut opened);
    let is_echo = |packet: &Vec<u8>| packet[12..14] == [8, 0] && packet[23] == 1;
    let echoes = |packets: Vec<Vec<u8>>| packets.iter().filter(|p| is_echo(p)).count();
    let seen = || ground.here(echoes_seen);

    let before = seen();
    assert_eq!(ground.there(|| ping(HERE, 3, SHORT)), 0, "stolen");
    assert_eq!((echoes(forwarder.arrived()), seen()), (3, before));
    assert_eq!(ground.here(|| ping(THERE, 3, SHORT)), 0, "diverted");
    assert_eq!(
        (echoes(forwarder.sent()), echoes(forwarder.arrived())),
        (3, 0)
    );

    // Each by itself, from where a daemon may stand.
    let set =
        |steal, divert| ground.there(|| control.set(steal, divert).expect("rights are there"));
    set(true, false);
    assert_eq!(
        ground.here(|| ping(THERE, 1, SHORT)),
        0,
        "the answer is stolen"
    );
    assert_eq!(
        (echoes(forwarder.sent()), echoes(forwarder.arrived())),
        (0, 1)
    );
    set(false, true);
    let before = seen();
    assert_eq!(
        ground.there(|| ping(HERE, 1, SHORT)),
        0,
        "the answer is diverted"
    );
    assert_eq!(seen(), before + 1);
    assert_eq!(
        (echoes(forwarder.sent()), echoes(forwarder.arrived())),
        (1, 1)
    );
    set(false, false);
    assert_eq!(ground.there(|| ping(HERE, 3, LONG)), 3, "as ever");
    assert_eq!(ground.here(|| ping(THERE, 3, LONG)), 3, "as ever");
    assert_eq!(echoes(forwarder.sent()), 0);
    set(true, true);
    assert_eq!(ground.there(|| ping(HERE, 1, SHORT)), 0, "stolen again");
}

#[test]
fn nothing_slips_through_while_the_rules_are_replaced() {
    let Some(ground) = Ground::new() else { return };
    assert_eq!(ground.there(|| ping(HERE, 1, LONG)), 1, "before");
    let Some(mut opened) = ground.open_all(Carrier::Packet) else {
        return;
    };
    let control = control(&mut opened);
    let forwarder = Forwarder::new(&mut opened);
    let before = ground.here(echoes_seen);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = Stop(&is_over);
        scope.spawn(|| {
            ground.there(|| {
                while !is_over.load(Ordering::Relaxed) {
                    ping(HERE, 20, Duration::ZERO);
                }
            });
        });
        for divert in [true, false].into_iter().cycle().take(100) {
            control.set(true, divert).expect("rights are there");
        }
    });
    assert!(
        !forwarder.arrived().is_empty(),
        "there was something to be stolen"
    );
    assert_eq!(ground.here(echoes_seen), before);
}

#[test]
fn descriptors_of_something_else_make_no_control() {
    let Some(ground) = Ground::new() else { return };
    let Some(opened) = ground.open_all(Carrier::Packet) else {
        return;
    };
    let plan = opened.shape.plan.expect("rights are there");
    let null = || std::fs::File::open("/dev/null").expect("it is there");
    let nulls = [null(), null()].map(|f| std::os::fd::OwnedFd::from(f).into());
    let false_one = Control::from_fds(plan, nulls.into());
    assert_eq!(false_one.err(), Some(rustix::io::Errno::PROTO));
}

#[test]
fn an_interface_may_go_while_it_is_open() {
    let Some(ground) = Ground::new() else { return };
    let Some(mut opened) = ground.open_all(Carrier::Packet) else {
        return;
    };
    let control = control(&mut opened);
    ground.remove();
    let gone = control.set(false, false).expect_err("there is none");
    assert_eq!(gone.errno, rustix::io::Errno::NXIO);
    drop((control, opened));
    assert_eq!(ground.left_behind(), [0; 3]);
}

#[test]
fn what_is_sent_to_the_host_is_what_it_would_be_had_it_arrived() {
    let Some(ground) = Ground::new() else { return };
    let Some(mut opened) = ground.open_all(Carrier::Packet) else {
        return;
    };
    let control = control(&mut opened);
    let forwarder = Forwarder::new(&mut opened);
    for (steal, divert) in [(true, true), (false, false)] {
        control.set(steal, divert).expect("rights are there");
        let address = ground.address();
        let seen = || ground.here(echoes_seen);
        let before = seen();
        let tell = |to, len| forwarder.tell_host(&echo_frame(to, [THERE, HERE], len));
        tell([2, 7, 7, 7, 7, 7], 98).expect("taken, and for another host");
        tell([0xff; 6], 98).expect("taken, and seen as a broadcast");
        tell(address, 60).expect("taken");
        tell(address, 2048).expect("longer than the MTU, as netmap's are");
        let short = echo_frame(address, [THERE, HERE], 98);
        let _ = forwarder.tell_host(&short[..13]);
        tell(address, 98).expect("taken");
        wait_until(|| seen() == before + 4);
        assert_eq!(
            forwarder
                .arrived()
                .iter()
                .filter(|p| p[6..12] == [2, 0, 0, 0, 0, 9])
                .count(),
            0
        );
    }
}

/// Waits for what the kernel does in its own time.
fn wait_until(done: impl Fn() -> bool) {
    let end = std::time::Instant::now() + LONG;
    while !done() {
        assert!(std::time::Instant::now() < end, "it does not come");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn nothing_stays_of_a_killed_process_and_the_host_answers_again() {
    let Some(ground) = Ground::new() else { return };
    if ground.open_all(Carrier::Packet).is_none() {
        return;
    }
    for _ in 0..3 {
        assert_eq!(ground.left_behind(), [0; 3]);
        let mut opener = ground.here(|| {
            Command::new(std::env::current_exe().expect("this test"))
                .args(["an_opener", "--exact", "--ignored", "--nocapture"])
                .stdout(Stdio::piped())
                .spawn()
                .expect("a process")
        });
        let out = BufReader::new(opener.stdout.take().expect("piped"));
        assert!(
            out.lines()
                .map_while(Result::ok)
                .any(|line| line.ends_with("OPEN"))
        );
        assert_eq!(ground.left_behind(), [1; 3]);
        assert!(ground.classifiers().is_none_or(|n| n == 1));
        assert_eq!(ground.there(|| ping(HERE, 1, SHORT)), 0, "stolen");
        opener.kill().expect("it runs");
        opener.wait().expect("it ends");
        assert_eq!(ground.left_behind(), [0; 3]);
        assert!(ground.classifiers().is_none_or(|n| n == 0));
        assert_eq!(
            ground.there(|| ping(HERE, 3, LONG)),
            3,
            "the host's own again"
        );
        assert_eq!(
            ground.here(|| ping(THERE, 3, LONG)),
            3,
            "the host's own again"
        );
    }
}

#[test]
#[ignore = "a process of another test's, which kills it"]
fn an_opener() {
    let interface = uvale_wire::interface::look_up(b"eth0").expect("started by the other test");
    let wanted = uvale_wire::Wanted {
        name: "eth0",
        interface: &interface,
        rings: [1, 1],
        host: true,
        steal: true,
        programs: true,
        carrier: Carrier::Packet,
    };
    let opened = uvale_wire::open(&wanted).expect("a wire");
    println!("\nOPEN");
    loop {
        thread::park();
        std::hint::black_box(&opened);
    }
}

#[test]
fn who_may_not_is_told_what_is_lacking_and_has_the_rest() {
    let Some(ground) = Ground::new() else { return };
    let opened = ground.open(true, true, || keep_only(CapabilitySet::NET_RAW));
    assert_eq!(
        (opened.shape.kind, opened.shape.is_stolen),
        (Kind::Packet, false)
    );
    assert_eq!(
        (opened.shape.host, opened.shape.plan, opened.kept.len()),
        (None, None, 0)
    );
    let [sees, rings] = &opened.shape.lacks[..] else {
        panic!("{:?}", opened.shape.lacks);
    };
    assert!(
        sees.starts_with("the host also sees what arrives: ") && sees.contains("CAP_NET_ADMIN"),
        "{sees}"
    );
    assert!(
        rings.starts_with("host rings carry nothing: ") && rings.contains("CAP_NET_ADMIN"),
        "{rings}"
    );
    assert_eq!(ground.left_behind(), [0; 3]);
    assert_eq!(ground.there(|| ping(HERE, 1, LONG)), 1, "the host answers");

    let opened = ground.open(true, true, || keep_only(CapabilitySet::empty()));
    assert_eq!(opened.shape.kind, Kind::Nothing);

    let both = CapabilitySet::NET_RAW | CapabilitySet::NET_ADMIN;
    let opened = ground.open(true, true, move || keep_only(both));
    assert!(
        !opened.shape.lacks.iter().any(|l| l.contains("CAP_")),
        "{:?}",
        opened.shape.lacks
    );
}

/// Only this thread has no more rights than these.
fn keep_only(rights: CapabilitySet) {
    let sets = CapabilitySets {
        effective: rights,
        permitted: rights,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).expect("fewer rights");
}

#[test]
fn stealing_alone_needs_no_tap_and_leaves_what_the_host_sends() {
    let Some(ground) = Ground::new() else { return };
    let opened = ground.open(false, true, || ());
    if !opened.shape.is_stolen {
        return skipped(&opened.shape.lacks.join("; "));
    }
    assert!(ground.classifiers().is_none_or(|n| n == 1));
    assert_eq!((opened.shape.host, ground.left_behind()), (None, [0, 1, 0]));
    assert_eq!(ground.there(|| ping(HERE, 1, SHORT)), 0, "stolen");
    drop(opened.kept);
    assert_eq!(ground.there(|| ping(HERE, 1, LONG)), 1, "as ever");
}

/// Who has fewer rights steals by a table.
#[test]
fn without_the_right_to_load_programs_a_table_steals() {
    let Some(ground) = Ground::new() else { return };
    let both = CapabilitySet::NET_RAW | CapabilitySet::NET_ADMIN;
    let opened = ground.open(false, true, move || keep_only(both));
    if !opened.shape.is_stolen {
        return skipped(&opened.shape.lacks.join("; "));
    }
    assert!(ground.classifiers().is_none_or(|n| n == 0));
    assert_eq!(ground.left_behind(), [0, 1, 0]);
    assert_eq!(ground.there(|| ping(HERE, 1, SHORT)), 0, "stolen");
}

/// Programs and filters of others go on seeing what they ever saw, and nothing that they let pass comes to the host.
#[test]
fn where_others_have_programs_or_filters_a_table_steals() {
    let Some(ground) = Ground::new() else { return };
    if ground.classifiers().is_none() {
        return skipped("this process may have no programs on tcx");
    }
    let steals = |programs, filters| {
        let opened = ground.open(false, true, || ());
        if !opened.shape.is_stolen {
            return skipped(&opened.shape.lacks.join("; "));
        }
        assert_eq!(ground.classifiers(), Some(programs));
        assert_eq!(ground.left_behind(), [0, 1, filters]);
        assert_eq!(ground.there(|| ping(HERE, 1, SHORT)), 0, "stolen");
    };
    let program = ground.let_all_pass();
    steals(1, 0);
    drop(program);
    ground.add_filters();
    steals(0, 1);
}

/// A program that somebody binds before ours afterwards takes nothing away from the port, with a TAP and without.
#[test]
fn a_program_that_comes_later_gives_nothing_to_the_host() {
    let Some(ground) = Ground::new() else { return };
    if ground.classifiers().is_none() {
        return skipped("this process may have no programs on tcx");
    }
    for host in [true, false] {
        let mut opened = ground.open(host, true, || ());
        if !opened.shape.is_stolen || opened.shape.host.is_some() != host {
            return skipped(&opened.shape.lacks.join("; "));
        }
        let first = ground.let_all_pass();
        assert_eq!(ground.classifiers(), Some(2));
        assert_eq!(ground.there(|| ping(HERE, 1, SHORT)), 0, "stolen");
        let control = control(&mut opened);
        control.set(false, false).expect("as before");
        assert_eq!(ground.there(|| ping(HERE, 1, LONG)), 1, "as ever");
        drop((first, control));
    }
}

#[test]
fn without_a_tap_the_host_rings_are_what_is_lacking() {
    let hide = "mount -t tmpfs none /dev/net && exec \"$0\" where_there_is_no_tap --exact --ignored --nocapture";
    let this = std::env::current_exe().expect("this test");
    let rights: [&[&str]; 2] = [&["--mount"], &["--mount", "--user", "--map-root-user"]];
    let may = |words: &&[&str]| {
        let mut command = Command::new("unshare");
        let tried = command
            .args(*words)
            .args(["mount", "-t", "tmpfs", "none", "/dev/net"])
            .output();
        tried.is_ok_and(|output| output.status.success())
    };
    let Some(words) = rights.into_iter().find(may) else {
        return skipped("no mounts of our own over /dev/net");
    };
    let mut command = Command::new("unshare");
    let status = command
        .args(words)
        .args(["sh", "-c", hide])
        .arg(this)
        .status();
    assert!(status.expect("as before").success(), "without /dev/net/tun");
}

#[test]
#[ignore = "a part of another test, which hides /dev/net"]
fn where_there_is_no_tap() {
    let Some(ground) = Ground::new() else { return };
    let opened = ground.open(true, true, || ());
    let [lack] = &opened.shape.lacks[..] else {
        return skipped(&opened.shape.lacks.join("; "));
    };
    assert!(lack.starts_with("host rings carry nothing: "), "{lack}");
    assert!(lack.contains("--device /dev/net/tun"), "{lack}");
    assert!(opened.shape.is_stolen && opened.shape.host.is_none());
    assert_eq!(ground.left_behind(), [0, 1, 0]);
}

/// Everything once more as root of a user namespace, who is nobody outside.
#[test]
fn the_root_of_a_user_namespace_can_do_all_of_this() {
    let mut words = vec!["--user", "--map-root-user"];
    let tried = Command::new("unshare").args(&words).arg("true").output();
    if !tried.is_ok_and(|output| output.status.success()) {
        return skipped("no user namespaces for us");
    }
    let this = std::env::current_exe().expect("this test");
    words.push(this.to_str().expect("a plain path"));
    words.extend(["--skip", "the_root_of_a_user_namespace", "--nocapture"]);
    let status = Command::new("unshare")
        .args(&words)
        .status()
        .expect("as before");
    assert!(status.success(), "in a user namespace");
}

//! What a program can do with an interface, by its rights, and that it is told what they are not enough for: the
//! table in docs/containers.md.

use std::process::Command;

use compat_tests::place::Place;
use compat_tests::programs::{kill, program, value};
use compat_tests::world::Program;
use compat_tests::{Skip, or_skip, target};
use rustix::process::Signal;

use super::host::{FEW, Host};
use compat_tests::namespaces::{Ground, VETH};

/// A user without any rights: what the system calls him does not matter.
const NOBODY: u32 = 65534;
const AS_NOBODY: &[&str] = &[
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
];
/// As `--cap-drop ALL` of docker.
pub const NO_RIGHT: &[&str] = &["setpriv", "--bounding-set=-all"];
const NET_RAW: &[&str] = &["setpriv", "--bounding-set=-all,+net_raw"];
const WITH_BPF: &[&str] = &["setpriv", "--bounding-set=-all,+net_raw,+net_admin,+bpf"];
const BOTH: &[&str] = &["setpriv", "--bounding-set=-all,+net_raw,+net_admin"];
pub const NO_TUN: &[&str] = &[
    "unshare",
    "--mount",
    "sh",
    "-c",
    "mount -t tmpfs none /dev/net && exec \"$@\"",
    "sh",
];

const SEES: &str = "the host also sees what arrives: ";
const NO_HOST: &str = "host rings carry nothing: ";
const NO_PACKETS: &str = "this process may not open packet sockets, it lacks CAP_NET_RAW";
const ADMIN: &str = "this process lacks CAP_NET_ADMIN in the interface's network namespace";
pub const TUN: &str = "docker and podman give it with --device /dev/net/tun";

/// What is said, until its end, to a program that is not allowed everything.
fn assert_lacks(mut program: Program, wanted: &[[&str; 2]]) {
    program.signal(Signal::TERM);
    assert!(program.wait().success(), "{}", program.said());
    let said = program.said();
    let prefix = format!("nmshim: {VETH}: ");
    let lines = said.lines().filter_map(|line| line.strip_prefix(&prefix));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), wanted.len(), "{said}");
    for (line, [begins, has]) in lines.iter().zip(wanted) {
        assert!(line.starts_with(begins) && line.contains(has), "{line}");
    }
}

/// Rules of nftables keep packets from the host, and no program on tcx.
const BY_RULES: u32 = 0;
/// A program on tcx does.
const BY_TCX: u32 = 1;

/// Packets are the program's alone, by as many programs on tcx, and nothing but `wanted` is missing.
fn assert_stolen(host: &Host, under: &[&str], programs: u32, wanted: &[[&str; 2]]) {
    let program = host.start_under(under, &["hold", VETH]);
    let found = host.ground.classifiers(0);
    assert!(found.is_none_or(|found| found == programs), "{found:?}");
    host.assert_arrives(&program, true);
    assert_lacks(program, wanted);
    host.assert_own_again();
}

/// A program with all rights that count: host rings work, too.
fn assert_everything(host: &Host, under: &[&str], programs: u32) {
    assert_stolen(host, under, programs, &[]);
    let forwarder = host.start_under(under, &["two", VETH, &format!("{VETH}^")]);
    host.pings(FEW);
    kill(forwarder);
    host.assert_own_again();
}

#[test]
fn root() {
    let host = or_skip!("root", Host::new());
    assert_everything(&host, &[], best());
}

#[test]
fn net_raw_and_net_admin() {
    let host = or_skip!("CAP_NET_RAW and CAP_NET_ADMIN", Host::new());
    assert_everything(&host, BOTH, BY_RULES);
}

#[test]
fn net_raw_net_admin_and_bpf() {
    let host = or_skip!("CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF", Host::new());
    assert_everything(&host, WITH_BPF, best());
}

/// Where another program is bound, or filters are, the rules steal, behind all of them.
#[test]
fn filters_of_others() {
    let host = or_skip!("filters of others", Host::new());
    let filters = |what| format!("tc qdisc {what} dev {VETH} clsact");
    if host.ground.shell(0, &filters("add")).code != Some(0) {
        return println!("filters of others: skipped: no clsact here");
    }
    let program = host.start_under(&[], &["hold", VETH]);
    let found = host.ground.classifiers(0);
    assert!(found.is_none_or(|found| found == BY_RULES), "{found:?}");
    host.assert_arrives(&program, true);
    kill(program);
    host.ground.shell(0, &filters("del")).assert_code(0);
    host.assert_own_again();
}

/// Whoever takes the interface that the default route leads through is told what that does to the machine.
#[test]
fn the_default_route() {
    let host = or_skip!("the default route", Host::new());
    let route = |what| {
        let by = compat_tests::namespaces::ADDRESSES[1];
        host.ground
            .shell(0, &format!("ip route {what} default via {by}"))
            .assert_code(0);
    };
    route("add");
    let steals = host.start_under(&[], &["hold", VETH]);
    assert_lacks(
        steals,
        &[["the default route leads through it: ", "vale-ctl -h"]],
    );
    let log = host.place.log();
    assert!(
        log.contains(&format!("{VETH}: the default route leads through it")),
        "{log}"
    );
    let shares = host.start_under(NET_RAW, &["hold", VETH]);
    assert_lacks(shares, &[[SEES, ADMIN], [NO_HOST, ADMIN]]);
    route("del");
    assert_lacks(host.start_under(&[], &["hold", VETH]), &[]);
    host.assert_own_again();
}

#[test]
fn net_admin_without_a_tun_device() {
    let host = or_skip!("no /dev/net/tun", Host::new());
    assert_stolen(&host, NO_TUN, best(), &[[NO_HOST, TUN]]);
}

#[test]
fn net_raw_alone() {
    let host = or_skip!("CAP_NET_RAW", Host::new());
    let program = host.start_under(NET_RAW, &["hold", VETH]);
    host.assert_arrives(&program, false);
    assert_lacks(program, &[[SEES, ADMIN], [NO_HOST, ADMIN]]);
    host.assert_own_again();
}

#[test]
fn no_right() {
    let host = or_skip!("no right", Host::new());
    nothing_but_joining(&host, NO_RIGHT);
    let log = host.place.log();
    assert!(log.contains(&format!("{VETH}: {NO_PACKETS}")), "{log}");
    host.place.assert_left_clean();
}

/// Without packet sockets a veth's end waits for the other one, and nothing else opens.
fn nothing_but_joining(host: &Host, under: &[&str]) {
    let waits = host.start_under(under, &["hold", VETH]);
    host.pings(FEW);
    let docker = "docker gives it to containers by default";
    assert_lacks(waits, &[[NO_PACKETS, docker]]);

    let bridge = "ip link add nicbr type bridge && ip link set nicbr up";
    host.ground.shell(0, bridge).assert_code(0);
    let mut refused = host.try_under(under, &["hold", "nicbr"]);
    assert_eq!(refused.wait().code(), Some(1));
    let said = refused.said();
    assert!(said.contains("errno 1:"), "{said}");
    assert!(said.contains(&format!("nicbr: {NO_PACKETS}")), "{said}");
    host.ground.shell(0, "ip link del nicbr").assert_code(0);

    let traffic = program("traffic").expect("others of its kind were compiled");
    let start = |side, args: &[&str]| {
        let command = host
            .ground
            .inside(side, &host.place, [under, &[]], &traffic, args);
        Program::start(&args.join(" "), command)
    };
    let receiver = start(1, &["rx", VETH, "n=1000", "gapless=2"]);
    receiver.wait_line("ready", |l| l.starts_with("ready"));
    let sender = start(0, &["tx", VETH, "n=1000", "then=hold"]);
    let said = receiver.wait_success();
    assert_eq!(value(&said, "n"), Some(1000), "{said}");
    kill(sender);
    host.assert_own_again();
}

/// What steals with all rights that this process has: none on programs in the kernel if it is root of a user namespace.
fn best() -> u32 {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    match map.split_whitespace().eq(["0", "0", "4294967295"]) {
        true => BY_TCX,
        false => BY_RULES,
    }
}

/// A world of nobody's, if he can reach the programs.
pub fn world_of_nobody() -> Result<Place, Skip> {
    if !rustix::process::geteuid().is_root() {
        return Err(Skip::optional("it takes root to be somebody else"));
    }
    let files = target::binaries();
    for file in [&files.uvale, &files.shim] {
        let reads = Command::new(AS_NOBODY[0])
            .args(&AS_NOBODY[1..])
            .args(["test", "-r"])
            .arg(file)
            .status();
        if !reads.is_ok_and(|status| status.success()) {
            let why = format!("{} is in a folder that others cannot enter", file.display());
            return Err(Skip::optional(why));
        }
    }
    let place = Place::empty();
    std::os::unix::fs::chown(place.dir(), Some(NOBODY), Some(NOBODY)).expect("root may");
    Ok(place)
}

/// Ends the daemon that a program of nobody's has started.
fn stop(host: &Host, under: &[&str]) {
    let uvale = &target::binaries().uvale;
    let mut stop = host
        .ground
        .inside(0, &host.place, [under, &[]], uvale, &["stop"]);
    let status = stop.status().expect("it starts");
    assert!(status.success(), "{status}");
}

#[test]
fn nobody() {
    let place = or_skip!("nobody", world_of_nobody());
    let ground = or_skip!("nobody", Ground::new());
    let host = or_skip!("nobody", Host::on(ground, place));
    nothing_but_joining(&host, AS_NOBODY);
    stop(&host, AS_NOBODY);
}

/// Nobody, where /dev/net/tun has a mode of its own.
macro_rules! nobody_with_tun {
    ($mode:literal) => {
        &[
            "unshare",
            "--mount",
            "sh",
            "-c",
            concat!(
                "mount -t tmpfs none /dev/net && mknod /dev/net/tun c 10 200 && chmod ",
                $mode,
                " /dev/net/tun && exec \"$@\""
            ),
            "sh",
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ]
    };
}

/// Nobody, with a /dev/net/tun as most systems have it.
pub const NOBODY_WITH_TUN: &[&str] = nobody_with_tun!("666");

/// Two hosts in network namespaces of a user namespace that nobody has made.
fn hosts_of_nobody(by: &'static [&'static str]) -> Result<Host, Skip> {
    drop(Host::new()?);
    let place = world_of_nobody()?;
    let tried = Command::new(by[0]).args(&by[1..]).arg("true").output();
    if !tried.is_ok_and(|output| output.status.success()) {
        return Err(Skip::optional("no /dev/net/tun of our own"));
    }
    Host::on(Ground::made_by(by)?, place)
}

#[test]
fn root_of_a_user_namespace() {
    let host = hosts_of_nobody(NOBODY_WITH_TUN);
    let host = or_skip!("root of a user namespace", host);
    assert_everything(&host, &[], BY_RULES);
    stop(&host, &[]);
}

#[test]
fn root_of_a_user_namespace_where_tun_is_closed() {
    let host = hosts_of_nobody(nobody_with_tun!("600"));
    let host = or_skip!("root of a user namespace", host);
    assert_stolen(
        &host,
        &[],
        BY_RULES,
        &[[NO_HOST, "`chmod 666 /dev/net/tun`"]],
    );
    stop(&host, &[]);
}

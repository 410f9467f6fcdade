//! Interfaces that cannot be used, or not as they are: the errno is netmap's, and a sentence says what to do, to the
//! program's user and in the daemon's log.

use compat_tests::or_skip;
use compat_tests::programs::end;
use compat_tests::wait::wait_for;
use rustix::io::Errno;

use super::host::Host;
use compat_tests::namespaces::VETH;

/// What is made for a case, the port, netmap's errno, and what the sentence says.
const CASES: &[(&str, &str, Errno, &[&str])] = &[
    (
        "true",
        "nosuch",
        Errno::NXIO,
        &["\"nosuch\"", "there is no such interface here"],
    ),
    (
        "true",
        "nosuch^",
        Errno::NXIO,
        &["\"nosuch\"", "there is no such interface here"],
    ),
    (
        "true",
        "lo",
        Errno::INVAL,
        &[
            "lo: buffers of 2048 bytes are smaller than its MTU of 65536",
            "buf_size",
        ],
    ),
    (
        "ip link add big type veth peer name gib && ip link set big mtu 9000",
        "big",
        Errno::INVAL,
        &[
            "big: buffers of 2048 bytes are smaller than its MTU of 9000",
            "lower that",
        ],
    ),
    (
        "ip link add switch0 type bridge && ip link add in type veth peer name out && ip link set in master switch0",
        "in",
        Errno::BUSY,
        &["in is a port of a bridge", "ip link set in nomaster"],
    ),
];

#[test]
fn what_cannot_be_opened_is_refused_with_a_sentence() {
    let host = or_skip!("refused", Host::new());
    for (setup, port, errno, sentence) in CASES {
        host.ground.shell(0, setup).assert_code(0);
        let mut program = host.try_under(&[], &["hold", port]);
        assert_eq!(program.wait().code(), Some(1), "{}", program.said());
        let (said, log) = (program.said(), host.place.log());
        assert!(
            said.contains(&format!("errno {}:", errno.raw_os_error())),
            "{said}"
        );
        for part in *sentence {
            assert!(said.contains(part), "no {part:?} in: {said}");
            assert!(log.contains(part), "no {part:?} in: {log}");
        }
    }
    host.place.assert_left_clean();
}

/// A bridge is an interface like others.
#[test]
fn a_bridge_opens() {
    let host = or_skip!("a bridge", Host::new());
    let bridge = "ip link add switch0 type bridge && ip link set switch0 up";
    host.ground.shell(0, bridge).assert_code(0);
    end(host.start_under(&[], &["hold", "switch0"]));
    host.place.assert_left_clean();
}

#[test]
fn who_opens_what_is_down_is_told() {
    let host = or_skip!("down", Host::new());
    let set = |how| host.ground.shell(0, &format!("ip link set {VETH} {how}"));
    set("down").assert_code(0);
    let program = host.start_under(&[], &["hold", VETH]);
    let down = format!("{VETH}: the interface is down");
    program.wait_text(&down);
    wait_for("a word in the log", || host.place.log().contains(&down));
    set("up").assert_code(0);
    let up = format!("{VETH}: the interface is up again");
    wait_for("another", || host.place.log().contains(&up));
    host.assert_arrives(&program, true);
    end(program);
    host.place.assert_left_clean();
}

#[test]
fn too_little_memory_to_lock_is_named_and_packet_sockets_do() {
    let host = or_skip!("memory to lock", Host::new());
    let limited =
        "ulimit -l 64 && exec setpriv --bounding-set=-all,+net_raw,+net_admin,+bpf \"$@\"";
    let under = ["env", "NMSHIM_WIRE=xdp", "sh", "-c", limited, "sh"];
    let program = host.start_under(&under, &["hold", VETH]);
    for part in [
        "not by AF_XDP: RLIMIT_MEMLOCK is 64 KiB",
        "ulimit -l",
        "docker run --ulimit memlock=-1",
    ] {
        program.wait_text(part);
        assert!(host.place.log().contains(part), "{}", host.place.log());
    }
    host.assert_arrives(&program, true);
    end(program);
    host.place.assert_left_clean();
}

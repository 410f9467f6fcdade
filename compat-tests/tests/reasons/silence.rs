//! A daemon that is stopped, and one that is gone.

use compat_tests::or_skip;
use compat_tests::world::Program;
use rustix::process::Signal;

use crate::{COMMANDS, uvale};
use compat_tests::place::Place;
use compat_tests::programs::program;
use compat_tests::said::Said;

#[test]
fn commands_say_that_the_daemon_is_stopped() {
    let mut place = Place::new();
    let pid = place.status().pid.to_string();
    place.signal_daemon(Signal::STOP);
    for command in COMMANDS.iter().filter(|c| c[0] != "ctl") {
        uvale(place.dir(), command).assert_failed_with(&[
            &format!("the uvale daemon (pid {pid}) is stopped"),
            &format!("kill -CONT {pid}"),
        ]);
    }
    // The last two through the shim.
    let others: [&[&str]; 3] = [
        &["ctl", "param"],
        &["ctl"],
        &["gen", "-i", "vale0:a", "-f", "rx"],
    ];
    for args in others {
        let mut command = place.command(&compat_tests::target::binaries().uvale);
        let said = Said::of(command.args(args).env_remove("LD_PRELOAD"));
        assert_ne!(said.code, Some(0), "{}", said.out);
        assert!(said.err.contains("is stopped"), "{args:?}: {}", said.err);
    }

    place.signal_daemon(Signal::CONT);
    assert_eq!(uvale(place.dir(), &["ports"]).code, Some(0));
    assert_eq!(uvale(place.dir(), &["stop"]).code, Some(0));
}

/// Nothing fails because a machine is busy or somebody typed ^Z.
#[test]
fn programs_wait_and_say_for_whom() {
    let path = or_skip!("reasons", program("reasons/reasons"));
    let mut place = Place::new();
    place.signal_daemon(Signal::STOP);
    let mut command = place.command(&path);
    command.args(["hold", "vale0:a"]).env_remove("CI");
    let waiting = Program::start("hold", command);
    waiting.wait_text("nmshim: waiting: the uvale daemon (pid ");
    waiting.wait_text(") is stopped");
    place.signal_daemon(Signal::CONT);
    waiting.wait_text("ready");

    // A request, too, on a descriptor that was opened before.
    let mut command = place.command(&path);
    command.args(["ask", "1000000"]).env_remove("CI");
    let asking = Program::start("ask", command);
    compat_tests::wait::wait_for("it asks", || place.status().descriptors == 2);
    place.signal_daemon(Signal::STOP);
    asking.wait_text("nmshim: waiting: the uvale daemon (pid ");
    place.signal_daemon(Signal::CONT);
}

#[test]
fn who_wants_to_wait_no_longer_can_say_so() {
    let path = or_skip!("reasons", program("reasons/reasons"));
    let mut place = Place::new();
    place.signal_daemon(Signal::STOP);
    let mut command = place.command(&path);
    let said = Said::of(command.arg("device").env("UVALE_PATIENCE", "1"));
    assert_eq!(said.out, "open: errno=110\n", "{}", said.err);
    assert!(
        said.err
            .contains("cannot open /dev/netmap: the uvale daemon (pid "),
        "{}",
        said.err
    );
}

#[test]
fn a_daemon_that_is_gone_is_said_to_be() {
    let path = or_skip!("reasons", program("reasons/reasons"));
    let mut place = Place::new();
    place.signal_daemon(Signal::KILL);
    for command in COMMANDS.iter().filter(|c| c[0] != "ctl") {
        uvale(place.dir(), command)
            .assert_failed_with(&["no uvale daemon answers in", "it is gone"]);
    }
    let mut command = place.command(&path);
    let said = Said::of(command.arg("device").env("UVALE_AUTOSTART", "0"));
    assert_eq!(said.out, "open: errno=6\n");
    for part in ["cannot open /dev/netmap", "it is gone", "UVALE_AUTOSTART=0"] {
        assert!(said.err.contains(part), "no {part:?} in: {}", said.err);
    }
}

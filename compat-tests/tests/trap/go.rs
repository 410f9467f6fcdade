//! Go programs that need the C library: their runtime makes system calls past it.

use std::path::Path;

use rustix::process::Signal;

use compat_tests::made::{exchange_with_c, folder, go};
use compat_tests::or_skip;
use compat_tests::place::Place;
use compat_tests::programs::program;
use compat_tests::world::Program;

use crate::programs::{is_refused, start};

/// Packets of an exchange, at least: the receiver ends after a sync.
const PACKETS: u32 = 100_000;

/// One program sends and the other one receives, all of it and in order. False: nothing is trapped here.
fn exchanges(reach: &str, receiver: (&Path, &str), sender: (&Path, &str)) -> bool {
    let place = Place::new();
    let how = |how| format!("how={how}");
    let count = format!("n={PACKETS}");
    let begin = |program: &Path, args: &[&str]| -> Option<Program> {
        let program = start(&place, reach, program, args);
        program.wait_line("ready, or no", |l| {
            l.starts_with("ready") || l.contains("cannot be trapped")
        });
        (!is_refused(&program.said())).then_some(program)
    };
    let args = ["rx", "vale0:p}1", "gapless=1", &count, &how(receiver.1)];
    let Some(rx) = begin(receiver.0, &args) else {
        return false;
    };
    let Some(mut tx) = begin(sender.0, &["tx", "vale0:p{1", &how(sender.1)]) else {
        return false;
    };
    let said = rx.wait_success();
    // Another thread of it may say how far it is after that.
    let last = said.lines().find(|line| line.starts_with("end "));
    let last = last.unwrap_or_default();
    assert!(
        last.starts_with("end n=1000") && last.ends_with(" lost=0"),
        "{receiver:?} {sender:?}: {last}"
    );
    tx.signal(Signal::TERM);
    tx.wait();
    true
}

fn exchanges_by(reach: &str, flags: &[&str], hows: &[&str]) {
    let cgo = or_skip!("cgo", exchange_with_c(flags));
    let plain = or_skip!("C compiler", program("traffic"));
    for how in hows {
        // the C library's program has no waiting of the runtime's
        let other = if *how == "netpoller" { "poll" } else { how };
        if !exchanges(reach, (&cgo, how), (&plain, other))
            || !exchanges(reach, (&plain, other), (&cgo, how))
        {
            return;
        }
    }
}

#[test]
fn go_and_c_exchange_packets() {
    exchanges_by(
        "trap",
        &[],
        &["sync", "poll", "select", "epoll", "et", "netpoller"],
    );
}

#[test]
fn go_at_any_address_exchanges_packets() {
    exchanges_by("trap", &["-buildmode=pie"], &["sync", "netpoller"]);
}

#[test]
fn go_exchanges_packets_behind_a_filter() {
    exchanges_by("trap,filter", &[], &["sync", "poll", "netpoller"]);
}

#[test]
fn go_starts_programs_while_ports_are_open() {
    let files = |name: &str| [folder("trap").join(name)];
    let cgo = or_skip!("cgo", go("children", &files("children.go"), true, &[]));
    let pure = or_skip!("Go", go("child", &files("child.go"), false, &[]));
    let place = Place::new();
    let mut running = start(&place, "trap,dispatch", &cgo, &[&pure.to_string_lossy()]);
    let status = running.wait();
    let said = running.said();
    if is_refused(&said) {
        return;
    }
    assert!(
        status.success() && running.stdout().ends_with("ok\n"),
        "{status}: {said}"
    );
    place.assert_left_clean();
}

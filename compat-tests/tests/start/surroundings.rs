//! What a daemon that a program starts keeps of that program's surroundings: nothing that it can leave.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use compat_tests::or_skip;
use compat_tests::target;
use compat_tests::wait::{deadline, wait_for};
use uvale_link::proto::Report;
use uvale_link::report::Daemon;

use super::{needs, sh, ten, uvale};
use compat_tests::place::Place;
use compat_tests::programs::{end, program};
use compat_tests::said::Said;

fn proc(pid: impl std::fmt::Display, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("the process is there")
}

/// Fields of `/proc/PID/status`.
fn status(pid: impl std::fmt::Display) -> HashMap<String, String> {
    let text = proc(pid, "status");
    let fields = text.lines().filter_map(|l| l.split_once(':'));
    fields
        .map(|(k, v)| (k.to_owned(), v.trim().to_owned()))
        .collect()
}

#[test]
fn a_started_daemon_keeps_nothing_of_its_starter() {
    let traffic = or_skip!("surroundings", program("traffic"));
    for tool in ["taskset", "ionice", "setarch"] {
        or_skip!(
            "surroundings",
            needs(tool, Command::new(tool).arg("--version"))
        );
    }
    let place = Place::empty();
    let script = "ulimit -S -f 1000; ulimit -S -t 600; ulimit -S -n 200; ulimit -S -v 8000000; umask 0; cd \"$1\"; \
                  shift; exec env --ignore-signal=CHLD,INT,XFSZ taskset -c 0 ionice -c 3 setarch -R \"$@\"";
    let folder = place.file("folder");
    std::fs::create_dir(&folder).expect("a folder of ours");
    let mut command = sh(script, [folder.as_os_str(), traffic.as_os_str()]);
    command.args(["rx", "vale0:x", "how=poll"]);
    for (name, value) in place.command(&traffic).get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command
        .env("UVALE_AUTOSTART", "1")
        .env("UNRELATED", "x")
        .env("LD_LIBRARY_PATH", "/nonexistent");
    let first = compat_tests::world::Program::start("the first program", command);
    first.wait_line("ready", |l| l.starts_with("ready"));
    let pid = place.status().pid;

    for line in proc(pid, "limits").lines() {
        for limit in [
            "Max file size",
            "Max cpu time",
            "Max open files",
            "Max address space",
        ] {
            if let Some(values) = line.strip_prefix(limit) {
                let values: Vec<_> = values.split_whitespace().collect();
                assert_eq!(values[0], values[1], "soft and hard: {line}");
            }
        }
    }
    let (daemon, own) = (status(pid), status("self"));
    assert_eq!(daemon["Cpus_allowed_list"], own["Cpus_allowed_list"]);
    assert_eq!(daemon["Umask"], "0077");
    let ignored = u64::from_str_radix(&daemon["SigIgn"], 16).expect("hexadecimal");
    for signal in [2, 17, 25] {
        assert_eq!(ignored & 1 << (signal - 1), 0, "signal {signal} is ignored");
    }
    let stat = proc(pid, "stat");
    let fields: Vec<_> = stat
        .rsplit(") ")
        .next()
        .expect("fields")
        .split(' ')
        .collect();
    // of the fields behind the name: session, terminal, scheduling policy
    assert_eq!(
        (fields[3], fields[4], fields[38]),
        (&*pid.to_string(), "0", "0"),
        "{stat}"
    );
    assert_eq!(
        proc(pid, "personality").trim(),
        proc("self", "personality").trim()
    );
    assert_eq!(proc(pid, "oom_score_adj").trim(), "0");
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).expect("a daemon of ours");
    assert_eq!(cwd, Path::new("/"));
    let environment = proc(pid, "environ");
    for entry in environment.split_terminator('\0') {
        let name = entry.split('=').next().expect("a name");
        let is_known = name.starts_with("UVALE_") || name.starts_with("XDG_");
        let is_known = is_known || ["HOME", "PATH", "TZ", "RUST_BACKTRACE"].contains(&name);
        assert!(is_known, "the daemon has {entry}");
    }
    // and the folder can be removed from under it
    end(first);
    place.assert_left_clean();
}

/// A soft limit is no obstacle, in the private daemon and in a program's own memory, nor is a hard one that leaves room
/// for the parts of a memory; a lower one is named.
#[test]
fn limits_on_files_are_not_limits_on_memory() {
    let ten = or_skip!("file size", ten());
    let run = [
        target::binaries().uvale.as_os_str(),
        "run".as_ref(),
        "--private".as_ref(),
        ten.as_os_str(),
    ];
    Said::of(&mut sh("ulimit -S -f 1000 && exec \"$@\"", run)).assert_code(0);
    for hard in ["12288", "20000", "200000"] {
        let script = format!("ulimit -f {hard} && exec \"$@\"");
        Said::of(&mut sh(&script, run)).assert_code(0);
    }
    let hard = Said::of(&mut sh("ulimit -f 1000 && exec \"$@\"", run));
    if hard.code != Some(0) {
        hard.assert_code(1)
            .assert_says("RLIMIT_FSIZE (ulimit -f) is");
    }
    let extmem = or_skip!("file size", program("options/extmem"));
    let all = "ulimit -S -f 16 && exec \"$@\"";
    let run = [
        target::binaries().uvale.as_os_str(),
        "run".as_ref(),
        "--private".as_ref(),
        extmem.as_os_str(),
    ];
    let without = Said::of(&mut sh("exec \"$@\"", run));
    let with = Said::of(&mut sh(all, run));
    assert_eq!(
        (with.code, with.out),
        (without.code, without.out),
        "{}",
        with.err
    );
}

fn seqpacket(path: &Path) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
    let socket = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("a socket");
    let address = SocketAddrUnix::new(path).expect("a short path");
    connect(&socket, &address).expect("somebody listens");
    socket
}

/// A daemon that has to keep its starter's limit on processor time goes on in another process before that is used up.
#[test]
fn a_limit_on_processor_time_ends_no_daemon() {
    let ten = or_skip!("processor time", ten());
    let place = Place::empty();
    // A second of it, for good: without the capability to raise it again.
    let script = "ulimit -t 1 && if [ $(id -u) != 0 ]; then exec \"$@\"; else \
                  exec setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource \"$@\"; fi";
    let mut first = sh(script, [&ten]);
    for (name, value) in place.command(&ten).get_envs() {
        first.env(name, value.unwrap_or_default());
    }
    first.env("UVALE_AUTOSTART", "1");
    or_skip!("processor time", needs("a limited starter", &mut first));
    let limited = |pid: i32| {
        let limits = proc(pid, "limits");
        let cpu = limits.lines().find_map(|l| l.strip_prefix("Max cpu time"));
        cpu.is_some_and(|l| l.split_whitespace().take(2).eq(["1", "1"]))
    };
    let mut pid = place.status().pid;
    if !limited(pid) {
        return println!("skipped: processor time: the daemon could raise its limit");
    }
    let bystander = place.spawn_ready(&ten, &["hold"]);
    // A connection from before is served by whoever goes on: twice, since the second process has a limit of its own.
    let session = place.attach().expect("it answers");
    for _ in 0..2 {
        let began = std::time::Instant::now();
        let next = loop {
            let report = session.report(Report::Daemon).expect("it answers");
            let daemon: Daemon = serde_json::from_slice(&report).expect("a status as documented");
            match daemon.pid {
                same if same == pid => assert!(began.elapsed() < 10 * deadline(), "{pid} stays"),
                other => break other,
            }
        };
        assert!(limited(next));
        assert_eq!(status(next)["NSsid"], next.to_string());
        let gone = || !Path::new(&format!("/proc/{pid}/fd/0")).exists();
        wait_for("the process before it to be gone", gone);
        pid = next;
    }
    drop(session);
    // The socket names the process that listens now.
    let connection = seqpacket(&place.socket());
    let peer = uvale_system::peer::credentials(&connection).expect("a socket");
    assert_eq!(peer.pid, pid);
    drop(connection);
    // The one that was there all the time receives what is sent now.
    place.run(&ten, &["clear"]);
    bystander.wait_success();
    place.assert_left_clean();
    let dir = place.dir().to_str().expect("plain");
    Said::of(&mut uvale(["status", "--dir", dir])).assert_code(0);
    // One daemon a directory, still.
    Said::of(&mut uvale(["daemon", "--dir", dir])).assert_code(75);
    Said::of(&mut uvale(["stop", "--dir", dir])).assert_code(0);
    assert!(!place.socket().exists());
    wait_for("its end", || {
        !Path::new(&format!("/proc/{pid}/fd/0")).exists()
    });
    let log = std::fs::read_to_string(place.file("uvale.log")).expect("a log");
    assert!(
        log.contains(&format!("continuing as process {pid}")),
        "{log}"
    );
    assert!(!log.contains("panicked"), "{log}");
}

/// A configuration that is named has to be there, and is the one that was meant.
#[test]
fn a_configuration_that_is_named_is_read_or_missed() {
    let ten = or_skip!("configuration", ten());
    let run = |place: &Place, config: &str, then: &str| {
        let mut command = uvale(["run", "--", "sh", "-c"]);
        command
            .args([&format!("cd / && \"$1\" && {then}"), "sh"])
            .arg(&ten);
        command
            .current_dir(place.dir())
            .env("UVALE_DIR", place.dir());
        Said::of(
            command
                .env("UVALE_CONFIG", config)
                .env("UVALE", &target::binaries().uvale),
        )
    };
    let place = Place::empty();
    std::fs::write(place.file("own.toml"), "max_switches = 21\n").expect("a file of ours");
    let said = run(&place, "own.toml", "\"$UVALE\" ctl param max_bridges").assert_code(0);
    assert!(said.out.contains("21"), "{}", said.out);

    let place = Place::empty();
    let missing = place.file("none.toml");
    run(&place, "none.toml", "true")
        .assert_code(9)
        .assert_says(&format!("cannot read {}", missing.display()));
    assert!(
        place.attach().is_err(),
        "no daemon with another configuration"
    );
}

/// A log that cannot be written keeps no daemon from working.
#[test]
fn without_a_log() {
    let ten = or_skip!("no log", ten());
    let place = Place::empty();
    std::fs::create_dir(place.file("uvale.log")).expect("a folder of ours");
    let dir = place.dir().to_str().expect("plain");
    Said::of(uvale(["run", "--dir", dir, "--"]).arg(&ten)).assert_code(0);
}

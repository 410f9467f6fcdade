//! Who has what: in refusals, in `ports` and in `status`.

use compat_tests::or_skip;
use compat_tests::world::Program;
use serde_json::Value;

use crate::{name_of, uvale};
use compat_tests::place::Place;
use compat_tests::programs::program;
use compat_tests::said::Said;

fn number(program: &Program) -> u32 {
    program.pid().as_raw_nonzero().get() as u32
}

fn json(place: &Place, what: &str) -> Value {
    let said = uvale(place.dir(), &[what, "--json"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    serde_json::from_str(&said.out).expect("JSON")
}

#[test]
fn who_holds_a_port_is_named() {
    let path = or_skip!("reasons", program("reasons/reasons"));
    let (place, name) = (Place::new(), name_of(&path));
    let holder = place.spawn_ready(&path, &["hold", "vale0:a", "excl"]);
    let uid = rustix::process::getuid().as_raw();
    let who = format!("{name} (pid {}, uid {uid}) since ", number(&holder));

    let mut second = place.command(&path);
    second.args(["open", "vale0:a"]).env("NMSHIM_VERBOSE", "1");
    let said = Said::of(&mut second);
    assert_eq!(said.out, "register: errno=16\n");
    let wanted = format!("vale0:a is held exclusively by {who}");
    assert!(said.err.contains(&wanted), "no {wanted:?} in: {}", said.err);

    let _other = place.spawn_ready(&path, &["hold", "vale0:b"]);
    let mut exclusive = place.command(&path);
    exclusive
        .args(["open", "vale0:b", "excl"])
        .env("NMSHIM_VERBOSE", "1");
    let said = Said::of(&mut exclusive);
    for part in [
        &format!("vale0:b is open already by {name} (pid "),
        "cannot be opened exclusively",
    ] {
        assert!(said.err.contains(part), "no {part:?} in: {}", said.err);
    }

    let log = place.log();
    assert!(log.contains(&format!("refused: {wanted}")), "{log}");
}

/// A program that goes into the background leaves its descriptors to a child.
#[test]
fn who_has_ended_is_said_to_have() {
    let path = or_skip!("reasons", program("reasons/reasons"));
    let place = Place::new();
    let mut parent = place.spawn(&path, &["inherit", "vale0:a"]);
    let child = parent.wait_line("ready", |l| l.starts_with("ready "));
    let number = number(&parent);
    assert!(parent.has_ended());

    let mut second = place.command(&path);
    second.args(["open", "vale0:a"]).env("NMSHIM_VERBOSE", "1");
    let said = Said::of(&mut second);
    let parts = [
        format!("(pid {number}, uid "),
        "(it has ended, and another process has inherited it)".to_owned(),
    ];
    for part in parts {
        assert!(said.err.contains(&part), "no {part:?} in: {}", said.err);
    }
    assert_eq!(json(&place, "ports")[0]["holders"][0]["ended"], true);

    let child = child["ready ".len()..].trim().parse().expect("a number");
    let child = rustix::process::Pid::from_raw(child).expect("a process");
    rustix::process::kill_process(child, rustix::process::Signal::KILL).expect("it is ours");
}

#[test]
fn ports_and_status_tell_who_has_what_since_when() {
    let path = or_skip!("reasons", program("reasons/reasons"));
    let (place, name) = (Place::new(), name_of(&path));
    let holders = [
        place.spawn_ready(&path, &["hold", "vale0:a"]),
        place.spawn_ready(&path, &["hold", "vale0:a"]),
    ];
    let uid = rustix::process::getuid().as_raw();

    let ports = json(&place, "ports");
    let listed = ports[0]["holders"].as_array().expect("a list");
    assert_eq!(listed.len(), 2, "{ports}");
    for (holder, program) in listed.iter().zip(&holders) {
        assert_eq!(holder["program"], name);
        assert_eq!(holder["pid"], number(program));
        assert_eq!(holder["other_pid_namespace"], false);
        assert_eq!(holder["uid"], uid);
        let since = holder["since"].as_str().expect("a time");
        assert!(since.len() == 25 && since.as_bytes()[10] == b'T', "{since}");
    }
    let text = uvale(place.dir(), &["ports"]).out;
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(lines.len(), 3, "a line for each holder:\n{text}");
    for (line, program) in lines[1..].iter().zip(&holders) {
        let pid = number(program).to_string();
        let at = line.iter().position(|w| *w == name).expect("the program");
        assert_eq!(
            line[at + 1..at + 3],
            [pid.as_str(), uid.to_string().as_str()],
            "{text}"
        );
    }

    let status = json(&place, "status");
    let attached = status["attached"].as_array().expect("a list");
    let of = |pid: u32| {
        attached
            .iter()
            .find(|p| p["pid"] == pid)
            .expect("it is attached")
    };
    assert_eq!(of(number(&holders[0]))["ports"][0], "vale0:a");
    assert_eq!(
        attached.iter().filter(|p| p["asks"] == true).count(),
        1,
        "{status}"
    );
    let text = uvale(place.dir(), &["status"]).out;
    assert!(
        text.contains(&format!(" {} ", number(&holders[1]))),
        "{text}"
    );
}

#[test]
fn a_wrong_directory_is_told_where_the_daemon_is() {
    let home = Place::empty();
    let mut right = Place::at(&home.file("uvale-right"));
    right.start_daemon(&[]);
    for command in crate::COMMANDS.iter().filter(|c| c[0] != "ctl") {
        let mut wrong = std::process::Command::new(&compat_tests::target::binaries().uvale);
        wrong
            .args(*command)
            .arg("--dir")
            .arg(home.file("uvale-rihgt"));
        wrong
            .env("XDG_RUNTIME_DIR", home.dir())
            .env_remove("UVALE_DIR");
        Said::of(&mut wrong).assert_failed_with(&[
            "no uvale daemon answers in",
            "there is no such directory",
            "Daemons of yours answer in",
            &right.dir().display().to_string(),
        ]);
    }
    let said = uvale(right.dir(), &["ports"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
}

/// A daemon in a PID namespace of its own sees no number for who is outside: the number that the process says
/// is shown, marked. A command in a third namespace ends that daemon.
#[test]
fn across_pid_namespaces_what_a_process_says_counts() {
    let path = or_skip!("reasons", program("reasons/reasons"));
    or_skip!("PID namespaces", can_unshare());
    let place = Place::empty();
    let uvale_program = &compat_tests::target::binaries().uvale;
    let unshared = || {
        let mut command = std::process::Command::new("unshare");
        command.arg("-pf").arg(uvale_program);
        command
    };
    let mut command = unshared();
    command.args(["daemon", "--dir"]).arg(place.dir());
    let mut daemon = Program::start("uvale daemon", command);
    daemon.wait_text(" listening at ");

    let holder = place.spawn_ready(&path, &["hold", "vale0:a", "excl"]);
    let mut second = place.command(&path);
    second.args(["open", "vale0:a"]).env("NMSHIM_VERBOSE", "1");
    let said = Said::of(&mut second);
    let wanted = format!("(pid {} in its own PID namespace, uid ", number(&holder));
    assert!(said.err.contains(&wanted), "no {wanted:?} in: {}", said.err);
    let ports = json(&place, "ports");
    assert_eq!(
        ports[0]["holders"][0]["other_pid_namespace"], true,
        "{ports}"
    );
    assert_eq!(ports[0]["holders"][0]["pid"], number(&holder));

    let mut stop = unshared();
    let said = Said::of(stop.args(["stop", "--dir"]).arg(place.dir()));
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(daemon.wait().success(), "{}", daemon.said());
}

fn can_unshare() -> Result<(), compat_tests::Skip> {
    let tried = std::process::Command::new("unshare")
        .args(["-pf", "true"])
        .output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(compat_tests::Skip::optional(
            String::from_utf8_lossy(&output.stderr).trim(),
        )),
        Err(e) => Err(compat_tests::Skip::optional(format!("unshare: {e}"))),
    }
}

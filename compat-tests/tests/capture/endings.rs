//! How captures end: whatever it is, what was written is whole, and it is said.

use std::io::Read;
use std::process::{Command, Stdio};

use compat_tests::place::Place;
use compat_tests::said::Said;
use compat_tests::wait::wait_for;
use compat_tests::world::Program;
use compat_tests::{Skip, or_skip};
use rustix::process::Signal;

use crate::ground::*;

#[test]
fn a_closed_port_is_the_end_and_its_last_packets_are_there() {
    let place = Place::new();
    let b = End::open(&place, "vale0:b");
    for _ in 0..5 {
        let a = End::open(&place, "vale0:a");
        let file = place.file("last.pcapng");
        let mut capture = capture(&place, &["vale0:a", "-w", text(&file)]);
        let packets = numbers(0, 300);
        assert_eq!(a.send(&packets), 300);
        a.close();
        assert_eq!(capture.wait().code(), Some(0), "{}", capture.said());
        let said = capture.said();
        assert!(
            said.contains("300 packets captured, 0 missed: vale0:a: closed"),
            "{said}"
        );
        assert!(Captured::read(&file).of("vale0:a", true) == packets);
        b.receive();
    }
    let a = End::open(&place, "vale0:a");
    let mut capture = capture(&place, &["vale0:a", "-c", "5"]);
    a.send(&numbers(0, 4));
    a.close();
    assert_eq!(capture.wait().code(), Some(3), "{}", capture.said());
    assert!(
        capture.said().contains("4 of 5 packets captured"),
        "{}",
        capture.said()
    );
}

#[test]
fn the_time_is_the_end() {
    let place = Place::new();
    let _a = End::open(&place, "vale0:a");
    let mut capture = capture(&place, &["vale0:a", "--seconds", "0.2"]);
    assert_eq!(capture.wait().code(), Some(0), "{}", capture.said());
    assert!(
        capture.said().contains("the time is over"),
        "{}",
        capture.said()
    );
}

#[test]
fn a_daemon_that_is_killed_is_an_error_and_the_file_is_whole() {
    let mut place = Place::new();
    let (a, b) = (End::open(&place, "vale0:a"), End::open(&place, "vale0:b"));
    let file = place.file("lost.pcapng");
    let mut capture = capture(&place, &["vale0:a", "-w", text(&file)]);
    let packets = numbers(0, 1000);
    send_in_step(&place, &a, &b, &packets);
    place.signal_daemon(Signal::KILL);
    assert_eq!(capture.wait().code(), Some(1), "{}", capture.said());
    assert!(capture.said().contains("daemon in"), "{}", capture.said());
    assert!(Captured::read(&file).of("vale0:a", true) == packets);
}

#[test]
fn a_full_device_is_said_at_once() {
    let place = Place::new();
    let _a = End::open(&place, "vale0:a");
    let mut full = uvale(&place, &["capture", "vale0:a", "-w", "/dev/full"]);
    let said = Said::of(&mut full).assert_code(1);
    said.assert_says("/dev/full cannot be written: No space left on device");
    let folder = uvale(&place, &["capture", "vale0:a", "-w", "/nowhere/x"]);
    let said = Said::of(&mut { folder }).assert_code(1);
    said.assert_says("/nowhere/x cannot be written: No such file or directory");
}

/// Sends to a capture of `a` whose file becomes full, and looks at what `copy` is in the end.
fn fill((a, b): (&End, &End), mut capture: Program, copy: &std::path::Path, why: &str) {
    let packets = numbers(0, 2000);
    for batch in packets.chunks(200) {
        a.send(batch);
        b.receive();
    }
    assert_eq!(capture.wait().code(), Some(1), "{}", capture.said());
    assert!(capture.said().contains(why), "{}", capture.said());
    let captured = Captured::read(copy).of("vale0:a", true);
    assert!(
        !captured.is_empty() && captured.len() < packets.len(),
        "{}",
        captured.len()
    );
    assert!(
        captured == packets[..captured.len()],
        "the first packets, and all of them whole"
    );
    let count = format!("{} packets captured", captured.len());
    assert!(capture.said().contains(&count), "{}", capture.said());
}

#[test]
fn a_full_disk_leaves_whole_packets() {
    let place = Place::new();
    let probe = Command::new("unshare").args(["-m", "true"]).status();
    let may_mount = match probe {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Skip::required("unshare -m is not permitted")),
    };
    or_skip!("a full disk", may_mount);
    let (disk, copy) = (place.file("disk"), place.file("copy.pcapng"));
    std::fs::create_dir(&disk).expect("a folder");
    let (a, b) = (End::open(&place, "vale0:a"), End::open(&place, "vale0:b"));
    let script = "mount -t tmpfs -o size=200k small \"$0\" && \"$1\" capture vale0:a -w \"$0/f\"; s=$?; \
                  cp \"$0/f\" \"$2\"; exit $s";
    let mut command = Command::new("unshare");
    let program = &compat_tests::target::binaries().uvale;
    command.args([
        "-m",
        "sh",
        "-c",
        script,
        text(&disk),
        text(program),
        text(&copy),
    ]);
    command.env("UVALE_DIR", place.dir()).stdin(Stdio::null());
    let capture = Program::start("capture on a small disk", command);
    capture.wait_text("uvale capture: capturing");
    fill((&a, &b), capture, &copy, "No space left on device");
}

#[test]
fn a_limit_of_files_leaves_whole_packets() {
    let place = Place::new();
    let (a, b) = (End::open(&place, "vale0:a"), End::open(&place, "vale0:b"));
    let file = place.file("limited.pcapng");
    let mut command = Command::new("sh");
    let program = &compat_tests::target::binaries().uvale;
    let script = "ulimit -f 200; exec \"$0\" capture vale0:a -w \"$1\"";
    command.args(["-c", script, text(program), text(&file)]);
    command.env("UVALE_DIR", place.dir()).stdin(Stdio::null());
    let capture = Program::start("capture with a limit", command);
    capture.wait_text("uvale capture: capturing");
    fill((&a, &b), capture, &file, "File too large");
}

#[test]
fn a_reader_that_goes_ends_it() {
    let place = Place::new();
    let (a, b) = (End::open(&place, "vale0:a"), End::open(&place, "vale0:b"));
    // as | head -c 2000 does: some of it is read, and the pipe is closed in the middle of a packet
    let mut command = uvale(&place, &["capture", "vale0:a", "-w", "-"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    wait_for_captured(&place, 1);
    a.send(&numbers(0, 100));
    b.receive();
    let mut some = vec![0; 2000];
    let mut out = child.stdout.take().expect("a pipe");
    out.read_exact(&mut some).expect("it writes at once");
    drop(out);
    // which it notices without another packet
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("nobody reads standard output any more"),
        "{said}"
    );
    assert!(matches!(output.status.code(), Some(0 | 3)), "{said}");
}

#[test]
fn other_users_capture_nothing() {
    let place = Place::new();
    let _a = End::open(&place, "vale0:a");
    compat_tests::place::set_mode(place.dir(), 0o755);
    compat_tests::place::set_mode(&place.socket(), 0o777);
    let other = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let probe = Command::new("setpriv").args(other).arg("true").status();
    let may = match probe {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Skip::required("setpriv cannot become another user")),
    };
    or_skip!("another user", may);
    let mut command = Command::new("setpriv");
    command
        .args(other)
        .arg(&compat_tests::target::binaries().uvale);
    command
        .args(["capture", "vale0:a"])
        .env("UVALE_DIR", place.dir());
    let said = Said::of(&mut command).assert_code(1);
    assert_eq!(said.out, "");
    assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    wait_for("nothing of it to be left", || captured_ports(&place) == 0);
}

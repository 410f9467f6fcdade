//! Debian's tshark lists ports by extcap, and captures from them through its dumpcap.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use compat_tests::or_skip;
use compat_tests::place::Place;
use compat_tests::said::Said;
use compat_tests::target;
use compat_tests::world::Program;

use crate::ground::*;

/// A command of somebody whose home is the place, with the link that `--install` makes.
fn home(place: &Place, command: &mut Command) {
    let home = place.file("home");
    std::fs::create_dir_all(&home).expect("a home");
    command
        .env("HOME", &home)
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_RUNTIME_DIR")
        .env("UVALE_DIR", place.dir())
        .stdin(Stdio::null());
}

fn tshark(place: &Place, tshark: &str, args: &[&str]) -> Command {
    let mut command = Command::new(tshark);
    command.args(args);
    home(place, &mut command);
    command
}

fn install(place: &Place) -> Said {
    let mut command = uvale(place, &["extcap", "--install"]);
    home(place, &mut command);
    Said::of(&mut command)
}

/// A call as Wireshark makes it, by a link of any name.
fn called(place: &Place, args: &[&str]) -> Said {
    let link = place.file("uvale-extcap");
    let _ = std::os::unix::fs::symlink(&target::binaries().uvale, &link);
    let mut command = Command::new(&link);
    command.args(args);
    home(place, &mut command);
    Said::of(&mut command)
}

#[test]
fn tshark_lists_ports_and_captures_ten_thousand_packets() {
    let program = or_skip!("tshark", debian("tshark"));
    let place = Place::new();
    let (a, b) = (End::open(&place, "vale0:a"), End::open(&place, "vale0:b"));
    let _pipe = End::open(&place, "netmap:x{1");
    let said = install(&place).assert_code(0);
    assert!(
        said.out.contains("is a link to this program now"),
        "{}",
        said.out
    );
    let said = install(&place).assert_code(0);
    assert!(said.out.contains("already"), "{}", said.out);

    let listed = Said::of(&mut tshark(&place, &program, &["-D"]))
        .assert_code(0)
        .out;
    for line in [
        "uvale:vale0 (vale0, all ports of the switch)",
        "uvale:vale0:a (vale0:a, VALE port of",
        "uvale:vale0:b (vale0:b, VALE port of",
        "uvale:x%7B1 (x 1, pipe, master end of",
        "uvale (uvale, a port of any world, by name)",
    ] {
        assert!(listed.contains(line), "no {line} in {listed}");
    }

    let file = place.file("tshark.pcapng");
    let args = ["-i", "uvale:vale0", "-c", "20030", "-w", text(&file)];
    let mut capture = Program::start("tshark", tshark(&place, &program, &args));
    wait_for_captured(&place, 2);
    let packets = numbers(0, 10_000);
    send_in_step(&place, &a, &b, &packets);
    // one more interface, in the middle of the capture
    let late = End::open(&place, "vale0:late");
    wait_for_captured(&place, 3);
    let more = numbers(20_000, 10);
    send_in_step(&place, &late, &b, &more);
    assert!(capture.wait().success(), "{}", capture.said());
    let mut captured = Captured::read(&file);
    assert_eq!(captured.of("vale0:late", true), more);
    let arrived = [&packets[..], &more].concat();
    assert!(captured.of("vale0:b", false) == arrived, "what arrived");
    captured.packets.retain(|p| p.interface == "vale0:a");
    let a = captured.packets.split_off(10_000);
    assert!(captured.of("vale0:a", true) == packets, "what was sent");
    assert!(
        a.iter().all(|p| !p.sent) && a.len() == 10,
        "what arrived at last"
    );
    wait_for_captured(&place, 0);

    // What is said of a packet is shown: by the capture itself, too.
    let fields = [
        "frame.interface_name",
        "frame.packet_flags_direction",
        "frame.len",
    ];
    let args = ["-r", text(&file), "-c", "1", "-T", "fields"];
    let args = [&args[..], &fields.map(|f| ["-e", f]).concat()].concat();
    let said = Said::of(&mut tshark(&place, &program, &args)).assert_code(0);
    let first: Vec<&str> = said.out.split_whitespace().collect();
    assert!(
        first == ["vale0:a", "0x00000002", "60"] || first == ["vale0:b", "0x00000001", "60"],
        "{first:?}"
    );
}

#[test]
fn tshark_decodes_the_comments() {
    let program = or_skip!("tshark", debian("tshark"));
    let place = Place::new();
    let a = End::open(&place, "vale0:a");
    let file = place.file("comments.pcapng");
    let capture = capture(&place, &["vale0:a", "-c", "1", "-w", text(&file)]);
    a.send(&[vec![0xff; 10]]);
    capture.wait_success();
    let fields = [
        "-T",
        "fields",
        "-e",
        "frame.comment",
        "-e",
        "frame.packet_flags_direction",
    ];
    let args = [&["-r", text(&file)], &fields[..]].concat();
    let said = Said::of(&mut tshark(&place, &program, &args)).assert_code(0);
    assert_eq!(
        said.out,
        "dropped: shorter than an Ethernet header\t0x00000002\n"
    );
}

#[test]
fn a_world_elsewhere_is_reached() {
    let (here, there) = (Place::new(), Place::new());
    let (a, b) = (End::open(&there, "vale0:a"), End::open(&there, "vale0:b"));
    let dir = text(there.dir()).replace('/', "%2F");
    let interface = format!("uvale:vale0:a@{dir}");
    let file = here.file("there.pcapng");
    let fifo = here.file("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.is_ok_and(|s| s.success()));
    // by its name, which has the world in it, and by options
    for args in [
        &["--extcap-interface", interface.as_str()][..],
        &[
            "--extcap-interface",
            "uvale",
            "--port",
            "vale0:a",
            "--dir",
            text(there.dir()),
        ],
    ] {
        let mut cat = Command::new("sh");
        cat.args(["-c", "exec cat \"$0\" > \"$1\"", text(&fifo), text(&file)]);
        let cat = Program::start("cat", cat);
        let mut command = Command::new(&target::binaries().uvale);
        command
            .arg("--capture")
            .args(args)
            .args(["--fifo", text(&fifo)]);
        home(&here, &mut command);
        let capture = Program::start("extcap", command);
        wait_for_captured(&there, 1);
        send_in_step(&there, &a, &b, &numbers(0, 10));
        capture.signal(rustix::process::Signal::TERM);
        capture.wait_success();
        cat.wait_success();
        assert!(Captured::read(&file).of("vale0:a", true) == numbers(0, 10));
    }
}

#[test]
fn calls_as_wireshark_makes_them_are_answered() {
    let place = Place::new();
    let _a = End::open(&place, "vale0:a");
    let said = called(
        &place,
        &["--extcap-dlts", "--extcap-interface", "uvale:vale0:a"],
    )
    .assert_code(0);
    assert_eq!(said.out, "dlt {number=1}{name=EN10MB}{display=Ethernet}\n");
    let said = called(
        &place,
        &["--extcap-config", "--extcap-interface", "uvale:vale0:a"],
    )
    .assert_code(0);
    assert!(
        said.out.contains("{call=--dir}") && !said.out.contains("{call=--port}"),
        "{}",
        said.out
    );
    let said = called(&place, &["--extcap-config", "--extcap-interface", "uvale"]).assert_code(0);
    assert!(said.out.contains("{call=--port}"), "{}", said.out);

    let filter = [
        "--extcap-interface",
        "uvale:vale0:a",
        "--extcap-capture-filter",
        "tcp port 80",
    ];
    let said = called(&place, &filter).assert_code(1);
    assert!(
        said.out.contains("captured whole: use a display filter"),
        "{}",
        said.out
    );
    let fifo = place.file("none");
    let capture = [&["--capture"], &filter[..], &["--fifo", text(&fifo)]].concat();
    called(&place, &capture)
        .assert_code(1)
        .assert_says("display filter");
    for (interface, why) in [
        ("eth0", "eth0 is no interface of uvale"),
        ("uvale:vale0:aa", "did you mean vale0:a?"),
        ("uvale", "which port?"),
    ] {
        let args = [
            "--capture",
            "--extcap-interface",
            interface,
            "--fifo",
            text(&fifo),
        ];
        called(&place, &args).assert_code(1).assert_says(why);
    }

    // a world without a daemon has nothing but the interface whose options name another one
    let nobody = Place::empty();
    let said = called(&nobody, &["--extcap-interfaces", "--extcap-version=4.0"]).assert_code(0);
    assert!(
        said.out.starts_with("extcap {version=") && said.out.contains("{value=uvale}"),
        "{}",
        said.out
    );
    assert!(nobody.pid_of_started_daemon().is_none(), "none is started");
}

#[test]
fn what_is_no_link_is_left_alone() {
    let place = Place::new();
    let made = install(&place).assert_code(0);
    let link = made.out.split(" is a link").next().expect("it says where");
    let link = PathBuf::from(link);
    std::fs::remove_file(&link).expect("it is there");
    std::fs::write(&link, "mine").expect("it can be written");
    install(&place)
        .assert_code(1)
        .assert_says("is there and no link: remove it first");
    assert_eq!(std::fs::read_to_string(&link).expect("it is there"), "mine");
    std::fs::remove_file(&link).expect("it is there");
    std::os::unix::fs::symlink("/gone/uvale", &link).expect("a link");
    install(&place).assert_code(0);
    let to = std::fs::read_link(&link).expect("a link");
    assert!(to.is_file(), "{}", to.display());
}

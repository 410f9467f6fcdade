//! Captures, texts and options that are wrong.

use compat_tests::capture;

use super::*;

/// A case that sends `step`.
fn with(step: &str) -> String {
    format!("[ports.lan]\n[[cases]]\nname = \"x\"\nsteps = [\n{step}\n]\n")
}

#[test]
fn captures_that_are_cut_are_refused_with_the_packet() {
    let folder = Folder::new();
    let sent = [packet(60), packet(60), packet(60)];
    capture::write(&folder.path("whole.pcap"), &sent);
    let whole = std::fs::read(folder.path("whole.pcap")).expect("it was written");
    folder.write("a.toml", with("{ send = \"lan\", capture = \"cut.pcap\" }"));
    for (cut, why) in [
        (
            &whole[..whole.len() - 1],
            "the file ends in the middle of a packet, packet 3",
        ),
        (
            &whole[..30],
            "the file ends in the middle of a packet, packet 1",
        ),
        (&whole[..3], "it is too short to be a capture"),
        (&whole[..0], "it is empty"),
        (&b"\x1f\x8b\x08 compressed"[..], "it is compressed"),
        (&b"neither nor"[..], "it is neither pcap nor pcapng"),
        (&whole[..24], "has no frames"),
    ] {
        folder.write("cut.pcap", cut);
        let said = folder.test(&["a.toml"]).assert_code(2);
        assert!(
            said.err.starts_with("a.toml:5: cases.steps.capture: "),
            "{}",
            said.err
        );
        said.assert_says(why);
    }
    let mut snapped = sent.clone();
    snapped[1].original = 1500;
    capture::write(&folder.path("cut.pcap"), &snapped);
    let said = folder.test(&["a.toml"]).assert_code(2);
    said.assert_says("packet 2 was not captured whole, 60 of 1500 bytes");
}

#[test]
fn filters_that_do_not_parse_say_what_is_known() {
    let folder = Folder::new();
    for (filter, why) in [
        ("udp.dstport ==", ""),
        ("udp &&", ""),
        ("(udp", ""),
        ("ip.src == 10.0.0.999", "ip.src"),
        ("udpp", "did you mean udp?"),
    ] {
        folder.write(
            "a.toml",
            with(&format!("{{ expect = \"lan\", filter = \"{filter}\" }}")),
        );
        let said = folder.test(&["a.toml"]).assert_code(2);
        assert!(
            said.err.starts_with("a.toml:5: cases.steps.filter: "),
            "{filter}: {}",
            said.err
        );
        said.assert_says(why);
    }
}

#[test]
fn files_that_are_none() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("folder.toml")).expect("a folder");
    folder.write("latin.toml", b"name = \"\xe4\"");
    folder.write("deep.toml", format!("a = {}", "[".repeat(100_000)));
    folder.write("binary.toml", b"\x00\x01\x02");
    folder.write("long.toml", "#".repeat((16 << 20) + 1));
    for (name, why) in [
        ("nosuch.toml", "nosuch.toml: No such file or directory"),
        ("folder.toml", "folder.toml: Is a directory"),
        ("long.toml", "long.toml: it has more than 16 MiB"),
        (
            "deep.toml",
            "deep.toml:1: this is no TOML: cannot recurse further",
        ),
        ("latin.toml", "latin.toml: it is no UTF-8"),
        ("binary.toml", "binary.toml:1: this is no TOML"),
    ] {
        folder.test(&[name]).assert_code(2).assert_says(why);
    }
    folder.test(&[]).assert_code(2);
}

#[test]
fn options_that_name_nothing_are_refused() {
    let folder = Folder::new();
    folder.write(
        "a.toml",
        format!("[matrix]\nmode = [\"swap\"]\n{JOINED}[[cases]]\nname = \"x\"\nsteps = [{{ run = ['true'] }}]\n"),
    );
    folder.write(
        "b.toml",
        "name = \"a\"\n[[cases]]\nname = \"x\"\nsteps = [{ run = ['true'] }]\n",
    );
    for (args, why) in [
        (
            &["--set", "modes=copy"][..],
            "--set modes: there is no such variable in a [matrix]; did you mean mode?",
        ),
        (&["--set", "mode"], "it is written NAME=VALUE"),
        (
            &["--target", "kernal"],
            "there are uvale, kernel and nic:PORT=INTERFACE",
        ),
        (
            &["--target", "nic:lam=eth1"],
            "there is no port \"lam\"; did you mean lan?",
        ),
        (
            &["--only", "nosuch"],
            "no case has this in its id; --list shows them",
        ),
        (&["--jobs", "0"], "0 is not in 1.."),
        (&["--repeat", "0"], "0 is not in 1.."),
        (&["--seed", "x"], "invalid digit"),
        (
            &["b.toml"],
            "b.toml:1: name: a.toml is called \"a\", too; give one another name",
        ),
    ] {
        let said = folder.test(&[&["a.toml"], args].concat()).assert_code(2);
        assert_eq!(said.out, "");
        said.assert_says(why);
    }
}

#[test]
fn a_place_where_nothing_can_be_written_is_said_before_anything_runs() {
    let folder = Folder::new();
    folder.write(
        "a.toml",
        "prepare = [[\"touch\", \"prepared\"]]\n[[cases]]\nname = \"x\"\nsteps = [{ run = ['true'] }]\n",
    );
    for path in ["/dev/full", "/nosuch/results.xml"] {
        let said = folder.test(&["a.toml", "--junit", path]).assert_code(1);
        said.assert_says(&format!("--junit {path}: "));
    }
    let mut command = folder.command(&["a.toml"]);
    let said = Said::of(command.env("TMPDIR", "/nosuch")).assert_code(1);
    said.assert_says(
        "cannot make a folder in /nosuch: No such file or directory; TMPDIR names another place",
    );
    assert!(!folder.path("prepared").exists());
}

/// A pipe that nobody writes to would be waited for, for ever.
#[test]
fn files_are_files() {
    let folder = Folder::new();
    let made = Command::new("mkfifo").arg(folder.path("pipe")).status();
    assert!(made.expect("mkfifo starts").success());
    std::fs::create_dir(folder.path("folder.toml")).expect("a folder");
    folder.write(
        "captures.toml",
        "[ports.lan]\n[[cases]]\nname = \"x\"\nsteps = [{ send = \"lan\", capture = \"pipe\" }]\n",
    );
    let no_file = "is no regular file; what comes out of a pipe or a device can be saved in one";
    for (name, said) in [
        ("pipe", format!("pipe: {no_file}")),
        ("/dev/zero", format!("/dev/zero: {no_file}")),
        ("folder.toml", "folder.toml: Is a directory".to_owned()),
        (
            "captures.toml",
            format!(
                "captures.toml:4: cases.steps.capture: {}: {no_file}",
                folder.path("pipe").display()
            ),
        ),
    ] {
        folder.test(&[name]).assert_code(2).assert_says(&said);
    }
}

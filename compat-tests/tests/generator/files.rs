//! Captures that are cut, missing or no captures, recordings that cannot be written, and standard
//! input and output as captures.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use super::*;

/// Sends a file; the status, and everything that was said.
fn send(world: &World, file: &str) -> (Option<i32>, String) {
    let mut sender = world.generator(&["-i", "vale0:a", "-f", "tx", "--pcap", file]);
    (sender.wait().code(), sender.said())
}

#[test]
fn a_capture_that_is_cut_is_sent_as_far_as_it_goes_and_said() {
    let world = World::new();
    let whole = compat_tests::target::data("http.pcap");
    let ng = world.file("whole.pcapng");
    let count = capture::recorded().len();
    let number = count.to_string();
    let ng = ng.to_string_lossy();
    let recorder = ["-i", "netmap:x}1", "-f", "rx", "-n", &number, "--pcap", &ng];
    let recorder = ready(&world, &recorder);
    let sender = ["-i", "netmap:x{1", "-f", "tx", "--pcap"];
    world
        .generator(&[&sender[..], &[&whole.to_string_lossy()]].concat())
        .wait_success();
    recorder.wait_success();

    for file in [whole.as_path(), (*ng).as_ref()] {
        let bytes = std::fs::read(file).expect("it is ours");
        let cut = world.file("cut");
        let cut = cut.to_string_lossy();
        std::fs::write(&*cut, &bytes[..bytes.len() - 3]).expect("the folder can be written");
        let (status, said) = send(&world, &cut);
        assert_eq!(status, Some(3), "{said}");
        let good = format!(
            "in the middle of a packet; the {} whole packets before it",
            count - 1
        );
        assert!(said.contains(&good), "{said}");
        assert!(
            said.contains(&format!("Sent {} packets", count - 1)),
            "{said}"
        );
    }
}

#[test]
fn what_is_no_capture_is_said() {
    let world = World::new();
    let write = |name: &str, bytes: &[u8]| {
        let file = world.file(name);
        std::fs::write(&file, bytes).expect("the folder can be written");
        file.to_string_lossy().into_owned()
    };
    let empty = write("empty.pcap", b"");
    let pcap = std::fs::read(compat_tests::target::data("http.pcap")).expect("it is ours");
    let folder = world.file("").to_string_lossy().into_owned();
    for (file, says) in [
        (
            folder.as_str(),
            "is a directory; name a pcap or pcapng file",
        ),
        ("nosuch.pcap", "nosuch.pcap: No such file or directory in /"),
        (&empty, "it is empty"),
        (
            &write("short.pcap", b"ab"),
            "it is too short to be a capture",
        ),
        (
            &write("head.pcap", &pcap[..20]),
            "it is too short to be a capture",
        ),
        (&write("nothing.pcap", &pcap[..24]), "holds no packet"),
        (
            &write("first.pcap", &pcap[..50]),
            "ends within its first packet",
        ),
        (
            &write("text.pcap", b"just text"),
            "it is neither pcap nor pcapng",
        ),
        (
            &write("zipped.pcap", b"\x1f\x8b\x08\0\0\0\0\0"),
            "zcat FILE | uvale gen",
        ),
    ] {
        let (status, said) = send(&world, file);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains(says), "no {says:?}: {said}");
        assert!(!said.contains("os error"), "{said}");
    }
}

#[test]
fn a_recording_that_cannot_be_written_is_an_error() {
    let world = World::new();
    let nowhere = world
        .file("nowhere/out.pcap")
        .to_string_lossy()
        .into_owned();
    for file in ["/dev/full", &nowhere] {
        let mut recorder = world.generator(&["-i", "vale0:b", "-f", "rx", "--pcap", file]);
        assert_eq!(recorder.wait().code(), Some(1), "{}", recorder.said());
        let said = recorder.said();
        let why = match file {
            "/dev/full" => "No space left on device; the recording is not complete",
            _ => "No such file or directory",
        };
        assert!(said.contains(&format!("{file}: {why}")), "{said}");
    }
}

#[test]
fn a_summary_that_cannot_be_written_is_an_error() {
    let world = World::new();
    for options in [&[][..], &["--json"], &["-X"]] {
        let args = ["gen", "-i", "vale0:a", "-f", "tx", "-n", "1"];
        let full = std::fs::File::options().write(true).open("/dev/full");
        let mut command = world.uvale(&[&args[..], options].concat());
        command.stdout(full.expect("/dev/full is there"));
        let out = command.output().expect("uvale runs");
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{said}");
        let why = "uvale gen: cannot write to standard output: No space left on device";
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn packets_are_shown_as_they_come_and_a_reader_may_leave() {
    let world = World::new();
    for options in [&[][..], &["--pcapng"]] {
        let args = ["gen", "-i", "vale0:b", "-f", "rx", "-T", "0", "--pcap", "-"];
        let mut command = world.uvale(&[&args[..], options].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut recorder = command.spawn().expect("uvale starts");
        let mut out = recorder.stdout.take().expect("it was asked for");
        let head = if options.is_empty() { 24 } else { 28 };
        // a reader gets the head of the file before there is any packet
        out.read_exact(&mut vec![0; head])
            .expect("a head of a file");
        for _ in 0..2 {
            world
                .generator(&["-i", "vale0:a", "-f", "tx", "-n", "3"])
                .wait_success();
            // all that was sent, while the recorder goes on
            out.read_exact(&mut vec![0; 3 * (16 + 60)])
                .expect("packets");
        }
        assert!(recorder.try_wait().expect("a child of ours").is_none());
        drop(out);
        let output = recorder.wait_with_output().expect("a child of ours");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(
            !said.contains("roken pipe") && !said.contains("panicked"),
            "{said}"
        );
        assert!(said.contains("Received 6 packets"), "{said}");
    }
}

#[test]
fn a_capture_comes_from_standard_input() {
    let world = World::new();
    let frames = capture::recorded_from(CLIENT);
    let file = world.file("in.pcap");
    capture::write(&file, &frames);
    let count = frames.len().to_string();
    let output = world.file("out.pcap");
    let receiver = ["-i", "vale0:b", "-f", "rx", "-n", &count, "--pcap"];
    let receiver = ready(
        &world,
        &[&receiver[..], &[&output.to_string_lossy()]].concat(),
    );
    let mut command = world.uvale(&["gen", "-i", "vale0:a", "-f", "tx", "--pcap", "-"]);
    let mut sender = command.stdin(Stdio::piped()).spawn().expect("uvale starts");
    let mut stdin = sender.stdin.take().expect("it was asked for");
    stdin
        .write_all(&std::fs::read(&file).expect("it is ours"))
        .expect("the sender reads");
    drop(stdin);
    assert!(sender.wait().expect("a child of ours").success());
    receiver.wait_success();
    assert_eq!(capture::read(&output), Ok(frames));
}

#[test]
fn a_reader_of_any_output_may_leave() {
    let world = World::new();
    // progress and dumps without an end; the shell's status is that of `head`, so the generator
    // writes its own to a file
    for options in ["-f tx -T 10", "-f rx -X -T 0"] {
        let status = world.file("status");
        let _ = std::fs::remove_file(&status);
        let script = format!(
            "{{ \"$0\" gen -i vale0:b {options} 2>&1; echo $? > {}; }} | head -n 1",
            status.display()
        );
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &script])
            .arg(&compat_tests::target::binaries().uvale);
        shell.env("UVALE_DIR", world.runtime_dir());
        let mut shell = Program::start("a generator whose reader leaves", shell);
        assert!(shell.wait().success(), "{}", shell.said());
        let read = std::fs::read_to_string(&status).expect("it ended");
        assert_eq!(read.trim(), "0", "{}", shell.said());
    }
}

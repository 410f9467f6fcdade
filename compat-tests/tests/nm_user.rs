//! The crate nm-user: its own tests, which know nothing of uvale, and its examples.

use std::process::Command;

use compat_tests::apps::App;
use compat_tests::target;
use compat_tests::world::{Program, World};
use rustix::process::Signal;

/// Builds the tests and examples of nm-user; gives the executable with that name.
fn built(name: &str) -> App {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(target::workspace())
        .args(["build", "--quiet", "-p", "nm-user", "--features", "tokio"])
        .args(["--tests", "--examples", "--message-format", "json"])
        .arg("--target-dir")
        .arg(target::target_dir())
        .output()
        .expect("cargo starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nm-user does not build:\n{said}");
    let messages = String::from_utf8(output.stdout).expect("text");
    let found = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        // Examples may have tests in an executable of the same name.
        let (target, is_test) = (&message["target"], &message["profile"]["test"]);
        let is_it = target["name"] == name && (target["kind"][0] == "test") == *is_test;
        let path = message["executable"].as_str().filter(|_| is_it)?;
        Some(App {
            path: path.into(),
            libraries: None,
        })
    });
    found.unwrap_or_else(|| panic!("nm-user has no {name}"))
}

#[test]
fn its_own_tests_pass() {
    let tests = built("ports");
    let world = World::new();
    for threads in ["1", "4"] {
        let args = ["--nocapture", "--test-threads", threads];
        let said = world.spawn(&tests, &args).wait_success();
        assert!(said.contains("0 failed; 0 ignored"), "{said}");
        assert!(!said.contains("skipped"), "{said}");
    }
}

#[test]
fn its_bridge_carries_packets_both_ways() {
    let bridge = built("bridge");
    let world = World::new();
    let between = world.spawn(&bridge, &["vale0:x", "vale1:y"]);
    wait_for_ports(&world, &["vale0:x", "vale1:y"]);
    for (from, to) in [("vale0:a", "vale1:b"), ("vale1:a", "vale0:b")] {
        let receiver = world.generator(&["-i", to, "-f", "rxseq", "-n", "5000"]);
        wait_for_ports(&world, &[to]);
        world
            .generator(&["-i", from, "-f", "txseq", "-n", "5000", "-R", "20000"])
            .wait_success();
        let said = receiver.wait_success();
        assert!(said.contains("5000"), "{said}");
    }
    end(between);
}

#[test]
fn its_echo_answers() {
    let echo = built("echo_tokio");
    let world = World::new();
    let answering = world.spawn(&echo, &["vale0:echo"]);
    wait_for_ports(&world, &["vale0:echo"]);
    world
        .generator(&["-i", "vale0:a", "-f", "ping", "-n", "1000"])
        .wait_success();
    end(answering);
}

#[test]
fn its_examples_say_their_usage() {
    let examples = target::workspace().join("nm-abi/user/examples");
    let files = std::fs::read_dir(examples).expect("a folder");
    let names = files.filter_map(|file| {
        let name = file.expect("a file").file_name();
        Some(name.to_str()?.strip_suffix(".rs")?.to_owned())
    });
    let too_many = ["vale0:a", "vale0:b", "x", "y", "z"];
    for name in names {
        let example = built(&name);
        for args in [&[][..], &too_many] {
            let output = Command::new(&example.path).args(args).output();
            let output = output.expect("it starts");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{name} {args:?}: {said}");
            let usage = said.lines().last().unwrap_or_default();
            assert!(usage.starts_with(&format!("usage: {name} ")), "{said}");
        }
    }
}

fn wait_for_ports(world: &World, ports: &[&str]) {
    let output = world.uvale(&[&["wait"], ports].concat()).output();
    assert!(output.expect("uvale starts").status.success());
}

fn end(mut program: Program) {
    assert!(!program.has_ended(), "{}", program.said());
    program.signal(Signal::TERM);
    program.wait();
}

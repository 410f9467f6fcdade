//! `uvale wait`, and what commands say to a name that is nearly right.

use std::path::PathBuf;

use super::*;

fn wait(world: &World, args: &[&str]) -> Said {
    uvale(world, &[&["wait"], args].concat())
}

#[test]
fn ports_are_waited_for() {
    let world = World::new();
    let waiting = Program::start(
        "uvale wait",
        world.uvale(&[
            "wait",
            "vale0:a",
            "netmap:x{1",
            "vale0",
            "--timeout",
            "1000",
        ]),
    );
    wait(&world, &["vale0:a", "--timeout", "0"]).failed("after 0 s vale0:a is not there");
    let a = hold(&world, "vale0:a");
    wait(&world, &["vale0:a", "vale0", "vale0:", "--timeout", "0"]).ok();
    // one of two is not enough; the other end of a pipe is not open
    let said = wait(&world, &["vale0:a", "x{1", "-t", "0.1"]).failed("after 0.1 s x{1 is not");
    assert!(said.contains("the ports are vale0:a"), "{said}");
    let _x = hold(&world, "netmap:x{1");
    assert_eq!(waiting.wait_success(), "");
    wait(&world, &["x}1", "-t", "0"]).failed("x}1 (did you mean x{1?) is not there");

    let gone = Program::start(
        "uvale wait --gone",
        world.uvale(&["wait", "--gone", "vale0:a", "vale0", "-t", "1000"]),
    );
    wait(&world, &["--gone", "vale0:a", "x{1", "-t", "0"]).failed("vale0:a, x{1 are still there");
    drop(a);
    gone.wait_success();
    // what a persistent port is
    uvale(&world, &["ctl", "-n", "v0"]).ok();
    wait(&world, &["v0", "-t", "0"]).ok();
}

#[test]
fn a_daemon_is_waited_for_and_none_is_started() {
    let dir = std::env::temp_dir().join(format!("uvale-wait-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let uvale = |args: &[&str]| {
        let mut command = Command::new(&compat_tests::target::binaries().uvale);
        command
            .args(args)
            .arg("--dir")
            .arg(&dir)
            .env_remove("UVALE_DIR");
        command
    };
    Said::of(uvale(&["wait", "vale0:a", "-t", "0.2"])).failed("no uvale daemon answers in");
    Said::of(uvale(&["wait", "--gone", "vale0:a", "-t", "0"])).ok();
    assert!(!dir.exists(), "wait made {}", dir.display());

    let waiting = Program::start("uvale wait", uvale(&["wait", "v0", "-t", "1000"]));
    let daemon = || {
        let daemon = Program::start("uvale daemon", uvale(&["daemon"]));
        daemon.wait_text("listening at");
        daemon
    };
    let first = daemon();
    Said::of(uvale(&["stop"])).ok();
    drop(first);
    // another daemon in its place
    let _second = daemon();
    Said::of(uvale(&["ctl", "-n", "v0"])).ok();
    waiting.wait_success();
    let gone = Program::start("uvale wait", uvale(&["wait", "--gone", "v0", "-t", "1000"]));
    Said::of(uvale(&["stop"])).ok();
    gone.wait_success();
    let _ = std::fs::remove_dir_all(PathBuf::from(&dir));
}

#[test]
fn wait_has_statuses() {
    let world = World::new();
    for args in [
        &["wait"][..],
        &["wait", ""],
        &["wait", "a", "-t", "x"],
        &["wait", "a", "-t", "-1"],
    ] {
        assert_eq!(uvale(&world, args).code, Some(2), "{args:?}");
    }
}

#[test]
fn a_name_that_is_nearly_right_is_answered_with_the_right_one() {
    let world = World::new();
    let _held = hold(&world, "vale0:server");
    for (args, status, says) in [
        (
            &["wait", "vale0:sever", "-t", "0"][..],
            1,
            "did you mean vale0:server?",
        ),
        (&["fdb", "vale00"], 1, "did you mean vale0?"),
        (
            &["ctl", "param", "ring_sizee"],
            1,
            "did you mean ring_size?",
        ),
        (
            &["ctl", "param", "ring_sizee", "3"],
            1,
            "did you mean ring_size?",
        ),
        (
            &["gen", "-i", "ale0:server", "-f", "tx"],
            1,
            "did you mean vale0:server?",
        ),
        (
            &["gen", "-i", "vale0:serve/r", "-f", "rx"],
            1,
            "did you mean vale0:server?",
        ),
        (
            &["gen", "-i", "vale0:a", "-f", "pingg"],
            2,
            "a similar value exists: 'ping'",
        ),
        (&["gen", "-i", "vale0:a", "--idel", "3"], 2, "--idle"),
        (&["prots"], 2, "ports"),
    ] {
        let said = uvale(&world, args);
        assert_eq!(said.code, Some(status), "{args:?}: {}", said.err);
        assert!(said.err.contains(says), "{args:?}: {}", said.err);
    }
    // a refusal for another reason is no typing error
    let flag = uvale(&world, &["gen", "-i", "vale0:serve/q", "-f", "tx"]);
    assert_eq!(flag.code, Some(1), "{}", flag.err);
    assert!(!flag.err.contains("did you mean"), "{}", flag.err);
    let ring = uvale(&world, &["gen", "-i", "vale0:server-7", "-f", "rx"]);
    assert!(!ring.err.contains("did you mean"), "{}", ring.err);
    assert!(
        ring.err.contains("no ring 7"),
        "with the daemon's reason: {}",
        ring.err
    );
}

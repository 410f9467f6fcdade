//! `uvale stats`: a baseline to count from, and packets that go round.

use compat_tests::{apps, or_skip, target};

use super::*;

fn send(world: &World, port: &str, count: u64) {
    world
        .generator(&["-i", port, "-f", "tx", "-n", &count.to_string()])
        .wait_success();
}

#[test]
fn counters_count_from_a_baseline() {
    let world = World::new();
    let _held = hold(&world, "vale0:b");
    let file = world.file("before.json");
    let file = file.to_str().expect("a plain name");
    let row = |options: &[&str]| {
        let text = uvale(
            &world,
            &[&["stats", "--since", file, "vale0:b"], options].concat(),
        )
        .ok();
        let line = text.lines().find(|line| line.starts_with("vale0:b"));
        line.map(|line| {
            line.split_whitespace()
                .map(String::from)
                .collect::<Vec<_>>()
        })
        .unwrap_or_else(|| panic!("no line for vale0:b in {text}"))
    };
    send(&world, "vale0:a", 700);
    assert_eq!(uvale(&world, &["stats", "--save", file]).ok(), "");
    assert_eq!(row(&[])[1..], ["0", "0", "0", "0", "0"]);
    send(&world, "vale0:a", 500);
    // the ring had room for 323 more
    assert_eq!(
        row(&[])[1..],
        ["0", "0", "323", "19380", "177", "receiver", "full", "177"]
    );
    let since = json(&world, &["stats", "--since", file, "vale0:b"]);
    let rx = &since["ports"][0]["rx"]["total"];
    assert_eq!(rx["packets"], 323, "{rx}");
    assert_eq!(rx["reasons"]["full"], 177, "{rx}");
    assert!(since["seconds"].as_f64() > Some(0.0));
    // the totals are what they were
    let total = uvale(&world, &["stats", "vale0:b"]).ok();
    assert_eq!(rows(&total)[1][3], "1023", "{total}");
}

#[test]
fn a_port_that_was_opened_anew_counts_in_full() {
    let world = World::new();
    let first = hold(&world, "vale0:b");
    send(&world, "vale0:a", 10);
    let file = world.file("before.json");
    let file = file.to_str().expect("a plain name");
    uvale(&world, &["stats", "--save", file]).ok();
    drop(first);
    uvale(&world, &["wait", "--gone", "vale0:b"]).ok();
    let _second = hold(&world, "vale0:b");
    send(&world, "vale0:a", 30);
    let since = json(&world, &["stats", "--since", file, "vale0:b"]);
    assert_eq!(since["ports"][0]["rx"]["total"]["packets"], 30, "{since}");
}

#[test]
fn baselines_that_do_not_read_are_said() {
    let world = World::new();
    let _held = hold(&world, "vale0:b");
    let file = world.file("nonsense");
    std::fs::write(&file, "[]").expect("the folder can be written");
    let file = file.to_str().expect("a plain name");
    uvale(&world, &["stats", "--since", file])
        .failed("`uvale stats --save FILE` makes such a file");
    let nowhere = world.file("nowhere/file");
    let nowhere = nowhere.to_str().expect("a plain name");
    for option in ["--since", "--save"] {
        uvale(&world, &["stats", option, nowhere]).failed("No such file or directory");
    }
    uvale(&world, &["stats", "vale0:bb"]).failed("did you mean vale0:b?");
}

#[test]
fn packets_that_go_round_are_said() {
    let source = target::workspace().join("compat-tests/programs/cli/bridge.c");
    let bridge = or_skip!("a bridge", apps::compile_c(&source, "bridge", &[]));
    let world = World::new();
    let loops = world.spawn(&bridge, &["vale0:x", "vale0:y"]);
    loops.wait_text("bridging");
    let sound = world.spawn(&bridge, &["vale1:x", "vale2:y"]);
    sound.wait_text("bridging");
    assert!(!uvale(&world, &["stats"]).ok().contains("go round"));
    send(&world, "vale0:in", 1);
    send(&world, "vale1:in", 1);
    let says = "vale0: packets seem to go round: bridge";
    wait_for("plain stats say it", || {
        uvale(&world, &["stats"]).ok().contains(says)
    });
    let watch = Program::start("watch", world.uvale(&["stats", "--watch", "0.2"]));
    watch.wait_text(says);
    let json = Program::start("watch", world.uvale(&["stats", "--watch", "0.2", "--json"]));
    let line = json.wait_line("an object", |line| line.contains(says));
    let value: Value = serde_json::from_str(&line).expect("an object a line");
    assert_eq!(
        value["going_round"].as_array().map(Vec::len),
        Some(1),
        "{line}"
    );
}

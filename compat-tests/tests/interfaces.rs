//! Persistent ports are network interfaces to the programs of their world: `programs/interfaces/interfaces.c`.

use std::path::Path;

use compat_tests::place::Place;
use compat_tests::{Skip, apps, or_skip};

fn program() -> Result<apps::App, Skip> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/interfaces/interfaces.c");
    apps::compile_c(
        &source,
        "interfaces",
        &["-Wall", "-Wextra", "-Werror", "-pthread"],
    )
}

/// One of the program's cases, in a world of its own.
fn case(name: &str) {
    let app = or_skip!("interfaces", program());
    let place = Place::new();
    assert_eq!(place.run(&app.path, &[name]), format!("ok {name}\n"));
    place.assert_nothing_left();
}

macro_rules! cases {
    ($($name:ident)+) => { $(
        #[test]
        fn $name() {
            case(stringify!($name));
        }
    )+ };
}

cases! { made_and_deleted of_a_pipe unchanged many threads forks }

/// A program that never opens the device finds them, and what it sets is there for others; so does one that looks
/// before it opens the device, as programs do that decide by it which end of a pipe is theirs.
#[test]
fn who_never_opens_the_device_sees_them() {
    let app = or_skip!("interfaces", program());
    let place = Place::new();
    place.run(&app.path, &["none", "vif0"]);
    let mut holder = place.spawn_ready(&app.path, &["held"]);
    assert_eq!(place.run(&app.path, &["look", "vif0"]), "1002\n");
    place.run(&app.path, &["up", "vif0"]);
    assert_eq!(place.run(&app.path, &["look", "vif0"]), "1143\n");
    holder.wait();
    // It is persistent.
    assert_eq!(place.run(&app.path, &["look", "vif0"]), "1143\n");
    assert_eq!(place.status().descriptors, 0);
}

/// Looking starts no daemon.
#[test]
fn looking_starts_nothing() {
    let app = or_skip!("interfaces", program());
    let place = Place::empty();
    place.run(&app.path, &["none", "vif0"]);
    let left: Vec<_> = std::fs::read_dir(place.dir())
        .expect("the directory can be read")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

//! The examples of nm-user in a guest: on its device, and each over a switch as its test file says.

use std::fs::read_to_string;

use compat_tests::guest::archive::Archive;
use compat_tests::guest::kit::Kit;
use compat_tests::place::Place;
use compat_tests::{Skip, or_skip, target};

use super::{Ends, each, files};
use crate::ptnet_guests::end;

/// The examples that have a test file; all are there once the example `bridge` is built.
const NAMES: [&str; 8] = [
    "balancer", "bridge", "dns", "firewall", "ids", "limiter", "nat", "tcp_echo",
];
/// Where the guest has them, as the test files name them from the root of the workspace.
const FOLDER: &str = "root/target/debug/examples";

/// What the programs of a guest need, the examples and their test files.
fn all_files(place: &Place) -> Result<Archive, Skip> {
    let built = target::profile_dir().join("examples");
    if let Some(missing) = NAMES.iter().find(|name| !built.join(name).is_file()) {
        return Err(Skip::required(format!(
            "no {missing} in {}: cargo build --examples -p nm-user",
            built.display()
        )));
    }
    let programs = NAMES.map(|name| (format!("{FOLDER}/{name}"), built.join(name)));
    let programs: Vec<_> = programs
        .iter()
        .map(|(name, path)| (name.as_str(), path.as_path()))
        .collect();
    let mut all = files(place, &programs)?;
    for name in NAMES {
        let path = target::workspace().join(format!("nm-abi/user/examples/{name}.toml"));
        let text = read_to_string(&path).expect("a test file");
        // There is no cargo in the guest, and no `ip` that knows namespaces.
        let own = text.split("\n[ports.host]").next().unwrap_or_default();
        let own: String = own
            .lines()
            .filter(|line| !line.starts_with("prepare = "))
            .map(|line| match line.starts_with("dir = ") {
                true => "dir = '/root'\n".to_owned(),
                false => format!("{line}\n"),
            })
            .collect();
        all.file(&format!("root/{name}.toml"), 0o644, own.as_bytes());
    }
    Ok(all)
}

#[test]
fn examples_run_in_a_guest() {
    let kit = or_skip!("guest", Kit::new(&[]));
    let place = Place::new();
    let files = or_skip!("guest with the examples", all_files(&place));
    let (mut ends, server) = Ends::boot(&kit, place, files);

    // between the host and a switch of the guest
    ends.guest.run("uvale nic add ptnet0 --ptnet 0");
    let bridge = format!("uvale run -- /{FOLDER}/bridge netmap:ptnet0 vale0:out");
    let job = ends.guest.begin(&format!("exec {bridge}"));
    ends.guest.run("uvale wait vale0:out");
    ends.out("uvale run -- traffic", "vale0:x", "n=500 how=poll");
    ends.back("uvale run -- traffic", "vale0:x", "n=500 how=poll");
    ends.guest
        .run(&each(&format!("/{FOLDER}/bridge"), "kill -TERM $pid"));
    let (status, said) = ends.guest.finish(job);
    assert!(status == 0 || status == 143, "{status}: {said}");

    for name in NAMES {
        let first = format!("uvale test --list /root/{name}.toml --set kind=switch | head -n 1");
        let first = ends.guest.run(&first);
        let first = first.trim_end();
        let (status, said) = ends.guest.try_run(&format!(
            "cd /tmp && NO_COLOR=1 uvale test /root/{name}.toml --set kind=switch --only '{first}'"
        ));
        assert_eq!(status, 0, "{said}");
        assert!(said.contains("1 passed"), "{said}");
        println!("{}", said.lines().next().unwrap_or_default());
    }
    ends.guest.run("uvale stop");
    let Ends { place, guest } = ends;
    end(guest, vec![server]);
    place.assert_left_clean();
}

//! `uvale ctl` against the answers of kernel netmap.

use std::process::Command;

use compat_tests::target;
use compat_tests::world::World;
use serde_json::Value;

use super::{Said, hold, json, port, rows, uvale};

/// The end of a cycle as kernel netmap has it: attached ports cannot be removed, detached ones are
/// not found, names are free when the port is gone.
#[test]
fn ctl_goes_the_kernels_way() {
    let world = World::new();
    let ctl = |args: &[&str]| uvale(&world, &[&["ctl"], args].concat());
    let said = ctl(&["-n", "v0", "-C", "512,256,2", "-v"]).ok();
    assert!(
        said.starts_with(
            "tx_slots:   512\nrx_slots:   256\ntx_rings:   2\nrx_rings:   2\nmem_id:  "
        ),
        "{said}"
    );
    ctl(&["-n", "v0"]).failed("failed to create v0: File exists (EEXIST)");
    let info = ctl(&["-g", "v0"]).ok();
    let info = rows(&info);
    assert_eq!(
        info[1..5].concat(),
        [
            "tx_slots:",
            "512",
            "rx_slots:",
            "256",
            "tx_rings:",
            "2",
            "rx_rings:",
            "2"
        ]
    );

    assert_eq!(ctl(&["-a", "vale2:v0", "-v"]).ok(), "port_index: 0\n");
    let busy =
        ctl(&["-a", "vale2:v0"]).failed("failed to attach vale2:v0: Device or resource busy");
    assert!(
        busy.contains("nmshim: VALE_ATTACH vale2:v0"),
        "with the reason: {busy}"
    );
    ctl(&["-r", "v0"]).failed("failed to remove v0: Device or resource busy (EBUSY)");
    assert_eq!(ctl(&[]).ok(), "vale2:v0 bridge_idx 0 port_idx 0\n");
    assert_eq!(
        ctl(&["-l", "vale2:v0"]).ok(),
        "bridge_idx: 0\nport_idx:   0\n"
    );
    ctl(&["-l", "v0"]).failed("invalid vale port name: 'v0'");
    ctl(&["-l", "vale9:v0"]).failed("(ENOENT)");
    assert_eq!(json(&world, &["ports"])[0]["kind"], "persistent");

    assert_eq!(ctl(&["-d", "vale2:v0", "-v"]).ok(), "port_index: 0\n");
    ctl(&["-d", "vale2:v0"]).failed("failed to detach vale2:v0: No such device or address (ENXIO)");
    assert_eq!(ctl(&["-a", "vale2:v0"]).ok(), "");
    // on a second switch it joins the two, and there is no third
    assert_eq!(ctl(&["-a", "vale1:v0"]).ok(), "");
    ctl(&["-a", "vale3:v0"]).failed("(EBUSY)");
    assert_eq!(ctl(&["-d", "vale1:v0"]).ok(), "");
    assert_eq!(ctl(&["-d", "vale2:v0"]).ok(), "");
    assert_eq!(ctl(&[]).ok(), "");
    assert_eq!(ctl(&["-r", "v0"]).ok(), "");
    ctl(&["-r", "v0"]).failed("failed to remove v0: No such device or address (ENXIO)");
    assert_eq!(uvale(&world, &["ports"]).ok(), "no port is open\n");
}

#[test]
fn ctl_refuses_what_the_kernel_refuses() {
    let world = World::new();
    let ctl = |args: &[&str]| uvale(&world, &[&["ctl"], args].concat());
    ctl(&["-a", "vale0:nope"]).failed("(EINVAL)");
    ctl(&["-d", "vale0:nope"]).failed("(ENXIO)");
    ctl(&["-d", "nope"]).failed("(EINVAL)");
    let _held = hold(&world, "vale0:a");
    ctl(&["-a", "vale0:a"]).failed("(EBUSY)");
    ctl(&["-d", "vale0:a"]).failed("(EBUSY)");
    // only NICs are polled
    ctl(&["-p", "vale0:a", "-C", "0,0"]).failed("failed to enable polling on vale0:a");
    ctl(&["-P", "vale0:a"]).failed("failed to disable polling on vale0:a");
    // and what makes no sense does not get that far
    ctl(&["-p", "vale0:a"]).failed("-p needs -C");
    ctl(&["-n", "v0", "-C", "many"]).failed("'many' is no number");
    ctl(&["-n", "v0", "-m", "x"]).failed("-m x");
    ctl(&["-C", "1"]).failed("-C and -m go with");
    ctl(&["-r", &"x".repeat(64)]).failed("at most 63 bytes");
    assert_eq!(ctl(&[]).ok(), "vale0:a bridge_idx 0 port_idx 0\n");
}

#[test]
fn ctl_makes_ports_that_share_memory() {
    let world = World::new();
    let _held = hold(&world, "vale0:a");
    let mem_id = |name: &str| port(&json(&world, &["ports"]), name)["mem_id"].clone();
    let ctl = |args: &[&str]| uvale(&world, &[&["ctl"], args].concat()).ok();
    ctl(&["-n", "v0", "-m", "1"]);
    ctl(&["-n", "v1", "-m", "vale0:a"]);
    ctl(&["-n", "v2"]);
    assert_eq!(mem_id("v0"), 1);
    assert_eq!(mem_id("v1"), mem_id("vale0:a"));
    assert_ne!(mem_id("v2"), mem_id("vale0:a"));
    assert_ne!(mem_id("v2"), 1);
}

#[test]
fn ctl_takes_a_directory() {
    let world = World::new();
    let ctl = |args: &[&str]| {
        let mut command = Command::new(&target::binaries().uvale);
        command
            .arg("ctl")
            .args(args)
            .arg("--dir")
            .arg(world.runtime_dir());
        command.env_remove("UVALE_DIR").env("UVALE_AUTOSTART", "0");
        Said::of(command)
    };
    ctl(&["-n", "v0"]).ok();
    assert_eq!(json(&world, &["ports"])[0]["name"], "v0");
    ctl(&["-r", "v0"]).ok();
    assert_eq!(json(&world, &["ports"]), Value::Array(Vec::new()));
}

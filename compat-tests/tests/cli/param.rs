//! `uvale ctl param`.

use compat_tests::world::World;
use serde_json::Value;

use super::{hold, json, rows, uvale};

#[test]
fn parameters_are_listed_shown_and_written() {
    let world = World::new();
    let param = |args: &[&str]| uvale(&world, &[&["ctl", "param"], args].concat());

    let text = param(&[]).ok();
    let table = rows(&text);
    assert_eq!(table[0][..3], ["NAME", "VALUE", "DEFAULT"]);
    let row = |name: &str| {
        let found = table.iter().find(|row| row[0] == name);
        found.unwrap_or_else(|| panic!("no {name} in {text}"))[1..5].to_vec()
    };
    assert_eq!(row("buf_size"), ["2048", "2048", "yes", "yes"]);
    assert_eq!(row("max_bridges"), ["8", "8", "no", "yes"]);
    assert_eq!(row("admode"), ["0", "0", "yes", "stored"]);
    assert_eq!(row("buf_curr_num"), ["0", "0", "no", "shown"]);
    assert_eq!(table.len(), 36);

    assert_eq!(param(&["buf_size", "0x1000"]).ok(), "");
    assert_eq!(param(&["buf_size"]).ok(), "4096\n");
    assert_eq!(param(&["verbose", "-1"]).ok(), "");
    assert_eq!(param(&["verbose"]).ok(), "-1\n");
    let all = json(&world, &["ctl", "param"]);
    let all = all.as_array().expect("a list");
    assert_eq!(all.len(), 35);
    let one = json(&world, &["ctl", "param", "buf_size"]);
    assert!(all.contains(&one));
    assert_eq!(
        (&one["value"], &one["default"], &one["writable"]),
        (
            &Value::from("4096"),
            &Value::from("2048"),
            &Value::from(true)
        )
    );

    param(&["nonsense"]).failed("there is no parameter nonsense");
    param(&["nonsense", "1"]).failed("there is no parameter nonsense");
    param(&["verbose", "loud"]).failed("verbose takes a number");
    param(&["max_bridges", "9"]).failed("configuration file");
    param(&["ring_curr_num", "9"]).failed("ring_curr_num cannot be written");
    uvale(&world, &["ctl", "-v", "param"]).failed("param does not go with other options");
    let warned = param(&["ring_num", "1"]);
    assert!(
        warned.err.contains("set ring_num to 2 to 1024"),
        "{}",
        warned.err
    );
    warned.ok();
    assert_eq!(param(&["ring_num"]).ok(), "1\n");
}

/// A port in use keeps its memory as it is; the next one has the new size.
#[test]
fn a_size_changes_for_ports_that_come_later() {
    let world = World::new();
    let size = |port: &str| {
        let ports = json(&world, &["ports"]);
        let mem_id = &super::port(&ports, port)["mem_id"];
        let status = json(&world, &["status"]);
        let memories = status["memories"].as_array().expect("memories");
        let memory = memories.iter().find(|m| m["mem_id"] == *mem_id);
        memory.expect("the port's memory")["total"][2].clone()
    };
    let _a = hold(&world, "vale0:a");
    let before = size("vale0:a");
    uvale(&world, &["ctl", "param", "priv_buf_num", "50000"]).ok();
    assert_eq!(size("vale0:a"), before);
    let _b = hold(&world, "vale0:b");
    assert_eq!(size("vale0:b"), 50000);
}

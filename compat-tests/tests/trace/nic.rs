//! NIC ports: the wire, the other end of a veth pair, and what is lost.

use compat_tests::namespaces::{Ground, VETH};
use compat_tests::place::Place;
use compat_tests::{or_skip, target};
use serde_json::Value;

use super::{records, trace};

fn events<'a>(records: &'a [Value], direction: &str) -> Vec<&'a Value> {
    let those = records.iter().filter(|r| r["direction"] == direction);
    those
        .flat_map(|r| r["events"].as_array().expect("events"))
        .collect()
}

#[test]
fn wires_and_their_ends() {
    let ground = or_skip!("a trace of interfaces", Ground::new());
    let place = Place::new();
    let uvale = &target::binaries().uvale;
    let port = format!("netmap:{VETH}");
    // What would be bypassed keeps the ends apart; without it they are joined.
    for is_apart in [true, false] {
        let how = if is_apart { "add" } else { "del" };
        ground
            .shell(0, &format!("tc qdisc {how} dev {VETH} root pfifo"))
            .assert_code(0);
        let receiver = ground.spawn(
            1,
            &place,
            uvale,
            &[],
            &["gen", "-i", &port, "-f", "rx", "-n", "3"],
        );
        compat_tests::wait::wait_for("the receiver", || place.port(VETH).is_some());
        let count = if is_apart { "6" } else { "3" };
        // Both have the same name: the trace is of both.
        let trace = trace(&place, &[VETH, "--json", "-c", count, "ip.src == 10.0.0.1"]);
        let args = ["gen", "-i", &port, "-f", "tx", "-n", "3", "-w", "0"];
        let sender = ground.spawn(0, &place, uvale, &[], &args);
        let records = records(trace, 0);
        receiver.wait_success();
        sender.wait_success();
        let sent = events(&records, "tx");
        match is_apart {
            true => {
                assert_eq!(
                    sent.iter()
                        .filter(|e| e["event"] == "sent" && e["to"] == "wire")
                        .count(),
                    3
                );
                let arrived = events(&records, "rx");
                let from_wire = |e: &&&Value| e["event"] == "arrived" && e["from"] == "wire";
                assert_eq!(arrived.iter().filter(from_wire).count(), 3, "{records:?}");
            }
            false => {
                let passed = sent
                    .iter()
                    .filter(|e| e["event"] == "passed" && e["port"] == VETH);
                let slots: Vec<u64> = passed.filter_map(|e| e["slot"].as_u64()).collect();
                assert_eq!(slots, [0, 1, 2], "{records:?}");
            }
        }
    }
}

#[test]
fn a_link_that_is_down_is_the_reason() {
    let ground = or_skip!("a trace of a link that is down", Ground::new());
    let place = Place::new();
    let uvale = &target::binaries().uvale;
    let port = format!("netmap:{VETH}");
    let sender = ground.spawn(
        0,
        &place,
        uvale,
        &[],
        &["gen", "-i", &port, "-f", "tx", "-w", "0", "-R", "100"],
    );
    compat_tests::wait::wait_for("the sender", || place.port(VETH).is_some());
    let trace = trace(&place, &[VETH, "--json", "--dropped", "-c", "2"]);
    ground
        .shell(0, &format!("ip link set {VETH} down"))
        .assert_code(0);
    let records = records(trace, 0);
    drop(sender);
    let dropped = &records[1]["events"][0];
    assert_eq!(
        (&dropped["reason"], &dropped["counter"]),
        (&"link_down".into(), &"no_receiver".into())
    );
}

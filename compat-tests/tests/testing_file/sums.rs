//! Checksums of what comes: a wrong one fails a step that does not name it.

use super::*;

#[test]
fn a_wrong_checksum_is_no_expected_frame_unless_it_is_named() {
    let folder = Folder::new();
    let case = |name: &str, frame: &str, expect: &str| {
        format!(
            "[[cases]]\nname = \"{name}\"\n\
             steps = [{{ send = \"lan\", frame = {{ {frame} }} }}, {{ expect = \"wan\", {expect} }}]\n"
        )
    };
    let udp = "udp.dstport = 9, udp.checksum = 5";
    let text = [
        format!("timeout = \"300s\"\nquiet = \"10ms\"\n{JOINED}"),
        case("filter", udp, "filter = \"udp\""),
        case("fields", udp, "fields = { udp.dstport = 9 }"),
        case(
            "of ip",
            "ip.checksum = 5, icmp.type = 8",
            "filter = \"icmp.checksum\"",
        ),
        case("of tcp", "tcp.checksum = 5", "filter = \"tcp\""),
        case("good", "udp.dstport = 9", "filter = \"udp\""),
        case("any frame", udp, "count = 1"),
        case("none", "udp.checksum = 0", "filter = \"udp\""),
        case("asked", udp, "filter = 'udp.checksum.status == \"Bad\"'"),
        case(
            "named",
            udp,
            "filter = \"udp\", fields = { udp.checksum = 5 }",
        ),
        case(
            "state",
            udp,
            "filter = \"udp\", fields = { udp.checksum.status = \"Good\" }",
        ),
    ]
    .concat();
    folder.write("f.toml", text);
    let said = folder.test(&["f.toml"]).assert_code(1);
    for name in ["filter", "fields", "of ip", "of tcp", "state"] {
        assert!(
            said.out.contains(&format!("FAILED  f/{name}  ")),
            "{name}: {}",
            said.out
        );
    }
    for part in [
        "5 passed, 5 failed in ",
        "udp.checksum is wrong: its contents make 0x",
        "ip.checksum is wrong: its contents make 0x",
        "tcp.checksum is wrong: its contents make 0x",
        "udp.checksum.status: expected 1 (Good), got 0 (Bad)",
    ] {
        assert!(said.out.contains(part), "no {part:?} in: {}", said.out);
    }
}

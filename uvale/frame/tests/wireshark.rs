//! Names of fields, their values and what filters mean are Wireshark's: tshark says so, where it is installed.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::json;
use uvale_frame::table::{Field, fields};
use uvale_frame::{Filter, build, get};

/// One frame of each kind, with values that tell fields from each other.
fn frames() -> Vec<Vec<u8>> {
    let mut frames: Vec<_> = [
        json!({"eth": {"src": "02:00:00:00:00:0a", "type": 0x88b5}, "data": "a text"}),
        json!({"arp": {"src.proto_ipv4": "10.1.2.3", "dst.proto_ipv4": "10.1.2.4"}}),
        json!({"arp": {"opcode": "reply", "dst.hw_mac": "02:00:00:00:00:0b"}, "vlan": {"id": 77, "priority": 5}}),
        json!({
            "ip": {"ttl": 3, "id": 0x1234, "flags.df": true, "dsfield": 0xb9},
            "udp": {"srcport": 3000, "dstport": 3001}, "data": "hello"
        }),
        json!({"vlan": {"id": [100, 200], "dei": 1}, "udp.dstport": 3002, "data.len": 100}),
        json!({"ip": {"frag_offset": 5, "flags.mf": 1, "proto": "udp"}, "data": "fragment"}),
        json!({"tcp": {
            "srcport": 4000, "dstport": 4001, "seq": 1000, "ack": 2000, "flags": "SYN,ACK", "options": "020405b4"
        }}),
        json!({"tcp": {"srcport": 4002, "flags": "FPUEC", "window_size": 77}, "ipv6": {"src": "fd00::7", "hlim": 9}}),
        json!({"icmp": {"ident": 5, "seq": 6}, "data": "ping"}),
        json!({"icmp": {"type": 3, "code": 4, "mtu": 1400}}),
        json!({"icmp": {"type": 5, "code": 1, "redir_gw": "10.9.9.9"}}),
        json!({"icmpv6": {"echo.identifier": 7, "echo.sequence_number": 8}, "data": "six"}),
        json!({"icmpv6": {"type": 135, "nd.ns.target_address": "fe80::1"}}),
        json!({"icmpv6": {"type": 136, "nd.na.target_address": "fe80::2"}}),
        json!({"icmpv6": {"type": 2, "mtu": 1280}}),
        json!({"dns": {"id": 9, "qry.name": "www.example.com"}}),
        json!({"dns": {"id": 10, "qry.name": "b.example", "a": ["10.0.0.1", "10.0.0.2"], "resp.ttl": 30}}),
        json!({
            "ipv6": {"tclass": 0x1c, "flow": 0x12345},
            "dns": {"qry.name": "c.example", "aaaa": "fd00::1", "flags.rcode": 3}
        }),
        json!({"ip": {"proto": 99, "options": "94040000"}, "data": "of no protocol", "frame.len": 80}),
    ]
    .iter()
    .map(|fields| build(fields.as_object().unwrap()).unwrap())
    .collect();
    // checksums of every kind: wrong ones, none, of packets that are cut short
    for fields in [
        json!({"udp": {"checksum": 0x1234}, "ip.checksum": 0x4321, "data": "wrong"}),
        json!({"udp.checksum": 0, "data": "none"}),
        json!({"udp.checksum": 0, "ipv6.src": "fd00::7", "data": "illegal"}),
        json!({"udp.dstport": 3003, "ip.len": 200, "data": "cut"}),
        json!({"udp.length": 200, "data": "cut"}),
        json!({"tcp.checksum": 1}),
        json!({"tcp.checksum": 1, "ipv6.src": "fd00::7"}),
        json!({"icmp.checksum": 1}),
        json!({"icmpv6.checksum": 1}),
    ] {
        frames.push(build(fields.as_object().unwrap()).unwrap());
    }
    // 802.3: a length in place of the type
    let mut old = vec![0x02; 14];
    old[12..].copy_from_slice(&[0, 3]);
    old.extend([0xaa, 0xaa, 0x03]);
    frames.push(old);
    frames
}

/// A capture with these frames, in the form of libpcap.
fn capture(name: &str) -> PathBuf {
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        bytes.extend(word.to_le_bytes());
    }
    for (second, frame) in frames().iter().enumerate() {
        let len = frame.len() as u32;
        for word in [second as u32 + 1, 0, len, len] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(frame);
    }
    let file = std::env::temp_dir().join(format!("uvale-frame-{name}-{}.pcap", std::process::id()));
    std::fs::write(&file, bytes).unwrap();
    file
}

/// What tshark says about it; `None` if there is no tshark.
fn tshark(file: &PathBuf, arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new("tshark");
    // as it is sent, not from the first one seen
    command.args(["-o", "tcp.relative_sequence_numbers:FALSE"]);
    for proto in ["ip", "udp", "tcp"] {
        command.args(["-o".to_owned(), format!("{proto}.check_checksum:TRUE")]);
    }
    command.args(["-n", "-r"]);
    command.arg(file).args(arguments);
    match command.output() {
        Ok(output) => Some(output),
        Err(why) => {
            println!("skipped: tshark: {why}");
            None
        }
    }
}

/// Fields whose names are ours alone.
const OURS: [&str; 3] = ["data", "data.hex", "ip.options"];

/// IPv6 has this name of IPv4, too, in Wireshark; and what follows a length in place of a type has layers that we
/// call data.
fn is_named_otherwise(name: &str, frame: &[u8]) -> bool {
    let is_v6 = get(frame, "ipv6.version").is_some();
    is_v6 && name == "ip.version" || get(frame, "eth.len").is_some() && name.starts_with("data.")
}

#[test]
fn fields_are_wiresharks() {
    let file = capture("fields");
    let fields: Vec<&Field> = fields()
        .filter(|field| !OURS.contains(&field.name))
        .collect();
    let mut arguments = vec!["-T", "fields", "-E", "separator=|", "-E", "occurrence=a"];
    arguments.extend(fields.iter().flat_map(|field| ["-e", field.name]));
    let output = tshark(&file, &arguments);
    std::fs::remove_file(&file).unwrap();
    let Some(output) = output else { return };
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut wrong = Vec::new();
    let mut seen = vec![false; fields.len()];
    for (number, (line, frame)) in text.lines().zip(frames()).enumerate() {
        for (index, (field, said)) in fields.iter().zip(line.split('|')).enumerate() {
            let ours = get(&frame, field.name).unwrap_or_default();
            // of several values we say the first
            let theirs = said.split(',').next().unwrap_or_default();
            seen[index] |= !theirs.is_empty() && !ours.is_empty();
            let value = |text: &str| field.kind.parse(text).ok();
            if is_named_otherwise(field.name, &frame) {
                continue;
            }
            if ours != theirs && value(&ours) != value(theirs) {
                wrong.push(format!(
                    "frame {}: {}: {ours}, tshark: {said}",
                    number + 1,
                    field.name
                ));
            }
        }
    }
    for (field, seen) in fields.iter().zip(seen) {
        if !seen {
            wrong.push(format!("no frame shows {}", field.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn filters_are_wiresharks() {
    const FILTERS: [&str; 36] = [
        "data && !eth.len",
        "ip.ttl != 64",
        "!(ip.ttl == 64)",
        "ip.ttl ~= 64",
        "ip.ttl < 64 and ip.ttl >= 3",
        "ip.addr != 10.0.0.1",
        "ip.src in {10.0.0.1, 10.0.0.7}",
        "ip.src == ip.dst",
        "udp.port == 3001 or tcp.port == 4001",
        "udp.port == 53 && dns || arp",
        "arp || udp.port == 53 && !dns",
        "udp.dstport in {53, 3000..3001}",
        "tcp.flags.syn == 1 && tcp.flags.ack == 1",
        "tcp.flags & 0x02",
        "tcp.seq == 1000",
        "eth.src == 02:00:00:00:00:0a",
        "eth.src[0:3] == 02:00:00",
        "eth.addr contains 00:0a",
        "eth.type == 0x88b5",
        "vlan.id == 200",
        "frame.len == 80 || frame contains \"ping\"",
        "udp contains 68:65:6c",
        "data contains \"ell\"",
        "data.len > 10",
        "data.data == 68:65:6c:6c:6f",
        "dns.qry.name == \"www.example.com\"",
        "dns.qry.name contains \"example\"",
        "dns.a == 10.0.0.2",
        "dns.aaaa == fd00::/16",
        "ipv6.addr == fd00::7",
        "icmp.type == 8 || icmpv6.type in {135 .. 136}",
        "ip.flags.df",
        "ip.checksum.status == \"Bad\"",
        "udp.checksum.status != \"Good\"",
        "tcp.checksum.status == 0 || icmp.checksum.status == \"Bad\" || icmpv6.checksum.status == 0",
        "not ip and not ipv6 and not (arp or frame.len lt 20)",
    ];
    let file = capture("filters");
    let frames = frames();
    let mut wrong = Vec::new();
    for text in FILTERS {
        let arguments = ["-Y", text, "-T", "fields", "-e", "frame.number"];
        let Some(output) = tshark(&file, &arguments) else {
            break;
        };
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}: {error}");
        let theirs = String::from_utf8(output.stdout).unwrap();
        let theirs: Vec<_> = theirs.lines().collect();
        let filter: Filter = text.parse().unwrap();
        let passing = frames
            .iter()
            .enumerate()
            .filter(|(_, frame)| filter.matches(frame));
        let ours: Vec<_> = passing.map(|(index, _)| (index + 1).to_string()).collect();
        if ours != theirs {
            wrong.push(format!("{text}: {ours:?}, tshark: {theirs:?}"));
        }
    }
    std::fs::remove_file(&file).unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

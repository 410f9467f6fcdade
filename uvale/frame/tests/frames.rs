//! Frames are made, read, changed and compared.

use serde_json::json;
use uvale_frame::{
    Expected, Fields, Filter, build, change, check, from_hex, get, has, layers, misfits, summary,
    wrong_checksum,
};

fn fields(json: serde_json::Value) -> Fields {
    json.as_object().unwrap().clone()
}

fn made(json: serde_json::Value) -> Vec<u8> {
    build(&fields(json)).unwrap()
}

#[test]
fn a_frame_of_the_contract_is_what_it_says() {
    let given = fields(json!({
        "eth": {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"},
        "ip": {"src": "10.0.0.1", "dst": "10.0.0.2"},
        "udp": {"srcport": 1000, "dstport": 53}, "data": "hello"
    }));
    let frame = build(&given).unwrap();
    assert_eq!(frame.len(), 14 + 20 + 8 + 5);
    assert!(has(&frame, &given));
    assert_eq!(get(&frame, "udp.length").as_deref(), Some("13"));
    let names: Vec<_> = layers(&frame).iter().map(|layer| layer.name).collect();
    assert_eq!(names, ["eth", "ip", "udp", "data"]);
    let said = summary(&frame);
    assert!(
        said.ends_with("10.0.0.1:1000 > 10.0.0.2:53 UDP, 5 bytes of data"),
        "{said}"
    );

    let expected = change(&frame, &fields(json!({"ip.ttl": 63}))).unwrap();
    let got = made(json!({
        "ip": {"src": "10.0.0.1", "dst": "10.0.0.2", "ttl": 63},
        "udp": {"srcport": 1000, "dstport": 53}, "data": "hello"
    }));
    assert!(expected.matches(&got), "{}", expected.difference(&got));
    assert_eq!(expected.difference(&frame), "ip.ttl: expected 63, got 64");
}

#[test]
fn dns_is_made_and_read() {
    let frame = made(
        json!({"dns": {"id": 7, "qry.name": "www.example.com", "a": ["10.0.0.1", "10.0.0.2"]}}),
    );
    for (name, value) in [
        ("dns.id", "0x0007"),
        ("dns.qry.name", "www.example.com"),
        ("dns.count.answers", "2"),
        ("dns.flags.response", "1"),
        ("dns.a", "10.0.0.1"),
        ("udp.srcport", "53"),
    ] {
        assert_eq!(get(&frame, name).as_deref(), Some(value), "{name}");
    }
    assert!(has(
        &frame,
        &fields(json!({"dns.a": ["10.0.0.1", "10.0.0.2"]}))
    ));
    assert!(!has(
        &frame,
        &fields(json!({"dns.a": ["10.0.0.2", "10.0.0.1"]}))
    ));
    assert!(has(&frame, &fields(json!({"dns.a": "10.0.0.2"}))));
    let renamed = change(&frame, &fields(json!({"dns.qry.name": "a.example"}))).unwrap();
    let said = renamed.difference(&frame);
    assert!(
        said.contains("dns.qry.name: expected a.example, got www.example.com"),
        "{said}"
    );
}

#[test]
fn what_is_wrong_is_said() {
    for (given, sentence) in [
        (
            json!({"ip.tttl": 3}),
            "ip.tttl: there is no such field; did you mean ip.ttl?",
        ),
        (json!({"ip.ttl": 300}), "ip.ttl: takes 0 to 255, not 300"),
        (
            json!({"ip.src": "10.0.0"}),
            "ip.src: takes an IPv4 address, like 10.0.0.1, not '10.0.0'",
        ),
        (
            json!({"ip": {"ttl": true}}),
            "ip.ttl: takes a number, like 10 or 0x0a, not true",
        ),
        (
            json!({"ip": {"ttl": 3}, "ip.ttl": 3}),
            "ip.ttl: is given twice",
        ),
        (
            json!({"ip": 3}),
            "ip: is a protocol; its fields are ip.NAME",
        ),
        (
            json!({"tcp.flags": "SYM"}),
            "tcp.flags: takes flags, like SYN,ACK or SA or 0x12, not 'SYM'",
        ),
    ] {
        let given = fields(given);
        assert_eq!(check(&given).unwrap_err().to_string(), sentence);
        assert_eq!(build(&given).unwrap_err().to_string(), sentence);
    }
    for (given, sentence) in [
        (
            json!({"ip.ttl": "*"}),
            "ip.ttl: takes a value; * is for frames that are compared",
        ),
        (
            json!({"ip.ttl": 1, "arp.opcode": 1}),
            "ip.ttl: does not go together with arp.opcode",
        ),
        (
            json!({"udp.dstport": 1, "tcp.dstport": 1}),
            "tcp.dstport: does not go together with udp.dstport",
        ),
        (
            json!({"ipv6.hlim": 1, "icmp.type": 1}),
            "icmp.type: does not go together with fields of ipv6",
        ),
        (
            json!({"ip.addr": "1.2.3.4"}),
            "ip.addr: means either of two fields; name ip.src or ip.dst",
        ),
        (
            json!({"data": "hello", "frame.len": 5}),
            "frame.len: this frame takes 19 bytes at least, 65535 at most, not 5",
        ),
        (
            json!({"arp.opcode": 1, "data": "x"}),
            "data: a frame of this kind carries no data",
        ),
    ] {
        assert_eq!(build(&fields(given)).unwrap_err().to_string(), sentence);
    }
    assert!(from_hex("02 00\n5e:01").is_ok_and(|bytes| bytes == [2, 0, 0x5e, 1]));
    for (hex, why) in [
        ("02 0", "two digits"),
        ("xy", "'x' is no hexadecimal digit"),
        (" ", "has no bytes"),
    ] {
        assert!(
            from_hex(hex).unwrap_err().to_string().contains(why),
            "{hex}"
        );
    }
}

#[test]
fn any_value_may_stand_where_any_is_right_but_what_depends_on_it_has_to_agree() {
    let udp = |source: u16, data: &str| {
        made(json!({"udp.srcport": source, "udp.dstport": 9, "data": data}))
    };
    let frame = udp(1000, "hello");
    let expected = change(&frame, &fields(json!({"udp.srcport": "*"}))).unwrap();
    assert!(expected.matches(&udp(40_000, "hello")));
    assert_eq!(
        expected.difference(&udp(40_000, "hallo")).lines().next(),
        Some("data: expected of 5 bytes; they differ from byte 1 on")
    );
    let mut wrong = udp(40_000, "hello");
    wrong[40] ^= 1;
    let said = expected.difference(&wrong);
    assert!(
        said.contains("udp.checksum: expected 0x") && said.contains("which is wrong"),
        "{said}"
    );
    let any_data = change(&frame, &fields(json!({"data": "*"}))).unwrap();
    assert!(any_data.matches(&udp(1000, "a longer text")));
    assert!(!any_data.matches(&udp(1001, "a longer text")));
}

#[test]
fn only_padding_to_the_shortest_frame_is_allowed() {
    let frame = made(json!({"udp.dstport": 9}));
    let expected = Expected::exactly(frame.clone());
    let with = |zeroes: usize| [&frame[..], &vec![0; zeroes]].concat();
    assert!(expected.matches(&frame));
    assert!(expected.matches(&with(60 - frame.len())));
    assert!(!expected.matches(&with(1)));
    assert!(!expected.matches(&with(61 - frame.len())));
    let mut dirty = with(60 - frame.len());
    dirty[59] = 1;
    assert!(!expected.matches(&dirty));
    assert_eq!(
        expected.difference(&dirty),
        "frame.len: expected 42, got 60"
    );
}

#[test]
fn wrong_checksums_are_found_unless_they_are_named() {
    let named = |text: &str| text.parse::<Filter>().unwrap();
    let none = fields(json!({}));
    for (made, status, said) in [
        (json!({"udp.dstport": 7, "data": "x"}), ["udp", "1"], None),
        (
            json!({"udp.checksum": 5}),
            ["udp", "0"],
            Some("udp.checksum is wrong: its contents make 0x"),
        ),
        (json!({"udp.checksum": 0}), ["udp", "3"], None),
        (
            json!({"udp.checksum": 0, "ipv6.hlim": 3}),
            ["udp", "4"],
            Some("udp.checksum is 0"),
        ),
        (
            json!({"tcp.checksum": 5}),
            ["tcp", "0"],
            Some("tcp.checksum is wrong"),
        ),
        (
            json!({"icmp.checksum": 5}),
            ["icmp", "0"],
            Some("icmp.checksum is wrong"),
        ),
        (
            json!({"icmpv6.checksum": 5}),
            ["icmpv6", "0"],
            Some("icmpv6.checksum is wrong"),
        ),
        (
            json!({"ip.checksum": 5}),
            ["ip", "0"],
            Some("ip.checksum is wrong"),
        ),
        (
            json!({"udp.length": 500, "udp.checksum": 5}),
            ["udp", "2"],
            None,
        ),
    ] {
        let [proto, status] = status;
        let frame = build(&fields(made.clone())).unwrap();
        let name = format!("{proto}.checksum.status");
        assert_eq!(get(&frame, &name).as_deref(), Some(status), "{made}");
        let wrong = wrong_checksum(&frame, Some(&named("eth")), &none);
        assert_eq!(wrong.is_some(), said.is_some(), "{made}: {wrong:?}");
        assert!(
            wrong.is_none_or(|wrong| wrong.contains(said.unwrap_or_default())),
            "{made}"
        );
        // who names it, or asks for its state, knows it
        for text in [
            format!("!({proto}.checksum == 0x9999)"),
            format!("{name} == {status}"),
        ] {
            assert_eq!(
                wrong_checksum(&frame, Some(&named(&text)), &none),
                None,
                "{made}: {text}"
            );
        }
        let asked = fields(json!({proto: {"checksum.status": status}}));
        assert!(
            has(&frame, &asked) && wrong_checksum(&frame, None, &asked).is_none(),
            "{made}"
        );
    }
    // the one that is named excuses no other one
    let both = build(&fields(json!({"ip.checksum": 5, "udp.checksum": 5}))).unwrap();
    let wrong = wrong_checksum(&both, Some(&named("ip.checksum == 5")), &none);
    assert!(wrong.unwrap().starts_with("udp.checksum is wrong"));
    let asked = fields(json!({"udp.checksum.status": "Good", "ip.ttl": 64, "tcp.seq": 1}));
    assert_eq!(
        misfits(&both, &asked),
        "tcp.seq: expected 1, got none\nudp.checksum.status: expected 1 (Good), got 0 (Bad)"
    );
    // no frame is made of it
    for wrong in [
        build(&asked).map(drop),
        change(&both, &fields(json!({"udp.checksum.status": "Bad"}))).map(drop),
        change(&both, &fields(json!({"udp.checksum.status": "*"}))).map(drop),
    ] {
        assert!(wrong.is_err());
    }
}

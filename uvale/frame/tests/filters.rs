//! Filters: what passes, and what is said of wrong ones.

use serde_json::json;
use uvale_frame::{Filter, build};

#[test]
fn wrong_filters_are_explained() {
    for (text, said) in [
        (
            "ip.tll == 3",
            "at character 1: expected a field or a protocol, and 'ip.tll' is none; did you mean ip.ttl?",
        ),
        ("ip.ttl = 3", "at character 8: a comparison is written =="),
        (
            "ip.ttl ==",
            "at character 10: expected a value: a number, like 10 or 0x0a, not the end",
        ),
        (
            "ip.ttl == 300",
            "at character 11: ip.ttl: takes 0 to 255, not 300",
        ),
        (
            "ip.ttl == 010",
            "at character 11: ip.ttl: takes a number, like 10 or 0x0a, not '010'",
        ),
        (
            "ip && (udp",
            "at character 11: expected && or || or ), not the end",
        ),
        (
            "ip udp",
            "at character 4: expected && or || or the end, not 'udp'",
        ),
        (
            "ip &&",
            "at character 6: expected a field, a protocol, ! or (, not the end",
        ),
        (
            "ip.src == 10.0.0.0/33",
            "at character 11: expected /0 to /32, not '/33'",
        ),
        ("udp.port in 53", "at character 13: expected {, not '53'"),
        (
            "udp.port in {53; 54}",
            "at character 16: ';' has no meaning here",
        ),
        (
            "udp.port in {53",
            "at character 16: expected , or }, not the end",
        ),
        (
            "data contains \"a",
            "at character 15: expected another \" behind this one",
        ),
        (
            "data contains hello",
            "at character 15: expected text in quotes, or bytes like 68:65:6c, not 'hello'",
        ),
        (
            "data matches \"a\"",
            "at character 6: matches is not among the operators that are known here; contains and in are",
        ),
        (
            "ip.ttl contains \"a\"",
            "at character 8: contains is for text and bytes; this is compared by == and the like",
        ),
        ("eth.src & 1", "at character 9: & is for numbers"),
        (
            "eth.src[a]",
            "at character 8: expected bytes like [0:3], [2-5] or [4], not [a]",
        ),
        (
            "ip.ttl[0] == 1",
            "at character 7: numbers have no bytes to take some of; & takes bits",
        ),
        (
            "ip.src == eth.src",
            "at character 11: these two have values of different kinds",
        ),
        (
            "\"é\" == 1",
            "at character 1: expected a field, a protocol, ! or (, not \"é\"",
        ),
        ("ip == \"é\" §", "at character 11: '§' has no meaning here"),
    ] {
        let wrong = text.parse::<Filter>().unwrap_err();
        assert_eq!(
            (wrong.key.as_str(), wrong.why.as_str()),
            ("filter", said),
            "{text}"
        );
    }
}

#[test]
fn values_may_be_named_where_wireshark_has_numbers() {
    let given = json!({"tcp.flags": "SYN,ACK", "ip.dst": "10.0.0.9"});
    let frame = build(given.as_object().unwrap()).unwrap();
    for (text, passes) in [
        ("tcp.flags == \"SYN,ACK\"", true),
        ("tcp.flags == \"S\"", false),
        ("ip.proto == \"tcp\"", true),
        ("ip.proto == \"udp\"", false),
        ("ip.dst == \"10.0.0.9\"", true),
        ("ip.src > ip.dst", false),
        ("ip.src < ip.dst", true),
        ("tcp.options", false),
        ("ip.dst[3] == 09 && ip.dst[0:2] == 0a:00", true),
    ] {
        assert_eq!(
            text.parse::<Filter>().unwrap().matches(&frame),
            passes,
            "{text}"
        );
    }
}

/// What docs/frames.md says of headers that are announced and cannot be.
#[test]
fn a_header_that_cannot_be_is_data() {
    let passes = |frame: &[u8], text: &str| text.parse::<Filter>().unwrap().matches(frame);
    let made = |json: serde_json::Value| build(json.as_object().unwrap()).unwrap();
    for (frame, is_so) in [
        (
            made(json!({"ip.version": 5, "data": "x"})),
            "eth.type == 0x0800 && data && !ip",
        ),
        (
            made(json!({"ip.hdr_len": 16, "data": "x"})),
            "eth.type == 0x0800 && data && !ip",
        ),
        (
            made(json!({"tcp.hdr_len": 8})),
            "ip.proto == 6 && data && !tcp",
        ),
        (
            made(json!({"ip.flags.mf": 1, "ip.proto": "udp", "data": "a fragment"})),
            "ip.proto == 17 && data && !udp",
        ),
        (
            made(json!({"eth.type": 0x8847, "data": "mpls"})),
            "data && !ip",
        ),
    ] {
        assert!(passes(&frame, is_so), "{is_so}: {frame:02x?}");
    }
    let mut short = made(json!({"udp.dstport": 9, "data": "x"}));
    short.truncate(14 + 20 + 7);
    assert!(passes(&short, "ip.proto == 17 && data && !udp"));
}

//! Whatever the bytes, fields and texts: what is made is read again, and nothing panics.

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use uvale_frame::kind::Kind;
use uvale_frame::table::{Field, Place, Proto, fields, fields_of};
use uvale_frame::{
    Expected, Fields, Filter, build, change, check, from_hex, get, has, layers, summary,
};

/// Fields that say which headers there are, and how long; any value of them may be given, but others are not to be
/// found then.
const STRUCTURE: [&str; 22] = [
    "eth.type",
    "eth.len",
    "vlan.etype",
    "arp.hw.type",
    "arp.proto.type",
    "arp.hw.size",
    "arp.proto.size",
    "ip.version",
    "ip.hdr_len",
    "ip.len",
    "ip.flags.mf",
    "ip.frag_offset",
    "ip.proto",
    "ipv6.version",
    "ipv6.plen",
    "ipv6.nxt",
    "icmp.type",
    "icmpv6.type",
    "udp.length",
    "tcp.hdr_len",
    "dns.count.queries",
    "dns.count.answers",
];

/// Layers that go together.
const STACKS: [&[Proto]; 9] = [
    &[Proto::Eth, Proto::Data],
    &[Proto::Eth, Proto::Vlan, Proto::Arp],
    &[Proto::Eth, Proto::Ip, Proto::Data],
    &[Proto::Eth, Proto::Vlan, Proto::Ip, Proto::Udp, Proto::Data],
    &[Proto::Eth, Proto::Ip, Proto::Tcp, Proto::Data],
    &[Proto::Eth, Proto::Ip, Proto::Icmp, Proto::Data],
    &[Proto::Eth, Proto::Ipv6, Proto::Icmpv6, Proto::Data],
    &[Proto::Eth, Proto::Ipv6, Proto::Udp, Proto::Data],
    &[Proto::Eth, Proto::Ip, Proto::Udp, Proto::Dns],
];

/// A value of this field, made of a number.
fn value(field: &Field, from: u128) -> Json {
    let bits = |len: usize| {
        if len < 128 {
            from & ((1 << len) - 1)
        } else {
            from
        }
    };
    let len = match field.place {
        Place::Bits { len, .. } => len,
        _ => 32,
    };
    let bytes = || from.to_be_bytes()[..(from % 4) as usize * 4].to_vec();
    match field.kind {
        Kind::Name => json!(format!("n{}.example", from % 1000)),
        Kind::Text => json!(format!("text {from}")),
        Kind::Bytes => json!(
            bytes()
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect::<String>()
        ),
        Kind::Named(..) if matches!(field.place, Place::Dns(_)) => json!(1),
        kind => json!(kind.text(&uvale_frame::kind::Value::Bits(bits(len)))),
    }
}

/// Fields with values, of layers that go together.
fn some_fields() -> impl Strategy<Value = Fields> {
    let numbers = proptest::collection::vec((any::<u128>(), any::<bool>()), 60);
    (0..STACKS.len(), numbers).prop_map(|(stack, numbers)| {
        let mut numbers = numbers.into_iter().cycle();
        let mut given = Fields::new();
        for field in STACKS[stack].iter().flat_map(|proto| fields_of(*proto)) {
            let (number, is_given) = numbers.next().unwrap();
            let may = field.is_shown && field.when.is_none() && !STRUCTURE.contains(&field.name);
            // zeroes would be added to the data; on other ports DNS is data
            let is_dns = STACKS[stack].contains(&Proto::Dns);
            let may = may && field.name != "data.len" && !(is_dns && field.proto == Proto::Udp);
            if may && is_given {
                given.insert(field.name.to_owned(), value(field, number));
            }
        }
        if !given.contains_key("dns.a") && !given.contains_key("dns.aaaa") {
            given.remove("dns.resp.ttl");
        }
        given
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_made_is_read_again(given in some_fields()) {
        let frame = build(&given).unwrap();
        prop_assert!(has(&frame, &given), "{given:?}: {:?}", layers(&frame));
        for (name, value) in &given {
            // a list of none
            if value != "" {
                let said = get(&frame, name);
                prop_assert_eq!(said.as_deref(), Some(value.as_str().unwrap_or("1")), "{}", name);
            }
        }
        let same = Expected::exactly(frame.clone());
        prop_assert!(same.matches(&frame) && same.difference(&frame).is_empty());
        // nothing changes, and the checksums stay what they were
        let unchanged = change(&frame, &Fields::new()).unwrap();
        prop_assert!(unchanged.matches(&frame), "{}", unchanged.difference(&frame));
        summary(&frame);
    }

    #[test]
    fn changes_are_found_and_said(given in some_fields(), which in any::<prop::sample::Index>(), number: u128) {
        let frame = build(&given).unwrap();
        let fields: Vec<_> = given.keys().filter(|name| *name != "dns.qry.type").collect();
        prop_assume!(!fields.is_empty());
        let name = fields[which.index(fields.len())];
        let field = uvale_frame::table::find(name).unwrap();
        let changed: Fields = [(name.clone(), value(field, number))].into_iter().collect();
        let expected = change(&frame, &changed).unwrap();
        let difference = expected.difference(&frame);
        if has(&frame, &changed) {
            prop_assert!(expected.matches(&frame), "{difference}");
        } else {
            prop_assert!(difference.contains(name.trim_end_matches(".hex")), "{name}: {difference}");
        }
        let any: Fields = [(name.clone(), json!("*"))].into_iter().collect();
        if get(&frame, name).is_some() && !name.contains("checksum") {
            prop_assert!(change(&frame, &any).unwrap().matches(&frame));
        }
    }

    #[test]
    fn any_bytes_are_borne(mut frame in frames(), other in frames(), given in any_fields(), spoilt in spoils()) {
        for (at, byte) in spoilt {
            let len = frame.len();
            if len > 0 {
                frame[at % len] = byte;
            }
        }
        layers(&frame);
        summary(&frame);
        for field in fields() {
            get(&frame, field.name);
            let any: Fields = [(field.name.to_owned(), json!("*"))].into_iter().collect();
            if let Ok(expected) = change(&frame, &any) {
                prop_assert!(expected.matches(&frame), "{}: {}", field.name, expected.difference(&frame));
                bear(&expected, &other)?;
            }
        }
        if let Ok(frame) = build(&given) {
            layers(&frame);
        }
        has(&frame, &given);
        if let Ok(expected) = change(&frame, &given) {
            bear(&expected, &other)?;
            bear(&expected, &frame)?;
        }
        bear(&Expected::exactly(frame.clone()), &other)?;
        for text in ["tcp.flags.syn || dns.a == 1.2.3.4", "frame[3:9] contains \"a\" && eth.addr == 1:2:3:4:5:6"] {
            text.parse::<Filter>().unwrap().matches(&frame);
        }
    }

    #[test]
    fn any_text_is_a_filter_or_wrong(text in filters(), frame in frames()) {
        match text.parse::<Filter>() {
            Ok(filter) => {
                filter.matches(&frame);
            }
            Err(wrong) => {
                let said = wrong.to_string();
                prop_assert!(said.starts_with("filter: at character "), "{said}");
            }
        }
        let _ = from_hex(&text);
    }

    #[test]
    fn any_json_is_fields_or_wrong(given in any_fields()) {
        if let Err(wrong) = check(&given) {
            prop_assert!(build(&given).is_err());
            prop_assert!(!wrong.why.is_empty());
        }
    }
}

/// No line where it matches, one at least where it does not.
fn bear(expected: &Expected, got: &[u8]) -> Result<(), TestCaseError> {
    let difference = expected.difference(got);
    prop_assert_eq!(
        expected.matches(got),
        difference.is_empty(),
        "{}",
        difference
    );
    Ok(())
}

/// Frames, whole or cut, and bytes that are none.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let made = (some_fields(), any::<prop::sample::Index>()).prop_map(|(given, cut)| {
        let mut frame = build(&given).unwrap();
        let len = frame.len();
        // half of them are whole
        frame.truncate(len.min(cut.index(2 * len)));
        frame
    });
    prop_oneof![4 => made, 1 => proptest::collection::vec(any::<u8>(), 0..200)]
}

/// Bytes to be written somewhere, most of them into headers.
fn spoils() -> impl Strategy<Value = Vec<(usize, u8)>> {
    proptest::collection::vec(
        (prop_oneof![0..64_usize, any::<usize>()], any::<u8>()),
        0..5,
    )
}

/// Fields with any values.
fn any_fields() -> impl Strategy<Value = Fields> {
    let name = (0..fields().count()).prop_map(|index| fields().nth(index).unwrap().name.to_owned());
    let name = prop_oneof![20 => name, 1 => ".{0,9}"];
    let scalar = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        (0..70_000_u64).prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,20}".prop_map(Json::from),
        "[0-9a-f:.*,x]{0,20}".prop_map(Json::from),
    ];
    let value = scalar.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            proptest::collection::hash_map("[a-z.]{0,6}", inner, 0..3)
                .prop_map(|map| map.into_iter().collect()),
        ]
    });
    proptest::collection::hash_map(name, value, 0..4).prop_map(|map| map.into_iter().collect())
}

/// Texts that are nearly filters.
fn filters() -> impl Strategy<Value = String> {
    const PIECES: [&str; 40] = [
        "ip",
        "ip.ttl",
        "ip.src",
        "eth.dst",
        "tcp.flags",
        "data",
        "dns.qry.name",
        "frame",
        "ip.addr",
        "vlan.id",
        "ipv6.dst",
        "==",
        "!=",
        "<",
        ">=",
        "contains",
        "in",
        "{",
        "}",
        "(",
        ")",
        "&&",
        "||",
        "!",
        "not",
        "and",
        "or",
        "&",
        "..",
        ",",
        "[0:3]",
        "[1-2]",
        "[",
        "\"",
        "\"a\"",
        "10.0.0.0/8",
        "0x10",
        "7",
        "02:00:00:00:00:01",
        "=",
    ];
    let pieces = proptest::collection::vec(prop::sample::select(&PIECES[..]), 0..12);
    prop_oneof![pieces.prop_map(|pieces| pieces.join(" ")), ".{0,60}"]
}

#[test]
fn parentheses_without_end_are_refused() {
    for text in [
        "(".repeat(100_000),
        "!".repeat(100_000),
        "not ".repeat(100_000),
    ] {
        let wrong = text.parse::<Filter>().unwrap_err().to_string();
        assert!(wrong.contains("more than 50 parentheses"), "{wrong}");
    }
}

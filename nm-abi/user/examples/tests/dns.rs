use super::*;

mod frames;
use frames::*;

fn server() -> Server {
    let records = [
        "www.example=192.0.2.80",
        "WWW.Example.=192.0.2.81",
        "mail.example=192.0.2.25",
    ];
    let zone = zone(&records.map(str::to_owned)).expect("a zone");
    Server {
        address: OUTSIDE.into(),
        zone,
    }
}

fn question(name: &str, kind: u8) -> Vec<u8> {
    let labels = name
        .split('.')
        .flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    let name = labels.chain([0]).collect::<Vec<_>>();
    [
        &[0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..],
        &name,
        &[0, kind, 0, 1],
    ]
    .concat()
}

/// Flags, code, number of answers, and what is behind the question.
fn answered(asked: &[u8]) -> Option<(u8, u8, u8, Vec<u8>)> {
    let answer = message(asked, &server().zone)?;
    assert_eq!(answer[..2], asked[..2]);
    let behind = answer.get(asked.len()..).unwrap_or_default().to_vec();
    Some((answer[2], answer[3], answer[7], behind))
}

#[test]
fn names_have_their_addresses() {
    let (flags, code, count, records) = answered(&question("wWw.example", 1)).expect("an answer");
    assert_eq!((flags, code, count), (0x85, 0, 2));
    let record = |last| [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, last];
    assert_eq!(records, [record(80), record(81)].concat());
    assert_eq!(
        answered(&question("www.example", 28)),
        Some((0x85, 0, 0, Vec::new())),
        "no data"
    );
    assert_eq!(
        answered(&question("example", 1)),
        Some((0x85, 3, 0, Vec::new())),
        "no such name"
    );
}

#[test]
fn nonsense_is_refused_or_ignored() {
    let good = question("www.example", 1);
    let with = |at: usize, byte| {
        let mut message = good.clone();
        message[at] = byte;
        answered(&message).map(|(flags, code, ..)| (flags, code))
    };
    assert_eq!(with(2, 0x81), None, "an answer");
    assert_eq!(with(2, 0x29), Some((0xa9, 4)), "another operation");
    assert_eq!(with(5, 2), Some((0x81, 1)), "two questions");
    assert_eq!(with(12, 64), Some((0x81, 1)), "too long a label");
    for len in 12..good.len() {
        assert_eq!(
            answered(&good[..len]).map(|(_, code, ..)| code),
            Some(1),
            "{len}"
        );
    }
    assert_eq!(answered(&good[..11]), None);
    let long = vec!["x".repeat(63); 5].join(".");
    assert_eq!(
        answered(&question(&long, 1)).map(|(_, code, ..)| code),
        Some(1)
    );
    let too_many = (0..=255)
        .map(|i| format!("a=192.0.2.{i}"))
        .collect::<Vec<_>>();
    let answer = message(&question("a", 1), &zone(&too_many).expect("a zone")).expect("an answer");
    assert_eq!(answer[2], 0x87, "truncated");
    assert!(answer.len() <= 512 && answer.len() > 512 - 16);
    assert_eq!(answer.len(), 12 + 7 + 16 * usize::from(answer[7]));
    for record in ["x", "x=", "x=1.2.3", "=1.2.3.4", "a..b=1.2.3.4"] {
        assert!(zone(&[record.to_owned()]).is_err(), "{record}");
    }
}

#[test]
fn frames_go_back_to_who_has_asked() {
    let ask = |ip: etherparse::PacketBuilderStep<etherparse::IpHeaders>, port| {
        let mut frame = Vec::new();
        ip.udp(1000, port)
            .write(&mut frame, &question("mail.example", 1))
            .expect("a vector");
        frame
    };
    let (mut buffer, asked) = (vec![0xee; 2048], ask(out(), 53));
    let len = server().answer_to(&asked, &mut buffer).expect("an answer");
    check_sums(&buffer[..len]);
    assert_eq!(len, asked.len() + 16);
    assert_eq!(buffer[..6], INSIDE_MAC);
    assert_eq!(
        buffer[26..38],
        [&OUTSIDE[..], &INSIDE, &[0, 53, 3, 232]].concat()
    );
    assert_eq!(server().answer_to(&ask(out(), 54), &mut buffer), None);
    assert_eq!(
        server().answer_to(&ask(back(INSIDE), 53), &mut buffer),
        None
    );
    assert_eq!(server().answer_to(&asked, &mut [0; 60]), None, "no room");
    for len in 0..asked.len() {
        assert_eq!(
            server().answer_to(&asked[..len], &mut buffer),
            None,
            "{len}"
        );
    }
}

#[test]
fn nothing_makes_it_panic() {
    let mut buffer = vec![0; 2048];
    for frame in damaged() {
        server().answer_to(&frame, &mut buffer);
        arp::answer(&mut frame.clone(), OUTSIDE.into());
    }
    let good = question("www.example", 1);
    for (at, byte) in (0..good.len()).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
        let mut message = good.clone();
        message[at] = byte;
        answered(&message);
    }
}

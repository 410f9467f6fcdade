use super::*;

mod frames;
use frames::*;

fn found(signatures: &[&str], bytes: &[u8]) -> Vec<usize> {
    let signatures: Vec<_> = signatures.iter().map(|text| (*text).to_owned()).collect();
    let mut found = Vec::new();
    Signatures::new(&signatures)
        .expect("signatures")
        .find(bytes, &mut found);
    found
}

#[test]
fn signatures_are_found_once_each_and_within_each_other() {
    let signatures = ["a=he", "b=hello", "c=lo\\x00", "d=\\xff\\xFe"];
    assert_eq!(found(&signatures, b"hello hello"), [0, 1]);
    assert_eq!(found(&signatures, b"lo\0\xff\xfe"), [2, 3]);
    assert_eq!(found(&signatures, b"HELLO"), []);
    assert_eq!(found(&[], b"hello"), []);
}

#[test]
fn wrong_signatures_are_said() {
    for text in [
        "",
        "name",
        "name=",
        "name=\\x",
        "name=\\x1",
        "name=\\xgg",
        "name=a\\x1\u{e9}",
    ] {
        let said = Signatures::new(&[text.to_owned()])
            .err()
            .expect("it is wrong")
            .to_string();
        assert!(said.starts_with(text), "{said}");
    }
}

#[test]
fn alerts_say_who_speaks_with_whom() {
    let frame = udp(out(), 1000, 53);
    assert_eq!(
        Summary(&frame).to_string(),
        "UDP 10.0.0.1:1000 -> 192.0.2.1:53, 47 bytes"
    );
    assert_eq!(Summary(&[0xff; 3]).to_string(), "3 bytes");
}

#[test]
fn nothing_makes_it_panic() {
    damaged()
        .iter()
        .for_each(|frame| assert!(!Summary(frame).to_string().is_empty()));
}

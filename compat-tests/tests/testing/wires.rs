//! Bad wires: equal seeds, equal runs.

use compat_tests::or_skip;
use serde_json::json;

use crate::ground::{Case, numbered, switch};

/// A bridge behind a wire that does all that a wire can do.
fn impaired() -> Result<Case, compat_tests::Skip> {
    let mut case = Case::new();
    let options = [
        ("loss", "10%"),
        ("duplicate", "5%"),
        ("corrupt", "5%"),
        ("reorder", "10%"),
        ("delay", "2ms"),
        ("jitter", "3ms"),
    ];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    case.port("lan", switch("vale0")).link = Some(options.into());
    case.port("wan", switch("vale1"));
    case.bridge("lan", "wan")?;
    case.send("lan", numbered(300))
        .same("wan", "lan", json!({}));
    // Those that are named may be wrong.
    let all =
        "eth || ip.checksum == 0 || udp.checksum == 0 || tcp.checksum == 0 || icmp.checksum == 0";
    case.send("wan", numbered(300))
        .matching("lan", all, 1, u64::MAX);
    Ok(case)
}

#[test]
fn a_seed_repeats_a_run() {
    let mut case = or_skip!("bridge", impaired());
    let first = case.passes();
    for _ in 0..19 {
        assert_eq!(case.passes(), first);
    }
    case.run.seed = 2;
    assert_ne!(case.passes(), first);
}

/// What a wire loses does not come, and what it says is so.
#[test]
fn what_is_lost_does_not_come() {
    let mut case = or_skip!("bridge", Case::of_bridge());
    case.run.ports[0].link = Some([("loss".to_owned(), "100%,0%".to_owned())].into());
    case.send("lan", numbered(20)).matching("wan", "eth", 0, 0);
    case.send("wan", numbered(20)).same("lan", "wan", json!({}));
    case.passes();
    // More than wait at most leave a wire without delay all the same.
    let limit = [("limit", "10"), ("loss", "0%")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    case.run.ports[0].link = Some(limit.into());
    case.run.steps.clear();
    case.send("lan", numbered(3000))
        .matching("wan", "eth", 3000, 3000);
    case.send("wan", numbered(3000))
        .same("lan", "wan", json!({}));
    case.passes();
    // One that is to leave behind the next one is on the wire, too: with no room for another it leaves as it is.
    let limit = [("limit", "1"), ("reorder", "100%,0%")];
    let limit = limit.map(|(a, b)| (a.to_owned(), b.to_owned()));
    case.run.ports[0].link = Some(limit.into());
    case.run.steps.clear();
    case.send("lan", numbered(3)).same("wan", "lan", json!({}));
    case.passes();
}

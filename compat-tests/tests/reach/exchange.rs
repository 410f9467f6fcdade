//! Packets between programs of every kind, and every way to wait.

use compat_tests::world::World;
use compat_tests::{Skip, or_skip};

use super::{Made, end, run};

/// Packets of an exchange, at least: the receiver ends after a sync.
const PACKETS: u64 = 100_000;

/// `receiver` gets what `sender` sends, each packet once and in order.
fn exchange(receiver: (Made, &str), sender: (Made, &str), ports: [&str; 2]) -> Result<(), Skip> {
    let (rx, tx) = (receiver.0.traffic()?, sender.0.traffic()?);
    let world = World::new();
    let [rx_how, tx_how] = [receiver.1, sender.1].map(|how| format!("how={how}"));
    let count = format!("n={PACKETS}");
    let args = ["rx", ports[0], "gapless=1", &count, &rx_how];
    let rx = run(&world, &[], &rx, &args);
    rx.wait_line("ready", |line| line.starts_with("ready"));
    let tx = run(&world, &[], &tx, &["tx", ports[1], &tx_how]);
    let what = format!("{receiver:?} from {sender:?}");
    let said = rx.wait_success();
    // Another thread of it may say how far it is after that.
    let last = said.lines().find(|line| line.starts_with("end "));
    let last = last.unwrap_or_default();
    let n = last
        .strip_prefix("end n=")
        .and_then(|l| l.strip_suffix(" lost=0"));
    let n = n.and_then(|n| n.parse::<u64>().ok());
    assert!(
        n.is_some_and(|n| (PACKETS..PACKETS + 64).contains(&n)),
        "{what}: {last}"
    );
    end(tx);
    Ok(())
}

/// Both directions, by a pipe: a sender whose peer is full waits.
fn both(made: Made, how: &str) {
    let ends = ["vale0:p}1", "vale0:p{1"];
    let other = (Made::Dynamic, "poll");
    or_skip!("exchange", exchange((made, how), other, ends));
    or_skip!("exchange", exchange(other, (made, how), ends));
}

macro_rules! ways {
    ($($name:ident = $made:expr, $how:literal;)*) => {
        $(
            #[test]
            fn $name() {
                both($made, $how);
            }
        )*
    };
}

ways! {
    static_sync = Made::Static, "sync";
    static_poll = Made::Static, "poll";
    static_select = Made::Static, "select";
    static_epoll = Made::Static, "epoll";
    static_edges = Made::Static, "et";
    musl_sync = Made::Musl, "sync";
    musl_poll = Made::Musl, "poll";
    musl_select = Made::Musl, "select";
    musl_epoll = Made::Musl, "epoll";
    musl_edges = Made::Musl, "et";
    go_sync = Made::Go, "sync";
    go_poll = Made::Go, "poll";
    go_select = Made::Go, "select";
    go_epoll = Made::Go, "epoll";
    go_edges = Made::Go, "et";
    go_netpoller = Made::Go, "netpoller";
}

/// Neither of them is in a process of its own for its syncs.
#[test]
fn among_themselves() {
    let ends = ["vale0:p}1", "vale0:p{1"];
    for (receiver, sender) in [
        ((Made::Go, "netpoller"), (Made::Musl, "et")),
        ((Made::Static, "et"), (Made::Go, "netpoller")),
        ((Made::Musl, "select"), (Made::Static, "sync")),
    ] {
        or_skip!("exchange", exchange(receiver, sender, ends));
    }
}

//! Concurrent senders, flooding, pipes with back-pressure, small rings and fragments, in every way to wait. Every
//! byte and the order of each sender's packets are checked by the receivers.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use compat_tests::or_skip;
use compat_tests::place::Place;
use compat_tests::programs::{assert_goes_on, end, program, tail, value};
use compat_tests::world::Program;

const HOW: [&str; 5] = ["sync", "poll", "select", "epoll", "et"];

/// One of these tests at a time: two that spin would only take each other's processors.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for receivers that count to their end, while the senders go on.
fn finish(receivers: Vec<Program>, senders: Vec<Program>) {
    for rx in receivers {
        let said = rx.wait_success();
        assert!(said.contains("end n="), "{said}");
    }
    for tx in senders {
        assert!(!tx.said().contains("FAILED"), "{}", tail(&tx));
        end(tx);
    }
}

fn many_to_one(traffic: &Path, senders: usize, how: &str, more: &[&str]) {
    let place = Place::new();
    let how_arg = format!("how={how}");
    let n = format!("n={}", 60_000 * senders);
    let rx = [&["rx", "vale0:rx", "id=200", "hello=1", &n, &how_arg], more].concat();
    let rx = place.spawn_ready(traffic, &rx);
    let txs = (0..senders).map(|i| {
        let (port, id) = (format!("vale0:tx{i}"), format!("id={}", 1 + 16 * i));
        // every other one floods
        let to = if i % 2 == 0 { "to=200" } else { "to=255" };
        let batch = format!("batch={}", [1, 8, 64, 256, 1000][i % 5]);
        // nothing ever happens on a VALE tx ring that would be an edge
        let how_arg = if how == "et" { "how=epoll" } else { &how_arg };
        let tx = [&["tx", &port, &id, to, &batch, how_arg], more].concat();
        place.spawn_ready(traffic, &tx)
    });
    let txs = txs.collect();
    finish(vec![rx], txs);
    place.assert_left_clean();
}

#[test]
fn two_to_one_in_every_way_to_wait() {
    let traffic = or_skip!("2 to 1", program("traffic"));
    let _turn = turn();
    for how in HOW {
        many_to_one(&traffic, 2, how, &[]);
    }
}

#[test]
fn eight_to_one() {
    let traffic = or_skip!("8 to 1", program("traffic"));
    let _turn = turn();
    many_to_one(&traffic, 8, "sync", &[]);
    many_to_one(&traffic, 8, "poll", &[]);
}

#[test]
fn two_to_one_on_rings_of_sixteen_slots() {
    let traffic = or_skip!("small rings", program("traffic"));
    let _turn = turn();
    many_to_one(&traffic, 2, "poll", &["slots=16"]);
    many_to_one(&traffic, 2, "sync", &["slots=16"]);
}

#[test]
fn two_to_one_with_fragments() {
    let traffic = or_skip!("fragments", program("traffic"));
    let _turn = turn();
    many_to_one(&traffic, 2, "poll", &["frags=4", "len=6001"]);
    many_to_one(&traffic, 2, "sync", &["frags=7", "len=1500", "slots=16"]);
    many_to_one(&traffic, 2, "epoll", &["frags=60", "len=4000", "slots=128"]);
}

#[test]
fn one_to_eight_flooding() {
    let traffic = or_skip!("1 to 8", program("traffic"));
    let _turn = turn();
    for how in ["poll", "sync"] {
        let place = Place::new();
        let rxs = (0..8).map(|i| {
            let (port, way) = (
                format!("vale0:rx{i}"),
                format!("how={}", HOW[i % HOW.len()]),
            );
            place.spawn_ready(&traffic, &["rx", &port, "n=40000", &way])
        });
        let rxs = rxs.collect();
        let tx = place.spawn_ready(&traffic, &["tx", "vale0:tx", &format!("how={how}")]);
        finish(rxs, vec![tx]);
        place.assert_left_clean();
    }
}

/// Ring i of a sender leads to ring i of the receiver, for each of two senders.
#[test]
fn four_rings_each_way() {
    let traffic = or_skip!("several rings", program("traffic"));
    let _turn = turn();
    let place = Place::new();
    let rx = ["rx", "vale0:rx", "id=200", "hello=1", "rings=4", "n=200000"];
    let rx = place.spawn_ready(&traffic, &[&rx[..], &["how=poll"]].concat());
    let txs = (0..2).map(|i| {
        let (port, id) = (format!("vale0:tx{i}"), format!("id={}", 1 + 16 * i));
        place.spawn_ready(&traffic, &["tx", &port, &id, "to=200", "rings=4"])
    });
    let txs = txs.collect();
    finish(vec![rx], txs);
    place.assert_left_clean();
}

/// A pipe loses nothing, however the two sides wait: counted from 0 to the last one.
fn pipe(traffic: &Path, n: u64, tx_how: &str, rx_how: &str, more: &[&str]) {
    let place = Place::new();
    let count = format!("n={n}");
    let (tx_how, rx_how) = (format!("how={tx_how}"), format!("how={rx_how}"));
    let rx = ["rx", "p{1", "gapless=1", &count, &rx_how];
    let rx = place.spawn_ready(traffic, &[&rx, more].concat());
    let tx = ["tx", "p}1", "then=hold", &count, &tx_how];
    let tx = place.spawn_ready(traffic, &[&tx, more].concat());
    let said = rx.wait_success();
    assert_eq!(value(&said, "n"), Some(n), "{said}");
    let said = end(tx);
    assert_eq!(value(&said, "n"), Some(n), "{said}");
    place.assert_left_clean();
}

#[test]
fn millions_through_a_pipe() {
    let traffic = or_skip!("pipes", program("traffic"));
    let _turn = turn();
    pipe(&traffic, 3_000_000, "poll", "poll", &["batch=512"]);
}

#[test]
fn a_pipe_in_every_way_to_wait() {
    let traffic = or_skip!("pipes", program("traffic"));
    let _turn = turn();
    for tx_how in HOW {
        for rx_how in HOW {
            pipe(&traffic, 100_000, tx_how, rx_how, &["batch=100"]);
        }
    }
}

#[test]
fn pipes_with_small_rings_and_fragments() {
    let traffic = or_skip!("small pipes", program("traffic"));
    let _turn = turn();
    pipe(&traffic, 100_000, "poll", "poll", &["slots=16"]);
    pipe(
        &traffic,
        50_000,
        "sync",
        "poll",
        &["slots=16", "frags=5", "len=900"],
    );
    pipe(&traffic, 100_000, "poll", "sync", &["slots=2", "batch=1"]);
    pipe(
        &traffic,
        50_000,
        "et",
        "et",
        &["slots=64", "frags=20", "len=2000"],
    );
}

/// Both sides sleep for edges, of which there are very many.
#[test]
fn edges_are_not_lost() {
    let traffic = or_skip!("edges", program("traffic"));
    let _turn = turn();
    for _ in 0..6 {
        let more = ["slots=16", "frags=3", "len=200", "batch=4", "cur=head"];
        pipe(&traffic, 100_000, "et", "et", &more);
    }
}

/// Back-pressure: a sender whose receiver does nothing sends one ring and then stands, and nothing is lost when
/// the receiver begins at last.
#[test]
fn a_full_pipe_waits() {
    let traffic = or_skip!("full pipes", program("traffic"));
    let _turn = turn();
    let place = Place::new();
    let go = place.file("go");
    let go_arg = format!("go={}", go.display());
    let args = ["rx", "p{1", "gapless=1", "n=100000", "how=poll", &go_arg];
    let rx = place.spawn_ready(&traffic, &args);
    let args = [
        "tx",
        "p}1",
        "n=100000",
        "how=poll",
        "then=hold",
        "batch=10000",
    ];
    let tx = place.spawn_ready(&traffic, &args);
    let full = || place.port("p{1").is_some_and(|p| p.rx[0].packets == 1023);
    compat_tests::wait::wait_for("a full pipe", full);
    std::fs::write(&go, "").expect("the file can be written");
    rx.wait_success();
    end(tx);
    place.assert_left_clean();
}

/// A receiver that is far too slow loses packets, but the sender's way to the others is free.
#[test]
fn a_receiver_that_stands_holds_up_nobody() {
    let traffic = or_skip!("a standing receiver", program("traffic"));
    let _turn = turn();
    let place = Place::new();
    let never = format!("go={}", place.file("never").display());
    let standing = place.spawn_ready(&traffic, &["rx", "vale0:standing", &never]);
    let mut rx = place.spawn_ready(&traffic, &["rx", "vale0:rx", "how=poll"]);
    let mut tx = place.spawn_ready(&traffic, &["tx", "vale0:tx", "how=poll"]);
    for _ in 0..10 {
        assert_goes_on(&mut rx, "beside a standing receiver");
        assert_goes_on(&mut tx, "beside a standing receiver");
    }
    let port = place.port("vale0:standing").expect("it is open");
    assert_eq!(port.rx[0].packets, 1023, "a ring less one slot");
    assert!(port.rx[0].drops.full > 0);
    compat_tests::programs::kill(standing);
    end(tx);
    end(rx);
    place.assert_left_clean();
}

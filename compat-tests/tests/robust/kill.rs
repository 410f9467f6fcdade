//! kill -9 in the middle of traffic, 200 times in all: whoever is left goes on, and of the dead nothing
//! remains but what they had published.

use compat_tests::or_skip;
use compat_tests::place::Place;
use compat_tests::programs::{assert_goes_on, end, kill, moved, program, tail};
use compat_tests::wait::wait_for;

const HOW: [&str; 4] = ["sync", "poll", "epoll", "select"];

fn how(round: usize) -> String {
    format!("how={}", HOW[round % HOW.len()])
}

/// At the moment the dead process is reaped its port is gone, so the name is free.
fn assert_name_free(place: &Place, name: &str) {
    let port = place.port(name);
    assert!(
        port.is_none(),
        "{name} outlives its killed program: {port:?}"
    );
}

#[test]
fn sixty_senders() {
    let traffic = or_skip!("killed senders", program("traffic"));
    let place = Place::new();
    let mut sink = place.spawn_ready(&traffic, &["rx", "vale0:sink", "id=9", "hello=1"]);
    let mut other = place.spawn_ready(&traffic, &["tx", "vale0:other", "id=2", "to=9"]);
    for round in 0..60 {
        let to = if round % 2 == 0 { "to=9" } else { "to=255" };
        // every sender counts its packets from 0
        let id = format!("id={}", 10 + round);
        let args = ["tx", "vale0:victim", "excl=1", &id, to, &how(round)];
        let mut victim = place.spawn_ready(&traffic, &args);
        assert_goes_on(&mut victim, "before it is killed");
        kill(victim);
        assert_name_free(&place, "vale0:victim");
        assert_goes_on(&mut other, "after another sender was killed");
        assert_goes_on(&mut sink, "after a sender was killed");
    }
    end(other);
    end(sink);
    place.assert_left_clean();
}

#[test]
fn sixty_receivers() {
    let traffic = or_skip!("killed receivers", program("traffic"));
    let place = Place::new();
    let mut source = place.spawn_ready(&traffic, &["tx", "vale0:source", "id=1"]);
    let mut other = place.spawn_ready(&traffic, &["rx", "vale0:other", "how=poll"]);
    for round in 0..60 {
        let args = ["rx", "vale0:victim", "excl=1", &how(round)];
        let mut victim = place.spawn_ready(&traffic, &args);
        assert_goes_on(&mut victim, "before it is killed");
        kill(victim);
        assert_name_free(&place, "vale0:victim");
        assert_goes_on(&mut source, "after a receiver was killed");
        assert_goes_on(&mut other, "after another receiver was killed");
    }
    end(source);
    end(other);
    place.assert_left_clean();
}

#[test]
fn both_ends_of_a_pipe_twenty_times() {
    let traffic = or_skip!("killed pipes", program("traffic"));
    let place = Place::new();
    // keeps the memory in which the pipes are, so that a lost buffer stays visible
    let base = place.spawn_ready(&traffic, &["rx", "vale0:base", "how=poll"]);
    let before = place.buffers_in_use("vale0:base");
    for round in 0..20 {
        let rx = ["rx", "vale0:base}1", "excl=1", "gapless=1", &how(round)];
        let mut rx = place.spawn_ready(&traffic, &rx);
        let tx = ["tx", "vale0:base{1", "excl=1", "batch=100", &how(round + 1)];
        let mut tx = place.spawn_ready(&traffic, &tx);
        assert_goes_on(&mut rx, "before its pipe is killed");
        assert_goes_on(&mut tx, "before its pipe is killed");
        let (first, second) = if round % 2 == 0 { (rx, tx) } else { (tx, rx) };
        kill(first);
        kill(second);
        assert_name_free(&place, "vale0:base{1");
        assert_name_free(&place, "vale0:base}1");
        let after = place.buffers_in_use("vale0:base");
        assert_eq!(after, before, "buffers lost in round {round}");
    }
    end(base);
    place.assert_left_clean();
}

#[test]
fn thirty_receiving_ends_of_a_pipe() {
    let traffic = or_skip!("killed receiving ends", program("traffic"));
    let place = Place::new();
    let tx = ["tx", "p0{x", "how=poll", "batch=100"];
    let mut tx = place.spawn_ready(&traffic, &tx);
    for round in 0..30 {
        // every receiver goes on where the one before left off, with nothing missing in between
        let args = ["rx", "p0}x", "excl=1", "gapless=2", &how(round)];
        let mut rx = place.spawn_ready(&traffic, &args);
        assert_goes_on(&mut rx, "before it is killed");
        kill(rx);
    }
    let mut last = place.spawn_ready(&traffic, &["rx", "p0}x", "gapless=2", "how=poll"]);
    assert_goes_on(&mut last, "after 30 others were killed");
    assert_goes_on(&mut tx, "after 30 of its receivers were killed");
    end(tx);
    end(last);
    place.assert_left_clean();
}

#[test]
fn thirty_sending_ends_of_a_pipe_lose_nothing_published() {
    let traffic = or_skip!("killed sending ends", program("traffic"));
    let place = Place::new();
    for round in 0..30 {
        let rx = place.spawn_ready(&traffic, &["rx", "p1}x", "gapless=1", &how(round)]);
        let args = ["tx", "p1{x", "excl=1", "batch=50", &how(round + 1)];
        let mut tx = place.spawn_ready(&traffic, &args);
        assert_goes_on(&mut tx, "before it is killed");
        tx.signal(rustix::process::Signal::KILL);
        tx.wait();
        // the batch announced last may not have been synced
        let published = moved(&tx).saturating_sub(50);
        wait_for("what was published to arrive", || {
            moved(&rx) >= published || rx.said().contains("FAILED")
        });
        assert!(!rx.said().contains("FAILED"), "{}", tail(&rx));
        end(rx);
    }
    place.assert_left_clean();
}

#[test]
fn packets_in_a_pipe_outlive_their_sender() {
    let traffic = or_skip!("packets of a killed sender", program("traffic"));
    let place = Place::new();
    let go = place.file("go");
    let go_arg = format!("go={}", go.display());
    let args = ["rx", "p2}x", "n=1000", "gapless=1", "how=poll", &go_arg];
    let rx = place.spawn_ready(&traffic, &args);
    let tx = place.spawn(&traffic, &["tx", "p2{x", "n=1000", "then=hold", "how=poll"]);
    wait_for("1000 packets in the pipe", || {
        place.port("p2}x").is_some_and(|p| p.rx[0].packets == 1000)
    });
    kill(tx);
    std::fs::write(&go, "").expect("the file can be written");
    let said = rx.wait_success();
    assert!(said.contains("end n=1000 lost=0"), "{said}");
    place.assert_left_clean();
}

//! Random traffic, random monitors: no buffer is lost or doubled, and monitors with room see
//! everything once and in order.

use proptest::prelude::*;

use super::*;
use uvale_control::Config;

#[derive(Clone, Debug)]
enum Act {
    /// a monitor of port `0`, zero-copy if `1`, of both directions
    Open(usize, bool),
    Close(usize),
    /// packets into the tx ring of a port, then a sync
    Send(usize, u8),
    /// a port takes all that has arrived and gives it back
    Take(usize),
    /// a port syncs and releases nothing
    Look(usize),
    /// a monitor takes all it has been shown and gives it back
    See(usize),
    /// a port is closed and opened again
    Reopen(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        2 => (0usize..2, any::<bool>()).prop_map(|(p, z)| Act::Open(p, z)),
        1 => any::<usize>().prop_map(Act::Close),
        6 => (0usize..2, 1u8..12).prop_map(|(p, n)| Act::Send(p, n)),
        4 => (0usize..2).prop_map(Act::Take),
        2 => (0usize..2).prop_map(Act::Look),
        4 => any::<usize>().prop_map(Act::See),
        1 => (0usize..2).prop_map(Act::Reopen),
    ];
    prop::collection::vec(act, 1..120)
}

/// A world whose memories are small enough to be counted after each step.
fn small_world() -> LocalWorld {
    let mut config = Config::default();
    config.global.buf.num = 4096;
    config.private.buf.num = 8;
    LocalWorld::new(config).unwrap()
}

const BOTH: u64 = NR_MONITOR_TX | NR_MONITOR_RX;

fn run(names: [&str; 2], acts: &[Act]) {
    let w = small_world();
    let mut ports = names.map(|name| Some(port(&w, name)));
    let mut monitors: Vec<LocalPort> = Vec::new();
    for act in acts {
        match *act {
            Act::Open(p, zero_copy) => {
                let flags = if zero_copy { NR_ZCOPY_MON } else { BOTH };
                // None if the memory has no ring left, which is netmap's limit too.
                monitors.extend(w.open(names[p], |r| r.nr_flags = flags));
            }
            Act::Close(i) if !monitors.is_empty() => w.close(monitors.remove(i % monitors.len())),
            Act::See(i) if !monitors.is_empty() => {
                seen(&w, &monitors[i % monitors.len()]);
            }
            Act::Send(p, n) => {
                let port = ports[p].as_ref().unwrap();
                for tag in 0..n {
                    put(&w, port, &packet(tag), 0);
                }
                port.attachment.txsync(&w);
            }
            Act::Take(p) => drop(take(&w, ports[p].as_ref().unwrap())),
            Act::Look(p) => ports[p].as_ref().unwrap().attachment.rxsync(&w),
            Act::Reopen(p) => {
                w.close(ports[p].take().unwrap());
                assert_eq!(audit(&w), []);
                ports[p] = Some(port(&w, names[p]));
            }
            Act::Close(_) | Act::See(_) => {}
        }
        assert_eq!(audit(&w), [], "after {act:?}");
    }
    for p in ports.into_iter().flatten().chain(monitors) {
        w.close(p);
        assert_eq!(audit(&w), []);
    }
    let world = w.world.lock().unwrap();
    assert!(world.is_quiet());
    assert_eq!((world.ports().count(), world.memories().count()), (0, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn of_vale_ports(acts in acts()) {
        run(["vale0:a", "vale0:b"], &acts);
    }

    #[test]
    fn of_pipes(acts in acts()) {
        run(["p{1", "p}1"], &acts);
    }

    /// Against queues: what is sent on one side, and what arrives on the other.
    #[test]
    fn copy_monitors_with_room_see_everything_once(
        batches in prop::collection::vec((0u8..15, any::<bool>(), any::<bool>()), 1..60),
        pipe: bool,
    ) {
        let names = if pipe { ["p{1", "p}1"] } else { ["vale0:a", "vale0:b"] };
        let w = small_world();
        let (a, b) = (port(&w, names[0]), port(&w, names[1]));
        let big = |name: &str, flags| {
            w.open(name, |r| (r.nr_flags, r.nr_rx_slots) = (flags, 1024)).unwrap()
        };
        let (sent, arrived) = (big(names[0], NR_MONITOR_TX), big(names[1], NR_MONITOR_RX));
        let (mut expected, mut received, mut tag) = (Vec::new(), 0, 0u8);
        let (mut saw_sent, mut saw_arrived) = (Vec::new(), Vec::new());
        for (n, taken, looked) in batches {
            for _ in 0..n {
                if put(&w, &a, &packet(tag), 0) {
                    expected.push(tag);
                    tag = tag.wrapping_add(1);
                }
            }
            a.attachment.txsync(&w);
            if looked {
                saw_sent.extend(seen(&w, &sent));
                saw_arrived.extend(seen(&w, &arrived));
            }
            if taken {
                received += take(&w, &b).len();
                a.attachment.txsync(&w);
            }
        }
        received += take(&w, &b).len();
        saw_sent.extend(seen(&w, &sent));
        saw_arrived.extend(seen(&w, &arrived));
        prop_assert_eq!(saw_sent, tx_tags(expected.iter().copied()));
        prop_assert_eq!(saw_arrived.len(), received);
        if pipe {
            prop_assert_eq!(saw_arrived, rx_tags(expected));
        }
    }
}

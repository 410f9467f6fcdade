//! Sync loops: their states, and what refuses them.

use super::options::{ask_with, option, status};
use super::*;
use uvale_shared::ctl::{KLOOP_RUNNING, KLOOP_STOPPING};

fn start(w: &mut World, c: ClientId, session: u32, sleep_us: u32) -> Option<Errno> {
    let body = nmreq_sync_kloop_start { sleep_us, pad1: 0 };
    let mut r = request(NETMAP_REQ_SYNC_KLOOP_START, "", &body);
    let mut caller = Caller {
        session,
        ..Caller::default()
    };
    w.request_from(c, &mut caller, &mut r)
        .err()
        .map(|e| e.errno)
}

fn stop(w: &mut World, c: ClientId) -> Option<Errno> {
    let mut r = request(
        NETMAP_REQ_SYNC_KLOOP_STOP,
        "",
        &nmreq_vale_detach::default(),
    );
    r.body.clear();
    w.request(c, &mut r).err().map(|e| e.errno)
}

/// A port in CSB mode.
fn port(w: &mut World, name: &str) -> ClientId {
    let reg = nmreq_register {
        nr_flags: NR_EXCLUSIVE,
        ..all()
    };
    let (c, _) = open(w, name, reg);
    w.set_csb(c, 4096, 8192);
    c
}

fn word(w: &World, c: ClientId) -> u32 {
    w.kloop_word(c).unwrap().load(Relaxed) & (KLOOP_RUNNING | KLOOP_STOPPING)
}

#[test]
fn refusals_come_in_netmaps_order() {
    let mut w = world();
    let c = w.open();
    assert_eq!(start(&mut w, c, 2, 1_000_001), Some(Errno::INVAL));
    assert_eq!(start(&mut w, c, 2, 1_000_000), Some(Errno::NXIO));
    assert_eq!(stop(&mut w, c), Some(Errno::NXIO));
    let (p, _) = open(&mut w, "vale0:q", all());
    assert_eq!(start(&mut w, p, 2, 0), Some(Errno::INVAL));
    assert_eq!(stop(&mut w, p), None);
}

#[test]
fn one_loop_at_a_time() {
    let mut w = world();
    let c = port(&mut w, "vale0:q");
    assert_eq!(start(&mut w, c, 2, 0), None);
    assert_eq!(word(&w, c), KLOOP_RUNNING);
    assert_eq!(start(&mut w, c, 3, 0), Some(Errno::BUSY));
    assert_eq!(stop(&mut w, c), None);
    assert_eq!(word(&w, c), KLOOP_RUNNING | KLOOP_STOPPING);
    assert_eq!(start(&mut w, c, 3, 0), Some(Errno::BUSY));
    w.kloop_end(c);
    assert_eq!(word(&w, c), 0);
    // A stop that comes first ends the loop that comes next.
    assert_eq!(stop(&mut w, c), None);
    assert_eq!(start(&mut w, c, 2, 0), None);
    assert_eq!(word(&w, c), KLOOP_RUNNING | KLOOP_STOPPING);
    w.kloop_end(c);
    assert_eq!(start(&mut w, c, 2, 0), None);
    assert_eq!(word(&w, c), KLOOP_RUNNING);
    w.close(c);
    assert_eq!((w.ports().count(), w.krings_in_use()), (0, 0));
}

#[test]
fn a_loop_goes_with_the_process_that_runs_it() {
    let mut w = world();
    let (a, b) = (port(&mut w, "vale0:a"), port(&mut w, "vale0:b"));
    assert_eq!(start(&mut w, a, 2, 0), None);
    assert_eq!(start(&mut w, b, 3, 0), None);
    w.session_died(2);
    assert_eq!((w.kloop_runs(a), w.kloop_runs(b)), (false, true));
    assert_eq!((word(&w, a), word(&w, b)), (0, KLOOP_RUNNING));
    assert_eq!(start(&mut w, a, 4, 0), None);
}

#[test]
fn a_loop_forbids_another_csb() {
    let mut w = world();
    let c = port(&mut w, "vale0:q");
    let csb = nmreq_opt_csb {
        nro_opt: nmreq_option {
            nro_reqtype: NETMAP_REQ_OPT_CSB,
            ..nmreq_option::default()
        },
        ..nmreq_opt_csb::default()
    };
    let enable = |w: &mut World| {
        let none = nmreq_vale_detach::default();
        let what = (NETMAP_REQ_CSB_ENABLE, "");
        let (errno, r) = ask_with(w, c, what, &none, &[option(&csb)]);
        assert_eq!(status(&r, 0), errno);
        errno
    };
    assert_eq!(enable(&mut w), None);
    assert_eq!(start(&mut w, c, 2, 0), None);
    assert_eq!(enable(&mut w), Some(Errno::BUSY));
    w.kloop_end(c);
    assert_eq!(enable(&mut w), None);
}

fn mode(mode: u32) -> uvale_request::OptionCopy {
    option(&nmreq_opt_sync_kloop_mode {
        nro_opt: nmreq_option {
            nro_reqtype: NETMAP_REQ_OPT_SYNC_KLOOP_MODE,
            ..nmreq_option::default()
        },
        mode,
        _pad0: 0,
    })
}

fn eventfds(entries: &[(i32, i32)], more: u64) -> uvale_request::OptionCopy {
    let header = nmreq_option {
        nro_reqtype: NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS,
        nro_size: 24 + 8 * entries.len() as u64 + more,
        ..nmreq_option::default()
    };
    let mut copy = option(&header);
    for (ioeventfd, irqfd) in entries {
        copy.body.extend(ioeventfd.to_le_bytes());
        copy.body.extend(irqfd.to_le_bytes());
    }
    copy
}

#[test]
fn options_of_a_loop() {
    let mut w = world();
    let c = port(&mut w, "vale0:q");
    let both = [(5, 6), (7, 8)];
    let silent = [(5, 6), (-1, 8)];
    let bad = Some(Errno::INVAL);
    let unserved = Some(Errno::OPNOTSUPP);
    for (options, want, statuses) in [
        (vec![mode(3)], None, vec![None]),
        (vec![mode(4)], bad, vec![bad]),
        (vec![eventfds(&both, 0)], None, vec![None]),
        (vec![eventfds(&both[..1], 0)], bad, vec![bad]),
        (vec![eventfds(&both, 1)], bad, vec![bad]),
        (vec![eventfds(&[], 0)], bad, vec![bad]),
        (vec![eventfds(&silent, 0)], None, vec![None]),
        (vec![eventfds(&silent, 0), mode(0)], None, vec![None, None]),
        (vec![eventfds(&silent, 0), mode(1)], bad, vec![bad, None]),
        (vec![mode(8), eventfds(&both, 0)], bad, vec![bad, unserved]),
        (vec![eventfds(&both, 0), mode(2)], None, vec![None, None]),
    ] {
        let body = nmreq_sync_kloop_start::default();
        let what = (NETMAP_REQ_SYNC_KLOOP_START, "");
        let (errno, r) = ask_with(&mut w, c, what, &body, &options);
        assert_eq!(errno, want, "{options:?}");
        for (i, want) in statuses.into_iter().enumerate() {
            assert_eq!(status(&r, i), want, "{options:?}");
        }
        assert_eq!(w.kloop_runs(c), errno.is_none());
        w.kloop_end(c);
    }
}

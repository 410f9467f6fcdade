//! Section persist0 of the record, and the life of persistent ports as the source has it.

use super::*;

pub(super) fn newif(w: &mut World, name: &str) -> core::result::Result<nmreq_vale_newif, Errno> {
    let c = w.open();
    let made = ask(
        w,
        c,
        NETMAP_REQ_VALE_NEWIF,
        name,
        nmreq_vale_newif::default(),
    );
    w.close(c);
    made
}

pub(super) fn delif(w: &mut World, name: &str) -> Option<Errno> {
    let c = w.open();
    let mut r = request(NETMAP_REQ_VALE_DELIF, name, &nmreq_port_hdr::default());
    r.body.clear();
    let gone = w.request(c, &mut r).err().map(|e| e.errno);
    w.close(c);
    gone
}

pub(super) fn attach(w: &mut World, name: &str, mem_id: u16) -> core::result::Result<u32, Errno> {
    let c = w.open();
    let reg = nmreq_register {
        nr_mem_id: mem_id,
        ..all()
    };
    let body = nmreq_vale_attach {
        reg,
        ..nmreq_vale_attach::default()
    };
    let done = ask(w, c, NETMAP_REQ_VALE_ATTACH, name, body).map(|b| b.port_index);
    w.close(c);
    done
}

pub(super) fn detach(w: &mut World, name: &str) -> core::result::Result<u32, Errno> {
    let c = w.open();
    let done = ask(
        w,
        c,
        NETMAP_REQ_VALE_DETACH,
        name,
        nmreq_vale_detach::default(),
    )
    .map(|b| b.port_index);
    w.close(c);
    done
}

#[test]
fn the_cycle_of_the_record() {
    let mut w = world();
    assert!(newif(&mut w, "z0").is_ok());
    assert_eq!(attach(&mut w, "vale2:z0", 0), Ok(0));
    assert_eq!(attach(&mut w, "vale2:z0", 0), Err(Errno::BUSY));
    assert_eq!(delif(&mut w, "z0"), Some(Errno::BUSY));
    let c = w.open();
    let mut r = request(NETMAP_REQ_VALE_LIST, "", &nmreq_vale_list::default());
    assert!(w.request(c, &mut r).is_ok());
    assert_eq!(uvale_request::name_of(&mut r.header), b"vale2:z0");
    assert_eq!(detach(&mut w, "vale2:z0"), Ok(0));
    assert_eq!(detach(&mut w, "vale2:z0"), Err(Errno::NXIO));
    assert_eq!(attach(&mut w, "vale2:z0", 0), Ok(0));
    assert_eq!(detach(&mut w, "vale2:z0"), Ok(0));
    assert_eq!(delif(&mut w, "z0"), None);
    assert_eq!(delif(&mut w, "z0"), Some(Errno::NXIO));
    assert_eq!(
        (
            w.ports().count(),
            w.switches().count(),
            w.memories().count()
        ),
        (0, 0, 1)
    );
}

#[test]
fn names_and_answers() {
    let mut w = world();
    for (name, want) in [
        ("vale0", Errno::INVAL),
        ("", Errno::INVAL),
        ("a/b", Errno::INVAL),
        ("a b", Errno::INVAL),
        ("abcdefghijklmnop", Errno::INVAL),
        ("..", Errno::INVAL),
    ] {
        assert_eq!(newif(&mut w, name).err(), Some(want), "{name:?}");
    }
    let made = newif(&mut w, "abcdefghijklmno").unwrap();
    assert_eq!(
        (
            made.nr_tx_rings,
            made.nr_rx_rings,
            made.nr_tx_slots,
            made.nr_rx_slots
        ),
        (1, 1, 1024, 1024)
    );
    assert!(made.nr_mem_id > 1);
    assert_eq!(newif(&mut w, "abcdefghijklmno").err(), Some(Errno::EXIST));
    let c = w.open();
    let body = nmreq_vale_newif {
        nr_mem_id: 77,
        ..nmreq_vale_newif::default()
    };
    assert_eq!(
        ask(&mut w, c, NETMAP_REQ_VALE_NEWIF, "m", body).err(),
        Some(Errno::INVAL)
    );
    assert_eq!(w.ports().count(), 1);
    assert_eq!(delif(&mut w, "abcdefghijklmno"), None);
}

#[test]
fn it_can_be_opened_attached_or_not() {
    let mut w = world();
    newif(&mut w, "z1").unwrap();
    let (c, reg) = open(&mut w, "z1", all());
    assert_eq!(View::of(&w, c).name(), "z1");
    assert_eq!(reg.nr_memsize, 42_369_024);
    assert_eq!(delif(&mut w, "z1"), Some(Errno::BUSY));
    assert_eq!(attach(&mut w, "vale0:z1", 0), Err(Errno::BUSY));
    assert_eq!(w.switches().count(), 0, "the refused attach left nothing");
    let generation = w.binding(c).unwrap().generation;
    w.close(c);
    assert_eq!(attach(&mut w, "vale0:z1", 0), Ok(0));
    // as an ephemeral port of the switch it is not to be had
    assert_eq!(attempt(&mut w, "vale1:z1", all()).err(), Some(Errno::INVAL));
    let (c, _) = open(&mut w, "z1", all());
    assert_ne!(w.binding(c).unwrap().generation, generation);
    let info = w.ports().next().unwrap();
    assert_eq!(
        (info.name.as_str(), info.switch, info.users),
        ("z1", Some((0, 0)), 1)
    );
    // netmap's oddity: once opened it has forgotten its name on the switch
    assert_eq!(attempt(&mut w, "vale0:z1", all()).err(), Some(Errno::INVAL));
    w.close(c);
    assert_eq!(delif(&mut w, "z1"), Some(Errno::BUSY));
    // but it can be detached, and go
    assert_eq!(detach(&mut w, "vale1:z1"), Err(Errno::NXIO));
    assert_eq!(detach(&mut w, "vale0:z1"), Ok(0));
    assert_eq!(delif(&mut w, "z1"), None);
    assert_eq!(w.ports().count(), 0);
}

#[test]
fn memory_given_with_a_request_lasts_as_long_as_the_descriptors() {
    let mut w = world();
    let own = newif(&mut w, "z2").unwrap().nr_mem_id;
    let (c, reg) = open(
        &mut w,
        "z2",
        nmreq_register {
            nr_mem_id: 1,
            ..all()
        },
    );
    assert_eq!(reg.nr_mem_id, 1);
    w.close(c);
    let (c, reg) = open(&mut w, "z2", all());
    assert_eq!(reg.nr_mem_id, own);
    w.close(c);
    assert_eq!(delif(&mut w, "z2"), None);
    assert_eq!(w.memories().count(), 1);
}

#[test]
fn a_port_made_for_a_pipe_goes_with_it() {
    let mut w = world();
    let (c, _) = open(&mut w, "foo{1", all());
    assert_eq!(delif(&mut w, "foo"), Some(Errno::INVAL));
    let (p, _) = open(&mut w, "foo", all());
    w.close(c);
    assert_eq!(w.ports().count(), 1);
    w.close(p);
    assert_eq!(w.ports().count(), 0);
    assert_eq!(attempt(&mut w, "foo", all()).err(), Some(Errno::NXIO));
}

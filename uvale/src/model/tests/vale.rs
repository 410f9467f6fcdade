//! Sections reg_vale, extra, limits and err_reg of the record.

use super::*;

fn with(rings: [u16; 2], slots: [u32; 2]) -> nmreq_register {
    nmreq_register {
        nr_tx_rings: rings[0],
        nr_rx_rings: rings[1],
        nr_tx_slots: slots[0],
        nr_rx_slots: slots[1],
        ..all()
    }
}

fn pools(w: &mut World, name: &str, mem_id: u16) -> core::result::Result<nmreq_pools_info, Errno> {
    let c = w.open();
    let body = nmreq_pools_info {
        nr_mem_id: mem_id,
        ..nmreq_pools_info::default()
    };
    let result = ask(w, c, NETMAP_REQ_POOLS_INFO_GET, name, body);
    w.close(c);
    result
}

#[test]
fn a_default_port_looks_as_on_the_kernel() {
    let mut w = world();
    let (c, reg) = open(&mut w, "vale0:a", all());
    assert_eq!(
        (
            reg.nr_tx_rings,
            reg.nr_rx_rings,
            reg.nr_host_tx_rings,
            reg.nr_host_rx_rings
        ),
        (1, 1, 0, 0)
    );
    assert_eq!(
        (reg.nr_tx_slots, reg.nr_rx_slots, reg.nr_extra_bufs),
        (1024, 1024, 0)
    );
    assert_eq!((reg.nr_memsize, reg.nr_offset), (42_369_024, 0));
    assert!(reg.nr_mem_id > 1);
    let v = View::of(&w, c);
    assert_eq!(v.name(), "vale0:a");
    assert_eq!(v.netmap_if(), [NI_PRIV_MEM, 1, 1, 0, 1, 1]);
    assert_eq!(v.ring_header(true, 0), [1024, 2048, 0, 1, 0, 0, 1023]);
    assert_eq!(v.ring_header(false, 0), [1024, 2048, 0, 0, 0, 0, 0]);
    let ofs = v.ring_ofs();
    assert_eq!((ofs[1], ofs[3]), (0, 0));
    assert!(ofs[0] > 0 && ofs[2] > 0);
    // rx rings come first, lowest buffers first
    assert_eq!(v.buffers(false, 0), (2..1026).collect::<Vec<_>>());
    assert_eq!(v.buffers(true, 0), (1026..2050).collect::<Vec<_>>());
    w.close(c);
    assert_eq!(w.ports().count(), 0);
    assert_eq!(w.krings_in_use(), 0);
}

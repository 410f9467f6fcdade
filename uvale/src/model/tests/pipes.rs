//! Sections reg_pipe, pipe_mem and limits.pipes of the record.

use super::*;

#[test]
fn both_ends_show_the_same_buffers() {
    let mut w = world();
    let (m, reg) = open(&mut w, "foo{1", all());
    assert_eq!((reg.nr_memsize, reg.nr_offset), (42_369_024, 0));
    let (s, reg_s) = open(&mut w, "foo}1", all());
    assert_eq!((reg_s.nr_mem_id, reg_s.nr_offset), (reg.nr_mem_id, 1024));
    let (vm, vs) = (View::of(&w, m), View::of(&w, s));
    assert_eq!((vm.name(), vs.name()), ("foo{1".into(), "foo}1".into()));
    for tx in [true, false] {
        let ours = vm.buffers(tx, 0);
        assert_eq!(ours, vs.buffers(!tx, 0));
        assert_eq!(ours.len(), 1024);
        assert!(ours.iter().all(|b| *b >= 2));
    }
    assert!(w.audit().is_empty(), "{:?}", w.audit());
    w.close(m);
    assert_eq!(w.ports().count(), 3);
    w.close(s);
    assert_eq!(w.ports().count(), 0);
    assert_eq!(w.krings_in_use(), 0);
}

//! Allocators by themselves: ids, sizes, users.

use super::*;

fn memories() -> Memories {
    Memories::new(&Config::default())
}

#[test]
fn ids_go_up_from_the_last_one() {
    let mut m = memories();
    let mut new = || m.new_private([1, 1], [1, 1], 0).unwrap();
    assert_eq!([new(), new(), new()], [2, 3, 4]);
    m.put(3);
    assert_eq!(m.new_private([1, 1], [1, 1], 0).unwrap(), 5);
    m.put(5);
    // the last one is gone, so the search starts from the one below
    assert_eq!(m.new_private([1, 1], [1, 1], 0).unwrap(), 5);
    assert!(m.find(3).is_err());
    assert_eq!(m.find(1).unwrap(), 1);
}

#[test]
fn ids_wrap_past_those_in_use() {
    let mut m = memories();
    m.last = u16::MAX;
    m.by_id
        .insert(u16::MAX, Memory::new(u16::MAX, true, m.private));
    assert_eq!(m.new_private([1, 1], [1, 1], 0).unwrap(), 2);
}

#[test]
fn sizes_of_the_record() {
    let mut m = memories();
    assert_eq!(m.at(GLOBAL).size().unwrap(), 343_019_520);
    for (rings, slots, extra, size) in [
        ([1, 1], [1024, 1024], 0, 42_369_024),
        ([2, 3], [512, 256], 10, 18_333_696),
        ([1, 1], [1024, 1024], 10, 42_389_504),
    ] {
        let id = m.new_private(rings, slots, extra).unwrap();
        assert_eq!(m.at(id).size().unwrap(), size);
    }
}

#[test]
fn the_last_user_leaves_everything_free() {
    let mut m = memories();
    let id = m.new_private([1, 1], [64, 64], 0).unwrap();
    m.finalize(id).unwrap();
    m.finalize(id).unwrap();
    let region = m.at(id).region.unwrap();
    let free = m.at(id).pool(Which::Buf).unwrap().free_count();
    m.at_mut(id)
        .pool_mut(Which::Buf)
        .unwrap()
        .take(&mut 0)
        .unwrap();
    m.deref(id);
    assert_eq!(m.at(id).pool(Which::Buf).unwrap().free_count(), free - 1);
    m.deref(id);
    assert_eq!(m.at(id).pool(Which::Buf).unwrap().free_count(), free);
    assert!(m.region(region).is_some());
    m.put(id);
    assert!(m.region(region).is_none());
    m.finalize(GLOBAL).unwrap();
    assert_eq!(m.at(GLOBAL).region, Some(region + 1));
}

#[test]
fn a_configuration_can_be_checked_beforehand() {
    assert!(Config::default().check().is_ok());
    let refused = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        config.check().unwrap_err().why
    };
    assert!(refused(|c| c.global.buf.size = 1 << 20).contains("buf_size"));
    assert!(refused(|c| c.global.ring.num = 1).contains("ring_num"));
    assert!(refused(|c| c.private.netif.num = 101).contains("priv_if_num"));
    assert!(refused(|c| c.max_switches = 257).contains("max_switches"));
}

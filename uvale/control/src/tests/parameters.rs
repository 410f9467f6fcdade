//! Parameters: texts, defaults, and when a change takes effect.

use nm_abi::{NETMAP_REQ_REGISTER, NR_REG_ALL_NIC, nmreq_register};

use super::super::memory::GLOBAL;
use super::super::tests::{request, world};
use super::*;
use crate::ClientId;

fn value(w: &World, name: &str) -> String {
    w.parameter_value(World::parameter(name).unwrap())
}

fn set(w: &mut World, name: &str, text: &str) -> core::result::Result<(), Errno> {
    w.set_parameter(name, text)
        .map(drop)
        .map_err(|refusal| refusal.errno)
}

/// A port in the memory `mem_id` (0: of its own).
fn open(w: &mut World, name: &str, mem_id: u16) -> Result<ClientId> {
    let reg = nmreq_register {
        nr_mode: NR_REG_ALL_NIC,
        nr_mem_id: mem_id,
        ..nmreq_register::default()
    };
    let client = w.open();
    match w.request(client, &mut request(NETMAP_REQ_REGISTER, name, &reg)) {
        Ok(()) => Ok(client),
        Err(refusal) => {
            w.close(client);
            Err(refusal)
        }
    }
}

/// Size and number of the objects of a pool.
fn pool(w: &World, mem_id: u16, which: Which) -> (u32, u32) {
    let pool = w.memories.at(mem_id).pool(which).unwrap();
    (pool.size(), pool.total())
}

#[test]
fn netmaps_names_and_values() {
    let w = world();
    let of = |name: &str| World::parameter(name).unwrap();
    for (name, value, writable) in [
        ("verbose", "0", true),
        ("no_pendintr", "1", true),
        ("txsync_retry", "2", true),
        ("generic_mit", "100000", true),
        ("ptnet_gso", "Y", true),
        ("bridge_batch", "1024", true),
        ("max_bridges", "8", false),
        ("if_size", "1024", true),
        ("if_num", "100", true),
        ("if_curr_size", "0", false),
        ("ring_size", "36864", true),
        ("ring_num", "200", true),
        ("buf_size", "2048", true),
        ("buf_num", "163840", true),
        ("buf_curr_num", "0", false),
        ("priv_if_num", "2", true),
        ("priv_ring_size", "20480", true),
        ("priv_buf_num", "4098", true),
    ] {
        assert_eq!(
            (w.parameter_value(of(name)).as_str(), of(name).is_writable()),
            (value, writable),
            "{name}"
        );
        assert_eq!(of(name).default_value(), value, "{name}");
    }
    assert_eq!(World::parameters().len(), 35);
    assert!(World::parameter("nonsense").is_none());
    assert!(!w.has_changed_parameters());
}

#[test]
fn numbers_are_read_as_the_kernel_reads_them() {
    let mut w = world();
    for (text, expected) in [
        ("7", Ok("7")),
        ("7\n", Ok("7")),
        ("-7\n", Ok("-7")),
        ("+7", Ok("7")),
        ("0x1f", Ok("31")),
        ("0X1F", Ok("31")),
        ("017", Ok("15")),
        ("0", Ok("0")),
        ("2147483647", Ok("2147483647")),
        ("-2147483648", Ok("-2147483648")),
        ("2147483648", Err(Errno::RANGE)),
        ("0xffffffff", Err(Errno::RANGE)),
        ("99999999999999999999", Err(Errno::RANGE)),
        ("", Err(Errno::INVAL)),
        ("\n", Err(Errno::INVAL)),
        ("7\n\n", Err(Errno::INVAL)),
        (" 7", Err(Errno::INVAL)),
        ("7 ", Err(Errno::INVAL)),
        ("7k", Err(Errno::INVAL)),
        ("-", Err(Errno::INVAL)),
        ("--7", Err(Errno::INVAL)),
        ("+-7", Err(Errno::INVAL)),
        ("0x", Err(Errno::INVAL)),
        ("08", Err(Errno::INVAL)),
        ("y", Err(Errno::INVAL)),
    ] {
        set(&mut w, "verbose", "5").unwrap();
        let got = set(&mut w, "verbose", text);
        assert_eq!(got, expected.map(drop), "{text:?}");
        assert_eq!(value(&w, "verbose"), expected.unwrap_or("5"), "{text:?}");
    }
    for (text, expected) in [
        ("n", "N"),
        ("1\n", "Y"),
        ("off", "N"),
        ("On", "Y"),
        ("0", "N"),
    ] {
        set(&mut w, "ptnet_gso", text).unwrap();
        assert_eq!(value(&w, "ptnet_gso"), expected, "{text:?}");
    }
    assert_eq!(set(&mut w, "ptnet_gso", "2"), Err(Errno::INVAL));
    // an unsigned variable that netmap shows as a signed one
    set(&mut w, "buf_size", "-1").unwrap();
    assert_eq!(value(&w, "buf_size"), "-1");
}

#[test]
fn what_cannot_be_written() {
    let mut w = world();
    assert_eq!(set(&mut w, "nonsense", "1"), Err(Errno::NOENT));
    for name in ["max_bridges", "if_curr_size", "buf_curr_num"] {
        assert_eq!(set(&mut w, name, "1"), Err(Errno::ACCESS), "{name}");
    }
    assert!(!w.has_changed_parameters());
    let mut config = Config::default();
    assert!(config.set_parameter("max_bridges", "9").is_ok());
    assert_eq!(config.max_switches, 9);
    assert!(config.set_parameter("buf_curr_num", "9").is_err());
}

/// A change waits until the global allocator has no users.
#[test]
fn the_global_allocator_changes_when_nobody_uses_it() {
    let mut w = world();
    let first = open(&mut w, "a{1", 1).unwrap();
    assert_eq!(value(&w, "buf_curr_size"), "2048");
    assert_eq!(value(&w, "buf_curr_num"), "163840");
    set(&mut w, "buf_size", "4096").unwrap();
    set(&mut w, "buf_num", "1000").unwrap();
    set(&mut w, "ring_size", "16384").unwrap();
    set(&mut w, "if_num", "50").unwrap();
    let second = open(&mut w, "a}1", 1).unwrap();
    assert_eq!(pool(&w, GLOBAL, Which::Buf), (2048, 163_840));
    w.close(first);
    assert_eq!(pool(&w, GLOBAL, Which::Buf), (2048, 163_840));
    w.close(second);
    assert_eq!(
        value(&w, "buf_curr_size"),
        "2048",
        "nobody has asked for it yet"
    );

    let third = open(&mut w, "a{1", 1);
    assert!(
        third.is_err(),
        "a ring of 1024 slots does not fit 16384 bytes"
    );
    assert_eq!(pool(&w, GLOBAL, Which::Buf), (4096, 1000));
    assert_eq!(pool(&w, GLOBAL, Which::Ring), (16384, 200));
    // whole clusters
    assert_eq!(pool(&w, GLOBAL, Which::If), (1024, 52));
    let size = w.memories.at(GLOBAL).size().unwrap();
    assert_eq!(size, 52 * 1024 + 200 * 16384 + 1000 * 4096);
    assert_eq!(value(&w, "buf_curr_size"), "4096");
    assert_eq!(value(&w, "buf_curr_num"), "1000");
    set(&mut w, "buf_num", "8200").unwrap();
    set(&mut w, "ring_size", "36864").unwrap();
    let fourth = open(&mut w, "a{1", 1).unwrap();
    assert_eq!(value(&w, "ring_curr_size"), "36864");
    w.close(fourth);
}

/// A size that will not do is stored; the port that needs it is refused, with the way out.
#[test]
fn a_bad_size_is_explained_when_it_is_needed() {
    let mut w = world();
    let warning = w.set_parameter("buf_num", "3").unwrap().unwrap();
    assert!(warning.contains("set buf_num to 4 to 1000000"), "{warning}");
    assert_eq!(value(&w, "buf_num"), "3");
    let refusal = open(&mut w, "vale0:g", 1).unwrap_err();
    assert_eq!(refusal.errno, Errno::INVAL);
    assert!(
        refusal.why.contains("set buf_num to 4 to 1000000"),
        "{}",
        refusal.why
    );
    let refusal = open(&mut w, "a{1", 1).unwrap_err();
    assert_eq!(refusal.errno, Errno::NXIO);
    assert!(
        refusal.why.contains("set buf_num to 4 to 1000000"),
        "{}",
        refusal.why
    );
    let private = open(&mut w, "vale0:a", 0).unwrap();
    assert_eq!(w.set_parameter("buf_num", "4000").unwrap(), None);
    let client = open(&mut w, "vale0:g", 1).unwrap();
    w.close(client);
    w.close(private);

    set(&mut w, "ring_size", "131008").unwrap();
    let refusal = open(&mut w, "vale0:g", 1).unwrap_err();
    assert!(
        refusal.why.contains("set ring_size to 131072"),
        "{}",
        refusal.why
    );
    set(&mut w, "ring_size", "8192").unwrap();
    let refusal = open(&mut w, "vale0:g", 1).unwrap_err();
    assert_eq!(refusal.errno, Errno::NOMEM);
    assert!(
        refusal.why.contains("set ring_size=16640"),
        "{}",
        refusal.why
    );
    set(&mut w, "ring_size", "16640").unwrap();
    set(&mut w, "buf_num", "100").unwrap();
    let refusal = open(&mut w, "vale0:g", 1).unwrap_err();
    assert!(
        refusal.why.contains("set buf_num to 1026 or more"),
        "{}",
        refusal.why
    );
}

/// Private allocators are made by what is wanted at that moment.
#[test]
fn private_allocators_begin_with_the_change() {
    let mut w = world();
    let a = open(&mut w, "vale0:a", 0).unwrap();
    set(&mut w, "priv_buf_size", "4096").unwrap();
    set(&mut w, "priv_buf_num", "50000").unwrap();
    let b = open(&mut w, "vale0:b", 0).unwrap();
    let (old, new) = (w.bound(a).unwrap().mem_id, w.bound(b).unwrap().mem_id);
    assert_eq!(pool(&w, old, Which::Buf).0, 2048);
    assert_eq!(pool(&w, new, Which::Buf), (4096, 50_000));
    set(&mut w, "priv_if_num", "101").unwrap();
    let refusal = open(&mut w, "vale0:c", 0).unwrap_err();
    assert!(
        refusal.why.contains("set priv_if_num to 1 to 100"),
        "{}",
        refusal.why
    );
}

#[test]
fn the_data_path_is_told() {
    let mut w = world();
    let tuning = |w: &World| {
        let t = w.ctl().tuning().unwrap();
        (t.batch.load(Relaxed), t.timestamps.load(Relaxed))
    };
    assert_eq!(tuning(&w), (1024, 1));
    for (text, batch) in [("5", 5), ("0", 0), ("-3", 0), ("5000", 1024)] {
        set(&mut w, "bridge_batch", text).unwrap();
        assert_eq!(tuning(&w), (batch, 1), "{text}");
        assert_eq!(value(&w, "bridge_batch"), text);
    }
    set(&mut w, "no_timestamp", "1").unwrap();
    assert_eq!(tuning(&w).1, 0);
    assert!(w.has_changed_parameters());
    set(&mut w, "no_timestamp", "0").unwrap();
    set(&mut w, "bridge_batch", "1024").unwrap();
    assert!(!w.has_changed_parameters());
}

//! `nm_open` of the C headers and [`NmOpenName`] read names alike: a table of names, each with
//! what must come out, and many random ones. With `NETMAP_INCLUDE=dir` the headers in that
//! directory are asked as well.

mod common;

use nm_abi::name::{NmOpenName, until_nul};
use nm_abi::{AbiBytes, NR_REG_ALL_NIC as ALL, NR_REG_NIC_SW as NIC_SW, NR_REG_ONE_NIC as ONE};
use nm_abi::{NR_REG_PIPE_MASTER as MASTER, NR_REG_PIPE_SLAVE as SLAVE, NR_REG_SW as SW};
use proptest::strategy::{Strategy, ValueTree};
use std::path::Path;
use std::process::Command;

const X: u32 = nm_abi::NR_EXCLUSIVE as u32;
const Z: u32 = nm_abi::NR_ZCOPY_MON as u32;
const T: u32 = nm_abi::NR_MONITOR_TX as u32;
const R: u32 = nm_abi::NR_MONITOR_RX as u32;
const RX: u32 = nm_abi::NR_RX_RINGS_ONLY as u32;
const TX: u32 = nm_abi::NR_TX_RINGS_ONLY as u32;

/// Name in the request, nr_flags, nr_ringid, nr_arg2; or the errno.
type Expected = Result<(&'static str, u32, u16, u16), i32>;

const EINVAL: Expected = Err(22);
const ERANGE: Expected = Err(34);
const NOT_OURS: Expected = Err(0);

#[rustfmt::skip]
const TABLE: &[(&str, Expected)] = &[
    // whose names
    ("", NOT_OURS),
    ("eth0", NOT_OURS),
    ("netmap", NOT_OURS),
    ("netmap-x:", NOT_OURS),
    ("Netmap:x", NOT_OURS),
    ("val0:x", NOT_OURS),
    ("VALE0:x", NOT_OURS),
    // interfaces
    ("netmap:eth0", Ok(("eth0", ALL, 0, 0))),
    ("netmap:", Ok(("", ALL, 0, 0))),
    ("netmap:eth0.5", Ok(("eth0.5", ALL, 0, 0))),
    ("netmap:a b", Ok(("a b", ALL, 0, 0))),
    ("netmap:vale0:1", Ok(("vale0:1", ALL, 0, 0))),
    ("netmap:netmap:x", Ok(("netmap:x", ALL, 0, 0))),
    ("netmap:abcdefghijklmno", Ok(("abcdefghijklmno", ALL, 0, 0))),
    ("netmap:abcdefghijklmnop", EINVAL),
    ("netmap:w-lo", EINVAL),
    ("netmap:foo+", Ok(("foo+", ALL, 0, 0))),
    // switch ports
    ("vale0:a", Ok(("vale0:a", ALL, 0, 0))),
    ("vale:x", Ok(("vale:x", ALL, 0, 0))),
    ("vale:", Ok(("vale:", ALL, 0, 0))),
    ("valeA_1:f_2", Ok(("valeA_1:f_2", ALL, 0, 0))),
    ("vale012345678:a", Ok(("vale012345678:a", ALL, 0, 0))),
    ("vale0123456789:a", EINVAL),
    ("vale", EINVAL),
    ("vale0", EINVAL),
    ("vale-1:a", EINVAL),
    ("vale.:a", EINVAL),
    ("vale0:a.b", EINVAL),
    ("vale0:a:b", EINVAL),
    ("vale0:a b", EINVAL),
    ("vale0:é", EINVAL),
    // rings
    ("netmap:eth0^", Ok(("eth0", SW, 0, 0))),
    ("netmap:eth0^3", EINVAL),
    ("netmap:eth0*", Ok(("eth0", NIC_SW, 0, 0))),
    ("netmap:eth0*1", EINVAL),
    ("netmap:eth0-0", Ok(("eth0", ONE, 0, 0))),
    ("netmap:eth0-3", Ok(("eth0", ONE, 3, 0))),
    ("netmap:eth0-4094", Ok(("eth0", ONE, 4094, 0))),
    ("netmap:eth0-4095", EINVAL),
    ("netmap:eth0--1", EINVAL),
    ("netmap:eth0-+2", Ok(("eth0", ONE, 2, 0))),
    ("netmap:eth0- 2", Ok(("eth0", ONE, 2, 0))),
    ("netmap:eth0-010", Ok(("eth0", ONE, 10, 0))),
    ("netmap:eth0-", EINVAL),
    ("netmap:eth0-x", EINVAL),
    ("netmap:eth0-1x", EINVAL),
    ("netmap:eth0-/x", Ok(("eth0", ONE | X, 0, 0))),
    ("netmap:eth0-1-2", EINVAL),
    ("netmap:eth0-99999999999999999999", ERANGE),
    ("vale0:a-1", Ok(("vale0:a", ONE, 1, 0))),
    // pipes
    ("netmap:foo{1", Ok(("foo", MASTER, 1, 0))),
    ("netmap:foo}1", Ok(("foo", SLAVE, 1, 0))),
    ("netmap:foo}0/xR", Ok(("foo", SLAVE | X | RX, 0, 0))),
    ("vale0:1}3", Ok(("vale0:1", SLAVE, 3, 0))),
    ("vale0:x{1/T@2", Ok(("vale0:x", MASTER | TX, 1, 2))),
    ("netmap:{1", Ok(("", MASTER, 1, 0))),
    ("netmap:foo{", EINVAL),
    ("netmap:foo}", EINVAL),
    ("netmap:foo{abc", EINVAL),
    ("netmap:foo{1{2", EINVAL),
    ("netmap:foo{1}2", EINVAL),
    ("netmap:foo{1-2", EINVAL),
    ("netmap:foo{4095", EINVAL),
    ("netmap:foo{@3", Ok(("foo", MASTER, 0, 3))),
    // flags
    ("netmap:e/x", Ok(("e", ALL | X, 0, 0))),
    ("netmap:e/xztrRT", Ok(("e", ALL | X | Z | T | R | RX | TX, 0, 0))),
    ("netmap:e/xx", Ok(("e", ALL | X, 0, 0))),
    ("netmap:e*/z", Ok(("e", NIC_SW | Z, 0, 0))),
    ("netmap:e/", EINVAL),
    ("netmap:e/q", EINVAL),
    ("netmap:e/x/z", EINVAL),
    ("netmap:e/x-1", EINVAL),
    ("netmap:e/X", EINVAL),
    // memory ids
    ("netmap:e@3", Ok(("e", ALL, 0, 3))),
    ("netmap:e@3/x", Ok(("e", ALL | X, 0, 3))),
    ("netmap:e/x@3", Ok(("e", ALL | X, 0, 3))),
    ("netmap:e/@3", Ok(("e", ALL, 0, 3))),
    ("netmap:e-2@3", Ok(("e", ONE, 2, 3))),
    ("netmap:e@ +3", Ok(("e", ALL, 0, 3))),
    ("netmap:e@65539", Ok(("e", ALL, 0, 3))),
    ("netmap:e@65536", Ok(("e", ALL, 0, 0))),
    ("netmap:e@65536@5", Ok(("e", ALL, 0, 5))),
    ("netmap:e@99999999999999999999", Ok(("e", ALL, 0, 65535))),
    ("netmap:e@99999999999999999999@", ERANGE),
    ("netmap:e@", EINVAL),
    ("netmap:e@0", EINVAL),
    ("netmap:e@-1", EINVAL),
    ("netmap:e@x", EINVAL),
    ("netmap:e@3@3", EINVAL),
    ("netmap:e@3-1", EINVAL),
    ("netmap:e@conf:rings=2", EINVAL),
];

#[test]
fn crate_follows_the_table() {
    for (text, expected) in TABLE {
        let found = NmOpenName::parse(text)
            .map_err(|error| error.errno)
            .map(|name| {
                let name_text = String::from_utf8(name.name().to_vec()).unwrap();
                (name_text, name.nr_flags(), name.nr_ringid(), name.nr_arg2())
            });
        let expected =
            expected.map(|(name, flags, ring, mem)| (name.to_string(), flags, ring, mem));
        assert_eq!(found, expected, "{text:?}");
    }
}

/// What the C program prints for a name, made with the crate's parser.
fn line_of_crate(text: &str) -> String {
    match NmOpenName::parse(text) {
        Ok(name) => {
            let request = name.to_nmreq();
            assert_eq!(until_nul(&request.nr_name), name.name());
            request
                .as_bytes()
                .iter()
                .fold("0 ".to_string(), |line, b| format!("{line}{b:02x}"))
        }
        Err(error) => format!("{} -", error.errno),
    }
}

/// What the headers in `include` make of `names`.
fn lines_of_c(include: &Path, names: &[String], test: &str) -> Vec<String> {
    let program = common::compile("names.c", include, &c_checks::scratch(test));
    c_checks::lines_for(&mut Command::new(program), names)
}

fn compare(include: &Path, names: &[String], test: &str) {
    let c = lines_of_c(include, names, test);
    assert_eq!(c.len(), names.len());
    for (name, c) in names.iter().zip(c) {
        assert_eq!(line_of_crate(name), c, "{name:?}: crate, C");
    }
}

fn all_names() -> Vec<String> {
    let mut names: Vec<_> = TABLE.iter().map(|(name, _)| name.to_string()).collect();
    let random = "(netmap:|vale0:|vale[a-z0-9._]{0,3}:?)[a-z0-9_.]{0,4}[-*^{}/@xztrRT0-9+ :a]{0,7}";
    let random = proptest::string::string_regex(random).unwrap();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    names.extend((0..5000).map(|_| random.new_tree(&mut runner).unwrap().current()));
    names
}

#[test]
fn our_headers_read_names_alike() {
    if c_checks::have("cc") {
        compare(&c_checks::our_include(), &all_names(), "c-names-ours");
    }
}

#[test]
fn given_headers_read_names_alike() {
    let Some(include) = c_checks::given_include() else {
        println!("skipped: NETMAP_INCLUDE is not set");
        return;
    };
    if c_checks::have("cc") {
        compare(&include, &all_names(), "c-names-given");
    }
}

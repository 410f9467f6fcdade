//! `nmport_parse` of the library and the grammar of `nm-abi` read names alike: a table of names
//! and thousands of random ones. With `NETMAP_LIB=dir` and `NETMAP_INCLUDE=dir`, the `libnetmap.a`
//! in that directory is asked as well.

mod common;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nm_abi::name::options::Extmem;
use nm_abi::name::{Enabled, NmportName, PortOption};
use nm_abi::nmreq_pools_info;
use proptest::strategy::{Strategy, ValueTree};

/// The one file that names may mention, and its size.
const FILE: (&str, u64) = ("mem", 12288);

const TABLE: &[&str] = &[
    "",
    "eth0",
    "netmap",
    "netmap:",
    "netmap:eth0",
    "netmap0:eth0",
    "netmap:e.0 1",
    "netmap:vale0:1",
    "vale",
    "vale0",
    "vale:",
    "vale:x",
    "vale0:x",
    "vale0-:x",
    "valeA_1:p_2",
    "netmap:eth0^",
    "netmap:eth0^3",
    "netmap:eth0^x",
    "netmap:eth0*",
    "netmap:eth0*3",
    "netmap:eth0-",
    "netmap:eth0-0",
    "netmap:eth0-4094",
    "netmap:eth0-4095",
    "netmap:eth0-+1",
    "netmap:eth0-99999999999999999999",
    "netmap:eth0--1",
    "netmap:eth0-1/x@3",
    "netmap:eth0-1@3/x",
    "vale0:x/xztrRT",
    "vale0:x/",
    "vale0:x/q",
    "vale0:x{1",
    "vale0:x}abc_9/z",
    "vale0:x{",
    "vale0:x{-1",
    "vale0:x{.",
    "vale0:x{1{2",
    "netmap:{1",
    "vale0:x@1",
    "vale0:x@0",
    "vale0:x@",
    "vale0:x@70000",
    "vale0:x@3@3",
    "vale0:x@3@4",
    "vale0:x@65536@5",
    "netmap:abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk",
    "netmap:abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl",
    "vale0:x@conf",
    "vale0:x@conf=1",
    "vale0:x@conf:",
    "vale0:x@conf:rings",
    "vale0:x@conf:rings=",
    "vale0:x@conf:rings=4",
    "vale0:x@conf:rings=4,tx-rings=2,slots=64,rx_slots=128,host-rings=3,host-rx-rings=5",
    "vale0:x@conf:-rings=4",
    "vale0:x@conf:rings=4,rings=4",
    "vale0:x@conf:rings=,rings=4",
    "vale0:x@conf:rings=4,",
    "vale0:x@conf:rings=70000,slots=-1",
    "vale0:x@conf:rings=4@conf:slots=9",
    "vale0:x@7@conf:rings=4",
    "vale0:x/x@conf:rings=4@extmem=mem",
    "vale0:x@extmem",
    "vale0:x@extmem=",
    "vale0:x@extmem=mem",
    "vale0:x@extmem:file=mem",
    "vale0:x@extmem:if-num=1,if-size=2,ring-num=3,ring-size=4,buf-num=5,buf-size=6,file=mem",
    "vale0:x@extmem:if-num=1",
    "vale0:x@extmem:file=",
    "vale0:x@extmem=mem@extmem=mem",
    "vale0:x@extmem=mem@conf:x=1",
    "vale0:x@offset",
    "vale0:x@offset=128",
    "vale0:x@offset:initial=128,bits=16",
    "vale0:x@offset:bits=16",
    "vale0:x@offset=1@offset=-2",
    "vale0:x@Conf:rings=4",
    "vale0:x@@",
    "vale0:x@conf:rings=4@",
    "vale0:x@other=1",
];

fn names() -> Vec<String> {
    let random = "(netmap:|vale0:|vale[a-z0-9._]{0,3}:?)[a-z0-9_.]{0,4}\
        [-*^{}/@xztrRT0-9+ :a]{0,7}\
        (@(conf|extmem|extmem=mem|offset|o)?[:=]?\
        (((tx-|host_rx-|-)?rings|rx_slots|slots|initial|bits|if-num|buf_size|x)?=?[0-9,=-]{0,4},?){0,3}){0,2}";
    let random = proptest::string::string_regex(random).unwrap();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let random = (0..8000).map(|_| random.new_tree(&mut runner).unwrap().current());
    TABLE
        .iter()
        .map(|name| name.to_string())
        .chain(random)
        .collect()
}

/// Whether a name mentions a file that is not there: the grammar does not look for files.
fn mentions_another_file(name: &str) -> bool {
    let mut options = name.split('@').skip(1);
    options.any(|option| match option.split_once("file=") {
        Some((_, file)) => file.split(',').next() != Some(FILE.0),
        None => option.strip_prefix("extmem=").is_some_and(|f| f != FILE.0),
    })
}

/// The line that the C program must print; `None` if the grammar alone cannot tell.
fn expected(text: &str, offset: bool) -> Option<String> {
    let enabled = Enabled {
        offset,
        ..Enabled::default()
    };
    if mentions_another_file(text) {
        return None;
    }
    let name = match NmportName::parse_with(text.as_bytes(), enabled) {
        Err(error) => return Some(error.errno.to_string()),
        Ok(name) => name,
    };
    let (header, body) = (name.to_header(), name.to_register());
    let mut line = format!("0 {} {} 1 ", header.nr_version, header.nr_reqtype);
    name.name()
        .iter()
        .for_each(|b| write!(line, "{b:02x}").unwrap());
    write!(
        line,
        " {} {} {:x} {} {} {} {} {} {} {}",
        body.nr_mode,
        body.nr_ringid,
        body.nr_flags,
        body.nr_mem_id,
        body.nr_tx_rings,
        body.nr_rx_rings,
        body.nr_host_tx_rings,
        body.nr_host_rx_rings,
        body.nr_tx_slots,
        body.nr_rx_slots
    )
    .unwrap();
    // the last option comes first in the request
    let options: Vec<_> = name.options().collect();
    for option in options.iter().rev() {
        match option {
            PortOption::Extmem(extmem) => write_extmem(&mut line, extmem),
            PortOption::Offset(o) => {
                let o = o.to_option();
                write!(
                    line,
                    " offsets {} {} {} 0 0",
                    o.nro_initial_offset, o.nro_max_offset, o.nro_offset_bits
                )
                .unwrap();
            }
            _ => (),
        }
    }
    Some(line)
}

fn write_extmem(line: &mut String, extmem: &Extmem<'_>) {
    let mut info = nmreq_pools_info::default();
    extmem.store(&mut info);
    write!(
        line,
        " extmem {} 1 {} {} {} {} {} {}",
        FILE.1,
        info.nr_if_pool_objtotal,
        info.nr_if_pool_objsize,
        info.nr_ring_pool_objtotal,
        info.nr_ring_pool_objsize,
        info.nr_buf_pool_objtotal,
        info.nr_buf_pool_objsize
    )
    .unwrap();
}

/// What `program` prints for the names.
fn lines_of(program: &Path, dir: &Path, offset: bool, names: &[String]) -> Vec<String> {
    std::fs::write(dir.join(FILE.0), vec![0; FILE.1 as usize]).unwrap();
    let mut command = Command::new(program);
    command.current_dir(dir).args(offset.then_some("offset"));
    c_checks::lines_for(&mut command, names)
}

fn compare(program: &Path, dir: &Path) {
    for offset in [false, true] {
        let names = names();
        let lines = lines_of(program, dir, offset, &names);
        assert_eq!(lines.len(), names.len());
        let mut good = 0;
        for (name, line) in names.iter().zip(lines) {
            if let Some(expected) = expected(name, offset) {
                assert_eq!(
                    line, expected,
                    "{name:?}: library, grammar; offset {offset}"
                );
                good += usize::from(line.starts_with("0 "));
            }
        }
        assert!(good > 500, "only {good} good names");
    }
}

#[test]
fn library_follows_the_grammar() {
    if c_checks::have("cc") {
        for link in [common::Link::Shared, common::Link::Static] {
            let dir = c_checks::scratch(&format!("names-{link:?}"));
            compare(&common::build("cc", "names.c", &[], link, &dir), &dir);
        }
    }
}

#[test]
fn given_library_follows_the_grammar() {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let (Some(lib), Some(include)) = (variable("NETMAP_LIB"), variable("NETMAP_INCLUDE")) else {
        println!("skipped: NETMAP_LIB and NETMAP_INCLUDE are not both set");
        return;
    };
    if c_checks::have("cc") {
        let dir = c_checks::scratch("names-given");
        let program = dir.join("names");
        let mut cc = Command::new("cc");
        cc.args(["-w", "-pthread", "-I"]).arg(&include);
        cc.arg("-I").arg(include.join("../libnetmap"));
        cc.arg("-o").arg(&program).arg(common::source("names.c"));
        cc.arg(lib.join("libnetmap.a"));
        c_checks::run(&mut cc);
        compare(&program, &dir);
    }
}

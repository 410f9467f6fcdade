//! The structures and constants of `libnetmap.h` and of the crate are the same; with
//! `NETMAP_INCLUDE=dir`, also those of a `libnetmap.h` in that directory or beside it.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::path::{Path, PathBuf};

use netmap::*;

/// `struct.field` or a constant, and its offset or value; `struct` alone has its size.
type Facts = BTreeMap<String, usize>;

macro_rules! fields {
    ($facts:ident, $name:ident: $($field:ident)*) => {
        $facts.insert(stringify!($name).into(), size_of::<$name>());
        $facts.insert(concat!("align of ", stringify!($name)).into(), align_of::<$name>());
        $($facts.insert(
            concat!(stringify!($name), ".", stringify!($field)).into(),
            offset_of!($name, $field),
        );)*
    };
}

fn of_crate() -> Facts {
    let mut facts = Facts::new();
    fields!(facts, nmport_d: hdr reg mem ctx register_done mmap_done extmem fd nifp first_tx_ring
        last_tx_ring first_rx_ring last_rx_ring cur_tx_ring cur_rx_ring clist);
    fields!(facts, nmctx: verbose error malloc free lock mem_descs);
    fields!(facts, nmem_d: mem_id refcount mem size is_extmem next prev);
    fields!(facts, nmreq_opt_key: key id flags);
    fields!(facts, nmreq_opt_parser: prefix parse default_key nr_keys flags next keys);
    fields!(facts, nmreq_parse_ctx: ctx token keys);
    for (name, value) in [
        ("NMREQ_OPT_MAXKEYS", NMREQ_OPT_MAXKEYS),
        ("NMREQ_OPTK_ALLOWEMPTY", NMREQ_OPTK_ALLOWEMPTY as usize),
        ("NMREQ_OPTK_MUSTSET", NMREQ_OPTK_MUSTSET as usize),
        ("NMREQ_OPTK_DEFAULT", NMREQ_OPTK_DEFAULT as usize),
        ("NMREQ_OPTF_DISABLED", NMREQ_OPTF_DISABLED as usize),
        ("NMREQ_OPTF_ALLOWEMPTY", NMREQ_OPTF_ALLOWEMPTY as usize),
    ] {
        facts.insert(name.into(), value);
    }
    facts
}

/// The numbers that bindgen asserts for the header at `header`, and the constants in it.
fn of_header(header: &Path, include: &Path) -> Facts {
    let constants = of_crate()
        .into_keys()
        .filter(|name| name.starts_with("NMREQ_"));
    let source = constants.fold(
        format!("#include \"{}\"\n", header.display()),
        |text, name| format!("{text}static const long long VALUE_{name} = {name};\n"),
    );
    let bindings = c_checks::headers(&source, include)
        .allowlist_file(header.display().to_string())
        .allowlist_recursively(false)
        .generate()
        .expect("bindgen reads the header")
        .to_string();
    let mut facts = Facts::new();
    for (what, number) in c_checks::assertions(&bindings) {
        let name = what
            .strip_prefix("Size of ")
            .map(str::to_owned)
            .or_else(|| Some(what.strip_prefix("Offset of field: ")?.replace("::", ".")))
            .or_else(|| Some(format!("align of {}", what.strip_prefix("Alignment of ")?)));
        facts.extend(name.map(|name| (name, number)));
    }
    let text: String = bindings.split_whitespace().collect::<Vec<_>>().join(" ");
    for constant in text.split("pub const VALUE_").skip(1) {
        let (name, rest) = constant.split_once(": ").expect("a constant has a type");
        let (_, value) = rest.split_once(" = ").expect("a constant has a value");
        let value = value.split(';').next().and_then(|value| value.parse().ok());
        facts.insert(name.into(), value.expect("a number"));
    }
    facts
}

#[test]
fn crate_equals_our_header() {
    if c_checks::have_libclang() {
        let include = c_checks::our_include();
        assert_eq!(
            of_header(&include.join("libnetmap.h"), &include),
            of_crate()
        );
    }
}

#[test]
fn crate_equals_given_header() {
    let Some((header, include)) = given() else {
        println!("skipped: NETMAP_INCLUDE is not set, or there is no libnetmap.h there");
        return;
    };
    if c_checks::have_libclang() {
        assert_eq!(of_header(&header, &include), of_crate());
    }
}

/// `libnetmap.h` in the directory that `NETMAP_INCLUDE` names or, as in netmap's sources, in the
/// folder `libnetmap` beside it.
fn given() -> Option<(PathBuf, PathBuf)> {
    let include = PathBuf::from(std::env::var_os("NETMAP_INCLUDE")?);
    let places = [
        include.join("libnetmap.h"),
        include.join("../libnetmap/libnetmap.h"),
    ];
    let header = places.into_iter().find(|place| place.is_file())?;
    Some((header, include))
}

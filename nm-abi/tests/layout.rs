//! The C headers and this crate say the same: every structure, field and constant of the headers
//! is looked up in the crate and the other way round. With `NETMAP_INCLUDE=dir` the headers in that
//! directory are held against the crate, too, and against ours.

mod tables;

use std::collections::BTreeMap;
use std::path::Path;

/// Size, alignment and fields with their offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Layout {
    size: usize,
    align: usize,
    fields: BTreeMap<String, usize>,
}

/// What a set of headers defines.
#[derive(Debug, Default)]
struct Headers {
    structs: BTreeMap<String, Layout>,
    /// Numbers: integer macros, enumerators, and what was asked for by name.
    numbers: BTreeMap<String, i128>,
    strings: BTreeMap<String, String>,
}

const INCLUDES: &str = "\
#include <stdint.h>
#include <sys/types.h>
#include <sys/time.h>
#include <sys/ioctl.h>
#include <net/if.h>
#include <net/netmap.h>
#include <net/netmap_virt.h>
";

const LIBRARY: &str = "\
#define NETMAP_WITH_LIBS
#include <net/netmap_user.h>
";

/// Reads `source` with the headers in `include`.
fn read_headers(source: &str, include: &Path) -> Headers {
    let bindings = c_checks::headers(source, include)
        .allowlist_file(format!("{}/net/netmap.*", include.display()))
        .layout_tests(true)
        .generate()
        .expect("bindgen reads the headers");
    parse(&bindings.to_string())
}

/// Picks layouts and constants from bindgen's output.
fn parse(rust: &str) -> Headers {
    let mut headers = Headers::default();
    for (what, number) in c_checks::assertions(rust) {
        if let Some(name) = what.strip_prefix("Size of ") {
            headers.structs.entry(name.into()).or_default().size = number;
        } else if let Some(name) = what.strip_prefix("Alignment of ") {
            headers.structs.entry(name.into()).or_default().align = number;
        } else if let Some((name, field)) = what
            .strip_prefix("Offset of field: ")
            .and_then(|field| field.split_once("::"))
        {
            let fields = &mut headers.structs.entry(name.into()).or_default().fields;
            fields.insert(field.into(), number);
        }
    }
    let text: String = rust.split_whitespace().collect::<Vec<_>>().join(" ");
    for constant in text.split("pub const ").skip(1) {
        let Some((name, rest)) = constant.split_once(": ") else {
            continue;
        };
        let Some((_, value)) = rest.split_once(" = ") else {
            continue;
        };
        let value = value.split(';').next().unwrap_or_default();
        if let Ok(number) = value.parse() {
            headers.numbers.insert(c_name(name), number);
        } else if let Some(string) = value.strip_prefix("c\"").or(value.strip_prefix("b\"")) {
            let string = string.trim_end_matches('"').trim_end_matches("\\0");
            headers.strings.insert(c_name(name), string.into());
        }
    }
    headers
}

/// bindgen calls the enumerators of an unnamed enum `_bindgen_ty_1_NAME`; we put `VALUE_` before
/// the name of a macro whose value only a compiler can tell.
fn c_name(name: &str) -> String {
    let name = name.strip_prefix("_bindgen_ty_").map_or(name, |name| {
        name.split_once('_')
            .map_or(name, |(_, enumerator)| enumerator)
    });
    name.strip_prefix("VALUE_").unwrap_or(name).into()
}

/// The headers' view, with the numbers that the crate knows asked for one by one.
fn headers_of_abi(include: &Path) -> Headers {
    let mut source = INCLUDES.to_string();
    for (name, _) in tables::numbers() {
        source += &format!("static const long long VALUE_{name} = {name};\n");
    }
    for (name, path, _) in field_sizes() {
        source += &format!("static const long long VALUE_{name} = sizeof({path});\n");
    }
    read_headers(&source, include)
}

/// For each field that has a size: a name for it, how C reaches it, its size here. Padding has
/// no name in C.
fn field_sizes() -> Vec<(String, String, i128)> {
    let mut sizes = Vec::new();
    for s in tables::structs() {
        let (c_struct, array) = match s.c_name.strip_suffix("__bindgen_ty_1") {
            Some(outer) => (outer, "eventfds[0]."),
            None => (s.c_name, ""),
        };
        for (field, _, size) in s.fields {
            if size > 0 && !field.starts_with("_pad") {
                let path = format!("((struct {c_struct} *)0)->{array}{field}");
                sizes.push((format!("sizeof_{}_{field}_", s.c_name), path, size as i128));
            }
        }
    }
    sizes
}

/// Constants of the headers that are no part of the interface.
fn is_internal(name: &str) -> bool {
    name.starts_with('_') || name.ends_with('_') || name == "NETMAP_VIRT_H"
}

fn compare_with_crate(include: &Path) {
    let headers = headers_of_abi(include);
    let mut differences = Vec::new();
    let numbers: BTreeMap<_, _> = tables::numbers().into_iter().collect();
    for (name, value) in &numbers {
        if headers.numbers.get(*name) != Some(value) {
            differences.push(format!(
                "{name}: {value} here, {:?} in C",
                headers.numbers.get(*name)
            ));
        }
    }
    for (name, path, size) in field_sizes() {
        if headers.numbers.get(&name) != Some(&size) {
            let c = headers.numbers.get(&name);
            differences.push(format!("sizeof({path}): {size} here, {c:?} in C"));
        }
    }
    for name in headers.numbers.keys().filter(|name| !is_internal(name)) {
        if !numbers.contains_key(name.as_str()) {
            differences.push(format!("{name} is missing here"));
        }
    }
    for (name, value) in tables::strings() {
        if headers.strings.get(name).map(String::as_str) != Some(value) {
            differences.push(format!(
                "{name}: {value} here, {:?} in C",
                headers.strings.get(name)
            ));
        }
    }
    let mut seen = 0;
    for (c_name, c) in &headers.structs {
        let Some(rust) = tables::structs().into_iter().find(|s| s.c_name == *c_name) else {
            differences.push(format!("struct {c_name} is missing here"));
            continue;
        };
        seen += 1;
        let fields = rust
            .fields
            .iter()
            .filter(|(name, ..)| !name.starts_with("_pad"));
        let fields = fields
            .map(|(name, offset, _)| (name.to_string(), *offset))
            .collect();
        let rust = Layout {
            size: rust.size,
            align: rust.align,
            fields,
        };
        if rust != *c {
            differences.push(format!("struct {c_name}:\n  here {rust:?}\n  in C {c:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(
        seen,
        tables::structs().len(),
        "structures here that the headers lack"
    );
}

#[test]
fn crate_equals_our_headers() {
    if c_checks::have_libclang() {
        compare_with_crate(&c_checks::our_include());
    }
}

#[test]
fn crate_equals_given_headers() {
    let Some(include) = c_checks::given_include() else {
        println!("skipped: NETMAP_INCLUDE is not set");
        return;
    };
    if c_checks::have_libclang() {
        compare_with_crate(&include);
    }
}

/// The library's structures and constants, which this crate does not repeat.
#[test]
fn our_library_equals_given_one() {
    let Some(include) = c_checks::given_include() else {
        println!("skipped: NETMAP_INCLUDE is not set");
        return;
    };
    if !c_checks::have_libclang() {
        return;
    }
    let source = format!("{INCLUDES}{LIBRARY}");
    let given = read_headers(&source, &include);
    let ours = read_headers(&source, &c_checks::our_include());
    assert!(given.structs.contains_key("nm_desc"));
    assert_eq!(ours.structs, given.structs);
    for (name, value) in given.numbers.iter().filter(|(name, _)| !is_internal(name)) {
        assert_eq!(ours.numbers.get(name), Some(value), "{name}");
    }
    assert_eq!(ours.strings, given.strings);
}

/// The comparison itself: it must see what it claims to.
#[test]
fn comparison_sees_everything() {
    if !c_checks::have_libclang() {
        return;
    }
    let headers = headers_of_abi(&c_checks::our_include());
    assert_eq!(headers.structs["netmap_ring"].align, 128);
    assert_eq!(headers.structs["netmap_ring"].fields["slot"], 256);
    assert_eq!(headers.structs["nmreq"].fields["spare2"], 56);
    assert_eq!(headers.numbers["NIOCCTRL"], 0xc058_6997);
    assert_eq!(headers.numbers["NR_REG_ONE_SW"], 8);
    assert_eq!(headers.numbers["NETMAP_REQ_CSB_ENABLE"], 15);
    assert_eq!(headers.strings["NM_BDG_NAME"], "vale");
    assert!(
        headers.numbers.len() > 120,
        "only {} numbers",
        headers.numbers.len()
    );
}

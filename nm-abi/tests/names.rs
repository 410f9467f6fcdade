//! The port name grammar: tables of names and their meaning, and properties over any input.

use nm_abi::name::{
    Enabled, KernelName, NameError, NameErrorKind as Kind, NmOpenName, NmportName, PortOption,
    field_name, nmport, until_nul,
};
use nm_abi::*;
use proptest::prelude::*;

const EINVAL: i32 = 22;
const ERANGE: i32 = 34;
const EOPNOTSUPP: i32 = 95;

/// What libnetmap makes of a name: nr_name, mode, ringid, flags, memory id.
fn nmport(text: &str) -> Result<(String, u32, u16, u64, u16), NameError> {
    NmportName::parse(text).map(|name| {
        let request = name.to_register();
        let header = name.to_header();
        assert_eq!(
            (header.nr_version, header.nr_reqtype),
            (NETMAP_API, NETMAP_REQ_REGISTER)
        );
        let nr_name = String::from_utf8(field_name(&header.nr_name).to_vec()).unwrap();
        (
            nr_name,
            request.nr_mode,
            request.nr_ringid,
            request.nr_flags,
            request.nr_mem_id,
        )
    })
}

#[test]
fn nmport_accepts() {
    let all = NR_REG_ALL_NIC;
    let cases: &[(&str, &str, u32, u16, u64, u16)] = &[
        ("netmap:eth0", "eth0", all, 0, 0, 0),
        ("vale0:a", "vale0:a", all, 0, 0, 0),
        ("vale:a", "vale:a", all, 0, 0, 0),
        ("vale:", "vale:", all, 0, 0, 0),
        ("vale0:a.b c", "vale0:a.b c", all, 0, 0, 0),
        ("netmap:vale0:1", "vale0:1", all, 0, 0, 0),
        ("netmap:eth0^", "eth0", NR_REG_SW, 0, 0, 0),
        ("netmap:eth0^3", "eth0", NR_REG_ONE_SW, 3, 0, 0),
        ("netmap:eth0^/x", "eth0", NR_REG_SW, 0, NR_EXCLUSIVE, 0),
        ("netmap:eth0*", "eth0", NR_REG_NIC_SW, 0, 0, 0),
        ("netmap:eth0-2", "eth0", NR_REG_ONE_NIC, 2, 0, 0),
        ("netmap:eth0-4094", "eth0", NR_REG_ONE_NIC, 4094, 0, 0),
        ("netmap:foo{1", "foo{1", all, 0, 0, 0),
        ("netmap:foo}abc_1", "foo}abc_1", all, 0, 0, 0),
        ("netmap:foo{-0", "foo{", NR_REG_ONE_NIC, 0, 0, 0),
        (
            "vale0:1}3-0/xT@7",
            "vale0:1}3",
            NR_REG_ONE_NIC,
            0,
            NR_EXCLUSIVE | NR_TX_RINGS_ONLY,
            7,
        ),
        (
            "netmap:foo}0/xR",
            "foo}0",
            all,
            0,
            NR_EXCLUSIVE | NR_RX_RINGS_ONLY,
            0,
        ),
        (
            "netmap:e/ztr",
            "e",
            all,
            0,
            NR_ZCOPY_MON | NR_MONITOR_TX | NR_MONITOR_RX,
            0,
        ),
        ("netmap:e@3", "e", all, 0, 0, 3),
        ("netmap:e@3@3/x@3", "e", all, 0, NR_EXCLUSIVE, 3),
        ("netmap:e@65539", "e", all, 0, 0, 3),
        ("netmap:e/@3", "e", all, 0, 0, 3),
        ("netmap:e/@conf:", "e", all, 0, 0, 0),
    ];
    for &(text, nr_name, mode, ringid, flags, mem_id) in cases {
        let expected = (nr_name.to_string(), mode, ringid, flags, mem_id);
        assert_eq!(nmport(text), Ok(expected), "{text:?}");
    }
}

#[test]
fn nmport_refuses() {
    let long = format!("netmap:{}", "a".repeat(64));
    let cases: &[(&str, Kind, i32)] = &[
        ("", Kind::UnknownPrefix, EINVAL),
        ("eth0", Kind::UnknownPrefix, EINVAL),
        ("val0:a", Kind::UnknownPrefix, EINVAL),
        ("netmap", Kind::MissingColon, EINVAL),
        ("vale0", Kind::MissingColon, EINVAL),
        ("netmap0:a", Kind::UnexpectedIdentifier, EINVAL),
        ("vale-0:a", Kind::BadSwitchName, EINVAL),
        ("netmap:", Kind::EmptyPortName, EINVAL),
        ("netmap:-1", Kind::EmptyPortName, EINVAL),
        (&long, Kind::TooLong, EINVAL),
        ("netmap:a{", Kind::EmptyPipeName, EINVAL),
        ("netmap:a{1}2", Kind::BadPipeName, EINVAL),
        ("netmap:a{b.c", Kind::BadPipeName, EINVAL),
        ("netmap:a-", Kind::UnexpectedEnd, EINVAL),
        ("netmap:a-x", Kind::ExpectedNumber(b'x'), EINVAL),
        ("netmap:a--1", Kind::ExpectedNumber(b'-'), EINVAL),
        ("netmap:a-4095", Kind::RingOutOfRange(4095), EINVAL),
        ("netmap:a^4095", Kind::RingOutOfRange(4095), EINVAL),
        (
            "netmap:a-99999999999999999999",
            Kind::RingOutOfRange(i64::MAX),
            ERANGE,
        ),
        ("netmap:a^x", Kind::UnexpectedCharacter(b'x'), EINVAL),
        ("netmap:a*-1", Kind::UnexpectedCharacter(b'-'), EINVAL),
        ("netmap:a/", Kind::UnexpectedEnd, EINVAL),
        ("netmap:a/q", Kind::UnknownFlag(b'q'), EINVAL),
        ("netmap:a@", Kind::EmptyMemId, EINVAL),
        ("netmap:a@0", Kind::BadMemId(0), EINVAL),
        ("netmap:a@1@2", Kind::MemIdConflict(2), EINVAL),
        (
            "netmap:a@99999999999999999999@1",
            Kind::MemIdConflict(1),
            ERANGE,
        ),
        ("netmap:a@conf", Kind::MissingBody, EINVAL),
        ("netmap:a@conf=1", Kind::NoDefaultKey, EINVAL),
        ("netmap:a@conf:@", Kind::EmptyOption, EINVAL),
        ("netmap:a@conf:rings", Kind::KeyWithoutValue, EINVAL),
        ("netmap:a@conf:rings=1,", Kind::UnknownKey, EINVAL),
        ("netmap:a@conf:rings=1,rings=2", Kind::DuplicateKey, EINVAL),
        ("netmap:a@conf:-rings=1", Kind::UnknownKey, EINVAL),
        ("netmap:a@conf:tx.rings=1", Kind::UnknownKey, EINVAL),
        ("netmap:a@nope:x=1", Kind::UnknownOption, EINVAL),
        ("netmap:a@share=", Kind::MissingValue, EINVAL),
        ("netmap:a@share:", Kind::MandatoryKey, EINVAL),
        ("netmap:a@share:port=", Kind::MandatoryKey, EINVAL),
        ("netmap:a@share=eth0", Kind::UnknownPrefix, EINVAL),
        ("netmap:a@extmem:if-num=1", Kind::MandatoryKey, EINVAL),
        ("netmap:a@extmem=f@extmem=g", Kind::ExtmemTwice, EINVAL),
        ("netmap:a@offset=2", Kind::OptionDisabled, EOPNOTSUPP),
    ];
    for &(text, kind, errno) in cases {
        assert_eq!(nmport(text), Err(NameError { kind, errno }), "{text:?}");
        assert!(!kind.to_string().is_empty());
    }
    // libnetmap's functions can be called one by one
    assert_eq!(
        nmport::decode_register(b"q", 0).unwrap_err().kind,
        Kind::UnknownModifier(b'q')
    );
    assert_eq!(
        nmport::decode_register(b"@4", 5).unwrap_err().kind,
        Kind::MemIdConflict(4)
    );
    assert_eq!(nmport::decode_register(b"", 5).unwrap().0.mem_id(), 5);
    let none = name::options::Options::parse(b"conf:", Enabled::default());
    assert_eq!(none.unwrap_err().kind, Kind::ExpectedOption);
}

#[test]
fn nmport_options() {
    let name = NmportName::parse(
        "vale0:a@2@conf:rings=2,tx-rings=3,host_rings=70000,slots=-1,rx-slots=512@share=vale1:b",
    )
    .unwrap();
    let request = name.to_register();
    assert_eq!((request.nr_tx_rings, request.nr_rx_rings), (3, 2));
    assert_eq!(
        (request.nr_host_tx_rings, request.nr_host_rx_rings),
        (70000u32 as u16, 4464)
    );
    assert_eq!((request.nr_tx_slots, request.nr_rx_slots), (u32::MAX, 512));
    assert_eq!(request.nr_mem_id, 2);
    let Some(PortOption::Share(port)) = name.options().nth(1) else {
        panic!("no share")
    };
    assert_eq!(field_name(&port), b"vale1:b");

    let name = NmportName::parse("netmap:e@extmem:buf-num=7,file=/dev/shm/x,if_size=").unwrap();
    let Some(PortOption::Extmem(extmem)) = name.options().next() else {
        panic!("no extmem")
    };
    assert_eq!(extmem.file, b"/dev/shm/x");
    let mut info = nmreq_pools_info {
        nr_if_pool_objsize: 9,
        ..Default::default()
    };
    extmem.store(&mut info);
    assert_eq!((info.nr_buf_pool_objtotal, info.nr_if_pool_objsize), (7, 9));

    let enabled = Enabled {
        offset: true,
        ..Enabled::default()
    };
    let name = NmportName::parse_with(b"netmap:e@offset:initial=64,bits=16", enabled).unwrap();
    let Some(PortOption::Offset(offset)) = name.options().next() else {
        panic!("no offset")
    };
    let option = offset.to_option();
    assert_eq!((option.nro_initial_offset, option.nro_max_offset), (64, 64));
    assert_eq!(option.nro_offset_bits, 16);
}

#[test]
fn nm_open_request() {
    let request = NmOpenName::parse("netmap:foo}7/xR@2").unwrap().to_nmreq();
    assert_eq!(until_nul(&request.nr_name), b"foo");
    assert_eq!(request.nr_version, 14);
    assert_eq!(request.nr_ringid, 7);
    assert_eq!(request.nr_arg2, 2);
    let flags = (NR_EXCLUSIVE | NR_RX_RINGS_ONLY) as u32;
    assert_eq!(request.nr_flags, NR_REG_PIPE_SLAVE | flags);
    let error = NmOpenName::parse("eth0").unwrap_err();
    assert_eq!((error.kind, error.errno), (Kind::NotNetmap, 0));
}

/// Strings that come close to names.
fn near_names() -> impl Strategy<Value = String> {
    let prefix = prop_oneof![
        6 => Just("netmap:"),
        3 => Just("vale0:"),
        3 => Just("vale:"),
        1 => Just("vale"),
        1 => Just("netmap"),
        1 => Just("")
    ];
    let options = prop_oneof![
        6 => Just(""),
        1 => Just("@7"),
        1 => Just("@conf:rings=2,tx-slots=5"),
        1 => Just("@share=vale0:a"),
        1 => Just("@extmem=/f,g"),
        1 => Just("@extmem:file=f,if-num=2"),
        1 => Just("@offset=3"),
    ];
    let name = "[a-z0-9_]{0,12}([:{}.é ][a-z0-9]{0,3})?";
    let suffix = "([-*^{}][0-9]{0,4})?(/[xztrRTxztrRTq]{0,3})?(@[0-9]{0,3})?";
    (prefix, name, suffix, options)
        .prop_map(|(prefix, name, suffix, options)| format!("{prefix}{name}{suffix}{options}"))
}

fn all_enabled() -> Enabled {
    Enabled {
        offset: true,
        ..Enabled::default()
    }
}

/// Whether writing and re-reading gives the same. `false` when the text is no name.
fn round_trips(text: &str) -> (bool, bool) {
    let nm_open = NmOpenName::parse(text);
    if let Ok(name) = nm_open {
        assert_eq!(
            NmOpenName::parse(name.to_string()),
            Ok(name),
            "{text:?} -> {name}"
        );
    }
    let nmport = NmportName::parse_with(text.as_bytes(), all_enabled());
    if let Ok(name) = nmport {
        let written = name.to_string();
        let again = NmportName::parse_with(written.as_bytes(), all_enabled());
        assert_eq!(again.as_ref(), Ok(&name), "{text:?} -> {written}");
        assert_eq!(again.unwrap().to_register(), name.to_register());
    }
    (nm_open.is_ok(), nmport.is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..100), vale: bool) {
        let prefix: &[u8] = if vale { b"vale" } else { b"netmap:" };
        for input in [bytes.clone(), [prefix, &bytes].concat()] {
            let _ = NmOpenName::parse(&input).map(|name| name.to_string());
            let _ = NmportName::parse_with(&input, all_enabled()).map(|name| name.to_string());
            let _ = KernelName::parse(&input);
            let _ = name::options::Options::parse(&input, all_enabled());
            let _ = nmport::decode_register(&input, 3);
        }
    }

    #[test]
    fn written_names_read_back(text in near_names()) {
        round_trips(&text);
    }

    #[test]
    fn the_kernel_loses_no_byte(name in "(val)?[a-z0-9:{}_]{0,20}") {
        match KernelName::parse(name.as_bytes()) {
            Ok(KernelName::Pipe { base, role, id }) => {
                prop_assert_eq!([base, &[role.bracket()], id].concat(), name.as_bytes());
            }
            Ok(KernelName::Vale { switch, port }) => {
                prop_assert_eq!([switch, b":", port].concat(), name.as_bytes());
                prop_assert!(port.len() < IFNAMSIZ && switch.len() < IFNAMSIZ);
            }
            Ok(KernelName::Interface(whole)) => prop_assert_eq!(whole, name.as_bytes()),
            Err(_) => {
                let bracket = name.bytes().any(|b| b == b'{' || b == b'}');
                prop_assert!(bracket || name.starts_with("val"));
            }
        }
    }
}

#[test]
fn near_names_are_names_often_enough() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut opened, mut ported) = (0, 0);
    for _ in 0..2000 {
        let text = near_names().new_tree(&mut runner).unwrap().current();
        let (nm_open, nmport) = round_trips(&text);
        opened += u32::from(nm_open);
        ported += u32::from(nmport);
    }
    assert!(
        opened > 100 && ported > 100,
        "only {opened} and {ported} of 2000 were names"
    );
}

//! Whole files.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::plan::{Action, Count, Frame, Kind};
use uvale_tools::reach::Reach;

const COMPLETE: &str = include_str!("complete.toml");

fn settings() -> Settings {
    Settings {
        set: Vec::new(),
        repeat: None,
        seed: 7,
        target: crate::plan::Target::Uvale,
    }
}

/// A folder with the capture that the file names, as the file's place in it.
fn place(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("uvale-file-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // pcap in this machine's order with one packet of 14 bytes
    let header = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65535, 1, 0, 0, 14, 14];
    let mut capture: Vec<u8> = header
        .iter()
        .flat_map(|word: &u32| word.to_ne_bytes())
        .collect();
    if cfg!(target_endian = "big") {
        capture[4..8].copy_from_slice(&[0, 2, 0, 4]);
    }
    capture.extend([1; 14]);
    std::fs::write(folder.join("complete.pcap"), capture).unwrap();
    folder.join("complete.toml")
}

#[test]
fn every_field_comes_to_its_place() {
    let path = place("complete");
    let file = parse(&path, COMPLETE, &settings()).unwrap_or_else(|wrong| panic!("{wrong:#?}"));
    let ids: Vec<&str> = file.cases.iter().map(|case| case.id.as_str()).collect();
    assert_eq!(
        ids[..2],
        [
            "complete/everything in swap [mode=swap rings=1 quick=true]",
            "complete/everything in swap [mode=swap rings=4 quick=true]"
        ]
    );
    assert_eq!(
        (ids.len(), ids[5]),
        (6, "complete/its own parts [mode=none rings=4 quick=true]")
    );
    let dir = path.parent().unwrap().canonicalize().unwrap();
    assert_eq!(
        file.prepare,
        [["true".to_owned(), dir.display().to_string()]]
    );
    let case = &file.cases[1];
    assert_eq!((case.repeat, case.is_repeatable, case.line), (3, false, 48));
    let run = &case.run;
    assert_eq!((run.timeout.as_millis(), run.quiet.as_millis()), (5000, 50));
    let port = &run.ports[0];
    assert!(matches!(&port.kind, Kind::Switch { switch } if switch == "vale7"));
    assert_eq!((port.rings, port.slots), (Some(4), Some(256)));
    assert_eq!(port.link.as_ref().unwrap()["seed"], "7");
    assert!(matches!(&run.ports[2].kind, Kind::Nic { peer: Some(peer) } if peer == "outside"));
    assert!(
        matches!(&run.ports[4].kind, Kind::Monitor { of, suffix } if of == "lan" && suffix == "/rt")
    );
    let program = &run.programs[0];
    assert_eq!(program.run[..3], ["true", "swap", "4"]);
    assert_eq!(
        (&program.opens[..], program.status, program.reach),
        (&["lan".to_owned()][..], Some(0), Reach::Notify)
    );
    assert_eq!(run.ignore, ["pair"]);
    let counts = run.steps.iter().map(|step| match &step.action {
        Action::Send { frames, .. } | Action::Expect { frames, .. } => frames.len(),
        _ => 0,
    });
    let counts: Vec<usize> = counts.collect();
    assert_eq!(counts, [3, 2, 1, 10, 1, 0, 0, 1, 0, 0, 0]);
    assert_eq!(run.steps[6].line, 64);
    let Action::ExpectMatching { count, learn, .. } = &run.steps[6].action else {
        panic!();
    };
    assert_eq!(
        (*count, learn["port"].as_str()),
        (Count { min: 1, max: 5 }, "udp.srcport")
    );
    assert!(
        matches!(&run.steps[7].action, Action::Expect { frames, .. } if matches!(frames[0], Frame::Fields(_)))
    );
    let own = &file.cases[5].run;
    assert!(own.programs.is_empty() && matches!(own.ports[0].kind, Kind::Pipe));
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[test]
fn switches_without_a_name_are_different_ones() {
    let text = "[ports.a]\n[ports.b]\nswitch = \"vale0\"\n[ports.c]\n\
                [[cases]]\nname = \"x\"\nsteps = [{ nothing = 'a' }]\n";
    let file = parse(Path::new("x.toml"), text, &settings()).unwrap();
    let switches = file.cases[0].run.ports.iter().map(|port| match &port.kind {
        Kind::Switch { switch } => switch.as_str(),
        _ => "",
    });
    let switches: Vec<&str> = switches.collect();
    assert_eq!(switches, ["vale1", "vale0", "vale2"]);
}

/// A piece of text of the kind that is in such files.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("[[cases]]\n".to_owned()),
        Just("= \"${".to_owned()),
        Just("{ send = ".to_owned()),
        Just("9999999999999999999999".to_owned()),
        Just("[[programs]]\nrun = []\n".to_owned()),
        Just("\u{0}".to_owned()),
        "[ -~\n]{0,12}",
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn any_text_is_a_file_or_refused(text: String) {
        let _ = parse(Path::new("x.toml"), &text, &settings());
    }

    #[test]
    fn a_file_that_is_changed_anywhere_is_a_file_or_refused(
        at in 0..COMPLETE.len(), length in 0usize..40, instead in piece(),
    ) {
        let mut bytes = COMPLETE.as_bytes().to_vec();
        let end = (at + length).min(bytes.len());
        bytes.splice(at..end, instead.bytes());
        let text = String::from_utf8_lossy(&bytes);
        if let Err(wrong) = parse(Path::new("x.toml"), &text, &settings()) {
            let lines = text.lines().count() + 1;
            prop_assert!(!wrong.is_empty());
            prop_assert!(wrong.iter().all(|w| (1..=lines).contains(&w.line) && !w.why.is_empty()), "{wrong:?}");
        }
    }
}

//! `docs/frames.md` has the table of fields as it is.

use uvale_frame::Filter;
use uvale_frame::kind::Kind;
use uvale_frame::table::{Field, Place, fields};

fn document() -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/frames.md");
    std::fs::read_to_string(file).unwrap()
}

/// What a field takes, in a few words.
fn takes(field: &Field) -> String {
    let most = field.most().unwrap_or_default();
    match field.kind {
        Kind::Number | Kind::Hex(_) | Kind::Units(_) => format!("0 to {most}"),
        Kind::Named(_, names) => {
            let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
            format!("0 to {most}, {}", names.join(", "))
        }
        Kind::Bool => "true, false".to_owned(),
        Kind::Flags => "SYN,ACK or SA or 0x12".to_owned(),
        Kind::Mac => "MAC address".to_owned(),
        Kind::Ipv4 => "IPv4 address".to_owned(),
        Kind::Ipv6 => "IPv6 address".to_owned(),
        Kind::Name => "host name".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::Bytes => "hex".to_owned(),
    }
}

#[test]
fn fields_are_documented() {
    let row = |field: &Field| {
        let only = match field.place {
            Place::Either(_) => " (in filters only)",
            Place::Sum => " (to be asked only)",
            _ => "",
        };
        format!(
            "| `{}` | {} | {}{only} |\n",
            field.name,
            takes(field),
            field.what
        )
    };
    let rows: String = fields().map(row).collect();
    assert!(
        document().contains(&rows),
        "docs/frames.md lacks these rows:\n{rows}"
    );
}

/// What is quoted as a filter parses.
#[test]
fn documented_filters_parse() {
    let document = document();
    let section = document.split("## Filters").nth(1).unwrap();
    let examples = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let mut seen = 0;
    for (text, _) in examples {
        let text = text.replace("\\|", "|");
        if let Err(wrong) = text.parse::<Filter>() {
            panic!("{text}: {wrong}");
        }
        seen += 1;
    }
    assert!(seen > 10, "{seen} examples");
}

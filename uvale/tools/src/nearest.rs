//! "Did you mean": the nearest of the existing names.

use nm_abi::name::NmportName;

/// The name in reports of the port that a person names: `netmap:x{1`, `x{1/z` and `x{1@2` are
/// `x{1`; `vale0:` is the switch `vale0`.
pub fn label(name: &str) -> String {
    let with_prefix = if name.starts_with("netmap:") || name.starts_with("vale") {
        name.to_owned()
    } else {
        format!("netmap:{name}")
    };
    let name = match NmportName::parse(&with_prefix) {
        Ok(parsed) => String::from_utf8_lossy(parsed.name()).into_owned(),
        Err(_) => name.strip_prefix("netmap:").unwrap_or(name).to_owned(),
    };
    name.strip_suffix(':').map_or(name.clone(), str::to_owned)
}

/// The name that was probably meant, if one is near enough not to be a guess and `wanted` does not exist.
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = label(wanted);
    let most = (wanted.chars().count() / 3).max(1);
    let lower = wanted.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(&lower, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, name)| (*name != wanted, *distance))
        .map(|(_, name)| name)
        .filter(|name| *name != wanted)
}

/// The end of a sentence that says that `wanted` does not exist.
pub fn hint<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(wanted, known).map_or(String::new(), |name| format!("; did you mean {name}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_programs_are_those_of_reports() {
        for (name, expected) in [
            ("vale0:a", "vale0:a"),
            ("netmap:vale0:a", "vale0:a"),
            ("vale0:a-0/z@3", "vale0:a"),
            ("netmap:x{1", "x{1"),
            ("x}1", "x}1"),
            ("v0", "v0"),
            ("vale0", "vale0"),
            ("vale0:", "vale0"),
            ("x{", "x{"),
        ] {
            assert_eq!(label(name), expected, "{name}");
        }
    }

    #[test]
    fn the_nearest_is_near() {
        let known = ["vale0:in", "vale0:out", "x{1", "vale10:in"];
        for (wanted, expected) in [
            ("vale0:inn", Some("vale0:in")),
            ("netmap:vale0:ni", Some("vale0:in")),
            ("VALE0:OUT", Some("vale0:out")),
            ("valo0:out", Some("vale0:out")),
            ("x{2", Some("x{1")),
            ("vale0:in/z", None),
            ("eth0", None),
            ("", None),
        ] {
            assert_eq!(nearest(wanted, known), expected, "{wanted}");
        }
        assert_eq!(hint("vale0:ot", known), "; did you mean vale0:out?");
        assert_eq!(hint("eth0", known), "");
    }
}

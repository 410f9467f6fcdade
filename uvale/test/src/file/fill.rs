//! `${...}` in strings. What only the process that runs a case can know stays as it is, but is checked: ports,
//! interfaces, and what a step has learnt.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use uvale_tools::nearest::hint;

use super::section::At;
use super::tree::{Entry, Node, Value};

/// What names mean where a string is.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// of the matrix
    pub values: &'a [(String, Value)],
    /// `${dir}`
    pub dir: Option<&'a Path>,
    /// ports that `${port.NAME}` may mean here, and whether they are interfaces; `None` where there are no programs
    pub ports: Option<&'a BTreeMap<String, bool>>,
    /// what earlier steps have learnt
    pub learnt: &'a BTreeSet<String>,
    /// Does who runs the case fill in the rest? Then `$${` is left for it to be made `${`.
    pub is_filled_later: bool,
}

/// Is there the name of this port in the text?
pub fn mentions_port(text: &str, port: &str) -> bool {
    let without_escapes = text.replace("$${", "");
    without_escapes.contains(&format!("${{port.{port}}}"))
}

/// The text as it is meant, where nobody fills it in later.
pub fn unescaped(text: &str) -> String {
    text.replace("$${", "${")
}

/// The value with everything in place.
pub fn fill(at: &At<'_>, scope: &Scope<'_>) -> Node {
    let value = match &at.node.value {
        Value::Text(text) if text.contains("${") => return filled(at, text, scope),
        Value::List(nodes) => {
            let one = |node: &Node| {
                let line = node.line;
                fill(
                    &At {
                        line,
                        node,
                        ..at.clone()
                    },
                    scope,
                )
            };
            Value::List(nodes.iter().map(one).collect())
        }
        Value::Table(_) => {
            let entries = at.entries().unwrap_or_default().into_iter();
            let entries = entries.map(|(name, at)| Entry {
                name: name.to_owned(),
                line: at.line,
                node: fill(&at, scope),
            });
            Value::Table(entries.collect())
        }
        other => other.clone(),
    };
    Node { value, ..*at.node }
}

fn filled(at: &At<'_>, text: &str, scope: &Scope<'_>) -> Node {
    let whole = text
        .strip_prefix("${")
        .and_then(|text| text.strip_suffix('}'));
    let value = whole.and_then(|name| scope.values.iter().find(|(n, _)| n == name));
    if let Some((_, value)) = value {
        return Node {
            line: at.node.line,
            value: value.clone(),
            is_filled: true,
        };
    }
    let value = match replace(text, scope) {
        Ok(text) => Value::Text(text),
        Err(why) => {
            at.wrong(why);
            Value::Broken
        }
    };
    Node {
        line: at.node.line,
        value,
        is_filled: true,
    }
}

/// `$${` stands for `${`.
fn replace(text: &str, scope: &Scope<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str(if scope.is_filled_later { "$${" } else { "${" });
            rest = &from[2..];
            continue;
        }
        out.push_str(before);
        let Some((name, after)) = from[2..].split_once('}') else {
            return Err(format!("{from:?} has no }}; write $${{ for ${{ itself"));
        };
        out.push_str(&look_up(name, scope)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn look_up(name: &str, scope: &Scope<'_>) -> Result<String, String> {
    let as_it_is = || format!("${{{name}}}");
    if let Some(variable) = name.strip_prefix("env.") {
        return from_environment(variable);
    }
    if let Some((kind, port)) = name.split_once('.').filter(|(kind, _)| is_of_port(kind)) {
        let Some(ports) = scope.ports else {
            return Err(format!("{} is known to programs only", as_it_is()));
        };
        return match (kind, ports.get(port)) {
            ("interface", Some(false)) => Err(format!(
                "the port {port} is no interface: kind = \"nic\" is"
            )),
            (_, Some(_)) => Ok(as_it_is()),
            (_, None) => {
                let hint = hint(port, ports.keys().map(String::as_str));
                Err(format!("{}: there is no port {port}{hint}", as_it_is()))
            }
        };
    }
    if let Some((_, value)) = scope.values.iter().find(|(n, _)| n == name) {
        return Ok(value.plain());
    }
    if let (Some(dir), "dir") = (scope.dir, name) {
        return Ok(dir.display().to_string());
    }
    if scope.learnt.contains(learnt_name(name)) {
        return Ok(as_it_is());
    }
    let known = scope.values.iter().map(|(n, _)| n.as_str());
    let known = known
        .chain(scope.learnt.iter().map(String::as_str))
        .chain(["dir"]);
    let hint = hint(learnt_name(name), known);
    let hint = match hint.is_empty() {
        true => "; values are of [matrix], ${env.NAME}, ${dir}, ${port.NAME} or learnt by a step before; \
                 write $${ for ${ itself"
            .to_owned(),
        false => hint,
    };
    Err(format!("there is no value {}{hint}", as_it_is()))
}

fn is_of_port(kind: &str) -> bool {
    matches!(kind, "port" | "interface")
}

/// The name in `NAME`, `NAME+1` and `NAME-1`.
pub fn learnt_name(text: &str) -> &str {
    match text.split_once(['+', '-']) {
        Some((name, number)) if number.parse::<u64>().is_ok() => name,
        _ => text,
    }
}

/// Names that `${...}` may have without meaning something else.
pub fn is_variable(name: &str) -> bool {
    !name.is_empty() && name != "dir" && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// As in a shell: `NAME`, `NAME:-default`.
fn from_environment(text: &str) -> Result<String, String> {
    let (name, default) = match text.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (text, None),
    };
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(format!("{name:?} is no name of a variable"));
    }
    match (std::env::var(name), default) {
        (Ok(value), None) => Ok(value),
        (Ok(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (Err(std::env::VarError::NotUnicode(_)), None) => {
            Err(format!("the variable {name} is no UTF-8"))
        }
        (Err(_), None) => Err(format!(
            "the variable {name} is not set; a default is written ${{env.{name}:-default}}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::section::Errors;
    use super::super::tree;
    use super::*;

    fn filled(text: &str) -> Result<Node, String> {
        filled_for(text, false)
    }

    fn filled_for(text: &str, is_filled_later: bool) -> Result<Node, String> {
        let values = [
            ("mode".to_owned(), Value::Text("swap".into())),
            ("rings".to_owned(), Value::Integer(4)),
        ];
        let ports = BTreeMap::from([("lan".to_owned(), false), ("wan".to_owned(), true)]);
        let learnt = BTreeSet::from(["seq".to_owned()]);
        let scope = Scope {
            values: &values,
            dir: Some(Path::new("/d")),
            ports: Some(&ports),
            learnt: &learnt,
            is_filled_later,
        };
        let root = tree::parse(&format!("x = [{{ y = '{text}' }}]")).unwrap();
        let errors = Errors::default();
        let at = At::root(&root, &errors);
        let node = fill(&at, &scope);
        let Value::Table(mut top) = node.value else {
            panic!()
        };
        let Value::List(mut list) = top.remove(0).node.value else {
            panic!()
        };
        let Value::Table(mut inner) = list.remove(0).value else {
            panic!()
        };
        match errors.into_list().pop() {
            Some(wrong) => {
                assert_eq!((wrong.line, wrong.key.as_str()), (1, "x.y"));
                Err(wrong.why)
            }
            None => Ok(inner.remove(0).node),
        }
    }

    #[test]
    fn values_come_into_their_places() {
        for (text, expected) in [
            ("none", "none"),
            ("${mode}-${rings}", "swap-4"),
            ("$${mode}$", "${mode}$"),
            ("${dir}/a", "/d/a"),
            (
                "${port.lan} ${interface.wan}",
                "${port.lan} ${interface.wan}",
            ),
            ("${seq}${seq+1}", "${seq}${seq+1}"),
            ("${env.UVALE_NO_SUCH:-it}", "it"),
            ("${env.UVALE_NO_SUCH:-}", ""),
        ] {
            assert_eq!(
                filled(text).unwrap().value,
                Value::Text(expected.into()),
                "{text}"
            );
        }
        assert_eq!(filled("${rings}").unwrap().value, Value::Integer(4));
        let left = filled_for("$${port.lan} ${port.lan} ${mode}", true).unwrap();
        let expected = "$${port.lan} ${port.lan} swap".to_owned();
        assert_eq!(left.value, Value::Text(expected.clone()));
        assert!(mentions_port(&expected, "lan") && !mentions_port("$${port.lan}", "lan"));
    }

    #[test]
    fn names_without_a_value_are_said() {
        for (text, why) in [
            ("${modi}", "there is no value ${modi}; did you mean mode?"),
            ("${se}", "did you mean seq?"),
            ("${quite.else}", "values are of [matrix]"),
            ("${port.lam}", "there is no port lam; did you mean lan?"),
            ("${interface.lan}", "the port lan is no interface"),
            (
                "${env.UVALE_NO_SUCH}",
                "the variable UVALE_NO_SUCH is not set",
            ),
            ("${env.}", "is no name"),
            ("a ${mode", "has no }"),
            ("${}", "there is no value ${}"),
            ("${seq+x}", "there is no value"),
        ] {
            let error = filled(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}

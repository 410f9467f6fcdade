//! `[matrix]`: variables with their values, and every combination of them.

use uvale_tools::nearest::hint;

use super::fill::is_variable;
use super::section::At;
use super::tree::Value;

/// A variable with its values, of which there is one at least.
#[derive(Clone, Debug)]
pub struct Variable {
    pub name: String,
    pub values: Vec<Value>,
}

/// Combinations that a case may have.
pub const MOST: usize = 10_000;

/// Reads a matrix.
pub fn variables(at: &At<'_>) -> Vec<Variable> {
    let mut variables = Vec::new();
    for (name, at) in at.entries().unwrap_or_default() {
        if !is_variable(name) {
            at.wrong("a variable's name has letters, digits and _, and is not dir");
        }
        let Some(list) = at.list() else { continue };
        let mut values: Vec<Value> = Vec::new();
        for at in &list {
            match &at.node.value {
                Value::Table(_) | Value::List(_) | Value::Time => {
                    let shown = at.node.value.shown();
                    at.wrong(format!("wants strings, numbers or booleans, not {shown}"));
                }
                value if values.contains(value) => {
                    at.wrong(format!("has {} twice", value.shown()));
                }
                value => values.push(value.clone()),
            }
        }
        if list.is_empty() {
            at.wrong("has no values");
        }
        if !values.is_empty() {
            variables.push(Variable {
                name: name.to_owned(),
                values,
            });
        }
    }
    variables
}

/// The file's variables, and in their place those of a case that have the same names.
pub fn merged(file: &[Variable], case: Vec<Variable>) -> Vec<Variable> {
    let mut all = file.to_vec();
    for variable in case {
        match all.iter_mut().find(|v| v.name == variable.name) {
            Some(same) => *same = variable,
            None => all.push(variable),
        }
    }
    all
}

/// Values that the command line gives take the place of all others. They are numbers if the others are.
pub fn set(variables: &mut [Variable], given: &[(String, String)]) {
    for (name, text) in given {
        for variable in variables.iter_mut().filter(|v| v.name == *name) {
            let value = match &variable.values[0] {
                Value::Integer(_) => text.parse().ok().map(Value::Integer),
                Value::Float(_) => text.parse().ok().map(Value::Float),
                Value::Flag(_) => text.parse().ok().map(Value::Flag),
                _ => None,
            };
            variable.values = vec![value.unwrap_or_else(|| Value::Text(text.clone()))];
        }
    }
}

/// Why nothing can be given to a variable of this name.
pub fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let hint = hint(name, known.clone());
    let known: Vec<_> = known.collect();
    let hint = match (hint.is_empty(), known.is_empty()) {
        (false, _) => hint,
        (true, true) => "; there is no [matrix] in these files".to_owned(),
        (true, false) => format!("; there are {}", known.join(", ")),
    };
    format!("--set {name}: there is no such variable in a [matrix]{hint}")
}

/// Every combination, the last variable changing first; `None` if there are too many.
pub fn combinations(variables: &[Variable]) -> Option<Vec<Vec<(String, Value)>>> {
    let mut all = vec![Vec::new()];
    for variable in variables {
        if all.len().saturating_mul(variable.values.len()) > MOST {
            return None;
        }
        let longer = |before: &Vec<(String, Value)>, value: &Value| {
            let mut row = before.clone();
            row.push((variable.name.clone(), value.clone()));
            row
        };
        all = all
            .iter()
            .flat_map(|before| {
                variable
                    .values
                    .iter()
                    .map(move |value| longer(before, value))
            })
            .collect();
    }
    Some(all)
}

/// `[mode=swap rings=1]`, with a blank before it; nothing if there are no variables.
pub fn label(values: &[(String, Value)]) -> String {
    let values: Vec<_> = values
        .iter()
        .map(|(name, value)| format!("{name}={}", value.plain()))
        .collect();
    match values.is_empty() {
        true => String::new(),
        false => format!(" [{}]", values.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str, values: &[i128]) -> Variable {
        Variable {
            name: name.into(),
            values: values.iter().map(|n| Value::Integer(*n)).collect(),
        }
    }

    #[test]
    fn every_combination_once() {
        let all = combinations(&[variable("a", &[1, 2]), variable("b", &[3, 4, 5])]).unwrap();
        let labels: Vec<_> = all.iter().map(|values| label(values)).collect();
        assert_eq!(labels[..2], [" [a=1 b=3]", " [a=1 b=4]"]);
        assert_eq!((labels.len(), labels[5].as_str()), (6, " [a=2 b=5]"));
        assert_eq!(label(&combinations(&[]).unwrap()[0]), "");
        let many: Vec<i128> = (0..101).collect();
        assert!(combinations(&[variable("a", &many), variable("b", &many)]).is_none());
    }

    #[test]
    fn cases_and_the_command_line_go_before_the_file() {
        let file = [variable("a", &[1]), variable("b", &[2])];
        let mut all = merged(&file, vec![variable("b", &[7, 8]), variable("c", &[9])]);
        set(
            &mut all,
            &[("a".into(), "5".into()), ("c".into(), "x".into())],
        );
        let labels: Vec<_> = combinations(&all)
            .unwrap()
            .iter()
            .map(|v| label(v))
            .collect();
        assert_eq!(labels, [" [a=5 b=7 c=x]", " [a=5 b=8 c=x]"]);
        let known = ["mode", "rings"].into_iter();
        assert!(unknown("mod", known.clone()).ends_with("did you mean mode?"));
        assert!(unknown("quite", known).ends_with("there are mode, rings"));
    }
}

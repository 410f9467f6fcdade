//! Does a frame pass a filter?

use std::cmp::Ordering;

use super::value::Test;
use super::{Expr, Op, Operand, Right, Target};
use crate::kind::{Kind, Value};
use crate::place;
use crate::shape::Shape;
use crate::table::Proto;

/// Is it so of this frame?
pub fn is_so(expr: &Expr, frame: &[u8], shape: &Shape) -> bool {
    match expr {
        Expr::Any(all) => all.iter().any(|expr| is_so(expr, frame, shape)),
        Expr::All(all) => all.iter().all(|expr| is_so(expr, frame, shape)),
        Expr::Not(expr) => !is_so(expr, frame, shape),
        Expr::Is(operand) => !values(operand, frame, shape).is_empty(),
        Expr::In(operand, tests) => {
            let is_in = |value: &Value| {
                tests.iter().any(|(from, to)| match to {
                    None => compare(value, from) == Some(Ordering::Equal),
                    Some(to) => {
                        compare(value, from).is_some_and(Ordering::is_ge)
                            && compare(value, to).is_some_and(Ordering::is_le)
                    }
                })
            };
            values(operand, frame, shape).iter().any(is_in)
        }
        Expr::Compare(operand, op, right) => {
            let left = values(operand, frame, shape);
            let tests = match right {
                Right::Value(test) => vec![test.clone()],
                Right::Operand(other) => {
                    let values = values(other, frame, shape).into_iter();
                    values.map(|value| Test { value, mask: None }).collect()
                }
            };
            let mut pairs = left
                .iter()
                .flat_map(|value| tests.iter().map(move |test| (value, test)));
            match op {
                Op::NotEqual => {
                    !left.is_empty()
                        && !tests.is_empty()
                        && pairs.all(|(value, test)| holds(value, *op, test))
                }
                _ => pairs.any(|(value, test)| holds(value, *op, test)),
            }
        }
    }
}

fn holds(value: &Value, op: Op, test: &Test) -> bool {
    let order = compare(value, test);
    match op {
        Op::Equal => order == Some(Ordering::Equal),
        Op::NotEqual | Op::AnyNotEqual => order != Some(Ordering::Equal),
        Op::Less => order == Some(Ordering::Less),
        Op::LessOrEqual => order.is_some_and(Ordering::is_le),
        Op::Greater => order == Some(Ordering::Greater),
        Op::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        Op::Contains => contains(value, &test.value),
        Op::Bits => match (value, &test.value) {
            (Value::Bits(value), Value::Bits(mask)) => value & mask != 0,
            _ => false,
        },
    }
}

/// `None` for values of different kinds.
fn compare(value: &Value, test: &Test) -> Option<Ordering> {
    match (value, &test.value) {
        (Value::Bits(one), Value::Bits(two)) => {
            let mask = test.mask.unwrap_or(u128::MAX);
            Some((one & mask).cmp(&(two & mask)))
        }
        (Value::Bytes(one), Value::Bytes(two)) => Some(one.cmp(two)),
        _ => None,
    }
}

fn contains(value: &Value, part: &Value) -> bool {
    let (value, part) = (bytes_of(value, Kind::Mac), bytes_of(part, Kind::Mac));
    part.is_empty() || value.windows(part.len()).any(|window| window == part)
}

/// The bytes of a value of this kind.
fn bytes_of(value: &Value, kind: Kind) -> Vec<u8> {
    let width = match kind {
        Kind::Mac => 6,
        Kind::Ipv4 => 4,
        _ => 16,
    };
    match value {
        Value::Bytes(bytes) => bytes.clone(),
        Value::Bits(n) => n.to_be_bytes()[16 - width..].to_vec(),
    }
}

fn values(operand: &Operand, frame: &[u8], shape: &Shape) -> Vec<Value> {
    let (values, kind) = match operand.of {
        Target::Field(field) => (place::values(field, frame, shape), field.kind),
        Target::Proto(proto) => (whole(proto, frame, shape), Kind::Bytes),
    };
    let Some((from, len)) = operand.slice else {
        return values;
    };
    let slice = |value: Value| {
        let bytes = bytes_of(&value, kind);
        let to = len.map_or(bytes.len(), |len| from + len);
        bytes
            .get(from..to)
            .map(|bytes| Value::Bytes(bytes.to_vec()))
    };
    values.into_iter().filter_map(slice).collect()
}

/// The bytes of a protocol: from its header on.
fn whole(proto: Proto, frame: &[u8], shape: &Shape) -> Vec<Value> {
    if proto == Proto::Frame {
        return vec![Value::Bytes(frame.to_vec())];
    }
    let end = |start: usize| match proto {
        Proto::Eth | Proto::Vlan | Proto::Arp => frame.len(),
        _ => shape.payload.end.max(start),
    };
    let parts = shape.all(proto).map(|part| part.at.start);
    let bytes = parts.filter_map(|start| frame.get(start..end(start)));
    bytes.map(|bytes| Value::Bytes(bytes.to_vec())).collect()
}

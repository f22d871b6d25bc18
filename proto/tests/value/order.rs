//! The order of values is total.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use byproxy_proto::value::{Value, compare};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::any::{any_float, any_int, any_value, encode, nearly_values};

/// Values that are often equal or close, so that transitivity is put to the test.
fn close_value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        (-2_i8..2).prop_map(Value::from),
        (-2_i8..2).prop_map(|n| Value::from(f64::from(n))),
        prop::sample::select(vec![
            Value::from(f64::NAN),
            Value::from(-f64::NAN),
            Value::from(-0.0),
            Value::from(0.5)
        ]),
        any_int().prop_map(Value::Int),
        any_float().prop_map(Value::Float),
    ];
    let leaf =
        prop_oneof![3 => number, 1 => prop::sample::select(vec![Value::None, Value::from(true), Value::from("")])];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::List),
            vec((inner.clone(), inner), 0..3).prop_map(Value::Dict),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn it_is_antisymmetric_and_transitive(
        a in prop_oneof![close_value(), any_value()],
        b in prop_oneof![close_value(), any_value()],
        c in prop_oneof![close_value(), any_value()],
    ) {
        let (x, y, z) = (encode(&a), encode(&b), encode(&c));
        for (left, right) in [(&x, &y), (&y, &z), (&x, &z)] {
            prop_assert_eq!(compare(left, right), compare(right, left).reverse());
            prop_assert_eq!(compare(left, left), Ordering::Equal);
        }
        let mut sorted = [&x, &y, &z];
        sorted.sort_by(|left, right| compare(left, right));
        prop_assert!(compare(sorted[0], sorted[1]).is_le());
        prop_assert!(compare(sorted[1], sorted[2]).is_le());
        prop_assert!(compare(sorted[0], sorted[2]).is_le());
        if compare(&x, &y).is_eq() {
            prop_assert_eq!(compare(&x, &z), compare(&y, &z));
        }
    }

    /// The rules of `order.rs` once more, written over trees and without a thought for speed.
    #[test]
    fn it_is_the_order_that_is_documented(a in close_value(), b in close_value()) {
        prop_assert_eq!(compare(&encode(&a), &encode(&b)), model(&a, &b), "{} with {}", a, b);
    }

    #[test]
    fn numbers_are_compared_exactly(a in any_int(), x in any_float()) {
        let order = compare(&encode(&Value::Int(a)), &encode(&x));
        prop_assert_ne!(order, Ordering::Equal, "an int is less than the float of the same value");
        let back = compare(&encode(&x), &encode(&Value::Int(a)));
        prop_assert_eq!(order, back.reverse());
        prop_assert_eq!(order, model(&Value::Int(a), &Value::from(x)));
    }

    #[test]
    fn no_bytes_make_it_panic(a in nearly_values(), b in nearly_values()) {
        let _ = compare(&a, &b);
    }
}

fn model(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::None => 0,
        Value::Some(_) => 1,
        Value::Bool(_) => 2,
        Value::Int(_) | Value::Float(_) => 3,
        Value::Str(_) => 4,
        Value::Bytes(_) => 5,
        Value::List(_) => 6,
        Value::Dict(_) => 7,
        Value::Proxy(_) => 8,
    };
    match (a, b) {
        (Value::Some(a), Value::Some(b)) => model(a, b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => numbers(a, b),
        (Value::Str(a), Value::Str(b)) => a.chars().cmp(b.chars()),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::List(a), Value::List(b)) => lists(a, b),
        (Value::Dict(a), Value::Dict(b)) => lists(&flat(a), &flat(b)),
        (Value::Proxy(a), Value::Proxy(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)),
    }
}

fn lists(a: &[Value], b: &[Value]) -> Ordering {
    let different = a.iter().zip(b).map(|(a, b)| model(a, b)).find(|order| order.is_ne());
    different.unwrap_or(a.len().cmp(&b.len()))
}

/// A dict's keys and values in turn, sorted by the bytes of the key form.
fn flat(pairs: &[(Value, Value)]) -> Vec<Value> {
    let mut pairs = pairs.to_vec();
    pairs.sort_by_key(|(key, value)| (encode(&key_form(key)), encode(&key_form(value))));
    pairs.into_iter().flat_map(|(key, value)| [key, value]).collect()
}

fn key_form(value: &Value) -> Value {
    match value {
        Value::List(values) => Value::List(values.iter().map(key_form).collect()),
        Value::Dict(pairs) => {
            let flat = flat(pairs);
            Value::Dict(
                flat.chunks(2)
                    .map(|pair| (key_form(&pair[0]), key_form(&pair[1])))
                    .collect(),
            )
        }
        Value::Float(x) if x.is_nan() => Value::Float(f64::from_bits(0x7ff8 << 48)),
        Value::Float(x) if *x == 0.0 => Value::Float(0.0),
        other => other.clone(),
    }
}

/// Any finite number in units of 2^-1074, as a sign and the bits of a magnitude: exact, slow, obvious.
fn numbers(a: &Value, b: &Value) -> Ordering {
    let class = |value: &Value| match value {
        Value::Float(x) if x.is_nan() => 3,
        Value::Float(x) if *x == f64::INFINITY => 2,
        Value::Float(x) if *x == f64::NEG_INFINITY => 0,
        _ => 1,
    };
    let by_class = class(a).cmp(&class(b));
    if by_class.is_ne() || class(a) != 1 {
        return by_class;
    }
    let ((negative_a, bits_a), (negative_b, bits_b)) = (exact(a), exact(b));
    let zero = vec![false; bits_a.len()];
    let by_value = match (negative_a && bits_a != zero, negative_b && bits_b != zero) {
        (false, false) => bits_a.cmp(&bits_b),
        (true, true) => bits_b.cmp(&bits_a),
        (false, true) => Ordering::Greater,
        (true, false) => Ordering::Less,
    };
    by_value.then(matches!(a, Value::Float(_)).cmp(&matches!(b, Value::Float(_))))
}

fn exact(value: &Value) -> (bool, Vec<bool>) {
    const WIDTH: usize = 1074 + 1024;
    let mut bits = vec![false; WIDTH];
    let mut set = |mantissa: u128, shift: usize| {
        for bit in (0..128).filter(|bit| mantissa >> bit & 1 == 1) {
            bits[WIDTH - 1 - (shift + bit)] = true;
        }
    };
    match value {
        Value::Int(int) => {
            set(int.magnitude(), 1074);
            (int.is_negative(), bits)
        }
        Value::Float(x) => {
            let exponent = (x.to_bits() >> 52 & 0x7ff) as usize;
            let fraction = u128::from(x.to_bits() & ((1 << 52) - 1));
            let hidden = if exponent == 0 { 0 } else { 1 << 52 };
            set(fraction | hidden, exponent.max(1) - 1);
            (x.is_sign_negative(), bits)
        }
        other => unreachable!("{other} is no number"),
    }
}

#[test]
fn types_stand_in_this_order() {
    let sorted = [
        Value::None,
        Value::some(Value::None),
        Value::some(Value::some(Value::None)),
        Value::from(false),
        Value::from(true),
        Value::from(f64::NEG_INFINITY),
        Value::from(i128::MIN),
        Value::from(-1),
        Value::from(-1.0),
        Value::from(-0.5),
        Value::from(0),
        Value::from(0.0),
        Value::from(1_u64 << 53),
        Value::from(2_f64.powi(53)),
        Value::from((1_u64 << 53) + 1),
        Value::from(u128::MAX),
        Value::from(2_f64.powi(128)),
        Value::from(f64::INFINITY),
        Value::from(f64::NAN),
        Value::from(""),
        Value::from("a"),
        Value::from("ab"),
        Value::from("b"),
        Value::from("票"),
        Value::Bytes(vec![]),
        Value::Bytes(vec![0]),
        Value::List(vec![]),
        Value::from(vec![1]),
        Value::from(vec![1, 0]),
        Value::from(vec![2]),
        Value::Dict(vec![]),
        Value::from([("a", 1)]),
        Value::from([("a", 1), ("b", 0)]),
        Value::from([("a", 2)]),
    ];
    for (at, a) in sorted.iter().enumerate() {
        for (other_at, b) in sorted.iter().enumerate() {
            assert_eq!(compare(&encode(a), &encode(b)), at.cmp(&other_at), "{a} with {b}");
        }
    }
}

/// Dicts in dicts: sorting each again at every level would take a time that no test survives.
#[test]
fn nested_dicts_do_not_multiply() {
    let build = |last: u8| {
        let mut value = Value::from(last);
        for level in 0..15 {
            let twin = Value::from(vec![Value::from(level), value.clone()]);
            value = Value::Dict(vec![(twin, Value::None), (value, Value::None)]);
        }
        encode(&value)
    };
    let (a, b) = (build(1), build(2));
    let begun = Instant::now();
    assert!(compare(&a, &b).is_ne());
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "took {:?} for {} bytes",
        begun.elapsed(),
        a.len()
    );
}

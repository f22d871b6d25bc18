//! Equal keys have equal bytes.

use std::collections::HashMap;

use byproxy_proto::value::{DecodeErrorKind, Raw, Value, canonical_key, compare};
use proptest::prelude::*;

use crate::any::{LIMITS, any_value, assert_canonical, encode, nearly_values};

fn key(value: &Value) -> Option<Vec<u8>> {
    let bytes = encode(value);
    let mut out = vec![0xee];
    match canonical_key(Raw::check(&bytes, &LIMITS).unwrap(), &mut out) {
        Ok(true) => Some(out.split_off(1)),
        Ok(false) => {
            assert_eq!(out, [0xee], "unchanged, so nothing is written");
            Some(bytes)
        }
        Err(error) => {
            assert_eq!((error.kind(), out), (&DecodeErrorKind::DuplicateKey, vec![0xee]));
            None
        }
    }
}

/// The same value with every dict's pairs in another order.
fn reordered(value: &Value) -> Value {
    match value {
        Value::List(values) => Value::List(values.iter().map(reordered).collect()),
        Value::Dict(pairs) => Value::Dict(pairs.iter().rev().map(|(k, v)| (reordered(k), reordered(v))).collect()),
        Value::Float(x) if *x == 0.0 => Value::Float(-x),
        Value::Float(x) if x.is_nan() => Value::Float(f64::from_bits(x.to_bits() ^ 1 | 1 << 51)),
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn equal_keys_have_equal_bytes(a in any_value(), b in any_value()) {
        let turned = reordered(&a);
        prop_assert_eq!(&turned, &a);
        prop_assert_eq!(key(&turned), key(&a));
        if let (Some(key_a), Some(key_b)) = (key(&a), key(&b)) {
            prop_assert_eq!(key_a == key_b, a == b);
            // The key's form is a value too, the same one, and settled.
            assert_canonical(&key_a);
            prop_assert!(compare(&key_a, &encode(&a)).is_eq());
            let mut out = Vec::new();
            prop_assert!(!canonical_key(Raw::check(&key_a, &LIMITS).unwrap(), &mut out).unwrap());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in nearly_values()) {
        let _ = canonical_key(Raw::assume_checked(&bytes), &mut Vec::new());
    }
}

#[test]
fn what_a_key_looks_like() {
    let dict = Value::from([("b", Value::from(1)), ("a", Value::from(-0.0))]);
    let sorted = Value::from([("a", Value::from(0.0)), ("b", Value::from(1))]);
    assert_eq!(key(&dict), Some(encode(&sorted)));
    // By encoded key: the length of a string comes before its letters.
    let dict = Value::from([("aa", 1), ("b", 2)]);
    assert_eq!(key(&dict), Some(encode(&Value::from([("b", 2), ("aa", 1)]))));
    assert_eq!(
        key(&Value::from(f64::from_bits(0xfff0_0000_0000_0001))),
        Some(encode(&f64::from_bits(0x7ff8 << 48)))
    );
}

#[test]
fn numbers_of_different_types_are_different_keys() {
    let keys = [Value::from(1), Value::from(1.0), Value::from(true), Value::from("1")].map(|value| key(&value));
    for (at, one) in keys.iter().enumerate() {
        assert!(keys.iter().skip(at + 1).all(|other| other != one));
    }
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    let twice = Value::Dict(vec![(Value::from(1), Value::None), (Value::from(1), Value::from(2))]);
    assert_eq!(key(&twice), None);
    assert_eq!(key(&Value::from(vec![twice])), None);
    let same_when_sorted = Value::Dict(vec![(Value::from(0.0), Value::None), (Value::from(-0.0), Value::None)]);
    assert_eq!(key(&same_when_sorted), None);
    let random_order: HashMap<_, _> = (0..50).map(|n| (n, n)).collect();
    assert!(key(&Value::from(random_order)).is_some());
}

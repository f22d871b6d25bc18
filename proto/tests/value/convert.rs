//! `Value` by hand: conversions, text, equality.

use std::collections::{BTreeMap, HashMap};

use byproxy_proto::value::{Int, Kind, Raw, Token, Value};
use proptest::prelude::*;

use crate::any::{any_int, decode, encode};

#[test]
fn rust_values_become_values_as_serde_would_write_them() {
    assert_eq!(
        encode(&Value::from(vec![Some(1_u8), None])),
        encode(&[Some(1_u8), None])
    );
    assert_eq!(encode(&Value::from(Some(None::<i8>))), encode(&Some(None::<i8>)));
    assert_eq!(encode(&Value::from(Some(()))), encode(&Some(())));
    assert_eq!(encode(&Value::from('票')), encode(&'票'));
    assert_eq!(encode(&Value::from(1.5_f32)), encode(&1.5_f32));
    assert_eq!(
        encode(&Value::from(BTreeMap::from([(1, "a")]))),
        encode(&BTreeMap::from([(1, "a")]))
    );
    assert_eq!(
        encode(&Value::from(HashMap::from([("k", true)]))),
        encode(&HashMap::from([("k", true)]))
    );
    assert_eq!(
        Value::of(&(1, "a")).unwrap().to::<(u8, String)>().unwrap(),
        (1, "a".to_owned())
    );
    assert!(Value::from(300).to::<u8>().is_err());
}

#[test]
fn a_value_of_another_type_comes_back() {
    assert_eq!(u8::try_from(Value::from(7)), Ok(7));
    assert_eq!(u8::try_from(Value::from(300)), Err(Value::from(300)));
    assert_eq!(String::try_from(Value::from("a")), Ok("a".to_owned()));
    assert_eq!(bool::try_from(Value::None), Err(Value::None));
    assert_eq!(Vec::<Value>::try_from(Value::from(vec![1])), Ok(vec![Value::from(1)]));
    let token = Token {
        instance: 1,
        object: 2,
        kind: Kind::LIST,
    };
    assert_eq!(Token::try_from(Value::from(token)), Ok(token));
}

#[test]
fn a_needless_some_is_no_some() {
    let needless = Value::Some(Box::new(Value::Some(Box::new(Value::from(5)))));
    assert_eq!(needless, Value::from(5));
    assert_eq!(encode(&needless), encode(&5));
    assert_eq!(postcard::to_allocvec(&needless).unwrap(), encode(&5));
    assert_eq!(needless.type_name(), "int");
    assert_eq!(Value::some(Value::None).type_name(), "Some");
    assert_ne!(Value::some(Value::None), Value::None);
}

#[test]
fn text_reads_like_python() {
    let cases = [
        (Value::None, "None"),
        (Value::some(Value::None), "Some(None)"),
        (Value::from(true), "True"),
        (Value::from(-5), "-5"),
        (Value::from(u128::MAX), "340282366920938463463374607431768211455"),
        (Value::from(1.0), "1.0"),
        (Value::from(1e16), "1e+16"),
        (Value::from(f64::NAN), "nan"),
        (Value::from(f64::NEG_INFINITY), "-inf"),
        (Value::from("it's\n票"), "\"it's\\n票\""),
        (Value::from("'\""), "'\\'\"'"),
        (Value::Bytes(b"a\x00'\xff".to_vec()), "b'a\\x00\\'\\xff'"),
        (Value::from(vec![1, 2]), "[1, 2]"),
        (Value::from([("a", 1), ("b", 2)]), "{'a': 1, 'b': 2}"),
        (
            Value::from(Token {
                instance: 9,
                object: 12,
                kind: Kind::DICT,
            }),
            "<dict #12>",
        ),
        (
            Value::from(Token {
                instance: 9,
                object: 12,
                kind: Kind(77),
            }),
            "<kind 77 #12>",
        ),
    ];
    for (value, text) in cases {
        assert_eq!(value.to_string(), text);
        assert_eq!(
            Raw::check(&encode(&value), &crate::any::LIMITS).unwrap().to_string(),
            text
        );
    }
}

#[test]
fn json_goes_in_and_out() {
    let json = r#"{"a":[1,-2,2.5,null,true,"x"]}"#;
    let value: Value = serde_json::from_str(json).unwrap();
    assert_eq!(value.get("a").map(Value::type_name), Some("list"));
    assert_eq!(value.get("b"), None);
    assert_eq!(serde_json::to_string(&value).unwrap(), json);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn an_integer_keeps_its_meaning(int in any_int(), other in any_int()) {
        let text = int.to_string();
        prop_assert_eq!(i128::try_from(int).ok(), text.parse().ok());
        prop_assert_eq!(u128::try_from(int).ok(), text.parse().ok());
        prop_assert_eq!(i64::try_from(int).ok(), text.parse().ok());
        prop_assert_eq!(u8::try_from(int).ok(), text.parse().ok());
        prop_assert_eq!(Int::new(int.is_negative(), int.magnitude()), Some(int));
        if let (Ok(a), Ok(b)) = (i128::try_from(int), i128::try_from(other)) {
            prop_assert_eq!(int.cmp(&other), a.cmp(&b));
            prop_assert_eq!(Int::from(a), int);
        }
        prop_assert_eq!(decode::<Value>(&encode(&Value::Int(int))).unwrap(), Value::Int(int));
        prop_assert_eq!(Raw::assume_checked(&encode(&Value::Int(int))).as_int(), i128::try_from(int).ok());
    }
}

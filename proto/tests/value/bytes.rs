//! The bytes themselves: one form per value, everything else refused, and two readers that agree.

use byproxy_proto::value::{DecodeErrorKind, Malformed, Raw, Token, Value, walk};
use proptest::prelude::*;

use crate::any::{LIMITS, any_value, assert_canonical, decode, encode, nearly_values};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_value_has_one_form(value in any_value()) {
        let bytes = encode(&value);
        assert_canonical(&bytes);
        let back: Value = decode(&bytes).unwrap();
        prop_assert_eq!(&back, &value);
    }

    /// Whatever comes in, it is a value in its only form, or an error; and both readers say the same.
    #[test]
    fn arbitrary_bytes_are_a_value_or_an_error(bytes in nearly_values()) {
        let decoded = decode::<Value>(&bytes);
        let walked = Raw::check(&bytes, &LIMITS);
        prop_assert_eq!(decoded.is_ok(), walked.is_ok(), "{:?} and {:?}", decoded, walked);
        match (decoded, walked) {
            (Ok(value), Ok(raw)) => {
                prop_assert_eq!(encode(&value), raw.bytes());
                prop_assert_eq!(raw.to_value().unwrap(), value);
            }
            (Err(one), Err(other)) => {
                prop_assert!(one.is_malformed());
                prop_assert_eq!(one.kind(), other.kind());
            }
            _ => unreachable!("compared above"),
        }
    }

    /// Any type may be asked for, whatever the bytes are: no panic, no hang.
    #[test]
    fn arbitrary_bytes_read_as_any_type(bytes in nearly_values()) {
        use std::collections::{BTreeMap, HashMap};
        let _ = decode::<Vec<()>>(&bytes);
        let _ = decode::<Vec<Option<Option<u8>>>>(&bytes);
        let _ = decode::<BTreeMap<String, Vec<f32>>>(&bytes);
        let _ = decode::<HashMap<Option<i128>, (u8, char)>>(&bytes);
        let _ = decode::<Result<u8, String>>(&bytes);
        let _ = decode::<serde_bytes::ByteBuf>(&bytes);
        let _ = decode::<Token>(&bytes);
        prop_assert!(decode::<serde::de::IgnoredAny>(&bytes).map_or_else(|error| error.is_malformed(), |_| true));
    }

    /// Passing over checked bytes finds the same parts, and the same proxies, as decoding them.
    #[test]
    fn raw_sees_what_decoding_sees(value in any_value()) {
        let bytes = encode(&value);
        let raw = Raw::check(&bytes, &LIMITS).unwrap();
        let mut walked = Vec::new();
        walk(&bytes, &LIMITS, |token| walked.push(token)).unwrap();
        let mut in_tree = Vec::new();
        collect_tokens(&value, &mut in_tree);
        prop_assert_eq!(&walked, &in_tree);
        prop_assert_eq!(raw.tokens().collect::<Vec<_>>(), walked);
        prop_assert_eq!(raw.has_tokens(), !in_tree.is_empty());
        prop_assert_eq!(raw.type_name(), value.type_name());
        match &value {
            Value::List(values) => {
                let items: Vec<_> = raw.list_items().unwrap().map(|item| item.to_value().unwrap()).collect();
                prop_assert_eq!(&items, values);
            }
            Value::Dict(pairs) => {
                let items: Vec<_> = raw.dict_items().unwrap().collect();
                prop_assert_eq!(items.len(), pairs.len());
                for ((key, value), (raw_key, raw_value)) in pairs.iter().zip(items) {
                    prop_assert_eq!(encode(key), raw_key.bytes());
                    prop_assert_eq!(encode(value), raw_value.bytes());
                }
            }
            _ => {
                prop_assert!(raw.list_items().is_none());
                prop_assert!(raw.dict_items().is_none());
            }
        }
    }

    /// Bytes that nobody checked may give wrong answers, never a panic or an endless loop.
    #[test]
    fn raw_survives_bytes_that_are_no_value(bytes in nearly_values()) {
        let raw = Raw::assume_checked(&bytes);
        let _ = (raw.as_bool(), raw.as_int(), raw.as_float(), raw.as_str(), raw.as_bytes(), raw.as_token());
        let _ = (raw.is_none(), raw.type_name(), raw.tokens().count(), raw.to_string());
        if let Some(items) = raw.list_items() {
            prop_assert!(items.count() <= bytes.len());
        }
        if let Some(items) = raw.dict_items() {
            prop_assert!(items.count() <= bytes.len());
        }
    }
}

fn collect_tokens(value: &Value, found: &mut Vec<Token>) {
    match value {
        Value::Proxy(token) => found.push(*token),
        Value::Some(inner) => collect_tokens(inner, found),
        Value::List(values) => values.iter().for_each(|value| collect_tokens(value, found)),
        Value::Dict(pairs) => pairs.iter().for_each(|(key, value)| {
            collect_tokens(key, found);
            collect_tokens(value, found);
        }),
        _ => {}
    }
}

#[test]
fn every_departure_from_the_one_form_is_refused() {
    use Malformed as M;
    let cases: &[(&[u8], Malformed)] = &[
        (&[], M::CutShort),
        (&[10], M::Tag(10)),
        (&[63], M::Tag(63)),
        (&[0x80, 0], M::Tag(0x80)),
        (&[255], M::Tag(255)),
        (&[0, 0], M::Trailing(1)),
        (&[1], M::CutShort),
        (&[1, 2, 0], M::NeedlessSome),
        (&[1, 9, 0, 0, 1], M::NeedlessSome),
        (&[1, 10], M::Tag(10)),
        (&[1, 1], M::CutShort),
        (&[2], M::CutShort),
        (&[2, 2], M::Bool(2)),
        (&[3], M::CutShort),
        (&[3, 0], M::CutShort),
        (&[3, 2, 0], M::Bool(2)),
        (&[3, 1, 0], M::IntRange),
        (&[3, 0, 0x80, 0], M::Varint),
        (&[3, 0, 0x81, 0x80, 0], M::Varint),
        (&[3, 0, 0x80], M::CutShort),
        (&[4, 0, 0, 0, 0, 0, 0, 0], M::CutShort),
        (&[5, 1], M::CutShort),
        (&[5, 1, 0xff], M::Utf8),
        (&[5, 0x81, 0, b'a'], M::Varint),
        (&[5, 3, 0xed, 0xa0, 0x80], M::Utf8),
        (&[6, 2, 0], M::CutShort),
        (&[7], M::CutShort),
        (&[7, 1], M::CutShort),
        (&[7, 2, 0], M::CutShort),
        (&[8, 1, 0], M::CutShort),
        (&[8, 0x81, 0, 0, 0], M::Varint),
        (&[9, 0, 0], M::CutShort),
        (&[9, 0x80, 0, 0, 1], M::Varint),
    ];
    for (bytes, malformed) in cases {
        let expected = DecodeErrorKind::Malformed(*malformed);
        assert_eq!(
            decode::<Value>(bytes).unwrap_err().kind(),
            &expected,
            "decoding {bytes:02x?}"
        );
        assert_eq!(
            Raw::check(bytes, &LIMITS).unwrap_err().kind(),
            &expected,
            "walking {bytes:02x?}"
        );
    }
}

/// The longest varints there are, and one bit more.
#[test]
fn integers_end_at_their_width() {
    let long = |last: &[u8], count: usize| [&[3, 0][..], &vec![0xff; count], last].concat();
    assert_eq!(decode::<u128>(&long(&[3], 18)).unwrap(), u128::MAX);
    assert_eq!(decode::<u64>(&long(&[1], 9)).unwrap(), u64::MAX);
    for (bytes, malformed) in [
        (long(&[4], 18), Malformed::Varint),
        (long(&[0x83, 0], 18), Malformed::Varint),
        (long(&[0x7f], 18), Malformed::Varint),
        (long(&[], 40), Malformed::Varint),
    ] {
        assert_eq!(
            decode::<Value>(&bytes).unwrap_err().kind(),
            &DecodeErrorKind::Malformed(malformed)
        );
    }
    // -2^127 is the lowest; its neighbour below is refused.
    let lowest = encode(&i128::MIN);
    assert_eq!(decode::<i128>(&lowest).unwrap(), i128::MIN);
    let mut below = lowest;
    below[2] |= 1;
    assert_eq!(
        decode::<Value>(&below).unwrap_err().kind(),
        &DecodeErrorKind::Malformed(Malformed::IntRange)
    );
    // A length is 64 bits wide at most, and an object id too.
    let too_wide = [&[5][..], &[0x80; 9], &[2]].concat();
    assert_eq!(
        decode::<Value>(&too_wide).unwrap_err().kind(),
        &DecodeErrorKind::Malformed(Malformed::Varint)
    );
    let object = [&[9, 0][..], &[0x80; 9], &[2, 1]].concat();
    assert_eq!(
        decode::<Value>(&object).unwrap_err().kind(),
        &DecodeErrorKind::Malformed(Malformed::Varint)
    );
}

/// Both binary readers hold the same line: what plain postcard would take, `Value` refuses.
#[test]
fn postcard_reads_values_strictly_where_it_can() {
    assert!(postcard::from_bytes::<Value>(&[1, 2, 0]).is_err(), "needless Some");
    assert!(postcard::from_bytes::<Value>(&[3, 1, 0]).is_err(), "minus zero");
    assert!(postcard::from_bytes::<Value>(&[10]).is_err(), "reserved tag");
    let deep = [&[7, 1].repeat(100_000)[..], &[0]].concat();
    assert!(
        postcard::from_bytes::<Value>(&deep).is_err(),
        "deeper than a stack is high"
    );
}

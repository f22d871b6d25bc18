//! Generators of values and of bytes that are nearly values, and the checks every test shares.

use std::fmt::Debug;

use byproxy_proto::value::{self, DecodeError, Int, Kind, Limits, Token, Value, walk};
use proptest::collection::vec;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) const LIMITS: Limits = Limits::DEFAULT;

pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    value::to_vec(value, &LIMITS).expect("within the limits")
}

pub(crate) fn decode<'de, T: serde::Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
    value::from_slice(bytes, &LIMITS)
}

/// Writes and reads `original` and demands that it is the same; also that its bytes are canonical, and are what
/// postcard makes of the equivalent [`Value`]. Answers the bytes.
pub(crate) fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(original: &T) -> Vec<u8> {
    let bytes = encode(original);
    let back: T = decode(&bytes).unwrap_or_else(|error| panic!("{original:?} as {bytes:02x?}: {error}"));
    assert_eq!(&back, original);
    assert_canonical(&bytes);
    bytes
}

/// Demands that `bytes` are one value in the only form it has.
pub(crate) fn assert_canonical(bytes: &[u8]) {
    assert_eq!(walk(bytes, &LIMITS, |_| {}).as_ref(), Ok(&bytes.len()));
    let tree: Value = decode(bytes).expect("what walks decodes");
    assert_eq!(encode(&tree), bytes);
    assert_eq!(postcard::to_allocvec(&tree).expect("postcard writes any value"), bytes);
    let by_postcard: Value = postcard::from_bytes(bytes).expect("postcard reads any value");
    assert_eq!(encode(&by_postcard), bytes);
}

/// Any value: every type, some levels deep.
pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::List),
            vec((inner.clone(), inner.clone()), 0..4).prop_map(Value::Dict),
            inner.prop_map(Value::some),
        ]
    })
}

pub(crate) fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::None),
        Just(Value::some(Value::None)),
        any::<bool>().prop_map(Value::Bool),
        any_int().prop_map(Value::Int),
        any_float().prop_map(Value::Float),
        "\\PC{0,6}".prop_map(Value::Str),
        vec(any::<u8>(), 0..6).prop_map(Value::Bytes),
        any_token().prop_map(Value::Proxy),
    ]
}

/// Integers of every length, the edges of each width among them.
pub(crate) fn any_int() -> impl Strategy<Value = Int> {
    let any_width = (any::<u128>(), 0_u32..128).prop_map(|(bits, shift)| bits >> shift);
    let edge = (0_u32..128, -1_i8..=1).prop_map(|(shift, off)| (1_u128 << shift).wrapping_add_signed(off.into()));
    (any::<bool>(), prop_oneof![any_width, edge, 0_u128..4])
        .prop_filter_map("below -2^127", |(negative, magnitude)| Int::new(negative, magnitude))
}

/// Floats by their bits, so NaNs of all kinds, and small whole ones that equal integers.
pub(crate) fn any_float() -> impl Strategy<Value = f64> {
    let special = [
        0.0,
        -0.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        0.5,
        -0.5,
        1e300,
        -1e300,
    ];
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        (-4_i8..4).prop_map(f64::from),
        (0_i32..130, any::<bool>()).prop_map(|(exponent, negative)| {
            let power = 2_f64.powi(exponent);
            if negative { -power } else { power }
        }),
        prop::sample::select(special.to_vec()),
    ]
}

pub(crate) fn any_token() -> impl Strategy<Value = Token> {
    let instance = prop_oneof![0_u128..3, any::<u128>()];
    let object = prop_oneof![0_u64..3, any::<u64>()];
    (instance, object, any::<u8>()).prop_map(|(instance, object, kind)| Token {
        instance,
        object,
        kind: Kind(kind),
    })
}

/// Bytes of every degree of wrongness: random ones, rows of tags and small numbers, and values with some bytes changed.
pub(crate) fn nearly_values() -> impl Strategy<Value = Vec<u8>> {
    let tags = prop_oneof![4 => 0_u8..10, 2 => prop::sample::select(vec![0x80, 0x81, 0xff, 10, 63, 64])];
    prop_oneof![
        vec(any::<u8>(), 0..40),
        vec(tags, 0..40),
        (
            any_value(),
            vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 0..3)
        )
            .prop_map(|(value, changes)| {
                let mut bytes = encode(&value);
                for (at, byte, change) in changes {
                    if bytes.is_empty() {
                        break;
                    }
                    let at = at.index(bytes.len());
                    match change {
                        0 => bytes[at] = byte,
                        1 => bytes.insert(at, byte),
                        _ => {
                            bytes.remove(at);
                        }
                    }
                }
                bytes
            }),
    ]
}

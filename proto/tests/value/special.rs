//! Where one Rust type meets a value written by another, and the corners of the serde contract.

use std::collections::BTreeMap;

use byproxy_proto::value::{self, Deserializer, EncodeError, Kind, Raw, Serializer, TOKEN_NAME, Token, Value};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize};

use crate::any::{LIMITS, assert_canonical, decode, encode, round_trip};

const TOKEN: Token = Token {
    instance: u128::MAX,
    object: 300,
    kind: Kind::QUEUE,
};

#[test]
fn a_float_takes_an_integer_that_it_equals() {
    assert_eq!(decode::<f64>(&encode(&-3)).unwrap().to_bits(), (-3.0_f64).to_bits());
    assert_eq!(
        decode::<f64>(&encode(&(1_u64 << 53))).unwrap().to_bits(),
        2_f64.powi(53).to_bits()
    );
    assert!(decode::<f64>(&encode(&((1_u64 << 53) + 1))).is_err());
    assert!(decode::<f64>(&encode(&u128::MAX)).is_err());
    assert_eq!(
        decode::<f64>(&encode(&(1_u128 << 127))).unwrap().to_bits(),
        2_f64.powi(127).to_bits()
    );
    assert_eq!(
        decode::<f32>(&encode(&(1_u64 << 24))).unwrap().to_bits(),
        2_f32.powi(24).to_bits()
    );
    assert!(decode::<f32>(&encode(&((1_u64 << 24) + 1))).is_err());
    assert_eq!(decode::<f64>(&encode(&0)).unwrap().to_bits(), 0);
    // The other way round is a wrong type, whole or not.
    assert_eq!(
        decode::<i64>(&encode(&3.0)).unwrap_err().to_string(),
        "expected i64, found float"
    );
}

#[test]
fn bytes_and_lists_of_small_integers_read_as_each_other() {
    let bytes = encode(serde_bytes::Bytes::new(&[1, 200]));
    assert_eq!(bytes, [6, 2, 1, 200]);
    assert_eq!(decode::<Vec<u8>>(&bytes).unwrap(), [1, 200]);
    assert_eq!(decode::<Vec<u64>>(&bytes).unwrap(), [1, 200]);
    assert_eq!(decode::<[u8; 2]>(&bytes).unwrap(), [1, 200]);
    assert!(decode::<[u8; 1]>(&bytes).is_err());
    assert_eq!(
        decode::<serde_bytes::ByteBuf>(&encode(&[1, 200])).unwrap().as_ref(),
        [1, 200]
    );
    let error = decode::<serde_bytes::ByteBuf>(&encode(&[1, 256])).unwrap_err();
    assert_eq!(error.to_string(), "expected u8, found int 256 at [1]");
    assert!(decode::<serde_bytes::ByteBuf>(&encode("text")).is_err());
}

#[test]
fn lengths_must_fit() {
    assert!(decode::<(u8, u8)>(&encode(&[1])).is_err());
    let error = decode::<(u8, u8)>(&encode(&[1, 2, 3])).unwrap_err();
    assert_eq!(error.to_string(), "expected a list of 2, found a list of 3");
}

#[test]
fn a_token_keeps_its_form_everywhere() {
    let bytes = round_trip(&TOKEN);
    assert_eq!(bytes[0], 9);
    assert_eq!(bytes, encode(&Value::Proxy(TOKEN)));
    assert_eq!(postcard::to_allocvec(&TOKEN).unwrap(), bytes[1..]);
    assert_eq!(postcard::from_bytes::<Token>(&bytes[1..]).unwrap(), TOKEN);
    round_trip(&BTreeMap::from([(Some(TOKEN), vec![TOKEN])]));
    assert_eq!(Raw::check(&bytes, &LIMITS).unwrap().as_token(), Some(TOKEN));
    // A kind of a later version passes through.
    round_trip(&Token {
        kind: Kind(200),
        ..TOKEN
    });
}

#[test]
fn only_a_proxy_reads_as_a_token() {
    for bytes in [
        encode("x"),
        encode(&TOKEN.object),
        encode(serde_bytes::Bytes::new(&encode(&TOKEN)[1..])),
    ] {
        assert!(
            decode::<Token>(&bytes)
                .unwrap_err()
                .to_string()
                .starts_with("expected a proxy, found")
        );
    }
    assert!(
        decode::<String>(&encode(&TOKEN))
            .unwrap_err()
            .to_string()
            .ends_with("found proxy")
    );
}

#[test]
fn in_another_format_a_token_is_harmless() {
    let json = serde_json::to_string(&(1, TOKEN)).unwrap();
    assert!(json.starts_with("[1,["), "{json}");
    assert!(serde_json::from_str::<(u8, Token)>(&json).is_err());
    assert!(serde_json::from_str::<Value>(&json).is_ok());
}

#[test]
fn a_struct_under_the_name_of_a_token_must_be_one() {
    struct Forged;
    impl Serialize for Forged {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_newtype_struct(TOKEN_NAME, "not a token")
        }
    }
    let mut out = vec![1, 2, 3];
    assert!(matches!(
        value::to_writer(&(1, Forged), &mut out, &LIMITS),
        Err(EncodeError::Unsupported(_))
    ));
    assert_eq!(out, [1, 2, 3]);
}

/// Sequences and maps whose length serde does not know, long enough for the count to need more bytes than were left for it.
#[test]
fn unknown_lengths_are_patched() {
    struct Counted(usize, Option<usize>);
    impl Serialize for Counted {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut seq = serializer.serialize_seq(self.1)?;
            for n in 0..self.0 {
                seq.serialize_element(&n)?;
            }
            seq.end()
        }
    }
    for len in [0, 1, 127, 128, 16_383, 16_384, 20_000] {
        let known: Vec<usize> = (0..len).collect();
        for promised in [None, Some(len), Some(0), Some(1 << 40)] {
            let bytes = encode(&(Counted(len, promised), Counted(1, promised)));
            assert_eq!(bytes, encode(&(&known, [0])), "{len} elements, {promised:?} promised");
            assert_canonical(&bytes);
        }
    }
}

/// A type may swallow the error of one of its parts: half a value must not come out of it.
#[test]
fn a_swallowed_error_is_not_forgotten() {
    struct Refusing;
    impl Serialize for Refusing {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut seq = serializer.serialize_seq(Some(2))?;
            seq.serialize_element(&1)?;
            Err(serde::ser::Error::custom("no"))
        }
    }
    struct Swallowing;
    impl Serialize for Swallowing {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut seq = serializer.serialize_seq(None)?;
            let _ = seq.serialize_element(&Refusing);
            seq.serialize_element(&2)?;
            seq.end()
        }
    }
    let mut out = Vec::new();
    let error = value::to_writer(&Swallowing, &mut out, &LIMITS).unwrap_err();
    assert_eq!((error, out.len()), (EncodeError::Custom("no".into()), 0));
}

/// The same while reading: after an element that failed, nothing is read from the middle of it.
#[test]
fn an_element_that_failed_ends_the_reading() {
    struct Lenient(Vec<u8>);
    impl<'de> Deserialize<'de> for Lenient {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_seq(Lenient(Vec::new()))
        }
    }
    impl<'de> serde::de::Visitor<'de> for Lenient {
        type Value = Self;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list")
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(mut self, mut access: A) -> Result<Self, A::Error> {
            for _ in 0..4 {
                self.0.extend(access.next_element::<u8>().ok().flatten());
            }
            Ok(self)
        }
    }
    // The second element holds what would read as a third.
    let bytes = encode(&(1, vec![2, 3], 4));
    assert_eq!(decode::<Lenient>(&bytes).map(|lenient| lenient.0).unwrap(), [1]);
}

#[test]
fn a_needless_some_is_refused_for_every_type() {
    let bytes = [1, 3, 0, 5];
    assert!(decode::<Option<u8>>(&bytes).unwrap_err().is_malformed());
    assert!(decode::<Option<Option<u8>>>(&bytes).unwrap_err().is_malformed());
    assert!(decode::<serde::de::IgnoredAny>(&bytes).unwrap_err().is_malformed());
    assert!(decode::<Option<Value>>(&[1, 1, 2, 0]).unwrap_err().is_malformed());
}

#[test]
fn half_a_pair_is_refused() {
    struct Half;
    impl Serialize for Half {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_key(&1)?;
            map.end()
        }
    }
    assert!(matches!(
        value::to_vec(&Half, &LIMITS),
        Err(EncodeError::Unsupported(_))
    ));
}

/// Without a bound these would recurse on one byte until the stack ends.
#[test]
fn a_type_of_nothing_but_options_ends() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Endless(Option<Box<Endless>>);

    let error = decode::<Endless>(&encode(&5)).unwrap_err();
    assert!(error.is_malformed(), "{error}");
    let mut chain = Endless(None);
    for _ in 0..62 {
        chain = Endless(Some(Box::new(chain)));
    }
    let bytes = encode(&chain);
    assert_eq!(bytes.len(), 63);
    assert!(decode::<Endless>(&bytes).is_ok());
    for _ in 0..1000 {
        chain = Endless(Some(Box::new(chain)));
    }
    assert!(matches!(
        value::to_vec(&chain, &LIMITS),
        Err(EncodeError::TooDeep { .. })
    ));
}

#[test]
fn several_values_are_read_from_one_slice() {
    let mut out = Vec::new();
    let mut serializer = Serializer::new(&mut out, &LIMITS);
    serializer.write(&(1, "a")).unwrap();
    serializer.write(&None::<u8>).unwrap();
    serializer.write("tail").unwrap();
    let mut deserializer = Deserializer::new(&out, &LIMITS);
    assert_eq!(deserializer.take::<(u8, &str)>().unwrap(), (1, "a"));
    assert_eq!(deserializer.take::<Option<u8>>().unwrap(), None);
    assert_eq!(deserializer.rest(), [5, 4, b't', b'a', b'i', b'l']);
    assert_eq!(deserializer.take::<&str>().unwrap(), "tail");
    assert!(deserializer.take::<u8>().is_err());
}

/// Serde buffers what passes through `flatten`, `untagged` and `tag`, and its buffer knows no integer of 128 bits.
#[test]
fn wide_integers_do_not_pass_through_serdes_buffer() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Wide {
        Number(u128),
    }
    assert!(decode::<Wide>(&encode(&u128::MAX)).is_err());
    assert_eq!(decode::<u128>(&encode(&u128::MAX)).unwrap(), u128::MAX);
}

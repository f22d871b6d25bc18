//! No value costs more than its limits allow, whichever way it goes.

use std::time::{Duration, Instant};

use byproxy_proto::value::{self, DecodeErrorKind, EncodeError, Limits, Malformed, Raw, Value, walk};

use crate::any::{LIMITS, decode, encode};

fn nested(levels: usize) -> Vec<u8> {
    [&[7, 1].repeat(levels)[..], &[0]].concat()
}

#[test]
fn depth_64_is_the_last() {
    let deepest = nested(63);
    assert!(decode::<Value>(&deepest).is_ok());
    assert!(Raw::check(&deepest, &LIMITS).is_ok());
    let tree: Value = decode(&deepest).unwrap();
    assert_eq!(encode(&tree), deepest);
    let too_deep = DecodeErrorKind::TooDeep { limit: 64 };
    for bytes in [
        nested(64),
        nested(1_000_000),
        [&[1].repeat(64)[..], &[0]].concat(),
        vec![1; 1_000_000],
    ] {
        assert_eq!(decode::<Value>(&bytes).unwrap_err().kind(), &too_deep);
        assert_eq!(decode::<serde::de::IgnoredAny>(&bytes).unwrap_err().kind(), &too_deep);
        assert_eq!(walk(&bytes, &LIMITS, |_| {}).unwrap_err().kind(), &too_deep);
    }
    let deeper = Value::List(vec![tree]);
    assert_eq!(value::to_vec(&deeper, &LIMITS), Err(EncodeError::TooDeep { limit: 64 }));
    // Even a limit that asks for more stops where stacks are safe.
    let unlimited = Limits {
        depth: u32::MAX,
        ..LIMITS
    };
    assert!(walk(&nested(127), &unlimited, |_| {}).is_ok());
    assert!(walk(&nested(128), &unlimited, |_| {}).is_err());
}

#[test]
fn variants_options_and_raw_values_count_as_levels() {
    let limits = Limits { depth: 3, ..LIMITS };
    let fits = |value: &dyn Fn() -> Result<Vec<u8>, EncodeError>| value().is_ok();
    assert!(fits(&|| value::to_vec(&Some(Some(None::<u8>)), &limits)));
    assert!(!fits(&|| value::to_vec(&Some(Some(Some(None::<u8>))), &limits)));
    assert!(!fits(&|| value::to_vec(&[[Some(None::<u8>)]], &limits)));
    assert!(fits(&|| value::to_vec(&[[Some(1)]], &limits)));
    assert!(fits(&|| value::to_vec(&[Ok::<u8, u8>(1)], &limits)));
    assert!(!fits(&|| value::to_vec(&[[Ok::<u8, u8>(1)]], &limits)));
    let pair = encode(&[[1]]);
    assert!(fits(&|| value::to_vec(&Raw::assume_checked(&pair), &limits)));
    assert!(!fits(&|| value::to_vec(&[Raw::assume_checked(&pair)], &limits)));
}

type Write = Box<dyn Fn(&Limits) -> Result<Vec<u8>, EncodeError>>;

/// A level that is left is a level again for what follows.
#[test]
fn levels_close_again() {
    #[derive(serde::Serialize)]
    enum Shape {
        Unit,
        One(u8),
        Two(u8, u8),
        Named { a: Option<Option<u8>> },
    }
    let many = |shape: fn() -> Shape| encode(&(0..1000).map(|_| shape()).collect::<Vec<_>>());
    for bytes in [
        many(|| Shape::Unit),
        many(|| Shape::One(1)),
        many(|| Shape::Two(1, 2)),
        many(|| Shape::Named { a: Some(None) }),
        encode(&vec![Some(None::<u8>); 1000]),
        encode(&vec![serde_bytes::ByteBuf::new(); 1000]),
        encode(&vec![std::collections::BTreeMap::from([(1, [2])]); 1000]),
    ] {
        assert!(decode::<Value>(&bytes).is_ok());
    }
    let lists = encode(&vec![[1, 2]; 1000]);
    assert!(decode::<Vec<serde_bytes::ByteBuf>>(&lists).is_ok());
    let variants = encode(&vec![Ok::<u8, Option<u8>>(1); 1000]);
    assert!(decode::<Vec<Result<u8, Option<u8>>>>(&variants).is_ok());
    assert!(decode::<Vec<Option<Option<u8>>>>(&encode(&vec![Some(None::<u8>); 1000])).is_ok());
}

/// Each encoding is written under every limit up to its own size: only the last one lets it through.
#[test]
fn the_size_limit_is_exact() {
    #[derive(serde::Serialize)]
    enum Shape {
        Two(u8, Option<Option<u8>>),
    }
    let long: String = "x".repeat(300);
    let cases: Vec<(Vec<u8>, Write)> = vec![
        (encode(&long), Box::new(move |limits| value::to_vec(&long, limits))),
        (encode(&u128::MAX), Box::new(|limits| value::to_vec(&u128::MAX, limits))),
        (
            encode(&(1.5, true, ())),
            Box::new(|limits| value::to_vec(&(1.5, true, ()), limits)),
        ),
        (
            encode(&Shape::Two(7, Some(None))),
            Box::new(|limits| value::to_vec(&Shape::Two(7, Some(None)), limits)),
        ),
        (
            encode(&vec![0; 200]),
            Box::new(|limits| value::to_vec(&vec![0; 200], limits)),
        ),
    ];
    for (bytes, write) in cases {
        for limit in 0..bytes.len() {
            let limits = Limits { bytes: limit, ..LIMITS };
            let Err(EncodeError::TooLarge { size, limit: named }) = write(&limits) else {
                panic!("{} bytes under a limit of {limit}", bytes.len())
            };
            assert!(named == limit && size > limit && size <= bytes.len() + 2);
            assert!(value::from_slice::<Value>(&bytes, &limits).is_err());
            assert!(walk(&bytes, &limits, |_| {}).is_err());
        }
        let limits = Limits {
            bytes: bytes.len(),
            ..LIMITS
        };
        assert_eq!(write(&limits).as_ref(), Ok(&bytes));
        assert!(value::from_slice::<Value>(&bytes, &limits).is_ok());
        assert_eq!(walk(&bytes, &limits, |_| {}), Ok(bytes.len()));
    }
}

/// An endless sequence is cut off at the limit, not at the end of memory, and the buffer is as before.
#[test]
fn writing_stops_at_the_limit() {
    struct Endless;
    impl serde::Serialize for Endless {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(0_u64..)
        }
    }
    let mut out = b"before".to_vec();
    let limits = Limits {
        bytes: 10_000,
        ..LIMITS
    };
    assert!(matches!(
        value::to_writer(&Endless, &mut out, &limits),
        Err(EncodeError::TooLarge { .. })
    ));
    assert_eq!(out, b"before");
}

/// A count that the bytes cannot hold is refused before anything is set aside or looped over, even for elements of size zero.
#[test]
fn a_count_is_paid_in_bytes() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    let begun = Instant::now();
    for tag in [5, 6, 7, 8] {
        let bytes = [&[tag][..], &huge, &[0, 0, 0]].concat();
        let cut_short = DecodeErrorKind::Malformed(Malformed::CutShort);
        assert_eq!(decode::<Value>(&bytes).unwrap_err().kind(), &cut_short);
        assert_eq!(walk(&bytes, &LIMITS, |_| {}).unwrap_err().kind(), &cut_short);
        assert!(decode::<Vec<()>>(&bytes).is_err());
        assert!(decode::<std::collections::HashMap<(), ()>>(&bytes).is_err());
        assert!(decode::<serde_bytes::ByteBuf>(&bytes).is_err());
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(
        decode::<Value>(&[8, 2, 0, 0, 0]).is_err(),
        "a pair takes two bytes at least"
    );
    assert_eq!(decode::<Vec<()>>(&[7, 3, 0, 0, 0]).unwrap().len(), 3);
}

/// A byte of `None` becomes a value many times its size: that is charged.
#[test]
fn decoded_size_is_charged() {
    let size = Limits::PART_BYTES;
    let bytes = encode(&vec![(); 999]);
    let limits = |memory| Limits { memory, ..LIMITS };
    assert!(value::from_slice::<Value>(&bytes, &limits(1000 * size)).is_ok());
    assert!(walk(&bytes, &limits(1000 * size), |_| {}).is_ok());
    let too_large = DecodeErrorKind::TooLarge {
        size: 1000 * size - 1 + size,
        limit: 1000 * size - 1,
    };
    assert_eq!(
        value::from_slice::<Value>(&bytes, &limits(1000 * size - 1))
            .unwrap_err()
            .kind(),
        &too_large
    );
    assert_eq!(
        walk(&bytes, &limits(1000 * size - 1), |_| {}).unwrap_err().kind(),
        &too_large
    );
}

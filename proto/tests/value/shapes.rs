//! Every shape serde knows goes in and comes back the same.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use byproxy_proto::value::{Token, Value};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::any::{any_token, any_value, decode, encode, round_trip};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Newtype(Option<Unit>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pair(i16, Option<Option<String>>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Train {
    number: String,
    seats: u32,
    price: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum External {
    Unit,
    Newtype(i64),
    Optional(Option<()>),
    Tuple(u8, String),
    Struct { a: i32, b: Option<Option<bool>> },
    Nested(Box<External>),
    Empty(),
    NoFields {},
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Internal {
    Unit,
    Newtype(Train),
    Struct { at: Ipv4Addr, next: Option<Box<Internal>> },
    Map(BTreeMap<String, i64>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Unit,
    Newtype(Option<u8>),
    Tuple(i8, Ipv4Addr),
    Struct { a: u64 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Nothing,
    Flag(bool),
    Number(i64),
    Fraction(f64),
    Address(Ipv4Addr),
    Text(String),
    Pair(u8, u8),
    Proxy(Token),
    Named { x: i32, y: Option<External> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Flattened {
    id: u64,
    #[serde(flatten)]
    train: Train,
    #[serde(flatten)]
    kind: Adjacent,
    #[serde(flatten)]
    maybe: Option<Where>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Where {
    address: IpAddr,
    proxy: Token,
    twice: Option<Option<u8>>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Sparse {
    #[serde(skip_serializing_if = "Option::is_none")]
    first_name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    list: Vec<i8>,
    #[serde(skip)]
    cache: u8,
    #[serde(rename = "the end")]
    end: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Skipping {
    #[serde(skip)]
    #[expect(dead_code, reason = "its place in the order is what is tested")]
    Never,
    Kept(u8),
    Last,
}

fn external() -> impl Strategy<Value = External> {
    let leaf = prop_oneof![
        Just(External::Unit),
        any::<i64>().prop_map(External::Newtype),
        any::<Option<()>>().prop_map(External::Optional),
        any::<(u8, String)>().prop_map(|(n, text)| External::Tuple(n, text)),
        any::<(i32, Option<Option<bool>>)>().prop_map(|(a, b)| External::Struct { a, b }),
        Just(External::Empty()),
        Just(External::NoFields {}),
    ];
    leaf.prop_recursive(3, 4, 1, |inner| {
        inner.prop_map(|inner| External::Nested(Box::new(inner)))
    })
}

fn train() -> impl Strategy<Value = Train> {
    any::<(String, u32, Option<i64>)>().prop_map(|(number, seats, price)| Train { number, seats, price })
}

fn internal() -> impl Strategy<Value = Internal> {
    let leaf = prop_oneof![
        Just(Internal::Unit),
        train().prop_map(Internal::Newtype),
        any::<Ipv4Addr>().prop_map(|at| Internal::Struct { at, next: None }),
        btree_map("[a-s]{1,3}", any::<i64>(), 0..4).prop_map(Internal::Map),
    ];
    leaf.prop_recursive(3, 4, 1, |inner| {
        (any::<Ipv4Addr>(), inner).prop_map(|(at, next)| Internal::Struct {
            at,
            next: Some(Box::new(next)),
        })
    })
}

fn adjacent() -> impl Strategy<Value = Adjacent> {
    prop_oneof![
        Just(Adjacent::Unit),
        any::<Option<u8>>().prop_map(Adjacent::Newtype),
        any::<(i8, Ipv4Addr)>().prop_map(|(a, b)| Adjacent::Tuple(a, b)),
        any::<u64>().prop_map(|a| Adjacent::Struct { a }),
    ]
}

fn untagged() -> impl Strategy<Value = Untagged> {
    prop_oneof![
        Just(Untagged::Nothing),
        any::<bool>().prop_map(Untagged::Flag),
        any::<i64>().prop_map(Untagged::Number),
        (-1e9..1e9_f64).prop_map(Untagged::Fraction),
        any::<Ipv4Addr>().prop_map(Untagged::Address),
        "[a-z]{0,5}".prop_map(Untagged::Text),
        any::<(u8, u8)>().prop_map(|(a, b)| Untagged::Pair(a, b)),
        any_token().prop_map(Untagged::Proxy),
        (any::<i32>(), option::of(external())).prop_map(|(x, y)| Untagged::Named { x, y }),
    ]
}

fn flattened() -> impl Strategy<Value = Flattened> {
    let place = (any::<IpAddr>(), any_token(), any::<Option<Option<u8>>>()).prop_map(|(address, proxy, twice)| Where {
        address,
        proxy,
        twice,
    });
    // What serde buffers holds no integer wider than 64 bits, see `special.rs`.
    let narrow = any_value().prop_filter("an integer too wide", |value| !has_wide_int(value));
    let rest = btree_map("z[a-z]{0,3}", narrow, 0..3);
    (any::<u64>(), train(), adjacent(), option::of(place), rest).prop_map(|(id, train, kind, maybe, rest)| {
        // A flattened map also takes what a flattened option that found its fields has read: serde keeps it there.
        let rest = if maybe.is_some() { BTreeMap::new() } else { rest };
        Flattened {
            id,
            train,
            kind,
            maybe,
            rest,
        }
    })
}

fn has_wide_int(value: &Value) -> bool {
    match value {
        Value::Int(int) => u64::try_from(*int).is_err() && i64::try_from(*int).is_err(),
        Value::Some(inner) => has_wide_int(inner),
        Value::List(values) => values.iter().any(has_wide_int),
        Value::Dict(pairs) => pairs
            .iter()
            .any(|(key, value)| has_wide_int(key) || has_wide_int(value)),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn integers_of_every_width(
        a in any::<(i8, i16, i32, i64, i128, isize)>(),
        b in any::<(u8, u16, u32, u64, u128, usize)>(),
        ends in prop::sample::select(vec![i128::MIN, i128::MAX, -1, 0, 127, 128, -128, 1 << 63, 1 << 64]),
    ) {
        round_trip(&(a, b, ends));
        // One form whatever the width.
        prop_assert_eq!(encode(&a.0), encode(&i128::from(a.0)));
        prop_assert_eq!(encode(&b.3), encode(&u128::from(b.3)));
        prop_assert_eq!(decode::<i8>(&encode(&ends)).ok(), i8::try_from(ends).ok());
        prop_assert_eq!(decode::<u64>(&encode(&ends)).ok(), u64::try_from(ends).ok());
        prop_assert_eq!(decode::<u128>(&encode(&ends)).ok(), u128::try_from(ends).ok());
    }

    #[test]
    fn floats_to_the_last_bit(a in any::<u64>(), b in any::<u32>(), nan in any::<u32>()) {
        let wide = f64::from_bits(a);
        prop_assert_eq!(decode::<f64>(&encode(&wide)).unwrap().to_bits(), a);
        for bits in [b, nan | 0x7f80_0001, nan | 0xff80_0001] {
            let narrow = f32::from_bits(bits);
            prop_assert_eq!(decode::<f32>(&encode(&narrow)).unwrap().to_bits(), bits);
            prop_assert_eq!(decode::<Vec<f32>>(&encode(&[narrow])).unwrap()[0].to_bits(), bits);
        }
    }

    #[test]
    fn options_units_and_newtypes(
        a in any::<Option<Option<Option<u8>>>>(),
        b in any::<(Option<()>, Option<Option<()>>, ())>(),
        c in any::<bool>(),
        d in any::<(i16, Option<Option<String>>)>(),
        e in any::<Vec<Option<Option<()>>>>(),
    ) {
        round_trip(&a);
        round_trip(&b);
        round_trip(&Newtype(c.then_some(Unit)));
        round_trip(&Some(Newtype(c.then_some(Unit))));
        round_trip(&(Unit, Some(Unit), None::<Unit>));
        round_trip(&Pair(d.0, d.1));
        round_trip(&e);
    }

    #[test]
    fn texts_and_sequences(
        a in any::<(char, String)>(),
        b in any::<[u8; 5]>(),
        c in vec(any::<(bool, Vec<u16>)>(), 0..5),
        d in any::<BTreeSet<i8>>(),
    ) {
        round_trip(&a);
        round_trip(&b);
        round_trip(&c);
        round_trip(&d);
        round_trip(&serde_bytes::ByteBuf::from(b.to_vec()));
        round_trip(&Result::<u8, String>::Err(a.1));
    }

    #[test]
    fn keys_of_any_type(
        ints in any::<HashMap<i128, u8>>(),
        tuples in any::<BTreeMap<(u8, String), bool>>(),
        options in any::<BTreeMap<Option<Option<i8>>, char>>(),
        units in any::<BTreeMap<(), Vec<u8>>>(),
        lists in any::<BTreeMap<Vec<bool>, BTreeMap<char, u8>>>(),
        enums in btree_map(external(), any::<u8>(), 0..5),
        nested in btree_map(btree_map(any::<i8>(), any::<i8>(), 0..3), any::<u8>(), 0..3),
    ) {
        round_trip(&ints);
        round_trip(&tuples);
        round_trip(&options);
        round_trip(&units);
        round_trip(&lists);
        round_trip(&enums);
        round_trip(&nested);
    }

    #[test]
    fn enums_in_all_four_representations(
        a in external(), b in internal(), c in adjacent(), d in untagged(),
    ) {
        round_trip(&a);
        round_trip(&Some(a));
        round_trip(&b);
        round_trip(&c);
        round_trip(&d);
        round_trip(&vec![Some(b), None]);
    }

    #[test]
    fn flattened_fields(value in flattened()) {
        round_trip(&value);
    }

    #[test]
    fn fields_that_are_not_there(name in any::<Option<String>>(), list in any::<Vec<i8>>(), end in any::<bool>()) {
        let sparse = Sparse { first_name: name.clone(), list: list.clone(), cache: 0, end };
        round_trip(&sparse);
        let with_cache = Sparse { cache: 9, ..sparse.clone() };
        prop_assert_eq!(decode::<Sparse>(&encode(&with_cache)).unwrap(), sparse);
    }

    #[test]
    fn a_value_inside_a_type_stays_what_it_is(value in any_value()) {
        round_trip(&(1, Some(value.clone()), vec![value]));
    }
}

#[test]
fn a_skipped_variant_does_not_move_the_others() {
    assert_eq!(encode(&Skipping::Last), encode("Last"));
    round_trip(&Skipping::Kept(3));
    round_trip(&Skipping::Last);
}

#[test]
fn standard_types() {
    use std::num::{NonZeroU8, Wrapping};
    use std::time::{Duration, SystemTime};
    round_trip(&(
        Duration::MAX,
        SystemTime::UNIX_EPOCH,
        3..9_u8,
        Wrapping(7_i8),
        NonZeroU8::MIN,
    ));
    round_trip(&(
        std::path::PathBuf::from("/ä"),
        IpAddr::from([0_u8; 16]),
        Cow::Borrowed("x").into_owned(),
    ));
    round_trip(&std::ops::Bound::Included(Some(2)));
    round_trip(&std::cell::RefCell::new(std::sync::Arc::new(5).to_string()));
    round_trip(&"127.0.0.1:80".parse::<std::net::SocketAddr>().unwrap());
}

/// Fields added and removed, under other names: what a service meets when its versions mix.
#[test]
fn fields_come_and_go() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Later {
        #[serde(alias = "number")]
        name: String,
        #[serde(default = "first_class")]
        class: u8,
        price: Option<i64>,
    }
    fn first_class() -> u8 {
        1
    }
    let old = Train {
        number: "G101".into(),
        seats: 4,
        price: None,
    };
    let later: Later = decode(&encode(&old)).unwrap();
    assert_eq!(
        later,
        Later {
            name: "G101".into(),
            class: 1,
            price: None
        }
    );
}

#[test]
fn strings_and_bytes_are_borrowed() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Borrowing<'a> {
        text: &'a str,
        #[serde(with = "serde_bytes")]
        raw: &'a [u8],
        #[serde(borrow)]
        either: Cow<'a, str>,
        map: BTreeMap<&'a str, &'a str>,
    }
    let original = Borrowing {
        text: "票",
        raw: b"\x00\xff",
        either: Cow::Borrowed("b"),
        map: BTreeMap::from([("k", "v")]),
    };
    let bytes = encode(&original);
    let back: Borrowing<'_> = decode(&bytes).unwrap();
    assert_eq!(back, original);
    assert!(bytes.as_ptr_range().contains(&back.text.as_ptr()));
    assert!(bytes.as_ptr_range().contains(&back.raw.as_ptr()));
    assert!(matches!(back.either, Cow::Borrowed(_)));
}

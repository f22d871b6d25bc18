//! What an error says, and where it says it happened.

use std::collections::{BTreeMap, HashMap};

use byproxy_proto::value::{DecodeErrorKind, Value};
use serde::{Deserialize, Serialize};

use crate::any::{decode, encode};

#[derive(Debug, Serialize, Deserialize)]
struct Ticket {
    train: String,
    price: u32,
}

#[derive(Debug, Serialize, Deserialize)]
enum Offer {
    Free,
    One(Ticket),
    Two(u8, Ticket),
    Named { ticket: Ticket },
}

fn message<T: for<'de> Deserialize<'de> + std::fmt::Debug>(value: &impl Serialize) -> String {
    decode::<T>(&encode(value)).unwrap_err().to_string()
}

#[test]
fn a_wrong_type_says_where() {
    let free = HashMap::from([("train", "G101"), ("price", "free")]);
    assert_eq!(message::<u32>(&"free"), "expected u32, found str");
    assert_eq!(message::<Vec<Ticket>>(&[&free]), "expected u32, found str at [0].price");
    assert_eq!(
        message::<BTreeMap<String, Vec<Ticket>>>(&HashMap::from([("to Wuhan", [&free])])),
        "expected u32, found str at ['to Wuhan'][0].price"
    );
    assert_eq!(
        message::<HashMap<i8, u32>>(&HashMap::from([(-7, "x")])),
        "expected u32, found str at [-7]"
    );
    assert_eq!(
        message::<HashMap<(u8, u8), u32>>(&HashMap::from([((1, 2), None::<u8>)])),
        "expected u32, found None at [[1, 2]]"
    );
    assert_eq!(
        message::<HashMap<u8, u8>>(&HashMap::from([("k", 1)])),
        "expected u8, found str at .<key 'k'>"
    );
    assert_eq!(
        message::<Offer>(&HashMap::from([("One", &free)])),
        "expected u32, found str at .One.price"
    );
    assert_eq!(
        message::<Offer>(&HashMap::from([("Two", (1, &free))])),
        "expected u32, found str at .Two[1].price"
    );
    assert_eq!(
        message::<Offer>(&HashMap::from([("Named", HashMap::from([("ticket", &free)]))])),
        "expected u32, found str at .Named.ticket.price"
    );
    assert_eq!(
        message::<Vec<Option<u32>>>(&[Some("x")]),
        "expected u32, found str at [0]"
    );
}

#[test]
fn a_value_out_of_range_is_shown() {
    assert_eq!(message::<u8>(&300), "expected u8, found int 300");
    assert_eq!(message::<u8>(&-1), "expected u8, found int -1");
    assert_eq!(message::<char>(&"ab"), "expected a character, found str \"ab\"");
    assert!(message::<i64>(&u128::MAX).contains("expected i64"));
}

#[test]
fn what_the_type_refuses_is_said_in_its_words() {
    assert_eq!(
        message::<Ticket>(&HashMap::from([("train", "G1")])),
        "missing field `price`"
    );
    assert_eq!(
        message::<Offer>(&"Dear"),
        "unknown variant `Dear`, expected one of `Free`, `One`, `Two`, `Named`"
    );
    assert_eq!(
        message::<Offer>(&"One"),
        "expected a variant with content, found \"One\" alone"
    );
    assert!(message::<Offer>(&HashMap::from([("Free", 1), ("One", 2)])).contains("a dict of one pair"));
    assert!(message::<Offer>(&HashMap::from([(1, 2)])).contains("the name of a variant"));
    assert!(message::<Offer>(&HashMap::from([("Free", 1)])).contains("at .Free"));
    assert!(matches!(
        decode::<Offer>(&encode(&HashMap::from([("Free", ())]))),
        Ok(Offer::Free)
    ));
    assert!(message::<Ticket>(&["G1"]).contains("found list"));
}

#[test]
fn a_mismatch_and_malformed_bytes_are_told_apart() {
    let mismatch = decode::<u8>(&encode("x")).unwrap_err();
    assert!(matches!(mismatch.kind(), DecodeErrorKind::WrongType { .. }));
    assert!(!mismatch.is_malformed());
    // A reserved tag is malformed whatever type was asked for.
    for error in [
        decode::<u8>(&[10]).unwrap_err(),
        decode::<String>(&[10]).unwrap_err(),
        decode::<Option<Vec<u8>>>(&[10]).unwrap_err(),
        decode::<Vec<Value>>(&[7, 1, 10]).unwrap_err(),
        decode::<Offer>(&[8, 1, 10, 0]).unwrap_err(),
    ] {
        assert!(error.is_malformed(), "{error}");
    }
}

/// A list in a list in … : the path is built on the way out only, and long strings are not repeated.
#[test]
fn messages_stay_short() {
    let long = "x".repeat(10_000);
    let map = HashMap::from([(&long, "x")]);
    assert!(message::<HashMap<String, u8>>(&map).len() < 200);
    assert!(message::<char>(&long).len() < 200);
}

/// Found by fuzzing: a dict as the key of a dict as the key of a dict …, cut short. Naming the key in the error decoded the
/// key again, which failed again and named its own key: twice the time for each level. A key is now checked before it is shown.
#[test]
fn naming_a_broken_key_does_not_read_it_again_and_again() {
    let bytes = [8].repeat(67);
    let begun = std::time::Instant::now();
    assert!(decode::<Value>(&bytes).unwrap_err().is_malformed());
    assert!(decode::<BTreeMap<String, u8>>(&bytes).is_err());
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(5),
        "took {:?}",
        begun.elapsed()
    );
}

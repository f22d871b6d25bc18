//! The golden vectors: what `proto/vectors/values.txt` says is what this crate does, in both directions.
//!
//! Another implementation is right when it passes the same file.

use byproxy_proto::value::{Limits, Raw, Value};

use crate::any::{LIMITS, decode, encode};

const VECTORS: &str = include_str!("../../vectors/values.txt");

/// The lines of one section as their two columns: bytes, and text.
fn section(name: &str) -> Vec<(Vec<u8>, String)> {
    let header = format!("[{name}]");
    let lines = VECTORS
        .lines()
        .skip_while(|line| **line != header)
        .skip(1)
        .take_while(|line| !line.starts_with('['));
    let entries: Vec<_> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(columns)
        .collect();
    assert!(!entries.is_empty(), "section {name} is empty");
    entries
}

fn columns(line: &str) -> (Vec<u8>, String) {
    let (hex, text) = line.split_once(" | ").unwrap_or_else(|| panic!("no columns: {line}"));
    (bytes_of(hex), text.to_owned())
}

fn bytes_of(hex: &str) -> Vec<u8> {
    hex.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

#[test]
fn values_decode_to_what_is_written_and_encode_again() {
    for (bytes, text) in section("values") {
        let value: Value = decode(&bytes).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(value.to_string(), text, "{bytes:02x?}");
        assert_eq!(encode(&value), bytes, "{text}");
        assert!(Raw::check(&bytes, &LIMITS).is_ok(), "{text}");
        assert_eq!(postcard::to_allocvec(&value).unwrap(), bytes, "{text}");
    }
}

#[test]
fn malformed_bytes_are_refused() {
    for (bytes, text) in section("malformed") {
        let error = decode::<Value>(&bytes).expect_err(&text);
        assert!(error.is_malformed(), "{text}");
        assert!(Raw::check(&bytes, &LIMITS).is_err(), "{text}");
    }
}

#[test]
fn keys_take_their_form() {
    for (bytes, text) in section("keys") {
        let mut out = Vec::new();
        let raw = Raw::check(&bytes, &LIMITS).unwrap_or_else(|error| panic!("{bytes:02x?}: {error}"));
        match byproxy_proto::value::canonical_key(raw, &mut out) {
            Ok(true) => assert_eq!(out, bytes_of(&text), "{raw}"),
            Ok(false) => assert_eq!(bytes, bytes_of(&text), "{raw}"),
            Err(_) => assert_eq!(text, "refused", "{raw}"),
        }
    }
}

/// The worked examples of the specification say what the code does.
#[test]
fn the_specification_shows_true_bytes() {
    let specification = include_str!("../../README.md");
    let (_, values) = specification.split_once("\n## Values\n").expect("a section on values");
    let (values, _) = values.split_once("\n## ").expect("a section after it");
    let (_, table) = values.split_once("\n| value | bytes |\n").expect("a table of examples");
    let mut rows = 0;
    for row in table.lines().skip(1).take_while(|line| line.starts_with('|')) {
        let quoted: Vec<&str> = row.split('`').collect();
        let [_, text, _, hex, _] = quoted[..] else {
            panic!("not two columns: {row}")
        };
        let bytes = bytes_of(hex);
        let value: Value = decode(&bytes).unwrap_or_else(|error| panic!("{row}: {error}"));
        assert_eq!((value.to_string().as_str(), encode(&value)), (text, bytes), "{row}");
        rows += 1;
    }
    assert!(rows >= 10, "only {rows} examples");
    let size = format!("each counted as {} bytes", Limits::PART_BYTES);
    assert!(values.contains(&size), "the specification must say: {size}");
}

/// The file's own example of every Rust shape, built here.
#[test]
fn rust_types_have_the_bytes_that_are_written() {
    #[derive(serde::Serialize)]
    struct Train {
        number: &'static str,
        seats: u8,
    }
    #[derive(serde::Serialize)]
    enum Seat {
        Any,
        Row(u8),
        At(u8, char),
        Window { row: u8 },
    }
    let shapes = [
        ("()", encode(&())),
        ("None", encode(&None::<u8>)),
        ("Some(5)", encode(&Some(5))),
        ("Some(())", encode(&Some(()))),
        ("Some(None)", encode(&Some(None::<u8>))),
        ("Some(Some(5))", encode(&Some(Some(5)))),
        ("Some(Some(None))", encode(&Some(Some(None::<u8>)))),
        ("-1i8", encode(&-1_i8)),
        ("300u64", encode(&300_u64)),
        ("0.5f32", encode(&0.5_f32)),
        ("'x'", encode(&'x')),
        ("(1, \"a\")", encode(&(1, "a"))),
        (
            "Train { number: \"G1\", seats: 2 }",
            encode(&Train { number: "G1", seats: 2 }),
        ),
        ("Seat::Any", encode(&Seat::Any)),
        ("Seat::Row(3)", encode(&Seat::Row(3))),
        ("Seat::At(3, 'A')", encode(&Seat::At(3, 'A'))),
        ("Seat::Window { row: 3 }", encode(&Seat::Window { row: 3 })),
    ];
    let written = section("rust");
    assert_eq!(written.len(), shapes.len());
    for ((bytes, text), (shape, encoded)) in written.into_iter().zip(shapes) {
        assert_eq!(text, shape);
        assert_eq!(bytes, encoded, "{shape}");
    }
}

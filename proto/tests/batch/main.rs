//! Batches from outside: the golden vectors of `proto/vectors/batches.txt`, round trips, and arbitrary bytes.

use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::{
    BATCH_CALLS_MAX, BatchCall, BatchCalls, BatchOutcome, BatchOutcomes, ManagerOp, Operation, write_batch_call,
    write_batch_done, write_batch_fault, write_batch_header,
};
use byproxy_proto::value::{DecodeError, Limits, Raw, Value, write_list_header};
use proptest::prelude::*;
use std::fmt::Write as _;

const VECTORS: &str = include_str!("../../vectors/batches.txt");

/// The lines of one section as their two columns: bytes, and text.
fn section(name: &str) -> Vec<(Vec<u8>, &'static str)> {
    let header = format!("[{name}]");
    let lines = VECTORS.lines().skip_while(|line| **line != header).skip(1);
    let entries: Vec<_> = lines
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (hex, text) = line.split_once(" |").unwrap_or_else(|| panic!("no columns: {line}"));
            let bytes = hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap());
            (bytes.collect(), text.trim())
        })
        .collect();
    assert!(!entries.is_empty(), "section {name} is empty");
    entries
}

/// The calls in a batch's arguments, if they are a batch's.
fn read(arguments: &[u8]) -> Option<Vec<BatchCall<'_>>> {
    let raw = Raw::check(arguments, &Limits::default()).ok()?;
    match ManagerOp::read(Operation::Batch, raw)? {
        Ok(ManagerOp::Batch { calls }) => Some(walk(calls)),
        _ => None,
    }
    .inspect(|calls: &Vec<_>| assert_eq!(BatchCalls::check(arguments).map(walk).as_ref(), Some(calls)))
}

fn walk(mut calls: BatchCalls<'_>) -> Vec<BatchCall<'_>> {
    let mut all = Vec::new();
    while let Some((call, rest)) = calls.split_first() {
        assert_eq!(rest.len() + 1, calls.len());
        all.push(call);
        calls = BatchCalls::resume(rest.bytes(), rest.len());
    }
    assert!(calls.is_empty(), "what was checked can be read to its end");
    all
}

fn write(calls: &[BatchCall<'_>]) -> Vec<u8> {
    let mut arguments = Vec::new();
    write_batch_header(calls.len(), &mut arguments);
    for call in calls {
        write_batch_call(call, &mut arguments);
    }
    arguments
}

fn outcomes(result: &[u8]) -> Result<Vec<BatchOutcome<'_>>, DecodeError> {
    BatchOutcomes::open(result)?.collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[test]
fn calls_are_what_is_written() {
    for (bytes, text) in section("calls") {
        let calls = read(&bytes).unwrap_or_else(|| panic!("{text}"));
        let line = |call: &BatchCall<'_>| format!("{} {} {}", call.operation, call.object, hex(call.arguments));
        let lines: Vec<_> = calls.iter().map(line).collect();
        assert_eq!(lines.join(", ").trim(), text, "{bytes:02x?}");
        assert_eq!(write(&calls), bytes, "{text}");
    }
}

#[test]
fn what_is_no_batch_is_refused_as_a_whole() {
    for (bytes, text) in section("refused") {
        assert!(
            Raw::check(&bytes, &Limits::default()).is_ok(),
            "{text}: it is to be well-formed"
        );
        assert_eq!(read(&bytes), None, "{text}");
        assert!(BatchCalls::check(&bytes).is_none(), "{text}");
    }
    let ping = BatchCall {
        operation: 0,
        object: 0,
        arguments: &[7, 0],
    };
    assert!(read(&write(&vec![ping; BATCH_CALLS_MAX])).is_some());
    assert_eq!(read(&write(&vec![ping; BATCH_CALLS_MAX + 1])), None, "one too many");
    let mut trailing = write(&[ping]);
    trailing.push(0);
    assert!(BatchCalls::check(&trailing).is_none());
}

#[test]
fn outcomes_are_what_is_written() {
    for (bytes, text) in section("outcomes") {
        let outcomes = outcomes(&bytes).unwrap_or_else(|error| panic!("{text}: {error}"));
        let line = |outcome: &BatchOutcome<'_>| match outcome {
            BatchOutcome::Done(result) => format!("done {}", hex(result)).trim().to_owned(),
            BatchOutcome::Fault(fault) => format!("{} {}", fault.code.number(), fault.message),
        };
        assert_eq!(outcomes.iter().map(line).collect::<Vec<_>>().join(", "), text);
        let mut again = Vec::new();
        write_list_header(&mut again, outcomes.len());
        for outcome in &outcomes {
            match outcome {
                BatchOutcome::Done(result) => write_batch_done(result, &mut again),
                BatchOutcome::Fault(fault) => write_batch_fault(fault, &mut again),
            }
        }
        assert_eq!(again, bytes, "{text}");
    }
    for (bytes, text) in section("malformed outcomes") {
        assert!(outcomes(&bytes).is_err(), "{text}");
    }
}

fn any_call() -> impl Strategy<Value = (u16, u64, Vec<u8>)> {
    (any::<u16>(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..20))
}

fn any_outcome() -> impl Strategy<Value = Result<Vec<u8>, (u16, String)>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Ok),
        (any::<u16>(), ".{0,10}").prop_map(Err)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn calls_round_trip(calls in prop::collection::vec(any_call(), 0..20)) {
        let calls: Vec<_> = calls
            .iter()
            .map(|(operation, object, arguments)| BatchCall { operation: *operation, object: *object, arguments })
            .collect();
        let arguments = write(&calls);
        prop_assert_eq!(read(&arguments), Some(calls));
    }

    #[test]
    fn outcomes_round_trip(expected in prop::collection::vec(any_outcome(), 0..20), detail in any::<i32>()) {
        let mut result = Vec::new();
        write_list_header(&mut result, expected.len());
        let fault = |code: u16, message: &str| Fault::new(FaultCode::from_number(code), message).with_detail(detail);
        for outcome in &expected {
            match outcome {
                Ok(done) => write_batch_done(done, &mut result),
                Err((code, message)) => write_batch_fault(&fault(*code, message), &mut result),
            }
        }
        let expected: Vec<_> = expected
            .iter()
            .map(|outcome| match outcome {
                Ok(done) => BatchOutcome::Done(done),
                Err((code, message)) => BatchOutcome::Fault(fault(*code, message)),
            })
            .collect();
        prop_assert_eq!(outcomes(&result), Ok(expected));
        prop_assert!(Raw::check(&result, &Limits::default()).is_ok(), "a result is one value");
    }

    /// Whatever comes, it is read to its end or refused: no panic, and no more steps than bytes.
    #[test]
    fn arbitrary_bytes_are_calls_or_not(mut bytes in prop::collection::vec(any::<u8>(), 0..60), left in any::<u16>()) {
        let _ = read(&bytes);
        bytes.splice(..0, [7, 1, 7]);
        prop_assert_eq!(read(&bytes), BatchCalls::check(&bytes).map(walk));
        if let Some(calls) = read(&bytes) {
            prop_assert_eq!(write(&calls), bytes.clone());
        }
        let mut calls = BatchCalls::resume(&bytes, usize::from(left));
        while let Some((_, rest)) = calls.split_first() {
            prop_assert!(rest.bytes().len() < calls.bytes().len());
            calls = rest;
        }
    }

    #[test]
    fn arbitrary_bytes_are_outcomes_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..60), count in 0_u8..6) {
        let _ = outcomes(&bytes);
        bytes.splice(..0, [7, count]);
        if let Ok(read) = outcomes(&bytes) {
            prop_assert_eq!(read.len(), usize::from(count));
        } else {
            let read = BatchOutcomes::open(&bytes).map_or(0, Iterator::count);
            prop_assert!(read <= usize::from(count), "the first error ends it");
        }
    }

    /// A result whose values are whatever can be: it is told from a fault by its tag alone.
    #[test]
    fn details_of_any_value_are_kept(text in ".{0,10}", number in any::<i64>()) {
        for detail in [Value::None, Value::from(text.as_str()), Value::List(vec![Value::from(number)])] {
            let fault = Fault::new(FaultCode::Full, "no").with_detail(detail);
            let mut result = Vec::new();
            write_list_header(&mut result, 1);
            write_batch_fault(&fault, &mut result);
            prop_assert_eq!(outcomes(&result), Ok(vec![BatchOutcome::Fault(fault)]));
        }
    }
}

//! `proto/README.md` repeats the tables of operations and faults; here they are held to the code, row by row, and so is its
//! session in bytes.

use crate::source::read;
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::frame::{FRAME_BYTES_MAX, FrameError, Request, write_call_header, write_done_header, write_fault};
use byproxy_proto::handshake::{Hello, Purpose, VERSION, Welcome};
use byproxy_proto::op::{
    BATCH_CALLS_MAX, BatchCall, Operation, write_batch_call, write_batch_done, write_batch_fault, write_batch_header,
};
use byproxy_proto::value::{Kind, Limits, Token, Value, to_writer, write_list_header};
use std::collections::BTreeMap;
use std::fmt::Write as _;

#[test]
fn the_table_of_operations_is_the_one_in_the_code() {
    let shapes = argument_shapes();
    let rows = rows("## Operations");
    let mut wrong = String::new();
    for &operation in Operation::ALL {
        let name = operation.name();
        let shape = shapes
            .get(&format!("{operation:?}"))
            .unwrap_or_else(|| panic!("{name} has no arguments in proto/src/op/"));
        let expected = [
            operation.code().to_string(),
            format!("`{name}`"),
            shape.clone(),
            properties(operation),
            operation.description().to_owned(),
        ];
        let found = rows.iter().find(|row| row.get(1) == expected.get(1));
        let same = found.is_some_and(|row| {
            row.len() == 6
                && [0, 1, 2, 4, 5]
                    .into_iter()
                    .zip(&expected)
                    .all(|(column, cell)| &row[column] == cell)
                && !row[3].is_empty()
        });
        if !same {
            let [code, name, shape, properties, description] = expected;
            let result = found
                .and_then(|row| row.get(3))
                .map_or("(what it returns)", String::as_str);
            let _ = writeln!(
                wrong,
                "| {code} | {name} | {shape} | {result} | {properties} | {description} |"
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "these rows of `## Operations` in proto/README.md must read\n{wrong}"
    );
    assert_eq!(
        rows.len(),
        Operation::ALL.len(),
        "proto/README.md lists an operation twice, or one that does not exist"
    );
}

#[test]
fn the_table_of_faults_is_the_one_in_the_code() {
    let expected: Vec<_> = FaultCode::ALL
        .iter()
        .map(|(_, number, name, meaning)| vec![number.to_string(), (*name).to_owned(), meaning.trim().to_owned()])
        .collect();
    let found = rows("## Faults");
    let mut wrong = String::new();
    for row in expected.iter().filter(|row| !found.contains(row)) {
        let _ = writeln!(wrong, "| {} |", row.join(" | "));
    }
    assert!(
        wrong.is_empty(),
        "these rows of `## Faults` in proto/README.md must read\n{wrong}"
    );
    assert_eq!(
        found.len(),
        expected.len(),
        "proto/README.md lists a fault twice, or one that does not exist"
    );
}

/// The cells of the numbered table rows in one section of the specification.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let text = read("proto/README.md");
    let start = text
        .find(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("proto/README.md has no section `{heading}`"));
    let section = &text[start + 1..];
    let section = section.find("\n## ").map_or(section, |end| &section[..end]);
    let cells = |line: &str| {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect::<Vec<_>>()
    };
    let numbered = |row: &Vec<String>| row.first().is_some_and(|cell| cell.parse::<u16>().is_ok());
    section
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(cells)
        .filter(numbered)
        .collect()
}

fn properties(operation: Operation) -> String {
    let known = operation.properties();
    let all = [
        (known.mutates, "mutates"),
        (known.may_block, "may wait"),
        (known.delivers, "delivers"),
    ];
    all.into_iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, name)| name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The arguments of each operation as the specification writes them, from their declarations in `proto/src/op/`.
fn argument_shapes() -> BTreeMap<String, String> {
    let mut shapes = BTreeMap::new();
    for noun in ["manager", "list", "dict", "queue", "lock"] {
        let text = read(&format!("proto/src/op/{noun}.rs"));
        // A declaration reads `Insert = ListInsert(index: i64, item: Raw<'a>),`.
        for line in text.lines().map(str::trim) {
            let Some((_, declared)) = line.split_once(" = ") else {
                continue;
            };
            let Some((operation, arguments)) = declared.strip_suffix("),").and_then(|line| line.split_once('(')) else {
                continue;
            };
            let arguments: Vec<_> = arguments
                .split(", ")
                .filter(|argument| !argument.is_empty())
                .map(argument_shape)
                .collect();
            shapes.insert(operation.to_owned(), arguments.join(", "));
        }
    }
    shapes
}

/// `index: i64` is `index: int` in the specification, an argument that takes any value just its name.
fn argument_shape(declared: &str) -> String {
    let (name, kind) = declared
        .split_once(": ")
        .unwrap_or_else(|| panic!("an argument without a type: {declared}"));
    let optional = kind.strip_prefix("Option<").and_then(|kind| kind.strip_suffix('>'));
    let kind = match optional.unwrap_or(kind) {
        "Raw<'a>" if optional.is_some() => "value",
        "Raw<'a>" => return name.to_owned(),
        "i64" | "u64" | "i128" | "u8" => "int",
        "bool" => "bool",
        "&'a str" => "str",
        "Items<'a>" | "BatchCalls<'a>" => "list",
        "Pairs<'a>" => "dict",
        "Wait" => "wait",
        other => panic!("no word for the argument type {other}"),
    };
    if optional.is_some() {
        format!("{name}: {kind} or None")
    } else {
        format!("{name}: {kind}")
    }
}

/// The session of the specification's last section, as the code writes it: who sends, the bytes, what they say.
fn session() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let kind = |kind: Kind| Token {
        instance: 0x1234,
        object: 5,
        kind,
    };
    let welcome = Welcome {
        version: VERSION,
        instance: 0x1234,
        session: 1,
        secret: 0x99,
        frame_bytes_max: 64 << 20,
        ring_after: 16,
        proof: &[],
    };
    let hello = |purpose| framed(|out| Hello::new(purpose, "doc").write(out));
    let call = |number, operation, object, arguments: &dyn Fn(&mut Vec<u8>)| {
        framed(|out| {
            write_call_header(number, operation, object, out);
            arguments(out);
        })
    };
    let done = |number, handed: &[u64], result: Value| {
        framed(|out| {
            write_done_header(number, handed, out);
            to_writer(&result, out, &Limits::default()).expect("a small value");
        })
    };
    let arguments =
        |items: Vec<Value>| move |out: &mut Vec<u8>| to_writer(&items, out, &Limits::default()).expect("a small value");
    let mut lines = vec![
        ("C", hello(Purpose::Control), "hello, a new session"),
        (
            "S",
            framed(|out| welcome.write(out)),
            "welcome: instance 0x1234, session 1, secret 0x99",
        ),
        (
            "C",
            hello(Purpose::Lane {
                session: 1,
                secret: 0x99,
            }),
            "hello, a lane of session 1",
        ),
        ("S", framed(|out| welcome.write(out)), "welcome"),
        (
            "C",
            call(1, Operation::Open, 0, &arguments(vec!["q".into()])),
            "call 1: manager.open [\"q\"]",
        ),
        (
            "S",
            done(1, &[5], Value::Proxy(kind(Kind::QUEUE))),
            "done 1: hands over 5; a queue, object 5",
        ),
        (
            "C",
            call(2, Operation::QueueGet, 5, &arguments(vec![1_000_000_000_u64.into()])),
            "call 2: queue.get [1000000000], wait a second",
        ),
        (
            "S",
            done(2, &[], vec![Value::from("hi"), Value::from(-3)].into()),
            "done 2: [\"hi\", -3]",
        ),
        (
            "C",
            framed(|out| Request::Confirm { number: 2 }.write(out)),
            "confirm 2",
        ),
        (
            "C",
            call(3, Operation::QueueGet, 5, &arguments(vec![0_u64.into()])),
            "call 3: queue.get [0], a try",
        ),
        (
            "S",
            framed(|out| write_fault(3, &Fault::new(FaultCode::Empty, "the queue is empty"), out)),
            "fault 3: Empty",
        ),
    ];
    lines.extend(a_batch());
    lines.extend([
        (
            "C",
            framed(|out| Request::Release(vec![(5, 1)]).write(out)),
            "release object 5 once",
        ),
        ("C", framed(|out| Request::Goodbye.write(out)), "goodbye"),
    ]);
    lines
}

/// The part of the session that is a batch.
fn a_batch() -> [(&'static str, Vec<u8>, &'static str); 2] {
    [
        (
            "C",
            framed(|out| {
                write_call_header(4, Operation::Batch, 0, out);
                write_batch_header(2, out);
                for operation in [Operation::QueueQsize, Operation::ListPop] {
                    let call = BatchCall {
                        operation: operation.code(),
                        object: 5,
                        arguments: &[7, 0],
                    };
                    write_batch_call(&call, out);
                }
            }),
            "call 4: manager.batch [[775, 5, b\"\\x07\\x00\", 259, 5, b\"\\x07\\x00\"]]: queue.qsize and list.pop of object 5",
        ),
        (
            "S",
            framed(|out| {
                let fault = Fault::new(FaultCode::UnknownOperation, "a queue has no operation list.pop");
                write_done_header(4, &[], out);
                write_list_header(out, 2);
                write_batch_done(&[3, 0, 0], out);
                write_batch_fault(&fault, out);
            }),
            "done 4: [b\"\\x03\\x00\\x00\", [6, \"a queue has no operation list.pop\", None]]",
        ),
    ]
}

#[test]
fn the_session_in_bytes_is_what_the_code_writes() {
    let text = read("proto/README.md");
    let mut wrong = String::new();
    for (from, bytes, says) in session() {
        let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let line = format!("{from}: {}\n   {says}\n", hex.join(" "));
        if !text.contains(&line) {
            wrong.push_str(&line);
        }
    }
    assert!(
        wrong.is_empty(),
        "`## A session in bytes` in proto/README.md must read\n{wrong}"
    );
}

#[test]
fn the_limit_of_a_batch_is_what_the_specification_says() {
    assert_eq!(BATCH_CALLS_MAX, 1024);
    assert!(read("proto/README.md").contains("| calls in one batch | 1,024 |"));
}

fn framed(body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    let written = byproxy_proto::frame::write::<FrameError>(&mut out, FRAME_BYTES_MAX, |out| {
        body(out);
        Ok(())
    });
    written.expect("a small frame");
    out
}

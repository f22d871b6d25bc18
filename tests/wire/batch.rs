//! Batches as bytes: what is none is refused as a whole, what is wrong with one call is that call's, and a death ends the rest.

use crate::support::{Client, NOTHING, Sent, Served, call, framed, message, until};
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::frame::{Reply, write_call_header};
use byproxy_proto::op::{
    BATCH_CALLS_MAX, BatchCall, BatchOutcome, BatchOutcomes, Operation, write_batch_call, write_batch_header,
};
use byproxy_proto::value::{Limits, Raw, Value, to_vec};
use serde::Serialize;

/// One call of a batch.
fn one(operation: Operation, object: u64, arguments: impl Serialize) -> (u16, u64, Vec<u8>) {
    let arguments = to_vec(&arguments, &Limits::default()).unwrap();
    (operation.code(), object, arguments)
}

fn arguments(calls: &[(u16, u64, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_batch_header(calls.len(), &mut bytes);
    for &(operation, object, ref arguments) in calls {
        let call = BatchCall {
            operation,
            object,
            arguments,
        };
        write_batch_call(&call, &mut bytes);
    }
    bytes
}

fn frame(number: u64, arguments: &[u8]) -> Vec<u8> {
    framed(|out| {
        write_call_header(number, Operation::Batch, 0, out);
        out.extend_from_slice(arguments);
    })
}

/// Sends the arguments of a batch and returns the reply's body.
fn exchange(client: &mut Client, number: u64, arguments: &[u8]) -> Vec<u8> {
    client.lane.send(&frame(number, arguments));
    match client.lane.receive() {
        Sent::Frame(body) => body,
        Sent::End => panic!("closed"),
    }
}

fn outcomes(body: &[u8]) -> Vec<Result<Value, FaultCode>> {
    let Reply::Done { result, .. } = Reply::read(body, &Limits::default()).unwrap() else {
        panic!("{}", message(body))
    };
    let outcomes = BatchOutcomes::open(result)
        .unwrap()
        .map(|outcome| match outcome.unwrap() {
            BatchOutcome::Done(result) => Ok(Raw::check(result, &Limits::default()).unwrap().to_value().unwrap()),
            BatchOutcome::Fault(fault) => Err(fault.code),
        });
    outcomes.collect()
}

#[test]
fn what_is_no_batch_is_refused_as_a_whole_and_the_lane_goes_on() {
    let served = Served::start();
    let mut client = served.client();
    let list = client.new_list(None);
    let append = || one(Operation::ListAppend, list, (1,));
    let whole = arguments(&[append(), append()]);
    let too_many = arguments(&vec![append(); BATCH_CALLS_MAX + 1]);
    let not_bytes = to_vec(
        &((Operation::ListAppend.code(), list, Value::Bytes(vec![7, 1, 0]), 0, 0, 0),),
        &Limits::default(),
    );
    let mut trailing = whole.clone();
    trailing.push(0);
    let bad: [(&str, Vec<u8>, &str); 9] = [
        ("nothing", Vec::new(), "Malformed:"),
        ("no list", vec![0], "BadArgument:"),
        ("no calls", vec![7, 1, 0], "BadArgument:"),
        (
            "a count bomb",
            vec![7, 1, 7, 0xff, 0xff, 0xff, 0xff, 0x0f],
            "Malformed:",
        ),
        ("a call cut short", whole[..whole.len() - 1].to_vec(), "Malformed:"),
        (
            "a call and a bit",
            vec![7, 1, 7, 4, 3, 0, 0, 3, 0, 0, 6, 2, 7, 0, 0],
            "BadArgument:",
        ),
        ("bytes behind it", trailing, "Malformed:"),
        ("too many calls", too_many, "BadArgument:"),
        ("arguments that are no bytes", not_bytes.unwrap(), "BadArgument:"),
    ];
    for (number, (what, bytes, fault)) in (100..).zip(bad) {
        let body = exchange(&mut client, number, &bytes);
        assert!(message(&body).starts_with(fault), "{what}: {}", message(&body));
    }
    let empty = exchange(&mut client, 200, &arguments(&[]));
    assert_eq!(outcomes(&empty), []);
    let (length, _) = client.call(Operation::ListLen, list, NOTHING).unwrap();
    assert_eq!(length, [3, 0, 0], "nothing of it was done");
}

#[test]
fn what_is_wrong_with_a_call_is_its_own_outcome() {
    let served = Served::start();
    let mut client = served.client();
    let list = client.new_list(None);
    let (_, handed) = client.call(Operation::Create, 0, (3u8, None::<()>, (0, 0))).unwrap();
    let queue = handed[0];
    let append = || one(Operation::ListAppend, list, (1,));
    let raw = |bytes: &[u8]| (Operation::ListAppend.code(), list, bytes.to_vec());
    let nested = (Operation::Batch.code(), 0, arguments(&[append()]));
    let calls = [
        append(),
        raw(&[7, 1]),
        raw(&[7, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        raw(&[7, 1].repeat(10_000)),
        raw(&[7, 1, 9, 1, 1, 1]),
        (0xffff, list, vec![7, 0]),
        nested,
        one(Operation::QueueGet, queue, (None::<u64>,)),
        one(Operation::QueueGet, queue, (0,)),
        one(Operation::QueueJoin, queue, (1_000_000_000u64,)),
        one(Operation::QueuePut, queue, ("x", None::<u64>)),
        one(Operation::Shutdown, 0, NOTHING),
        one(Operation::ListPop, u64::MAX, NOTHING),
        append(),
        one(Operation::ListLen, list, NOTHING),
    ];
    let body = exchange(&mut client, 100, &arguments(&calls));
    let expected = [
        Ok(Value::None),
        Err(FaultCode::Malformed),
        Err(FaultCode::Malformed),
        Err(FaultCode::TooLarge),
        Err(FaultCode::ForeignProxy),
        Err(FaultCode::UnknownOperation),
        Err(FaultCode::Unsupported),
        Err(FaultCode::Unsupported),
        Err(FaultCode::Unsupported),
        Err(FaultCode::Unsupported),
        Err(FaultCode::Unsupported),
        Err(FaultCode::Unsupported),
        Err(FaultCode::NoSuchObject),
        Ok(Value::None),
        Ok(Value::from(2)),
    ];
    assert_eq!(outcomes(&body), expected);
    client.ping();
}

#[test]
fn a_batch_is_one_call_of_its_lane() {
    let served = Served::start();
    let mut client = served.client();
    let list = client.new_list(None);
    let many = (0..20_000).collect::<Vec<u32>>();
    client.call(Operation::ListExtend, list, (many,)).unwrap();
    let slow = arguments(&[
        one(Operation::ListReverse, list, NOTHING),
        one(Operation::ListLen, list, NOTHING),
    ]);
    // Whoever does the batch may be done with it before the server reads on: then the call behind it is not one too many.
    until("a call that came too early", || {
        client
            .lane
            .send(&[frame(100, &slow), call(101, Operation::Ping, 0, NOTHING)].concat());
        loop {
            match answer(&mut client) {
                Ok(100) => {}
                Ok(number) => {
                    assert_eq!(number, 101);
                    return false;
                }
                Err(fault) => {
                    assert_eq!(fault.code, FaultCode::Malformed, "{fault:?}");
                    return true;
                }
            }
        }
    });
    client.control.expect_end();
}

/// The number of the call that was done, or what was wrong with the connection.
fn answer(client: &mut Client) -> Result<u64, Fault> {
    let Sent::Frame(body) = client.lane.receive() else {
        panic!("closed without a reason")
    };
    match Reply::read(&body, &Limits::default()).unwrap() {
        Reply::Done { number, .. } => Ok(number),
        Reply::Fault { number: 0, fault } => Err(fault),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reply_over_the_frame_limit_ends_early_and_nothing_more_is_done() {
    let limits = byproxy::server::Limits {
        frame_bytes_max: 16 << 10,
        ..Default::default()
    };
    let served = Served::with(limits);
    let mut client = served.client();
    let list = client.new_list(None);
    for _ in 0..10 {
        client.call(Operation::ListAppend, list, ("x".repeat(4000),)).unwrap();
    }
    let pops = vec![one(Operation::ListPop, list, NOTHING); 10];
    let body = exchange(&mut client, 100, &arguments(&pops));
    let done = outcomes(&body).len();
    assert!(
        (2..5).contains(&done) && body.len() <= 16 << 10,
        "{done} in {} bytes",
        body.len()
    );
    let (length, _) = client.call(Operation::ListLen, list, NOTHING).unwrap();
    assert_eq!(
        length,
        [3, 0, 10 - u8::try_from(done).unwrap()],
        "what was not answered was not done"
    );
}

#[test]
fn a_client_that_dies_in_the_middle_of_a_batch_leaves_nothing_behind() {
    let served = Served::start();
    let mut other = served.client();
    let kept = other.new_list(Some("kept"));
    let before = other.call(Operation::Stats, 0, NOTHING).unwrap().0;
    for wait in 0..10 {
        let mut client = served.client();
        let (_, handed) = client.call(Operation::Open, 0, ("kept",)).unwrap();
        assert_eq!(handed, [kept]);
        let own = client.new_list(None);
        let many = (0..30_000).rev().collect::<Vec<u32>>();
        client.call(Operation::ListExtend, own, (many,)).unwrap();
        let calls = [
            one(Operation::ListCopy, own, NOTHING),
            one(Operation::ListSort, own, (false,)),
            one(Operation::ListCopy, own, NOTHING),
            one(Operation::ListReverse, own, NOTHING),
        ];
        client.lane.send(&frame(100, &arguments(&calls)));
        std::thread::sleep(std::time::Duration::from_micros(300 * wait));
        drop(client);
        until("the session has ended and its objects are gone", || {
            served.handle.stats().sessions == 1
        });
        until_same(&mut other, &before);
    }
}

fn until_same(client: &mut Client, before: &[u8]) {
    let start = std::time::Instant::now();
    while client.call(Operation::Stats, 0, NOTHING).unwrap().0 != before {
        assert!(start.elapsed() < crate::support::STUCK, "something is left behind");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

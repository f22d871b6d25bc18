//! Batches: each call as if it had come alone, in order, however many of them have to wait for an object.

use super::*;
use Operation as Op;
use byproxy_proto::op::{
    BATCH_CALLS_MAX, BatchCall, BatchOutcome, BatchOutcomes, write_batch_call, write_batch_header,
};

/// What came of one call of a batch.
type Came = Result<Value, FaultCode>;

/// A batch that is being put together.
#[derive(Default)]
struct Batch(Vec<(u16, u64, Vec<u8>)>);

impl Batch {
    fn add(mut self, operation: Op, object: u64, arguments: &impl Serialize) -> Self {
        let arguments = to_vec(arguments, &Limits::default()).unwrap();
        self.0.push((operation.code(), object, arguments));
        self
    }

    fn raw(mut self, operation: u16, object: u64, arguments: &[u8]) -> Self {
        self.0.push((operation, object, arguments.to_vec()));
        self
    }

    fn send(&self, driver: &mut Driver, session: SessionId) -> u64 {
        let mut bytes = Vec::new();
        write_batch_header(self.0.len(), &mut bytes);
        for &(operation, object, ref arguments) in &self.0 {
            let call = BatchCall {
                operation,
                object,
                arguments,
            };
            write_batch_call(&call, &mut bytes);
        }
        driver.send_bytes(session, Op::Batch, 0, &bytes)
    }

    /// Sends it, runs all jobs and returns what came of its calls.
    fn run(&self, driver: &mut Driver, session: SessionId) -> Vec<Came> {
        let number = self.send(driver, session);
        driver.run_jobs();
        outcomes(driver, number).expect("it is answered")
    }
}

/// What came of a batch's calls, if it was answered.
fn outcomes(driver: &mut Driver, number: u64) -> Option<Vec<Came>> {
    let (value, _) = driver
        .answers
        .remove(&number)?
        .expect("a batch is done, whatever comes of its calls");
    let bytes = to_vec(&value, &Limits::default()).unwrap();
    let one = |outcome| match outcome {
        Ok(BatchOutcome::Done(result)) => Ok(Raw::check(result, &Limits::default()).unwrap().to_value().unwrap()),
        Ok(BatchOutcome::Fault(fault)) => Err(fault.code),
        Err(error) => panic!("{error}"),
    };
    Some(BatchOutcomes::open(&bytes).unwrap().map(one).collect())
}

fn numbers(count: u64) -> Vec<u64> {
    (0..count).collect()
}

#[test]
fn calls_are_done_in_order_and_none_spoils_the_others() {
    let mut driver = Driver::new();
    let session = driver.session();
    let (list, dict) = (driver.list(session, &[1]), driver.dict(session, &()));
    let came = Batch::default()
        .add(Op::ListAppend, list, &(2,))
        .add(Op::ListPopAt, list, &(7,))
        .add(Op::DictInsert, dict, &("a", 3))
        .add(Op::ListLen, list, &NOTHING)
        .add(Op::ListLen, dict, &NOTHING)
        .add(Op::ListLen, 99, &NOTHING)
        .raw(0xffff, list, &[7, 0])
        .raw(Op::ListAppend.code(), list, &[7, 1])
        .raw(Op::ListAppend.code(), list, b"")
        .add(Op::DictGet, dict, &("a",))
        .run(&mut driver, session);
    let expected = [
        Ok(Value::None),
        Err(FaultCode::IndexOutOfRange),
        Ok(Value::None),
        Ok(value(2)),
        Err(FaultCode::UnknownOperation),
        Err(FaultCode::NoSuchObject),
        Err(FaultCode::UnknownOperation),
        Err(FaultCode::Malformed),
        Err(FaultCode::Malformed),
        Ok(value(3)),
    ];
    assert_eq!(came, expected);
    assert_eq!(Batch::default().run(&mut driver, session), []);
    driver.check();
}

#[test]
fn what_is_no_batch_is_refused_and_nothing_of_it_done() {
    let mut driver = Driver::new();
    let session = driver.session();
    let list = driver.list(session, &NOTHING);
    let append = |count: usize| (0..count).fold(Batch::default(), |batch, n| batch.add(Op::ListAppend, list, &(n,)));
    let number = append(BATCH_CALLS_MAX + 1).send(&mut driver, session);
    assert_eq!(driver.reply(number).unwrap().unwrap_err().code, FaultCode::BadArgument);
    let calls = (
        Op::ListAppend.code(),
        list,
        Value::Bytes(vec![7, 1, 0]),
        Op::ListAppend.code(),
        list,
        7,
    );
    assert_eq!(driver.fault(session, Op::Batch, 0, &(&calls,)), FaultCode::BadArgument);
    assert_eq!(driver.items(session, list), value(NOTHING));
    assert_eq!(append(BATCH_CALLS_MAX).run(&mut driver, session).len(), BATCH_CALLS_MAX);
    driver.check();
}

#[test]
fn what_waits_or_brings_items_can_not_be_in_a_batch() {
    let mut driver = Driver::new();
    let session = driver.session();
    let queue = driver.create(session, Kind::QUEUE, None, &(0, 1));
    let lock = driver.create(session, Kind::LOCK, None, &());
    let came = Batch::default()
        .add(Op::QueuePut, queue, &(1, ()))
        .add(Op::QueuePut, queue, &(2, 5))
        .add(Op::QueuePut, queue, &(3, 0))
        .add(Op::QueuePut, queue, &(4, 0))
        .add(Op::QueueGet, queue, &(0,))
        .add(Op::QueueGetMany, queue, &(0, 0))
        .add(Op::QueueReceive, queue, &(0,))
        .add(Op::QueueJoin, queue, &((),))
        .add(Op::QueueJoin, queue, &(0,))
        .add(Op::LockAcquire, lock, &(1, ()))
        .add(Op::LockAcquire, lock, &(1, 0))
        .add(Op::LockLocked, lock, &NOTHING)
        .add(Op::Batch, 0, &(NOTHING,))
        .add(Op::Shutdown, 0, &NOTHING)
        .add(Op::QueueQsize, queue, &NOTHING)
        .run(&mut driver, session);
    let refused = Err(FaultCode::Unsupported);
    let expected = [
        refused.clone(),
        refused.clone(),
        Ok(Value::None),
        Err(FaultCode::Full),
        refused.clone(),
        refused.clone(),
        refused.clone(),
        refused.clone(),
        Err(FaultCode::Timeout),
        refused.clone(),
        Ok(value((1, false))),
        Ok(value(true)),
        refused.clone(),
        refused,
        Ok(value(1)),
    ];
    assert_eq!(came, expected);
    assert!(!driver.shutdown && driver.engine.stats().waiters == 0);
    driver.check();
}

#[test]
fn a_call_that_is_long_takes_the_rest_along() {
    let mut driver = Driver::with_steps(10);
    let session = driver.session();
    let (list, other) = (driver.list(session, &numbers(20)), driver.list(session, &NOTHING));
    let number = Batch::default()
        .add(Op::ListAppend, other, &("before",))
        .add(Op::ListReverse, list, &NOTHING)
        .add(Op::ListAppend, other, &("after",))
        .add(Op::ListCopy, list, &NOTHING)
        .add(Op::Create, 0, &(Kind::LIST.0, (), numbers(30)))
        .add(Op::Collect, 0, &NOTHING)
        .add(Op::ListGet, list, &(0,))
        .send(&mut driver, session);
    assert_eq!(driver.items(session, other), value(["before"]), "what is behind waits");
    driver.run_jobs();
    assert_eq!(driver.items(session, other), value(["before", "after"]));
    let (_, handed) = driver.answers[&number].clone().unwrap();
    assert_eq!(handed.len(), 2, "the copy, and what was made");
    let came = outcomes(&mut driver, number).unwrap();
    assert_eq!((came.len(), &came[6], &came[5]), (7, &Ok(value(19)), &Ok(value(0))));
    let token = |object| Ok(value(list_token(object)));
    assert_eq!((came[3].clone(), came[4].clone()), (token(handed[0]), token(handed[1])));
    driver.check();
}

#[test]
fn a_call_that_meets_a_busy_object_waits_there_in_order() {
    let mut driver = Driver::with_steps(10);
    let session = driver.session();
    let (list, other) = (driver.list(session, &numbers(20)), driver.list(session, &NOTHING));
    let reverse = driver.send(session, Op::ListReverse, list, &NOTHING);
    let batch = Batch::default()
        .add(Op::ListAppend, other, &(1,))
        .add(Op::ListPop, list, &NOTHING)
        .add(Op::ListAppend, other, &(2,))
        .add(Op::ListPop, list, &NOTHING);
    let number = batch.send(&mut driver, session);
    let behind = driver.send(session, Op::ListPop, list, &NOTHING);
    let free = driver.send(session, Op::ListLen, other, &NOTHING);
    assert_eq!(
        driver.answer(free),
        Some(value(1)),
        "nothing behind the call that waits is done"
    );
    assert_eq!(driver.engine.stats().waiters, 2);
    assert!(driver.run_job(), "the reversal");
    assert_eq!(
        (driver.answer(reverse), driver.answer(behind)),
        (Some(Value::None), Some(value(1)))
    );
    assert_eq!(outcomes(&mut driver, number), None, "it goes on in a turn of its own");
    driver.run_jobs();
    let expected = [Ok(Value::None), Ok(value(0)), Ok(Value::None), Ok(value(2))];
    assert_eq!(outcomes(&mut driver, number).unwrap(), expected);
    driver.check();
}

#[test]
fn a_session_that_ends_leaves_the_rest_undone_and_nothing_behind() {
    let mut driver = Driver::with_steps(10);
    let owner = driver.session();
    let (list, other) = (driver.list(owner, &numbers(20)), driver.list(owner, &NOTHING));
    // Where the session ends: with the call in a busy object, with its own job out, before the batch goes on.
    for (meets, jobs) in [(true, 0), (false, 0), (false, 1)] {
        let session = driver.session();
        let inner = driver.list(session, &NOTHING);
        if meets {
            driver.send(owner, Op::ListReverse, list, &NOTHING);
        }
        let number = Batch::default()
            .add(Op::ListCopy, other, &NOTHING)
            .add(Op::ListReverse, list, &NOTHING)
            .add(Op::ListAppend, other, &(list_token(inner),))
            .send(&mut driver, session);
        for _ in 0..jobs {
            assert!(driver.run_job());
        }
        driver.end(session);
        driver.run_jobs();
        assert_eq!(outcomes(&mut driver, number), None);
        assert_eq!(
            driver.items(owner, other),
            value(NOTHING),
            "what came behind is not done"
        );
        driver.check();
        assert_eq!((driver.objects(), driver.engine.stats().waiters), (2, 0));
    }
}

#[test]
fn a_busy_object_that_goes_answers_its_call_and_the_batch_goes_on() {
    let mut driver = Driver::with_steps(10);
    let owner = driver.session();
    let session = driver.session();
    let (list, other) = (driver.list(owner, &numbers(20)), driver.list(owner, &NOTHING));
    driver.send(owner, Op::ListReverse, list, &NOTHING);
    let number = Batch::default()
        .add(Op::ListPop, list, &NOTHING)
        .add(Op::ListAppend, other, &(1,))
        .send(&mut driver, session);
    driver.release(owner, list, 1);
    driver.run_jobs();
    assert_eq!(
        outcomes(&mut driver, number).unwrap(),
        [Err(FaultCode::NoSuchObject), Ok(Value::None)]
    );
    let panics = Batch::default()
        .add(Op::ListAppend, other, &(crate::engine::object::PANIC_ITEM,))
        .add(Op::ListLen, other, &NOTHING)
        .add(Op::Ping, 0, &NOTHING)
        .run(&mut driver, owner);
    let poisoned = Err(FaultCode::Poisoned);
    assert_eq!(panics, [poisoned.clone(), poisoned, Ok(Value::None)]);
    driver.check();
}

/// Calls to one object are done in a row, and one of them may free an object or panic.
#[test]
fn a_row_of_calls_to_one_object_is_done_as_if_each_came_alone() {
    let mut driver = Driver::with_steps(100);
    let session = driver.session();
    let inner = driver.list(session, &[1]);
    let (dict, list) = (driver.dict(session, &()), driver.list(session, &NOTHING));
    let insert = |batch: Batch, n: u64| batch.add(Op::DictInsert, dict, &(n, n));
    let came = (0..500)
        .fold(Batch::default(), insert)
        .add(Op::DictLen, dict, &NOTHING)
        .add(Op::DictInsert, dict, &("inner", list_token(inner)))
        .run(&mut driver, session);
    assert_eq!(came[500], Ok(value(500)));

    // What the first call frees is freed before the second is done.
    driver.release(session, inner, 1);
    let came = Batch::default()
        .add(Op::DictDelete, dict, &("inner",))
        .add(Op::DictLen, dict, &NOTHING)
        .add(Op::ListLen, inner, &NOTHING)
        .run(&mut driver, session);
    assert_eq!(came, [Ok(value(true)), Ok(value(500)), Err(FaultCode::NoSuchObject)]);

    // A panic answers its own call, and those behind it are told what the object is now. What was handed over before stays so.
    let inner = driver.list(session, &[1]);
    let append = Batch::default().add(Op::ListAppend, list, &(list_token(inner),));
    assert_eq!(append.run(&mut driver, session), [Ok(Value::None)]);
    let number = Batch::default()
        .add(Op::ListGet, list, &(0,))
        .add(Op::ListAppend, list, &(crate::engine::object::PANIC_ITEM,))
        .add(Op::ListLen, list, &NOTHING)
        .add(Op::DictGet, dict, &(7,))
        .add(Op::DictGet, dict, &(8,))
        .send(&mut driver, session);
    let (_, handed) = driver.answers[&number].clone().unwrap();
    assert_eq!(handed, [inner]);
    let poisoned = Err(FaultCode::Poisoned);
    let token = Ok(value(list_token(inner)));
    let expected = [token, poisoned.clone(), poisoned, Ok(value(7)), Ok(value(8))];
    assert_eq!(outcomes(&mut driver, number).unwrap(), expected);
    driver.check();
}

/// A call that is short by what it is may be long by what its object is like: in the middle of a row it leaves as a job with the rest.
#[test]
fn a_call_of_a_row_that_turns_out_to_be_long_is_done_once() {
    for (ends, busy) in [(false, false), (true, false), (false, true)] {
        let mut driver = Driver::with_steps(10);
        let (owner, session) = (driver.session(), driver.session());
        let inner = driver.list(session, &[1]);
        let dict = driver.dict(owner, &());
        let each = |operation, keys: std::ops::Range<u64>| {
            keys.fold(Batch::default(), |batch, n| match operation {
                Op::DictInsert => batch.add(operation, dict, &(n, n)),
                _ => batch.add(operation, dict, &(n,)),
            })
        };
        each(Op::DictInsert, 0..80).run(&mut driver, owner);
        // So many gaps that they are closed before anything comes or goes.
        each(Op::DictDelete, 10..51).run(&mut driver, owner);
        if busy {
            driver.send(owner, Op::DictKeys, dict, &NOTHING);
        }
        let number = Batch::default()
            .add(Op::DictLen, dict, &NOTHING)
            .add(Op::DictInsert, dict, &("inner", list_token(inner)))
            .add(Op::DictLen, dict, &NOTHING)
            .add(Op::DictGet, dict, &("inner",))
            .send(&mut driver, session);
        assert!(
            !driver.jobs.is_empty() && outcomes(&mut driver, number).is_none(),
            "it is long"
        );
        if ends {
            driver.end(session);
        }
        driver.run_jobs();
        let came = outcomes(&mut driver, number);
        if ends {
            assert_eq!(came, None);
        } else {
            let (before, token) = (value(39), value(list_token(inner)));
            assert_eq!(came.unwrap(), [Ok(before), Ok(Value::None), Ok(value(40)), Ok(token)]);
        }
        driver.check();
    }
}

#[test]
fn a_reply_ends_before_what_it_has_no_room_for() {
    let mut driver = Driver::with(Settings {
        reply_bytes_max: 8 << 10,
        small_steps: 10,
        ..Settings::default()
    });
    let session = driver.session();
    let text = |bytes| "x".repeat(bytes);
    let list = driver.list(session, &[text(3000), text(3000), text(3000), text(10)]);
    let pop = |times: usize| (0..times).fold(Batch::default(), |batch, _| batch.add(Op::ListPopAt, list, &(0,)));
    let came = pop(4).run(&mut driver, session);
    assert_eq!(
        came,
        [Ok(value(text(3000))), Ok(value(text(3000)))],
        "the others are still there"
    );
    assert_eq!(driver.call(session, Op::ListLen, list, &NOTHING), Ok(value(2)));
    assert_eq!(
        pop(3).run(&mut driver, session).len(),
        3,
        "the last with a fault of its own"
    );

    // What has room in no reply is told so, and the others go on.
    let big = driver.list(session, &[text(5000), text(5000)]);
    let slice = Batch::default()
        .add(Op::ListSlice, big, &(0, ()))
        .add(Op::ListLen, big, &NOTHING);
    assert_eq!(
        slice.run(&mut driver, session),
        [Err(FaultCode::TooLarge), Ok(value(2))]
    );
    let behind = Batch::default()
        .add(Op::ListLen, big, &NOTHING)
        .add(Op::ListSlice, big, &(0, ()))
        .add(Op::ListLen, big, &NOTHING);
    assert_eq!(
        behind.run(&mut driver, session),
        [Ok(value(2)), Err(FaultCode::TooLarge), Ok(value(2))]
    );

    // The same for a job.
    let many = driver.list(session, &vec![text(100); 40]);
    let twice = Batch::default()
        .add(Op::ListSlice, many, &(0, ()))
        .add(Op::ListSlice, many, &(0, ()))
        .add(Op::ListClear, many, &NOTHING);
    assert_eq!(twice.run(&mut driver, session).len(), 1);
    assert_eq!(driver.call(session, Op::ListLen, many, &NOTHING), Ok(value(40)));

    // References take room beside the results.
    let inner = driver.list(session, &NOTHING);
    let tokens = driver.list(session, &vec![list_token(inner); 100]);
    let reads = (0..100).fold(Batch::default(), |batch, _| batch.add(Op::ListChunk, tokens, &(0, 10)));
    let number = reads.send(&mut driver, session);
    driver.run_jobs();
    let (_, handed) = driver.answers[&number].clone().unwrap();
    let came = outcomes(&mut driver, number).unwrap();
    assert_eq!(handed.len(), 10 * came.len());
    assert!(
        (10..60).contains(&came.len()) && 10 * handed.len() < 8 << 10,
        "{}",
        came.len()
    );
    driver.end(session);
    driver.check();
    assert_eq!(driver.objects(), 0);
}

#[test]
fn so_many_calls_that_may_be_long_and_then_others_have_their_turn() {
    let mut driver = Driver::new();
    let session = driver.session();
    let list = driver.list(session, &numbers(100));
    let batch = (0..100).fold(Batch::default(), |batch, n| batch.add(Op::ListContains, list, &(n,)));
    let number = batch.send(&mut driver, session);
    assert_eq!((driver.jobs.len(), outcomes(&mut driver, number)), (1, None));
    driver.run_jobs();
    let came = outcomes(&mut driver, number).unwrap();
    assert!(came.len() == 100 && came.iter().all(|came| *came == Ok(value(true))));
    assert!((4..10).contains(&driver.jobs_seen), "{}", driver.jobs_seen);
    driver.check();
}

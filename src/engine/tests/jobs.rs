//! Long calls leave as jobs; whoever meets their object waits in it, in order; nothing is lost on the way.

use super::*;
use crate::engine::object::PANIC_AROUND;
use Operation as Op;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A driver in which everything beyond ten elements is long, and a list of the numbers up to so many.
fn long_list(items: u64) -> (Driver, SessionId, u64) {
    let mut driver = Driver::with_steps(10);
    let session = driver.session();
    let items: Vec<u64> = (0..items).collect();
    let list = driver.list(session, &items);
    (driver, session, list)
}

fn answer(driver: &mut Driver, number: u64) -> Option<Result<Value, FaultCode>> {
    driver
        .answers
        .remove(&number)
        .map(|answer| answer.map(|(value, _)| value).map_err(|fault| fault.code))
}

#[test]
fn calls_that_meet_a_busy_object_are_done_in_order_afterwards() {
    let (mut driver, session, list) = long_list(20);
    let reverse = driver.send(session, Op::ListReverse, list, &NOTHING);
    let pop = driver.send(session, Op::ListPop, list, &NOTHING);
    let append = driver.send(session, Op::ListAppend, list, &("x",));
    let sort = driver.send(session, Op::ListSort, list, &(false,));
    let newest = driver.send(session, Op::ListGet, list, &(-1,));
    assert!(driver.answers.is_empty());
    assert_eq!((driver.jobs.len(), driver.engine.stats().waiters), (1, 4));
    assert!(driver.engine.check().is_err(), "the contents are with a job");
    assert!(driver.run_job());
    assert_eq!(answer(&mut driver, reverse), Some(Ok(Value::None)));
    assert_eq!(answer(&mut driver, pop), Some(Ok(value(0))), "after the reversal");
    assert_eq!(answer(&mut driver, append), Some(Ok(Value::None)));
    assert_eq!(answer(&mut driver, sort), None, "long itself");
    assert!(driver.run_job());
    assert_eq!(answer(&mut driver, sort), Some(Ok(Value::None)));
    assert_eq!(answer(&mut driver, newest), Some(Ok(value("x"))));
    assert!(!driver.run_job());
    driver.check();
    assert_eq!(driver.engine.stats().waiters, 0);
}

#[test]
fn a_crowd_of_queued_calls_gives_way_to_other_work() {
    let (mut driver, session, list) = long_list(20);
    driver.send(session, Op::ListReverse, list, &NOTHING);
    let numbers: Vec<u64> = (0..200)
        .map(|item| driver.send(session, Op::ListAppend, list, &(item,)))
        .collect();
    assert!(driver.run_job());
    let done = numbers
        .iter()
        .filter(|number| driver.answers.contains_key(number))
        .count();
    assert!(done > 0 && done < 200, "{done} were done at once");
    let late = driver.send(session, Op::ListPop, list, &NOTHING);
    assert!(!driver.answers.contains_key(&late), "calls that came before go first");
    driver.run_jobs();
    assert_eq!(answer(&mut driver, late), Some(Ok(value(199))));
    assert!(numbers.iter().all(|number| driver.answers.contains_key(number)));
    driver.check();
}

#[test]
fn a_dead_session_leaves_no_call_in_a_busy_object() {
    let (mut driver, owner, list) = long_list(20);
    let dead = driver.session();
    let inner = driver.list(dead, &());
    driver.send(owner, Op::ListReverse, list, &NOTHING);
    let forgotten = driver.send(dead, Op::ListAppend, list, &(list_token(inner),));
    let kept = driver.send(owner, Op::ListLen, list, &NOTHING);
    driver.end(dead);
    driver.run_jobs();
    assert_eq!(answer(&mut driver, forgotten), None);
    assert_eq!(answer(&mut driver, kept), Some(Ok(value(20))));
    driver.check();
    assert_eq!(driver.objects(), 1, "the inner list went with its only holder");
}

#[test]
fn a_job_whose_caller_died_keeps_references_exact() {
    let (mut driver, owner, list) = long_list(20);
    let inner = driver.list(owner, &());
    driver.call(owner, Op::ListSet, list, &(0, list_token(inner))).unwrap();
    let dead = driver.session();
    driver.send(dead, Op::ListCopy, list, &NOTHING);
    driver.end(dead);
    driver.check();
    assert_eq!(driver.objects(), 2, "the copy was freed at once");
    let dead = driver.session();
    driver.send(dead, Op::ListSlice, list, &(0, ()));
    driver.end(dead);
    driver.check();
    let dead = driver.session();
    let many: Vec<Token> = (0..20).map(|_| list_token(inner)).collect();
    driver.send(dead, Op::Create, 0, &(Kind::LIST.0, (), &many));
    driver.end(dead);
    driver.check();
    assert_eq!(driver.objects(), 2);
}

#[test]
fn an_object_freed_while_its_contents_are_away_refuses_who_waits() {
    let (mut driver, owner, list) = long_list(20);
    let other = driver.session();
    let reverse = driver.send(owner, Op::ListReverse, list, &NOTHING);
    let pop = driver.send(other, Op::ListPop, list, &NOTHING);
    driver.release(owner, list, 1);
    assert_eq!(answer(&mut driver, pop), Some(Err(FaultCode::NoSuchObject)));
    driver.run_jobs();
    assert_eq!(answer(&mut driver, reverse), Some(Ok(Value::None)), "it was under way");
    driver.check();
    assert_eq!(
        (
            driver.objects(),
            driver.engine.stats().bytes,
            driver.engine.stats().waiters
        ),
        (0, 0, 0)
    );
}

#[test]
fn only_so_many_calls_may_wait() {
    let mut driver = Driver::with(Settings {
        small_steps: 10,
        waiters_max: 3,
        ..Settings::default()
    });
    let session = driver.session();
    let list = driver.list(session, &(0..10).collect::<Vec<u8>>());
    driver.call(session, Op::ListAppend, list, &(10,)).unwrap();
    driver.send(session, Op::ListReverse, list, &NOTHING);
    for _ in 0..3 {
        driver.send(session, Op::ListLen, list, &NOTHING);
    }
    let refused = driver.send(session, Op::ListLen, list, &NOTHING);
    assert_eq!(answer(&mut driver, refused), Some(Err(FaultCode::TooMany)));
    driver.check();
}

#[test]
fn a_big_object_is_dropped_as_a_job() {
    let (mut driver, session, list) = long_list(1000);
    driver.release(session, list, 1);
    assert_eq!((driver.objects(), driver.jobs.len()), (0, 1));
    assert_eq!(driver.engine.stats().bytes, 16_000);
    driver.check();
    assert_eq!(driver.engine.stats().bytes, 0);
}

#[test]
fn an_object_with_much_in_it_is_made_as_a_job() {
    let mut driver = Driver::with_steps(10);
    let session = driver.session();
    let numbers: Vec<u64> = (0..100).collect();
    let create = driver.send(session, Op::Create, 0, &(Kind::LIST.0, "many", &numbers));
    assert_eq!(answer(&mut driver, create), None);
    let sooner = driver.create(session, Kind::LIST, Some("many"), &[1]);
    assert_eq!(
        driver.answers.remove(&create).unwrap().unwrap(),
        (value(list_token(sooner)), vec![sooner])
    );
    assert_eq!(
        driver.call(session, Op::ListLen, sooner, &NOTHING),
        Ok(value(1)).map_err(|()| unreachable!())
    );
    driver.check();
}

#[test]
fn a_panic_poisons_its_object_and_nothing_else() {
    let (mut driver, session, list) = long_list(20);
    let other = driver.list(session, &[1]);
    let message = crate::engine::object::PANIC_ITEM;
    assert_eq!(
        driver.fault(session, Op::ListAppend, other, &(message,)),
        FaultCode::Poisoned
    );
    assert_eq!(driver.fault(session, Op::ListLen, other, &NOTHING), FaultCode::Poisoned);
    assert_eq!(driver.call(session, Op::ListLen, list, &NOTHING), Ok(value(20)));
    // The same in a job, with calls waiting behind it.
    let bad = driver.send(session, Op::ListRemove, list, &(message,));
    let behind = driver.send(session, Op::ListLen, list, &NOTHING);
    driver.run_jobs();
    assert_eq!(answer(&mut driver, bad), Some(Err(FaultCode::Poisoned)));
    assert_eq!(answer(&mut driver, behind), Some(Err(FaultCode::Poisoned)));
    assert_eq!(driver.fault(session, Op::ListLen, list, &NOTHING), FaultCode::Poisoned);
    driver.check();
    // And in a call that had to wait.
    let third = driver.list(session, &(0..20).collect::<Vec<u8>>());
    driver.send(session, Op::ListReverse, third, &NOTHING);
    let bad = driver.send(session, Op::ListAppend, third, &(message,));
    let behind = driver.send(session, Op::ListLen, third, &NOTHING);
    driver.run_jobs();
    assert_eq!(answer(&mut driver, bad), Some(Err(FaultCode::Poisoned)));
    assert_eq!(answer(&mut driver, behind), Some(Err(FaultCode::Poisoned)));
    driver.check();
    driver.end(session);
    driver.check();
    assert_eq!(driver.objects(), 0, "poisoned objects are freed as others");
}

/// Runs all jobs as helper threads do: what a job panics with, they catch, and go on.
fn run_jobs_anyway(driver: &mut Driver) {
    while !driver.jobs.is_empty() {
        let ran = catch_unwind(AssertUnwindSafe(|| driver.run_job()));
        if ran.is_err() {
            driver.out = Outputs::default();
        }
    }
}

/// Cause: the operation itself was all that was guarded in a job. Symptom: a panic around it left the call unanswered, and its object Busy,
/// for ever.
#[test]
fn a_panic_around_a_long_call_answers_it_and_poisons_its_object() {
    let (mut driver, session, list) = long_list(20);
    let bad = driver.send(session, Op::ListRemove, list, &(PANIC_AROUND,));
    let behind = driver.send(session, Op::ListLen, list, &NOTHING);
    run_jobs_anyway(&mut driver);
    assert_eq!(answer(&mut driver, bad), Some(Err(FaultCode::Poisoned)));
    assert_eq!(answer(&mut driver, behind), Some(Err(FaultCode::Poisoned)));
    driver.check();
    driver.end(session);
    driver.check();
    assert_eq!((driver.objects(), driver.engine.stats().waiters), (0, 0));
}

/// The same of the calls that waited for the object: they were answered to nobody with those that had been done before.
#[test]
fn a_panic_between_calls_that_waited_answers_all_of_them() {
    let (mut driver, session, list) = long_list(20);
    let reverse = driver.send(session, Op::ListReverse, list, &NOTHING);
    let before = driver.send(session, Op::ListPop, list, &NOTHING);
    let bad = driver.send(session, Op::ListAppend, list, &(PANIC_AROUND,));
    let behind = driver.send(session, Op::ListLen, list, &NOTHING);
    run_jobs_anyway(&mut driver);
    assert_eq!(answer(&mut driver, reverse), Some(Ok(Value::None)));
    assert_eq!(answer(&mut driver, before), Some(Ok(value(0))));
    assert_eq!(answer(&mut driver, bad), Some(Err(FaultCode::Poisoned)));
    assert_eq!(answer(&mut driver, behind), Some(Err(FaultCode::Poisoned)));
    assert_eq!(driver.fault(session, Op::ListLen, list, &NOTHING), FaultCode::Poisoned);
    driver.check();
    assert_eq!(driver.engine.stats().waiters, 0);
}

#[test]
fn a_panic_while_all_objects_are_looked_at_answers_who_asked() {
    let mut driver = Driver::with_steps(1);
    let session = driver.session();
    driver.create(session, Kind::LIST, Some("other"), &NOTHING);
    driver.create(session, Kind::LIST, Some(PANIC_AROUND), &NOTHING);
    for operation in [Op::Names, Op::Collect] {
        let bad = driver.send(session, operation, 0, &NOTHING);
        run_jobs_anyway(&mut driver);
        assert_eq!(
            answer(&mut driver, bad),
            Some(Err(FaultCode::Poisoned)),
            "{operation:?}"
        );
    }
    driver.call(session, Op::Remove, 0, &(PANIC_AROUND,)).unwrap();
    assert!(driver.call(session, Op::Names, 0, &NOTHING).is_ok());
    assert!(driver.call(session, Op::Collect, 0, &NOTHING).is_ok());
    driver.check();
}

/// A batch that goes on after a long call does so where nobody waits for a connection.
#[test]
fn a_panic_in_the_rest_of_a_batch_answers_it() {
    let (mut driver, session, list) = long_list(20);
    let inner = driver.list(session, &NOTHING);
    driver
        .call(session, Op::ListAppend, list, &(list_token(inner),))
        .unwrap();
    let calls = [
        (Op::ListReverse, to_vec(&NOTHING, &Limits::default()).unwrap()),
        (Op::ListGet, to_vec(&(0,), &Limits::default()).unwrap()),
        (Op::ListAppend, to_vec(&(PANIC_AROUND,), &Limits::default()).unwrap()),
    ];
    let flat = calls.iter().flat_map(|(operation, arguments)| {
        let arguments = Value::Bytes(arguments.clone());
        [Value::from(operation.code()), Value::from(list), arguments]
    });
    let batch = driver.send(session, Op::Batch, 0, &(Value::List(flat.collect()),));
    run_jobs_anyway(&mut driver);
    assert_eq!(answer(&mut driver, batch), Some(Err(FaultCode::Poisoned)));
    assert_eq!(driver.call(session, Op::ListLen, list, &NOTHING).unwrap(), value(21));
    driver.check();
}

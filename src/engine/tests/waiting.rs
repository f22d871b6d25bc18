//! Calls that wait: exact deadlines, one answer each, and none left behind when sessions or objects end.

use super::*;
use Operation as Op;

fn queue(maxsize: i64) -> (Driver, SessionId, u64) {
    let mut driver = Driver::new();
    let session = driver.session();
    let queue = driver.create(session, Kind::QUEUE, None, &(0, maxsize));
    (driver, session, queue)
}

fn answer(driver: &mut Driver, number: u64) -> Option<Result<Value, FaultCode>> {
    driver
        .answers
        .remove(&number)
        .map(|answer| answer.map(|(value, _)| value).map_err(|fault| fault.code))
}

#[test]
fn deadlines_are_exact() {
    let (mut driver, session, queue) = queue(0);
    driver.now = 5;
    let later = driver.send(session, Op::QueueGet, queue, &(200_u64,));
    let sooner = driver.send(session, Op::QueueGet, queue, &(100_u64,));
    let never = driver.send(session, Op::QueueGet, queue, &((),));
    let beyond = driver.send(session, Op::QueueGet, queue, &(u64::MAX,));
    assert_eq!(driver.engine.poll_timeout(), Some(Time(105)));
    driver.advance_to(104);
    assert!(driver.answers.is_empty());
    driver.advance_to(105);
    assert_eq!(answer(&mut driver, sooner), Some(Err(FaultCode::Timeout)));
    assert_eq!(driver.engine.poll_timeout(), Some(Time(205)));
    driver.check();
    driver.advance_to(1_000_000);
    assert_eq!(answer(&mut driver, later), Some(Err(FaultCode::Timeout)));
    assert_eq!((answer(&mut driver, never), answer(&mut driver, beyond)), (None, None));
    assert_eq!((driver.engine.poll_timeout(), driver.engine.stats().waiters), (None, 2));
    driver.check();
}

#[test]
fn an_answered_call_takes_its_deadline_along() {
    let (mut driver, session, queue) = queue(0);
    let get = driver.send(session, Op::QueueGet, queue, &(100_u64,));
    driver.call(session, Op::QueuePut, queue, &("item", ())).unwrap();
    assert_eq!(answer(&mut driver, get), Some(Ok(value("item"))));
    assert_eq!(driver.engine.poll_timeout(), None);
    driver.advance_to(100);
    assert!(driver.answers.is_empty(), "a call is answered once");
    driver.check();
}

#[test]
fn a_session_that_ends_leaves_no_waiter() {
    let (mut driver, owner, queue) = queue(1);
    let dead = driver.session();
    let lock = driver.create(owner, Kind::LOCK, None, &());
    driver.call(owner, Op::LockAcquire, lock, &(1, ())).unwrap();
    let inner = driver.list(dead, &());
    driver.call(owner, Op::QueuePut, queue, &("first", ())).unwrap();
    driver.send(dead, Op::LockAcquire, lock, &(1, ()));
    driver.send(dead, Op::LockAcquire, lock, &(2, 100_u64));
    driver.send(dead, Op::QueuePut, queue, &(list_token(inner), ()));
    driver.send(dead, Op::QueueJoin, queue, &(50_u64,));
    assert_eq!(driver.engine.stats().waiters, 4);
    driver.check();
    driver.end(dead);
    assert_eq!((driver.engine.stats().waiters, driver.engine.poll_timeout()), (0, None));
    assert!(driver.answers.is_empty());
    driver.check();
    assert_eq!(driver.objects(), 2, "the list in the put that never happened is gone");
}

#[test]
fn an_object_freed_below_its_waiters_refuses_them() {
    let (mut driver, session, queue) = queue(0);
    let other = driver.session();
    let get = driver.send(session, Op::QueueGet, queue, &(100_u64,));
    let join = driver.send(other, Op::QueueGetMany, queue, &(3, ()));
    // Only a client that gives up a proxy in the middle of its own call does this.
    driver.release(session, queue, 1);
    assert_eq!(answer(&mut driver, get), Some(Err(FaultCode::NoSuchObject)));
    assert_eq!(answer(&mut driver, join), Some(Err(FaultCode::NoSuchObject)));
    assert_eq!(
        (
            driver.objects(),
            driver.engine.stats().waiters,
            driver.engine.poll_timeout()
        ),
        (0, 0, None)
    );
    driver.check();
}

#[test]
fn an_object_freed_below_deliveries_and_holdings_leaves_the_books_clean() {
    let (mut driver, session, queue) = queue(0);
    let lock = driver.create(session, Kind::LOCK, None, &());
    driver.call(session, Op::LockAcquire, lock, &(1, ())).unwrap();
    driver.call(session, Op::QueuePutMany, queue, &([1, 2, 3], ())).unwrap();
    let delivery = driver.send(session, Op::QueueGet, queue, &((),));
    driver.call(session, Op::QueueReceive, queue, &((),)).unwrap();
    driver.check();
    driver.release(session, queue, 1);
    driver.release(session, lock, 1);
    driver.check();
    let caller = Caller {
        session,
        lane: LaneId(1),
    };
    driver.engine.handle_confirm(Time(0), caller, delivery, &mut driver.out);
    assert!(driver.out.is_empty());
    driver.end(session);
    driver.check();
    assert_eq!((driver.objects(), driver.engine.stats().bytes), (0, 0));
}

#[test]
fn a_poisoned_object_refuses_who_waits_in_it() {
    let (mut driver, session, queue) = queue(0);
    let other = driver.session();
    let get = driver.send(other, Op::QueueGet, queue, &(100_u64,));
    let put = driver.send(session, Op::QueuePut, queue, &(crate::engine::object::PANIC_ITEM, ()));
    assert_eq!(answer(&mut driver, put), Some(Err(FaultCode::Poisoned)));
    assert_eq!(answer(&mut driver, get), Some(Err(FaultCode::Poisoned)));
    assert_eq!((driver.engine.stats().waiters, driver.engine.poll_timeout()), (0, None));
    driver.check();
    driver.advance_to(1000);
    driver.end(other);
    driver.end(session);
    driver.check();
    assert_eq!(driver.objects(), 0);
}

#[test]
fn nobody_waits_beyond_the_limit() {
    let mut driver = Driver::with(Settings {
        waiters_max: 2,
        ..Settings::default()
    });
    let session = driver.session();
    let queue = driver.create(session, Kind::QUEUE, None, &(0, 0));
    driver.send(session, Op::QueueGet, queue, &((),));
    driver.send(session, Op::QueueGet, queue, &(7_u64,));
    assert_eq!(driver.fault(session, Op::QueueGet, queue, &((),)), FaultCode::TooMany);
    driver.check();
    driver.advance_to(7);
    let third = driver.send(session, Op::QueueGet, queue, &((),));
    assert!(answer(&mut driver, third).is_none(), "there is room again");
    driver.check();
}

#[test]
fn nothing_is_granted_to_a_session_that_has_ended() {
    let (mut driver, owner, queue) = queue(0);
    let lock = driver.create(owner, Kind::LOCK, None, &());
    driver.call(owner, Op::QueuePut, queue, &("item", ())).unwrap();
    let dead = driver.session();
    driver.end(dead);
    // What a client wrote before it died may be read after it was found dead.
    assert_eq!(driver.fault(dead, Op::LockAcquire, lock, &(1, ())), FaultCode::Gone);
    assert_eq!(driver.fault(dead, Op::QueueGet, queue, &((),)), FaultCode::Gone);
    assert_eq!(driver.fault(dead, Op::QueueReceive, queue, &((),)), FaultCode::Gone);
    driver.check();
    assert!(driver.call(owner, Op::LockAcquire, lock, &(1, 0_u64)).is_ok());
    assert_eq!(driver.call(owner, Op::QueueGet, queue, &(0_u64,)), Ok(value("item")));
    assert_eq!(
        driver.fault(dead, Op::LockAcquire, lock, &(1, ())),
        FaultCode::Gone,
        "nor does it wait"
    );
    assert_eq!(driver.engine.stats().waiters, 0);
}

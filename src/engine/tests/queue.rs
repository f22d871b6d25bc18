//! Queues: order, deliveries, waiting.

mod ends;

use super::*;
use Operation::{
    QueueAck, QueueAudit, QueueGet, QueueGetMany, QueueJoin, QueueNack, QueuePut, QueuePutMany, QueueQsize,
    QueueReceive, QueueShutdown, QueueTaskDone,
};

const FIFO: u8 = 0;
const LIFO: u8 = 1;
const PRIORITY: u8 = 2;
const FOREVER: Option<u64> = None;
const TRY: Option<u64> = Some(0);

impl Driver {
    fn queue(&mut self, session: SessionId, order: u8, maxsize: i64) -> u64 {
        self.create(session, Kind::QUEUE, None, &(order, maxsize))
    }

    fn put(&mut self, session: SessionId, queue: u64, items: impl IntoIterator<Item = i64>) {
        for item in items {
            self.call(session, QueuePut, queue, &(item, TRY)).unwrap();
        }
    }

    /// Gets an item without waiting, and leaves the delivery open: the call's number and the item.
    fn take(&mut self, session: SessionId, queue: u64) -> (u64, Value) {
        let number = self.send(session, QueueGet, queue, &(TRY,));
        (number, self.answer(number).unwrap())
    }

    /// Gets an item without waiting, for good.
    fn get(&mut self, session: SessionId, queue: u64) -> Value {
        let (number, item) = self.take(session, queue);
        self.confirm(session, number);
        item
    }

    fn confirm(&mut self, session: SessionId, number: u64) {
        let (now, caller) = (Time(self.now), caller(session));
        self.engine.handle_confirm(now, caller, number, &mut self.out);
        self.take_outputs();
    }

    fn decline(&mut self, session: SessionId, number: u64) {
        let (now, caller) = (Time(self.now), caller(session));
        self.engine.handle_decline(now, caller, number, &mut self.out);
        self.take_outputs();
    }

    fn qsize(&mut self, session: SessionId, queue: u64) -> Value {
        self.call(session, QueueQsize, queue, &NOTHING).unwrap()
    }

    fn audit(&mut self, session: SessionId, queue: u64, name: &str) -> Value {
        let audit = self.call(session, QueueAudit, queue, &NOTHING).unwrap();
        audit.get(name).unwrap().clone()
    }
}

fn caller(session: SessionId) -> Caller {
    Caller {
        session,
        lane: LaneId(1),
    }
}

fn code(answer: Result<Value, Fault>) -> FaultCode {
    answer.unwrap_err().code
}

#[test]
fn items_come_in_the_order_of_the_queue() {
    let orders = [(FIFO, [3, 1, 2, 1]), (LIFO, [1, 2, 1, 3]), (PRIORITY, [1, 1, 2, 3])];
    for (order, expected) in orders {
        let mut driver = Driver::new();
        let me = driver.session();
        let queue = driver.queue(me, order, 0);
        driver.put(me, queue, [3, 1, 2, 1]);
        let got = [(); 4].map(|()| driver.get(me, queue));
        assert_eq!(got, expected.map(Value::from));
        assert_eq!(driver.fault(me, QueueGet, queue, &(TRY,)), FaultCode::Empty);
        driver.check();
    }
}

#[test]
fn what_comes_back_goes_to_its_old_place_in_every_order() {
    for (order, expected) in [
        (FIFO, [0, 1, 2, 3, 4]),
        (LIFO, [4, 3, 2, 1, 0]),
        (PRIORITY, [0, 1, 2, 3, 4]),
    ] {
        let mut driver = Driver::new();
        let (me, dead) = (driver.session(), driver.session());
        let queue = driver.queue(me, order, 4);
        driver.put(me, queue, 0..4);
        let (first, _) = driver.take(dead, queue);
        let (_second, _) = driver.take(dead, queue);
        driver.decline(dead, first);
        driver.put(me, queue, [4]);
        assert_eq!(driver.qsize(me, queue), Value::from(4));
        driver.end(dead);
        assert_eq!(
            driver.qsize(me, queue),
            Value::from(5),
            "returning may exceed the maxsize"
        );
        assert_eq!(driver.fault(me, QueuePut, queue, &(9, TRY)), FaultCode::Full);
        assert_eq!([(); 5].map(|()| driver.get(me, queue)), expected.map(Value::from));
        assert_eq!(driver.audit(me, queue, "returned"), Value::from(2));
        driver.check();
    }
}

#[test]
fn a_crowd_of_items_comes_back_in_order() {
    let mut driver = Driver::new();
    let (me, dead) = (driver.session(), driver.session());
    let queue = driver.queue(me, FIFO, 0);
    driver.put(me, queue, 0..100);
    for _ in 0..50 {
        driver.call(dead, QueueReceive, queue, &(TRY,)).unwrap();
    }
    driver.end(dead);
    for item in 0..100 {
        assert_eq!(driver.get(me, queue), Value::from(item));
    }
    driver.check();
}

#[test]
fn an_item_in_flight_is_the_servers_until_it_is_confirmed() {
    let mut driver = Driver::new();
    let me = driver.session();
    let queue = driver.queue(me, FIFO, 0);
    driver.put(me, queue, [7]);
    let (number, _) = driver.take(me, queue);
    assert_eq!(driver.qsize(me, queue), Value::from(0));
    assert_eq!(driver.audit(me, queue, "in_flight"), Value::from(1));
    driver.confirm(me, number + 50);
    assert_eq!(
        driver.audit(me, queue, "committed"),
        Value::from(0),
        "another number confirms nothing"
    );
    driver.confirm(me, number);
    driver.decline(me, number);
    assert_eq!(
        driver.audit(me, queue, "committed"),
        Value::from(1),
        "what is settled stays settled"
    );
    assert_eq!(driver.qsize(me, queue), Value::from(0));
    driver.check();
}

#[test]
fn a_dead_getters_item_reaches_the_living_in_order() {
    let mut driver = Driver::new();
    let (me, dead, other) = (driver.session(), driver.session(), driver.session());
    let queue = driver.queue(me, FIFO, 0);
    let theirs = driver.send(dead, QueueGet, queue, &(FOREVER,));
    let mine = driver.send(me, QueueGet, queue, &(FOREVER,));
    driver.put(other, queue, [1]);
    assert!(driver.answer(theirs).is_some(), "the first in line is served first");
    assert!(driver.answer(mine).is_none());
    driver.end(dead);
    assert_eq!(driver.answer(mine), Some(Value::from(1)));
    driver.check();
}

#[test]
fn a_dead_getter_is_not_served() {
    let mut driver = Driver::new();
    let (me, dead) = (driver.session(), driver.session());
    let queue = driver.queue(me, FIFO, 0);
    driver.send(dead, QueueGet, queue, &(FOREVER,));
    driver.end(dead);
    driver.check();
    assert_eq!(driver.engine.stats().waiters, 0);
    driver.put(me, queue, [1]);
    assert_eq!(driver.get(me, queue), Value::from(1));
}

#[test]
fn a_putter_waits_for_room_and_keeps_its_turn() {
    let mut driver = Driver::new();
    let me = driver.session();
    let queue = driver.queue(me, FIFO, 1);
    driver.put(me, queue, [0]);
    let many = driver.send(me, QueuePutMany, queue, &([1, 2], FOREVER));
    let one = driver.send(me, QueuePut, queue, &(3, FOREVER));
    for item in 0..2 {
        assert_eq!(driver.get(me, queue), Value::from(item));
    }
    assert_eq!(driver.answer(many), Some(Value::from(2)));
    assert!(driver.answer(one).is_none());
    assert_eq!(
        (driver.get(me, queue), driver.get(me, queue)),
        (Value::from(2), Value::from(3))
    );
    assert_eq!(driver.answer(one), Some(Value::None));
    driver.check();
}

#[test]
fn a_put_of_many_says_how_many_went_in() {
    let mut driver = Driver::new();
    let me = driver.session();
    let queue = driver.queue(me, FIFO, 3);
    let full = driver.call(me, QueuePutMany, queue, &([1, 2, 3, 4], TRY)).unwrap_err();
    assert_eq!((full.code, full.detail), (FaultCode::Full, Value::from(3)));
    driver.get(me, queue);
    let late = driver.send(me, QueuePutMany, queue, &([5, 6], Some(10)));
    driver.pass_to(9);
    assert!(driver.answer(late).is_none());
    driver.pass_to(10);
    let late = driver.reply(late).unwrap().unwrap_err();
    assert_eq!((late.code, late.detail), (FaultCode::Timeout, Value::from(1)));
    assert_eq!(driver.audit(me, queue, "accepted"), Value::from(4));
    driver.check();
}

#[test]
fn a_put_of_many_passes_its_items_to_those_who_wait() {
    let mut driver = Driver::new();
    let me = driver.session();
    let queue = driver.queue(me, FIFO, 1);
    let few = driver.send(me, QueueGetMany, queue, &(2, FOREVER));
    let one = driver.send(me, QueueGet, queue, &(FOREVER,));
    assert_eq!(
        driver.call(me, QueuePutMany, queue, &([1, 2, 3], TRY)),
        Ok(Value::from(3))
    );
    assert_eq!(driver.answer(few), Some(Value::List(vec![Value::from(1)])));
    assert_eq!(driver.answer(one), Some(Value::from(2)));
    assert_eq!(driver.qsize(me, queue), Value::from(1));
    driver.check();
}

#[test]
fn a_get_of_many_takes_what_fits_a_reply() {
    let settings = Settings {
        reply_bytes_max: 50,
        ..Settings::default()
    };
    let mut driver = Driver::with(settings);
    let me = driver.session();
    let queue = driver.queue(me, FIFO, 0);
    driver.put(me, queue, 0..30);
    let number = driver.send(me, QueueGetMany, queue, &(30, TRY));
    let Some(Value::List(items)) = driver.answer(number) else {
        panic!("not answered")
    };
    assert!((1..20).contains(&items.len()), "{} items", items.len());
    driver.decline(me, number);
    assert_eq!(driver.qsize(me, queue), Value::from(30));
    assert_eq!(
        driver.call(me, QueueGetMany, queue, &(0, FOREVER)),
        Ok(Value::List(Vec::new()))
    );
    driver.check();
}

#[test]
fn a_lent_item_is_acknowledged_once_and_by_its_borrower() {
    let mut driver = Driver::new();
    let (me, other) = (driver.session(), driver.session());
    let queue = driver.queue(me, FIFO, 0);
    driver.put(me, queue, [5]);
    let lent = |delivery: u64, times: u64| Value::List(vec![delivery.into(), times.into(), 5.into()]);
    assert_eq!(driver.call(me, QueueReceive, queue, &(TRY,)), Ok(lent(1, 0)));
    assert_eq!(driver.fault(other, QueueAck, queue, &(1,)), FaultCode::Misuse);
    assert_eq!(driver.call(me, QueueNack, queue, &(1,)), Ok(Value::None));
    assert_eq!(driver.fault(me, QueueAck, queue, &(1,)), FaultCode::Misuse);
    assert_eq!(driver.call(other, QueueReceive, queue, &(TRY,)), Ok(lent(2, 1)));
    driver.end(other);
    assert_eq!(driver.call(me, QueueReceive, queue, &(TRY,)), Ok(lent(3, 2)));
    let joined = driver.send(me, QueueJoin, queue, &(FOREVER,));
    assert_eq!(driver.call(me, QueueAck, queue, &(3,)), Ok(Value::None));
    assert_eq!(
        driver.answer(joined),
        Some(Value::None),
        "an acknowledgement counts as task_done"
    );
    driver.check();
}

#[test]
fn waits_end_exactly_at_their_deadline() {
    let mut driver = Driver::new();
    let me = driver.session();
    let queue = driver.queue(me, FIFO, 0);
    driver.pass_to(100);
    let getter = driver.send(me, QueueGet, queue, &(Some(50),));
    let later = driver.send(me, QueueReceive, queue, &(Some(51),));
    assert_eq!(driver.engine.poll_timeout(), Some(Time(150)));
    driver.pass_to(149);
    assert!(driver.answer(getter).is_none());
    driver.pass_to(150);
    assert_eq!(driver.reply(getter).map(code), Some(FaultCode::Timeout));
    driver.put(me, queue, [1]);
    assert!(driver.answer(later).is_some());
    assert_eq!(driver.engine.poll_timeout(), None, "who is served needs no timer");
    driver.check();
}

#[test]
fn a_refused_wait_changes_nothing() {
    let mut driver = Driver::with(Settings {
        waiters_max: 0,
        ..Settings::default()
    });
    let me = driver.session();
    let queue = driver.queue(me, FIFO, 1);
    let fault = driver.call(me, QueuePutMany, queue, &([1, 2], FOREVER)).unwrap_err();
    assert_eq!((fault.code, fault.detail), (FaultCode::TooMany, Value::from(0)));
    assert_eq!(driver.qsize(me, queue), Value::from(0));
    assert_eq!(driver.fault(me, QueueGet, queue, &(FOREVER,)), FaultCode::TooMany);
    driver.check();
}

#[test]
fn a_queue_of_an_unknown_order_is_refused() {
    let mut driver = Driver::new();
    let me = driver.session();
    let contents = (Kind::QUEUE.0, None::<&str>, (3, 0));
    assert_eq!(
        driver.fault(me, Operation::Create, 0, &contents),
        FaultCode::BadArgument
    );
}

/// The moment between the mark and the sweep, which threads hit rarely: a call or a grant that comes then must find the mark.
#[test]
fn nothing_is_granted_to_a_session_that_is_ending() {
    let mut driver = Driver::new();
    let (me, ending) = (driver.session(), driver.session());
    let queue = driver.queue(me, FIFO, 0);
    let lock = driver.create(me, Kind::LOCK, None, &());
    let theirs = driver.send(ending, QueueGet, queue, &(FOREVER,));
    let mine = driver.send(me, QueueGet, queue, &(FOREVER,));
    let mark = driver.engine.services.sessions.get(ending).unwrap().lock().end();
    assert!(mark.is_some());
    driver.put(me, queue, [1]);
    assert_eq!(driver.answer(mine), Some(Value::from(1)), "the next in line is served");
    assert!(driver.reply(theirs).is_none());
    driver.put(me, queue, [2]);
    assert_eq!(driver.fault(ending, QueueGet, queue, &(TRY,)), FaultCode::Gone);
    assert_eq!(driver.qsize(me, queue), Value::from(1));
    let acquire = (1, FOREVER);
    assert_eq!(
        driver.fault(ending, Operation::LockAcquire, lock, &acquire),
        FaultCode::Gone
    );
    assert_eq!(
        driver.call(me, Operation::LockLocked, lock, &NOTHING),
        Ok(Value::from(false))
    );
}

#[test]
fn a_number_used_again_before_its_delivery_is_settled_loses_nothing() {
    let mut driver = Driver::new();
    let me = driver.session();
    let (queue, empty) = (driver.queue(me, FIFO, 0), driver.queue(me, FIFO, 0));
    driver.put(me, queue, [1, 2]);
    let (number, _) = driver.take(me, queue);
    for (from, wait) in [(queue, TRY), (queue, FOREVER), (empty, FOREVER)] {
        driver.calls = number - 1;
        assert_eq!(driver.fault(me, QueueGet, from, &(wait,)), FaultCode::Misuse);
        driver.check();
    }
    driver.calls = 100;
    driver.confirm(me, number);
    assert_eq!(driver.get(me, queue), Value::from(2));
    assert_eq!(driver.audit(me, queue, "committed"), Value::from(2));
    driver.check();
}

/// A confirm and the `task_done` that follows it travel on two lanes, so the server may see them in the other order.
#[test]
fn task_done_may_come_before_the_confirm_it_follows() {
    for dies_first in [false, true] {
        let mut driver = Driver::new();
        let [owner, lives, dies] = [(); 3].map(|()| driver.session());
        let queue = driver.queue(owner, FIFO, 0);
        driver.put(owner, queue, [1, 2]);
        driver.get(dies, queue);
        let (number, _) = driver.take(lives, queue);
        if dies_first {
            driver.end(dies);
        }
        driver.call(lives, QueueTaskDone, queue, &NOTHING).unwrap();
        driver.confirm(lives, number);
        if !dies_first {
            driver.end(dies);
        }
        let answer = driver.call(owner, QueueJoin, queue, &(TRY,));
        assert_eq!(code(answer), FaultCode::WorkerDied, "dies first: {dies_first}");
    }
}

#[test]
fn a_put_of_many_takes_no_more_than_a_call_may_touch() {
    let mut driver = Driver::with_steps(10);
    let me = driver.session();
    let queue = driver.create(me, Kind::QUEUE, None, &(0, 0));
    let many: Vec<u64> = (0..100).collect();
    assert_eq!(driver.call(me, QueuePutMany, queue, &(&many, FOREVER)), Ok(value(10)));
    assert_eq!(driver.call(me, QueueQsize, queue, &NOTHING), Ok(value(10)));
    assert_eq!(
        driver.call(me, QueueGet, queue, &(TRY,)),
        Ok(value(0)),
        "the first of them"
    );
    driver.check();
}

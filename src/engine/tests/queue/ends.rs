//! How queues end: their items by `task_done`, they themselves by a shutdown or with their last proxy.

use super::*;

#[test]
fn join_waits_for_every_task_done() {
    let mut driver = Driver::new();
    let me = driver.session();
    let queue = driver.queue(me, FIFO, 0);
    assert_eq!(driver.call(me, QueueJoin, queue, &(FOREVER,)), Ok(Value::None));
    assert_eq!(driver.fault(me, QueueTaskDone, queue, &NOTHING), FaultCode::Misuse);
    driver.put(me, queue, [1, 2]);
    driver.get(me, queue);
    driver.get(me, queue);
    assert_eq!(driver.fault(me, QueueJoin, queue, &(TRY,)), FaultCode::Timeout);
    let joined = driver.send(me, QueueJoin, queue, &(FOREVER,));
    driver.call(me, QueueTaskDone, queue, &NOTHING).unwrap();
    assert!(driver.answer(joined).is_none());
    driver.call(me, QueueTaskDone, queue, &NOTHING).unwrap();
    assert_eq!(driver.answer(joined), Some(Value::None));
    driver.check();
}

#[test]
fn join_reports_what_dead_consumers_owe() {
    let mut driver = Driver::new();
    let (me, dead) = (driver.session(), driver.session());
    let queue = driver.queue(me, FIFO, 0);
    driver.put(me, queue, [1, 2, 3]);
    driver.get(dead, queue);
    driver.get(dead, queue);
    let joined = driver.send(me, QueueJoin, queue, &(FOREVER,));
    driver.end(dead);
    assert!(driver.answer(joined).is_none(), "one item may still be dealt with");
    driver.get(me, queue);
    driver.call(me, QueueTaskDone, queue, &NOTHING).unwrap();
    let fault = driver.reply(joined).unwrap().unwrap_err();
    assert_eq!((fault.code, fault.detail), (FaultCode::WorkerDied, Value::from(2)));
    assert_eq!(
        driver.fault(me, QueueJoin, queue, &(FOREVER,)),
        FaultCode::WorkerDied,
        "and goes on reporting"
    );
    driver.call(me, QueueTaskDone, queue, &NOTHING).unwrap();
    driver.call(me, QueueTaskDone, queue, &NOTHING).unwrap();
    assert_eq!(
        driver.call(me, QueueJoin, queue, &(FOREVER,)),
        Ok(Value::None),
        "until someone settles it"
    );
    driver.check();
}

#[test]
fn a_queue_that_is_shut_down_is_drained() {
    let mut driver = Driver::new();
    let me = driver.session();
    let queue = driver.queue(me, FIFO, 1);
    driver.put(me, queue, [1]);
    let putter = driver.send(me, QueuePutMany, queue, &([2, 3], FOREVER));
    driver.call(me, QueueShutdown, queue, &(false,)).unwrap();
    let refused = driver.reply(putter).unwrap().unwrap_err();
    assert_eq!((refused.code, refused.detail), (FaultCode::ShutDown, Value::from(0)));
    assert_eq!(driver.fault(me, QueuePut, queue, &(4, TRY)), FaultCode::ShutDown);
    assert_eq!(driver.get(me, queue), Value::from(1));
    assert_eq!(driver.fault(me, QueueGet, queue, &(FOREVER,)), FaultCode::ShutDown);
    driver.check();
}

#[test]
fn an_immediate_shutdown_discards_now_and_later() {
    let mut driver = Driver::new();
    let (me, dead) = (driver.session(), driver.session());
    let queue = driver.queue(me, FIFO, 0);
    driver.put(me, queue, [1, 2, 3]);
    driver.take(dead, queue);
    let joined = driver.send(me, QueueJoin, queue, &(FOREVER,));
    driver.call(me, QueueShutdown, queue, &(true,)).unwrap();
    assert_eq!(driver.fault(me, QueueGet, queue, &(TRY,)), FaultCode::ShutDown);
    assert!(driver.answer(joined).is_none(), "one is still on its way");
    driver.end(dead);
    assert_eq!(driver.answer(joined), Some(Value::None));
    assert_eq!(driver.audit(me, queue, "discarded"), Value::from(3));
    driver.check();
    assert_eq!(driver.engine.stats().bytes, crate::engine::registry::OBJECT_BYTES);
}

#[test]
fn a_shutdown_tells_those_who_wait_for_items() {
    let mut driver = Driver::new();
    let me = driver.session();
    let queue = driver.queue(me, FIFO, 0);
    let getter = driver.send(me, QueueGet, queue, &(FOREVER,));
    driver.call(me, QueueShutdown, queue, &(false,)).unwrap();
    assert_eq!(driver.reply(getter).map(code), Some(FaultCode::ShutDown));
    driver.check();
}

#[test]
fn a_queue_freed_below_its_users_lets_go_of_everyone() {
    let mut driver = Driver::new();
    let me = driver.session();
    let queue = driver.queue(me, FIFO, 1);
    driver.put(me, queue, [1]);
    let (number, _) = driver.take(me, queue);
    driver.put(me, queue, [2]);
    let putter = driver.send(me, QueuePut, queue, &(3, FOREVER));
    let joiner = driver.send(me, QueueJoin, queue, &(FOREVER,));
    driver.release(me, queue, 1);
    for waiter in [putter, joiner] {
        assert_eq!(driver.reply(waiter).map(code), Some(FaultCode::NoSuchObject));
    }
    driver.confirm(me, number);
    driver.check();
    let stats = driver.engine.stats();
    assert_eq!((stats.objects, stats.waiters, stats.bytes), (0, 0, 0));
}

#[test]
fn discarding_a_long_queue_is_a_job() {
    let mut driver = Driver::with_steps(10);
    let me = driver.session();
    let queue = driver.queue(me, FIFO, 0);
    let empty = driver.engine.stats().bytes;
    driver.put(me, queue, 0..11);
    let number = driver.send(me, QueueShutdown, queue, &(true,));
    assert_eq!(
        driver.answer(number),
        Some(Value::None),
        "the queue itself does not wait for it"
    );
    assert_eq!(driver.jobs.len(), 1);
    assert_eq!(driver.audit(me, queue, "discarded"), Value::from(11));
    driver.check();
    assert_eq!(driver.engine.stats().bytes, empty);
}

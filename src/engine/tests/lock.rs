//! Locks: who gets them, what the next holder is told, and waits that would never end.

use super::*;
use Operation::{LockAcquire, LockLeak, LockLocked, LockRelease};

const FOREVER: Option<u64> = None;
const TRY: Option<u64> = Some(0);
const ANY: Option<u64> = None;

impl Driver {
    fn lock(&mut self, session: SessionId) -> u64 {
        self.create(session, Kind::LOCK, None, &())
    }

    /// Asks for a lock for thread 1 of a session, and waits for it.
    fn want(&mut self, session: SessionId, lock: u64) -> u64 {
        self.send(session, LockAcquire, lock, &(1, FOREVER))
    }

    fn free(&mut self, session: SessionId, lock: u64, token: Option<u64>) -> Result<Value, Fault> {
        self.call(session, LockRelease, lock, &(token,))
    }
}

fn granted(token: u64, abandoned: bool) -> Value {
    Value::List(vec![token.into(), abandoned.into()])
}

#[test]
fn a_lock_is_granted_in_order_with_growing_tokens() {
    let mut driver = Driver::new();
    let sessions = [(); 3].map(|()| driver.session());
    let lock = driver.lock(sessions[0]);
    let calls = sessions.map(|session| driver.want(session, lock));
    for (token, (call, session)) in (1..).zip(calls.into_iter().zip(sessions)) {
        assert_eq!(driver.call(session, LockLocked, lock, &NOTHING), Ok(Value::from(true)));
        assert_eq!(driver.answer(call), Some(granted(token, false)));
        driver.check();
        driver.free(session, lock, Some(token)).unwrap();
    }
    assert_eq!(
        driver.call(sessions[0], LockLocked, lock, &NOTHING),
        Ok(Value::from(false))
    );
}

#[test]
fn anyone_may_release_but_a_guard_only_its_own_holding() {
    let mut driver = Driver::new();
    let (me, other) = (driver.session(), driver.session());
    let lock = driver.lock(me);
    assert_eq!(driver.free(me, lock, ANY).unwrap_err().code, FaultCode::Misuse);
    driver.want(me, lock);
    driver.free(other, lock, ANY).unwrap();
    driver.want(other, lock);
    assert_eq!(driver.free(me, lock, Some(1)).unwrap_err().code, FaultCode::Misuse);
    assert_eq!(driver.fault(me, LockLeak, lock, &(1,)), FaultCode::Misuse);
    assert_eq!(driver.call(me, LockLocked, lock, &NOTHING), Ok(Value::from(true)));
    driver.check();
}

#[test]
fn the_next_holder_is_told_once_that_the_last_one_died() {
    let mut driver = Driver::new();
    let (me, dead) = (driver.session(), driver.session());
    let lock = driver.lock(me);
    driver.want(dead, lock);
    let waiting = driver.want(me, lock);
    driver.end(dead);
    assert_eq!(driver.answer(waiting), Some(granted(2, true)));
    driver.free(me, lock, Some(2)).unwrap();
    let again = driver.want(me, lock);
    assert_eq!(driver.answer(again), Some(granted(3, false)));
    driver.check();
}

#[test]
fn a_lock_abandoned_by_nobodys_leave_is_told_later() {
    let mut driver = Driver::new();
    let (me, dead) = (driver.session(), driver.session());
    let lock = driver.lock(me);
    driver.want(dead, lock);
    driver.end(dead);
    assert_eq!(driver.call(me, LockLocked, lock, &NOTHING), Ok(Value::from(false)));
    let call = driver.want(me, lock);
    assert_eq!(driver.answer(call), Some(granted(2, true)));
}

#[test]
fn a_leaked_lock_outlives_who_leaked_it() {
    let mut driver = Driver::new();
    let (me, leaker) = (driver.session(), driver.session());
    let lock = driver.lock(me);
    driver.want(leaker, lock);
    driver.call(leaker, LockLeak, lock, &(1,)).unwrap();
    driver.end(leaker);
    let waiting = driver.want(me, lock);
    assert!(driver.answer(waiting).is_none());
    driver.check();
    driver.free(me, lock, ANY).unwrap();
    assert_eq!(driver.answer(waiting), Some(granted(2, false)));
    driver.check();
}

#[test]
fn the_dead_are_passed_over() {
    let mut driver = Driver::new();
    let (me, dead, next) = (driver.session(), driver.session(), driver.session());
    let lock = driver.lock(me);
    driver.want(me, lock);
    driver.want(dead, lock);
    let waiting = driver.want(next, lock);
    driver.end(dead);
    driver.check();
    driver.free(me, lock, Some(1)).unwrap();
    assert_eq!(driver.answer(waiting), Some(granted(2, false)));
    driver.check();
}

#[test]
fn an_acquire_gives_up_at_its_deadline() {
    let mut driver = Driver::new();
    let (me, other) = (driver.session(), driver.session());
    let lock = driver.lock(me);
    driver.want(me, lock);
    assert_eq!(driver.fault(other, LockAcquire, lock, &(1, TRY)), FaultCode::Timeout);
    let late = driver.send(other, LockAcquire, lock, &(1, Some(10)));
    driver.pass_to(9);
    assert!(driver.answer(late).is_none());
    driver.pass_to(10);
    assert_eq!(driver.reply(late).unwrap().unwrap_err().code, FaultCode::Timeout);
    driver.free(me, lock, Some(1)).unwrap();
    assert_eq!(
        driver.call(me, LockLocked, lock, &NOTHING),
        Ok(Value::from(false)),
        "nobody is left in line"
    );
    driver.check();
}

#[test]
fn waiting_for_oneself_is_a_deadlock() {
    let mut driver = Driver::new();
    let (me, other) = (driver.session(), driver.session());
    let (first, second) = (driver.lock(me), driver.lock(me));
    driver.want(me, first);
    assert_eq!(driver.fault(me, LockAcquire, first, &(1, FOREVER)), FaultCode::Deadlock);
    driver.want(other, second);
    driver.want(me, second);
    let fault = driver.call(other, LockAcquire, first, &(1, FOREVER)).unwrap_err();
    assert_eq!(fault.code, FaultCode::Deadlock);
    for lock in [first, second] {
        assert!(fault.message.contains(&format!("lock {lock} ")), "{}", fault.message);
    }
    driver.check();
}

#[test]
fn only_waits_without_end_for_owned_locks_make_a_deadlock() {
    let mut driver = Driver::new();
    let (me, other) = (driver.session(), driver.session());
    let (first, second) = (driver.lock(me), driver.lock(me));
    driver.want(me, first);
    driver.want(other, second);
    let patient = driver.send(me, LockAcquire, second, &(1, Some(100)));
    let waiting = driver.want(other, first);
    assert!(driver.reply(waiting).is_none(), "the other one gives up in time");
    driver.pass_to(100);
    assert!(driver.reply(patient).unwrap().is_err());
    driver.call(other, LockLeak, second, &(1,)).unwrap();
    let leaked = driver.want(me, second);
    assert!(driver.reply(leaked).is_none(), "anyone may release what nobody owns");
    driver.check();
}

#[test]
fn a_lock_that_changed_hands_is_followed_to_its_new_owner() {
    let mut driver = Driver::new();
    let [a, b, c] = [(); 3].map(|()| driver.session());
    let (first, second) = (driver.lock(a), driver.lock(a));
    driver.want(a, first);
    driver.want(c, second);
    driver.want(b, first);
    driver.want(c, first);
    driver.free(a, first, Some(1)).unwrap();
    driver.check();
    let free = driver.want(a, first);
    assert!(driver.reply(free).is_none(), "its old owner waits behind c");
    assert_eq!(
        driver.fault(b, LockAcquire, second, &(1, FOREVER)),
        FaultCode::Deadlock,
        "b has it, c waits for b"
    );
    driver.check();
}

#[test]
fn a_session_that_ends_breaks_the_circle() {
    let mut driver = Driver::new();
    let [a, b] = [(); 2].map(|()| driver.session());
    let (first, second) = (driver.lock(a), driver.lock(a));
    driver.want(a, first);
    driver.want(b, second);
    driver.want(b, first);
    driver.end(b);
    driver.check();
    let call = driver.want(a, second);
    assert_eq!(driver.answer(call), Some(granted(2, true)));
    driver.check();
}

#[test]
fn a_refused_wait_leaves_no_trace() {
    let mut driver = Driver::with(Settings {
        waiters_max: 0,
        ..Settings::default()
    });
    let (me, other) = (driver.session(), driver.session());
    let lock = driver.lock(me);
    driver.want(me, lock);
    assert_eq!(
        driver.fault(other, LockAcquire, lock, &(1, FOREVER)),
        FaultCode::TooMany
    );
    driver.check();
}

#[test]
fn a_lock_freed_below_its_users_lets_go_of_everyone() {
    let mut driver = Driver::new();
    let me = driver.session();
    let lock = driver.lock(me);
    driver.want(me, lock);
    let waiting = driver.send(me, LockAcquire, lock, &(2, FOREVER));
    driver.release(me, lock, 1);
    assert_eq!(
        driver.reply(waiting).unwrap().unwrap_err().code,
        FaultCode::NoSuchObject
    );
    driver.check();
    assert_eq!(driver.objects(), 0);
}

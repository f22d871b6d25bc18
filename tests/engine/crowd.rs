//! Many threads on one engine, as sessions that share a few objects, die at any moment and kill each other.
//!
//! What the simulator can't find lives between two critical sections: locks taken in different orders, a grant that meets an end, a
//! reference counted on one core and given up on another. So here nothing is predicted; instead what must hold anyway is watched:
//! an item is committed once, a lock has one living holder and a new token each time, and at the end nothing is left at all.

use crate::member::{Crowd, Doing, Member, within};
use crate::model::{as_int, int, items};
use byproxy::engine::{Resource, Settings};
use byproxy_proto::fault::FaultCode;
use byproxy_proto::op::Operation;
use byproxy_proto::value::{Kind, Value};
use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const THREADS: u64 = 6;
const CALLS: usize = 15_000;
const LOCKS: usize = 3;

/// What the members know of the world between them.
#[derive(Debug, Default)]
struct Witness {
    next_item: AtomicI64,
    /// Items that are someone's for good.
    committed: Mutex<HashSet<i64>>,
    tokens: [Mutex<HashSet<i64>>; LOCKS],
    /// The session that has each lock, as far as its holder knows.
    holders: [AtomicU64; LOCKS],
    /// How much of what was given to the server is there.
    kept: Arc<AtomicI64>,
}

/// What stands for shared memory here: something with a number that is there until it is dropped.
#[derive(Debug)]
struct Kept {
    number: i64,
    count: Arc<AtomicI64>,
}

impl Kept {
    fn new(number: i64, count: &Arc<AtomicI64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self {
            number,
            count: Arc::clone(count),
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "what the ends tore is part of the result")]
fn a_crowd_that_dies_all_the_time_leaves_nothing_behind() {
    within(240, || {
        let settings = Settings {
            small_steps: 8,
            ..Settings::default()
        };
        let crowd = Crowd::new(settings);
        let mut keeper = Member::join(&crowd, 0);
        for (name, kind, contents) in [
            ("bounded", Kind::QUEUE, Value::List(vec![int(0), int(3)])),
            ("ranked", Kind::QUEUE, Value::List(vec![int(2), int(0)])),
            ("list", Kind::LIST, Value::None),
            ("dict", Kind::DICT, Value::None),
            ("lock 0", Kind::LOCK, Value::None),
            ("lock 1", Kind::LOCK, Value::None),
            ("lock 2", Kind::LOCK, Value::None),
        ] {
            keeper.call(Operation::Create, 0, vec![int(kind.0), Value::from(name), contents]);
        }
        let witness = Arc::new(Witness::default());
        std::thread::scope(|scope| {
            for seed in 1..=THREADS {
                let (crowd, witness) = (Arc::clone(&crowd), Arc::clone(&witness));
                scope.spawn(move || live(&crowd, &witness, seed));
            }
        });
        let [idle, waiting, holding, flying] = crowd.ends();
        println!(
            "sessions ended: {idle} idle, {waiting} waiting, {holding} holding a lock, {flying} with items in flight"
        );
        assert!(
            (waiting + holding + flying) * 2 > idle,
            "most ends tore nothing: this test proves little"
        );
        crowd.run_jobs();
        crowd.engine.check().expect("the invariants hold when all is quiet");
        for queue in ["bounded", "ranked"] {
            let audit = keeper
                .call_named(queue, Operation::QueueAudit, Vec::new())
                .expect("the keeper lives");
            let number = |name| audit.as_ref().ok()?.get(name).and_then(as_int);
            assert_eq!(
                number("accepted"),
                number("committed")
                    .zip(number("waiting"))
                    .map(|(committed, waiting)| committed + waiting),
                "nothing is in flight once all are dead: {audit:?}"
            );
        }
        for name in [
            "bounded", "ranked", "list", "dict", "lock 0", "lock 1", "lock 2", "memory",
        ] {
            keeper.call(Operation::Remove, 0, vec![Value::from(name)]);
        }
        keeper.call(Operation::Collect, 0, Vec::new());
        keeper.die();
        crowd.run_jobs();
        crowd.engine.check().expect("the invariants hold at the end");
        assert_eq!(crowd.engine.stats(), byproxy::engine::Stats::default());
        let given = witness.next_item.load(Ordering::Relaxed);
        assert_eq!(
            witness.kept.load(Ordering::Relaxed),
            0,
            "of up to {given} things given to the server"
        );
    });
}

/// Threads that take two or three locks in any order, wait for ever, and let go only when they are told of a deadlock. One that is
/// missed would hang them all; one that is told although nobody waits in a circle would be told to someone alone.
#[test]
fn threads_that_lock_in_any_order_never_hang() {
    within(240, || {
        let crowd = Crowd::new(Settings::default());
        let mut keeper = Member::join(&crowd, 0);
        let locks: Vec<u64> = (0..4)
            .map(|_| keeper.create(Kind::LOCK, Value::None).expect("the keeper lives"))
            .collect();
        let told = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for seed in 1..=THREADS {
                let (crowd, locks, told) = (Arc::clone(&crowd), &locks, &told);
                scope.spawn(move || lock_in_any_order(&crowd, locks, seed, told));
            }
        });
        crowd.engine.check().expect("the invariants hold when all is quiet");
        assert_eq!(crowd.engine.stats().waiters, 0);
        assert!(told.into_inner() > 0, "this order of locking runs into deadlocks");
        let mut alone = Member::join(&crowd, 0);
        for &lock in &locks {
            let granted = alone.call(Operation::LockAcquire, lock, vec![int(0), Value::None]);
            assert!(
                matches!(granted, Some(Ok(_))),
                "alone there is no deadlock: {granted:?}"
            );
        }
    });
}

fn lock_in_any_order(crowd: &Arc<Crowd>, locks: &[u64], seed: u64, told: &AtomicU64) {
    let mut member = Member::join(crowd, seed);
    member.patient = true;
    for _ in 0..400 {
        let mut held: Vec<u64> = Vec::new();
        for _ in 0..3 {
            let lock = *member.random.pick(locks);
            match member.call(Operation::LockAcquire, lock, vec![int(seed), Value::None]) {
                Some(Ok(_)) => held.push(lock),
                Some(Err(FaultCode::Deadlock)) => {
                    told.fetch_add(1, Ordering::Relaxed);
                    assert!(!held.is_empty(), "who holds nothing closes no circle");
                    break;
                }
                other => panic!("an acquire was answered {other:?}"),
            }
        }
        for lock in held {
            let freed = member.call(Operation::LockRelease, lock, vec![Value::None]);
            assert_eq!(freed, Some(Ok(Value::None)));
        }
    }
    member.die();
}

fn live(crowd: &Arc<Crowd>, witness: &Witness, seed: u64) {
    let mut member = Member::join(crowd, seed);
    for _ in 0..CALLS {
        member.is_at(Doing::Nothing);
        let alive = match member.random.below(20) {
            0..4 => put(&mut member, witness),
            4..8 => get(&mut member, witness),
            8..12 => lock(&mut member, witness),
            12..17 => mutate(&mut member),
            17 => memory(&mut member, witness),
            18 if member.random.percent(30) => member.kill_someone(),
            18 => member.call(Operation::Collect, 0, Vec::new()).is_some(),
            _ if member.random.percent(20) => false,
            _ => member
                .call_named("bounded", Operation::QueueJoin, vec![int(20)])
                .is_some(),
        };
        if !alive {
            member.die();
            member.join_again();
        }
    }
    member.die();
}

fn put(member: &mut Member, witness: &Witness) -> bool {
    let queue = *member.random.pick(&["bounded", "ranked"]);
    let item = || int(witness.next_item.fetch_add(1, Ordering::Relaxed));
    let (one, more) = (item(), vec![item(), item(), item()]);
    let wait = member.wait();
    if member.random.percent(70) {
        member.call_named(queue, Operation::QueuePut, vec![one, wait]).is_some()
    } else {
        member
            .call_named(queue, Operation::QueuePutMany, vec![Value::List(more), wait])
            .is_some()
    }
}

fn get(member: &mut Member, witness: &Witness) -> bool {
    let queue = *member.random.pick(&["bounded", "ranked"]);
    let wait = member.wait();
    if member.random.percent(30) {
        return borrow(member, witness, queue, wait);
    }
    let (got, number) = if member.random.percent(50) {
        (
            member.call_named(queue, Operation::QueueGet, vec![wait]),
            member.number(),
        )
    } else {
        (
            member.call_named(queue, Operation::QueueGetMany, vec![int(3), wait]),
            member.number(),
        )
    };
    let Some(Ok(got)) = got else { return got.is_some() };
    member.is_at(Doing::HavingItemsInFlight);
    let got = if let Value::List(many) = got { many } else { vec![got] };
    assert_not_committed(member, witness, &got);
    match member.random.below(10) {
        0 => false,
        1..3 => member.decline(number),
        _ => {
            // Only who is alive afterwards knows that its confirm came in time.
            let alive = member.confirm(number);
            if alive {
                commit(witness, &got);
            }
            alive && member.call_named(queue, Operation::QueueTaskDone, Vec::new()).is_some()
        }
    }
}

fn borrow(member: &mut Member, witness: &Witness, queue: &'static str, wait: Value) -> bool {
    let Some(lent) = member.call_named(queue, Operation::QueueReceive, vec![wait]) else {
        return false;
    };
    let Ok(lent) = lent else { return true };
    member.is_at(Doing::HavingItemsInFlight);
    let [delivery, _times, item] = items(&lent).try_into().expect("three parts");
    assert_not_committed(member, witness, std::slice::from_ref(&item));
    match member.random.below(10) {
        0 => false,
        1..4 => member.call_named(queue, Operation::QueueNack, vec![delivery]).is_some(),
        _ => {
            let done = member.call_named(queue, Operation::QueueAck, vec![delivery]);
            if done == Some(Ok(Value::None)) {
                commit(witness, &[item]);
            }
            done.is_some()
        }
    }
}

fn assert_not_committed(member: &Member, witness: &Witness, got: &[Value]) {
    let committed = witness.committed.lock().expect("no member panicked");
    let again = got.iter().filter_map(as_int).find(|item| committed.contains(item));
    // Who was killed since it got the item may see the next one commit it.
    assert!(
        again.is_none() || member.is_doomed(member.session()),
        "{again:?} was delivered after it was committed"
    );
}

fn commit(witness: &Witness, got: &[Value]) {
    let mut committed = witness.committed.lock().expect("no member panicked");
    for item in got {
        assert!(
            committed.insert(as_int(item).expect("items are numbers")),
            "{item} was committed twice"
        );
    }
}

fn lock(member: &mut Member, witness: &Witness) -> bool {
    let index = member.random.below(LOCKS);
    let name = ["lock 0", "lock 1", "lock 2"][index];
    let wait = member.wait();
    let Some(granted) = member.call_named(name, Operation::LockAcquire, vec![int(1), wait]) else {
        return false;
    };
    let Ok(granted) = granted else { return true };
    member.is_at(Doing::HoldingALock);
    let token = items(&granted).first().and_then(as_int).expect("a token");
    assert!(
        witness.tokens[index].lock().expect("no member panicked").insert(token),
        "token {token} was given twice"
    );
    let session = member.session();
    let before = witness.holders[index].swap(session, Ordering::SeqCst);
    let fair = before == 0 || member.is_doomed(before) || member.is_doomed(session);
    assert!(fair, "session {before} lives and holds {name}, and so does {session}");
    if member.random.percent(10) {
        return false;
    }
    member.call_named("dict", Operation::DictGet, vec![int(1)]);
    let _mine = witness.holders[index].compare_exchange(session, 0, Ordering::SeqCst, Ordering::SeqCst);
    member
        .call_named(name, Operation::LockRelease, vec![int(token)])
        .is_some()
}

/// Shared memory that is given, found by its name, fetched, put into a container, removed and let go.
fn memory(member: &mut Member, witness: &Witness) -> bool {
    let number = witness.next_item.fetch_add(1, Ordering::Relaxed);
    let name = member.random.percent(60).then_some("memory");
    let bytes = *member.random.pick(&[0, 100, 1 << 20]);
    let given = Resource::new(Kept::new(number, &witness.kept), bytes);
    let Some((token, made)) = member.share(name, given, &int(number)) else {
        return false;
    };
    let Some((resource, note)) = member.fetch(token.object) else {
        return false;
    };
    let found = resource
        .get::<Kept>()
        .map(|kept| kept.number)
        .expect("it is what was given");
    assert_eq!(as_int(&note), Some(found), "a note belongs to what it was given with");
    assert!(
        !made || found == number,
        "{number} was given, and {found} stands for it"
    );
    let alive = match member.random.below(10) {
        0..3 => member
            .call_named("list", Operation::ListAppend, vec![Value::from(token)])
            .is_some(),
        3..5 => member.call(Operation::Remove, 0, vec![Value::from("memory")]).is_some(),
        5 => return true,
        _ => true,
    };
    member.release(&[(token.object, 2)]);
    alive
}

/// Containers of proxies, so that references travel between objects and sessions.
fn mutate(member: &mut Member) -> bool {
    use Operation as O;
    let key = int(member.random.below(5));
    let held = member.random.pick(&["list", "dict", "lock 0", "bounded"]);
    let proxy = member.proxy(held);
    let done = match member.random.below(14) {
        0 => member.call_named("list", O::ListAppend, vec![proxy]),
        1 => member.call_named("list", O::ListPop, Vec::new()),
        2 => member.call_named(
            "list",
            O::ListExtend,
            vec![Value::List(vec![proxy.clone(), key, proxy])],
        ),
        3 => member.call_named("list", O::ListSlice, vec![int(0), int(5)]),
        4 => member.call_named("list", O::ListSort, vec![Value::from(false)]),
        5 => member.call_named("list", O::ListDeleteSlice, vec![int(3), Value::None]),
        6 => member.call_named("list", O::ListCopy, Vec::new()),
        7 => member.call_named("dict", O::DictInsert, vec![key, proxy]),
        8 => member.call_named("dict", O::DictPop, vec![key]),
        9 => member.call_named("dict", O::DictItems, Vec::new()),
        10 => member.call_named("dict", O::DictCopy, Vec::new()),
        11 => member.call_named("dict", O::DictClear, Vec::new()),
        12 => return member.create(Kind::LIST, Value::List(vec![proxy])).is_some(),
        _ => member.call_named("dict", O::DictSetdefault, vec![key, Value::List(vec![proxy])]),
    };
    done.is_some()
}

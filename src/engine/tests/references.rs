//! References are exact: nothing is freed too early, nothing stays for ever.

use super::*;
use Operation as Op;

#[test]
fn an_object_lives_as_long_as_someone_holds_it() {
    let mut driver = Driver::new();
    let (owner, reader) = (driver.session(), driver.session());
    let inner = driver.list(owner, &["inner"]);
    let outer = driver.list(owner, &());
    driver
        .call(owner, Op::ListAppend, outer, &(list_token(inner),))
        .unwrap();
    driver.release(owner, inner, 1);
    driver.check();
    assert_eq!(driver.items(owner, inner), value(["inner"]), "held by the outer list");

    let number = driver.send(reader, Op::ListGet, outer, &(0,));
    let (_, handed) = driver.answers.remove(&number).unwrap().unwrap();
    assert_eq!(handed, [inner]);
    driver.check();
    driver.call(owner, Op::ListClear, outer, &NOTHING).unwrap();
    assert_eq!(driver.items(reader, inner), value(["inner"]), "held by the reader");
    driver.release(reader, inner, 1);
    assert_eq!(
        driver.fault(reader, Op::ListLen, inner, &NOTHING),
        FaultCode::NoSuchObject
    );
    driver.check();
    assert_eq!(driver.objects(), 1);
}

#[test]
fn a_removed_item_takes_its_references_along() {
    let mut driver = Driver::new();
    let session = driver.session();
    let inner = driver.list(session, &());
    let list = driver.list(session, &(list_token(inner), list_token(inner), [list_token(inner)]));
    let dict = driver.dict(session, &Value::Dict(vec![(value(1), value(list_token(inner)))]));
    driver.release(session, inner, 1);
    driver.check();
    for (operation, object, arguments) in [
        (Op::ListPop, list, value(NOTHING)),
        (Op::ListPopAt, list, value([0])),
        (Op::DictPop, dict, value([1])),
    ] {
        let number = driver.send(session, operation, object, &arguments);
        let (_, handed) = driver.answers.remove(&number).unwrap().unwrap();
        assert_eq!(handed, [inner]);
        driver.check();
    }
    driver.release(session, inner, 3);
    assert_eq!(
        driver.call(session, Op::ListLen, inner, &NOTHING),
        Ok(value(0)),
        "one item is left"
    );
    driver.call(session, Op::ListDelete, list, &(0,)).unwrap();
    assert_eq!(
        driver.fault(session, Op::ListLen, inner, &NOTHING),
        FaultCode::NoSuchObject
    );
    driver.check();
}

#[test]
fn every_way_of_storing_and_dropping_counts() {
    for small_steps in [0, 1, 4096] {
        let mut driver = Driver::with_steps(small_steps);
        let session = driver.session();
        let inner = driver.list(session, &());
        let token = list_token(inner);
        let list = driver.list(session, &());
        let dict = driver.dict(session, &());
        let calls: Vec<(Operation, u64, Value)> = vec![
            (Op::ListExtend, list, value(([token, token, token],))),
            (Op::ListInsert, list, value((1, (token, 5, token)))),
            (Op::ListSet, list, value((0, token))),
            (Op::ListSetSlice, list, value((1, 3, [[token]]))),
            (Op::ListRepeat, list, value([3])),
            (Op::ListRemove, list, value([token])),
            (Op::ListCompareAndSet, list, value((0, [token], token))),
            (Op::ListCompareAndSet, list, value((0, 1, token))),
            (Op::ListCount, list, value([token])),
            (Op::ListCopy, list, value(NOTHING)),
            (Op::ListDeleteSlice, list, value((0, 2))),
            (Op::ListReverse, list, value(NOTHING)),
            (Op::ListSort, list, value([true])),
            (Op::ListSnapshot, list, value(NOTHING)),
            (Op::DictInsert, dict, value((token, token))),
            (Op::DictInsert, dict, value((token, 7))),
            (Op::DictSetdefault, dict, value((1, token))),
            (Op::DictSetdefault, dict, value((1, token))),
            (Op::DictCompareAndSet, dict, value((1, token, [token]))),
            (
                Op::DictUpdate,
                dict,
                Value::List(vec![Value::Dict(vec![
                    (value(1), value(token)),
                    (value(2), value(token)),
                ])]),
            ),
            (Op::DictCopy, dict, value(NOTHING)),
            (Op::DictItems, dict, value(NOTHING)),
            (Op::DictChunk, dict, value(((), 10, false))),
            (Op::DictPopitem, dict, value(NOTHING)),
            (Op::DictDelete, dict, value([token])),
            (Op::ListReplace, list, value((999, [token]))),
            (Op::ListClear, list, value(NOTHING)),
        ];
        for (operation, object, arguments) in calls {
            let done = driver.call(session, operation, object, &arguments);
            assert!(done.is_ok(), "{operation:?}: {done:?}");
            driver.run_jobs();
            driver
                .engine
                .check()
                .unwrap_or_else(|error| panic!("after {operation:?}: {error}"));
        }
        driver.end(session);
        driver.check();
        assert_eq!((driver.objects(), driver.engine.stats().bytes), (0, 0));
    }
}

#[test]
fn a_value_with_an_unknown_or_foreign_proxy_is_refused_whole() {
    let mut driver = Driver::new();
    let session = driver.session();
    let list = driver.list(session, &());
    let foreign = Token {
        instance: 1,
        ..list_token(list)
    };
    let unknown = list_token(999);
    let wrong_kind = Token {
        kind: Kind::DICT,
        ..list_token(list)
    };
    for (token, code) in [
        (foreign, FaultCode::ForeignProxy),
        (unknown, FaultCode::NoSuchObject),
        (wrong_kind, FaultCode::BadArgument),
    ] {
        assert_eq!(
            driver.fault(session, Op::ListExtend, list, &((list_token(list), token),)),
            code
        );
        assert_eq!(driver.fault(session, Op::ListContains, list, &(token,)), code);
        driver.check();
    }
    assert_eq!(driver.call(session, Op::ListLen, list, &NOTHING), Ok(value(0)));
}

#[test]
fn releases_beyond_what_is_held_are_ignored() {
    let mut driver = Driver::new();
    let (owner, rogue) = (driver.session(), driver.session());
    let list = driver.list(owner, &());
    driver.release(rogue, list, 100);
    driver.release(rogue, 12_345, 1);
    assert_eq!(driver.call(owner, Op::ListLen, list, &NOTHING), Ok(value(0)));
    driver.check();
    driver.release(owner, list, 100);
    assert_eq!(driver.objects(), 0);
    driver.check();
}

#[test]
fn a_session_gives_back_all_it_held_and_only_once() {
    let mut driver = Driver::new();
    let (first, second) = (driver.session(), driver.session());
    let shared = driver.list(first, &());
    for _ in 0..50 {
        driver.list(first, &());
    }
    driver.call(second, Op::Adopt, 0, &((list_token(shared),),)).unwrap();
    assert_eq!(driver.engine.stats().references, 52);
    driver.end(first);
    driver.check();
    assert_eq!((driver.objects(), driver.engine.stats().sessions), (1, 1));
    driver.end(first);
    assert_eq!(driver.call(second, Op::ListLen, shared, &NOTHING), Ok(value(0)));
    driver.end(second);
    driver.check();
    assert_eq!(driver.objects(), 0);
}

#[test]
fn nothing_is_handed_to_a_session_that_has_ended() {
    let mut driver = Driver::new();
    let (owner, dead) = (driver.session(), driver.session());
    let inner = driver.list(owner, &());
    let outer = driver.list(owner, &[list_token(inner)]);
    driver.end(dead);
    assert_eq!(driver.fault(dead, Op::ListGet, outer, &(0,)), FaultCode::Gone);
    assert_eq!(
        driver.fault(dead, Op::Create, 0, &(Kind::LIST.0, (), ())),
        FaultCode::Gone
    );
    driver.check();
    assert_eq!(driver.objects(), 2);
}

#[test]
fn a_long_chain_is_freed_without_recursion_and_in_bounded_steps() {
    let mut driver = Driver::with_steps(100);
    let session = driver.session();
    let mut head = driver.list(session, &());
    for _ in 0..5000 {
        let next = driver.list(session, &[list_token(head)]);
        driver.release(session, head, 1);
        head = next;
    }
    let before = driver.jobs_seen;
    driver.release(session, head, 1);
    assert!(driver.objects() > 4000, "not all at once");
    driver.check();
    assert_eq!(driver.objects(), 0);
    assert!(driver.jobs_seen - before >= 40);
}

#[test]
fn a_cycle_lives_until_it_is_collected() {
    let mut driver = Driver::new();
    let session = driver.session();
    let kept = driver.list(session, &());
    let (a, b) = (driver.list(session, &[list_token(kept)]), driver.list(session, &()));
    driver
        .call(session, Op::ListAppend, a, &((list_token(b), list_token(a)),))
        .unwrap();
    driver.call(session, Op::ListAppend, b, &(list_token(a),)).unwrap();
    let hanging = driver.list(session, &());
    driver
        .call(session, Op::ListAppend, b, &(list_token(hanging),))
        .unwrap();
    driver.release(session, hanging, 1);
    assert_eq!(
        driver.call(session, Op::Collect, 0, &NOTHING),
        Ok(value(0)),
        "all of it is reached"
    );
    driver.release(session, b, 1);
    assert_eq!(
        driver.call(session, Op::Collect, 0, &NOTHING),
        Ok(value(0)),
        "still reached through a"
    );
    driver.release(session, a, 1);
    assert_eq!(driver.objects(), 4);
    assert_eq!(driver.call(session, Op::Collect, 0, &NOTHING), Ok(value(3)));
    driver.check();
    assert_eq!(driver.objects(), 1);
    assert_eq!(driver.call(session, Op::ListLen, kept, &NOTHING), Ok(value(0)));
}

#[test]
fn whatever_is_stored_can_be_handed_out_again() {
    let limits = Limits {
        bytes: 500,
        ..Limits::default()
    };
    let mut driver = Driver::with(Settings {
        limits,
        reply_bytes_max: 520,
        ..Settings::default()
    });
    let session = driver.session();
    let list = driver.list(session, &());
    let mut stored = 0;
    for proxies in 1..60 {
        let item = vec![list_token(list); proxies];
        match driver.call(session, Op::ListAppend, list, &(&item,)) {
            Ok(_) => {
                assert_eq!(driver.call(session, Op::ListGet, list, &(-1,)), Ok(value(&item)));
                stored += 1;
            }
            Err(fault) => assert_eq!(fault.code, FaultCode::TooLarge),
        }
    }
    assert!(stored > 0 && stored < 59, "{stored} fit");
    assert_eq!(
        driver.fault(session, Op::ListSlice, list, &(0, ())),
        FaultCode::TooLarge
    );
    driver.check();
}

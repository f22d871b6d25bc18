//! References: an object lives exactly as long as something refers to it.

use byproxy::{DictProxy, Error, GetError, ListProxy, LockGuard, LockProxy, Manager, QueueProxy, Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::RefCell;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Train {
    name: String,
    seats: DictProxy<u32, String>,
    waiting: Vec<QueueProxy<String>>,
    lock: Option<LockProxy>,
}

/// Reads over everything and keeps nothing.
#[derive(Debug, Serialize)]
struct Ignored;

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

fn objects(manager: &Manager) -> byproxy::Result<u64> {
    // A release is sent without waiting; a call after it on the same connection comes after it, on another one perhaps not.
    let (mut last, mut in_a_row) = (manager.stats()?.objects, 0);
    while in_a_row < 5 && manager.address().is_some() {
        std::thread::sleep(std::time::Duration::from_millis(1));
        let now = manager.stats()?.objects;
        in_a_row = if now == last { in_a_row + 1 } else { 0 };
        last = now;
    }
    Ok(last)
}

on_every_backend! {
    fn dropping_the_last_proxy_frees_the_object(manager) {
        let before = objects(manager)?;
        let list = manager.list::<u8>()?;
        let clone = list.clone();
        drop(list);
        assert_eq!(objects(manager)?, before + 1);
        clone.append(1)?;
        drop(clone);
        assert_eq!(objects(manager)?, before);
    }

    fn objects_nest_to_any_depth(manager) {
        let before = objects(manager)?;
        let trains = manager.list::<DictProxy<String, QueueProxy<i32>>>()?;
        trains.append(manager.dict()?)?;
        trains.get(0)?.insert("G101", manager.queue(0)?)?;
        trains.get(0)?.get("G101")?.expect("just inserted").put(7)?;
        assert_eq!(objects(manager)?, before + 3, "the containers hold what nobody else does");
        let queue = trains.get(-1)?.pop("G101")?.expect("just inserted");
        assert_eq!(queue.get()?, 7);
        drop(queue);
        assert_eq!(objects(manager)?, before + 2);
        drop(trains);
        assert_eq!(objects(manager)?, before);
    }

    fn proxies_travel_in_fields(manager) {
        let train = Train {
            name: "G101".to_owned(),
            seats: manager.dict_from([(1, "Ada")])?,
            waiting: vec![manager.queue(0)?, manager.queue(0)?],
            lock: Some(manager.lock()?),
        };
        let trains = manager.dict::<String, Train>()?;
        trains.insert(&train.name, &train)?;
        let found = trains.get("G101")?.expect("just inserted");
        assert_eq!(found, train, "the same objects");
        drop(train);
        found.waiting[1].put("Grace")?;
        assert_eq!(trains.pop("G101")?.expect("still there").waiting[1].get()?, "Grace");
        assert_eq!(found.seats.get(1)?.as_deref(), Some("Ada"));
        let _guard = found.lock.as_ref().expect("it has one").acquire()?;
    }

    fn a_proxy_outlives_its_senders_copy(manager) {
        let queue = manager.queue::<ListProxy<u8>>(0)?;
        for n in 0..20 {
            // Nobody but the queue holds the list between these two.
            queue.put(manager.list_from::<u8>([n])?)?;
            assert_eq!(queue.get()?.to_vec()?, [n]);
        }
    }

    fn what_a_reader_skips_refuses_or_panics_over_is_given_back(manager) {
        let before = objects(manager)?;
        let source = manager.list_named::<ListProxy<u8>>("source")?;
        let fill = || source.append(manager.list_from::<u8>([1])?);
        for _ in 0..5 {
            fill()?;
        }
        assert!(manager.list_named::<Ignored>("source")?.pop()?.is_some());
        assert!(manager.list_named::<u32>("source")?.pop().is_err());
        assert!(manager.list_named::<Value>("source")?.pop()?.is_some());
        assert!(manager.list_named::<(ListProxy<u8>, u8)>("source")?.pop().is_err());
        assert_eq!(objects(manager)?, before + 2);
        drop((source, manager.remove("source")?));
        assert_eq!(objects(manager)?, before);
    }

    fn a_returned_value_keeps_its_references(manager) {
        let lists = manager.queue_named::<ListProxy<u8>>("lists", 0)?;
        lists.put(manager.list_from::<u8>([5])?)?;
        let numbers = manager.queue_named::<u8>("lists", 0)?;
        let Err(GetError::Other(Error::WrongType(wrong))) = numbers.get() else { panic!("a list is no number") };
        let returned = wrong.into_returned();
        let (first, second) = (returned.decode::<ListProxy<u8>>()?, returned.clone().decode::<ListProxy<u8>>()?);
        drop(returned);
        assert_eq!((first.to_vec()?, first == second), (vec![5], true));
        manager.remove("lists")?;
    }

    fn a_call_that_waits_to_be_made_keeps_its_arguments(manager) {
        let lists = manager.list::<ListProxy<u8>>()?;
        let inner = manager.list_from::<u8>([5])?;
        let call = lists.calls().append(inner);
        assert_eq!(objects(manager)?, 2);
        call.send()?;
        assert_eq!(lists.get(0)?.to_vec()?, [5]);
        let never_made = lists.calls().append(manager.list::<u8>()?);
        assert_eq!(objects(manager)?, 3);
        drop(never_made);
        assert_eq!(objects(manager)?, 2);
    }

    fn what_a_container_drops_is_freed(manager) {
        let before = objects(manager)?;
        let list = manager.list::<ListProxy<u8>>()?;
        let make = || manager.list::<u8>();
        list.extend([make()?, make()?, make()?, make()?])?;
        list.set(0, make()?)?;
        list.delete(0)?;
        list.pop()?;
        assert_eq!(objects(manager)?, before + 3);
        list.repeat(3)?;
        let copy = list.copy()?;
        list.clear()?;
        assert_eq!(objects(manager)?, before + 4, "the copy holds them");
        drop(copy);
        assert_eq!(objects(manager)?, before + 1);
        let dict = manager.dict_from::<u8, ListProxy<u8>>([(1, make()?), (2, make()?)])?;
        dict.insert(1, make()?)?;
        dict.delete(2)?;
        assert_eq!(objects(manager)?, before + 3);
        let queue = manager.queue::<ListProxy<u8>>(0)?;
        queue.put_many([make()?, make()?])?;
        queue.get()?;
        queue.shutdown_now()?;
        assert_eq!(objects(manager)?, before + 4);
    }

    fn a_long_chain_is_freed(manager) {
        let before = objects(manager)?;
        let mut last = manager.list::<ListProxy<Value>>()?;
        for _ in 0..2_000 {
            let next = manager.list::<ListProxy<Value>>()?;
            next.append(last.cast())?;
            last = next;
        }
        assert_eq!(objects(manager)?, before + 2_001);
        drop(last);
        assert_eq!(objects(manager)?, before);
    }

    fn cycles_live_until_they_are_collected(manager) {
        let before = objects(manager)?;
        let (first, second) = (manager.list::<ListProxy<Value>>()?, manager.list::<ListProxy<Value>>()?);
        first.append(second.cast())?;
        second.append(first.cast())?;
        assert_eq!(manager.collect()?, 0, "they are still in use");
        drop((first, second));
        assert_eq!(objects(manager)?, before + 2);
        assert_eq!(manager.collect()?, 2);
        assert_eq!(objects(manager)?, before);
    }

    fn proxies_of_another_server_are_refused(manager) {
        let other = Manager::embedded()?;
        let foreign = other.list_from::<u8>([1])?;
        let lists = manager.list::<ListProxy<u8>>()?;
        let outcome = lists.append(&foreign);
        assert!(matches!(outcome, Err(Error::ForeignProxy(_))), "{outcome:?}");
        let outcome = lists.calls().append(&foreign).send();
        assert!(matches!(outcome, Err(Error::ForeignProxy(_))), "{outcome:?}");
        assert!(lists.is_empty()?);
        assert_eq!(foreign.to_vec()?, [1]);
    }

    fn no_other_format_takes_a_proxy(manager) {
        let list = manager.list::<u8>()?;
        let error = serde_json::to_string(&list).unwrap_err().to_string();
        assert!(error.contains("proxy"), "{error}");
        assert!(serde_json::from_str::<ListProxy<u8>>("[1, 2]").is_err());
    }

    fn equal_means_the_same_object(manager) {
        let (first, second) = (manager.list::<u8>()?, manager.list::<u8>()?);
        let set: std::collections::HashSet<_> = [first.clone(), second.clone(), first.clone()].into();
        assert_eq!(set.len(), 2);
        let lists = manager.list_from::<ListProxy<u8>>([&first, &second])?;
        assert_eq!((lists.index(&second)?, lists.get(0)?), (Some(1), first));
        let by_list = manager.dict::<ListProxy<u8>, String>()?;
        by_list.insert(&second, "second")?;
        assert_eq!(by_list.get(second)?.as_deref(), Some("second"));
    }

    fn proxies_are_used_by_any_thread(manager) {
        let inner = manager.list_from::<ListProxy<u32>>([manager.list::<u32>()?])?;
        crate::support::on_threads(4, |n| inner.get(0).unwrap().append(n as u32).unwrap());
        inner.get(0)?.sort()?;
        assert_eq!(inner.get(0)?.to_vec()?, [0, 1, 2, 3]);
    }

    fn modifying_a_value_with_proxies_keeps_them(manager) {
        let dict = manager.dict::<u8, Vec<ListProxy<u8>>>()?;
        dict.insert(1, Vec::new())?;
        dict.modify(1, |lists| lists.push(manager.list_from([7]).unwrap()))?;
        dict.modify(1, |lists| lists.push(lists[0].clone()))?;
        let lists = dict.get(1)?.expect("just inserted");
        assert_eq!((lists.len(), lists[1].to_vec()?), (2, vec![7]));
    }

    fn types_may_make_calls_while_they_are_written_and_read(manager) {
        CHATTY.with(|list| list.replace(Some(manager.list_from::<u8>([1]).unwrap())));
        let items = manager.list::<(Chatty, ListProxy<u8>)>()?;
        let inner = manager.list_from::<u8>([9])?;
        items.append((Chatty(0), inner.clone()))?;
        drop(inner);
        let (Chatty(seen), inner) = items.get(0)?;
        assert_eq!((seen, inner.to_vec()?), (2, vec![9]), "the length when it was written, and again when it was read");
        items.modify(0, |(_, inner)| inner.append(8).unwrap())?;
        assert_eq!(inner.to_vec()?, [9, 8]);
        CHATTY.with(|list| list.replace(None));
    }

    fn a_writer_that_panics_leaves_no_trace(manager) {
        let list = manager.list::<Explosive>()?;
        let inner = manager.list::<u8>()?;
        let before = objects(manager)?;
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| list.append(Explosive(inner.clone()))));
        assert!(outcome.is_err());
        assert!(serde_json::to_string(&inner).is_err(), "nothing is being encoded any more");
        inner.append(1)?;
        assert_eq!((list.len()?, objects(manager)?), (0, before));
    }

    fn a_thread_that_ends_gives_back_what_it_kept(manager) {
        let (lock, list) = (manager.lock()?, manager.list::<u8>()?);
        let before = manager.stats()?;
        std::thread::scope(|scope| {
            let keep = || {
                KEPT.with(|kept| kept.replace(Some((lock.acquire().unwrap(), list.copy().unwrap()))));
                list.append(1).unwrap();
            };
            scope.spawn(keep).join().unwrap();
        });
        assert!(!lock.locked()?);
        assert_eq!((objects(manager)?, list.len()?), (before.objects, 1));
    }
}

thread_local! {
    static KEPT: RefCell<Option<(LockGuard, ListProxy<u8>)>> = const { RefCell::new(None) };
    static CHATTY: RefCell<Option<ListProxy<u8>>> = const { RefCell::new(None) };
}

/// Asks a list for its length while it is written and while it is read.
#[derive(Debug)]
struct Chatty(u64);

impl Chatty {
    fn length() -> u64 {
        CHATTY.with_borrow(|list| list.as_ref().map_or(0, |list| list.len().unwrap()))
    }
}

impl Serialize for Chatty {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(Self::length())
    }
}

impl<'de> Deserialize<'de> for Chatty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = u64::deserialize(deserializer)?;
        Ok(Self(written + Self::length()))
    }
}

/// Its writer writes a proxy and panics.
#[derive(Debug, Deserialize)]
struct Explosive(ListProxy<u8>);

impl Serialize for Explosive {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let _ = self.0.serialize(serializer);
        panic!("boom")
    }
}

#[test]
fn proxies_are_what_they_promise_whatever_they_hold() {
    /// Neither of these can be shared between threads, cloned, compared or printed.
    struct Private(std::rc::Rc<std::cell::Cell<u8>>);
    fn promised<P>()
    where
        P: Clone + Send + Sync + Eq + std::hash::Hash + std::fmt::Debug + std::fmt::Display + Serialize,
        P: for<'de> Deserialize<'de>,
    {
    }
    promised::<ListProxy<Private>>();
    promised::<DictProxy<Private, Private>>();
    promised::<QueueProxy<Private>>();
    promised::<LockProxy>();
    assert_eq!(Private(std::rc::Rc::default()).0.get(), 0);
}

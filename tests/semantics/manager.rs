//! Managers: names, counters, the end.

use crate::support::until_waiting;
use byproxy::{Error, GetError, Manager};
use std::thread;

on_every_backend! {
    fn a_name_finds_the_same_object(manager) {
        let sold = manager.list_named::<String>("sold")?;
        sold.append("Ada")?;
        assert_eq!(manager.list_named::<String>("sold")?, sold);
        drop(sold);
        assert_eq!(manager.list_named::<String>("sold")?.to_vec()?, ["Ada"], "a name keeps its object alive");
        manager.dict_named::<u8, u8>("票")?;
        manager.queue_named::<u8>("jobs", 2)?;
        manager.lifo_queue_named::<u8>("stack", 0)?;
        manager.priority_queue_named::<u8>("urgent", 0)?;
        manager.lock_named("file")?;
        let names = manager.names()?;
        let names: Vec<_> = names.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
        let expected = [("file", "lock"), ("jobs", "queue"), ("sold", "list"), ("stack", "queue"), ("urgent", "queue"), ("票", "dict")];
        assert_eq!(names, expected);
        assert_eq!(manager.queue_named::<u8>("jobs", 9)?.maxsize()?, 2, "what is there keeps its bound");
        for (name, _) in names {
            assert!(manager.remove(name)?);
        }
        assert!(manager.names()?.is_empty() && !manager.remove("sold")?);
    }

    fn a_name_belongs_to_one_kind(manager) {
        let sold = manager.list_named::<u8>("sold")?;
        let outcome = manager.dict_named::<u8, u8>("sold");
        assert!(matches!(&outcome, Err(Error::NameTaken(message)) if message.contains("list")), "{outcome:?}");
        assert!(manager.lock_named("sold").is_err() && manager.queue_named::<u8>("sold", 0).is_err());
        manager.remove("sold")?;
        sold.append(1)?;
        drop(manager.dict_named::<u8, u8>("sold")?);
        manager.remove("sold")?;
    }

    fn names_have_bounds(manager) {
        assert!(manager.list_named::<u8>("").is_err());
        assert!(manager.list_named::<u8>(&"x".repeat(100_000)).is_err());
        assert!(manager.names()?.is_empty());
    }

    fn show_prints_a_named_object(manager) {
        manager.dict_named::<String, u8>("seats")?.insert("G101", 7)?;
        assert_eq!(manager.show("seats")?, "{'G101': 7}");
        assert!(matches!(manager.show("nothing"), Err(Error::NoSuchObject(_))));
        manager.remove("seats")?;
    }

    fn stats_count(manager) {
        let before = manager.stats()?;
        let list = manager.list_from::<String>(["a string that takes some room"; 100])?;
        let now = manager.stats()?;
        assert_eq!((now.objects, now.references), (before.objects + 1, before.references + 1));
        assert!(now.bytes > before.bytes + 2_000, "{now:?}");
        assert!(now.sessions >= 1 && now.waiters == 0);
        manager.ping()?;
        drop(list);
    }

    fn after_the_end_everything_is_gone(manager) {
        let list = manager.list_from::<u8>([1])?;
        let queue = manager.queue::<u8>(0)?;
        let lock = manager.lock()?;
        let guard = lock.acquire()?;
        thread::scope(|scope| {
            let getter = scope.spawn(|| queue.get());
            until_waiting(manager, 1);
            manager.shutdown()?;
            let outcome = getter.join().unwrap();
            assert!(matches!(outcome, Err(GetError::Other(Error::Gone(_)))), "{outcome:?}");
            Ok::<_, Error>(())
        })?;
        manager.shutdown()?;
        assert!(matches!(list.append(2), Err(Error::Gone(_))));
        assert!(matches!(manager.ping(), Err(Error::Gone(_))));
        assert!(matches!(manager.list::<u8>(), Err(Error::Gone(_))));
        assert!(matches!(guard.release(), Err(Error::Gone(_))));
        assert_eq!(list.to_string(), "<gone>");
        assert!(list.iter().next().is_some_and(|item| item.is_err()));
    }
}

#[test]
fn managers_in_one_process_do_not_meet() {
    let (first, second) = (Manager::embedded().unwrap(), Manager::embedded().unwrap());
    first.list_named::<u8>("sold").unwrap().append(1).unwrap();
    assert!(second.list_named::<u8>("sold").unwrap().is_empty().unwrap());
    drop(first);
    second.ping().unwrap();
}

#[test]
fn proxies_outlive_the_manager_of_an_embedded_engine() {
    let list = Manager::embedded().unwrap().list::<u8>().unwrap();
    list.append(1).unwrap();
    assert_eq!(list.to_vec().unwrap(), [1]);
}

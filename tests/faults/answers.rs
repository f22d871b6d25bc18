//! What fails between sending a call and reading its answer: the next call gets its own answer, and no item is lost.
//!
//! In Python an exception between send and receive leaves the answer in the pipe for the next call.

use crate::watchdog::Watchdog;
use byproxy::{DictProxy, Error, GetError, Manager};
use serde::{Deserialize, Deserializer};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A number that refuses to be read: by a panic if it is odd, by an error if it is even.
#[derive(Debug)]
struct Unreadable;

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        assert!(number % 2 == 0, "{number} is odd");
        Err(serde::de::Error::custom("even is no better"))
    }
}

impl serde::Serialize for Unreadable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("nor can it be written");
    }
}

/// Both backends: a server behind a socket, and an engine in this process.
fn managers(transport: crate::transport::Transport) -> [Manager; 2] {
    [transport.start(), Manager::embedded().unwrap()]
}

on_each_transport! {
    fn a_panic_while_an_item_is_read_puts_it_back(transport) {
        let _watchdog = Watchdog::new();
        for manager in managers(transport) {
            let queue = manager.queue_named::<u64>("numbers", 0).unwrap();
            let unreadable = manager.queue_named::<Unreadable>("numbers", 0).unwrap();
            queue.put_many([1, 2, 3]).unwrap();
            for _ in 0..3 {
                assert!(catch_unwind(AssertUnwindSafe(|| unreadable.get())).is_err());
            }
            let audit = queue.audit().unwrap();
            assert_eq!((audit.committed, audit.in_flight, audit.waiting), (0, 0, 3));
            let got: Vec<u64> = (0..3).map(|_| queue.get().unwrap()).collect();
            assert_eq!(
                got,
                [1, 2, 3],
                "each call gets its own answer, and the item is where it was"
            );
        }
    }
}

on_each_transport! {
    fn an_item_of_the_wrong_type_comes_back_in_the_error(transport) {
        let _watchdog = Watchdog::new();
        for manager in managers(transport) {
            let queue = manager.queue_named::<u64>("numbers", 0).unwrap();
            let unreadable = manager.queue_named::<Unreadable>("numbers", 0).unwrap();
            queue.put_many([2, 3]).unwrap();
            let Err(GetError::Other(Error::WrongType(wrong))) = unreadable.get() else {
                panic!("it can't be read")
            };
            assert_eq!(wrong.returned().decode::<u64>().unwrap(), 2);
            assert_eq!(queue.get().unwrap(), 3);
        }
    }
}

on_each_transport! {
    fn a_panic_while_an_answer_is_read_leaves_the_next_one_alone(transport) {
        let _watchdog = Watchdog::new();
        for manager in managers(transport) {
            let dict = manager.dict_named::<String, u64>("numbers").unwrap();
            let unreadable = manager.dict_named::<String, Unreadable>("numbers").unwrap();
            dict.insert("odd", 1).unwrap();
            dict.insert("even", 2).unwrap();
            for _ in 0..20 {
                assert!(catch_unwind(AssertUnwindSafe(|| unreadable.get("odd"))).is_err());
                assert_eq!(dict.get("even").unwrap(), Some(2));
                assert!(unreadable.get("even").is_err());
                assert_eq!(dict.get("odd").unwrap(), Some(1));
            }
        }
    }
}

on_each_transport! {
    fn a_panic_while_an_argument_is_written_sends_nothing(transport) {
        let _watchdog = Watchdog::new();
        for manager in managers(transport) {
            let list = manager.list_named::<u64>("numbers").unwrap();
            let unwritable = manager.list_named::<Unreadable>("numbers").unwrap();
            list.append(1).unwrap();
            assert!(catch_unwind(AssertUnwindSafe(|| unwritable.append(Unreadable))).is_err());
            assert_eq!(list.to_vec().unwrap(), [1]);
        }
    }
}

on_each_transport! {
    fn a_panic_inside_modify_changes_nothing(transport) {
        let _watchdog = Watchdog::new();
        for manager in managers(transport) {
            let dict: DictProxy<String, u64> = manager.dict_from([("seats", 7)]).unwrap();
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                dict.modify("seats", |seats| {
                    *seats = 0;
                    panic!("in the middle of it");
                })
            }));
            assert!(panicked.is_err());
            assert_eq!(dict.get("seats").unwrap(), Some(7));
        }
    }
}

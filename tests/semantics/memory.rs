//! Shared memory in managed containers and under names.
//!
//! Everything but what the manager itself does is the business of `tests/shm`.

use crate::support::{Outcome, check, embedded, memory, process, ring, unix};
use byproxy::shm::{Array, Lock, RawArray, RawValue, Value};
use byproxy::{Error, ListProxy, Manager, Process, QueueProxy};
use byproxy_proto::fault::FaultCode;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Declares tests that run with every backend that can carry descriptors; `across` only with those that other processes can reach.
macro_rules! where_descriptors_travel {
    (@embedded across $run:ident) => {};
    (@embedded here $run:ident) => {
        #[test]
        fn embedded() {
            check(super::embedded, $run);
        }
    };
    ($( $(#[$meta:meta])* $reach:ident fn $name:ident($manager:ident) $body:block )*) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;

            fn run($manager: &Manager) -> Outcome {
                $body
                Ok(())
            }

            where_descriptors_travel!(@embedded $reach run);

            #[test]
            fn unix() {
                check(super::unix, run);
            }

            #[test]
            fn ring() {
                check(super::ring, run);
            }

            #[test]
            fn process() {
                check(super::process, run);
            }
        }
    )*};
}

#[derive(Clone, Serialize, Deserialize)]
struct Depot {
    name: String,
    seats: Vec<Value<u32>>,
    grid: Array<f64>,
    raw: (RawValue<i8>, RawArray<u16>),
    lock: Option<Lock>,
}

impl Depot {
    fn new() -> byproxy::Result<Self> {
        Ok(Self {
            name: "north".to_owned(),
            seats: vec![Value::new(10)?, Value::new(20)?],
            grid: Array::new(&[0.5; 2000])?,
            raw: (RawValue::new(-1)?, RawArray::new(&[1, 2, 3])?),
            lock: Some(Lock::new()?),
        })
    }

    /// Changes everything in it by one.
    fn change(&self) -> byproxy::Result<()> {
        let _guard = self.lock.as_ref().expect("it was put there").acquire();
        for seat in &self.seats {
            seat.fetch_sub(1)?;
        }
        self.grid.set(-1, self.grid.get(-1)? + 1.0)?;
        self.raw.0.set(self.raw.0.get() + 1);
        self.raw.1.set(0, self.raw.1.get(0)? + 1)
    }

    fn changed(&self) -> byproxy::Result<(u32, u32, f64, i8, u16)> {
        let seats = (self.seats[0].get(), self.seats[1].get());
        Ok((
            seats.0,
            seats.1,
            self.grid.get(1999)?,
            self.raw.0.get(),
            self.raw.1.get(0)?,
        ))
    }
}

/// Connects by itself, takes a depot out of each container and changes it.
fn visit(address: String) -> byproxy::Result<()> {
    let manager = Manager::connect(&address)?;
    manager.list_named::<Depot>("list")?.get(0)?.change()?;
    let dict = manager.dict_named::<String, Depot>("dict")?;
    dict.get("north")?.expect("it was put there").change()?;
    manager.queue_named::<Depot>("queue", 0)?.get()?.change()
}

/// Makes what the others look for, and is gone.
fn make(address: String) -> byproxy::Result<()> {
    let manager = Manager::connect(&address)?;
    let values = manager.list_named::<Value<u64>>("values")?;
    for number in 0..100 {
        values.append(manager.value(number)?)?;
    }
    manager.value_named("hits", 7_u64)?;
    manager.array_named("grid", &[1_u16, 2, 3])?;
    Ok(())
}

/// Counts under a name.
fn count(address: String, ready: QueueProxy<()>) -> byproxy::Result<()> {
    let manager = Manager::connect(&address)?;
    ready.get()?;
    let hits = manager.value_named("hits", 0_u64)?;
    for _ in 0..1000 {
        hits.fetch_add(1)?;
    }
    Ok(())
}

fn address(manager: &Manager) -> String {
    manager.address().expect("other processes can reach it").to_string()
}

where_descriptors_travel! {
    here fn what_is_put_in_is_what_comes_out(manager) {
        let depot = Depot::new()?;
        let list = manager.list::<Depot>()?;
        list.append(&depot)?;
        list.get(0)?.change()?;
        let dict = manager.dict::<String, Depot>()?;
        dict.insert("north", &depot)?;
        dict.pop("north")?.expect("it was put there").change()?;
        let queue = manager.queue::<Depot>(0)?;
        queue.put_many([depot.clone(), list.pop()?.expect("it is still there")])?;
        for taken in queue.get_many(2)? {
            taken.change()?;
        }
        assert_eq!(depot.changed()?, (6, 16, 4.5, 3, 5));
        let hits = manager.value(0_u32)?;
        let same = manager.list_from([&hits, &hits])?;
        assert!(same.contains(&hits)? && same.index(&hits)? == Some(0), "the same place is the same value");
        assert!(!same.contains(manager.value(0_u32)?)?, "another place is another value, whatever stands there");
    }

    here fn an_object_goes_with_the_last_that_leads_to_it(manager) {
        let before = manager.stats()?.objects;
        let outer = manager.list::<ListProxy<Value<u8>>>()?;
        // Nothing else of this size lies in the same memory.
        let large = manager.array(&[0_u8; 10_000])?;
        let inner = manager.list::<Array<u8>>()?;
        inner.extend([&large, &large, &large])?;
        assert_eq!(manager.stats()?.objects, before + 3, "two lists, and one piece of memory");
        outer.append(inner.cast::<Value<u8>>())?;
        let taken = inner.pop()?.expect("there are three");
        drop((inner, large));
        taken.set(0, 9)?;
        assert_eq!(manager.stats()?.objects, before + 3, "held by the list in the list");
        outer.clear()?;
        drop(outer);
        assert_eq!(taken.get(0)?, 9, "mapped memory needs no object");
        let again = manager.list_from::<Array<u8>>([&taken])?;
        assert_eq!(again.get(0)?.get(0)?, 9, "and can be put in once more");
    }

    here fn a_name_leads_to_the_same_memory(manager) {
        let hits = manager.value_named("hits", 5_u64)?;
        hits.fetch_add(1)?;
        assert_eq!(manager.value_named("hits", 0_u64)?.get(), 6);
        let grid = manager.array_named("grid", &[1_i32, 2, 3])?;
        manager.array_named("grid", &[0_i32])?.set(2, 30)?;
        assert_eq!(grid.to_vec(), [1, 2, 30]);
        let expected = [("grid", "memory"), ("hits", "memory")].map(|(name, kind)| (name.to_owned(), kind.to_owned()));
        assert_eq!(manager.names()?, expected);
        assert_eq!(manager.show("hits")?, "<shared memory: shm::Value<u64>>");
        assert_eq!(manager.show("grid")?, "<shared memory: shm::Array<i32>>");
        drop((hits, grid));
        assert_eq!(manager.value_named("hits", 0_u64)?.get(), 6, "the name holds it");
        assert!(manager.remove("hits")?);
        assert_eq!(manager.value_named("hits", 0_u64)?.get(), 0, "another one");
        assert!(manager.remove("hits")? && manager.remove("grid")?);
    }

    here fn a_wrong_type_is_a_typed_error(manager) {
        manager.value_named("hits", 5_u64)?;
        let wrong = manager.value_named("hits", 0.5);
        let Err(Error::WrongType(wrong)) = wrong else { panic!("an integer is no float: {wrong:?}") };
        assert!(wrong.to_string().contains("expected shm::Value<f64>, found shm::Value<u64>"), "{wrong}");
        assert!(matches!(manager.array_named("hits", &[0_u64]), Err(Error::WrongType(_))), "a value is no array");
        assert!(matches!(manager.list_named::<u8>("hits"), Err(Error::NameTaken(_))));
        manager.list_named::<u8>("list")?;
        assert!(matches!(manager.value_named("list", 0), Err(Error::NameTaken(_))));
        for name in ["", &"x".repeat(256)] {
            let refused = manager.value_named(name, 0);
            assert!(matches!(&refused, Err(Error::Fault(fault)) if fault.code == FaultCode::BadArgument), "{refused:?}");
        }
        assert!(manager.remove("hits")? && manager.remove("list")?);

        let values = manager.list_from([manager.value(5_u64)?])?;
        assert!(matches!(values.cast::<Value<i64>>().get(0), Err(Error::WrongType(_))));
        let Err(Error::WrongType(wrong)) = values.cast::<u64>().pop() else { panic!("memory is no number") };
        assert_eq!(wrong.returned().decode::<Value<u64>>()?.get(), 5, "nothing is lost");
    }

    here fn a_handle_can_be_read_with_what_stands_around_it(manager) {
        // Whoever does not know the type still sees what there is, and holds it.
        let values = manager.list_from([manager.value(5_u8)?])?;
        let any: byproxy::Value = values.cast::<byproxy::Value>().pop()?.expect("one is there");
        assert!(any.to_string().contains("'what': 'shm::Value<u8>'"), "{any}");
    }

    here fn what_is_kept_counts_as_bytes_of_the_server(manager) {
        let lists = manager.list::<RawArray<u8>>()?;
        let before = manager.stats()?.bytes;
        lists.append(RawArray::new(&vec![0; 1 << 20])?)?;
        let with = manager.stats()?.bytes - before;
        assert!((1 << 20..2 << 20).contains(&with), "{with} bytes are charged");
        lists.clear()?;
        let late = Instant::now() + Duration::from_secs(30);
        while manager.stats()?.bytes > before {
            assert!(Instant::now() < late, "they are charged for ever");
        }
    }

    across fn unrelated_processes_share_what_stands_in_containers(manager) {
        let depots = [Depot::new()?, Depot::new()?, Depot::new()?];
        manager.list_named::<Depot>("list")?.append(&depots[0])?;
        manager.dict_named::<String, Depot>("dict")?.insert("north", &depots[1])?;
        manager.queue_named::<Depot>("queue", 0)?.put(&depots[2])?;
        Process::spawn(visit, (address(manager),))?.join()?;
        for depot in &depots {
            assert_eq!(depot.changed()?, (9, 19, 1.5, 0, 2));
        }
        for name in ["list", "dict", "queue"] {
            assert!(manager.remove(name)?);
        }
    }

    across fn memory_outlives_its_maker(manager) {
        Process::spawn(make, (address(manager),))?.join()?;
        let values = manager.list_named::<Value<u64>>("values")?;
        let all: Vec<_> = values.to_vec()?;
        assert!(all.iter().zip(0..).all(|(value, number)| value.get() == number));
        assert_eq!(manager.value_named("hits", 0_u64)?.get(), 7);
        assert_eq!(manager.array_named("grid", &[0_u16])?.to_vec(), [1, 2, 3]);
        for name in ["values", "hits", "grid"] {
            assert!(manager.remove(name)?);
        }
    }

    across fn processes_that_come_at_once_find_one_value(manager) {
        let ready = manager.queue::<()>(0)?;
        let counters = (0..4).map(|_| Process::spawn(count, (address(manager), &ready)));
        let counters: Vec<_> = counters.collect::<Result<_, _>>()?;
        ready.put_many([(); 4])?;
        for counter in counters {
            counter.join()?;
        }
        assert_eq!(manager.value_named("hits", 0_u64)?.get(), 4000);
        assert!(manager.remove("hits")?);
    }
}

#[test]
fn a_server_without_sockets_refuses_with_a_reason() {
    check(memory, |manager| {
        let refused = |error: &Error| matches!(error, Error::Fault(fault) if fault.code == FaultCode::Unsupported);
        assert!(manager.value(0).is_err_and(|error| refused(&error)));
        assert!(manager.array(&[0]).is_err_and(|error| refused(&error)));
        assert!(manager.value_named("hits", 0).is_err_and(|error| refused(&error)));
        let list = manager.list::<Value<u32>>()?;
        let error = list.append(Value::new(1)?).expect_err("it can't go there");
        assert!(refused(&error) && error.to_string().contains("no socket"), "{error}");
        assert!(list.is_empty()?);
        Ok(())
    });
}

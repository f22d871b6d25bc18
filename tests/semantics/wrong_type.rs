//! A value of another type than asked for comes back, and never vanishes.

use byproxy::{DictProxy, Error, GetError, ListProxy, Returned, Value, WrongType};
use serde::{Deserialize, Deserializer, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Ticket {
    train: String,
    seats: Vec<u8>,
}

/// Its reader panics, as a user's may.
#[derive(Debug, Serialize)]
struct Explosive;

impl<'de> Deserialize<'de> for Explosive {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("boom")
    }
}

fn returned(error: Error) -> Returned {
    match error {
        Error::WrongType(wrong) => WrongType::into_returned(*wrong),
        other => panic!("not a wrong type: {other}"),
    }
}

on_every_backend! {
    fn a_list_gives_a_removed_item_back(manager) {
        let names = manager.list_from::<String>(["Ada", "Grace"])?;
        let numbers = names.cast::<u32>();
        let back = returned(numbers.pop().unwrap_err());
        assert_eq!((back.decode::<String>()?, back.to_string()), ("Grace".to_owned(), "'Grace'".to_owned()));
        assert_eq!(*back, Value::from("Grace"));
        let back = returned(numbers.pop_at(0).unwrap_err());
        assert_eq!(back.into_value(), Value::from("Ada"));
        assert!(numbers.is_empty()?);
    }

    fn a_dict_gives_a_removed_or_replaced_value_back(manager) {
        let names = manager.dict_from::<u8, String>([(1, "Ada"), (2, "Grace"), (3, "Alan")])?;
        let numbers = names.cast::<u8, u32>();
        assert_eq!(returned(numbers.pop(1).unwrap_err()).decode::<String>()?, "Ada");
        assert_eq!(returned(numbers.popitem().unwrap_err()).decode::<(u8, String)>()?, (3, "Alan".to_owned()));
        assert_eq!(returned(numbers.insert(2, 7).unwrap_err()).decode::<String>()?, "Grace");
        assert_eq!(numbers.items()?, [(2, 7)]);
    }

    fn what_is_no_integer_comes_back_from_an_addition(manager) {
        let list = manager.list_from::<Value>([Value::from("Ada"), Value::from(u128::MAX)])?;
        assert_eq!(returned(list.cast::<u32>().fetch_add(0, 1).unwrap_err()).decode::<String>()?, "Ada");
        let names = manager.dict_from::<u8, String>([(1, "Ada")])?;
        assert_eq!(returned(names.cast::<u8, u32>().fetch_add(1, 1).unwrap_err()).decode::<String>()?, "Ada");
        assert_eq!(names.get(1)?.as_deref(), Some("Ada"));
        let Err(Error::Overflow(message)) = list.cast::<u64>().fetch_add(1, 1) else { panic!("it is an integer") };
        assert!(message.contains("too large to be added to"), "{message}");
    }

    fn a_queue_gives_a_taken_item_back(manager) {
        let names = manager.queue::<String>(0)?;
        let numbers = names.cast::<u32>();
        names.put_many(["a", "b", "c", "d"])?;
        let Err(GetError::Other(error)) = numbers.get() else { panic!("a name is no number") };
        assert_eq!(returned(error).decode::<String>()?, "a");
        let Err(GetError::Other(error)) = numbers.get_many(2) else { panic!("names are no numbers") };
        assert_eq!(returned(error).decode::<Vec<String>>()?, ["b", "c"]);
        // What was taken is confirmed without waiting, on another connection than that of the next call.
        let mut books = names.audit()?;
        for _ in 0..1_000 {
            if books.in_flight == 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
            books = names.audit()?;
        }
        assert_eq!((books.committed, books.in_flight, books.waiting), (3, 0, 1));
        let Err(GetError::Other(error)) = numbers.receive() else { panic!("a name is no number") };
        assert_eq!(returned(error).decode::<String>()?, "d");
        assert_eq!(names.get()?, "d", "what was only lent is in the queue again");
    }

    fn what_a_panicking_reader_got_is_in_the_queue_again(manager) {
        let queue = manager.queue::<Explosive>(0)?;
        queue.put(Explosive)?;
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| queue.get()));
        assert!(outcome.is_err());
        assert_eq!((queue.qsize()?, queue.audit()?.committed), (1, 0));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| queue.receive().map(|_| ())));
        assert!(outcome.is_err());
        assert_eq!(queue.qsize()?, 1);
        queue.shutdown_now()?;
    }

    fn the_error_says_where(manager) {
        let tickets = manager.list_from::<Value>([Value::of(&("G101", [1, 300]))?])?;
        let typed = tickets.cast::<(String, Vec<u8>)>();
        let message = typed.get(0).unwrap_err().to_string();
        assert!(message.contains("expected u8") && message.contains("[1][1]") && message.contains("300"), "{message}");
        let ticket = manager.list_from::<Value>([Value::from([("train", Value::from(7))])])?;
        let typed = ticket.cast::<Ticket>();
        let message = typed.get(0).unwrap_err().to_string();
        assert!(message.contains(".train"), "{message}");
    }

    fn a_value_that_is_still_of_another_type_stays(manager) {
        let names = manager.list_from::<String>(["Ada"])?;
        let numbers = names.cast::<u32>();
        let back = returned(numbers.pop().unwrap_err());
        let again = returned(back.decode::<bool>().unwrap_err());
        assert_eq!(again.decode::<String>()?, "Ada");
        assert_eq!(back.decode::<String>()?, "Ada");
    }

    fn optional_values_come_back_without_the_option(manager) {
        let nested = manager.dict_from::<u8, Option<Option<u8>>>([(1, Some(None))])?;
        let typed = nested.cast::<u8, u8>();
        assert_eq!(returned(typed.pop(1).unwrap_err()).decode::<Option<Option<u8>>>()?, Some(None));
    }

    fn a_proxy_of_another_kind_is_a_wrong_type(manager) {
        let lists = manager.list_from::<ListProxy<u8>>([manager.list::<u8>()?])?;
        let typed = lists.cast::<DictProxy<u8, u8>>();
        let error = typed.pop().unwrap_err();
        assert!(error.to_string().contains("dict"), "{error}");
        let list = returned(error).decode::<ListProxy<u8>>()?;
        list.append(1)?;
        assert_eq!(list.to_vec()?, [1]);
    }

    fn adding_to_what_is_no_integer_is_refused(manager) {
        let names = manager.dict_from::<u8, String>([(1, "Ada")])?;
        let numbers = names.cast::<u8, u32>();
        assert!(numbers.fetch_add(1, 1).is_err());
        assert_eq!(names.get(1)?.as_deref(), Some("Ada"));
        let big = manager.dict_from::<u8, u64>([(1, 1000)])?;
        let small = big.cast::<u8, u8>();
        assert!(small.fetch_add(1, 1).is_err(), "the sum is no u8");
        assert_eq!(big.get(1)?, Some(1000));
    }
}

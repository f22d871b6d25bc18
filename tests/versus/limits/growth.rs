//! The limit of growth: Rust's own collections in one process, with no call around them. What they cost more when they are large is the
//! memory's doing.

use crate::Result;
use crate::client::{Step, Work};
use crate::ours::growth::scattered;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, Mutex, PoisonError};

/// One access to so many items, keys or objects, as the step of the same work.
pub(crate) fn step(work: Work, size: u64) -> Result<Step> {
    match work {
        Work::GrowList => Ok(list(size)),
        Work::GrowDict => Ok(dict(size)),
        Work::GrowObjects => Ok(objects(size)),
        other => Err(format!("{} does not grow", other.name()).into()),
    }
}

fn list(size: u64) -> Step {
    // As large as the cells of a managed list.
    let mut list: Vec<u128> = (0..u128::from(size)).collect();
    Box::new(move |i| {
        let index = usize::try_from(scattered(i) % size)?;
        let item = list.get_mut(index).ok_or("no such item")?;
        if i % 2 == 0 {
            black_box(*item);
        } else {
            *item = i.into();
        }
        Ok(())
    })
}

fn dict(size: u64) -> Step {
    let mut dict: HashMap<u64, u64> = (0..size).map(|key| (key, key)).collect();
    Box::new(move |i| {
        let key = scattered(i) % size;
        if i % 2 == 0 {
            black_box(dict.get(&key));
        } else {
            black_box(dict.insert(key, i));
        }
        Ok(())
    })
}

/// Lists behind locks, found by their number.
fn objects(size: u64) -> Step {
    let lists: HashMap<u64, Arc<Mutex<Vec<u64>>>> = (0..size).map(|object| (object, Arc::default())).collect();
    Box::new(move |i| {
        let list = lists.get(&(scattered(i) % size)).ok_or("no such list")?;
        black_box(list.lock().unwrap_or_else(PoisonError::into_inner).len());
        Ok(())
    })
}

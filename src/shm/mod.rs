//! Direct objects: values, arrays and locks in memory that processes share, without a server between them.
//!
//! [`Value`], [`Array`], [`RawValue`], [`RawArray`] and [`Lock`] live in memory that every process which has a handle maps. Reading a value is a
//! load, taking a free lock one instruction that writes. A handle travels as an argument of [`Process::spawn`](crate::Process::spawn),
//! and in the containers of a [`Manager`](crate::Manager): whoever takes it out has the same memory, though its maker may be dead, for the
//! server keeps it. In the file system the memory has no name: nothing is left of it when the last process that maps it ends, however it
//! ends, and no container of a server leads to it.
//!
//! | Python | here |
//! |---|---|
//! | `Value('i', 0)`, `v.value`, `v.get_lock()` | [`Value::new(0)`](Value::new), [`get`](Value::get) and [`set`](Value::set), [`lock`](Value::lock) |
//! | `Array('d', [1, 2])`, `a[0]`, `a[:]`, `a[1:3]` | [`Array::new(&[1.0, 2.0])`](Array::new), [`get`](Array::get), [`to_vec`](Array::to_vec), [`slice`](Array::slice) |
//! | `RawValue('i', 0)`, `RawArray('d', 4)` | [`RawValue::new(0)`](RawValue::new), [`RawArray::new(&[0.0; 4])`](RawArray::new) |
//! | `Lock()`, `with lock:` | [`Lock::new()`](Lock::new), [`acquire`](Lock::acquire) |
//!
//! # What holds when a process is killed
//!
//! At whatever instruction: another process that waits for a lock has it within 150 ms and is told that its holder died; a value is the old
//! or the new one. In Python such a lock is taken for ever.
//!
//! | word | states | commit |
//! |---|---|---|
//! | lock word | free, held by a named process (with sleepers or without), ownerless; a death of a holder is untold or not: `mutex.rs` | the compare-and-exchange that names the holder |
//! | value up to 8 bytes | the value | the store of the value; of an addition the instruction that proves the lock free: `pair.rs` |
//! | index word of a larger value | even: slot 0 is the value, odd: slot 1 | the store of the index: `slots.rs` |
//! | tokens of a lock | how often it was taken | a store by the new holder: `tokens.rs` |
//! | untold word of an array | not zero: a death was seen by a call without a guard; the next guard tells and clears it | either store, by the holder: `array.rs` |
//!
//! A death is proved, by process id and start time, never assumed from time that passed: a process that is stopped keeps its lock.
//!
//! # What holds when a process misbehaves
//!
//! Every process that has a handle can write anything anywhere in the memory, but can't make it smaller. Whatever it writes, safe calls of
//! others neither crash nor read what is no value of its type, and a call with a timeout returns when that has passed. That values
//! mean something, and that a lock is ever free, is up to those who share it.
//!
//! # Forks
//!
//! A process forked from one that has handles, without this library's doing, may use them as long as that one keeps them: it is a participant
//! of its own, and the guards of its parent hold nothing in it. It may make objects and connect, whatever other threads of its parent were
//! doing when it was forked.
#![expect(
    unsafe_code,
    reason = "mapped memory: each block is one operation and says what it rests on"
)]

mod array;
mod cell;
mod element;
mod futex;
mod index;
mod lock;
#[cfg(test)]
mod models;
mod mutex;
mod owner;
mod pair;
mod pool;
mod raw;
pub(crate) mod ring;
mod segment;
mod slots;
mod tokens;
mod travel;
mod value;
mod word;

use std::any::type_name;
use std::io;

pub use array::{Array, ArrayGuard};
#[doc(hidden)]
pub use element::admit_field;
pub use element::{Element, Number};
pub use lock::{Lock, LockGuard};
pub use raw::{RawArray, RawValue};
pub use value::{Value, ValueGuard};

use crate::error::{Error, Result};

/// What was made in shared memory, or why the system refused.
fn made<T>(outcome: io::Result<T>) -> Result<T> {
    outcome.map_err(|source| Error::Io {
        context: "can't make shared memory",
        source,
    })
}

#[cold]
fn overflow<T>() -> Error {
    Error::Overflow(format!(
        "the result leaves the bounds of {}: nothing was changed; use a larger type",
        type_name::<T>()
    ))
}

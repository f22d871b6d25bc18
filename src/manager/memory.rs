//! Values and arrays in shared memory, made and found through a manager.
//!
//! What is handed out is mapped into this process: the server keeps its descriptor, and is asked for nothing else. A name is that of an
//! object whose note says what lies there, as an argument of `Process::spawn` would.

use super::Manager;
use crate::codec;
use crate::descriptors;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::references;
use crate::shm;
use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::op::Operation;
use byproxy_proto::value::{Kind, Limits, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::os::fd::AsFd as _;

impl Manager {
    /// Makes a value in shared memory, which processes that get it from an object of this manager map as well.
    ///
    /// It is a [`shm::Value`]: reading it is a load, and the server takes no part in it. Put it in a list, a dict or a queue, and whoever takes
    /// it out has the same value, also after this process has died; the server keeps the memory as long as an object holds it. What holds when
    /// a process is killed is said in [`shm`].
    ///
    /// Local; storing the first value of a piece of memory takes one round trip more, and so does the first that is taken out.
    /// Python: `manager.Value('i', 0)`
    ///
    /// # Errors
    /// [`Error::Gone`] if the server has ended; [`Error::Io`] if the system has no memory.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::{Manager, shm};
    ///
    /// let manager = Manager::embedded()?;
    /// let hits = manager.value(0_u64)?;
    /// let counters = manager.dict_from::<String, shm::Value<u64>>([("hits", &hits)])?;
    /// let same = counters.get("hits")?.expect("it was just put there");
    /// same.fetch_add(1)?;
    /// assert_eq!(hits.get(), 1);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn value<T: shm::Element>(&self, initial: T) -> Result<shm::Value<T>> {
        self.inner.backend.carries_descriptors()?;
        shm::Value::new(initial)
    }

    /// Makes an array of these elements in shared memory: for all else as [`value`](Self::value).
    ///
    /// Local, as [`value`](Self::value). Python: `manager.Array('d', [0.0, 0.0])`
    ///
    /// # Errors
    /// [`Error::Gone`] if the server has ended; [`Error::Io`] if the system has no memory.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::{Manager, shm};
    ///
    /// let manager = Manager::embedded()?;
    /// let grids = manager.queue::<shm::Array<f64>>(0)?;
    /// grids.put(manager.array(&[0.5; 100])?)?;
    /// assert_eq!(grids.get()?.get(99)?, 0.5);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn array<T: shm::Element>(&self, items: &[T]) -> Result<shm::Array<T>> {
        self.inner.backend.carries_descriptors()?;
        shm::Array::new(items)
    }

    /// Finds the value in shared memory that has this name, or makes it.
    ///
    /// Every process that is connected to the server finds the same one, and reads it without a round trip. One that is there keeps its
    /// content. It lives until its name is [removed](Manager::remove) and no process has it any more, whoever dies meanwhile.
    ///
    /// Two round trips. Python: `register("name", callable=…)`
    ///
    /// # Errors
    /// [`Error::NameTaken`] if the name is that of something other than shared memory; [`Error::WrongType`] if what has it is no value, or
    /// one of another type.
    ///
    /// # Examples
    ///
    /// ```
    /// use byproxy::{Error, Manager};
    ///
    /// let manager = Manager::embedded()?;
    /// manager.value_named("hits", 0_u64)?.fetch_add(1)?;
    /// assert_eq!(manager.value_named("hits", 0_u64)?.get(), 1);
    /// assert!(matches!(manager.value_named("hits", 0.0), Err(Error::WrongType(_))));
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn value_named<T: shm::Element>(&self, name: &str, initial: T) -> Result<shm::Value<T>> {
        self.find_or_share(name, || shm::Value::new(initial))
    }

    /// Finds the array in shared memory that has this name, or makes it of these elements. One that is there keeps its length and its content.
    ///
    /// Two round trips. Otherwise as [`value_named`](Self::value_named). Python: `register("name", callable=…)`
    ///
    /// # Errors
    /// [`Error::NameTaken`] if the name is that of something other than shared memory; [`Error::WrongType`] if what has it is no array, or
    /// one of other elements.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = byproxy::Manager::embedded()?;
    /// manager.array_named("grid", &[0.0; 100])?.set(7, 0.5)?;
    /// assert_eq!(manager.array_named("grid", &[0.0])?.get(7)?, 0.5);
    /// # Ok::<(), byproxy::Error>(())
    /// ```
    pub fn array_named<T: shm::Element>(&self, name: &str, items: &[T]) -> Result<shm::Array<T>> {
        self.find_or_share(name, || shm::Array::new(items))
    }

    fn find_or_share<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let backend = &self.inner.backend;
        backend.carries_descriptors()?;
        if name.is_empty() {
            // As a part of the request it would stand for no name.
            let message = "a name must have at least one byte";
            return Err(Error::Fault(Fault::new(FaultCode::BadArgument, message).into()));
        }
        // The answer holds a reference until the descriptor is here.
        let opened = self.ask(Operation::Open, &(name,), codec::any)?;
        if let Value::Proxy(token) = *opened {
            if token.kind != Kind::MEMORY {
                let message = format!(
                    "the name `{name}` belongs to a {}, and not to shared memory: choose another name, or remove this one first",
                    token.kind
                );
                return Err(Error::NameTaken(message));
            }
            return self.fetch(token.object);
        }
        let fresh = make()?;
        let mut note = Vec::new();
        let write = || references::encode_for_process(&fresh, &mut note, &Limits::DEFAULT);
        let (written, came) = descriptors::collect(write);
        written?;
        let [descriptor] = came.as_slice() else {
            return Err(Error::Misuse("what has a name lies in one piece of memory".to_owned()));
        };
        let shared = backend.share(Some(name), &note, descriptor.as_fd())?;
        // The name holds the object from here on.
        let _held = Handle::own(backend.clone(), shared.object, Kind::MEMORY);
        if shared.made {
            return Ok(fresh);
        }
        // Somebody else was first.
        self.fetch(shared.object)
    }

    fn fetch<T: DeserializeOwned>(&self, object: u64) -> Result<T> {
        let backend = &self.inner.backend;
        let (descriptor, note) = backend.fetch(object)?;
        let _held = Handle::own(backend.clone(), object, Kind::MEMORY);
        Ok(descriptors::offer(vec![descriptor], || codec::value(&note))?)
    }
}

//! A server for clients of the same process, for tests: the driver without sockets.
//!
//! Connections are driven by the threads of their clients; one worker thread waits for the timer.

use std::io;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::Limits;
use super::connection::{Connection, Source};
use super::driver::{Driver, Scratch};
use super::worker::Worker;
use crate::engine::{Engine, Settings};
use crate::transport::Wire;
use crate::transport::memory::{End, Host};

/// A server inside this process. Dropping it ends every session, as the death of a server process would.
#[derive(Debug)]
pub(crate) struct MemoryServer {
    host: Arc<MemoryHost>,
    worker: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct MemoryHost {
    driver: Arc<Driver>,
    connections: Mutex<HashMap<u64, Weak<Connection>>>,
    /// Buffers of threads that are not in a visit.
    scratch: Mutex<Vec<Scratch>>,
}

impl MemoryServer {
    /// Starts one.
    pub(crate) fn start(settings: Settings, limits: Limits) -> io::Result<Self> {
        let driver = Driver::start(Engine::new(super::random_number()?, settings), limits, 1)?;
        let worker = Worker::new(&driver, 0, None)?;
        let thread = std::thread::Builder::new()
            .name("byproxy-memory".to_owned())
            .spawn(move || {
                let _ = worker.run();
            })?;
        let host = Arc::new(MemoryHost {
            driver,
            connections: Mutex::default(),
            scratch: Mutex::default(),
        });
        Ok(Self {
            host,
            worker: Some(thread),
        })
    }

    #[cfg(test)]
    pub(super) fn driver(&self) -> &Driver {
        &self.host.driver
    }

    /// What a client connects to.
    pub(crate) fn host(&self) -> Arc<dyn Host> {
        Arc::clone(&self.host) as Arc<dyn Host>
    }
}

impl Drop for MemoryServer {
    fn drop(&mut self) {
        self.host.driver.stop();
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
        let connections: Vec<_> = self
            .host
            .connections
            .lock()
            .drain()
            .filter_map(|(_, found)| Weak::upgrade(&found))
            .collect();
        self.host.driver.finish(&connections);
    }
}

impl Host for MemoryHost {
    fn accept(&self, end: End) -> io::Result<u64> {
        let mut scratch = self.scratch.lock().pop().unwrap_or_default();
        let work = |scratch: &mut Scratch| {
            // They are this process's own: none is turned away for want of a place.
            self.driver.make_room(scratch);
        };
        self.driver.visit(&mut scratch, work, || ());
        self.scratch.lock().push(scratch);
        let connection = self.driver.admit(Wire::Memory(end), std::process::id())?;
        let mut connections = self.connections.lock();
        connections.retain(|_, connection| connection.strong_count() > 0);
        connections.insert(connection.id, Arc::downgrade(&connection));
        Ok(connection.id)
    }

    fn attend(&self, connection: u64) {
        let found = self.connections.lock().get(&connection).and_then(Weak::upgrade);
        let Some(connection) = found else { return };
        let mut scratch = self.scratch.lock().pop().unwrap_or_default();
        self.driver.attend(&connection, &mut scratch, |scratch| {
            self.driver.write_on(&connection, scratch);
            self.driver.read(&connection, Source::Socket, scratch);
        });
        self.scratch.lock().push(scratch);
    }
}

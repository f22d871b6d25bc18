//! A worker's epoll instance and the connections and processes whose events it brings.
//!
//! Level-triggered: an event that was not dealt with comes again, so nothing is lost by handling a bounded part of it. Other threads
//! add, change and remove registrations; only the worker waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::Mutex;
use rustix::event::epoll;

use super::connection::Connection;
use super::session::Session;

/// How often a worker looks for events before it sleeps; a look takes half a microsecond.
const LOOKS: usize = 10;
/// How many sleeps come without looking at most.
const PATIENCE_MAX: u32 = 64;

/// The token of the eventfd that ends the worker.
pub(super) const STOP: u64 = u64::MAX;
/// The token of the timer.
pub(super) const TIMER: u64 = u64::MAX - 1;
/// The token of the listener.
pub(super) const LISTENER: u64 = u64::MAX - 2;
/// Set in the token of a client process; the rest is its session's number.
const PROCESS: u64 = 1 << 63;

/// One worker's events.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    processes: Mutex<HashMap<u64, Process>>,
}

/// Whether a worker looks for events a few times more before it sleeps.
///
/// With several busy clients the next request is often microseconds away, and waking a worker costs more than those. With one client,
/// or none, it never is: then the looks become rare, and stop with the events.
#[derive(Debug, Default)]
pub(super) struct Eagerness {
    /// How many more sleeps come without looking.
    patience: u32,
    /// How many came without it after the last look in vain.
    last: u32,
}

/// What to wait for at a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) read: bool,
    pub(super) write: bool,
}

/// What an event is about.
#[derive(Debug)]
pub(super) enum Subject {
    Connection(Arc<Connection>),
    /// This session's process has died.
    Process(Arc<Session>),
    /// It was removed between the event and now.
    Nothing,
}

#[derive(Debug)]
struct Process {
    pidfd: OwnedFd,
    session: Weak<Session>,
}

impl Eagerness {
    fn looks_again(&mut self) -> bool {
        let looks = self.patience == 0;
        self.patience = self.patience.saturating_sub(1);
        looks
    }

    /// At which look something was found. What the first look finds had come before, so that going to sleep would have found it as well:
    /// where a worker shares its processor with its only client that is all it ever finds.
    fn learn(&mut self, found: Option<usize>) {
        self.last = match found {
            Some(0) => return,
            Some(_) => 0,
            None => (self.last * 2).clamp(1, PATIENCE_MAX),
        };
        self.patience = self.last;
    }
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll,
            connections: Mutex::default(),
            processes: Mutex::default(),
        })
    }

    /// Waits for events, for ever.
    pub(super) fn wait(&self, events: &mut Vec<epoll::Event>, eagerness: &mut Eagerness) -> io::Result<()> {
        events.clear();
        if eagerness.looks_again() {
            let now = rustix::event::Timespec::default();
            let found = (0..LOOKS).find(|_| {
                epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&now))
                    .is_ok_and(|count| count > 0)
            });
            eagerness.learn(found);
            if found.is_some() {
                return Ok(());
            }
        }
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The events that are there now.
    pub(super) fn look(&self, events: &mut Vec<epoll::Event>) -> io::Result<()> {
        events.clear();
        let now = rustix::event::Timespec::default();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&now)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The number of connections.
    pub(super) fn load(&self) -> usize {
        self.connections.lock().len()
    }

    pub(super) fn add(&self, connection: &Arc<Connection>) -> io::Result<()> {
        let Some(descriptor) = connection.wire.descriptor() else {
            return Ok(());
        };
        self.connections.lock().insert(connection.id, Arc::clone(connection));
        let data = epoll::EventData::new_u64(connection.id);
        let added = epoll::add(&self.epoll, descriptor, data, epoll::EventFlags::IN);
        if added.is_err() {
            self.connections.lock().remove(&connection.id);
        }
        Ok(added?)
    }

    pub(super) fn change(&self, connection: &Connection, interest: Interest) {
        let Some(descriptor) = connection.wire.descriptor() else {
            return;
        };
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN, interest.read);
        flags.set(epoll::EventFlags::OUT, interest.write);
        // It fails only if the connection was removed meanwhile, and then nothing is to be waited for.
        let _ = epoll::modify(&self.epoll, descriptor, epoll::EventData::new_u64(connection.id), flags);
    }

    pub(super) fn remove(&self, connection: &Connection) {
        if let Some(descriptor) = connection.wire.descriptor()
            && self.connections.lock().remove(&connection.id).is_some()
        {
            let _ = epoll::delete(&self.epoll, descriptor);
        }
    }

    /// Watches a session's process.
    pub(super) fn watch(&self, session: &Arc<Session>, pidfd: OwnedFd) -> io::Result<()> {
        let data = epoll::EventData::new_u64(PROCESS | session.id.0);
        let mut processes = self.processes.lock();
        epoll::add(&self.epoll, &pidfd, data, epoll::EventFlags::IN)?;
        processes.insert(
            session.id.0,
            Process {
                pidfd,
                session: Arc::downgrade(session),
            },
        );
        Ok(())
    }

    /// Stops watching a session's process, if it was watched here.
    pub(super) fn unwatch(&self, session: u64) {
        if let Some(process) = self.processes.lock().remove(&session) {
            let _ = epoll::delete(&self.epoll, &process.pidfd);
        }
    }

    /// Watches one of the worker's own descriptors.
    pub(super) fn add_own(&self, descriptor: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        Ok(epoll::add(
            self.epoll.as_fd(),
            descriptor,
            epoll::EventData::new_u64(token),
            epoll::EventFlags::IN,
        )?)
    }

    /// Stops, or starts again, to listen to one of the worker's own descriptors.
    pub(super) fn listen_to(&self, descriptor: BorrowedFd<'_>, token: u64, listen: bool) -> io::Result<()> {
        let flags = if listen {
            epoll::EventFlags::IN
        } else {
            epoll::EventFlags::empty()
        };
        Ok(epoll::modify(
            self.epoll.as_fd(),
            descriptor,
            epoll::EventData::new_u64(token),
            flags,
        )?)
    }

    /// What a token that is none of the worker's own stands for.
    #[inline]
    pub(super) fn subject(&self, token: u64) -> Subject {
        if token & PROCESS == 0 {
            return self
                .connections
                .lock()
                .get(&token)
                .map_or(Subject::Nothing, |found| Subject::Connection(Arc::clone(found)));
        }
        let processes = self.processes.lock();
        let session = processes
            .get(&(token & !PROCESS))
            .and_then(|process| process.session.upgrade());
        session.map_or(Subject::Nothing, Subject::Process)
    }

    /// Every connection, for the end of the server.
    pub(super) fn connections(&self) -> Vec<Arc<Connection>> {
        self.connections.lock().values().map(Arc::clone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_in_vain_become_rare_and_one_that_finds_something_brings_them_back() {
        let mut eagerness = Eagerness::default();
        let mut looks = |found, sleeps: u32| {
            let mut count = 0;
            for _ in 0..sleeps {
                if eagerness.looks_again() {
                    count += 1;
                    eagerness.learn(found);
                }
            }
            count
        };
        assert!(looks(None, 6500) <= 110);
        assert!(looks(Some(LOOKS - 1), PATIENCE_MAX + 100) >= 100);
        assert!(looks(None, 6500) <= 110);
    }

    /// Cause: a look that found what a sleep would have found as well counted as one that paid. Symptom: a worker on the processor of its only
    /// client looked in vain as often as it slept.
    #[test]
    fn what_the_first_look_finds_is_no_reason_to_look_more() {
        let mut eagerness = Eagerness::default();
        let mut in_vain = 0;
        for sleep in 0..6500 {
            if eagerness.looks_again() {
                let found = (sleep % 2 == 0).then_some(0);
                in_vain += u32::from(found.is_none());
                eagerness.learn(found);
            }
        }
        assert!(in_vain <= 110, "{in_vain}");
    }
}

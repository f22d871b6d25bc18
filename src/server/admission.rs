//! Who is let in: new connections, their hellos, and what becomes of those that never say one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use byproxy_proto::fault::{Fault, FaultCode};
use byproxy_proto::frame::{self, FrameError, HANDSHAKE_BYTES_MAX};
use byproxy_proto::handshake::{Hello, Purpose, VERSION, Welcome};
use rustix::io::Errno;

use super::connection::{Connection, Role, Source};
use super::driver::{Driver, Scratch, encode};
use super::session::{JoinError, Session};
use super::timer::Chore;
use crate::engine::{Outcome, Peer, ReplyRef, Time};
use crate::transport::Wire;

/// How long a connection may be silent while others wait for its place, in nanoseconds.
const SILENCE_ALLOWED: u64 = 100_000_000;

/// A connection that has not said hello.
#[derive(Debug)]
pub(super) struct Stranger {
    connection: Arc<Connection>,
    /// When it came.
    since: Time,
}

impl Driver {
    /// Takes a new connection, as a stranger. Its events start at once.
    ///
    /// # Errors
    /// If the connection can't be watched, or there are too many; it is then closed, and counted as refused.
    pub(super) fn admit(&self, wire: Wire, pid: u32) -> io::Result<Arc<Connection>> {
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        let poller = match wire {
            Wire::Unix(_) => self.pollers.iter().min_by_key(|poller| poller.load()).map(Arc::clone),
            Wire::Memory(_) => None,
        };
        let id = self.next_connection.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new(id, pid, wire, poller));
        if self.counters.connections.load(Ordering::Relaxed) >= self.limits.connections_max {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            tell(
                &connection,
                &Fault::new(
                    FaultCode::TooMany,
                    "the server has as many connections as it allows: end some, or start it with a larger `--connections-max`",
                ),
            );
            connection.close();
            return Err(io::Error::other("too many connections"));
        }
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        let stranger = Stranger {
            connection: Arc::clone(&connection),
            since: self.timer.now(),
        };
        self.strangers.lock().insert(id, stranger);
        if !self.hellos_due.swap(true, Ordering::AcqRel) {
            self.timer.schedule(self.limits.hello_wait, Chore::Hellos);
        }
        if let Some(poller) = connection.poller()
            && let Err(error) = poller.add(&connection)
        {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            self.retire(&connection, &mut connection.inbound.lock());
            return Err(error);
        }
        Ok(connection)
    }

    /// Makes room for one more stranger, before it is admitted: the oldest is closed if it has been silent for a while. False if there is
    /// no room yet.
    ///
    /// A client says hello as soon as it is connected. But many may come at once: then the oldest one's hello lies here unread, or it has
    /// not had its turn to write it.
    pub(super) fn make_room(&self, scratch: &mut Scratch) -> bool {
        while let Some((oldest, since)) = self.stranger_too_many() {
            self.read(&oldest, Source::Socket, scratch);
            if !self.strangers.lock().contains_key(&oldest.id) {
                continue;
            }
            if self.timer.now() < since.after(SILENCE_ALLOWED) {
                return false;
            }
            let reason = "too many connections have said no hello, and this is the oldest";
            self.dismiss_stranger(&oldest, &Fault::new(FaultCode::TooMany, reason));
        }
        true
    }

    /// The oldest stranger, if there are as many as are allowed.
    fn stranger_too_many(&self) -> Option<(Arc<Connection>, Time)> {
        let strangers = self.strangers.lock();
        let (_, oldest) = strangers.first_key_value()?;
        let too_many = strangers.len() >= self.limits.strangers_max && !seeded!("strangers_fill_the_place");
        too_many.then(|| (Arc::clone(&oldest.connection), oldest.since))
    }

    /// Closes the connections whose time to say hello is over. They came in order, so one look at a time is on the timer's list.
    pub(super) fn dismiss_late_strangers(&self, now: Time) {
        let wait = u64::try_from(self.limits.hello_wait.as_nanos()).unwrap_or(u64::MAX);
        self.hellos_due.store(false, Ordering::Release);
        loop {
            let oldest = {
                let strangers = self.strangers.lock();
                let oldest = strangers.first_key_value();
                oldest.map(|(_, oldest)| (Arc::clone(&oldest.connection), oldest.since.after(wait)))
            };
            let Some((oldest, deadline)) = oldest.filter(|_| !seeded!("strangers_stay")) else {
                return;
            };
            if deadline > now {
                if !self.hellos_due.swap(true, Ordering::AcqRel) {
                    self.timer
                        .schedule(Duration::from_nanos(deadline.0 - now.0), Chore::Hellos);
                }
                return;
            }
            self.dismiss_stranger(&oldest, &Fault::new(FaultCode::Refused, "no hello came in time"));
        }
    }

    /// Closes a connection that has still not said hello.
    pub(super) fn dismiss_stranger(&self, connection: &Arc<Connection>, fault: &Fault) {
        let mut inbound = connection.inbound.lock();
        if matches!(inbound.role, Role::Stranger) {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            tell(connection, fault);
            self.retire(connection, &mut inbound);
        }
    }

    /// Judges a hello. The welcome, if it is one, goes into `replies`.
    pub(super) fn greet(
        &self,
        connection: &Arc<Connection>,
        body: &[u8],
        replies: &mut Vec<u8>,
    ) -> Result<Role, Fault> {
        let version = Hello::peek_version(body);
        if let Some(theirs) = version.filter(|&version| version != VERSION) {
            let message = format!(
                "the server speaks version {VERSION} of the protocol and the client version {theirs}: use the same byproxy on both sides"
            );
            return Err(Fault::new(FaultCode::Version, message));
        }
        let hello = Hello::read(body)?;
        let (role, session) = match hello.purpose {
            Purpose::Control => {
                let session = self.open_session(connection, hello.name)?;
                (Role::Control(Arc::clone(&session)), session)
            }
            Purpose::Lane { session, secret } => {
                let session = self.join_session(connection, session, secret)?;
                (Role::Lane(Arc::clone(&session)), session)
            }
        };
        self.strangers.lock().remove(&connection.id);
        let welcome = Welcome {
            version: VERSION,
            instance: self.engine.instance(),
            session: session.id.0,
            secret: session.secret,
            frame_bytes_max: u64::try_from(self.limits.frame_bytes_max).unwrap_or(u64::MAX),
            ring_after: match connection.wire {
                Wire::Unix(_) if self.limits.ring_bytes_max > 0 => self.limits.ring_after,
                _ => 0,
            },
            proof: &[],
        };
        frame::write::<FrameError>(replies, HANDSHAKE_BYTES_MAX, |out| {
            welcome.write(out);
            Ok(())
        })?;
        Ok(role)
    }

    fn open_session(&self, connection: &Arc<Connection>, name: &str) -> Result<Arc<Session>, Fault> {
        let unwatched = |error: io::Error| {
            // Without descriptors it is to come again; a process that is dead or can't be named never gets in.
            let later = out_of_descriptors(&error);
            let code = if later { FaultCode::TooMany } else { FaultCode::Refused };
            Fault::new(code, format!("can't watch process {}: {error}", connection.pid))
        };
        let pidfd = match &connection.wire {
            Wire::Unix(served) => Some(served.socket.peer_process(connection.pid).map_err(unwatched)?),
            Wire::Memory(_) => None,
        };
        let secret = super::random_number()
            .map_err(|error| Fault::new(FaultCode::Refused, format!("no random numbers: {error}")))?;
        let peer = Peer {
            pid: connection.pid,
            name: name.to_owned(),
        };
        let id = self.engine.handle_session_start(self.timer.now(), peer)?;
        let session = Arc::new(Session::new(id, secret, connection));
        self.sessions.insert(id.0, Arc::clone(&session));
        if let (Some(pidfd), Some(poller)) = (pidfd, connection.poller())
            && !seeded!("ignore_pidfd")
            && let Err(error) = poller.watch(&session, pidfd)
        {
            self.doom(&session);
            return Err(unwatched(error));
        }
        Ok(session)
    }

    fn join_session(&self, connection: &Arc<Connection>, number: u64, secret: u128) -> Result<Arc<Session>, Fault> {
        let found = self.sessions.get(&number).map(|session| Arc::clone(&session));
        // One answer for all three, in constant time: a stranger learns nothing about sessions that are not its own.
        let session = found
            .filter(|session| same(session.secret, secret) && session.pid == connection.pid)
            .ok_or_else(|| {
                Fault::new(
                    FaultCode::Refused,
                    "no such session, or not this process's: open a session of your own first",
                )
            })?;
        session
            .join(connection, self.limits.lanes_max)
            .map_err(|error| match error {
                JoinError::Ended => Fault::new(FaultCode::Gone, "the session has ended"),
                JoinError::TooMany => {
                    Fault::new(FaultCode::TooMany, "the session has as many lanes as the server allows")
                }
            })?;
        self.lanes.insert(connection.id, Arc::clone(connection));
        Ok(session)
    }
}

/// Sends a fault about the connection itself, if there is room for it.
fn tell(connection: &Connection, fault: &Fault) {
    let mut frame = Vec::new();
    encode(
        ReplyRef {
            number: 0,
            outcome: Outcome::Fault(fault),
            delivers: false,
        },
        HANDSHAKE_BYTES_MAX,
        &mut frame,
    );
    let _ = connection.wire.send(&frame);
}

/// Whether the system has no descriptor left, or no memory for one: there may be some later.
pub(super) fn out_of_descriptors(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| code == Some(errno.raw_os_error()))
}

/// Compares without telling by the time it takes how much was right.
fn same(left: u128, right: u128) -> bool {
    std::hint::black_box(left ^ right) == 0
}

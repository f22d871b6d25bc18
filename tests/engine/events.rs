//! What happens in a simulated world: clients start, die, call, settle deliveries and let go of proxies; jobs end; time passes.
//!
//! Each event is told to the models first, which say what must come of it, and then to the engine.

use crate::model::{DictModel, ListModel, Request, Ticket, deadlocks, encode, tokens};
use crate::simulator::{Client, Lane, LaneState, Object, Result, Simulator};
use byproxy::engine::{Call, Peer, SessionId, Time};
use byproxy_proto::op::Operation;
use byproxy_proto::value::Value;
use std::collections::BTreeMap;

impl Simulator {
    pub(crate) fn start(&mut self) -> Result {
        let peer = Peer {
            pid: 1,
            name: String::new(),
        };
        let session = self
            .engine
            .handle_session_start(Time(self.now), peer)
            .map_err(|fault| fault.to_string())?;
        let lanes = (0..=self.random.below(3))
            .map(|_| Lane {
                calls: 0,
                since: 0,
                state: LaneState::Idle,
            })
            .collect();
        self.clients.push(Client {
            session: session.0,
            lanes,
            holds: BTreeMap::new(),
            leases: Vec::new(),
            tokens: Vec::new(),
            versions: Vec::new(),
        });
        self.log(|| format!("session {session} starts"));
        Ok(())
    }

    pub(crate) fn kill(&mut self, victim: usize) -> Result {
        let client = self.clients.remove(victim);
        let holds = |object: &Object| matches!(object, Object::Lock(lock) if lock.is_owned_by(client.session));
        let busy = client.lanes.iter().any(|lane| !matches!(lane.state, LaneState::Idle));
        if busy || !client.leases.is_empty() || self.objects.values().any(holds) {
            self.deaths.torn += 1;
        } else {
            self.deaths.idle += 1;
        }
        self.log(|| format!("session {} dies", client.session));
        for lane in &client.lanes {
            if let LaneState::Waiting(request) = &lane.state {
                self.maybe_done(request);
            }
        }
        for object in self.objects.values_mut() {
            self.expected.extend(match object {
                Object::Queue(queue, _) => queue.session_end(client.session),
                Object::Lock(lock) => lock.session_end(client.session),
                Object::List(_) | Object::Dict(_) | Object::Memory(_) => continue,
            });
        }
        self.engine
            .handle_session_end(Time(self.now), SessionId(client.session), &mut self.out);
        self.absorb(None)
    }

    /// A call that will never be answered may have been done.
    pub(crate) fn maybe_done(&mut self, request: &Request) {
        let Request {
            operation,
            object,
            arguments,
        } = request;
        if matches!(operation, Operation::ListCopy | Operation::DictCopy) {
            return;
        }
        match self.objects.get_mut(object) {
            Some(Object::List(states)) => {
                let after = states.iter().flat_map(|state| state.step(*operation, arguments, None));
                let after: Vec<ListModel> = after
                    .map(|(_, state)| state)
                    .filter(|state| !states.contains(state))
                    .collect();
                states.extend(after);
            }
            Some(Object::Dict(states)) => {
                let after = states.iter().flat_map(|state| state.step(*operation, arguments, None));
                let after: Vec<DictModel> = after
                    .map(|(_, state)| state)
                    .filter(|state| !states.contains(state))
                    .collect();
                states.extend(after);
            }
            _ => {}
        }
    }

    pub(crate) fn finish_job(&mut self) -> Result {
        let job = self.jobs.swap_remove(self.random.below(self.jobs.len()));
        self.log(|| "a job is done".to_owned());
        self.engine.handle_job_done(Time(self.now), job.run(), &mut self.out);
        self.absorb(None)
    }

    pub(crate) fn pass_time(&mut self) -> Result {
        let target = self.now + self.random.below(50) as u64;
        while let Some(Time(next)) = self.engine.poll_timeout().filter(|&Time(next)| next <= target) {
            self.now = self.now.max(next);
            self.log(|| format!("time {next}"));
            for object in self.objects.values_mut() {
                self.expected.extend(match object {
                    Object::Queue(queue, _) => queue.expire(next),
                    Object::Lock(lock) => lock.expire(next),
                    Object::List(_) | Object::Dict(_) | Object::Memory(_) => continue,
                });
            }
            self.engine.handle_timeout(Time(self.now), &mut self.out);
            self.absorb(None)?;
            if self.engine.poll_timeout().is_some_and(|Time(again)| again <= self.now) {
                return Err(format!("O5: at {next} a timeout asks to be called again at once"));
            }
        }
        self.now = target;
        Ok(())
    }

    pub(crate) fn release(&mut self, index: usize) -> Result {
        let pinned = self.pinned(index);
        let client = &mut self.clients[index];
        let mut releases = Vec::new();
        for (&object, held) in &mut client.holds {
            let free = *held - u64::from(pinned.contains(&object)).min(*held);
            if free > 0 && self.random.percent(40) {
                let times = 1 + self.random.next() % free;
                *held -= times;
                releases.push((object, times));
            }
        }
        client.holds.retain(|_, held| *held > 0);
        let session = SessionId(client.session);
        self.log(|| format!("session {session} releases {releases:?}"));
        self.engine
            .handle_release(Time(self.now), session, &releases, &mut self.out);
        self.absorb(None)
    }

    /// The objects a client must not let go of now: those its calls under way are about.
    pub(crate) fn pinned(&self, index: usize) -> Vec<u64> {
        let mut pinned = Vec::new();
        for lane in &self.clients[index].lanes {
            match &lane.state {
                LaneState::Idle => {}
                LaneState::Waiting(request) => {
                    pinned.push(request.object);
                    request
                        .arguments
                        .iter()
                        .for_each(|argument| tokens(argument, &mut |object| pinned.push(object)));
                }
                LaneState::Delivered { queue, .. } => pinned.push(*queue),
            }
        }
        pinned
    }

    /// A delivery is confirmed, or declined.
    pub(crate) fn settle(&mut self, client: usize, lane: usize, number: u64) -> Result {
        let caller = self.caller(client, lane);
        let ticket = (caller.session.0, caller.lane.0, number);
        let confirmed = self.random.percent(70);
        self.log(|| format!("{ticket:?} confirmed {confirmed}"));
        let queues = self.objects.values_mut().filter_map(|object| match object {
            Object::Queue(queue, _) => Some(queue),
            _ => None,
        });
        for queue in queues {
            self.expected.extend(queue.end_flight(ticket, confirmed));
        }
        self.clients[client].lanes[lane].state = LaneState::Idle;
        if confirmed {
            self.engine
                .handle_confirm(Time(self.now), caller, number, &mut self.out);
        } else {
            self.engine
                .handle_decline(Time(self.now), caller, number, &mut self.out);
        }
        self.absorb(None)
    }

    /// Makes a call, and says first what it must come to if that can be known.
    pub(crate) fn call(&mut self, client: usize, lane: usize, request: Request) -> Result {
        self.foretell(self.ticket(client, lane), &request);
        self.send(client, lane, request)
    }

    /// Tells the models of queues and locks of a call; what they say must come of it is expected from here on.
    pub(crate) fn foretell(&mut self, ticket: Ticket, request: &Request) {
        let thread = (ticket.0, ticket.1);
        let arguments = &request.arguments;
        let wait = |index: usize| {
            arguments
                .get(index)
                .and_then(crate::model::as_int)
                .map(i64::unsigned_abs)
        };
        if let Some(Object::Queue(queue, _)) = self.objects.get_mut(&request.object)
            && request.operation != Operation::QueueAudit
        {
            self.expected
                .extend(queue.call(self.now, ticket, request.operation, arguments));
        }
        if let Some(Object::Lock(lock)) = self.objects.get(&request.object) {
            let locks = self.objects.values().filter_map(|object| match object {
                Object::Lock(lock) => Some(lock),
                _ => None,
            });
            let deadlock = deadlocks(locks, thread, lock);
            let Some(Object::Lock(lock)) = self.objects.get_mut(&request.object) else {
                return;
            };
            self.expected.extend(match request.operation {
                Operation::LockAcquire => lock.acquire(self.now, ticket, thread.1, wait(1), deadlock),
                Operation::LockRelease => lock.release(ticket, wait(0)),
                Operation::LockLeak => lock.leak(ticket, wait(0).unwrap_or(0)),
                _ => lock.locked(ticket),
            });
        }
    }

    pub(crate) fn send(&mut self, client: usize, lane: usize, request: Request) -> Result {
        let caller = self.caller(client, lane);
        let ticket = self.ticket(client, lane);
        self.log(|| format!("{ticket:?} calls {request:?}"));
        let arguments = encode(&Value::List(request.arguments.clone()));
        let call = Call {
            number: ticket.2,
            operation: request.operation,
            object: request.object,
            arguments: &arguments,
        };
        let lane = &mut self.clients[client].lanes[lane];
        lane.calls += 1;
        lane.since = self.calls;
        self.calls += 1;
        lane.state = LaneState::Waiting(request);
        self.engine.handle_call(Time(self.now), caller, call, &mut self.out);
        self.absorb(Some(ticket))
    }
}

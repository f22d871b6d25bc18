//! The wait graph: which thread waits for which lock, and who owns it, so that a deadlock is told instead of suffered.
//!
//! The graph holds two kinds of edges. *Thread → lock*: a blocked acquire without deadline. *Lock → thread*: the owner of a lock that
//! such a waiter stands in. An acquire with a deadline adds no edge (it ends by itself), and neither does a lock without owner (a leaked
//! one: anybody may free it). [`WaitGraph::begin`] refuses the edge that would close a cycle; so the graph never holds one, and every
//! wait in it ends as soon as some thread that is not blocked on a lock does its part.
//!
//! The graph has one mutex, taken only for locks in which somebody waits without deadline: an uncontended acquire or release never
//! touches it. It is the innermost lock of the engine (object → session → graph).
//!
//! **Why it is right with many threads.** Everything about one lock (its owner, its waiters) changes only under that lock object's own
//! mutex, and while one of its waiters is registered each change of its owner is one critical section of the graph's mutex inside it
//! ([`WaitGraph::change`]). So within the graph's critical sections, which are totally ordered, the edges equal the state of every lock
//! whose last change is in that order; a change still on its way to the mutex belongs to a call that has not been answered, and is
//! ordered after. Two acquires that together close a cycle stand in two objects, but both enter the graph: the second one sees the
//! first one's edge, so at least one and at most one of them is refused. No edge can be missing: the lock → owner edge is inserted with
//! its first waiter under the object's mutex, where the owner can't change. No edge can be stale: a waiter leaves the graph in the same
//! critical section of its object in which it leaves the queue of waiters, whatever the reason (grant, session end, the object's end),
//! and a session that ends loses its waits first of all, before any of its locks is handed on.
//!
//! Each thread is taken to wait for one lock at a time, as threads do. A client that says one of its threads waits in two calls at once gets
//! an edge for each; a later grant to that thread may then close a circle unnoticed, in which only those can hang who wait for the liar.
//!
//! **Invariant (W1):** the graph has no cycle. **Invariant (W2):** it has exactly one wait per blocked acquire without deadline of a live
//! session.

use super::types::{ObjectId, SessionId};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

/// A thread of a session: what owns a lock, and what waits for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Owner {
    /// The session.
    pub(crate) session: SessionId,
    /// The session's own number for one of its threads.
    pub(crate) thread: u64,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {} of session {}", self.thread, self.session.0)
    }
}

/// One step of a cycle: a lock and the thread that owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    pub(crate) lock: ObjectId,
    pub(crate) owner: Owner,
}

/// A way from a lock back to the thread that wants it: each hop's owner waits for the next hop's lock, the last owner is the asker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cycle(pub(crate) Vec<Hop>);

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [own] = self.0.as_slice() {
            return write!(
                f,
                "this thread holds lock {} already, and it is not re-entrant",
                own.lock.0
            );
        }
        f.write_str("this acquire would wait for ever: ")?;
        for (index, hop) in self.0.iter().enumerate() {
            let joint = if index == 0 { "" } else { ", which waits for " };
            write!(f, "{joint}lock {} is held by {}", hop.lock.0, hop.owner)?;
        }
        f.write_str(", which is the asker; release one of them, take locks in one order, or wait with a timeout")
    }
}

/// Every wait without deadline for an owned lock in this engine.
#[derive(Debug, Default)]
pub(crate) struct WaitGraph {
    graph: Mutex<Graph>,
}

#[derive(Debug, Default)]
struct Graph {
    /// The locks each thread waits for. A thread waits for one at a time; a client that says otherwise gets an edge for each.
    waits: BTreeMap<Owner, Vec<ObjectId>>,
    /// The locks in which at least one registered waiter stands.
    contended: HashMap<ObjectId, Contended>,
}

#[derive(Debug)]
struct Contended {
    /// Who owns the lock; nobody when it was leaked.
    owner: Option<Owner>,
    /// How many entries in `waits` name this lock; never zero.
    waiters: usize,
}

impl WaitGraph {
    /// Registers a wait without deadline, unless it would close a cycle; then nothing changes. Call it under the lock object's mutex.
    pub(crate) fn begin(&self, waiter: Owner, lock: ObjectId, owner: Option<Owner>) -> Result<(), Cycle> {
        let mut graph = self.graph.lock();
        if let Some(cycle) = graph.find_cycle(waiter, lock, owner) {
            return Err(cycle);
        }
        graph.waits.entry(waiter).or_default().push(lock);
        let contended = graph.contended.entry(lock).or_insert(Contended { owner, waiters: 0 });
        debug_assert_eq!(contended.owner, owner, "the graph knows a contended lock's owner");
        contended.waiters += 1;
        Ok(())
    }

    /// Ends a wait (if it is still registered) and sets the lock's owner, in one step. Call it under the lock object's mutex, for every
    /// change of a lock in which a registered waiter stands.
    pub(crate) fn change(&self, lock: ObjectId, ended: Option<Owner>, owner: Option<Owner>) {
        let mut graph = self.graph.lock();
        if let Some(contended) = graph.contended.get_mut(&lock)
            && !seeded!("deadlock_ignores_graph_update")
        {
            contended.owner = owner;
        }
        if let Some(waiter) = ended {
            graph.end(waiter, lock);
        }
    }

    /// Ends all waits of a session. The sweep calls it once the session is marked ending, before it hands on any lock.
    pub(crate) fn end_session(&self, session: SessionId) {
        let mut graph = self.graph.lock();
        let all = Owner { session, thread: 0 }..=Owner {
            session,
            thread: u64::MAX,
        };
        let waiters: Vec<Owner> = graph.waits.range(all).map(|(&waiter, _)| waiter).collect();
        for waiter in waiters {
            for lock in graph.waits.remove(&waiter).unwrap_or_default() {
                graph.leave(lock);
            }
        }
    }

    /// How many waits are registered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.graph.lock().waits.values().map(Vec::len).sum()
    }

    /// The registered waits of one lock, and its owner as the graph has it: for the lock object's own check.
    pub(crate) fn lock_state(&self, lock: ObjectId) -> Option<(Option<Owner>, Vec<Owner>)> {
        let graph = self.graph.lock();
        let contended = graph.contended.get(&lock)?;
        let waiting = |locks: &[ObjectId]| locks.iter().filter(|&&waited| waited == lock).count();
        let waiters = graph
            .waits
            .iter()
            .flat_map(|(&waiter, locks)| std::iter::repeat_n(waiter, waiting(locks)));
        Some((contended.owner, waiters.collect()))
    }

    /// Checks that both halves of the graph agree and that it has no cycle.
    pub(crate) fn check(&self) -> Result<(), String> {
        let graph = self.graph.lock();
        let mut counts: HashMap<ObjectId, usize> = HashMap::new();
        for (&waiter, locks) in &graph.waits {
            if locks.is_empty() {
                return Err(format!("W2: {waiter} waits for nothing"));
            }
            for &lock in locks {
                *counts.entry(lock).or_default() += 1;
                let owner = graph.contended.get(&lock).and_then(|contended| contended.owner);
                if let Some(cycle) = graph.find_cycle(waiter, lock, owner) {
                    return Err(format!("W1: {waiter} waits in a cycle: {cycle}"));
                }
            }
        }
        for (&lock, contended) in &graph.contended {
            if counts.remove(&lock) != Some(contended.waiters) {
                return Err(format!("W2: lock {} counts {} waiters", lock.0, contended.waiters));
            }
        }
        if counts.is_empty() {
            Ok(())
        } else {
            Err(format!("W2: waits for locks that are not contended: {counts:?}"))
        }
    }
}

impl Graph {
    /// Finds the way from a lock over its owner's waits back to the waiter.
    fn find_cycle(&self, waiter: Owner, lock: ObjectId, owner: Option<Owner>) -> Option<Cycle> {
        let mut path = vec![Hop { lock, owner: owner? }];
        if owner == Some(waiter) {
            return Some(Cycle(path));
        }
        // A thread waits for one lock, so this is a walk along a chain. Should a client say a thread waits for several, it is a search of
        // a tree, which `seen` keeps as small as the graph.
        let mut seen = HashSet::from([lock]);
        let mut pending: Vec<(usize, ObjectId)> = Vec::new();
        let mut depth = 1;
        let mut reached = owner?;
        loop {
            let waits = self
                .waits
                .get(&reached)
                .into_iter()
                .flatten()
                .filter(|&&lock| seen.insert(lock));
            pending.extend(waits.map(|&lock| (depth, lock)));
            let (hop, next) = loop {
                let (hop, lock) = pending.pop()?;
                if let Some(owner) = self.contended.get(&lock).and_then(|contended| contended.owner) {
                    break (hop, Hop { lock, owner });
                }
            };
            path.truncate(hop);
            path.push(next);
            if next.owner == waiter {
                return Some(Cycle(path));
            }
            depth = hop + 1;
            reached = next.owner;
        }
    }

    fn end(&mut self, waiter: Owner, lock: ObjectId) {
        let Some(locks) = self.waits.get_mut(&waiter) else {
            return;
        };
        let Some(index) = locks.iter().position(|&waited| waited == lock) else {
            return;
        };
        locks.swap_remove(index);
        if locks.is_empty() {
            self.waits.remove(&waiter);
        }
        self.leave(lock);
    }

    fn leave(&mut self, lock: ObjectId) {
        if let Some(contended) = self.contended.get_mut(&lock) {
            contended.waiters -= 1;
            if contended.waiters == 0 {
                self.contended.remove(&lock);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(session: u64, thread: u64) -> Owner {
        Owner {
            session: SessionId(session),
            thread,
        }
    }

    const A: ObjectId = ObjectId(1);
    const B: ObjectId = ObjectId(2);
    const C: ObjectId = ObjectId(3);

    #[test]
    fn a_thread_that_wants_its_own_lock_is_a_cycle_of_one() {
        let graph = WaitGraph::default();
        let cycle = graph.begin(owner(1, 1), A, Some(owner(1, 1))).unwrap_err();
        assert_eq!(
            cycle.0,
            [Hop {
                lock: A,
                owner: owner(1, 1)
            }]
        );
        assert!(cycle.to_string().contains("not re-entrant"), "{cycle}");
        assert_eq!(graph.len(), 0);
    }

    #[test]
    fn another_thread_of_the_same_session_is_another_owner() {
        let graph = WaitGraph::default();
        assert_eq!(graph.begin(owner(1, 2), A, Some(owner(1, 1))), Ok(()));
    }

    #[test]
    fn the_edge_that_closes_a_ring_of_three_is_refused_and_named() {
        let graph = WaitGraph::default();
        graph.begin(owner(1, 1), B, Some(owner(2, 1))).unwrap();
        graph.begin(owner(2, 1), C, Some(owner(3, 1))).unwrap();
        let cycle = graph.begin(owner(3, 1), A, Some(owner(1, 1))).unwrap_err();
        let locks: Vec<ObjectId> = cycle.0.iter().map(|hop| hop.lock).collect();
        assert_eq!(locks, [A, B, C]);
        assert_eq!(graph.len(), 2, "the refused wait is not registered");
        graph.check().unwrap();
    }

    #[test]
    fn a_leaked_lock_breaks_the_ring() {
        let graph = WaitGraph::default();
        graph.begin(owner(1, 1), B, Some(owner(2, 1))).unwrap();
        graph.change(B, None, None);
        assert_eq!(graph.begin(owner(2, 1), A, Some(owner(1, 1))), Ok(()));
        graph.check().unwrap();
    }

    #[test]
    fn a_changed_owner_is_followed() {
        let graph = WaitGraph::default();
        graph.begin(owner(1, 1), B, Some(owner(2, 1))).unwrap();
        graph.begin(owner(3, 1), B, Some(owner(2, 1))).unwrap();
        graph.change(B, Some(owner(3, 1)), Some(owner(3, 1)));
        assert_eq!(
            graph.begin(owner(2, 1), A, Some(owner(1, 1))),
            Ok(()),
            "the old owner is free of it"
        );
        assert!(
            graph.begin(owner(3, 1), A, Some(owner(1, 1))).is_err(),
            "the new one is not"
        );
        graph.check().unwrap();
    }

    #[test]
    fn an_ended_session_leaves_no_edge() {
        let graph = WaitGraph::default();
        graph.begin(owner(1, 1), B, Some(owner(2, 1))).unwrap();
        graph.begin(owner(1, 7), B, Some(owner(2, 1))).unwrap();
        graph.end_session(SessionId(1));
        assert_eq!(graph.len(), 0);
        graph.change(B, Some(owner(1, 1)), None);
        graph.check().unwrap();
        assert_eq!(graph.lock_state(B), None);
    }

    #[test]
    fn a_thread_that_claims_two_waits_is_searched_along_both() {
        let graph = WaitGraph::default();
        graph.begin(owner(1, 1), A, Some(owner(9, 9))).unwrap();
        graph.begin(owner(1, 1), B, Some(owner(2, 1))).unwrap();
        let cycle = graph.begin(owner(2, 1), C, Some(owner(1, 1))).unwrap_err();
        assert_eq!(cycle.0.iter().map(|hop| hop.lock).collect::<Vec<_>>(), [C, B]);
    }
}

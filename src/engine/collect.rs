//! Collecting garbage: objects that refer to each other and that nobody else can reach.
//!
//! Garbage stays garbage: a reference can only be had from a session, a name or a container that one of these reaches. So a first pass
//! looks at one object at a time while the world goes on, and only what then looks unreachable is locked together and looked at again.
//! An object is surely reached when it has more references than the looked-at cells account for: whoever else holds one (a session, a
//! name, a job, a call under way) need not be asked.

use super::object::{Contents, ObjectSlot, State};
use super::registry::Registry;
use super::types::ObjectId;
use hashbrown::{HashMap, HashSet};
use parking_lot::MutexGuard;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// An object as the pass sees it.
struct Node {
    /// References to it from the cells of looked-at objects.
    inner: u64,
    /// What its cells refer to.
    edges: Vec<u64>,
}

type Graph = HashMap<u64, Node>;

/// Takes all garbage out of the registry: on a helper thread, because it looks at everything.
pub(super) fn garbage(registry: &Registry) -> Vec<(ObjectId, Contents)> {
    let slots: HashMap<u64, Arc<ObjectSlot>> = registry
        .objects
        .iter()
        .map(|entry| (entry.key().0, Arc::clone(entry.value())))
        .collect();
    let graph = graph(slots.iter().map(|(&id, slot)| (id, edges(&slot.state.lock()))));
    let suspects = unreached(&graph, |id| count(&slots, id));
    let mut suspects: Vec<Arc<ObjectSlot>> = suspects.into_iter().filter_map(|id| slots.get(&id).cloned()).collect();
    suspects.sort_unstable_by_key(|slot| slot.id);
    take(registry, &suspects)
}

/// Looks at suspects again, locked all together in ascending order, and takes those that are garbage.
fn take(registry: &Registry, suspects: &[Arc<ObjectSlot>]) -> Vec<(ObjectId, Contents)> {
    let mut locked: Vec<(&ObjectSlot, MutexGuard<'_, State>)> =
        suspects.iter().map(|slot| (&**slot, slot.state.lock())).collect();
    let slots: HashMap<u64, Arc<ObjectSlot>> = suspects.iter().map(|slot| (slot.id.0, Arc::clone(slot))).collect();
    let graph = graph(locked.iter().map(|(slot, state)| (slot.id.0, edges(state))));
    let garbage = unreached(&graph, |id| count(&slots, id));
    let mut taken = Vec::new();
    for (slot, state) in &mut locked {
        let Some(node) = graph.get(&slot.id.0).filter(|_| garbage.contains(&slot.id.0)) else {
            continue;
        };
        // Nobody takes a reference who has none, so this only fails when a client names objects by guessing.
        let end = slot
            .references
            .compare_exchange(node.inner, 0, Ordering::AcqRel, Ordering::Acquire);
        if end.is_err() || registry.remove(slot.id).is_none() {
            continue;
        }
        match std::mem::replace(&mut **state, State::Freed) {
            State::Free(contents) | State::Poisoned(contents) => taken.push((slot.id, contents)),
            State::Busy(_) | State::Freed => {}
        }
    }
    taken
}

/// What an object's cells refer to; nothing if they can't be looked at now.
fn edges(state: &State) -> Option<Vec<u64>> {
    let mut edges = Vec::new();
    match state {
        State::Free(contents) | State::Poisoned(contents) if contents.is_leaf() => {}
        State::Free(contents) | State::Poisoned(contents) => {
            contents.cells(&mut |cell| edges.extend_from_slice(cell.objects()));
        }
        State::Busy(_) | State::Freed => return None,
    }
    Some(edges)
}

fn graph(objects: impl Iterator<Item = (u64, Option<Vec<u64>>)>) -> Graph {
    let mut graph: Graph = objects
        .filter_map(|(id, edges)| {
            Some((
                id,
                Node {
                    inner: 0,
                    edges: edges?,
                },
            ))
        })
        .collect();
    let targets: Vec<u64> = graph.values().flat_map(|node| node.edges.iter().copied()).collect();
    for target in targets {
        if let Some(node) = graph.get_mut(&target) {
            node.inner += 1;
        }
    }
    graph
}

/// The objects that are reached from none that has a reference from elsewhere.
fn unreached(graph: &Graph, count: impl Fn(u64) -> u64) -> HashSet<u64> {
    let mut unreached: HashSet<u64> = graph.keys().copied().collect();
    let mut reached: Vec<u64> = graph
        .iter()
        .filter(|(id, node)| count(**id) != node.inner)
        .map(|(&id, _)| id)
        .collect();
    while let Some(id) = reached.pop() {
        if unreached.remove(&id) {
            reached.extend(graph.get(&id).into_iter().flat_map(|node| node.edges.iter().copied()));
        }
    }
    unreached
}

fn count(slots: &HashMap<u64, Arc<ObjectSlot>>, id: u64) -> u64 {
    slots.get(&id).map_or(0, |slot| slot.references.load(Ordering::Acquire))
}

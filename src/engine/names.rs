//! The names of objects, listed a portion at a time.
//!
//! There may be very many, so a list of more than a call may touch is a job; and names are given and taken away meanwhile, so whoever
//! lists them locks them for a portion only. A name that comes or goes in that time may be listed or not; every other one is.

use super::job::World;
use super::outputs::Answer;
use super::types::ObjectId;
use byproxy_proto::fault::Fault;
use byproxy_proto::value::{self, Kind};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Names of objects; each holds a reference.
pub(super) type Names = Mutex<BTreeMap<String, ObjectId>>;

/// Answers with every name and the kind of its object, sorted by name.
///
/// # Errors
/// [`FaultCode::TooLarge`](byproxy_proto::fault::FaultCode) when that is over the limit of a reply.
pub(super) fn list(world: &World, answer: &mut Answer) -> Result<(), Box<Fault>> {
    let mut listed: Vec<(String, Kind)> = Vec::new();
    let mut bytes = 0;
    let mut last: Option<String> = None;
    loop {
        let portion = portion(world, last.as_deref());
        let Some((newest, _)) = portion.last() else { break };
        last = Some(newest.clone());
        bytes += portion.iter().map(|(name, _)| name.len() + 16).sum::<usize>();
        world.effects(answer, &mut Vec::new(), false).room(bytes)?;
        let kind = |object| world.registry.get(object).map(|slot| slot.kind);
        listed.extend(
            portion
                .into_iter()
                .filter_map(|(name, object)| Some((name, kind(object)?))),
        );
    }
    let result = &mut answer.result;
    value::write_list_header(result, listed.len());
    for (name, kind) in listed {
        value::write_list_header(result, 2);
        value::write_str(result, &name);
        value::write_str(result, kind.name().unwrap_or("unknown"));
    }
    Ok(())
}

/// Some names after this one.
fn portion(world: &World, after: Option<&str>) -> Vec<(String, ObjectId)> {
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    let names = world.names.lock();
    names
        .range::<str, _>((start, Bound::Unbounded))
        .take(world.settings.small_steps)
        .map(|(name, &object)| (name.clone(), object))
        .collect()
}

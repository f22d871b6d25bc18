//! byproxy: over its server process, or with the objects in the client's own.

pub(crate) mod direct;
pub(crate) mod growth;
pub(crate) mod memory;
pub(crate) mod starts;

use crate::Result;
use crate::client::{BATCH_CALLS, ENTRIES, Side, Step, Task, Work, key};
use crate::hosts::Host;
use byproxy::{DictProxy, ListProxy, Manager, QueueProxy};
use std::path::Path;
use std::process::Command;

/// How many items wait in the queue of a flow at most.
const FLOW_MAX: usize = 1024;

/// Starts the server that the `byproxy` command is.
pub(crate) fn start(folder: &Path) -> Result<Host> {
    let path = folder.join("byproxy");
    let mut command = Command::new(env!("CARGO_BIN_EXE_byproxy"));
    command
        .args(["serve", "--listen"])
        .arg(format!("unix:{}", path.display()));
    Host::at_socket(&mut command, &path)
}

/// The server of a task: one for all threads of this process.
fn manager(task: &Task) -> Result<Manager> {
    match task.side {
        Side::Embedded => Ok(Manager::embedded()?),
        Side::Socket => Ok(Manager::builder()
            .ring(false)
            .connect(format!("unix:{}", task.address))?),
        _ => Ok(Manager::connect(format!("unix:{}", task.address))?),
    }
}

/// The steps of so many threads.
pub(crate) fn steps(task: &Task, threads: usize) -> Result<Vec<Step>> {
    let manager = manager(task)?;
    let dict: DictProxy<String, u64> = manager.dict_named("dict")?;
    dict.update((0..ENTRIES).map(|entry| (key(entry).to_owned(), entry)))?;
    let list: ListProxy<u64> = manager.list_named("list")?;
    if list.is_empty()? {
        list.extend(0..ENTRIES)?;
    }
    (0..threads)
        .map(|_| step(&manager, task.work, dict.clone(), list.clone()))
        .collect()
}

fn step(manager: &Manager, work: Work, dict: DictProxy<String, u64>, list: ListProxy<u64>) -> Result<Step> {
    Ok(match work {
        Work::Get => Box::new(move |i| Ok(dict.get(key(i)).map(drop)?)),
        Work::Insert => Box::new(move |i| Ok(dict.insert(key(i), i).map(drop)?)),
        Work::Index => Box::new(move |i| Ok(list.get(i64::try_from(i % ENTRIES)?).map(drop)?)),
        Work::Append => {
            let own = manager.list::<u64>()?;
            Box::new(move |i| Ok(own.append(i)?))
        }
        Work::Batch => {
            let manager = manager.clone();
            Box::new(move |i| {
                let first = i * BATCH_CALLS;
                let entries = first..first + BATCH_CALLS;
                let calls: Vec<_> = entries.map(|entry| dict.calls().get(key(entry))).collect();
                Ok(manager.batch(calls).into_iter().try_for_each(|got| got.map(drop))?)
            })
        }
        Work::QueuePair => {
            let queue = manager.queue::<u64>(0)?;
            Box::new(move |i| {
                queue.put(i)?;
                Ok(queue.get().map(drop)?)
            })
        }
        Work::LockPair => {
            let lock = manager.lock()?;
            Box::new(move |_| Ok(lock.acquire()?.release()?))
        }
        Work::Produce | Work::Consume => {
            let queue: QueueProxy<u64> = manager.queue_named("flow", FLOW_MAX)?;
            match work {
                Work::Produce => Box::new(move |i| Ok(queue.put(i)?)),
                _ => Box::new(move |_| Ok(queue.get().map(drop)?)),
            }
        }
        other => return Err(format!("{} is no step", other.name()).into()),
    })
}

//! What a step costs with a million items, keys or objects, beside what it costs with a thousand.

use super::manager;
use crate::Result;
use crate::client::{Side, Step, Task, Work};
use crate::limits;
use byproxy::{DictProxy, ListProxy, Manager};
use std::time::{Duration, Instant};

const FEW: u64 = 1_000;
const MANY: u64 = 1_000_000;
/// Small and large take turns this often; the best of each counts. What disturbs a step only ever makes it longer, and where two
/// processes wake each other it makes some turns ten times as long: a median would compare the disturbances.
const TURNS: u32 = 21;

/// Both steps, ready to be taken.
pub(crate) struct Growth {
    small: Step,
    large: Step,
}

impl Growth {
    /// The time of one small and of one large step.
    pub(crate) fn run(mut self, time: Duration) -> Result<(Duration, Duration)> {
        let slice = time / TURNS;
        let (mut small, mut large) = (Vec::new(), Vec::new());
        let mut next = 0;
        for _ in 0..TURNS {
            small.push(per_step(&mut self.small, &mut next, slice)?);
            large.push(per_step(&mut self.large, &mut next, slice)?);
        }
        Ok((best(&small), best(&large)))
    }
}

pub(crate) fn prepare(task: &Task) -> Result<Growth> {
    let (small, large) = if task.side == Side::Bare {
        (
            limits::growth::step(task.work, FEW)?,
            limits::growth::step(task.work, MANY)?,
        )
    } else {
        steps(task)?
    };
    Ok(Growth { small, large })
}

fn steps(task: &Task) -> Result<(Step, Step)> {
    let manager = manager(task)?;
    match task.work {
        Work::GrowList => Ok((list(&manager, FEW)?, list(&manager, MANY)?)),
        Work::GrowDict => Ok((dict(&manager, FEW)?, dict(&manager, MANY)?)),
        Work::GrowObjects => objects(task, &manager),
        other => Err(format!("{} does not grow", other.name()).into()),
    }
}

/// Reads and writes items all over the list.
fn list(manager: &Manager, size: u64) -> Result<Step> {
    let list: ListProxy<u64> = manager.list_from(0..size)?;
    Ok(Box::new(move |i| {
        let index = i64::try_from(scattered(i) % size)?;
        if i % 2 == 0 {
            Ok(list.get(index).map(drop)?)
        } else {
            Ok(list.set(index, i)?)
        }
    }))
}

/// Reads and writes keys all over the dict.
fn dict(manager: &Manager, size: u64) -> Result<Step> {
    let dict: DictProxy<u64, u64> = manager.dict_from((0..size).map(|key| (key, key)))?;
    Ok(Box::new(move |i| {
        let key = scattered(i) % size;
        if i % 2 == 0 {
            Ok(dict.get(key).map(drop)?)
        } else {
            Ok(dict.insert(key, i).map(drop)?)
        }
    }))
}

/// Calls objects of a server that has few, and of one that has many.
fn objects(task: &Task, many: &Manager) -> Result<(Step, Step)> {
    let few = match task.side {
        Side::Embedded => Manager::embedded()?,
        Side::Socket => Manager::builder().ring(false).start()?,
        _ => Manager::start()?,
    };
    let step = |manager: &Manager, size: u64| {
        let lists = (0..size)
            .map(|_| manager.list::<u64>())
            .collect::<byproxy::Result<Vec<_>>>()?;
        // The manager lives as long as the step: one that was started ends with its last handle.
        let manager = manager.clone();
        let step: Step = Box::new(move |i| {
            let _ = &manager;
            let list = usize::try_from(scattered(i) % size)
                .ok()
                .and_then(|at| lists.get(at))
                .ok_or("no such list")?;
            Ok(list.len().map(drop)?)
        });
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(step)
    };
    Ok((step(&few, FEW)?, step(many, MANY)?))
}

/// Numbers that follow each other end up far apart.
pub(crate) fn scattered(i: u64) -> u64 {
    i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

/// Takes steps for a while, going on from the number of the one before.
fn per_step(step: &mut Step, next: &mut u64, time: Duration) -> Result<Duration> {
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < time {
        for _ in 0..100 {
            step(*next)?;
            *next += 1;
        }
        count += 100;
    }
    Ok(start.elapsed() / count)
}

fn best(times: &[Duration]) -> Duration {
    times.iter().min().copied().unwrap_or_default()
}

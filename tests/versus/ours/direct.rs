//! Direct objects: a step takes nanoseconds, so the loop around it counts a thousand at a time.

use crate::Result;
use crate::client::{Task, Work, await_go, report};
use byproxy::Process;
use byproxy::shm::{Lock, RawArray, RawValue, Value};
use serde::{Deserialize, Serialize};
use std::hint::{black_box, spin_loop};
use std::time::Instant;

/// How many steps are taken between two looks at whether the time is up.
const LAP: u64 = 1000;

/// What all processes of a task have.
#[derive(Clone, Deserialize, Serialize)]
struct Track {
    value: Value<u64>,
    lock: Lock,
    go: RawValue<bool>,
    stop: RawValue<bool>,
    counts: RawArray<u64>,
}

/// Runs a task in so many processes as it says, this one among them.
pub(crate) fn run(task: &Task) -> Result<()> {
    let track = Track {
        value: Value::new(0)?,
        lock: Lock::new()?,
        go: RawValue::new(false)?,
        stop: RawValue::new(false)?,
        counts: RawArray::new(&vec![0; task.size])?,
    };
    let partners = (1..i64::try_from(task.size)?)
        .map(|place| Process::spawn(partner, (&track, task.work.name(), place)))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    await_go()?;
    let (stop, time) = (track.stop.clone(), task.time);
    let start = Instant::now();
    track.go.set(true);
    let timer = std::thread::spawn(move || {
        std::thread::sleep(time);
        stop.set(true);
    });
    laps(&track, task.work, 0)?;
    for partner in &partners {
        partner.join()?;
    }
    let elapsed = start.elapsed();
    timer.join().map_err(|_| "the timer panicked")?;
    report(track.counts.to_vec().iter().sum(), elapsed);
    Ok(())
}

fn partner(track: Track, work: String, place: i64) -> std::result::Result<(), String> {
    Work::from_name(&work)
        .and_then(|work| laps(&track, work, place))
        .map_err(|error| error.to_string())
}

/// One process's part: how many steps it took.
fn laps(track: &Track, work: Work, place: i64) -> Result<()> {
    while !track.go.get() {
        spin_loop();
    }
    let mut count = 0;
    while !track.stop.get() {
        lap(track, work)?;
        count += LAP;
    }
    Ok(track.counts.set(place, count)?)
}

fn lap(Track { value, lock, .. }: &Track, work: Work) -> Result<()> {
    match work {
        Work::ValueGet => repeat(|_| _ = black_box(value.get())),
        Work::ValueSet => repeat(|i| value.set(black_box(i))),
        Work::ValueAdd => repeat(|_| _ = value.fetch_add(1)),
        Work::DirectLockPair => repeat(|_| drop(lock.acquire())),
        other => return Err(format!("{} is nothing direct", other.name()).into()),
    }
    Ok(())
}

fn repeat(step: impl Fn(u64)) {
    (0..LAP).for_each(step);
}

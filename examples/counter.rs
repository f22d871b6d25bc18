//! Counting together in shared memory: lost updates without a lock, and three ways that lose none.
//!
//! `cargo run --release --example counter`

use std::time::Instant;

use byproxy::shm::{Lock, RawValue, Value};
use byproxy::{Process, Result};

const WORKERS: u64 = 4;
const ROUNDS: u64 = 200_000;

/// Waits until all workers are there, so that they really count at the same time.
fn meet(arrived: &Value<u64>) -> Result<()> {
    arrived.fetch_add(1)?;
    while arrived.get() < WORKERS {
        std::thread::yield_now();
    }
    Ok(())
}

/// Nobody stops another from coming between the reading and the writing: Python's `v.value += 1`.
fn without_lock(arrived: Value<u64>, count: RawValue<u64>) -> Result<()> {
    meet(&arrived)?;
    for _ in 0..ROUNDS {
        count.set(count.get() + 1);
    }
    Ok(())
}

fn with_lock(arrived: Value<u64>, count: RawValue<u64>, lock: Lock) -> Result<()> {
    meet(&arrived)?;
    for _ in 0..ROUNDS {
        let _guard = lock.acquire();
        count.set(count.get() + 1);
    }
    Ok(())
}

fn with_modify(arrived: Value<u64>, count: Value<u64>) -> Result<()> {
    meet(&arrived)?;
    for _ in 0..ROUNDS {
        count.modify(|count| *count += 1);
    }
    Ok(())
}

fn with_fetch_add(arrived: Value<u64>, count: Value<u64>) -> Result<()> {
    meet(&arrived)?;
    for _ in 0..ROUNDS {
        count.fetch_add(1)?;
    }
    Ok(())
}

/// Starts the workers, waits for them, and tells what they counted.
fn run(way: &str, start: impl Fn(&Value<u64>) -> Result<Process>, counted: impl Fn() -> u64) -> Result<u64> {
    let (began, arrived) = (Instant::now(), Value::new(0)?);
    let workers: Vec<Process> = (0..WORKERS).map(|_| start(&arrived)).collect::<Result<_>>()?;
    for worker in &workers {
        worker.join()?;
    }
    let (counted, wanted) = (counted(), WORKERS * ROUNDS);
    let lost = wanted - counted;
    println!(
        "{way:<16} {counted:>8} of {wanted}, {lost:>6} lost, {:>4} ms",
        began.elapsed().as_millis()
    );
    Ok(counted)
}

fn main() -> Result<()> {
    byproxy::init();
    let (raw, lock) = (RawValue::new(0)?, Lock::new()?);
    run(
        "get, then set",
        |arrived| Ok(Process::spawn(without_lock, (arrived, &raw))?),
        || raw.get(),
    )?;

    let locked = RawValue::new(0)?;
    let exact = run(
        "under a lock",
        |arrived| Ok(Process::spawn(with_lock, (arrived, &locked, &lock))?),
        || locked.get(),
    )?;
    assert_eq!(exact, WORKERS * ROUNDS);

    let modified = Value::new(0)?;
    let exact = run(
        "modify",
        |arrived| Ok(Process::spawn(with_modify, (arrived, &modified))?),
        || modified.get(),
    )?;
    assert_eq!(exact, WORKERS * ROUNDS);

    let added = Value::new(0)?;
    let exact = run(
        "fetch_add",
        |arrived| Ok(Process::spawn(with_fetch_add, (arrived, &added))?),
        || added.get(),
    )?;
    assert_eq!(exact, WORKERS * ROUNDS);
    Ok(())
}

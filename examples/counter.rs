//! Counting together in shared memory: lost updates without a lock, and three ways that lose none.
//!
//! `cargo run --release --example counter`

use std::time::Instant;

use byproxy::shm::{Lock, RawValue, Value};
use byproxy::{Process, Result};

const WORKERS: u64 = 4;
const ROUNDS: u64 = 200_000;

/// Nobody stops another from coming between the reading and the writing: Python's `v.value += 1`.
fn without_lock(count: RawValue<u64>) {
    for _ in 0..ROUNDS {
        count.set(count.get() + 1);
    }
}

fn with_lock(count: RawValue<u64>, lock: Lock) {
    for _ in 0..ROUNDS {
        let _guard = lock.acquire();
        count.set(count.get() + 1);
    }
}

fn with_modify(count: Value<u64>) {
    for _ in 0..ROUNDS {
        count.modify(|count| *count += 1);
    }
}

fn with_fetch_add(count: Value<u64>) -> Result<()> {
    for _ in 0..ROUNDS {
        count.fetch_add(1)?;
    }
    Ok(())
}

/// Starts the workers, waits for them, and tells what they counted.
fn run(way: &str, start: impl Fn() -> Result<Process>, counted: impl Fn() -> u64) -> Result<u64> {
    let began = Instant::now();
    let workers: Vec<Process> = (0..WORKERS).map(|_| start()).collect::<Result<_>>()?;
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
        || Ok(Process::spawn(without_lock, (&raw,))?),
        || raw.get(),
    )?;

    let locked = RawValue::new(0)?;
    let exact = run(
        "under a lock",
        || Ok(Process::spawn(with_lock, (&locked, &lock))?),
        || locked.get(),
    )?;
    assert_eq!(exact, WORKERS * ROUNDS);

    let modified = Value::new(0)?;
    let exact = run(
        "modify",
        || Ok(Process::spawn(with_modify, (&modified,))?),
        || modified.get(),
    )?;
    assert_eq!(exact, WORKERS * ROUNDS);

    let added = Value::new(0)?;
    let exact = run(
        "fetch_add",
        || Ok(Process::spawn(with_fetch_add, (&added,))?),
        || added.get(),
    )?;
    assert_eq!(exact, WORKERS * ROUNDS);
    Ok(())
}
